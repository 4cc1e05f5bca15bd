#!/usr/bin/env bash
# configure.sh ROOT: makes a tree of Debian packages the root of a machine that does nothing but run tests.
set -euo pipefail

root=$1
here=$(cd "$(dirname "$0")" && pwd)
units=$root/etc/systemd/system

echo vm >"$root/etc/hostname"
echo '127.0.0.1 localhost vm' >"$root/etc/hosts"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
: >"$root/etc/fstab" # the kernel mounts the root, read-write
install -D -m 755 "$here/agent.sh" "$root/usr/local/sbin/pent-vm-agent"
install -D -m 755 "$here/share.sh" "$root/usr/local/sbin/pent-vm-share"
mkdir -p "$root/host" "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nAudit=no\n' >"$root/etc/systemd/journald.conf.d/vm.conf"
printf 'overlay\nloop\nveth\nbridge\ntun\n' >"$root/etc/modules-load.d/vm.conf"

cat >"$units/pent-vm-share.service" <<'UNIT'
[Unit]
Description=The host's directory
DefaultDependencies=no
Before=systemd-modules-load.service systemd-udevd.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/pent-vm-share
[Install]
WantedBy=sysinit.target
UNIT
# What tests start is in the cgroup below, as what an ordinary service starts is.
cat >"$units/pent-vm-agent.service" <<'UNIT'
[Unit]
Description=Runs what the host asks for
After=multi-user.target pent-vm-share.service user@1000.service
[Service]
ExecStart=/usr/local/sbin/pent-vm-agent
LimitNOFILE=1048576
TasksMax=infinity
[Install]
WantedBy=graphical.target
UNIT

# An ordinary user, with ids to map, whose systemd is there from the start and may limit everything.
chroot "$root" sh -c 'useradd -m -s /bin/bash -u 1000 user; passwd -qd root
	grep -q ^user: /etc/subuid || echo user:100000:65536 | tee -a /etc/subuid >>/etc/subgid'
mkdir -p "$root/var/lib/systemd/linger" "$units/user@.service.d"
: >"$root/var/lib/systemd/linger/user"
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$units/user@.service.d/delegate.conf"

# Boot does what tests need, nothing else.
for unit in systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	e2scrub_reap.service fstrim.timer getty@tty1.service serial-getty@ttyS0.service console-getty.service \
	systemd-pstore.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount podman.service podman.socket \
	podman-auto-update.timer podman-auto-update.service podman-restart.service podman-clean-transient.service \
	containerd.service nftables.service systemd-firstboot.service systemd-hwdb-update.service ldconfig.service \
	systemd-update-done.service systemd-journal-catalog-update.service systemd-random-seed.service \
	systemd-machine-id-commit.service systemd-udev-trigger.service systemd-udev-settle.service \
	systemd-udev-load-credentials.service modprobe@drm.service modprobe@efi_pstore.service systemd-networkd.service \
	systemd-networkd-wait-online.service systemd-resolved.service; do
	ln -sf /dev/null "$units/$unit"
done
chroot "$root" systemctl set-default graphical.target >/dev/null 2>&1
chroot "$root" systemctl enable pent-vm-share.service pent-vm-agent.service >/dev/null 2>&1

# The policy is loaded and asked, but forbids nothing: its labels are what tests look at.
if [ -e "$root/etc/selinux/config" ] && [ -x "$root/usr/sbin/setfiles" ]; then
	sed -i 's/^SELINUX=.*/SELINUX=permissive/' "$root/etc/selinux/config"
	chroot "$root" setfiles -F -e /proc -e /sys -e /dev /etc/selinux/default/contexts/files/file_contexts /
fi

# Debian's hundred profiles take a minute to load where every instruction is emulated.
find "$root/etc/apparmor.d" -maxdepth 1 -type f ! -name runc ! -name crun ! -name podman -delete

#!/usr/bin/env bash
# Builds the virtual machine from Debian packages into a cache directory, unless what is there was built from the same files.
# Usage: image.sh CACHE SUITE GUEST_SUITE [selinux]. Takes about two minutes and 2 GB; needs root, for mmdebstrap, but neither mounts nor loop devices.
set -euo pipefail

cache=$1
suite=$2
guest_suite=$3
selinux=${4:-}
here=$(cd "$(dirname "$0")" && pwd)
stamp=$(cat "$here/packages.txt" "$here/image.sh" "$here"/guest/* <(echo "$suite $guest_suite $selinux") | sha256sum | cut -d' ' -f1)
if [ "$(cat "$cache/stamp" 2>/dev/null)" = "$stamp" ]; then
	exit 0
fi

packages() {
	sed -En "s/^($1) //p" "$here/packages.txt" | tr ' ' '\n' | paste -sd "${2:- }"
}

missing=
for package in $(packages host); do
	dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -q '^installed$' || missing="$missing $package"
done
if [ -n "$missing" ]; then
	echo "vm: installing$missing" >&2
	apt-get update -q >&2
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends $missing >&2
fi

# shellcheck disable=SC2016 # for apt to expand
mirror=${VM_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(CODENAME)' 2>/dev/null |
	awk '$2 == "Debian" && $3 !~ /-/ { print $1; exit }')}
: "${mirror:?vm: apt knows no Debian mirror: set VM_MIRROR}"

# A suite that is not updated any more is as good as one that is. No initrd is needed, and making one takes the longest. What
# mmdebstrap mounts in the tree goes with it, also when it is interrupted.
tree() {
	rm -rf --one-file-system "${2:?}"
	# shellcheck disable=SC2016 # for mmdebstrap to expand
	INITRD=No unshare --mount --propagation private mmdebstrap --quiet --mode=root --variant=minbase \
		--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' \
		--aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
		--setup-hook='mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"' \
		--dpkgopt=force-confold --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
		--include="$(packages "$1" ,)" "$3" "$2" \
		"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $3 main"
}

mkdir -p "$cache"
rm -f "$cache/stamp"
begun=$SECONDS
echo "vm: building the virtual machine from Debian $suite (guest: $guest_suite${selinux:+ with SELinux}) in $cache" >&2
tree machine "$cache/machine" "$suite"
echo "vm: $((SECONDS - begun)) s: the machine is there, now its root" >&2
tree "guest${selinux:+|selinux}" "$cache/root" "$guest_suite"
"$here/guest/configure.sh" "$cache/root"

# The kernel unpacked: starting it packed takes two seconds more where every instruction is emulated.
kernel=$(find "$cache/root/boot" -name 'vmlinuz-*' | sort -V | tail -n 1)
"$here/guest/unpack-kernel.sh" "$kernel" "$cache/vmlinux"
rm -f "$cache/root.img"
truncate -s 8G "$cache/root.img"
mkfs.ext4 -q -F -L root -O ^has_journal -E lazy_itable_init=0,nodiscard -d "$cache/root" "$cache/root.img"
rm -rf "$cache/root"
echo "$stamp" >"$cache/stamp"
echo "vm: built in $((SECONDS - begun)) s, $(du -sm "$cache" | cut -f1) MB" >&2

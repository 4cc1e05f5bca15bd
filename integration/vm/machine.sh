# Sourced: starts, uses and stops the virtual machine. Needs $cache (image.sh), $run (a directory of its own) and $VM.
#   machine_start, machine_stop, machine_exec SCRIPT [SECONDS]
# The guest's console is in $run/console.log; the directory $run/share is /host in the guest.
# shellcheck shell=bash
: "${cache:?}" "${run:?}" "${VM:?}"

# What the guest agent says, line by line, up to the one with a record separator and NAME; sets $said to what follows the name.
# What an interrupted caller did not wait for ends with another name. Fails when the machine ends, or is silent for $1 seconds.
machine_listen() {
	local line limit=$1 name=$2
	while IFS= read -r -t "$limit" line <&9; do
		case $line in
		*$'\036'*)
			[ -z "${line%%$'\036'*}" ] || printf '%s\n' "${line%%$'\036'*}"
			line=${line##*$'\036'}
			case $line in
			gone) return 1 ;;
			"$name "*) said=${line#* } && return 0 ;;
			esac
			;;
		*) printf '%s\n' "$line" ;;
		esac
	done
	return 1
}

machine_start() {
	local begun=$EPOCHREALTIME boot
	machine_stop
	mkdir -p "$run/share"
	rm -f "$run/console.log"
	mkfifo "$run/agent.in" "$run/agent.out"
	# Both ways, so that neither side waits for the other to open.
	exec 8<>"$run/agent.in" 9<>"$run/agent.out"
	"machine_start_$VM"
	if ! machine_listen "${VM_BOOT_SECONDS:-300}" ready >"$run/first.log"; then
		echo "vm: the guest does not start: see $run/console.log, $run/vm.log" >&2
		tail -n 5 "$run/vm.log" "$run/console.log" >&2 2>/dev/null
		machine_stop
		return 1
	fi
	boot=$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
	echo "vm: $VM is up after $boot s" >&2
}

# Starts the machine in a session of its own, and says in the guest's place when it has ended.
machine_launch() {
	# shellcheck disable=SC2016 # for the inner shell
	setsid bash -c '"$@"; printf "\036gone\n" >&9' - "$@" </dev/null 7>&- &
	echo $! >"$run/pid"
	disown
}

# User-mode Linux: a process of this machine. It needs the C library it was built with, so its tree is its root.
machine_start_uml() {
	# shellcheck disable=SC2016 # for the inner shell
	machine_launch unshare --mount --pid --fork --kill-child --propagation private bash -c '
		tree=$1 run=$2 cache=$3; shift 3
		mount --bind "$tree" "$tree"
		mount -t proc proc "$tree/proc"
		mount --rbind /dev "$tree/dev"
		mount -t tmpfs -o mode=1777 none "$tree/tmp"
		for dir in "$run" "$cache"; do
			mkdir -p "$tree/tmp/pent-vm/${dir##*/}"
			mount --bind "$dir" "$tree/tmp/pent-vm/${dir##*/}"
		done
		exec chroot "$tree" "$@"' - "$cache/machine" "$run" "$cache" \
		/usr/bin/linux.uml "mem=${VM_MEMORY:-3G}" "ubd0=/tmp/pent-vm/${run##*/}/cow,/tmp/pent-vm/${cache##*/}/root.img" \
		root=/dev/ubda rootfstype=ext4 rw con0=null,fd:1 con=null ssl0=null ssl1=fd:8,fd:9 ssl=null seccomp=auto \
		"lsm=${VM_LSM:-yama,apparmor,bpf}" "pent.share=/tmp/pent-vm/${run##*/}/share" pent.modules=/usr/lib/uml/modules \
		quiet panic=-1 systemd.show_status=0 >"$run/console.log" 2>"$run/vm.log"
}

# QEMU, all in software: every kernel feature, but 10 times slower. Its own loader and libraries, since it is of another Debian.
machine_start_qemu() {
	local tree=$cache/machine library=x86_64-linux-gnu load
	load=("$tree/usr/lib64/ld-linux-x86-64.so.2" --library-path "$tree/usr/lib/$library:$tree/usr/lib")
	setsid "${load[@]}" "$tree/usr/libexec/virtiofsd" --socket-path="$run/share.sock" --shared-dir="$run/share" \
		--sandbox=none --xattr --cache=never >"$run/share.log" 2>&1 </dev/null 7>&- 8>&- 9>&- &
	echo $! >"$run/share.pid"
	disown
	until [ -S "$run/share.sock" ]; do
		sleep 0.1
		kill -0 "$(cat "$run/share.pid")" || return 1
	done
	# Without no_timer_check a loaded machine fails the kernel's timer test; NVMe and virtiofs are in Debian's kernel itself.
	# The image may be User-mode Linux's at the same time: both only read it.
	QEMU_MODULE_DIR=$tree/usr/lib/$library/qemu machine_launch "${load[@]}" "$tree/usr/bin/qemu-system-x86_64" \
		-L "$tree/usr/share/qemu" -L "$tree/usr/share/seabios" -nodefaults -no-user-config -display none -no-reboot \
		-M q35,sata=off,smbus=off,usb=off,vmport=off,memory-backend=memory -accel tcg,thread=multi,tb-size=512 -cpu max \
		-smp "${VM_CPUS:-2}" -m "${VM_MEMORY:-3G}" \
		-object "memory-backend-memfd,id=memory,size=${VM_MEMORY:-3G},share=on" -kernel "$cache/vmlinux" \
		-append "console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rw panic=-1 net.ifnames=0 mitigations=off no_timer_check \
no5lvl quiet systemd.show_status=0 ${VM_LSM:+lsm=$VM_LSM}" \
		-drive "file=$cache/root.img,file.locking=off,format=raw,if=none,id=root,snapshot=on,cache=unsafe,discard=unmap" \
		-device nvme,drive=root,serial=root -device virtio-rng-pci \
		-chardev "socket,id=share,path=$run/share.sock" -device vhost-user-fs-pci,chardev=share,tag=host \
		-serial "file:$run/console.log" -chardev "pipe,id=agent,path=$run/agent" -serial chardev:agent \
		>"$run/vm.log" 2>&1
}

# Runs a script in the guest, as root; its output is this function's, its exit status too (125: the machine is gone).
machine_exec() {
	local job=job-$RANDOM$RANDOM
	printf '%s\n' "$1" >"$run/share/$job"
	echo "/host/$job" >&8
	if ! machine_listen "${2:-600}" "/host/$job"; then
		echo "vm: the guest has ended, or said nothing for ${2:-600} s" >&2
		return 125
	fi
	rm -f "$run/share/$job"
	return "$said"
}

machine_stop() {
	local name pid
	for name in pid share.pid; do
		pid=$(cat "$run/$name" 2>/dev/null) || continue
		rm -f "$run/$name"
		# The first process of its own session, which the number may no longer belong to.
		if [ "$(ps -o sid= -p "$pid" 2>/dev/null | tr -d ' ')" = "$pid" ]; then
			kill -KILL -- "-$pid" 2>/dev/null || true
		fi
	done
	rm -rf "$run"/share.sock* "$run"/agent.* "$run/cow" "$run/share"
}

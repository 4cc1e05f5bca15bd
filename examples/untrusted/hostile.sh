#!/bin/sh
# What an untrusted program might try, each attempt harmless. Runs on busybox inside the container and prints one line
# per attempt. Exit code 0 when everything forbidden was stopped and everything needed was allowed, else 1.
export PATH=/bin
tried=0
wrong=0

line() { # VERDICT WHAT WHY
	printf '  %-8s %-42s %s\n' "$1" "$2" "$3"
}

# The last line that a command printed, without the name of the command that printed it.
reason() {
	tail -n 1 "$1" | sed -e 's/^[a-z]*: //' -e 's/^line [0-9]*: //' -e 's/^\/hostile.sh: //' -e 's/^line [0-9]*: //'
}

forbid() { # WHAT COMMAND...
	what=$1
	shift
	tried=$((tried + 1))
	code=0
	"$@" >/tmp/said 2>&1 || code=$?
	case $code in
	0)
		line WORKED "$what" '<- this should have been stopped'
		wrong=$((wrong + 1))
		;;
	127 | 200)
		line UNTRIED "$what" "$(reason /tmp/said)"
		wrong=$((wrong + 1))
		;;
	*) line stopped "$what" "$(reason /tmp/said)" ;;
	esac
}

permit() { # WHAT COMMAND...
	what=$1
	shift
	tried=$((tried + 1))
	if "$@" >/tmp/said 2>&1; then
		line allowed "$what" "$(reason /tmp/said)"
	else
		line FAILED "$what" "$(reason /tmp/said) <- this should have worked"
		wrong=$((wrong + 1))
	fi
}

processes_seen() { # exit 0 when more is visible than this script and what it started
	seen=0
	for p in /proc/[0-9]*; do seen=$((seen + 1)); done
	echo "only its own: $seen"
	[ "$seen" -gt 8 ]
}
network_seen() {
	sed -n -e '1,2d' -e '/^ *lo:/d' -e 's/:.*//p' /proc/net/dev | grep . && return 0
	echo 'no interface but loopback'
	return 1
}
fork_many() { # exit 0 when 300 processes could live at once
	# A subshell, because ash leaves when it cannot fork.
	(
		i=0
		while [ $i -lt 300 ]; do
			sleep 2 &
			i=$((i + 1))
			echo $i >/tmp/forks
		done
	) 2>/tmp/fork-error
	many=$?
	killall sleep 2>/dev/null
	echo "$(sed -n '1s/.*: //p' /tmp/fork-error) after $(cat /tmp/forks) processes"
	return $many
}
fork_few() {
	for i in 1 2 3 4; do sleep 0.01 & done
	wait
	echo '4 children ran'
}
fill_memory() { # exit 0 when a gigabyte could be held
	dd if=/dev/zero of=/dev/null bs=1024M count=1 2>/tmp/dd
	code=$?
	if [ $code -gt 128 ]; then echo "killed by signal $((code - 128)) at the memory limit"; else sed -n '$p' /tmp/dd; fi
	return $code
}
fill_disk() {
	# Kept in a variable: while /tmp is full there is no room for the message.
	said=$(dd if=/dev/zero of=/tmp/fill bs=1M count=64 2>&1)
	code=$?
	rm -f /tmp/fill
	echo "$said" | sed -n 's/^dd: //p'
	return $code
}
kill_init() { # process 1 is this script: still here means still alive
	kill -9 1 || return 1
	sleep 0.01
	echo 'the signal had no effect'
	return 1
}
set_clock() { # busybox's date exits with 0 even when it fails
	date -s 2001-01-01 2>&1 | grep "can't"
	[ "$(date +%Y)" = 2001 ]
}
write_to() { echo x >"$1"; }
run_written() {
	cp /bin/busybox /tmp/true && chmod 755 /tmp/true && /tmp/true
}
connect_out() { nc -w 2 192.0.2.1 443 </dev/null; }
capabilities() { # exit 0 when any of the five sets holds anything
	grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb):' /proc/self/status | grep -qv '0000000000000000$' && return 0
	echo 'all five sets are empty'
	return 1
}

if ! : >/tmp/said; then
	echo 'hostile.sh: /tmp is not writable, so no attempt can be recorded' >&2
	exit 2
fi
echo "an untrusted program, as uid $(id -u) on $(hostname), tries to"
forbid 'write to its own root'               write_to /canary
forbid 'replace a program in its root'       write_to /bin/busybox
forbid "read the host's /etc/shadow"         cat /etc/shadow
forbid "see the host's processes"            processes_seen
forbid 'hold a capability'                   capabilities
forbid 'mount a filesystem'                  mount -t tmpfs none /tmp
forbid 'make the root writable again'        mount -o remount,rw /
forbid 'mount with the new API'              attempt new-mount-api
forbid 'make a new user namespace'           attempt user-namespace
forbid "enter another process's namespaces"  nsenter -t 1 -m true
forbid 'change its root'                     chroot / true
forbid 'trace a process'                     attempt ptrace
forbid 'signal the kernel: sysrq'            write_to /proc/sysrq-trigger
forbid 'write a kernel setting'              write_to /proc/sys/kernel/core_pattern
forbid 'read the kernel log'                 dmesg
forbid 'make a device node'                  mknod /tmp/sda b 8 0
forbid 'open a raw socket'                   attempt raw-socket
forbid 'open a packet socket'                attempt packet-socket
forbid "open the kernel's crypto socket"     attempt crypto-socket
forbid 'find a network interface'            network_seen
forbid 'connect to the network'              connect_out
forbid 'load a kernel module'                attempt load-module
forbid 'load a BPF map'                      attempt bpf
forbid 'set up io_uring'                     attempt io-uring
forbid 'use the kernel keyring'              attempt keyring
forbid 'handle page faults in user space'    attempt userfaultfd
forbid 'open performance counters'           attempt perf-event
forbid 'reboot the machine'                  attempt reboot
forbid 'set the clock'                       set_clock
forbid 'change the host name'                hostname owned
forbid 'kill process 1'                      kill_init
forbid 'run a program that it wrote'         run_written
forbid 'start 300 processes'                 fork_many
forbid 'hold 1 GiB of memory'                fill_memory
forbid 'write 64 MiB to /tmp'                fill_disk
echo 'and needs to'
permit 'write to /tmp'                       write_to /tmp/mine
permit 'start a few processes'               fork_few
permit 'read its own files'                  cat /etc/motd

if [ $wrong -eq 0 ]; then
	echo "$tried attempts: everything forbidden was stopped, everything needed was allowed"
else
	echo "$tried attempts: $wrong went the wrong way"
	exit 1
fi

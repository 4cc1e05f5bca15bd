#!/usr/bin/env bash
# The privileged tests in a virtual machine with systemd, cgroup version 2 alone, AppArmor, and an ordinary user with a
# session. ../README.md says more.
#   run.sh test [TARGET[:FILTER]...]   builds what is missing, starts the machine, runs the tests, reports, stops it
#   run.sh start | stop | build        the machine alone
#   run.sh exec 'COMMANDS'             in the running machine, as root
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
cache=${PENT_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pent-vm}
VM=${VM:-uml}
# sid's SELinux policy cannot be installed without a running machine, trixie's can.
suite=${VM_SUITE:-sid} guest_suite=${VM_SUITE:-sid}
if [ -n "${VM_SELINUX:-}" ]; then
	cache=$cache/selinux guest_suite=trixie VM_LSM=${VM_LSM:-yama,selinux,bpf}
fi
run=$cache/run-$VM
# shellcheck source=machine.sh
. "$here/machine.sh"

case $VM in
uml) scale=${SCALE:-2} ;;
qemu) scale=${SCALE:-10} ;;
*)
	echo "vm: VM is uml or qemu, not $VM" >&2
	exit 2
	;;
esac
if [ "$(id -u)" -ne 0 ]; then
	echo 'vm: building and starting the machine needs root' >&2
	exit 2
fi

build() {
	mkdir -p "$cache"
	"$here/image.sh" "$cache" "$suite" "$guest_suite" ${VM_SELINUX:+selinux}
}

attach() {
	if ! [ -s "$run/pid" ] || ! kill -0 "$(cat "$run/pid")" 2>/dev/null; then
		echo 'vm: it is not running' >&2
		exit 125
	fi
	exec 8<>"$run/agent.in" 9<>"$run/agent.out"
}

# The tests and what they need, at the same paths in the guest: tests know paths from their compilation.
stage() {
	local target test
	: "${PENT_BIN:?vm: set PENT_BIN to a static pent; make test-vm does}"
	cargo test --locked --features libseccomp --no-run --message-format=json \
		$(for test in "$@"; do echo "--test ${test%%:*}"; done) 2>"$cache/cargo.log" |
		jq -r 'select(.reason == "compiler-artifact" and .executable != null and (.target.kind | index("test")))
			| .target.name + " " + .executable' | sort -u >"$cache/tests" ||
		{ cat "$cache/cargo.log" >&2; return 1; }
	target=$(dirname "$(dirname "$(dirname "$(head -n 1 "$cache/tests" | cut -d' ' -f2)")")")
	mkdir -p "$run/share"
	{
		echo "$checkout/Cargo.toml"
		echo "$checkout/integration"
		echo "$checkout/tests"
		echo "$checkout/profiles"
		cut -d' ' -f2 "$cache/tests"
		# What a debug build of the command is found at; the tests are told of another.
		find "$target/debug/pent" 2>/dev/null || true
	} | sed 's|^/||' | tar -C / -cf "$run/share/stage.tar" --exclude="${checkout#/}/integration/vm" -T -
	cp "$PENT_BIN" "$run/share/pent"
	machine_exec "set -e
		rm -rf '$checkout' && tar -C / -xf /host/stage.tar && mkdir -p '$target/tmp'
		umount -l /opt/pent 2>/dev/null || true
		mkdir -p /opt/pent
		# The kernel of User-mode Linux cannot switch a process to another view of its program, so pent asks for a read-only mount.
		[ $VM != uml ] || mount -t tmpfs pent /opt/pent
		install -m 755 /host/pent /opt/pent/pent
		[ $VM != uml ] || mount -o remount,ro /opt/pent
		dmesg -n 1"
}

# A test's summary lines become a line of the report.
line() {
	local log=$1 name=$2 runtime=$3 status=$4 seconds=$5 passed failed skipped
	passed=$(sed -n 's/^test result:.* \([0-9]*\) passed.*/\1/p' "$log" | tail -n 1)
	failed=$(sed -n 's/^test result:.* \([0-9]*\) failed.*/\1/p' "$log" | tail -n 1)
	skipped=$(grep -c 'skip: ' "$log" || true)
	if [ -z "$passed" ]; then
		passed=0 failed="?"
		echo "  $runtime $name ended with status $status before its end: $log" >>"$cache/failures"
	fi
	sed -n "s/^test \(.*\) \.\.\. FAILED\$/  $runtime $name \1/p" "$log" >>"$cache/failures"
	# libtest prints a test's name and its verdict apart when something else is printed between.
	sed -n "/^failures:\$/,/^test result/s/^    \([a-z0-9_:]*\)\$/  $runtime $name \1/p" "$log" >>"$cache/failures"
	printf '%-14s %-8s %7s %7s %8s %8s\n' "$name" "$runtime" "$((passed - skipped))" "$failed" "$skipped" "$seconds" |
		tee -a "$cache/report"
}

tests() {
	local runtime path test binary begun status all=0 log name
	[ $# -gt 0 ] || set -- $(awk -F'"' '/^name/ { name = $2 } /^path = "integration\// { print name }' "$checkout/Cargo.toml")
	build
	mkdir -p "$run/share" "$cache/logs"
	machine_start
	trap '[ -n "${KEEP:-}" ] || machine_stop' EXIT
	stage "$@"
	: >"$cache/failures"
	machine_exec '. /etc/os-release
		echo "$PRETTY_NAME, Linux $(uname -r), $(nproc) processors, cgroup v2: $(cat /sys/fs/cgroup/cgroup.controllers)"
		echo "LSMs: $(cat /sys/kernel/security/lsm), $(systemctl --version | head -n 1)"' | tee "$cache/report"
	printf '%-14s %-8s %7s %7s %8s %8s\n' target runtime passed failed skipped seconds | tee -a "$cache/report"
	for runtime in ${RUNTIME:-pent runc crun}; do
		case $runtime in
		pent) path=/opt/pent/pent ;;
		*) path=$(machine_exec "command -v $runtime") || { echo "vm: no $runtime in the guest" >&2; return 1; } ;;
		esac
		for test in "$@"; do
			name=${test%%:*}
			binary=$(awk -v name="$name" '$1 == name { print $2; exit }' "$cache/tests")
			log=$cache/logs/$(basename "$runtime")-$name.log
			begun=$SECONDS status=0
			machine_exec "cd '$checkout' && RUNTIME=$path PENT_BIN=/opt/pent/pent TMPDIR=/var/tmp RUST_BACKTRACE=0 \
				PENT_TIMEOUT_SCALE=$scale PENT_CI=${PENT_CI:-} PENT_ALLOW_SKIP='${PENT_ALLOW_SKIP:-}' \
				timeout -k 5 ${LIMIT:-2400} '$binary' --test-threads=${THREADS:-1} $(case $test in *:*) echo "'${test#*:}'" ;; esac)" \
				$((${LIMIT:-2400} + 60)) >"$log" || status=$?
			# What another runtime cannot do is reported and no failure.
			[ $status -eq 0 ] || [ "$runtime" != pent ] || all=1
			line "$log" "$name" "$(basename "$runtime")" "$status" "$((SECONDS - begun))"
			[ $status -ne 125 ] || return 1
		done
	done
	if [ -s "$cache/failures" ]; then
		{ echo 'failed:'; sort -u "$cache/failures"; } | tee -a "$cache/report"
	fi
	echo "in $SECONDS s; report and logs: $cache/report, $cache/logs" | tee -a "$cache/report"
	return $all
}

command=${1:-test}
[ $# -eq 0 ] || shift
case $command in
test) tests "$@" ;;
build) build ;;
start) build && mkdir -p "$run" && machine_start ;;
stop) machine_stop ;;
exec) attach && machine_exec "$*" "${LIMIT:-600}" ;;
*)
	sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac

#!/usr/bin/env bash
# The privileged tests in a virtual machine with systemd, cgroup version 2 alone, AppArmor, and an ordinary user with a
# session. ../README.md says more.
#   run.sh test [TARGET[@systemd][:FILTER]...]
#                                      builds what is missing, starts the machine, runs the tests, reports, stops it
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
# shellcheck source=integration/vm/machine.sh
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

# One caller at a time for each machine: what the guest says has one reader.
mkdir -p "$run"
exec 7>"$run/lock"
if ! flock --nonblock 7; then
	echo "vm: another run.sh uses the machine in $run" >&2
	exit 2
fi

build() {
	flock "$cache/lock" "$here/image.sh" "$cache" "$suite" "$guest_suite" ${VM_SELINUX:+selinux}
}

# Whatever happens from now on, no machine is left, unless it is KEPT.
start() {
	trap '[ -n "${KEEP:-}" ] || machine_stop' EXIT
	machine_start
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
	local target names=("${@%%[@:]*}")
	cargo test --locked --features libseccomp --no-run --message-format=json "${names[@]/#/--test=}" 2>"$run/cargo.log" |
		jq -r 'select(.reason == "compiler-artifact" and .executable != null and (.target.kind | index("test")))
			| .target.name + " " + .executable' | sort -u >"$run/tests" ||
		{ cat "$run/cargo.log" >&2; return 1; }
	target=$(dirname "$(dirname "$(dirname "$(head -n 1 "$run/tests" | cut -d' ' -f2)")")")
	{
		echo "$checkout/Cargo.toml"
		echo "$checkout/integration"
		echo "$checkout/tests"
		echo "$checkout/profiles"
		cut -d' ' -f2 "$run/tests"
		# What a debug build of the command is found at; the tests are told of another.
		find "$target/debug/pent" 2>/dev/null || true
	} | sed 's|^/||' | tar -C / -cf "$run/share/stage.tar" --exclude="${checkout#/}/integration/vm" -T -
	cp "$PENT_BIN" "$run/share/pent"
	machine_exec "set -e
		tar -C / -xf /host/stage.tar
		mkdir -p '$target/tmp' /opt/pent
		# The kernel of User-mode Linux cannot switch a process to another view of its program, so pent asks for a read-only mount.
		[ $VM != uml ] || mount -t tmpfs pent /opt/pent
		install -m 755 /host/pent /opt/pent/pent
		[ $VM != uml ] || mount -o remount,ro /opt/pent
		dmesg -n 1
		# A route that leads nowhere, to be told from none; CRIU gives up after ten seconds, which may not be enough here.
		ip link add route type dummy && ip link set route up && ip address add 10.0.2.15/24 dev route
		ip route add default via 10.0.2.2
		mkdir -p /etc/criu && echo 'timeout 100' >/etc/criu/default.conf"
}

row() {
	printf '%-18s %-8s %7s %7s %8s %8s\n' "$@"
}

# A target's summary lines become a line of the report, which is repeated side by side at the end.
line() {
	local log=$1 name=$2 runtime=$3 status=$4 seconds=$5 passed failed skipped
	passed=$(sed -n 's/^test result:.* \([0-9]*\) passed.*/\1/p' "$log" | tail -n 1)
	failed=$(sed -n 's/^test result:.* \([0-9]*\) failed.*/\1/p' "$log" | tail -n 1)
	skipped=$(grep -c 'skip: ' "$log" || true)
	if [ -z "$passed" ]; then
		passed=$skipped failed="?"
		echo "  $runtime $name ended with status $status before its end: $log" >>"$run/failures"
	fi
	sed -n "s/^test \(.*\) \.\.\. FAILED\$/  $runtime $name \1/p" "$log" >>"$run/failures"
	# libtest prints a test's name and its verdict apart when something else is printed between.
	sed -n "/^failures:\$/,/^test result/s/^    \([a-z0-9_:]*\)\$/  $runtime $name \1/p" "$log" >>"$run/failures"
	row "$name" "$runtime" "$((passed - skipped))" "$failed" "$skipped" "$seconds" | tee -a "$run/lines"
}

# The end of the report.
summary() {
	{
		awk '{
			if (!seen[$1]++) names[++n] = $1
			if (!seen[$2]++) runtimes[++m] = $2
			cell[$1, $2] = $3 " / " $4 " / " $5
		}
		END {
			printf "passed / failed / skipped\n%-18s", "target"
			for (j = 1; j <= m; j++) printf "%16s", runtimes[j]
			print ""
			for (i = 1; i <= n; i++) {
				printf "%-18s", names[i]
				for (j = 1; j <= m; j++) printf "%16s", cell[names[i], runtimes[j]]
				print ""
			}
		}' "$run/lines"
		if [ -s "$run/failures" ]; then
			echo 'failed:'
			sort -u "$run/failures"
		fi
		echo "in $SECONDS s; report and logs: $run/report, $run/logs"
	} | tee -a "$run/report"
}

tests() {
	local runtime path test name filter driver binary log begun status all=0 targets
	: "${PENT_BIN:?vm: set PENT_BIN to a static pent; make test-vm does}"
	if [ $# -eq 0 ]; then
		mapfile -t targets < <(awk -F'"' '/^name/ { name = $2 } /^path = "integration\// { print name }' "$checkout/Cargo.toml")
		# What limits, kills or leaves something, with either cgroup driver.
		set -- "${targets[@]}" {lifecycle,exec,limits,contract,crash,faults}@systemd
	fi
	build
	start
	stage "$@"
	rm -rf "$run/logs" && mkdir "$run/logs"
	rm -f "$run/failures" "$run/lines"
	# shellcheck disable=SC2016 # for the guest
	machine_exec '. /etc/os-release
		echo "$PRETTY_NAME, Linux $(uname -r), $(nproc) processors, cgroup v2: $(cat /sys/fs/cgroup/cgroup.controllers)"
		echo "LSMs: $(cat /sys/kernel/security/lsm), $(systemctl --version | head -n 1)"' | tee "$run/report"
	row target runtime passed failed skipped seconds
	for runtime in ${RUNTIME:-pent runc crun}; do
		case $runtime in
		pent) path=/opt/pent/pent ;;
		*) path=$(machine_exec "command -v $runtime") || { echo "vm: no $runtime in the guest" >&2; return 1; } ;;
		esac
		for test in "$@"; do
			name=${test%%:*} filter='' driver=''
			[ "$name" = "$test" ] || filter=${test#*:}
			[ "${name%@systemd}" = "$name" ] || driver=systemd
			binary=$(awk -v name="${name%@*}" '$1 == name { print $2; exit }' "$run/tests")
			log=$run/logs/$(basename "$runtime")-$name.log
			begun=$SECONDS status=0
			machine_exec "cd '$checkout' && RUNTIME=$path PENT_BIN=/opt/pent/pent TMPDIR=/var/tmp RUST_BACKTRACE=0 \
				PENT_TIMEOUT_SCALE=$scale PENT_DRIVER=$driver PENT_CI=${PENT_CI:-} \
				PENT_ALLOW_SKIP='${PENT_ALLOW_SKIP:-}' \
				timeout -k 5 ${LIMIT:-2400} '$binary' --test-threads=${THREADS:-1} ${filter:+"'$filter'"}" \
				$((${LIMIT:-2400} + 60)) >"$log" || status=$?
			# What another runtime cannot do is reported and no failure.
			[ $status -eq 0 ] || [ "$runtime" != pent ] || all=1
			line "$log" "$name" "$(basename "$runtime")" "$status" "$((SECONDS - begun))"
			[ $status -ne 125 ] || { summary; return 1; }
		done
	done
	summary
	return $all
}

command=${1:-test}
[ $# -eq 0 ] || shift
case $command in
test) tests "$@" ;;
build) build ;;
start)
	build
	start
	KEEP=1
	;;
stop) machine_stop ;;
exec) attach && machine_exec "$*" "${LIMIT:-600}" ;;
*)
	sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac

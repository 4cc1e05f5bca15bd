#!/usr/bin/env bash
# Runs in the guest: for every line on the second serial port, which is the path of a script, runs the script and says with a
# record separator, its path and its exit status that it has ended.
set -u

exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
printf '\036ready %s\n' "$(cut -d' ' -f1 /proc/uptime)"
while read -r job; do
	bash "$job" </dev/null
	printf '\036%s %s\n' "$job" "$?"
done

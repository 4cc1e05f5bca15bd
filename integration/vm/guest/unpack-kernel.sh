#!/usr/bin/env bash
# unpack-kernel.sh VMLINUZ VMLINUX: the ELF file inside a compressed kernel (zstd, as Debian's).
set -euo pipefail

# Every place that looks like the beginning of zstd's data, until one unpacks to a program.
# shellcheck disable=SC2013 # numbers, one a line
for offset in $(LC_ALL=C grep -aboP '\x28\xb5\x2f\xfd' "$1" | cut -d: -f1); do
	# The data does not say where it ends: zstd complains about what follows, when it has written everything.
	tail -c "+$((offset + 1))" "$1" | zstd -dc >"$2" 2>/dev/null || true
	if [ "$(head -c 4 "$2")" = $'\x7fELF' ]; then
		exit 0
	fi
done
echo "$1: no program packed with zstd in it" >&2
exit 1

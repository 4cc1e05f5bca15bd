#!/bin/sh
# Installs what integration/packages.txt lists and this machine lacks, and adds the Rust target for a static musl binary.
# Usage: setup.sh MUSL_TARGET TARGET_DIRECTORY. Says what to do about what it cannot install.
set -eu

musl=$1
target_dir=$2
list=$(dirname "$0")/packages.txt

if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
	echo 'setup: there is no Rust toolchain: install one with rustup, from https://rustup.rs' >&2
	exit 1
fi
if command -v dpkg-query >/dev/null; then
	missing=
	# shellcheck disable=SC2013 # words are wanted
	for package in $(sed 's/#.*//' "$list"); do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -q '^installed$' || missing="$missing $package"
	done
	if [ -n "$missing" ]; then
		as_root=
		[ "$(id -u)" -eq 0 ] || as_root=sudo
		if [ -n "$as_root" ] && ! command -v sudo >/dev/null; then
			echo "setup: as root, install the packages:$missing" >&2
			exit 1
		fi
		echo "setup: installing$missing"
		# shellcheck disable=SC2086 # lists of words
		{
			$as_root apt-get update -q
			$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends $missing
		} >&2
	fi
else
	echo "setup: this is not Debian: install by hand what $list names" >&2
fi
"$(dirname "$0")/criu.sh" "$target_dir/criu" || echo 'setup: there is no CRIU, so the tests of checkpoint are skipped' >&2

# Tried once: without the target the build is static glibc, which works and starts about 0.3 ms later.
if command -v rustup >/dev/null && ! [ -e "$target_dir/.musl-tried" ] &&
	! ls "$(rustc --print target-libdir --target "$musl")"/libstd-* >/dev/null 2>&1; then
	timeout 60 rustup target add "$musl" >/dev/null 2>&1 ||
		echo "setup: the target $musl cannot be added, so pent will be linked with glibc (static too)"
	mkdir -p "$target_dir"
	: >"$target_dir/.musl-tried"
fi

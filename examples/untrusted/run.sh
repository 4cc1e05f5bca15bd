#!/bin/sh
# Runs hostile.sh in a hardened container made from nothing but busybox: no image, no registry, no network.
# Usage: run.sh RUNTIME. Needs busybox (statically linked) and a C compiler. Works as root and as an ordinary user.
set -eu

runtime=${1:?usage: run.sh RUNTIME}
here=$(cd "$(dirname "$0")" && pwd)
busybox=$(command -v busybox) || { echo "run.sh: there is no busybox: install the package busybox-static" >&2; exit 1; }

bundle=$(mktemp -d)
id=untrusted-$$
flags=
clean() {
	# shellcheck disable=SC2086 # flags is a list of words
	"$runtime" $flags delete --force "$id" >/dev/null 2>&1 || :
	rm -rf "$bundle"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

# The program runs as uid 65534: it must be able to reach its root, and nothing in it is secret.
chmod 755 "$bundle"
mkdir -m 755 "$bundle/rootfs"
for d in bin dev etc proc; do mkdir -m 755 "$bundle/rootfs/$d"; done
mkdir -m 1777 "$bundle/rootfs/tmp"
install -m 755 "$busybox" "$bundle/rootfs/bin/busybox"
if ldd "$busybox" >/dev/null 2>&1; then
	echo "run.sh: $busybox is not statically linked: install the package busybox-static" >&2
	exit 1
fi
for applet in $("$busybox" --list); do
	[ "$applet" = busybox ] || ln -s busybox "$bundle/rootfs/bin/$applet"
done
"${CC:-cc}" -static -Os -o "$bundle/rootfs/bin/attempt" "$here/attempt.c"
install -m 644 "$here/hostile.sh" "$bundle/rootfs/hostile.sh"
echo 'welcome to the container' >"$bundle/rootfs/etc/motd"

if [ "$(id -u)" -eq 0 ]; then
	cp "$here/config.json" "$bundle/config.json"
else
	# A state directory of its own: an ordinary user's session may have no XDG_RUNTIME_DIR.
	flags="--root $bundle/state"
	sed -f "$here/rootless.sed" "$here/config.json" |
		sed -e "s/@UID@/$(id -u)/" -e "s/@GID@/$(id -g)/" >"$bundle/config.json"
fi

# Its standard streams are pipes, so that it never holds the caller's terminal.
status=$bundle/status
{
	code=0
	# shellcheck disable=SC2086
	"$runtime" $flags run --bundle "$bundle" "$id" </dev/null 2>&1 || code=$?
	echo "$code" >"$status"
} | cat
exit "$(cat "$status")"

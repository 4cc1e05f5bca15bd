#!/bin/sh
# Fetches CRIU of Debian 13, with the libraries that it needs, into a directory of its own: Debian 12 has none that fits
# kernels of today. Nothing of the machine is changed, and nothing is fetched where CRIU is new enough or was fetched before.
# Usage: criu.sh DIRECTORY. The program is then DIRECTORY/bin/criu.
set -eu

place=$1
keys=/usr/share/keyrings/debian-archive-keyring.gpg

new_enough() {
	"$1" --version 2>/dev/null | grep -Eq '^Version: ([4-9]|[1-9][0-9])\.'
}

if new_enough criu || new_enough "$place/bin/criu"; then
	exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null || ! [ -r "$keys" ]; then
	echo 'criu: this is not Debian: have CRIU 4 or newer in PATH, or the tests of checkpoint are skipped' >&2
	exit 0
fi
echo "criu: fetching CRIU of Debian 13 into $place"
rm -rf "$place"
mkdir -p "$place/apt/lists/partial" "$place/apt/archives/partial" "$place/apt/none" "$place/bin"
place=$(cd "$place" && pwd)
: >"$place/apt/status"
# The mirror that this machine uses, if it has one.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
	sed -n 's/^\(deb \|URIs: *\)[^#]*\(https\{0,1\}:\/\/[^ ]*\/debian\)\/\{0,1\}\( .*\)\{0,1\}$/\2/p' | head -n 1)
echo "deb [signed-by=$keys] ${mirror:-http://deb.debian.org/debian} trixie main" >"$place/apt/sources.list"
cat >"$place/apt/conf" <<EOF
Dir::State "$place/apt";
Dir::State::status "$place/apt/status";
Dir::State::Lists "$place/apt/lists";
Dir::Cache "$place/apt";
Dir::Cache::archives "$place/apt/archives";
Dir::Etc::SourceList "$place/apt/sources.list";
Dir::Etc::SourceParts "$place/apt/none";
Dir::Etc::Preferences "$place/apt/none/preferences";
Dir::Etc::PreferencesParts "$place/apt/none";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
EOF
export APT_CONFIG="$place/apt/conf"
# Signatures of the lists, and by them hashes of the packages, are checked by apt.
apt-get update -qq >&2
apt-get install -qq -y --no-install-recommends --download-only criu >/dev/null
for package in "$place"/apt/archives/*.deb; do
	dpkg-deb -x "$package" "$place/root"
done
rm -rf "$place/apt" "$place/root/usr/share"
loader=$(find "$place/root" -name 'ld-linux*.so.*' | head -n 1)
libraries=$(dirname "$(find "$place/root" -name 'libc.so.6' | head -n 1)")
# Not by LD_LIBRARY_PATH, which the programs that CRIU executes would inherit.
cat >"$place/bin/criu" <<EOF
#!/bin/sh
exec "$loader" --inhibit-cache --library-path "$libraries" "$place/root/usr/sbin/criu" "\$@"
EOF
chmod +x "$place/bin/criu"
new_enough "$place/bin/criu" || {
	echo "criu: what was fetched does not run: $place/bin/criu --version" >&2
	exit 1
}

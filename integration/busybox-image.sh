#!/bin/sh
# Makes an OCI image of one layer from a directory, without a registry: busybox-image.sh ROOTFS NAME OUT.tar
set -eu
rootfs=$1 name=$2 out=$3
layout=$(mktemp -d)
trap 'rm -rf "$layout"' EXIT
mkdir -p "$layout/blobs/sha256"
cd "$layout"

# Names a file by its content, as all files of the layout are; prints what descriptors say of it.
blob() {
    digest=$(sha256sum <"$1" | cut -d ' ' -f 1)
    size=$(wc -c <"$1")
    mv "$1" "blobs/sha256/$digest"
    echo "\"digest\": \"sha256:$digest\", \"size\": $size"
}

case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) architecture=$(uname -m) ;;
esac
types=application/vnd.oci.image

# A copy, because tar fails when another test makes or removes a hard link to one of the files.
cp -a "$rootfs" rootfs
tar --create --file layer --numeric-owner --owner 0 --group 0 --directory rootfs .
rm -r rootfs
content=$(sha256sum <layer | cut -d ' ' -f 1)
layer=$(blob layer)

cat >config <<END
{
  "architecture": "$architecture", "os": "linux",
  "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
  "rootfs": { "type": "layers", "diff_ids": ["sha256:$content"] }
}
END
config=$(blob config)

cat >manifest <<END
{
  "schemaVersion": 2, "mediaType": "$types.manifest.v1+json",
  "config": { "mediaType": "$types.config.v1+json", $config },
  "layers": [{ "mediaType": "$types.layer.v1.tar", $layer }]
}
END
manifest=$(blob manifest)

cat >index.json <<END
{
  "schemaVersion": 2,
  "manifests": [{
    "mediaType": "$types.manifest.v1+json", $manifest,
    "annotations": { "io.containerd.image.name": "$name" }
  }]
}
END
echo '{ "imageLayoutVersion": "1.0.0" }' >oci-layout
tar --create --file "$out" oci-layout index.json blobs

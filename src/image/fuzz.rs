//! The fuzz target of image archives.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

use super::unpack::Unpacker;
use super::{Cache, Config, Error, Image, Progress, Source, decompress, digest, open};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Between layers: no field of a header of tar has it.
const BETWEEN: &[u8] = b"\xffLAYER\xff";
/// A member that is compressed well is no finding.
const MOST: u64 = 8 << 20;

/// The archive of an image; after `BETWEEN` of layers that are unpacked one over the other, whatever their digests.
///
/// # Panics
/// When something beside the image's root was touched.
pub fn archive(data: &[u8]) {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory");
    let canary = place.path().join("canary");
    fs::write(&canary, "alive").expect("a file");
    let cache = || Cache::at(place.path().join("cache/images"));
    if data.windows(BETWEEN.len()).any(|window| window == BETWEEN) {
        layers(data, &cache().expect("a cache"));
    } else {
        let file = place.path().join("image.tar");
        fs::write(&file, data).expect("a file");
        let source = Source::find(file.as_os_str()).expect("a file");
        if let Ok(image) = open(&source, cache, None, &mut Progress::none()) {
            use_image(&image);
        }
        fs::remove_file(file).expect("removed");
    }
    let cache = cache().expect("a cache");
    for entry in cache.entries().expect("a directory") {
        cache.remove(&entry.id).expect("removed");
    }
    let left: Vec<_> = fs::read_dir(place.path().join("cache/images")).expect("a directory").flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == "notes"), "{left:?}");
    let mut names: Vec<_> =
        fs::read_dir(place.path()).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["cache", "canary"]);
    let meta = fs::symlink_metadata(&canary).expect("a file");
    assert_eq!((meta.nlink(), meta.len()), (1, 5), "a link to it, or a change");
    assert_eq!(fs::read(&canary).expect("a file"), b"alive");
}

fn use_image(image: &Image) {
    drop(image.user("fuzz"));
    drop(image.config.command(&[]));
}

fn layers(data: &[u8], cache: &Cache) {
    let id = digest::of(data);
    let unpacked = cache.add(id.trim_start_matches("sha256:"), "fuzz", Config::default(), |root| {
        let mut unpacker = Unpacker::new(root, None);
        let mut rest = data;
        let failed = |why: String| Error::Missing { image: "fuzz".into(), part: why };
        while !rest.is_empty() {
            let end = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN);
            let (layer, more) = match end {
                Some(end) => (&rest[..end], &rest[end + BETWEEN.len()..]),
                None => (rest, &[][..]),
            };
            let plain = decompress::plain(layer).map_err(|error| failed(error.to_string()))?;
            unpacker.layer(plain.take(MOST)).map_err(|fault| failed(fault.to_string()))?;
            rest = more;
        }
        unpacker.furnish("/app/../dir").map_err(|fault| failed(fault.to_string()))?;
        unpacker.finish().map_err(|fault| failed(fault.to_string()))
    });
    if let Ok((_, root, lease)) = unpacked {
        for user in ["", "1", "user", "user:group", "4294967295", "0x1:+1"] {
            let config = Config { user: user.into(), ..Config::default() };
            drop(Image { root: root.clone(), config, lease: None }.user("fuzz"));
        }
        drop(lease);
    }
}

//! Images are made here byte by byte, since the interesting ones are those that no tool would write.
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

use super::source::Pick;
use super::*;
use flate2::write::GzEncoder;
use nix::sys::stat::{Mode, umask};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A tar archive, member by member.
struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Whatever `name` is: the library would refuse what these tests need.
    fn member(mut self, kind: EntryType, name: &str, mode: u32, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(1234);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.member(EntryType::Regular, name, 0o644, "", content.as_bytes())
    }

    fn dir(self, name: &str) -> Self {
        self.member(EntryType::Directory, name, 0o755, "", b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, name, 0o777, target, b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Link, name, 0o644, target, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Two frames, with one that is skipped between them.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let frame = |bytes: &[u8]| ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    [frame(first), skipped, frame(second)].concat()
}

/// The umask of this test alone: threads have their own once they do not share what clone(2) calls `CLONE_FS`.
struct Umask(Mode);

impl Umask {
    fn set(mask: u32) -> Self {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        Self(umask(Mode::from_bits_truncate(mask)))
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        umask(self.0);
    }
}

/// A directory to make images in, and a cache.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn cache(&self) -> Result<Cache> {
        Cache::at(self.path("cache/images"))
    }

    fn open(&self, text: &str) -> Result<Image> {
        open(&Source::find(text.as_ref())?, || self.cache(), None, &mut Progress::none())
    }

    fn refusal(&self, text: &str) -> String {
        let said = self.open(text).unwrap_err().to_string();
        // Nothing is left of what was begun.
        let left: Vec<_> =
            fs::read_dir(self.path("cache/images")).into_iter().flatten().map(|e| e.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?}");
        said.replace(self.dir.path().to_str().unwrap(), "DIR")
    }

    fn blob(&self, layout: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = digest::of(bytes);
        self.write(&format!("{layout}/blobs/{}", digest.replace(':', "/")), bytes);
        json!({ "digest": digest, "size": bytes.len() })
    }

    /// An OCI layout of these layers, each as it is to be stored and as it is uncompressed.
    fn layout(&self, name: &str, tag: &str, layers: &[(Vec<u8>, Vec<u8>)]) -> String {
        let ids: Vec<_> = layers.iter().map(|(_, plain)| digest::of(plain)).collect();
        let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids },
            "config": { "Env": ["A=b"], "User": "7:8", "WorkingDir": "/w", "Entrypoint": ["/entry"], "Cmd": null } });
        let layers: Vec<_> = layers
            .iter()
            .map(|(stored, _)| {
                let mut layer = self.blob(name, stored);
                layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip".into();
                layer
            })
            .collect();
        let manifest =
            json!({ "schemaVersion": 2, "config": self.blob(name, config.to_string().as_bytes()), "layers": layers });
        let mut manifest = self.blob(name, manifest.to_string().as_bytes());
        manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.write(&format!("{name}/oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
        self.write(
            &format!("{name}/index.json"),
            json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string().as_bytes(),
        );
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The files of a layout in one archive.
    fn archived(&self, layout: &str) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        builder.append_dir_all("", self.path(layout)).unwrap();
        builder.into_inner().unwrap()
    }
}

fn read(image: &Image, name: &str) -> String {
    fs::read_to_string(image.root.join(name)).unwrap()
}

#[test]
fn a_directory_is_used_as_it_is() {
    let place = Place::new();
    place.write("root/etc/motd", b"hello");
    let image = place.open(place.path("root").to_str().unwrap()).unwrap();
    assert_eq!((image.root, image.config), (place.path("root"), Config::default()));
}

#[test]
fn the_archive_of_a_root_file_system_is_unpacked_once() {
    let place = Place::new();
    let tar =
        Tar::new().dir("./").dir("./bin").file("./bin/a", "one").link("./b", "bin/a").hard("./c", "bin/a").bytes();
    for (name, bytes) in [("a.tar", tar.clone()), ("a.tar.gz", gzip(&tar)), ("a.tar.zst", zstd(&tar))] {
        let file = place.write(name, &bytes);
        let image = place.open(&file).unwrap();
        assert_eq!(
            (read(&image, "bin/a"), read(&image, "b"), read(&image, "c")),
            ("one".into(), "one".into(), "one".into())
        );
        let [a, c] = ["bin/a", "c"].map(|name| fs::metadata(image.root.join(name)).unwrap());
        assert_eq!((a.ino(), a.mtime(), a.mode() & 0o7777), (c.ino(), 1_000_000_000, 0o644));
        // The second time neither the archive nor the image is written again.
        let marker = image.root.join("marker");
        fs::write(&marker, "").unwrap();
        assert!(place.open(&file).unwrap().root.join("marker").exists());
        fs::remove_file(marker).unwrap();
    }
    assert_eq!(place.cache().unwrap().entries().unwrap().len(), 1, "the three are the same image");
}

#[test]
fn an_archive_that_has_changed_is_another_image() {
    let place = Place::new();
    let file = place.write("a.tar", &Tar::new().file("a", "one").bytes());
    assert_eq!(read(&place.open(&file).unwrap(), "a"), "one");
    place.write("a.tar", &Tar::new().file("a", "two").bytes());
    assert_eq!(read(&place.open(&file).unwrap(), "a"), "two");
}

#[test]
fn layers_hide_and_replace_what_is_below() {
    let place = Place::new();
    let below = Tar::new().dir("d").file("d/old", "1").file("d/gone", "2").dir("o").file("o/a", "3").dir("o/deep");
    let below = below.file("o/deep/b", "4").file("kind", "a file").link("l", "d").dir("r").file("r/x", "").bytes();
    let above =
        Tar::new().file("d/.wh.gone", "").file("d/new", "5").file("o/c", "6").file("o/.wh..wh..opq", "").dir("kind");
    let above = above.file("kind/in", "7").file("l/through", "8").file("r", "now a file").bytes();
    let layout = place.layout("layout", "v1", &[(gzip(&below), below.clone()), (zstd(&above), above.clone())]);
    let archive = place.write("layout.tar", &place.archived("layout"));
    let squeezed = place.write("layout.tar.gz", &gzip(&place.archived("layout")));
    for text in [
        layout.clone(),
        format!("oci:{layout}:v1"),
        format!("oci:{layout}"),
        archive.clone(),
        format!("oci-archive:{archive}:v1"),
        squeezed,
    ] {
        let image = place.open(&text).unwrap();
        let has = |name: &str| image.root.join(name).symlink_metadata().is_ok();
        assert_eq!(
            (read(&image, "d/old"), read(&image, "d/new"), has("d/gone")),
            ("1".into(), "5".into(), false),
            "{text}"
        );
        assert_eq!((has("o/a"), has("o/deep"), read(&image, "o/c")), (false, false, "6".into()));
        assert_eq!(
            (read(&image, "kind/in"), read(&image, "d/through"), read(&image, "r")),
            ("7".into(), "8".into(), "now a file".into())
        );
        assert!(!has("d/.wh.gone") && !has("o/.wh..wh..opq"));
        assert_eq!(image.config.env, ["A=b"]);
        assert_eq!((image.config.user.as_str(), image.config.working_dir.as_str()), ("7:8", "/w"));
        assert_eq!(image.config.command(&["x".into()]), ["/entry", "x"]);
    }
    assert_eq!(place.cache().unwrap().entries().unwrap().len(), 1);
}

#[test]
fn what_docker_save_writes_is_understood() {
    let place = Place::new();
    let layer = Tar::new().file("a", "one").bytes();
    let config = json!({ "config": { "Cmd": ["/a"], "Entrypoint": null }, "rootfs": { "type": "layers",
        "diff_ids": [digest::of(&layer), digest::of(&layer)] } })
    .to_string();
    let name = format!("{}.json", digest::of(config.as_bytes()).trim_start_matches("sha256:"));
    let list =
        json!([{ "Config": name, "RepoTags": ["demo:latest"], "Layers": ["1/layer.tar", "2/layer.tar"] }]).to_string();
    let archive = |config: &str, layer: &[u8]| {
        // The name is longer than the old header's field takes only from 101 bytes on.
        let tar = Tar::new().dir("1").member(EntryType::Regular, "1/layer.tar", 0o644, "", layer).dir("2");
        tar.link("2/layer.tar", "../1/layer.tar").file(&name, config).file("manifest.json", &list).bytes()
    };
    let file = place.write("saved.tar", &archive(&config, &layer));
    for text in [file.clone(), format!("{file}:latest"), format!("docker-archive:{file}:demo:latest")] {
        let image = place.open(&text).unwrap();
        assert_eq!((read(&image, "a"), image.config.command(&[])), ("one".into(), vec!["/a".into()]));
    }
    let other = Place::new();
    let bad = other.write("bad.tar", &archive(&config.replace("/a", "/b"), &layer));
    assert!(other.refusal(&bad).contains("its content has the digest sha256:"));
    let bad = other.write("bad.tar", &archive(&config, &Tar::new().file("a", "two").bytes()));
    assert!(other.refusal(&bad).contains("uncompressed it has the digest"));
    assert!(other.refusal(&format!("{bad}:other")).contains("which of its images is meant? it has demo:latest"));
}

#[test]
fn every_blob_is_checked() {
    let layer = Tar::new().file("a", "one").bytes();
    let stored = gzip(&layer);
    let blobs = |place: &Place| -> Vec<std::path::PathBuf> {
        fs::read_dir(place.path("l/blobs/sha256")).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let reference = Place::new();
    reference.layout("l", "v", &[(stored.clone(), layer.clone())]);
    let count = blobs(&reference).len();
    assert_eq!(count, 3);
    for damaged in 0..count {
        let place = Place::new();
        let layout = place.layout("l", "v", &[(stored.clone(), layer.clone())]);
        let path = &blobs(&place)[damaged];
        let mut bytes = fs::read(path).unwrap();
        // Still what it was to a reader: the header of gzip has a time, JSON takes blanks.
        if bytes.starts_with(b"{") {
            bytes.push(b' ')
        } else {
            bytes[4] ^= 1
        }
        fs::write(path, bytes).unwrap();
        let said = place.refusal(&layout);
        assert!(said.contains("its content has the digest"), "{said}");
    }
    let place = Place::new();
    let layout = place.layout("l", "v", &[(stored.clone(), Tar::new().bytes())]);
    assert!(place.refusal(&layout).contains("uncompressed it has the digest"));
    let place = Place::new();
    let layout = place.layout("l", "v", &[(stored, layer)]);
    fs::remove_file(&blobs(&place)[0]).unwrap();
    assert!(place.refusal(&layout).contains("is missing"));
    // A blob that is a link could be any file of the host.
    let target = &blobs(&place)[0];
    fs::rename(target, place.path("away")).unwrap();
    symlink(place.path("away"), target).unwrap();
    assert!(place.refusal(&layout).ends_with("a symbolic link is on its way, and none is followed in a layout"));
}

/// threats D: an archive that is unpacked must not reach what is around it.
#[test]
fn no_member_leaves_the_root() {
    let place = Place::new();
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    let canary = place.write("outside/canary", b"alive");
    let out = outside.to_str().unwrap();
    let up = format!("../../../../{out}");
    for (name, tar) in [
        ("dots", Tar::new().file("../canary", "dead")),
        ("deep dots", Tar::new().file("a/../../../outside/canary", "dead")),
        ("hard link", Tar::new().hard("a", "../../../outside/canary").file("a", "dead")),
        ("whiteout of dots", Tar::new().dir("a").file("a/.wh...", "").file("a/../.wh.outside", "")),
    ] {
        let file = place.write("bad.tar", &tar.bytes());
        let outcome = place.open(&file);
        assert!(name.starts_with("whiteout") || outcome.is_err(), "{name}");
        assert_eq!(fs::read_to_string(&canary).unwrap(), "alive", "{name}");
    }
    // Links stay in the image, and what is put through them too.
    for target in [out, up.as_str(), "/", "..", "/proc/self/root", "/proc/self/cwd"] {
        let tar = Tar::new()
            .link("l", target)
            .file("l/canary", "dead")
            .file("l/.wh.canary", "")
            .link("m", "l")
            .file("m/x", "");
        let file = place.write("links.tar", &tar.hard("h", "l/canary").bytes());
        match place.open(&file) {
            Ok(image) => assert!(image.root.starts_with(place.path("cache"))),
            Err(error) => assert!(matches!(error, Error::Invalid { .. }), "{error}"),
        }
        assert_eq!(fs::read_to_string(&canary).unwrap(), "alive", "{target}");
        assert!(!outside.join("x").exists() && !Path::new("/canary").exists() && !Path::new("/x").exists());
    }
    // A file of the host that is named by a link is not written through it.
    let tar = Tar::new().link("l", &canary).file("l", "mine");
    let image = place.open(&place.write("replaced.tar", &tar.bytes())).unwrap();
    assert_eq!((read(&image, "l"), fs::read_to_string(&canary).unwrap()), ("mine".into(), "alive".into()));
}

#[test]
fn rights_that_a_sandbox_must_not_give_are_left_out() {
    let place = Place::new();
    let tar = Tar::new()
        .member(EntryType::Regular, "suid", 0o6755, "", b"x")
        .member(EntryType::Char, "null", 0o666, "", b"")
        .member(EntryType::Block, "disk", 0o666, "", b"")
        .member(EntryType::Directory, "closed", 0o555, "", b"")
        .member(EntryType::Regular, "closed/in", 0o400, "", b"x")
        .member(EntryType::Fifo, "fifo", 0o644, "", b"")
        .member(EntryType::Directory, "tmp", 0o1777, "", b"");
    let image = place.open(&place.write("a.tar", &tar.bytes())).unwrap();
    let mode = |name: &str| fs::symlink_metadata(image.root.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("suid"), mode("closed"), mode("closed/in"), mode("tmp")), (0o755, 0o555, 0o400, 0o1777));
    assert!(!image.root.join("null").exists() && !image.root.join("disk").exists());
    let id = place.cache().unwrap().entries().unwrap()[0].id.clone();
    // In use, then removed with what cannot be written to.
    assert!(matches!(place.cache().unwrap().remove(&id), Err(Error::InUse { .. })));
    drop(image);
    assert_eq!(place.cache().unwrap().remove(&id[..6]).unwrap(), id);
    assert!(matches!(place.cache().unwrap().remove(&id), Err(Error::NoEntry { .. })));
    let names: Vec<_> =
        fs::read_dir(place.path("cache/images")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["notes"]);
}

/// Neither the caller's umask nor what an archive happens to list decides who may go through a directory.
#[test]
fn what_no_layer_lists_is_like_the_rest() {
    let _umask = Umask::set(0o077);
    let place = Place::new();
    let owner = nix::unistd::geteuid().is_root().then_some((1234, 5678));
    let tar =
        Tar::new().file("a/b/f", "x").link("l", "/made").file("l/g", "").member(EntryType::Fifo, "p", 0o666, "", b"");
    let listed = Tar::new().member(EntryType::Directory, "./", 0o750, "", b"").file("a/b/f", "x").bytes();
    for (name, bytes, root) in [("bare.tar", tar.bytes(), 0o755), ("listed.tar", listed, 0o750)] {
        let source = Source::find(place.write(name, &bytes).as_ref()).unwrap();
        let image = open(&source, || place.cache(), owner, &mut Progress::none()).unwrap();
        let about = |name: &str| {
            let meta = fs::symlink_metadata(image.root.join(name)).unwrap();
            (meta.mode() & 0o7777, owner.map(|_| (meta.uid(), meta.gid())))
        };
        assert_eq!(about(""), (root, owner), "{name}");
        let directories = ["a", "a/b", "etc", "proc"].into_iter().chain((root == 0o755).then_some("made"));
        directories.for_each(|directory| assert_eq!(about(directory), (0o755, owner), "{name} {directory}"));
        assert_eq!((about("a/b/f"), about("etc/hosts")), ((0o644, owner), (0o644, owner)));
        if root == 0o755 {
            assert_eq!(about("p"), (0o666, owner));
        }
    }
}

/// A directory is what its last entry says, by whatever links that leads to it.
#[test]
fn a_directory_behind_a_link_gets_its_mode_and_time() {
    let place = Place::new();
    let tar = Tar::new().dir("usr/lib").link("lib", "usr/lib").dir("lib/d").file("lib/d/f", "");
    let tar = tar.member(EntryType::Directory, "usr/lib/e", 0o700, "", b"").dir("lib/e");
    let image = place.open(&place.write("a.tar", &tar.bytes())).unwrap();
    for name in ["usr/lib/d", "usr/lib/e"] {
        let meta = fs::metadata(image.root.join(name)).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o755, 1_000_000_000), "{name}");
    }
}

#[test]
fn links_to_devices_are_left_out_with_them() {
    let place = Place::new();
    let below = Tar::new().file("dev/was", "a file").member(EntryType::Char, "dev/null", 0o666, "", b"").bytes();
    let above = Tar::new().hard("dev/null2", "dev/null").hard("dev/null3", "./dev/null2");
    let above = above.member(EntryType::Block, "dev/was", 0o666, "", b"").bytes();
    let image = place.open(&place.layout("l", "t", &[(gzip(&below), below), (gzip(&above), above)])).unwrap();
    assert_eq!(fs::read_dir(image.root.join("dev")).unwrap().count(), 0);
    let dangling = place.write("dangling.tar", &Tar::new().file("dev/null", "").hard("dev/x", "dev/nul").bytes());
    assert!(place.open(&dangling).unwrap_err().to_string().contains("dev/x: No such file or directory"));
}

#[test]
fn a_directory_of_an_old_archive_is_one() {
    let place = Place::new();
    let tar = Tar::new().member(EntryType::new(0), "old/", 0o750, "", b"").file("old/f", "x");
    let image = place.open(&place.write("old.tar", &tar.bytes())).unwrap();
    assert_eq!(
        (fs::metadata(image.root.join("old")).unwrap().mode() & 0o7777, read(&image, "old/f")),
        (0o750, "x".into())
    );
}

/// The content of the entry is a map and what is between the holes; its name is not the file's.
#[test]
fn sparse_files_of_pax_archives_are_refused() {
    let place = Place::new();
    let records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n21 GNU.sparse.name=f\n";
    let tar =
        Tar::new().member(EntryType::XHeader, "./PaxHeaders/f", 0o644, "", records).file("GNUSparseFile.0/f", "1\n");
    let said = place.refusal(&place.write("sparse.tar", &tar.bytes()));
    assert!(said.ends_with("sparse files in pax archives are not supported: make it with tar --format=gnu"), "{said}");
}

#[test]
fn what_is_no_image_is_refused() {
    let place = Place::new();
    for (name, bytes) in [
        ("text", b"hello, world".as_slice()),
        ("empty", b""),
        ("gz", &gzip(b"hello")),
        ("short", &Tar::new().file("a", "x").bytes()[..700]),
    ] {
        let file = place.write(name, bytes);
        let said = place.refusal(&file);
        assert!(said.contains("neither a directory nor a tar archive") || said.contains("damaged"), "{name}: {said}");
    }
    // It begins as an archive does.
    let mut broken = Tar::new().file("a", "x").file("b", "y").bytes();
    broken[1024] ^= 1;
    let said = place.refusal(&place.write("broken.tar", &broken));
    assert!(said.starts_with("DIR/broken.tar: the archive: damaged: "), "{said}");
    assert!(place.refusal(place.path("nothing").to_str().unwrap()).ends_with("No such file or directory (os error 2)"));
    let deep = format!("{}x", "d/".repeat(40));
    let nested = (0..8).fold(Tar::new(), |tar, _| tar).file(&deep, "fine").bytes();
    place.open(&place.write("deep.tar", &nested)).unwrap();
}

/// What stands before a file's content is read into memory whole, and compressed it costs next to nothing.
#[test]
fn names_and_attributes_are_of_a_size() {
    let place = Place::new();
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let long = Tar::new().member(kind, "././@LongLink", 0o644, "", &vec![b'a'; 8 << 20]).file("a", "x").bytes();
        // Looked through for what kind of archive it is.
        let said = place.refusal(&place.write("long.tgz", &gzip(&long)));
        assert_eq!(said, "DIR/long.tgz: the archive: damaged: a header of more than 1 MiB", "{kind:?}");
        // Unpacked.
        let said = place.refusal(&place.layout("l", "t", &[(gzip(&long), long)]));
        assert!(said.ends_with("damaged: a header of more than 1 MiB"), "{kind:?} {said}");
    }
    let long = Tar::new()
        .member(EntryType::GNULongName, "././@LongLink", 0o644, "", &[b'a'; 100_000])
        .file("a", "x")
        .file("b", "x");
    let said = place.refusal(&place.write("name.tar", &long.bytes()));
    assert!(said.contains("aaa…: File name too long") && said.len() < 400, "{}", said.len());
}

/// Of an image nothing gets to the terminal that it would act on.
#[test]
fn messages_show_what_images_say_as_text() {
    let place = Place::new();
    let evil = "\u{1b}]0;owned\u{7}\nhint: do this";
    let manifest = json!([{ "Config": "a", "RepoTags": [format!("{evil}:1")], "Layers": [] },
                          { "Config": "b", "RepoTags": ["b:2"], "Layers": [] }]);
    let said =
        place.refusal(&place.write("tags.tar", &Tar::new().file("manifest.json", &manifest.to_string()).bytes()));
    assert_eq!(said, r"DIR/tags.tar: which of its images is meant? it has \u{1b}]0;owned\u{7}\nhint: do this:1, b:2");
    let manifest = json!([{ "Config": evil, "RepoTags": null, "Layers": [] }]);
    let said =
        place.refusal(&place.write("part.tar", &Tar::new().file("manifest.json", &manifest.to_string()).bytes()));
    assert_eq!(said, r"DIR/part.tar: \u{1b}]0;owned\u{7}\nhint: do this is missing");
}

#[test]
fn a_tag_or_a_digest_picks_one_of_several() {
    let place = Place::new();
    let layer = |text: &str| {
        let tar = Tar::new().file("a", text).bytes();
        (gzip(&tar), tar)
    };
    place.layout("l", "one", &[layer("1")]);
    let first: serde_json::Value = serde_json::from_slice(&fs::read(place.path("l/index.json")).unwrap()).unwrap();
    let layout = place.layout("l", "two", &[layer("2")]);
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(place.path("l/index.json")).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().push(first["manifests"][0].clone());
    place.write("l/index.json", index.to_string().as_bytes());
    assert_eq!(place.refusal(&layout), "DIR/l: which of its images is meant? it has two, one");
    assert_eq!(place.refusal(&format!("{layout}:three")), "DIR/l: the image three (there are two, one) is missing");
    let digest = first["manifests"][0]["digest"].as_str().unwrap();
    for (text, want) in
        [(format!("oci:{layout}:one"), "1"), (format!("oci:{layout}:two"), "2"), (format!("{layout}@{digest}"), "1")]
    {
        assert_eq!(read(&place.open(&text).unwrap(), "a"), want);
    }
    assert_eq!(
        Source::find(format!("oci:{layout}:one").as_ref()).unwrap(),
        Source::Layout { path: layout.into(), pick: Pick::Tag("one".into()) }
    );
}

#[test]
fn a_cache_that_others_may_write_to_is_not_used() {
    let place = Place::new();
    place.cache().unwrap();
    fs::set_permissions(place.path("cache/images"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(place.cache(), Err(Error::Shared { .. })));
}

#[test]
fn images_are_added_while_others_sweep() {
    let place = Place::new();
    let archives: Vec<_> =
        (0..8).map(|n| place.write(&format!("{n}.tar"), &Tar::new().file("a", &n.to_string()).bytes())).collect();
    for _ in 0..10 {
        std::thread::scope(|scope| {
            let each: Vec<_> = archives.iter().map(|archive| scope.spawn(|| place.open(archive).map(drop))).collect();
            each.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
        let cache = place.cache().unwrap();
        cache.entries().unwrap().iter().for_each(|entry| drop(cache.remove(&entry.id).unwrap()));
    }
}

//! The OCI layout (image-spec 1.1: image-layout.md, image-index.md, manifest.md, config.md), as a directory or in an archive,
//! and what all kinds of images have in common.
#![forbid(unsafe_code)]

use super::progress::Counted;
use super::source::Pick;
use super::unpack::{Fault, Tally, Unpacker, shown};
use super::{Cache, Config, Error, Image, Progress, Result, archive, decompress, digest};
use crate::sys::fd::{self, resolve};
use nix::errno::Errno;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// No document of an image is larger (image-spec asks registries to take 4 MiB).
const LARGEST_DOCUMENT: u64 = 4 << 20;
/// An index may name an index; more than this is no honest image.
const DEEPEST_INDEX: usize = 4;

/// The parts of an image, by name.
pub(super) enum Store<'a> {
    /// Files below a directory.
    Directory(OwnedFd),
    /// Members of an archive.
    Archive(&'a archive::Members),
}

impl Store<'_> {
    /// A part, and how long it is.
    fn part(&self, name: &str) -> io::Result<(Box<dyn Read + '_>, u64)> {
        match self {
            Self::Directory(dir) => {
                let flags = libc::O_RDONLY | libc::O_NONBLOCK;
                let inside = resolve::BENEATH | resolve::NO_SYMLINKS;
                let file = match fd::open_in(dir.as_fd(), &CString::new(name)?, flags, 0, inside) {
                    Err(Errno::ELOOP) => {
                        return Err(io::Error::other(
                            "a symbolic link is on its way, and none is followed in a layout",
                        ));
                    }
                    opened => File::from(opened?),
                };
                let meta = file.metadata()?;
                if !meta.is_file() {
                    return Err(io::Error::other("not a regular file"));
                }
                Ok((Box::new(file), meta.len()))
            }
            Self::Archive(members) => {
                let (reader, length) = members.part(name)?;
                Ok((Box::new(reader), length))
            }
        }
    }
}

/// An image whose parts can be read, by the name it was given.
pub(super) struct Parts<'a> {
    pub(super) image: &'a str,
    pub(super) store: Store<'a>,
}

impl Parts<'_> {
    pub(super) fn invalid(&self, part: &str, why: impl ToString) -> Error {
        // Of a root file system there is only the whole.
        let part = if part.is_empty() { "the archive" } else { part };
        Error::Invalid { image: self.image.to_owned(), part: part.to_owned(), why: why.to_string() }
    }

    fn open(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64)> {
        self.store.part(name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing { image: self.image.to_owned(), part: name.to_owned() },
            _ => self.invalid(name, error),
        })
    }

    /// A document, whole.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let (reader, length) = self.open(name)?;
        if length > LARGEST_DOCUMENT {
            return Err(
                self.invalid(name, format!("{length} bytes are more than the {LARGEST_DOCUMENT} a document may have"))
            );
        }
        let mut text = Vec::new();
        reader.take(LARGEST_DOCUMENT).read_to_end(&mut text).map_err(|error| self.invalid(name, error))?;
        Ok(text)
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, name: &str, text: &[u8]) -> Result<T> {
        serde_json::from_slice(text).map_err(|error| self.invalid(name, error))
    }

    /// A document that is named by its digest.
    fn verified(&self, named: &Descriptor) -> Result<Vec<u8>> {
        let name = self.blob(&named.digest)?;
        let text = self.document(&name)?;
        let (found, length) = (digest::of(&text), text.len() as u64);
        self.compare(&name, (&found, length), (&named.digest, named.size))?;
        Ok(text)
    }

    fn compare(&self, name: &str, found: (&str, u64), asked: (&str, u64)) -> Result<()> {
        if found.0 != asked.0 {
            return Err(self.invalid(name, format!("its content has the digest {}, not {}", found.0, asked.0)));
        }
        if found.1 != asked.1 {
            return Err(self.invalid(name, format!("it is {} bytes long, not {}", found.1, asked.1)));
        }
        Ok(())
    }

    fn blob(&self, text: &str) -> Result<String> {
        if !digest::is_digest(text) {
            return Err(self.invalid(text, "not a digest that is supported: sha256 and 64 hexadecimal digits"));
        }
        Ok(format!("blobs/{}", text.replacen(':', "/", 1)))
    }
}

/// A layer, and what it must be.
pub(super) struct Layer {
    /// The part it is in.
    pub(super) part: String,
    /// Digest and length of the part.
    pub(super) digest: Option<(String, u64)>,
    /// Digest of the archive in it, uncompressed.
    pub(super) plain: Option<String>,
}

/// What an image consists of.
pub(super) struct Contents {
    /// Names all of it.
    pub(super) digest: String,
    pub(super) config: Config,
    pub(super) layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An image's configuration (image-spec, config.md); Docker's is the same in what is read here.
#[derive(Debug, Deserialize)]
pub(super) struct ImageConfig {
    #[serde(default)]
    pub(super) config: Option<Config>,
    pub(super) rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
pub(super) struct RootFs {
    pub(super) diff_ids: Vec<String>,
}

pub(super) fn open_directory(
    path: &Path,
    pick: &Pick,
    cache: &Cache,
    owner: Option<(u32, u32)>,
    progress: &mut Progress,
) -> Result<Image> {
    let image = crate::spelling::shown(path);
    let dir = File::open(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let parts = Parts { image: &image, store: Store::Directory(dir.into()) };
    let contents = contents(&parts, pick)?;
    unpacked(&parts, contents, cache, owner, progress)
}

/// Finds the image that is meant, by way of the index.
pub(super) fn contents(parts: &Parts<'_>, pick: &Pick) -> Result<Contents> {
    let index: Index = parts.parse("index.json", &parts.document("index.json")?)?;
    let mut named = choose(parts, index.manifests, pick)?;
    for _ in 0..DEEPEST_INDEX {
        if !named.media_type.contains("index") && !named.media_type.contains("manifest.list") {
            return manifest(parts, &named);
        }
        let index: Index = parts.parse(&named.digest, &parts.verified(&named)?)?;
        named = for_this_machine(parts, index.manifests)?;
    }
    Err(parts.invalid("index.json", "its indexes name each other too often"))
}

/// The tag is the layout's, or the whole name that containerd and Docker write beside it.
fn choose(parts: &Parts<'_>, manifests: Vec<Descriptor>, pick: &Pick) -> Result<Descriptor> {
    const TAG: &str = "org.opencontainers.image.ref.name";
    const NAME: &str = "io.containerd.image.name";
    let tags = |named: &Descriptor| -> Vec<String> {
        [TAG, NAME].iter().filter_map(|key| named.annotations.get(*key).cloned()).collect()
    };
    let known: Vec<_> = manifests.iter().flat_map(tags).collect();
    let several = manifests.len() > 1;
    let mut fit: Vec<_> = manifests
        .into_iter()
        .filter(|named| match pick {
            Pick::Only => true,
            Pick::Tag(tag) => tags(named).iter().any(|known| known == tag || known.ends_with(&format!("/{tag}"))),
            Pick::Digest(digest) => named.digest == *digest,
        })
        .collect();
    match (fit.pop(), fit.is_empty()) {
        (Some(one), true) => Ok(one),
        // A layout may have the manifests of one image for several machines at its top.
        (Some(last), false) if several && known.is_empty() => {
            fit.push(last);
            for_this_machine(parts, fit)
        }
        (Some(_), false) => Err(Error::Ambiguous { image: parts.image.to_owned(), known }),
        (None, _) if *pick == Pick::Only => Err(Error::Ambiguous { image: parts.image.to_owned(), known }),
        (None, _) => {
            let has = if known.is_empty() { String::new() } else { format!(" (there are {})", known.join(", ")) };
            Err(Error::Missing { image: parts.image.to_owned(), part: format!("the image {}{has}", pick.text()) })
        }
    }
}

fn for_this_machine(parts: &Parts<'_>, manifests: Vec<Descriptor>) -> Result<Descriptor> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits =
        |named: &Descriptor| named.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == architecture);
    manifests.into_iter().find(fits).ok_or_else(|| Error::Missing {
        image: parts.image.to_owned(),
        part: format!("an image for linux/{architecture}"),
    })
}

fn manifest(parts: &Parts<'_>, named: &Descriptor) -> Result<Contents> {
    let manifest: Manifest = parts.parse(&named.digest, &parts.verified(named)?)?;
    let config: ImageConfig = parts.parse(&manifest.config.digest, &parts.verified(&manifest.config)?)?;
    let mut layers = Vec::new();
    for (layer, plain) in manifest.layers.into_iter().zip(diff_ids(parts, &config, &named.digest)?) {
        if !layer.media_type.contains("tar") {
            return Err(
                parts.invalid(&layer.digest, format!("a layer of media type {} cannot be unpacked", layer.media_type))
            );
        }
        layers.push(Layer {
            part: parts.blob(&layer.digest)?,
            digest: Some((layer.digest, layer.size)),
            plain: Some(plain),
        });
    }
    if layers.len() != config.rootfs.diff_ids.len() {
        return Err(parts.invalid(&named.digest, "the manifest has not as many layers as the configuration"));
    }
    Ok(Contents { digest: named.digest.clone(), config: config.config.unwrap_or_default(), layers })
}

fn diff_ids(parts: &Parts<'_>, config: &ImageConfig, part: &str) -> Result<Vec<String>> {
    match config.rootfs.diff_ids.iter().find(|id| !digest::is_digest(id)) {
        Some(id) => Err(parts.invalid(part, format!("rootfs.diff_ids: {id} is not a digest"))),
        None => Ok(config.rootfs.diff_ids.clone()),
    }
}

/// The image from the cache, into which it is unpacked if need be.
pub(super) fn unpacked(
    parts: &Parts<'_>,
    contents: Contents,
    cache: &Cache,
    owner: Option<(u32, u32)>,
    progress: &mut Progress,
) -> Result<Image> {
    let id = Cache::id(&contents.digest, owner);
    let (entry, root, lease) = match cache.find(&id)? {
        Some(found) => found,
        None => {
            let config = contents.config.clone();
            cache.add(&id, parts.image, config, |root| unpack(parts, &contents, root, owner, progress))?
        }
    };
    Ok(Image { root, config: entry.config, lease: Some(lease) })
}

fn unpack(
    parts: &Parts<'_>,
    contents: &Contents,
    root: OwnedFd,
    owner: Option<(u32, u32)>,
    progress: &mut Progress,
) -> Result<Tally> {
    let layers = &contents.layers;
    let mut opened = Vec::new();
    for layer in layers {
        opened.push(parts.open(&layer.part)?);
    }
    progress.begin("unpacking", opened.iter().map(|(_, length)| length).sum());
    let mut unpacker = Unpacker::new(root, owner);
    for (layer, (reader, _)) in layers.iter().zip(opened) {
        let broken = |error: io::Error| parts.invalid(&layer.part, error);
        let mut packed = digest::Hashing::new(Counted { inner: reader, progress: &mut *progress });
        let mut plain = digest::Hashing::new(decompress::plain(&mut packed).map_err(broken)?);
        unpacker.layer(&mut plain).map_err(|fault| match fault {
            Fault::Entry { path, why } => parts.invalid(&layer.part, format!("{}: {why}", shown(&path))),
            damaged @ Fault::Damaged(_) => parts.invalid(&layer.part, damaged),
        })?;
        let (found, _) = plain.finish().map_err(broken)?;
        let (whole, length) = packed.finish().map_err(broken)?;
        if let Some((asked, size)) = &layer.digest {
            parts.compare(&layer.part, (&whole, length), (asked, *size))?;
        }
        if let Some(asked) = layer.plain.as_ref().filter(|asked| **asked != found) {
            return Err(parts.invalid(&layer.part, format!("uncompressed it has the digest {found}, not {asked}")));
        }
    }
    unpacker
        .furnish(&contents.config.working_dir)
        .and_then(|()| unpacker.finish())
        .map_err(|fault| parts.invalid("its directories", fault))
}

/// The path for messages of a file that is open.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    move |source| Error::File { path: path.clone(), source }
}

//! Images in one file: what `docker save`, `podman save` and `skopeo copy` write, and the tar archive of a root file system.
#![forbid(unsafe_code)]

use super::cache::mark;
use super::layout::{self, Contents, ImageConfig, Layer, Parts, Store, failed};
use super::source::Pick;
use super::unpack::{Fault, LARGEST_HEADER, MOST_BYTES, Metered};
use super::{Cache, Config, Error, Image, Progress, Result, decompress, digest};
use serde::Deserialize;
use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use tar::EntryType;

/// Members of an archive that are remembered; a root file system may have many more, and needs none of them.
const MOST_MEMBERS: usize = 10_000;
/// Of a member that is a part of an image: more than any has.
const LONGEST_NAME: usize = 4096;
/// Links followed from one member to another: layers that an image has twice.
const MOST_LINKS: usize = 8;
/// The whole archive, as a part.
const WHOLE: &str = "";

/// Where in an archive its members are.
pub(super) struct Members {
    file: File,
    places: HashMap<String, Place>,
}

enum Place {
    File { offset: u64, length: u64 },
    Link(String),
}

/// A part of a file.
pub(super) struct Section<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let count = self.file.read_at(&mut buf[..most], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

impl Members {
    /// Looks at every header; the content between them is passed over. `None`: it does not begin as an archive does.
    fn of(file: File) -> io::Result<Option<Self>> {
        let mut places = HashMap::new();
        let left = Cell::new(LARGEST_HEADER);
        let mut archive = tar::Archive::new(Metered { inner: &file, left: &left });
        for (index, entry) in archive.entries_with_seek()?.enumerate() {
            // A header that is too long is one.
            if index == 0 && entry.is_err() && left.get() > 0 {
                return Ok(None);
            }
            let entry = entry?;
            left.set(LARGEST_HEADER);
            let Ok(name) = String::from_utf8(entry.path_bytes().into_owned()) else { continue };
            if name.len() > LONGEST_NAME {
                continue;
            }
            let name = name.trim_start_matches("./").to_owned();
            if places.len() >= MOST_MEMBERS && name != "manifest.json" && name != "index.json" && name != "oci-layout" {
                continue;
            }
            let link = || {
                let link = entry.link_name().ok().flatten().and_then(|link| link.to_str().map(str::to_owned));
                link.filter(|link| link.len() <= LONGEST_NAME)
            };
            let place = match entry.header().entry_type() {
                EntryType::Regular => Place::File { offset: entry.raw_file_position(), length: entry.size() },
                EntryType::Symlink => match link() {
                    Some(link) => Place::Link(beside(&name, &link)),
                    None => continue,
                },
                EntryType::Link => match link() {
                    Some(link) => Place::Link(link),
                    None => continue,
                },
                _ => continue,
            };
            places.insert(name, place);
        }
        Ok(Some(Self { file, places }))
    }

    fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// What a member holds, and how long it is.
    pub(super) fn part(&self, name: &str) -> io::Result<(Section<'_>, u64)> {
        if name == WHOLE {
            let length = self.file.metadata()?.len();
            return Ok((Section { file: &self.file, offset: 0, left: length }, length));
        }
        let mut name = name;
        for _ in 0..MOST_LINKS {
            match self.places.get(name) {
                Some(&Place::File { offset, length }) => {
                    return Ok((Section { file: &self.file, offset, left: length }, length));
                }
                Some(Place::Link(next)) => name = next,
                None => break,
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Where a symbolic link of an archive's member leads.
fn beside(name: &str, link: &str) -> String {
    let mut parts: Vec<_> = name.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// One image of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(super) fn open(
    path: &Path,
    pick: &Pick,
    cache: &Cache,
    owner: Option<(u32, u32)>,
    progress: &mut Progress,
) -> Result<Image> {
    let file = File::open(path).map_err(failed(path))?;
    if !file.metadata().map_err(failed(path))?.is_file() {
        return Err(Error::Unknown { image: crate::spelling::shown(path) });
    }
    // The file need not be read again if it is the one it was.
    if let Some(id) = cache.noted(&file, pick.text(), owner)
        && let Some((entry, root, lease)) = cache.find(&id)?
    {
        return Ok(Image { root, config: entry.config, lease: Some(lease) });
    }
    let before = mark(&file);
    let image = crate::spelling::shown(path);
    let plain = uncompressed(&file, path, cache, progress)?;
    let unknown = || Error::Unknown { image: image.clone() };
    let damaged = |error: io::Error| Error::Invalid {
        image: image.clone(),
        part: "the archive".to_owned(),
        why: Fault::Damaged(error).to_string(),
    };
    let members = Members::of(plain).map_err(damaged)?.ok_or_else(unknown)?;
    let parts = Parts { image: &image, store: Store::Archive(&members) };
    let contents = if members.has("oci-layout") && members.has("index.json") {
        layout::contents(&parts, pick)?
    } else if members.has("manifest.json") {
        saved(&parts, pick)?
    } else if members.places.is_empty() || *pick != Pick::Only {
        return Err(unknown());
    } else {
        whole(&parts, &members, progress)?
    };
    let id = Cache::id(&contents.digest, owner);
    let image = layout::unpacked(&parts, contents, cache, owner, progress)?;
    cache.take_note(&file, before.as_deref(), pick.text(), owner, &id);
    Ok(image)
}

/// The archive itself, or a copy of it that can be read at any place.
fn uncompressed(file: &File, path: &Path, cache: &Cache, progress: &mut Progress) -> Result<File> {
    let mut start = [0; 4];
    let count = file.read_at(&mut start, 0).map_err(failed(path))?;
    let file = file.try_clone().map_err(failed(path))?;
    if !decompress::is_compressed(&start[..count]) {
        return Ok(file);
    }
    let mut copy = tempfile::tempfile_in(cache.dir()).map_err(failed(cache.dir()))?;
    progress.begin("decompressing", file.metadata().map_err(failed(path))?.len());
    let counted = super::progress::Counted { inner: file, progress };
    let mut reader = decompress::plain(counted).map_err(failed(path))?;
    if io::copy(&mut reader.by_ref().take(MOST_BYTES), &mut copy).map_err(failed(path))? == MOST_BYTES {
        let why = format!("uncompressed it is larger than {} GiB", MOST_BYTES >> 30);
        return Err(failed(path)(io::Error::other(why)));
    }
    copy.rewind().map_err(failed(cache.dir()))?;
    Ok(copy)
}

/// What `docker save` has written.
fn saved(parts: &Parts<'_>, pick: &Pick) -> Result<Contents> {
    const LIST: &str = "manifest.json";
    let list: Vec<Saved> = parts.parse(LIST, &parts.document(LIST)?)?;
    let known: Vec<_> = list.iter().flat_map(|saved| saved.repo_tags.iter().flatten().cloned()).collect();
    let named = |saved: &Saved, tag: &str| {
        saved.repo_tags.iter().flatten().any(|known| known == tag || known.rsplit(':').next() == Some(tag))
    };
    let mut fit: Vec<_> = list
        .into_iter()
        .filter(|saved| match pick {
            Pick::Only => true,
            Pick::Tag(tag) => named(saved, tag),
            Pick::Digest(digest) => saved.config.contains(digest.trim_start_matches("sha256:")),
        })
        .collect();
    let (Some(saved), true) = (fit.pop(), fit.is_empty()) else {
        return Err(Error::Ambiguous { image: parts.image.to_owned(), known });
    };
    let text = parts.document(&saved.config)?;
    let found = digest::of(&text);
    let stem = saved.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if digest::is_hex(stem) && found.trim_start_matches("sha256:") != stem {
        return Err(parts.invalid(&saved.config, format!("its content has the digest {found}")));
    }
    let config: ImageConfig = parts.parse(&saved.config, &text)?;
    let ids = config.rootfs.diff_ids;
    if ids.len() != saved.layers.len() {
        return Err(parts.invalid(LIST, "it has not as many layers as the configuration"));
    }
    let layers =
        saved.layers.into_iter().zip(ids).map(|(part, id)| Layer { part, digest: None, plain: Some(id) }).collect();
    Ok(Contents { digest: found, config: config.config.unwrap_or_default(), layers })
}

/// A root file system: the archive is its only layer.
fn whole(parts: &Parts<'_>, members: &Members, progress: &mut Progress) -> Result<Contents> {
    let broken = |error: io::Error| parts.invalid("the archive", error);
    let (section, length) = members.part(WHOLE).map_err(broken)?;
    progress.begin("reading", length);
    let counted = super::progress::Counted { inner: section, progress };
    let (digest, length) = digest::Hashing::new(counted).finish().map_err(broken)?;
    let layer = Layer { part: WHOLE.to_owned(), digest: Some((digest.clone(), length)), plain: None };
    Ok(Contents { digest, config: Config::default(), layers: vec![layer] })
}

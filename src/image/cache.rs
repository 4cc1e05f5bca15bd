//! Unpacked images, named by what they were made from.
//!
//! `DIR/ID/root` is a root file system and `DIR/ID/image.json` says what it is of. An entry appears by a rename when it is
//! complete, is never changed, and is locked (flock(2)) shared by who uses it, so that only an unused one can be removed.
#![forbid(unsafe_code)]

use super::unpack::{self, Tally};
use super::{Config, Error, Result, digest};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Changes whenever images are unpacked in another way, so that older entries are not taken for newer ones.
const FORMAT: &str = "3";
const ROOT: &str = "root";
const ABOUT: &str = "image.json";
/// Notes on which file gave which image, so that a large archive is read once only.
const NOTES: &str = "notes";
/// Entries that are being made, or removed.
const UNFINISHED: &str = "unfinished-";

/// A directory of unpacked images.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// An unpacked image in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// 64 hexadecimal digits, from the digest of the image.
    pub id: String,
    /// What it was unpacked from first.
    pub source: String,
    /// When, in seconds since 1970.
    pub created: u64,
    /// Bytes of all files.
    pub size: u64,
    /// How many files, directories and links.
    pub files: u64,
    /// How its program is meant to be run.
    pub config: Config,
}

/// The right to use an entry: while it lives, the entry is not removed.
#[derive(Debug)]
pub struct Lease {
    _lock: File,
}

impl Cache {
    /// The caller's own: `/var/cache/pent/images` for root, else `pent/images` in `$XDG_CACHE_HOME` or `~/.cache`.
    ///
    /// # Errors
    ///
    /// When there is no such place, or somebody else may write to it.
    pub fn of_caller() -> Result<Self> {
        let base = if nix::unistd::geteuid().is_root() {
            PathBuf::from("/var/cache")
        } else {
            let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
            var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache"))).ok_or(Error::NoCache)?
        };
        Self::at(base.join("pent/images"))
    }

    /// The one in `dir`, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or somebody else may write to it.
    pub fn at(dir: PathBuf) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed(&dir))?;
        for path in [dir.as_path(), dir.parent().unwrap_or(&dir)] {
            let meta = path.symlink_metadata().map_err(failed(path))?;
            if !meta.is_dir() || meta.uid() != nix::unistd::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
                return Err(Error::Shared { path: path.to_owned() });
            }
        }
        Ok(Self { dir })
    }

    /// Where temporary files may be made.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The id of an image of this digest, unpacked for this owner.
    pub(super) fn id(digest: &str, owner: Option<(u32, u32)>) -> String {
        let seed = format!("{FORMAT} {owner:?} {digest}");
        digest::of(seed.as_bytes()).trim_start_matches("sha256:").to_owned()
    }

    /// The entry of this id, and the right to use it.
    pub(super) fn find(&self, id: &str) -> Result<Option<(Entry, PathBuf, Lease)>> {
        let dir = self.dir.join(id);
        let lock = match open_directory(&dir) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { path: dir, source }),
        };
        lock.lock_shared().map_err(failed(&dir))?;
        // It may have been removed before it was locked.
        match read_about(&dir) {
            Ok(entry) => {
                check_entry(&lock, &dir, &entry, id)?;
                Ok(Some((entry, dir.join(ROOT), Lease { _lock: lock })))
            }
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an entry: `fill` unpacks into the directory it is given. Nothing is left when it fails.
    pub(super) fn add(
        &self,
        id: &str,
        source: &str,
        config: Config,
        fill: impl FnOnce(OwnedFd) -> Result<Tally>,
    ) -> Result<(Entry, PathBuf, Lease)> {
        self.sweep();
        let (dir, lock) = self.begin()?;
        let path = dir.path();
        let root = path.join(ROOT);
        DirBuilder::new().mode(0o700).create(&root).map_err(failed(&root))?;
        let tally = fill(File::open(&root).map_err(failed(&root))?.into())?;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let entry = Entry {
            id: id.to_owned(),
            source: source.to_owned(),
            created,
            size: tally.bytes,
            files: tally.files,
            config,
        };
        let about = path.join(ABOUT);
        let text = serde_json::to_vec_pretty(&entry)
            .map_err(|error| Error::File { path: about.clone(), source: error.into() })?;
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&about);
        made.and_then(|mut file| file.write_all(&text)).map_err(failed(&about))?;
        let place = self.dir.join(id);
        match fs::rename(path, &place) {
            Ok(()) => dir.keep(),
            // Somebody else was faster with the same image: then ours is removed.
            Err(error)
                if error.raw_os_error() == Some(libc::ENOTEMPTY) || error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::File { path: place, source }),
        }
        drop(lock);
        self.find(id)?.ok_or_else(|| Error::NoEntry { id: id.to_owned() })
    }

    /// All complete entries, by what they were unpacked from.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        for name in self.names()?.iter().filter(|name| digest::is_hex(name)) {
            match read_about(&self.dir.join(name)) {
                Ok(entry) => found.push(entry),
                // It is being removed, or its note is damaged; `remove` takes it either way.
                Err(_) => found.push(Entry {
                    id: name.clone(),
                    source: "?".to_owned(),
                    created: 0,
                    size: 0,
                    files: 0,
                    config: Config::default(),
                }),
            }
        }
        found.sort_by(|a, b| (&a.source, &a.id).cmp(&(&b.source, &b.id)));
        Ok(found)
    }

    /// Removes the entry whose id begins with `prefix`; its whole id.
    ///
    /// # Errors
    ///
    /// When there is none, there are several, it is in use, or cannot be removed.
    pub fn remove(&self, prefix: &str) -> Result<String> {
        let mut names = self.names()?;
        names.retain(|name| digest::is_hex(name) && name.starts_with(prefix) && !prefix.is_empty());
        let id = match names.as_slice() {
            [] => return Err(Error::NoEntry { id: prefix.to_owned() }),
            [id] => id.clone(),
            _ => return Err(Error::ManyEntries { id: prefix.to_owned() }),
        };
        let dir = self.dir.join(&id);
        let lock = open_directory(&dir).map_err(failed(&dir))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { id }),
            Err(TryLockError::Error(source)) => return Err(Error::File { path: dir, source }),
        }
        // Out of sight at once, so that nobody starts from half of it.
        let away = self.dir.join(format!("{UNFINISHED}{id}"));
        fs::rename(&dir, &away).map_err(failed(&dir))?;
        drop(Unfinished(Some(away)));
        self.forget(&id);
        Ok(id)
    }

    /// Removes the notes on an image that is gone; one that stays does no harm.
    fn forget(&self, id: &str) {
        for note in fs::read_dir(self.dir.join(NOTES)).into_iter().flatten().flatten() {
            if read_own(&note.path()).is_ok_and(|noted| noted == id.as_bytes()) {
                fs::remove_file(note.path()).unwrap_or_default();
            }
        }
    }

    /// The image that was found in this file before, if nothing about the file has changed.
    pub(super) fn noted(&self, file: &File, pick: &str, owner: Option<(u32, u32)>) -> Option<String> {
        let note = self.note(file, pick, owner)?;
        read_own(&note).ok().and_then(|id| String::from_utf8(id).ok()).filter(|id| digest::is_hex(id))
    }

    /// Notes which image a file has. `before` is what [`mark`] said before the file was read.
    pub(super) fn take_note(&self, file: &File, before: Option<&str>, pick: &str, owner: Option<(u32, u32)>, id: &str) {
        if before.is_none() || mark(file).as_deref() != before {
            return;
        }
        let Some(note) = self.note(file, pick, owner) else { return };
        // Without the note the file is read again next time.
        let dir = self.dir.join(NOTES);
        let written = DirBuilder::new().recursive(true).mode(0o700).create(&dir).and_then(|()| {
            let mut new = tempfile::NamedTempFile::new_in(&dir)?;
            new.write_all(id.as_bytes())?;
            new.persist(&note).map_err(|error| error.error).map(drop)
        });
        written.unwrap_or_default();
    }

    fn note(&self, file: &File, pick: &str, owner: Option<(u32, u32)>) -> Option<PathBuf> {
        Some(self.dir.join(NOTES).join(Self::id(&format!("{} {pick}", mark(file)?), owner)))
    }

    fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed(&self.dir))? {
            names.extend(entry.map_err(failed(&self.dir))?.file_name().into_string());
        }
        Ok(names)
    }

    /// A new directory, and its lock. Another pent that sweeps takes one whose lock nobody holds yet for a leftover.
    fn begin(&self) -> Result<(Unfinished, File)> {
        loop {
            let dir = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&self.dir).map_err(failed(&self.dir))?;
            let dir = Unfinished(Some(dir.keep()));
            let locked = File::open(dir.path()).and_then(|lock| lock.lock().map(|()| lock));
            match locked.and_then(|lock| Ok((fs::metadata(dir.path())?.ino() == lock.metadata()?.ino(), lock))) {
                Ok((true, lock)) => return Ok((dir, lock)),
                Ok((false, _)) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::File { path: dir.path().to_owned(), source }),
            }
        }
    }

    /// Removes what a killed pent has left half done: nobody holds its lock.
    fn sweep(&self) {
        for name in self.names().unwrap_or_default().iter().filter(|name| name.starts_with(UNFINISHED)) {
            let path = self.dir.join(name);
            let Ok(lock) = open_directory(&path) else { continue };
            // Held until it is gone, so that whoever has just made it sees that it is.
            if lock.try_lock().is_ok() {
                drop(Unfinished(Some(path)));
            }
        }
    }
}

/// What changes with the file: its place, its size, and the times that only the kernel sets.
pub(super) fn mark(file: &File) -> Option<String> {
    let meta = file.metadata().ok()?;
    let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    Some(format!("{} {} {} {times:?}", meta.dev(), meta.ino(), meta.size()))
}

fn read_about(dir: &Path) -> Result<Entry> {
    let path = dir.join(ABOUT);
    let text = read_own(&path).map_err(failed(&path))?;
    serde_json::from_slice(&text).map_err(|error| Error::File { path, source: error.into() })
}

/// Opens a directory that is no link.
fn open_directory(path: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Reads a file of the cache's own: a regular one, without a link, and the caller's.
fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || !is_own(&about) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others may have written it"));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text)
}

/// The caller's, and nobody else may write to it.
fn is_own(about: &fs::Metadata) -> bool {
    about.uid() == nix::unistd::geteuid().as_raw() && about.mode() & 0o022 == 0
}

/// Whether an entry can be what [`Cache::add`] made: the caller's own directory, with a root that is a directory, for
/// the image that is asked for. Its files are as they were unpacked as long as nobody else can write there, which is
/// what sandboxes see to.
fn check_entry(dir: &File, path: &Path, entry: &Entry, id: &str) -> Result<()> {
    if !is_own(&dir.metadata().map_err(failed(path))?) {
        return Err(Error::Shared { path: path.to_owned() });
    }
    let root = path.join(ROOT);
    if !root.symlink_metadata().map_err(failed(&root))?.is_dir() {
        return Err(Error::File { path: root, source: io::Error::from_raw_os_error(libc::ENOTDIR) });
    }
    if entry.id != id {
        let source = io::Error::new(io::ErrorKind::InvalidData, format!("it is of another image, {}", entry.id));
        return Err(Error::File { path: path.join(ABOUT), source });
    }
    Ok(())
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path: path.clone(), source }
}

/// A directory that is removed with all that is in it.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(path) = &self.0 else { return };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        let parent = fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(parent);
        // What cannot be removed now is swept later.
        parent.and_then(|parent| unpack::remove(&parent.into(), name.as_encoded_bytes())).unwrap_or_default();
    }
}

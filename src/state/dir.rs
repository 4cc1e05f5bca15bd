//! One container's directory: made by mkdir, locked by flock, written by rename.
#![forbid(unsafe_code)]

use super::foreign::{self, Maker};
use super::{Error, Process, Root, State, check_id};
use crate::cgroup::Cgroup;
use crate::plan::Hardening;
use crate::profile::Profile;
use crate::rdt::Rdt;
use nix::dir::Dir as Listing;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, faccessat, unlinkat};
use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The state, in its final form as soon as it is there.
const STATE: &str = "state.json";
/// Written in full, then renamed to [`STATE`].
const STATE_DRAFT: &str = ".state.json";
/// The configuration the container was made from, byte for byte.
pub(super) const CONFIG: &str = "config.json";
/// What must be cleaned up if no state gets written.
const INTENT: &str = "intent.json";
/// The groups in resctrl, written before they are made.
const RDT: &str = "rdt.json";
/// What the container is held to beyond its configuration.
const HARDENING: &str = "hardening.json";
/// The profiles that whatever joins the container is held to.
const PROFILES: &str = "profiles.json";
/// What a sandbox could write to, as it was before.
const LATER: &str = "later.json";
/// The socket that start opens: while it is there, the container waits.
const GATE: &str = "start";
/// The directory of the notify socket, if the container has one.
const NOTIFY: &str = "notify";
/// The notify socket in it.
const NOTIFY_SOCKET: &str = "notify.sock";

/// All that is ever in such a directory: what has something else is another program's. `criu.pid` is of restore.
pub(super) const OWN: [&str; 11] =
    [STATE, STATE_DRAFT, CONFIG, INTENT, RDT, HARDENING, PROFILES, LATER, GATE, NOTIFY, "criu.pid"];

/// How long a command waits for another one on the same container.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a directory is made again that was swept away at once.
const TRIES: usize = 20;

/// An open state directory `ROOT/ID`.
#[derive(Debug)]
pub struct Dir {
    id: String,
    path: PathBuf,
    file: File,
    locked: bool,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Dir {
    /// Makes the directory of a new container (mode 0700), and the root if need be, and locks it.
    ///
    /// A crash from here on leaves a directory that `delete --force` wipes; a failure leaves none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`]; [`Error::Exists`]; [`Error::Io`].
    pub fn create(root: &Root, id: &str) -> Result<Self, Error> {
        check_id(id)?;
        for _ in 0..TRIES {
            match Self::create_once(root, id) {
                // Between mkdir and the lock, somebody who sweeps took it for what a killed create has left.
                Err(Error::Missing { .. }) => {}
                made => return made,
            }
        }
        Self::create_once(root, id)
    }

    fn create_once(root: &Root, id: &str) -> Result<Self, Error> {
        let path = root.path().join(id);
        let mkdir = || DirBuilder::new().mode(0o700).create(&path);
        let made = match mkdir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                root.make()?;
                mkdir()
            }
            made => made,
        };
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Exists { path }),
            Err(source) => return Err(Error::io("create", &path, source)),
        }
        let locked = Self::open_path(id, path.clone()).and_then(|mut dir| dir.lock().map(|()| dir));
        if locked.is_err() {
            // Made by this call, and empty: nobody else's state goes with it.
            let _gone = std::fs::remove_dir(&path);
        }
        locked
    }

    /// Opens the directory of an existing container, without locking it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`]; [`Error::Missing`]; [`Error::Io`].
    pub fn open(root: &Root, id: &str) -> Result<Self, Error> {
        check_id(id)?;
        Self::open_path(id, root.path().join(id))
    }

    fn open_path(id: &str, path: PathBuf) -> Result<Self, Error> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path) {
            Ok(file) => Ok(Self { id: id.to_owned(), path, file, locked: false }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Missing { path }),
            Err(source) => Err(Error::io("open", &path, source)),
        }
    }

    /// The ids below `root`, sorted. A missing root has none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the root cannot be read.
    pub fn list(root: &Root) -> Result<Vec<String>, Error> {
        let failed = |source| Error::io("list", root.path(), source);
        let entries = match std::fs::read_dir(root.path()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let Ok(id) = entry.file_name().into_string() else { continue };
            if check_id(&id).is_ok() && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `ROOT/ID`, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory is the caller's and nobody else may write to it, as it is made.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn is_own(&self) -> Result<bool, Error> {
        let about = fstat(self.as_fd()).map_err(|errno| Error::io("stat", &self.path, errno.into()))?;
        Ok(about.st_uid == nix::unistd::geteuid().as_raw() && about.st_mode & 0o022 == 0)
    }

    /// Waits for other commands that change this container and keeps them out while this value lives.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when another command holds it for longer than ten seconds; [`Error::Missing`] when it was deleted
    /// meanwhile.
    pub fn lock(&mut self) -> Result<(), Error> {
        let until = Instant::now() + PATIENCE;
        while !self.try_lock()? {
            if Instant::now() > until {
                return Err(Error::Busy);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        match fstat(self.as_fd()) {
            Ok(about) if about.st_nlink == 0 => Err(Error::Missing { path: self.path.clone() }),
            Ok(_) => Ok(()),
            Err(errno) => Err(Error::io("stat", &self.path, errno.into())),
        }
    }

    /// Takes the lock if nobody has it; whether it is held now. It is flock(2)'s: the kernel drops it with the last
    /// descriptor, however the command ends.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the directory cannot be locked at all.
    pub fn try_lock(&mut self) -> Result<bool, Error> {
        if self.locked {
            return Ok(true);
        }
        match self.file.try_lock() {
            Ok(()) => self.locked = true,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &self.path, source)),
        }
        Ok(self.locked)
    }

    /// Lets other commands at the container.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the kernel refuses.
    pub fn unlock(&mut self) -> Result<(), Error> {
        self.file.unlock().map_err(|source| Error::io("unlock", &self.path, source))?;
        self.locked = false;
        Ok(())
    }

    /// Whether another command holds the lock right now.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the directory cannot be locked at all.
    pub fn is_locked_by_another(&self) -> Result<bool, Error> {
        if self.locked {
            return Ok(false);
        }
        // Another open file description: dropping it drops its lock, not ours.
        let mut other = Self::open_path(&self.id, self.path.clone())?;
        Ok(!other.try_lock()?)
    }

    /// Reads the state; `None` while (or because) no create has finished writing it.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] when another program has made the directory; [`Error::Corrupt`] when it is not what this version
    /// writes; [`Error::Io`].
    pub fn load(&self) -> Result<Option<State>, Error> {
        let Some(bytes) = self.read(STATE)? else {
            let names = self.names()?;
            let maker = foreign::maker_of_names(names.iter().map(|name| name.to_bytes()));
            return maker.map_or(Ok(None), |maker| Err(Error::Foreign { path: self.path.clone(), maker }));
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| {
            let maker = match self.names() {
                Ok(names) => foreign::maker_of_state(&bytes, names.iter().map(|name| name.to_bytes())),
                Err(_) => Some(Maker::Unknown),
            };
            match maker {
                Some(maker) => Error::Foreign { path: self.path.clone(), maker },
                None => Error::Corrupt { path: self.path.join(STATE), source },
            }
        })
    }

    /// What can be read of a state that is [`Error::Corrupt`]: the first process and the cgroup.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn load_rest(&self) -> Result<(Option<Process>, Cgroup), Error> {
        let rest = foreign::Rest::read(&self.read(STATE)?.unwrap_or_default());
        Ok((rest.init, rest.cgroup.unwrap_or_default()))
    }

    /// Writes the state: from here on the container exists.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save(&self, state: &State) -> Result<(), Error> {
        let bytes =
            serde_json::to_vec(state).map_err(|source| Error::Corrupt { path: self.path.join(STATE), source })?;
        self.write(STATE_DRAFT, &bytes)?;
        renameat(self, STATE_DRAFT, self, STATE)
            .map_err(|errno| Error::io("rename", &self.path.join(STATE_DRAFT), errno.into()))
    }

    /// Keeps the configuration the container is made from, verbatim, for exec and the later hooks.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save_config(&self, config: &[u8]) -> Result<(), Error> {
        self.write(CONFIG, config)
    }

    /// The configuration kept by [`Dir::save_config`].
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when create did not get that far; [`Error::Io`].
    pub fn load_config(&self) -> Result<Vec<u8>, Error> {
        self.read(CONFIG)?.ok_or_else(|| Error::Missing { path: self.path.join(CONFIG) })
    }

    /// Notes the cgroup, which outlives a crash of create and is not in this directory, before it is made.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save_intent(&self, cgroup: &Cgroup) -> Result<(), Error> {
        let path = || self.path.join(INTENT);
        let bytes = serde_json::to_vec(cgroup).map_err(|source| Error::Corrupt { path: path(), source })?;
        self.write(INTENT, &bytes)
    }

    /// What [`Dir::save_intent`] noted. Half a note is none: what it announces was not made yet.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn load_intent(&self) -> Result<Cgroup, Error> {
        Ok(self.read(INTENT)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// Keeps what the container is held to beyond its configuration, for start and exec.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save_hardening(&self, hardening: &Hardening) -> Result<(), Error> {
        let path = || self.path.join(HARDENING);
        let bytes = serde_json::to_vec(hardening).map_err(|source| Error::Corrupt { path: path(), source })?;
        self.write(HARDENING, &bytes)
    }

    /// What [`Dir::save_hardening`] has kept. A container that has it must have it whole: less would be weaker.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Corrupt`], [`Error::Io`].
    pub fn load_hardening(&self) -> Result<Hardening, Error> {
        let path = || self.path.join(HARDENING);
        let bytes = self.read(HARDENING)?.ok_or_else(|| Error::Missing { path: path() })?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Corrupt { path: path(), source })
    }

    /// The name of the socket, in this directory, that keeps the container waiting for start.
    #[must_use]
    pub fn gate_name() -> &'static str {
        GATE
    }

    /// Whether the container has not been told to start.
    #[must_use]
    pub fn has_gate(&self) -> bool {
        faccessat(self, GATE, nix::unistd::AccessFlags::F_OK, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Takes the gate away: from here on the container counts as started. No gate is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn remove_gate(&self) -> Result<(), Error> {
        self.unlink(GATE)
    }

    /// Keeps what is to be compared with what a program will have left.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save_later(&self, record: &[u8]) -> Result<(), Error> {
        self.write(LATER, record)
    }

    /// What [`Dir::save_later`] has kept, if it has.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn load_later(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read(LATER)
    }

    /// Keeps the profiles that the container was made with, for what joins it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save_profiles(&self, profiles: &[Profile]) -> Result<(), Error> {
        let path = || self.path.join(PROFILES);
        let bytes = serde_json::to_vec(profiles).map_err(|source| Error::Corrupt { path: path(), source })?;
        self.write(PROFILES, &bytes)
    }

    /// What [`Dir::save_profiles`] has kept. As with the hardening, it is all there or an error.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Corrupt`], [`Error::Io`].
    pub fn load_profiles(&self) -> Result<Vec<Profile>, Error> {
        let path = || self.path.join(PROFILES);
        let bytes = self.read(PROFILES)?.ok_or_else(|| Error::Missing { path: path() })?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Corrupt { path: path(), source })
    }

    /// Writes down which groups in resctrl the container is about to have.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save_rdt(&self, rdt: &Rdt) -> Result<(), Error> {
        let path = || self.path.join(RDT);
        let bytes = serde_json::to_vec(rdt).map_err(|source| Error::Corrupt { path: path(), source })?;
        self.write(RDT, &bytes)
    }

    /// The groups in resctrl, if there are any. A file that was not written in full is none: nothing was made before it was.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn load_rdt(&self) -> Result<Option<Rdt>, Error> {
        Ok(self.read(RDT)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// The directory that holds the container's notify socket, and is mounted in it.
    #[must_use]
    pub fn notify_name() -> &'static str {
        NOTIFY
    }

    /// The socket in it.
    #[must_use]
    pub fn notify_socket_name() -> &'static str {
        NOTIFY_SOCKET
    }

    /// Whether the container was made with a notify socket.
    #[must_use]
    pub fn has_notify(&self) -> bool {
        faccessat(self, NOTIFY, nix::unistd::AccessFlags::F_OK, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Makes the directory of the notify socket; only what is in it is ever shown to the container.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn make_notify(&self) -> Result<(), Error> {
        let path = self.path.join(NOTIFY);
        let failed = |source| Error::io("make", &path, source);
        DirBuilder::new().mode(0o755).create(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).map_err(failed)
    }

    /// Listens at the notify socket, which everyone in the container may write to.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn bind_notify(&self) -> Result<UnixDatagram, Error> {
        let failed = |source| Error::io("bind", &self.path.join(NOTIFY).join(NOTIFY_SOCKET), source);
        // By descriptor: the path of a socket must be short.
        let path =
            Path::new("/proc/self/fd").join(self.as_fd().as_raw_fd().to_string()).join(NOTIFY).join(NOTIFY_SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let socket = UnixDatagram::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).map_err(failed)?;
        Ok(socket)
    }

    /// Removes the directory with all that is in it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn remove(self) -> Result<(), Error> {
        for name in [GATE, INTENT, CONFIG, LATER, STATE] {
            self.unlink(name)?;
        }
        match std::fs::remove_dir(&self.path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() != Some(libc::ENOTEMPTY) => {
                return Err(Error::io("remove", &self.path, error));
            }
            Err(_) => {}
        }
        let notify = self.path.join(NOTIFY);
        self.unlink(Path::new(NOTIFY).join(NOTIFY_SOCKET))?;
        match std::fs::remove_dir(&notify) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &notify, error)),
            _ => {}
        }
        // Something an interrupted command left, such as a draft. Nothing else here is ever a directory.
        for name in self.names()? {
            self.unlink(std::ffi::OsStr::from_bytes(name.to_bytes()))?;
        }
        std::fs::remove_dir(&self.path).map_err(|source| Error::io("remove", &self.path, source))
    }

    /// What is in the directory.
    fn names(&self) -> Result<Vec<CString>, Error> {
        Listing::openat(self, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .and_then(|mut listing| {
                listing
                    .iter()
                    .map(|entry| entry.map(|e| e.file_name().to_owned()))
                    .filter(|name| !name.as_ref().is_ok_and(|name| matches!(name.to_bytes(), b"." | b"..")))
                    .collect()
            })
            .map_err(|errno| Error::io("list", &self.path, errno.into()))
    }

    fn unlink(&self, name: impl AsRef<Path>) -> Result<(), Error> {
        match unlinkat(self, name.as_ref(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::io("remove", &self.path.join(name), errno.into())),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let failed = |source| Error::io("read", &self.path.join(name), source);
        // A FIFO reads as empty.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(self, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        };
        let mut bytes = Vec::with_capacity(4096);
        // Limited, so that it is just read: without a limit, std asks for size and position first.
        File::from(file).take(u64::MAX).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        debug_assert!(OWN.contains(&name), "what is not named there is not known as ours");
        let failed = |source| Error::io("write", &self.path.join(name), source);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|errno| failed(errno.into()))?;
        File::from(file).write_all(bytes).map_err(failed)
    }
}

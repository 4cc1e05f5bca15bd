//! What is not there, and what could not be found out: a place that is hidden only if it exists must not be taken for
//! absent because looking at it failed.
#![forbid(unsafe_code)]

use super::surroundings::Error;
use nix::errno::Errno;
use std::cell::RefCell;
use std::io;
use std::path::Path;

/// What was found at a path, or nothing where there is nothing, for the caller: neither can the program get there.
/// Everything else that the kernel says (no memory, a disk that cannot be read) leaves it open.
///
/// # Errors
/// When it is open.
pub(super) fn believe<T>(path: &Path, found: io::Result<T>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// What could not be found out, while many things are looked at that need not be there: the first of it ends the start.
#[derive(Debug, Default)]
pub(super) struct Doubts(RefCell<Option<Error>>);

impl Doubts {
    /// As [`believe`], with the error kept for later.
    pub(super) fn see<T>(&self, path: &Path, found: io::Result<T>) -> Option<T> {
        believe(path, found).unwrap_or_else(|error| {
            self.0.borrow_mut().get_or_insert(error);
            None
        })
    }

    /// Whether everything was found out.
    ///
    /// # Errors
    /// What was not.
    pub(super) fn settle(&self) -> Result<(), Error> {
        self.0.borrow_mut().take().map_or(Ok(()), Err)
    }
}

/// ESRCH and ENXIO: of a process that has ended.
pub(super) fn is_absence(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(
            Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::EACCES
                | Errno::ELOOP
                | Errno::ENAMETOOLONG
                | Errno::ESRCH
                | Errno::ENXIO
        )
    ) || (errno.is_none() && error.kind() == io::ErrorKind::InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_to_be_absent_is() {
        let of = |errno| believe::<()>(Path::new("/x"), Err(io::Error::from_raw_os_error(errno)));
        for errno in [libc::ENOENT, libc::ENOTDIR, libc::EACCES, libc::ELOOP] {
            assert!(matches!(of(errno), Ok(None)), "{errno}");
        }
        for errno in [libc::ENOMEM, libc::EIO, libc::EPERM, libc::ENOSYS, libc::EMFILE, libc::ENFILE, libc::ESTALE] {
            let said = of(errno).expect_err("open").to_string();
            assert!(said.starts_with("cannot read /x: "), "{said}");
        }
        assert!(matches!(believe(Path::new("/x"), Ok(1)), Ok(Some(1))));
    }
}

//! The last steps of a process: directory, program, environment.
#![forbid(unsafe_code)]

use super::{Child, Done};
use crate::launch::wire::Failure;
use crate::plan::text::Text;
use crate::sys::cred;
use crate::sys::fd::{self, CWD, resolve};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

/// The working directory is outside the root.
pub(in crate::launch) const OUTSIDE: u32 = 1;
/// The program is a directory.
pub(in crate::launch) const IS_DIRECTORY: u32 = 2;
/// HOME is too long.
pub(in crate::launch) const TOO_LONG: u32 = 3;

impl<'a> Child<'a> {
    /// A directory of the host, got through a descriptor (CVE-2024-21626), reads as unreachable.
    pub(super) fn change_directory(&mut self, path: &CStr, last_try: bool) -> Done {
        if self.in_directory {
            return Ok(());
        }
        // A link of /proc's is followed only once this process has nothing open that it could lead to (CVE-2024-21626).
        let changed = if last_try { fd::chdir_path(path) } else { change_without_magic(path) };
        match changed {
            Ok(()) => {}
            // EMFILE: the limit on open files is the program's already; chdir(2) needs none.
            Err(Errno::EACCES | Errno::EPERM | Errno::ELOOP | Errno::EMFILE) if !last_try => return Ok(()),
            // What joins a container is in its procfs only once it is born in its pid namespace.
            Err(Errno::ENOENT) if !last_try && path.to_bytes().starts_with(b"/proc/") => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        if !fd::cwd_is_reachable()? {
            return Err(Failure::mismatch(OUTSIDE, 0));
        }
        self.in_directory = true;
        Ok(())
    }

    /// As execvp(3): the first that can be executed; a refusal is remembered, and reported if nothing better is found.
    pub(super) fn find_executable(&mut self, candidates: &'a [Text]) -> Done {
        let mut found = Failure::from(Errno::ENOENT);
        for candidate in candidates {
            match executable(candidate) {
                Ok(()) => {
                    self.executable = Some(candidate.as_c_string());
                    return Ok(());
                }
                Err(failure) if failure.errno == Errno::ENOENT as i32 || failure.errno == Errno::ENOTDIR as i32 => {}
                Err(failure) => found = failure,
            }
        }
        Err(found)
    }

    /// Not inlined: its buffers would be part of the frame that every operation runs in, and pages to touch.
    #[inline(never)]
    pub(super) fn set_home(&mut self, uid: u32) -> Done {
        let mut value = [0u8; 4096];
        let len = self.home(uid, &mut value)?;
        if self.env.set_late(b"HOME", &value[..len]) { Ok(()) } else { Err(Failure::mismatch(TOO_LONG, 0)) }
    }

    /// The home directory of a uid in the container's own passwd(5); `/` when it says nothing. The file is the image's: only
    /// a regular one is read, and only its beginning. It is looked at before it is opened, because opening a device does things,
    /// and no device rules are in force yet.
    fn home(&self, uid: u32, value: &mut [u8; 4096]) -> Result<usize, Failure> {
        const PASSWD: &CStr = c"etc/passwd";
        value[0] = b'/';
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let inside = resolve::IN_ROOT | resolve::NO_MAGICLINKS;
        let file = match self.root {
            Some(_) => {
                let Ok(found) = self.open_place(PASSWD, libc::O_PATH) else { return Ok(1) };
                if !is_regular(found.at.as_fd())? {
                    return Ok(1);
                }
                fd::open(CWD, super::mounts::proc_fd(found.at.as_fd(), &mut [0; 32]), flags)
            }
            // A process that joins a container is in its cgroup, under its device rules.
            None => {
                let root = fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
                let found = fd::open_in(root.as_fd(), PASSWD, libc::O_PATH, 0, inside);
                let Ok(true) = found.and_then(|found| is_regular(found.as_fd())) else { return Ok(1) };
                fd::open_in(root.as_fd(), PASSWD, flags, 0, inside)
            }
        };
        let Ok(file) = file else { return Ok(1) };
        if !is_regular(file.as_fd())? {
            return Ok(1);
        }
        Ok(home_from(file.as_fd(), uid, value)?.unwrap_or(1))
    }

    pub(super) fn execute(&mut self) -> Done {
        let Some(program) = self.executable else { return Err(Errno::ENOENT.into()) };
        Err(self.argv.exec(program, self.env.argv()).into())
    }
}

/// chdir(2), but not by way of a link that leads to what a process has open.
fn change_without_magic(path: &CStr) -> crate::sys::Result<()> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let directory = fd::open_in(fd::CWD, path, flags, 0, fd::resolve::NO_MAGICLINKS)?;
    fd::chdir(directory.as_fd())
}

fn executable(path: &CStr) -> Result<(), Failure> {
    let st = fd::stat_at(CWD, path, 0)?;
    if st.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Failure { errno: Errno::EISDIR as i32, part: IS_DIRECTORY, value: 0 });
    }
    Ok(fd::executable(path)?)
}

/// Signals as a program expects them: nothing blocked, nothing ignored (Rust ignores SIGPIPE, callers ignore more). `ignored` is a
/// mask; what has a handler is reset by clone3.
pub(in crate::launch) fn reset_signals(ignored: u64) -> crate::sys::Result<()> {
    let changeable = |signal: &i32| *signal != libc::SIGKILL && *signal != libc::SIGSTOP;
    for signal in (1..=64).filter(changeable).filter(|signal| ignored & 1 << (signal - 1) != 0) {
        cred::default_signal(signal)?;
    }
    cred::unblock_signals()
}

fn is_regular(file: BorrowedFd<'_>) -> crate::sys::Result<bool> {
    Ok(fd::stat(file)?.st_mode & libc::S_IFMT == libc::S_IFREG)
}

/// Looks for the uid's line, and for none that is longer than the buffer.
fn home_from(file: BorrowedFd<'_>, uid: u32, value: &mut [u8; 4096]) -> crate::sys::Result<Option<usize>> {
    const LIMIT: usize = 1 << 16;
    let mut text = [0u8; 4096];
    let (mut read, mut len) = (0, 0);
    while read < LIMIT && len < text.len() {
        let more = fd::read(file, &mut text[len..])?;
        (read, len) = (read + more, len + more);
        let newline = text[..len].iter().rposition(|&b| b == b'\n');
        let whole = if more == 0 { len } else { newline.map_or(0, |at| at + 1) };
        if let Some(home) = home_in(&text[..whole], uid) {
            value[..home.len()].copy_from_slice(home);
            return Ok(Some(home.len()));
        }
        if more == 0 {
            break;
        }
        text.copy_within(whole..len, 0);
        len -= whole;
    }
    Ok(None)
}

/// The home directory that one of these lines of passwd(5) gives to a uid.
fn home_in(lines: &[u8], uid: u32) -> Option<&[u8]> {
    lines.split(|&b| b == b'\n').find_map(|line| {
        let mut fields = line.split(|&b| b == b':');
        let same = parse_decimal(fields.nth(2)?) == Some(uid);
        fields.nth(2).filter(|home| same && !home.is_empty())
    })
}

/// An unsigned number as passwd(5) writes it: digits only, and no overflow (CVE-2024-40635).
fn parse_decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |n, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// Writes a number in decimal at `at`: the index after its last digit.
pub(super) fn decimal(mut n: u64, buf: &mut [u8], at: usize) -> usize {
    let mut digits = [0u8; 20];
    let mut len = 0;
    loop {
        digits[len] = b'0' + u8::try_from(n % 10).unwrap_or(0);
        len += 1;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    for (offset, digit) in digits[..len].iter().rev().enumerate() {
        if let Some(place) = buf.get_mut(at + offset) {
            *place = *digit;
        }
    }
    at + len
}

/// For hooks, whose state says the pid they see.
pub(in crate::launch) fn pid_digits(pid: i32, buf: &mut [u8]) -> usize {
    decimal(u64::from(pid.unsigned_abs()), buf, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        let mut buf = [b'x'; 8];
        assert_eq!(decimal(0, &mut buf, 0), 1);
        assert_eq!(&buf[..2], b"0x");
        assert_eq!(decimal(1234, &mut buf, 2), 6);
        assert_eq!(&buf[..7], b"0x1234x");
    }

    #[test]
    fn home_is_found_on_any_page() {
        use std::io::{Seek as _, Write as _};
        let find = |text: &str, uid| {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(text.as_bytes()).expect("written");
            file.rewind().expect("at its start");
            let mut value = [0; 4096];
            let len = home_from(file.as_fd(), uid, &mut value).expect("read");
            len.map(|len| String::from_utf8_lossy(&value[..len]).into_owned())
        };
        let lines = |n: u32| (0..n).map(|i| format!("u{i}:x:{i}:0:User {i}:/home/{i}:/bin/sh\n")).collect::<String>();
        let home = |n| Some(format!("/home/{n}"));
        assert_eq!(find("", 0), None);
        assert_eq!(find("root:x:0:0:root:/root:/bin/sh", 0), Some("/root".to_owned()));
        assert_eq!(find("root:x:0:0:root::/bin/sh\n", 0), None);
        for uid in [0, 99, 100, 101, 999] {
            assert_eq!(find(&lines(1000), uid), home(uid));
        }
        assert_eq!(find(&lines(1000), 1000), None);
        // The end of a line that is cut off is nobody's home, and neither is anything after it or after 64 KiB.
        let long = format!("x:x:1:0::/{}:/bin/sh\nu2:x:2:0::/home/2:/bin/sh\n", "y".repeat(5000));
        assert_eq!(find(&long, 1), None);
        assert_eq!(find(&long, 2), None);
        assert_eq!(find(&lines(4000), 3999), None);
    }

    #[test]
    fn ids_are_digits_without_overflow() {
        assert_eq!(parse_decimal(b"1000"), Some(1000));
        assert_eq!(parse_decimal(b"4294967295"), Some(u32::MAX));
        for bad in [&b""[..], b"4294967296", b"-1", b"+1", b"0x0", b" 1"] {
            assert_eq!(parse_decimal(bad), None);
        }
    }
}

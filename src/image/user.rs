//! Whom an image's program runs as: its `User`, by the image's own passwd(5) and group(5), which are not trusted.
#![forbid(unsafe_code)]

use super::{Error, Result};
use crate::path;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;

/// More is no table of users.
const MOST_BYTES: u64 = 4 << 20;

/// The user of a program, as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Its uid.
    pub uid: u32,
    /// Its gid.
    pub gid: u32,
    /// Its home directory, if the image says so.
    pub home: Option<String>,
}

impl super::Image {
    /// Whom the image's `User` names: `user`, `uid`, `user:group`, `uid:gid`, `user:gid` or `uid:group`; nobody is uid 0. Without
    /// a group it is the user's first, or 0 (image-spec, config.md). `name` is the image's, for messages.
    ///
    /// # Errors
    ///
    /// When the image does not know a name, or a number is none (CVE-2024-40635).
    pub fn user(&self, name: &str) -> Result<User> {
        let invalid = |part: &str, why: String| Error::Invalid { image: name.to_owned(), part: part.to_owned(), why };
        let table = |name: &'static str| self.read(name).map_err(|error| invalid(name, error.to_string()));
        resolve(&self.config.user, &table("etc/passwd")?, &table("etc/group")?).map_err(|why| invalid("its User", why))
    }

    /// A file of the image; nothing when there is none.
    fn read(&self, name: &str) -> io::Result<String> {
        let root = File::open(&self.root)?;
        // A fifo would never answer.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let name = std::ffi::CString::new(name)?;
        let file = match path::open(root.as_fd(), &name, flags) {
            Ok(file) => File::from(file),
            Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(String::new()),
            Err(errno) => return Err(errno.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(io::Error::other("too large"));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn resolve(text: &str, passwd: &str, group: &str) -> std::result::Result<User, String> {
    let (name, group_name) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    let name = if name.is_empty() && group_name.is_none() { "0" } else { name };
    let uid = number(name).map_err(|()| format!("{name} is not a uid"))?;
    let known = records(passwd).find(|fields| match uid {
        Some(uid) => fields.get(2).is_some_and(|field| number(field) == Ok(Some(uid))),
        None => fields[0] == name,
    });
    let own = |at: usize| known.as_ref().and_then(|fields| number(fields.get(at)?).ok().flatten());
    let Some(uid) = uid.or_else(|| own(2)) else {
        return Err(format!("{name:?} is not a user of the image's /etc/passwd"));
    };
    let gid = match group_name {
        None => own(3).unwrap_or(0),
        Some(group_name) => match number(group_name).map_err(|()| format!("{group_name} is not a gid"))? {
            Some(gid) => gid,
            None => {
                let known = records(group).find(|fields| fields[0] == group_name);
                let gid = known.and_then(|fields| number(fields.get(2)?).ok().flatten());
                gid.ok_or_else(|| format!("{group_name:?} is not a group of the image's /etc/group"))?
            }
        },
    };
    let home =
        known.and_then(|fields| fields.get(5).map(|home| (*home).to_owned())).filter(|home| home.starts_with('/'));
    Ok(User { uid, gid, home })
}

fn records(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().map(|line| line.split(':').collect())
}

/// A number of digits only: nothing for a name, an error for what is too large to be an id. `-1` is not an id.
fn number(text: &str) -> std::result::Result<Option<u32>, ()> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    text.parse().ok().filter(|id| *id != u32::MAX).map(Some).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:2000::/home/app:/bin/sh\nbroken\nhuge:x:4294967296:0::/:\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:app\n";

    fn ids(text: &str) -> (u32, u32) {
        let user = resolve(text, PASSWD, GROUP).expect(text);
        (user.uid, user.gid)
    }

    #[test]
    fn every_form_of_a_user() {
        assert_eq!(ids(""), (0, 0));
        assert_eq!(ids("app"), (1000, 2000));
        assert_eq!(ids("1000"), (1000, 2000));
        assert_eq!(ids("app:staff"), (1000, 50));
        assert_eq!(ids("1000:7"), (1000, 7));
        assert_eq!(ids("app:7"), (1000, 7));
        assert_eq!(ids("4242:staff"), (4242, 50));
        assert_eq!(ids("4242"), (4242, 0));
        assert_eq!(resolve("1000:7", PASSWD, GROUP).expect("known").home.as_deref(), Some("/home/app"));
    }

    #[test]
    fn what_is_no_user() {
        for text in [
            "nobody",
            "4294967295",
            "4294967296",
            "huge",
            "app:none",
            "app:4294967296",
            "1000:",
            ":5",
            "+0",
            "-1",
            "0x0",
            " 0",
        ] {
            assert!(resolve(text, PASSWD, GROUP).is_err(), "{text}");
        }
        // Without tables only numbers are known.
        assert_eq!(resolve("12", "", "").map(|user| (user.uid, user.gid)), Ok((12, 0)));
        assert!(resolve("root", "", "").is_err());
    }
}

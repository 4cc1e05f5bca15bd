//! The values of a profile that are more than a number or a word: checked while they are read, so that a mistake is
//! reported with its key and line.
#![forbid(unsafe_code)]

use crate::cgroup;
use crate::seccomp::syscalls;
use crate::spec::{capability, suggest};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};

/// Reads a value from its text, and writes it as the same text.
macro_rules! text {
    ($name:ident) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

/// A capability by its name in capabilities(7), with or without `CAP_`: its bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability(pub oci_spec::runtime::Capability);
text!(Capability);

impl std::str::FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        capability::from_name(text).map(Self).ok_or_else(|| {
            let upper = format!("CAP_{}", text.trim_start_matches("CAP_").to_ascii_uppercase());
            near(&format!("unknown capability {text:?}"), &upper, capability::ALL.iter().map(|c| capability::name(*c)))
        })
    }
}

impl Ord for Capability {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        capability::bit(self.0).cmp(&capability::bit(other.0))
    }
}

impl PartialOrd for Capability {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(capability::name(self.0).trim_start_matches("CAP_"))
    }
}

/// A system call by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Syscall(String);
text!(Syscall);

impl Syscall {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Syscall {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if syscalls::is_known(text) {
            return Ok(Self(text.to_owned()));
        }
        let known = crate::seccomp::Abi::ALL.iter().flat_map(|abi| syscalls::on(*abi)).map(|(name, _)| name);
        Err(near(&format!("unknown system call {text:?}"), text, known))
    }
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn near<'a>(message: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match suggest::closest(name, known) {
        Some(meant) => format!("{message}: did you mean {meant:?}?"),
        None => message.to_owned(),
    }
}

/// An amount of bytes: a number, or a string with `K`, `M` or `G` for powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Size(pub u64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
            _ => (text, 0),
        };
        let wanted = || format!("{text:?} is not a size: write bytes, or a number with K, M or G");
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wanted());
        }
        let number: u64 = digits.parse().map_err(|_| wanted())?;
        let bytes = number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok());
        bytes.map(Self).ok_or_else(|| format!("{text:?} is more than the kernel can count"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size: bytes, or a string such as \"64M\"")
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size cannot be negative"))
            }

            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Size, E> {
                i64::try_from(bytes).map(|_| Size(bytes)).map_err(|_| E::custom("more than the kernel can count"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        self.0.fmt(f)
    }
}

/// Permission bits in octal digits: `"1777"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Octal(pub u32);
text!(Octal);

impl std::str::FromStr for Octal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777 && !text.starts_with('+'));
        bits.map(Self).ok_or_else(|| format!("{text:?} is not a mode: write up to four octal digits, such as \"1777\""))
    }
}

impl fmt::Display for Octal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// An absolute path without `.`, `..` and doubled slashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Absolute(PathBuf);
text!(Absolute);

impl Absolute {
    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether a path, absolute and clean, is this one or lies below it. `/` contains everything.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        path.starts_with(&self.0)
    }

    /// Whether a path and this one share something: one is the other, or in it. A `*` at the end of this one stands for anything
    /// in a name.
    #[must_use]
    pub fn meets(&self, path: &Path) -> bool {
        self.0.starts_with(path) || self.contains(path) || self.stands_for(path)
    }

    fn stands_for(&self, path: &Path) -> bool {
        let (Some(above), Some(name)) = (self.0.parent(), self.0.file_name()) else { return false };
        let Some(start) = name.as_encoded_bytes().strip_suffix(b"*") else { return false };
        let first = path.strip_prefix(above).ok().and_then(|below| below.iter().next());
        first.is_some_and(|first| first.as_encoded_bytes().starts_with(start))
    }
}

impl std::str::FromStr for Absolute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("{text:?} is not absolute: paths begin with a slash"));
        }
        if text.contains('\0') || crate::spec::clean(text) != text {
            return Err(format!("{text:?} is not plain: write it without `.`, `..`, doubled and trailing slashes"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Absolute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A name, or the beginning of names with a `*` at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);
text!(Pattern);

impl Pattern {
    /// Whether a name is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.0,
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('*').unwrap_or(text) {
            "" if text.is_empty() => Err("a name cannot be empty".into()),
            start if start.contains(['*', '=']) => {
                Err(format!("{text:?} is not a name: a `*` can only stand at its end, and there is no `=` in it"))
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a denied system call answers: the name of an error (errno(3)), or `kill`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The call fails with this number.
    Errno(u32),
    /// The process is killed (`SECCOMP_RET_KILL_PROCESS`).
    Kill,
}
text!(Answer);

/// Errors that make sense as an answer; the numbers below 35 are the same on every architecture, and the rest are taken from
/// the C library.
const ERRORS: [(&str, i32); 12] = [
    ("EPERM", libc::EPERM),
    ("ENOENT", libc::ENOENT),
    ("EACCES", libc::EACCES),
    ("EAGAIN", libc::EAGAIN),
    ("ENOMEM", libc::ENOMEM),
    ("EINVAL", libc::EINVAL),
    ("ENOTTY", libc::ENOTTY),
    ("ENOSYS", libc::ENOSYS),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("EAFNOSUPPORT", libc::EAFNOSUPPORT),
    ("EPROTONOSUPPORT", libc::EPROTONOSUPPORT),
    ("ENETUNREACH", libc::ENETUNREACH),
];

impl Answer {
    /// `EPERM`
    pub const EPERM: Self = Self::Errno(libc::EPERM.unsigned_abs());
    /// `ENOSYS`
    pub const ENOSYS: Self = Self::Errno(libc::ENOSYS.unsigned_abs());
    /// `EAFNOSUPPORT`
    pub const EAFNOSUPPORT: Self = Self::Errno(libc::EAFNOSUPPORT.unsigned_abs());
}

impl std::str::FromStr for Answer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "kill" {
            return Ok(Self::Kill);
        }
        let found = ERRORS.iter().find(|(name, _)| *name == text);
        found.map(|(_, number)| Self::Errno(number.unsigned_abs())).ok_or_else(|| {
            let known: Vec<_> = ERRORS.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not an answer: want kill or one of {}", known.join(", "))
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill"),
            Self::Errno(number) => match ERRORS.iter().find(|(_, known)| known.unsigned_abs() == *number) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "errno {number}"),
            },
        }
    }
}

/// A family of sockets: `unix`, `inet`, `inet6`, `netlink` …, and for netlink the protocol: `netlink:route`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    /// `AF_*`
    pub domain: u32,
    /// The third argument of socket(2), where only one protocol is meant.
    pub protocol: Option<u32>,
}
text!(Family);

/// Names and numbers of linux/socket.h.
const FAMILIES: [(&str, i32); 14] = [
    ("unix", libc::AF_UNIX),
    ("inet", libc::AF_INET),
    ("inet6", libc::AF_INET6),
    ("netlink", libc::AF_NETLINK),
    ("packet", libc::AF_PACKET),
    ("vsock", libc::AF_VSOCK),
    ("alg", libc::AF_ALG),
    ("bluetooth", libc::AF_BLUETOOTH),
    ("can", libc::AF_CAN),
    ("tipc", libc::AF_TIPC),
    ("key", libc::AF_KEY),
    ("rds", libc::AF_RDS),
    ("qipcrtr", 42),
    ("xdp", libc::AF_XDP),
];

/// Names and numbers of linux/netlink.h.
const NETLINK: [(&str, u32); 4] = [("route", 0), ("audit", 9), ("netfilter", 12), ("kobject_uevent", 15)];

impl std::str::FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (family, protocol) = match text.split_once(':') {
            Some((family, protocol)) => (family, Some(protocol)),
            None => (text, None),
        };
        let Some((_, domain)) = FAMILIES.iter().find(|(name, _)| *name == family) else {
            let known: Vec<_> = FAMILIES.iter().map(|(name, _)| *name).collect();
            return Err(format!("unknown family of sockets {family:?}: want one of {}", known.join(", ")));
        };
        let protocol = match protocol {
            None => None,
            Some(name) if family == "netlink" => match NETLINK.iter().find(|(known, _)| *known == name) {
                Some((_, number)) => Some(*number),
                None => {
                    let known: Vec<_> = NETLINK.iter().map(|(name, _)| *name).collect();
                    return Err(format!("unknown netlink protocol {name:?}: want one of {}", known.join(", ")));
                }
            },
            Some(_) => return Err(format!("{text:?}: only netlink is told apart by protocol")),
        };
        Ok(Self { domain: domain.unsigned_abs(), protocol })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FAMILIES.iter().find(|(_, domain)| domain.unsigned_abs() == self.domain);
        f.write_str(name.map_or("unknown", |(name, _)| name))?;
        match self.protocol.and_then(|number| NETLINK.iter().find(|(_, known)| *known == number)) {
            Some((protocol, _)) => write!(f, ":{protocol}"),
            None => Ok(()),
        }
    }
}

/// A version of Linux: `"6.12"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel(pub u8, pub u8);
text!(Kernel);

impl std::str::FromStr for Kernel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let version =
            text.split_once('.').and_then(|(major, minor)| Some(Self(major.parse().ok()?, minor.parse().ok()?)));
        version.ok_or_else(|| format!("{text:?} is not a version of Linux: write two numbers, such as \"6.12\""))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A SHA-256 digest in 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(String);
text!(Digest);

impl std::str::FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{text:?} is not a SHA-256 digest: want 64 lowercase hexadecimal digits, as sha256sum prints them"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What may be done with a device, in the letters of config.json: `r`, `w` and `m` (mknod).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(pub u8);
text!(Access);

/// Letters and bits.
const ACCESS: [(char, u8); 3] = [('r', cgroup::READ), ('w', cgroup::WRITE), ('m', cgroup::MKNOD)];

impl Access {
    /// All three.
    pub const ALL: Self = Self(cgroup::ALL);
}

impl std::str::FromStr for Access {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bit = |letter| ACCESS.iter().find(|(known, _)| *known == letter).map(|(_, bit)| *bit);
        let bits = text.chars().try_fold(0, |bits, letter| Some(bits | bit(letter)?)).filter(|bits| *bits != 0);
        bits.map(Self).ok_or_else(|| format!("{text:?} is not an access: want letters of \"rwm\""))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ACCESS.iter().filter(|(_, bit)| self.0 & bit != 0).try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

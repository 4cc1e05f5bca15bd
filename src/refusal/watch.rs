//! The calls that a report hears of although the filter allows them: what else the kernel may refuse.
#![forbid(unsafe_code)]

use crate::seccomp::{Abi, Watched, syscalls};
use serde::Serialize;

/// How much a report hears of. What the filter denies, it always does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Watch {
    /// Only what the filter denies: what it allows costs nothing extra.
    #[default]
    Denied,
    /// What changes files, executes programs, uses the network or takes a capability.
    Changes,
    /// Opening files for reading as well.
    Everything,
}

/// What a call does to the file that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Makes the name.
    Create,
    /// Removes the name.
    Remove,
    /// Changes what is in the file.
    Write,
    /// Sets mode, times or attributes, which is the owner's right.
    Attributes,
    /// Sets the owner.
    Owner,
    /// Makes a file that may be a device, by the mode in this argument.
    Device(usize),
}

/// What a call is about, with the places of its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// open(2): flags.
    Open(Path, usize),
    /// openat2(2): the flags are in memory.
    OpenHow(Path, usize),
    /// creat(2).
    Creat(Path),
    /// One name; whether a link at its end is followed.
    Change(Path, Change, bool),
    /// One name is removed, another made.
    Move(Path, Path),
    /// execve(2).
    Execute(Path),
    /// connect(2) and the like: address and its length.
    Connect(usize, usize),
    /// bind(2).
    Bind(usize, usize),
    /// socket(2).
    Socket,
    /// Takes a capability, of the initial user namespace if so said.
    Privileged(u8, bool),
    /// Makes or enters namespaces by flags in this argument: CAP_SYS_ADMIN, unless it is a user namespace.
    Namespaces(usize),
    /// setuid(2) and its kin: how many ids, from the first argument on; whether of groups.
    SetIds(usize, bool),
}

/// Where a name is among the arguments: what it is relative to (`None`: the working directory), and itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) directory: Option<usize>,
    pub(super) name: usize,
}

const fn plain(name: usize) -> Path {
    Path { directory: None, name }
}

const fn at(directory: usize) -> Path {
    Path { directory: Some(directory), name: directory + 1 }
}

/// Whatever changes something, as this architecture has it (asm/fcntl.h).
const CHANGES: u64 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC).cast_unsigned() as u64;

pub(super) mod capability {
    //! linux/capability.h.
    pub(in crate::refusal) const CHOWN: u8 = 0;
    pub(in crate::refusal) const DAC_OVERRIDE: u8 = 1;
    pub(in crate::refusal) const DAC_READ_SEARCH: u8 = 2;
    pub(in crate::refusal) const FOWNER: u8 = 3;
    pub(in crate::refusal) const SETGID: u8 = 6;
    pub(in crate::refusal) const SETUID: u8 = 7;
    pub(in crate::refusal) const NET_BIND_SERVICE: u8 = 10;
    pub(in crate::refusal) const NET_RAW: u8 = 13;
    pub(in crate::refusal) const SYS_MODULE: u8 = 16;
    pub(in crate::refusal) const SYS_RAWIO: u8 = 17;
    pub(in crate::refusal) const SYS_CHROOT: u8 = 18;
    pub(in crate::refusal) const SYS_PACCT: u8 = 20;
    pub(in crate::refusal) const SYS_ADMIN: u8 = 21;
    pub(in crate::refusal) const SYS_BOOT: u8 = 22;
    pub(in crate::refusal) const SYS_TIME: u8 = 25;
    pub(in crate::refusal) const SYS_TTY_CONFIG: u8 = 26;
    pub(in crate::refusal) const MKNOD: u8 = 27;
    pub(in crate::refusal) const SYSLOG: u8 = 34;
}

use capability as cap;

/// Every call that is known here, by name. Of those that take their arguments in memory (clone3, sendmsg) only what the filter
/// denies is heard of.
pub(super) const CALLS: &[(&str, Kind)] = &[
    ("open", Kind::Open(plain(0), 1)),
    ("openat", Kind::Open(at(0), 2)),
    ("openat2", Kind::OpenHow(at(0), 2)),
    ("creat", Kind::Creat(plain(0))),
    ("mkdir", Kind::Change(plain(0), Change::Create, false)),
    ("mkdirat", Kind::Change(at(0), Change::Create, false)),
    ("mknod", Kind::Change(plain(0), Change::Device(1), false)),
    ("mknodat", Kind::Change(at(0), Change::Device(2), false)),
    ("symlink", Kind::Change(plain(1), Change::Create, false)),
    ("symlinkat", Kind::Change(at(1), Change::Create, false)),
    ("link", Kind::Change(plain(1), Change::Create, false)),
    ("linkat", Kind::Change(at(2), Change::Create, false)),
    ("rmdir", Kind::Change(plain(0), Change::Remove, false)),
    ("unlink", Kind::Change(plain(0), Change::Remove, false)),
    ("unlinkat", Kind::Change(at(0), Change::Remove, false)),
    ("rename", Kind::Move(plain(0), plain(1))),
    ("renameat", Kind::Move(at(0), at(2))),
    ("renameat2", Kind::Move(at(0), at(2))),
    ("truncate", Kind::Change(plain(0), Change::Write, true)),
    ("truncate64", Kind::Change(plain(0), Change::Write, true)),
    ("chmod", Kind::Change(plain(0), Change::Attributes, true)),
    ("fchmodat", Kind::Change(at(0), Change::Attributes, true)),
    ("fchmodat2", Kind::Change(at(0), Change::Attributes, true)),
    ("utime", Kind::Change(plain(0), Change::Attributes, true)),
    ("utimes", Kind::Change(plain(0), Change::Attributes, true)),
    ("futimesat", Kind::Change(at(0), Change::Attributes, true)),
    ("utimensat", Kind::Change(at(0), Change::Attributes, true)),
    ("setxattr", Kind::Change(plain(0), Change::Attributes, true)),
    ("lsetxattr", Kind::Change(plain(0), Change::Attributes, false)),
    ("removexattr", Kind::Change(plain(0), Change::Attributes, true)),
    ("chown", Kind::Change(plain(0), Change::Owner, true)),
    ("lchown", Kind::Change(plain(0), Change::Owner, false)),
    ("fchownat", Kind::Change(at(0), Change::Owner, false)),
    ("execve", Kind::Execute(plain(0))),
    ("execveat", Kind::Execute(at(0))),
    ("connect", Kind::Connect(1, 2)),
    ("sendto", Kind::Connect(4, 5)),
    ("bind", Kind::Bind(1, 2)),
    ("socket", Kind::Socket),
    ("mount", Kind::Privileged(cap::SYS_ADMIN, false)),
    ("umount2", Kind::Privileged(cap::SYS_ADMIN, false)),
    ("pivot_root", Kind::Privileged(cap::SYS_ADMIN, false)),
    ("fsopen", Kind::Privileged(cap::SYS_ADMIN, false)),
    ("move_mount", Kind::Privileged(cap::SYS_ADMIN, false)),
    ("mount_setattr", Kind::Privileged(cap::SYS_ADMIN, false)),
    ("setns", Kind::Privileged(cap::SYS_ADMIN, false)),
    ("sethostname", Kind::Privileged(cap::SYS_ADMIN, false)),
    ("setdomainname", Kind::Privileged(cap::SYS_ADMIN, false)),
    ("unshare", Kind::Namespaces(0)),
    ("clone", Kind::Namespaces(0)),
    ("chroot", Kind::Privileged(cap::SYS_CHROOT, false)),
    ("setuid", Kind::SetIds(1, false)),
    ("setreuid", Kind::SetIds(2, false)),
    ("setresuid", Kind::SetIds(3, false)),
    ("setgid", Kind::SetIds(1, true)),
    ("setregid", Kind::SetIds(2, true)),
    ("setresgid", Kind::SetIds(3, true)),
    ("setgroups", Kind::Privileged(cap::SETGID, false)),
    ("swapon", Kind::Privileged(cap::SYS_ADMIN, true)),
    ("swapoff", Kind::Privileged(cap::SYS_ADMIN, true)),
    ("quotactl", Kind::Privileged(cap::SYS_ADMIN, true)),
    ("acct", Kind::Privileged(cap::SYS_PACCT, true)),
    ("reboot", Kind::Privileged(cap::SYS_BOOT, false)),
    ("kexec_load", Kind::Privileged(cap::SYS_BOOT, true)),
    ("init_module", Kind::Privileged(cap::SYS_MODULE, true)),
    ("finit_module", Kind::Privileged(cap::SYS_MODULE, true)),
    ("delete_module", Kind::Privileged(cap::SYS_MODULE, true)),
    ("iopl", Kind::Privileged(cap::SYS_RAWIO, true)),
    ("ioperm", Kind::Privileged(cap::SYS_RAWIO, true)),
    ("settimeofday", Kind::Privileged(cap::SYS_TIME, true)),
    ("clock_settime", Kind::Privileged(cap::SYS_TIME, true)),
    ("vhangup", Kind::Privileged(cap::SYS_TTY_CONFIG, false)),
    ("syslog", Kind::Privileged(cap::SYSLOG, true)),
    ("open_by_handle_at", Kind::Privileged(cap::DAC_READ_SEARCH, true)),
];

/// `CLONE_NEW*` of clone(2); `CLONE_NEWTIME` is not among them, since clone(2) has it as part of the signal.
const NAMESPACES: u64 = 0x7e02_0000;

impl Watch {
    /// The calls to hear of beside those that are denied, for [`crate::seccomp::notifying`].
    pub fn calls(self, native: Abi) -> Vec<Watched> {
        if self == Self::Denied {
            return Vec::new();
        }
        let condition = |kind: Kind| match kind {
            Kind::Open(_, flags) if self == Self::Changes => Some((index(flags), CHANGES)),
            // Without an address the socket is connected, and connect was heard of.
            Kind::Connect(address, _) => Some((index(address), u64::MAX)),
            Kind::Namespaces(flags) => Some((index(flags), NAMESPACES)),
            _ => None,
        };
        CALLS
            .iter()
            .filter_map(|(name, kind)| Some(Watched { nr: syscalls::number(name, native)?, only: condition(*kind) }))
            .collect()
    }
}

fn index(argument: usize) -> u8 {
    u8::try_from(argument).unwrap_or(0)
}

/// What is known of a call by its number on the native ABI.
pub(super) fn find(nr: u32, native: Abi) -> Option<(&'static str, Kind)> {
    CALLS.iter().find(|(name, _)| syscalls::number(name, native) == Some(nr)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{check, compile_for, notifying};

    #[test]
    fn every_call_is_one_and_the_lists_fit_into_a_filter() {
        for (name, _) in CALLS {
            assert!(syscalls::is_known(name), "{name}");
        }
        let allow: oci_spec::runtime::LinuxSeccomp =
            serde_json::from_str(r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#).expect("a policy");
        for abi in [Abi::X86_64, Abi::Aarch64, Abi::Riscv64, Abi::S390x] {
            let program = compile_for(abi, &allow).expect("a program");
            for watch in [Watch::Denied, Watch::Changes, Watch::Everything] {
                let asking = notifying(&program, &watch.calls(abi), &[1]).expect("a program");
                assert_eq!(check(&asking.insns), Ok(()), "{abi:?} {watch:?}");
            }
        }
    }

    #[test]
    fn reading_is_heard_of_only_when_asked() {
        let open = |watch: Watch, flags: i32| {
            let calls = watch.calls(Abi::X86_64);
            let call = calls.iter().find(|call| call.nr == 257);
            call.is_some_and(|call| call.only.is_none_or(|(_, mask)| mask & u64::from(flags.cast_unsigned()) != 0))
        };
        for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC, libc::O_TMPFILE | libc::O_RDWR] {
            assert!(open(Watch::Changes, flags) && !open(Watch::Denied, flags), "{flags:o}");
        }
        assert!(!open(Watch::Changes, libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY | libc::O_PATH));
        assert!(open(Watch::Everything, libc::O_RDONLY));
    }
}

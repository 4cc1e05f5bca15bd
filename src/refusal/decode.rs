//! Calls in words: `socket(AF_ALG)`, by their numbers alone.
#![forbid(unsafe_code)]

use crate::fences::{Fence, TERMINALS};
use crate::seccomp::{Abi, X32_BIT, syscalls};
use std::fmt::Write as _;

/// A system call as its caller would write it, with the one argument that usually is why it is denied.
pub(super) fn describe(abis: &[Abi], arch: u32, nr: u32, args: [u64; 6]) -> (String, &'static str) {
    let of_arch = |abi: &&Abi| {
        abi.audit_arch() == arch && (**abi == Abi::X32) == (nr & X32_BIT != 0 && arch == Abi::X32.audit_arch())
    };
    let abi = abis.iter().find(of_arch).copied();
    let known = abi.and_then(|abi| syscalls::on(abi).find(|(_, number)| *number == nr));
    let Some((name, _)) = known else { return (format!("system call {nr}"), "unknown") };
    let low = |at: usize| u32::try_from(args[at] & 0xffff_ffff).unwrap_or(0);
    let argument = match name {
        "socket" | "socketpair" => Some(family(low(0))),
        "clone" | "unshare" => namespaces(args[0]),
        "setns" => namespaces(u64::from(low(1))),
        "prctl" => Some(named(low(0), PRCTL)),
        "ioctl" => Some(ioctl(low(1))),
        "personality" => Some(format!("{:#x}", low(0))),
        "fcntl" | "fcntl64" => Some(named(low(1), FCNTL)),
        _ if Fence::of(name, &args) == Some(Fence::SetId) => set_id(name, args),
        _ => None,
    };
    (format!("{name}({})", argument.unwrap_or_default()), name)
}

/// Numbers that are not known are all the same, so that a program cannot make up many.
fn named(value: u32, names: &[(u32, &str)]) -> String {
    names.iter().find(|(number, _)| *number == value).map_or_else(|| "…".to_owned(), |(_, name)| (*name).to_owned())
}

/// linux/socket.h.
const FAMILIES: [&str; 46] = [
    "UNSPEC",
    "UNIX",
    "INET",
    "AX25",
    "IPX",
    "APPLETALK",
    "NETROM",
    "BRIDGE",
    "ATMPVC",
    "X25",
    "INET6",
    "ROSE",
    "DECnet",
    "NETBEUI",
    "SECURITY",
    "KEY",
    "NETLINK",
    "PACKET",
    "ASH",
    "ECONET",
    "ATMSVC",
    "RDS",
    "SNA",
    "IRDA",
    "PPPOX",
    "WANPIPE",
    "LLC",
    "IB",
    "MPLS",
    "CAN",
    "TIPC",
    "BLUETOOTH",
    "IUCV",
    "RXRPC",
    "ISDN",
    "PHONET",
    "IEEE802154",
    "CAIF",
    "ALG",
    "NFC",
    "VSOCK",
    "KCM",
    "QIPCRTR",
    "SMC",
    "XDP",
    "MCTP",
];

fn family(number: u32) -> String {
    let name = usize::try_from(number).ok().and_then(|number| FAMILIES.get(number));
    name.map_or_else(|| "…".to_owned(), |name| format!("AF_{name}"))
}

fn namespaces(flags: u64) -> Option<String> {
    let names = [
        (0x80, "CLONE_NEWTIME"),
        (0x0002_0000, "CLONE_NEWNS"),
        (0x0200_0000, "CLONE_NEWCGROUP"),
        (0x0400_0000, "CLONE_NEWUTS"),
        (0x0800_0000, "CLONE_NEWIPC"),
        (0x1000_0000, "CLONE_NEWUSER"),
        (0x2000_0000, "CLONE_NEWPID"),
        (0x4000_0000, "CLONE_NEWNET"),
    ];
    let mut text = String::new();
    for (_, name) in names.iter().filter(|(bit, _)| flags & bit != 0) {
        let separator = if text.is_empty() { "" } else { "|" };
        // Writing to a string does not fail.
        let _written = write!(text, "{separator}{name}");
    }
    (!text.is_empty()).then_some(text)
}

/// Which of the two bits are in a mode.
fn set_id(name: &str, args: [u64; 6]) -> Option<String> {
    let bits = [(libc::S_ISUID, "S_ISUID"), (libc::S_ISGID, "S_ISGID")];
    let mode = args[crate::fences::mode_of(name)?];
    let set = bits.iter().filter(|(bit, _)| mode & u64::from(*bit) != 0).map(|(_, name)| *name);
    Some(set.collect::<Vec<_>>().join("|"))
}

/// linux/fcntl.h.
const FCNTL: &[(u32, &str)] = &[(1024, "F_SETLEASE"), (1026, "F_NOTIFY"), (1040, "F_SETDELEG")];

/// linux/prctl.h: what filters usually look at.
const PRCTL: &[(u32, &str)] = &[
    (8, "PR_SET_KEEPCAPS"),
    (15, "PR_SET_NAME"),
    (22, "PR_SET_SECCOMP"),
    (23, "PR_CAPBSET_READ"),
    (24, "PR_CAPBSET_DROP"),
    (28, "PR_SET_SECUREBITS"),
    (35, "PR_SET_MM"),
    (36, "PR_SET_CHILD_SUBREAPER"),
    (38, "PR_SET_NO_NEW_PRIVS"),
    (47, "PR_CAP_AMBIENT"),
    (52, "PR_SET_SPECULATION_CTRL"),
    (59, "PR_SET_SYSCALL_USER_DISPATCH"),
    (0x5961_6d61, "PR_SET_PTRACER"),
    (0x5356_4d41, "PR_SET_VMA"),
];

/// asm-generic/ioctls.h, beside those of [`TERMINALS`].
const IOCTL: &[(u32, &str)] =
    &[(0x5422, "TIOCNOTTY"), (0x540e, "TIOCSCTTY"), (0x541a, "TIOCSSOFTCAR"), (0x8901, "FIOSETOWN")];

/// linux/kd.h and linux/vt.h.
fn ioctl(request: u32) -> String {
    match request & 0xffff_ff00 {
        0x4b00 => "KD…".to_owned(),
        0x5600 => "VT_…".to_owned(),
        _ if TERMINALS.iter().any(|(known, _)| *known == request) => named(request, &TERMINALS),
        _ => named(request, IOCTL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_words() {
        let say = |name, args| {
            let nr = syscalls::number(name, Abi::X86_64).expect("a call");
            describe(&[Abi::X86_64, Abi::X32, Abi::X86], Abi::X86_64.audit_arch(), nr, args).0
        };
        assert_eq!(say("socket", [38, 5, 0, 0, 0, 0]), "socket(AF_ALG)");
        assert_eq!(say("socket", [0xffff_ffff_0000_0028, 5, 0, 0, 0, 0]), "socket(AF_VSOCK)");
        assert_eq!(say("socket", [99, 5, 0, 0, 0, 0]), "socket(…)");
        assert_eq!(say("unshare", [0x1002_0000, 0, 0, 0, 0, 0]), "unshare(CLONE_NEWNS|CLONE_NEWUSER)");
        assert_eq!(say("ioctl", [0, 0x5412, 0, 0, 0, 0]), "ioctl(TIOCSTI)");
        assert_eq!(say("ioctl", [0, 0x540c, 0, 0, 0, 0]), "ioctl(TIOCEXCL)");
        assert_eq!(say("ioctl", [0, 0x5606, 0, 0, 0, 0]), "ioctl(VT_…)");
        assert_eq!(say("fcntl", [0, 1024, 0, 0, 0, 0]), "fcntl(F_SETLEASE)");
        assert_eq!(say("chmod", [0, 0o6755, 0, 0, 0, 0]), "chmod(S_ISUID|S_ISGID)");
        assert_eq!(say("openat", [3, 0, 0x40, 0o2755, 0, 0]), "openat(S_ISGID)");
        assert_eq!(say("openat", [3, 0, 0, 0o2755, 0, 0]), "openat()");
        assert_eq!(say("mount", [0; 6]), "mount()");
        assert_eq!(
            describe(&[Abi::X86_64], Abi::X86_64.audit_arch(), 5000, [0; 6]),
            ("system call 5000".into(), "unknown")
        );
        assert_eq!(describe(&[Abi::X86_64, Abi::X86], Abi::X86.audit_arch(), 21, [0; 6]).0, "mount()");
    }
}

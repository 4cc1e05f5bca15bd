//! Calls that 32-bit x86 and some others also make by way of one carrier call: socketcall(2) and ipc(2).
#![forbid(unsafe_code)]

use super::condition::{Comparison, Test};

/// A carrier and the calls it carries.
pub(super) struct Family {
    pub(super) carrier: &'static str,
    /// Bits of the carrier's first argument that choose the call.
    selector: u64,
    /// Names and the carrier's first argument (linux/net.h, linux/ipc.h).
    pub(super) calls: &'static [(&'static str, u64)],
}

pub(super) static FAMILIES: [Family; 2] = [
    Family {
        carrier: "socketcall",
        selector: 0xffff_ffff,
        calls: &[
            ("socket", 1),
            ("bind", 2),
            ("connect", 3),
            ("listen", 4),
            ("accept", 5),
            ("getsockname", 6),
            ("getpeername", 7),
            ("socketpair", 8),
            ("send", 9),
            ("recv", 10),
            ("sendto", 11),
            ("recvfrom", 12),
            ("shutdown", 13),
            ("setsockopt", 14),
            ("getsockopt", 15),
            ("sendmsg", 16),
            ("recvmsg", 17),
            ("accept4", 18),
            ("recvmmsg", 19),
            ("sendmmsg", 20),
        ],
    },
    Family {
        carrier: "ipc",
        // The upper half is a version of the interface, which the kernel splits off.
        selector: 0xffff,
        calls: &[
            ("semop", 1),
            ("semget", 2),
            ("semctl", 3),
            ("semtimedop", 4),
            ("msgsnd", 11),
            ("msgrcv", 12),
            ("msgget", 13),
            ("msgctl", 14),
            ("shmat", 21),
            ("shmdt", 22),
            ("shmget", 23),
            ("shmctl", 24),
        ],
    },
];

impl Family {
    /// Whether the carrier makes this call. A rule that restricts looks only at the bits the kernel looks at; one that allows
    /// takes the plain number only, as libseccomp does.
    pub(super) fn test(&self, call: u64, restricts: bool) -> Test {
        let mask = if restricts { self.selector } else { 0xffff_ffff };
        Test { argument: 0, mask, comparison: Comparison::Equal(call), negate: false }
    }
}

//! What goes round a list of TCP ports: Landlock looks at sockets of plain TCP only (`sk_is_tcp` in security/landlock/net.c),
//! at bind(2) and connect(2). Where a profile has such a list, the filter leaves no other way to the same ports.
//!
//! UDP is not ruled: neither its ports nor where it is sent. Nor is the port that listen(2) chooses for a socket that was
//! never bound, which is of the ephemeral ones.
#![forbid(unsafe_code)]

use super::format::{Comparison, Condition, Landlock, SeccompRule};
use super::values::Answer;

/// `MSG_FASTOPEN`: connects without connect(2), and without its hook.
const FAST_OPEN: u64 = 0x2000_0000;
/// linux/in.h: the protocols that sockets of the internet have beside TCP without a port of TCP's: any (the usual one of the
/// type), ICMP, UDP, ICMPv6.
const HARMLESS: [u64; 5] = [0, 1, 6, 17, 58];
/// Families whose sockets reach TCP ports as they please: `AF_PACKET`, `AF_RDS`, `AF_SMC`, `AF_XDP`.
const OTHER_FAMILIES: [u64; 4] = [17, 21, 43, 44];
/// `AF_INET`, `AF_INET6`.
const INTERNET: [u64; 2] = [2, 10];
/// Types that are neither `SOCK_STREAM` (1) nor `SOCK_DGRAM` (2) by their bits: raw, seqpacket (SCTP), DCCP, packet.
const OTHER_TYPES: [(u64, u64); 3] = [(0x4, 0x4), (0x8, 0x8), (0x3, 0x3)];

/// The rules beside the port lists of a profile; none where it has no list.
pub(super) fn rules(landlock: &Landlock) -> Vec<SeccompRule> {
    if landlock.bind_tcp.is_none() && landlock.connect_tcp.is_none() {
        return Vec::new();
    }
    let unsupported = libc::EPROTONOSUPPORT.unsigned_abs();
    let mut rules = Vec::new();
    for family in INTERNET {
        // MPTCP (262), SCTP, DCCP, UDP-Lite, SMC (256), L2TP and whatever comes: as on a kernel without them.
        let others = HARMLESS.iter().map(|protocol| condition(2, Comparison::Ne, *protocol));
        let others = [condition(0, Comparison::Eq, family)].into_iter().chain(others).collect();
        rules.push(deny(&["socket"], unsupported, others));
        for (mask, value) in OTHER_TYPES {
            let args = vec![condition(0, Comparison::Eq, family), masked(1, mask, value)];
            rules.push(deny(&["socket"], unsupported, args));
        }
    }
    for family in OTHER_FAMILIES {
        let args = vec![condition(0, Comparison::Eq, family)];
        rules.push(deny(&["socket"], libc::EAFNOSUPPORT.unsigned_abs(), args));
    }
    // SOL_TCP, TCP_ULP: its name, in memory, may be smc, which makes another kind of socket of this one. TLS of the kernel's is
    // by the same option: libraries go on with their own.
    let upper_layer = vec![condition(1, Comparison::Eq, 6), condition(2, Comparison::Eq, 31)];
    rules.push(deny(&["setsockopt"], libc::ENOENT.unsigned_abs(), upper_layer));
    // As where fast open is off: callers go on with connect(2).
    let unavailable = libc::EOPNOTSUPP.unsigned_abs();
    rules.push(deny(&["sendto", "sendmmsg"], unavailable, vec![masked(3, FAST_OPEN, FAST_OPEN)]));
    rules.push(deny(&["sendmsg"], unavailable, vec![masked(2, FAST_OPEN, FAST_OPEN)]));
    // Their arguments are in memory, where a filter does not see them.
    let unseen = ["socketcall", "io_uring_setup", "io_uring_enter", "io_uring_register"];
    rules.push(deny(&unseen, libc::ENOSYS.unsigned_abs(), Vec::new()));
    rules
}

fn deny(names: &[&str], errno: u32, args: Vec<Condition>) -> SeccompRule {
    let names = names.iter().filter_map(|name| name.parse().ok()).collect();
    SeccompRule { names, answer: Some(Answer::Errno(errno)), args }
}

fn condition(index: u8, op: Comparison, value: u64) -> Condition {
    Condition { index, op, value, mask: None }
}

fn masked(index: u8, mask: u64, value: u64) -> Condition {
    Condition { index, op: Comparison::Masked, value, mask: Some(mask) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Mode, Profile, Rule, compile_seccomp, parse};
    use crate::seccomp::Abi;

    const EPROTONOSUPPORT: u32 = 93;

    fn answers(profile: &Profile, call: &str, args: [u64; 6]) -> Option<u32> {
        let program = compile_seccomp(profile).expect("a filter").expect("rules");
        let abi = Abi::NATIVE.expect("a known machine");
        let number = crate::seccomp::syscalls::number(call, abi).expect(call);
        let action = program.verdict(abi.audit_arch(), number, args);
        (action & 0xffff_0000 == libc::SECCOMP_RET_ERRNO).then_some(action & 0xffff)
    }

    #[test]
    fn no_other_protocol_goes_round_a_list_of_ports() {
        for text in [
            "version = 1\n[landlock]\nbind_tcp = [80]\n",
            "version = 1\n[landlock]\nconnect_tcp = []\n[seccomp]\nallow = [\"socket\", \"setsockopt\", \"sendto\", \"sendmsg\", \"sendmmsg\"]\nfamilies = [\"inet\", \"inet6\", \"unix\"]\n",
        ] {
            let profile = parse("test", text).expect(text);
            let socket = |family, kind, protocol| answers(&profile, "socket", [family, kind, protocol, 0, 0, 0]);
            for family in INTERNET {
                for (kind, protocol) in [(1, 0), (1, 6), (2, 0), (2, 17), (2, 1), (2, 58), (0x80801, 6)] {
                    assert_eq!(socket(family, kind, protocol), None, "{family} {kind} {protocol}");
                }
                for (kind, protocol) in [
                    (1, 262),
                    (1, 132),
                    (5, 132),
                    (5, 0),
                    (6, 33),
                    (6, 0),
                    (2, 136),
                    (1, 256),
                    (2, 115),
                    (3, 6),
                    (3, 255),
                    (10, 3),
                    (0x80805, 0),
                    (1, 0x1_0000_0106),
                ] {
                    assert_eq!(socket(family, kind, protocol), Some(EPROTONOSUPPORT), "{family} {kind} {protocol}");
                }
            }
            for family in OTHER_FAMILIES {
                assert_eq!(socket(family, 1, 0), Some(97), "{family}");
            }
            assert_eq!(socket(1, 5, 0), None, "a sequence of packets between UNIX sockets");
            assert_eq!(answers(&profile, "setsockopt", [3, 6, 31, 0, 0, 0]), Some(2));
            assert_eq!(answers(&profile, "setsockopt", [3, 6, 1, 0, 0, 0]), None);
            for (call, at) in [("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)] {
                let mut args = [0; 6];
                assert_eq!(answers(&profile, call, args), None, "{call}");
                args[at] = FAST_OPEN | 0x4000;
                assert_eq!(answers(&profile, call, args), Some(95), "{call}");
            }
        }
    }

    #[test]
    fn without_a_list_there_is_no_rule() {
        let mut profile = parse("test", "version = 1\n").expect("a profile");
        assert!(compile_seccomp(&profile).expect("nothing").is_none());
        profile.landlock.bind_tcp = Some([80].into());
        assert!(compile_seccomp(&profile).expect("a filter").is_some());
        profile.modes.insert(Rule::Landlock, Mode::Warn);
        assert!(compile_seccomp(&profile).expect("nothing").is_none(), "no list is in force");
    }
}

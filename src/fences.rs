//! What a program is kept from that would outlast it: rules on system calls that `pent sandbox` has whatever its
//! profile says, and that a profile has by a key of its own.
//!
//! Each rule is a denial by the bits of arguments in the width that the kernel gives these ([`crate::seccomp`] cuts the
//! register to it): what the kernel does not look at is not compared.
#![forbid(unsafe_code)]

use oci_spec::runtime::{
    LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator, LinuxSyscall,
};

/// A kind of what outlasts a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// Files with a set-user-id or set-group-id bit: whoever executes one on the host has its owner's rights.
    SetId,
    /// Leases and notices of files: who opens such a file waits for whoever holds the lease.
    Leases,
    /// What is done to a terminal beyond its settings: others cannot open it any more, its line discipline, its
    /// console, and what is typed into it.
    Terminals,
}

impl Fence {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::SetId, Self::Leases, Self::Terminals];

    /// Why it is not advised to take it down.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::SetId => {
                "a set-user-id or set-group-id file would outlast the program, with its owner's rights for everybody"
            }
            Self::Leases => "a lease or notice would keep others waiting who use the file",
            Self::Terminals => "it would reach whoever uses the terminal afterwards",
        }
    }

    /// Its rules. No two of them contradict each other.
    #[must_use]
    pub fn rules(self) -> Vec<Rule> {
        match self {
            Self::SetId => set_id(),
            Self::Leases => leases(),
            Self::Terminals => terminals(),
        }
    }

    /// The fence that keeps a program from this call, if one does; with the registers as they were.
    #[must_use]
    pub fn of(call: &str, args: &[u64; 6]) -> Option<Self> {
        Self::ALL.into_iter().find(|fence| fence.rules().iter().any(|rule| rule.holds(call, args)))
    }
}

/// A denial: these calls, with these bits in their arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The calls.
    pub names: &'static [&'static str],
    /// The answer.
    pub errno: i32,
    /// All of them must hold.
    pub args: Vec<Masked>,
}

/// Some bits of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked {
    /// Which argument.
    pub index: u8,
    /// The bits that are compared.
    pub mask: u64,
    /// What they are.
    pub value: u64,
}

impl Rule {
    fn deny(names: &'static [&'static str], args: Vec<Masked>) -> Self {
        Self { names, errno: libc::EPERM, args }
    }

    /// As if the kernel had no such calls, so that programs take others whose arguments a filter sees.
    fn hide(names: &'static [&'static str]) -> Self {
        Self { names, errno: libc::ENOSYS, args: Vec::new() }
    }

    fn holds(&self, call: &str, args: &[u64; 6]) -> bool {
        let bits = |masked: &Masked| args.get(usize::from(masked.index)).map(|arg| arg & masked.mask);
        self.names.contains(&call) && self.args.iter().all(|masked| bits(masked) == Some(masked.value))
    }

    /// As config.json has it.
    #[must_use]
    pub fn to_oci(&self) -> LinuxSyscall {
        let args: Vec<_> = self.args.iter().copied().map(Masked::to_oci).collect();
        let mut rule = LinuxSyscall::default();
        rule.set_names(self.names.iter().map(|name| (*name).to_owned()).collect());
        rule.set_action(LinuxSeccompAction::ScmpActErrno);
        rule.set_errno_ret(Some(self.errno.unsigned_abs()));
        rule.set_args(Some(args).filter(|args| !args.is_empty()));
        rule
    }
}

impl Masked {
    /// All of the bits in `bits` are set.
    fn set(index: u8, bits: u32) -> Self {
        Self { index, mask: bits.into(), value: bits.into() }
    }

    /// The low 32 bits, which are all that the kernel looks at, are these.
    fn word(index: u8, value: u32) -> Self {
        Self { index, mask: 0xffff_ffff, value: value.into() }
    }

    fn to_oci(self) -> LinuxSeccompArg {
        let argument = LinuxSeccompArgBuilder::default()
            .index(usize::from(self.index))
            .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
            .value(self.mask)
            .value_two(self.value);
        argument.build().unwrap_or_else(|error| unreachable!("every member has a default: {error}"))
    }
}

/// The calls that set a mode, with the place of the mode: as of systemd's `RestrictSUIDSGID=`. Of those that make
/// something other than a file the kernel drops the bits today; that no filesystem does otherwise is not for this to
/// rely on.
const MODES: [(u8, &[&str]); 2] =
    [(1, &["chmod", "fchmod", "creat", "mkdir", "mknod"]), (2, &["fchmodat", "fchmodat2", "mkdirat", "mknodat"])];

/// The calls that set one only where they make a file: else the argument is what happens to be in the register. With
/// the places of the flags and of the mode.
const OPENS: [(u8, u8, &[&str]); 2] = [(1, 2, &["open"]), (2, 3, &["openat"])];

/// Where a call has its mode.
pub(crate) fn mode_of(call: &str) -> Option<usize> {
    let set = MODES.iter().map(|(mode, names)| (*mode, *names));
    let made = OPENS.iter().map(|(_, mode, names)| (*mode, *names));
    set.chain(made).find(|(_, names)| names.contains(&call)).map(|(mode, _)| usize::from(mode))
}

/// What takes its mode from memory, where a filter cannot see it: openat2 itself, and io_uring, which opens files for a
/// program.
const UNSEEN: &[&str] = &["openat2", "io_uring_setup", "io_uring_enter", "io_uring_register"];

/// That a file is made: by its name, or without one (`__O_TMPFILE`; `O_TMPFILE` has the bit of `O_DIRECTORY` beside
/// it).
const MAKES: [i32; 2] = [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY];

fn set_id() -> Vec<Rule> {
    let mut rules = vec![Rule::hide(UNSEEN)];
    for bit in [libc::S_ISUID, libc::S_ISGID] {
        #[allow(clippy::useless_conversion, reason = "mode_t has not the same width everywhere")]
        let bit = u32::from(bit);
        rules.extend(MODES.map(|(mode, names)| Rule::deny(names, vec![Masked::set(mode, bit)])));
        for (flags, mode, names) in OPENS {
            let made = |flag: i32| Masked::set(flags, flag.cast_unsigned());
            rules.extend(MAKES.map(|flag| Rule::deny(names, vec![made(flag), Masked::set(mode, bit)])));
        }
    }
    rules
}

/// linux/fcntl.h: `F_SETLEASE`, `F_NOTIFY`, and `F_SETDELEG` (Linux 6.19).
const LEASES: [u32; 3] = [1024, 1026, 1040];

fn leases() -> Vec<Rule> {
    let rule = |command: &u32| Rule::deny(&["fcntl", "fcntl64"], vec![Masked::word(1, *command)]);
    LEASES.iter().map(rule).collect()
}

/// asm-generic/ioctls.h: requests to a terminal that others notice after the program. What sets its modes, size and
/// process groups is not among them: programs do that all the time, and `pent sandbox` puts it back.
pub(crate) const TERMINALS: [(u32, &str); 19] = [
    // Nobody else opens it.
    (0x540c, "TIOCEXCL"),
    // Typed as if its user had.
    (0x5412, "TIOCSTI"),
    (0x541c, "TIOCLINUX"),
    // The lines of a modem: whoever is at the other end is hung up on.
    (0x5416, "TIOCMBIS"),
    (0x5417, "TIOCMBIC"),
    (0x5418, "TIOCMSET"),
    // What the kernel says on its console.
    (0x541d, "TIOCCONS"),
    // A serial line's speed, address and protocol.
    (0x541f, "TIOCSSERIAL"),
    (0x542f, "TIOCSRS485"),
    (0x5453, "TIOCSERCONFIG"),
    (0x5455, "TIOCSERSWILD"),
    (0x545b, "TIOCSERSETMULTI"),
    (0xc028_5443, "TIOCSISO7816"),
    // Its line discipline: which part of the kernel reads what is typed.
    (0x5423, "TIOCSETD"),
    // Its state and who reads it are not the program's to choose: the other side of a pseudo-terminal.
    (0x5420, "TIOCPKT"),
    (0x4004_5436, "TIOCSIG"),
    // A break that is never ended.
    (0x5427, "TIOCSBRK"),
    // Whoever has it open loses it.
    (0x5437, "TIOCVHANGUP"),
    // Settings that nobody can change any more.
    (0x5457, "TIOCSLCKTRMIOS"),
];

/// linux/kd.h and linux/vt.h: everything of a console, its keyboard, font, colours and mode, by the second byte of the
/// request. Those that only ask are not worth a list.
const CONSOLES: [u32; 2] = [0x4b00, 0x5600];

fn terminals() -> Vec<Rule> {
    let ioctl = |masked| Rule::deny(&["ioctl"], vec![masked]);
    let single = TERMINALS.iter().map(|(request, _)| ioctl(Masked::word(1, *request)));
    let console = |group: &u32| ioctl(Masked { index: 1, mask: 0xffff_ff00, value: (*group).into() });
    single.chain(CONSOLES.iter().map(console)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{Abi, Program, compile_for, syscalls};
    use oci_spec::runtime::{Arch, LinuxSeccomp};

    fn filter() -> Program {
        let mut policy = LinuxSeccomp::default();
        policy.set_default_action(LinuxSeccompAction::ScmpActAllow);
        policy.set_architectures(Some(vec![Arch::ScmpArchX86, Arch::ScmpArchX32]));
        policy
            .set_syscalls(Some(Fence::ALL.iter().flat_map(|fence| fence.rules()).map(|rule| rule.to_oci()).collect()));
        compile_for(Abi::X86_64, &policy).expect("a filter")
    }

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;
    /// What the kernel does not look at.
    const HIGH: u64 = 0xdead_beef_0000_0000;

    /// As each calling convention of the machine has it.
    fn said(filter: &Program, call: &str, args: &[u64]) -> Option<u32> {
        let mut all = [HIGH; 6];
        for (at, arg) in args.iter().enumerate() {
            all[at] = *arg;
        }
        let abis = [Abi::X86_64, Abi::X86, Abi::X32];
        let each = abis.into_iter().filter_map(|abi| Some((abi, syscalls::number(call, abi)?)));
        let mut answers: Vec<_> = each.map(|(abi, nr)| filter.verdict(abi.audit_arch(), nr, all)).collect();
        answers.dedup();
        assert_eq!(answers.len(), 1, "{call}: not the same everywhere");
        answers.pop()
    }

    #[test]
    fn no_mode_has_a_set_id_bit() {
        let filter = filter();
        for bits in [0o4000, 0o2000, 0o6000, 0o4755, 0o2755 | 0x10000, 0o6777 | HIGH, u64::MAX] {
            for (call, args) in [
                ("chmod", vec![0, bits]),
                ("fchmod", vec![3, bits]),
                ("creat", vec![0, bits]),
                ("mkdir", vec![0, bits]),
                ("mknod", vec![0, bits]),
                ("fchmodat", vec![3, 0, bits]),
                ("fchmodat2", vec![3, 0, bits, 0x1000]),
                ("mkdirat", vec![3, 0, bits]),
                ("mknodat", vec![3, 0, bits]),
            ] {
                assert_eq!(said(&filter, call, &args), Some(EPERM), "{call} {bits:o}");
            }
            for flags in [libc::O_CREAT, libc::O_CREAT | libc::O_EXCL, libc::O_TMPFILE, libc::O_TMPFILE | libc::O_RDWR]
            {
                let flags = u64::from(flags.cast_unsigned());
                for flags in [flags, flags | HIGH] {
                    assert_eq!(said(&filter, "open", &[0, flags, bits]), Some(EPERM), "open {bits:o}");
                    assert_eq!(said(&filter, "openat", &[3, 0, flags, bits]), Some(EPERM), "openat {bits:o}");
                }
            }
            // Nothing is made: the register has whatever it has.
            for flags in [0, libc::O_RDWR, libc::O_DIRECTORY, libc::O_TRUNC | libc::O_WRONLY] {
                let flags = u64::from(flags.cast_unsigned());
                assert_eq!(said(&filter, "open", &[0, flags, bits]), Some(ALLOW));
                assert_eq!(said(&filter, "openat", &[3, 0, flags, bits]), Some(ALLOW));
            }
        }
        for bits in [0, 0o777, 0o1777, 0o100_644, 0o10_600, HIGH | 0o755] {
            for (call, args) in [("chmod", vec![0, bits]), ("fchmodat", vec![3, 0, bits]), ("mknod", vec![0, bits])] {
                assert_eq!(said(&filter, call, &args), Some(ALLOW), "{call} {bits:o}");
            }
            let flags = u64::from((libc::O_CREAT | libc::O_TMPFILE).cast_unsigned());
            assert_eq!(said(&filter, "openat", &[3, 0, flags, bits]), Some(ALLOW));
        }
        for unseen in UNSEEN {
            assert_eq!(said(&filter, unseen, &[]), Some(ENOSYS), "{unseen}");
        }
    }

    #[test]
    fn nothing_is_leased_and_no_terminal_is_left_changed() {
        let filter = filter();
        for command in [1024, 1026, 1040, 1024 | HIGH] {
            assert_eq!(said(&filter, "fcntl", &[0, command, 0]), Some(EPERM), "{command}");
            assert_eq!(said(&filter, "fcntl64", &[0, command, 0]), Some(EPERM), "{command}");
        }
        // F_GETFL, F_SETFL, F_SETLK, F_OFD_SETLK, F_GETLEASE, F_DUPFD_CLOEXEC, F_ADD_SEALS.
        for command in [3, 4, 6, 37, 1025, 1030, 1033] {
            assert_eq!(said(&filter, "fcntl", &[0, command, 0]), Some(ALLOW), "{command}");
        }
        for (request, name) in TERMINALS {
            for request in [request.into(), HIGH | u64::from(request)] {
                assert_eq!(said(&filter, "ioctl", &[0, request, 0]), Some(EPERM), "{name}");
            }
        }
        // KDSETMODE, KDSKBENT, PIO_FONT, VT_ACTIVATE.
        for request in [0x4b3a, 0x4b47, 0x4b61, 0x5606, HIGH | 0x5606] {
            assert_eq!(said(&filter, "ioctl", &[0, request, 0]), Some(EPERM), "{request:x}");
        }
        // TCGETS, TCSETSW, TCSBRK (tcdrain), TCFLSH, TIOCSCTTY, TIOCGPGRP, TIOCSPGRP, TIOCGWINSZ, TIOCSWINSZ, FIONREAD,
        // FIONBIO, TIOCNOTTY, TIOCGPTPEER, TIOCGPTN, TIOCSPTLCK, TCGETS2, FICLONE, VIDIOC_QUERYCAP.
        for request in [
            0x5401,
            0x5403,
            0x5409,
            0x540b,
            0x540e,
            0x540f,
            0x5410,
            0x5413,
            0x5414,
            0x541b,
            0x5421,
            0x5422,
            0x5441,
            0x8004_5430,
            0x4004_5431,
            0x802c_542a,
            0x4004_9409,
            0x8068_5600,
        ] {
            assert_eq!(said(&filter, "ioctl", &[0, request, 0]), Some(ALLOW), "{request:x}");
        }
    }

    #[test]
    fn a_call_is_told_by_its_fence() {
        assert_eq!(Fence::of("chmod", &[0, 0o4755, 0, 0, 0, 0]), Some(Fence::SetId));
        assert_eq!(Fence::of("chmod", &[0, 0o755, 0, 0, 0, 0]), None);
        assert_eq!(Fence::of("openat2", &[0; 6]), Some(Fence::SetId));
        assert_eq!(Fence::of("ioctl", &[0, 0x540c, 0, 0, 0, 0]), Some(Fence::Terminals));
        assert_eq!(Fence::of("fcntl", &[0, 1024, 0, 0, 0, 0]), Some(Fence::Leases));
    }
}

//! What is written down: one record for each distinct refusal, in bounded memory whatever the program does.
#![forbid(unsafe_code)]

use serde::Serialize;
use std::collections::HashMap;

/// Who refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The seccomp filter.
    Seccomp,
    /// A capability that the program has not.
    Capability,
    /// The root file system is read-only.
    ReadOnlyRoot,
    /// Another mount is read-only.
    ReadOnlyMount,
    /// A path of `linux.maskedPaths`.
    MaskedPath,
    /// A mount without execution.
    NoExec,
    /// Landlock.
    Landlock,
    /// The network namespace leads nowhere.
    NoNetwork,
    /// It leads somewhere, but not there.
    NoRoute,
    /// The proxy of `pent sandbox --net`.
    Proxy,
    /// Owner and mode of the file.
    Permissions,
    /// The limit on the number of processes.
    PidsLimit,
    /// The limit on memory.
    MemoryLimit,
    /// There is no such file in the container.
    AbsentPath,
}

impl Layer {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Seccomp,
        Self::Capability,
        Self::ReadOnlyRoot,
        Self::ReadOnlyMount,
        Self::MaskedPath,
        Self::NoExec,
        Self::Landlock,
        Self::NoNetwork,
        Self::NoRoute,
        Self::Proxy,
        Self::Permissions,
        Self::PidsLimit,
        Self::MemoryLimit,
        Self::AbsentPath,
    ];

    /// As the report's text names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Capability => "missing capability",
            Self::ReadOnlyRoot => "read-only root",
            Self::ReadOnlyMount => "read-only mount",
            Self::MaskedPath => "masked path",
            Self::NoExec => "noexec mount",
            Self::Landlock => "landlock",
            Self::NoNetwork => "no network",
            Self::NoRoute => "no route",
            Self::Proxy => "proxy",
            Self::Permissions => "file permissions",
            Self::PidsLimit => "pids limit",
            Self::MemoryLimit => "memory limit",
            Self::AbsentPath => "absent path",
        }
    }
}

/// What makes a refusal this one and no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// What the program wanted: `write`, `connect`, or the call as `socket(AF_ALG)`. It holds nothing that the program has made up.
    pub action: String,
    /// What it wanted it of: a path or an address, as the program put it. Untrusted.
    pub subject: Vec<u8>,
    /// Who refused.
    pub layer: Layer,
    /// What goes with the layer: the capability's name, the limit.
    pub detail: String,
    /// The error number that the program got, or is expected to have got.
    pub errno: i32,
    /// The system call.
    pub call: &'static str,
    /// For remedies.
    pub about: About,
}

/// What a call was made with the first time. The same call with others is no other refusal: pointers differ each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Registers(pub [u64; 6]);

impl PartialEq for Registers {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Registers {}

impl std::hash::Hash for Registers {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// What a remedy has to be about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum About {
    /// Nothing more is known.
    Nothing,
    /// A call that the filter denies: calling convention, number and registers of the first time.
    Call {
        /// `AUDIT_ARCH_*`.
        arch: u32,
        /// The number.
        nr: u32,
        /// The registers.
        args: Registers,
        /// The shipped profile that allows it, where the profile is what denies it and could be another.
        profile: Option<String>,
    },
    /// A capability by its number; whether that of the initial user namespace is needed.
    Capability(u8, bool),
    /// A name that was to be made, changed or removed in a directory that exists.
    Directory {
        /// Whether there is nothing else in it.
        empty: bool,
        /// Whether owner and mode would let the program write to it.
        permitted: bool,
    },
    /// A file that exists.
    File {
        /// Whether owner and mode would let the program do it.
        permitted: bool,
    },
    /// An address of the network.
    Address(std::net::SocketAddr),
    /// `HOST:PORT`, which the proxy was asked for.
    Place {
        /// Whether it may be allowed.
        could_be_asked: bool,
    },
    /// A limit that was met: its value when known.
    Limit(Option<u64>),
}

/// Most distinct refusals of one layer; what a program does on purpose to one of them does not hide the others.
const PER_LAYER: usize = 64;
/// The longest subject that is kept; the rest is cut off.
const SUBJECT: usize = 4096;

/// All refusals so far.
#[derive(Debug, Clone, Default)]
pub struct Record {
    places: HashMap<Refusal, usize>,
    counts: Vec<u64>,
    by_layer: HashMap<Layer, usize>,
    omitted: HashMap<Layer, u64>,
}

/// A refusal and how often it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Which.
    pub refusal: Refusal,
    /// How often.
    pub count: u64,
}

impl Record {
    /// Writes one down; true when it is new, and there is room for it.
    pub fn add(&mut self, refusal: Refusal) -> bool {
        self.add_many(refusal, 1)
    }

    /// The same that has happened several times.
    pub fn add_many(&mut self, mut refusal: Refusal, count: u64) -> bool {
        refusal.subject.truncate(SUBJECT);
        if let Some(place) = self.places.get(&refusal) {
            self.counts[*place] = self.counts[*place].saturating_add(count);
            return false;
        }
        let known = self.by_layer.entry(refusal.layer).or_default();
        if *known >= PER_LAYER {
            let omitted = self.omitted.entry(refusal.layer).or_default();
            *omitted = omitted.saturating_add(count);
            return false;
        }
        *known += 1;
        self.places.insert(refusal, self.counts.len());
        self.counts.push(count);
        true
    }

    /// All, in the order in which they were first met.
    pub fn all(&self) -> Vec<Counted> {
        let mut all: Vec<_> = self.places.iter().collect();
        all.sort_unstable_by_key(|(_, place)| **place);
        all.into_iter()
            .map(|(refusal, place)| Counted { refusal: refusal.clone(), count: self.counts[*place] })
            .collect()
    }

    /// How many times there was no room, by layer.
    pub fn omitted(&self) -> Vec<(Layer, u64)> {
        let mut omitted: Vec<_> = self.omitted.iter().map(|(layer, count)| (*layer, *count)).collect();
        omitted.sort_unstable();
        omitted
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::refusal) fn refusal(action: &str, subject: &str, layer: Layer) -> Refusal {
        Refusal {
            action: action.into(),
            subject: subject.into(),
            layer,
            detail: String::new(),
            errno: libc::EROFS,
            call: "openat",
            about: About::Nothing,
        }
    }

    #[test]
    fn the_same_is_counted_and_too_much_is_left_out() {
        let mut record = Record::default();
        assert!(record.is_empty());
        for i in 0..100_000 {
            record.add(refusal("write", &format!("/{}", i % 1000), Layer::ReadOnlyRoot));
        }
        assert!(record.add(refusal("execute", "/x", Layer::NoExec)));
        assert!(!record.add(refusal("execute", "/x", Layer::NoExec)));
        let all = record.all();
        assert_eq!(all.len(), PER_LAYER + 1);
        assert_eq!(all[0].refusal.subject, b"/0");
        assert!(all[..PER_LAYER].iter().all(|counted| counted.count == 100));
        assert_eq!(all[PER_LAYER].count, 2);
        assert_eq!(record.omitted(), [(Layer::ReadOnlyRoot, 100_000 - 100 * u64::try_from(PER_LAYER).expect("small"))]);
        let mut long = refusal("write", "", Layer::ReadOnlyMount);
        long.subject = vec![b'x'; 1 << 20];
        record.add(long);
        assert!(record.all().iter().all(|counted| counted.refusal.subject.len() <= SUBJECT));
    }
}

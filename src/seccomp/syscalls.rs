//! Looking up system calls: names to numbers per ABI, and what else is known of them.
#![forbid(unsafe_code)]

use super::abi::Abi;
use super::table::{NONE, SOURCE};

/// One line of the table, as it is written.
pub(super) struct Source {
    /// The name, as libseccomp has it.
    pub(super) name: &'static str,
    /// See [`Row`].
    pub(super) since: u16,
    /// See [`Row`].
    pub(super) int32: u8,
    /// See [`Row`].
    pub(super) int16: u8,
    /// See [`Row`].
    pub(super) numbers: [u16; Abi::COLUMNS],
}

/// What is known of one system call.
///
/// The name is a range of [`NAMES`]: a pointer would be relocated at every start of a position-independent executable.
#[derive(Debug)]
pub(super) struct Row {
    name_at: u16,
    name_len: u8,
    /// The kernel that first had it: major version in the high byte, minor in the low one (2.6.x counts as 2.(6+x));
    /// 0 is not known, which means old.
    pub(super) since: u16,
    /// Arguments the kernel takes as 32-bit integers, by index.
    int32: u8,
    /// Arguments the kernel takes as 16-bit integers (`umode_t`), by index.
    int16: u8,
    /// The number in each column of [`Abi`], without its base; [`NONE`] where there is none.
    numbers: [u16; Abi::COLUMNS],
}

/// Every known system call, in order of names.
pub(super) static ROWS: [Row; SOURCE.len()] = {
    const EMPTY: Row = Row { name_at: 0, name_len: 0, since: 0, int32: 0, int16: 0, numbers: [NONE; Abi::COLUMNS] };
    let mut rows = [EMPTY; SOURCE.len()];
    let (mut row, mut at) = (0, 0);
    while row < SOURCE.len() {
        let Source { name, since, int32, int16, numbers } = &SOURCE[row];
        #[allow(clippy::cast_possible_truncation, reason = "some 500 names of at most 30 bytes")]
        let (name_at, name_len) = (at as u16, name.len() as u8);
        rows[row] = Row { name_at, name_len, since: *since, int32: *int32, int16: *int16, numbers: *numbers };
        at += name.len();
        row += 1;
    }
    rows
};

/// All names, one after the other.
static NAMES: [u8; NAMES_LEN] = {
    let mut names = [0; NAMES_LEN];
    let (mut row, mut at) = (0, 0);
    while row < SOURCE.len() {
        let name = SOURCE[row].name.as_bytes();
        let mut byte = 0;
        while byte < name.len() {
            names[at] = name[byte];
            (at, byte) = (at + 1, byte + 1);
        }
        row += 1;
    }
    names
};

const NAMES_LEN: usize = {
    let (mut row, mut len) = (0, 0);
    while row < SOURCE.len() {
        len += SOURCE[row].name.len();
        row += 1;
    }
    len
};

/// Numbers from here on are private to ARM and stand at 0x8000 in the table (`__ARM_NR_BASE`).
pub(super) const ARM_PRIVATE: u32 = 0xf_0000;
const ARM_PRIVATE_IN_TABLE: u16 = 0x8000;

impl Row {
    fn name_bytes(&self) -> &'static [u8] {
        let at = usize::from(self.name_at);
        &NAMES[at..at + usize::from(self.name_len)]
    }

    /// The name, as libseccomp has it.
    pub(super) fn name(&self) -> &'static str {
        str::from_utf8(self.name_bytes()).unwrap_or_default() // the table is ASCII
    }

    /// The number on an ABI without the ABI's base, if the ABI has the call.
    pub(super) fn number(&self, abi: Abi) -> Option<u32> {
        match self.numbers[abi.column()] {
            NONE => None,
            private @ ARM_PRIVATE_IN_TABLE.. => Some(ARM_PRIVATE + u32::from(private - ARM_PRIVATE_IN_TABLE)),
            number => Some(u32::from(number)),
        }
    }

    /// How many bits of an argument the kernel looks at.
    pub(super) fn width(&self, abi: Abi, argument: usize) -> Width {
        // CONFIG_CLONE_BACKWARDS2: clone's first two arguments are swapped.
        let index =
            if abi.swaps_clone() && argument < 2 && self.name_bytes() == b"clone" { 1 - argument } else { argument };
        if self.int16 >> index & 1 == 1 {
            Width::Bits16
        } else if abi.is_32_bit() || self.int32 >> index & 1 == 1 {
            Width::Bits32
        } else {
            Width::Bits64
        }
    }
}

/// How many bits of an argument register the kernel looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// `umode_t`.
    Bits16,
    /// `int`, `unsigned int`, and everything on a 32-bit ABI.
    Bits32,
    /// `long`, sizes, pointers.
    Bits64,
}

const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;

/// Open addressing over [`ROWS`], built by the compiler: one probe finds nearly every name.
static INDEX: [u16; SLOTS] = {
    let mut index = [EMPTY; SLOTS];
    let mut row = 0;
    while row < SOURCE.len() {
        let mut slot = hash(SOURCE[row].name.as_bytes());
        while index[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        #[allow(clippy::cast_possible_truncation, reason = "there are some 500 rows")]
        {
            index[slot] = row as u16;
        }
        row += 1;
    }
    index
};

/// FNV-1a, folded to a slot.
const fn hash(name: &[u8]) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    ((hash ^ hash >> 15) as usize) % SLOTS
}

/// The row of a system call by its name.
pub(super) fn find(name: &str) -> Option<usize> {
    let mut slot = hash(name.as_bytes());
    loop {
        match INDEX[slot] {
            EMPTY => return None,
            row if ROWS[usize::from(row)].name_bytes() == name.as_bytes() => return Some(usize::from(row)),
            _ => slot = (slot + 1) % SLOTS,
        }
    }
}

/// Every known system call with its number as the kernel reports it to a filter of this ABI, in order of names.
pub fn on(abi: Abi) -> impl Iterator<Item = (&'static str, u32)> {
    ROWS.iter().filter_map(move |row| Some((row.name(), row.number(abi)? + abi.base())))
}

/// The number of a system call as the kernel reports it to a filter of this ABI.
pub fn number(name: &str, abi: Abi) -> Option<u32> {
    find(name).and_then(|row| ROWS[row].number(abi)).map(|number| number + abi.base())
}

/// Whether the name is a system call on any ABI this library knows.
pub fn is_known(name: &str) -> bool {
    find(name).is_some()
}

/// The kernel that first had a system call, as (major, minor), when that is recorded; 2.6.x is (2, 6 + x).
pub fn since(name: &str) -> Option<(u8, u8)> {
    match ROWS[find(name)?].since.to_be_bytes() {
        [0, 0] => None,
        [major, minor] => Some((major, minor)),
    }
}

/// How many low bits of a system call's argument the kernel looks at on this ABI: 16, 32 or 64.
pub fn argument_bits(name: &str, abi: Abi, argument: usize) -> Option<u32> {
    Some(match ROWS[find(name)?].width(abi, argument) {
        Width::Bits16 => 16,
        Width::Bits32 => 32,
        Width::Bits64 => 64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_and_the_table_is_sorted() {
        for (at, row) in ROWS.iter().enumerate() {
            assert_eq!(find(row.name()), Some(at), "{}", row.name());
        }
        assert!(ROWS.is_sorted_by(|a, b| a.name() < b.name()));
        assert_eq!(find("no_such_call"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn landmarks() {
        assert_eq!(number("execve", Abi::X86_64), Some(59));
        assert_eq!(number("execve", Abi::X32), Some(0x4000_0000 + 520));
        assert_eq!(number("socketcall", Abi::X86), Some(102));
        assert_eq!(number("socketcall", Abi::X86_64), None);
        assert_eq!(number("set_tls", Abi::Arm), Some(0xf_0005));
        assert_eq!(number("riscv_hwprobe", Abi::Riscv64), Some(258));
        assert_eq!(number("read", Abi::Mips), Some(4003));
        assert_eq!(number("read", Abi::Mipsel64), Some(5000));
        assert_eq!(since("statx"), Some((4, 11)));
        assert_eq!(since("openat"), Some((2, 22)));
        assert_eq!(since("tuxcall"), None);
    }

    #[test]
    fn widths_are_the_kernels() {
        let bits = |name, argument| argument_bits(name, Abi::X86_64, argument).unwrap();
        for argument in 0..3 {
            assert_eq!(bits("socket", argument), 32);
        }
        assert_eq!((bits("ioctl", 1), bits("ioctl", 2)), (32, 64));
        assert_eq!((bits("prctl", 0), bits("prctl", 1)), (32, 64));
        assert_eq!((bits("fcntl", 1), bits("keyctl", 0), bits("personality", 0)), (32, 32, 32));
        assert_eq!((bits("clone", 0), bits("clone", 1)), (32, 64));
        assert_eq!((bits("chmod", 0), bits("chmod", 1)), (64, 16));
        assert_eq!((bits("mmap", 2), bits("read", 2), bits("unshare", 0)), (64, 64, 64));
        assert_eq!(argument_bits("clone", Abi::S390x, 1), Some(32));
        assert_eq!(argument_bits("clone", Abi::S390x, 0), Some(64));
        assert_eq!(argument_bits("read", Abi::X86, 2), Some(32));
    }
}

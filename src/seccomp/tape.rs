//! Writing instructions, last to first.
//!
//! A classic BPF jump only goes forward, so every target exists by the time something jumps to it, and a return can be shared by
//! all that lie within reach (255 instructions). Where one is too far, another copy costs the same single instruction as a
//! trampoline would.
#![forbid(unsafe_code)]

use super::bpf::{Insn, code};

/// An instruction already written: its distance from the end of the program.
pub(super) type Place = usize;

/// The farthest a condition can jump.
pub(super) const REACH: usize = 255;

/// A program in the making.
pub(super) struct Tape {
    /// The program from its last instruction to its first.
    reversed: Vec<Insn>,
    /// The latest copy of every return.
    returns: Vec<(u32, Place)>,
}

impl Tape {
    pub(super) fn new() -> Self {
        Self { reversed: Vec::with_capacity(512), returns: Vec::new() }
    }

    /// The instructions in their order.
    pub(super) fn finish(mut self) -> Vec<Insn> {
        self.reversed.reverse();
        self.reversed
    }

    fn push(&mut self, insn: Insn) -> Place {
        self.reversed.push(insn);
        self.reversed.len() - 1
    }

    /// How many instructions the next one written would skip to get to a place.
    pub(super) fn distance(&self, place: Place) -> usize {
        self.reversed.len() - place - 1
    }

    /// A conditional jump; trampolines are put after it where a target is too far.
    pub(super) fn jump(&mut self, code: u16, k: u32, mut then: Place, mut otherwise: Place) -> Place {
        if then == otherwise {
            return then;
        }
        loop {
            match (u8::try_from(self.distance(then)), u8::try_from(self.distance(otherwise))) {
                (Ok(jt), Ok(jf)) => return self.push(Insn { code, jt, jf, k }),
                (Err(_), _) => then = self.trampoline(then),
                (_, Err(_)) => otherwise = self.trampoline(otherwise),
            }
        }
    }

    pub(super) fn trampoline(&mut self, place: Place) -> Place {
        let k = u32::try_from(self.distance(place)).unwrap_or(u32::MAX);
        self.push(Insn { code: code::JA, jt: 0, jf: 0, k })
    }

    /// A return of a value, within reach of the next instructions.
    pub(super) fn returning(&mut self, value: u32) -> Place {
        let at = self.returns.iter().position(|(known, _)| *known == value);
        if let Some(at) = at {
            let place = self.returns[at].1;
            // Up to two trampolines or copies may come between.
            if self.distance(place) + 2 <= REACH {
                return place;
            }
        }
        let place = self.push(Insn { code: code::RET, jt: 0, jf: 0, k: value });
        match at {
            Some(at) => self.returns[at].1 = place,
            None => self.returns.push((value, place)),
        }
        place
    }

    /// A load of a word, followed by what is at `next`.
    pub(super) fn load(&mut self, word: u32, next: Place) -> Place {
        self.step(code::LD_ABS, word, next)
    }

    /// An operation without jumps, followed by what is at `next`.
    pub(super) fn step(&mut self, code: u16, k: u32, next: Place) -> Place {
        if self.distance(next) > 0 {
            self.trampoline(next);
        }
        self.push(Insn { code, jt: 0, jf: 0, k })
    }

    /// An AND of the accumulator, followed by what was written last.
    pub(super) fn and(&mut self, mask: u32) -> Place {
        self.push(Insn { code: code::AND, jt: 0, jf: 0, k: mask })
    }
}

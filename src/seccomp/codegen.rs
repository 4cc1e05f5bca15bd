//! From spans of numbers to instructions.
#![forbid(unsafe_code)]

use super::bpf::{Insn, code, halves, offset};
use super::condition::{Comparison, Test};
use super::policy::{Block, FOREIGN, Meaning, Span, Verdict};
use super::tape::{Place, REACH, Tape};

/// The instructions for a policy; there may be more than the kernel takes.
pub(super) fn generate(meaning: &Meaning) -> Vec<Insn> {
    let mut writer = Writer { tape: Tape::new(), blocks: vec![None; meaning.blocks.len()], meaning };
    // The architectures' parts stand in the program in the order of the policy, so they are written last to first.
    let mut parts: Vec<(u32, Place)> = Vec::with_capacity(meaning.arches.len());
    for (arch, spans) in meaning.arches.iter().rev() {
        parts.push((*arch, writer.part(spans)));
    }
    let mut next = writer.tape.returning(FOREIGN);
    for (arch, place) in parts {
        next = writer.tape.jump(code::JEQ, arch, place, next);
    }
    writer.tape.load(offset::ARCH, next);
    writer.tape.finish()
}

struct Writer<'a> {
    tape: Tape,
    /// The latest way into every block that has been written.
    blocks: Vec<Option<Place>>,
    meaning: &'a Meaning,
}

impl Writer<'_> {
    fn verdict(&mut self, verdict: Verdict) -> Place {
        match verdict {
            Verdict::Return(value) => self.tape.returning(value),
            Verdict::Block(index) => match self.blocks[index] {
                Some(place) if self.tape.distance(place) + 2 <= REACH => place,
                known => {
                    let place = match known {
                        Some(place) => self.tape.trampoline(place),
                        None => self.block(&self.meaning.blocks[index]),
                    };
                    self.blocks[index] = Some(place);
                    place
                }
            },
        }
    }

    /// An architecture's part: the number is loaded and looked up.
    fn part(&mut self, spans: &[Span]) -> Place {
        match spans {
            [only] => self.verdict(only.verdict),
            _ => {
                let groups = group(spans);
                let root = self.search(&groups);
                self.tape.load(offset::NR, root)
            }
        }
    }

    /// A balanced search among groups.
    fn search(&mut self, groups: &[Group]) -> Place {
        match groups {
            [] => self.tape.returning(FOREIGN), // spans cover all numbers, so there is always a group
            [group] => {
                let mut next = self.verdict(group.verdict);
                for &(number, verdict) in group.exceptions.iter().rev() {
                    let place = self.verdict(verdict);
                    next = self.tape.jump(code::JEQ, number, place, next);
                }
                next
            }
            _ => {
                let (low, high) = groups.split_at(groups.len() / 2);
                let first = high[0].first;
                let high = self.search(high);
                let low = self.search(low);
                self.tape.jump(code::JGE, first, high, low)
            }
        }
    }

    /// A decision by arguments.
    fn block(&mut self, block: &Block) -> Place {
        let steps = plan(block, self.meaning.little_endian);
        let mut places = vec![0; steps.len()];
        for (at, step) in steps.iter().enumerate().rev() {
            places[at] = match *step {
                Step::Load(word) => self.tape.load(word, places[at + 1]),
                Step::And(mask) => self.tape.and(mask),
                Step::Jump { code, k, then, otherwise } => {
                    let place = |writer: &mut Self, target| match target {
                        Target::Step(to) => places[to],
                        Target::Return(value) => writer.tape.returning(value),
                    };
                    let (then, otherwise) = (place(self, then), place(self, otherwise));
                    self.tape.jump(code, k, then, otherwise)
                }
            };
        }
        places[0]
    }
}

/// Consecutive numbers with one verdict but for a few exceptions.
struct Group {
    first: u32,
    verdict: Verdict,
    exceptions: Vec<(u32, Verdict)>,
}

/// Most exceptions of a group. They are compared one after the other, so more make the program shorter but slower: for Docker's
/// default profile, 1 gives 240 instructions and 11.2 steps per call, 2 gives 228 and 11.5, 3 gives 221 and 12.0.
const EXCEPTIONS: usize = 2;

/// Cuts spans into groups so that the instructions are fewest: one for every exception, one for every group but the first.
fn group(spans: &[Span]) -> Vec<Group> {
    let count = |at: usize| match spans.get(at + 1) {
        Some(next) => usize::try_from(next.first - spans[at].first).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    // best[at]: cost of the spans from `at` on, where their first group ends, and which of its spans gives the verdict.
    let mut best = vec![(0usize, 0usize, 0usize); spans.len() + 1];
    for at in (0..spans.len()).rev() {
        best[at].0 = usize::MAX;
        for base in at..spans.len().min(at + 2) {
            let (mut exceptions, mut end) = (0, at);
            while let Some(span) = spans.get(end) {
                if span.verdict != spans[base].verdict {
                    exceptions += count(end).min(EXCEPTIONS + 1);
                    if exceptions > EXCEPTIONS {
                        break;
                    }
                }
                end += 1;
                let cost = 1 + exceptions + best[end].0;
                if end > base && cost < best[at].0 {
                    best[at] = (cost, end, base);
                }
            }
        }
    }
    let mut groups = Vec::with_capacity(spans.len() / 2 + 1);
    let mut at = 0;
    while at < spans.len() {
        let (_, end, base) = best[at];
        let verdict = spans[base].verdict;
        let mut exceptions = Vec::new();
        for (index, span) in (at..end).zip(&spans[at..end]).filter(|(_, span)| span.verdict != verdict) {
            let last = span.first + u32::try_from(count(index)).unwrap_or(u32::MAX) - 1;
            exceptions.extend((span.first..=last).map(|number| (number, span.verdict)));
        }
        groups.push(Group { first: spans[at].first, verdict, exceptions });
        at = end;
    }
    groups
}

/// One instruction of a block, with targets by name.
#[derive(Debug, Clone, Copy)]
enum Step {
    Load(u32),
    And(u32),
    Jump { code: u16, k: u32, then: Target, otherwise: Target },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Step(usize),
    Return(u32),
}

/// Stands for "the test holds", "it does not" and "the next instruction" until the steps are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Holds,
    Fails,
    Next,
}

/// What the accumulator holds: a word under a mask.
type Accumulator = Option<(u32, u32)>;

/// The steps of a block. A clause's tests follow each other, a test that fails goes on to the next clause; a word that is
/// still in the accumulator on every way to a test is not loaded again.
fn plan(block: &Block, little_endian: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut pending: Vec<usize> = Vec::new(); // jumps of the clause whose failure goes to the next clause
    let mut entry: Option<Accumulator> = Some(None); // the accumulator on entry to the clause; outer None: no way there yet
    for clause in &block.clauses {
        let start = steps.len();
        for at in pending.drain(..) {
            resolve(&mut steps[at], FAIL, Target::Step(start));
        }
        let mut accumulator = entry.take().unwrap_or(None);
        for (index, test) in clause.tests.iter().enumerate() {
            let first = steps.len();
            let mut holds: Option<Accumulator> = None;
            for (code, k, word, mask, then, otherwise) in compare(test, little_endian) {
                if accumulator != Some((word, mask)) {
                    steps.push(Step::Load(word));
                    if mask != u32::MAX {
                        steps.push(Step::And(mask));
                    }
                    accumulator = Some((word, mask));
                }
                let at = steps.len();
                let mut target = |exit| match exit {
                    Exit::Next => Target::Step(at + 1),
                    Exit::Holds => {
                        meet(&mut holds, accumulator);
                        HOLD
                    }
                    Exit::Fails => {
                        meet(&mut entry, accumulator);
                        FAIL
                    }
                };
                steps.push(Step::Jump { code, k, then: target(then), otherwise: target(otherwise) });
            }
            let end = steps.len();
            let success =
                if index + 1 == clause.tests.len() { Target::Return(clause.action) } else { Target::Step(end) };
            for (at, step) in (first..).zip(&mut steps[first..]) {
                resolve(step, HOLD, success);
                if matches!(step, Step::Jump { then, otherwise, .. } if *then == FAIL || *otherwise == FAIL) {
                    pending.push(at);
                }
            }
            accumulator = holds.unwrap_or(None);
        }
    }
    for at in pending {
        resolve(&mut steps[at], FAIL, Target::Return(block.otherwise));
    }
    steps
}

const HOLD: Target = Target::Step(usize::MAX);
const FAIL: Target = Target::Step(usize::MAX - 1);

fn resolve(step: &mut Step, name: Target, target: Target) {
    if let Step::Jump { then, otherwise, .. } = step {
        for exit in [then, otherwise] {
            if *exit == name {
                *exit = target;
            }
        }
    }
}

/// Joins what the accumulator may hold where two ways meet.
fn meet(known: &mut Option<Accumulator>, other: Accumulator) {
    *known = match known {
        None => Some(other),
        Some(one) if *one == other => Some(other),
        Some(_) => Some(None),
    };
}

/// A test as comparisons of words: operation, constant, word, mask, and where to go.
fn compare(test: &Test, little_endian: bool) -> Vec<(u16, u32, u32, u32, Exit, Exit)> {
    let (holds, fails) = if test.negate { (Exit::Fails, Exit::Holds) } else { (Exit::Holds, Exit::Fails) };
    let first = offset::ARGS + 8 * u32::from(test.argument);
    let (low_word, high_word) = if little_endian { (first, first + 4) } else { (first + 4, first) };
    let [low_mask, high_mask] = halves(test.mask);
    match test.comparison {
        Comparison::Equal(value) => {
            let [low, high] = halves(value);
            let mut words = Vec::with_capacity(2);
            if high_mask != 0 {
                let then = if low_mask != 0 { Exit::Next } else { holds };
                words.push((code::JEQ, high, high_word, high_mask, then, fails));
            }
            if low_mask != 0 {
                words.push((code::JEQ, low, low_word, low_mask, holds, fails));
            }
            words
        }
        Comparison::AtLeast(bound) => {
            let [low, high] = halves(bound);
            if high_mask == 0 {
                vec![(code::JGE, low, low_word, low_mask, holds, fails)]
            } else if low == 0 {
                vec![(code::JGE, high, high_word, high_mask, holds, fails)]
            } else {
                let mut words = vec![(code::JGT, high, high_word, high_mask, holds, Exit::Next)];
                if high != 0 {
                    words.push((code::JEQ, high, high_word, high_mask, Exit::Next, fails));
                }
                words.push((code::JGE, low, low_word, low_mask, holds, fails));
                words
            }
        }
    }
}

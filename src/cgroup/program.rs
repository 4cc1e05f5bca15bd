//! The eBPF program that decides like a device [`Policy`], for version 2 cgroups.
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx` (type and access in one word, major, minor) and takes 1 for yes.
//! Exceptions are grouped by type, access and major number, so that each comparison is made once: Docker's list becomes
//! about thirty instructions where a rule-by-rule translation has four times as many, and the verifier walks them all.
#![forbid(unsafe_code)]

use super::devices::{ALL, Devices, Kind, Policy};
use crate::sys::bpf::Insn;
use std::collections::BTreeMap;

/// 32-bit comparisons (`BPF_JMP32`, kernel 5.1), so that no immediate is sign-extended.
const JMP32: u8 = 0x06;
const JMP: u8 = 0x05;
const JA: u8 = 0x00;
const JEQ: u8 = 0x10;
const JSET: u8 = 0x40;
const JNE: u8 = 0x50;
const EXIT: u8 = 0x90;
/// `BPF_ALU | BPF_K`: 32-bit arithmetic with an immediate, which clears the upper half of the register.
const MOV32_IMM: u8 = 0xb4;
const AND32_IMM: u8 = 0x54;
/// `BPF_ALU | BPF_MOV | BPF_X`
const MOV32_REG: u8 = 0xbc;
/// `BPF_LDX | BPF_MEM | BPF_W`
const LOAD_WORD: u8 = 0x61;

const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
/// Type in the low 16 bits, access above.
const REQUEST: u8 = 2;
const MAJOR: u8 = 3;
const MINOR: u8 = 4;
const TYPE: u8 = 5;

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;

/// Jumps are 16 bits wide: a longer program cannot reach its own end.
const MAX_LENGTH: usize = i16::MAX as usize;

/// A jump target that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label(usize);

/// A program under construction; jumps are resolved at the end.
///
/// What no path reaches is left out: the verifier refuses programs with dead code.
struct Assembler {
    code: Vec<Insn>,
    jumps: Vec<(usize, Label)>,
    places: Vec<Option<usize>>,
    reachable: bool,
}

impl Assembler {
    fn new() -> Self {
        Self { code: Vec::new(), jumps: Vec::new(), places: Vec::new(), reachable: true }
    }

    fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    fn place(&mut self, label: Label) {
        if let Some(place) = self.places.get_mut(label.0) {
            *place = Some(self.code.len());
        }
        self.reachable |= self.jumps.iter().any(|(_, to)| *to == label);
    }

    fn emit(&mut self, code: u8, destination: u8, source: u8, off: i16, imm: i32) {
        if self.reachable {
            self.code.push(Insn { code, regs: destination | source << 4, off, imm });
        }
    }

    fn jump(&mut self, code: u8, register: u8, imm: i32, to: Label) {
        if self.reachable {
            self.jumps.push((self.code.len(), to));
        }
        self.emit(code, register, 0, 0, imm);
    }

    fn always(&mut self, to: Label) {
        self.jump(JMP | JA, 0, 0, to);
        self.reachable = false;
    }

    fn finish(mut self) -> Option<Vec<Insn>> {
        if self.code.len() > MAX_LENGTH {
            return None;
        }
        for (at, label) in self.jumps {
            let place = self.places.get(label.0).copied().flatten()?;
            // Every jump goes forward; the distance counts from the next instruction.
            self.code.get_mut(at)?.off = i16::try_from(place.checked_sub(at + 1)?).ok()?;
        }
        Some(self.code)
    }
}

/// A device number as an immediate of 32 bits: the bits stay.
fn bits(number: u32) -> i32 {
    i32::from_ne_bytes(number.to_ne_bytes())
}

/// Exceptions of one type and access, by major number.
type Group = BTreeMap<Option<u32>, Vec<Option<u32>>>;

/// The program for `policy`; nothing when there are so many exceptions (thousands) that it would be too long.
#[must_use]
pub fn compile_program(policy: &Policy) -> Option<Vec<Insn>> {
    let mut groups: BTreeMap<Kind, BTreeMap<u8, Group>> = BTreeMap::new();
    for (Devices { kind, major, minor }, access) in &policy.exceptions {
        groups.entry(*kind).or_default().entry(*access).or_default().entry(*major).or_default().push(*minor);
    }
    let mut asm = Assembler::new();
    let exit = asm.label();
    let no_exception = asm.label();
    if !groups.is_empty() {
        asm.emit(LOAD_WORD, REQUEST, CONTEXT, 0, 0);
        asm.emit(LOAD_WORD, MAJOR, CONTEXT, 4, 0);
        asm.emit(LOAD_WORD, MINOR, CONTEXT, 8, 0);
        asm.emit(MOV32_REG, TYPE, REQUEST, 0, 0);
        asm.emit(AND32_IMM, TYPE, 0, 0, 0xffff);
        // The answer when an exception matches; matches jump straight to the exit.
        asm.emit(MOV32_IMM, ANSWER, 0, 0, i32::from(!policy.default_allow));
    }
    let last = groups.keys().next_back().copied();
    for (kind, groups) in &groups {
        let number = match kind {
            Kind::Block => BLOCK,
            Kind::Char => CHAR,
        };
        let next_kind = if Some(*kind) == last { no_exception } else { asm.label() };
        asm.jump(JMP32 | JNE, TYPE, number, next_kind);
        // Groups that need no look at the access come last, so that they can fall through.
        for (access, group) in groups {
            let next_group = asm.label();
            if policy.default_allow {
                // A request is denied if it wants any of the excepted accesses.
                let wanted = asm.label();
                asm.jump(JMP32 | JSET, REQUEST, i32::from(*access) << 16, wanted);
                asm.always(next_group);
                asm.place(wanted);
            } else if *access != ALL {
                // A request is allowed only if it wants nothing beyond the excepted accesses.
                asm.jump(JMP32 | JSET, REQUEST, i32::from(ALL & !access) << 16, next_group);
            }
            compile_group(&mut asm, group, exit);
            asm.place(next_group);
        }
        if next_kind != no_exception {
            asm.always(no_exception);
            asm.place(next_kind);
        }
    }
    asm.place(no_exception);
    asm.emit(MOV32_IMM, ANSWER, 0, 0, i32::from(policy.default_allow));
    asm.place(exit);
    asm.emit(JMP | EXIT, 0, 0, 0, 0);
    asm.finish()
}

/// Jumps to `hit` when the device is one of `group`'s, and falls through otherwise.
fn compile_group(asm: &mut Assembler, group: &Group, hit: Label) {
    for (major, minors) in group {
        let any_minor = minors.contains(&None);
        match major {
            None if any_minor => {
                // The rest of the group would say the same.
                return asm.always(hit);
            }
            None => compile_minors(asm, minors, hit),
            Some(major) if any_minor => asm.jump(JMP32 | JEQ, MAJOR, bits(*major), hit),
            Some(major) => {
                let next = asm.label();
                asm.jump(JMP32 | JNE, MAJOR, bits(*major), next);
                compile_minors(asm, minors, hit);
                asm.place(next);
            }
        }
    }
}

fn compile_minors(asm: &mut Assembler, minors: &[Option<u32>], hit: Label) {
    for minor in minors.iter().flatten() {
        asm.jump(JMP32 | JEQ, MINOR, bits(*minor), hit);
    }
}

/// What `program` answers: an interpreter for the instructions that [`compile_program`] emits, and the verifier's rules
/// that matter for them (forward jumps within the program, no read of an unset register, no unreachable instruction).
#[cfg(test)]
fn interpret(program: &[Insn], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    let word = u32::from(access) << 16 | if kind == Kind::Block { 1 } else { 2 };
    let context = [word, major, minor];
    let mut registers = [None::<u32>; 11];
    let mut at = 0;
    loop {
        let insn = program[at];
        at += 1;
        let destination = usize::from(insn.regs & 0xf);
        let source = usize::from(insn.regs >> 4);
        let imm = u32::from_ne_bytes(insn.imm.to_ne_bytes());
        let jump = |taken: bool| if taken { usize::try_from(insn.off).expect("a forward jump") } else { 0 };
        match insn.code {
            LOAD_WORD => registers[destination] = Some(context[usize::try_from(insn.off).unwrap() / 4]),
            MOV32_IMM => registers[destination] = Some(imm),
            MOV32_REG => registers[destination] = Some(registers[source].expect("a set register")),
            AND32_IMM => registers[destination] = Some(registers[destination].expect("a set register") & imm),
            code if code == JMP | JA => at += jump(true),
            code if code == JMP | EXIT => return registers[0].expect("an answer") == 1,
            code if code == JMP32 | JEQ => at += jump(registers[destination].expect("a set register") == imm),
            code if code == JMP32 | JNE => at += jump(registers[destination].expect("a set register") != imm),
            code if code == JMP32 | JSET => at += jump(registers[destination].expect("a set register") & imm != 0),
            code => panic!("unexpected instruction {code:#x}"),
        }
    }
}

/// The instructions that no path reaches; the kernel's verifier refuses programs with any.
#[cfg(test)]
fn unreachable(program: &[Insn]) -> Vec<usize> {
    let mut reached = vec![false; program.len()];
    let mut next = vec![0];
    while let Some(at) = next.pop() {
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        let insn = program[at];
        let target = at + 1 + usize::try_from(insn.off).unwrap_or(0);
        match insn.code {
            code if code == JMP | EXIT => {}
            code if code == JMP | JA => next.push(target),
            code if code & 7 == JMP32 => next.extend([at + 1, target]),
            _ => next.push(at + 1),
        }
    }
    (0..program.len()).filter(|at| !reached[*at]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::devices::{DEFAULT_RULES, MKNOD, READ, Rule, WRITE};
    use super::*;
    use crate::sys::bpf;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    fn number() -> impl Strategy<Value = Option<u32>> {
        prop_oneof![Just(None), (0_u32..4).prop_map(Some), Just(Some(u32::MAX)), Just(Some(1 << 31))]
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let kind = prop_oneof![Just(Kind::Block), Just(Kind::Char)];
        let devices = (kind, number(), number()).prop_map(|(kind, major, minor)| Devices { kind, major, minor });
        (any::<bool>(), prop::option::weighted(0.9, devices), 1..=ALL).prop_map(|(allow, devices, access)| Rule {
            allow,
            devices,
            access,
        })
    }

    fn policies() -> impl Strategy<Value = Policy> {
        prop::collection::vec(rule(), 0..12).prop_map(|mut rules| {
            // Rules that would cut holes are refused when compiling: leave them out.
            loop {
                match Policy::of(&rules) {
                    Ok(policy) => return policy,
                    Err((index, _)) => drop(rules.remove(index)),
                }
            }
        })
    }

    fn check(policy: &Policy) -> Result<(), TestCaseError> {
        let program = compile_program(policy).unwrap();
        prop_assert_eq!(unreachable(&program), Vec::<usize>::new());
        let numbers = [0, 1, 2, 3, 4, 1 << 31, u32::MAX];
        for kind in [Kind::Block, Kind::Char] {
            for (major, minor) in numbers.into_iter().flat_map(|major| numbers.map(|minor| (major, minor))) {
                for access in 0..=ALL {
                    let answer = interpret(&program, kind, major, minor, access);
                    prop_assert_eq!(
                        answer,
                        policy.decide(kind, major, minor, access),
                        "{:?} {} {} {}",
                        kind,
                        major,
                        minor,
                        access
                    );
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn the_program_decides_like_the_policy(policy in policies()) {
            check(&policy)?;
        }
    }

    #[test]
    fn the_default_program_is_small_and_right() {
        let policy = Policy::of(DEFAULT_RULES).unwrap();
        let program = compile_program(&policy).unwrap();
        assert!(program.len() <= 29, "{} instructions", program.len());
        assert!(interpret(&program, Kind::Char, 1, 3, READ | WRITE));
        assert!(interpret(&program, Kind::Char, 136, 5, READ | WRITE));
        assert!(interpret(&program, Kind::Block, 8, 0, MKNOD));
        assert!(!interpret(&program, Kind::Block, 8, 0, READ));
        assert!(!interpret(&program, Kind::Char, 1, 1, READ));
    }

    #[test]
    fn a_policy_without_exceptions_is_two_instructions() {
        for default_allow in [false, true] {
            let program = compile_program(&Policy { default_allow, ..Policy::default() }).unwrap();
            assert_eq!(program.len(), 2);
            assert_eq!(interpret(&program, Kind::Char, 1, 3, READ), default_allow);
        }
    }

    #[test]
    fn too_many_exceptions_are_no_program() {
        let mut policy = Policy::default();
        for minor in 0..40_000 {
            policy.exceptions.insert(Devices { kind: Kind::Char, major: Some(1), minor: Some(minor) }, ALL);
        }
        assert_eq!(compile_program(&policy), None);
    }

    /// The kernel's verifier has the last word.
    #[test]
    fn the_kernel_accepts_the_programs() {
        let policy = Policy::of(DEFAULT_RULES).unwrap();
        match bpf::load_device_program(&compile_program(&policy).unwrap()) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
                println!("skip: bpf(2) is not permitted here: {error}");
                return;
            }
            Err(error) => panic!("{error}"),
        }
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        for _ in 0..64 {
            let policy = policies().new_tree(&mut runner).unwrap().current();
            let program = compile_program(&policy).unwrap();
            bpf::load_device_program(&program).unwrap_or_else(|error| panic!("{policy:?}: {error}"));
        }
    }
}

//! What a policy means: for every ABI, every system call number's verdict.
//!
//! The meaning is that of libseccomp as runc drives it, made exact where those leave a hole: see
//! `docs/decisions/0002-native-seccomp-generator.md`. Code generation knows nothing of rules, names or precedence.
#![forbid(unsafe_code)]

use super::abi::{Abi, X32_BIT};
use super::condition::{Clause, Folded, Test, fold};
use super::syscalls::{self, ARM_PRIVATE, ROWS, Width};
use super::{action, multiplex};
use crate::report::Diagnostic;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSyscall};
use std::borrow::Cow;

/// Where the policy stands in config.json.
pub(super) const PATH: &str = "linux.seccomp";

/// How the finding begins that a name of the policy is not known.
pub const UNKNOWN_SYSCALL: &str = "unknown seccomp syscall";

/// A verdict on one system call number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same for all arguments: a `SECCOMP_RET_*` value with its data.
    Return(u32),
    /// Depends on arguments: an index into [`Meaning::blocks`].
    Block(usize),
}

/// A decision by arguments: the first clause that holds gives the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) clauses: Vec<Clause>,
    /// The verdict when no clause holds.
    pub(super) otherwise: u32,
}

/// From this number up to the next span's, the verdict is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u32,
    pub(super) verdict: Verdict,
}

/// A policy with everything resolved.
#[derive(Debug)]
pub(super) struct Meaning {
    /// By `AUDIT_ARCH_*` value, the native one first: spans that cover all numbers from 0 to `u32::MAX`.
    pub(super) arches: Vec<(u32, Vec<Span>)>,
    pub(super) blocks: Vec<Block>,
    /// Whether the filter's order of words in an argument is low word first.
    pub(super) little_endian: bool,
}

/// What is answered by an architecture that is not in the policy (libseccomp's `SCMP_FLTATR_ACT_BADARCH`).
pub(super) const FOREIGN: u32 = action::KILL_THREAD;

/// A rule's action and conditions, shared by the names it lists.
struct Rule<'a> {
    action: u32,
    /// Alternatives, each of conditions that must all hold; none for a rule without conditions.
    alternatives: Vec<Cow<'a, [LinuxSeccompArg]>>,
}

/// What the rules say of one system call.
#[derive(Clone, Copy, Default)]
struct Said {
    /// Named, if only by a rule that says the same as the default.
    named: bool,
    /// The action of the first rule without conditions.
    always: Option<u32>,
    /// Whether a rule with conditions names it.
    conditional: bool,
}

/// The rules of a policy by system call.
pub(super) struct Rules<'a> {
    default: u32,
    denies_by_default: bool,
    said: Vec<Said>,
    rules: Vec<Rule<'a>>,
    /// (row, rule): who is named by a rule with conditions, in the policy's order.
    conditional: Vec<(usize, usize)>,
    /// The newest kernel any named call came with.
    newest: u16,
    /// How rules on one call go together.
    order: Order,
}

/// How the rules on one system call go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As libseccomp and runc have it: the strictest that holds, one without conditions before all, and two conditions on one
    /// argument are alternatives.
    Strictest,
    /// The first that holds, and all of its conditions have to.
    First,
}

/// Calls newer than every named one get ENOSYS by version from this kernel on; before it, as with runc, by number only.
const VERSIONED_SINCE: u16 = 0x0500;

/// The ABIs a policy is for: the native one always, as libseccomp has it.
pub(super) fn abis(policy: &LinuxSeccomp, native: Abi, errors: &mut Vec<Diagnostic>) -> Vec<Abi> {
    let mut abis = vec![native];
    for (at, arch) in policy.architectures().iter().flatten().enumerate() {
        let path = || format!("{PATH}.architectures[{at}]");
        let Some(abi) = (if *arch == Arch::ScmpArchNative { Some(native) } else { Abi::from_oci(*arch) }) else {
            errors.push(
                Diagnostic::error(path(), format!("seccomp architecture {arch} is not supported"))
                    .hint("leave it out: system calls of an architecture that is not listed are killed"),
            );
            continue;
        };
        if abi.is_little_endian() != native.is_little_endian() {
            errors.push(
                Diagnostic::error(
                    path(),
                    format!("seccomp architecture {arch} has another byte order than this machine"),
                )
                .hint("leave it out: no program of it can run here"),
            );
        } else if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    abis
}

impl<'a> Rules<'a> {
    /// Reads the rules of a policy; what is wrong with them is added to the diagnostics.
    pub(super) fn read(
        policy: &'a LinuxSeccomp,
        order: Order,
        errors: &mut Vec<Diagnostic>,
        warnings: &mut Vec<Diagnostic>,
    ) -> Self {
        let default = match action::value(policy.default_action(), policy.default_errno_ret()) {
            _ if policy.default_action() == LinuxSeccompAction::ScmpActNotify => {
                errors.push(
                    Diagnostic::error(
                        format!("{PATH}.defaultAction"),
                        "SCMP_ACT_NOTIFY cannot be used as default action",
                    )
                    .hint("the runtime itself could make no system call after loading the filter; name the calls to notify of"),
                );
                0
            }
            Ok(value) => value,
            Err(why) => {
                errors.push(Diagnostic::error(format!("{PATH}.defaultErrnoRet"), why));
                0
            }
        };
        let mut this = Self {
            default,
            denies_by_default: action::denies(default),
            said: vec![Said::default(); ROWS.len()],
            rules: Vec::new(),
            conditional: Vec::new(),
            newest: 0,
            order,
        };
        for (at, syscall) in policy.syscalls().iter().flatten().enumerate() {
            this.read_rule(at, syscall, errors, warnings);
        }
        if order == Order::Strictest {
            this.warn_of_unused(policy, warnings);
        }
        this
    }

    fn read_rule(
        &mut self,
        at: usize,
        syscall: &'a LinuxSyscall,
        errors: &mut Vec<Diagnostic>,
        warnings: &mut Vec<Diagnostic>,
    ) {
        let action = match action::value(syscall.action(), syscall.errno_ret()) {
            Ok(value) => value,
            Err(why) => {
                errors.push(Diagnostic::error(format!("{PATH}.syscalls[{at}].errnoRet"), why));
                0
            }
        };
        let mut alternatives = alternatives(at, syscall, self.order, errors, warnings);
        if alternatives.is_empty() && self.order == Order::First && self.has_conditions(syscall) {
            // What is left when no earlier rule holds: a rule whose no conditions always hold.
            alternatives.push(Cow::Borrowed(&[]));
        }
        for (name_at, name) in syscall.names().iter().enumerate() {
            let path = || format!("{PATH}.syscalls[{at}].names[{name_at}]");
            if name == "write" && syscall.action() == LinuxSeccompAction::ScmpActNotify {
                errors.push(
                    Diagnostic::error(path(), "SCMP_ACT_NOTIFY cannot be used for the write syscall").hint(
                        "nothing could be said of what goes wrong before the agent has the listener; name more specific calls",
                    ),
                );
            }
            if name.is_empty() {
                errors.push(Diagnostic::error(path(), "empty string is not a valid syscall"));
                continue;
            }
            let Some(row) = syscalls::find(name) else {
                warnings.push(Diagnostic::warning(path(), format!("{UNKNOWN_SYSCALL} {name:?} ignored")).hint(
                    "check the spelling; a system call newer than this runtime gets the answer for unknown calls",
                ));
                continue;
            };
            self.newest = self.newest.max(ROWS[row].since);
            let said = &mut self.said[row];
            said.named = true;
            if alternatives.is_empty() {
                // A rule that says the same as the default is none: libseccomp refuses it and runc leaves it out, so that
                // conditions of other rules count.
                if action != self.default && said.always.is_none() {
                    said.always = Some(action);
                }
            } else {
                said.conditional = true;
                self.conditional.push((row, self.rules.len()));
            }
        }
        self.rules.push(Rule { action, alternatives });
    }

    /// Whether an earlier rule with conditions is about one of the calls.
    fn has_conditions(&self, syscall: &LinuxSyscall) -> bool {
        syscall.names().iter().filter_map(|name| syscalls::find(name)).any(|row| self.said[row].conditional)
    }

    /// Names rules with conditions that another one without conditions makes void, where that changes anything.
    fn warn_of_unused(&self, policy: &LinuxSeccomp, warnings: &mut Vec<Diagnostic>) {
        for &(row, rule) in &self.conditional {
            let Some(always) = self.said[row].always else { continue };
            let action = self.rules[rule].action;
            if action == always {
                continue;
            }
            let name = ROWS[row].name();
            let says = |value: u32| action::name(value);
            let names = policy.syscalls().as_ref().and_then(|rules| rules.get(rule)).map(LinuxSyscall::names);
            let at = names.and_then(|names| names.iter().position(|n| n == name)).unwrap_or(0);
            warnings.push(
                Diagnostic::warning(
                    format!("{PATH}.syscalls[{rule}].names[{at}]"),
                    format!(
                        "rule for {name} has no effect: another rule without conditions answers {}, this one {}",
                        says(always),
                        says(action)
                    ),
                )
                .hint("remove the name from the rule without conditions"),
            );
        }
    }

    /// What the rules mean on the given ABIs, of which the first is native.
    pub(super) fn resolve(&self, abis: &[Abi], warnings: &mut Vec<Diagnostic>) -> Meaning {
        let mut meaning = Meaning {
            arches: Vec::with_capacity(abis.len()),
            blocks: Vec::new(),
            little_endian: abis.first().is_none_or(|abi| abi.is_little_endian()),
        };
        for &abi in abis {
            let arch = abi.audit_arch();
            if meaning.arches.iter().any(|(known, _)| *known == arch) {
                continue; // x86-64 and x32 are done together
            }
            let mut spans = Spans(Vec::with_capacity(128));
            if arch == Abi::X86_64.audit_arch() {
                if abis.contains(&Abi::X86_64) {
                    self.resolve_abi(Abi::X86_64, &mut meaning.blocks, &mut spans, warnings);
                } else {
                    spans.push(0, Verdict::Return(FOREIGN));
                }
                if abis.contains(&Abi::X32) {
                    self.resolve_abi(Abi::X32, &mut meaning.blocks, &mut spans, warnings);
                } else {
                    spans.push(X32_BIT, Verdict::Return(FOREIGN));
                    // A tracer skips a call by making its number -1: that is no foreign ABI (seccomp(2)).
                    spans.push(u32::MAX, Verdict::Return(self.default));
                }
            } else {
                self.resolve_abi(abi, &mut meaning.blocks, &mut spans, warnings);
            }
            meaning.arches.push((arch, spans.0));
        }
        meaning
    }

    /// Spans of one ABI, from 0 or, for x32, from its base.
    fn resolve_abi(&self, abi: Abi, blocks: &mut Vec<Block>, spans: &mut Spans, warnings: &mut Vec<Diagnostic>) {
        const PLAIN: usize = 1024; // numbers below are in an array; only ARM has calls above
        let default = Verdict::Return(self.default);
        let unknown = Verdict::Return(if self.denies_by_default { action::ENOSYS } else { self.default });
        let mut plain = [default; PLAIN];
        let mut private = Vec::new();
        let (mut largest, mut largest_x32) = (None, None);

        for (row, said) in ROWS.iter().zip(&self.said) {
            let Some(number) = row.number(abi) else { continue };
            if !said.named {
                // Newer than anything the policy names: its author could not know it.
                let is_later = row.since > self.newest && row.since >= VERSIONED_SINCE && self.newest > 0;
                if let Some(slot) = plain.get_mut(index(number)).filter(|_| is_later) {
                    *slot = unknown;
                }
                continue;
            }
            if number < ARM_PRIVATE {
                if abi == Abi::X32 && is_x32_only(number) {
                    largest_x32 = largest_x32.max(Some(number));
                } else {
                    largest = largest.max(Some(number));
                }
            }
            if let Some(action) = said.always {
                match plain.get_mut(index(number)) {
                    Some(slot) => *slot = Verdict::Return(action),
                    None => private.push((number, Verdict::Return(action))),
                }
            }
        }
        if largest.is_none() {
            largest = largest_x32;
        }
        self.resolve_conditional(abi, blocks, &mut plain, &mut private);
        if abi.multiplexes() {
            largest = largest.max(self.resolve_multiplexed(abi, blocks, &mut plain, warnings));
        }
        // On s390 a number the kernel does not know arrives as 0, which is no call any more (runc does the same).
        if matches!(abi, Abi::S390 | Abi::S390x) && largest.is_some() {
            plain[0] = unknown;
        }

        let base = abi.base();
        if base > 0 && abi != Abi::X32 {
            spans.push(0, default);
        }
        // A policy that names nothing here knows nothing: all get the default action, as with runc.
        let Some(largest) = largest else {
            spans.push(base, default);
            if abi == Abi::Arm {
                push_private(private, default, default, spans);
            }
            return;
        };
        let end = index(largest) + 1;
        for (number, verdict) in (0..).zip(&plain[..end]) {
            spans.push(base + number, *verdict);
        }
        spans.push(base + number_u32(end), unknown);
        if abi == Abi::X32 {
            // x32 has calls of its own at 512 to 547, all of the same age: those not named are denied, not unknown.
            for (number, verdict) in (0..).zip(&plain[..=X32_ONLY.1]).skip(end.max(X32_ONLY.0)) {
                spans.push(base + number, *verdict);
            }
            spans.push(base + number_u32(end.max(X32_ONLY.1 + 1)), unknown);
        } else if abi == Abi::Arm {
            push_private(private, default, unknown, spans);
        }
    }

    /// Adds the calls that only rules with conditions name.
    fn resolve_conditional(
        &self,
        abi: Abi,
        blocks: &mut Vec<Block>,
        plain: &mut [Verdict],
        private: &mut Vec<(u32, Verdict)>,
    ) {
        for (at, &(row, _)) in self.conditional.iter().enumerate() {
            let Some(number) = ROWS[row].number(abi) else { continue };
            if self.said[row].always.is_some() || self.conditional[..at].iter().any(|(earlier, _)| *earlier == row) {
                continue;
            }
            let clauses = self.clauses(row, |argument| ROWS[row].width(abi, argument));
            let verdict = self.intern(clauses, self.order, blocks);
            match plain.get_mut(index(number)) {
                Some(slot) => *slot = verdict,
                None => private.push((number, verdict)),
            }
        }
    }

    /// The clauses of every rule with conditions on one call.
    fn clauses(&self, row: usize, width: impl Fn(usize) -> Width) -> Vec<Clause> {
        let mut clauses = Vec::new();
        for &(_, rule) in self.conditional.iter().filter(|(r, _)| *r == row) {
            let rule = &self.rules[rule];
            for alternative in &rule.alternatives {
                let mut tests = Some(Vec::with_capacity(alternative.len()));
                for condition in alternative.iter() {
                    match fold(condition, width(condition.index())) {
                        Folded::Test(test) => tests.iter_mut().for_each(|tests: &mut Vec<Test>| tests.push(test)),
                        Folded::Always => {}
                        Folded::Never => tests = None,
                    }
                }
                if let Some(tests) = tests {
                    clauses.push(Clause { tests, action: rule.action });
                }
            }
        }
        clauses
    }

    /// Orders clauses, drops those without effect, and gives them a place.
    fn intern(&self, mut clauses: Vec<Clause>, order: Order, blocks: &mut Vec<Block>) -> Verdict {
        // Where several rules hold, the strictest action counts, as it does for the kernel between several filters; the
        // sort is stable, so among equals the policy's first.
        if order == Order::Strictest {
            clauses.sort_by_key(|clause| action::laxness(clause.action));
        }
        let mut otherwise = self.default;
        if let Some(at) = clauses.iter().position(|clause| clause.tests.is_empty()) {
            otherwise = clauses[at].action;
            clauses.truncate(at);
        }
        while clauses.last().is_some_and(|clause| clause.action == otherwise) {
            clauses.pop();
        }
        let mut at = 1;
        while at < clauses.len() {
            if clauses[..at].iter().any(|earlier| earlier.tests == clauses[at].tests) {
                clauses.remove(at);
            } else {
                at += 1;
            }
        }
        if clauses.is_empty() {
            return Verdict::Return(otherwise);
        }
        let block = Block { clauses, otherwise };
        Verdict::Block(blocks.iter().position(|known| *known == block).unwrap_or_else(|| {
            blocks.push(block);
            blocks.len() - 1
        }))
    }

    /// Adds what rules for socket and System V IPC calls mean for socketcall and ipc; gives the largest of these two numbers
    /// that this says anything of.
    fn resolve_multiplexed(
        &self,
        abi: Abi,
        blocks: &mut Vec<Block>,
        plain: &mut [Verdict],
        warnings: &mut Vec<Diagnostic>,
    ) -> Option<u32> {
        let mut largest = None;
        for family in &multiplex::FAMILIES {
            let Some(row) = syscalls::find(family.carrier) else { continue };
            let Some(number) = ROWS[row].number(abi) else { continue };
            if self.said[row].always.is_some() {
                continue;
            }
            let mut clauses = self.clauses(row, |argument| ROWS[row].width(abi, argument));
            for &(name, call) in family.calls {
                let Some(member) = syscalls::find(name) else { continue };
                let said = self.said[member];
                let mut actions = Vec::new();
                if let Some(action) = said.always {
                    actions.push(action);
                } else if said.conditional {
                    for &(_, rule) in self.conditional.iter().filter(|(r, _)| *r == member) {
                        let action = self.rules[rule].action;
                        // The call's arguments are in memory, where a filter cannot see them. What restricts is applied
                        // whatever they are; what allows is not applied.
                        if action::laxness(action) <= action::laxness(self.default) {
                            actions.push(action);
                        } else if abi != Abi::S390x && abi != Abi::Ppc64 && abi != Abi::Ppc64le {
                            let warning = Diagnostic::warning(
                                format!("{PATH}.syscalls[{rule}].args"),
                                format!("conditions on {name} cannot be checked when it is made by way of {}: that way gets the default action", family.carrier),
                            )
                            .hint(format!("name {} as well if 32-bit programs need it", family.carrier));
                            if !warnings.contains(&warning) {
                                warnings.push(warning);
                            }
                        }
                    }
                }
                for action in actions {
                    let restricts = action::laxness(action) <= action::laxness(self.default);
                    clauses.push(Clause { tests: vec![family.test(call, restricts)], action });
                }
            }
            if !clauses.is_empty() {
                plain[index(number)] = self.intern(clauses, Order::Strictest, blocks);
                largest = largest.max(Some(number));
            }
        }
        largest
    }
}

/// ARM's private calls are no newer than others: those not named are denied, not unknown.
fn push_private(mut private: Vec<(u32, Verdict)>, default: Verdict, beyond: Verdict, spans: &mut Spans) {
    private.sort_unstable_by_key(|(number, _)| *number);
    spans.push(ARM_PRIVATE, default);
    for (number, verdict) in private {
        spans.push(number, verdict);
        spans.push(number + 1, default);
    }
    spans.push(ARM_PRIVATE + 0x1_0000, beyond);
}

/// The alternatives of a rule's conditions: one of all of them, or, as with runc, one of each when two are on one argument.
fn alternatives<'a>(
    at: usize,
    syscall: &'a LinuxSyscall,
    order: Order,
    errors: &mut Vec<Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) -> Vec<Cow<'a, [LinuxSeccompArg]>> {
    let Some(conditions) = syscall.args().as_deref().filter(|args| !args.is_empty()) else { return Vec::new() };
    let mut counts = [0usize; 6];
    for (condition_at, condition) in conditions.iter().enumerate() {
        let path = || format!("{PATH}.syscalls[{at}].args[{condition_at}]");
        match counts.get_mut(condition.index()) {
            Some(count) => *count += 1,
            None => errors.push(Diagnostic::error(
                format!("{}.index", path()),
                format!("argument index {} is out of range: system calls have arguments 0 to 5", condition.index()),
            )),
        }
        if condition.op() == oci_spec::runtime::LinuxSeccompOperator::ScmpCmpMaskedEq
            && condition.value_two().unwrap_or(0) & !condition.value() != 0
        {
            warnings.push(
                Diagnostic::warning(
                    format!("{}.valueTwo", path()),
                    "bits of valueTwo outside the mask are ignored".to_owned(),
                )
                .hint("value is the mask, valueTwo what the masked argument is compared with"),
            );
        }
    }
    if order == Order::Strictest && counts.iter().any(|count| *count > 1) {
        conditions.iter().map(|condition| Cow::Owned(vec![*condition])).collect()
    } else {
        vec![Cow::Borrowed(conditions)]
    }
}

/// x32 numbers of calls that differ from x86-64's.
const X32_ONLY: (usize, usize) = (512, 547);

fn is_x32_only(number: u32) -> bool {
    (X32_ONLY.0..=X32_ONLY.1).contains(&index(number))
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn number_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Spans in the making: neighbours of one verdict are joined.
struct Spans(Vec<Span>);

impl Spans {
    /// From `first` on, this verdict. Calls come in order of numbers; a second one for the same number replaces the first.
    fn push(&mut self, first: u32, verdict: Verdict) {
        if self.0.last().is_some_and(|span| span.first == first) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|span| span.verdict != verdict) {
            self.0.push(Span { first, verdict });
        }
    }
}

//! Two filters as one program: the answer is the stricter of both, as if the kernel had run both (seccomp(2)), in one run.
//!
//! The first program runs; where it answers, the second goes on with that answer known, so that of it only what is stricter is left:
//! nothing, where the first denies and the second does not kill. Programs are graphs without circles, in which equal nodes are one.
#![forbid(unsafe_code)]

use super::abi::Abi;
use super::bpf::{Insn, MAX_INSNS, check, code, offset};
use super::tape::{Place, Tape};
use super::{Program, action, flag};
use crate::report::Diagnostic;
use std::collections::HashMap;

/// Composes two filters: every call gets the stricter answer of the two by the kernel's order of actions, and the first one's where
/// both are as strict.
///
/// # Errors
/// When the result is larger than the kernel takes.
pub fn compose(first: &Program, second: &Program) -> Result<Program, Diagnostic> {
    let insns = join(&first.insns, &second.insns, only_arch(&first.abis));
    if insns.len() > MAX_INSNS {
        return Err(Diagnostic::error(
            "linux.seccomp",
            format!("the filter and that of the profile together need {} instructions, the kernel takes at most {MAX_INSNS}", insns.len()),
        )
        .hint("use fewer conditions on arguments"));
    }
    debug_assert_eq!(check(&insns), Ok(()));
    // Speculation stays possible only if both leave it so; everything else is asked for by whoever asks for it.
    let speculation = first.flags & second.flags & flag::SPEC_ALLOW;
    let mut abis: Vec<Abi> = first.abis.iter().copied().filter(|abi| second.abis.contains(abi)).collect();
    if abis.is_empty() {
        abis.extend(first.abis.first());
    }
    Ok(Program {
        insns,
        flags: (first.flags | second.flags) & !flag::SPEC_ALLOW | speculation,
        notify: first.notify || second.notify,
        abis,
        warnings: first.warnings.iter().chain(&second.warnings).cloned().collect(),
    })
}

/// The one architecture that a filter does not kill, if it is one.
fn only_arch(abis: &[Abi]) -> Option<u32> {
    let mut arches = abis.iter().map(|abi| abi.audit_arch());
    let first = arches.next()?;
    arches.all(|arch| arch == first).then_some(first)
}

/// A point of a program, with all that can follow.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Return(u32),
    /// An operation on the accumulator or memory.
    Step {
        code: u16,
        k: u32,
        next: usize,
    },
    Jump {
        code: u16,
        k: u32,
        then: usize,
        otherwise: usize,
    },
}

/// Nodes, each after those that it leads to.
#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    known: HashMap<Node, usize>,
}

impl Graph {
    /// The place of a node, or of a simpler one that does the same.
    fn add(&mut self, node: Node) -> usize {
        match node {
            Node::Jump { then, otherwise, .. } if then == otherwise => return then,
            // Nothing looks at the accumulator any more.
            Node::Step { next, .. } if matches!(self.nodes[next], Node::Return(_)) => return next,
            _ => {}
        }
        *self.known.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        })
    }

    /// Adds a program; `answer` says what its returns become. Gives its first node.
    fn program(&mut self, insns: &[Insn], mut answer: impl FnMut(&mut Self, u32) -> usize) -> usize {
        let mut places = vec![0; insns.len()];
        for (at, insn) in insns.iter().enumerate().rev() {
            let skip = |by: usize| places.get(at + 1 + by).copied().unwrap_or_default();
            places[at] = match insn.code {
                code::RET => answer(self, insn.k),
                code::JA => skip(usize::try_from(insn.k).unwrap_or(usize::MAX / 2)),
                code::JEQ | code::JGT | code::JGE | code::JSET => {
                    let (then, otherwise) = (skip(insn.jt.into()), skip(insn.jf.into()));
                    self.add(Node::Jump { code: insn.code, k: insn.k, then, otherwise })
                }
                other => self.add(Node::Step { code: other, k: insn.k, next: skip(0) }),
            };
        }
        places.first().copied().unwrap_or_default()
    }

    /// Where a program goes on whose architecture is known: past its comparison with others.
    fn on(&self, arch: u32, root: usize) -> usize {
        let Node::Step { code: code::LD_ABS, k: offset::ARCH, mut next } = self.nodes[root] else { return root };
        while let Node::Jump { code: code::JEQ, k, then, otherwise } = self.nodes[next] {
            next = if k == arch { then } else { otherwise };
        }
        // What comes next must not rely on the accumulator, which holds anything here.
        match self.nodes[next] {
            Node::Return(_) | Node::Step { code: code::LD_ABS, .. } => next,
            _ => root,
        }
    }

    /// The instructions of what can be reached from a node.
    fn write(&self, root: usize) -> Vec<Insn> {
        let mut reached = vec![false; self.nodes.len()];
        reached[root] = true;
        for at in (0..=root).rev() {
            if !reached[at] {
                continue;
            }
            match self.nodes[at] {
                Node::Return(_) => {}
                Node::Step { next, .. } => reached[next] = true,
                Node::Jump { then, otherwise, .. } => {
                    reached[then] = true;
                    reached[otherwise] = true;
                }
            }
        }
        let mut tape = Tape::new();
        let mut places: Vec<Place> = vec![0; self.nodes.len()];
        for at in (0..=root).filter(|at| reached[*at]) {
            let place = |tape: &mut Tape, places: &[Place], node: usize| match self.nodes[node] {
                Node::Return(value) => tape.returning(value),
                _ => places[node],
            };
            places[at] = match self.nodes[at] {
                Node::Return(value) if at == root => tape.returning(value),
                // Written where it is needed.
                Node::Return(_) => continue,
                Node::Step { code, k, next } => {
                    let next = place(&mut tape, &places, next);
                    tape.step(code, k, next)
                }
                Node::Jump { code, k, then, otherwise } => {
                    let then = place(&mut tape, &places, then);
                    let otherwise = place(&mut tape, &places, otherwise);
                    tape.jump(code, k, then, otherwise)
                }
            };
        }
        // The first instruction is the last one written; an answer may have been written long before.
        match self.nodes[root] {
            Node::Return(value) => vec![Insn { code: code::RET, jt: 0, jf: 0, k: value }],
            _ => tape.finish(),
        }
    }
}

fn join(first: &[Insn], second: &[Insn], arch: Option<u32>) -> Vec<Insn> {
    let mut graph = Graph::default();
    // The second program after each answer of the first.
    let mut after: Vec<(u32, usize)> = Vec::new();
    let root = graph.program(first, |graph, answer| {
        if let Some((_, place)) = after.iter().find(|(known, _)| *known == answer) {
            return *place;
        }
        let root = graph.program(second, |graph, other| graph.add(Node::Return(stricter(answer, other))));
        // Only what is of this architecture gets another answer than being killed.
        let place = match arch {
            Some(arch) if answer != super::policy::FOREIGN => graph.on(arch, root),
            _ => root,
        };
        after.push((answer, place));
        place
    });
    graph.write(root)
}

/// The stricter of two answers, the first where they are alike.
fn stricter(first: u32, second: u32) -> u32 {
    if action::laxness(first) <= action::laxness(second) { first } else { second }
}

//! The plan of a container: what will be done, in which order, as plain data.
//!
//! [`compile()`] is pure: it opens no file and asks the kernel nothing. Everything it needs to know of the host is in
//! [`Host`](crate::host::Host). `launch` walks the result without deciding anything.
#![forbid(unsafe_code)]

mod builder;
mod compile;
mod devices;
mod exec;
mod explain;
pub mod hardening;
pub mod landlock;
mod mounts;
mod namespaces;
mod notify;
mod numa;
pub mod op;
pub mod order;
mod process;
mod raw;
mod require;
pub mod text;

pub use compile::{Kept, Options, Request, compile, compile_hooks};
pub use exec::{ExecRequest, compile_exec};
pub use hardening::Hardening;
pub(crate) use namespaces::kind_of;
pub use notify::{Agent, Supervised, agent};
pub use process::forbids_last_words;
pub(crate) use process::rlimit;

use crate::cgroup::CgroupPlan;
use crate::rdt::RdtPlan;
use crate::report::Diagnostic;
use op::{Child, HookKind, Namespace, Parent, Prepare};
use serde::Serialize;
use text::Text;

/// A container, or a process joining one, before anything of it exists.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The container's id.
    pub id: String,
    /// The namespaces the first process is born into (`CLONE_NEW*` of clone3).
    pub new_namespaces: Vec<Namespace>,
    /// The control group and its limits; made before clone.
    pub cgroup: CgroupPlan,
    /// Its class of service in resctrl, if it asks for one; made before clone, joined right after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdt: Option<RdtPlan>,
    /// Done by the parent before clone, in order.
    pub prepare: Vec<Prepare>,
    /// Done by the parent after clone, in order.
    pub parent: Vec<Parent>,
    /// Done by the child, in order; from a [`Child::Birth`] on by another process.
    pub child: Vec<Child>,
    /// The program.
    pub program: Program,
    /// Hooks that the child runs, by kind, in order.
    pub child_hooks: Vec<(HookKind, Vec<Hook>)>,
    /// Hooks of the runtime's namespace before start.
    pub parent_hooks: Vec<(HookKind, Vec<Hook>)>,
    /// The seccomp filter, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<crate::seccomp::Program>,
    /// Who gets the filter's listener, if a rule notifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// What of the filter is loaded after its listener was handed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp_rest: Option<crate::seccomp::Program>,
    /// The filter as it is meant, when the runtime answers for it; `seccomp` and `seccomp_rest` are then made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervised: Option<Supervised>,
    /// How many slots the table of descriptors has.
    pub slots: u16,
    /// How many mounts will be checked at most.
    pub mount_checks: usize,
    /// Whether the container has a terminal.
    pub terminal: bool,
    /// What is odd, but does not stop the container.
    pub warnings: Vec<Diagnostic>,
    /// What a profile has changed of what was asked for; filled in by whoever applied it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<crate::profile::Change>,
    /// Whether names of the configuration were spelled ([`Plan::unspell`]).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub spelled: bool,
}

impl Plan {
    /// Whether the container's first process is pent's own, and the program its child.
    #[must_use]
    pub fn has_own_init(&self) -> bool {
        self.child.contains(&Child::BecomeInit)
    }

    /// The rules of landlock(7) that it applies.
    #[must_use]
    pub fn ruleset(&self) -> Option<&landlock::Ruleset> {
        self.child.iter().find_map(|op| if let Child::MakeRuleset { ruleset } = op { Some(ruleset) } else { None })
    }
}

/// What is executed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Program {
    /// `argv`, the first is also the name looked up.
    pub args: Vec<Text>,
    /// `NAME=value`.
    pub env: Vec<Text>,
}

/// A hook as it will be executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Absolute.
    pub path: Text,
    /// `argv`; `[path]` when config.json has none.
    pub args: Vec<Text>,
    /// Its whole environment (threats N).
    pub env: Vec<Text>,
    /// It has none of its own: it inherits the program's where it is a program of the image (startContainer), else the runtime's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inherits: bool,
    /// Seconds until it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

//! What the parts of compile write into: the scripts, the next free slot, the findings.
#![forbid(unsafe_code)]

use super::op::{Child, Namespace, Parent, Point, Prepare, Slot, Source};
use crate::host::Host;
use crate::report::Diagnostic;

pub(super) struct Builder<'a> {
    pub(super) host: &'a Host,
    pub(super) prepare: Vec<Prepare>,
    pub(super) parent: Vec<Parent>,
    pub(super) child: Vec<Child>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) mount_checks: usize,
    slots: u16,
    /// Where in the child's script sources go that the parent may not clone: before the child's mounts change.
    pub(super) sources_at: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self {
            host,
            prepare: Vec::new(),
            parent: Vec::new(),
            child: Vec::new(),
            diagnostics: Vec::new(),
            mount_checks: 0,
            slots: 0,
            sources_at: 0,
        }
    }

    pub(super) fn slot(&mut self) -> Slot {
        let slot = Slot(self.slots);
        self.slots += 1;
        slot
    }

    pub(super) fn slots(&self) -> u16 {
        self.slots
    }

    pub(super) fn error(&mut self, path: impl Into<String>, message: impl Into<String>, hint: &str) {
        let diagnostic = Diagnostic::error(path, message);
        let diagnostic = if hint.is_empty() { diagnostic } else { diagnostic.hint(hint) };
        // What is wrong with each of version 1's hierarchies is wrong once; there are a dozen of them.
        if !self.diagnostics.iter().rev().take(64).any(|known| *known == diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    pub(super) fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::warning(path, message));
    }

    /// Both scripts meet here.
    pub(super) fn meet(&mut self, point: Point) {
        self.parent.push(Parent::Meet { point });
        self.child.push(Child::Meet { point });
    }

    /// From here on another process walks the child's script: a sibling, born in `new` namespaces and in those that were
    /// entered for children. It does nothing before the parent knows it.
    pub(super) fn birth(&mut self, new: Vec<Namespace>) {
        self.child.push(Child::Birth { new });
        self.parent.push(Parent::Adopt);
        self.meet(Point::Born);
    }

    /// A path of the host becomes a detached mount: by the parent where it may, because it resolves paths with the
    /// caller's rights and outside of the container's user namespace; by the child when the runtime has no rights at all.
    pub(super) fn source(&mut self, source: Source) {
        if self.host.is_privileged() {
            self.prepare.push(Prepare::CloneMount(source));
        } else {
            self.child.insert(self.sources_at.min(self.child.len()), Child::CloneMount(source));
            self.sources_at += 1;
        }
    }
}

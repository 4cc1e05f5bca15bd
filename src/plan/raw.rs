//! What `pent sandbox` adds to the plan of a configuration that it wrote itself: bytes that are no text, and which file
//! it meant.
#![forbid(unsafe_code)]

use super::Plan;
use super::op::{Child, Identity, Prepare, Source};
use super::text::Text;
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Plan {
    /// Turns every name that comes from a configuration of pent's own back into the bytes that were spelled in it
    /// ([`crate::spelling`]).
    pub fn unspell(&mut self) {
        self.spelled = true;
        self.program.args.iter_mut().chain(&mut self.program.env).for_each(Text::unspell);
        for op in &mut self.prepare {
            if let Prepare::CloneMount(source) = op {
                unspell_source(source);
            }
        }
        self.child.iter_mut().for_each(unspell_child);
    }

    /// Has the launch compare what it mounts with what was looked at before: a path may lead elsewhere by then.
    pub fn identify(&mut self, meant: &BTreeMap<PathBuf, Identity>) {
        let of_parent = self.prepare.iter_mut().filter_map(|op| match op {
            Prepare::CloneMount(source) => Some(source),
            _ => None,
        });
        let of_child = self.child.iter_mut().filter_map(|op| match op {
            Child::CloneMount(source) => Some(source),
            _ => None,
        });
        for source in of_parent.chain(of_child) {
            source.identity = meant.get(source.path.as_path()).copied();
        }
    }
}

fn unspell_source(source: &mut Source) {
    source.path.unspell();
    source.instead.iter_mut().for_each(Text::unspell);
}

/// Only operations with names from the configuration: the others have names of the kernel's, or numbers.
fn unspell_child(op: &mut Child) {
    match op {
        Child::CloneMount(source) | Child::CloneInside(source) => unspell_source(source),
        Child::AttachRoot { at, .. } => at.iter_mut().for_each(Text::unspell),
        Child::MakeFilesystem(filesystem) => {
            filesystem.mode_of.iter_mut().for_each(Text::unspell);
        }
        Child::MountLegacy { target: name, .. }
        | Child::CopyUp { target: name, .. }
        | Child::Attach { target: name, .. }
        | Child::Remount { target: name, .. }
        | Child::MakeDirectory { path: name }
        | Child::SetReadonly { what: name, .. }
        | Child::ChangeDirectory { path: name, .. } => name.unspell(),
        Child::MaskPaths { paths, .. } | Child::ReadonlyPaths { paths } => paths.iter_mut().for_each(Text::unspell),
        Child::KeepPaths { paths } => paths.iter_mut().for_each(|(path, _)| path.unspell()),
        Child::FindExecutable { name, candidates } => {
            name.unspell();
            candidates.iter_mut().for_each(Text::unspell);
        }
        Child::MakeRuleset { ruleset } => ruleset.rules.iter_mut().for_each(|rule| rule.place.unspell()),
        _ => {}
    }
}

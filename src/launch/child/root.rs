//! The root: what the mount namespace was born with, and the change to the rootfs.
#![forbid(unsafe_code)]

use super::{Child, Done};
use crate::launch::sources;
use crate::launch::wire::Failure;
use crate::plan::op::{Slot, Source};
use crate::plan::text::Text;
use crate::spec::mount_options::Propagation;
use crate::sys::fd::{self, CWD};
use crate::sys::mount::{self, MountAttr};
use std::os::fd::AsFd;

impl Child<'_> {
    pub(super) fn set_root_propagation(&mut self, propagation: Propagation) -> Done {
        let root = fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        Ok(sources::spread(root.as_fd(), &[propagation])?)
    }

    pub(super) fn make_root_parent_private(&mut self) -> Done {
        let root = fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        let private = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
        Ok(mount::set_attr(root.as_fd(), false, &private)?)
    }

    pub(super) fn clone_mount(&mut self, source: &Source) -> Done {
        let namespace = source.idmap.as_ref().map(|map| self.slot(map.namespace)).transpose()?;
        let tree = sources::clone_mount(source, namespace)?;
        self.fill(source.slot, tree);
        Ok(())
    }

    pub(super) fn open_binary(&mut self, mount: Slot, file: Slot, path: &Text) -> Done {
        let (tree, binary) = sources::open_binary(path)?;
        if let Some(tree) = tree {
            self.fill(mount, tree);
        }
        self.fill(file, binary);
        Ok(())
    }

    pub(super) fn park_binary(&mut self, mount: Slot, directory: &Text) -> Done {
        // No mount: the binary runs from memory. No directory: out of reach for this user; then it is closed by exec.
        if let (Ok(tree), Ok(at)) = (self.slot(mount), fd::open(CWD, directory, libc::O_PATH | libc::O_DIRECTORY)) {
            mount::attach(tree, at.as_fd())?;
        }
        Ok(())
    }

    /// On top of the host's root in this namespace: no path of the host is involved, and pivot_root(2) finds its parent private.
    pub(super) fn attach_root(&mut self, slot: Slot) -> Done {
        let host = fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        mount::attach(self.slot(slot)?, host.as_fd())?;
        self.root = Some(slot);
        Ok(())
    }

    pub(super) fn pivot_root(&mut self, slot: Slot, shared: bool) -> Done {
        let host = fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        fd::chdir(self.slot(slot)?)?;
        mount::pivot_root_here().map_err(Failure::in_part(1))?;
        if shared {
            // The host's own tree must not be taken down with ours.
            let slave = MountAttr { propagation: libc::MS_SLAVE, ..MountAttr::default() };
            mount::set_attr(host.as_fd(), true, &slave)?;
        }
        fd::chdir(host.as_fd())?;
        mount::detach_here()?;
        Ok(fd::chdir_path(c"/")?)
    }

    pub(super) fn move_root(&mut self, slot: Slot) -> Done {
        fd::chdir(self.slot(slot)?)?;
        fd::chroot_here()?;
        Ok(fd::chdir_path(c"/")?)
    }

    pub(super) fn set_new_root_propagation(&mut self, propagation: Propagation) -> Done {
        let root = fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        Ok(sources::spread(root.as_fd(), &[propagation])?)
    }
}

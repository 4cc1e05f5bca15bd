//! Ids and capabilities.
#![forbid(unsafe_code)]

use super::{Child, Done};
use crate::launch::wire::Failure;
use crate::sys::cred::{self, CapSets};
use nix::errno::Errno;

impl Child<'_> {
    pub(super) fn drop_groups() -> Done {
        match cred::set_groups(&[]) {
            Ok(()) | Err(Errno::EPERM) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Exactly these: where they may not be set, there is nothing to be done if none are asked for and there are none.
    pub(super) fn set_groups(groups: &[u32]) -> Done {
        match cred::set_groups(groups) {
            Err(Errno::EPERM) if groups.is_empty() && cred::group_count()? == 0 => Ok(()),
            other => Ok(other?),
        }
    }

    pub(super) fn drop_bounding(&mut self, keep: u64) -> Done {
        for cap in 0..64u8 {
            if keep & 1 << cap == 0 {
                match cred::drop_bounding(cap) {
                    Ok(()) => {}
                    // Past the last capability the kernel knows.
                    Err(Errno::EINVAL) => break,
                    Err(errno) => return Err(Failure { errno: errno as i32, part: 0, value: cap.into() }),
                }
            }
        }
        Ok(())
    }

    pub(super) fn set_uid(&mut self, uid: u32) -> Done {
        cred::keep_caps(true)?;
        cred::set_uid(uid)?;
        Ok(())
    }

    pub(super) fn set_capabilities(&mut self, effective: u64, permitted: u64, inheritable: u64) -> Done {
        cred::set_caps(CapSets { effective, permitted, inheritable })?;
        Ok(cred::keep_caps(false)?)
    }

    pub(super) fn set_ambient(&mut self, set: u64) -> Done {
        match cred::clear_ambient() {
            // Kernels before 4.3 have no ambient set.
            Ok(()) => {}
            Err(Errno::EINVAL) if set == 0 => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        for cap in (0..64u8).filter(|cap| set & 1 << cap != 0) {
            cred::raise_ambient(cap).map_err(|errno| Failure { errno: errno as i32, part: 1, value: cap.into() })?;
        }
        Ok(())
    }
}

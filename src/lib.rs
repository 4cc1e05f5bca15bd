//! pent: a hardened, OCI-compatible container runtime.
//!
//! A container is *decided* in pure code and *made* in dumb code: [`plan::compile`] turns a configuration and facts about
//! the host into a [`plan::Plan`], which is plain data, and [`launch`] walks it. See `docs/decisions` for why.
#![deny(unsafe_code)]

pub mod report;
pub mod seccomp;

//! pent: a hardened, OCI-compatible container runtime.
//!
//! A container is *decided* in pure code and *made* in dumb code: [`plan::compile`] turns a configuration and facts about
//! the host into a [`plan::Plan`], which is plain data, and [`launch`] walks it. `docs/decisions` says why.
#![deny(unsafe_code)]

pub mod alloc;
pub mod cgroup;
pub mod cli;
pub mod cmd;
pub mod criu;
pub mod doctor;
pub mod fences;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod host;
pub mod image;
pub mod launch;
pub mod output;
pub mod path;
pub mod plan;
pub mod posture;
pub mod profile;
pub mod rdt;
pub mod refusal;
pub mod report;
pub mod sandbox;
pub mod seccomp;
pub mod spec;
pub mod spelling;
pub mod state;
pub mod streams;
pub mod sys;
pub mod time;
pub mod walk;

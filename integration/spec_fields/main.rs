//! Every field of the runtime specification that pent supports, seen from inside the container.
#![forbid(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

mod devices;
mod hooks;
mod mount_options;
mod mounts;
mod namespaces;
mod process;
mod rootless;
mod seccomp;

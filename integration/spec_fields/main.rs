//! Every field of the runtime specification that pent supports, seen from inside the container.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

#[path = "../support/mod.rs"]
mod support;

mod devices;
mod hooks;
mod labels;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod notify;
mod numa;
mod of_crun;
mod process;
mod rootless;
mod seccomp;

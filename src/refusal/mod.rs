//! Refusals that explain themselves: what a contained program was refused, by which layer, and what would allow it.
//!
//! The filter asks a supervisor where it would answer an error number ([`crate::seccomp::notifying`]). The supervisor gives that same
//! error number, and writes down what it was. It decides nothing: what it answers is what the simulator says for the numbers and
//! register values of the call, and what is in the program's memory only ever changes what is reported.
#![forbid(unsafe_code)]

mod caller;
mod classify;
mod decode;
mod facts;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod keeper;
mod network;
mod record;
mod remedy;
mod supervisor;
mod text;
mod unwise;
mod watch;

pub use facts::Facts;
pub use record::{About, Counted, Layer, Record, Refusal, Registers};
pub use remedy::{Asker, Flags, Operation, Remedy};
pub use supervisor::Supervisor;
pub(crate) use text::shell_word;
pub use text::{Left, Line, Report, VERSION};
pub use watch::Watch;

//! The only `unsafe` code of the library: thin, typed wrappers of system calls that nix does not have.
pub mod process;

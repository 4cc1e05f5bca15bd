//! The `pent` command.
fn main() {}

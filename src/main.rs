//! The `pent` command.
#![forbid(unsafe_code)]

/// Proves that the container's child allocates nothing; the plain system allocator otherwise.
#[cfg(any(debug_assertions, feature = "guard"))]
#[global_allocator]
static ALLOCATOR: pent::alloc::Guard = pent::alloc::Guard;

use pent::report::Reporter;
use std::process::ExitCode;

fn main() -> ExitCode {
    let invocation = pent::cli::parse(std::env::args_os());
    let reporter = Reporter::new(&invocation.global);
    let failure_code = invocation.failure_code;
    match pent::cmd::run(invocation, &reporter) {
        Ok(code) => {
            reporter.succeed();
            ExitCode::from(code)
        }
        Err(error) => {
            reporter.fail(&error);
            ExitCode::from(failure_code)
        }
    }
}

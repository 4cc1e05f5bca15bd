//! The `pent` command.
#![forbid(unsafe_code)]

#[global_allocator]
static ALLOCATOR: pent::alloc::Arena = pent::alloc::Arena::new();

use pent::cli::SANDBOX_FAILURE;
use pent::report::Reporter;
use std::process::ExitCode;

fn main() -> ExitCode {
    let invocation = pent::cli::parse(std::env::args_os());
    let reporter = Reporter::new(&invocation.global);
    let failure_code = invocation.failure_code;
    if failure_code == SANDBOX_FAILURE {
        reporter.speak_plainly();
    }
    match pent::cmd::run(invocation, &reporter) {
        Ok(code) => {
            reporter.succeed();
            ExitCode::from(code)
        }
        Err(error) => {
            reporter.fail(&error);
            let code = error.code.filter(|_| failure_code == SANDBOX_FAILURE);
            ExitCode::from(code.unwrap_or(failure_code))
        }
    }
}

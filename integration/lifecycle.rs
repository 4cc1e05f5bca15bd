//! A container's life: created, started, run, stopped, deleted.
#![forbid(unsafe_code)]

mod support;

use support::{Bundle, privileged};

#[test]
fn a_created_container_waits_for_start() {
    privileged!();
    let container = Bundle::new("waits").shell("echo started; exec sleep 1000").created();
    assert_eq!(container.status(), "created");
    assert_eq!(container.stdout(), "");
    container.start().ok();
    container.wait_output("started\n");
    assert_eq!(container.status(), "running");
}

#[test]
fn run_returns_the_status_of_the_container() {
    privileged!();
    Bundle::new("status").shell("exit 7").run().exits(7);
    Bundle::new("status").shell("kill -9 $$").without_namespace("pid").run().exits(137);
}

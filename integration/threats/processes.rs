//! Class A: a process of the container looks at the runtime's process while it enters (CVE-2016-9962).
#![forbid(unsafe_code)]

use super::loot::{Canary, Loot, docker_and, mask, rounds, with_capabilities};
use crate::support::{Bundle, Container, Finish as _, privileged, seconds};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A container whose first process scans its pid namespace.
struct Scanner {
    container: Container,
    canary: Canary,
}

impl Scanner {
    fn start(name: &str, capabilities: &[&str], tracing: bool) -> Self {
        let canary = Canary::new();
        let bundle = with_capabilities(Bundle::new(name), &docker_and(capabilities)).with_probe("scan").writable();
        let file = canary.file();
        let bundle = match tracing {
            true => bundle.args(["/bin/scan", "/stop", &file, "ptrace"]),
            false => bundle.args(["/bin/scan", "/stop", &file]),
        };
        let container = bundle.started();
        container.wait_output("scanning");
        Self { container, canary }
    }

    /// Stops the scan; every line it printed.
    fn report(&self) -> Vec<String> {
        fs::write(self.container.bundle.rootfs().join("stop"), "").expect("tell the scanner to stop");
        self.container.wait_output("done ");
        self.container.stdout().lines().map(str::to_owned).collect()
    }
}

/// Kinds of findings (see scan.c) that are loot. The program of a neighbouring container is no secret of the runtime.
fn take(report: &[String], kinds: &[&str], loot: &mut Loot) {
    let is_program = |line: &str| {
        ["exe ", "seized "].iter().any(|kind| line.starts_with(kind))
            && line.split(' ').any(|word| word == "/bin/busybox")
    };
    for line in report.iter().filter(|line| !is_program(line)) {
        loot.take_if(kinds.iter().any(|kind| line.split(' ').next() == Some(kind)), || line.clone());
    }
    let seen = report.last().and_then(|line| line.strip_prefix("done foreign=")?.split(' ').next()?.parse().ok());
    assert!(seen.unwrap_or(0) > 0, "the scanner never saw a process enter: {report:?}");
}

fn exec_many(scanner: &Scanner, must_work: bool) {
    for round in 0..rounds(200, 1000) {
        let outcome = scanner.container.exec_command(&[], &["true"]).finish_within(seconds(10));
        assert!(!must_work || outcome.code() == 0, "exec {round}: {outcome:?}");
    }
}

#[test]
fn a_cve_2016_9962_exec_exposes_nothing_to_the_container() {
    privileged!();
    let scanner = Scanner::start("scan", &[], false);
    exec_many(&scanner, true);
    let mut loot = Loot::new(&[]);
    take(&scanner.report(), &["host", "outside", "ns", "pipe", "exe", "seized"], &mut loot);
    loot.must_be_empty();
}

#[test]
fn a_cve_2016_9962_exec_cannot_be_traced_by_the_container() {
    privileged!();
    let scanner = Scanner::start("seize", &[], true);
    exec_many(&scanner, true);
    let mut loot = Loot::new(&[]);
    take(&scanner.report(), &["host", "outside", "ns", "pipe", "exe", "seized"], &mut loot);
    loot.must_be_empty();
}

// With CAP_SYS_PTRACE the kernel lets the container look: then there must be nothing of the host to see. The executable
// may be seen (class B is about that).

#[test]
fn a_cve_2016_9962_exec_exposes_nothing_of_the_host_to_a_container_with_sys_ptrace() {
    privileged!();
    let scanner = Scanner::start("scanptrace", &["CAP_SYS_PTRACE"], false);
    exec_many(&scanner, true);
    let mut loot = Loot::new(&[]);
    take(&scanner.report(), &["host", "outside", "ns", "pipe"], &mut loot);
    loot.must_be_empty();
}

#[test]
fn a_cve_2016_9962_exec_stopped_by_a_container_with_sys_ptrace_exposes_nothing_of_the_host() {
    privileged!();
    let scanner = Scanner::start("seizeptrace", &["CAP_SYS_PTRACE"], true);
    exec_many(&scanner, false);
    let mut loot = Loot::new(&[]);
    take(&scanner.report(), &["host", "outside", "ns", "pipe"], &mut loot);
    loot.must_be_empty();
}

#[test]
fn a_exec_stopped_by_a_container_with_sys_ptrace_has_no_capability_beyond_its_configuration() {
    privileged!();
    let capabilities = docker_and(&["CAP_SYS_PTRACE"]);
    let scanner = Scanner::start("seizecaps", &["CAP_SYS_PTRACE"], true);
    exec_many(&scanner, false);
    let mut loot = Loot::new(&["runc", "crun"]);
    for line in scanner.report() {
        let held = line.strip_prefix("seized ").and_then(|rest| rest.rsplit(' ').next());
        let held = held.and_then(|held| u64::from_str_radix(held, 16).ok()).unwrap_or(0);
        loot.take_if(held & !mask(&capabilities) != 0, || line.clone());
    }
    loot.must_be_empty();
}

/// Another container joins the attacker's pid namespace, as the containers of a pod do: while it is made, its process
/// has the host's root and the host's descriptors somewhere.
fn joined_by_new_containers(name: &'static str, capabilities: &[&str], tracing: bool, kinds: &[&str], mut loot: Loot) {
    let scanner = Scanner::start(name, capabilities, tracing);
    let namespace = PathBuf::from(format!("/proc/{}/ns/pid", scanner.container.pid()));
    for round in 0..rounds(50, 300) {
        let joining = Container::new(Bundle::new(name).namespace("pid", Some(&namespace)));
        let outcome = joining.run_command(&[]).finish_within(seconds(10));
        assert!(tracing || outcome.code() == 0, "run {round}: {outcome:?}");
    }
    take(&scanner.report(), kinds, &mut loot);
    scanner.canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn a_cve_2026_41163_create_in_a_shared_pid_namespace_exposes_nothing_to_its_neighbour() {
    privileged!();
    let kinds = ["host", "ns", "pipe", "exe", "seized"];
    joined_by_new_containers("podscan", &[], false, &kinds, Loot::new(&[]));
    joined_by_new_containers("podseize", &[], true, &kinds, Loot::new(&[]));
}

#[test]
fn a_cve_2026_41163_create_in_a_shared_pid_namespace_exposes_no_host_root_to_a_neighbour_with_sys_ptrace() {
    privileged!();
    let known = || Loot::new(&["runc", "crun"]);
    joined_by_new_containers("podscanp", &["CAP_SYS_PTRACE"], false, &["host", "ns", "pipe"], known());
    joined_by_new_containers("podseizep", &["CAP_SYS_PTRACE"], true, &["host", "ns", "pipe"], known());
}

// The same scanners against victims that enter the pid namespace with the host's root.

fn victim_is_found(name: &str, capabilities: &[&str], tracing: bool, wrapper: &[&str]) {
    let scanner = Scanner::start(name, capabilities, tracing);
    let target = scanner.container.pid().to_string();
    for _ in 0..3 {
        let mut victim = Command::new("nsenter");
        victim.args(["--target", &target, "--pid"]).args(wrapper).args(["sleep", "0.2"]);
        victim.finish_within(seconds(10));
    }
    let report = scanner.report();
    for kind in ["host ", "outside ", "exe "] {
        assert!(report.iter().any(|line| line.starts_with(kind)), "the scanner misses '{kind}': {report:?}");
    }
    assert!(!tracing || report.iter().any(|line| line.starts_with("seized ")), "the scanner never traced: {report:?}");
}

#[test]
fn meta_a_the_scanner_finds_a_process_with_the_hosts_root() {
    privileged!();
    // Without capabilities of its own, the victim is one the kernel lets any root of the container look at.
    let drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    victim_is_found("metascan", &[], false, &drop);
    victim_is_found("metaseize", &[], true, &drop);
    victim_is_found("metascanp", &["CAP_SYS_PTRACE"], false, &[]);
    victim_is_found("metaseizep", &["CAP_SYS_PTRACE"], true, &[]);
}

//! What deciding costs, without any process: parsing, checking, compiling a plan and a seccomp filter.
//!
//! `cargo bench --bench inprocess`
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

#[path = "whole_process/config.rs"]
#[allow(dead_code, reason = "the other benchmark makes the files that the configuration names")]
mod config;

use config::{Kind, Limits};
use divan::{Bencher, black_box};
use pent::host::Host;
use pent::plan::{Hardening, Options, Request, compile};
use pent::spec;
use std::path::Path;

/// As in the command.
#[global_allocator]
static ALLOCATOR: pent::alloc::Arena = pent::alloc::Arena::new();

fn main() {
    divan::main();
}

const NAMES: [&str; 3] = ["plain", "sec", "k8s"];

/// The bytes of a config.json, as an engine would write it.
fn bytes(name: &str) -> Vec<u8> {
    let kind = Kind::ALL.into_iter().find(|k| k.name() == name).expect("one of the names");
    let limits = Limits { cpu: true, memory: true, pids: true };
    let value = config::config(kind, Path::new("/bundle"), "bench", &["/bin/true"], limits).expect("a configuration");
    serde_json::to_vec(&value).expect("JSON")
}

#[divan::bench(args = NAMES)]
fn parse(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = bytes(name);
    bencher.bench_local(|| spec::parse(black_box(&bytes)));
}

#[divan::bench(args = NAMES)]
fn validate(bencher: Bencher<'_, '_>, name: &str) {
    let loaded = spec::parse(&bytes(name)).expect("a good configuration");
    let context = spec::Context { needs_process: true, rootless: false };
    bencher.bench_local(|| spec::validate(black_box(&loaded.spec), &context));
}

#[divan::bench]
fn probe_host() -> Host {
    Host::probe(true).expect("facts about this machine")
}

#[divan::bench(args = NAMES)]
fn compile_plan(bencher: Bencher<'_, '_>, name: &str) {
    let loaded = spec::parse(&bytes(name)).expect("a good configuration");
    let host = Host::probe(true).expect("facts about this machine");
    let options = Options::default();
    let hardening = Hardening::default();
    let request = Request {
        id: "bench",
        bundle: Path::new("/bundle"),
        spec: &loaded.spec,
        host: &host,
        options: &options,
        hardening: &hardening,
    };
    compile(&request).expect("a plan");
    bencher.bench_local(|| compile(black_box(&request)));
}

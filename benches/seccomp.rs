//! Time to turn a seccomp policy into a program, and the kernel's work per system call: `cargo bench --bench seccomp`.
//!
//! With `--features libseccomp` also by way of libseccomp.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

use divan::{Bencher, black_box};
use oci_spec::runtime::LinuxSeccomp;
use pent::seccomp::{Abi, Program, compile, syscalls};

fn docker() -> LinuxSeccomp {
    serde_json::from_str(include_str!("../tests/fixtures/seccomp/docker-default.json"))
        .expect("the fixture is a policy")
}

fn main() {
    let print = |backend: &str, program: &Program| {
        let numbers: Vec<u32> = syscalls::on(Abi::X86_64).map(|(_, number)| number).collect();
        let steps: usize = numbers.iter().map(|number| program.steps(Abi::X86_64.audit_arch(), *number, [0; 6])).sum();
        println!(
            "{backend}: {} instructions, {:.1} of them run per x86-64 call on average",
            program.insns.len(),
            f64::from(u32::try_from(steps).unwrap_or(u32::MAX)) / f64::from(u32::try_from(numbers.len()).unwrap_or(1))
        );
    };
    print("native", &compile(&docker()).expect("the profile compiles"));
    #[cfg(feature = "libseccomp")]
    print("libseccomp", &pent::seccomp::libseccomp::compile(&docker()).expect("the profile compiles"));
    divan::main();
}

#[divan::bench]
fn native(bencher: Bencher<'_, '_>) {
    let policy = docker();
    bencher.bench_local(|| compile(black_box(&policy)));
}

#[cfg(feature = "libseccomp")]
#[divan::bench(sample_count = 20, sample_size = 1)]
fn libseccomp(bencher: Bencher<'_, '_>) {
    let policy = docker();
    bencher.bench_local(|| pent::seccomp::libseccomp::compile(black_box(&policy)));
}

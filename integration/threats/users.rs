//! Class J: a user that ends up as root (CVE-2016-3697, CVE-2022-36109, CVE-2024-40635, CVE-2026-46680).
#![forbid(unsafe_code)]

use super::loot::{Canary, Loot, assert_orderly, result};
use crate::support::{Bundle, Container, Finish as _, privileged, seconds};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// Names that number parsers disagree about.
const STRANGE: [&str; 24] = [
    "4294967296",
    "4294967295",
    "4294968296",
    "18446744073709551616",
    "-1",
    "-4294967296",
    "+0",
    "+1000",
    "0x0",
    "0x3e8",
    "00x0",
    "1e3",
    "1000.0",
    "1000:",
    ":1000",
    ":",
    "1000:1000:",
    "1000:0x0",
    "1000:4294967296",
    "1000:-1",
    "1000:+0",
    " 1000",
    "1000 ",
    "1000\n",
];

#[test]
fn j_cve_2024_40635_exec_rejects_users_that_are_no_numbers_in_range() {
    privileged!();
    // Go's parser takes a sign, and runc 1.1 hands any number to the kernel, which takes its low 32 bits; crun stops at
    // the first character that is no digit.
    let mut loot = Loot::new(&["runc 1.1", "crun 1.8"]);
    let container = Bundle::new("execuser").with_probe("look").sleeping().started();
    for user in STRANGE {
        let outcome = container.exec_command(&["--user", user], &["/bin/look", "ids"]).finish();
        loot.take_if(outcome.code() == 0, || format!("--user {user:?} runs as {}", outcome.trimmed()));
        assert_orderly(&outcome);
    }
    loot.must_be_empty();
}

/// Ids that are none, for a member of process.user.
fn not_ids() -> [Value; 11] {
    [
        json!(4_294_967_296_u64),
        json!(4_294_967_295_u64),
        json!(4_294_968_296_u64),
        json!(u64::MAX),
        json!(-1),
        json!(-4_294_967_296_i64),
        json!(1.5),
        json!("0"),
        json!("root"),
        json!([0]),
        json!({}),
    ]
}

fn process_users() -> Vec<Value> {
    let mut users = Vec::new();
    for id in not_ids() {
        users.push(json!({ "uid": id, "gid": 1000 }));
        users.push(json!({ "uid": 1000, "gid": id }));
        users.push(json!({ "uid": 1000, "gid": 1000, "additionalGids": [1000, id] }));
    }
    users
}

#[test]
fn j_cve_2016_3697_create_rejects_ids_out_of_range() {
    privileged!();
    // (uid_t)-1 means "leave it": a process that asks for it stays root.
    let mut loot = Loot::new(&["runc 1.1", "crun 1.8"]);
    for user in process_users() {
        let bundle = Bundle::new("configuser").with_probe("look").args(["/bin/look", "ids"]);
        let outcome = Container::new(bundle.set("/process/user", user.clone())).run_command(&[]).finish();
        loot.take_if(outcome.code() == 0 || outcome.stdout().contains("uid="), || {
            format!("{user} runs as {}", outcome.trimmed())
        });
        assert_orderly(&outcome);
    }
    loot.must_be_empty();
}

#[test]
fn j_cve_2016_3697_exec_rejects_ids_out_of_range_in_a_process_file() {
    privileged!();
    let mut loot = Loot::new(&["runc 1.1", "crun 1.8"]);
    let container = Bundle::new("processuser").with_probe("look").sleeping().started();
    for user in process_users() {
        let mut process = container.bundle.config["process"].clone();
        process["user"] = user.clone();
        process["args"] = json!(["/bin/look", "ids"]);
        let file = container.bundle.file("process.json", &process.to_string());
        let mut exec = container.runtime.command(["exec", "--process"]);
        let outcome = exec.arg(file).arg(container.id()).finish();
        loot.take_if(outcome.code() == 0 || outcome.stdout().contains("uid="), || {
            format!("{user} runs as {}", outcome.trimmed())
        });
        assert_orderly(&outcome);
    }
    loot.must_be_empty();
}

/// An image that calls root by every number, and puts everyone into every group.
fn poison_databases(bundle: &Bundle) {
    let passwd = "1000:x:0:0:owned:/owned:/bin/sh\nroot:x:0:0::/root:/bin/sh\nx:x:1000:0:::\n";
    let group = "root:x:0:1000,root,x\n1000:x:0:1000,x\nwheel:x:10:1000,x,root\n";
    fs::write(bundle.rootfs().join("etc/passwd"), passwd).expect("a poisoned passwd");
    fs::write(bundle.rootfs().join("etc/group"), group).expect("a poisoned group");
}

const USER_1000: &str = "uid=1000,1000,1000 gid=1000,1000,1000 groups=";

#[test]
fn j_cve_2016_3697_names_that_look_like_numbers_stay_numbers() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let bundle = Bundle::new("names").with_probe("look").args(["/bin/look", "ids", "--", "wait"]);
    poison_databases(&bundle);
    let user = json!({ "uid": 1000, "gid": 1000, "username": "root" });
    let container = bundle.set("/process/user", user).started();
    container.wait_output("wait: ok");
    let got = result(&container.stdout(), "ids");
    loot.take_if(got != USER_1000, || format!("create: {got}"));
    let got =
        result(&container.exec_command(&["--user", "1000:1000"], &["/bin/look", "ids"]).finish().ok().stdout(), "ids");
    loot.take_if(got != USER_1000, || format!("exec --user 1000:1000: {got}"));
    let got = result(&container.exec_command(&["--user", "1000"], &["/bin/look", "ids"]).finish().ok().stdout(), "ids");
    loot.take_if(!got.starts_with("uid=1000,1000,1000 "), || format!("exec --user 1000: {got}"));
    loot.must_be_empty();
}

#[test]
fn j_cve_2022_36109_supplementary_groups_are_exactly_those_asked_for() {
    privileged!();
    // The caller's own groups must not come along: the caller here has some.
    let mut loot = Loot::new(&[]);
    for (asked, expected) in [(json!([]), ""), (json!([1001, 5]), "5,1001")] {
        let bundle = Bundle::new("groups").with_probe("look").args(["/bin/look", "ids", "--", "wait"]);
        poison_databases(&bundle);
        let user = json!({ "uid": 1000, "gid": 1000, "additionalGids": asked });
        let container = Container::new(bundle.set("/process/user", user));
        let in_groups = |command: &Command| {
            let mut wrapped = Command::new("setpriv");
            wrapped.args(["--groups", "0,4,27"]).arg(command.get_program()).args(command.get_args());
            wrapped
        };
        container.keep(in_groups(&container.create_command(&[])).finish()).ok();
        container.start().ok();
        container.wait_output("wait: ok");
        let exec = in_groups(&container.exec_command(&[], &["/bin/look", "ids"])).finish().ok();
        for (what, output) in [("create", container.stdout()), ("exec", exec.stdout())] {
            let got = result(&output, "ids");
            let mut groups: Vec<u32> =
                got.rsplit_once("groups=").expect("groups").1.split(',').filter_map(|id| id.parse().ok()).collect();
            groups.sort_unstable();
            let groups = groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            loot.take_if(groups != expected, || format!("{what}: {got}"));
        }
    }
    loot.must_be_empty();
}

#[test]
fn j_user_database_of_the_image_neither_hangs_nor_exhausts_the_runtime() {
    privileged!();
    // The runtime may look up a home directory in the image: as little as it trusts anything else there.
    let canary = Canary::new();
    let mut loot = Loot::new(&["runc 1.1", "crun 1.8"]);
    fs::write(canary.path().join("canary"), "user:x:1000:1000::/from-the-host:/bin/sh\n")
        .expect("a passwd of the host");
    for kind in ["fifo", "zero", "link", "dots", "directory", "huge", "device"] {
        let bundle = Bundle::new("passwd").with_probe("look").writable();
        let passwd = bundle.rootfs().join("etc/passwd");
        fs::remove_file(&passwd).expect("replace passwd");
        match kind {
            "fifo" => drop(Command::new("mkfifo").arg(&passwd).finish().ok()),
            "zero" => symlink("/dev/zero", &passwd).expect("a link"),
            "device" => symlink("/dev/tty", &passwd).expect("a link"),
            "link" => symlink(canary.path().join("canary"), &passwd).expect("a link"),
            "dots" => symlink(canary.relative().join("canary"), &passwd).expect("a link"),
            "directory" => fs::create_dir(&passwd).expect("a directory"),
            _ => {
                let file = fs::File::create(&passwd).expect("a file");
                file.set_len(8 << 30).expect("a sparse file of 8 GiB without a newline");
            }
        }
        let bundle = bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        let container = Container::new(bundle.shell("echo home=$HOME"));
        let run = container.run_command(&[]);
        // A runtime that reads it all must not take the machine with it.
        let mut limited = Command::new("prlimit");
        limited.arg("--as=4294967296").arg(run.get_program()).args(run.get_args()).stdin(std::process::Stdio::null());
        let outcome = limited.finish_within(seconds(5));
        loot.take_if(outcome.timed_out, || format!("{kind}: the runtime hangs"));
        let died = outcome.status.code().is_none() && !outcome.timed_out;
        loot.take_if(died, || format!("{kind}: the runtime died: {}", outcome.status));
        loot.take_if(outcome.stdout().contains("from-the-host"), || format!("{kind}: read a file of the host"));
    }
    loot.must_be_empty();
}

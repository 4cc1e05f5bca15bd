//! linux.namespaces, id mappings, hostname, sysctl: new namespaces and existing ones.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, Outcome, lacks, privileged, seconds, wait_until};
use serde_json::json;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What `/proc/self/ns/KIND` is for this process.
fn own(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}")).expect("namespace").to_string_lossy().into_owned()
}

/// A process of this test that keeps new namespaces open, killed at the end.
struct Keeper(Child);

impl Keeper {
    /// `unshare OPTION… sleep`; waits until its namespaces are made.
    fn new(options: &[&str], kind: &str) -> Self {
        let child = Command::new("unshare").args(options).args(["sleep", "1000"]).spawn().expect("unshare");
        let keeper = Self(child);
        wait_until("the namespace is made", seconds(10), || keeper.link(kind) != own(kind));
        wait_until("sleep runs", seconds(10), || {
            fs::read(format!("/proc/{}/cmdline", keeper.0.id())).is_ok_and(|line| line.starts_with(b"sleep"))
        });
        keeper
    }

    fn path(&self, kind: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{kind}", self.0.id()))
    }

    fn link(&self, kind: &str) -> String {
        fs::read_link(self.path(kind)).unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.kill().expect("kill the keeper");
        self.0.wait().expect("reap the keeper");
    }
}

/// The namespace a container of this bundle finds itself in.
fn inside(bundle: Bundle, kind: &str) -> String {
    bundle.args(["readlink", &format!("/proc/self/ns/{kind}")]).run().ok().trimmed()
}

/// A bundle in a new user namespace with root and 1000 mapped to ordinary ids, its rootfs owned by them.
fn mapped(name: &str) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let bundle = Bundle::new(name).namespace("user", None);
    let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.chown(100_000);
    bundle
}

#[test]
fn each_listed_namespace_is_new() {
    privileged!();
    for (listed, kind) in
        [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt"), ("cgroup", "cgroup")]
    {
        let bundle = Bundle::new("nsnew").namespace(listed, None);
        assert_ne!(inside(bundle, kind), own(kind), "{listed}");
    }
}

#[test]
fn a_namespace_that_is_not_listed_is_the_callers() {
    privileged!();
    for (listed, kind) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("cgroup", "cgroup"), ("user", "user")] {
        let bundle = Bundle::new("nsold").without_namespace(listed);
        // Without a pid namespace /proc shows the host, so readlink of self works all the same.
        assert_eq!(inside(bundle, kind), own(kind), "{listed}");
    }
    let bundle = Bundle::new("nsold").without_namespace("uts").remove("/hostname");
    assert_eq!(inside(bundle, "uts"), own("uts"));
}

#[test]
fn a_network_namespace_is_complete_and_the_runtime_stays_outside() {
    privileged!();
    let container = Container::new(Bundle::new("nsnet").shell("ls /sys/class/net; ifconfig lo | grep UP; sleep 1000"));
    let pid_file = container.pid_file().to_string_lossy().into_owned();
    let mut run = container.run_command(&["--pid-file", &pid_file]).stdout(Stdio::piped()).spawn().expect("run");
    let mut said = BufReader::new(run.stdout.take().expect("piped")).lines().map(|line| line.expect("UTF-8"));
    assert_eq!(said.next().as_deref(), Some("lo"));
    assert!(said.next().is_some_and(|line| line.contains("UP LOOPBACK RUNNING")));
    let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).expect("namespace").to_string_lossy().into_owned();
    // runc writes it when the program runs already.
    wait_until("the pid file is written", seconds(10), || container.pid_file().exists());
    assert_eq!(of(run.id()), own("net"));
    assert_ne!(of(container.pid().unsigned_abs()), own("net"));
    container.kill("KILL").ok();
    run.wait().expect("reap the runtime");
}

#[test]
fn a_time_namespace_is_new_with_its_offsets() {
    privileged!();
    lacks!("runc" < "1.2": "time namespaces", "crun" < "1.8.5": "a time namespace entered by its first process");
    let bundle = Bundle::new("nstime").namespace("time", None);
    let bundle = bundle.set("/linux/timeOffsets/boottime", json!({ "secs": 1_000_000, "nanosecs": 0 }));
    let outcome = bundle.shell("readlink /proc/self/ns/time; cut -d. -f1 /proc/uptime").run().ok();
    let (namespace, uptime) =
        outcome.stdout().trim().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("lines");
    assert_ne!(namespace, own("time"));
    assert!(uptime.parse::<u64>().expect("seconds") >= 1_000_000, "{uptime}");
}

#[test]
fn namespaces_are_joined_by_path() {
    privileged!();
    for (listed, kind, option) in [("network", "net", "--net"), ("ipc", "ipc", "--ipc"), ("uts", "uts", "--uts")] {
        let keeper = Keeper::new(&[option], kind);
        let bundle = Bundle::new("nspath").namespace(listed, Some(&keeper.path(kind))).remove("/hostname");
        assert_eq!(inside(bundle, kind), keeper.link(kind), "{listed}");
    }
}

#[test]
fn a_pid_namespace_is_joined_by_path() {
    privileged!();
    let first = Bundle::new("pidowner").sleeping().started();
    let path = PathBuf::from(format!("/proc/{}/ns/pid", first.pid()));
    let bundle = Bundle::new("pidguest").namespace("pid", Some(&path)).shell("echo $$; kill -0 1 && echo sees 1");
    let outcome = bundle.run().ok().stdout();
    let (own, rest) = outcome.trim().split_once('\n').expect("two lines");
    assert!(own.parse::<u32>().expect("pid") > 1 && rest == "sees 1", "{outcome}");
    assert_eq!(first.status(), "running");
}

#[test]
fn a_time_or_cgroup_namespace_is_joined_by_path() {
    privileged!();
    lacks!("runc" < "1.2": "time namespaces", "crun" < "1.9": "a cgroup namespace by path");
    for (kind, option) in [("cgroup", "--cgroup"), ("time", "--time")] {
        // A new time namespace is for children only: fork.
        let keeper = Keeper::new(&[option], if kind == "time" { "time_for_children" } else { kind });
        let path = keeper.path(if kind == "time" { "time_for_children" } else { kind });
        let bundle = Bundle::new("nspath2").namespace(kind, Some(&path));
        let expected = fs::read_link(&path).expect("namespace").to_string_lossy().into_owned();
        assert_eq!(inside(bundle, kind), expected, "{kind}");
    }
}

#[test]
fn a_mount_namespace_is_joined_by_path_or_refused() {
    privileged!();
    lacks!("runc" < "never": "a container in a mount namespace by path");
    let keeper = Keeper::new(&["--mount"], "mnt");
    let table = || fs::read_to_string(format!("/proc/{}/mountinfo", keeper.0.id())).expect("mountinfo");
    let before = table();
    let bundle = Bundle::new("mntpath").namespace("mount", Some(&keeper.path("mnt")));
    let outcome = Container::new(bundle.args(["readlink", "/proc/self/ns/mnt"])).run();
    if outcome.code() == 0 {
        outcome.prints(&keeper.link("mnt"));
    } else {
        outcome.refused();
        assert_eq!(table(), before, "a refused container changed the namespace");
    }
}

/// Of the runtime and of the first process, which have mount namespaces apart here, and none is the machine's.
#[test]
fn the_hosts_mount_namespace_is_not_joined() {
    privileged!();
    lacks!("runc" < "never": "a look at whose mount namespace it is", "crun" < "never": "the same");
    let script = "look() { cat /proc/self/mountinfo /proc/1/mountinfo; }\nbefore=$(look)
        \"$@\" && status=0 || status=$?\ntest \"$before\" = \"$(look)\" && echo untouched\nexit $status";
    for whose in ["self", "1"] {
        let path = PathBuf::from(format!("/proc/{whose}/ns/mnt"));
        let container = Container::new(Bundle::new("mnthost").namespace("mount", Some(&path)));
        let run = container.run_command(&[]);
        let mut apart = Command::new("unshare");
        apart.args([
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "sh",
            "-c",
            "unshare --mount sh -c \"$@\"; exit $?",
            "sh",
        ]);
        apart.args([script, "sh"]).arg(run.get_program()).args(run.get_args());
        let outcome = apart.finish().refused().says("is the host's mount namespace");
        outcome.prints("untouched");
        container.leaves_nothing();
    }
}

#[test]
fn a_namespace_path_of_another_type_is_refused() {
    privileged!();
    let bundle = Bundle::new("nswrong").namespace("network", Some(Path::new("/proc/self/ns/uts")));
    bundle.run().refused();
    let bundle = Bundle::new("nsnone").namespace("network", Some(Path::new("/proc/self/ns/nosuch")));
    bundle.run().refused().says("no such file");
}

// User namespaces.

#[test]
fn a_user_namespace_has_the_mappings_asked_for() {
    privileged!();
    let outcome = mapped("userns").shell("readlink /proc/self/ns/user; cat /proc/self/uid_map; id -u").run().ok();
    let all = outcome.stdout();
    let lines: Vec<&str> = all.lines().collect();
    assert_ne!(lines[0], own("user"));
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert_eq!(lines[2], "0");
}

#[test]
fn root_in_a_user_namespace_is_an_ordinary_user_outside() {
    privileged!();
    let container = mapped("usernsid").sleeping().started();
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("status");
    assert!(status.contains("Uid:\t100000\t100000\t100000\t100000"), "{status}");
    container.exec(["id", "-u"]).ok().prints("0");
    container.sh("echo > /dev/null && ls -ln /dev/null | cut -c1").ok().prints("c");
}

#[test]
fn several_mappings_are_kept_apart() {
    privileged!();
    let map = json!([
        { "containerID": 0, "hostID": 100_000, "size": 1000 },
        { "containerID": 1000, "hostID": 300_000, "size": 10 },
    ]);
    let bundle = mapped("usernstwo").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let bundle = bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 })).sleeping();
    let container = bundle.started();
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("status");
    assert!(status.contains("Uid:\t300000\t300000\t300000\t300000"), "{status}");
}

#[test]
fn a_user_namespace_is_joined_by_path() {
    privileged!();
    lacks!("runc" < "1.2": "a user namespace by path without mappings");
    let owner = mapped("usernsowner").sleeping().started();
    let path = |kind: &str| PathBuf::from(format!("/proc/{}/ns/{kind}", owner.pid()));
    let bundle = Bundle::new("usernsguest");
    bundle.chown(100_000);
    let bundle = bundle.namespace("user", Some(&path("user"))).namespace("network", Some(&path("net")));
    let outcome =
        bundle.shell("readlink /proc/self/ns/user; readlink /proc/self/ns/net; cat /proc/self/uid_map").run().ok();
    let all = outcome.stdout();
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines[0], fs::read_link(path("user")).expect("link").to_string_lossy());
    assert_eq!(lines[1], fs::read_link(path("net")).expect("link").to_string_lossy());
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
}

/// What an ordinary user makes with a single group mapped.
#[test]
fn a_user_namespace_that_denies_setgroups_is_joined() {
    privileged!();
    lacks!("runc" < "1.2": "a user namespace by path without mappings");
    let keeper = Keeper::new(&["--user", "--map-root-user"], "user");
    assert_eq!(fs::read_to_string(format!("/proc/{}/setgroups", keeper.0.id())).expect("setgroups"), "deny\n");
    let bundle = Bundle::new("usernsdeny").namespace("user", Some(&keeper.path("user")));
    let container = Container::new(bundle.without_mount("/dev/pts").sleeping());
    let mut with_groups = Command::new("setpriv");
    let create = container.create_command(&[]);
    with_groups.args(["--groups", "4,5"]).arg(create.get_program()).args(create.get_args());
    container.keep(with_groups.finish()).ok();
    container.start().ok();
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("status");
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("groups");
    assert_eq!(groups.trim(), "", "the caller's groups stay outside");
    container.exec(["grep", "Groups:", "/proc/self/status"]).ok().prints("Groups:");
}

/// The namespace is there as long as somebody has it open, but for new processes it is over.
#[test]
fn a_pid_namespace_whose_first_process_has_ended_is_refused() {
    privileged!();
    let keeper = Keeper::new(&["--pid", "sh", "-c", "/bin/true; exec \"$@\"", "sh"], "pid_for_children");
    let bundle = Bundle::new("pidended").namespace("pid", Some(&keeper.path("pid_for_children")));
    bundle.run().refused().explains("the first process of the pid namespace has ended");
}

#[test]
fn namespaces_of_others_are_joined_beside_a_user_namespace() {
    privileged!();
    lacks!("runc" < "1.3": "namespaces of another owner beside a user namespace", "crun" < "1.9": "a user namespace by path");
    let owner = mapped("usernsowner2").sleeping().started();
    let user = PathBuf::from(format!("/proc/{}/ns/user", owner.pid()));
    let of_the_host = Keeper::new(&["--ipc"], "ipc");
    let bundle = Bundle::new("usernsguest2").namespace("user", Some(&user)).without_mount("/dev/mqueue");
    bundle.chown(100_000);
    let bundle = bundle.namespace("ipc", Some(&of_the_host.path("ipc")));
    let outcome = bundle.shell("readlink /proc/self/ns/user; readlink /proc/self/ns/ipc").run().ok();
    let user = fs::read_link(&user).expect("link").to_string_lossy().into_owned();
    outcome.prints(&format!("{user}\n{}", of_the_host.link("ipc")));
}

#[test]
fn exec_enters_the_user_namespace_too() {
    privileged!();
    let container = mapped("usernsexec").sleeping().started();
    let first = fs::read_link(format!("/proc/{}/ns/user", container.pid())).expect("link");
    container.exec(["readlink", "/proc/self/ns/user"]).ok().prints(&first.to_string_lossy());
    container.exec_command(&["--user", "1000:1000"], &["id", "-u"]).finish().ok().prints("1000");
}

// Names and sysctls.

#[test]
fn the_hostname_is_set_in_a_uts_namespace() {
    privileged!();
    Bundle::new("hostname")
        .set("/hostname", "some-name.example")
        .args(["hostname"])
        .run()
        .ok()
        .prints("some-name.example");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname");
    assert_ne!(host.trim(), "some-name.example");
}

#[test]
fn the_domainname_is_set_in_a_uts_namespace() {
    privileged!();
    lacks!("runc" < "1.2": "domainname", "crun" < "1.9": "domainname");
    let bundle = Bundle::new("domain").set("/domainname", "a.domain").args(["cat", "/proc/sys/kernel/domainname"]);
    bundle.run().ok().prints("a.domain");
}

#[test]
fn a_hostname_without_a_uts_namespace_is_refused() {
    privileged!();
    let before = fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname");
    lacks!("crun" < "1.9": "a refusal of a hostname without a uts namespace");
    Bundle::new("nouts").without_namespace("uts").run().refused().says("uts");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname"), before);
}

fn sysctl(name: &str, value: &str) -> Bundle {
    Bundle::new("sysctl").set("/linux/sysctl", json!({ name: value }))
}

#[test]
fn sysctls_of_new_namespaces_are_set() {
    privileged!();
    for (name, value) in [("net.ipv4.ip_forward", "1"), ("kernel.msgmax", "9000"), ("fs.mqueue.msg_max", "20")] {
        let file = format!("/proc/sys/{}", name.replace('.', "/"));
        sysctl(name, value).args(["cat", &file]).run().ok().prints(value);
    }
    sysctl("net/ipv4/ip_forward", "1").args(["cat", "/proc/sys/net/ipv4/ip_forward"]).run().ok().prints("1");
}

#[test]
fn sysctls_of_the_host_are_refused() {
    privileged!();
    let refused = |bundle: Bundle| -> Outcome { bundle.run().refused() };
    refused(sysctl("vm.swappiness", "1"));
    refused(sysctl("kernel.core_pattern", "|/bin/false"));
    refused(sysctl("net.ipv4.ip_forward", "1").without_namespace("network"));
    refused(sysctl("kernel.msgmax", "9000").without_namespace("ipc"));
    lacks!("crun" < "1.9": "a refusal of path parts in sysctl names");
    refused(sysctl("net.ipv4/../../kernel.panic", "1"));
}

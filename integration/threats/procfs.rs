//! Class E: the runtime writes labels and sysctls into a `/proc` that is not procfs (CVE-2019-16884, CVE-2019-19921,
//! CVE-2025-52881, CVE-2025-54867).
#![forbid(unsafe_code)]

use super::loot::{Attacker, Canary, Loot, looking, mount_table_hook, result, rounds};
use crate::support::{self, Bundle, Container, Finish as _, Outcome, privileged, seconds};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROC_SUPER_MAGIC: &str = "9fa0";

/// A tree that looks like procfs to a runtime that does not check.
struct FakeProc {
    dir: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

/// What runtimes read and write below /proc.
const PLANTED: [&str; 24] = [
    "self/attr/exec",
    "self/attr/current",
    "self/attr/apparmor/exec",
    "self/attr/keycreate",
    "self/oom_score_adj",
    "self/setgroups",
    "self/uid_map",
    "self/loginuid",
    "self/mountinfo",
    "self/status",
    "thread-self/attr/exec",
    "thread-self/attr/apparmor/exec",
    "1/attr/exec",
    "1/attr/apparmor/exec",
    "1/oom_score_adj",
    "sys/net/ipv4/ip_forward",
    "sys/kernel/msgmax",
    "sys/kernel/core_pattern",
    "sys/kernel/domainname",
    "sysrq-trigger",
    "kcore",
    "timer_list",
    "filesystems",
    "cmdline",
];

impl FakeProc {
    fn plant(dir: PathBuf) -> Self {
        for path in PLANTED {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a planted directory");
            fs::write(path, "planted\n").expect("a planted file");
        }
        fs::create_dir_all(dir.join("self/fd")).expect("a planted directory");
        fs::create_dir_all(dir.join("self/ns")).expect("a planted directory");
        let before = Self::contents(&dir);
        Self { dir, before }
    }

    fn contents(dir: &Path) -> BTreeMap<PathBuf, String> {
        let paths = PLANTED.iter().map(|path| dir.join(path));
        paths.map(|path| (path.clone(), fs::read_to_string(&path).unwrap_or_else(|e| e.to_string()))).collect()
    }

    fn look_for_writes(&self, loot: &mut Loot) {
        for (path, now) in Self::contents(&self.dir) {
            let before = &self.before[&path];
            loot.take_if(*before != now, || format!("{} was written: {now:?}", path.display()));
        }
    }
}

/// The attempts of a container that looks at its own /proc, then waits.
const LOOK: [&str; 3] = ["magic /proc", "magic /proc/sys", "wait"];

/// A container that asks for a sysctl either gets it in its own namespace, or does not run.
fn sysctl_is_real_or_refused(container: &Container, created: &Outcome, loot: &mut Loot) {
    if created.code() != 0 {
        return;
    }
    container.start();
    // /proc/sys/net is that of the reader's network namespace: a host's process in the container's sees the real value.
    let real = Command::new("nsenter")
        .args(["--target", &container.pid().to_string(), "--net", "cat", "/proc/sys/net/ipv4/ip_forward"])
        .finish();
    let got = real.trimmed();
    loot.take_if(got != "1", || format!("the container runs, and its net.ipv4.ip_forward is {got:?}, not 1"));
}

fn with_sysctl(bundle: Bundle) -> Bundle {
    bundle.set("/linux/sysctl", serde_json::json!({ "net.ipv4.ip_forward": "1" }))
}

#[test]
fn e_cve_2019_19921_proc_that_is_a_link_is_not_followed() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    for (name, target) in [("absolute", canary.path()), ("dots", &canary.relative()), ("inside", Path::new("/evil"))] {
        let bundle = with_sysctl(looking(Bundle::new("proclink"), &LOOK));
        fs::remove_dir(bundle.rootfs().join("proc")).expect("replace /proc");
        symlink(target, bundle.rootfs().join("proc")).expect("a link of the image");
        let fake = FakeProc::plant(bundle.rootfs().join("evil"));
        let log = bundle.path().join("mounts.log");
        let hook = mount_table_hook(&bundle, &log);
        let container = Container::new(bundle.set("/hooks/createContainer", hook));
        let created = container.create_command(&[]).finish();
        let code = created.code();
        sysctl_is_real_or_refused(&container, &created, &mut loot);
        if code == 0 {
            container.keep(created);
            container.wait_output("wait: ok");
            let magic = result(&container.stdout(), "magic /proc");
            loot.take_if(magic != PROC_SUPER_MAGIC, || format!("{name}: /proc has magic {magic}"));
        }
        fake.look_for_writes(&mut loot);
        canary.look_for_mounts("container", &support::read(log), &container.bundle.rootfs(), &mut loot);
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn e_cve_2019_16884_sysctl_and_oom_score_are_never_written_into_a_volume_on_proc() {
    privileged!();
    let mut loot = Loot::new(&[]);
    for over_procfs in [true, false] {
        let bundle = with_sysctl(Bundle::new("procvolume").sleeping()).set("/process/oomScoreAdj", 500);
        let fake = FakeProc::plant(bundle.dir("volume"));
        let bundle = if over_procfs { bundle } else { bundle.without_mount("/proc") };
        let bundle = bundle.mount("/proc", "bind", &fake.dir, &["bind", "rw"]).writable();
        let container = Container::new(bundle);
        let created = container.create_command(&[]).finish();
        sysctl_is_real_or_refused(&container, &created, &mut loot);
        if created.code() == 0 {
            let score = support::read(format!("/proc/{}/oom_score_adj", container.pid()));
            loot.take_if(score != "500", || format!("the container runs, and its oom_score_adj is {score}, not 500"));
        }
        fake.look_for_writes(&mut loot);
    }
    loot.must_be_empty();
}

#[test]
fn e_cve_2019_16884_label_is_never_written_into_a_volume_on_proc() {
    privileged!();
    let mut loot = Loot::new(&[]);
    for (member, label) in [
        ("/process/apparmorProfile", "pent-test-no-such-profile"),
        ("/process/selinuxLabel", "system_u:system_r:container_t:s0"),
    ] {
        let bundle = Bundle::new("proclabel").set(member, label).writable();
        let fake = FakeProc::plant(bundle.dir("volume"));
        let bundle = bundle.mount("/proc", "bind", &fake.dir, &["bind", "rw"]);
        let container = Container::new(bundle.sleeping());
        let created = container.create_command(&[]).finish();
        if created.code() == 0 {
            container.start();
            let now = support::read(format!("/proc/{}/attr/current", container.pid()));
            loot.take_if(!now.contains(label), || format!("the container runs with the label {now:?}, not {label}"));
        }
        fake.look_for_writes(&mut loot);
    }
    loot.must_be_empty();
}

#[test]
fn e_cve_2025_52881_sysctl_is_not_redirected_by_links_planted_on_proc_sys() {
    privileged!();
    // The volume covers parts of a real procfs, with links where the runtime writes.
    let mut loot = Loot::new(&[]);
    for (place, link) in
        [("/proc/sys", "net/ipv4/ip_forward"), ("/proc/sys/net", "ipv4/ip_forward"), ("/proc/self", "attr/exec")]
    {
        let bundle = with_sysctl(looking(Bundle::new("procsys"), &LOOK)).writable();
        let volume = bundle.dir("volume");
        let canary = bundle.rootfs().join("redirected");
        fs::write(&canary, "untouched").expect("a canary in the rootfs");
        let link = volume.join(link);
        fs::create_dir_all(link.parent().expect("a directory")).expect("a planted directory");
        symlink("/redirected", &link).expect("a planted link");
        let container = Container::new(bundle.mount(place, "bind", &volume, &["bind", "rw"]));
        let created = container.create_command(&[]).finish();
        sysctl_is_real_or_refused(&container, &created, &mut loot);
        let now = support::read(canary);
        loot.take_if(now != "untouched", || format!("{place}: redirected to a file of the container: {now:?}"));
        let kept = link.symlink_metadata().is_ok_and(|status| status.is_symlink());
        loot.take_if(!kept, || format!("{place}: the volume was changed"));
    }
    loot.must_be_empty();
}

#[test]
fn e_cve_2023_27561_proc_swapped_for_a_link_during_create_redirects_nothing() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&["runc 1.1"]);
    // The swapping goes on while the container looks: from a directory that it has once got hold of, all looks are at the same.
    let bundle = with_sysctl(looking(Bundle::new("procrace"), &["magic .", "read sys/net/ipv4/ip_forward"]));
    let bundle = bundle.set("/process/cwd", "/proc");
    let fake = FakeProc::plant(bundle.rootfs().join("evil"));
    symlink("/evil", bundle.rootfs().join("other")).expect("a link of the image");
    let swapped = [bundle.rootfs().join("proc"), bundle.rootfs().join("other")];
    let container = Container::new(bundle.set("/process/oomScoreAdj", 500).writable());
    let attacker = Attacker::start("swap", swapped);
    let (mut ran, mut refused, mut genuine) = (0, 0, 0);
    for _ in 0..rounds(100, 1000) {
        let outcome = container.run_command(&[]).finish_within(seconds(10));
        if outcome.code() != 0 {
            refused += 1;
            continue;
        }
        ran += 1;
        let output = outcome.stdout();
        // The link may be in the mount's place by the time the container gets there: then it sees the fake, and so would
        // anybody. What counts is that the runtime wrote nothing there, and did write to the procfs.
        let (magic, value) = (result(&output, "magic ."), result(&output, "read sys/net/ipv4/ip_forward"));
        genuine += u32::from(magic == PROC_SUPER_MAGIC);
        loot.take_if(magic == PROC_SUPER_MAGIC && value != "1", || format!("the sysctl is {value}"));
    }
    drop(attacker);
    println!("{ran} containers ran, {refused} were refused, {genuine} had a procfs on /proc");
    assert!(genuine > 0, "no container was ever right: nothing was tested");
    fake.look_for_writes(&mut loot);
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn e_sys_that_is_a_link_is_not_followed_out() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    for target in [canary.path(), &canary.relative()] {
        let bundle = Bundle::new("syslink");
        fs::remove_dir(bundle.rootfs().join("sys")).expect("replace /sys");
        symlink(target, bundle.rootfs().join("sys")).expect("a link of the image");
        let log = bundle.path().join("mounts.log");
        let hook = mount_table_hook(&bundle, &log);
        let container = Container::new(bundle.set("/hooks/createContainer", hook).writable());
        container.run_command(&[]).finish_within(seconds(10));
        canary.look_for_mounts("container", &support::read(log), &container.bundle.rootfs(), &mut loot);
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

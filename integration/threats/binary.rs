//! Class B: the container overwrites the runtime's binary on the host (CVE-2019-5736). Every test attacks a copy.
#![forbid(unsafe_code)]

use super::loot::{Loot, all_capabilities, docker_and, with_capabilities};
use crate::support::{Bundle, Container, Finish as _, Runtime, busybox, privileged, seconds};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A copy of a program, which the attacker may overwrite, and what it was.
struct Copy {
    dir: TempDir,
    content: Vec<u8>,
    status: (u64, u32, u32, u32),
}

impl Copy {
    fn of(program: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("pent-threat-binary-").tempdir().expect("a directory");
        let target = dir.path().join("runtime");
        crate::support::copy_program(program, &target);
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).expect("an executable copy");
        let content = fs::read(&target).expect("the copy");
        let status = Self::status(&target);
        Self { dir, content, status }
    }

    /// The same, of an ordinary user's own.
    fn owned_by(mut self, uid: u32) -> Self {
        for path in [self.dir.path(), &self.path()] {
            chown(path, Some(uid), Some(uid)).expect("give the copy away");
        }
        self.status = Self::status(&self.path());
        self
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("runtime")
    }

    fn status(path: &Path) -> (u64, u32, u32, u32) {
        let status = fs::metadata(path).expect("the copy");
        (status.ino(), status.mode(), status.uid(), status.gid())
    }

    fn is_intact(&self) -> bool {
        fs::read(self.path()).is_ok_and(|now| now == self.content) && Self::status(&self.path()) == self.status
    }

    /// The watcher's arguments: it changes only this file.
    fn watcher(&self) -> Vec<String> {
        let status = fs::metadata(self.path()).expect("the copy");
        let numbers = [status.dev(), status.ino(), status.size()].map(|number| number.to_string());
        ["/bin/overwrite", "/stop"].map(str::to_owned).into_iter().chain(numbers).collect()
    }
}

/// Entry points that make the runtime execute itself.
const ENTRIES: [&str; 4] = ["/entry-script", "/entry-link", "/proc/self/exe", "true"];

fn plant_entries(bundle: &Bundle) {
    let script = bundle.rootfs().join("entry-script");
    fs::write(&script, "#!/proc/self/exe\n").expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("an executable script");
    symlink("/proc/self/exe", bundle.rootfs().join("entry-link")).expect("a link");
}

/// A container whose first process watches for executables to overwrite. The original runtime makes it.
fn watcher(name: &str, capabilities: &[String], copy: &Copy) -> Container {
    let bundle = with_capabilities(Bundle::new(name), capabilities).with_probe("overwrite").writable();
    plant_entries(&bundle);
    let container = bundle.set("/process/args", json!(copy.watcher())).started();
    container.wait_output("scanning");
    container
}

/// The same call, with the copy in the runtime's place. Under env(1): a copy that the attacker holds open for writing
/// ("text file busy") fails this call, not the test.
fn with_copy(call: impl FnOnce(&Container) -> Command, container: &mut Container, copy: &Copy) -> Command {
    let original = std::mem::replace(&mut container.runtime.program, copy.path());
    let call = call(container);
    container.runtime.program = original;
    let mut command = Command::new("env");
    command.arg(call.get_program()).args(call.get_args()).stdin(Stdio::null());
    command
}

/// Ends the watch. Its findings that something could be written, and a changed copy, are loot.
fn conclude(container: &Container, copy: &Copy, loot: &mut Loot) {
    fs::write(container.bundle.rootfs().join("stop"), "").expect("tell the watcher to stop");
    container.wait_output("done");
    for line in container.stdout().lines().filter(|line| line.starts_with("writable ")) {
        loot.take(line);
    }
    loot.take_if(!copy.is_intact(), || "the runtime's binary was changed".to_owned());
}

fn attack_exec(name: &str, capabilities: &[String]) {
    let copy = Copy::of(&Runtime::new("").program);
    let mut container = watcher(name, capabilities, &copy);
    let mut loot = Loot::new(&[]);
    for entry in ENTRIES.iter().cycle().take(60) {
        if !copy.is_intact() {
            break;
        }
        with_copy(|container| container.exec_command(&[], &[entry]), &mut container, &copy).finish_within(seconds(10));
    }
    conclude(&container, &copy, &mut loot);
    loot.must_be_empty();
}

/// The watcher's pid namespace is joined by new containers.
fn attack_create(name: &str, capabilities: &[String]) {
    let copy = Copy::of(&Runtime::new("").program);
    let container = watcher(name, capabilities, &copy);
    let namespace = PathBuf::from(format!("/proc/{}/ns/pid", container.pid()));
    let mut loot = Loot::new(&[]);
    for entry in ENTRIES.iter().cycle().take(24) {
        if !copy.is_intact() {
            break;
        }
        let bundle =
            with_capabilities(Bundle::new(name), capabilities).args([entry]).namespace("pid", Some(&namespace));
        plant_entries(&bundle);
        let mut joining = Container::new(bundle);
        with_copy(|joining| joining.run_command(&[]), &mut joining, &copy).finish_within(seconds(10));
    }
    conclude(&container, &copy, &mut loot);
    loot.must_be_empty();
}

#[test]
fn b_cve_2019_5736_proc_self_exe_cannot_overwrite_runtime_in_exec() {
    privileged!();
    attack_exec("exe", &docker_and(&[]));
}

#[test]
fn b_cve_2019_5736_proc_self_exe_cannot_overwrite_runtime_in_exec_with_sys_ptrace() {
    privileged!();
    attack_exec("exeptrace", &docker_and(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]));
}

#[test]
fn b_cve_2019_5736_proc_self_exe_cannot_overwrite_runtime_in_exec_with_all_capabilities() {
    privileged!();
    attack_exec("exeall", &all_capabilities());
}

/// An ordinary user's own runtime, which the container's root, who is that user, could write to.
#[test]
fn b_cve_2019_5736_proc_self_exe_cannot_overwrite_the_users_own_runtime_in_exec() {
    const USER: u32 = 65_534;
    privileged!();
    let mut loot = Loot::new(&[]);
    let copy = Copy::of(&Runtime::new("").program).owned_by(USER);
    let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
    let bundle = Bundle::new("exeown").rootless(&map, &map).with_probe("overwrite").writable();
    plant_entries(&bundle);
    let mut container = Container::rootless(bundle.set("/process/args", json!(copy.watcher())), USER);
    fs::set_permissions(container.bundle.path(), fs::Permissions::from_mode(0o777)).expect("mode");
    container.create().ok();
    container.start().ok();
    container.wait_output("scanning");
    for entry in ENTRIES.iter().cycle().take(60) {
        if !copy.is_intact() {
            break;
        }
        with_copy(|container| container.exec_command(&[], &[entry]), &mut container, &copy).finish_within(seconds(10));
    }
    conclude(&container, &copy, &mut loot);
    loot.must_be_empty();
}

#[test]
fn b_cve_2019_5736_proc_self_exe_cannot_overwrite_runtime_in_create() {
    privileged!();
    attack_create("exepod", &docker_and(&[]));
}

#[test]
fn b_cve_2019_5736_proc_self_exe_cannot_overwrite_runtime_in_create_with_sys_ptrace() {
    privileged!();
    attack_create("exepodp", &docker_and(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]));
}

#[test]
fn b_cve_2019_5736_proc_self_exe_cannot_overwrite_runtime_in_create_with_all_capabilities() {
    privileged!();
    attack_create("exepodall", &all_capabilities());
}

#[test]
fn b_cve_2019_5736_an_image_that_runs_the_runtime_gets_no_container_of_its_own() {
    privileged!();
    // The entry point is the runtime itself, in the container: it has no more there than any other program.
    for entry in ["/entry-script", "/entry-link", "/proc/self/exe"] {
        let copy = Copy::of(&Runtime::new("").program);
        let bundle = with_capabilities(Bundle::new("selfexe"), &all_capabilities()).args([entry]).writable();
        plant_entries(&bundle);
        let mut container = Container::new(bundle);
        with_copy(|container| container.run_command(&[]), &mut container, &copy).finish_within(seconds(10));
        assert!(copy.is_intact(), "{entry}: the runtime's binary was changed");
    }
}

#[test]
fn meta_b_the_watcher_overwrites_a_binary_that_enters_unprotected() {
    privileged!();
    let victim = Copy::of(busybox());
    let bundle = with_capabilities(Bundle::new("metaexe"), &all_capabilities()).with_probe("overwrite").writable();
    let container = bundle.set("/process/args", json!(victim.watcher())).started();
    container.wait_output("scanning");
    let target = container.pid().to_string();
    // The first argument of a busybox that is not called busybox is nothing: it is called by the name of an applet.
    let sleep = victim.path().with_file_name("sleep");
    symlink("runtime", &sleep).expect("a link to the victim");
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &target, "--pid"]).arg(&sleep).arg("0.3").finish_within(seconds(10));
    fs::write(container.bundle.rootfs().join("stop"), "").expect("tell the watcher to stop");
    container.wait_output("done");
    assert!(!victim.is_intact(), "the watcher can overwrite nothing:\n{}", container.stdout());
}

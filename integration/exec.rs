//! exec: where the new process is, and how its caller gets hold of it.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::json;
use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use support::{
    Bundle, Container, Finish as _, Kind, cgroup2_only, controllers, lacks, privileged, read, seconds, wait_until,
};

/// A running container in cgroups that have one below, called `below`, in each of these hierarchies.
fn with_sub_cgroups(controllers: &[&str]) -> Container {
    let container = Bundle::new("execcg").sleeping().started();
    for controller in controllers {
        let dir = container.cgroup_file(controller, "below");
        if !dir.is_dir() {
            fs::create_dir(&dir).expect("a cgroup");
            // A cpuset of version 1 starts without any.
            for file in ["cpuset.cpus", "cpuset.mems"].into_iter().filter(|_| *controller == "cpuset") {
                fs::write(dir.join(file), read(container.cgroup_file(controller, file))).expect("processors");
            }
        }
    }
    container
}

/// The path of a process in a hierarchy, as it is told in /proc/PID/cgroup.
fn path_in(told: &str, controller: &str) -> String {
    let line =
        told.lines().find(|line| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|n| n == controller)));
    line.unwrap_or_else(|| panic!("{controller} in {told}")).rsplit(':').next().expect("a path").to_owned()
}

#[test]
fn a_sub_cgroup_is_joined_in_every_hierarchy_or_in_some() {
    controllers!("pids", "memory", "cpu");
    lacks!("crun" < "never": "controllers in --cgroup");
    if cgroup2_only() {
        return support::skip("version 2 has one hierarchy");
    }
    let every: Vec<String> = fs::read_dir("/sys/fs/cgroup")
        .expect("hierarchies")
        .map(|entry| entry.expect("a hierarchy").file_name().into_string().expect("text"))
        .filter(|name| std::path::Path::new("/sys/fs/cgroup").join(name).join("cgroup.procs").exists())
        .collect();
    let container = with_sub_cgroups(&every.iter().map(String::as_str).collect::<Vec<_>>());
    let seen = |options: &[&str]| container.exec_command(options, &["cat", "/proc/self/cgroup"]).finish().ok().stdout();
    let (own, below) = (format!("/{}", container.id()), format!("/{}/below", container.id()));
    let told = seen(&[]);
    assert!(["pids", "memory", "cpu"].iter().all(|name| path_in(&told, name).ends_with(&own)), "{told}");
    let told = seen(&["--cgroup", "/"]);
    assert!(path_in(&told, "memory").ends_with(&own), "{told}");
    let told = seen(&["--cgroup", "below"]);
    assert!(["pids", "memory", "cpu"].iter().all(|name| path_in(&told, name).ends_with(&below)), "{told}");
    let told = seen(&["--cgroup", "memory:below", "--cgroup", "cpu:/below"]);
    assert!(["memory", "cpu"].iter().all(|name| path_in(&told, name).ends_with(&below)), "{told}");
    assert!(path_in(&told, "pids").ends_with(&own), "{told}");
}

#[test]
fn a_sub_cgroup_that_cannot_be_is_refused() {
    controllers!("pids", "memory");
    lacks!("crun" < "never": "these messages for --cgroup", "runc" < "1.2": "these messages for --cgroup");
    let container = Bundle::new("execcg").sleeping().started();
    let refused = |options: &[&str], text: &str| {
        container.exec_command(options, &["true"]).finish().exits(255).says(text);
    };
    refused(&["--cgroup", ".."], "is not a sub cgroup path");
    refused(&["--cgroup", "nonexistent"], " adding pid ");
    refused(&["--cgroup", "nonexistent"], "no such file or directory");
    refused(&["--cgroup", "whaaat:/"], "unknown controller ");
    refused(&["--cgroup", "a", "--cgroup", "b"], "invalid --cgroup argument");
    if !cgroup2_only() {
        refused(&["--cgroup", "memory:nonexistent"], " adding pid ");
        refused(&["--cgroup", "memory:../.."], "bad sub cgroup path");
        refused(&["--cgroup", "memory:/", "--cgroup", "memory:/"], "invalid --cgroup argument");
    }
    container.exec(["true"]).ok();
}

#[test]
fn groups_are_added_to_those_of_the_user() {
    privileged!();
    lacks!("crun" < "never": "--additional-gids");
    let container = Bundle::new("execgids").sleeping().started();
    let options = ["--user", "1000:1000", "--additional-gids", "100", "--additional-gids", "65534"];
    container.exec_command(&options, &["id", "-G"]).finish().ok().prints("1000 100 65534");
}

#[test]
fn exec_into_a_paused_container_waits_for_its_resumption() {
    controllers!("freezer");
    lacks!("crun" < "never": "--ignore-paused");
    let container = Bundle::new("execpaused").sleeping().started();
    container.call("pause", &[]).ok();
    container.exec(["true"]).exits(255).says("cannot exec in a paused container (use --ignore-paused to override)");
    let mut exec = container.exec_command(&["--ignore-paused"], &["echo", "hello"]);
    let mut exec = exec.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("exec starts");
    std::thread::sleep(seconds(1) / 2);
    assert!(exec.try_wait().expect("a status").is_none(), "it waits");
    container.call("resume", &[]).ok();
    wait_until("exec ends", seconds(10), || exec.try_wait().expect("a status").is_some());
    let output = exec.wait_with_output().expect("output");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"hello\n"[..]));
}

/// The process that a pidfd sent to `listener` is of.
fn received_pid(listener: &UnixListener) -> i32 {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::{AsRawFd as _, RawFd};
    let (stream, _) = listener.accept().expect("a connection");
    let (mut text, mut space) = ([0; 64], nix::cmsg_space!([RawFd; 1]));
    let mut parts = [std::io::IoSliceMut::new(&mut text)];
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).expect("a message");
    let fd = message
        .cmsgs()
        .expect("control messages")
        .find_map(|part| if let ControlMessageOwned::ScmRights(fds) = part { fds.first().copied() } else { None })
        .expect("a descriptor");
    let info = read(format!("/proc/self/fdinfo/{fd}"));
    nix::unistd::close(fd).expect("close");
    info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd").trim().parse().expect("a pid")
}

#[test]
fn a_pidfd_of_the_process_goes_to_the_socket() {
    privileged!();
    lacks!("runc" < "1.2": "--pidfd-socket", "crun" < "never": "--pidfd-socket");
    let bundle = Bundle::new("execpidfd").sleeping();
    let path = bundle.path().join("pidfd.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let socket = path.to_string_lossy().into_owned();
    let container = Container::new(bundle);
    container.keep(container.create_command(&["--pidfd-socket", &socket]).finish()).ok();
    assert_eq!(received_pid(&listener), container.pid());
    container.start().ok();
    let file = container.bundle.path().join("exec.pid");
    let options = ["--pidfd-socket", &socket, "--detach", "--pid-file", &file.to_string_lossy()];
    container.exec_command(&options, &["sleep", "1000"]).finish().ok();
    assert_eq!(received_pid(&listener).to_string(), read(&file));
    let nowhere = ["--pidfd-socket", "/nonexistent/socket"];
    container.exec_command(&nowhere, &["true"]).finish().exits(255).explains("--pidfd-socket");
}

#[test]
fn a_process_file_leaves_the_rest_to_the_container() {
    privileged!();
    let bundle = Bundle::new("execfile").capabilities(&["CAP_CHOWN"]).sleeping();
    let container = bundle.started();
    let process = json!({ "cwd": "/tmp", "args": ["sh", "-c", "pwd; grep CapBnd /proc/self/status; ulimit -n"], "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"] });
    let file = container.bundle.file("process.json", &process.to_string());
    let outcome = container.exec_command(&["--process", &file.to_string_lossy()], &[]).finish().ok();
    let said = outcome.stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "/tmp");
    match Kind::of_runtime() {
        Kind::Pent => assert_eq!(lines[1..], ["CapBnd:\t0000000000000001", "1024"]),
        Kind::Runc => assert_eq!(lines[1], "CapBnd:\t0000000000000001"),
        Kind::Crun | Kind::Other => {}
    }
}

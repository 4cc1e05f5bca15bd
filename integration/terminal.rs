//! process.terminal: the console socket, the terminal itself, and `run` on a terminal of the caller.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::json;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use support::{Bundle, Container, Finish as _, lacks, privileged, probe, seconds, wait_until};

/// The other side of a console socket, as conmon or a shim is.
struct Console {
    child: Child,
    input: ChildStdin,
    output: File,
    path: String,
}

impl Console {
    fn new(bundle: &Bundle) -> Self {
        let path = bundle.path().join("console.sock");
        let output = tempfile::tempfile().expect("a file for the terminal's output");
        let mut child = Command::new(probe("console"))
            .arg("console.sock")
            .current_dir(bundle.path()) // its command line must not look like a trace of the container
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("duplicate"))
            .spawn()
            .expect("the console probe");
        wait_until("the console socket is there", seconds(10), || path.try_exists().unwrap_or(false));
        let input = child.stdin.take().expect("piped");
        Self { child, input, output, path: path.to_string_lossy().into_owned() }
    }

    /// All that came: the message's line first, then the terminal's output.
    fn seen(&self) -> String {
        let mut bytes = vec![0; usize::try_from(self.output.metadata().expect("length").len()).expect("length")];
        self.output.read_exact_at(&mut bytes, 0).expect("read");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[track_caller]
    fn wait(&self, text: &str) {
        wait_until(&format!("{text:?} is on the terminal, not only {:?}", self.seen()), seconds(15), || {
            self.seen().contains(text)
        });
    }

    fn type_in(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).expect("type");
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.child.kill().expect("end the console probe");
        self.child.wait().expect("reap the console probe");
    }
}

/// A container with a terminal, created and started, and its console.
fn on_a_terminal(bundle: Bundle) -> (Container, Console) {
    let bundle = bundle.set("/process/terminal", true);
    let console = Console::new(&bundle);
    let container = Container::new(bundle);
    container.keep(container.create_command(&["--console-socket", &console.path]).finish().ok());
    container.start().ok();
    (container, console)
}

#[test]
fn the_console_socket_gets_the_master_and_its_name() {
    privileged!();
    let (container, console) = on_a_terminal(Bundle::new("tty").shell("tty; exec sleep 1000"));
    console.wait("/dev/pts/0");
    let seen = console.seen();
    let first = seen.lines().next().expect("a line");
    lacks!("crun" < "never": "the terminal's name in the message");
    assert!(first.starts_with("received 1 descriptor, name /dev/p"), "{first}");
    assert_eq!(container.stdout(), "");
}

#[test]
fn what_is_typed_reaches_the_container_and_its_output_comes_back() {
    privileged!();
    let (container, mut console) = on_a_terminal(Bundle::new("type").shell("read line; echo \"got $line\"; exit 4"));
    console.type_in("hello\n");
    console.wait("got hello");
    assert_eq!(container.wait_exit(), 4);
}

#[test]
fn a_console_is_as_the_kernel_makes_it() {
    privileged!();
    let (_container, console) =
        on_a_terminal(Bundle::new("onlcr").shell("echo one; echo two; echo end; exec sleep 1000"));
    console.wait("end\r\n");
    assert!(console.seen().ends_with("one\r\ntwo\r\nend\r\n"), "{:?}", console.seen());
}

#[test]
fn the_terminal_is_the_controlling_one() {
    privileged!();
    let script =
        "echo to the tty >/dev/tty; trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.1; done";
    let (container, mut console) = on_a_terminal(Bundle::new("ctty").shell(script));
    console.wait("to the tty");
    console.wait("ready");
    console.type_in("\u{3}");
    console.wait("interrupted");
    assert_eq!(container.wait_exit(), 6);
}

#[test]
fn the_console_device_is_the_terminal() {
    privileged!();
    let script = "echo through the console >/dev/console; stat -c '%F %t' /dev/console; exec sleep 1000";
    let (_container, console) = on_a_terminal(Bundle::new("devconsole").shell(script));
    console.wait("through the console");
    console.wait("character special file 88");
}

#[test]
fn the_terminal_belongs_to_the_user() {
    privileged!();
    let bundle = Bundle::new("ttyowner").set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let (_container, console) = on_a_terminal(bundle.shell("stat -c 'owner %u' $(tty); exec sleep 1000"));
    console.wait("owner 1000");
}

#[test]
fn the_console_size_is_set() {
    privileged!();
    lacks!("crun" < "never": "a consoleSize that is set before the process starts");
    let bundle = Bundle::new("ttysize").set("/process/consoleSize", json!({ "height": 33, "width": 121 }));
    let (_container, console) = on_a_terminal(bundle.shell("stty size; exec sleep 1000"));
    console.wait("33 121");
}

#[test]
fn hanging_up_reaches_the_container() {
    privileged!();
    let (container, console) =
        on_a_terminal(Bundle::new("hangup").shell("trap 'exit 8' HUP; echo up; while :; do sleep 0.1; done"));
    console.wait("up");
    drop(console);
    assert_eq!(container.wait_exit(), 8);
}

#[test]
fn exec_gets_a_terminal_of_its_own() {
    privileged!();
    let container = Bundle::new("exectty").sleeping().started();
    let mut console = Console::new(&container.bundle);
    let options = ["--tty", "--detach", "--console-socket", &console.path];
    container.exec_command(&options, &["sh", "-c", "tty; read line; echo \"got $line\""]).finish().ok();
    console.wait("/dev/pts/");
    console.type_in("hello\n");
    console.wait("got hello");
}

#[test]
fn exec_on_a_terminal_works_in_a_container_with_a_user_namespace() {
    privileged!();
    let bundle = Bundle::new("exectty");
    bundle.chown(100_000);
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let bundle = bundle.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let (container, console) = on_a_terminal(bundle.shell("stat -c 'owner %u' $(tty); exec sleep 1000"));
    console.wait("owner 0");
    drop(console);
    drop(container);
}

// Combinations that cannot work.

#[test]
fn a_terminal_in_create_needs_a_console_socket() {
    privileged!();
    let container = Container::new(Bundle::new("ttynosock").set("/process/terminal", true));
    lacks!("crun" < "never": "a demand for a console socket");
    container.create_command(&[]).finish().refused().says("console");
    container.leaves_nothing();
}

#[test]
fn a_console_socket_needs_a_terminal() {
    privileged!();
    let bundle = Bundle::new("socknotty");
    let console = Console::new(&bundle);
    let container = Container::new(bundle);
    lacks!("crun" < "never": "a refusal of a console socket without a terminal");
    container.create_command(&["--console-socket", &console.path]).finish().refused().says("console");
    container.leaves_nothing();
}

#[test]
fn a_console_socket_that_nobody_listens_on_is_an_error() {
    privileged!();
    let container = Container::new(Bundle::new("sockdead").set("/process/terminal", true));
    container.create_command(&["--console-socket", "/no/such/socket"]).finish().refused();
    container.leaves_nothing();
}

#[test]
fn a_detached_run_on_a_terminal_needs_a_console_socket() {
    privileged!();
    lacks!("crun" < "never": "a demand for a console socket");
    let container = Container::new(Bundle::new("ttydetach").set("/process/terminal", true));
    container.run_command(&["--detach"]).finish().refused();
    container.leaves_nothing();
}

// `run` in the foreground, with a terminal of the caller.

/// Runs the container on a new terminal of 50 columns and 20 lines; types `input`; returns all its output and its status.
fn run_on_a_pty(bundle: Bundle, input: &str) -> (String, i32) {
    let size = nix::pty::Winsize { ws_row: 20, ws_col: 50, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).expect("a terminal");
    let container = Container::new(bundle.set("/process/terminal", true));
    let slave = || pty.slave.try_clone().expect("duplicate");
    let mut command = container.run_command(&[]);
    let mut run = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().expect("run");
    // Only the runtime and the container hold the terminal now: reading ends when they end.
    drop((command, pty.slave));
    let mut master = File::from(pty.master);
    master.write_all(input.as_bytes()).expect("type");
    let reader = std::thread::spawn(move || {
        let (mut all, mut some) = (Vec::new(), [0; 1024]);
        while let Ok(n @ 1..) = master.read(&mut some) {
            all.extend_from_slice(&some[..n]);
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    let mut status = None;
    wait_until("run ends", seconds(20), || {
        status = run.try_wait().expect("wait");
        status.is_some()
    });
    wait_until("nobody holds the terminal", seconds(10), || reader.is_finished());
    (reader.join().expect("the terminal's output"), status.and_then(|status| status.code()).expect("a status"))
}

#[test]
fn run_gives_the_container_a_terminal_when_the_caller_has_one() {
    privileged!();
    let (output, status) = run_on_a_pty(Bundle::new("runtty").shell("tty; [ -t 1 ] && echo yes; exit 3"), "");
    assert!(output.contains("/dev/pts/0") && output.contains("yes"), "{output:?}");
    assert_eq!(status, 3);
}

#[test]
fn run_leaves_the_ends_of_lines_to_the_callers_terminal() {
    privileged!();
    let (output, _) = run_on_a_pty(Bundle::new("runlines").shell("echo one; echo two"), "");
    assert!(output.ends_with("one\r\ntwo\r\n"), "{output:?}");
}

#[test]
fn run_passes_what_is_typed_on_to_the_container() {
    privileged!();
    let (output, status) = run_on_a_pty(Bundle::new("runtype").shell("read line; echo \"got $line\""), "hello\n");
    assert!(output.contains("got hello"), "{output:?}");
    assert_eq!(status, 0);
}

#[test]
fn run_gives_the_container_the_size_of_the_callers_terminal() {
    privileged!();
    lacks!("crun" < "never": "the size of the caller's terminal");
    let script =
        "for i in 1 2 3 4 5 6 7 8 9 10; do [ \"$(stty size)\" = '20 50' ] && break; sleep 0.1; done; stty size";
    let (output, _) = run_on_a_pty(Bundle::new("runsize").shell(script), "");
    assert!(output.contains("20 50"), "{output:?}");
}

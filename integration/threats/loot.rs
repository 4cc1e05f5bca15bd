//! What an attacker got, and what every attack needs: a canary on the host, a racer, an inherited descriptor.
#![forbid(unsafe_code)]

use crate::support::{self, Bundle, Kind, Outcome};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Everything an attacker got that it must not get. It must be given up with [`Loot::must_be_empty`].
#[must_use]
pub(crate) struct Loot {
    gains: Vec<String>,
    known: &'static [&'static str],
}

impl Loot {
    /// No loot yet. `known_vulnerable` are peers known to fall to this attack (`"runc 1.1.5"`, a prefix of name and
    /// version): for them a gain is printed and does not fail the test. It never lists pent.
    pub(crate) fn new(known_vulnerable: &'static [&'static str]) -> Self {
        assert!(known_vulnerable.iter().all(|peer| !peer.starts_with("pent")), "no exceptions for pent");
        Self { gains: Vec::new(), known: known_vulnerable }
    }

    /// The attacker got this.
    pub(crate) fn take(&mut self, what: impl Into<String>) {
        self.gains.push(what.into());
    }

    /// The attacker got this if `got`.
    pub(crate) fn take_if(&mut self, got: bool, what: impl FnOnce() -> String) {
        if got {
            self.gains.push(what());
        }
    }

    /// Asserts that the attacker got nothing.
    #[track_caller]
    pub(crate) fn must_be_empty(self) {
        if self.gains.is_empty() {
            return;
        }
        let (shown, total) = (self.gains.iter().take(20).cloned().collect::<Vec<_>>().join("\n  "), self.gains.len());
        let peer = format!("{} {}", Kind::of_runtime().name(), support::version_of());
        if self.known.iter().any(|known| peer.starts_with(known)) {
            let test = std::thread::current().name().unwrap_or("?").to_owned();
            writeln!(std::io::stderr(), "known vulnerable: {peer} ({test}): {total} gains:\n  {shown}")
                .expect("standard error is open");
            return;
        }
        panic!("the attacker got {total} things it must not get:\n  {shown}");
    }
}

/// A host directory nothing may be put into, with files nothing may change.
pub(crate) struct Canary {
    dir: TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// A directory that has what an attack on `/dev` or on a binary would hit: `canary`, `null`, `console`, `ptmx`, and
    /// an executable `evil` (the `look` probe).
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pent-canary-").tempdir().expect("a canary");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a readable canary");
        for name in ["canary", "null", "console", "ptmx"] {
            fs::write(dir.path().join(name), "untouched\n").expect("a canary file");
        }
        support::copy_program(support::probe("look"), dir.path().join("evil"));
        let before = snapshot(dir.path());
        Self { dir, before }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file that exists on the host only.
    pub(crate) fn file(&self) -> String {
        self.dir.path().join("canary").to_string_lossy().into_owned()
    }

    /// `../../…` down from any directory to the canary.
    pub(crate) fn relative(&self) -> PathBuf {
        Path::new("../../../../../../../../../..").join(self.path().strip_prefix("/").expect("an absolute path"))
    }

    /// What changed in the directory, and what is mounted on it in the host's view, is loot.
    pub(crate) fn look_for_traces(&self, loot: &mut Loot) {
        let after = snapshot(self.path());
        for (path, entry) in &after {
            let before = self.before.get(path).map_or("nothing", String::as_str);
            loot.take_if(before != entry, || format!("host file {}: {before} became {entry}", path.display()));
        }
        for (path, entry) in &self.before {
            loot.take_if(!after.contains_key(path), || format!("host file {} ({entry}) is gone", path.display()));
        }
        self.look_for_mounts("host", &support::read("/proc/self/mountinfo"), Path::new("/nonexistent"), loot);
    }

    /// What a mount table has mounted on the canary is loot, unless it is mounted in the container's root file system:
    /// where that is attached over `/`, as some runtimes do before pivot_root, paths in it look like the host's.
    pub(crate) fn look_for_mounts(&self, whose: &str, mountinfo: &str, rootfs: &Path, loot: &mut Loot) {
        // id, parent, root in its file system, mount point
        let fields = |line: &'_ str| {
            let words: Vec<String> = line.split(' ').take(5).map(str::to_owned).collect();
            (words.len() == 5).then(|| (words[0].clone(), words[1].clone(), words[3].clone(), words[4].clone()))
        };
        let tail = rootfs.components().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect::<PathBuf>();
        let mut inside: BTreeSet<String> = BTreeSet::new();
        loop {
            let before = inside.len();
            for (id, parent, root, point) in mountinfo.lines().filter_map(fields) {
                let is_rootfs = Path::new(&root).ends_with(&tail) || Path::new(&point) == rootfs;
                if is_rootfs || inside.contains(&parent) {
                    inside.insert(id);
                }
            }
            if inside.len() == before {
                break;
            }
        }
        for line in mountinfo.lines() {
            let Some((id, _, _, point)) = fields(line) else { continue };
            let escaped = Path::new(&point).starts_with(self.path()) && !inside.contains(&id);
            loot.take_if(escaped, || format!("{whose} mount: {line}"));
        }
    }
}

/// Path to type, mode, owner, inode, size and content.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(status) = path.symlink_metadata() else { continue };
        let (owner, content) = (status.uid(), fs::read(&path).unwrap_or_default());
        let text = String::from_utf8_lossy(&content[..content.len().min(64)]).into_owned();
        let (mode, group, inode) = (status.mode(), status.gid(), status.ino());
        let entry = format!("{mode:o} {owner}:{group} inode {inode} {} bytes {text:?}", content.len());
        found.insert(path.clone(), entry);
        if status.is_dir() {
            waiting.extend(fs::read_dir(&path).expect("the canary").flatten().map(|entry| entry.path()));
        }
    }
    found
}

/// A process of the test, killed when dropped. Declare it after the container it attacks.
pub(crate) struct Attacker(Child);

impl Attacker {
    /// Starts a program of `integration/probe` on the host and waits for its first line.
    pub(crate) fn start<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> Self {
        let child = Command::new(support::probe(name)).args(args).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the attacker starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("the attacker's first line");
        assert!(!line.is_empty(), "the attacker {name} ended at once: {:?}", child.wait());
        Self(child)
    }

    /// Whether it still attacks.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("wait for the attacker").is_none()
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// `normal` rounds, or `long` with `PENT_LONG=1`.
pub(crate) fn rounds(normal: usize, long: usize) -> usize {
    if std::env::var_os("PENT_LONG").is_some_and(|v| v == "1") { long } else { normal }
}

/// The capabilities Docker gives by default.
pub(crate) const DOCKER: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Every capability, by number (linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Every capability this process has: what a privileged container gets.
pub(crate) fn all_capabilities() -> Vec<String> {
    let status = support::read("/proc/self/status");
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("CapBnd");
    let bounding = u64::from_str_radix(bounding, 16).expect("a mask");
    (0..).zip(NAMES).filter(|(bit, _)| bounding >> bit & 1 == 1).map(|(_, name)| format!("CAP_{name}")).collect()
}

/// The mask of these capabilities, as /proc shows it.
pub(crate) fn mask(names: &[String]) -> u64 {
    let bit = |name: &String| NAMES.iter().position(|known| name.strip_prefix("CAP_") == Some(known));
    names.iter().map(|name| 1 << bit(name).expect("a capability")).sum()
}

/// A bundle with these capabilities as Docker sets them: bounding, effective and permitted; no_new_privs off.
pub(crate) fn with_capabilities(bundle: Bundle, names: &[String]) -> Bundle {
    bundle
        .set("/process/capabilities", json!({ "bounding": names, "effective": names, "permitted": names }))
        .set("/process/noNewPrivileges", false)
}

/// Docker's capabilities, and more.
pub(crate) fn docker_and(more: &[&str]) -> Vec<String> {
    DOCKER.iter().chain(more).map(|name| (*name).to_owned()).collect()
}

/// `command`, started with descriptors 3 to 60 open on `dir`, as a careless caller leaves them.
pub(crate) fn with_leaked_directories(command: &Command, dir: &Path) -> Command {
    let mut leaky = Command::new("bash");
    let script = "dir=$1; shift; for n in {3..60}; do eval \"exec $n<\\\"\\$dir\\\"\"; done; exec \"$@\"";
    leaky.args(["-c", script, "bash"]).arg(dir).arg(command.get_program()).args(command.get_args());
    leaky.stdin(Stdio::null());
    leaky
}

/// A hook that appends the mount table the container's first process has before pivot_root to `file`.
pub(crate) fn mount_table_hook(bundle: &Bundle, file: &Path) -> Value {
    let script = bundle.script("mounts.sh", &format!("cat /proc/self/mountinfo >>{}", file.display()));
    json!([{ "path": "/bin/sh", "args": ["sh", script] }])
}

/// The result a line of the `look` probe reports: `look` prints `attempt: result`.
#[track_caller]
pub(crate) fn result(output: &str, attempt: &str) -> String {
    // A terminal echoes control characters before the first line.
    let mut lines = output.lines().map(|line| line.trim_start_matches(|c: char| c.is_control() || "^@D".contains(c)));
    let line = lines.find_map(|line| line.strip_prefix(attempt)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no line for '{attempt}' in:\n{output}")).trim().to_owned()
}

/// The arguments of a `look` that makes these attempts one after the other.
pub(crate) fn look(attempts: &[&str]) -> Vec<String> {
    let mut args = vec!["/bin/look".to_owned()];
    for attempt in attempts {
        args.extend(attempt.split(' ').map(str::to_owned));
        args.push("--".to_owned());
    }
    args
}

/// A bundle that runs `look` with these attempts.
pub(crate) fn looking(bundle: Bundle, attempts: &[&str]) -> Bundle {
    bundle.with_probe("look").set("/process/args", json!(look(attempts)))
}

/// Whether the runtime said no in its own words: it neither succeeded, nor died of a signal, nor panicked, nor hung.
#[track_caller]
pub(crate) fn assert_orderly(outcome: &Outcome) {
    assert!(!outcome.timed_out && outcome.status.code().is_some(), "the runtime died or hung: {outcome:?}");
    let told = outcome.stderr();
    assert!(!told.contains("panicked at") && !told.contains("goroutine "), "the runtime panicked: {outcome:?}");
}

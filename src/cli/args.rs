//! What can be typed: the global flags and one plain struct per verb.
//!
//! The names, short forms and defaults are runc's (and, for `--cgroup-manager`, crun's). The doc comments of structs and
//! fields are what `--help` prints.
#![forbid(unsafe_code)]

use super::sandbox::Sandbox;
use super::value;
use crate::plan::hardening::Need;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What may stand before the verb; the subcommands are added from [`Command`].
#[derive(Parser, Debug)]
#[command(
    name = "pent",
    about = "A hardened OCI container runtime, and a sandbox for untrusted programs",
    disable_version_flag = true,
    args_override_self = true,
    max_term_width = 120
)]
pub(super) struct Root {
    #[command(flatten)]
    pub(super) global: Global,
    /// Print the version
    #[arg(long, short = 'v')]
    pub(super) version: bool,
}

/// The flags before the verb.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Global {
    /// Directory for the state of containers, best on a tmpfs [default: /run/pent; rootless: $XDG_RUNTIME_DIR/pent]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Append failures (and warnings, with --debug everything) to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Format of the log
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Log what is done, at level debug
    #[arg(long)]
    pub debug: bool,
    /// Let systemd make the cgroup; cgroupsPath is then `slice:prefix:name`
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Tolerate missing cgroup permissions: true, false or auto
    #[arg(long, value_name = "WHEN", value_parser = value::rootless, default_value = "auto")]
    pub rootless: Rootless,
    /// What makes the cgroup; takes precedence over --systemd-cgroup
    #[arg(long, value_name = "NAME", value_enum)]
    pub cgroup_manager: Option<CgroupManager>,
    /// Do not start the program unless all of these are in force (create, run, exec): landlock[>=ABI], seccomp, nnp, nonroot,
    /// no-caps, readonly-root, cgroup, memory, pids, userns, pidns, netns, ipcns, utsns, cgroupns, mntns, timens, apparmor, selinux
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub require: Vec<Need>,
    /// Hold create, run and exec to a profile: a name, or a file if there is a slash in it; a program called pent-NAME does so by
    /// itself, and `none` asks for none
    #[arg(long, value_name = "NAME|FILE")]
    pub profile: Option<String>,
    /// Accepted for old callers and ignored, as runc does
    #[arg(long, value_name = "PATH")]
    pub criu: Option<PathBuf>,
}

impl Global {
    /// What makes cgroups, from `--cgroup-manager` and `--systemd-cgroup` together.
    #[must_use]
    pub fn cgroup_driver(&self) -> CgroupManager {
        match (self.cgroup_manager, self.systemd_cgroup) {
            (Some(named), _) => named,
            (None, true) => CgroupManager::Systemd,
            (None, false) => CgroupManager::Cgroupfs,
        }
    }
}

/// `--log-format`.
#[derive(ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `time="…" level=error msg="…"`, as logrus writes it.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// `--cgroup-manager`.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupManager {
    /// Files in the mounted cgroup hierarchies.
    Cgroupfs,
    /// A transient systemd unit.
    Systemd,
    /// No cgroup: the container stays in the caller's.
    Disabled,
}

/// `--rootless`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rootless {
    /// Found out from the user id and the user namespace.
    #[default]
    Auto,
    /// Missing cgroup permissions are tolerated.
    Yes,
    /// Missing cgroup permissions are errors.
    No,
}

/// The verb and what was typed with it.
#[derive(Subcommand, Debug, Clone, PartialEq, Eq)]
#[command(defer = true)]
pub enum Command {
    /// Create a container and leave it waiting for start
    Create(Create),
    /// Let a created container run its program
    Start(Start),
    /// Create and start a container, and wait for it
    Run(Run),
    /// Run another program in a running container
    Exec(Exec),
    /// Print the state of a container as JSON
    State(State),
    /// List the containers below the state directory
    List(List),
    /// Send a signal to a container's first process
    Kill(Kill),
    /// Delete a stopped container and all that belongs to it
    Delete(Delete),
    /// List the processes of a container
    Ps(Ps),
    /// Freeze all processes of a container
    Pause(Id),
    /// Thaw a paused container
    Resume(Id),
    /// Change the resource limits of a container
    Update(Box<Update>),
    /// Print statistics and out-of-memory events as JSON lines
    Events(Events),
    /// Save a running container to files, by CRIU
    Checkpoint(Box<Checkpoint>),
    /// Make a container from the files of checkpoint, by CRIU
    Restore(Box<Restore>),
    /// Write a starter config.json
    Spec(Spec),
    /// Print what this runtime supports as JSON
    Features,
    /// Print what this host offers and lacks, and the command that changes it
    Doctor(Doctor),
    /// Print the ordered operations of a bundle without doing them
    Plan(Plan),
    /// List or remove the unpacked images that `sandbox --image` keeps
    Cache(Cache),
    /// Run an untrusted program on this machine, with as little as it needs
    Sandbox(Box<Sandbox>),
    /// Print the version
    Version,
    /// `help`, `-h` and `--help` at any level: the text to print.
    #[command(skip)]
    Help(String),
}

// The argument of state, pause and resume. No doc comment: it would become their help.
#[allow(missing_docs)]
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct Id {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// Print the state of a container as JSON
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Add what is enforced on the container's program now, as the kernel tells it
    #[arg(long)]
    pub posture: bool,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// What `create` and `run` share: how to make the container.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Make {
    /// Directory with config.json [default: the current directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// The configuration, if not config.json of the bundle; relative to the current directory, as with crun
    #[arg(long, short = 'f', value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Unix socket that receives the master of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Unix socket that receives a pidfd of the container's first process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Write the process id of the container's first process to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Use MS_MOVE and chroot instead of pivot_root, for a rootfs on a ramdisk; weaker
    #[arg(long)]
    pub no_pivot: bool,
    /// Leave the session keyring of the caller to the container
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass this many more descriptors to the container, after 0-2 and $LISTEN_FDS
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
}

/// Create a container and leave it waiting for start
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Create {
    /// How to make the container.
    #[command(flatten)]
    pub make: Make,
    /// A name for the container, unique below the state directory
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// Let a created container run its program
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// Create and start a container, and wait for it
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// How to make the container.
    #[command(flatten)]
    pub make: Make,
    /// Do not wait for the container
    #[arg(long, short)]
    pub detach: bool,
    /// Do not delete the container after it exits
    #[arg(long)]
    pub keep: bool,
    /// Do not adopt orphaned processes of the container
    #[arg(long)]
    pub no_subreaper: bool,
    /// Say at the end what the program was refused, by whom, and what would allow it; as JSON in a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub report: Option<PathBuf>,
    /// A name for the container, unique below the state directory
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// Run another program in a running container; options end at the container's id
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    /// Unix socket that receives the master of the process's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Unix socket that receives a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Set an environment variable (repeatable)
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub env: Vec<OsString>,
    /// Allocate a terminal
    #[arg(long, short)]
    pub tty: bool,
    /// Numeric user and group
    #[arg(long, short, value_name = "UID[:GID]", value_parser = value::user)]
    pub user: Option<User>,
    /// Add a group (repeatable)
    #[arg(long, short = 'g', value_name = "GID", value_parser = value::id)]
    pub additional_gids: Vec<u32>,
    /// Take the process from this JSON file
    #[arg(long, short, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Do not wait for the process
    #[arg(long, short)]
    pub detach: bool,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Set no_new_privs
    #[arg(long)]
    pub no_new_privs: bool,
    /// Add a capability (repeatable)
    #[arg(long, short, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Pass this many more descriptors to the process, after 0-2 and $LISTEN_FDS
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Run the process in an existing sub-cgroup (repeatable)
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    pub cgroup: Vec<String>,
    /// Allow exec in a paused container
    #[arg(long)]
    pub ignore_paused: bool,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub id: String,
    /// The program and its arguments; none with --process
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// `--user` of `exec`: numbers only, since no file of the image is trusted to resolve a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container; the configuration's when absent.
    pub gid: Option<u32>,
}

/// List the containers below the state directory
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Format of the output
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TableFormat,
    /// Print the ids only
    #[arg(long, short)]
    pub quiet: bool,
}

/// List or remove the unpacked images that `sandbox --image` keeps
///
/// `pent cache ls` lists them, `pent cache rm ID...` removes those whose ids begin so, `pent cache rm --all` all that are not in use.
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Format of `ls`
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TableFormat,
    /// Print the ids only
    #[arg(long, short)]
    pub quiet: bool,
    /// Remove all images that no sandbox uses
    #[arg(long, short)]
    pub all: bool,
    /// What to do
    #[arg(value_name = "ACTION", value_enum)]
    pub action: CacheAction,
    /// The images to remove
    #[arg(value_name = "ID", trailing_var_arg = true)]
    pub ids: Vec<String>,
}

/// What `cache` does.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheAction {
    /// List the images
    Ls,
    /// Remove images
    Rm,
}

/// `--format` of `list` and `ps`.
#[derive(ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TableFormat {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON array.
    Json,
}

/// Send a signal to a container's first process
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Send the signal to every process of the container
    #[arg(long, short)]
    pub all: bool,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub id: String,
    /// Name or number of the signal
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", value_parser = value::signal)]
    pub signal: i32,
}

/// Delete a stopped container and all that belongs to it
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Kill the container if it still runs; wipe what an interrupted command left; an unknown id is no error
    #[arg(long, short)]
    pub force: bool,
    /// Take the id for an extended regular expression, and delete every container whose id it matches somewhere
    #[arg(long, short)]
    pub regex: bool,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// List the processes of a container; options end at the container's id
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct Ps {
    /// Format of the output
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TableFormat,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub id: String,
    /// Options for ps(1), `-ef` if none
    #[arg(value_name = "PS-OPTION", trailing_var_arg = true)]
    pub options: Vec<OsString>,
}

/// Change the resource limits of a container
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// File with LinuxResources as JSON, `-` for standard input; the other options are then ignored, as runc does
    #[arg(long, short, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Block IO weight, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    /// CFS period in microseconds
    #[arg(long, value_name = "USECS")]
    pub cpu_period: Option<u64>,
    /// CFS quota in microseconds per period, -1 for none
    #[arg(long, value_name = "USECS")]
    pub cpu_quota: Option<i64>,
    /// CFS burst in microseconds
    #[arg(long, value_name = "USECS")]
    pub cpu_burst: Option<u64>,
    /// CPU shares, relative to other containers
    #[arg(long, value_name = "SHARES")]
    pub cpu_share: Option<u64>,
    /// Real-time period in microseconds
    #[arg(long, value_name = "USECS")]
    pub cpu_rt_period: Option<u64>,
    /// Real-time runtime in microseconds per period
    #[arg(long, value_name = "USECS")]
    pub cpu_rt_runtime: Option<i64>,
    /// 1 to run only when nothing else does (SCHED_IDLE), 0 for the default
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<i64>,
    /// CPUs to use
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Memory limit: bytes, 512M, or -1 for none
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub memory: Option<i64>,
    /// Memory reservation
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub memory_reservation: Option<i64>,
    /// Memory and swap together
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub memory_swap: Option<i64>,
    /// Gone from the kernel; warned about
    #[arg(long, value_name = "SIZE", value_parser = value::size, hide = true)]
    pub kernel_memory: Option<i64>,
    /// Gone from the kernel; warned about
    #[arg(long, value_name = "SIZE", value_parser = value::size, hide = true)]
    pub kernel_memory_tcp: Option<i64>,
    /// Number of processes, -1 for no limit
    #[arg(long, value_name = "N")]
    pub pids_limit: Option<i64>,
    /// Intel RDT L3 cache schema
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// Intel RDT memory bandwidth schema
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// Print statistics and out-of-memory events as JSON lines
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Time between two statistics, such as 5s, 1m30s or 500ms
    #[arg(long, value_name = "DURATION", value_parser = value::interval, default_value = "5s")]
    pub interval: Duration,
    /// Print the statistics once
    #[arg(long)]
    pub stats: bool,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// What checkpoint and restore have in common; most are options of criu(8).
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Criu {
    /// Directory of the images [default: checkpoint]
    #[arg(long, value_name = "DIR")]
    pub image_path: Option<PathBuf>,
    /// Keep established TCP connections
    #[arg(long)]
    pub tcp_established: bool,
    /// Close established TCP connections
    #[arg(long)]
    pub tcp_close: bool,
    /// Skip TCP connections that are still being made
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Link to files that were removed while they were open
    #[arg(long)]
    pub link_remap: bool,
    /// Allow UNIX sockets with a peer outside
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Allow processes of a session that began outside
    #[arg(long)]
    pub shell_job: bool,
    /// Keep file locks
    #[arg(long)]
    pub file_locks: bool,
    /// Free what a later image has again
    #[arg(long)]
    pub auto_dedup: bool,
    /// Leave memory where it is until it is used
    #[arg(long)]
    pub lazy_pages: bool,
    /// What is done about cgroups: soft, full, strict or ignore [default: soft]
    #[arg(long, value_name = "MODE", value_parser = ["soft", "full", "strict", "ignore"])]
    pub manage_cgroups_mode: Option<String>,
    /// Make a namespace of this type without what is in it (repeatable)
    #[arg(long, value_name = "TYPE", value_parser = ["network"])]
    pub empty_ns: Vec<String>,
}

/// Save a running container to files, by CRIU
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// What restore has, too.
    #[command(flatten)]
    pub criu: Criu,
    /// Directory of CRIU's log [default: that of the images]
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,
    /// Images of an earlier pre-dump, relative to --image-path
    #[arg(long, value_name = "DIR")]
    pub parent_path: Option<PathBuf>,
    /// Let the container go on
    #[arg(long)]
    pub leave_running: bool,
    /// Save memory only, and let the container go on
    #[arg(long)]
    pub pre_dump: bool,
    /// Send memory to a page server
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<String>,
    /// Descriptor that is told when lazy pages can be asked for
    #[arg(long, value_name = "FD")]
    pub status_fd: Option<i32>,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// Make a container from the files of checkpoint, by CRIU
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Restore {
    /// What checkpoint has, too.
    #[command(flatten)]
    pub criu: Criu,
    /// Directory of CRIU's log [default: that of the images]
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,
    /// Directory with config.json [default: the current directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Unix socket that gets the master of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Do not wait for the container
    #[arg(long, short)]
    pub detach: bool,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not adopt orphaned processes of the container
    #[arg(long)]
    pub no_subreaper: bool,
    /// As for create
    #[arg(long)]
    pub no_pivot: bool,
    /// TYPE:NAME of another security profile
    #[arg(long, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// Another SELinux context for mounts
    #[arg(long, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
    /// A name for the container
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// Write a starter config.json
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    /// Directory to write config.json to [default: the current directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Write a configuration that needs no root privilege
    #[arg(long)]
    pub rootless: bool,
}

/// Print what this host offers and lacks, and the command that changes it
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Doctor {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// Print the ordered operations of a bundle without doing them
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
    /// Directory with config.json [default: the current directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// As for create
    #[arg(long)]
    pub no_pivot: bool,
}

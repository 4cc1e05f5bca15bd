//! The flags of `sandbox`, in the words that users of bubblewrap, firejail and podman know.
#![forbid(unsafe_code)]

use super::value;
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Run an untrusted program on this machine, with as little as it needs; options end at the program
///
/// Without options the program sees the host's files read-only and without credentials, has a private /tmp and /run, no network,
/// no capabilities and a clean environment, and ends with whoever started it.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
#[command(after_help = "\
Exit status: the program's; 124 when its time was over, 125 when pent failed, 126 when the program cannot be executed, 127 when it is not
there, 137 (or 128 and another signal) when it was killed, and for its memory a line that says so.

Examples:
  pent sandbox -- ./x
  pent sandbox --report --rw . -- make
  pent sandbox --net example.org:443 -- curl https://example.org")]
pub struct Sandbox {
    /// Run in this instead of the host's files: a directory, a rootfs.tar, an image.tar (docker save), oci:DIR:TAG
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<OsString>,
    /// A program in the place of the image's entrypoint
    #[arg(long, value_name = "PROGRAM", requires = "image")]
    pub entrypoint: Option<OsString>,
    /// Let the program write to a file or directory of the host (repeatable)
    #[arg(long, value_name = "PATH[:INSIDE]")]
    pub rw: Vec<OsString>,
    /// Show a file or directory of the host, read-only, even a hidden one (repeatable)
    #[arg(long, value_name = "PATH[:INSIDE]")]
    pub ro: Vec<OsString>,
    /// Let the program use a device, such as /dev/kvm or /dev/dri/renderD128, as far as its owner and mode allow: the driver behind
    /// it is open to the program (repeatable)
    #[arg(long, value_name = "PATH")]
    pub device: Vec<OsString>,
    /// Let the program talk to whoever listens at a UNIX socket, who acts for it outside of the sandbox (repeatable)
    #[arg(long, value_name = "PATH[:INSIDE]")]
    pub socket: Vec<OsString>,
    /// Leave a thing that runs later, such as .vscode, .git/hooks or a path below --rw, writable and in place; or all
    /// (repeatable)
    #[arg(long, value_name = "NAME")]
    pub allow_later_code: Vec<OsString>,
    /// An empty directory in memory, with the options size=SIZE, mode=OCTAL, exec (repeatable)
    #[arg(long, value_name = "PATH[:OPTIONS]", value_parser = value::TmpfsParser)]
    pub tmpfs: Vec<Tmpfs>,
    /// The home directory: as it is but read-only and without credentials, an empty one in memory, or none
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub home: SandboxHome,
    /// Pass an environment variable on, or set it (repeatable)
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,
    /// Working directory in the sandbox [default: the caller's, or the image's]
    #[arg(long, short, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// Hostname in the sandbox [default: sandbox]
    #[arg(long, value_name = "NAME", value_parser = value::hostname)]
    pub hostname: Option<String>,
    /// Network: none (the default); the host's, whole, with its local services and a cloud's metadata; or named hosts only, through a
    /// proxy that the environment names (*.DOMAIN for all below one; localhost:PORT is the host's at the same address;
    /// NAME=10.0.0.0/8:PORT for a name that leads to private addresses; repeatable)
    #[arg(long, value_name = "none|host|HOST:PORT,…")]
    pub net: Vec<String>,
    /// Let 127.0.0.1:PORT of the host lead to a server in the sandbox (repeatable)
    #[arg(long, short, value_name = "[OUTSIDE:]PORT", value_parser = value::publish)]
    pub port: Vec<(u16, u16)>,
    /// Hand over this open descriptor too, such as a pipe of the shell's: --keep-fd 63 for <(…) (repeatable)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..=1_048_576))]
    pub keep_fd: Vec<i32>,
    /// Limit of memory, such as 512M
    #[arg(long, short, value_name = "SIZE", value_parser = value::size)]
    pub memory: Option<i64>,
    /// Limit of processors, such as 1.5
    #[arg(long, value_name = "N", value_parser = value::thousandths)]
    pub cpus: Option<u64>,
    /// Limit of processes and threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..4_194_304))]
    pub pids: Option<u32>,
    /// End the program after this time, such as 60s: exit status 124
    #[arg(long, value_name = "DURATION", value_parser = value::interval)]
    pub timeout: Option<Duration>,
    /// What the program is held to beside these options: the name of a profile, or a file [default: restricted]
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Say at the end what the program was refused, by whom, and what would allow it; as JSON in a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub report: Option<PathBuf>,
    /// Say nothing of limits and of what could not be done quite as asked
    #[arg(long, short)]
    pub quiet: bool,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Where.
    pub path: PathBuf,
    /// Bytes it may hold.
    pub size: Option<u64>,
    /// Its mode.
    pub mode: Option<u32>,
    /// Programs in it may be executed.
    pub exec: bool,
}

/// `--home`.
#[derive(ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SandboxHome {
    /// As it is, read-only and without credentials.
    #[default]
    Ro,
    /// Empty, in memory.
    Tmpfs,
    /// Empty, and nothing can be written to it.
    None,
}

//! What an untrusted program must not read: credentials, other people's homes, sockets of services, wherever they really are.
//!
//! Pure: the names come from here, what exists is found out by `Surroundings`, and where else the same files can be reached is
//! read from the table of mounts.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Below a home directory: keys, tokens, cookies, and what was typed.
const OF_A_HOME: &[&str] = &[
    // Keys and their agents.
    ".ssh",
    ".gnupg",
    ".age",
    ".config/age",
    ".config/sops",
    ".password-store",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".kde/share/apps/kwallet",
    ".kde4/share/apps/kwallet",
    ".pki",
    ".putty",
    ".config/op",
    ".config/Bitwarden",
    ".config/Bitwarden CLI",
    ".config/keepassxc",
    ".vault-token",
    ".config/1Password",
    ".config/rbw",
    ".local/share/atuin",
    ".step",
    ".tsh",
    ".authinfo",
    ".authinfo.gpg",
    ".netrc",
    // Clouds and clusters.
    ".aws",
    ".azure",
    ".config/gcloud",
    ".boto",
    ".s3cfg",
    ".oci",
    ".ibmcloud",
    ".bluemix",
    ".kube",
    ".minikube",
    ".docker",
    ".config/containers/auth.json",
    ".config/doctl",
    ".config/hcloud",
    ".config/rclone",
    ".config/heroku",
    ".config/helm/registry",
    ".fly",
    ".terraform.d",
    ".terraformrc",
    ".databrickscfg",
    ".ansible/vault",
    ".pulumi",
    ".config/argocd",
    ".config/scw",
    ".config/linode-cli",
    ".cloudflared",
    ".config/ngrok",
    // Forges and package registries.
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh",
    ".config/glab-cli",
    ".config/hub",
    ".config/tea",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".config/configstore",
    ".pypirc",
    ".pip",
    ".config/pip",
    ".condarc",
    ".config/pypoetry/auth.toml",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".local/share/gem/credentials",
    ".bundle/config",
    ".m2/settings.xml",
    ".m2/settings-security.xml",
    ".gradle/gradle.properties",
    ".nuget/NuGet/NuGet.Config",
    ".composer/auth.json",
    ".config/composer/auth.json",
    ".huggingface",
    ".cache/huggingface/token",
    ".kaggle",
    // Assistants.
    ".claude",
    ".claude.json",
    ".codex",
    ".config/github-copilot",
    ".config/openai",
    ".config/anthropic",
    ".gemini",
    ".cursor",
    ".continue",
    ".ollama",
    ".local/share/opencode",
    ".config/io.datasette.llm",
    // Editors keep tokens of extensions.
    ".config/Code",
    ".config/Cursor",
    ".config/VSCodium",
    // Databases.
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    ".config/mongodb",
    // Browsers, mail and messengers.
    ".mozilla",
    ".cache/mozilla",
    ".librewolf",
    ".thunderbird",
    ".config/google-chrome",
    ".config/google-chrome-beta",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/vivaldi",
    ".config/opera",
    ".config/google-chrome-unstable",
    ".config/yandex-browser",
    ".config/qutebrowser",
    ".local/share/qutebrowser",
    ".config/falkon",
    ".local/share/epiphany",
    ".local/share/torbrowser",
    ".zen",
    ".waterfox",
    ".floorp",
    ".cache/thunderbird",
    ".msmtprc",
    ".config/msmtp",
    ".mbsyncrc",
    ".offlineimaprc",
    ".fetchmailrc",
    ".muttrc",
    ".mutt",
    ".config/neomutt",
    ".cache/google-chrome",
    ".cache/chromium",
    ".cache/BraveSoftware",
    ".cache/microsoft-edge",
    ".var/app",
    "snap",
    ".config/evolution",
    ".local/share/evolution",
    ".local/share/kmail2",
    ".config/Signal",
    ".config/Slack",
    ".config/discord",
    ".config/Element",
    ".local/share/TelegramDesktop",
    ".local/share/telepathy",
    ".purple",
    ".weechat",
    ".irssi",
    // Money.
    ".bitcoin",
    ".electrum",
    ".ethereum",
    ".config/solana",
    // Sessions of the desktop, and devices.
    ".Xauthority",
    ".ICEauthority",
    ".config/pulse/cookie",
    ".config/kdeconnect",
    ".dbus",
    // What was typed.
    ".bash_history",
    ".zsh_history",
    ".local/share/fish/fish_history",
    ".python_history",
    ".node_repl_history",
    ".psql_history",
    ".mysql_history",
    ".sqlite_history",
    ".rediscli_history",
    ".lesshst",
    ".ash_history",
    ".ksh_history",
    ".sh_history",
    ".histfile",
    ".zhistory",
    ".zsh_sessions",
    ".irb_history",
    ".Rhistory",
    ".config/nushell/history.txt",
    ".local/share/powershell/PSReadLine",
    ".local/state/bash",
    ".local/state/zsh",
    ".local/share/nvim/shada",
    ".local/state/nvim/shada",
    ".viminfo",
];

/// Of the machine: passwords, keys, and the data of daemons that answer to their files.
const OF_THE_MACHINE: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/doas.conf",
    "/etc/krb5.keytab",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/letsencrypt",
    "/etc/wireguard",
    "/etc/openvpn",
    "/etc/ipsec.secrets",
    "/etc/wpa_supplicant",
    "/etc/NetworkManager/system-connections",
    "/etc/docker/key.json",
    "/etc/kubernetes",
    "/etc/rancher",
    "/etc/cloud",
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
    "/var/lib/cloud",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/kubelet",
    "/var/lib/rancher",
    "/var/lib/lxd",
    "/var/snap",
    "/var/lib/sss",
    "/var/lib/NetworkManager",
    "/var/lib/systemd",
    "/var/backups",
    "/var/mail",
    "/var/spool/mail",
    "/var/spool/cron",
    "/var/log",
    "/var/crash",
];

/// The host's private keys of ssh, by the directory and the pattern of their names.
const HOST_KEYS: (&str, &str, &str) = ("/etc/ssh", "ssh_host_", "_key");

/// Variables that say where credentials are; several places are separated by colons.
const VARIABLES: &[&str] = &[
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AZURE_CONFIG_DIR",
    "BOTO_CONFIG",
    "CLOUDSDK_CONFIG",
    "DOCKER_CONFIG",
    "GH_CONFIG_DIR",
    "GNUPGHOME",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "HISTFILE",
    "KRB5CCNAME",
    "KUBECONFIG",
    "NETRC",
    "NPM_CONFIG_USERCONFIG",
    "PASSWORD_STORE_DIR",
    "PGPASSFILE",
    "REGISTRY_AUTH_FILE",
    "SSH_AUTH_SOCK",
    "XAUTHORITY",
];

/// Variables with a directory that may stand for a part of a home, and what it stands for.
const MOVED: &[(&str, &str)] = &[
    ("XDG_CONFIG_HOME", ".config"),
    ("XDG_DATA_HOME", ".local/share"),
    ("XDG_CACHE_HOME", ".cache"),
    ("CARGO_HOME", ".cargo"),
];

/// Something hidden, as it was found on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Absolute and without links.
    pub path: PathBuf,
    /// A directory.
    pub directory: bool,
}

/// Every path at which there may be something to hide.
#[must_use]
pub fn candidates(homes: &[PathBuf], environment: &[(OsString, OsString)]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = OF_THE_MACHINE.iter().map(PathBuf::from).collect();
    for home in homes {
        paths.extend(OF_A_HOME.iter().map(|name| home.join(name)));
    }
    for (name, value) in environment {
        if let Some((_, part)) = MOVED.iter().find(|(variable, _)| name == variable) {
            let moved = OF_A_HOME.iter().filter_map(|path| Path::new(path).strip_prefix(part).ok());
            paths.extend(moved.map(|below| Path::new(value).join(below)));
        }
        let value = value.as_bytes();
        if VARIABLES.iter().any(|variable| name == variable) {
            let places = value.split(|byte| *byte == b':').filter(|place| place.starts_with(b"/"));
            paths.extend(places.map(path_of));
        }
        if name == "DBUS_SESSION_BUS_ADDRESS" {
            let sockets = value
                .split(|byte| b";,".contains(byte))
                .filter_map(|part| part.strip_prefix(b"unix:path=").or_else(|| part.strip_prefix(b"path=")));
            paths.extend(sockets.map(path_of));
        }
    }
    paths.retain(|path| path.is_absolute() && path.parent().is_some());
    paths.sort();
    paths.dedup();
    paths
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// The directory in which private keys of the host are, and whether a file in it is one.
#[must_use]
pub fn host_keys() -> (&'static Path, fn(&str) -> bool) {
    (Path::new(HOST_KEYS.0), |name| name.starts_with(HOST_KEYS.1) && name.ends_with(HOST_KEYS.2))
}

/// The paths of UNIX sockets that somebody listens at or takes datagrams at, from `/proc/net/unix` (proc(5)), as they were bound: a
/// relative one is from where its process was then. A read-only mount does not keep a program from connecting to one.
#[must_use]
pub fn listening_sockets(table: &[u8]) -> Vec<PathBuf> {
    const ACCEPTS_CONNECTIONS: u32 = 1 << 16;
    const DATAGRAMS: u32 = 2;
    let sockets = table.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        // The path may have blanks and any byte: it is all that is left, after type, state and inode. What begins with @ is abstract.
        let mut fields = line.splitn(7, |byte| *byte == b' ').map(std::str::from_utf8);
        let flags = u32::from_str_radix(fields.nth(3)?.ok()?, 16).ok()?;
        let kind = u32::from_str_radix(fields.next()?.ok()?, 16).ok()?;
        let state_to_path = line.splitn(7, |byte| *byte == b' ').nth(6)?.trim_ascii_start();
        let end = state_to_path.iter().position(|byte| *byte == b' ')?;
        let path = &state_to_path[end + 1..];
        let path = path.strip_prefix(b"@").filter(|path| path.starts_with(b"/")).unwrap_or(path);
        (flags & ACCEPTS_CONNECTIONS != 0 || kind == DATAGRAMS).then(|| path_of(path))
    });
    let mut sockets: Vec<_> = sockets.collect();
    sockets.sort();
    sockets.dedup();
    sockets
}

/// A mount of the host, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostMount {
    /// Where it is.
    pub point: PathBuf,
    /// Which part of its file system it shows.
    pub root: PathBuf,
    /// `major:minor` of the file system.
    pub device: String,
    /// Its type.
    pub kind: String,
}

/// `/proc/self/mountinfo` (proc(5)).
#[must_use]
pub fn parse_mounts(table: &[u8]) -> Vec<HostMount> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mounts = table.split(|byte| *byte == b'\n').filter_map(|line| {
        // Blanks in names are escaped, so that fields are what is between blanks.
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let (device, root, point) = (fields.next()?, fields.next()?, fields.next()?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        Some(HostMount { point: unescape(point), root: unescape(root), device: text(device), kind: text(kind) })
    });
    mounts.collect()
}

/// Blanks, tabs, newlines and backslashes are written as `\ooo`.
fn unescape(text: &[u8]) -> PathBuf {
    let mut plain = Vec::new();
    let mut bytes = text;
    while let Some((first, rest)) = bytes.split_first() {
        let number = rest.get(..3).filter(|_| *first == b'\\');
        let number = number.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match number {
            Some(byte) => {
                plain.push(byte);
                bytes = &rest[3..];
            }
            None => {
                plain.push(*first);
                bytes = rest;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

/// The mount that a path is on: the last of those that are nearest above it.
#[must_use]
pub fn mount_of<'m>(path: &Path, mounts: &'m [HostMount]) -> Option<&'m HostMount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// Other paths that lead to the same files, because their file system is mounted more than once.
#[must_use]
pub fn aliases(path: &Path, mounts: &[HostMount]) -> Vec<PathBuf> {
    let Some(own) = mount_of(path, mounts) else { return Vec::new() };
    let Ok(below) = path.strip_prefix(&own.point) else { return Vec::new() };
    let inner = own.root.join(below);
    let mut found = Vec::new();
    for other in mounts.iter().filter(|other| other.device == own.device) {
        let alias = match (inner.strip_prefix(&other.root), other.root.strip_prefix(&inner)) {
            (Ok(below), _) if below.as_os_str().is_empty() => other.point.clone(),
            (Ok(below), _) => other.point.join(below),
            // A part of what is hidden is mounted elsewhere.
            (_, Ok(_)) => other.point.clone(),
            _ => continue,
        };
        if alias != path && !alias.starts_with(path) && alias.parent().is_some() && !found.contains(&alias) {
            found.push(alias);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:22 / /sys rw - sysfs sysfs rw
24 22 254:16 / /data rw - ext4 /dev/vdb rw
25 22 254:16 /homes /home rw - ext4 /dev/vdb rw
26 22 254:16 /homes/ann/.ssh/work /mnt/keys\\040of\\040work rw - ext4 /dev/vdb rw
27 22 254:16 /other /srv rw - ext4 /dev/vdb rw
";

    #[test]
    fn what_is_mounted_twice_is_found_twice() {
        let mounts = parse_mounts(MOUNTS.as_bytes());
        let found = aliases(Path::new("/home/ann/.ssh"), &mounts);
        assert_eq!(found, [PathBuf::from("/data/homes/ann/.ssh"), PathBuf::from("/mnt/keys of work")]);
        assert_eq!(aliases(Path::new("/etc/shadow"), &mounts), Vec::<PathBuf>::new());
        assert_eq!(aliases(Path::new("/data/homes/ann/.aws"), &mounts), [PathBuf::from("/home/ann/.aws")]);
        assert_eq!(
            mount_of(Path::new("/home/ann"), &mounts).map(|mount| mount.root.as_path()),
            Some(Path::new("/homes"))
        );
    }

    #[test]
    fn the_environment_moves_credentials() {
        let set = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let environment = [
            set("XDG_CONFIG_HOME", "/conf"),
            set("KUBECONFIG", "/k/one:/k/two:relative"),
            set("CARGO_HOME", "/opt/cargo"),
            set("DBUS_SESSION_BUS_ADDRESS", "unix:path=/bus/x,guid=1;unix:abstract=/y"),
            set("EDITOR", "/usr/bin/vi"),
        ];
        let found = candidates(&[PathBuf::from("/home/ann")], &environment);
        for path in [
            "/home/ann/.ssh",
            "/conf/gcloud",
            "/k/one",
            "/k/two",
            "/opt/cargo/credentials.toml",
            "/bus/x",
            "/etc/shadow",
        ] {
            assert!(found.contains(&PathBuf::from(path)), "{path}");
        }
        assert!(!found.iter().any(|path| path.starts_with("/usr") || path.is_relative()));
    }

    #[test]
    fn sockets_are_those_that_take_something() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 21339 /var/lib/mysql/mysql.sock
0000000000000000: 00000003 00000000 00000000 0001 03 21340 /var/lib/other
0000000000000000: 00000002 00000000 00010000 0001 01 21341 @/tmp/.X11-unix/X0
0000000000000000: 00000002 00000000 00010000 0005 01 21342 /srv/a b
0000000000000000: 00000002 00000000 00000000 0002 01 21344 /var/spool/postfix/dev/log
0000000000000000: 00000002 00000000 00010000 0001 01    43 run/of it/s
0000000000000000: 00000002 00000000 00010000 0001 01 21343
";
        let found = listening_sockets(table.as_bytes());
        // What is abstract has no path to hide; hiding one that is not there does no harm.
        assert!(
            found.contains(&PathBuf::from("/var/lib/mysql/mysql.sock")) && found.contains(&PathBuf::from("/srv/a b"))
        );
        assert!(found.contains(&PathBuf::from("/var/spool/postfix/dev/log")));
        assert!(found.contains(&PathBuf::from("run/of it/s")), "{found:?}");
        assert!(!found.contains(&PathBuf::from("/var/lib/other")));
    }
}

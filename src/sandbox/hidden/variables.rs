//! Variables of the caller's that say where credentials are.
//!
//! Pure: what they may lead to comes from here, what there is decides.
#![forbid(unsafe_code)]

use super::names;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// They say where programs and their data are, and how to talk to the user.
const HARMLESS: &[&str] = &[
    "_",
    "BASH_ENV",
    "BROWSER",
    "CDPATH",
    "CLASSPATH",
    "COLORTERM",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "DISPLAY",
    "EDITOR",
    "ENV",
    "FCEDIT",
    "FPATH",
    "GIT_EDITOR",
    "GIT_EXEC_PATH",
    "GOBIN",
    "GOCACHE",
    "GOMODCACHE",
    "GOPATH",
    "GOROOT",
    "HOME",
    "INFOPATH",
    "INPUTRC",
    "JAVA_HOME",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LESSCLOSE",
    "LESSKEY",
    "LESSOPEN",
    "LIBRARY_PATH",
    "LOGNAME",
    "LS_COLORS",
    "MAIL",
    "MAILCHECK",
    "MANPATH",
    "NODE_PATH",
    "NVM_BIN",
    "NVM_DIR",
    "OLDPWD",
    "PAGER",
    "PATH",
    "PERL5LIB",
    "PKG_CONFIG_PATH",
    "PWD",
    "PYENV_ROOT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUSTUP_HOME",
    "SCREENRC",
    "SHELL",
    "SHLVL",
    "TEMP",
    "TERM",
    "TERMCAP",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "VIMINIT",
    "VIRTUAL_ENV",
    "VISUAL",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_DIRS",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "ZDOTDIR",
];

/// Variables with a directory that may stand for a part of a home, and what it stands for.
const MOVED: &[(&str, &str)] = &[
    ("XDG_CONFIG_HOME", ".config"),
    ("XDG_DATA_HOME", ".local/share"),
    ("XDG_STATE_HOME", ".local/state"),
    ("XDG_CACHE_HOME", ".cache"),
    ("CARGO_HOME", ".cargo"),
    ("GRADLE_USER_HOME", ".gradle"),
    ("COMPOSER_HOME", ".composer"),
    ("BUNDLE_USER_HOME", ".bundle"),
    ("HEX_HOME", ".hex"),
    ("PUB_CACHE", ".pub-cache"),
    ("HF_HOME", ".cache/huggingface"),
    ("CURL_HOME", ""),
    ("IPYTHONDIR", ".ipython"),
    ("ZDOTDIR", ""),
];

/// Names that say nothing, of files with credentials all the same.
const TELLING: &[&str] = &[
    "AWS_CONFIG_FILE",
    "AZURE_CONFIG_DIR",
    "BOTO_CONFIG",
    "CLOUDSDK_CONFIG",
    "DBUS_SESSION_BUS_ADDRESS",
    "DOCKER_CERT_PATH",
    "DOCKER_CONFIG",
    "DOCKER_HOST",
    "GH_CONFIG_DIR",
    "GLAB_CONFIG_DIR",
    "GNUPGHOME",
    "GPG_AGENT_INFO",
    "HISTFILE",
    "ICEAUTHORITY",
    "JUPYTER_RUNTIME_DIR",
    "KRB5_CLIENT_KTNAME",
    "KRB5_KTNAME",
    "KUBECONFIG",
    "MYSQL_HISTORY",
    "MYSQL_HOME",
    "MYVIMINFO",
    "NETRC",
    "NPM_CONFIG_USERCONFIG",
    "PASSWORD_STORE_DIR",
    "PGSERVICEFILE",
    "PIP_CONFIG_FILE",
    "PSQL_HISTORY",
    "RCLONE_CONFIG",
    "RCLONE_CONFIG_DIR",
    "SNOWFLAKE_HOME",
    "SQLITE_HISTORY",
    "TALOSCONFIG",
    "TF_CLI_CONFIG_FILE",
    "WGETRC",
    "X509_USER_PROXY",
    "XAUTHORITY",
    "YARN_RC_FILENAME",
    "npm_config_userconfig",
];

/// What a variable's name says of what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Says {
    /// It speaks of credentials.
    Credentials,
    /// Of settings.
    Settings,
    /// Nothing.
    Nothing,
}

/// Where a variable may lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) path: PathBuf,
    pub(super) says: Says,
    /// Where what is in a directory would be in a home, that is not hidden as a whole.
    pub(super) stands_for: Option<&'static str>,
}

impl Lead {
    /// Whether what is there is hidden: what its variable says is credentials, and what is its owner's alone.
    pub(super) fn is_hidden(&self, facts: super::class::Facts) -> bool {
        match self.says {
            Says::Credentials => true,
            Says::Settings => facts.private,
            Says::Nothing => facts.private && !facts.directory,
        }
    }
}

/// Everything that the variables may lead to; relative paths are of the working directory.
pub(super) fn leads(environment: &[(OsString, OsString)], directory: &Path, home: Option<&Path>) -> Vec<Lead> {
    let mut found = Vec::new();
    for (name, value) in environment {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        if let Some((_, part)) = MOVED.iter().find(|(variable, _)| variable.as_bytes() == name)
            && value.starts_with(b"/")
        {
            let listed = names::OF_A_HOME.iter().filter_map(|path| Path::new(path).strip_prefix(part).ok());
            let paths = listed.map(|below| Path::new(OsStr::from_bytes(value)).join(below));
            found.extend(paths.map(|path| Lead { path, says: Says::Credentials, stands_for: None }));
            let path = PathBuf::from(OsStr::from_bytes(value));
            let stands_for = Some(*part).filter(|part| !part.is_empty());
            found.push(Lead { path, says: Says::Nothing, stands_for });
        }
        let Some(says) = says(name) else { continue };
        let paths = paths(value, directory, home, says);
        let stands_for = stands_for(name, says);
        found.extend(paths.into_iter().map(|path| Lead { path, says, stands_for }));
    }
    found
}

/// A directory of settings is judged as one below `.config`. One of a program as a cache: with umask 077 its files are
/// all its owner's alone, and only names tell. Neither is gone into deep.
fn stands_for(name: &[u8], says: Says) -> Option<&'static str> {
    let of_program = [&b"_HOME"[..], b"_DIR", b"_ROOT", b"_PATH"].iter().any(|ending| name.ends_with(ending));
    match says {
        Says::Settings => Some(".config/what/a/variable"),
        Says::Nothing if of_program => Some(".cache/what/a/variable/says"),
        _ => None,
    }
}

/// What a name says; nothing of those that are known to be harmless.
fn says(name: &[u8]) -> Option<Says> {
    const SECRET: &[&str] = &[
        "AUTH",
        "COOKIE",
        "CRED",
        "HISTORY",
        "HISTFILE",
        "IDENTITY",
        "KDBX",
        "KEY",
        "KRB5CCNAME",
        "LOGIN",
        "NETRC",
        "PASS",
        "PGSERVICE",
        "SECRET",
        "SESSION_FILE",
        "SOCK",
        "TOKEN",
        "VAULT",
        "WALLET",
    ];
    const SETTINGS: &[&str] = &["CONF", "RC", "SETTINGS", "PROFILE", "ACCOUNT", "CERT", "PEM", "P12", "PFX", "JKS"];
    // Certificates of authorities are everybody's; keyboards have keys.
    const NEITHER: &[&str] = &[
        "CACERT",
        "CA_BUNDLE",
        "CA_CERT",
        "CA_FILE",
        "CAINFO",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "KEYBOARD",
        "KEYMAP",
        "XKB",
        "AUTHOR",
        "FONTCONFIG",
        "PKG_CONFIG",
        "SOURCE",
    ];
    let plain = String::from_utf8_lossy(name);
    let upper = plain.to_ascii_uppercase();
    if TELLING.contains(&plain.as_ref()) || TELLING.contains(&upper.as_str()) {
        return Some(Says::Credentials);
    }
    if HARMLESS.contains(&plain.as_ref()) || upper.starts_with("LC_") {
        return None;
    }
    let has = |words: &[&str]| words.iter().any(|word| upper.contains(word));
    // npm gives every setting of its own to what it starts.
    let of_npm = upper.starts_with("NPM_") && !has(&["AUTH", "TOKEN", "PASS", "KEYFILE", "USERCONFIG"]);
    Some(match () {
        () if of_npm || has(NEITHER) => Says::Nothing,
        () if has(SECRET) => Says::Credentials,
        () if has(SETTINGS) => Says::Settings,
        () => Says::Nothing,
    })
}

/// The paths that a value may be made of: all of it, what is between separators, and what begins with a slash or a
/// tilde.
fn paths(value: &[u8], directory: &Path, home: Option<&Path>, says: Says) -> Vec<PathBuf> {
    /// Longer ones hold what they are about.
    const LONGEST: usize = 8192;
    const MOST: usize = 256;
    if value.is_empty() || value.len() > LONGEST {
        return Vec::new();
    }
    let mut parts: Vec<&[u8]> = vec![value];
    parts.extend(value.split(|byte| b":;,".contains(byte)));
    parts.extend(value.split(|byte| b":;,?&=@ \"'|".contains(byte)));
    for prefix in
        [&b"file://"[..], b"unix://", b"unix:path=", b"path=", b"FILE:", b"DIR:", b"file:", b"unix:", b"@", b"key="]
    {
        parts.extend(value.strip_prefix(prefix));
    }
    let path = |part: &[u8]| {
        let text = Path::new(OsStr::from_bytes(part));
        match part {
            // `file:///k`, of which the slashes are left.
            [b'/', b'/', ..] => Some(text.components().collect()),
            [b'/', ..] => Some(text.to_owned()),
            [b'~'] => None,
            [b'~', b'/', rest @ ..] => Some(home?.join(OsStr::from_bytes(rest))),
            // Words are words, not files, unless they are called so.
            [] => None,
            _ if says == Says::Credentials || part.contains(&b'/') || part.contains(&b'.') => {
                Some(directory.join(text))
            }
            _ => None,
        }
    };
    let mut found: Vec<PathBuf> = parts.into_iter().filter_map(path).take(MOST).collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, value: &str) -> Vec<(String, Says)> {
        let environment = [(OsString::from(name), OsString::from(value))];
        let leads = leads(&environment, Path::new("/code"), Some(Path::new("/home/ann")));
        leads.into_iter().map(|lead| (lead.path.to_string_lossy().into_owned(), lead.says)).collect()
    }

    #[test]
    fn every_spelling_leads_there() {
        for (value, path) in [
            ("/k/one", "/k/one"),
            ("/k/one:/k/two", "/k/two"),
            ("FILE:/k/one", "/k/one"),
            ("file:///k/one", "/k/one"),
            ("unix:path=/k/one,guid=1;unix:abstract=/y", "/k/one"),
            ("~/k", "/home/ann/k"),
            ("k/one", "/code/k/one"),
            ("token", "/code/token"),
            ("/k/with blank", "/k/with blank"),
            ("postgres://u@h/db?sslkey=/k/one&x=1", "/k/one"),
            ("@/k/one", "/k/one"),
        ] {
            let found = found("SOME_TOKEN_FILE", value);
            assert!(found.contains(&(path.to_owned(), Says::Credentials)), "{value}: {found:?}");
        }
    }

    #[test]
    fn names_say_what_is_there() {
        for name in [
            "AWS_SHARED_CREDENTIALS_FILE",
            "VAULT_TOKEN_PATH",
            "PGPASSFILE",
            "KUBECONFIG",
            "GIT_ASKPASS_FILE",
            "SSH_AUTH_SOCK",
            "TLS_KEY",
            "RESTIC_PASSWORD_FILE",
            "BORG_PASSCOMMAND",
            "KRB5CCNAME",
            "KRB5_CLIENT_KTNAME",
            "X509_USER_PROXY",
            "XAUTHORITY",
            "npm_config__authtoken",
            "kubeconfig",
        ] {
            assert_eq!(says(name.as_bytes()), Some(Says::Credentials), "{name}");
        }
        for name in ["OCI_CLI_CONFIG_FILE", "SOME_RC", "PGSSLCERT"] {
            assert_eq!(says(name.as_bytes()), Some(Says::Settings), "{name}");
        }
        for name in ["SSL_CERT_FILE", "npm_config_cache", "FONTCONFIG_PATH", "SOMETHING", "REQUESTS_CA_BUNDLE"] {
            assert_eq!(says(name.as_bytes()), Some(Says::Nothing), "{name}");
        }
        for name in ["PATH", "HOME", "EDITOR", "LC_ALL", "GOPATH"] {
            assert_eq!(says(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn directories_that_stand_for_a_part_of_a_home() {
        assert!(found("XDG_CONFIG_HOME", "/conf").contains(&("/conf/gcloud".into(), Says::Credentials)));
        assert!(found("CARGO_HOME", "/opt/cargo").contains(&("/opt/cargo/credentials.toml".into(), Says::Credentials)));
        assert!(found("EDITOR", "/usr/bin/vi").is_empty());
    }
}

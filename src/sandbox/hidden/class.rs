//! Credentials that nobody has named: what is its owner's alone among the dot entries of a home.
//!
//! Pure. Tools keep secrets in files that others cannot read, and hardly anything else. With umask 077 everything is
//! its owner's alone: what programs need is named (`super::names::KEPT`).
#![forbid(unsafe_code)]

use super::{names, signs};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::LazyLock;

/// How deep in a dot directory what is its owner's alone is looked for.
pub(super) const MOST_DEPTH: usize = 6;

/// What is known of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) directory: bool,
    /// A regular file.
    pub(super) file: bool,
    /// Nobody but its owner can read it.
    pub(super) private: bool,
}

impl Facts {
    pub(super) fn of(st: &libc::stat) -> Self {
        let kind = st.st_mode & libc::S_IFMT;
        // A group of the owner's own is nobody else.
        let closed_to_group = st.st_mode & 0o070 == 0 || st.st_gid == st.st_uid;
        Self {
            directory: kind == libc::S_IFDIR,
            file: kind == libc::S_IFREG,
            private: st.st_mode & 0o007 == 0 && closed_to_group,
        }
    }
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Shown, with all that is in it.
    Shown,
    /// Shown with all that is in it; where it is a file, unless there are credentials among its settings.
    ShownAsSettings,
    /// As a directory it is looked into; as a file, it is shown unless there is a token in it.
    EnteredAsSettings,
    /// Shown; what is in it is judged for itself.
    Entered,
    /// Hidden as a whole.
    Hidden,
}

/// What is kept, and the directories that lead to it.
struct Kept {
    whole: HashSet<&'static [u8]>,
    above: HashSet<&'static [u8]>,
    listed: HashSet<&'static [u8]>,
}

static KEPT: LazyLock<Kept> = LazyLock::new(|| {
    let above = names::KEPT.iter().flat_map(|path| Path::new(path).ancestors().skip(1));
    let above = above.chain(names::SHARED.iter().map(Path::new)).map(|path| path.as_os_str().as_bytes());
    Kept {
        whole: names::KEPT.iter().map(|path| path.as_bytes()).collect(),
        above: above.filter(|path| !path.is_empty()).collect(),
        listed: names::OF_A_HOME.iter().map(|path| path.as_bytes()).collect(),
    }
});

/// Whether something of a home, by its path below it, is what programs need, or leads to that.
pub(super) fn is_needed(below: &Path) -> bool {
    let leads = KEPT.above.contains(below.as_os_str().as_bytes());
    leads || below.ancestors().any(|above| KEPT.whole.contains(above.as_os_str().as_bytes()))
}

/// Judges a dot entry of a home, or something in one, by its path below the home. `facts` is asked only where it
/// matters.
pub(super) fn judge(below: &Path, facts: impl FnOnce() -> Option<Facts>) -> Fate {
    let bytes = below.as_os_str().as_bytes();
    let name = below.file_name().map(OsStr::as_bytes).unwrap_or_default();
    // Hidden by the list already.
    if KEPT.listed.contains(bytes) {
        return Fate::Shown;
    }
    if let Some(fate) = judge_settings(below) {
        return fate;
    }
    if KEPT.whole.contains(bytes) {
        // What zsh makes of its own functions has their names in it.
        return if name == b".zcompdump" { Fate::Shown } else { Fate::ShownAsSettings };
    }
    let Some(facts) = facts() else { return Fate::Shown };
    if KEPT.above.contains(bytes) && facts.directory {
        return Fate::Entered;
    }
    let speaks = signs::speaks_of_credentials(name);
    // Caches are closed to others for no reason, and by the thousand.
    if facts.private && (!bytes.starts_with(b".cache/") || speaks) && (facts.directory || facts.file) {
        return if bytes.starts_with(b".cache/") && facts.directory && !speaks { Fate::Entered } else { Fate::Hidden };
    }
    match (facts.directory, speaks) {
        (true, true) => Fate::Hidden,
        (true, false) => Fate::Entered,
        (false, true) if facts.file && is_data(name) => Fate::Hidden,
        (false, _) => Fate::Shown,
    }
}

/// Judges what is in a directory of settings, or above one: those of plugins are left out, which are large and others'.
fn judge_settings(below: &Path) -> Option<Fate> {
    const DEEPEST: usize = 3;
    const OF_OTHERS: &[&[u8]] = &[
        b".git",
        b"bundle",
        b"completions",
        b"eln-cache",
        b"elpa",
        b"pack",
        b"plugged",
        b"plugins",
        b"straight",
        b"themes",
    ];
    let directories = || names::SETTINGS_DIRECTORIES.iter().map(Path::new);
    // One that is kept as a whole, but for this part.
    if KEPT.whole.contains(below.as_os_str().as_bytes()) && directories().any(|known| known.starts_with(below)) {
        return Some(Fate::EnteredAsSettings);
    }
    let inside = directories().find_map(|known| below.strip_prefix(known).ok());
    match inside {
        Some(inside) if inside.as_os_str().is_empty() => Some(Fate::EnteredAsSettings),
        Some(inside) => {
            let others = inside.iter().any(|part| OF_OTHERS.contains(&part.as_bytes()));
            let far = others || inside.components().count() > DEEPEST;
            Some(if far { Fate::Shown } else { Fate::EnteredAsSettings })
        }
        // Entered for the sake of its part.
        None => {
            let kept = below.ancestors().skip(1).any(|above| KEPT.whole.contains(above.as_os_str().as_bytes()));
            kept.then_some(Fate::Shown)
        }
    }
}

/// What everybody may read is credentials only where a name speaks of them, and of data.
fn is_data(name: &[u8]) -> bool {
    const DATA: &[&[u8]] = &[
        b"",
        b"bin",
        b"cfg",
        b"conf",
        b"csv",
        b"dat",
        b"db",
        b"env",
        b"enc",
        b"ini",
        b"json",
        b"key",
        b"pem",
        b"plist",
        b"properties",
        b"sqlite",
        b"sqlite3",
        b"toml",
        b"txt",
        b"xml",
        b"yaml",
        b"yml",
        b"kdbx",
        b"p12",
        b"jks",
        b"pfx",
    ];
    let name = name.strip_prefix(b".").unwrap_or(name);
    let ending =
        name.rsplit(|byte| *byte == b'.').next().filter(|ending| ending.len() < name.len()).unwrap_or_default();
    signs::speaks_of_credentials(ending) || DATA.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

/// What a home has in place of another, by what it is called here: a link that leads to a directory is judged as the
/// directory.
#[derive(Debug, Default)]
pub(super) struct Named(HashMap<std::path::PathBuf, std::path::PathBuf>);

impl Named {
    /// `real` is called `below` in the home.
    pub(super) fn call(&mut self, real: std::path::PathBuf, below: std::path::PathBuf) {
        self.0.insert(real, below);
    }

    /// What something is called.
    pub(super) fn name(&self, real: &Path) -> Option<std::path::PathBuf> {
        real.ancestors().find_map(|above| {
            let called = self.0.get(above)?;
            Some(called.join(real.strip_prefix(above).ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(path: &str, mode: &str) -> Fate {
        let directory = path.ends_with('/');
        let private = mode == "private";
        judge(Path::new(path.trim_end_matches('/')), || Some(Facts { directory, file: !directory, private }))
    }

    #[test]
    fn what_is_its_owner_s_alone_is_hidden() {
        for path in [
            ".newtool/",
            ".newtoolrc",
            ".config/newtool/",
            ".config/new.json",
            ".local/share/new/",
            ".local/state/new/token",
            ".cargo/new",
            ".m2/new.xml",
            ".newtool/a/b/c",
            ".config/git/new",
            ".gradle/new",
            ".cache/new/token",
        ] {
            assert_eq!(fate(path, "private"), Fate::Hidden, "{path}");
        }
        for path in [".newtool/", ".config/newtool/", ".local/"] {
            assert_eq!(fate(path, "open"), Fate::Entered, "{path}");
        }
        for path in [
            ".newtool/credentials.json",
            ".newtool/accessTokens.json",
            ".config/new/auth.json",
            ".new-token",
            ".x/secrets/",
        ] {
            assert_eq!(fate(path, "open"), Fate::Hidden, "{path}");
        }
        assert_eq!(fate(".newtoolrc", "open"), Fate::Shown);
        assert_eq!(fate(".config/new/token.lua", "open"), Fate::Shown);
    }

    #[test]
    fn what_programs_need_is_kept_with_umask_077() {
        for path in [
            ".config/",
            ".local/",
            ".local/share/",
            ".cache/",
            ".cargo/",
            ".npm/",
            ".m2/",
            ".gradle/",
            ".config/git/",
            ".cache/new/",
        ] {
            assert_eq!(fate(path, "private"), Fate::Entered, "{path}");
        }
        for path in [
            ".inputrc",
            ".vimrc",
            ".npm/_cacache/",
            ".cargo/registry/",
            ".cargo/bin/",
            ".rustup/",
            ".local/bin/",
            ".local/share/fonts/",
            ".config/fontconfig/",
            ".cache/pip/",
            ".m2/repository/",
            ".cache/new/blob",
        ] {
            assert!(matches!(fate(path, "private"), Fate::Shown | Fate::ShownAsSettings), "{path}");
        }
        for path in [".gitconfig", ".config/git/config", ".bashrc", ".cargo/config.toml"] {
            assert_eq!(fate(path, "private"), Fate::ShownAsSettings, "{path}");
        }
        for path in [".config/nvim/", ".config/nvim/lua/own/keys.lua", ".oh-my-zsh/", ".oh-my-zsh/custom/own.zsh"] {
            assert_eq!(fate(path, "private"), Fate::EnteredAsSettings, "{path}");
        }
        for path in [".oh-my-zsh/lib/x.zsh", ".vim/plugged/x", ".config/nvim/a/b/c/d"] {
            assert_eq!(fate(path, "private"), Fate::Shown, "{path}");
        }
        assert!(is_needed(Path::new(".cargo")) && is_needed(Path::new(".cargo/registry/cache")));
        assert!(!is_needed(Path::new(".newtool")) && !is_needed(Path::new("")));
    }

    #[test]
    fn a_group_of_one_is_nobody_else() {
        let of = |mode: u32, uid: u32, gid: u32| {
            // SAFETY-free: all fields that matter are set below.
            let mut st = crate::sys::fd::stat_at(crate::sys::fd::CWD, c".", 0).expect("the directory");
            (st.st_mode, st.st_uid, st.st_gid) = (mode | libc::S_IFREG, uid, gid);
            Facts::of(&st).private
        };
        assert!(of(0o600, 1000, 100) && of(0o660, 1000, 1000) && of(0o640, 1000, 1000));
        assert!(!of(0o640, 1000, 100) && !of(0o644, 1000, 1000) && !of(0o604, 1000, 1000));
    }
}

//! git's configuration as data: which of it cannot start a program, whatever else git learns to start.
//!
//! The rule is a list of keys that are harmless. What is not on it is left out of a file that appeared, and the file is
//! written anew, so that git reads what was judged and not what this parser may have understood otherwise.
#![forbid(unsafe_code)]

use super::names::fold;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// In small letters.
    pub(super) section: Vec<u8>,
    pub(super) subsection: Option<Vec<u8>>,
    /// In small letters.
    pub(super) key: Vec<u8>,
    /// Nothing: true, without saying so.
    pub(super) value: Option<Vec<u8>>,
}

impl Entry {
    /// As git writes it: `section.subsection.key`.
    pub(super) fn name(&self) -> Vec<u8> {
        let mut name = self.section.clone();
        if let Some(subsection) = &self.subsection {
            name.push(b'.');
            name.extend(subsection);
        }
        name.push(b'.');
        name.extend(&self.key);
        name
    }

    fn value(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }

    fn is(&self, section: &str, key: &str) -> bool {
        self.section == section.as_bytes() && self.key == key.as_bytes()
    }
}

/// A file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) entries: Vec<Entry>,
    /// It is written in a way that leaves nothing to understand: sections, keys and bare values, each on a line of its
    /// own.
    pub(super) plain: bool,
}

/// Something that is no configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotUnderstood;

/// Reads a configuration as git-config(1) describes the syntax.
pub(super) fn parse(text: &[u8]) -> Result<Config, NotUnderstood> {
    let mut parser = Parser { rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), entries: Vec::new() };
    parser.file()?;
    Ok(Config { entries: parser.entries, plain: is_plain(text) })
}

/// Whether nobody could read it in two ways.
fn is_plain(text: &[u8]) -> bool {
    let word =
        |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    let bare = |bytes: &[u8]| {
        bytes.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f && !b"\\\"#;".contains(byte)))
    };
    let line = |line: &[u8]| {
        let line = line.trim_ascii();
        match line.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
            Some(section) => match section.iter().position(|byte| *byte == b' ') {
                None => word(section),
                Some(at) => {
                    let quoted = section[at + 1..].strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
                    word(&section[..at]) && quoted.is_some_and(|inner| bare(inner) && !inner.contains(&b']'))
                }
            },
            None => match line.iter().position(|byte| *byte == b'=') {
                _ if line.is_empty() => true,
                None => word(line) && line[0].is_ascii_alphabetic(),
                Some(at) => {
                    let key = line[..at].trim_ascii_end();
                    word(key) && key[0].is_ascii_alphabetic() && bare(&line[at + 1..])
                }
            },
        }
    };
    !text.contains(&b'\r') && !text.contains(&0) && text.split(|byte| *byte == b'\n').all(line)
}

struct Parser<'t> {
    rest: &'t [u8],
    entries: Vec<Entry>,
}

impl Parser<'_> {
    /// The next byte; a carriage return before a newline is none.
    fn next(&mut self) -> Option<u8> {
        if let Some(rest) = self.rest.strip_prefix(b"\r\n") {
            self.rest = rest;
            return Some(b'\n');
        }
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    fn file(&mut self) -> Result<(), NotUnderstood> {
        let mut section: Option<(Vec<u8>, Option<Vec<u8>>)> = None;
        while let Some(byte) = self.next() {
            match byte {
                b'#' | b';' => self.skip_line(),
                b'[' => section = Some(self.section()?),
                _ if byte.is_ascii_whitespace() || byte == 0x0b => {}
                _ if byte.is_ascii_alphabetic() => {
                    let (section, subsection) = section.clone().ok_or(NotUnderstood)?;
                    let (key, value) = self.setting(byte)?;
                    self.entries.push(Entry { section, subsection, key, value });
                }
                _ => return Err(NotUnderstood),
            }
        }
        Ok(())
    }

    fn section(&mut self) -> Result<(Vec<u8>, Option<Vec<u8>>), NotUnderstood> {
        let mut name = Vec::new();
        loop {
            match self.next().ok_or(NotUnderstood)? {
                b']' => break,
                b' ' | b'\t' => return Ok((name, Some(self.subsection()?))),
                byte if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' => {
                    name.push(byte.to_ascii_lowercase());
                }
                _ => return Err(NotUnderstood),
            }
        }
        // The old way: `[section.subsection]`, in small letters.
        match name.iter().position(|byte| *byte == b'.') {
            Some(at) => Ok((name[..at].to_vec(), Some(name[at + 1..].to_vec()))),
            None => Ok((name, None)),
        }
    }

    fn subsection(&mut self) -> Result<Vec<u8>, NotUnderstood> {
        let mut first = self.next();
        while matches!(first, Some(b' ' | b'\t')) {
            first = self.next();
        }
        if first != Some(b'"') {
            return Err(NotUnderstood);
        }
        let mut name = Vec::new();
        loop {
            match self.next().ok_or(NotUnderstood)? {
                b'"' => break,
                b'\n' | 0 => return Err(NotUnderstood),
                b'\\' => match self.next().ok_or(NotUnderstood)? {
                    b'\n' | 0 => return Err(NotUnderstood),
                    byte => name.push(byte),
                },
                byte => name.push(byte),
            }
        }
        if self.next() == Some(b']') { Ok(name) } else { Err(NotUnderstood) }
    }

    fn setting(&mut self, first: u8) -> Result<(Vec<u8>, Option<Vec<u8>>), NotUnderstood> {
        let mut key = vec![first.to_ascii_lowercase()];
        let mut byte = self.next();
        while let Some(more) = byte.filter(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            key.push(more.to_ascii_lowercase());
            byte = self.next();
        }
        while matches!(byte, Some(b' ' | b'\t')) {
            byte = self.next();
        }
        match byte {
            None | Some(b'\n') => Ok((key, None)),
            Some(b'=') => Ok((key, Some(self.value()?))),
            Some(b'#' | b';') => {
                self.skip_line();
                Ok((key, None))
            }
            _ => Err(NotUnderstood),
        }
    }

    fn value(&mut self) -> Result<Vec<u8>, NotUnderstood> {
        let (mut value, mut quoted, mut spaces) = (Vec::new(), false, Vec::new());
        loop {
            let Some(byte) = self.next() else {
                return if quoted { Err(NotUnderstood) } else { Ok(value) };
            };
            match byte {
                b'\n' if quoted => return Err(NotUnderstood),
                b'\n' => return Ok(value),
                b'#' | b';' if !quoted => {
                    self.skip_line();
                    return Ok(value);
                }
                0 => return Err(NotUnderstood),
                _ if !quoted && (byte.is_ascii_whitespace() || byte == 0x0b) => {
                    if !value.is_empty() {
                        spaces.push(byte);
                    }
                    continue;
                }
                _ => {}
            }
            value.append(&mut spaces);
            match byte {
                b'"' => quoted = !quoted,
                b'\\' => match self.next() {
                    Some(b'\n') => {}
                    Some(b't') => value.push(b'\t'),
                    Some(b'b') => value.push(8),
                    Some(b'n') => value.push(b'\n'),
                    Some(byte @ (b'\\' | b'"')) => value.push(byte),
                    _ => return Err(NotUnderstood),
                },
                byte => value.push(byte),
            }
        }
    }
}

/// As git writes it, every value in quotes that is not a plain word.
pub(super) fn write(entries: &[Entry]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut open: Option<(&[u8], Option<&[u8]>)> = None;
    for entry in entries {
        let section = (entry.section.as_slice(), entry.subsection.as_deref());
        if open != Some(section) {
            text.push(b'[');
            text.extend(section.0);
            if let Some(subsection) = section.1 {
                text.extend(b" \"");
                for byte in subsection {
                    if b"\\\"".contains(byte) {
                        text.push(b'\\');
                    }
                    text.push(*byte);
                }
                text.push(b'"');
            }
            text.extend(b"]\n");
            open = Some(section);
        }
        text.push(b'\t');
        text.extend(&entry.key);
        if let Some(value) = &entry.value {
            text.extend(b" = ");
            let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\\\"#;".contains(byte);
            if value.iter().all(plain) {
                text.extend(value);
            } else {
                text.push(b'"');
                for byte in value {
                    match byte {
                        b'\\' | b'"' => text.extend([b'\\', *byte]),
                        b'\t' => text.extend(b"\\t"),
                        b'\n' => text.extend(b"\\n"),
                        8 => text.extend(b"\\b"),
                        byte => text.push(*byte),
                    }
                }
                text.push(b'"');
            }
        }
        text.push(b'\n');
    }
    text
}

/// Keys without a subsection whose value is a word, a number or text that git shows or compares.
const HARMLESS: &[(&str, &[&str])] = &[
    ("advice", &[]),
    ("author", &["name", "email"]),
    ("branch", &["autosetupmerge", "autosetuprebase", "sort"]),
    ("color", &[]),
    ("commit", &["gpgsign", "status", "verbose", "cleanup"]),
    ("committer", &["name", "email"]),
    (
        "core",
        &[
            "repositoryformatversion",
            "bare",
            "filemode",
            "ignorecase",
            "symlinks",
            "precomposeunicode",
            "logallrefupdates",
            "sharedrepository",
            "autocrlf",
            "eol",
            "safecrlf",
            "quotepath",
            "sparsecheckout",
            "sparsecheckoutcone",
            "untrackedcache",
            "preloadindex",
            "multipackindex",
            "commitgraph",
            "splitindex",
            "trustctime",
            "checkstat",
            "abbrev",
            "compression",
            "loosecompression",
            "bigfilethreshold",
            "longpaths",
            "hidedotfiles",
            "fscache",
            "whitespace",
            "warnambiguousrefs",
            "fsync",
            "fsyncmethod",
        ],
    ),
    ("diff", &["renames", "algorithm", "mnemonicprefix", "submodule", "colormoved", "ignoresubmodules", "noprefix"]),
    (
        "extensions",
        &["objectformat", "compatobjectformat", "worktreeconfig", "noop", "preciousobjects", "relativeworktrees"],
    ),
    ("feature", &["manyfiles"]),
    ("fetch", &["prune", "prunetags", "parallel", "recursesubmodules", "writecommitgraph", "fsckobjects"]),
    (
        "gc",
        &[
            "auto",
            "autopacklimit",
            "autodetach",
            "pruneexpire",
            "worktreepruneexpire",
            "reflogexpire",
            "reflogexpireunreachable",
            "packrefs",
            "writecommitgraph",
            "cruftpacks",
        ],
    ),
    ("index", &["version", "threads", "sparse", "skiphash"]),
    ("init", &["defaultbranch", "defaultobjectformat", "defaultrefformat"]),
    ("lfs", &["repositoryformatversion", "locksverify"]),
    ("log", &["date", "decorate", "follow"]),
    ("maintenance", &["auto", "strategy"]),
    ("merge", &["conflictstyle", "ff", "renames", "log"]),
    ("pull", &["rebase", "ff"]),
    ("push", &["default", "autosetupremote", "followtags", "recursesubmodules"]),
    ("rebase", &["autosquash", "autostash", "updaterefs", "abbreviatecommands", "missingcommitscheck"]),
    ("receive", &["denycurrentbranch", "denynonfastforwards", "denydeletes", "fsckobjects"]),
    ("rerere", &["enabled", "autoupdate"]),
    ("status", &["showuntrackedfiles", "submodulesummary", "short", "branch"]),
    ("submodule", &["active", "recurse", "fetchjobs", "propagatebranches", "stickyrecursiveclone"]),
    ("tag", &["gpgsign", "sort"]),
    ("transfer", &["fsckobjects"]),
    ("user", &["name", "email", "useconfigonly"]),
];

/// Keys of a section with a subsection.
const HARMLESS_BELOW: &[(&str, &[&str])] = &[
    ("branch", &["merge", "rebase", "description", "vscode-merge-base", "gh-merge-base"]),
    ("color", &[]),
    ("lfs", &["access", "locksverify"]),
    (
        "remote",
        &[
            "fetch",
            "push",
            "tagopt",
            "mirror",
            "prune",
            "prunetags",
            "skipdefaultupdate",
            "skipfetchall",
            "promisor",
            "partialclonefilter",
            "gh-resolved",
            "followremotehead",
        ],
    ),
    ("submodule", &["active", "branch", "ignore", "shallow", "fetchrecursesubmodules"]),
];

/// Whether a setting starts nothing and leads nowhere. `is_own_tree`: of `core.worktree`, whether it leads to the tree
/// of this very repository.
pub(super) fn is_harmless(entry: &Entry, is_own_tree: &dyn Fn(&[u8]) -> bool) -> bool {
    let value = entry.value();
    let is_clean = |text: &[u8]| !text.iter().any(|byte| byte.is_ascii_control());
    if !is_clean(value) || !entry.subsection.as_deref().is_none_or(is_clean) {
        return false;
    }
    let listed = |table: &[(&str, &[&str])]| {
        let row = table.iter().find(|(section, _)| section.as_bytes() == entry.section);
        row.is_some_and(|(_, keys)| keys.is_empty() || keys.iter().any(|key| key.as_bytes() == entry.key))
    };
    match entry.subsection {
        None if entry.is("core", "worktree") => is_own_tree(value),
        // A program, or whether git's own daemon is to watch.
        None if entry.is("core", "fsmonitor") => is_boolean(value),
        None if entry.is("extensions", "refstorage") => matches!(value, b"files" | b"reftable"),
        None if entry.is("extensions", "partialclone") || entry.is("remote", "pushdefault") => is_harmless_url(value),
        None => listed(HARMLESS),
        Some(_) => match (entry.section.as_slice(), entry.key.as_slice()) {
            (b"remote", b"url" | b"pushurl") | (b"submodule", b"url") | (b"branch", b"remote" | b"pushremote") => {
                is_harmless_url(value)
            }
            (b"submodule", b"update") => matches!(value, b"checkout" | b"merge" | b"rebase" | b"none"),
            _ => listed(HARMLESS_BELOW),
        },
    }
}

/// Whether a setting of `.gitmodules` is one.
pub(super) fn is_harmless_module(entry: &Entry) -> bool {
    entry.section == b"submodule"
        && match (entry.subsection.as_deref(), entry.key.as_slice()) {
            // It becomes a part of a path, as the path does.
            (Some(name), b"path") => is_inner(name) && is_inner(entry.value()),
            (Some(name), _) => is_inner(name) && is_harmless(entry, &|_| false),
            (None, _) => false,
        }
}

/// A relative path that leads neither out nor into a `.git`.
fn is_inner(path: &[u8]) -> bool {
    let is_part = |part: &[u8]| part != b".." && fold(part).as_ref() != b".git";
    !path.is_empty()
        && !path.starts_with(b"-")
        && !path.starts_with(b"/")
        && !path.iter().any(u8::is_ascii_control)
        && path.split(|byte| *byte == b'/').all(is_part)
}

fn is_boolean(value: &[u8]) -> bool {
    matches!(
        value.to_ascii_lowercase().as_slice(),
        b"" | b"true" | b"false" | b"yes" | b"no" | b"on" | b"off" | b"0" | b"1"
    )
}

/// Whether git reaches it by itself: not by a helper that the address names (`ext::sh -c …`), nor with an option of ssh
/// in the place of a host.
pub(super) fn is_harmless_url(url: &[u8]) -> bool {
    const SCHEMES: &[&str] = &["http", "https", "git", "ssh", "git+ssh", "ssh+git", "file"];
    if url.starts_with(b"-") || url.iter().any(u8::is_ascii_control) {
        return false;
    }
    let is_name = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(byte));
    if let Some(at) = find(url, b"::")
        && is_name(&url[..at])
    {
        return false;
    }
    let host = match find(url, b"://") {
        Some(at) if is_name(&url[..at]) => {
            let scheme = url[..at].to_ascii_lowercase();
            if !SCHEMES.iter().any(|known| known.as_bytes() == scheme) {
                return false;
            }
            &url[at + 3..]
        }
        _ => url,
    };
    let host = host.split(|byte| *byte == b'/').next().unwrap_or_default();
    let host = host.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
    !host.starts_with(b"-")
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Where a `.git` file leads, as it says.
pub(super) fn leads_to(text: &[u8]) -> Option<&[u8]> {
    let path = text.strip_prefix(b"gitdir: ")?;
    let end = path.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'))?;
    let path = &path[..=end];
    (!path.iter().any(u8::is_ascii_control)).then_some(path)
}

/// Files that an existing configuration has git read or run: what it names, and where only a file there would count.
pub(super) fn names_files(entry: &Entry) -> Option<&[u8]> {
    let value = entry.value.as_deref().filter(|value| !value.is_empty())?;
    let always = entry.is("core", "hookspath")
        || entry.is("core", "attributesfile")
        || entry.is("core", "fsmonitor") && !is_boolean(value)
        || entry.is("include", "path")
        || entry.is("includeif", "path");
    always.then_some(value)
}

/// Words of a setting that starts a program: some may be files.
pub(super) fn words(entry: &Entry) -> impl Iterator<Item = &[u8]> {
    let separates = |byte: &u8| byte.is_ascii_whitespace() || b"'\"!;&|()=`$<>".contains(byte);
    entry.value().split(separates).filter(|word| !word.is_empty() && !word.starts_with(b"-"))
}

/// A list of what an interrupted rebase is still to do, without what it would execute; nothing where there is no such
/// line.
pub(super) fn without_commands(todo: &[u8]) -> Option<Vec<u8>> {
    let executes = |line: &&[u8]| {
        let word = line.trim_ascii_start().split(u8::is_ascii_whitespace).next().unwrap_or_default();
        matches!(word.to_ascii_lowercase().as_slice(), b"x" | b"exec")
    };
    let lines = || todo.split_inclusive(|byte| *byte == b'\n');
    lines().any(|line| executes(&line)).then(|| lines().filter(|line| !executes(line)).flatten().copied().collect())
}

/// Settings of Mercurial and Sapling that a clone writes: where it came from, and nothing else.
pub(super) fn is_harmless_hgrc(text: &[u8]) -> bool {
    let mut in_paths = false;
    text.split(|byte| *byte == b'\n').all(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return false;
        }
        // A line that begins with a blank goes on with the one before.
        let begins = line.first().copied().unwrap_or(b'#');
        match begins {
            b'#' | b';' => true,
            b'[' => {
                in_paths = line.trim_ascii_end() == b"[paths]";
                in_paths
            }
            _ if begins.is_ascii_alphabetic() => {
                let Some(at) = line.iter().position(|byte| *byte == b'=') else { return false };
                let key = line[..at].trim_ascii();
                let is_key = key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
                in_paths && is_key && is_harmless_url(line[at + 1..].trim_ascii())
            }
            _ => line.trim_ascii().is_empty(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    /// What is left of a configuration: as the judge leaves it.
    fn left(text: &[u8]) -> Vec<u8> {
        let Ok(config) = parse(text) else { return Vec::new() };
        let harmless = |entry: &Entry| is_harmless(entry, &|_| false);
        if config.plain && config.entries.iter().all(harmless) {
            return text.to_vec();
        }
        write(&config.entries.into_iter().filter(harmless).collect::<Vec<_>>())
    }

    /// What git reads of a file: a name and a value.
    type Seen = (Vec<u8>, Option<Vec<u8>>);

    fn seen_by_git(text: &[u8]) -> Option<Vec<Seen>> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        let mut git = Command::new("git");
        git.env_clear().env("PATH", "/usr/bin:/bin").args(["config", "-z", "--no-includes", "--list", "--file"]);
        let seen = git.arg(file.path()).output().ok().filter(|seen| seen.status.success())?;
        let all = seen.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty());
        Some(
            all.map(|line| match line.iter().position(|byte| *byte == b'\n') {
                Some(at) => (line[..at].to_vec(), Some(line[at + 1..].to_vec())),
                None => (line.to_vec(), None),
            })
            .collect(),
        )
    }

    fn has_git() -> bool {
        Command::new("git").arg("--version").output().is_ok_and(|seen| seen.status.success())
    }

    const CLONE: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
        [remote \"origin\"]\n\turl = https://example.org/a.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
        [branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n[submodule]\n\tactive = .\n\
        [submodule \"sub\"]\n\turl = ../sub.git\n";

    #[test]
    fn what_a_clone_writes_stays_as_it_is() {
        assert_eq!(left(CLONE.as_bytes()), CLONE.as_bytes());
    }

    #[test]
    fn what_starts_programs_goes_however_it_is_written() {
        for text in [
            "[core]fsmonitor=/tmp/x",
            "[core]\n\tfsmonitor = .git/x",
            "[CORE]\n\tFsMonitor=x",
            "[core] # a\n fsmonitor = \\\n x",
            "[core]\n\thooksPath = x",
            "[core]\nsshCommand = x",
            "[core]\neditor = x",
            "[core]\npager = x",
            "[core]\naskPass = x",
            "[core]\ngitProxy = x",
            "[core]\nattributesFile = x",
            "[core]\nworktree = /home/ann",
            "[core]\nprotectHFS = false",
            "[core \"x\"]\nfsmonitor = y",
            "[include]\npath = x",
            "[includeIf \"gitdir:/\"]\npath = x",
            "[filter \"x\"]\nclean = x",
            "[filter.x]\nclean = x",
            "[diff \"x\"]\ntextconv = x",
            "[diff]\nexternal = x",
            "[merge \"x\"]\ndriver = x",
            "[alias]\nst = !x",
            "[credential]\nhelper = !x",
            "[credential \"https://x\"]\nhelper = x",
            "[pager]\nstatus = x",
            "[sequence]\neditor = x",
            "[gpg]\nprogram = x",
            "[gpg \"ssh\"]\ndefaultKeyCommand = x",
            "[user]\nsigningkey = x",
            "[uploadpack]\npackObjectsHook = x",
            "[remote \"o\"]\nuploadpack = x",
            "[remote \"o\"]\nreceivepack = x",
            "[remote \"o\"]\nvcs = ext",
            "[remote \"o\"]\nproxy = x",
            "[remote \"o\"]\nurl = ext::sh -c x",
            "[remote \"o\"]\nurl = \"ext::sh -c x\"",
            "[remote \"o\"]\nurl = -x",
            "[remote \"o\"]\nurl = ssh://-oProxyCommand=x/y",
            "[remote \"o\"]\nurl = ssh://a@-oProxyCommand=x/y",
            "[remote \"o\"]\nurl = foo://x",
            "[branch \"m\"]\nremote = ext::sh -c x",
            "[submodule \"s\"]\nupdate = !x",
            "[submodule \"s\"]\nurl = ext::x",
            "[url \"ext::x\"]\ninsteadOf = https://",
            "[protocol]\nallow = always",
            "[http]\nproxy = x",
            "[gc]\nrecentObjectsHook = x",
            "[trailer \"x\"]\ncommand = x",
            "[man \"x\"]\ncmd = x",
            "[browser \"x\"]\ncmd = x",
            "[difftool \"x\"]\ncmd = x",
            "[mergetool \"x\"]\ncmd = x",
            "[guitool \"x\"]\ncmd = x",
            "[interactive]\ndiffFilter = x",
            "[sendemail]\nsmtpServer = /x",
            "[tar \"x\"]\ncommand = x",
            "[lfs]\ncustomtransfer = x",
            "[lfs \"customtransfer.x\"]\npath = x",
            "[extensions]\nrefStorage = reftable://x",
            "[user]\nname = \"a\\n[core]\\nfsmonitor=x\"",
            "\u{feff}[core]\nfsmonitor = x",
            "fsmonitor = x",
            "[core\nfsmonitor = x",
            "[core]\nfsmonitor = \"x",
            "[core]\r\nfsmonitor = x\r\n",
        ] {
            assert_eq!(left(text.as_bytes()), b"", "{text}");
        }
    }

    #[test]
    fn what_is_left_out_takes_nothing_else_with_it() {
        let text = format!("{CLONE}# comment\n[core]\n\tfsmonitor = x\n[user]\n\tname = Ann # me\n");
        let config = parse(&left(text.as_bytes())).expect("understood");
        let before = parse(CLONE.as_bytes()).expect("understood").entries;
        assert_eq!(config.entries[..before.len()], before);
        assert_eq!(config.entries[before.len()].value.as_deref(), Some(&b"Ann"[..]));
        assert_eq!(config.entries.len(), before.len() + 1);
    }

    #[test]
    fn urls_that_git_reaches_by_itself() {
        for url in [
            "https://a/b",
            "ssh://a@b:22/c",
            "git@b:c/d.git",
            "../x",
            "/srv/x",
            "file:///x",
            "HTTPS://a",
            "ssh://[::1]/x",
            ".",
        ] {
            assert!(is_harmless_url(url.as_bytes()), "{url}");
        }
        for url in ["ext::x", "fd::7", "-x", "a@-x:y", "-oX:y", "hg::https://x", "persistent-https://x", "ssh://-x/y"] {
            assert!(!is_harmless_url(url.as_bytes()), "{url}");
        }
    }

    #[test]
    fn other_files() {
        assert_eq!(leads_to(b"gitdir: ../.git/worktrees/w\n"), Some(&b"../.git/worktrees/w"[..]));
        assert_eq!(leads_to(b"../x\n"), None);
        assert_eq!(leads_to(b"gitdir: a\nb\n"), None);
        assert_eq!(without_commands(b"pick 1\nexec evil\n x evil\npick 2\n"), Some(b"pick 1\npick 2\n".to_vec()));
        assert_eq!(without_commands(b"pick 1 exec\n"), None);
        assert!(is_harmless_hgrc(b"# example\n[paths]\ndefault = https://example.org/x\n\n"));
        for text in [
            "[hooks]\nupdate = x",
            "[paths]\ndefault = ext::x\n",
            "[paths]\n[hooks]\na=b",
            "%include x",
            "a = b",
            "[paths]\ndefault = /x\n [hooks]",
        ] {
            assert!(!is_harmless_hgrc(text.as_bytes()), "{text}");
        }
        let modules = |text: &str| parse(text.as_bytes()).expect("understood").entries.iter().all(is_harmless_module);
        assert!(modules("[submodule \"a\"]\npath = lib/a\nurl = ../a.git\nbranch = main\n"));
        for text in [
            "[submodule \"../a\"]\npath = a",
            "[submodule \"a\"]\npath = .git/hooks",
            "[submodule \"a\"]\nupdate = !x",
            "[core]\nfsmonitor = x",
            "[submodule \"a\"]\nurl = ext::x",
        ] {
            assert!(!modules(text), "{text}");
        }
    }

    /// Pieces of which files are made that are read in more than one way.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let known: Vec<&[u8]> = vec![
            b"[core]",
            b"[core",
            b"]",
            b"[CORE]\n",
            b"[remote \"o\"]\n",
            b"[alias]",
            b"[include]\n",
            b"[filter.x]",
            b"[core \"",
            b"\"]\n",
            b"fsmonitor",
            b"fsmonitor=x",
            b"hooksPath = x\n",
            b"sshCommand",
            b"bare = false\n",
            b"url = ext::x\n",
            b"url = https://x\n",
            b"path=x",
            b"st = !x",
            b" = ",
            b"=",
            b"\n",
            b"\r\n",
            b"\r",
            b"\\\n",
            b"\\",
            b"\"",
            b"#",
            b";",
            b"\t",
            b" ",
            b"\x0b",
            b"\x0c",
            b"\xef\xbb\xbf",
            b"name",
            b"[user]\n",
            b"\\n",
            b"\\t",
            b"\\b",
            b"\\\\",
            b"\\\"",
            b"\x00",
            b"\xff",
            b"x",
        ];
        proptest::sample::select(known).prop_map(<[u8]>::to_vec)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a file says, real git finds only what is harmless in what is left of it.
        #[test]
        fn git_never_reads_more_than_was_judged(pieces in proptest::collection::vec(piece(), 0..24)) {
            prop_assume!(has_git());
            let text = pieces.concat();
            let left = left(&text);
            let Some(seen) = seen_by_git(&left) else {
                // What git does not read either starts nothing.
                return Ok(());
            };
            for (name, value) in seen {
                let (section, rest) = name.split_at(name.iter().position(|byte| *byte == b'.').expect("a section"));
                let at = rest.iter().rposition(|byte| *byte == b'.').expect("a key");
                let subsection = (at > 0).then(|| rest[1..at].to_vec());
                let entry = Entry { section: section.to_vec(), subsection, key: rest[at + 1..].to_vec(), value };
                prop_assert!(is_harmless(&entry, &|_| false), "{:?} of {:?}", entry, String::from_utf8_lossy(&text));
            }
        }

        /// What is written is read as what it was, by git and by this parser.
        #[test]
        fn what_is_written_is_read_again(value in proptest::collection::vec(1u8..=255, 0..12), name in "[a-z \"\\\\\\]#.]{1,6}") {
            let entry = Entry {
                section: b"remote".to_vec(), subsection: Some(name.into_bytes()), key: b"url".to_vec(), value: Some(value.clone()),
            };
            let text = write(std::slice::from_ref(&entry));
            prop_assert_eq!(&parse(&text).expect("understood").entries, std::slice::from_ref(&entry));
            if has_git() && !value.contains(&b'\r') {
                let seen = seen_by_git(&text).expect("understood");
                prop_assert_eq!(seen, vec![(entry.name(), Some(value))]);
            }
        }
    }
}

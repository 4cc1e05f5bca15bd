//! What is found in a home that is made for it.
#![forbid(unsafe_code)]

use super::*;
use std::os::unix::fs::{PermissionsExt as _, symlink};

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> PathBuf {
        fs::canonicalize(self.0.path()).expect("itself")
    }

    fn file(&self, below: &str, content: &str, mode: u32) {
        let path = self.path().join(below);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    fn close(&self, below: &str) {
        fs::set_permissions(self.path().join(below), fs::Permissions::from_mode(0o700)).expect("a mode");
    }

    /// What is hidden of it, with these variables, for a program in `project`.
    fn hidden(&self, environment: &[(&str, &str)]) -> Vec<String> {
        let home = self.path();
        let directory = home.join("project");
        fs::create_dir_all(&directory).expect("a directory");
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let caller = Caller {
            is_root: false,
            other_homes: &[],
            environment: &environment,
            directory: &directory,
            mounts: &[],
            private: &[],
        };
        let mut finder = Finder::new(caller, &[], Known { homes: vec![home.clone()], ..Known::default() });
        finder.of_caller();
        finder.of_trees(&[]);
        let (hidden, known) = finder.finish().expect("found out");
        assert!(known.notes.is_empty(), "{:?}", known.notes);
        let below = hidden.iter().filter_map(|hidden| hidden.path.strip_prefix(&home).ok());
        below.map(|path| path.to_string_lossy().into_owned()).collect()
    }
}

#[test]
fn a_home_as_they_are() {
    let home = Home::new();
    for (path, mode) in [
        (".newtool/token", 0o600),
        (".config/other/auth.json", 0o644),
        (".config/one", 0o600),
        (".config/git/config", 0o600),
        (".cargo/registry/index/x", 0o600),
        (".cargo/credentials.toml", 0o644),
        (".cache/pip/http/a/b/c", 0o600),
        (".cache/tool/blob", 0o600),
        (".cache/tool/cookies.json", 0o600),
        (".bashrc", 0o600),
        ("notes", 0o600),
        ("project/.env", 0o644),
        ("project/.env.example", 0o644),
        ("project/main.c", 0o600),
        ("project/deep/er/id_ed25519", 0o600),
        ("project/cert.pem", 0o644),
        ("project/deploy.pem", 0o644),
        ("project/tests/server.key", 0o644),
        ("Documents/passwords.kdbx", 0o644),
    ] {
        let key = path.ends_with(".key") || path.ends_with("deploy.pem") || path.contains("id_");
        home.file(path, if key { "-----BEGIN PRIVATE KEY-----\n" } else { "name = Ann\n" }, mode);
    }
    home.file(".gitconfig", "[user]\n\tname = Ann\n[url \"https://ann:secret@host/\"]\n", 0o644);
    home.close(".config");
    home.close(".cargo");
    assert_eq!(
        home.hidden(&[]),
        [
            ".cache/tool/cookies.json",
            ".cargo/credentials.toml",
            ".config/one",
            ".config/other/auth.json",
            ".gitconfig",
            ".newtool/token",
            "Documents/passwords.kdbx",
            "project/.env",
            "project/deep/er/id_ed25519",
            "project/deploy.pem",
        ]
    );
}

#[test]
fn links_are_followed_and_other_links_found() {
    let home = Home::new();
    home.file("keys/k", "secret\n", 0o644);
    home.file("dotfiles/aws/credentials", "secret\n", 0o644);
    home.file("dotfiles/tool/token", "secret\n", 0o600);
    home.file(".ssh/id_rsa", "secret\n", 0o600);
    home.file("project/x", "", 0o644);
    symlink(home.path().join("keys/k"), home.path().join(".ssh/work")).expect("a link");
    symlink("dotfiles/aws", home.path().join(".aws")).expect("a link");
    symlink("dotfiles/tool", home.path().join(".tool")).expect("a link");
    symlink(home.path(), home.path().join(".ssh/home")).expect("a link");
    symlink("/usr", home.path().join(".ssh/usr")).expect("a link");
    fs::hard_link(home.path().join(".ssh/id_rsa"), home.path().join("project/again")).expect("a link");
    assert_eq!(home.hidden(&[]), [".ssh", "dotfiles/aws", "dotfiles/tool/token", "keys/k", "project/again"]);
}

#[test]
fn variables_hide_what_they_lead_to() {
    let home = Home::new();
    home.file("project/k", "", 0o644);
    home.file("one", "", 0o644);
    home.file("two", "", 0o600);
    home.file("three", "", 0o644);
    let at = |name: &str| home.path().join(name).to_string_lossy().into_owned();
    let hidden = home.hidden(&[
        ("SOME_TOKEN_FILE", "k"),
        ("CLIENT_SECRETS", &format!("file://{}", at("one"))),
        ("WHATEVER", &at("two")),
        ("OTHER", &at("three")),
        ("PYTHONSTARTUP", &at("two")),
        ("KEYS_ARE_IN", &at("")),
    ]);
    assert_eq!(hidden, ["one", "project/k", "two"]);
}

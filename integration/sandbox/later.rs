//! Code that runs later: what a program leaves in a tree that it may write to, for whoever opens, enters or builds it
//! afterwards.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each, said};
use crate::sandboxed;
use crate::support::{self, Finish as _, Outcome};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// Somebody's repository in the project, made by real git as its owner.
const SETUP: &str =
    "git init -q . && git config user.name a && git config user.email a@b && git add -A && git commit -qm one";

fn has(program: &str) -> bool {
    let mut look = Command::new("sh");
    look.args(["-c", &format!("command -v {program}")]).env("PATH", "/usr/bin:/bin").stdout(Stdio::null());
    look.status().expect("a shell").success()
}

impl Caller {
    /// On the host, as the caller, in the project.
    fn host(&self, script: &str) -> Outcome {
        let mut command = Command::new("setpriv");
        let id = self.user.unwrap_or(0).to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "sh", "-c", script]);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", self.home());
        command.current_dir(self.path("home/project")).stdin(Stdio::null()).finish()
    }

    #[track_caller]
    fn prepare(&self, script: &str) {
        let seen = self.host(script);
        assert_eq!(seen.code(), 0, "{script}: {seen:?}");
    }

    /// In a sandbox that may write to the project.
    fn writes(&self, script: &str) -> Outcome {
        self.shell(&["--rw", "."], script)
    }

    fn has(&self, below: &str) -> bool {
        fs::symlink_metadata(self.path("home/project").join(below)).is_ok()
    }

    fn text(&self, below: &str) -> String {
        fs::read_to_string(self.path("home/project").join(below)).unwrap_or_default()
    }
}

/// Names that programs take commands from, at some depth.
const NAMES: &[&str] = &[
    ".envrc",
    ".vscode/tasks.json",
    "a/b/c/d/e/.vscode/settings.json",
    ".idea/workspace.xml",
    ".zed/settings.json",
    ".claude/settings.json",
    "sub/.claude/settings.local.json",
    ".mcp.json",
    ".cursor/mcp.json",
    ".codex/config.toml",
    ".gemini/settings.json",
    ".windsurf/hooks.json",
    ".kiro/settings/mcp.json",
    ".amazonq/cli-agents/x.json",
    ".aider.conf.yml",
    ".devcontainer/devcontainer.json",
    ".devcontainer.json",
    ".cargo/config.toml",
    "deep/er/.cargo/config",
    ".husky/pre-commit",
    ".githooks/pre-commit",
    ".mise.toml",
    "mise.toml",
    ".npmrc",
    ".yarnrc.yml",
    ".yarn/releases/yarn.cjs",
    ".pnpmfile.cjs",
    ".bazelrc",
    ".gdbinit",
    ".vimrc",
    ".exrc",
    ".nvim.lua",
    ".dir-locals.el",
    ".pdbrc",
    ".Rprofile",
    ".irbrc",
    ".rspec",
    ".bundle/config",
    ".mvn/jvm.config",
    ".bashrc",
    ".profile",
    ".zshenv",
    ".config/fish/config.fish",
    ".config/git/config",
    ".ssh/authorized_keys",
    ".gitconfig",
    ".hg/hgrc",
    ".ENVRC",
    ".VSCode/tasks.json",
    ".e\u{200b}nvrc",
    // Servers that editors start by a file of the tree, and tools that read one where they are started.
    ".bsp/evil.json",
    "buildServer.json",
    ".externalToolBuilders/x.launch",
    ".idx/dev.nix",
    ".shadowenv.d/x.lisp",
    ".mise.dev.toml",
    "mise/config.toml",
    ".lazygit.yml",
    ".mvn/settings.xml",
    ".ghci",
    ".iex.exs",
    ".perldb",
    "jupyter_server_config.py",
];

#[test]
fn what_runs_later_is_taken_away() {
    sandboxed!();
    as_each(|caller| {
        let script: String = NAMES
            .iter()
            .map(|name| format!("mkdir -p \"$(dirname '{name}')\" && echo '[hooks] evil' > '{name}'\n"))
            .collect();
        let seen = caller.writes(&format!("set -e\n{script}mkdir keep; echo x > keep/file; echo x > .gitignore"));
        assert_eq!(seen.code(), 0, "{seen:?}");
        let left: Vec<_> = NAMES.iter().filter(|name| caller.has(name)).collect();
        assert!(left.is_empty(), "as {:?}: {left:?}", caller.user);
        assert!(caller.has("keep/file") && caller.has(".gitignore") && caller.has("data"));
        let said = said(&seen);
        assert!(
            said.contains("taken away, as it would run later: ") && said.contains(" more; to have such: "),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    });
}

#[test]
fn what_is_there_is_kept() {
    sandboxed!();
    as_each(|caller| {
        for name in NAMES.iter().filter(|name| **name != ".VSCode/tasks.json" && **name != ".ENVRC") {
            caller.file(&format!("home/project/{name}"), "[paths]\n", 0o600);
        }
        let script: String = NAMES
            .iter()
            .map(|name| {
                format!(
                    "echo evil > '{name}'; rm -rf '{name}'; mv '{name}' elsewhere; ln -sf /x '{name}'; chmod 777 '{name}'; \
                     mv \"$(dirname '{name}')\" moved-away; echo evil >> \"$(dirname '{name}')\"/new-file\n"
                )
            })
            .collect();
        let seen = caller.shell(&["-q", "--rw", "."], &format!("{{ {script} }} 2>/dev/null; true"));
        assert_eq!(seen.code(), 0, "{seen:?}");
        for name in NAMES.iter().filter(|name| **name != ".VSCode/tasks.json" && **name != ".ENVRC") {
            let place = ["", "moved-away/"].map(|above| caller.path("home/project").join(above).join(name));
            let own = Path::new(name).file_name().expect("a name");
            // Where a parent was moved, what it holds was moved with it, and nothing else is in its old place.
            let text = fs::read_to_string(&place[0]).or_else(|_| fs::read_to_string(&place[1]));
            let text = text.or_else(|_| find(&caller.path("home/project"), own.as_ref()));
            assert_eq!(text.ok().as_deref(), Some("[paths]\n"), "{name} as {:?}", caller.user);
        }
        let evil = caller.host("grep -rl evil . | grep -v new-file");
        assert_eq!(evil.stdout(), "", "{evil:?}");
    });
}

fn find(below: &Path, name: &Path) -> std::io::Result<String> {
    let found = Command::new("find").arg(below).arg("-name").arg(name).arg("-type").arg("f").output()?;
    let path = String::from_utf8_lossy(&found.stdout).lines().next().unwrap_or_default().to_owned();
    fs::read_to_string(path)
}

#[test]
fn a_renamed_parent_leaves_nothing_in_its_place() {
    sandboxed!();
    as_each(|caller| {
        caller.file("home/project/sub/.vscode/tasks.json", "mine\n", 0o600);
        caller.file("home/project/sub/deep/.envrc", "mine\n", 0o600);
        let seen = caller.writes(
            "mv sub other && mkdir -p sub/.vscode sub/deep && echo evil > sub/.vscode/tasks.json && echo evil > sub/deep/.envrc",
        );
        assert_eq!(seen.code(), 0, "{seen:?}");
        assert!(!caller.has("sub/.vscode") && !caller.has("sub/deep/.envrc"), "{seen:?}");
        assert_eq!(caller.text("other/.vscode/tasks.json"), "mine\n");
        assert_eq!(caller.text("other/deep/.envrc"), "mine\n");
        let said = said(&seen);
        assert!(said.contains("moved, with what it runs: ") && said.contains("other/.vscode"), "{said}");
    });
}

/// What makes git run something, as a program in a repository would plant it; each leaves `evil` somewhere if it stays.
const PLANTS: &[&str] = &[
    "echo 'touch evil-ran' > .git/hooks/post-commit; chmod +x .git/hooks/post-commit",
    "git config core.fsmonitor ./evil",
    "git config core.hooksPath evil-hooks",
    "printf '[core]\\n\\tfsmonitor = ./evil\\n' > .git/config",
    "printf '[core]\\n\\tfsmonitor = ./evil\\n' > n && mv -f n .git/config",
    "rm -rf .git/hooks; mkdir .git/hooks; echo evil > .git/hooks/pre-commit",
    "mv .git/hooks .git/h; mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit",
    "mv .git/hooks .git/h; ln -s ../evil-hooks .git/hooks",
    "mv .git .g; cp -a .g .git; printf '[core]\\n\\tfsmonitor = ./evil\\n' >> .git/config",
    "rm -rf .git; ln -s evil-git .git",
    "mv .git .g; echo 'gitdir: /tmp/evil' > .git",
    "printf '[core]\\n\\tfsmonitor = ./evil\\n' > .git/config.worktree; git config extensions.worktreeConfig true",
    "cp -a .git evil-common; printf '[core]\\nfsmonitor=./evil\\n' > evil-common/config; rm -f evil-common/HEAD; echo ../evil-common > .git/commondir",
    "mkdir -p .git/rebase-merge; echo 'exec touch evil' > .git/rebase-merge/git-rebase-todo",
    "mkdir -p e && cd e && git init -q --bare . && git config core.fsmonitor evil",
    "mkdir -p e && cd e && git init -q --bare . && echo evil > hooks/post-receive",
    "mkdir -p e/f/g/h/i/j/k && cd e/f/g/h/i/j/k && git init -q && git config alias.st '!evil'",
    "git init -q e && cd e && git config core.sshCommand evil",
    "git init -q e && cd e && printf '[core] fsmonitor = \\\\\\nevil\\n' >> .git/config",
    "git init -q e && cd e && printf '[include]\\n path = ../evil\\n' >> .git/config",
    "git init -q e && cd e && git config core.worktree /home/evil",
    "git init -q e && cd e && git config filter.x.clean evil && echo '* filter=x' > .gitattributes",
    "git init -q e && cd e && git remote add o ext::evil",
    "git init -q e && cd e && rm .git/config && mkfifo .git/config",
    "git init -q e && cd e && rm .git/config && mkdir .git/config && echo evil > .git/config/x",
    "git init -q e && cd e && head -c 3000000 /dev/zero > .git/config && echo '[core]fsmonitor=evil' >> .git/config",
    "git init -q e && cd e && ln -s /bin/evil .git/hooks/pre-commit",
    "git init -q e && cd e && mkdir .git/modules && git init -q --bare .git/modules/m && git --git-dir .git/modules/m config core.fsmonitor evil",
    "printf '[submodule \"a\"]\\n\\tpath = a\\n\\turl = ext::evil\\n\\tupdate = !evil\\n' > .gitmodules",
    "git init -q e; chmod 000 e/.git/hooks; mkdir z; git init -q z; git -C z config alias.x '!evil'; chmod 000 z",
    "mkdir .GIT-x; git init -q c; mv c/.git c/.GIT; printf '[core]\\nfsmonitor=evil\\n' >> c/.GIT/config",
];

#[test]
fn nothing_in_a_repository_runs_later() {
    sandboxed!();
    if !has("git") {
        return support::skip("git is not installed");
    }
    as_each(|caller| {
        caller.prepare(&format!("{SETUP} && cp -a . ../backup"));
        let hooks = caller.host("ls .git/hooks").stdout();
        let config = caller.text(".git/config");
        let mut wrong = Vec::new();
        for plant in PLANTS {
            let seen =
                caller.shell(&["-q", "--rw", "."], &format!("export HOME=/tmp; {{ {plant}; }} 2>/dev/null; true"));
            // What git itself reads, everywhere below, and every hook.
            let scan = "find . -name objects -prune -o -print | while read -r each; do
                    [ -f \"$each/HEAD\" ] && git --git-dir=\"$each\" config --list --includes 2>/dev/null | grep evil;
                done; find . -path '*hooks/*' ! -name '*.sample' ! -path './z/*' | grep -v '^./.git/h/'; find . -name git-rebase-todo -exec grep exec {} +;
                find . -type p; grep evil .gitmodules; find . -name .git -type l; [ -f .git ] && cat .git; ls .git/commondir";
            let after = caller.host(&format!("chmod -R u+rwX . ; {{ {scan}; }} 2>/dev/null"));
            if seen.code() != 0 || !after.stdout().is_empty() {
                wrong.push(format!("{plant}: {seen:?}\n   {}", after.stdout()));
            }
            let kept = caller.host("ls .git/hooks").stdout() == hooks && caller.text(".git/config") == config;
            // What moves all of it away has it there, and not in its old place.
            if !kept && !plant.starts_with("mv .git .g") {
                wrong.push(format!("{plant}: the repository is not what it was"));
            }
            caller.prepare("find . -mindepth 1 -delete; cp -a ../backup/. .");
        }
        assert!(wrong.is_empty(), "as {:?}:\n{}", caller.user, wrong.join("\n"));
    });
}

/// What people do every day, in a repository that was there and in new ones.
const EVERYDAY: &[(&str, &str)] = &[
    (
        "git",
        "echo x > f && git add f && git commit -qm two && git checkout -qb b && echo y > f && git stash -q && git stash pop -q \
         && git commit -qam three && git checkout -q - && git merge -q b && git rebase -q HEAD~1 && git gc -q && git tag t \
         && git -c core.pager=cat log --oneline && git branch -D b && git status && git reset -q --hard && git fetch -q . && git clean -fdq",
    ),
    ("git", "git worktree add -q ../project/wt -b w && cd wt && echo z > z && git add z && git commit -qm w"),
    ("git", "git clone -q . c && cd c && git commit -q --allow-empty -m x && git push -q origin HEAD:refs/heads/x"),
    ("git", "git init -q n && cd n && git commit -q --allow-empty -m x && git remote add o https://example.org/x.git"),
    ("git", "git clone -q --bare . bare.git && git -C bare.git log"),
    (
        "git",
        "git init -q s && cd s && git -c protocol.file.allow=always submodule add -q ../c lib && git commit -qm sub",
    ),
    ("npm", "mkdir np && cd np && npm init -y"),
    ("cargo", "cargo new -q cr && cargo new -q --vcs none cr2"),
];

#[test]
fn repositories_are_made_and_worked_in() {
    sandboxed!();
    if !has("git") {
        return support::skip("git is not installed");
    }
    as_each(|caller| {
        caller.prepare(SETUP);
        for (program, script) in EVERYDAY {
            if !has(program) {
                continue;
            }
            let environment = "set -e; export HOME=/tmp GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a; git config --global init.defaultBranch main";
            let seen = caller.writes(&format!("{environment}; {script}"));
            assert_eq!(seen.code(), 0, "{script} as {:?}: {seen:?}", caller.user);
            let said = said(&seen);
            assert!(!said.contains("taken") && !said.contains("WARNING"), "{script}: {said}");
        }
        // They are as good afterwards.
        let seen = caller.host(
            "git log && git -C wt log && git -C wt status && git -C c fetch && git -C n remote get-url o && git -C bare.git log \
             && git -C s submodule status && git -C s/lib log && git -C s/lib status && git -C s status",
        );
        assert_eq!(seen.code(), 0, "{seen:?}");
        assert!(caller.text("s/.git/config").contains("[submodule \"lib\"]"));
        // The work tree that was there is kept too, and works.
        let seen = caller.shell(&["-q", "--rw", "."], "export HOME=/tmp; cd wt && git -c user.name=a -c user.email=a commit -q --allow-empty -m y && ! echo gitdir: /x > .git");
        assert_eq!(seen.code(), 0, "{seen:?}");
    });
}

#[test]
fn flags_leave_what_they_name() {
    sandboxed!();
    as_each(|caller| {
        let script =
            "mkdir -p .vscode a/.vscode; echo x > .vscode/t; echo x > a/.vscode/t; echo x > .envrc; echo x > a/.envrc";
        let seen =
            caller.shell(&["--rw", ".", "--allow-later-code", ".vscode", "--allow-later-code", "a/.envrc"], script);
        assert_eq!(seen.code(), 0, "{seen:?}");
        assert!(
            caller.has(".vscode/t") && caller.has("a/.vscode/t") && caller.has("a/.envrc") && !caller.has(".envrc"),
            "{seen:?}"
        );
        // What is kept is writable with the flag, too.
        let seen = caller.shell(
            &["-q", "--rw", ".", "--allow-later-code", "a/.vscode"],
            "echo y > a/.vscode/t && ! echo y > .vscode/t",
        );
        assert_eq!(seen.code(), 0, "{seen:?}");
        let seen = caller.shell(&["--rw", ".", "--allow-later-code", "all"], "echo y > .vscode/t; echo y > .envrc");
        assert_eq!((seen.code(), said(&seen).as_str()), (0, ""), "{seen:?}");
        assert!(caller.has(".envrc") && caller.text(".vscode/t") == "y\n");
        let seen = caller.shell(&["--rw", ".", "--allow-later-code", "src/main.rs"], "true");
        assert!(said(&seen).contains("--allow-later-code src/main.rs: nothing of that name"), "{seen:?}");
        // What is typed as such is meant.
        let seen = caller.shell(&["--rw", ".vscode", "--rw", ".envrc"], "echo z > .vscode/t && echo z > .envrc");
        assert_eq!((seen.code(), caller.text(".vscode/t").as_str()), (0, "z\n"), "{seen:?}");
        assert_eq!(caller.text(".envrc"), "z\n");
    });
}

#[test]
fn a_report_names_what_was_left() {
    sandboxed!();
    as_each(|caller| {
        caller.file("home/project/.vscode/tasks.json", "mine\n", 0o600);
        let seen = caller.shell(
            &["-q", "--rw", ".", "--report"],
            "echo x > .envrc; echo all: > Makefile; echo x > .vscode/tasks.json",
        );
        let text = seen.stderr();
        assert!(text.contains("removed ") && text.contains("/.envrc  allow with --allow-later-code .envrc"), "{text}");
        assert!(text.contains("changed ") && text.contains("/Makefile"), "{text}");
        assert!(text.contains("not recommended (it would run later; --allow-later-code"), "{text}");
        let seen = caller.shell(&["--rw", "."], "touch Makefile; echo > package.json");
        let said = said(&seen);
        assert!(said.contains("changed, and run or read by tools: ") && said.contains("package.json"), "{said}");
        assert_eq!(self::said(&caller.shell(&["-q", "--rw", "."], "touch Makefile")), "");
    });
}

#[test]
fn links_and_settings_lead_nowhere_else() {
    sandboxed!();
    if !has("git") {
        return support::skip("git is not installed");
    }
    as_each(|caller| {
        caller.file("home/project/shared/claude/settings.json", "mine\n", 0o600);
        caller.file("home/project/tools/hooks/pre-commit", "mine\n", 0o700);
        caller.file("home/project/tools/clean", "mine\n", 0o700);
        symlink("shared/claude", caller.path("home/project/.claude")).expect("a link");
        caller.prepare(SETUP);
        caller.prepare(
            "git config core.hooksPath tools/hooks; git config filter.x.clean './tools/clean -x'; git config include.path ../more",
        );
        let seen = caller.writes(
            "for each in shared/claude/settings.json tools/hooks/pre-commit tools/clean tools/hooks/new; do echo evil > $each && exit 9; done;
             mv tools t2; mkdir -p tools/hooks; echo evil > tools/hooks/pre-commit; printf '[core]\\nfsmonitor=evil\\n' > more;
             mv shared s2; mkdir -p shared/claude; echo evil > shared/claude/settings.json; exit 0",
        );
        assert_eq!(seen.code(), 0, "{seen:?}");
        assert!(!caller.has("tools/hooks") && !caller.has("more") && !caller.has("shared/claude"), "{seen:?}");
        assert_eq!(caller.text("t2/hooks/pre-commit"), "mine\n");
    });
}

#[test]
fn another_name_of_a_file_is_no_way_round() {
    sandboxed!();
    if !has("git") {
        return support::skip("git is not installed");
    }
    as_each(|caller| {
        let seen = caller.writes("git init -q r && ln r/.git/config alias && echo x > .envrc && ln .envrc alias2");
        assert_eq!(seen.code(), 0, "{seen:?}");
        assert!(caller.has("r/.git/config") && !caller.has(".envrc"), "{seen:?}");
        let links = |name: &str| fs::metadata(caller.path("home/project").join(name)).expect("there").nlink();
        assert_eq!(links("r/.git/config"), 1);
        // Of what was there, made by somebody outside.
        caller.file("home/project/.vscode/t", "mine\n", 0o600);
        caller.prepare("rm alias; ln r/.git/config alias; ln .vscode/t other");
        let seen = caller.writes(
            "! ln .vscode/t third && printf '[core]\n\tfsmonitor = evil\n' >> alias && rm alias && echo evil > other && rm other",
        );
        assert_eq!(seen.code(), 0, "{seen:?}");
        assert!(!caller.text("r/.git/config").contains("evil"), "{seen:?}");
        assert!(!caller.text(".vscode/t").contains("evil"), "{seen:?}");
        assert!(said(&seen).contains("core.fsmonitor"), "{seen:?}");
    });
}

#[test]
fn set_id_bits_do_not_stay() {
    sandboxed!();
    as_each(|caller| {
        // Some were there before.
        let own = caller.file("home/project/own", "x", 0o700);
        fs::set_permissions(&own, fs::Permissions::from_mode(0o4755)).expect("a mode");
        // However they come: where the filter keeps the program from making any, somebody else may.
        let script = "cp /bin/sh s; chmod 6755 s; touch begun; while [ ! -e go ]; do sleep .05; done";
        let mut child = caller.command(&["-q", "--rw", ".", "--", "sh", "-c", script]);
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        support::wait_until("it has begun", support::seconds(10), || caller.has("begun"));
        caller.prepare("cp /bin/sh t; chmod 6755 t; mkdir d; chmod 2755 d; touch go");
        let seen = child.wait_with_output().expect("ended");
        for name in ["s", "t"] {
            let found = fs::metadata(caller.path("home/project").join(name)).expect("there");
            assert_eq!(found.mode() & 0o6000, 0, "{name}: {seen:?}");
        }
        let text = String::from_utf8_lossy(&seen.stderr);
        assert!(seen.status.success() && text.contains("set-user-id and set-group-id taken off: "), "{seen:?}");
        assert_eq!(fs::metadata(own).expect("there").mode() & 0o7777, 0o4755);
    });
}

#[test]
fn odd_trees_are_looked_through() {
    sandboxed!();
    as_each(|caller| {
        let script = r#"
            mkfifo .envrc; mkdir -p "$(printf 'b\377d')/.vscode"; echo x > "$(printf 'b\377d')/.vscode/t"
            ln -s /etc/passwd .vimrc; mkdir closed; echo x > closed/.envrc; chmod 000 closed
            i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit 9; i=$((i+1)); done; mkdir .vscode; echo x > .vscode/t; exit 0"#;
        let seen = caller.writes(script);
        assert_eq!(seen.code(), 0, "{seen:?}");
        let left = caller.host("chmod 700 closed; find . -name .vscode -o -name .envrc -o -name .vimrc");
        assert_eq!(left.stdout(), "", "{left:?} {seen:?}");
        assert!(seen.stderr().contains(r"b\xffd/.vscode"), "{seen:?}");
        assert!(fs::metadata("/etc/passwd").is_ok());
        // The next one begins in it as well.
        caller.prepare("mkdir -p \"$(printf 'b\\377d')/.idea\" closed; chmod 000 closed");
        let seen = caller.shell(&["-q", "--rw", "."], "! touch b*d/.idea/x && touch x");
        assert_eq!(seen.code(), 0, "{seen:?}");
        caller.prepare("chmod 700 closed; rm -rf d");
    });
}

/// As below /tmp: what nobody in the sandbox can look into is no reason to warn.
#[test]
fn directories_of_others_are_passed() {
    sandboxed!();
    as_each(|caller| {
        let theirs = caller.directory("home/project/theirs");
        std::os::unix::fs::chown(&theirs, Some(48_139), Some(48_139)).expect("an owner");
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700)).expect("a mode");
        let seen = caller.shell(&["--rw", "."], "echo x > out");
        assert!(seen.code() == 0 && !seen.stderr().contains("WARNING"), "{seen:?}");
    });
}

#[test]
fn a_home_is_closed_to_what_starts_with_it() {
    sandboxed!();
    as_each(|caller| {
        // Open to others: what is not is hidden, and writing to it goes nowhere.
        caller.file("home/.tool/config", "mine\n", 0o644);
        caller.file("home/.cargo/bin/cargo", "mine\n", 0o700);
        caller.file("home/.cargo/registry/index", "mine\n", 0o600);
        let home = caller.home();
        let script = format!(
            "cd {home} || exit 9; for each in .tool/config .tool/new .cargo/bin/cargo .cargo/bin/new; do echo evil > $each && exit 8; done
             mkdir -p .new bin .config/autostart .local/bin .local/share/applications .local/share/data .cache/x
             for each in .new/x bin/ls .newrc .config/autostart/x .local/bin/ls .local/share/applications/x; do echo evil > $each; done
             for each in .cargo/registry/index .local/share/data/x .cache/x/y notes document; do echo good > $each || exit 7; done; exit 0"
        );
        let seen = caller.shell(&["-q", "--rw", &home, "--workdir", "/"], &script);
        assert_eq!(seen.code(), 0, "{seen:?}");
        for name in [".new", "bin", ".newrc", ".config/autostart", ".local/bin", ".local/share/applications"] {
            assert!(!caller.path("home").join(name).exists(), "{name} as {:?}: {seen:?}", caller.user);
        }
        for name in [".cargo/registry/index", ".local/share/data/x", ".cache/x/y", "notes", "document"] {
            assert_eq!(fs::read_to_string(caller.path("home").join(name)).ok().as_deref(), Some("good\n"), "{name}");
        }
        for secret in crate::caller::secrets() {
            let text = fs::read_to_string(caller.path("home").join(secret)).unwrap_or_default();
            assert!(text.contains("is secret"), "{secret} as {:?}: {seen:?}", caller.user);
        }
    });
}

#[test]
fn whoever_is_killed_is_cleaned_up_after() {
    sandboxed!();
    as_each(|caller| {
        // A number that no other test sleeps for.
        let script = "echo x > .envrc; echo ready; sleep 31337";
        let mut command = caller.command(&["--rw", ".", "--", "sh", "-c", script]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
        support::wait_until("the file is there", support::seconds(10), || caller.has(".envrc"));
        child.kill().expect("killed");
        child.wait().expect("ended");
        support::wait_until("the program is gone", support::seconds(10), || Caller::processes("sleep 31337") == 0);
        assert!(caller.has(".envrc"));
        let seen = caller.shell(&[], "true");
        assert!(!caller.has(".envrc") && said(&seen).contains("taken away"), "{seen:?}");
        // One that timed out needs nobody else.
        let seen = caller.shell(&["--rw", ".", "--timeout", "1s"], "echo x > .envrc; sleep 100");
        assert_eq!((seen.code(), caller.has(".envrc")), (124, false), "{seen:?}");
    });
}

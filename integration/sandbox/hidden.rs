//! What is hidden though nobody has named it: credentials by their kind, sockets by what they are, and every other view
//! of both.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::{Finish as _, Outcome};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shell function that says which of its arguments can be read and hold `is secret`.
const READ: &str = "read() { for each; do grep -qs 'is secret' \"$each\" && echo \"READ $each\"; done; true; }; ";

fn secret(caller: &Caller, below: &str, mode: u32) {
    caller.file(below, "this is secret\n", mode);
}

/// Pent, in a view of the host that a script of root's prepares: `$0` is the caller's directory, `"$@"` what to run
/// then.
fn in_a_view(caller: &Caller, script: &str, args: &[&str]) -> Outcome {
    let pent = caller.command(args);
    let mut view = Command::new("unshare");
    let script = format!("set -e; {script}; exec \"$@\"");
    view.args(["--mount", "sh", "-c", &script]).arg(caller.path("")).arg(pent.get_program()).args(pent.get_args());
    view.current_dir(caller.path("home/project")).env("HOME", caller.home()).finish()
}

/// Files of tools that no list can know.
#[test]
fn what_is_only_its_owner_s_is_hidden_in_a_home() {
    sandboxed!();
    as_each(|caller| {
        let alone = [
            ".newtool",
            ".config/newtool/hosts",
            ".config/new.toml",
            ".local/share/newtool/state",
            ".local/state/new/x",
            ".m2/new.xml",
            ".gradle/new.properties",
            ".npm/newrc",
            ".cargo/new",
            ".config/git/new",
            ".newtool.d/a/b/c/d",
            ".config/fish/fish_variables",
        ];
        let named = [
            ".newtool-open/credentials.json",
            ".config/open/accessTokens.json",
            ".cache/open/token",
            ".vscode/extensions.token",
        ];
        for path in alone {
            secret(caller, &format!("home/{path}"), 0o600);
        }
        for path in named {
            secret(caller, &format!("home/{path}"), 0o644);
        }
        let paths: Vec<String> = alone.iter().chain(&named).map(|path| format!("~/{path}")).collect();
        let script = format!("{READ} read {}; echo done", paths.join(" "));
        caller.shell(&[], &script).ok().prints("done");
        let home = caller.home();
        caller.shell(&["--rw", &home], &script).ok().prints("done");
        // What is typed is shown.
        let file = caller.path("home/.config/newtool/hosts");
        let seen = caller.shell(&["--ro", file.to_str().expect("a path")], &script).ok();
        assert!(seen.stdout().contains(".config/newtool/hosts\n") && seen.stdout().lines().count() == 2, "{seen:?}");
    });
}

/// With umask 077, and for root's programs, too.
#[test]
fn what_programs_need_of_a_home_is_kept() {
    sandboxed!();
    for closed in [false, true] {
        as_each(|caller| {
            let (file, directory) = if closed { (0o600, 0o700) } else { (0o644, 0o755) };
            for (path, content) in [
                (
                    ".gitconfig",
                    "[user]\n\tname = Ann Example\n\temail = ann@example.org\n[credential]\n\thelper = cache\n",
                ),
                (".npm/_cacache/index-v5/ab/entry", "kept\n"),
                (".cargo/registry/cache/crate", "kept\n"),
                (".cargo/bin/tool", "#!/bin/sh\necho tool ran\n"),
                (".rustup/settings.toml", "kept\n"),
                (".cache/pip/http-v2/a/b/c", "kept\n"),
                (".local/lib/python3/site-packages/m.py", "kept\n"),
                (".local/share/fonts/f.ttf", "kept\n"),
                (".config/fontconfig/fonts.conf", "kept\n"),
                (".config/nvim/init.lua", "kept\n"),
                (".m2/repository/a.jar", "kept\n"),
                (".gradle/caches/modules", "kept\n"),
                (".bashrc", "kept\n"),
                (".vimrc", "kept\n"),
                ("go/pkg/mod/m", "kept\n"),
            ] {
                caller.file(&format!("home/{path}"), content, file);
            }
            caller.file("home/.local/bin/own", "#!/bin/sh\necho own ran\n", file | 0o100 | (file & 0o044) >> 2);
            let find = Command::new("find").arg(caller.path("home")).args(["-mindepth", "1", "-type", "d"]).finish();
            for path in find.stdout().lines() {
                fs::set_permissions(path, fs::Permissions::from_mode(directory)).expect("a mode");
            }
            let script = "git config user.name; ~/.local/bin/own; cd; grep -L kept .npm/_cacache/index-v5/ab/entry .cargo/registry/cache/crate \
                .rustup/settings.toml .cache/pip/http-v2/a/b/c .local/lib/python3/site-packages/m.py .local/share/fonts/f.ttf \
                .config/fontconfig/fonts.conf .config/nvim/init.lua .m2/repository/a.jar .gradle/caches/modules .bashrc .vimrc go/pkg/mod/m; \
                LC_ALL=C.UTF-8 locale charmap";
            // Root's program is a stranger to root's home but where it is typed.
            let seen = caller.shell(&["--ro", &caller.home()], script);
            assert_eq!(seen.stdout(), "Ann Example\nown ran\nUTF-8\n", "umask 077: {closed}: {seen:?}");
        });
    }
}

/// git's settings are shown, but not with a password among them.
#[test]
fn settings_with_credentials_are_hidden() {
    sandboxed!();
    as_each(|caller| {
        caller.file(
            "home/.gitconfig",
            "[user]\n\tname = Ann\n\temail = is secret\n[url \"https://ann:hunter2@host/\"]\n",
            0o644,
        );
        caller.file("home/project/.npmrc", "//registry/:_authToken=is secret\n", 0o644);
        caller.file("home/project/sub/.npmrc", "registry=https://registry/\n# is secret, not\n", 0o644);
        caller.file("home/.bashrc", "export NEW_TOKEN='is secret'\n", 0o644);
        let script = format!("{READ} read ~/.gitconfig .npmrc ~/.bashrc sub/.npmrc");
        caller.shell(&[], &script).ok().prints("READ sub/.npmrc");
    });
}

/// As their languages write it, and in the directories that shells and editors read as a whole.
#[test]
fn settings_in_any_language_are_read_for_tokens() {
    sandboxed!();
    const TOKEN: &str = "sk-ant-api03-0123456789abcdefghij0123";
    as_each(|caller| {
        let files = [
            (".config/fish/config.fish", "set -gx SOME_TOKEN abc # is secret\n".to_owned()),
            (".config/fish/conf.d/keys.fish", "set -gx SOME_API_KEY abc # is secret\n".to_owned()),
            (".config/tmux/tmux.conf", "set-environment -g SOME_TOKEN abc # is secret\n".to_owned()),
            (".tmux.conf", "setenv -g SOME_TOKEN abc # is secret\n".to_owned()),
            (".bash_profile", "export SOME_AUTH=\"Bearer abc\" # is secret\n".to_owned()),
            (".zshenv", format!("typeset -x SOME={TOKEN} # is secret\n")),
            (".config/nvim/init.lua", format!("vim.env.KEY = '{TOKEN}' -- is secret\n")),
            (".config/nvim/lua/own/keys.lua", format!("return '{TOKEN}' -- is secret\n")),
            (".emacs.d/init.el", format!("(setq gptel-api-key \"{TOKEN}\") ; is secret\n")),
            (".oh-my-zsh/custom/own.zsh", format!("export SOME_TOKEN={TOKEN} # is secret\n")),
        ];
        for (below, text) in &files {
            caller.file(&format!("home/{below}"), text, 0o644);
        }
        caller.file("home/.config/nvim/lua/own/plain.lua", "local token = ask() -- is secret, not\n", 0o644);
        caller.file("home/.vim/plain.vim", "set number \" is secret, not\n", 0o644);
        let each: Vec<_> = files.iter().map(|(below, _)| format!("~/{below}")).collect();
        let plain = "~/.config/nvim/lua/own/plain.lua ~/.vim/plain.vim";
        let script = format!("{READ} read {} {plain}", each.join(" "));
        let seen = caller.shell(&[], &script).ok();
        let leaked: Vec<_> = each.iter().filter(|path| seen.stdout().contains(path.trim_start_matches('~'))).collect();
        assert!(leaked.is_empty(), "as {:?}: {leaked:?}", caller.user);
        // A home that lets no stranger in is empty for root's program.
        if caller.user.is_some() {
            assert_eq!(seen.stdout().lines().count(), 2, "{seen:?}");
        }
    });
}

/// In every spelling, and whether the name is known or not.
#[test]
fn what_variables_lead_to_is_hidden() {
    sandboxed!();
    as_each(|caller| {
        for (name, mode) in
            [("one", 0o644), ("two", 0o644), ("three", 0o644), ("four", 0o600), ("five/six", 0o644), ("seven", 0o644)]
        {
            secret(caller, &format!("vault/{name}"), mode);
        }
        secret(caller, "home/project/here", 0o644);
        secret(caller, "vault/eight/auth.json", 0o600);
        secret(caller, "vault/nine/hosts", 0o600);
        let at = |name: &str| caller.path(&format!("vault/{name}")).to_string_lossy().into_owned();
        let files = ["one", "two", "three", "four", "five/six", "eight/auth.json", "nine/hosts"].map(at).join(" ");
        let mut command = caller.command(&["--", "sh", "-c", &format!("{READ} read here {files} {}", at("seven"))]);
        command.env("NEWTOOL_CREDENTIALS", at("one")).env("SOME_TOKEN_FILE", format!("file://{}", at("two")));
        command.env("DATABASE_URL_PASSFILE", format!("postgres://u@h/d?sslkey={}&x=1", at("three")));
        command
            .env("WHATEVER", at("four"))
            .env("VAULT_DIRS", format!("/nowhere:{}", at("five")))
            .env("API_KEY_FILE", "here");
        command
            .env("SOME_DOCUMENT", at("seven"))
            .env("NEWTOOL_HOME", at("eight"))
            .env("NEWTOOL_CONFIG_DIR", at("nine"));
        command.finish().ok().prints(&format!("READ {}", at("seven")));
    });
}

#[test]
fn well_known_names_are_hidden_anywhere_in_the_tree() {
    sandboxed!();
    as_each(|caller| {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nis secret\n";
        let secrets = [
            ".env",
            ".env.local",
            "a/b/c/d/e/f/g/.env.production",
            "deploy/id_ed25519",
            "infra/terraform.tfstate",
            "y/db.kdbx",
            "conf/credentials.json",
            "conf/secrets.yml",
            "dotfiles/.ssh/config",
            "keys/server.pem",
        ];
        for path in secrets {
            caller.file(&format!("home/project/{path}"), key, 0o644);
            caller.file(&format!("given/{path}"), key, 0o644);
        }
        let kept = [".env.example", "certs/ca.pem", "id_ed25519.pub", "src/token.rs"];
        for path in kept {
            caller.file(&format!("home/project/{path}"), "this is secret, not\n", 0o644);
        }
        // A key to try programs with, as it comes out of a repository.
        caller.file("home/project/tests/server.key", key, 0o644);
        let given = caller.path("given").to_string_lossy().into_owned();
        let all: Vec<String> = secrets.iter().map(|path| format!("{path} {given}/{path}")).collect();
        let script = format!("{READ} read {} {} tests/server.key", all.join(" "), kept.join(" "));
        let shown =
            "READ .env.example\nREAD certs/ca.pem\nREAD id_ed25519.pub\nREAD src/token.rs\nREAD tests/server.key";
        caller.shell(&["--rw", ".", "--ro", &given], &script).ok().prints(shown);
        caller.shell(&["--ro", ".env"], &format!("{READ} read .env .env.local")).ok().prints("READ .env");
    });
}

#[test]
fn what_links_in_hidden_directories_lead_to_is_hidden() {
    sandboxed!();
    as_each(|caller| {
        secret(caller, "home/keys/k", 0o644);
        secret(caller, "home/dotfiles/aws/credentials", 0o644);
        symlink(caller.path("home/keys/k"), caller.path("home/.ssh/work")).expect("a link");
        symlink("../dotfiles/aws", caller.path("home/.docker/aws")).expect("a link");
        fs::hard_link(caller.path("home/.netrc"), caller.path("home/project/copy")).expect("a link");
        fs::hard_link(caller.path("home/.ssh/id_ed25519"), caller.path("home/project/again")).expect("a link");
        let script = format!("{READ} read ~/keys/k ~/dotfiles/aws/credentials copy again; echo done");
        caller.shell(&[], &script).ok().prints("done");
    });
}

/// Binds sockets in all the ways there are, tells when it is ready, and what it was told by whom in the end.
const SERVICE: &str = r#"
import os, socket, sys, ctypes
base = os.fsencode(sys.argv[1])
kept = []
def bind(name, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(name)
    if kind != socket.SOCK_DGRAM: s.listen()
    kept.append(s)
    return name
j = os.path.join
def d(*names):
    path = j(base, *names)
    os.makedirs(path, exist_ok=True)
    return path
places = []
def done(path): os.chmod(path, 0o777); places.append(path)
done(bind(j(d(b'plain'), b'stream')))
done(bind(j(d(b'plain'), b'packets'), socket.SOCK_SEQPACKET))
done(bind(j(d(b'plain'), b'messages'), socket.SOCK_DGRAM))
os.chdir(d(b'relative')); bind(b'here'); done(j(base, b'relative', b'here'))
fd = os.open(d(b'by-descriptor'), os.O_PATH); bind(b'/proc/self/fd/%d/name' % fd); done(j(base, b'by-descriptor', b'name'))
for name in [b'new\nline', b'a blank', b'back\\slash', b'caf\xc3\xa9', b'caf\xe9', b'tab\t', b'@at']: done(bind(j(d(b'bytes'), name)))
bind(j(d(b'renamed'), b'before')); os.rename(j(base, b'renamed', b'before'), j(base, b'renamed', b'after')); done(j(base, b'renamed', b'after'))
bind(j(d(b'linked'), b'first')); os.link(j(base, b'linked', b'first'), j(d(b'linked', b'in'), b'second'))
done(j(base, b'linked', b'first')); done(j(base, b'linked', b'in', b'second'))
bind(j(d(b'master'), b'tmp.123')); os.link(j(base, b'master', b'tmp.123'), j(base, b'master', b'control')); os.unlink(j(base, b'master', b'tmp.123')); done(j(base, b'master', b'control'))
bind(j(d(b'old', b'deep'), b'socket')); os.rename(j(base, b'old'), j(base, b'new')); done(j(base, b'new', b'deep', b'socket'))
bind(j(d(b'from'), b'moved')); os.rename(j(base, b'from', b'moved'), j(d(b'to', b'there'), b'moved')); done(j(base, b'to', b'there', b'moved'))
for late in (b'.git', b'node_modules', b'build'):
    bind(j(base, b'before')); os.rename(j(base, b'before'), j(d(b'late', late, b'a', b'b'), b'socket')); done(j(base, b'late', late, b'a', b'b', b'socket'))
for place in sys.argv[2:]:
    place = os.fsencode(place)
    bind(j(place, b'.s1')); os.rename(j(place, b'.s1'), j(place, b'.s2')); done(j(place, b'.s2'))
os.chdir('/')
with open(j(base, b'places'), 'wb') as file: file.write(b'\0'.join(places))
print('ready', len(places), flush=True)
sys.stdin.read()
"#;

/// Says which of the sockets in a file can be connected to.
const TRY: &str = r#"
import os, socket, sys
places = open(sys.argv[1], 'rb').read().split(b'\0')
if len(sys.argv) > 2: places = [place.replace(os.fsencode(sys.argv[2]), os.fsencode(sys.argv[3])) for place in places]
for place in places:
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        try:
            socket.socket(socket.AF_UNIX, kind).connect(place)
            print('CONNECTED', place)
        except OSError: pass
print('tried', len(places))
"#;

struct Service {
    child: Child,
    count: usize,
}

impl Service {
    /// As the caller, after `before` if that is given.
    fn start(caller: &Caller, before: &[&str], places: &[&Path]) -> Self {
        let mut command = Command::new("setpriv");
        let user = caller.user.unwrap_or(0);
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()]).args(before);
        command.args(["python3", "-c", SERVICE]).arg(caller.directory("service")).args(places);
        command.current_dir("/").env("PATH", "/usr/bin:/bin").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a service");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("ready");
        let count = line.trim().strip_prefix("ready ").and_then(|count| count.parse().ok());
        Self { child, count: count.unwrap_or_else(|| panic!("not ready: {line}")) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// The kernel knows which inode a socket is, whatever it is called.
#[test]
fn sockets_are_hidden_by_what_they_are() {
    sandboxed!();
    as_each(|caller| {
        let (project, home, given) = (caller.path("home/project"), caller.path("home"), caller.directory("given"));
        let service = Service::start(caller, &[], &[&project, &home, &given]);
        assert!(service.count >= 18, "{}", service.count);
        let list = caller.path("service/places").to_string_lossy().into_owned();
        let expected = format!("tried {}", service.count);
        let given = given.to_string_lossy().into_owned();
        caller.run(&["--", "python3", "-c", TRY, &list]).ok().prints(&expected);
        caller.run(&["--rw", ".", "--rw", &given, "--", "python3", "-c", TRY, &list]).ok().prints(&expected);
        // Outside of a sandbox they answer, each in its kind.
        let mut outside = Command::new("python3");
        let seen = outside.args(["-c", TRY, &list]).finish();
        assert_eq!(seen.stdout().matches("CONNECTED").count(), service.count, "{seen:?}");
    });
}

#[test]
fn sockets_of_another_network_are_hidden_by_what_they_are() {
    sandboxed!();
    as_each(|caller| {
        let service = Service::start(caller, &["unshare", "--map-root-user", "--net"], &[&caller.path("home/project")]);
        let list = caller.path("service/places").to_string_lossy().into_owned();
        let expected = format!("tried {}", service.count);
        caller.run(&["--", "python3", "-c", TRY, &list]).ok().prints(&expected);
    });
}

#[test]
fn sockets_are_hidden_at_every_mount_of_theirs() {
    sandboxed!();
    as_each(|caller| {
        let service = Service::start(caller, &[], &[]);
        let again = caller.directory("again");
        let list = caller.path("service/places");
        let paths = [&list, &caller.path("service"), &again].map(|path| path.to_string_lossy().into_owned());
        let [list, from, to] = paths.each_ref().map(String::as_str);
        let words = ["--", "python3", "-c", TRY, list, from, to];
        let seen = in_a_view(caller, "mount --bind \"$0/service\" \"$0/again\"", &words);
        assert_eq!(seen.ok().trimmed(), format!("tried {}", service.count));
    });
}

/// What every sandbox has of its own is the host's nowhere.
#[test]
fn private_directories_are_private_at_other_mounts() {
    sandboxed!();
    as_each(|caller| {
        for place in ["run", "tmp", "shm", "sys", "user", "sys2", "cg", "root"] {
            caller.directory(place);
        }
        let script = "mount -t tmpfs t /run; mount -t tmpfs t /dev/shm; mkdir -p /run/user/7; mount -t tmpfs t /run/user/7; \
            mount -t tmpfs t /tmp; for d in /run /run/user/7 /dev/shm /tmp; do echo 'this is secret' >$d/f; chmod 644 $d/f; chmod 755 $d; done; \
            mount --bind /run \"$0/run\"; mount --bind /run/user/7 \"$0/user\"; mount --bind /dev/shm \"$0/shm\"; \
            mount --bind /tmp \"$0/tmp\"; mount --bind /sys \"$0/sys\"; mount -t sysfs s \"$0/sys2\"; mount --bind / \"$0/root\"";
        let all = caller.path("").to_string_lossy().into_owned();
        let all = all.trim_end_matches('/');
        let inside = format!(
            "{READ} read {all}/run/f {all}/run/user/7/f {all}/user/f {all}/shm/f {all}/tmp/f; ls {all}/sys {all}/sys2 {all}/root/tmp {all}/root/run; echo done"
        );
        for flags in [vec![], vec!["--ro", all]] {
            let words = [flags, vec!["--", "sh", "-c", &inside]].concat();
            let seen = in_a_view(caller, script, &words);
            let said: Vec<_> = seen
                .stdout()
                .lines()
                .filter(|line| !line.is_empty() && !line.ends_with(':'))
                .map(str::to_owned)
                .collect();
            assert_eq!(said, ["done"], "{seen:?}");
        }
        // A working directory in one of them is shown, and nothing beside it.
        let at = caller.path("run/w");
        let inside = format!("{READ} pwd; read ../f");
        let script = format!("{script}; mkdir /run/w; chmod 755 /run/w; cd {}", at.display());
        let seen = in_a_view(caller, &script, &["--", "sh", "-c", &inside]);
        assert_eq!(seen.ok().trimmed(), at.to_string_lossy());
    });
}

#[test]
fn overlays_of_a_home_hide_what_the_home_does() {
    sandboxed!();
    as_each(|caller| {
        for place in ["merged", "upper", "work", "partly", "bound", "odd,na:me\\", "strange"] {
            caller.directory(place);
        }
        secret(caller, "odd,na:me\\/.netrc", 0o600);
        let script = "mount -t tmpfs t \"$0/upper\"; mkdir \"$0/upper/u\" \"$0/upper/w\"; \
            mount -t overlay o -o \"lowerdir=$0/home,upperdir=$0/upper/u,workdir=$0/upper/w\" \"$0/merged\"; \
            mount -t overlay o -o \"lowerdir=$0/home/.ssh:$0/home/project\" \"$0/partly\"; \
            mount --bind \"$0/merged/.ssh\" \"$0/bound\"; cd \"$0\"; mount -t overlay o -o lowerdir=home:upper strange; cd \"$0/home/project\"";
        let all = caller.path("").to_string_lossy().into_owned();
        let all = all.trim_end_matches('/');
        let inside = format!(
            "{READ} read {all}/merged/.netrc {all}/merged/.ssh/id_ed25519 {all}/partly/id_ed25519 {all}/bound/id_ed25519 {all}/strange/.netrc; cat {all}/merged/notes"
        );
        let seen = in_a_view(caller, script, &["--", "sh", "-c", &inside]);
        let notes = if caller.user.is_some() { "notes\n" } else { "" };
        assert_eq!(seen.stdout(), notes, "{seen:?}");
        assert!(seen.stderr().contains("/strange (overlay) may show what is hidden"), "{seen:?}");
    });
}

/// Every hidden thing was compared with every mount, and masked at each.
#[test]
fn many_mounts_cost_little() {
    sandboxed!();
    let caller = Caller::new(None);
    for number in 0..500 {
        caller.directory(&format!("many/{number}"));
    }
    let mounts = "i=0; while [ $i -lt 500 ]; do mount --bind \"$0/home\" \"$0/many/$i\"; i=$((i+1)); done";
    let seen = in_a_view(&caller, mounts, &["--", "sh", "-c", "wc -l </proc/self/mountinfo"]).ok();
    let count: usize = seen.trimmed().parse().expect("a number");
    // The host's own, one more for each, and some.
    assert!((1000..2000).contains(&count), "{count} mounts");
    caller.left_nothing();
}

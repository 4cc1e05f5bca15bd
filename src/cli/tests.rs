//! What callers really send, and what it must mean.
#![forbid(unsafe_code)]

use super::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// Splits at spaces; `''` is an empty argument.
fn words(line: &str) -> Vec<OsString> {
    let word = |word| OsString::from(if word == "''" { "" } else { word });
    std::iter::once(OsString::from("/usr/bin/pent")).chain(line.split_ascii_whitespace().map(word)).collect()
}

fn typed(line: &str) -> Invocation {
    parse(words(line))
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

#[track_caller]
fn accepted(line: &str) -> (Global, Command) {
    let invocation = typed(line);
    (invocation.global, invocation.command.unwrap_or_else(|mistake| panic!("{line}: {mistake}")))
}

#[track_caller]
fn refused(line: &str) -> String {
    match typed(line).command {
        Ok(command) => panic!("{line} was accepted as {command:?}"),
        Err(mistake) => mistake.to_string(),
    }
}

const CONTAINERD: &str = "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json";

fn containerd() -> Global {
    Global {
        root: path("/run/containerd/runc/k8s.io"),
        log: path("/b/log.json"),
        log_format: LogFormat::Json,
        ..Global::default()
    }
}

#[test]
fn clap_finds_the_table_sound() {
    command().debug_assert();
}

#[test]
fn every_long_flag_is_unique_among_words_and_short_ones() {
    // A cluster such as `-it` must never be spelled like a long flag of the same command.
    for mut verb in command().get_subcommands().cloned() {
        verb.build();
        let shorts: Vec<char> = verb.get_arguments().filter_map(clap::Arg::get_short).collect();
        for long in verb.get_arguments().filter_map(clap::Arg::get_long) {
            let switches = |letter| {
                verb.get_arguments()
                    .any(|arg| arg.get_short() == Some(letter) && !arg.get_action().takes_values() && letter != 'h')
            };
            let is_cluster = long.len() > 1 && long.chars().all(|c| shorts.contains(&c) && switches(c));
            assert!(!is_cluster, "{} -{long}", verb.get_name());
        }
    }
}

#[test]
fn containerd_s_shim() {
    let make =
        |bundle: &str, pid_file: &str| Make { bundle: path(bundle), pid_file: path(pid_file), ..Make::default() };
    let id = || "ID".to_owned();
    for (line, want) in [
        (
            "create --bundle /b --pid-file /b/init.pid ID",
            Command::Create(Create { make: make("/b", "/b/init.pid"), id: id() }),
        ),
        (
            "create --bundle /b --pid-file /b/init.pid --console-socket /s --no-pivot --no-new-keyring ID",
            Command::Create(Create {
                make: Make {
                    console_socket: path("/s"),
                    no_pivot: true,
                    no_new_keyring: true,
                    ..make("/b", "/b/init.pid")
                },
                id: id(),
            }),
        ),
        ("start ID", Command::Start(Start { id: id() })),
        (
            "exec --process /tmp/p.json --console-socket /s --detach --pid-file /b/e.pid ID",
            Command::Exec(Exec {
                process: path("/tmp/p.json"),
                console_socket: path("/s"),
                detach: true,
                pid_file: path("/b/e.pid"),
                id: id(),
                ..Exec::default()
            }),
        ),
        ("kill ID 15", Command::Kill(Kill { all: false, id: id(), signal: 15 })),
        ("kill --all ID 9", Command::Kill(Kill { all: true, id: id(), signal: 9 })),
        ("delete ID", Command::Delete(Delete { force: false, regex: false, id: id() })),
        ("delete --force ID", Command::Delete(Delete { force: true, regex: false, id: id() })),
        ("delete --regex ID", Command::Delete(Delete { force: false, regex: true, id: id() })),
        ("pause ID", Command::Pause(Id { id: id() })),
        ("resume ID", Command::Resume(Id { id: id() })),
        ("ps --format json ID", Command::Ps(Ps { format: TableFormat::Json, id: id(), options: vec![] })),
        (
            "update --resources=- ID",
            Command::Update(Box::new(Update { resources: path("-"), id: id(), ..Update::default() })),
        ),
        (
            "update --resources - ID",
            Command::Update(Box::new(Update { resources: path("-"), id: id(), ..Update::default() })),
        ),
        (
            "events --interval=5s ID",
            Command::Events(Events { interval: Duration::from_secs(5), stats: false, id: id() }),
        ),
        ("events --stats ID", Command::Events(Events { interval: Duration::from_secs(5), stats: true, id: id() })),
        ("state ID", Command::State(State { posture: false, id: id() })),
        ("state --posture ID", Command::State(State { posture: true, id: id() })),
        ("list --format json", Command::List(List { format: TableFormat::Json, quiet: false })),
    ] {
        let (global, command) = accepted(&format!("{CONTAINERD} {line}"));
        assert_eq!(command, want, "{line}");
        assert_eq!(global, containerd(), "{line}");
        let (global, _) = accepted(&format!("{CONTAINERD} --systemd-cgroup {line}"));
        assert_eq!(global.cgroup_driver(), CgroupManager::Systemd, "{line}");
    }
    assert_eq!(accepted("features"), (Global::default(), Command::Features));
}

#[test]
fn podman_and_conmon() {
    let (global, command) = accepted(
        "--cgroup-manager cgroupfs --log-format=json --log /p/oci-log create --bundle /p/userdata \
         --pid-file /p/pidfile --console-socket /c/attach --no-new-keyring ctr",
    );
    assert_eq!(global.cgroup_driver(), CgroupManager::Cgroupfs);
    assert_eq!((global.log, global.log_format), (path("/p/oci-log"), LogFormat::Json));
    assert!(matches!(command, Command::Create(create) if create.make.no_new_keyring && create.id == "ctr"));
    let (global, _) = accepted("--cgroup-manager disabled --systemd-cgroup create --bundle /p --pid-file /f ctr");
    assert_eq!(global.cgroup_driver(), CgroupManager::Disabled);
    let (_, command) = accepted("exec --pid-file /f --process /e/p --detach --preserve-fds 2 --cgroup /x ctr");
    let Command::Exec(exec) = command else { panic!("{command:?}") };
    assert_eq!((exec.preserve_fds, exec.cgroup), (2, vec!["/x".to_owned()]));
    for line in ["start ctr", "kill ctr 9", "kill --all ctr 9", "delete --force ctr", "--rootless=auto state ctr"] {
        accepted(line);
    }
}

#[test]
fn go_s_style_of_flags() {
    let run = |line: &str| match accepted(line).1 {
        Command::Run(run) => run,
        other => panic!("{line}: {other:?}"),
    };
    let want = Run {
        make: Make { bundle: path("B"), preserve_fds: 3, ..Make::default() },
        detach: true,
        no_subreaper: true,
        report: None,
        keep: false,
        id: "ID".into(),
    };
    for line in [
        "run -no-subreaper --bundle B --detach --preserve-fds 3 ID",
        "run -no-subreaper=true -bundle B -detach -preserve-fds=3 ID",
        "run --no-subreaper=T -b B -d --preserve-fds=3 ID",
        "run ID --no-subreaper=1 -b=B -d=true --preserve-fds=3",
        "run --no-subreaper -dbB ID --preserve-fds 3",
        "run --no-subreaper -db B --preserve-fds 3 ID",
        "run --no-subreaper --d --b B --preserve-fds 3 -- ID",
        "run --keep --keep=false --no-subreaper=0 --no-subreaper -b X -b B -d --preserve-fds 3 ID",
        "run --keep --no-subreaper -b B -d --preserve-fds 3 -keep=FALSE ID",
    ] {
        assert_eq!(run(line), want, "{line}");
    }
    // A flag whose value only `=` gives.
    for (line, report) in [("run --report ID", "-"), ("run -report ID", "-"), ("run ID --report=r.json", "r.json")] {
        let given = run(line);
        assert_eq!((given.report, given.id.as_str()), (path(report), "ID"), "{line}");
    }
    let (global, command) =
        accepted("-debug -root=/r --rootless=false --systemd-cgroup=false -log-format json state x");
    assert!(global.debug && !global.systemd_cgroup);
    assert_eq!((global.root, global.rootless, global.log_format), (path("/r"), Rootless::No, LogFormat::Json));
    assert_eq!(command, Command::State(State { posture: false, id: "x".into() }));
    for (text, want) in [("true", Rootless::Yes), ("1", Rootless::Yes), ("F", Rootless::No), ("auto", Rootless::Auto)] {
        assert_eq!(accepted(&format!("--rootless {text} state x")).0.rootless, want);
    }
}

#[test]
fn values_look_like_anything() {
    let (_, command) =
        accepted("update ID --memory -1 --cpu-quota -1 --memory-swap=512M --cpuset-cpus 0-1 --pids-limit -1");
    let want = Update {
        memory: Some(-1),
        cpu_quota: Some(-1),
        memory_swap: Some(512 << 20),
        cpuset_cpus: Some("0-1".into()),
        pids_limit: Some(-1),
        id: "ID".into(),
        ..Update::default()
    };
    assert_eq!(command, Command::Update(Box::new(want)));
    let (_, command) = accepted("create --pid-file --bundle ID");
    assert!(matches!(command, Command::Create(c) if c.make.pid_file == path("--bundle") && c.make.bundle.is_none()));
    let (_, command) = accepted("create -- --bundle");
    assert!(matches!(command, Command::Create(c) if c.id == "--bundle"));
}

/// As with runc, for whose callers an empty path is none.
#[test]
fn an_empty_path_is_none() {
    let (global, command) =
        accepted("--log '' create --bundle= --pid-file /f --pid-file '' --console-socket '' --pidfd-socket= ID");
    assert_eq!(global.log, None);
    assert_eq!(command, Command::Create(Create { make: Make::default(), id: "ID".into() }));
    let (_, command) = accepted("exec --process= --cwd '' --console-socket= --pid-file= ID true");
    let want = Exec { id: "ID".into(), command: vec!["true".into()], ..Exec::default() };
    assert_eq!(command, Command::Exec(want));
    // There it is the directory that runc happens to be in.
    assert!(refused("--root '' state ID").contains("root"));
}

#[test]
fn exec_and_ps_stop_at_the_id() {
    let command = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
    let want = Exec {
        tty: true,
        detach: true,
        user: Some(User { uid: 1000, gid: Some(100) }),
        env: command(&["A=1", "B=2"]),
        additional_gids: vec![7, 8],
        cap: vec!["CAP_KILL".into()],
        cwd: path("/"),
        pid_file: path("f"),
        id: "ID".into(),
        command: command(&["ls", "-l", "--tty=x", "--", "-u"]),
        ..Exec::default()
    };
    // runc's exec has no -i; docker's habit of typing -it is refused, as runc refuses it.
    assert!(refused("exec -it ID ls").contains("-it"));
    let (_, typed) = accepted(
        "exec -td -u 1000:100 -e A=1 --env B=2 -g 7 -g 8 -c CAP_KILL --cwd / -pid-file f ID ls -l --tty=x -- -u",
    );
    assert_eq!(typed, Command::Exec(want));
    let (_, typed) = accepted("ps ID -e -x -f json");
    let want = Ps { format: TableFormat::Table, id: "ID".into(), options: command(&["-e", "-x", "-f", "json"]) };
    assert_eq!(typed, Command::Ps(want));
    let (_, typed) = accepted("exec ID ls --help");
    assert!(matches!(typed, Command::Exec(exec) if exec.command == command(&["ls", "--help"])));
}

#[test]
fn update_s_flags_are_runc_s() {
    let (_, command) = accepted(
        "update --blkio-weight 10 --cpu-period 1 --cpu-quota 2 --cpu-burst 3 --cpu-share 4 --cpu-rt-period 5 \
         --cpu-rt-runtime 6 --cpu-idle 1 --cpuset-cpus 0 --cpuset-mems 0 --memory 1k --memory-reservation 2K \
         --memory-swap 3kb --kernel-memory 1 --kernel-memory-tcp 2 --pids-limit 9 --l3-cache-schema a --mem-bw-schema b ID",
    );
    let want = Update {
        resources: None,
        blkio_weight: Some(10),
        cpu_period: Some(1),
        cpu_quota: Some(2),
        cpu_burst: Some(3),
        cpu_share: Some(4),
        cpu_rt_period: Some(5),
        cpu_rt_runtime: Some(6),
        cpu_idle: Some(1),
        cpuset_cpus: Some("0".into()),
        cpuset_mems: Some("0".into()),
        memory: Some(1024),
        memory_reservation: Some(2048),
        memory_swap: Some(3072),
        kernel_memory: Some(1),
        kernel_memory_tcp: Some(2),
        pids_limit: Some(9),
        l3_cache_schema: Some("a".into()),
        mem_bw_schema: Some("b".into()),
        id: "ID".into(),
    };
    assert_eq!(command, Command::Update(Box::new(want)));
}

#[test]
fn help_and_version_at_every_level() {
    let text = |line: &str| match accepted(line).1 {
        Command::Help(text) => text,
        other => panic!("{line}: {other:?}"),
    };
    let all = text("--help");
    for line in ["", "-h", "help", "h", "-help", "--debug -h", "--version=false"] {
        assert_eq!(text(line), all, "{line}");
    }
    for verb in command().get_subcommands() {
        let name = verb.get_name();
        assert!(all.lines().any(|line| line.split_ascii_whitespace().next() == Some(name)), "{name}");
        let one = text(&format!("{name} -h"));
        assert!(one.lines().any(|line| line.starts_with(&format!("Usage: pent {name}"))), "{one}");
        for line in [format!("{name} --help"), format!("help {name}"), format!("{name} -help"), format!("-h {name}")] {
            let want = if line.starts_with("-h") { &all } else { &one };
            assert_eq!(&text(&line), want, "{line}");
        }
    }
    for line in ["--version", "-v", "-version", "version", "--root /x -v", "-v state x"] {
        assert_eq!(accepted(line).1, Command::Version, "{line}");
    }
}

#[test]
fn mistakes() {
    for (line, want) in [
        ("foo", "No help topic for 'foo'"),
        ("foo -h", "No help topic for 'foo'"),
        ("help foo", "No help topic for 'foo'"),
        ("checkpoint", "\"checkpoint\" requires exactly 1 argument(s)"),
        ("restore a b", "\"restore\" requires exactly 1 argument(s)"),
        ("--foo state x", "flag provided but not defined: -foo"),
        ("-foo=1 state x", "flag provided but not defined: -foo"),
        ("create --force x", "flag provided but not defined: -force"),
        ("run -dx x", "flag provided but not defined: -dx"),
        ("create --bundle", "flag needs an argument: -bundle"),
        ("create -b", "flag needs an argument: -bundle"),
        ("run -db", "flag needs an argument: -bundle"),
        ("run --detach=maybe x", "invalid value \"maybe\" for flag -detach: want true or false"),
        ("--rootless=maybe state x", "invalid value \"maybe\" for flag -rootless: want true, false or auto"),
        ("--log-format xml state x", "invalid value \"xml\" for flag -log-format: want text or json"),
        ("list -f yaml", "invalid value \"yaml\" for flag -format: want table or json"),
        ("create", "\"create\" requires exactly 1 argument(s)"),
        ("state a b", "\"state\" requires exactly 1 argument(s)"),
        ("features x", "\"features\" requires exactly 0 argument(s)"),
        ("kill", "\"kill\" requires a minimum of 1 argument(s)"),
        ("kill a 9 9", "\"kill\" requires a maximum of 2 argument(s)"),
        ("exec", "\"exec\" requires a minimum of 1 argument(s)"),
        ("exec x", "exec: process args cannot be empty"),
        ("kill x FOO", "unknown signal \"FOO\""),
        ("kill x -9", "flag provided but not defined: -9"),
        ("events --interval 0s x", "invalid value \"0s\" for flag -interval: duration interval must be greater than 0"),
        ("exec -u root x ls", "invalid value \"root\" for flag -user: \"root\" is not a decimal id"),
        ("create --preserve-fds -1 x", "invalid value \"-1\" for flag -preserve-fds: -1 is not in 0..=4294967295"),
        ("update --memory 1x x", "invalid value \"1x\" for flag -memory: invalid size: \"1x\""),
    ] {
        assert_eq!(refused(line), want, "{line}");
    }
    assert_eq!(typed("exec --bad x").failure_code, 255);
    assert_eq!(typed("exec x ls").failure_code, 255);
    assert_eq!(typed("create --bad x").failure_code, 1);
    assert_eq!(typed("--bad exec x ls").failure_code, 1);
    let hint = |line: &str| typed(line).command.unwrap_err().hint().unwrap();
    assert_eq!(hint("craete"), "did you mean create?");
    assert_eq!(hint("thaw"), "`pent --help` lists the commands");
}

#[test]
fn a_mistake_after_the_verb_is_reported_where_the_globals_say() {
    for line in ["create --bad x", "foo", "create", "exec x", "kill x FOO", "help foo"] {
        let invocation = typed(&format!("{CONTAINERD} {line}"));
        assert!(invocation.command.is_err(), "{line}");
        assert_eq!(invocation.global, containerd(), "{line}");
    }
}

#[test]
fn arguments_are_bytes() {
    let odd = OsStr::from_bytes(b"/b\xff");
    let argv = |tail: &[&OsStr]| {
        std::iter::once(OsString::from("pent")).chain(tail.iter().map(|word| (*word).to_owned())).collect::<Vec<_>>()
    };
    let create = [OsStr::new("create"), OsStr::new("-bundle"), odd, OsStr::new("x")];
    let Ok(Command::Create(create)) = parse(argv(&create)).command else { panic!() };
    assert_eq!(create.make.bundle, Some(PathBuf::from(odd)));
    let exec = [OsStr::new("exec"), OsStr::new("x"), OsStr::new("cat"), odd];
    let Ok(Command::Exec(exec)) = parse(argv(&exec)).command else { panic!() };
    assert_eq!(exec.command[1], odd);
    let dashed = OsStr::from_bytes(b"-\xff=\xff");
    for tail in [
        vec![odd],
        vec![dashed],
        vec![OsStr::new("help"), odd],
        vec![OsStr::new("state"), odd],
        vec![OsStr::new("state"), dashed],
        vec![OsStr::new("kill"), OsStr::new("x"), odd],
        vec![OsStr::new("--log-format"), odd, OsStr::new("list")],
    ] {
        assert!(parse(argv(&tail)).command.is_err(), "{tail:?}");
    }
    assert!(parse(Vec::<OsString>::new()).command.is_ok());
}

/// Help, manual pages and completions are made of these.
#[test]
fn everything_that_can_be_typed_is_explained() {
    let mut root = super::command();
    root.build();
    let mut places = vec![root.clone()];
    places.extend(root.get_subcommands().cloned());
    for command in places {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        // Of a sentence about what it does, not the name of a type.
        assert!(about.starts_with(char::is_uppercase), "{}: {about:?}", command.get_name());
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "{} {}: no help", command.get_name(), arg.get_id());
        }
    }
}

#[test]
fn a_program_called_as_for_a_profile_never_runs_without_one() {
    let of = |name: &[u8]| parse([OsString::from_vec(name.to_vec()), "list".into()]).global.profile;
    for (name, profile) in [
        ("pent-restricted", "restricted"),
        ("/usr/bin/pent-restricted", "restricted"),
        ("./pent-restricted/", "restricted"),
        ("pent-restricted/.", "restricted"),
        ("pent-", ""),
        ("/usr/bin/pent-", ""),
        ("pent-../x", ".."),
        ("/opt/pent-../../bin/x", ".."),
        ("pent-/x", ""),
    ] {
        assert_eq!(of(name.as_bytes()).as_deref(), Some(profile), "{name}");
    }
    assert_eq!(of(b"pent-\xff").as_deref(), Some("\u{fffd}"));
    for name in ["pent", "/opt/pent-0.1.0/pent", "pent-src/target/debug/pent", "runc", "/", ""] {
        assert_eq!(of(name.as_bytes()), None, "{name}");
    }
    let typed = parse(["pent-".into(), "--profile".into(), "baseline".into(), OsString::from("list")]);
    assert_eq!(typed.global.profile.as_deref(), Some("baseline"), "what is typed comes first");
}

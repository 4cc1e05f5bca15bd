//! Configurations of sandboxes for known hosts: snapshots, and what holds for all of them.
#![forbid(unsafe_code)]

use super::hidden::{Hidden, parse_mounts};
use super::*;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
24 22 254:16 / /data rw - ext4 /dev/vdb rw
25 22 254:16 /homes /home rw - ext4 /dev/vdb rw
26 22 0:60 / /net rw - nfs4 server:/ rw
";

fn ann() -> Surroundings {
    let hidden = |path: &str, directory| Hidden { path: path.into(), directory };
    let set = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    Surroundings {
        name: "box".into(),
        known: hidden::Known::default(),
        uid: 1000,
        gid: 1000,
        is_root: false,
        directory: "/home/ann/project".into(),
        home: Some("/home/ann".into()),
        own_homes: vec!["/home/ann".into()],
        environment: vec![
            set("PATH", "/usr/bin:/bin"),
            set("HOME", "/home/ann"),
            set("LANG", "C.UTF-8"),
            set("LC_TIME", "de_DE.UTF-8"),
            set("AWS_SECRET_ACCESS_KEY", "secret"),
            set("SSH_AUTH_SOCK", "/run/user/1000/agent"),
        ],
        hidden: vec![hidden("/etc/shadow", false), hidden("/home/ann/.netrc", false), hidden("/home/ann/.ssh", true)],
        own: Vec::new(),
        other_homes: vec!["/home/bob".into(), "/root".into()],
        closed: Vec::new(),
        mounts: parse_mounts(MOUNTS.as_bytes()),
        resolv_conf: Some("/run/systemd/resolve/stub-resolv.conf".into()),
        run_directories: Vec::new(),
        private: surroundings::PRIVATE.iter().map(PathBuf::from).collect(),
        private_links: Vec::new(),
        time_namespaces: true,
        terminal: false,
        processors: 8,
    }
}

fn root() -> Surroundings {
    let hidden = |path: &str, directory| Hidden { path: path.into(), directory };
    Surroundings {
        uid: 0,
        gid: 0,
        is_root: true,
        directory: "/srv/private/app".into(),
        home: Some("/root".into()),
        own_homes: vec!["/root".into()],
        hidden: vec![hidden("/etc/shadow", false), hidden("/root/.ssh", true), hidden("/home/ann/.ssh", true)],
        other_homes: vec!["/home/ann".into()],
        closed: ["/root", "/srv/private"].map(|path| Closed { path: path.into(), of_root: true }).into(),
        ..ann()
    }
}

fn run(command: &[&str]) -> Request {
    Request { command: command.iter().map(OsString::from).collect(), ..Request::default() }
}

fn grant(path: &str, writable: bool) -> Grant {
    Grant { source: path.into(), target: path.into(), target_exists: true, writable, directory: true }
}

fn tmpfs(path: &str) -> Tmpfs {
    Tmpfs { target: path.into(), target_exists: true, size: None, mode: None, exec: false }
}

fn spec(request: &Request, host: &Surroundings) -> Spec {
    compile(request, host).expect("a sandbox").spec
}

/// Where each mount is and what it is, in order; then what is masked.
fn view(request: &Request, host: &Surroundings) -> String {
    let spec = spec(request, host);
    let mounts = spec.mounts().iter().flatten().map(|mount| {
        let what = match mount.typ().as_deref() {
            Some("bind") => format!("from {}", mount.source().as_deref().unwrap_or(Path::new("?")).display()),
            Some(kind) => kind.to_owned(),
            None => "change".to_owned(),
        };
        let mapped = if mount.uid_mappings().is_some() { " mapped" } else { "" };
        let options = mount.options().iter().flatten().map(String::as_str).collect::<Vec<_>>().join(",");
        format!("{} {what}{mapped} {options}\n", mount.destination().display())
    });
    let masked = spec.linux().as_ref().and_then(|linux| linux.masked_paths().clone()).unwrap_or_default();
    let masked = masked.iter().filter(|path| !path.starts_with("/proc")).map(|path| format!("{path} masked\n"));
    mounts.chain(masked).collect()
}

fn refused(request: &Request, host: &Surroundings) -> String {
    let refusals = compile(request, host).expect_err("a refusal");
    refusals.iter().map(|refusal| format!("{}\n  {}\n", refusal.message, refusal.hint)).collect()
}

#[test]
fn no_flags_for_an_ordinary_user() {
    let mut spec = serde_json::to_value(spec(&run(&["./x"]), &ann())).expect("JSON");
    let rules = spec["linux"]["seccomp"]["syscalls"].take();
    let fences: usize = Fence::ALL.iter().map(|fence| fence.rules().len()).sum();
    assert_eq!(rules.as_array().map(Vec::len), Some(fences), "{rules}");
    insta::assert_json_snapshot!(spec);
}

#[test]
fn no_flags_for_root() {
    insta::assert_snapshot!(view(&run(&["./x"]), &root()));
    let spec = spec(&run(&["./x"]), &root());
    let user = spec.process().as_ref().expect("a process").user();
    assert_eq!((user.uid(), user.gid()), (65_534, 65_534));
}

#[test]
fn order_is_by_depth_and_not_by_flags() {
    let request = Request {
        grants: vec![grant("/home/ann/project/cache/keep", false), grant("/home/ann/project", true)],
        tmpfs: vec![tmpfs("/home/ann/project/cache"), tmpfs("/var/cache")],
        ..run(&["./x"])
    };
    insta::assert_snapshot!(view(&request, &ann()));
}

#[test]
fn homes_in_memory_and_none_keep_the_working_directory() {
    for home in [Home::Tmpfs, Home::Absent] {
        let seen = view(&Request { home, ..run(&["sh", "script.sh"]) }, &ann());
        assert!(seen.contains("/home/ann tmpfs "), "{seen}");
        assert!(
            seen.contains(
                "/home/ann/project from /home/ann/project rbind,rprivate,nosuid,rnosuid,nodev,rnodev,ro,rro\n"
            ),
            "{seen}"
        );
        assert_eq!(seen.contains("/home/ann change remount,ro"), home == Home::Absent, "{seen}");
        // In the home itself there is nothing to keep.
        let at_home = Surroundings { directory: "/home/ann".into(), ..ann() };
        assert!(!view(&Request { home, ..run(&["true"]) }, &at_home).contains("from /home/ann"));
    }
}

#[test]
fn what_is_named_is_shown_and_nothing_beside_it() {
    let exactly = Request { grants: vec![grant("/home/ann/.ssh", false)], ..run(&["true"]) };
    let seen = view(&exactly, &ann());
    assert!(!seen.contains("/home/ann/.ssh masked"), "{seen}");
    assert!(seen.contains("/data/homes/ann/.ssh masked"), "the same files elsewhere: {seen}");
    let inside = Request { grants: vec![grant("/home/bob/public", false)], ..run(&["true"]) };
    let seen = view(&inside, &ann());
    assert!(seen.contains("/home/bob tmpfs") && seen.contains("/home/bob change remount,ro"), "{seen}");
    assert!(!seen.contains("/home/bob masked"), "{seen}");
    let above = Request { grants: vec![grant("/home/ann", true)], ..run(&["true"]) };
    assert!(view(&above, &ann()).contains("/home/ann/.ssh masked"));
    // Above a home, other people's stay hidden.
    let homes = Request { grants: vec![grant("/home", true)], ..run(&["true"]) };
    let seen = view(&homes, &ann());
    assert!(seen.contains("/home/bob masked") && seen.contains("/home/ann/.ssh masked"), "{seen}");
    let renamed = Grant { target: "/mnt".into(), ..grant("/home/ann", false) };
    let renamed = Request { grants: vec![renamed], ..run(&["true"]) };
    assert!(view(&renamed, &ann()).contains("/mnt/.ssh masked"));
}

#[test]
fn root_reads_through_mapped_mounts_where_the_file_system_can() {
    let request = Request { grants: vec![grant("/net/share", true)], ..run(&["true"]) };
    let sandbox = compile(&request, &root()).expect("a sandbox");
    assert_eq!(sandbox.notes.len(), 2, "{:?}", sandbox.notes);
    assert!(sandbox.notes[1].contains("/net/share: on nfs4"), "{:?}", sandbox.notes);
    assert!(!view(&request, &root()).contains("/net/share from /net/share mapped"));
    let typed = Request { grants: vec![grant("/root", false)], ..run(&["true"]) };
    assert!(view(&typed, &root()).contains("/root from /root mapped"));
}

#[test]
fn the_network_is_the_hosts_only_when_asked() {
    let has_network = |request: &Request| {
        let spec = spec(request, &ann());
        let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone()).unwrap_or_default();
        namespaces.iter().any(|namespace| namespace.typ() == oci_spec::runtime::LinuxNamespaceType::Network)
    };
    assert!(has_network(&run(&["true"])));
    assert!(!has_network(&Request { network: Network::Host, ..run(&["true"]) }));
}

#[test]
fn what_cannot_be_had_is_said_with_what_to_do() {
    let nowhere = Tmpfs { target_exists: false, ..tmpfs("/opt/cache") };
    let variable = (OsString::from("TOKEN"), None);
    let request = Request { tmpfs: vec![nowhere], environment: vec![variable], ..run(&["true"]) };
    insta::assert_snapshot!(refused(&request, &ann()));
    let in_secrets = Surroundings { directory: "/home/ann/.ssh/keys".into(), ..ann() };
    insta::assert_snapshot!(refused(&run(&["true"]), &in_secrets));
    // In memory, mount points can be made.
    let in_memory = Tmpfs { target_exists: false, ..tmpfs("/tmp/cache") };
    view(&Request { tmpfs: vec![in_memory], ..run(&["true"]) }, &ann());
}

/// The grant would have taken the place of the directory in memory without a word.
#[test]
fn one_place_is_the_hosts_or_in_memory() {
    let request =
        |path: &str| Request { grants: vec![grant("/srv/data", false)], tmpfs: vec![tmpfs(path)], ..run(&["true"]) };
    assert_eq!(
        refused(&request("/srv/data"), &ann()),
        "--ro and --tmpfs are both for /srv/data\n  leave out one of them, or have it writable as it is: --rw /srv/data\n"
    );
    view(&request("/srv/data/cache"), &ann());
    // The home is there without being asked for.
    let home = Request { tmpfs: vec![tmpfs("/root")], ..run(&["true"]) };
    assert!(view(&home, &root()).contains("/root tmpfs "));
}

#[test]
fn options_of_one_directory_in_memory_add_up() {
    let asked = |size, exec| Tmpfs { size, exec, ..tmpfs("/tmp") };
    let merged = Tmpfs::merged(vec![asked(Some(1 << 20), false), tmpfs("/run"), asked(None, true)]);
    assert_eq!(merged, [asked(Some(1 << 20), true), tmpfs("/run")]);
    assert_eq!(Tmpfs::merged(vec![asked(Some(1), false), asked(Some(2), false)]), [asked(Some(2), false)]);
}

#[test]
fn root_of_a_user_namespace_is_called_otherwise() {
    let contained = Surroundings { is_root: false, ..root() };
    let spec = spec(&run(&["true"]), &contained);
    let mappings = spec.linux().as_ref().and_then(|linux| linux.uid_mappings().clone()).expect("mappings");
    assert_eq!((mappings[0].container_id(), mappings[0].host_id(), mappings[0].size()), (65_534, 0, 1));
}

/// Every configuration is one that `validate` and the planner take, whoever the caller is.
#[test]
fn the_configuration_is_valid() {
    for host in [ann(), root()] {
        let spec = spec(&run(&["true"]), &host);
        let text = serde_json::to_vec(&spec).expect("JSON");
        let loaded = crate::spec::parse(&text).expect("a configuration");
        assert_eq!(loaded.warnings, []);
        let context = crate::spec::Context { needs_process: true, rootless: !host.is_root };
        assert_eq!(crate::spec::validate(&loaded.spec, &context), []);
    }
}

#[test]
fn a_home_that_is_not_root_s_is_only_the_way_to_what_is_in_it() {
    let home = Closed { path: "/home/ann".into(), of_root: false };
    let host = Surroundings {
        home: Some("/home/ann".into()),
        directory: "/home/ann/project".into(),
        other_homes: Vec::new(),
        closed: vec![home],
        ..root()
    };
    let seen = view(&run(&["./x"]), &host);
    assert!(seen.contains("/home/ann tmpfs") && seen.contains("/home/ann change remount,ro"), "{seen}");
    assert!(seen.contains("/home/ann/project from /home/ann/project rbind"), "{seen}");
    assert!(!seen.contains(" mapped") && !seen.contains("from /home/ann "), "{seen}");
}

/// `cd /etc; pent sandbox -- ./x` is not to read what only root may.
#[test]
fn root_s_files_are_mapped_only_where_that_was_typed() {
    let at = |directory: &str, closed: &[&str]| Surroundings {
        directory: directory.into(),
        closed: closed.iter().map(|path| Closed { path: path.into(), of_root: true }).collect(),
        ..root()
    };
    let notes = |host: &Surroundings, request: &Request| compile(request, host).expect("a sandbox").notes;
    // Everybody may look into it, as they may.
    let open = at("/etc", &["/root"]);
    let seen = view(&run(&["./x"]), &open);
    assert!(seen.contains("/etc from /etc rbind") && !seen.contains(" mapped"), "{seen}");
    assert_eq!(notes(&open, &run(&["./x"])), Vec::<String>::new());
    // Nobody may.
    let closed = at("/srv/private", &["/root", "/srv/private"]);
    let seen = view(&run(&["./x"]), &closed);
    assert!(seen.contains("/srv/private tmpfs") && !seen.contains("from /srv"), "{seen}");
    assert!(seen.contains("/root tmpfs") && seen.contains("/root change remount,ro"), "{seen}");
    assert!(notes(&closed, &run(&["./x"]))[0].contains("/srv/private is closed to others"));
    // What is typed is mapped, and nothing beside it.
    let typed = Request { grants: vec![grant("/srv/private", false)], ..run(&["./x"]) };
    let seen = view(&typed, &closed);
    assert!(seen.contains("/srv/private from /srv/private mapped") && seen.contains("/root tmpfs"), "{seen}");
    assert_eq!(notes(&closed, &typed), Vec::<String>::new());
}

/// Whatever is called a home, the private directories are nobody else's.
#[test]
fn private_directories_stay_private_whatever_home_is() {
    let home = |path: &str, home: Home| {
        let host = Surroundings { home: Some(path.into()), directory: "/srv".into(), ..ann() };
        let request = Request { home, ..run(&["true"]) };
        let spec = spec(&request, &host);
        let environment = spec.process().as_ref().and_then(|process| process.env().clone()).unwrap_or_default();
        let variable = environment.iter().find_map(|variable| variable.strip_prefix("HOME=")).map(str::to_owned);
        (view(&request, &host), variable.expect("a home"))
    };
    for how in [Home::Readonly, Home::Tmpfs, Home::Absent] {
        for (path, variable) in [
            ("/tmp", "/tmp"),
            ("/var/tmp", "/var/tmp"),
            ("/run", "/run"),
            ("/proc", "/tmp"),
            ("/proc/1", "/tmp"),
            ("/dev", "/tmp"),
            ("/dev/shm", "/tmp"),
            ("/sys/fs", "/tmp"),
        ] {
            let (seen, said) = home(path, how);
            assert!(!seen.contains(&format!("{path} from")), "{path}: {seen}");
            assert_eq!(said, variable, "{path}");
            assert!(seen.contains("/proc proc") && seen.contains("/tmp tmpfs nosuid,nodev,noexec,mode=1777"), "{seen}");
        }
    }
    assert_eq!(home("/run/user/1000", Home::Readonly).1, "/tmp");
    let (seen, said) = home("/tmp/home", Home::Readonly);
    assert!(seen.contains("/tmp/home from /tmp/home") && said == "/tmp/home", "{seen}");
}

/// No byte that a path can have is lost or refused, and none of them is another's.
#[test]
fn bytes_are_spelled() {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let caf = PathBuf::from(bytes(b"/srv/caf\xe9"));
    let host = Surroundings {
        directory: caf.join("project"),
        home: Some(PathBuf::from(bytes(b"/home/zo\xeb"))),
        hidden: vec![Hidden { path: PathBuf::from(bytes(b"/home/zo\xeb/.ssh")), directory: true }],
        environment: vec![("TOKEN".into(), bytes(b"\xff"))],
        ..ann()
    };
    let grant =
        Grant { source: caf.clone(), target: caf.clone(), target_exists: true, writable: true, directory: true };
    let request = Request {
        command: vec!["echo".into(), bytes(b"\xe9"), "\u{10ffe9}".into()],
        environment: vec![("TOKEN".into(), None)],
        grants: vec![grant],
        ..Request::default()
    };
    let seen = view(&request, &host);
    assert!(seen.contains("/home/zo\u{10ffeb}/.ssh masked"), "{seen}");
    assert!(seen.contains("/srv/caf\u{10ffe9} from /srv/caf\u{10ffe9} "), "{seen}");
    let spec = spec(&request, &host);
    let process = spec.process().as_ref().expect("a process");
    let args = process.args().clone().expect("arguments");
    let back: Vec<_> = args.iter().map(|word| crate::spelling::unspell(word.as_bytes())).collect();
    assert_eq!(back, [b"echo".to_vec(), b"\xe9".to_vec(), "\u{10ffe9}".as_bytes().to_vec()]);
    let environment = process.env().clone().expect("an environment");
    assert!(environment.contains(&"TOKEN=\u{10ffff}".to_owned()), "{environment:?}");
    assert!(environment.contains(&"HOME=/home/zo\u{10ffeb}".to_owned()), "{environment:?}");
}

/// A directory of the host that is a root does not show what is hidden on the host.
#[test]
fn what_is_hidden_is_hidden_in_an_image_too() {
    let host = Surroundings {
        hidden: vec![
            Hidden { path: "/srv/etc/keys".into(), directory: true },
            Hidden { path: "/srv/token".into(), directory: false },
        ],
        ..ann()
    };
    let rootfs = Rootfs { path: "/srv".into(), ..image() };
    let inside = Grant { target: "/etc/keys/mine".into(), ..grant("/opt/mine", false) };
    let request = Request { rootfs: Some(rootfs.clone()), ..run(&["./x"]) };
    let seen = view(&request, &host);
    assert!(seen.contains("/etc/keys masked") && seen.contains("/token masked"), "{seen}");
    let seen = view(&Request { grants: vec![inside], ..request }, &host);
    assert!(seen.contains("/etc/keys tmpfs") && !seen.contains("/etc/keys masked"), "{seen}");
}

fn image() -> Rootfs {
    Rootfs {
        unpacked: None,
        path: "/home/ann/.cache/pent/images/1/root".into(),
        user: (999, 50),
        environment: vec![("PATH".into(), "/opt/bin".into()), ("HOME".into(), "/home/app".into())],
        directory: "/srv".into(),
        home: Some("/home/app".into()),
        private: ["/proc", "/dev", "/run", "/tmp"].map(PathBuf::from).into(),
        resolv_conf: true,
    }
}

#[test]
fn an_image_has_nothing_of_the_host_but_what_is_given() {
    let inside = Grant { target: "/data".into(), ..grant("/home/ann", true) };
    let request = Request { rootfs: Some(image()), grants: vec![inside], network: Network::Host, ..run(&["./x"]) };
    insta::assert_snapshot!(view(&request, &ann()));
    let spec = spec(&request, &ann());
    let process = spec.process().as_ref().expect("a process");
    assert_eq!((process.user().uid(), process.user().gid()), (999, 50));
    assert_eq!(process.cwd(), Path::new("/srv"));
    let environment = process.env().clone().expect("an environment").join(" ");
    assert_eq!(environment, "HOME=/home/app PATH=/opt/bin container=pent");
    let mapping = spec.linux().as_ref().and_then(|linux| linux.uid_mappings().clone()).expect("a mapping");
    assert_eq!((mapping[0].container_id(), mapping[0].host_id(), mapping[0].size()), (999, 1000, 1));
    assert_eq!(spec.root().as_ref().map(|root| root.path().clone()), Some(image().path));
}

#[test]
fn an_image_without_mount_points_is_refused() {
    let rootfs = Rootfs { private: vec!["/tmp".into()], ..image() };
    let missing = Grant { target_exists: false, ..grant("/home/ann/project", false) };
    let request = Request { rootfs: Some(rootfs), grants: vec![missing], ..run(&["./x"]) };
    insta::assert_snapshot!(refused(&request, &ann()));
}

/// Ann, with places of pent's own.
fn with_own() -> Surroundings {
    let place = |path: &str, keeps, believed| own::Place { keeps, believed, ..own::Place::report(path.into()) };
    Surroundings {
        own: vec![
            place("/etc/pent", own::Keeps::Configuration, true),
            place("/home/ann/.cache/x/pent", own::Keeps::Cache, true),
            place("/tmp/pent-1000", own::Keeps::State, true),
            place("/tmp/pent-1001", own::Keeps::State, false),
        ],
        ..ann()
    }
}

#[test]
fn what_is_pent_s_own_is_masked_wherever_it_is_seen() {
    let lines = |request: &Request, host: &Surroundings| {
        let view = view(request, host);
        let of_own = view.lines().filter(|line| line.contains("pent") || line.contains("/.cache"));
        of_own.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    let with = |grants: Vec<Grant>| Request { grants, ..run(&["./x"]) };
    let elsewhere = |path: &str, target: &str| Grant { target: target.into(), ..grant(path, true) };
    let seen = [
        with(Vec::new()),
        with(vec![grant("/home/ann", true)]),
        with(vec![grant("/data", true), grant("/tmp", false)]),
        with(vec![elsewhere("/tmp", "/mnt"), elsewhere("/home/ann/.cache", "/srv/c")]),
        with(vec![grant("/home/ann", true), grant("/home/ann/.cache", false)]),
        Request { rootfs: Some(Rootfs { path: "/home".into(), ..image() }), ..with(vec![grant("/tmp", true)]) },
    ];
    insta::assert_snapshot!(seen.map(|request| lines(&request, &with_own())).join("\n\n"));
}

#[test]
fn what_is_pent_s_own_is_not_to_be_had() {
    let host = with_own();
    let request = Request {
        grants: vec![grant("/tmp/pent-1001/c", false), Grant { target: "/etc/pent".into(), ..grant("/srv", true) }],
        tmpfs: vec![tmpfs("/data/homes/ann/.cache/x/pent")],
        workdir: Some("/tmp/pent-1000".into()),
        ..run(&["./x"])
    };
    insta::assert_snapshot!(refused(&request, &host));
    let inside = Surroundings { directory: "/tmp/pent-1000/c".into(), home: Some("/etc/pent".into()), ..host.clone() };
    insta::assert_snapshot!(refused(&run(&["./x"]), &inside));
    let image = Request { rootfs: Some(Rootfs { path: "/etc/pent/x".into(), unpacked: None, ..image() }), ..request };
    insta::assert_snapshot!(refused(&image, &host));
    let mut link = host;
    link.own[1].links.push("/home/ann/.cache".into());
    let request = Request { grants: vec![grant("/data/homes", true)], ..run(&["./x"]) };
    insta::assert_snapshot!(refused(&request, &link));
}

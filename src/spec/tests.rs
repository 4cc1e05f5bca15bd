#![forbid(unsafe_code)]

use super::schema::{Kind, Object};
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

/// Runs the closer look as `parse` would if something were off, on whatever is given.
fn parse_carefully(bytes: &[u8]) -> Result<Loaded, Vec<Diagnostic>> {
    parse_as(bytes, &schema::SPEC, |_| false)
}

/// A configuration that gives every property of the table a value.
fn everything(shape: &Object, typed: bool) -> Value {
    let members = shape.fields.iter().filter(|field| !matches!(field.kind, Kind::Foreign));
    Value::Object(
        members
            .map(|field| {
                let name = if typed { field.typed.unwrap_or(field.name) } else { field.name };
                (name.to_owned(), sample(&field.kind, typed))
            })
            .collect(),
    )
}

fn sample(kind: &Kind, typed: bool) -> Value {
    match kind {
        Kind::Bool => json!(true),
        Kind::Text => json!("x"),
        Kind::Int(..) => json!(1),
        Kind::Name(names) => json!(names.known[names.known.len() - 1]),
        Kind::CpuList => json!("0-1"),
        Kind::List(element) => json!([sample(element, typed)]),
        Kind::Map(element) => json!({"key": sample(element, typed)}),
        Kind::Object(shape) => everything(shape, typed),
        Kind::Foreign => Value::Null,
    }
}

/// Every name of every list of names, each in a place where it is allowed.
fn all_names(kind: &Kind, path: &str, found: &mut Vec<(String, &'static str)>) {
    match kind {
        Kind::Name(names) => found.extend(names.known.iter().map(|name| (path.to_owned(), *name))),
        Kind::List(element) => all_names(element, &format!("{path}/0"), found),
        Kind::Map(element) => all_names(element, &format!("{path}/key"), found),
        Kind::Object(shape) => {
            for field in shape.fields {
                all_names(&field.kind, &format!("{path}/{}", field.name), found);
            }
        }
        _ => {}
    }
}

#[test]
fn tables_agree_with_the_types() {
    let json = everything(&schema::SPEC, true).to_string();
    let mut unknown = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(&json);
    let spec: Spec = serde_ignored::deserialize(&mut reader, |path| unknown.push(path.to_string())).expect("typed");
    assert_eq!(unknown, [""; 0], "the tables know properties that the types do not");
    // Nothing was lost: what the types write has every property, and the closer look takes it without a word.
    let loaded = parse_carefully(everything(&schema::SPEC, false).to_string().as_bytes()).expect("careful");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.spec, spec);
    let written = serde_json::to_value(&spec).expect("serialises");
    assert_eq!(written, everything(&schema::SPEC, true));
}

#[test]
fn every_name_of_the_tables_is_one_of_the_types() {
    let mut names = Vec::new();
    for field in schema::SPEC.fields {
        all_names(&field.kind, &format!("/{}", field.name), &mut names);
    }
    assert!(names.len() > 300, "{}", names.len());
    for (path, name) in names {
        let mut config = everything(&schema::SPEC, false);
        *config.pointer_mut(&path).expect("path of a sample") = json!(name);
        let loaded = parse(config.to_string().as_bytes()).unwrap_or_else(|found| panic!("{path} {name}: {found:?}"));
        assert_eq!(loaded.warnings, [], "{path} {name}");
    }
}

#[test]
fn default_takes_the_fast_path_and_round_trips() {
    for owner in [None, Some(Owner { uid: 1000, gid: 1001 })] {
        let text = default_json(owner, true);
        assert!(text.ends_with("}\n"));
        let quick: Spec = parse_quickly(text.as_bytes()).expect("nothing is off");
        assert_eq!(parse_carefully(text.as_bytes()).expect("careful").spec, quick);
        let again = serde_json::to_vec(&quick).expect("serialises");
        assert_eq!(parse(&again).expect("reads").spec, quick);
        let context = Context { needs_process: true, rootless: owner.is_some() };
        assert_eq!(validate(&quick, &context), []);
    }
    let rootless = default_spec(Some(Owner { uid: 1000, gid: 1001 }));
    let linux = rootless.linux().as_ref().expect("linux");
    assert_eq!(linux.uid_mappings().as_ref().expect("uids")[0].host_id(), 1000);
    assert_eq!(linux.gid_mappings().as_ref().expect("gids")[0].host_id(), 1001);
    assert_eq!(default_spec(None).process().as_ref().expect("process").terminal(), Some(true));
}

fn base() -> Value {
    serde_json::from_str(&default_json(None, true)).expect("JSON")
}

fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut config = base();
    let (parent, name) = pointer.rsplit_once('/').expect("pointer");
    let parent = config.pointer_mut(parent).expect("parent");
    match parent {
        Value::Object(members) => {
            members.insert(name.to_owned(), value);
        }
        Value::Array(list) => list[name.parse::<usize>().expect("index")] = value,
        _ => panic!("no parent: {pointer}"),
    }
    config.to_string().into_bytes()
}

/// What Go's decoder takes and the types do not.
#[test]
fn takes_what_go_takes() {
    for (pointer, value) in [
        ("/process/args", json!(null)),
        ("/process/user", json!({"uid": null, "gid": 0, "umask": null, "additionalGids": null})),
        ("/process/rlimits", json!([{"type": "RLIMIT_CORE", "hard": null, "soft": 0}])),
        ("/process/capabilities", json!(null)),
        ("/process/terminal", json!(null)),
        ("/process/execCPUAffinity", json!({"initial": "", "final": "0-3, 7"})),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]}),
        ),
        ("/root/readonly", json!(null)),
        ("/hostname", json!(null)),
        ("/annotations", json!({"a": null})),
        ("/mounts", json!(null)),
        ("/hooks", json!({"prestart": null, "poststop": [{"path": "/x", "args": null, "timeout": null}]})),
        ("/linux/devices", json!(null)),
        ("/linux/seccomp", json!(null)),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": null, "size": 1}])),
        ("/linux/netDevices", json!({"eth0": null})),
        ("/linux/intelRdt", json!({"enableCMT": true, "enableMBM": false})),
        ("/linux/timeOffsets", json!({"monotonic": {"secs": -1, "nanosecs": null}})),
        ("/linux/resources/devices", json!([{"allow": null, "type": "", "major": null, "access": "rwm"}])),
        ("/linux/resources/pids", json!({"limit": -1})),
        ("/linux/resources/pids", json!({})),
        (
            "/linux/resources/memory",
            json!({"limit": i64::MAX, "swap": -1, "swappiness": null, "disableOOMKiller": false}),
        ),
        ("/linux/resources/cpu", json!({"shares": 0, "quota": -1, "cpus": null})),
        ("/linux/resources/blockIO", json!({"weight": 0, "weightDevice": null})),
        ("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": u64::MAX}])),
        ("/windows", json!({"layerFolders": 3})),
    ] {
        let loaded =
            parse(&with(pointer, value.clone())).unwrap_or_else(|found| panic!("{pointer} {value}: {found:?}"));
        assert_eq!(loaded.warnings, [], "{pointer} {value}");
    }
}

#[test]
fn pids_without_a_limit_is_no_limit() {
    let limit = |value: Value| {
        let spec = parse(&with("/linux/resources/pids", value)).expect("good").spec;
        let resources = spec.linux().clone().and_then(|linux| linux.resources().clone()).expect("resources");
        resources.pids().map(|pids| pids.limit())
    };
    assert_eq!(limit(json!({})), None);
    assert_eq!(limit(json!({"limit": null})), None);
    assert_eq!(limit(json!({"limit": 0})), Some(0));
    assert_eq!(limit(json!({"limit": 7})), Some(7));
}

#[test]
fn what_has_no_meaning_on_linux_is_said() {
    let warned = |pointer: &str, value: Value| {
        let loaded = parse(&with(pointer, value)).expect("good");
        let found = validate(&loaded.spec, &Context { needs_process: true, rootless: false });
        found.into_iter().map(|finding| (finding.severity, finding.path)).collect::<Vec<_>>()
    };
    let user = json!({"uid": 0, "gid": 0, "username": "ContainerUser"});
    assert_eq!(warned("/process/user", user), [(Severity::Warning, "process.user.username".to_owned())]);
    let personality = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]});
    assert_eq!(warned("/linux/personality", personality), [(Severity::Warning, "linux.personality.flags".to_owned())]);
}

#[test]
fn versions_are_of_the_first_kind() {
    let of = |version: &str| {
        let loaded = parse(&with("/ociVersion", json!(version))).expect("good");
        let found = validate(&loaded.spec, &Context { needs_process: true, rootless: false });
        found.into_iter().find(|finding| finding.severity == Severity::Error).map(|finding| finding.message)
    };
    assert_eq!((of("1.0.0"), of("1.3.0")), (None, None));
    assert!(of("2.0.0").is_some_and(|message| message.contains("2.0.0 is not supported")));
}

#[test]
fn what_is_left_out_is_said() {
    let caps = with("/process/capabilities", json!({"bounding": ["CAP_CHOWN", "CAP_MARS_ROVER", "kill"]}));
    let loaded = parse(&caps).expect("an unknown capability is a warning");
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].path, "process.capabilities.bounding[1]");
    assert!(loaded.warnings[0].message.contains("CAP_MARS_ROVER"));
    let process = loaded.spec.process().clone().expect("process");
    let bounding = process.capabilities().clone().and_then(|sets| sets.bounding().clone()).expect("bounding");
    assert_eq!(capability::mask(&bounding), 1 | 1 << 5);

    let archs = json!({"defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_ELBRUS"]});
    let loaded = parse(&with("/linux/seccomp", archs)).expect("an unknown architecture is a warning");
    assert!(loaded.warnings[0].message.contains("SCMP_ARCH_ELBRUS"), "{:?}", loaded.warnings);

    let loaded =
        parse(&with("/linux/seccomp", json!({"defaultAction": "", "syscalls": []}))).expect("as runc takes it");
    assert_eq!(loaded.warnings[0].path, "linux.seccomp");
    assert!(loaded.spec.linux().as_ref().expect("linux").seccomp().is_none());
}

#[test]
fn id_mappings_at_the_top_are_not_taken_for_those_of_linux() {
    let found = parse(&with("/uidMappings", json!([]))).expect_err("no specification has them there");
    assert_eq!(found[0].hint.as_deref(), Some("did you mean `linux.uidMappings`?"));
}

#[test]
fn duplicates_are_errors_everywhere() {
    for text in [
        r#"{"ociVersion":"1.0.0","ociVersion":"1.0.1"}"#,
        r#"{"ociVersion":"1.0.0","annotations":{"a":"1","b":"2","a":"3"}}"#,
        r#"{"ociVersion":"1.0.0","annotations":{"a":"1","\u0061":"3"}}"#,
        r#"{"ociVersion":"1.0.0","linux":{"sysctl":{"net.x":"1","net.x":"1"}}}"#,
    ] {
        let found = parse(text.as_bytes()).expect_err(text);
        assert!(found[0].message.contains("twice"), "{text}: {found:?}");
    }
}

/// serde takes `{"Variant": null}` for the name of a variant, Go does not.
#[test]
fn a_name_is_not_an_object() {
    for (pointer, value) in [
        ("/linux/namespaces", json!([{"type": {"mount": null}}])),
        ("/linux/seccomp", json!({"defaultAction": {"SCMP_ACT_ERRNO": null}})),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ERRNO", "flags": [{"SECCOMP_FILTER_FLAG_LOG": null}]})),
    ] {
        let found = parse(&with(pointer, value.clone())).expect_err("refused");
        assert!(found[0].message.contains("expected a string"), "{value}: {found:?}");
    }
}

/// What is wrong is what is said, and the hint fits what is read.
#[test]
fn what_is_no_json_says_why() {
    let deep = format!("{}0{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    let found = parse(format!(r#"{{"ociVersion":"1.0.0","x":{deep}}}"#).as_bytes()).expect_err("too deep");
    assert!(found[0].message.starts_with("nested too deeply at line 1, column"), "{found:?}");
    assert_eq!(found[0].hint.as_deref(), Some("at most 127 objects and lists may be in each other"));
    let found = parse_resources(b" ").expect_err("empty");
    assert_eq!((found[0].message.as_str(), found[0].hint.as_deref()), ("not valid JSON: it is empty", None));
}

#[test]
fn exec_and_update_read_their_parts() {
    let process = parse_process(br#"{"user":{"uid":1,"gid":1},"args":["true"],"cwd":"/"}"#).expect("process");
    assert_eq!(process.spec.user().uid(), 1);
    assert_eq!(validate_process(&process.spec), []);
    let found = parse_process(br#"{"user":{"uid":"1","gid":1},"args":["true"],"cwd":"/","noNewPrivs":true}"#);
    assert_eq!(found.expect_err("wrong type")[0].path, "user.uid");
    let limits = parse_resources(br#"{"memory":{"limit":1048576},"cpu":{"shares":0},"unified":null}"#).expect("limits");
    assert_eq!(limits.spec.memory().and_then(|memory| memory.limit()), Some(1 << 20));
    assert_eq!(validate_resources(&limits.spec), []);
    let swap = parse_resources(br#"{"memory":{"swap":1048576}}"#).expect("limits");
    assert_eq!(validate_resources(&swap.spec), [], "the limit may be there already");
    let found = parse_resources(br#"{"memory":{"limit":-7}}"#).map(|limits| validate_resources(&limits.spec));
    assert_eq!(found.expect("form")[0].path, "memory.limit");
}

#[test]
fn loading_says_what_is_missing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let bundle = directory.path();
    let error = |bundle: &Path| load(bundle).expect_err("nothing good here");
    assert!(matches!(error(&bundle.join("absent")), Error::NoBundle(_)));
    assert!(matches!(error(bundle), Error::NoConfig(_)));
    fs::write(bundle.join("file"), "x").expect("write");
    assert!(matches!(error(&bundle.join("file")), Error::BundleNotDirectory(_)));
    let config = bundle.join(FILE_NAME);
    fs::create_dir(&config).expect("mkdir");
    assert!(matches!(error(bundle), Error::NotFile(_)));
    fs::remove_dir(&config).expect("rmdir");
    nix::unistd::mkfifo(&config, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    assert!(matches!(error(bundle), Error::NotFile(_)), "and it did not wait for a writer");
    fs::remove_file(&config).expect("remove");
    fs::File::create(&config).and_then(|file| file.set_len(LARGEST + 1)).expect("sparse file");
    assert!(matches!(error(bundle), Error::TooLarge { .. }));
    fs::write(&config, "{").expect("write");
    let invalid = error(bundle);
    assert!(
        invalid.to_string().ends_with("config.json: not valid JSON at line 1, column 1: EOF while parsing an object"),
        "{invalid}"
    );
    fs::write(&config, default_json(None, true).as_bytes()).expect("write");
    assert_eq!(load(bundle).expect("good").spec, default_spec(None));
    symlink(&config, bundle.join("link")).expect("symlink");
    fs::create_dir(bundle.join("other")).expect("mkdir");
    fs::rename(bundle.join("link"), bundle.join("other").join(FILE_NAME)).expect("rename");
    assert!(load(&bundle.join("other")).is_ok(), "a configuration may be a symbolic link");
}

#[test]
fn every_loading_error_has_a_hint_or_none_to_give() {
    let path = PathBuf::from("/b/config.json");
    for error in [Error::NoBundle("/b".into()), Error::NoConfig(path.clone()), Error::NotFile(path.clone())] {
        assert!(error.hint().is_some(), "{error}");
    }
    let denied = Error::Read { path, source: io::Error::from_raw_os_error(libc::EACCES) };
    assert!(denied.to_string().contains("Permission denied"));
    assert!(denied.hint().is_some());
}

#[test]
fn summaries_leave_warnings_out_and_count_the_rest() {
    let mut found: Vec<Diagnostic> = (0..10).map(|i| Diagnostic::error(format!("p{i}"), "bad")).collect();
    found.push(Diagnostic::warning("w", "odd"));
    let text = summary(&found);
    assert!(text.starts_with("p0: bad; p1: bad;") && text.ends_with("; and 2 more errors"), "{text}");
    assert!(!text.contains("odd"));
}

#[test]
fn hints_say_which_of_several_errors_they_are_for() {
    let one = Diagnostic::error("a", "bad").hint("mend it");
    let invalid = |diagnostics| Error::Invalid { path: PathBuf::new(), diagnostics }.hint();
    assert_eq!(invalid(vec![one.clone(), Diagnostic::warning("w", "odd").hint("no")]).as_deref(), Some("mend it"));
    let several = vec![one.clone(), Diagnostic::error("b", "bad"), Diagnostic::error("c", "bad").hint("leave it")];
    assert_eq!(invalid(several).as_deref(), Some("a: mend it; c: leave it"));
    assert_eq!(invalid(vec![Diagnostic::error("a", "bad"), Diagnostic::error("b", "bad")]), None);
}

#[test]
fn cleaning_stays_below_the_root() {
    for (path, expected) in
        [("/a/b", "/a/b"), ("/../..//a/./b/../c/", "/a/c"), ("", "/"), ("a", "/a"), ("/..", "/"), ("/...", "/...")]
    {
        assert_eq!(clean(path), expected, "{path}");
    }
}

/// JSON that looks like a configuration, and breaks its rules at random.
fn almost_config() -> impl Strategy<Value = Value> {
    let keys: Vec<String> = {
        fn collect(shape: &Object, keys: &mut Vec<String>) {
            for field in shape.fields {
                keys.push(field.name.to_owned());
                let mut kind = &field.kind;
                while let Kind::List(inner) | Kind::Map(inner) = kind {
                    kind = inner;
                }
                if let Kind::Object(shape) = kind {
                    collect(shape, keys);
                }
            }
        }
        let mut keys = vec!["readOnly".to_owned(), "a.b".to_owned(), String::new(), "\u{17f}\0".to_owned()];
        collect(&schema::SPEC, &mut keys);
        keys
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~\\PC]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(proptest::sample::select(keys.clone()), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// All places in a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| pointers(value, &format!("{at}/{i}"), found));
        }
        Value::Object(members) => members.iter().for_each(|(k, value)| pointers(value, &format!("{at}/{k}"), found)),
        _ => {}
    }
}

/// Names of lists, and of everything else, in a shape and all below it.
fn sort_names(shape: &'static schema::Object, lists: &mut BTreeSet<&'static str>, others: &mut BTreeSet<&'static str>) {
    for field in shape.fields {
        let mut kind = &field.kind;
        let names = if matches!(kind, schema::Kind::List(_)) { &mut *lists } else { &mut *others };
        names.insert(field.name);
        while let schema::Kind::List(inner) | schema::Kind::Map(inner) = kind {
            kind = inner;
            assert!(!matches!(kind, schema::Kind::List(_)), "{}: a list of lists", field.name);
        }
        if let schema::Kind::Object(inner) = kind {
            sort_names(inner, lists, others);
        }
    }
}

/// The quick path takes a list only where one of these names is.
#[test]
fn lists_are_known() {
    let (mut lists, mut others) = (BTreeSet::new(), BTreeSet::new());
    for shape in [&schema::SPEC, &schema::PROCESS, &schema::RESOURCES] {
        sort_names(shape, &mut lists, &mut others);
    }
    let known: Vec<&str> = schema::LISTS.iter().map(|name| std::str::from_utf8(name).expect("ASCII")).collect();
    assert_eq!(lists.iter().copied().collect::<Vec<_>>(), known);
    assert_eq!(lists.intersection(&others).count(), 0, "{:?}", lists.intersection(&others));
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        drop(parse(&bytes));
    }

    #[test]
    fn parsing_almost_a_configuration_never_panics(config in almost_config()) {
        if let Ok(loaded) = parse(config.to_string().as_bytes()) {
            drop(validate(&loaded.spec, &Context { needs_process: true, rootless: true }));
        }
    }

    /// Wherever one value of a configuration with everything in it is replaced: no panic in reading or in the rules, and
    /// the quick and the careful path agree on the result.
    #[test]
    fn one_wrong_value_anywhere(place in any::<proptest::sample::Index>(), wrong in almost_config()) {
        let mut config = everything(&schema::SPEC, false);
        let mut places = Vec::new();
        pointers(&config, "", &mut places);
        *config.pointer_mut(place.get::<String>(&places)).expect("a place") = wrong;
        let bytes = config.to_string().into_bytes();
        let quick = parse(&bytes);
        let careful = parse_carefully(&bytes);
        let rules = Context { needs_process: true, rootless: true };
        match (&quick, &careful) {
            (Ok(quick), Ok(careful)) => prop_assert_eq!(quick, careful),
            // What is missing the rules say.
            (Ok(quick), Err(_)) => {
                let refused = validate(&quick.spec, &rules).iter().any(|d| d.severity == Severity::Error);
                prop_assert!(refused, "only the careful path refuses it");
            }
            (Err(_), careful) => prop_assert!(careful.is_err(), "only the quick path refuses it"),
        }
        if let Err(found) = &quick {
            prop_assert!(found.iter().any(|d| d.severity == Severity::Error), "an error that says nothing");
        }
        if let Ok(loaded) = quick {
            drop(validate(&loaded.spec, &Context { needs_process: true, rootless: true }));
        }
    }

    /// What is read and written again reads the same.
    #[test]
    fn round_trip(args in proptest::collection::vec("[^\0]{0,10}", 1..5), uid in any::<u32>(), limit in any::<i64>()) {
        let mut config = base();
        config["process"]["args"] = json!(args);
        config["process"]["user"]["uid"] = json!(uid);
        config["linux"]["resources"]["memory"] = json!({"limit": limit});
        let spec = parse(config.to_string().as_bytes()).expect("good").spec;
        let again = parse(&serde_json::to_vec(&spec).expect("serialises")).expect("good again").spec;
        prop_assert_eq!(spec, again);
    }
}

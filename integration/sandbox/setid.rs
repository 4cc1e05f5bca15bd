//! No file that a program leaves on the host gives its owner's rights away.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::Outcome;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Everything below a directory with a set-id bit, as the host sees it.
fn set_id_files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let metadata = entry.metadata().expect("metadata");
        if metadata.mode() & 0o6000 != 0 {
            found.push(format!("{} {:o}", entry.path().display(), metadata.mode()));
        }
        if metadata.is_dir() {
            found.extend(set_id_files(&entry.path()));
        }
    }
    found
}

fn results(seen: &Outcome) -> Vec<(String, String)> {
    let text = seen.stdout();
    assert!(text.ends_with("done\n"), "{seen:?}");
    let pair = |line: &str| line.split_once(' ').map(|(way, result)| (way.to_owned(), result.to_owned()));
    text.lines().filter_map(pair).collect()
}

/// A writable directory of the caller's with the attacker in it, gone when the test is.
fn tree(caller: &Caller) -> std::path::PathBuf {
    let tree = caller.directory("home/tree");
    caller.probe("setid");
    tree
}

#[test]
fn no_set_id_bit_is_made_in_any_way() {
    sandboxed!();
    as_each(|caller| {
        let tree = tree(caller);
        // Where nothing is in its way, it makes them.
        let control = std::process::Command::new(caller.path("home/project/setid")).current_dir(&tree).output();
        let control = String::from_utf8(control.expect("the attacker").stdout).expect("text");
        assert!(control.lines().filter(|line| line.starts_with("MADE")).count() > 20, "no attack works: {control}");
        fs::remove_dir_all(&tree).expect("removed");
        for profile in ["restricted", "build", "baseline"] {
            let tree = caller.directory("home/tree");
            let path = tree.to_string_lossy().into_owned();
            let attacker = caller.path("home/project/setid").to_string_lossy().into_owned();
            let seen = caller.run(&["--profile", profile, "--rw", &path, "--workdir", &path, "--", &attacker]);
            let found = set_id_files(&tree);
            assert!(found.is_empty(), "{profile}, as {:?}: {found:?}\n{seen:?}", caller.user);
            for (way, result) in results(&seen) {
                assert_ne!(way, "MADE", "{profile}: {result}");
                let expected: &[&str] = match way.split('-').next().expect("a way") {
                    "openat2" => &["ENOSYS"],
                    "io_uring_setup" => &["EPERM", "ENOSYS"],
                    // What there is in a list beyond rwx the kernel refuses; without lists, or extended attributes,
                    // there are none.
                    "acl" => &["EINVAL", "EOPNOTSUPP"],
                    "caps2" | "caps3" => &["EPERM", "EOPNOTSUPP", "EINVAL"],
                    "ordinary" => &["ok"],
                    _ => &["EPERM"],
                };
                assert!(expected.contains(&result.as_str()), "{profile}, as {:?}: {way}: {result}", caller.user);
            }
            fs::remove_dir_all(&tree).expect("removed");
        }
    });
}

#[test]
fn no_profile_of_the_callers_allows_it() {
    sandboxed!();
    as_each(|caller| {
        let tree = caller.directory("home/tree");
        let lax = "version = 1\nname = \"lax\"\nextends = \"baseline\"\n[modes]\nseccomp = \"warn\"\n[seccomp]\nset_id = true\n\
                   add = [\"io_uring_setup\", \"openat2\"]\narchitectures = [\"SCMP_ARCH_X86\", \"SCMP_ARCH_X32\"]\n";
        let lax = caller.file("lax.toml", lax, 0o644).to_string_lossy().into_owned();
        caller.probe("setid");
        let (path, attacker) = (tree.to_string_lossy().into_owned(), caller.path("home/project/setid"));
        let attacker = attacker.to_string_lossy().into_owned();
        let seen = caller.run(&["--profile", &lax, "--rw", &path, "--workdir", &path, "--", &attacker]);
        let made: Vec<_> = results(&seen).into_iter().filter(|(way, _)| way == "MADE").collect();
        assert!(made.is_empty() && set_id_files(&tree).is_empty(), "{made:?} {seen:?}");
    });
}

#[test]
fn a_copy_of_a_set_id_program_loses_the_bit() {
    sandboxed!();
    as_each(|caller| {
        let tree = caller.directory("home/tree");
        let path = tree.to_string_lossy().into_owned();
        // What is there already stays as it is, and is not taken elsewhere: another mount is another file system.
        let owned = caller.file("home/tree/mine", "#!/bin/sh\n", 0o4755);
        let script = format!(
            "cd {path}; cp /bin/sh s && chmod 4755 s; echo $?; cp -a mine m; install -m 2755 /bin/sh i; echo $?; \
             mkdir d; chmod g+s d; echo $?; ln mine l; mv mine moved; ln moved ~/x 2>&1; chmod u+s,g+s s; \
             tar -cf t moved && mkdir out && tar -xpf t -C out; ls out"
        );
        let seen = caller.shell(&["--rw", &path], &script);
        assert!(seen.stdout().starts_with("1\n1\n1\n"), "{seen:?}");
        let mut found = set_id_files(&tree);
        found.sort();
        // Its own file, by its old name and another one.
        let inode = fs::metadata(tree.join("moved")).expect("moved").ino();
        for line in &found {
            let file = line.split(' ').next().expect("a path");
            assert_eq!(fs::metadata(file).expect("a file").ino(), inode, "{found:?} {seen:?}");
        }
        assert!(!owned.exists() && found.len() <= 2, "{found:?}");
        fs::set_permissions(tree.join("moved"), fs::Permissions::from_mode(0o644)).expect("mode");
    });
}

/// A directory gets the bit from the directory that it is made in: that is the host's choice, and nobody's right.
#[test]
fn a_set_gid_directory_goes_on() {
    sandboxed!();
    as_each(|caller| {
        let tree = caller.directory("home/tree");
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o2755)).expect("mode");
        let path = tree.to_string_lossy().into_owned();
        let seen = caller
            .shell(&["--rw", &path], &format!("cd {path} && mkdir d && touch d/f && cp /bin/sh d/s && echo done"));
        assert_eq!(seen.trimmed(), "done", "{seen:?}");
        for line in set_id_files(&tree) {
            assert!(Path::new(line.split(' ').next().expect("a path")).is_dir(), "{line}");
        }
    });
}

#[test]
fn real_programs_go_on() {
    sandboxed!();
    as_each(|caller| {
        let tree = caller.directory("home/tree");
        let path = tree.to_string_lossy().into_owned();
        let script = "cd \"$0\" && mkdir -p a/b && echo x >a/b/f && chmod 1777 a && tar -cf t a && mkdir o && tar -xpf t -C o && \
                      cp -a a c && install -m 755 a/b/f i && mkfifo p && \
                      git init -q --shared=false g && cd g && git -c user.name=x -c user.email=x@x commit -q --allow-empty -m x && \
                      git clone -q . ../h && echo done";
        let seen = caller.run(&["--rw", &path, "--", "sh", "-c", script, &path]);
        assert_eq!(seen.trimmed(), "done", "{seen:?}");
    });
}

#[test]
fn the_report_names_the_bit_and_advises_nothing() {
    sandboxed!();
    as_each(|caller| {
        let tree = caller.directory("home/tree");
        let path = tree.to_string_lossy().into_owned();
        let script = "cd \"$0\"; touch f; chmod 4755 f; exit 3";
        let seen = caller.run(&["--report", "--rw", &path, "--", "sh", "-c", script, &path]);
        let text = seen.stderr();
        let line = text.lines().find(|line| line.contains("(S_ISUID)")).unwrap_or_else(|| panic!("{seen:?}"));
        assert!(line.contains("seccomp: restricted") && line.contains("not recommended (a set-user-id"), "{line}");
    });
}

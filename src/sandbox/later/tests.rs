#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

use super::*;

#[test]
fn flags_name_paths_below_a_root() {
    let allow = |name: &str| Allow::new(&[OsString::from(name)]);
    let root = Path::new("/home/ann/.claude/worktree");
    let covers = |name: &str, path: &str| allow(name).covers(root, &root.join(path));
    assert!(covers(".vscode", "a/.vscode/tasks.json") && covers(".vscode", ".VSCode"));
    assert!(covers(".git/hooks", "sub/.git/hooks/post-commit") && !covers(".git/hooks", ".git/config"));
    assert!(covers(".git", ".git/config") && covers("sub/.envrc", "sub/.envrc") && !covers("sub/.envrc", ".envrc"));
    // Not what is above the root.
    assert!(!covers(".claude", ".envrc") && covers("all", "anything"));
    assert!(covers("/home/ann/.claude/worktree/.idea", ".idea/x") && !covers("", ".idea"));
}

#[test]
fn paths_are_cleaned_without_looking() {
    assert_eq!(clean(Path::new("/a/b/../.git/./modules//x")), Path::new("/a/.git/modules/x"));
    assert_eq!(clean(Path::new("/../..")), Path::new("/"));
}

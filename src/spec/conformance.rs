//! Keeps `docs/conformance.md` true: every property of the schema has a row, every row is a property, and every test that a row
//! names exists.
#![forbid(unsafe_code)]

use super::schema::{Kind, Object, SPEC};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The properties below an object: `a.b`, `list[].c`, `map{}.d`.
fn paths(object: &Object, prefix: &str, all: &mut BTreeSet<String>) {
    for field in object.fields {
        let path = format!("{prefix}{}", field.name);
        descend(&field.kind, &path, all);
        all.insert(path);
    }
}

fn descend(kind: &Kind, path: &str, all: &mut BTreeSet<String>) {
    match kind {
        Kind::Object(object) => paths(object, &format!("{path}."), all),
        Kind::List(item) => descend(item, &format!("{path}[]"), all),
        Kind::Map(item) => descend(item, &format!("{path}{{}}"), all),
        _ => {}
    }
}

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md")).expect("the table")
}

/// The cells of the tables' rows.
fn rows(document: &str) -> impl Iterator<Item = Vec<&str>> {
    document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_property_has_a_row_and_every_row_is_a_property() {
    let mut all = BTreeSet::new();
    paths(&SPEC, "", &mut all);
    let document = document();
    let config = document.split("## runtime.md").next().expect("the tables of config.json");
    let mut told = BTreeSet::new();
    for row in rows(config) {
        for path in quoted(row[0]) {
            assert!(all.contains(path), "{path} is not a property of config.json");
            assert!(told.insert(path.to_owned()), "{path} has two rows");
        }
    }
    let missing: Vec<_> = all.difference(&told).collect();
    assert!(missing.is_empty(), "no row for: {missing:#?}");
}

#[test]
fn every_test_that_is_named_exists() {
    let mut sources = String::new();
    for room in ["src", "tests", "integration"] {
        read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join(room), &mut sources);
    }
    let document = document();
    for row in rows(&document) {
        assert_eq!(row.len(), 3, "three columns: {row:?}");
        let names: Vec<_> = quoted(row[2]).filter(|name| is_test(name)).collect();
        assert!(!names.is_empty(), "no test in {row:?}");
        for name in names {
            assert!(sources.contains(&format!("fn {name}(")), "there is no test {name}: {row:?}");
        }
    }
}

fn is_test(name: &str) -> bool {
    name.contains('_') && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn read_all(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

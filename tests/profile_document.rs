//! docs/profiles.md says what is so: every example is read as it stands there, and every key has one.
#![forbid(unsafe_code)]

use pent::profile::{Config, Mode, Rule, parse};
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../docs/profiles.md");

/// The examples of a kind, with their lines.
fn examples(kind: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside: Option<(usize, String)> = None;
    for (at, line) in DOCUMENT.lines().enumerate() {
        match (&mut inside, line.strip_prefix("```")) {
            (None, Some(info)) if info == kind => inside = Some((at + 2, String::new())),
            (Some(_), Some(_)) => found.extend(inside.take()),
            (Some((_, text)), None) => text.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    found
}

fn versioned(text: &str) -> String {
    if text.contains("version = ") { text.to_owned() } else { format!("version = 1\n{text}") }
}

#[test]
fn every_example_is_read() {
    let profiles = examples("toml");
    assert!(profiles.len() > 8, "{} examples", profiles.len());
    for (line, text) in profiles {
        parse(&format!("docs/profiles.md from line {line}"), &versioned(&text))
            .unwrap_or_else(|error| panic!("{error}"));
    }
    let configs = examples("toml config");
    assert_eq!(configs.len(), 1);
    for (_, text) in configs {
        Config::parse("docs/profiles.md", &text).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The keys that the format has, as it names them itself when it meets another.
fn keys_of(table: &str) -> BTreeSet<String> {
    let text = if table.is_empty() {
        "version = 1\nnosuchkey = 1\n".into()
    } else {
        format!("version = 1\n{table}\nnosuchkey = 1\n")
    };
    let error = parse("x", &text).expect_err("an unknown key").to_string();
    let (_, names) = error.split_once("expected ").unwrap_or_else(|| panic!("{error}"));
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_key_has_an_example() {
    let examples: Vec<toml::Table> =
        examples("toml").iter().map(|(_, text)| toml::from_str(text).expect("TOML")).collect();
    let tables = keys_of("");
    assert!(tables.contains("filesystem") && tables.contains("terminal"), "{tables:?}");
    for table in &tables {
        assert!(examples.iter().any(|example| example.contains_key(table)), "no example of {table}");
        // Tables by name are what they are called.
        if matches!(table.as_str(), "version" | "name" | "summary" | "extends" | "require" | "modes" | "rlimits") {
            continue;
        }
        for key in keys_of(&format!("[{table}]")) {
            let shown =
                examples.iter().any(|example| example.get(table).is_some_and(|table| table.get(&key).is_some()));
            assert!(shown, "no example of {table}.{key}");
        }
    }
}

#[test]
fn the_modes_are_those_of_the_rules() {
    let start = DOCUMENT.find("The rules and their modes").expect("the paragraph");
    let paragraph = DOCUMENT[start..].split("\n\n").next().expect("a paragraph");
    let (enforced, tightened) = paragraph.split_once("are `enforce`;").expect("two lists");
    for rule in Rule::ALL {
        let list = match rule.default_mode() {
            Mode::Enforce => enforced,
            Mode::Tighten => tightened,
            Mode::Warn => panic!("{rule} is only warned about"),
        };
        assert!(list.contains(&format!("`{rule}`")), "{rule}");
    }
}

//! The slow path of reading: walks what was written against the tables of [`super::schema`], collects everything that is
//! wrong with paths, and brings what Go's decoder accepts and oci-spec's types do not into the form of the types.
//!
//! Taken as Go takes it: `null` anywhere a value may be absent; an empty string for an absent name; a hugepage limit beyond
//! `i64`; a `seccomp` that says nothing; `pids` without a limit; a process without a user.
#![forbid(unsafe_code)]

use super::schema::{self, Field, HOMES, Kind, Names, Need, Object, Unknown};
use super::suggest::{closest, distance, same_but_for_case};
use super::tree::{Node, quote};
use crate::report::Diagnostic;
use crate::spec::capability;
use std::collections::HashSet;

/// Names this short are close to too many others for a near miss to say anything.
const SHORTEST_GUARDED: usize = 5;

/// Checks the members of a JSON object against the table of its properties.
///
/// Returns the value in the form of the types, duplicates and unknown properties removed, and all findings; when one of
/// them is an error, the value is not to be used.
pub(super) fn check(node: Node, shape: &'static Object) -> (Node, Vec<Diagnostic>) {
    let mut check = Check { found: Vec::new() };
    let node = match node {
        Node::Object(members) => check.object(members, shape, ""),
        node => {
            check.error("", format!("expected an object, got {}", node.describe()));
            None
        }
    };
    (node.unwrap_or_else(|| Node::Object(Vec::new())), check.found)
}

struct Check {
    found: Vec<Diagnostic>,
}

impl Check {
    fn error(&mut self, path: &str, message: String) {
        self.found.push(Diagnostic::error(path, message));
    }

    fn error_hint(&mut self, path: &str, message: String, hint: String) {
        self.found.push(Diagnostic::error(path, message).hint(hint));
    }

    /// The value as the types want it, or `None` to leave it out.
    fn value(&mut self, node: Node, kind: &'static Kind, path: &str) -> Option<Node> {
        match (kind, node) {
            (Kind::Foreign, _) => None,
            (Kind::Bool, node @ Node::Bool(_)) => Some(node),
            (Kind::Text, Node::Text(text)) => {
                self.no_nul(&text, path);
                Some(Node::Text(text))
            }
            (Kind::CpuList, Node::Text(text)) => self.cpu_list(&text, path),
            (Kind::Name(names), Node::Text(text)) => self.name(text, names, path),
            (Kind::Int(least, most), Node::Number(number)) => {
                let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                if whole.is_none_or(|whole| whole < *least || whole > *most) {
                    self.error(path, format!("expected {}, got {number}", describe(kind)));
                }
                Some(Node::Number(number))
            }
            (Kind::List(element), Node::List(list)) => Some(Node::List(
                list.into_iter()
                    .enumerate()
                    .filter_map(|(index, node)| self.value(node, element, &format!("{path}[{index}]")))
                    .collect(),
            )),
            (Kind::Map(element), Node::Object(members)) => Some(self.map(members, element, path)),
            (Kind::Object(shape), Node::Object(members)) => self.object(members, shape, path),
            (kind, node) => {
                self.wrong_type(kind, &node, path);
                None
            }
        }
    }

    fn wrong_type(&mut self, kind: &'static Kind, node: &Node, path: &str) {
        let mut found = Diagnostic::error(path, format!("expected {}, got {}", describe(kind), node.describe()));
        found.hint = match (kind, node) {
            (Kind::Bool, Node::Text(text)) if text == "true" || text == "false" => {
                Some(format!("write {text} without quotes"))
            }
            (Kind::Int(..), Node::Text(text)) if text.parse::<i128>().is_ok() => {
                Some(format!("write {text} without quotes"))
            }
            (Kind::Text | Kind::Name(_), Node::Number(number)) => Some(format!("write \"{number}\" with quotes")),
            (Kind::List(Kind::Text | Kind::Name(_)), Node::Text(text)) => Some(format!("write [{}]", quote(text))),
            (Kind::Object(shape), Node::List(_)) if shape.field("bounding").is_some() => Some(
                "since version 1.0 this is an object with the sets bounding, effective, permitted, inheritable, ambient"
                    .into(),
            ),
            _ => None,
        };
        self.found.push(found);
    }

    fn no_nul(&mut self, text: &str, path: &str) {
        if text.contains('\0') {
            self.error_hint(path, "contains a NUL character".into(), "remove \\u0000: no string may hold it".into());
        }
    }

    fn cpu_list(&mut self, text: &str, path: &str) -> Option<Node> {
        let packed: String = text.chars().filter(|c| *c != ' ').collect();
        if packed.is_empty() {
            return None;
        }
        if !super::is_number_list(&packed) {
            self.error_hint(path, format!("{} is not a list of CPUs", quote(text)), "write it like 0-3,7".into());
        }
        Some(Node::Text(packed))
    }

    fn name(&mut self, text: String, names: &'static Names, path: &str) -> Option<Node> {
        let is_capability = std::ptr::eq(names, &raw const schema::CAPABILITY);
        let known =
            if is_capability { capability::from_name(&text).is_some() } else { names.known.contains(&text.as_str()) };
        if known {
            let typed = if std::ptr::eq(names, &raw const schema::SCHEDULER_FLAG) {
                schema::SCHEDULER_FLAG_TYPED
                    .iter()
                    .find(|(ours, _)| *ours == text)
                    .map(|(_, typed)| (*typed).to_owned())
            } else {
                None
            };
            return Some(Node::Text(typed.unwrap_or(text)));
        }
        let meant = closest(&text, names.known.iter().copied());
        let what = format!("unknown {} {}", names.what, quote(&text));
        self.found.push(match names.unknown {
            Unknown::Drop(consequence) => Diagnostic::warning(path, format!("{what}: {consequence}")).hint(
                meant
                    .map_or_else(|| "it may be newer than this version".into(), |name| format!("did you mean {name}?")),
            ),
            Unknown::Reject => {
                Diagnostic::error(path, what).hint(meant.map_or_else(
                    || format!("one of {}", names.known.join(", ")),
                    |name| format!("did you mean {name}?"),
                ))
            }
        });
        None
    }

    fn map(&mut self, members: Vec<(String, Node)>, element: &'static Kind, path: &str) -> Node {
        let mut seen = HashSet::new();
        let mut kept = Vec::with_capacity(members.len());
        for (key, node) in members {
            let at = format!("{path}[{}]", quote(&key));
            self.no_nul(&key, &at);
            if !seen.insert(key.clone()) {
                self.twice(&at);
                continue;
            }
            let node = match (node, element) {
                (Node::Null, Kind::Text) => Some(Node::Text(String::new())),
                (Node::Null, _) => Some(Node::Object(Vec::new())),
                (node, _) => self.value(node, element, &at),
            };
            kept.extend(node.map(|node| (key, node)));
        }
        Node::Object(kept)
    }

    fn object(&mut self, members: Vec<(String, Node)>, shape: &'static Object, path: &str) -> Option<Node> {
        if std::ptr::eq(shape, &raw const schema::SECCOMP) && says_nothing(&members) {
            self.found.push(
                Diagnostic::warning(path, "has neither a default action nor system calls: no filter is loaded")
                    .hint("give it a defaultAction, or remove it"),
            );
            return None;
        }
        let (mut seen, mut present) = (HashSet::new(), HashSet::new());
        let mut kept: Vec<(String, Node)> = Vec::with_capacity(members.len());
        for (key, node) in members {
            let at = join(path, &key);
            if !seen.insert(key.clone()) {
                self.twice(&at);
                continue;
            }
            let Some(field) = shape.field(&key) else {
                self.found.extend(unknown_property(&key, &at, shape, path));
                continue;
            };
            let absent = match (&node, &field.kind) {
                (Node::Null, _) => true,
                (Node::Text(text), Kind::Name(_)) => text.is_empty() && field.need == Need::Optional,
                _ => false,
            };
            if absent {
                continue;
            }
            present.insert(field.name);
            if let Some(node) = self.value(node, &field.kind, &at) {
                kept.push((field.typed.unwrap_or(field.name).to_owned(), node));
            }
        }
        for field in shape.fields {
            if field.need == Need::Required && !present.contains(field.name) {
                self.error(&join(path, field.name), format!("is missing; expected {}", describe(&field.kind)));
            }
        }
        self.settle(kept, shape, path)
    }

    /// What single objects need beyond their table.
    fn settle(&mut self, mut kept: Vec<(String, Node)>, shape: &'static Object, path: &str) -> Option<Node> {
        if std::ptr::eq(shape, &raw const schema::PIDS) && kept.is_empty() {
            return None;
        }
        if std::ptr::eq(shape, &raw const schema::PROCESS) && !kept.iter().any(|(key, _)| key == "user") {
            self.found.push(
                Diagnostic::warning(join(path, "user"), "is missing: the process runs as user 0, group 0")
                    .hint("say so with \"user\": {\"uid\": 0, \"gid\": 0}"),
            );
            kept.push(("user".into(), Node::Object(Vec::new())));
        }
        if std::ptr::eq(shape, &raw const schema::HUGEPAGE_LIMIT) {
            for (key, node) in &mut kept {
                // No limit beyond i64 means anything else than i64::MAX: the kernel caps both at its page counter's maximum.
                if key == "limit" && matches!(node, Node::Number(number) if number.as_i64().is_none()) {
                    *node = Node::Number(i64::MAX.into());
                }
            }
        }
        Some(Node::Object(kept))
    }

    fn twice(&mut self, path: &str) {
        self.error_hint(
            path,
            "is given twice".into(),
            "remove one: programs differ in which of the two they take".into(),
        );
    }
}

fn says_nothing(seccomp: &[(String, Node)]) -> bool {
    let empty = |name: &str| {
        seccomp.iter().filter(|(key, _)| key == name).all(|(_, node)| match node {
            Node::Null => true,
            Node::Text(text) => text.is_empty(),
            Node::List(list) => list.is_empty(),
            _ => false,
        })
    };
    // A property whose name is nearly right must not go unseen.
    empty("defaultAction") && empty("syscalls") && seccomp.iter().all(|(key, _)| schema::SECCOMP.field(key).is_some())
}

/// `a.b` for names, `a["b.c"]` for what would read as a path.
fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{}]", quote(key)),
    }
}

/// What a property means that is not in the table; see docs/decisions/0003-unknown-fields.md.
fn unknown_property(key: &str, at: &str, shape: &'static Object, path: &str) -> Option<Diagnostic> {
    if key.contains('.') || key.starts_with("x-") || key.starts_with("X-") {
        return None;
    }
    if let Some(field) = shape.fields.iter().find(|field| same_but_for_case(field.name, key)) {
        return Some(
            Diagnostic::error(
                at,
                format!(
                    "unknown property: it differs from {} only in case, and other runtimes would obey it",
                    field.name
                ),
            )
            .hint(format!("did you mean `{}`?", field.name)),
        );
    }
    let near = |field: &&Field| field.guard && field.name.len() >= SHORTEST_GUARDED && distance(field.name, key) <= 1;
    if let Some(field) = shape.fields.iter().find(near) {
        return Some(
            Diagnostic::error(at, format!("unknown property: it would be ignored, and {} not applied", field.name))
                .hint(format!("did you mean `{}`?", field.name)),
        );
    }
    if let Some((_, home)) = HOMES.iter().find(|(name, home)| same_but_for_case(name, key) && *home != at) {
        return Some(
            Diagnostic::error(
                at,
                format!(
                    "unknown property: it belongs elsewhere, and would be ignored in {}",
                    if path.is_empty() { "the top level" } else { path }
                ),
            )
            .hint(format!("did you mean `{home}`?")),
        );
    }
    let warning = Diagnostic::warning(at, "unknown property, ignored");
    Some(match closest(key, shape.fields.iter().map(|field| field.name)) {
        Some(name) => warning.hint(format!("did you mean `{name}`?")),
        None => warning,
    })
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true or false".into(),
        Kind::Text => "a string".into(),
        Kind::Int(least, most) => format!("a whole number from {least} to {most}"),
        Kind::Name(names) => format!("a string, the name of a {}", names.what),
        Kind::CpuList => "a string, a list of CPUs like 0-3,7".into(),
        Kind::List(element) => match element {
            Kind::Text | Kind::Name(_) => "an array of strings".into(),
            Kind::Object(_) => "an array of objects".into(),
            Kind::Int(..) => "an array of numbers".into(),
            _ => "an array".into(),
        },
        Kind::Map(Kind::Text) => "an object with strings as values".into(),
        Kind::Map(_) | Kind::Object(_) => "an object".into(),
        Kind::Foreign => "a value".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Severity;
    use schema::SPEC;

    fn find(json: &str) -> Vec<(Severity, String, Option<String>)> {
        let node = serde_json::from_str(json).expect("valid JSON");
        let (_, found) = check(node, &SPEC);
        found.into_iter().map(|d| (d.severity, d.to_string(), d.hint)).collect()
    }

    fn errors(json: &str) -> Vec<String> {
        find(json).into_iter().filter(|(severity, ..)| *severity == Severity::Error).map(|(_, text, _)| text).collect()
    }

    #[test]
    fn a_key_that_only_differs_in_case_is_an_error() {
        for json in [
            r#"{"ociVersion":"1.0.0","root":{"path":"r","readOnly":true}}"#,
            r#"{"ociVersion":"1.0.0","linux":{"maskedpaths":[]}}"#,
            r#"{"ociVersion":"1.0.0","linux":{"ſeccomp":{}}}"#,
            r#"{"ociVersion":"1.0.0","OCIversion":"1"}"#,
        ] {
            assert_eq!(errors(json).len(), 1, "{json}: {:?}", find(json));
        }
    }

    #[test]
    fn near_misses_are_errors_only_where_they_protect() {
        let near = r#"{"ociVersion":"1.0.0","process":{"user":{},"cwd":"/","noNewPrivilege":true,"terminl":true}}"#;
        let found = find(near);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].0, Severity::Error);
        assert_eq!(found[0].2.as_deref(), Some("did you mean `noNewPrivileges`?"));
        assert_eq!(found[1].0, Severity::Warning);
        assert_eq!(found[1].2.as_deref(), Some("did you mean `terminal`?"));
    }

    #[test]
    fn a_property_in_the_wrong_object_is_an_error_that_says_where_it_belongs() {
        let found = find(r#"{"ociVersion":"1.0.0","noNewPrivileges":true,"linux":{"capabilities":{}}}"#);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].2.as_deref(), Some("did you mean `process.noNewPrivileges`?"));
        assert_eq!(found[1].2.as_deref(), Some("did you mean `process.capabilities`?"));
    }

    #[test]
    fn extensions_and_new_properties_pass() {
        assert_eq!(find(r#"{"ociVersion":"1.0.0","x-mine":1,"org.example":{},"com.example.y":[]}"#), []);
        let found = find(r#"{"ociVersion":"1.0.0","frobnication":{"a":1}}"#);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, Severity::Warning);
    }

    #[test]
    fn everything_wrong_is_found_at_once() {
        let found = errors(
            r#"{"root":{"path":7},"process":{"cwd":null,"args":"sh","user":{"uid":-1},"terminal":"true"},
                "linux":{"namespaces":[{"type":"netwrok"},null],"sysctl":{"a":1,"a":"2"}}}"#,
        );
        assert_eq!(found.len(), 10, "{found:#?}");
    }

    /// The first of two may be what another program takes for absent.
    #[test]
    fn a_null_is_one_of_two() {
        for twice in [
            r#"{"ociVersion":"1.0.0","hostname":null,"hostname":"second"}"#,
            r#"{"ociVersion":"1.0.0","hostname":"first","hostname":null}"#,
            r#"{"ociVersion":"1.0.0","hostname":null,"hostname":null}"#,
        ] {
            assert_eq!(errors(twice), ["hostname: is given twice"], "{twice}");
        }
        let missing = errors(r#"{"ociVersion":null}"#);
        assert_eq!(missing.len(), 1, "{missing:?}");
    }

    #[test]
    fn foreign_platforms_are_not_read() {
        let node = serde_json::from_str(r#"{"ociVersion":"1.0.0","windows":7,"freebsd":{"a":{"b":1}},"vm":null}"#);
        let (node, found) = check(node.expect("valid"), &SPEC);
        assert_eq!(found, []);
        assert_eq!(node, Node::Object(vec![("ociVersion".into(), Node::Text("1.0.0".into()))]));
    }
}

//! JSON as it was written: a tree that keeps duplicate keys and their order, which `serde_json::Value` does not, and a
//! scan for duplicate keys that is cheap enough for every start of a container.
#![forbid(unsafe_code)]

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use std::fmt;

/// A JSON value with all its members, duplicates included, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// What this is, for "expected …, got …".
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::Number(value) => format!("the number {value}"),
            Self::Text(value) => format!("the string {}", quote(value)),
            Self::List(_) => "an array".into(),
            Self::Object(_) => "an object".into(),
        }
    }

    /// The value without duplicates; where there are any, the last one stands.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(value) => Value::Number(value),
            Self::Text(value) => Value::String(value),
            Self::List(list) => Value::Array(list.into_iter().map(Self::into_value).collect()),
            Self::Object(members) => {
                Value::Object(members.into_iter().map(|(key, node)| (key, node.into_value())).collect())
            }
        }
    }
}

/// A string as a message shows it: quoted, escaped, and cut when it is long.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Build;

        impl<'de> Visitor<'de> for Build {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Number(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Node, E> {
                Ok(Node::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(node) = access.next_element()? {
                    list.push(node);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = access.next_entry()? {
                    members.push(member);
                }
                Ok(Node::Object(members))
            }
        }

        deserializer.deserialize_any(Build)
    }
}

/// Whether a second, closer look at valid JSON is needed: some object may have a key twice, some string a NUL, or a list may
/// stand in an object's place, which the derived types would read by position, or an object in a name's. Says yes too often (an escaped key is not
/// decoded here) but never too seldom. Must only be given what a JSON parser accepted.
pub(super) fn needs_closer_look(json: &[u8]) -> bool {
    // Start of each open object's keys in `keys`; an array needs no entry, as its strings are never followed by a colon.
    let mut objects: Vec<usize> = Vec::with_capacity(16);
    let mut keys: Vec<&[u8]> = Vec::with_capacity(128);
    let mut at = 0;
    let mut is_null = false;
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'{' => objects.push(keys.len()),
            b'}' => {
                let Some(start) = objects.pop() else { return true };
                // The derived types take `{"mount": null}` for the name "mount".
                if is_null && keys.len() == start + 1 {
                    return true;
                }
                is_null = false;
                if has_twins(&mut keys[start..]) {
                    return true;
                }
                keys.truncate(start);
            }
            b'"' => {
                let start = at;
                let mut escaped = false;
                loop {
                    match json.get(at) {
                        Some(b'"') => break,
                        Some(b'\\') => {
                            // The only way to write a NUL in JSON is to escape it.
                            if json[at + 1..].starts_with(b"u0000") {
                                return true;
                            }
                            escaped = true;
                            at += 2;
                        }
                        Some(_) => at += 1,
                        None => return true,
                    }
                }
                let text = &json[start..at];
                at += 1;
                while matches!(json.get(at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
                    at += 1;
                }
                if json.get(at) == Some(&b':') {
                    if escaped {
                        return true;
                    }
                    keys.push(text);
                    at += 1;
                    while matches!(json.get(at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
                        at += 1;
                    }
                    is_null = json.get(at) == Some(&b'n');
                    if json.get(at) == Some(&b'[') {
                        if !super::schema::is_list(text) {
                            return true;
                        }
                        at += 1;
                    }
                }
            }
            // Not the value of a property: no list of lists exists.
            b'[' => return true,
            _ => {}
        }
    }
    false
}

fn has_twins(keys: &mut [&[u8]]) -> bool {
    // Real objects are small, and comparing each pair costs less than sorting; a hostile one must not cost its square.
    if keys.len() <= 24 {
        keys.iter().enumerate().any(|(index, key)| keys[..index].contains(key))
    } else {
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair[0] == pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_duplicates_in_order() {
        let node: Node = serde_json::from_str(r#"{"b":1,"a":[null,true,-2,1.5,"x"],"b":{}}"#).expect("valid");
        let Node::Object(members) = &node else { panic!("not an object: {node:?}") };
        assert_eq!(members.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["b", "a", "b"]);
        assert_eq!(node.into_value(), serde_json::json!({"a": [null, true, -2, 1.5, "x"], "b": {}}));
    }

    #[test]
    fn looks_closer_where_it_must() {
        for (json, expected) in [
            (r#"{"a":1,"b":{"a":2}}"#, false),
            (r#"{"a":1,"a":2}"#, true),
            (r#"{"mounts":[{"a" : 1 , "env":["a","a"], "b":"a"}, {"a":2}]}"#, false),
            (r#"{"x":{"k":"v","k":"w"}}"#, true),
            (r#"{"x":"{\"a\":1,\"a\":2}"}"#, false),
            (r#"{"a\u0062":1}"#, true),
            (r#"{"a":"x\u0000"}"#, true),
            (r#"{"a":"x\\u0000"}"#, false),
            (r#"{"a":"\\","b":"\\\"","c":1}"#, false),
            ("[]", true),
            (r#"{"args" : ["a", "b"]}"#, false),
            (r#"{"args":["a", ["b"]]}"#, true),
            (r#"{"root":["rootfs", true]}"#, true),
            (r#"{"type":{"mount": null }}"#, true),
            (r#"{"flags":[{"SECCOMP_FILTER_FLAG_LOG":null}]}"#, true),
            (r#"{"a":{"b":null,"c":1},"d":{"e":1,"f":null},"g":null}"#, false),
        ] {
            serde_json::from_str::<serde::de::IgnoredAny>(json).expect(json);
            assert_eq!(needs_closer_look(json.as_bytes()), expected, "{json}");
        }
        let many: String = (0..100).map(|i| format!("\"k{i}\":0,")).collect();
        assert!(!needs_closer_look(format!("{{{many}\"z\":0}}").as_bytes()));
        assert!(needs_closer_look(format!("{{{many}\"k7\":0}}").as_bytes()));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            needs_closer_look(&bytes);
        }

        #[test]
        fn never_panics_on_almost_json(text in r#"[\[\]{}",:\\u0a ]{0,40}"#) {
            needs_closer_look(text.as_bytes());
        }
    }
}

//! JSON for the fuzz targets: texts of every shape, and a tree of what `serde_json` reads in them, doubled names included.
//!
//! Next room: [`super`], the targets.

use crate::fuzzing::{Bytes, mutation};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Names that both generated values and pointers are made of, so that they meet; with what a pointer escapes.
pub(super) const NAMES: [&str; 8] = ["a", "b", "id", "0", "1", "", "a/b", "m~n"];

/// What a mutation puts in.
const FRAGMENTS: [&[u8]; 22] = [
    b"\"a\":",
    b",\"a\":1",
    b"{\"a\":",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u00e9",
    b"\\u0061",
    b"\\ud83d\\ude00",
    b"\\ud800",
    b"\\udc00",
    b"1e400",
    b"-0",
    b"01",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\0",
];

/// A pointer of up to four parts; the empty one is the whole value.
pub(super) fn pointer() -> impl Strategy<Value = String> {
    vec(select(&NAMES[..]), 0..4).prop_map(|parts| {
        parts.iter().fold(String::new(), |path, part| path + "/" + &part.replace('~', "~0").replace('/', "~1"))
    })
}

/// A text that is JSON, or was before a few bytes of it changed.
pub(super) fn text() -> impl Strategy<Value = Bytes> {
    let deep = (1_usize..300, select(&["[", "{\"a\":", "{\"a\":["][..])).prop_map(|(depth, open)| {
        let close: String =
            open.chars().rev().filter_map(|c| "[{".find(c).map(|at| ["]", "}"][at])).collect::<Vec<_>>().concat();
        format!("{}1{}", open.repeat(depth), close.repeat(depth))
    });
    let whole = prop_oneof![20 => object(value()).boxed(), 5 => value().boxed(), 1 => deep.boxed()];
    let surrounded = (space(), whole, space()).prop_map(|(before, text, after)| format!("{before}{text}{after}"));
    let changes = prop_oneof![3 => Just(vec![]).boxed(), 2 => vec(mutation(&FRAGMENTS), 1..4).boxed()];
    (surrounded, changes).prop_map(|(text, changes)| {
        let mut bytes = text.into_bytes();
        for change in changes {
            change.apply(&mut bytes);
        }
        Bytes(bytes)
    })
}

/// A JSON value.
fn value() -> impl Strategy<Value = String> + Clone {
    let leaf = prop_oneof![
        1 => select(&["null", "true", "false"][..]).prop_map(str::to_owned),
        2 => number(),
        2 => string(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| prop_oneof![2 => object(inner.clone()), 1 => array(inner)])
}

pub(super) fn number() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (-20_i64..20).prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        select(&["9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"][..])
            .prop_map(str::to_owned),
        (40_usize..90).prop_map(|digits| "7".repeat(digits)),
    ]
}

fn string() -> impl Strategy<Value = String> + Clone {
    let piece = prop_oneof![
        4 => "[ -!#-\\[\\]-~]{1,9}",
        1 => "[à-ÿ日本😀\u{7f}\u{80}\u{2028}]{1,3}",
        1 => select(&["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0000", "\\u00e9", "\\uD83D\\uDE00"][..])
            .prop_map(str::to_owned),
    ];
    vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// One of the names as JSON, at times with its first character escaped.
fn name() -> impl Strategy<Value = String> {
    (select(&NAMES[..]), 0..6).prop_map(|(name, escape)| match name.chars().next() {
        Some(first) if escape == 0 => format!("\"\\u{:04x}{}\"", u32::from(first), &name[first.len_utf8()..]),
        _ => format!("\"{name}\""),
    })
}

fn object(inner: impl Strategy<Value = String> + Clone + 'static) -> impl Strategy<Value = String> + Clone {
    let member = (space(), name(), space(), space(), inner, space())
        .prop_map(|(a, n, b, c, v, d)| format!("{a}{n}{b}:{c}{v}{d}"));
    (vec(member, 0..5), space())
        .prop_map(
            |(members, inside)| {
                if members.is_empty() { format!("{{{inside}}}") } else { format!("{{{}}}", members.join(",")) }
            },
        )
        .boxed()
}

fn array(inner: impl Strategy<Value = String> + Clone + 'static) -> impl Strategy<Value = String> + Clone {
    (vec(inner, 0..4), space())
        .prop_map(|(elements, inside)| format!("[{inside}{}]", elements.join(&format!("{inside},"))))
        .boxed()
}

fn space() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![6 => Just(""), 1 => select(&[" ", "  ", "\n", "\t", "\r\n "][..])]
}

/// A value as `serde_json` reads it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    /// As a float: what is exact is compared by text.
    Number(f64),
    String(String),
    Array(Vec<Tree>),
    /// In the order of the text; a name may stand twice.
    Object(Vec<(String, Tree)>),
}

/// What `serde_json` says of a text.
#[derive(Debug)]
pub(super) enum Judgement {
    /// It is JSON.
    Value(Tree),
    /// It is not.
    Refused,
    /// It is JSON by grammar and `serde_json` has a limit: on the depth, or on the size of a number.
    Limit,
}

/// Asks `serde_json`.
pub(super) fn judge(text: &[u8]) -> Judgement {
    // It does not look at the bytes of strings that nobody wants.
    if std::str::from_utf8(text).is_err() || serde_json::from_slice::<IgnoredAny>(text).is_err() {
        return Judgement::Refused;
    }
    match serde_json::from_slice(text) {
        Ok(tree) => Judgement::Value(tree),
        Err(error) => {
            let words = error.to_string();
            let limit = words.starts_with("recursion limit") || words.starts_with("number out of range");
            if limit { Judgement::Limit } else { Judgement::Refused }
        }
    }
}

impl Tree {
    /// What a pointer's parts lead to. `Err`: a name on the way stands twice.
    pub(super) fn find(&self, parts: &[&str]) -> Result<Option<&Tree>, ()> {
        let Some((part, rest)) = parts.split_first() else { return Ok(Some(self)) };
        match self {
            Tree::Object(members) => {
                let mut named = members.iter().filter(|(name, _)| name == part);
                match (named.next(), named.next()) {
                    (Some(_), Some(_)) => Err(()),
                    (Some((_, tree)), None) => tree.find(rest),
                    (None, _) => Ok(None),
                }
            }
            Tree::Array(elements) => match part.parse::<usize>() {
                Ok(index) => elements.get(index).map_or(Ok(None), |tree| tree.find(rest)),
                Err(_) => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Tree::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_entry()? {
            list.push(member);
        }
        Ok(Tree::Object(list))
    }
}

//! What is found where, what is refused, and a comparison with `serde_json` on mutated values.

use super::*;

fn fields(pointers: &[&str]) -> Fields {
    Fields::new(pointers.iter().copied()).expect("pointers")
}

/// Kind and text of each pointer.
fn read<'v>(pointers: &[&str], value: &'v str) -> Result<Vec<Option<(Kind, &'v str)>>, Unreadable> {
    let mut fields = fields(pointers);
    fields.read(value.as_bytes())?;
    let text = |found: Found| std::str::from_utf8(found.text(value.as_bytes())).expect("UTF-8");
    Ok((0..pointers.len()).map(|slot| fields.get(slot).map(|found| (found.kind, text(found)))).collect())
}

#[test]
fn finds_top_level_fields_of_every_kind() {
    let value = r#" {"s" : "x\"y" ,"n":-1.5e3,"t":true,"f":false,"z":null,"a":[1, 2],"o":{"k":[]}} "#;
    let found = read(&["/s", "/n", "/t", "/f", "/z", "/a", "/o", "/missing"], value).expect("valid");
    let expected = [
        Some((Kind::String, r#""x\"y""#)),
        Some((Kind::Number, "-1.5e3")),
        Some((Kind::Bool, "true")),
        Some((Kind::Bool, "false")),
        Some((Kind::Null, "null")),
        Some((Kind::Array, "[1, 2]")),
        Some((Kind::Object, r#"{"k":[]}"#)),
        None,
    ];
    assert_eq!(found, expected);
}

#[test]
fn finds_nested_fields_and_their_parents_in_one_pass() {
    let value = r#"{"user":{"id":7,"tags":["a",{"b":"c"}]},"user2":{"id":8}}"#;
    let found = read(&["/user/id", "/user/tags/1/b", "/user/tags", "", "/user/id", "/user/tags/2"], value);
    let expected = [
        Some((Kind::Number, "7")),
        Some((Kind::String, "\"c\"")),
        Some((Kind::Array, r#"["a",{"b":"c"}]"#)),
        Some((Kind::Object, value)),
        Some((Kind::Number, "7")),
        None,
    ];
    assert_eq!(found.expect("valid"), expected);
}

#[test]
fn a_part_is_an_index_in_an_array_and_a_name_in_an_object() {
    assert_eq!(read(&["/0"], "[5]").expect("valid"), [Some((Kind::Number, "5"))]);
    assert_eq!(read(&["/0"], r#"{"0":6}"#).expect("valid"), [Some((Kind::Number, "6"))]);
    assert_eq!(read(&["/00", "/-"], "[5]").expect("valid"), [None, None]);
    assert_eq!(read(&["/a/b"], r#"{"a":5}"#).expect("valid"), [None]);
    assert_eq!(read(&["/a"], "5").expect("valid"), [None]);
}

#[test]
fn names_are_compared_unescaped() {
    let found = read(&["/a~1b", "/m~0n", "/é"], r#"{"a\/b":1,"m~n":2,"\u00e9":3}"#).expect("valid");
    assert_eq!(found.iter().map(|found| found.expect("found").1).collect::<Vec<_>>(), ["1", "2", "3"]);
}

#[test]
fn a_wanted_name_twice_is_refused_anywhere_on_the_way() {
    let twice = |pointers: &[&str], value: &str| matches!(read(pointers, value), Err(Unreadable::Twice { .. }));
    assert!(twice(&["/a"], r#"{"a":1,"b":2,"a":1}"#));
    assert!(twice(&["/a"], r#"{"a":null,"\u0061":1}"#));
    assert!(twice(&["/a/b"], r#"{"a":{"b":1,"b":2}}"#));
    assert!(twice(&["/a/b"], r#"{"a":{"b":1},"a":{}}"#));
    assert!(!twice(&["/b"], r#"{"a":1,"a":2,"b":3}"#), "nobody wants it");
    assert!(!twice(&["/a/b", "/c/b"], r#"{"a":{"b":1},"c":{"b":1}}"#), "two places");
}

#[test]
fn one_reader_forgets_the_value_before() {
    let mut fields = fields(&["/a", "/b"]);
    fields.read(br#"{"a":1,"b":2}"#).expect("valid");
    fields.read(br#"{"b":2}"#).expect("valid");
    assert!(fields.get(0).is_none() && fields.get(1).is_some());
    assert!(fields.read(br#"{"a":1"#).is_err());
    fields.read(br#"{"a":1}"#).expect("a bad value leaves nothing behind");
    assert!(fields.get(0).is_some() && fields.get(1).is_none());
}

#[test]
fn strings_are_unescaped() {
    let unescape = |value: &str| {
        let mut fields = fields(&[""]);
        fields.read(value.as_bytes()).expect("valid");
        let mut out = b">".to_vec();
        let found = fields.get(0).expect("the whole value");
        fields.append_string(value.as_bytes(), found, &mut out);
        String::from_utf8(out).expect("UTF-8")
    };
    assert_eq!(unescape(r#""""#), ">");
    assert_eq!(unescape(r#""plain 日本""#), ">plain 日本");
    assert_eq!(unescape(r#""\"\\\/\b\f\n\r\t""#), ">\"\\/\u{8}\u{c}\n\r\t");
    assert_eq!(unescape(r#""\u00e9\ud83d\ude00x""#), ">é😀x");
    assert_eq!(unescape(r#"  "a\u0000b" "#), ">a\0b");
}

#[test]
fn all_of_the_value_is_validated() {
    let refused = [
        "",
        "   ",
        "{",
        "{}x",
        "{} {}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{'a':1}",
        "[1,]",
        "[1 2]",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "0x10",
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "truee",
        "\"open",
        "\"a\nb\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\u{feff}{}",
        "{\"x\":\"\\ud800\"}",
        "{\"x\":[1,{\"y\":tru}]}",
    ];
    for value in refused {
        for pointers in [&[][..], &["/x/y"][..], &[""][..]] {
            let outcome = read(pointers, value);
            assert!(matches!(outcome, Err(Unreadable::Json { .. })), "{value}: {outcome:?}");
        }
    }
    for value in ["0", "-0", "1e400", "[]", "{}", "null", "\"\"", " [1 , {\"a\" : [ ] } ] \r\n\t"] {
        assert!(read(&["/a"], value).is_ok(), "{value}");
    }
}

#[test]
fn bad_utf8_is_found_in_fields_that_nobody_wants() {
    for value in [&b"{\"x\":\"\xff\"}"[..], b"{\"x\xc0\xaf\":1}", b"[\"\xed\xa0\x80\"]", b"\"\xf0\x9f\""] {
        assert!(matches!(fields(&["/y"]).read(value), Err(Unreadable::Utf8 { .. })), "{value:?}");
    }
    assert_eq!(fields(&[]).read(b"{\"x\":\"ab\xff\"}"), Err(Unreadable::Utf8 { at: 8 }));
}

#[test]
fn depth_is_limited_instead_of_the_stack() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&[], &nested(150)).is_ok());
    for depth in [1_000, 1_000_000] {
        assert!(matches!(read(&["/0/0"], &nested(depth)), Err(Unreadable::Json { .. })), "{depth}");
        assert!(read(&[], &"{\"a\":".repeat(depth)).is_err());
    }
}

/// Values that are valid, broken a little at random: whatever is accepted, `serde_json` accepts too, and the other way round
/// but for what is listed, and both find the same.
#[test]
fn agrees_with_serde_json_on_mutated_values() {
    let seeds = [
        r#"{"id":"tx-1","user":{"id":"u-\u00e9\n","n":42},"a":[1,-2.5e3,"x",null,true],"t":1700000000000}"#,
        r#"{"a":"\ud83d\ude00","user":{"id":7},"t":-0,"e":{},"l":[]}"#,
        r#"{"id":"tx-00000001","user":"user-1234567","amount":12.50,"c":"EUR","m":"merchant-7","t":1700000000000}"#,
        "{\"user\": {\"id\" :\"日本\"} , \"t\":\t0.5 }",
    ];
    let alphabet = br#"{}[]":,\/u0123456789abcdefntr -+.eE"#;
    let mut random = 42_u64;
    let mut below = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % bound
    };
    let pointers = ["/user/id", "/t", "/a/1", "/user"];
    let mut fields = fields(&pointers);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..120_000 {
        let mut value = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..below(4) {
            let at = below(value.len());
            match below(4) {
                0 => value[at] = alphabet[below(alphabet.len())],
                1 => value.insert(at, alphabet[below(alphabet.len())]),
                2 => drop(value.remove(at)),
                _ => value[at] ^= 1 << below(8),
            }
        }
        let ours = fields.read(&value);
        let theirs = serde_json::from_slice::<serde_json::Value>(&value);
        match (&ours, &theirs) {
            (Ok(()), Ok(theirs)) => {
                accepted += 1;
                for (slot, pointer) in pointers.iter().enumerate() {
                    let found = fields.get(slot).map(|found| {
                        serde_json::from_slice::<serde_json::Value>(found.text(&value)).expect("what is found is valid")
                    });
                    assert_eq!(found.as_ref(), theirs.pointer(pointer), "{pointer} in {value:?}");
                }
            }
            (Err(_), Err(_)) => refused += 1,
            (Err(Unreadable::Twice { .. }), Ok(_)) => {}
            (Ok(()), Err(error)) if error.to_string().starts_with("number out of range") => {}
            _ => panic!("{}: {ours:?} against {theirs:?}", String::from_utf8_lossy(&value)),
        }
    }
    assert!(accepted > 10_000 && refused > 10_000, "{accepted} accepted, {refused} refused");
}

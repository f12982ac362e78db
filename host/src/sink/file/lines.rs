//! What a row looks like as a line. Pure.

use crate::columns::{Batch, Headers};
use crate::dead_letter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// Appends a value and a newline.
#[inline]
pub(super) fn push_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let Some(value) = value else {
        out.extend_from_slice(b"null\n");
        return;
    };
    let start = out.len();
    out.extend_from_slice(value);
    if value.contains(&b'\n') || value.contains(&b'\r') {
        for byte in &mut out[start..] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
    out.push(b'\n');
}

/// A dead letter as a JSON object.
#[derive(Serialize)]
struct DeadLetter<'a> {
    reason: Option<String>,
    operator: Option<String>,
    position: Option<String>,
    key: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    value: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Option<&'static str>,
    headers: Vec<Header<'a>>,
}

#[derive(Serialize)]
struct Header<'a> {
    name: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_encoding: Option<&'static str>,
    value: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Option<&'static str>,
}

/// Bytes as JSON can carry them.
#[derive(Serialize)]
#[serde(untagged)]
enum Text<'a> {
    Utf8(&'a str),
    Base64(String),
}

impl<'a> Text<'a> {
    fn new(bytes: &'a [u8]) -> Text<'a> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Text::Utf8(text),
            Err(_) => Text::Base64(STANDARD.encode(bytes)),
        }
    }

    fn encoding(&self) -> Option<&'static str> {
        match self {
            Text::Utf8(_) => None,
            Text::Base64(_) => Some("base64"),
        }
    }
}

/// Appends a dead letter and a newline. The row must exist.
pub(super) fn push_dead_letter(out: &mut Vec<u8>, batch: &Batch, row: usize) {
    let key = batch.keys.get(row).map(Text::new);
    let value = batch.values.get(row).map(Text::new);
    let mut letter = DeadLetter {
        reason: None,
        operator: None,
        position: None,
        key_encoding: key.as_ref().and_then(Text::encoding),
        key,
        value_encoding: value.as_ref().and_then(Text::encoding),
        value,
        headers: Vec::new(),
    };
    if let Some(headers) = &batch.headers {
        letter.add_headers(headers, row);
    }
    serde_json::to_writer(&mut *out, &letter).expect("text and lists are JSON, and a vector takes them");
    out.push(b'\n');
}

impl<'a> DeadLetter<'a> {
    fn add_headers(&mut self, headers: &'a Headers, row: usize) {
        let first = headers.rows.partition_point(|of| (*of as usize) < row);
        let last = headers.rows.partition_point(|of| *of as usize <= row);
        for entry in first..last {
            let (name, value) = (headers.names.bytes(entry), headers.values.get(entry));
            let own = match std::str::from_utf8(name) {
                Ok(dead_letter::REASON) => &mut self.reason,
                Ok(dead_letter::OPERATOR) => &mut self.operator,
                Ok(dead_letter::POSITION) => &mut self.position,
                _ => {
                    self.headers.push(Header::new(name, value));
                    continue;
                }
            };
            *own = value.map(|value| String::from_utf8_lossy(value).into_owned());
        }
    }
}

impl<'a> Header<'a> {
    fn new(name: &'a [u8], value: Option<&'a [u8]>) -> Header<'a> {
        let (name, value) = (Text::new(name), value.map(Text::new));
        Header { name_encoding: name.encoding(), name, value_encoding: value.as_ref().and_then(Text::encoding), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_one_line() {
        let mut out = Vec::new();
        push_value(&mut out, Some(b"{\"a\":\r\n 1}"));
        push_value(&mut out, None);
        push_value(&mut out, Some(b"2"));
        assert_eq!(out, b"{\"a\":   1}\nnull\n2\n");
    }

    #[test]
    fn a_dead_letter_says_what_where_and_why() {
        let mut batch = Batch::default();
        batch.keys.push(None);
        batch.values.push(Some(b"first"));
        batch.keys.push(Some(b"user\n1"));
        batch.values.push(Some(b"\xff\xfe"));
        batch.timestamps.extend([0, 0]);
        let mut headers = Headers::default();
        let mut add = |row, name: &[u8], value: Option<&[u8]>| {
            headers.rows.push(row);
            headers.names.push(Some(name));
            headers.values.push(value);
        };
        add(0, b"other", Some(b"row 0"));
        add(1, b"trace", Some(b"\x80"));
        add(1, b"empty", None);
        add(1, dead_letter::REASON.as_bytes(), Some(b"not JSON"));
        add(1, dead_letter::OPERATOR.as_bytes(), Some(b"payments"));
        add(1, dead_letter::POSITION.as_bytes(), Some(b"payments[0]@17"));
        batch.headers = Some(headers);

        let mut out = Vec::new();
        push_dead_letter(&mut out, &batch, 1);
        assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1));
        let found: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = json!({
            "reason": "not JSON",
            "operator": "payments",
            "position": "payments[0]@17",
            "key": "user\n1",
            "value": "//4=",
            "value_encoding": "base64",
            "headers": [
                {"name": "trace", "value": "gA==", "value_encoding": "base64"},
                {"name": "empty", "value": null},
            ],
        });
        assert_eq!(found, expected);
    }
}

//! One pass over a JSON value: validates all of it and finds the places that pointers name. The only user of the JSON crate.
//!
//! It decides nothing about types: it gives each place's kind and text. Grammar and UTF-8 are checked everywhere, also in
//! fields that nobody asked for, because a sink hands the value on. What most records are made of (objects of plain strings
//! and numbers) is scanned by [`super::scan`], in a third of the crate's time; everything else, and every refusal, is the
//! crate's. Next room: [`super`], which makes keys and times of it.

use super::pointer::{PointerError, PointerTree, ROOT};
use super::scan;
use jiter::{Jiter, JiterError, Peek};

/// Finds the values of several pointers in one value after the other.
#[derive(Debug)]
pub(super) struct Fields {
    tree: PointerTree,
    /// Per pointer: what the last value has there.
    found: Vec<Option<Found>>,
    /// Per node of the tree: the value (by number) in which it was last met.
    seen: Vec<u64>,
    /// Numbers the values, so that `seen` need not be cleared.
    value: u64,
    /// Room for strings with escapes, kept from value to value.
    tape: Vec<u8>,
}

/// A place in a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// What is there.
    pub(super) kind: Kind,
    start: usize,
    end: usize,
}

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// `[...]`.
    Array,
    /// `{...}`.
    Object,
}

/// Why a value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is not UTF-8 from this byte on.
    Utf8 {
        /// The byte, from 0.
        at: usize,
    },
    /// It is not one JSON value.
    Json {
        /// What is wrong.
        what: String,
        /// The byte, from 0.
        at: usize,
    },
    /// A name on the way to a wanted field stands twice in its object, so it is not known which one is meant.
    Twice {
        /// The name.
        name: String,
    },
}

impl Found {
    /// The place's JSON text in the value it was found in.
    #[inline]
    pub(super) fn text(self, value: &[u8]) -> &[u8] {
        &value[self.start..self.end]
    }
}

impl Kind {
    /// What an error calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

impl Fields {
    /// Prepares the pointers. Without any, values are only validated.
    pub(super) fn new<'a>(pointers: impl IntoIterator<Item = &'a str> + Clone) -> Result<Fields, PointerError> {
        let count = pointers.clone().into_iter().count();
        let tree = PointerTree::new(pointers)?;
        Ok(Fields { found: vec![None; count], seen: vec![0; tree.len()], tree, value: 0, tape: Vec::new() })
    }

    /// Reads a value whole. Afterwards [`Fields::get`] knows what it has.
    pub(super) fn read(&mut self, value: &[u8]) -> Result<(), Unreadable> {
        if simdutf8::basic::from_utf8(value).is_err() {
            let at = simdutf8::compat::from_utf8(value).err().map_or(0, |error| error.valid_up_to());
            return Err(Unreadable::Utf8 { at });
        }
        self.forget();
        if self.scan_all(value).is_some() {
            return Ok(());
        }
        self.forget();
        let mut json = Jiter::with_tape(value, std::mem::take(&mut self.tape));
        let outcome = self.read_all(&mut json);
        self.tape = json.into_tape();
        outcome
    }

    /// What the last value has at a pointer; `None` if nothing.
    #[inline]
    pub(super) fn get(&self, pointer: usize) -> Option<Found> {
        self.found[pointer]
    }

    /// Appends the unescaped UTF-8 of a string that was found in `value`.
    #[inline]
    pub(super) fn append_string(&mut self, value: &[u8], found: Found, out: &mut Vec<u8>) {
        let text = found.text(value);
        let inner = &text[1..text.len() - 1];
        if !inner.contains(&b'\\') {
            out.extend_from_slice(inner);
            return;
        }
        let mut json = Jiter::with_tape(text, std::mem::take(&mut self.tape));
        let unescaped = json.next_str().expect("the string was validated when it was found");
        out.extend_from_slice(unescaped.as_bytes());
        self.tape = json.into_tape();
    }

    fn forget(&mut self) {
        self.found.fill(None);
        self.value += 1;
    }

    /// The quick way through a value. `None` says nothing about the value but that [`Fields::read_all`] must judge it.
    fn scan_all(&mut self, value: &[u8]) -> Option<()> {
        let start = scan::after_space(value, 0)?;
        let end = self.scan_value(value, ROOT, start)?;
        scan::after_space(value, end).is_none().then_some(())
    }

    /// Scans the value at a node of the tree that begins at `start`; gives the byte after it.
    #[inline]
    fn scan_value(&mut self, value: &[u8], node: usize, start: usize) -> Option<usize> {
        let walks_on = node == ROOT || !self.tree.node(node).is_leaf();
        let (kind, end) = match value.get(start)? {
            b'{' if walks_on => (Kind::Object, self.scan_object(value, node, start)?),
            b'[' if !self.tree.node(node).is_leaf() => return None,
            _ => self.skip_value(value, start)?,
        };
        for &slot in &self.tree.node(node).slots {
            self.found[slot] = Some(Found { kind, start, end });
        }
        Some(end)
    }

    /// Scans an object whose brace is at `start`. Recursive as deep as the pointers are, which is limited.
    fn scan_object(&mut self, value: &[u8], node: usize, start: usize) -> Option<usize> {
        let mut at = scan::after_space(value, start + 1)?;
        if value[at] == b'}' {
            return Some(at + 1);
        }
        loop {
            if value[at] != b'"' {
                return None;
            }
            let name_end = scan::string_end(value, at + 1)?;
            let child = self.tree.named(node, &value[at + 1..name_end]);
            at = scan::after_space(value, name_end + 1)?;
            if value[at] != b':' {
                return None;
            }
            at = scan::after_space(value, at + 1)?;
            at = match child {
                None => self.skip_value(value, at)?.1,
                Some(child) if std::mem::replace(&mut self.seen[child], self.value) == self.value => return None,
                Some(child) => self.scan_value(value, child, at)?,
            };
            at = scan::after_space(value, at)?;
            match value[at] {
                b',' => at = scan::after_space(value, at + 1)?,
                b'}' => return Some(at + 1),
                _ => return None,
            }
        }
    }

    /// The kind of the value that begins at `start`, and the byte after it.
    #[inline]
    fn skip_value(&mut self, value: &[u8], start: usize) -> Option<(Kind, usize)> {
        Some(match value.get(start)? {
            b'"' => match scan::string_end(value, start + 1) {
                Some(quote) => (Kind::String, quote + 1),
                None => (Kind::String, self.skip_by_crate(value, start, Peek::String)?),
            },
            b'-' | b'0'..=b'9' => (Kind::Number, scan::number_end(value, start)?),
            b't' => (Kind::Bool, scan::literal_end(value, start, b"true")?),
            b'f' => (Kind::Bool, scan::literal_end(value, start, b"false")?),
            b'n' => (Kind::Null, scan::literal_end(value, start, b"null")?),
            b'[' => (Kind::Array, self.skip_by_crate(value, start, Peek::Array)?),
            b'{' => (Kind::Object, self.skip_by_crate(value, start, Peek::Object)?),
            _ => return None,
        })
    }

    /// The byte after a nested value or a string with escapes.
    fn skip_by_crate(&mut self, value: &[u8], start: usize, peek: Peek) -> Option<usize> {
        let mut json = Jiter::with_tape(&value[start..], std::mem::take(&mut self.tape));
        let skipped = json.known_skip(peek).is_ok();
        let end = start + json.current_index();
        self.tape = json.into_tape();
        skipped.then_some(end)
    }

    fn read_all(&mut self, json: &mut Jiter<'_>) -> Result<(), Unreadable> {
        let peek = json.peek()?;
        self.visit(json, ROOT, peek)?;
        json.finish()?;
        Ok(())
    }

    /// Reads the value at a node of the tree. Recursive as deep as the pointers are, which is limited.
    fn visit(&mut self, json: &mut Jiter<'_>, node: usize, peek: Peek) -> Result<(), Unreadable> {
        let start = json.current_index();
        let kind = match peek {
            Peek::Object if !self.tree.node(node).is_leaf() => {
                self.visit_object(json, node)?;
                Kind::Object
            }
            Peek::Array if !self.tree.node(node).is_leaf() => {
                self.visit_array(json, node)?;
                Kind::Array
            }
            other => {
                json.known_skip(other)?;
                kind_of(other)
            }
        };
        let found = Found { kind, start, end: json.current_index() };
        for &slot in &self.tree.node(node).slots {
            self.found[slot] = Some(found);
        }
        Ok(())
    }

    fn visit_object(&mut self, json: &mut Jiter<'_>, node: usize) -> Result<(), Unreadable> {
        let mut name = json.known_object()?;
        while let Some(text) = name {
            match self.tree.named(node, text.as_bytes()) {
                None => json.next_skip()?,
                Some(child) => {
                    if std::mem::replace(&mut self.seen[child], self.value) == self.value {
                        return Err(Unreadable::Twice { name: text.to_owned() });
                    }
                    let peek = json.peek()?;
                    self.visit(json, child, peek)?;
                }
            }
            name = json.next_key()?;
        }
        Ok(())
    }

    fn visit_array(&mut self, json: &mut Jiter<'_>, node: usize) -> Result<(), Unreadable> {
        let mut element = json.known_array()?;
        let mut index = 0;
        while let Some(peek) = element {
            match self.tree.indexed(node, index) {
                None => json.known_skip(peek)?,
                Some(child) => self.visit(json, child, peek)?,
            }
            index += 1;
            element = json.array_step()?;
        }
        Ok(())
    }
}

fn kind_of(peek: Peek) -> Kind {
    match peek {
        Peek::Null => Kind::Null,
        Peek::True | Peek::False => Kind::Bool,
        Peek::String => Kind::String,
        Peek::Array => Kind::Array,
        Peek::Object => Kind::Object,
        _ => Kind::Number,
    }
}

impl From<JiterError> for Unreadable {
    fn from(error: JiterError) -> Unreadable {
        Unreadable::Json { what: error.error_type.to_string(), at: error.index }
    }
}

#[cfg(test)]
mod tests;

//! A source file as the rules see it: code, comments and string literals apart, line by line.
//!
//! A small lexer, not a parser: it knows where comments and literals begin and end, so that a rule about code is not fooled
//! by a word in a sentence. Knows no rule. Next rooms: `words`, `doors`, `shape`, `unsafety`.

/// One line, taken apart.
#[derive(Debug, Default, Clone)]
pub(crate) struct Line {
    /// The code, with every comment left out and every literal's content blanked: `f("")`.
    pub(crate) code: String,
    /// What stands in comments, their marks included.
    pub(crate) comment: String,
    /// Contents of the string literals that begin on this line, as written.
    pub(crate) literals: Vec<String>,
}

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    /// As it is on disk.
    pub(crate) text: String,
    /// Line i + 1 of the file at i.
    pub(crate) lines: Vec<Line>,
}

/// Something that a rule does not allow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Where: `path:line`.
    pub(crate) place: String,
    /// What is wrong and what to do instead.
    pub(crate) advice: String,
}

impl Source {
    /// Takes a file's text apart.
    pub(crate) fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned(), lines: Lexer::new(text).run() }
    }

    /// A complaint about a line, counted from 1.
    pub(crate) fn complain(&self, line: usize, advice: impl Into<String>) -> Complaint {
        Complaint { place: format!("{}:{line}", self.path), advice: advice.into() }
    }

    /// The lines with their numbers, from 1.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Whether a text holds a word: not a part of a longer name.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let is_name = |character: Option<char>| character.is_some_and(|it| it.is_alphanumeric() || it == '_');
    text.match_indices(word)
        .any(|(at, _)| !is_name(text[..at].chars().next_back()) && !is_name(text[at + word.len()..].chars().next()))
}

/// Splits a text into lines of code, comments and literals.
struct Lexer<'a> {
    rest: &'a str,
    lines: Vec<Line>,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Lexer<'a> {
        Lexer { rest: text, lines: vec![Line::default()] }
    }

    fn run(mut self) -> Vec<Line> {
        while let Some(first) = self.rest.chars().next() {
            if self.rest.starts_with("//") {
                self.line_comment();
            } else if self.rest.starts_with("/*") {
                self.block_comment();
            } else if let Some((prefix, hashes)) = raw_string(self.rest).filter(|_| !self.is_inside_name()) {
                self.literal(prefix, &format!("\"{}", "#".repeat(hashes)), false);
            } else if first == '"' {
                self.literal(1, "\"", true);
            } else if first == '\'' && is_character(self.rest) {
                self.literal(1, "'", true);
            } else {
                self.take(first.len_utf8(), |line, text| line.code.push_str(text));
            }
        }
        self.lines
    }

    /// Whether the character before belongs to a name, so that the `r` of `for"` is no raw string.
    fn is_inside_name(&self) -> bool {
        let before = self.line().code.chars().next_back();
        before.is_some_and(|character| character.is_alphanumeric() || character == '_')
    }

    fn line(&self) -> &Line {
        self.lines.last().expect("there is a line from the start")
    }

    /// Moves on by some bytes and hands each line's share to `put`.
    fn take(&mut self, bytes: usize, put: impl Fn(&mut Line, &str)) {
        let (text, rest) = self.rest.split_at(bytes);
        for (index, part) in text.split('\n').enumerate() {
            if index > 0 {
                self.lines.push(Line::default());
            }
            put(self.lines.last_mut().expect("there is a line from the start"), part);
        }
        self.rest = rest;
    }

    fn line_comment(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.take(end, |line, text| line.comment.push_str(text));
    }

    /// Block comments nest in Rust.
    fn block_comment(&mut self) {
        let (mut depth, mut end) = (0, 0);
        while end < self.rest.len() {
            let rest = &self.rest[end..];
            if rest.starts_with("/*") {
                (depth, end) = (depth + 1, end + 2);
            } else if rest.starts_with("*/") {
                (depth, end) = (depth - 1, end + 2);
                if depth == 0 {
                    break;
                }
            } else {
                end += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        self.take(end, |line, text| line.comment.push_str(text));
    }

    fn literal(&mut self, prefix: usize, close: &str, has_escapes: bool) {
        let mut end = prefix;
        while end < self.rest.len() && !self.rest[end..].starts_with(close) {
            let escaped = has_escapes && self.rest[end..].starts_with('\\');
            for _ in 0..=usize::from(escaped) {
                end += self.rest[end..].chars().next().map_or(0, char::len_utf8);
            }
        }
        let content = self.rest[prefix..end].to_owned();
        let line = self.lines.last_mut().expect("there is a line from the start");
        line.literals.push(content);
        line.code.push_str(&self.rest[..prefix]);
        let end = (end + close.len()).min(self.rest.len());
        self.take(end, |_, _| {});
        self.lines.last_mut().expect("there is a line from the start").code.push_str(close);
    }
}

/// The length of a raw string's opening and the number of its hashes: `r"`, `br##"`.
fn raw_string(text: &str) -> Option<(usize, usize)> {
    let letters = ["br", "cr", "r"].into_iter().find(|letters| text.starts_with(letters))?.len();
    let hashes = text[letters..].chars().take_while(|character| *character == '#').count();
    text[letters + hashes..].starts_with('"').then_some((letters + hashes + 1, hashes))
}

/// Whether a quote begins a character literal and not a lifetime: `'a'` and `'\n'`, but `'a` in `&'a str`.
fn is_character(text: &str) -> bool {
    let mut characters = text.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Source, has_word};

    fn code(text: &str) -> Vec<String> {
        Source::new("a.rs", text).lines.into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let source = Source::new("a.rs", "let a = \"x // y\"; // why\nb /* c\n /* d */ */ e");
        let lines = &source.lines;
        assert_eq!((lines[0].code.as_str(), lines[0].comment.as_str()), ("let a = \"\"; ", "// why"));
        assert_eq!(lines[0].literals, ["x // y"]);
        assert_eq!((lines[1].code.as_str(), lines[2].code.as_str()), ("b ", " e"));
        assert_eq!(lines[1].comment, "/* c");
    }

    #[test]
    fn literals_of_every_kind_end_where_they_end() {
        assert_eq!(code(r##"a(r#"x " y"#, b"z", '"', '\'', "\"") + 'b'"##), ["a(r#\"\"#, b\"\", '', '', \"\") + ''"]);
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), ["fn f<'a>(x: &'a str) {}"]);
        assert_eq!(code("let a = \"x\ny\";"), ["let a = \"", "\";"]);
        assert_eq!(code("for\"x\""), ["for\"\""]);
    }

    #[test]
    fn a_word_is_not_a_part_of_a_longer_one() {
        assert!(has_word("use redb::Database", "redb"));
        assert!(!has_word("use redbird::Nest", "redb"));
        assert!(!has_word("let my_redb = 1;", "redb"));
    }
}

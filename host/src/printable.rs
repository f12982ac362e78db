//! Text of the world in our messages: nothing that a terminal would take for a command.
//!
//! Names in a job file, records that somebody else wrote, what a plugin says of itself. Next rooms: [`crate::config`],
//! [`crate::kafka`], whose errors take a name or a value as one line; [`crate::cli`], through which every text leaves.

use std::borrow::Cow;

/// The text as one line, with its control characters escaped, as Rust would write them.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, char::is_control)
}

/// The text with its lines and tabs, and all other control characters escaped.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.is_control() && c != '\n' && c != '\t')
}

fn escaped(text: &str, is_dangerous: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_dangerous) {
        return Cow::Borrowed(text);
    }
    let show = |c: char| if is_dangerous(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(show).collect())
}

#[cfg(test)]
mod tests {
    use super::{printable, printable_lines};

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        assert_eq!(printable("a \"é\" 日\\"), "a \"é\" 日\\");
        assert_eq!(printable("\x1b[2J\r\n\t\0\u{85}"), r"\u{1b}[2J\r\n\t\u{0}\u{85}");
        assert_eq!(printable_lines("\x1b[2J\r\n\tb"), "\\u{1b}[2J\\r\n\tb");
    }
}

//! Text of the world in our messages: one line, and nothing that a terminal would take for a command.
//!
//! Names in a job file, records that somebody else wrote. Next room: [`crate::config`], [`crate::kafka`], whose errors do so.

use std::borrow::Cow;

/// The text with its control characters escaped, as Rust would write them.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let show = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(show).collect())
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        assert_eq!(printable("a \"é\" 日\\"), "a \"é\" 日\\");
        assert_eq!(printable("\x1b[2J\r\n\t\0\u{85}"), r"\u{1b}[2J\r\n\t\u{0}\u{85}");
    }
}

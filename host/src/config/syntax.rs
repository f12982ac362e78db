//! What the TOML parser says, in the form of all other errors.
//!
//! A table that is there twice makes the parser complain about each of its keys too; only the table is reported.

use super::context::Context;
use std::ops::Range;
use toml::de::Error;

/// Longest piece of the text that an error shows, in bytes.
const SHOWN_MAX: usize = 40;

/// Reports what the parser found.
pub(super) fn report(context: &Context<'_>, errors: &[Error]) {
    let mut spans: Vec<(Range<usize>, &str)> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    spans.sort_by_key(|(span, _)| span.start);
    // The end of a table that was there before.
    let mut doubled_until = 0;
    for (span, message) in spans {
        if !message.starts_with("duplicate key") {
            let found = context.text.get(span.clone()).unwrap_or_default().trim();
            let shown = !found.is_empty() && found.len() <= SHOWN_MAX;
            let found = if shown { format!(" at `{}`", found.escape_debug()) } else { String::new() };
            context.error(&span, "", format!("not valid TOML{found}: {message}"));
        } else if let Some(header) = header_around(context.text, &span) {
            doubled_until = context.text[span.end..].find("\n[").map_or(context.text.len(), |at| span.end + at);
            let what = "is there twice; names are the identity of state and positions: rename or remove one";
            context.error(&span, header, what);
        } else if span.start >= doubled_until {
            let found = context.text.get(span.clone()).unwrap_or_default();
            context.error(&span, found, "is there twice; remove one");
        }
    }
}

/// The name in a table's header, if the span lies in one.
fn header_around<'a>(text: &'a str, span: &Range<usize>) -> Option<&'a str> {
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next()?.trim_start();
    let name = line.strip_prefix('[')?;
    name.split_once(']').map(|(name, _)| name.trim())
}

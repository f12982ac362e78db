//! The nearest known word to one that is not known, for hints. Pure.

/// How alike two words must be, from 0 to 1: `topcs` is 0.83 to `topics`, `brokers` 0.29 to `topics`.
const ALIKE: f64 = 0.55;

/// The candidate nearest to a word, if one is near enough to be meant. Case and the choice between `-`, `_` and `.` do not
/// count.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
    let word = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A hint: the nearest candidate, or all of them if there are few, or nothing.
pub(crate) fn hint(word: &str, candidates: &[&str]) -> String {
    if let Some(known) = nearest(word, candidates.iter().copied()) {
        return format!("the nearest is `{known}`");
    }
    match candidates {
        [] => "there is none".to_owned(),
        [only] => format!("the only one is `{only}`"),
        many => format!("known are {}", list(many)),
    }
}

/// Words in backticks, with commas.
pub(crate) fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word_and_another_word_does_not() {
        let words = ["topics", "threads", "on_bad_record", "max_record"];
        assert_eq!(nearest("topcs", words), Some("topics"));
        assert_eq!(nearest("on-bad-record", words), Some("on_bad_record"));
        assert_eq!(nearest("Topics", words), Some("topics"));
        assert_eq!(nearest("compression", words), None);
    }
}

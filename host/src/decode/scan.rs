//! The pieces of JSON text that almost every record is made of, scanned without a library call.
//!
//! Each function says where a piece ends, or `None` for anything that is unusual or wrong: escapes, control characters, bad
//! grammar, the end of the text. The caller then asks the JSON crate, which alone judges and words errors; so a piece that
//! is accepted here must be valid, and one that is not accepted costs time only. UTF-8 was checked before. Next room:
//! [`super::fields`].

/// Longer numbers are left to the JSON crate.
const NUMBER_BYTES_MAX: usize = 64;

/// The first byte at or after `at` that is no white space.
#[inline]
pub(super) fn after_space(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match text.get(at)? {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            _ => return Some(at),
        }
    }
}

/// The closing quote of a string without escapes. `at` is the byte after the opening one.
#[inline]
pub(super) fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    while let Some(eight) = text.get(at..at + 8) {
        let word = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        let stops = stops(word);
        if stops != 0 {
            at += stops.trailing_zeros() as usize / 8;
            return (text[at] == b'"').then_some(at);
        }
        at += 8;
    }
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' | 0..=0x1f => return None,
            _ => at += 1,
        }
    }
}

/// Marks, in the highest bit of each byte, what ends a run of plain characters: a quote, a backslash, a control character.
/// Bits above the lowest mark may be wrong (a subtraction borrows from the byte above), so only the lowest one counts.
#[inline]
fn stops(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let equals = |byte: u8| {
        let zero_where_equal = word ^ (ONES * u64::from(byte));
        zero_where_equal.wrapping_sub(ONES) & !zero_where_equal
    };
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (equals(b'"') | equals(b'\\') | control) & HIGHS
}

/// The byte after a number that begins at `at`.
#[inline]
pub(super) fn number_end(text: &[u8], at: usize) -> Option<usize> {
    let whole = at + usize::from(text.get(at) == Some(&b'-'));
    let mut end = digits_end(text, whole)?;
    if text[whole] == b'0' && end - whole > 1 {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        end = digits_end(text, end + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let signed = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = digits_end(text, end + 1 + signed)?;
    }
    (end - at <= NUMBER_BYTES_MAX).then_some(end)
}

/// The byte after one or more digits.
#[inline]
fn digits_end(text: &[u8], start: usize) -> Option<usize> {
    let mut end = start;
    while text.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    (end > start).then_some(end)
}

/// The byte after a literal (`true`, `false`, `null`) that should stand at `at`.
#[inline]
pub(super) fn literal_end(text: &[u8], at: usize, literal: &[u8]) -> Option<usize> {
    let end = at + literal.len();
    (text.get(at..end)? == literal).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every stop at every distance, behind every kind of plain byte: the eight-byte way must equal the plain one.
    #[test]
    fn a_string_ends_where_a_plain_loop_says() {
        let plain = |text: &[u8]| {
            let stop = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
            (text[stop] == b'"').then_some(stop)
        };
        for fill in [b' ', b'!', b'#', b'[', b']', b'a', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
            for length in 0..40 {
                let mut text = vec![fill; length];
                assert_eq!(string_end(&text, 0), None);
                for stop in 0..=255_u8 {
                    text.push(stop);
                    text.extend_from_slice(b"x\"\\ \"");
                    assert_eq!(string_end(&text, 0), plain(&text), "{fill} {length} {stop}");
                    text.truncate(length);
                }
            }
        }
    }

    #[test]
    fn numbers_follow_the_grammar() {
        for number in ["0", "-0", "7", "-120", "0.5", "1.25e10", "1E+2", "3e-7", "-0.0"] {
            for after in ["", ",", "}", " ", "x"] {
                let text = format!("{number}{after}");
                assert_eq!(number_end(text.as_bytes(), 0), Some(number.len()), "{text}");
            }
        }
        for text in ["", "-", "01", "-01", "1.", ".5", "1e", "1e+", "+1", "x", "-x"] {
            assert_eq!(number_end(text.as_bytes(), 0), None, "{text}");
        }
        assert_eq!(number_end("1".repeat(65).as_bytes(), 0), None);
    }

    #[test]
    fn literals_and_space_end_with_the_text() {
        assert_eq!(literal_end(b"xtrue", 1, b"true"), Some(5));
        assert_eq!(literal_end(b"tru", 0, b"true"), None);
        assert_eq!(literal_end(b"trux", 0, b"true"), None);
        assert_eq!(after_space(b" \t\r\n,", 0), Some(4));
        assert_eq!(after_space(b"  ", 0), None);
        assert_eq!(after_space(b"", 3), None);
    }
}

//! The lines of one file from an offset on, visited where they were read, in bounded memory.
//!
//! Knows nothing of splits, checkpoints or identities. A step never takes long: reading is budgeted in bytes, and a line
//! beyond the limit is skipped over several steps, its beginning kept. Next room: [`super`].

use memchr::memchr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// How much is read at once, in bytes: large enough that the calls do not count, small enough to stay in the cache.
const READ_BYTES: usize = 256 << 10;

/// Reads one file.
#[derive(Debug)]
pub(super) struct Lines {
    file: File,
    buffer: Vec<u8>,
    /// What was read and not yet visited.
    window: Range<usize>,
    /// Where the window begins in the file: always the start of a line, or the file's end.
    offset: u64,
    /// How much of the window is known to have no line end.
    searched: usize,
    /// A longer line is cut to one byte more than this, so that whoever checks the limit refuses it.
    line_bytes_max: usize,
    /// While a line beyond the limit is skipped: how far the file was searched. The window holds the line's beginning.
    skipped_to: Option<u64>,
    /// What the rest of a skipped line is read into; empty until there is one.
    scratch: Vec<u8>,
    /// The end was reached: what is appended from here on would go on inside the last line.
    ended: bool,
}

/// What a step found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A line that is not empty, without its end.
    Line {
        /// Where it begins in the file.
        offset: u64,
        /// Where it is: see [`Lines::bytes`].
        at: Range<usize>,
    },
    /// The budget is used up.
    Later,
    /// The file has ended. Its last line may have had no line end.
    End,
}

impl Lines {
    /// Lines of `file` from `offset` on, which is the start of a line.
    pub(super) fn new(file: File, offset: u64, line_bytes_max: usize) -> Lines {
        Lines {
            file,
            buffer: vec![0; READ_BYTES],
            window: 0..0,
            offset,
            searched: 0,
            line_bytes_max,
            skipped_to: None,
            scratch: Vec::new(),
            ended: false,
        }
    }

    /// Goes to the next line. `budget` is how many bytes may still be read; it is lowered by what was.
    pub(super) fn step(&mut self, budget: &mut usize) -> io::Result<Step> {
        loop {
            if self.skipped_to.is_some() {
                return self.skip(budget);
            }
            if let Some(length) = memchr(b'\n', &self.buffer[self.window.start + self.searched..self.window.end]) {
                if let Some(line) = self.take(self.searched + length, 1) {
                    return Ok(line);
                }
                continue;
            }
            self.searched = self.window.len();
            // One byte more than the limit shows that a line is too long; another one may be the `\r` of its end.
            if self.searched >= self.line_bytes_max.saturating_add(2) {
                self.begin_skip();
                continue;
            }
            if self.ended {
                return Ok(Step::End);
            }
            if *budget == 0 {
                return Ok(Step::Later);
            }
            if self.fill(budget)? == 0 {
                self.ended = true;
                return Ok(self.take(self.searched, 0).unwrap_or(Step::End));
            }
        }
    }

    /// The bytes of a line that the last step found.
    #[inline]
    pub(super) fn bytes(&self, at: Range<usize>) -> &[u8] {
        &self.buffer[at]
    }

    /// Where the next line begins in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether a step stopped inside a line: reading it again from its start would cost more than it did so far.
    pub(super) fn is_inside_a_line(&self) -> bool {
        self.skipped_to.is_some() || self.searched > READ_BYTES
    }

    /// The file's length now, in bytes.
    pub(super) fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Takes a line of `length` bytes and its end of `end` bytes from the window. `None` if the line is empty.
    fn take(&mut self, length: usize, end: usize) -> Option<Step> {
        let start = self.window.start;
        let offset = self.offset;
        self.window.start += length + end;
        self.offset += (length + end) as u64;
        self.searched = 0;
        let line = &self.buffer[start..start + length];
        let length = line.strip_suffix(b"\r").unwrap_or(line).len();
        let shown = length.min(self.line_bytes_max.saturating_add(1));
        (length > 0).then_some(Step::Line { offset, at: start..start + shown })
    }

    /// Reads more behind the window; 0 at the end of the file.
    fn fill(&mut self, budget: &mut usize) -> io::Result<usize> {
        if self.window.start > 0 {
            self.buffer.copy_within(self.window.clone(), 0);
            self.window = 0..self.window.len();
        }
        if self.window.is_empty() && self.buffer.len() > READ_BYTES {
            // The long line has passed: what it took is given back.
            self.buffer.truncate(READ_BYTES);
            self.buffer.shrink_to_fit();
        }
        if self.window.end == self.buffer.len() {
            let limit = self.line_bytes_max.saturating_add(2).saturating_add(READ_BYTES);
            self.buffer.resize((self.buffer.len() * 2).min(limit), 0);
        }
        let from = self.offset + self.window.len() as u64;
        let read = read_at(&self.file, &mut self.buffer[self.window.end..], from)?;
        self.window.end += read;
        *budget = budget.saturating_sub(read);
        Ok(read)
    }

    /// Keeps the beginning of a line that is too long and goes on to look for its end only.
    fn begin_skip(&mut self) {
        self.skipped_to = Some(self.offset + self.window.len() as u64);
        self.window.end = self.window.start + self.line_bytes_max + 1;
        self.scratch.resize(READ_BYTES, 0);
    }

    /// Looks for the end of a line that is too long. Only when it is found is the line given out: its offset must stay the
    /// position until then, or a checkpoint in between would go on inside the line.
    fn skip(&mut self, budget: &mut usize) -> io::Result<Step> {
        let mut from = self.skipped_to.expect("a line is being skipped");
        let next_line = loop {
            if *budget == 0 {
                self.skipped_to = Some(from);
                return Ok(Step::Later);
            }
            let read = read_at(&self.file, &mut self.scratch, from)?;
            *budget = budget.saturating_sub(read);
            if let Some(length) = memchr(b'\n', &self.scratch[..read]) {
                break from + length as u64 + 1;
            }
            from += read as u64;
            if read == 0 {
                self.ended = true;
                break from;
            }
        };
        let line = Step::Line { offset: self.offset, at: self.window.clone() };
        self.offset = next_line;
        self.window = self.window.end..self.window.end;
        self.searched = 0;
        self.skipped_to = None;
        self.scratch = Vec::new();
        Ok(line)
    }
}

/// Reads at an offset; a signal in between does not count.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const NO_LIMIT: usize = 1 << 20;

    fn lines(content: &[u8], line_bytes_max: usize) -> Lines {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        Lines::new(file, 0, line_bytes_max)
    }

    /// All lines with their offsets, in steps of a small budget.
    fn all(lines: &mut Lines) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        loop {
            let mut budget = 1_000;
            match lines.step(&mut budget).expect("readable") {
                Step::Line { offset, at } => found.push((offset, lines.bytes(at).to_vec())),
                Step::Later => {}
                Step::End => return found,
            }
        }
    }

    fn line(offset: u64, bytes: &[u8]) -> (u64, Vec<u8>) {
        (offset, bytes.to_vec())
    }

    #[test]
    fn line_ends_and_empty_lines_are_left_out() {
        let mut lines = lines(b"\n\r\na\r\n\nbb\n\r\r\nccc", NO_LIMIT);
        assert_eq!(all(&mut lines), [line(3, b"a"), line(7, b"bb"), line(10, b"\r"), line(13, b"ccc")]);
        assert_eq!(lines.offset(), 16);
        assert_eq!(lines.step(&mut 1).expect("readable"), Step::End, "the end stays the end");
    }

    #[test]
    fn nothing_and_only_empty_lines_end_at_once() {
        assert_eq!(all(&mut lines(b"", NO_LIMIT)), []);
        let mut empty = lines(&b"\n".repeat(READ_BYTES + 5), NO_LIMIT);
        assert_eq!(all(&mut empty), []);
        assert_eq!(empty.offset(), READ_BYTES as u64 + 5);
    }

    #[test]
    fn lines_across_reads_are_whole() {
        let content: Vec<u8> = (0..60_000).flat_map(|i| format!("line {i}\r\n").into_bytes()).collect();
        assert!(content.len() > 2 * READ_BYTES);
        let found = all(&mut lines(&content, NO_LIMIT));
        assert_eq!(found.len(), 60_000);
        let mut offset = 0;
        for (i, (at, bytes)) in found.iter().enumerate() {
            assert_eq!((*at, bytes.as_slice()), (offset, format!("line {i}").as_bytes()));
            offset += bytes.len() as u64 + 2;
        }
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_whole_below_the_limit() {
        let long = vec![b'x'; 3 * READ_BYTES + 7];
        let content = [&b"a\n"[..], &long, b"\nb\n"].concat();
        let mut lines = lines(&content, NO_LIMIT);
        let found = all(&mut lines);
        assert_eq!(found, [line(0, b"a"), line(2, &long), line(3 + long.len() as u64, b"b")]);
        assert_eq!(lines.buffer.len(), READ_BYTES, "the memory is given back");
    }

    #[test]
    fn the_limit_is_exact_and_a_longer_line_is_cut_behind_it() {
        for end in [&b"\n"[..], b"\r\n", b""] {
            for (length, shown) in [(9, 9), (10, 10), (11, 11), (12, 11), (13, 11), (5_000_000, 11)] {
                let content = [&b"first\n"[..], &vec![b'x'; length], end].concat();
                let mut lines = lines(&content, 10);
                let found = all(&mut lines);
                assert_eq!(found, [line(0, b"first"), line(6, &vec![b'x'; shown])], "{length} {end:?}");
                assert_eq!(lines.offset(), content.len() as u64);
                assert!(lines.buffer.len() <= READ_BYTES + 12 && lines.scratch.is_empty());
            }
        }
    }

    #[test]
    fn a_line_that_is_being_skipped_keeps_its_position() {
        let content = [&b"a\n"[..], &vec![b'x'; 10 << 20], b"\nb\n"].concat();
        let mut lines = lines(&content, 100);
        let step = |lines: &mut Lines| lines.step(&mut (1 << 20)).expect("readable");
        assert!(matches!(step(&mut lines), Step::Line { offset: 0, .. }));
        let mut later = 0;
        let found = loop {
            match step(&mut lines) {
                Step::Later => {
                    later += 1;
                    assert!(lines.is_inside_a_line());
                    assert_eq!(lines.offset(), 2);
                }
                found => break found,
            }
        };
        assert!(later >= 8, "{later}");
        let Step::Line { offset: 2, at } = found else { panic!("{found:?}") };
        assert_eq!(lines.bytes(at).len(), 101);
        assert_eq!(lines.offset(), 3 + (10 << 20));
        assert!(!lines.is_inside_a_line());
        assert!(matches!(step(&mut lines), Step::Line { offset: 10_485_763, .. }));
    }
}

//! The file source as its driver sees it: polling, positions, resuming, and every way in which a file can change.

use super::*;
use std::collections::VecDeque;
use std::fs;
use std::io::Write;

const NO_LIMIT: usize = 1 << 20;

/// A folder with one file, and what a checkpoint 0 says of it.
struct Input {
    folder: tempfile::TempDir,
    splits: Vec<SplitState>,
}

impl Input {
    fn new(content: &[u8]) -> Input {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.jsonl"), content).expect("written");
        let splits = resolve("pay", folder.path()).expect("resolved").splits;
        Input { folder, splits }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.jsonl")
    }

    fn open(&self) -> Result<FileReader, SourceError> {
        FileReader::open("pay", &self.splits, NO_LIMIT)
    }

    /// The states with the first split at another offset.
    fn at(&self, offset: u64) -> Vec<SplitState> {
        let mut splits = self.splits.clone();
        let (identity, _) = Identity::of(&splits[0].position).expect("a file");
        splits[0].position = identity.at(offset);
        splits
    }

    fn append(&self, content: &[u8]) {
        let mut file = fs::OpenOptions::new().append(true).open(self.path()).expect("opened");
        file.write_all(content).expect("written");
    }
}

fn poll(reader: &mut FileReader, split: u32, records_max: usize) -> Result<(Polled, Vec<(i64, String)>), SourceError> {
    let mut records = Vec::new();
    let mut visit = |raw: RawRecord<'_>| {
        assert!(raw.key.is_none() && raw.timestamp.is_none() && raw.headers.entries.is_empty());
        records.push((raw.offset, String::from_utf8_lossy(raw.value.expect("a value")).into_owned()));
    };
    let polled = reader.poll(SplitIndex(split), records_max, &mut visit)?;
    Ok((polled, records))
}

/// Everything from here to the end.
fn rest(reader: &mut FileReader, split: u32) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    loop {
        let (polled, records) = poll(reader, split, 3).expect("polled");
        match polled {
            Polled::Records(count) => assert_eq!(count, records.len()),
            Polled::Pending => assert!(records.is_empty()),
            Polled::Finished => {
                assert!(records.is_empty());
                return all;
            }
            Polled::CaughtUp => panic!("a file is never caught up"),
        }
        all.extend(records);
    }
}

fn offset(reader: &FileReader, split: u32) -> u64 {
    Identity::of(&reader.position(SplitIndex(split))).expect("a file").1
}

fn records(of: &[(i64, &str)]) -> Vec<(i64, String)> {
    of.iter().map(|(offset, text)| (*offset, (*text).to_owned())).collect()
}

fn changed_text(outcome: Result<impl Sized, SourceError>) -> String {
    match outcome {
        Err(error @ SourceError::Changed { .. }) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn lines_come_in_order_with_their_offsets() {
    let input = Input::new(b"one\r\n\ntwo\nthree");
    let mut reader = input.open().expect("opened");
    assert_eq!(reader.splits()[0].topic, input.path().display().to_string());
    assert_eq!(reader.progress(), Some((0, 15)));
    assert_eq!(poll(&mut reader, 0, 2).expect("polled"), (Polled::Records(2), records(&[(0, "one"), (6, "two")])));
    assert_eq!(offset(&reader, 0), 10);
    assert_eq!(reader.progress(), Some((10, 15)));
    assert_eq!(poll(&mut reader, 0, 2).expect("polled"), (Polled::Records(1), records(&[(10, "three")])));
    for _ in 0..2 {
        assert_eq!(poll(&mut reader, 0, 2).expect("polled"), (Polled::Finished, vec![]));
        assert_eq!((offset(&reader, 0), reader.progress()), (15, Some((15, 15))));
    }
}

#[test]
fn an_empty_file_is_finished_at_once() {
    let input = Input::new(b"");
    let mut reader = input.open().expect("opened");
    assert_eq!(poll(&mut reader, 0, 10).expect("polled"), (Polled::Finished, vec![]));
}

/// Wherever a checkpoint is taken, the two halves are the whole.
#[test]
fn resuming_at_every_boundary_gives_the_same_records() {
    let mut content = Vec::new();
    for line in 0..50 {
        content.extend_from_slice("x".repeat(line * 7 % 23).as_bytes());
        content.extend_from_slice(if line % 3 == 0 { b"\r\n" } else { b"\n" });
    }
    content.extend_from_slice(b"last, without a line end");
    let input = Input::new(&content);
    let whole = rest(&mut input.open().expect("opened"), 0);
    assert!(whole.len() > 40);
    for taken in 0..=whole.len() {
        let mut first = input.open().expect("opened");
        let mut seen = Vec::new();
        while seen.len() < taken {
            seen.extend(poll(&mut first, 0, (taken - seen.len()).min(4)).expect("polled").1);
        }
        let state = SplitState { position: first.position(SplitIndex(0)), ..input.splits[0].clone() };
        drop(first);
        let mut second = FileReader::open("pay", &[state], NO_LIMIT).expect("opened again");
        seen.extend(rest(&mut second, 0));
        assert_eq!(seen, whole, "after {taken}");
    }
}

#[test]
fn a_line_of_ten_mebibytes_is_cut_and_the_next_one_is_whole() {
    let long = "x".repeat(10 << 20);
    let input = Input::new(format!("a\n{long}\nb\n").as_bytes());
    let mut reader = FileReader::open("pay", &input.splits, 1000).expect("opened");
    assert_eq!(poll(&mut reader, 0, 1).expect("polled").1, records(&[(0, "a")]));
    let mut pending = 0;
    let (polled, found) = loop {
        let (polled, found) = poll(&mut reader, 0, 1).expect("polled");
        if polled != Polled::Pending {
            break (polled, found);
        }
        pending += 1;
        assert_eq!(offset(&reader, 0), 2, "a checkpoint here would read the line again");
    };
    assert!(pending >= 1, "the wait for the line's end is cut into pieces");
    assert_eq!((polled, found[0].0, found[0].1.len()), (Polled::Records(1), 2, 1001));
    assert_eq!(rest(&mut reader, 0), records(&[(3 + (10 << 20), "b")]));
}

#[test]
fn a_finished_split_is_not_looked_at_again() {
    let input = Input::new(b"a\n");
    let mut reader = input.open().expect("opened");
    assert_eq!(rest(&mut reader, 0).len(), 1);
    let finished = SplitState { position: reader.position(SplitIndex(0)), finished: true, ..input.splits[0].clone() };
    fs::remove_file(input.path()).expect("removed");
    reader.verify().expect("nothing to verify");
    let mut again = FileReader::open("pay", &[finished], NO_LIMIT).expect("opened again");
    assert_eq!(poll(&mut again, 0, 1).expect("polled"), (Polled::Finished, vec![]));
    assert_eq!(again.progress(), Some((2, 2)));
}

#[test]
fn what_is_appended_before_the_end_is_read() {
    let input = Input::new(b"a\nb\n");
    let mut reader = input.open().expect("opened");
    poll(&mut reader, 0, 1).expect("polled");
    input.append(b"c\n");
    reader.verify().expect("a longer file is the same file");
    assert_eq!(rest(&mut reader, 0), records(&[(2, "b"), (4, "c")]));
    let resumed = FileReader::open("pay", &input.at(4), NO_LIMIT);
    assert_eq!(rest(&mut resumed.expect("opened"), 0), records(&[(4, "c")]));
}

#[test]
fn a_last_line_that_went_on_after_it_was_read_is_refused() {
    let input = Input::new(b"a\n{\"half\":");
    let mut reader = input.open().expect("opened");
    assert_eq!(poll(&mut reader, 0, 5).expect("polled").1.len(), 2);
    input.append(b"1}\n");
    assert_eq!(
        poll(&mut reader, 0, 5).expect("polled"),
        (Polled::Finished, vec![]),
        "the end stays where it was found"
    );
    let text = changed_text(FileReader::open("pay", &input.at(10), NO_LIMIT));
    assert!(text.contains("grew inside the line") && text.contains("put the file back"), "{text}");
    let ended = Input::new(b"a\nb");
    ended.append(b"\nc\n");
    let mut reader = FileReader::open("pay", &ended.at(3), NO_LIMIT).expect("the line only got its end");
    assert_eq!(rest(&mut reader, 0), records(&[(4, "c")]));
}

#[test]
fn a_file_that_shrank_is_refused_at_start_while_reading_and_before_a_checkpoint() {
    let input = Input::new(b"aaaa\nbbbb\n");
    let mut reader = input.open().expect("opened");
    poll(&mut reader, 0, 1).expect("polled");
    poll(&mut reader, 0, 1).expect("polled");
    fs::OpenOptions::new().write(true).open(input.path()).expect("opened").set_len(5).expect("cut");
    let text = changed_text(reader.verify());
    assert!(text.contains("shrank: 10 bytes of it were read, and it has 5"), "{text}");
    assert!(text.starts_with("source `pay`: `"), "{text}");
    assert!(changed_text(poll(&mut reader, 0, 1)).contains("shrank"));
    assert!(changed_text(FileReader::open("pay", &input.at(10), NO_LIMIT)).contains("shrank"));
    let text = changed_text(FileReader::open("pay", &input.at(5), NO_LIMIT));
    assert!(text.contains("its first 10 bytes are not those that were read"), "{text}");
}

#[test]
fn a_file_that_was_replaced_is_refused() {
    let input = Input::new(b"aaaa\nbbbb\n");
    let mut reader = input.open().expect("opened");
    let other = input.folder.path().join("other");
    fs::write(&other, b"aaaa\nbbbb\n").expect("written");
    fs::rename(&other, input.path()).expect("replaced");
    assert!(changed_text(reader.verify()).contains("was replaced"));
    assert!(changed_text(input.open()).contains("was replaced"));
}

#[test]
fn a_file_that_was_written_anew_in_its_place_is_refused() {
    let input = Input::new(b"aaaa\nbbbb\n");
    fs::write(input.path(), b"cccc\ndddd\neeee\n").expect("written over");
    assert!(changed_text(input.open()).contains("was written anew"));
}

#[test]
fn a_file_that_is_gone_is_refused() {
    let input = Input::new(b"a\n");
    let mut reader = input.open().expect("opened");
    fs::remove_file(input.path()).expect("removed");
    assert!(changed_text(reader.verify()).contains("is gone"));
    assert!(changed_text(input.open()).contains("is gone"));
}

#[test]
fn positions_of_another_kind_are_refused() {
    let mut state = Input::new(b"a\n").splits.remove(0);
    state.position = Position::Kafka {
        cluster_id: String::new(),
        topic: String::new(),
        topic_id: String::new(),
        partition: 0,
        offset: 0,
        leader_epoch: 0,
        until: None,
    };
    assert!(changed_text(FileReader::open("pay", &[state], NO_LIMIT)).contains("another name"));
}

#[test]
fn no_file_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(changed_text(resolve("pay", &folder.path().join("*.jsonl"))).contains("has no file to read"));
}

/// More files than may be open at once, read in turns: every one is whole, and few are open.
#[test]
fn many_files_are_read_in_turns_with_few_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let count = OPEN_FILES_MAX as u32 + 40;
    for file in 0..count {
        let lines: Vec<String> = (0..5).map(|line| format!("{file}-{line}\n")).collect();
        fs::write(folder.path().join(format!("{file:04}")), lines.concat()).expect("written");
    }
    let splits = resolve("pay", folder.path()).expect("resolved").splits;
    let mut reader = FileReader::open("pay", &splits, NO_LIMIT).expect("opened");
    let mut seen = vec![Vec::new(); count as usize];
    let mut turns: VecDeque<u32> = (0..count).collect();
    while let Some(split) = turns.pop_front() {
        let (polled, found) = poll(&mut reader, split, 2).expect("polled");
        seen[split as usize].extend(found.into_iter().map(|(_, text)| text));
        if polled != Polled::Finished {
            turns.push_back(split);
        }
        assert!(reader.splits.iter().filter(|split| split.lines.is_some()).count() <= OPEN_FILES_MAX);
    }
    for (file, lines) in seen.iter().enumerate() {
        assert_eq!(*lines, (0..5).map(|line| format!("{file}-{line}")).collect::<Vec<_>>());
    }
    let (done, total) = reader.progress().expect("files have ends");
    assert_eq!(done, total);
}

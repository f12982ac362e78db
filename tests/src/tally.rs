//! A job that counts, and its judge: lines with a user each go in, and for each line comes out how often its user has come.
//!
//! So a lost line, a doubled line, and state that is ahead of or behind its positions all show in the output. The judge knows
//! what was written and shares no code with the product. In and out are files or topics. Next rooms: [`crate::scene`],
//! [`crate::judge`].

use crate::broker::{self, Broker};
use crate::judge::NewRecord;
use crate::scene::{Run, Running, Scene, plugin};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Different users, so that every shard has some.
const USERS: usize = 40;
/// Event time of the first line, in milliseconds since the Unix epoch.
const TIME: i64 = 1_767_225_600_000;
/// Partitions of the topics.
const PARTITIONS: usize = 2;
/// A supervised job that is not done after so many starts never will be.
const STARTS_MAX: usize = 400;
/// How long a supervisor waits between two starts.
const BACKOFF: Duration = Duration::from_millis(500);

/// Jobs and topics of one test binary share a broker, so each has a number of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// What records are read from or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// `lines.jsonl`, `out/counts.jsonl`.
    File,
    /// Topics of the shared broker.
    Kafka,
}

/// What a job is varied in.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Where lines come from. A topic is read up to what is in it at the first start.
    pub input: Medium,
    /// Where counts go.
    pub output: Medium,
    /// How many lines there are.
    pub lines: usize,
    /// Rounds of arithmetic for each line; a thousand are about a microsecond.
    pub rounds: u64,
    /// Shards.
    pub shards: u16,
}

impl Shape {
    /// Enough lines, and so slow, that there are several checkpoints before the end.
    pub const FILES: Shape =
        Shape { input: Medium::File, output: Medium::File, lines: 12_000, rounds: 30_000, shards: 4 };
    /// The same, with counts in a topic.
    pub const TO_KAFKA: Shape = Shape { output: Medium::Kafka, ..Shape::FILES };
    /// The same, between topics.
    pub const KAFKA: Shape = Shape { input: Medium::Kafka, ..Shape::TO_KAFKA };
}

/// A job that counts.
pub struct Tally {
    /// Where it runs.
    pub scene: Scene,
    /// Its name.
    pub name: String,
    shape: Shape,
    /// `None`: the shared one, if a broker is needed at all.
    broker: Option<&'static Broker>,
    /// The folder of the output, as the test sees it.
    output_folder: PathBuf,
    /// Lines written so far.
    written: AtomicUsize,
}

/// What was found in an output, against what must be there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Counts that are there.
    pub found: usize,
    /// Counts that must be there and are not.
    pub lost: usize,
    /// Counts that are there more than once.
    pub doubled: usize,
    /// Counts that nothing in the input explains, or that stand before a smaller one of the same user.
    pub wrong: usize,
}

impl Tally {
    /// Writes input and job file. `program` is the probed host of the calling test binary.
    ///
    /// # Panics
    /// If there is no room for them, or no broker where one is needed.
    pub fn new(program: &str, shape: Shape) -> Tally {
        Tally::made(None, program, shape)
    }

    /// The same on a broker that is not the shared one.
    pub fn on(broker: &'static Broker, program: &str, shape: Shape) -> Tally {
        Tally::made(Some(broker), program, shape)
    }

    fn made(broker: Option<&'static Broker>, program: &str, shape: Shape) -> Tally {
        let name = format!("tally-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let scene = Scene::new(program);
        let tally =
            Tally { output_folder: scene.path("out"), scene, name, shape, broker, written: AtomicUsize::new(0) };
        fs::create_dir(&tally.output_folder).expect("the folder is made");
        if shape.input == Medium::Kafka {
            tally.broker().create_topic(&tally.lines_topic(), PARTITIONS as i32, &[]);
        }
        if shape.output == Medium::Kafka {
            tally.broker().create_topic(&tally.counts_topic(), PARTITIONS as i32, &[]);
        }
        tally.append(shape.lines);
        tally.scene.write_job(&tally.job());
        tally
    }

    /// The job file's text.
    pub fn job(&self) -> String {
        let Tally { name, shape, .. } = self;
        let Shape { rounds, shards, .. } = shape;
        let (slow, steps) = (plugin("misbehave"), plugin("steps"));
        let connection = if [shape.input, shape.output].contains(&Medium::Kafka) {
            format!("[connection.main]\nkind = \"kafka\"\nbrokers = [\"{}\"]\n", self.broker().address())
        } else {
            String::new()
        };
        let input = match shape.input {
            Medium::File => "kind = \"file\"\npath = \"lines.jsonl\"".to_owned(),
            Medium::Kafka => {
                format!("connection = \"main\"\ntopics = [\"{}\"]\nuntil = \"latest\"", self.lines_topic())
            }
        };
        let output = match shape.output {
            Medium::File => "kind = \"file\"\npath = \"out/counts.jsonl\"".to_owned(),
            Medium::Kafka => format!("connection = \"main\"\ntopic = \"{}\"", self.counts_topic()),
        };
        format!(
            r#"name = "{name}"
shards = {shards}
workers = 2

[store]
path = "tally.redb"

[checkpoint]
interval = "10ms"

[batch]
rows = 16

# Little waits between threads, so that a barrier passes soon.
[limits]
channel = "8KiB"

{connection}
[source.lines]
{input}
key = "user"
timestamp = {{ field = "time" }}

[operator.slow]
plugin = "{slow}"
inputs = {{ main = {{ from = "lines", route = "same-shard" }} }}
config = {{ mode = "slow", rounds = {rounds} }}

[operator.count]
plugin = "{steps}"
inputs = {{ main = "slow.out" }}
config = {{ role = "count" }}

[sink.counts]
{output}
from = ["count.out"]
"#,
            slow = slow.display(),
            steps = steps.display()
        )
    }

    /// Writes the job file with some text replaced, which must be in it.
    ///
    /// # Panics
    /// If it is not.
    pub fn change_job(&self, changes: &[(&str, &str)]) {
        let mut text = self.job();
        for (old, new) in changes {
            assert!(text.contains(old), "`{old}` is not in the job file");
            text = text.replace(old, new);
        }
        self.scene.write_job(&text);
    }

    /// How many lines were written so far.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// The test itself wrote the next line to the input.
    pub fn count_line(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    fn broker(&self) -> &'static Broker {
        self.broker.unwrap_or_else(broker::shared)
    }

    /// The topic that lines come from.
    pub fn lines_topic(&self) -> String {
        format!("{}-lines", self.name)
    }

    /// The topic that counts go to.
    pub fn counts_topic(&self) -> String {
        format!("{}-counts", self.name)
    }

    /// The file that lines come from.
    pub fn input(&self) -> PathBuf {
        self.scene.path("lines.jsonl")
    }

    /// The file that counts go to.
    pub fn output(&self) -> PathBuf {
        self.output_folder.join("counts.jsonl")
    }

    /// From now on the output's folder is looked for here: the host may see another disk than the test.
    pub fn look_for_output_in(&mut self, folder: PathBuf) {
        self.output_folder = folder;
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.scene.path("tally.redb")
    }

    /// Writes more lines behind what is there.
    ///
    /// # Panics
    /// If that fails.
    pub fn append(&self, lines: usize) {
        let first = self.written.fetch_add(lines, Ordering::Relaxed);
        let lines: Vec<(usize, String)> = (first..first + lines).map(|number| (number, line(number))).collect();
        match self.shape.input {
            Medium::File => {
                let mut file =
                    fs::OpenOptions::new().append(true).create(true).open(self.input()).expect("the input is opened");
                let text = lines.iter().fold(String::new(), |mut text, (_, line)| {
                    writeln!(text, "{line}").expect("a String takes it");
                    text
                });
                file.write_all(text.as_bytes()).expect("the input is written");
            }
            Medium::Kafka => self.broker().produce(
                &self.lines_topic(),
                lines.iter().map(|(number, line)| NewRecord {
                    partition: (number % USERS % PARTITIONS) as i32,
                    key: None,
                    value: Some(line.as_bytes()),
                    timestamp: TIME + *number as i64,
                }),
            ),
        }
    }

    /// What is in the output now. A file's last line may be cut while lines are appended; a reader goes by line ends.
    ///
    /// # Panics
    /// If the output is no counts at all.
    pub fn verdict(&self) -> Verdict {
        match self.shape.output {
            Medium::File => {
                let text = fs::read_to_string(self.output()).unwrap_or_default();
                let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
                judge(self.written(), lines.map(str::trim_end))
            }
            Medium::Kafka => {
                let records = self.broker().read_committed(&self.counts_topic());
                judge(self.written(), records.iter().map(crate::judge::Record::text))
            }
        }
    }

    /// Nothing doubled and nothing wrong, if not yet complete. Gives what was found.
    ///
    /// # Panics
    /// If something is.
    pub fn expect_nothing_wrong(&self, what: &str) -> usize {
        let verdict = self.verdict();
        assert!(verdict.doubled == 0 && verdict.wrong == 0, "{what}: {verdict:?}");
        verdict.found
    }

    /// Every count once.
    ///
    /// # Panics
    /// If it is not so.
    pub fn expect_exact(&self, what: &str) {
        let written = self.written();
        let verdict = self.verdict();
        assert_eq!(verdict, Verdict { found: written, ..Verdict::default() }, "{what}: of {written} lines");
    }

    /// Runs the job to its end, which must be right.
    ///
    /// # Panics
    /// If it is not.
    pub fn finish(&self, what: &str) -> Run {
        let run = self.scene.run();
        run.expect_success(what);
        self.expect_exact(what);
        run
    }

    /// Kills the job at a moment in the middle of its input.
    ///
    /// # Panics
    /// If the moment never comes, or what is visible then is wrong or all there is.
    pub fn kill(&self, moment: &str) {
        let run = self.scene.run_and_kill(moment);
        assert!(run.was_killed(), "the kill at {moment} did not hit: {:?}\n{}", run.status, run.log);
        let found = self.expect_nothing_wrong(moment);
        assert!(found < self.written(), "{moment}: all is there: this tests nothing");
    }

    /// Starts the job again as long as it says that a new start may help, as its supervisor does.
    ///
    /// # Panics
    /// If it ends with another code than 0 and 75, or with 75 for ever.
    pub fn supervise(&self, what: &str, longest: Duration) -> Vec<Run> {
        let mut runs = Vec::new();
        let until = Instant::now() + longest;
        for _ in 0..STARTS_MAX {
            let run = self.scene.start(None, &[]).wait_within(longest);
            let code = run.status.code();
            runs.push(run);
            match code {
                Some(0) => return runs,
                Some(75) => std::thread::sleep(BACKOFF),
                code => panic!("{what}: the host ended with {code:?}\n{}", runs.last().map_or("", |run| &run.log)),
            }
            assert!(Instant::now() < until, "{what}: not done within {longest:?}");
        }
        panic!("{what}: not done after {STARTS_MAX} starts\n{}", runs.last().map_or("", |run| &run.log));
    }
}

/// Waits for the first lines of the output, so that a job is in the middle of its work.
pub fn wait_for_output(running: &mut Running, tally: &Tally) {
    running.wait_until("its first output", |_| tally.verdict().found > 0);
}

/// Counts that begin somewhere in the middle: of each user they go on without a gap to the last one.
///
/// # Panics
/// If it is not so.
pub fn judge_end<'a>(written: usize, counts: impl Iterator<Item = &'a str>, what: &str) {
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for count in counts {
        let (user, count) = parse(count);
        let expected = next.get(&user).copied().unwrap_or(count);
        assert_eq!(count, expected, "{what}: user {user}");
        next.insert(user, count + 1);
    }
    let last = expected(written);
    for (user, next) in next {
        assert_eq!(next - 1, last[&user], "{what}: the last count of user {user}");
    }
}

fn parse(count: &str) -> (String, usize) {
    let value: serde_json::Value =
        serde_json::from_str(count).unwrap_or_else(|error| panic!("`{count}` is no JSON: {error}"));
    let (Some(user), Some(count)) = (value["key"].as_str(), value["count"].as_u64()) else {
        panic!("`{count}` is no count");
    };
    (user.to_owned(), count as usize)
}

/// How often each user comes in so many lines.
fn expected(written: usize) -> BTreeMap<String, usize> {
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..written {
        *expected.entry(user(number)).or_default() += 1;
    }
    expected
}

fn user(number: usize) -> String {
    format!("u{}", number % USERS)
}

/// A line of the input.
pub fn line(number: usize) -> String {
    format!(r#"{{"user": "{}", "time": {}, "number": {number}}}"#, user(number), TIME + number as i64)
}

/// Compares counts with what so many lines must give.
fn judge<'a>(written: usize, counts: impl Iterator<Item = &'a str>) -> Verdict {
    let expected = expected(written);
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut verdict = Verdict::default();
    for count in counts {
        verdict.found += 1;
        let (user, count) = parse(count);
        seen.entry(user).or_default().push(count);
    }
    for (user, counts) in &seen {
        let last = expected.get(user).copied().unwrap_or_default();
        let mut times = vec![0_usize; last + 1];
        let mut largest = 0;
        for count in counts {
            match times.get_mut(*count) {
                Some(times) if *count > 0 => *times += 1,
                _ => verdict.wrong += 1,
            }
            // A second one of the same count is a double, a smaller one after a larger is out of order.
            verdict.wrong += usize::from(*count < largest);
            largest = largest.max(*count);
        }
        verdict.doubled += times.iter().map(|times| times.saturating_sub(1)).sum::<usize>();
        verdict.lost += times[1..].iter().filter(|times| **times == 0).count();
    }
    verdict.lost +=
        expected.iter().filter(|(user, _)| !seen.contains_key(*user)).map(|(_, count)| count).sum::<usize>();
    verdict
}

#[cfg(test)]
mod tests {
    use super::{USERS, Verdict, judge};

    fn counts(numbers: impl Iterator<Item = usize>) -> Vec<String> {
        numbers.map(|at| format!(r#"{{"key":"u{}","count":{}}}"#, at % USERS, at / USERS + 1)).collect()
    }

    fn verdict(written: usize, counts: &[String]) -> Verdict {
        judge(written, counts.iter().map(String::as_str))
    }

    #[test]
    fn the_judge_finds_what_is_lost_doubled_and_wrong() {
        let all = counts(0..100);
        assert_eq!(verdict(100, &all), Verdict { found: 100, ..Verdict::default() });
        let lost = counts((0..100).filter(|at| *at != 7));
        assert_eq!(verdict(100, &lost), Verdict { found: 99, lost: 1, ..Verdict::default() });
        let doubled = [all.clone(), counts(99..100)].concat();
        assert_eq!(verdict(100, &doubled), Verdict { found: 101, doubled: 1, ..Verdict::default() });
        let too_many = counts(0..101);
        assert_eq!(verdict(100, &too_many), Verdict { found: 101, wrong: 1, ..Verdict::default() });
        let turned = counts([40, 0].into_iter().chain(1..40).chain(41..100));
        assert_eq!(verdict(100, &turned), Verdict { found: 100, wrong: 1, ..Verdict::default() });
        let strange = [all, vec![r#"{"key":"w","count":1}"#.to_owned()]].concat();
        assert_eq!(verdict(100, &strange), Verdict { found: 101, wrong: 1, ..Verdict::default() });
    }
}

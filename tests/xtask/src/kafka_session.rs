//! A Kafka broker for benchmark and soak: started, filled and read through the tests crate's `kafka_session` program.
//!
//! This library has no Kafka client (it must build in seconds), so the program has: one line in is one order, one line out
//! its answer. The broker ends with the program, and the program when its input closes. Next room: the program itself.

use crate::failure::{Doing, Failure, Outcome};
use crate::places;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running broker. Dropping it ends it.
#[derive(Debug)]
pub struct KafkaSession {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    address: String,
}

impl KafkaSession {
    /// Starts a broker and waits until it answers.
    ///
    /// # Errors
    /// If the program cannot be started, or the broker does not come up.
    pub fn start() -> Outcome<KafkaSession> {
        let program = places::program("kafka_session");
        let mut command = Command::new(&program);
        command.env("TIDEGATE_KAFKA_LIBS", places::kafka_libs()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().at("start", &program)?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("standard output was asked for"));
        let mut session = KafkaSession { child, orders, answers, address: String::new() };
        session.address = session.answer("start")?;
        Ok(session)
    }

    /// `host:port` of the broker.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes a topic with one partition a file and writes each file's lines to its partition, without keys.
    ///
    /// # Errors
    /// If the broker refuses; the program's words are on the terminal.
    pub fn load(&mut self, topic: &str, files: &[PathBuf]) -> Outcome<()> {
        let mut order = format!("load\t{topic}");
        for file in files {
            order.push('\t');
            order += &file.display().to_string();
        }
        self.order(&order).map(drop)
    }

    /// Makes an empty topic.
    ///
    /// # Errors
    /// As [`KafkaSession::load`].
    pub fn create(&mut self, topic: &str, partitions: u32) -> Outcome<()> {
        self.order(&format!("create\t{topic}\t{partitions}")).map(drop)
    }

    /// Writes what a `read_committed` reader of the whole topic sees to a file, a value a line.
    ///
    /// # Errors
    /// As [`KafkaSession::load`].
    pub fn read_committed(&mut self, topic: &str, file: &Path) -> Outcome<()> {
        self.order(&format!("read\t{topic}\t{}", file.display())).map(drop)
    }

    fn order(&mut self, order: &str) -> Outcome<String> {
        let orders = self.orders.as_mut().expect("orders close only when the session is dropped");
        writeln!(orders, "{order}").doing("give the Kafka session an order")?;
        self.answer(order)
    }

    fn answer(&mut self, order: &str) -> Outcome<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).doing("read the Kafka session's answer")?;
        match line.strip_prefix("ok") {
            Some(answer) => Ok(answer.trim().to_owned()),
            None => Err(Failure::Program {
                command: format!("kafka_session: {}", order.replace('\t', " ")),
                outcome: format!("answered `{}`", line.trim_end()),
            }),
        }
    }
}

impl Drop for KafkaSession {
    fn drop(&mut self) {
        // A closed input is the order to end. If that fails, the program is gone already.
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

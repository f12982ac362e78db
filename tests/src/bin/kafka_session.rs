//! A broker for `cargo xtask`, which has no Kafka client of its own: one line in is an order, one line out its answer.
//!
//! Orders, their words separated by tabs: `create TOPIC PARTITIONS`, `load TOPIC FILE…` (file i to partition i, a record a
//! line, without keys), `read TOPIC FILE` (what a `read_committed` reader sees, a value a line). The first answer, before any
//! order, is the broker's address. An answer begins with `ok`; whatever fails is a panic, and the caller sees the end.

use std::fs::{self, File};
use std::io::{self, BufRead, BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use tidegate_tests::broker::{Broker, Options};
use tidegate_tests::judge::NewRecord;

fn main() {
    // Alerts carry the time of their window, which may lie further back than the broker keeps records by default.
    let config = vec![("log.retention.ms".to_owned(), "-1".to_owned())];
    let broker = Broker::start(&Options { config, ..Options::default() });
    answer(&broker.address());
    for order in io::stdin().lock().lines() {
        let order = order.expect("orders are UTF-8 lines");
        let words: Vec<&str> = order.split('\t').collect();
        match words[..] {
            ["create", topic, partitions] => {
                broker.create_topic(topic, partitions.parse().expect("PARTITIONS is a number"), &[]);
                answer("");
            }
            ["load", topic, ref files @ ..] => answer(&load(&broker, topic, files).to_string()),
            ["read", topic, file] => answer(&read(&broker, topic, file).to_string()),
            _ => panic!("`{order}` is no order"),
        }
    }
}

fn answer(text: &str) {
    println!("ok {text}");
}

fn load(broker: &Broker, topic: &str, files: &[&str]) -> usize {
    broker.create_topic(topic, files.len() as i32, &[]);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    let timestamp = since_epoch.as_millis() as i64;
    let mut records = 0;
    for (partition, file) in files.iter().enumerate() {
        let bytes = fs::read(file).unwrap_or_else(|error| panic!("`{file}` cannot be read: {error}"));
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let partition = partition as i32;
        broker.produce(
            topic,
            lines.inspect(|_| records += 1).map(|line| NewRecord { partition, key: None, value: Some(line), timestamp }),
        );
    }
    records
}

fn read(broker: &Broker, topic: &str, file: &str) -> usize {
    let records = broker.read_committed(topic);
    let output = File::create(file).unwrap_or_else(|error| panic!("`{file}` cannot be written: {error}"));
    let mut output = BufWriter::new(output);
    for record in &records {
        writeln!(output, "{}", record.text()).expect("the file can be written");
    }
    output.flush().expect("the file can be written");
    records.len()
}

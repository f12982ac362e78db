//! The fraud job's file, as demo, soak and benchmark run it.
//!
//! Text only. Everything that is not said here is the host's shipped default. Next room: `trial`, which writes it to a folder.

use std::fmt::Write as _;

/// Where the payments come from and where the alerts go.
#[derive(Debug, Clone, Copy)]
pub enum Ends<'a> {
    /// From a file or folder of JSON lines to a file, both in the job's folder.
    Files {
        /// The input.
        payments: &'a str,
        /// The output.
        alerts: &'a str,
    },
    /// From a topic, up to its end as it is at the first start, to a topic.
    Kafka {
        /// `host:port` of a broker.
        broker: &'a str,
        /// The input topic.
        payments: &'a str,
        /// The output topic.
        alerts: &'a str,
    },
}

/// Writes the job file's text. `interval` is the checkpoint interval; none: the default.
pub fn fraud(name: &str, ends: Ends<'_>, plugin: &str, interval: Option<&str>) -> String {
    let mut text = format!("format = 1\nname = \"{name}\"\n");
    if let Some(interval) = interval {
        write!(text, "\n[checkpoint]\ninterval = \"{interval}\"\n").expect("a String takes every character");
    }
    let (connection, source, sink) = match ends {
        Ends::Files { payments, alerts } => (
            String::new(),
            format!("kind = \"file\"\npath = \"{payments}\"\n"),
            format!("kind = \"file\"\npath = \"{alerts}\"\n"),
        ),
        Ends::Kafka { broker, payments, alerts } => (
            format!("\n[connection.main]\nkind = \"kafka\"\nbrokers = [\"{broker}\"]\n"),
            format!("connection = \"main\"\ntopics = [\"{payments}\"]\nuntil = \"latest\"\n"),
            format!("connection = \"main\"\ntopic = \"{alerts}\"\n"),
        ),
    };
    write!(
        text,
        "{connection}\n[source.payments]\n{source}key = \"/user_id\"\n\
         timestamp = {{ field = \"/timestamp\", format = \"unix_ms\" }}\n\
         watermark = {{ max_out_of_orderness = \"5s\" }}\n\n\
         [operator.detector]\nplugin = \"{plugin}\"\ninputs = {{ main = \"payments\" }}\n\
         config = {{ threshold = 10, window = \"1m\" }}\ndiscard = [\"late\"]\n\n\
         [sink.alerts]\n{sink}from = [\"detector.alerts\"]\n"
    )
    .expect("a String takes every character");
    text
}

#[cfg(test)]
mod tests {
    use super::{Ends, fraud};

    #[test]
    fn a_file_job_names_its_files_and_interval() {
        let ends = Ends::Files { payments: "payments.jsonl", alerts: "alerts.jsonl" };
        let text = fraud("demo", ends, "../p.wasm", Some("100ms"));
        assert!(text.starts_with("format = 1\nname = \"demo\"\n\n[checkpoint]\ninterval = \"100ms\"\n"), "{text}");
        assert!(text.contains("[source.payments]\nkind = \"file\"\npath = \"payments.jsonl\"\nkey ="), "{text}");
        assert!(!text.contains("connection"), "{text}");
    }

    #[test]
    fn a_kafka_job_is_bounded_and_shares_its_connection() {
        let ends = Ends::Kafka { broker: "127.0.0.1:9092", payments: "payments", alerts: "alerts" };
        let text = fraud("bench", ends, "p.wasm", None);
        assert!(!text.contains("[checkpoint]"), "{text}");
        assert!(text.contains("until = \"latest\""), "{text}");
        assert_eq!(text.matches("connection = \"main\"").count(), 2);
    }
}

//! Records as a test writes and reads them, and the results of a run.
//!
//! Plain data. Next room: `columns`.

use crate::bindings::tidegate::plugin::types as wit;
use std::fmt;

/// A record, for input and for what is expected to come out.
///
/// ```
/// use tidegate_sdk::testing::Record;
///
/// let payment = Record::at(1_000).key("alice").value(r#"{"amount":5}"#);
/// let tombstone = Record::at(2_000).key("alice");
/// assert_ne!(payment, tombstone);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Record {
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(super) origin: Option<(String, i64, i64)>,
}

impl Record {
    /// Makes a record without key and value, with a timestamp in milliseconds since the Unix epoch.
    ///
    /// ```
    /// let record = tidegate_sdk::testing::Record::at(-1);
    /// ```
    #[must_use]
    pub fn at(timestamp: i64) -> Record {
        Record { timestamp, key: None, value: None, headers: Vec::new(), origin: None }
    }

    /// Sets the key.
    ///
    /// ```
    /// let record = tidegate_sdk::testing::Record::at(1).key("alice");
    /// ```
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Record {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// Sets the value.
    ///
    /// ```
    /// let record = tidegate_sdk::testing::Record::at(1).value("{}");
    /// ```
    #[must_use]
    pub fn value(mut self, value: impl AsRef<[u8]>) -> Record {
        self.value = Some(value.as_ref().to_vec());
        self
    }

    /// Adds a header.
    ///
    /// ```
    /// let record = tidegate_sdk::testing::Record::at(1).header("trace", "17");
    /// ```
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Record {
        self.headers.push((name.as_bytes().to_vec(), Some(value.as_ref().to_vec())));
        self
    }

    /// Adds a header whose value is null.
    ///
    /// ```
    /// let record = tidegate_sdk::testing::Record::at(1).null_header("draft");
    /// ```
    #[must_use]
    pub fn null_header(mut self, name: &str) -> Record {
        self.headers.push((name.as_bytes().to_vec(), None));
        self
    }

    /// Says where the record was read.
    ///
    /// ```
    /// let record = tidegate_sdk::testing::Record::at(1).origin("payments", 0, 17);
    /// ```
    #[must_use]
    pub fn origin(mut self, topic: &str, partition: i64, offset: i64) -> Record {
        self.origin = Some((topic.to_owned(), partition, offset));
        self
    }

    /// The record's value as text, for messages and comparisons. Bytes that are no UTF-8 are replaced.
    ///
    /// ```
    /// let record = tidegate_sdk::testing::Record::at(1).value("{}");
    /// assert_eq!(record.value_text(), "{}");
    /// ```
    pub fn value_text(&self) -> String {
        text(self.value.as_deref())
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "null".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}

impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "@{} {} = {}", self.timestamp, text(self.key.as_deref()), text(self.value.as_deref()))?;
        for (name, value) in &self.headers {
            write!(formatter, " [{}: {}]", text(Some(name)), text(value.as_deref()))?;
        }
        match &self.origin {
            Some((topic, partition, offset)) => write!(formatter, " from {topic}/{partition}@{offset}"),
            None => Ok(()),
        }
    }
}

/// A row that the operator refused.
///
/// ```
/// use tidegate_sdk::testing::{Record, Rejected};
///
/// fn codes(rejected: &[Rejected]) -> Vec<&str> {
///     rejected.iter().map(|each| each.code.as_str()).collect()
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The input port on which the record came.
    pub port: u32,
    /// The record.
    pub record: Record,
    /// The short word.
    pub code: String,
    /// The reason.
    pub reason: String,
}

/// Everything that an operator gave back, in order. What it emits and what it forwards on one port are apart, because
/// their order among each other depends on where batches end; the order within each does not.
///
/// ```
/// # use tidegate_sdk::{Operator, testing::Harness};
/// # fn example<O: Operator>(test: &Harness<O>) {
/// let results = test.results();
/// assert_eq!(results.emitted(0).len() + results.forwarded(1).len(), 2);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    emitted: Vec<Vec<Record>>,
    forwarded: Vec<Vec<Record>>,
    rejected: Vec<Rejected>,
}

impl Results {
    pub(super) fn new(ports: usize) -> Results {
        Results { emitted: vec![Vec::new(); ports], forwarded: vec![Vec::new(); ports], rejected: Vec::new() }
    }

    /// What was emitted on an output port. The port must exist.
    ///
    /// ```
    /// # use tidegate_sdk::testing::Results;
    /// fn values(results: &Results) -> Vec<String> {
    ///     results.emitted(0).iter().map(|record| record.value_text()).collect()
    /// }
    /// ```
    pub fn emitted(&self, port: u32) -> &[Record] {
        &self.emitted[port as usize]
    }

    /// What was forwarded to an output port. The port must exist.
    ///
    /// ```
    /// # use tidegate_sdk::testing::Results;
    /// fn nothing_was_late(results: &Results) -> bool {
    ///     results.forwarded(1).is_empty()
    /// }
    /// ```
    pub fn forwarded(&self, port: u32) -> &[Record] {
        &self.forwarded[port as usize]
    }

    /// What was refused.
    ///
    /// ```
    /// # use tidegate_sdk::testing::Results;
    /// fn nothing_was_wrong(results: &Results) -> bool {
    ///     results.rejected().is_empty()
    /// }
    /// ```
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Says where the results first differ, if they do.
    pub(super) fn difference(&self, other: &Results) -> Option<String> {
        for (what, ours, theirs) in
            [("emitted on", &self.emitted, &other.emitted), ("forwarded to", &self.forwarded, &other.forwarded)]
        {
            for (port, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                if let Some(difference) = first_difference(ours, theirs) {
                    return Some(format!("{what} port {port}, {difference}"));
                }
            }
        }
        first_difference(&self.rejected, &other.rejected).map(|difference| format!("rejected, {difference}"))
    }

    pub(super) fn take(&mut self, outcome: wit::Outcome, port: u32, records: &[Record]) {
        for forward in outcome.forwards {
            let rows = forward.rows.into_iter().map(|row| records[row as usize].clone());
            self.forwarded[forward.port as usize].extend(rows);
        }
        for output in outcome.outputs {
            let records = (0..output.batch.rows as usize).map(|row| emitted_record(&output.batch, row));
            self.emitted[output.port as usize].extend(records);
        }
        self.rejected.extend(outcome.rejections.into_iter().map(|rejection| Rejected {
            port,
            record: records[rejection.row as usize].clone(),
            code: rejection.code,
            reason: rejection.reason,
        }));
    }
}

fn first_difference<T: PartialEq + fmt::Debug>(ours: &[T], theirs: &[T]) -> Option<String> {
    let place = (0..ours.len().max(theirs.len())).find(|place| ours.get(*place) != theirs.get(*place))?;
    let shown = |items: &[T]| items.get(place).map_or_else(|| "nothing".to_owned(), |item| format!("`{item:?}`"));
    Some(format!("record {place}: {} and {}", shown(ours), shown(theirs)))
}

fn emitted_record(batch: &wit::Batch, row: usize) -> Record {
    let mut record = Record::at(batch.timestamps[row]);
    record.key = batch.keys.as_ref().and_then(|keys| bytes(keys, row));
    record.value = batch.values.as_ref().and_then(|values| bytes(values, row));
    if let Some(headers) = &batch.headers {
        let entries = (0..headers.rows.len()).filter(|entry| headers.rows[*entry] as usize == row);
        record.headers = entries
            .map(|entry| (bytes(&headers.names, entry).unwrap_or_default(), bytes(&headers.values, entry)))
            .collect();
    }
    record
}

fn bytes(column: &wit::BytesColumn, row: usize) -> Option<Vec<u8>> {
    crate::batch::bytes(column, row).map(<[u8]>::to_vec)
}

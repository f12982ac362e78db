//! Rows that come in: views into the columns that the host passed, without a copy.
//!
//! Next room: [`crate::output`].

use crate::bindings::tidegate::plugin::types as wit;
use crate::error::Error;
use serde::Deserialize;

/// Rows of one input port. Where one batch ends and the next begins means nothing.
///
/// ```
/// use tidegate_sdk::Batch;
///
/// fn newest(batch: Batch<'_>) -> Option<i64> {
///     batch.rows().map(|row| row.timestamp()).max()
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    inner: &'a wit::Batch,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(inner: &'a wit::Batch) -> Batch<'a> {
        Batch { inner }
    }

    /// How many rows there are.
    ///
    /// ```
    /// # fn example(batch: tidegate_sdk::Batch<'_>) {
    /// tidegate_sdk::count("payments", batch.len() as u64);
    /// # }
    /// ```
    pub fn len(self) -> usize {
        self.inner.timestamps.len()
    }

    /// Whether there is no row.
    ///
    /// ```
    /// # fn example(batch: tidegate_sdk::Batch<'_>) {
    /// assert_eq!(batch.is_empty(), batch.len() == 0);
    /// # }
    /// ```
    pub fn is_empty(self) -> bool {
        self.inner.timestamps.is_empty()
    }

    /// The rows in their order.
    ///
    /// ```
    /// # fn example(batch: tidegate_sdk::Batch<'_>) {
    /// for row in batch.rows() {
    ///     println!("{} {:?}", row.timestamp(), row.key());
    /// }
    /// # }
    /// ```
    pub fn rows(self) -> impl ExactSizeIterator<Item = Row<'a>> {
        let inner = self.inner;
        inner.timestamps.iter().enumerate().map(move |(index, timestamp)| Row { inner, index, timestamp: *timestamp })
    }
}

/// One row of a [`Batch`]: a cheap, copyable view. What it gives lives as long as the batch.
///
/// ```
/// use tidegate_sdk::{Output, Row};
///
/// fn pass_on(row: Row<'_>, out: &mut Output) {
///     match row.key() {
///         Some(_) => out.port(0).forward(row),
///         None => out.reject(row, "no-key", "the record has no key"),
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    inner: &'a wit::Batch,
    index: usize,
    timestamp: i64,
}

impl<'a> Row<'a> {
    /// The row's number in its batch, from 0.
    ///
    /// ```
    /// # fn example(row: tidegate_sdk::Row<'_>) {
    /// let number: u32 = row.index();
    /// # }
    /// ```
    pub fn index(self) -> u32 {
        self.index as u32
    }

    /// The record's event time, in milliseconds since the Unix epoch. May be negative.
    ///
    /// ```
    /// # fn example(row: tidegate_sdk::Row<'_>) {
    /// let second = row.timestamp().div_euclid(1_000);
    /// # }
    /// ```
    #[inline]
    pub fn timestamp(self) -> i64 {
        self.timestamp
    }

    /// The record's key; `None` if it has none.
    ///
    /// # Panics
    ///
    /// If the port did not ask for it with [`crate::InputPort::key`]. So do all of the following for theirs.
    ///
    /// ```
    /// # fn example(row: tidegate_sdk::Row<'_>) {
    /// let has_key: bool = row.key().is_some();
    /// # }
    /// ```
    #[inline]
    pub fn key(self) -> Option<&'a [u8]> {
        let keys = self.inner.keys.as_ref().expect("this port did not ask for keys; add `.key()` to it in `describe`");
        bytes(keys, self.index)
    }

    /// The record's value; `None` for a tombstone. Needs [`crate::InputPort::value`].
    ///
    /// ```
    /// # fn example(row: tidegate_sdk::Row<'_>) {
    /// let length = row.value().map_or(0, <[u8]>::len);
    /// # }
    /// ```
    #[inline]
    pub fn value(self) -> Option<&'a [u8]> {
        let values =
            self.inner.values.as_ref().expect("this port did not ask for values; add `.value()` to it in `describe`");
        bytes(values, self.index)
    }

    /// The record's value read as JSON, borrowing from it where the type does. Needs [`crate::InputPort::value`].
    ///
    /// Where one or two fields are enough, a column ([`crate::InputPort::int`] and the like) costs a tenth of this: the
    /// host decodes it natively.
    ///
    /// # Errors
    ///
    /// The value is null, or not JSON of that shape; the text is made for [`crate::Output::reject`].
    ///
    /// ```
    /// #[derive(serde::Deserialize)]
    /// struct Payment<'a> { user_id: &'a str, amount: i64 }
    ///
    /// # fn example(row: tidegate_sdk::Row<'_>, out: &mut tidegate_sdk::Output) {
    /// match row.json::<Payment<'_>>() {
    ///     Ok(payment) => println!("{} {}", payment.user_id, payment.amount),
    ///     Err(error) => out.reject(row, "bad-payment", error),
    /// }
    /// # }
    /// ```
    pub fn json<T: Deserialize<'a>>(self) -> Result<T, Error> {
        let value = self.value().ok_or_else(|| Error::new("the value is null"))?;
        Ok(serde_json::from_slice(value)?)
    }

    /// The record's headers as name and value, in their order; a value may be null. Needs
    /// [`crate::InputPort::headers`].
    ///
    /// ```
    /// # fn example(row: tidegate_sdk::Row<'_>) {
    /// let trace = row.headers().find(|(name, _)| *name == b"trace").and_then(|(_, value)| value);
    /// # }
    /// ```
    pub fn headers(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let headers = self.inner.headers.as_ref();
        let entries = headers.map_or(0..0, |headers| {
            let first = headers.rows.partition_point(|row| (*row as usize) < self.index);
            let past = headers.rows.partition_point(|row| (*row as usize) <= self.index);
            first..past
        });
        entries.filter_map(move |entry| {
            headers.map(|headers| (bytes(&headers.names, entry).unwrap_or_default(), bytes(&headers.values, entry)))
        })
    }

    /// The integer in column number `column`, as counted by [`crate::InputPort`].
    ///
    /// ```
    /// # fn example(row: tidegate_sdk::Row<'_>) {
    /// let amount: i64 = row.int(0).unwrap_or(0);
    /// # }
    /// ```
    #[inline]
    pub fn int(self, column: usize) -> Option<i64> {
        match self.column(column) {
            wit::Column::Int(ints) if is_null(&ints.nulls, self.index) => None,
            wit::Column::Int(ints) => Some(ints.values[self.index]),
            other => wrong_kind(column, "int", other),
        }
    }

    /// The number in column number `column`, as counted by [`crate::InputPort`].
    ///
    /// ```
    /// # fn example(row: tidegate_sdk::Row<'_>) {
    /// let latitude: Option<f64> = row.float(1);
    /// # }
    /// ```
    #[inline]
    pub fn float(self, column: usize) -> Option<f64> {
        match self.column(column) {
            wit::Column::Float(floats) if is_null(&floats.nulls, self.index) => None,
            wit::Column::Float(floats) => Some(floats.values[self.index]),
            other => wrong_kind(column, "float", other),
        }
    }

    /// The bytes in column number `column`, as counted by [`crate::InputPort`].
    ///
    /// ```
    /// # fn example(row: tidegate_sdk::Row<'_>) {
    /// let in_euro: bool = row.bytes(2) == Some(b"EUR");
    /// # }
    /// ```
    #[inline]
    pub fn bytes(self, column: usize) -> Option<&'a [u8]> {
        match self.column(column) {
            wit::Column::Bytes(column) => bytes(column, self.index),
            other => wrong_kind(column, "bytes", other),
        }
    }

    #[inline]
    fn column(self, column: usize) -> &'a wit::Column {
        let columns = &self.inner.columns;
        columns.get(column).unwrap_or_else(|| {
            panic!("column `{column}` does not exist: this port asked for {} columns in `describe`", columns.len())
        })
    }
}

#[cold]
fn wrong_kind(column: usize, wanted: &str, found: &wit::Column) -> ! {
    let found = match found {
        wit::Column::Bytes(_) => "bytes",
        wit::Column::Int(_) => "int",
        wit::Column::Float(_) => "float",
    };
    panic!("column `{column}` is read as {wanted}, but this port asked for {found} in `describe`")
}

#[inline]
fn is_null(nulls: &[u32], row: usize) -> bool {
    !nulls.is_empty() && nulls.binary_search(&(row as u32)).is_ok()
}

#[inline]
pub(crate) fn bytes(column: &wit::BytesColumn, row: usize) -> Option<&[u8]> {
    if is_null(&column.nulls, row) {
        return None;
    }
    let start = if row == 0 { 0 } else { column.ends[row - 1] as usize };
    Some(&column.arena[start..column.ends[row] as usize])
}

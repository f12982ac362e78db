//! The columns that an operator wants beside keys, values and timestamps: decoded once, natively, for all languages.
//!
//! `@key`, `@value` and `@headers` are only noted here: the batch's own columns are handed on as they are. A row whose value
//! does not fit is reported and holds null, so that one call finds every bad row of a batch. Next room: [`crate::plugin`].

use super::fields::{Fields, Found, Kind, Unreadable};
use super::pointer::PointerError;
use super::{Shown, time};
use crate::columns::{Batch, BytesColumn, Column, ColumnKind, FloatColumn, IntColumn};
use crate::plugin::ColumnSpec;

/// Why a wanted column cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnSpecError {
    /// A name with `@` that is none of ours.
    #[error(
        "unknown column `{name}`; the host has `@key`, `@value`, `@headers`, `@topic`, `@partition` and `@offset`, \
         and a field of a JSON value is named by its JSON Pointer, like `/user_id`"
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// The column has another type.
    #[error("column `{name}` has the type `{has}`, not `{wanted}`; ask for `{has}`")]
    Kind {
        /// The column.
        name: String,
        /// Its type.
        has: &'static str,
        /// The type asked for.
        wanted: &'static str,
    },
    /// A name that is no JSON Pointer.
    #[error(transparent)]
    Pointer(#[from] PointerError),
}

/// Makes the wanted columns of one input port.
#[derive(Debug)]
pub struct ColumnDecoder {
    columns: Vec<Wanted>,
    fields: Fields,
    own: OwnColumns,
}

/// Which of the batch's own columns are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnColumns {
    /// `@key`.
    pub keys: bool,
    /// `@value`.
    pub values: bool,
    /// `@headers`.
    pub headers: bool,
}

#[derive(Debug, Clone)]
enum Wanted {
    Topic,
    Partition,
    Offset,
    Field { pointer: String, slot: usize, kind: ColumnKind },
}

/// A row that does not have what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The row in the batch.
    pub row: u32,
    /// Why. It names the pointer and shows the beginning of the value.
    pub reason: BadColumn,
}

/// Why a row does not have what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadColumn {
    /// The value is not one JSON value, or has a wanted field twice.
    #[error(transparent)]
    Value(#[from] super::BadRecord),
    /// The field has another type.
    #[error("`{pointer}` is {found}, `{value}`; the operator asks for {wanted}")]
    Type {
        /// The field.
        pointer: String,
        /// What it is.
        found: &'static str,
        /// Its beginning.
        value: Shown,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The number has a fraction or an exponent, or does not fit.
    #[error("`{pointer}` is `{value}`, which is not {wanted}")]
    Number {
        /// The field.
        pointer: String,
        /// Its beginning.
        value: Shown,
        /// What was asked for.
        wanted: &'static str,
    },
}

impl ColumnDecoder {
    /// A decoder for the columns of a port, in the port's order.
    pub fn new(specs: &[ColumnSpec]) -> Result<ColumnDecoder, ColumnSpecError> {
        let mut pointers: Vec<&str> = Vec::new();
        let mut columns = Vec::new();
        let mut own = OwnColumns::default();
        for spec in specs {
            match spec.name.as_str() {
                "@key" => own.keys = of_kind(spec, ColumnKind::Bytes)?,
                "@value" => own.values = of_kind(spec, ColumnKind::Bytes)?,
                "@headers" => own.headers = of_kind(spec, ColumnKind::Bytes)?,
                "@topic" => of_kind(spec, ColumnKind::Bytes).map(|_| columns.push(Wanted::Topic))?,
                "@partition" => of_kind(spec, ColumnKind::Int).map(|_| columns.push(Wanted::Partition))?,
                "@offset" => of_kind(spec, ColumnKind::Int).map(|_| columns.push(Wanted::Offset))?,
                name if name.starts_with('@') => return Err(ColumnSpecError::Unknown { name: name.to_owned() }),
                pointer => {
                    columns.push(Wanted::Field { pointer: pointer.to_owned(), slot: pointers.len(), kind: spec.kind });
                    pointers.push(pointer);
                }
            }
        }
        let fields = Fields::new(pointers.iter().copied())?;
        Ok(ColumnDecoder { columns, fields, own })
    }

    /// Which of the batch's own columns are wanted: they are handed on as they are.
    pub fn own(&self) -> OwnColumns {
        self.own
    }

    /// Makes the columns of a batch, in the port's order; `columns` is replaced, its memory is used again. A field that is
    /// absent or JSON null is null, and so is every field of a tombstone. A bytes column holds a string's unescaped UTF-8
    /// and the JSON text of anything else. Gives the rows that do not fit, ascending, each once; they hold null.
    pub fn decode(&mut self, batch: &Batch, columns: &mut Vec<Column>) -> Vec<BadRow> {
        self.clear(columns);
        let mut bad = Vec::new();
        if self.columns.iter().any(|wanted| matches!(wanted, Wanted::Field { .. })) {
            for row in 0..batch.rows() {
                if let Err(reason) = self.decode_row(batch, row, columns) {
                    bad.push(BadRow { row: row as u32, reason });
                }
            }
        }
        for (wanted, column) in self.columns.iter().zip(columns) {
            fill_origin(wanted, batch, column);
        }
        bad
    }

    /// Empties the columns, or makes them if they are not this port's.
    fn clear(&self, columns: &mut Vec<Column>) {
        columns.truncate(self.columns.len());
        for (at, wanted) in self.columns.iter().enumerate() {
            let empty = match wanted.kind() {
                ColumnKind::Bytes => Column::Bytes(BytesColumn::default()),
                ColumnKind::Int => Column::Int(IntColumn::default()),
                ColumnKind::Float => Column::Float(FloatColumn::default()),
            };
            match columns.get_mut(at) {
                None => columns.push(empty),
                Some(column) if std::mem::discriminant(column) == std::mem::discriminant(&empty) => clear(column),
                Some(column) => *column = empty,
            }
        }
    }

    /// Appends one row to each field's column; null in all of them if the row is bad.
    fn decode_row(&mut self, batch: &Batch, row: usize, columns: &mut [Column]) -> Result<(), BadColumn> {
        let value = batch.values.get(row);
        let mut outcome = match value {
            Some(value) => self.fields.read(value).map_err(bad_value),
            None => Ok(()),
        };
        for at in 0..self.columns.len() {
            let Wanted::Field { slot, .. } = self.columns[at] else { continue };
            let found = match (&outcome, value) {
                (Ok(()), Some(value)) => self.fields.get(slot).map(|found| (value, found)),
                _ => None,
            };
            match found.filter(|(_, found)| found.kind != Kind::Null) {
                None => push_null(&mut columns[at], row),
                Some((value, found)) => {
                    if !push(&mut self.fields, &mut columns[at], value, found) {
                        push_null(&mut columns[at], row);
                        outcome = Err(self.misfit(at, value, found));
                    }
                }
            }
        }
        if outcome.is_err() {
            self.columns.iter().zip(columns).for_each(|(wanted, column)| wanted.erase_last(column, row));
        }
        outcome
    }

    #[cold]
    fn misfit(&self, column: usize, value: &[u8], found: Found) -> BadColumn {
        let Wanted::Field { pointer, kind, .. } = &self.columns[column] else {
            unreachable!("only fields are read from values");
        };
        let pointer = pointer.clone();
        let shown = Shown::found(value, found);
        let wanted = match kind {
            ColumnKind::Bytes => "bytes",
            ColumnKind::Int => "a whole number of 64 bits",
            ColumnKind::Float => "a number of 64 bits",
        };
        if found.kind == Kind::Number {
            return BadColumn::Number { pointer, value: shown, wanted };
        }
        BadColumn::Type { pointer, found: found.kind.name(), value: shown, wanted }
    }
}

impl Wanted {
    fn kind(&self) -> ColumnKind {
        match self {
            Wanted::Topic => ColumnKind::Bytes,
            Wanted::Partition | Wanted::Offset => ColumnKind::Int,
            Wanted::Field { kind, .. } => *kind,
        }
    }

    /// Makes the last row of a field's column null: the row was found bad after the column was filled.
    fn erase_last(&self, column: &mut Column, row: usize) {
        if !matches!(self, Wanted::Field { .. }) || nulls(column).last() == Some(&(row as u32)) {
            return;
        }
        match column {
            Column::Bytes(column) => {
                column.ends.pop();
                column.arena.truncate(column.ends.last().map_or(0, |end| *end as usize));
            }
            Column::Int(column) => drop(column.values.pop()),
            Column::Float(column) => drop(column.values.pop()),
        }
        push_null(column, row);
    }
}

/// Checks a column's type. `true`, for the flags.
fn of_kind(spec: &ColumnSpec, has: ColumnKind) -> Result<bool, ColumnSpecError> {
    if spec.kind == has {
        return Ok(true);
    }
    Err(ColumnSpecError::Kind { name: spec.name.clone(), has: kind_name(has), wanted: kind_name(spec.kind) })
}

fn kind_name(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Bytes => "bytes",
        ColumnKind::Int => "int",
        ColumnKind::Float => "float",
    }
}

/// Appends what was found; `false` if it does not fit the column.
fn push(fields: &mut Fields, column: &mut Column, value: &[u8], found: Found) -> bool {
    match (column, found.kind) {
        (Column::Bytes(column), Kind::String) => {
            fields.append_string(value, found, &mut column.arena);
            column.ends.push(column.arena.len() as u32);
        }
        (Column::Bytes(column), _) => column.push(Some(found.text(value))),
        (Column::Int(column), Kind::Number) => {
            let Some(number) = time::parse_integer(found.text(value)) else { return false };
            column.values.push(number);
        }
        (Column::Float(column), Kind::Number) => {
            let text = std::str::from_utf8(found.text(value)).ok();
            let number = text.and_then(|text| text.parse::<f64>().ok()).filter(|number| number.is_finite());
            let Some(number) = number else { return false };
            column.values.push(number);
        }
        _ => return false,
    }
    true
}

fn push_null(column: &mut Column, row: usize) {
    match column {
        Column::Bytes(column) => column.push(None),
        Column::Int(column) => {
            column.values.push(0);
            column.nulls.push(row as u32);
        }
        Column::Float(column) => {
            column.values.push(0.0);
            column.nulls.push(row as u32);
        }
    }
}

fn nulls(column: &Column) -> &[u32] {
    match column {
        Column::Bytes(column) => &column.nulls,
        Column::Int(column) => &column.nulls,
        Column::Float(column) => &column.nulls,
    }
}

fn clear(column: &mut Column) {
    match column {
        Column::Bytes(column) => {
            column.arena.clear();
            column.ends.clear();
            column.nulls.clear();
        }
        Column::Int(column) => {
            column.values.clear();
            column.nulls.clear();
        }
        Column::Float(column) => {
            column.values.clear();
            column.nulls.clear();
        }
    }
}

/// Fills a column that tells where the rows came from; all null where an operator emitted them.
fn fill_origin(wanted: &Wanted, batch: &Batch, column: &mut Column) {
    for row in 0..batch.rows() {
        let origin = batch.origins.as_ref().map(|origins| origins.get(row));
        match (wanted, &mut *column, origin) {
            (Wanted::Field { .. }, ..) => return,
            (_, column, None) => push_null(column, row),
            (Wanted::Topic, Column::Bytes(column), Some((split, _))) => column.push(Some(split.topic.as_bytes())),
            (Wanted::Partition, Column::Int(column), Some((split, _))) => {
                column.values.push(i64::from(split.partition));
            }
            (Wanted::Offset, Column::Int(column), Some((_, offset))) => column.values.push(offset),
            _ => unreachable!("the columns were made with these types"),
        }
    }
}

#[cold]
fn bad_value(error: Unreadable) -> BadColumn {
    BadColumn::Value(error.into())
}

#[cfg(test)]
mod tests;

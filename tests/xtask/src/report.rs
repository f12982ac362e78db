//! What commands print: phases with their seconds, tables, numbers a person can read.
//!
//! Only text. Next rooms: `demo`, `bench`.

use std::fmt::{Display, Write as _};
use std::time::Instant;

/// Runs steps one after the other, says which, and how long each took.
#[derive(Debug, Default)]
pub struct Phases {
    done: Vec<(String, f64)>,
}

impl Phases {
    /// Runs one step. What the step prints goes between its name and its time.
    pub fn run<T, E>(&mut self, name: &str, step: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        eprintln!("{name} …");
        let began = Instant::now();
        let result = step();
        let seconds = began.elapsed().as_secs_f64();
        self.done.push((name.to_owned(), seconds));
        let end = if result.is_ok() { "done" } else { "failed" };
        eprintln!("  {end} in {seconds:.1} s");
        result
    }

    /// The steps and their seconds, as lines of a table.
    pub fn table(&self) -> String {
        let rows: Vec<(&str, String)> =
            self.done.iter().map(|(name, seconds)| (name.as_str(), format!("{seconds:.1} s"))).collect();
        table(&rows)
    }
}

/// Two columns: words to the left, numbers to the right.
pub fn table(rows: &[(&str, impl Display)]) -> String {
    let cells: Vec<(&str, String)> = rows.iter().map(|(name, value)| (*name, value.to_string())).collect();
    let names = cells.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let values = cells.iter().map(|(_, value)| value.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in cells {
        writeln!(text, "  {name:names$}  {value:>values$}").expect("a String takes every character");
    }
    text
}

/// A whole number with a comma between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The smallest value that at least `percent` of the values do not exceed; `None` of nothing.
pub fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::{Phases, grouped, percentile, table};

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 50.0), Some(50.0));
        assert_eq!(percentile(&values, 99.0), Some(99.0));
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn tables_align() {
        assert_eq!(table(&[("expected", 12), ("lost", 0)]), "  expected  12\n  lost       0\n");
    }

    #[test]
    fn a_failed_phase_is_timed_too() {
        let mut phases = Phases::default();
        assert_eq!(phases.run("a step", || Err::<(), u8>(1)), Err(1));
        assert!(phases.table().contains("a step"), "{}", phases.table());
    }
}

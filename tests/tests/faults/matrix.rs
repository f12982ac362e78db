//! A row of the fault matrix, and the table as Markdown.
//!
//! Pure: runs nothing. The table in the repository is compared with [`table`] in every run. Next room: `harness`.

use std::fmt::Write as _;
use std::path::Path;

/// Where the table lies, from the repository's root.
pub(crate) const TABLE: &str = "tests/FAULT_MATRIX.md";

/// Rows about one part of the world.
pub(crate) struct Group {
    /// One word; a test's name begins with it.
    pub name: &'static str,
    /// A sentence for the table.
    pub about: &'static str,
    /// Its rows.
    pub rows: &'static [Row],
}

/// One line of the table.
pub(crate) struct Row {
    /// A few words, unlike every other row's.
    pub name: &'static str,
    /// What is done to the job.
    pub done: &'static str,
    /// What must happen.
    pub expected: &'static str,
    /// What shows that it does.
    pub proof: Proof,
}

/// What shows that a row is true.
pub(crate) enum Proof {
    /// A function of this test target that takes seconds; it runs every time.
    Quick(fn()),
    /// A function of this test target that takes longer; it runs with `cargo xtask test --faults`.
    Slow(fn()),
    /// A test that was there before: its file, from the repository's root, and its name. It runs every time.
    Elsewhere(&'static str, &'static str),
}

impl Row {
    /// Its proof is here and takes seconds.
    pub(crate) const fn quick(name: &'static str, done: &'static str, expected: &'static str, run: fn()) -> Row {
        Row { name, done, expected, proof: Proof::Quick(run) }
    }

    /// Its proof is here and takes longer.
    pub(crate) const fn slow(name: &'static str, done: &'static str, expected: &'static str, run: fn()) -> Row {
        Row { name, done, expected, proof: Proof::Slow(run) }
    }

    /// Its proof is a test of another target: a file, from the repository's root, and the function's name.
    pub(crate) const fn elsewhere(
        name: &'static str,
        done: &'static str,
        expected: &'static str,
        (file, test): (&'static str, &'static str),
    ) -> Row {
        Row { name, done, expected, proof: Proof::Elsewhere(file, test) }
    }
}

/// The matrix as Markdown.
pub(crate) fn table(matrix: &[Group]) -> String {
    let mut text = "# The fault matrix\n\n\
        <!-- Generated from the rows in `tests/tests/faults`; do not edit. `TIDEGATE_BLESS=1` rewrites it. -->\n\n\
        What is done to a job, and what must happen. \"Exact\" means: a `read_committed` reader (or the output file) holds \
        what an independent recount of the input gives, each record once. \"STOP\" is exit code 78: a person must look, and \
        nothing was changed. 75 is: a new start may help. Rows marked `every run` are part of `cargo test` and \
        `cargo xtask test`; `--faults` are run by `cargo xtask test --faults` too. A row that a test of another target \
        proves names it.\n"
        .to_owned();
    for Group { name, about, rows } in matrix {
        let _ = writeln!(
            text,
            "\n## {name}\n\n{about}\n\n| row | what is done | what must happen | runs | proof |\n| --- | --- | --- | --- | --- |"
        );
        for row in *rows {
            let Row { name: row_name, done, expected, .. } = row;
            let (runs, proof) = match row.proof {
                Proof::Quick(_) => ("every run", format!("`faults` {name}: {row_name}")),
                Proof::Slow(_) => ("`--faults`", format!("`faults` {name}: {row_name}")),
                Proof::Elsewhere(file, test) => ("every run", format!("`{file}` `{test}`")),
            };
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "| {row_name} | {done} | {expected} | {runs} | {proof} |");
        }
    }
    text
}

/// What is wrong with the table in the repository, and with the rows that name other tests.
pub(crate) fn complaints(matrix: &'static [Group]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder `tests` is in the repository");
    let (path, expected) = (root.join(TABLE), table(matrix));
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        std::fs::write(&path, &expected).expect("the table can be written");
    }
    let mut complaints = Vec::new();
    if std::fs::read_to_string(&path).unwrap_or_default() != expected {
        complaints.push(format!("{TABLE} is stale; rewrite it with TIDEGATE_BLESS=1"));
    }
    let mut names: Vec<String> = Vec::new();
    for (group, row) in rows(matrix) {
        let name = full_name(group, row);
        if let Proof::Elsewhere(file, test) = row.proof {
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {test}(")) {
                complaints.push(format!("row `{name}` is proven by `{test}` in `{file}`, which is not there"));
            }
        }
        if [row.name, row.done, row.expected].iter().any(|words| words.is_empty() || words.contains(['|', '\n'])) {
            complaints.push(format!("row `{name}` has an empty cell, or one that breaks a Markdown table"));
        }
        if names.contains(&name) {
            complaints.push(format!("there are two rows `{name}`"));
        }
        names.push(name);
    }
    complaints
}

/// All rows, each with its group's name.
pub(crate) fn rows(matrix: &'static [Group]) -> impl Iterator<Item = (&'static str, &'static Row)> {
    matrix.iter().flat_map(|group| group.rows.iter().map(|row| (group.name, row)))
}

/// As a run prints it, and a filter matches it.
pub(crate) fn full_name(group: &str, row: &Row) -> String {
    format!("{group}: {}", row.name)
}

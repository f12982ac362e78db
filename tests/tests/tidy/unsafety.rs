//! Rules about `unsafe`: only in the files that must, and each block with its argument.
//!
//! Which of them Miri, Valgrind or a test of the system's own answer checks stands in `host/ARCHITECTURE.md`; `cargo xtask
//! miri` runs it. Next room: the files of the list.

use crate::source::{Complaint, Source, has_word};

/// Files and folders that must, and why.
const MAY: [(&str, &str); 9] = [
    ("host/src/kafka/", "librdkafka's transaction and queue calls are raw C"),
    ("host/src/fuzzing.rs", "counts what the allocator hands out, in unit tests only"),
    ("host/src/plugin/memory.rs", "gives Wasmtime the mapping behind a linear memory"),
    ("plugin-sdk/src/bindings.rs", "the component model's exports"),
    ("tests/src/bin/tidegate-probed.rs", "kills itself where a test says"),
    ("tests/src/broker.rs", "ends the shared process at exit"),
    ("tests/src/node.rs", "signals a child process"),
    ("tests/src/scene.rs", "signals a child process"),
    ("tests/src/java.rs", "ties a child process to the life of this one"),
];

/// How far above a block its argument may end: a statement of a few lines lies between.
const STATEMENT_LINES: usize = 4;

/// Each `unsafe` is in a listed file and argued for.
pub(crate) fn argued(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let may =
        MAY.iter().any(|(place, _)| source.path == *place || (place.ends_with('/') && source.path.starts_with(place)));
    for (number, line) in source.numbered().filter(|(_, line)| is_unsafe(&line.code)) {
        if !may {
            complaints
                .push(source.complain(number, "`unsafe` outside the files of the list; find a safe way, or list it"));
        }
        if needs_argument(&line.code) && !has_argument(source, number) {
            complaints.push(
                source.complain(number, "say above it in `// SAFETY:` how the contract is kept, clause by clause"),
            );
        }
    }
    complaints
}

/// The keyword, and not a lint's name.
fn is_unsafe(code: &str) -> bool {
    has_word(code, "unsafe") && !code.contains("unsafe_")
}

/// Blocks and impls are argued for where they stand; a function's and a trait's contract is documentation (`# Safety`).
fn needs_argument(code: &str) -> bool {
    let after = code.split("unsafe").nth(1).unwrap_or_default().trim_start();
    after.starts_with('{') || after.is_empty() || after.starts_with("impl")
}

fn has_argument(source: &Source, number: usize) -> bool {
    let mut code_lines = 0;
    for line in source.lines[..number].iter().rev() {
        if line.comment.contains("SAFETY:") {
            return true;
        }
        if !line.code.trim().is_empty() {
            code_lines += 1;
        }
        if code_lines > STATEMENT_LINES {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::argued;
    use crate::source::Source;

    const LISTED: &str = "host/src/plugin/memory.rs";

    #[test]
    fn unsafe_outside_the_list_is_found() {
        let text = "// SAFETY: always.\nunsafe { f() }\n";
        assert_eq!(argued(&Source::new(LISTED, text)), []);
        assert_eq!(argued(&Source::new("host/src/job.rs", text)).len(), 1);
        assert_eq!(argued(&Source::new("host/src/kafka/raw.rs", text)), []);
    }

    #[test]
    fn unsafe_without_an_argument_is_found() {
        assert_eq!(argued(&Source::new(LISTED, "unsafe { f() }\n")).len(), 1);
        assert_eq!(argued(&Source::new(LISTED, "unsafe impl Send for X {}\n")).len(), 1);
        let far = "// SAFETY: of another.\na();\nb();\nc();\nd();\nunsafe { f() }\n";
        assert_eq!(argued(&Source::new(LISTED, far)).len(), 1);
        let statement = "// SAFETY: the pointer is ours.\nlet x =\n    unsafe { f() };\n";
        assert_eq!(argued(&Source::new(LISTED, statement)), []);
    }

    #[test]
    fn a_word_or_a_lint_is_no_unsafe() {
        let text = "// unsafe { }\n#![deny(unsafe_op_in_unsafe_fn)]\nlet a = \"unsafe {\";\n";
        assert_eq!(argued(&Source::new("host/src/job.rs", text)), []);
    }
}

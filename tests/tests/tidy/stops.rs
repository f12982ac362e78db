//! Rules about stops: every one has a code that `stops.rs` declares, and every declared one can happen.
//!
//! That each has a chapter in `host/STOPS.md` is a test of the host. Next room: `host/src/stops.rs`.

use crate::source::{Complaint, Source};

/// Where the codes are declared.
const DECLARED: &str = "host/src/stops.rs";
/// How a text names its stop.
const MARK: &str = "(stop: ";
/// How far below the beginning of an error its text may end.
const STATEMENT_LINES: usize = 14;

/// All rules about stops.
pub(crate) fn named(sources: &[Source]) -> Vec<Complaint> {
    let Some(declaration) = sources.iter().find(|source| source.path == DECLARED) else {
        return vec![Complaint { place: DECLARED.to_owned(), advice: "is not there".to_owned() }];
    };
    let declared = declared(declaration);
    let product: Vec<&Source> =
        sources.iter().filter(|source| source.path.starts_with("host/src/") && source.path != DECLARED).collect();
    let mut complaints: Vec<Complaint> = product.iter().flat_map(|source| without_a_code(source)).collect();
    let mut used: Vec<String> = Vec::new();
    for source in &product {
        for (number, line) in source.numbered() {
            for code in line.literals.iter().flat_map(|literal| codes(literal)) {
                if code != "{code}" && !declared.iter().any(|(_, known)| *known == code) {
                    complaints
                        .push(source.complain(number, format!("`{code}` is no stop; declare it in `{DECLARED}`")));
                }
                used.push(code);
            }
        }
    }
    for (name, code) in &declared {
        let is_typed = product.iter().any(|source| source.text.contains(&format!("Stop::{name}")));
        if !is_typed && !used.contains(code) {
            complaints.push(declaration.complain(1, format!("nothing stops with `{code}`; leave it out")));
        }
    }
    complaints
}

/// Name and code of each stop, from lines like `MarkerLost "marker-lost",`.
fn declared(source: &Source) -> Vec<(String, String)> {
    let pairs = source.lines.iter().filter_map(|line| {
        let [code] = &line.literals[..] else { return None };
        let name = line.code.trim().strip_suffix("\"\",")?.trim();
        let is_name = name.starts_with(char::is_uppercase) && name.chars().all(char::is_alphanumeric);
        is_name.then(|| (name.to_owned(), code.clone()))
    });
    pairs.collect()
}

fn codes(literal: &str) -> Vec<String> {
    let codes = literal.split(MARK).skip(1).filter_map(|rest| rest.split_once(')'));
    // A literal as written may go on in the next line.
    codes.map(|(code, _)| code.trim_start_matches(['\\', '\n', ' ']).to_owned()).collect()
}

/// Stops whose text is made on the spot and names no code.
fn without_a_code(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in source.numbered().filter(|(_, line)| line.code.contains("JobError::Stop(")) {
        let is_pattern = line.code.contains("Stop(_)") || line.code.contains("=>");
        // The text may have been put together on the line above.
        let around = &source.lines[number.saturating_sub(2)..source.lines.len().min(number - 1 + STATEMENT_LINES)];
        let is_named = around.iter().flat_map(|line| &line.literals).any(|literal| literal.contains("stop: "));
        if !is_pattern && !is_named {
            complaints
                .push(source.complain(number, format!("end the text with `{MARK}code)`, so that it can be looked up")));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::named;
    use crate::source::Source;

    const DECLARATION: &str =
        "stops! {\n    /// A.\n    MarkerLost \"marker-lost\",\n    /// B.\n    DiskError \"disk-error\",\n}\n";

    #[test]
    fn stops_without_a_declared_code_and_codes_without_a_stop_are_found() {
        let text =
            "fn a() { JobError::Stop(format!(\"x\")) }\nfn b() { JobError::Stop(format!(\"x (stop: nonsense)\")) }\n";
        let sources = [Source::new("host/src/stops.rs", DECLARATION), Source::new("host/src/a.rs", text)];
        let advice: Vec<String> = named(&sources).into_iter().map(|it| it.advice).collect();
        assert_eq!(advice.len(), 3, "{advice:?}");
        assert!(
            advice[0].contains("nonsense") && advice[1].contains("marker-lost") && advice[2].contains("disk-error")
        );
        let text = "fn a() { JobError::Stop(format!(\"x (stop: disk-error)\")) }\nfn b() { Stop::MarkerLost }\n";
        let sources = [Source::new("host/src/stops.rs", DECLARATION), Source::new("host/src/a.rs", text)];
        assert_eq!(named(&sources), []);
        let text = "fn a() {\n    JobError::Stop(format!(\"x\"))\n}\n";
        let sources = [Source::new("host/src/stops.rs", DECLARATION), Source::new("host/src/a.rs", text)];
        assert!(named(&sources).iter().any(|it| it.place == "host/src/a.rs:2"));
    }
}

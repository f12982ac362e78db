//! What the job file of an earlier start said, where a change of it would otherwise be ignored without a word.
//!
//! Pure but for the environment that a job file is read in. Next room: [`crate::start`], which asks.

use super::context::Environment;
use super::model::{Job, SourceKind, Until};
use super::parse;
use std::path::Path;

/// What is wrong with the ends of a job's sources, against the job file (`text`) of the last checkpoint: an end is resolved
/// once, at the first start, so another one would not count. A text that cannot be read any more, for want of a secret for
/// example, complains of nothing.
pub(crate) fn changed_end(job: &Job, path: &Path, text: &str) -> Option<String> {
    let earlier = parse(path, text, &Environment::of_process()).ok()?;
    job.sources.iter().find_map(|source| {
        let known = earlier.sources.iter().find(|known| known.name == source.name)?;
        let (SourceKind::Kafka { until: now, .. }, SourceKind::Kafka { until: then, .. }) = (&source.kind, &known.kind)
        else {
            return None;
        };
        (now != then).then(|| {
            format!(
                "the job file says `until = \"{}\"` for source `{}`, but where its input ends was fixed at the first start, \
                 by `until = \"{}\"`",
                show(*now),
                source.name,
                show(*then)
            )
        })
    })
}

fn show(until: Option<Until>) -> String {
    match until {
        None => "none".to_owned(),
        Some(Until::Latest) => "latest".to_owned(),
        Some(Until::Time(ms)) => {
            jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string())
        }
    }
}

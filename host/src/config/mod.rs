//! Job files: text to checked values. Nothing else reads TOML.
//!
//! [`load`] reads and checks a file as far as that goes without its plugins, [`resolve`] checks it against them. As many
//! errors as can be found are reported together, each with its place, its key and the way out. Values of secrets appear in
//! none. Next room: [`model`], what comes out.

mod canonical;
mod checks;
mod connection;
mod context;
pub(crate) mod earlier;
mod error;
#[cfg(test)]
mod fuzz;
mod graph;
pub(crate) mod keys;
pub mod model;
pub(crate) mod nearest;
mod operator;
mod reader;
mod reference;
pub mod resolve;
mod sink;
mod source;
mod syntax;
#[cfg(test)]
mod tests;
mod values;

pub use context::Environment;
pub use error::{ConfigError, ConfigErrors};
pub use reference::reference;

use context::Context;
use graph::Node;
use keys::sections::JOB;
use model::{BatchLimits, Checkpointing, Job, KafkaConnection};
use reader::Table;
use std::path::Path;
use toml::de::DeTable;

/// Longest job file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most sources, operators and sinks of a job together: each pair can be an edge, and edges are numbered with 16 bits.
const NODES_MAX: usize = 200;

/// Reads and checks a job file.
///
/// # Errors
///
/// Everything that is wrong with it and can be known without its plugins. Nothing was started or written.
pub fn load(path: &Path) -> Result<Job, ConfigErrors> {
    load_in(path, &Environment::of_process())
}

/// Like [`load`], with what the file is resolved against given.
pub fn load_in(path: &Path, environment: &Environment) -> Result<Job, ConfigErrors> {
    let text = read(path)?;
    parse(path, &text, environment)
}

fn read(path: &Path) -> Result<String, ConfigErrors> {
    let whole = |what: String| {
        let error = ConfigError { place: None, key: String::new(), what };
        ConfigErrors::new(path.to_path_buf(), vec![error])
    };
    let metadata = std::fs::metadata(path).map_err(|error| whole(format!("cannot read the job file ({error})")))?;
    if metadata.is_dir() {
        return Err(whole("is a folder; name the job file in it".to_owned()));
    }
    if metadata.len() > FILE_BYTES_MAX {
        let limit = values::show_size(FILE_BYTES_MAX);
        return Err(whole(format!("is larger than {limit}; is it a job file?")));
    }
    let bytes = std::fs::read(path).map_err(|error| whole(format!("cannot read the job file ({error})")))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        whole(format!("line {line} is not UTF-8; save the file as UTF-8"))
    })
}

/// Checks a job file's text; `path` is what errors call it and where relative paths begin.
fn parse(path: &Path, text: &str, environment: &Environment) -> Result<Job, ConfigErrors> {
    let context = Context::new(path, text, environment);
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    if !syntax_errors.is_empty() {
        syntax::report(&context, &syntax_errors);
        return Err(context.finish().expect_err("errors were just added"));
    }
    let job = {
        let top = Table::top(&context, &JOB, &document);
        job(&context, &top)
    };
    let places = context.finish()?;
    Ok(Job { places, ..job })
}

fn job(context: &Context<'_>, top: &Table<'_>) -> Job {
    top.integer("format");
    let name = job_name(top);
    let shards = top.integer("shards") as u16;
    let workers = if top.has("workers") {
        top.integer("workers") as u16
    } else {
        context.environment.cores.clamp(1, shards.max(1))
    };
    let store = top.table("store").path("path").unwrap_or_else(|| context.resolve(&format!("{name}.redb")));
    let (checkpoint, batch) = times(context, top);
    let limits = top.table("limits");
    limits.size("memory");

    let connections: Vec<KafkaConnection> =
        top.tables("connection").iter().map(|(name, table)| connection::read(name, table)).collect();
    let (mut source_tables, mut operator_tables, mut sink_tables) =
        (top.tables("source"), top.tables("operator"), top.tables("sink"));
    let nodes = source_tables.len() + operator_tables.len() + sink_tables.len();
    if nodes > NODES_MAX {
        top.error("name", format!("the job has {nodes} sources, operators and sinks; use at most {NODES_MAX}"));
        // What follows compares all with each other.
        [&mut source_tables, &mut operator_tables, &mut sink_tables].into_iter().for_each(Vec::clear);
    }
    let sources: Vec<_> =
        source_tables.iter().map(|(own, table)| source::read(own, table, &name, &connections)).collect();
    let operators: Vec<_> = operator_tables.iter().map(|(own, table)| operator::read(own, table)).collect();
    let sinks: Vec<_> = sink_tables.iter().map(|(own, table)| sink::read(own, table, &connections)).collect();

    let tables = [("source", &source_tables), ("operator", &operator_tables), ("sink", &sink_tables)];
    let nodes: Vec<Node> = tables
        .into_iter()
        .flat_map(|(kind, tables)| {
            tables.iter().map(move |(name, table)| Node { kind, name: name.clone(), span: table.span.clone() })
        })
        .collect();
    graph::check_names(context, &nodes);
    let (operators, sinks) = graph::connect(context, &nodes, &sources, operators, sinks);
    let channel_bytes = limits.size("channel") as usize;
    let undo_bytes = limits.size("undo") as usize;
    let job = Job {
        name,
        shards,
        workers,
        store,
        checkpoint,
        batch,
        channel_bytes,
        undo_bytes,
        sources,
        operators,
        sinks,
        places: model::Places::default(),
    };
    // What does not fit together says nothing while a part of it is made up.
    if context.error_count() == 0 {
        checks::whole(context, top, &job);
    }
    job
}

fn job_name(top: &Table<'_>) -> String {
    let Some(name) = top.text("name") else { return String::new() };
    if let Err(what) = values::check_name(&name.text) {
        top.error("name", format!("the name {what}"));
    }
    name.text
}

fn times(context: &Context<'_>, top: &Table<'_>) -> (Checkpointing, BatchLimits) {
    let errors_before = context.error_count();
    let (checkpoint, batch) = (top.table("checkpoint"), top.table("batch"));
    let checkpointing = Checkpointing {
        interval: checkpoint.duration("interval"),
        min_pause: checkpoint.duration("min_pause"),
        timeout: checkpoint.duration("timeout"),
    };
    let limits = BatchLimits {
        rows: batch.integer("rows") as usize,
        bytes: batch.size("bytes") as usize,
        linger: batch.duration("linger"),
    };
    if context.error_count() == errors_before {
        checks::times(top, checkpointing, limits);
    }
    (checkpointing, limits)
}

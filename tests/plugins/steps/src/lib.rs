//! Operators for tests of jobs with several of them: one plugin, whose configuration picks a role.
//!
//! Every role gives the same records whatever the batches were and however the inputs interleave (the order across keys
//! may differ), so that a test can compare a job's output with a recount. The exceptions say so. Next rooms:
//! `stateless`, `stateful`.

mod stateful;
mod stateless;

use serde::Deserialize;
use stateful::{Count, Held, Join, Rules, Zip};
use stateless::Map;
use tidegate_sdk::{Batch, Context, Description, Error, InputPort, Operator, Output, Watermark};

/// The operator's `config` table: `role`, and what the role wants to know.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase", deny_unknown_fields)]
pub enum Config {
    /// Forwards every record whole, reading nothing. Ports: `main` in, `out` out.
    Pass {},
    /// Emits every record with one field added to the JSON object that is its value: `"field":true`. Keeps no state and
    /// looks at no key. Ports: `main` in, `out` out.
    Map {
        /// The field's name.
        #[serde(default = "mapped")]
        field: String,
    },
    /// Emits every record with a new key, taken from a field of its value. Ports: `main` in, `out` out.
    Rekey {
        /// A JSON Pointer to the field.
        key: String,
    },
    /// Emits `{"key","count"}` for every record: how many its key has had, this one included. Ports: `main` in, `out`
    /// out.
    Count {},
    /// Emits `{"key","left","right"}` once a key, when both inputs have had it: the first value of each, as text. The
    /// record's timestamp is the later one of the two. Ports: `left` and `right` in, `out` out.
    Join {},
    /// Emits `{"key","left","right"}` for the n-th record that a key has on one input and the n-th that it has on the
    /// other, the values as text; holds what has no partner yet. Which two meet depends on how the inputs interleave; that
    /// each is in one pair does not. Ports: `left` and `right` in, `out` out.
    Zip {},
    /// Forwards every record whole, and writes to one more page of the memory that it holds, which is full of noise from the
    /// start. Ports: `main` in, `out` out.
    Hold {
        /// How much memory a shard holds, in bytes.
        bytes: usize,
    },
    /// Parts records by rules that come on an input of their own as `{"user_id","blocked"}`: a record whose key is
    /// blocked at its time goes to `blocked`, every other one to `passed`. Ports: `main` and `rules` in, `passed` and
    /// `blocked` out.
    Rules {
        /// Which rules count for a record.
        #[serde(default)]
        when: When,
    },
}

/// Which rules count for a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Those with a timestamp at or below the record's. The record waits until the watermark says that they have come,
    /// and is then emitted.
    #[default]
    EventTime,
    /// Those that came before it. The record is forwarded at once. The result depends on how the inputs interleave.
    Arrival,
}

fn mapped() -> String {
    "mapped".to_owned()
}

/// A step of a job, in the role that its configuration picked.
#[derive(Debug)]
pub struct Steps {
    role: Role,
}

#[derive(Debug)]
enum Role {
    Pass,
    Map(Map),
    Rekey,
    Count(Count),
    Join(Join),
    Zip(Zip),
    Hold(Held),
    Rules(Rules),
}

impl Operator for Steps {
    type Config = Config;

    fn describe(config: &Config) -> Result<Description, Error> {
        let main = InputPort::new("main");
        Ok(match config {
            Config::Pass {} | Config::Hold { .. } => Description::new().input(main).output("out"),
            Config::Map { .. } => Description::new().input(main.key().value()).output("out"),
            Config::Rekey { key } if key.starts_with('/') => {
                Description::new().input(main.value().bytes(key)).output("out")
            }
            Config::Rekey { key } => {
                return Err(Error::configuration("key", format!("`{key}` is no JSON Pointer; begin it with `/`")));
            }
            Config::Count {} => Description::new().input(main.key()).output("out"),
            Config::Join {} | Config::Zip {} => Description::new()
                .input(InputPort::new("left").key().value())
                .input(InputPort::new("right").key().value())
                .output("out"),
            Config::Rules { .. } => Description::new()
                .input(main.key().value())
                .input(InputPort::new("rules").value())
                .output("passed")
                .output("blocked"),
        })
    }

    fn open(config: Config, _: &Context) -> Result<Steps, Error> {
        let role = match config {
            Config::Pass {} => Role::Pass,
            Config::Map { field } => Role::Map(Map::new(&field)),
            Config::Rekey { .. } => Role::Rekey,
            Config::Count {} => Role::Count(Count::default()),
            Config::Join {} => Role::Join(Join::default()),
            Config::Zip {} => Role::Zip(Zip::default()),
            Config::Hold { bytes } => Role::Hold(Held::new(bytes)),
            Config::Rules { when } => Role::Rules(Rules::new(when)),
        };
        Ok(Steps { role })
    }

    fn process(&mut self, port: u32, _: Watermark, batch: Batch<'_>, out: &mut Output) -> Result<(), Error> {
        for row in batch.rows() {
            match &mut self.role {
                Role::Pass => out.port(0).forward(row),
                Role::Hold(held) => {
                    held.touch();
                    out.port(0).forward(row);
                }
                Role::Map(map) => map.process(row, out),
                Role::Rekey => stateless::rekey(row, out),
                Role::Count(count) => count.process(row, out)?,
                Role::Join(join) => join.process(port, row, out)?,
                Role::Zip(zip) => zip.process(port, row, out)?,
                Role::Rules(rules) => rules.process(port, row, out),
            }
        }
        out.next_advance(self.next_advance());
        Ok(())
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Output) -> Result<(), Error> {
        if let Role::Rules(rules) = &mut self.role {
            rules.advance(watermark, out);
        }
        out.next_advance(self.next_advance());
        Ok(())
    }
}

impl Steps {
    fn next_advance(&self) -> i64 {
        match &self.role {
            Role::Rules(rules) => rules.next_advance(),
            _ => i64::MAX,
        }
    }
}

tidegate_sdk::export!(Steps);

#[cfg(test)]
mod tests;

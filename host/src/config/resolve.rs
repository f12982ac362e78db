//! A job against what its plugins say of themselves: ports by name become ports by number, and edges a flat list.
//!
//! Pure: descriptions come in, a plan comes out. Next room: `job`, which builds threads and channels from the plan.

use super::error::{ConfigError, ConfigErrors};
use super::model::{Job, Origin, Route, SinkInput};
use super::nearest::hint;
use crate::ids::{EdgeIndex, OperatorIndex, PortIndex, SinkIndex, SourceIndex};
use crate::plugin::{Description, Port};

/// A job's edges, and what its operators are.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What each operator's plugin says of itself for its configuration, by [`OperatorIndex`].
    pub descriptions: Vec<Description>,
    /// All edges, by [`EdgeIndex`]: those into operators first, in the operators' order, then those into sinks.
    pub edges: Vec<Edge>,
}

/// A way that records take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Where they come from.
    pub from: EdgeFrom,
    /// Where they go.
    pub to: EdgeTo,
}

/// Where an edge begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeFrom {
    /// At a source.
    Source(SourceIndex),
    /// At an operator's output port.
    Operator(OperatorIndex, PortIndex),
}

/// Where an edge ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeTo {
    /// At an operator's input port, a record at the shard that the route tells.
    Operator(OperatorIndex, PortIndex, Route),
    /// At a sink.
    Sink(SinkIndex),
}

impl Plan {
    /// The edges with their numbers.
    pub fn edges(&self) -> impl Iterator<Item = (EdgeIndex, &Edge)> {
        self.edges.iter().enumerate().map(|(at, edge)| (EdgeIndex(at as u16), edge))
    }

    /// An edge by its number.
    pub fn edge(&self, index: EdgeIndex) -> &Edge {
        &self.edges[index.index()]
    }
}

/// Finds every port that the job names. `descriptions` are the operators', in their order.
///
/// # Errors
///
/// Ports that a plugin does not have, inputs that nothing feeds, outputs that go nowhere, all together.
///
/// # Panics
///
/// If there are not as many descriptions as operators.
pub fn resolve(job: &Job, descriptions: &[Description]) -> Result<Plan, ConfigErrors> {
    assert_eq!(job.operators.len(), descriptions.len(), "each operator has a description");
    let mut resolver = Resolver { job, descriptions, edges: Vec::new(), errors: Vec::new() };
    resolver.connect_operators();
    resolver.connect_sinks();
    resolver.check_ports_are_connected();
    if resolver.errors.is_empty() {
        Ok(Plan { descriptions: descriptions.to_vec(), edges: resolver.edges })
    } else {
        Err(ConfigErrors::new(job.places.file.clone(), resolver.errors))
    }
}

struct Resolver<'a> {
    job: &'a Job,
    descriptions: &'a [Description],
    edges: Vec<Edge>,
    errors: Vec<ConfigError>,
}

fn find(ports: &[Port], name: &str) -> Option<PortIndex> {
    ports.iter().position(|port| port.name == name).map(|at| PortIndex(at as u16))
}

fn names(ports: &[Port]) -> Vec<&str> {
    ports.iter().map(|port| port.name.as_str()).collect()
}

impl Resolver<'_> {
    fn error(&mut self, key: String, what: String) {
        self.errors.push(ConfigError::at(&self.job.places, key, what));
    }

    fn connect_operators(&mut self) {
        let (job, descriptions) = (self.job, self.descriptions);
        for (at, operator) in job.operators.iter().enumerate() {
            let ports = &descriptions[at].inputs;
            for input in &operator.inputs {
                let key = format!("operator.{}.inputs.{}", operator.name, input.port);
                let from = self.origin(&key, &input.from);
                let Some(port) = find(ports, &input.port) else {
                    let what =
                        format!("the plugin has no input port `{}`; {}", input.port, hint(&input.port, &names(ports)));
                    self.error(key, what);
                    continue;
                };
                if let Some(from) = from {
                    let to = EdgeTo::Operator(OperatorIndex(at as u16), port, input.route);
                    self.edges.push(Edge { from, to });
                }
            }
        }
    }

    fn connect_sinks(&mut self) {
        let job = self.job;
        for (at, sink) in job.sinks.iter().enumerate() {
            for input in &sink.from {
                let SinkInput::Records(origin) = input else { continue };
                if let Some(from) = self.origin(&format!("sink.{}.from", sink.name), origin) {
                    self.edges.push(Edge { from, to: EdgeTo::Sink(SinkIndex(at as u16)) });
                }
            }
        }
    }

    fn origin(&mut self, key: &str, origin: &Origin) -> Option<EdgeFrom> {
        match origin {
            Origin::Source(source) => Some(EdgeFrom::Source(*source)),
            Origin::Operator(operator, name) => {
                let ports = &self.descriptions[operator.index()].outputs;
                let Some(port) = find(ports, name) else {
                    let of = &self.job.operator(*operator).name;
                    let what = format!("operator `{of}` has no output port `{name}`; {}", hint(name, &names(ports)));
                    self.error(key.to_owned(), what);
                    return None;
                };
                Some(EdgeFrom::Operator(*operator, port))
            }
        }
    }

    fn check_ports_are_connected(&mut self) {
        let (job, descriptions) = (self.job, self.descriptions);
        for (at, (operator, description)) in job.operators.iter().zip(descriptions).enumerate() {
            let index = OperatorIndex(at as u16);
            let path = format!("operator.{}", operator.name);
            for name in names(&description.inputs) {
                if !operator.inputs.iter().any(|input| input.port == name) {
                    let what = format!("nothing feeds input port `{name}`; add `{name} = \"ORIGIN\"`");
                    self.error(format!("{path}.inputs"), what);
                }
            }
            for (port, name) in names(&description.outputs).into_iter().enumerate() {
                let from = EdgeFrom::Operator(index, PortIndex(port as u16));
                let read = self.edges.iter().any(|edge| edge.from == from);
                let discarded = operator.discard.iter().any(|discard| discard == name);
                if !read && !discarded {
                    let what = format!(
                        "output port `{name}` goes nowhere; name `{}.{name}` in a sink's `from` or an operator's `inputs`, \
                         or set `discard = [\"{name}\"]`",
                        operator.name
                    );
                    self.error(path.clone(), what);
                }
                if read && discarded {
                    let what = format!("output port `{name}` is read, so it is not discarded; leave it out here");
                    self.error(format!("{path}.discard"), what);
                }
            }
            let outputs = names(&description.outputs);
            for name in operator.discard.iter().filter(|name| !outputs.contains(&name.as_str())) {
                let what = format!("the plugin has no output port `{name}`; {}", hint(name, &outputs));
                self.error(format!("{path}.discard"), what);
            }
        }
    }
}

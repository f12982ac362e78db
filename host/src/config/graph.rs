//! From names to edges: origins are found, operators brought into topological order, cycles and dead ends reported.
//!
//! Knows no plugin: which ports there are is checked in [`super::resolve`]. Next room: `checks`, what must fit together.

use super::context::Context;
use super::model::{Input, Operator, Origin, Sink, SinkInput, Source};
use super::nearest::hint;
use super::operator::RawOperator;
use super::reader::Text;
use super::sink::RawSink;
use crate::ids::{OperatorIndex, SourceIndex};
use std::collections::HashMap;
use std::ops::Range;

/// What a sink calls every dead letter of the job.
pub(super) const DEAD_LETTERS: &str = "dead-letters";

/// A source, operator or sink of the job file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// `source`, `operator` or `sink`.
    pub(super) kind: &'static str,
    /// Its name.
    pub(super) name: String,
    /// Where it stands.
    pub(super) span: Range<usize>,
}

impl Node {
    fn path(&self) -> String {
        format!("{}.{}", self.kind, self.name)
    }
}

/// Reports names that stand for two things: they share one space, so that an origin and a state have one meaning.
pub(super) fn check_names(context: &Context<'_>, nodes: &[Node]) {
    let mut first: HashMap<&str, &Node> = HashMap::new();
    for node in nodes {
        if node.name == DEAD_LETTERS {
            let what = format!("the name `{DEAD_LETTERS}` means every dead letter of the job; take another");
            context.error(&node.span, node.path(), what);
        }
        let earlier = first.entry(&node.name).or_insert(node);
        if earlier.kind != node.kind {
            let what = format!(
                "the name `{}` is the {}'s already; names are shared by sources, operators and sinks; \
                                rename one",
                node.name, earlier.kind
            );
            context.error(&node.span, node.path(), what);
        }
    }
}

/// Connects what was read. On an error the result is not to be used.
pub(super) fn connect(
    context: &Context<'_>,
    nodes: &[Node],
    sources: &[Source],
    operators: Vec<RawOperator>,
    sinks: Vec<RawSink>,
) -> (Vec<Operator>, Vec<Sink>) {
    let resolver = Resolver { context, nodes, sources, operators: &operators };
    let inputs: Vec<Vec<Input>> = operators.iter().map(|operator| resolver.inputs(operator)).collect();
    let sink_inputs: Vec<Vec<SinkInput>> = sinks.iter().map(|sink| resolver.sink_inputs(sink)).collect();
    // A source that nothing reads is often one that is misspelled where it is read.
    if !context.has_error_at(|key| key.contains(".inputs") || key.rsplit('.').next() == Some("from")) {
        resolver.check_sources_are_read(&inputs, &sink_inputs);
    }
    let order = order(context, nodes, &operators, &inputs);

    // From places in the file to places in topological order.
    let mut place = vec![OperatorIndex(0); operators.len()];
    for (new, old) in order.iter().enumerate() {
        place[*old] = OperatorIndex(new as u16);
    }
    let moved = |origin: Origin| match origin {
        Origin::Operator(old, port) => Origin::Operator(place[old.index()], port),
        source @ Origin::Source(_) => source,
    };
    let mut numbered: Vec<(OperatorIndex, Operator)> = operators
        .into_iter()
        .zip(inputs)
        .zip(&place)
        .map(|((raw, inputs), place)| {
            let inputs = inputs.into_iter().map(|input| Input { from: moved(input.from), ..input }).collect();
            (*place, Operator { inputs, ..raw.operator })
        })
        .collect();
    numbered.sort_by_key(|(place, _)| *place);
    let with_inputs = |(raw, inputs): (RawSink, Vec<SinkInput>)| {
        let renumber = |input| match input {
            SinkInput::Records(origin) => SinkInput::Records(moved(origin)),
            SinkInput::DeadLetters => SinkInput::DeadLetters,
        };
        Sink { from: inputs.into_iter().map(renumber).collect(), ..raw.sink }
    };
    let sinks = sinks.into_iter().zip(sink_inputs).map(with_inputs).collect();
    (numbered.into_iter().map(|(_, operator)| operator).collect(), sinks)
}

struct Resolver<'a> {
    context: &'a Context<'a>,
    nodes: &'a [Node],
    sources: &'a [Source],
    operators: &'a [RawOperator],
}

impl Resolver<'_> {
    fn inputs(&self, operator: &RawOperator) -> Vec<Input> {
        let mut inputs: Vec<Input> = Vec::new();
        for raw in &operator.inputs {
            let Some(from) = self.origin(&raw.path, &raw.from) else { continue };
            if inputs.iter().any(|earlier| earlier.port == raw.port && earlier.from == from) {
                let what = format!("`{}` feeds this port twice; leave one out", raw.from.text);
                self.context.error(&raw.from.span, raw.path.clone(), what);
            }
            inputs.push(Input { port: raw.port.clone(), from, route: raw.route });
        }
        inputs
    }

    fn sink_inputs(&self, sink: &RawSink) -> Vec<SinkInput> {
        let input = |from: &Text| {
            if from.text == DEAD_LETTERS {
                return Some(SinkInput::DeadLetters);
            }
            self.origin(&sink.path, from).map(SinkInput::Records)
        };
        sink.from.iter().filter_map(input).collect()
    }

    fn origin(&self, path: &str, from: &Text) -> Option<Origin> {
        let refuse = |what: String| {
            self.context.error(&from.span, path, what);
            None
        };
        let (name, port) = match from.text.split_once('.') {
            Some((name, port)) => (name, Some(port)),
            None => (from.text.as_str(), None),
        };
        if from.text == DEAD_LETTERS {
            return refuse(format!("`{DEAD_LETTERS}` can only go to a sink"));
        }
        if let Some(at) = self.sources.iter().position(|source| source.name == name) {
            return match port {
                None => Some(Origin::Source(SourceIndex(at as u16))),
                Some(_) => refuse(format!("`{name}` is a source, and a source has no ports; write `{name}`")),
            };
        }
        if let Some(at) = self.operators.iter().position(|raw| raw.operator.name == name) {
            return match port {
                Some(port) if !port.is_empty() => Some(Origin::Operator(OperatorIndex(at as u16), port.to_owned())),
                _ => refuse(format!("`{name}` is an operator; name one of its output ports, as in `{name}.PORT`")),
            };
        }
        if self.nodes.iter().any(|node| node.kind == "sink" && node.name == name) {
            return refuse(format!("`{name}` is a sink, and nothing comes out of a sink"));
        }
        let mut names: Vec<&str> =
            self.nodes.iter().filter(|node| node.kind != "sink").map(|node| node.name.as_str()).collect();
        names.dedup();
        refuse(format!("there is no source or operator `{name}`; {}", hint(name, &names)))
    }

    fn check_sources_are_read(&self, inputs: &[Vec<Input>], sink_inputs: &[Vec<SinkInput>]) {
        let read_by_operators = inputs.iter().flatten().map(|input| &input.from);
        let read_by_sinks = sink_inputs.iter().flatten().filter_map(|input| match input {
            SinkInput::Records(origin) => Some(origin),
            SinkInput::DeadLetters => None,
        });
        let read: Vec<&Origin> = read_by_operators.chain(read_by_sinks).collect();
        for node in self.nodes.iter().filter(|node| node.kind == "source") {
            let at = self.sources.iter().position(|source| source.name == node.name);
            let is_read = |at: usize| read.contains(&&Origin::Source(SourceIndex(at as u16)));
            if !at.is_some_and(is_read) {
                let name = &node.name;
                let what = format!(
                    "nothing reads it; name `{name}` in an operator's `inputs` or a sink's `from`, \
                                    or leave it out"
                );
                self.context.error(&node.span, node.path(), what);
            }
        }
    }
}

/// Topological order, as places in the file; operators that do not depend on each other keep the file's order.
fn order(context: &Context<'_>, nodes: &[Node], operators: &[RawOperator], inputs: &[Vec<Input>]) -> Vec<usize> {
    let upstream = |at: usize| {
        inputs[at].iter().filter_map(|input| match &input.from {
            Origin::Operator(from, _) => Some(from.index()),
            Origin::Source(_) => None,
        })
    };
    let mut done = vec![false; operators.len()];
    let mut order = Vec::with_capacity(operators.len());
    while let Some(next) = (0..operators.len()).find(|at| !done[*at] && upstream(*at).all(|from| done[from])) {
        done[next] = true;
        order.push(next);
    }
    let Some(stuck) = done.iter().position(|done| !done) else { return order };
    // Each operator that is left waits for another one that is left: walking upstream must come back to one already seen.
    let mut walk = vec![stuck];
    let cycle = loop {
        let last = walk[walk.len() - 1];
        let waits_for = upstream(last).find(|from| !done[*from]).expect("an operator is left because of another one");
        if let Some(start) = walk.iter().position(|seen| *seen == waits_for) {
            break walk.split_off(start);
        }
        walk.push(waits_for);
    };
    let name = |at: &usize| operators[*at].operator.name.as_str();
    let first = cycle.iter().copied().min().expect("a cycle has a member");
    let turn = cycle.iter().position(|at| *at == first).expect("the smallest is a member");
    // The walk went upstream, records go down.
    let mut names: Vec<&str> = cycle[turn..].iter().chain(&cycle[..turn]).map(name).collect();
    names[1..].reverse();
    names.push(names[0]);
    let what = format!("its records come back to it: `{}`; a job has no cycles, break this one", names.join(" -> "));
    let node = nodes.iter().find(|node| node.kind == "operator" && node.name == names[0]).expect("operators are nodes");
    context.error(&node.span, node.path(), what);
    order.extend((0..operators.len()).filter(|at| !done[*at]));
    order
}

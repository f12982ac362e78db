//! Forty kills, ten a scenario, judged as a campaign of ten thousand is, and together with one more job through every fail
//! point that there is.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;
use tidegate::probe::POINTS;
use tidegate_tests::scene::{Scene, plugin};
use tidegate_tests::torture::campaign::{self, Options};
use tidegate_tests::torture::plan::{End, Plan};
use tidegate_tests::torture::scenario::{Ends, Scenario};

const KILLS: u64 = 40;

/// Lives that lead to the points that not every life comes by. What they leave of the ten is left to the seed.
fn script(scenario: Scenario) -> Vec<Plan> {
    let long = Plan { end: End::AfterCommit(Duration::from_secs(2)), late_ends: false };
    let stop = Plan { end: End::Stop, late_ends: false };
    match scenario.ends {
        Ends::Kafka => vec![
            Plan::at("start-prepared", 1),
            Plan::at("marked", 2),
            Plan::at("store-rolled-back", 1),
            Plan::at("unconfirmed", 2),
            Plan::at("promote-applied", 1),
            Plan { end: End::At { point: "rotated", times: 1 }, late_ends: true },
            stop,
        ],
        Ends::Files => {
            vec![Plan::at("start-resolved", 1), Plan::at("appended", 2), Plan::at("promoted", 1), stop, long]
        }
    }
}

#[test]
fn forty_kills_lose_and_double_nothing_and_come_by_every_fail_point() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = Options {
        kills: KILLS,
        at_most: Duration::from_mins(10),
        seed: 40,
        folder: folder.path().to_owned(),
        program: env!("CARGO_BIN_EXE_tidegate-probed").to_owned(),
        script: Some(script),
    };
    let piece = campaign::run(&options).expect("the folder can be written");
    let total = piece.state.total();
    if let Some(found) = piece.found.first() {
        let kept = folder.keep();
        panic!("{}: {}; everything is in `{}`", found.scenario, found.violation, kept.display());
    }
    assert!(total.is_exact() && total.kills == KILLS && total.at_points > KILLS / 4, "{}", piece.state.report(&POINTS));
    let mut reached: BTreeSet<String> = total.reached.into_keys().collect();
    reached.extend(reached_by_an_operator_begun_anew());
    let missing: Vec<&str> = POINTS.iter().filter(|point| !reached.contains(**point)).copied().collect();
    assert!(missing.is_empty(), "nothing came by {missing:?}");
    assert_eq!(reached.len(), POINTS.len(), "a fail point is not in the list: {reached:?}");
}

/// The points of a start that empties an operator's state, and of a call that is undone.
fn reached_by_an_operator_begun_anew() -> Vec<String> {
    let mut scene = Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"));
    let lines = "{\"user\":\"a\",\"time\":1767225600000}\n{\"user\":\"poison\",\"time\":1767225600001}\n";
    fs::write(scene.path("in.jsonl"), lines).expect("the input is written");
    let sink = |name: &str, from: &str| {
        format!("[sink.{name}]\nkind = \"file\"\npath = \"{name}.jsonl\"\nfrom = [\"{from}\"]\n")
    };
    scene.write_job(&format!(
        "format = 1\nname = \"anew\"\n[source.in]\nkind = \"file\"\npath = \"in.jsonl\"\nkey = \"/user\"\n\
         timestamp = {{ field = \"/time\", format = \"unix_ms\" }}\n[operator.count]\nplugin = \"{}\"\n\
         config = {{ mode = \"trap_in_process\", word = \"poison\", count = true }}\non_error = \"dead-letter\"\n\
         inputs = {{ main = \"in\" }}\n{}{}",
        plugin("misbehave").display(),
        sink("out", "count.out"),
        sink("dead", "dead-letters")
    ));
    assert!(scene.run_and_kill("started:1").was_killed(), "the first run ends at checkpoint 0");
    scene.set_variable("TIDEGATE_REACHED", Some(scene.path("reached")));
    scene.run_with(None, &["--fresh", "count"]).expect_success("begun anew");
    let text = fs::read_to_string(scene.path("reached")).expect("the host noted its moments");
    text.lines().map(str::to_owned).collect()
}

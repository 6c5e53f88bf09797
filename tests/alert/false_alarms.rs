//! `aw-alert` with its default rules, after one day of learning, in scenes of real networks: false alarms and true ones.
#![forbid(unsafe_code)]

#[path = "false_alarms/played.rs"]
mod played;
#[path = "false_alarms/report.rs"]
mod report;
#[path = "false_alarms/watched.rs"]
mod watched;

use std::sync::Mutex;

use aw_tests::scenarios::{Scenario, all};
use played::{Alerts, play};
use watched::play_by_the_clock;

/// How many scenes are played at a time.
const WORKERS: usize = 3;

/// Each scene, with what was reported of it.
fn play_all() -> Vec<(Scenario, Alerts)> {
    let left = Mutex::new(all().into_iter().enumerate());
    let played = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("no panic with the lock").next();
                    let Some((number, scene)) = next else { break };
                    let by_the_clock = scene.captures.is_empty();
                    let alerts = if by_the_clock { play_by_the_clock() } else { play(&scene) };
                    played.lock().expect("no panic with the lock").push((number, scene, alerts));
                }
            });
        }
    });
    let mut played = played.into_inner().expect("no panic with the lock");
    played.sort_by_key(|(number, ..)| *number);
    played.into_iter().map(|(_, scene, alerts)| (scene, alerts)).collect()
}

/// Each scene is reported as its list demands, and the page has the same tables.
#[test]
fn what_is_reported_of_each_scene() {
    let played = play_all();
    let wrong: Vec<_> =
        played.iter().filter_map(|(scene, got)| report::fault(scene, got)).collect();
    let tables = report::tables(&played);
    println!("{tables}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let page = include_str!("../../docs/dev/false-alarms.md");
    assert!(
        page.contains(&tables),
        "docs/dev/false-alarms.md has other tables; they are:\n{tables}"
    );
}

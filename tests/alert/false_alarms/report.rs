//! Compares what was reported of a scene with its list, and counts for the tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use aw_tests::scenarios::{Expected, Scenario, Verdict};

use crate::played::Alerts;

/// The kinds in the table, in its order.
const KINDS: [&str; 9] = [
    "new_device",
    "returned",
    "changed",
    "flip_flop",
    "reused_old",
    "duplicate",
    "broadcast",
    "silent",
    "back",
];

/// Where the reports differ from the list, if they do.
pub fn fault(scene: &Scenario, got: &Alerts) -> Option<String> {
    let mut expected = Alerts::new();
    for Expected { alert, times, digest, .. } in &scene.expected {
        if *times > 0 {
            *expected.entry((alert.clone(), *digest)).or_default() += times;
        }
    }
    let mut text = format!("{}:\n", scene.name);
    let keys: std::collections::BTreeSet<_> = expected.keys().chain(got.keys()).collect();
    let mut differs = false;
    for key in keys {
        let (alert, digest) = key;
        let count = |alerts: &Alerts| alerts.get(key).copied().unwrap_or(0);
        let (got, expected) = (count(got), count(&expected));
        if got != expected {
            differs = true;
            let place = if *digest { " in the digest" } else { "" };
            let _ = writeln!(text, "  {alert}{place}: {got} times, {expected} expected");
        }
    }
    differs.then_some(text)
}

/// What was reported of one kind.
#[derive(Clone, Copy, Default)]
struct Count {
    happened: usize,
    reported: usize,
    /// Messages: true ones and those by design; false ones.
    right: usize,
    by_design: usize,
    wrong: usize,
    digest: usize,
    digest_right: usize,
}

impl Count {
    fn add(&mut self, expected: &Expected, got: usize) {
        let Expected { verdict, digest, .. } = *expected;
        if verdict == Verdict::True {
            self.happened += 1;
            self.reported += usize::from(got > 0);
        }
        match (digest, verdict) {
            (true, verdict) => {
                self.digest += got;
                self.digest_right += if verdict == Verdict::True { got } else { 0 };
            }
            (false, Verdict::True) => self.right += got,
            (false, Verdict::ByDesign) => self.by_design += got,
            (false, Verdict::False) => self.wrong += got,
        }
    }

    fn row(&self, kind: &str) -> String {
        let Count { happened, reported, right, by_design, wrong, .. } = *self;
        let Count { digest, digest_right, .. } = *self;
        let at_once = right + by_design + wrong;
        let precision = percent(right, at_once);
        let with_digest = percent(right + digest_right, at_once + digest);
        let recall = percent(reported, happened);
        format!(
            "| `{kind}` | {happened} | {reported} | {recall} | {right} | {by_design} | {wrong} | {precision} | {digest} | {digest_right} | {with_digest} |\n"
        )
    }
}

fn kind_of(alert: &str) -> String {
    alert.split(' ').next().unwrap_or_default().to_owned()
}

fn percent(part: usize, whole: usize) -> String {
    match whole {
        0 => "-".into(),
        _ => format!("{} %", (100 * part + whole / 2) / whole),
    }
}

/// Both tables as they stand in docs/dev/false-alarms.md.
pub fn tables(played: &[(Scenario, Alerts)]) -> String {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for (scene, got) in played {
        let mut left = got.clone();
        for expected in &scene.expected {
            let key = (expected.alert.clone(), expected.digest);
            let got = left.remove(&key).unwrap_or(0);
            counts.entry(kind_of(&expected.alert)).or_default().add(expected, got);
        }
        for ((alert, digest), times) in &left {
            let count = counts.entry(kind_of(alert)).or_default();
            match digest {
                true => count.digest += times,
                false => count.wrong += times,
            }
        }
    }
    let mut text = String::from(
        "| kind | happened | reported | recall | at once: true | by design | false | precision at once | in the digest | of these true | precision with the digest |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for kind in KINDS {
        text += &counts.get(kind).copied().unwrap_or_default().row(kind);
    }
    text += &noise(played);
    text += "\n| scene | what happens | reported |\n|---|---|---|\n";
    for (scene, _) in played {
        let _ = writeln!(text, "| `{}` | {} | {} |", scene.name, scene.what, reports(scene));
    }
    text
}

/// Which scenes send alerts by design or false ones, and how many.
fn noise(played: &[(Scenario, Alerts)]) -> String {
    let of = |in_digest: bool| {
        let scenes = played.iter().filter_map(|(scene, _)| {
            let noise = scene.expected.iter().filter(|expected| {
                expected.verdict != Verdict::True && expected.digest == in_digest
            });
            let times: usize = noise.map(|expected| expected.times).sum();
            (times > 0).then(|| format!("`{}` {times}", scene.name))
        });
        scenes.collect::<Vec<_>>().join(", ")
    };
    format!(
        "\nBy design or false, at once: {}.\n\nBy design or false, in the digest: {}.\n",
        of(false),
        of(true)
    )
}

/// The last column: kinds, how often, and what they are.
fn reports(scene: &Scenario) -> String {
    let mut kinds: BTreeMap<(bool, String, &str), usize> = BTreeMap::new();
    for Expected { alert, times, digest, verdict } in &scene.expected {
        let kind = kind_of(alert);
        let mark = match (verdict, *times) {
            (Verdict::True, 0) => " missed",
            (Verdict::True, _) => "",
            (Verdict::ByDesign, _) => " by design",
            (Verdict::False, _) => " false",
        };
        *kinds.entry((*digest, kind, mark)).or_default() += times.max(&1);
    }
    let each = kinds.into_iter().map(|((digest, kind, mark), times)| {
        let times = if times > 1 { format!(" {times}×") } else { String::new() };
        let place = if digest { " in the digest" } else { "" };
        format!("`{kind}`{times}{mark}{place}")
    });
    let each: Vec<_> = each.collect();
    if each.is_empty() { "nothing".into() } else { each.join(", ") }
}

//! Names that others chose: they neither turn or hide the text around them, nor run in a spreadsheet.
#![forbid(unsafe_code)]

use aw_service::is_hidden;
use aw_tests::alerting::Alert;
use aw_tests::feed::publish;
use aw_tests::rig::{program, run};
use aw_tests::tracker::make_logs;
use shm_layout::UserName;
use std::fs;

/// What shm-layout removes from names is what aw-service removes from texts.
#[test]
fn both_lists_of_hidden_characters_are_the_same() {
    for c in ('\u{80}'..=char::MAX).filter(|c| !c.is_whitespace() && !c.is_control()) {
        let is_replaced = UserName::cut(&c.to_string()).as_str() == "_";
        assert_eq!(is_replaced, is_hidden(c), "{c:?}");
    }
}

const TURNED: &str = "\u{202e}retuor\u{2066}\u{200b}";

/// An export for a spreadsheet, and alerts on a terminal, with names that were imported from another program.
#[test]
fn names_of_alerts() {
    let alert = Alert::new();
    publish(&alert.ring, 1..4);
    let run_with = |options: &[&str]| run(alert.command(options)).ok().stdout;
    let first = "02:00:00:00:00:01";
    run_with(&["--once", "--learn", "1h"]);
    let csv = |name: &str| {
        let known = alert.path("known");
        fs::write(&known, format!("{first}|{name}\n")).unwrap();
        let config = alert.config(&format!("known = {known:?}\n"));
        run_with(&["-c", &config, "export", "csv"])
    };
    for (name, cell) in [
        ("=HYPERLINK(\"http://x/\"\"x\")", "\"'=HYPERLINK(\"\"http://x/\"\"\"\"x\"\")\""),
        ("@SUM(A1)", "\"'@SUM(A1)\""),
        ("+1", "\"'+1\""),
        ("-2", "\"'-2\""),
        ("plain-name", "plain-name"),
        (TURNED, "?retuor??"),
    ] {
        let text = csv(name);
        let line = text.lines().find(|line| line.contains(first)).unwrap();
        assert!(line.contains(&format!(",true,{cell},")), "{name}: {line}");
    }
    let printed = {
        let config = alert.path("alert.toml").to_str().unwrap().to_owned();
        let fresh = tempfile::tempdir().unwrap();
        let mut command = program("aw-alert", &["--ring", alert.ring.name(), "--print", "--once"]);
        command.args(["--replay", "-c", &config, "--state-dir"]).arg(fresh.path());
        run(command).ok().stdout
    };
    assert!(printed.contains("[?retuor??]"), "{printed}");
    assert!(!printed.chars().any(is_hidden), "{printed:?}");
}

/// A device's name in the tracker's configuration, in the report as text.
#[test]
fn names_in_the_report() {
    let directory = tempfile::tempdir().unwrap();
    make_logs(directory.path(), 3, 1);
    let log = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let log = fs::read_to_string(log).unwrap();
    let words = log.split_whitespace();
    let mac = words.into_iter().find(|word| word.matches(':').count() == 5).unwrap();
    let config = directory.path().join("tracker.conf");
    fs::write(&config, format!("{mac}|{TURNED}\n")).unwrap();
    let mut command = program("aw-tracker", &["report", "-c"]);
    command.arg(&config).arg(directory.path());
    let text = run(command).ok().stdout;
    assert!(text.contains(&format!("{mac} ?retuor??\n")), "{text}");
    assert!(!text.chars().any(is_hidden), "{text:?}");
}

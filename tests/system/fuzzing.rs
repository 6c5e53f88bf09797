//! `fuzz/run.sh`, which `make fuzz` runs: findings fail it, and runs add up. A script is in the place of cargo-fuzz: it prints what
//! libFuzzer prints.
#![forbid(unsafe_code)]

use aw_tests::rig::{Finished, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const CARGO: &str = r#"#!/bin/sh
echo "$@" >> "$0.calls"
echo '#2	INITED cov: 7 ft: 9 corp: 2/20b exec/s: 0 rss: 35Mb'
echo '#1500000	DONE   cov: 1743 ft: 4510 corp: 1014/58Kb lim: 4096 exec/s: 27254 rss: 485Mb'
[ "$4" = text ] && { echo 'SUMMARY: libFuzzer: deadly signal'; exit 77; }
echo 'stat::number_of_executed_units: 1500000'
"#;

fn fuzz(directory: &Path, until: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new("../fuzz/run.sh");
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    command.args(arguments).env("PATH", path).env("UNTIL", until);
    run({
        command.env("CARGO_TARGET_DIR", directory.join("target"));
        command
    })
}

#[test]
fn runs_add_up_and_findings_fail() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = directory.path().join("cargo");
    fs::write(&cargo, CARGO).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let fuzz = |until: &str, arguments: &[&str]| fuzz(directory.path(), until, arguments);
    let calls = || fs::read_to_string(directory.path().join("cargo.calls")).unwrap();

    assert_eq!(fuzz("", &[]).status.code(), Some(2));
    // All targets run, also after a finding, and each has a seed directory and the limits.
    let found = fuzz("", &["7"]);
    assert_eq!(found.status.code(), Some(1), "{found:#?}");
    assert!(found.stderr.contains("FAILED: text ("), "{found:#?}");
    assert!(found.stdout.contains("deadly signal"), "{found:#?}");
    let targets = fs::read_dir("../fuzz/fuzz_targets").unwrap().count();
    assert_eq!(calls().lines().count(), targets);
    for call in calls().lines() {
        let target = call.split(' ').nth(3).unwrap();
        assert!(Path::new("../fuzz/corpus").join(target).is_dir(), "{target} has no seeds");
        assert!(call.contains("-max_total_time=7 -timeout=20 -rss_limit_mb=2048"), "{call}");
    }
    fuzz("", &["7", "time", "token"]).ok();
    // A line for each target, with the sums.
    let sums = fuzz("", &["--sum"]).ok().stdout;
    assert_eq!(sums.lines().filter(|line| line.starts_with("| `")).count(), targets, "{sums}");
    assert!(sums.contains("| `text` | 0.00 | 1.5 million | 1743 | 1014 | 1 |"), "{sums}");
    assert!(sums.contains("| `time` | 0.00 | 3.0 million | 1743 | 1014 | 0 |"), "{sums}");

    // With a goal, only what has not reached it runs, only as long as it takes, and what ran least is first.
    let rows = "2026-11-28T10:00:00\tframe\t3600\t1\t1\t1\t1\t0\tabc\n\
        2026-11-28T11:00:00\ttime\t3000\t1\t1\t1\t1\t0\tabc\n2026-11-28T11:00:00\ttoken\t100\t1\t1\t1\t1\t0\tabc\n";
    fs::write(directory.path().join("target/fuzz.tsv"), rows).unwrap();
    fs::remove_file(directory.path().join("cargo.calls")).unwrap();
    fuzz("3600", &["1000", "frame", "time", "token"]).ok();
    let calls = calls();
    let wanted: Vec<_> = calls.lines().map(|call| call.split(' ').collect::<Vec<_>>()).collect();
    let times = wanted.iter().map(|call| (call[3], call[7]));
    assert_eq!(
        times.collect::<Vec<_>>(),
        [("token", "-max_total_time=1000"), ("time", "-max_total_time=600")]
    );
}

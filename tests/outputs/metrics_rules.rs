//! `contrib/prometheus/addrwatch.rules.yml`: promtool loads the rules and tests each of them, with series as aw-metrics prints them.
#![forbid(unsafe_code)]

use aw_tests::collect::held;
use aw_tests::lan::Lan;
use aw_tests::receiver::Receiver;
use aw_tests::rig::{Run, binary, program, program_at, run, run_patiently, skip, wait_until};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tempfile::tempdir;

const RULES: &str = include_str!("../../contrib/prometheus/addrwatch.rules.yml");
const TESTS: &str = include_str!("../data/addrwatch.rules.test.yml");

/// The metrics of this ring and of the outputs with this state directory.
struct Exporter {
    directory: tempfile::TempDir,
    _run: Run,
}

impl Exporter {
    fn start(ring: &Ring, state: &Path) -> Exporter {
        let directory = tempdir().unwrap();
        let mut command = program("aw-metrics", &["--ring", ring.name(), "--file"]);
        command.arg(directory.path().join("aw.prom")).arg("--state-dir").arg(state);
        Exporter { directory, _run: Run::start(command) }
    }

    /// The present file, which is written every five seconds.
    fn text(&self) -> String {
        fs::read_to_string(self.directory.path().join("aw.prom")).unwrap_or_default()
    }

    fn value(&self, name: &str) -> Option<String> {
        value(&self.text(), name).map(str::to_owned)
    }

    #[track_caller]
    fn wait_for(&self, name: &str, value: &str) {
        wait_until(&format!("{name} {value}"), || self.value(name).as_deref() == Some(value));
    }
}

/// The first sample of this name.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let sample = text.lines().find(|line| line.starts_with(&format!("addrwatch_{name}{{")))?;
    Some(sample.rsplit_once(' ')?.1)
}

/// A collector that was killed, or that hangs, does not run, although the ring still has its process id.
#[test]
fn a_collector_that_is_killed() {
    let (ring, state) = (Ring::new(), tempdir().unwrap());
    let receiver = Receiver::listening(&ring, &[]);
    let metrics = Exporter::start(&ring, state.path());
    metrics.wait_for("collector_running", "1");
    receiver.run.signal(Signal::STOP);
    metrics.wait_for("collector_running", "0");
    receiver.run.signal(Signal::CONT);
    metrics.wait_for("collector_running", "1");
    receiver.run.kill();
    // Five seconds without a heartbeat: in each file, whenever it is written.
    wait_until("it does not run", || {
        let text = metrics.text();
        let of = |name: &str| value(&text, name).expect(name).parse::<f64>().expect("a number");
        let (age, runs) = (of("collector_heartbeat_age_seconds"), of("collector_running") == 1.0);
        assert_eq!(runs, age <= 5.0, "{text}");
        !runs
    });
    assert_eq!(metrics.value("ring_up").as_deref(), Some("1"));
    assert_eq!(metrics.value("collector_kills_total").as_deref(), Some("0"), "the next one counts");
    let _again = Receiver::listening(&ring, &[]);
    metrics.wait_for("collector_kills_total", "1");
    assert_eq!(metrics.value("collector_crash_loop").as_deref(), Some("0"));
}

/// Names of metrics in a text, and of their labels where they have any.
fn series(text: &str) -> BTreeMap<String, BTreeSet<BTreeSet<String>>> {
    let mut all = BTreeMap::<String, BTreeSet<_>>::new();
    for part in text.split("addrwatch_").skip(1) {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let entry = all.entry(name.to_owned()).or_default();
        if let Some((labels, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            let label = |label: &str| label.split('=').next().unwrap_or_default().to_owned();
            entry.insert(labels.split(',').map(label).collect());
        }
    }
    all
}

/// Each metric in a rule is one that aw-metrics prints, and each series in a test has the labels that it prints.
#[test]
fn the_rules_name_metrics_that_exist() {
    let Some(lan) = Lan::new() else { return };
    let (ring, state) = (Ring::new(), tempdir().unwrap());
    let mut command = lan.here.command(binary("collector"));
    command.args(["-q", "-v", "--ring", ring.name(), "veth0"]);
    let collector = Run::start(command);
    collector.stderr.wait_for("collector: listening on veth0");
    let frame = "Ether(src='02:00:00:00:00:01', dst='ff:ff:ff:ff:ff:ff') / ARP(psrc='192.0.2.1', hwsrc='02:00:00:00:00:01')";
    lan.there.scapy("veth1", &format!("send({frame})"));
    wait_until("it is in the ring", || !held(&ring).is_empty());
    let syslog = Run::start({
        let words = ["--replay", "--to", "/nowhere/at/all", "--ring", ring.name(), "--state-dir"];
        let mut command = program("aw-syslog", &words);
        command.arg(state.path());
        command
    });
    syslog.stderr.wait_for("queueing events in");
    let own = state.path().join("aw-sqlite");
    fs::create_dir(&own).unwrap();
    let words = ["--once", "--ring", ring.name(), "--state-dir", own.to_str().unwrap()];
    run(program("aw-sqlite", &words)).ok();
    let metrics = Exporter::start(&ring, state.path());
    metrics.wait_for("output_delivered_total", "1");
    let (rules, tests) = (series(RULES), series(TESTS));
    // Some are there with the next heartbeat only.
    for name in rules.keys().chain(tests.keys()) {
        wait_until(&format!("{name} is printed"), || series(&metrics.text()).contains_key(name));
    }
    let printed = series(&metrics.text());
    assert!(printed.len() > 12, "{printed:#?}");
    for name in rules.keys() {
        assert!(tests.contains_key(name), "{name} is not tested");
    }
    for (name, labels) in tests {
        let scraped: BTreeSet<_> = printed[&name]
            .iter()
            .map(|labels| labels.iter().cloned().chain(["job".into(), "instance".into()]).collect())
            .collect();
        assert!(labels.is_subset(&scraped), "{name}: {labels:?}, but aw-metrics: {scraped:?}");
    }
    syslog.stop();
    collector.stop().ok();
}

/// Each alert says what happened and what to do, with options that exist.
#[test]
fn each_alert_has_a_remedy() {
    let rules: Vec<_> = RULES.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 8);
    for rule in rules {
        for key in ["expr: ", "severity: ", "summary: ", "description: ", "remedy: "] {
            assert_eq!(rule.matches(key).count(), 1, "{key} in {rule}");
        }
        let alert = rule.lines().next().unwrap();
        let tested = format!("alertname: {alert}\n        exp_alerts:");
        assert!(TESTS.contains(&tested), "{alert} is not tested");
        assert!(TESTS.contains(&format!("alertname: {alert} }}")), "{alert} in a healthy system");
    }
    let help = |name| run(program(name, &["--help"])).ok().stdout;
    let help = help("collector") + &help("aw-metrics") + &help("aw-syslog");
    for word in RULES.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        let is_option = word.starts_with('-') && word.trim_matches('-').len() > 1 || word == "-L";
        assert!(!is_option || help.contains(word), "{word} is not an option");
    }
}

#[test]
fn promtool_accepts_and_tests_the_rules() {
    if !Path::new("/usr/bin/promtool").exists() {
        return skip("there is no promtool here (prometheus)");
    }
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    fs::write(at("addrwatch.rules.yml"), RULES).unwrap();
    fs::write(at("tests.yml"), TESTS).unwrap();
    let promtool =
        |words: &[&str]| run_patiently(program_at("/usr/bin/promtool".into(), words)).ok();
    promtool(&["check", "rules", &at("addrwatch.rules.yml")]);
    promtool(&["test", "rules", &at("tests.yml")]);
    // The tests can fail.
    let broken = RULES.replace("> 600", "> 6000");
    fs::write(at("addrwatch.rules.yml"), broken).unwrap();
    let failed =
        run_patiently(program_at("/usr/bin/promtool".into(), &["test", "rules", &at("tests.yml")]));
    assert_ne!(failed.status.code(), Some(0), "{failed:#?}");
}

//! The supply chain: known vulnerabilities, the crates of the collector, and which programs have SQLite in them. The bill of
//! materials is tested with the package that contains it (`package.rs`).
#![forbid(unsafe_code)]

use aw_tests::rig::{Finished, run, skip};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn in_project(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(ROOT);
    command
}

/// An advisory database with one advisory, about a crate that every program has.
fn database(directory: &Path) {
    fs::create_dir_all(directory.join("crates/libc")).unwrap();
    let advisory = "```toml\n[advisory]\nid = \"RUSTSEC-2026-9999\"\npackage = \"libc\"\ndate = \"2026-01-01\"\n\n\
        [versions]\npatched = []\n```\n\n# Made up\n\nFor a test.\n";
    fs::write(directory.join("crates/libc/RUSTSEC-2026-9999.md"), advisory).unwrap();
    for arguments in [
        &["init", "-q", "-b", "main"][..],
        &["add", "."],
        &["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "made up"],
    ] {
        run(in_project("git", &[&["-C", directory.to_str().unwrap()], arguments].concat())).ok();
    }
}

/// A real cargo-deny reads a real database, which git takes for that of RustSec.
#[test]
fn an_advisory_fails_unless_a_dated_exception_names_it() {
    if run(in_project("cargo", &["deny", "--version"])).status.code() != Some(0) {
        return skip("cargo-deny is not installed: contrib/setup.sh test");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    database(&path("database"));
    type Environment<'a> = &'a [(&'a str, &'a str)];
    let check_with = |environment: Environment,
                      reachable: bool,
                      copies: &str,
                      exceptions: &str,
                      arguments: &[&str]|
     -> Finished {
        let rules = format!(
            "[graph]\ntargets = [\"x86_64-unknown-linux-gnu\"]\n[advisories]\ndb-path = {:?}\nignore = [{exceptions}]\n",
            path(copies)
        );
        fs::write(path("deny.toml"), rules).unwrap();
        let mut command = in_project("contrib/advisories.py", arguments);
        let source = if reachable { path("database") } else { path("nowhere") };
        command.env("DENY_TOML", path("deny.toml")).env("GIT_CONFIG_COUNT", "1");
        command.env("GIT_CONFIG_KEY_0", format!("url.{}.insteadOf", source.display()));
        command.env("GIT_CONFIG_VALUE_0", "https://github.com/RustSec/advisory-db");
        command.env_remove("CI").envs(environment.iter().copied());
        run(command)
    };
    let check = |reachable: bool, copies: &str, exceptions: &str, arguments: &[&str]| {
        check_with(&[], reachable, copies, exceptions, arguments)
    };
    let exception = |until: &str| {
        format!("{{ id = \"RUSTSEC-2026-9999\", reason = \"until {until}: made up\" }}")
    };
    let day =
        |days: &str| run(in_project("date", &["-I", "-d", days])).ok().stdout.trim().to_owned();
    let (good, expired) = (exception(&day("60 days")), exception(&day("60 days ago")));

    // Where the database was never reached: that is said, and only a release fails.
    let text = check(false, "none", &good, &[]).ok().stdout;
    assert!(text.contains("NOT CHECKED"), "{text}");
    check(false, "none", &good, &["--release"]).refused("advisories", &["NOT CHECKED"]);
    // In continuous integration, which may have no network, it stands out.
    let is_loud =
        |found: &Finished| found.stderr.contains("=\n=== WARNING: advisories: NOT CHECKED");
    let in_ci = |ci: &str| check_with(&[("CI", ci)], false, "none", &good, &[]).ok();
    assert!(is_loud(&in_ci("true")) && !is_loud(&in_ci("")));
    // Rules that cannot be read are no missing database.
    check(false, "none", "]\nmisspelt = [", &[]).refused("advisories", &["deny.toml"]);

    check(true, "copies", "", &[]).refused("advisories", &["a crate has an advisory"]);
    check(true, "copies", &good, &["--release"]).ok();
    let text = check(true, "copies", &expired, &[]).ok().stdout;
    assert!(text.contains("RUSTSEC-2026-9999 has expired"), "{text}");
    check(true, "copies", &expired, &["--release"]).refused("advisories", &["has expired"]);
    for bad in ["\"RUSTSEC-2026-9999\"".into(), exception(&day("400 days")), exception("soon")] {
        check(true, "copies", &bad, &[]).refused("advisories", &["exception"]);
    }
    // Not reached any more: the last copy is used, and finds it.
    let found = check(false, "copies", "", &[]);
    assert!(found.stdout.contains("the last copy is used"), "{found:?}");
    found.refused("advisories", &["a crate has an advisory"]);
}

#[test]
fn the_exceptions_of_this_project_are_dated() {
    let mut command = in_project("contrib/advisories.py", &["--dates"]);
    command.env_remove("DENY_TOML");
    run(command).ok();
    let rules = fs::read_to_string(Path::new(ROOT).join("deny.toml")).unwrap();
    for known in ["RUSTSEC-2026-0104", "RUSTSEC-2023-0071", "RUSTSEC-2025-0134"] {
        assert!(rules.contains(known), "{known}");
    }
}

#[test]
fn a_crate_that_is_new_in_the_collector_is_refused_until_it_was_looked_at() {
    let check = |list: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        fs::write(&path, list).unwrap();
        let mut command = in_project("contrib/collector-crates.py", &[]);
        command.env("COLLECTOR_CRATES", &path);
        run(command)
    };
    let list = fs::read_to_string(Path::new(ROOT).join("contrib/collector-crates.txt")).unwrap();
    check(&list).ok();
    let row = list.lines().find(|line| line.starts_with("rustix ")).unwrap();
    let words: Vec<_> = row.split(' ').collect();
    let other_version = list.replace(row, &row.replace(words[1], "0.0.1"));
    let unread = list.replace(row, &format!("{} {} {} ?", words[0], words[1], words[2]));
    check(&other_version).refused("collector-crates", &["rustix", "is new", "0.0.1 is not used"]);
    check(&unread).refused("collector-crates", &["rustix", "was not looked at"]);
}

/// Cargo gives all programs of one build the same features, so what counts is what `make build` starts.
#[test]
fn programs_without_a_spool_are_built_without_sqlite() {
    let made = run(in_project("make", &["--dry-run", "--no-print-directory", "build"])).ok().stdout;
    let mut with_sqlite = BTreeMap::new();
    for line in made.lines().filter(|line| line.starts_with("cargo build --release ")) {
        let packages: Vec<_> = line
            .split(' ')
            .filter(|word| word.starts_with("aw-") || *word == "collector")
            .collect();
        let mut tree =
            in_project("cargo", &["tree", "--locked", "--prefix", "depth", "--no-dedupe"]);
        tree.args(["--edges", "normal", "--format", " {p}"]);
        for name in &packages {
            tree.args(["--package", name]);
        }
        let mut program = "";
        let tree = run(tree).ok().stdout;
        for (depth, name) in tree.lines().filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?))
        }) {
            if depth == "0" {
                assert!(with_sqlite.insert(name.to_owned(), false).is_none(), "{name} twice");
                program = name;
            }
            if name == "libsqlite3-sys" {
                with_sqlite.insert(program.to_owned(), true);
            }
        }
    }
    let with = |wanted: bool| {
        let found = with_sqlite.iter().filter(move |(_, with)| **with == wanted);
        found.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        with(false),
        ["aw-metrics", "aw-relay", "aw-routeros", "aw-stdout", "aw-tracker", "collector"]
    );
    assert_eq!(
        with(true),
        [
            "aw-alert",
            "aw-clickhouse",
            "aw-mqtt",
            "aw-mysql",
            "aw-query",
            "aw-sqlite",
            "aw-syslog",
            "aw-web"
        ]
    );
}

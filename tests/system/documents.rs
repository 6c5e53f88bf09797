//! The documents: each link leads somewhere, each option that is named exists, and the commands of the quick start run.
#![forbid(unsafe_code)]

use aw_tests::rig::{binary, program, program_at, run};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(format!("{ROOT}/docs")).unwrap().map(|file| file.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    docs.chain(["README.md", "CHANGELOG.md"].map(|name| Path::new(ROOT).join(name))).collect()
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let anchors: BTreeMap<PathBuf, BTreeSet<String>> = documents()
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
            (path.canonicalize().unwrap(), headings.collect())
        })
        .collect();
    let mut followed = 0;
    for (path, own) in &anchors {
        let text = fs::read_to_string(path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            followed += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let to = to.canonicalize().unwrap_or_else(|_| panic!("{}: {link}", path.display()));
            let known = if file.is_empty() { Some(own) } else { anchors.get(&to) };
            let there = place.is_empty() || known.is_some_and(|known| known.contains(place));
            assert!(there, "{}: {link}", path.display());
        }
    }
    assert!(followed > 20, "{followed}");
}

/// In `code`, after the name of one of our programs, in every document.
#[test]
fn options_that_are_named_exist() {
    let makefile = fs::read_to_string(format!("{ROOT}/Makefile")).unwrap();
    let line = makefile.lines().find_map(|line| line.strip_prefix("PROGRAMS = ")).unwrap();
    let help: BTreeMap<&str, String> = line
        .split(' ')
        .map(|name| {
            let help = run(program(name, &["--help"])).ok().stdout;
            let more = [
                "who", "ip", "mac", "changes", "devices", "report", "import", "export", "add",
                "log", "diff", "show", "check",
            ]
            .map(|command| run(program(name, &[command, "--help"])).stdout);
            (name, help + &more.concat())
        })
        .collect();
    let mut seen = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for code in text.split('`').flat_map(str::lines) {
            let mut words = code.split_whitespace().map(|word| word.rsplit('/').next().unwrap());
            let Some(help) = words.find_map(|word| help.get(word)) else { continue };
            for word in words.take_while(|word| !["|", "&", "&&", "#"].contains(word)) {
                let option = word.split(['=', ',', ';']).next().unwrap();
                if option.starts_with("--") && option.len() > 2 && option != "--generate" {
                    assert!(help.contains(option), "{}: {code}", path.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

/// Each command of each document: what is ours is understood by its parser, to the last word; what is make's is a target; the
/// rest is of Debian.
#[test]
fn every_command_is_understood() {
    let makefile = fs::read_to_string(format!("{ROOT}/Makefile")).unwrap();
    let built = binary("collector").parent().unwrap().display().to_string();
    let mut asked = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let blocks = text.split("```").skip(1).step_by(2);
        let blocks =
            blocks.filter(|block| block.starts_with("sh\n") || block.starts_with("text\n"));
        let lines =
            blocks.filter(|block| !block.contains('─')).flat_map(|block| block.lines().skip(1));
        for line in
            lines.flat_map(|line| line.split(" # ").next()).flat_map(|line| line.split("&&"))
        {
            let command = line.trim().trim_end_matches('&').trim().trim_start_matches("sudo ");
            let (program, rest) = command.split_once(' ').unwrap_or((command, ""));
            let name = program.rsplit('/').next().unwrap();
            if name == "make" {
                let mut targets = rest.split(' ').filter(|word| !word.contains('='));
                let is_target = |word: &str| {
                    makefile.contains(&format!("\n{word}: "))
                        || makefile.contains(&format!("\n{word}:\n"))
                };
                assert!(targets.all(is_target), "{}: {line}", path.display());
            } else if name == "collector" || name.starts_with("aw-") {
                // --help is obeyed where it stands, so whatever stands before it was taken.
                let ran =
                    run(program_at("sh".into(), &["-c", &format!("{built}/{name} {rest} --help")]));
                assert!(
                    ran.status.success() && ran.stdout.contains("Usage: "),
                    "{}: {line}: {}",
                    path.display(),
                    ran.stderr
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 20, "{asked}");
}

/// The first commands of the quick start, as they stand there, but for where they are.
#[test]
fn the_quick_start_runs() {
    let text = fs::read_to_string(format!("{ROOT}/docs/quickstart.md")).unwrap();
    let script = text.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("state");
    fs::create_dir(&own).unwrap();
    let ring = aw_tests::ring::Ring::new();
    let script = script
        .replace("target/release", binary("collector").parent().unwrap().to_str().unwrap())
        .replace("/tmp/aw-try", own.to_str().unwrap())
        .replace("/try", ring.name());
    let mut command = program_at("sh".into(), &["-exc", &script]);
    command.current_dir(ROOT);
    let ran = run(command).ok();
    assert!(ran.stdout.contains("02:00:00:00:00:01"), "{ran:#?}");
    assert!(ran.stdout.contains("published"), "{ran:#?}");
    assert!(!ring.path().exists() && !own.exists());
}

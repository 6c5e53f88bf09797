//! Manual pages and completions, which the programs generate, checked by the programs that read them.
#![forbid(unsafe_code)]

use aw_tests::rig::{binary, program, program_at, run, skip};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn programs() -> Vec<String> {
    let makefile = fs::read_to_string(format!("{ROOT}/Makefile")).unwrap();
    let line = makefile.lines().find_map(|line| line.strip_prefix("PROGRAMS = ")).unwrap();
    line.split(' ').map(String::from).collect()
}

/// `make install` without the build.
fn install() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let built = binary("collector");
    let mut command = Command::new(format!("{ROOT}/contrib/install.sh"));
    command.arg(built.parent().unwrap()).arg(directory.path()).arg("/opt/aw").args(programs());
    run(command).ok();
    let root = directory.path().join("opt/aw");
    (directory, root)
}

fn beneath(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(beneath(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn pages(root: &Path) -> Vec<PathBuf> {
    beneath(&root.join("share/man"))
}

fn page_of(root: &Path, name: &str) -> PathBuf {
    let mut pages = pages(root).into_iter();
    pages.find(|page| page.file_stem().is_some_and(|stem| stem == name)).expect(name)
}

/// A page as a reader sees it, on one line.
fn shown(page: &Path) -> String {
    let shown =
        run(program_at("mandoc".into(), &["-Tascii", "-Owidth=300", page.to_str().unwrap()])).ok();
    let mut text = String::new();
    for c in shown.stdout.chars() {
        if c == '\u{8}' {
            text.pop();
        } else {
            text.push(c)
        }
    }
    text
}

fn no_mandoc() -> bool {
    let none = Command::new("mandoc").arg("/dev/null").output().is_err();
    if none {
        skip("there is no mandoc here");
    }
    none
}

/// Options with two hyphens, anywhere in the text.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let options = words.filter(|word| word.starts_with("--") && word.len() > 3);
    options.map(|word| word.trim_end_matches('-').to_owned()).collect()
}

/// The output of `--help`, of the program and of its commands.
fn help_of(name: &str) -> String {
    let help = run(program(name, &["--help"])).ok().stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty() && !line.starts_with("Options"));
    let commands: Vec<_> =
        commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let of_commands = commands
        .iter()
        .filter(|command| !["", "help"].contains(command))
        .map(|command| run(program(name, &[command, "--help"])).ok().stdout);
    let text: String = of_commands.collect();
    format!("{help}{text}")
}

#[test]
fn each_flag_is_in_its_page_and_each_in_the_page_is_real() {
    if no_mandoc() {
        return;
    }
    let (_directory, root) = install();
    let mut all = BTreeSet::new();
    for name in programs() {
        let (help, page) = (options(&help_of(&name)), options(&shown(&page_of(&root, &name))));
        assert!(help.len() > 5, "{name}: {help:?}");
        assert_eq!(page, help, "{name}");
        all.extend(help);
    }
    // The handwritten part names only existing options.
    for page in pages(&root).iter().filter(|page| page.extension().is_some_and(|end| end == "5")) {
        let text = options(&shown(page));
        assert!(text.is_subset(&all), "{}: {text:?}", page.display());
    }
}

/// A configuration file with an unknown key is refused with a list of the known ones: each has an entry in the page,
/// and the page has no other.
#[test]
fn each_key_is_in_its_page_and_each_in_the_page_is_real() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file.toml");
    let file = file.to_str().unwrap();
    let mail = "archive = \"/x\"\n[mail]\n";
    let oauth = "archive = \"/x\"\n[mail.oauth]\n";
    let router = "archive = \"/x\"\n[[router]]\n";
    let ignore = "archive = \"/x\"\n[[ignore]]\n";
    for (page, ask, tables) in [
        (
            "alert",
            ["--check", "-c", file],
            &[
                "",
                "[[channel]]\n",
                "[channel.smtp]\n",
                "[channel.smtp.oauth]\n",
                "[channel.sendmail]\n",
                "[channel.webhook]\n",
                "[[watch]]\n",
                "[[failover]]\n",
                "[[mute]]\n",
            ][..],
        ),
        ("routeros", ["show", "-c", file], &["", mail, oauth, router, ignore]),
    ] {
        let mut keys = BTreeSet::new();
        for table in tables {
            let table = table.replace("[channel.", "[[channel]]\nname = \"x\"\n[channel.");
            fs::write(file, format!("{table}made_up = 1\n")).unwrap();
            let refused = run(program(&format!("aw-{page}"), &ask));
            let (_, expected) = refused.stderr.split_once("expected ").expect(&refused.stderr);
            keys.extend(expected.split('`').skip(1).step_by(2).map(String::from));
        }
        assert!(keys.len() > 20, "{keys:?}");
        let text =
            fs::read_to_string(format!("{ROOT}/contrib/man/addrwatch-{page}.toml.5")).unwrap();
        let bold = text.lines().filter_map(|line| line.strip_prefix(".B "));
        let documented: BTreeSet<_> =
            bold.flat_map(|line| line.split(", ")).map(String::from).collect();
        assert_eq!(documented, keys, "{page}");
    }
}

/// The same options are under the same heading of `--help` in all programs.
#[test]
fn help_is_in_groups() {
    for name in programs() {
        let help = run(program(&name, &["--help"])).ok().stdout;
        let options = |heading: &str| {
            let lines = help.lines().skip_while(|line| *line != heading).skip(1);
            let lines = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
            let options = lines.filter(|line| line.trim_start().starts_with('-'));
            let long = options.filter_map(|line| line.split_once("--")?.1.split([' ', ',']).next());
            long.map(String::from).collect::<BTreeSet<_>>()
        };
        assert!(help.contains("Examples:"), "{name}");
        if name == "aw-query" {
            continue; // it does not stay
        }
        let process = BTreeSet::from(["daemon", "pid", "user"].map(String::from));
        assert_eq!(options("Process:"), process, "{name}");
        if !["collector", "aw-routeros", "aw-web"].contains(&name.as_str()) {
            let rings = options("Rings:");
            assert!(rings.contains("ring") && rings.contains("state-dir"), "{name}: {rings:?}");
            assert!(
                ["output", "database", "to", "config", "listen"]
                    .iter()
                    .all(|own| !rings.contains(*own)),
                "{name}: {rings:?}"
            );
        }
    }
}

#[test]
fn pages_are_accepted() {
    if no_mandoc() {
        return;
    }
    let (_directory, root) = install();
    let found = pages(&root);
    assert!(found.len() > 12, "{found:?}");
    let names: BTreeSet<String> = found
        .iter()
        .map(|page| {
            let (stem, end) = (page.file_stem().unwrap(), page.extension().unwrap());
            format!("{}({})", stem.to_str().unwrap(), end.to_str().unwrap())
        })
        .collect();
    for page in &found {
        let path = page.to_str().unwrap();
        let lint = run(program_at("mandoc".into(), &["-Tlint", "-W", "error", path]));
        assert_eq!(lint.stdout, "", "{path}");
        lint.ok();
        let name = page.file_stem().unwrap().to_str().unwrap();
        let whatis = run(program_at("lexgrog".into(), &[path])).ok();
        assert!(whatis.stdout.contains(&format!("\"{name} - ")), "{}", whatis.stdout);
        let mut man = program_at("man".into(), &["--warnings", "-l", path]);
        man.env("MANROFFSEQ", "").env("MANWIDTH", "100");
        let man = run(man).ok();
        assert_eq!(man.stderr, "", "{path}");
        assert!(man.stdout.contains("SEE ALSO"), "{path}");
        // Each page that another one names is installed, or is part of the system.
        let text = fs::read_to_string(page).unwrap();
        let see = text.split("SEE ALSO").nth(1).unwrap();
        for line in see.lines().filter_map(|line| line.strip_prefix(".BR ")) {
            let name = line.trim_end_matches(',').replace(' ', "");
            let others = ["futex(2)", "pcap-filter(7)", "shm_overview(7)"];
            assert!(names.contains(&name) || others.contains(&name.as_str()), "{path}: {name}");
        }
    }
    for name in programs() {
        let text = shown(&page_of(&root, &name));
        for section in ["SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS", "FILES"] {
            assert!(text.contains(section), "{name}: {section}");
        }
    }
}

/// The shells themselves check the syntax, and that bash offers an option.
#[test]
fn completions() {
    let (_directory, root) = install();
    for (shell, place, check) in [
        ("bash", "bash-completion/completions", "-n"),
        ("zsh", "zsh/site-functions", "-n"),
        ("fish", "fish/vendor_completions.d", "-n"),
    ] {
        if Command::new(shell).args(["-c", "true"]).output().is_err() {
            skip(&format!("there is no {shell} here"));
            continue;
        }
        let files = beneath(&root.join("share").join(place));
        assert_eq!(files.len(), programs().len(), "{shell}");
        for file in files {
            run(program_at(shell.into(), &[check, file.to_str().unwrap()])).ok();
        }
    }
    let script = format!(
        "source {}/share/bash-completion/completions/aw-sqlite; COMP_WORDS=(aw-sqlite --reten); COMP_CWORD=1; _aw__sqlite aw-sqlite --reten aw-sqlite; echo \"${{COMPREPLY[@]}}\"",
        root.display()
    );
    assert_eq!(run(program_at("bash".into(), &["-c", &script])).ok().stdout.trim(), "--retention");
}

#[test]
fn installed_where_it_was_asked_for() {
    let (directory, root) = install();
    let outside = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(outside, 1, "nothing but opt");
    for name in programs() {
        let version = run(program_at(root.join("bin").join(&name), &["--version"])).ok();
        assert!(version.stdout.starts_with(&name), "{}", version.stdout);
    }
    let unit = fs::read_to_string(root.join("lib/systemd/system/aw-sqlite.service")).unwrap();
    assert!(unit.contains("ExecStart=/opt/aw/bin/aw-sqlite "), "{unit}");
}

use super::*;
use proptest::prelude::*;

const TERSE: &str = "# 2024-06-06 15:22:31 by RouterOS 7.14.2\r\n# software id = SSXB-J5Q7\r\n#\r\n\
    /interface bridge add name=loopback\r\n# wlan1 not ready\r\n/ip service set www disabled=yes\r\n";

fn sections(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn terse() {
    let export = validate(TERSE.as_bytes(), None).unwrap();
    assert_eq!(export.version, "7.14.2");
    assert_eq!(
        export.lines,
        ["/interface bridge add name=loopback", "/ip service set www disabled=yes"]
    );
}

#[test]
fn compact_with_menus_and_wrapped_lines() {
    let text = "# sep/ 2/2020  3: 9:38 by RouterOS 7.1.3\r\n/ip firewall filter\r\n\
        add action=accept chain=input comment=\"a \\\r\n    b\" \\\r\n    protocol=tcp\r\n\
        /system identity\r\nset name=\"x\\\\\"\r\n";
    let export = validate(text.as_bytes(), None).unwrap();
    assert_eq!(
        export.lines,
        [
            "/ip firewall filter add action=accept chain=input comment=\"a b\" protocol=tcp",
            "/system identity set name=\"x\\\\\""
        ]
    );
    assert_eq!(validate(text.replace("\r\n", "\n").as_bytes(), None), Ok(export));
}

#[test]
fn incomplete_exports() {
    let fault = |text: &str| validate(text.as_bytes(), None).unwrap_err();
    assert_eq!(fault(""), ExportFault::Refused(String::new()));
    assert_eq!(
        fault("expected end of command (line 1 column 9)\r\n"),
        ExportFault::Refused("expected end of command (line 1 column 9)".into())
    );
    assert_eq!(fault("# 2024-06-06 15:22:31 by RouterOS 7.14.2\r\n#\r\n"), ExportFault::Empty);
    assert_eq!(fault(TERSE.trim_end()), ExportFault::CutLine);
    assert_eq!(fault(&format!("{TERSE}/ip dns set \\\r\n")), ExportFault::CutLine);
    assert_eq!(fault(&format!("{TERSE}#interrupted\r\n")), ExportFault::Interrupted);
}

/// Text of other origin is not configuration, wherever it stands.
#[test]
fn foreign_lines() {
    let fault = |text: &str| validate(text.as_bytes(), None).unwrap_err();
    let foreign = |line: &str| ExportFault::Foreign(line.into());
    assert_eq!(fault(&format!("{TERSE}interrupted\r\n")), ExportFault::Interrupted);
    assert_eq!(fault(&format!("{TERSE}bye\r\n")), foreign("bye"));
    assert_eq!(
        fault(&format!("{TERSE}\r\n\x1b[m[admin@core1] > \r\n")),
        foreign("?[m[admin@core1] >")
    );
    let banner = TERSE.replacen("#\r\n", "#\r\nAuthorized use only!\r\n", 1);
    assert_eq!(fault(&banner), foreign("Authorized use only!"));
    let before = format!("Authorized use only!\r\n{TERSE}");
    assert_eq!(fault(&before), ExportFault::Refused("Authorized use only!".into()));
    // A sentence of a banner that begins like a command, behind a menu.
    for line in ["reset by peer", "set up by the NOC on Monday", "add no \"rules\" here"] {
        let text = format!("{TERSE}/ip dns\r\nset servers=192.0.2.53\r\n{line}\r\n");
        assert_eq!(fault(&text), foreign(line));
    }
    // A command without a menu, and a quote that never ends.
    assert_eq!(fault(&format!("{TERSE}add name=x\r\n")), foreign("add name=x"));
    assert_eq!(fault(&format!("{TERSE}/x add a=\"\r\nbye\r\n")), ExportFault::CutLine);
    // Earlier releases recorded such lines.
    let stored = format!("{TERSE}interrupted\r\n");
    assert_eq!(parse_stored(stored.as_bytes()), validate(TERSE.as_bytes(), None));
}

/// Forms of lines as published exports of 6.40 to 7.24 have them, with other names.
#[test]
fn lines_of_real_exports() {
    let text = include_str!("tests/forms.rsc");
    let export = validate(text.as_bytes(), None).unwrap();
    let commands =
        text.lines().filter(|line| matches!(line.split(' ').next(), Some("add" | "set")));
    assert_eq!(export.lines.len(), commands.count());
    // With `terse` each command has its menu, except behind a comment.
    let header = text.lines().next().unwrap();
    let last = "/interface wireless cap\n# \nset enabled=yes\n";
    let terse = format!("{header}\n{}\n{last}", export.lines.join("\n"));
    let lines = validate(terse.as_bytes(), None).unwrap().lines;
    assert_eq!(lines[..export.lines.len()], export.lines);
    assert_eq!(lines.last().unwrap(), "/interface wireless cap set enabled=yes");
    assert_eq!(validate(text.replace('\n', "\r\n").as_bytes(), None), Ok(export));
}

/// The exports of the published cases, if they are there, and the seeds of the fuzz target: all but the one with
/// `interrupted` are accepted.
#[test]
fn exports_of_cases_and_seeds() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = |directory: &std::path::Path| -> Vec<std::path::PathBuf> {
        std::fs::read_dir(directory)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .collect()
    };
    let mut cases: Vec<_> = files(&root.join("../../shared/cases/routeros"))
        .iter()
        .flat_map(|case| files(case))
        .collect();
    cases.retain(|file| file.file_name().unwrap().to_string_lossy().starts_with("export-"));
    for file in &cases {
        let parsed = parse(&std::fs::read(file).unwrap());
        let is_foreign = file.ends_with("07-text-behind-the-export/export-1");
        assert_eq!(parsed.is_err(), is_foreign, "{}: {parsed:?}", file.display());
    }
    let seeds = files(&root.join("fuzz/corpus/routeros_export"));
    let accepted = seeds.iter().filter(|seed| parse(&std::fs::read(seed).unwrap()).is_ok()).count();
    println!("{} exports of cases; {accepted} of {} seeds are accepted", cases.len(), seeds.len());
}

/// A string may have line ends, as the exports of scripts in some tools do; `#` is no comment in it.
#[test]
fn strings_of_several_lines() {
    let text = "# x by RouterOS 7\n/system script\nadd name=s source=\"a\n# b\n\nbye\\\"\n\"\nadd name=t\n";
    let lines = validate(text.as_bytes(), None).unwrap().lines;
    let first = "/system script add name=s source=\"a\\n# b\\n\\nbye\\\"\\n\"";
    assert_eq!(lines, [first, "/system script add name=t"]);
}

/// 460 KB: as lines with their menu more than 20 GB.
#[test]
fn a_menu_is_not_multiplied_without_bound() {
    let header = TERSE.lines().next().unwrap();
    let text = format!("{header}\n/{}\n{}", "x".repeat(230_000), "add\n".repeat(77_000));
    assert_eq!(validate(text.as_bytes(), None), Err(ExportFault::Expanded));
    let text = format!("{header}\n{}", "#error exporting /x\n".repeat(800_000));
    assert_eq!(validate(text.as_bytes(), None), Err(ExportFault::Expanded));
    let sections = (0..12).map(|n| format!("/{n:02}")).collect();
    assert!(ExportFault::Failed(sections).to_string().ends_with("/09 and 2 more"));
}

/// The longest answer of a router, with lines of the usual length.
#[test]
fn the_longest_export_is_accepted() {
    let line = "/ip firewall address-list add list=blocked address=192.0.2.1\n";
    let text = format!("{}\n{}", TERSE.lines().next().unwrap(), line.repeat((16 << 20) / 62));
    assert!(validate(text.as_bytes(), None).is_ok());
}

#[test]
fn sections_that_always_fail_are_accepted() {
    let text =
        format!("{TERSE}#error exporting /ip socks\r\n#error exporting \"/x\" (timeout)\r\n");
    let failed = sections(&["/ip socks", "\"/x\" (timeout)"]);
    assert_eq!(validate(text.as_bytes(), None).unwrap().failed, failed);
    assert!(validate(text.as_bytes(), Some(&failed)).is_ok());
    let known = sections(&["/ip socks"]);
    let new = ExportFault::Failed(sections(&["\"/x\" (timeout)"]));
    assert_eq!(validate(text.as_bytes(), Some(&known)), Err(new));
    assert!(validate(TERSE.as_bytes(), Some(&failed)).is_ok(), "fewer may fail");
}

proptest! {
    /// A cut export is rejected, or the cut is at the end of a complete line.
    #[test]
    fn a_cut_yields_no_partial_line(at in 0..TERSE.len()) {
        let whole = validate(TERSE.as_bytes(), None).unwrap();
        if let Ok(export) = validate(&TERSE.as_bytes()[..at], None) {
            prop_assert!(whole.lines.starts_with(&export.lines));
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = validate(&[b"# x by RouterOS 7\n", bytes.as_slice()].concat(), None);
        let _ = validate(&bytes, None);
    }

    /// Comments never make a difference, wherever they stand.
    #[test]
    fn comments_are_no_configuration(comment in "[ -~]{0,40}\\\\?", at in 1..6_usize) {
        prop_assume!(!comment.starts_with("error exporting ") && !comment.starts_with("interrupted"));
        let mut lines: Vec<_> = TERSE.lines().map(str::to_owned).collect();
        lines.insert(at, format!("#{comment}"));
        let text = lines.join("\n") + "\n";
        prop_assert_eq!(validate(text.as_bytes(), None).unwrap().lines, validate(TERSE.as_bytes(), None).unwrap().lines);
    }

    /// A line is the same wherever it is wrapped after its first character.
    #[test]
    fn wrapping_does_not_matter(value in "[a-z=/ ]{1,60}", at in 1..50_usize) {
        let line = format!("/x add a={value}z");
        let at = at.min(line.len() - 1);
        prop_assume!(!line[at..].starts_with(' '));
        let header = "# x by RouterOS 7\n";
        let wrapped = format!("{header}{}\\\r\n    {}\r\n", &line[..at], &line[at..]);
        let plain = format!("{header}{line}\n");
        prop_assert_eq!(validate(wrapped.as_bytes(), None), validate(plain.as_bytes(), None));
    }
}

/// Bytes that are not UTF-8, as RouterOS 6 stores names of a code page: different ones are different lines.
#[test]
fn bytes_that_are_not_utf_8_are_compared() {
    let export = |byte: u8| {
        let mut bytes =
            b"# 2026-11-22 10:00:00 by RouterOS 6.49.18\r\n/interface set 0 comment=\"x".to_vec();
        bytes.push(byte);
        bytes.extend(b"\"\r\n");
        validate(&bytes, None).unwrap().lines
    };
    assert_ne!(export(0xe4), export(0xf6));
    assert_eq!(export(0xe4), export(0xe4));
    assert_eq!(export(0xe4), ["/interface set 0 comment=\"x\u{fffd}E4\""]);
}

/// Names and versions are stored in the state of the router, which has a limit.
#[test]
fn long_names_are_cut() {
    let long = "é".repeat(600_000);
    let text = TERSE.replacen("by RouterOS ", &format!("by RouterOS {long}"), 1);
    let text = format!("{text}#error exporting /{long}\r\n");
    let export = validate(text.as_bytes(), None).unwrap();
    assert_eq!(export.failed, sections(&[&format!("/{}", &long[..198])]));
    assert_eq!(export.version, long[..200]);
}

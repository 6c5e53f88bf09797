use super::*;
use proptest::prelude::*;

const TERSE: &str = "# 2024-06-06 15:22:31 by RouterOS 7.14.2\r\n# software id = SSXB-J5Q7\r\n#\r\n\
    /interface bridge add name=loopback\r\n# wlan1 not ready\r\n/ip service set www disabled=yes\r\n";

fn sections(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn terse() {
    let export = judge(TERSE.as_bytes(), None).unwrap();
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
    let export = judge(text.as_bytes(), None).unwrap();
    assert_eq!(
        export.lines,
        [
            "/ip firewall filter add action=accept chain=input comment=\"a b\" protocol=tcp",
            "/system identity set name=\"x\\\\\""
        ]
    );
    assert_eq!(judge(text.replace("\r\n", "\n").as_bytes(), None), Ok(export));
}

#[test]
fn what_is_not_whole() {
    let unfit = |text: &str| judge(text.as_bytes(), None).unwrap_err();
    assert_eq!(unfit(""), Unfit::Refused(String::new()));
    assert_eq!(
        unfit("expected end of command (line 1 column 9)\r\n"),
        Unfit::Refused("expected end of command (line 1 column 9)".into())
    );
    assert_eq!(unfit("# 2024-06-06 15:22:31 by RouterOS 7.14.2\r\n#\r\n"), Unfit::Empty);
    assert_eq!(unfit(TERSE.trim_end()), Unfit::CutLine);
    assert_eq!(unfit(&format!("{TERSE}/ip dns set \\\r\n")), Unfit::CutLine);
    assert_eq!(unfit(&format!("{TERSE}#interrupted\r\n")), Unfit::Interrupted);
}

#[test]
fn sections_that_always_fail_are_usual() {
    let text =
        format!("{TERSE}#error exporting /ip socks\r\n#error exporting \"/x\" (timeout)\r\n");
    let failed = sections(&["/ip socks", "\"/x\" (timeout)"]);
    assert_eq!(judge(text.as_bytes(), None).unwrap().failed, failed);
    assert!(judge(text.as_bytes(), Some(&failed)).is_ok());
    let known = sections(&["/ip socks"]);
    let new = Unfit::Failed(sections(&["\"/x\" (timeout)"]));
    assert_eq!(judge(text.as_bytes(), Some(&known)), Err(new));
    assert!(judge(TERSE.as_bytes(), Some(&failed)).is_ok(), "fewer may fail");
}

#[test]
fn a_loss_of_a_fifth_is_doubted() {
    assert!(
        has_shrunk(100, 79) && !has_shrunk(100, 80) && !has_shrunk(5, 1) && !has_shrunk(100, 200)
    );
}

proptest! {
    /// However an export is cut, it is refused, or the cut is at the end of a line that stands.
    #[test]
    fn a_cut_never_makes_half_a_line(at in 0..TERSE.len()) {
        let whole = judge(TERSE.as_bytes(), None).unwrap();
        if let Ok(export) = judge(&TERSE.as_bytes()[..at], None) {
            prop_assert!(whole.lines.starts_with(&export.lines));
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = judge(&[b"# x by RouterOS 7\n", bytes.as_slice()].concat(), None);
        let _ = judge(&bytes, None);
    }

    /// Comments never make a difference, wherever they stand.
    #[test]
    fn comments_are_no_configuration(comment in "[ -~]{0,40}\\\\?", at in 1..6_usize) {
        prop_assume!(!comment.starts_with("error exporting ") && !comment.starts_with("interrupted"));
        let mut lines: Vec<_> = TERSE.lines().map(str::to_owned).collect();
        lines.insert(at, format!("#{comment}"));
        let text = lines.join("\n") + "\n";
        prop_assert_eq!(judge(text.as_bytes(), None).unwrap().lines, judge(TERSE.as_bytes(), None).unwrap().lines);
    }

    /// Wrapped anywhere behind its first character, a line is the same.
    #[test]
    fn wrapping_does_not_matter(value in "[a-z=/ ]{1,60}", at in 1..50_usize) {
        let line = format!("/x add a={value}z");
        let at = at.min(line.len() - 1);
        prop_assume!(!line[at..].starts_with(' '));
        let header = "# x by RouterOS 7\n";
        let wrapped = format!("{header}{}\\\r\n    {}\r\n", &line[..at], &line[at..]);
        let plain = format!("{header}{line}\n");
        prop_assert_eq!(judge(wrapped.as_bytes(), None), judge(plain.as_bytes(), None));
    }
}

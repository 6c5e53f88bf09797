use super::{
    super::{parse, parse_stored},
    *,
};
use proptest::prelude::*;

const HEADER: &str = "# 2026-11-22 10:00:00 by RouterOS 7.16.2\r\n#\r\n";
const LINES: [&str; 7] = [
    "/interface bridge add name=b",
    "/interface wifi add name=w",
    "/interface wifi channel add name=c",
    "/ip address add address=192.0.2.1/24",
    "/ip upnp set enabled=yes",
    "/ip upnp interfaces add interface=b",
    "/system identity set name=r",
];

fn text(lines: &[&str]) -> String {
    HEADER.to_owned() + &lines.iter().map(|line| format!("{line}\r\n")).collect::<String>()
}

fn completed(base: &str, now: &str) -> Completed {
    let all =
        complete(now.as_bytes(), parse(now.as_bytes()).unwrap(), parse(base.as_bytes()).unwrap());
    if let Some(bytes) = &all.bytes {
        assert_eq!(parse(bytes).as_ref(), Ok(&all.export), "what is stored is what was compared");
    }
    all
}

fn without(removed: &[&str], mark: &str) -> String {
    let mut lines: Vec<_> = LINES.iter().filter(|line| !removed.contains(line)).copied().collect();
    lines.insert(2.min(lines.len()), mark);
    text(&lines)
}

#[test]
fn a_failed_section_has_the_lines_of_the_base() {
    let base = text(&LINES);
    for (removed, mark) in [
        (vec![LINES[4]], "#error exporting \"/ip/upnp\" (timeout)"),
        (vec![LINES[4], LINES[5]], "#error exporting /ip upnp"),
        (vec![LINES[1], LINES[2]], "#error exporting \"/interface/wifi\" (timeout)"),
        (vec![LINES[1]], "#error exporting \"/interface/wifi\" (timeout)"),
        (vec![LINES[0]], "#error exporting /interface bridge"),
        (vec![LINES[6]], "#error exporting /system identity"),
        (vec![], "#error exporting /system identity"),
    ] {
        let all = completed(&base, &without(&removed, mark));
        assert_eq!(all.export.lines, all.base.lines, "{mark}");
        assert_eq!((all.failed.len(), all.new.len()), (1, 0));
        let stored = String::from_utf8(all.bytes.unwrap()).unwrap();
        assert!(stored.starts_with(HEADER) && stored.contains("# aw-routeros: the router failed"));
        assert!(parse_stored(stored.as_bytes()).unwrap().failed.is_empty());
    }
}

/// The rest is compared.
#[test]
fn other_sections_are_compared() {
    let now = without(&[LINES[4]], "#error exporting \"/ip/upnp\" (timeout)")
        + "/tool romon set enabled=yes\r\n";
    let all = completed(&text(&LINES), &now);
    assert_eq!(all.export.lines[..LINES.len()], all.base.lines);
    assert_eq!(all.export.lines[LINES.len()..], ["/tool romon set enabled=yes"]);
}

/// A section that failed in the base is no change when it is exported for the first time, and compared from then on.
#[test]
fn a_section_that_is_exported_for_the_first_time() {
    let first = without(&[LINES[4], LINES[5]], "#error exporting \"/ip/upnp\" (timeout)");
    let all = completed(&first, &text(&LINES));
    assert_eq!(all.export.lines, all.base.lines);
    assert_eq!((all.failed.len(), all.new.len(), all.bytes), (0, 1, None));
    let empty = text(&[LINES[0], LINES[6]]);
    assert_eq!(completed(&first, &empty).new.len(), 1, "it may be empty");
}

/// Sections that always fail change nothing.
#[test]
fn sections_that_always_fail() {
    let always = text(&LINES) + "#error exporting \"/system/routerboard/mode-button\"\r\n";
    let all = completed(&always, &always);
    assert_eq!((all.failed.len(), all.new.len(), all.bytes), (0, 0, None));
    let both = always.clone() + "#error exporting \"/ip/upnp\" (timeout)\r\n";
    let all = completed(&always, &both.replace("/ip upnp set enabled=yes\r\n", ""));
    assert_eq!(all.export.lines, all.base.lines);
    assert_eq!(all.failed.into_iter().collect::<Vec<_>>(), ["\"/ip/upnp\" (timeout)"]);
    assert_eq!(all.export.failed.len(), 1, "the one that always fails");
}

proptest! {
    /// Any section may fail, with a part of its lines or none: nothing changes.
    #[test]
    fn a_failure_is_no_change(failed in prop::sample::select(vec!["/interface bridge", "/interface wifi", "/ip address", "/ip upnp", "/system identity"]), part in any::<bool>(), place in 0..8_usize) {
        let mut lines: Vec<_> = LINES.iter().filter(|line| part || menu_of(line) != failed).copied().collect();
        let mark = format!("#error exporting {failed}");
        lines.insert(place.min(lines.len()), &mark);
        let all = completed(&text(&LINES), &text(&lines));
        prop_assert_eq!(all.export.lines, all.base.lines);
    }
}

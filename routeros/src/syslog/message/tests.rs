use super::*;
use crate::attribution::LogClaim;

const TEXT: &str =
    "filter rule added by ssh:alice@192.0.2.7 (*22 = /ip firewall filter add chain=input)";

fn parsed(message: &str) -> (String, String, bool) {
    let record = parse(message.as_bytes()).unwrap_or_else(|| panic!("{message}"));
    (record.topics, record.message, record.doubtful)
}

#[test]
fn every_form() {
    for message in [
        format!("system,info {TEXT}"),
        format!("<30>system,info {TEXT}"),
        format!("<30>Oct  2 17:36:35 core1 system,info {TEXT}"),
        format!("<30>Oct 12 17:36:35 Core router of Riga system,info {TEXT}"),
        format!("<30>2026-10-02T17:36:35.265-0500 core1 system,info {TEXT}\r\n"),
        // A relay, and logger.
        format!("<13>Nov 28 13:41:04 host system,info: {TEXT}"),
        format!(
            "<13>1 2026-11-28T13:41:04.123456+00:00 host app 4321 - [timeQuality tzKnown=\"1\" a=\"\\]\"] system,info {TEXT}"
        ),
        format!("<13>1 2026-11-28T13:41:04Z host app - - - \u{feff}system,info {TEXT}"),
        format!("<30>1 - - - - - - system,info {TEXT}"),
    ] {
        let expected = ("system,info".to_owned(), TEXT.to_owned(), false);
        assert_eq!(parsed(&message), expected, "{message}");
        let claim = LogClaim::of(&parse(message.as_bytes()).unwrap()).unwrap();
        assert_eq!(claim.actors[0].user, "alice");
    }
}

#[test]
fn cef_of_routeros() {
    let escaped = TEXT.replace('=', "\\=");
    for head in [
        "Oct  2 17:36:35 core1 ",
        "2026-10-02T17:36:35.265-0500 core1 ",
        "<30>Oct  2 17:36:35 My router ",
        "",
    ] {
        for tail in ["", " app=ssh duser=alice src=192.0.2.7"] {
            let message = format!(
                "{head}CEF:0|MikroTik|hAP ax^2|7.20.4 (stable)|16|system,info|Low|dvchost=core1 dvc=192.0.2.1 msg={escaped}{tail}\r\n"
            );
            assert_eq!(parsed(&message), ("system,info".into(), TEXT.into(), false), "{message}");
        }
    }
    // Values with escapes, and a header with a bar.
    let odd = r"CEF:0|MikroTik|a\|b|7.18|1|system,info,account|Low|msg=user a\\b logged in \= x\ny";
    assert_eq!(parsed(odd).1, r"user a\b logged in = x y");
    assert_eq!(parsed(odd).0, "system,info,account");
}

#[test]
fn without_topics() {
    let bare = format!("<30>Oct  2 17:36:35 core1 {TEXT}");
    assert_eq!(parsed(&bare), ("system,info".into(), TEXT.into(), true));
}

/// The first topics count: users choose what follows.
#[test]
fn topics_in_the_text() {
    let script = format!("<30>Oct  2 17:36:35 core1 script,info system,info {TEXT}");
    assert_eq!(parsed(&script).0, "script,info");
    assert!(LogClaim::of(&parse(script.as_bytes()).unwrap()).is_none());
}

#[test]
fn hostile_messages() {
    for message in [
        "",
        "<",
        "<30>",
        "<999999>x",
        "1 ",
        "<30>1 ",
        "CEF:",
        "CEF:0|||||||",
        "CEF:0|a|b|c|d|system,info|Low|msg=",
        "<30>Oct",
        "Oct  2 17:36:35",
        "2026-11-22T10:00:00é x",
        "é 1",
        "<30>1 2026-10-02T17:36:35Z a b c d [",
        "CEF:0|MikroTik|a|b|c|system,info|Low|=msg= =",
        "system,info",
        "\\",
        "<13>1 - - - - - [a b=\"",
    ] {
        let _ = parse(message.as_bytes());
    }
    let long = format!("system,info {}é", "x".repeat(MAX_TEXT - 1));
    assert!(parsed(&long).1.len() <= MAX_TEXT);
    let escape = parsed("system,info item added by \x1b[31madmin\nsystem,info x");
    assert!(!escape.1.contains('\x1b') && escape.1.starts_with("item added by"), "{escape:?}");
}

proptest::proptest! {
    #[test]
    fn never_panics(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    #[test]
    fn never_panics_on_text(text in "(<[0-9]{1,3}>)?(1 )?(Oct  2 17:36:35 |CEF:0\\||[ -~é\\\\=|\\[\\]\"]){0,40}") {
        let _ = parse(text.as_bytes());
    }
}

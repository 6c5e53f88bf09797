use aw_service::local_span;

use super::*;
use crate::log_record::LogRecord;

fn claim(message: &str) -> LogClaim {
    let (time, topics) = ("12:00:00".into(), "system,info".into());
    LogClaim::of(&LogRecord { time, topics, message: message.into(), doubtful: false }).unwrap()
}

fn change(credit: Credit) -> Change {
    let text = "@@ -1 +1 @@\n-/ppp secret add password=old\n+/ppp secret add password=new\n";
    let difference = Difference { text: text.into(), added: 1, removed: 1 };
    let time = Timestamp::from_second(1_700_000_000).unwrap();
    Change::new(
        time,
        ("core1", "192.0.2.1:22"),
        credit,
        difference,
        ("w.rsc".into(), "x.rsc".into()),
    )
}

#[test]
fn text_and_json() {
    let line = "secret changed by ssh:alice@192.0.2.7/terminal (/ppp secret set x password=new)";
    let claims = vec![claim(line), claim("item added by bob")];
    let change = change(Credit { claims, ..Credit::default() });
    assert_eq!(
        change.text("now", false),
        "now core1: configuration changed by alice, bob (+1 -1) (192.0.2.1:22)\n  \
         alice by ssh from 192.0.2.7 through terminal\n    \
         log 12:00:00: secret changed by ssh:alice@192.0.2.7/terminal (/ppp secret set x password=***)\n  bob\n    \
         log 12:00:00: item added by bob\n--- w.rsc\n+++ x.rsc\n@@ -1 +1 @@\n\
         -/ppp secret add password=***\n+/ppp secret add password=***\n\n"
    );
    assert!(change.text("now", true).contains("+/ppp secret add password=new\n"));
    let json = serde_json::to_string(&change).unwrap();
    assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), change);
}

/// Who reads that a change is by UNKNOWN takes it for an intruder's, unless the mail has the reason.
#[test]
fn a_change_of_a_time_without_a_connection() {
    let time = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
    let of = |candidates, unwatched| {
        change(Credit { candidates, unwatched, ..Credit::default() }).text("now", false)
    };
    let (from, to) = (time(0), time(90));
    let span = local_span(from.as_second(), to.as_second());
    let reason =
        format!("\n  The router's log was not followed {span}: the change may be of that time.\n");
    assert!(of(Some(vec![]), Some((from, to))).contains(&reason));
    assert!(of(Some(vec![claim("item added by bob")]), Some((from, to))).contains(&reason));
    assert!(!of(None, None).contains("not followed"));
}

/// Lines of one user in a row have one heading, and many of them stand behind the difference.
#[test]
fn many_log_lines() {
    let lines = |count| {
        let line = "item added by ssh:alice@192.0.2.7/terminal (/ip dns set servers=192.0.2.53)";
        let mut claims = vec![claim(line); count];
        claims.push(claim("item added by bob"));
        change(Credit { claims, ..Credit::default() }).text("now", false)
    };
    let (few, many) = (lines(3), lines(40));
    for text in [&few, &many] {
        assert_eq!(text.matches("  alice by ssh from 192.0.2.7 through terminal\n").count(), 1);
        assert!(!text.contains("command: "), "the line has it");
    }
    let place = |text: &str, of: &str| text.find(of).unwrap();
    assert!(place(&few, "+++ ") > place(&few, "  bob\n"));
    assert!(place(&many, "+++ ") < place(&many, "\nLog:\n  alice "));
    assert!(many.ends_with("    log 12:00:00: item added by bob\n\n"), "{many}");
}

#[test]
fn unknown_users() {
    let unknown = change(Credit::default());
    assert_eq!(unknown.users, [UNKNOWN]);
    assert!(unknown.text("now", false).contains("\n  UNKNOWN: no line of the router's log names"));
    let candidates = Some(vec![claim("item added by eve")]);
    let credit =
        Credit { claims: vec![claim("item added by bob")], candidates, ..Credit::default() };
    let change = change(credit);
    assert_eq!(
        (change.users.as_slice(), change.claims.len()),
        (["bob".to_owned(), UNKNOWN.into()].as_slice(), 1)
    );
    let text = change.text("now", false);
    assert!(
        text.contains("  candidate: eve\n") && text.contains("\n  A candidate is named by"),
        "{text}"
    );
    assert!(!text.contains("UNKNOWN: "), "{text}");
    let summary = "core1: configuration changed by bob, UNKNOWN (+1 -1), candidate: eve";
    assert_eq!(change.summary(), summary);
    // Who changes something unseen must not choose the name in the subject.
    for mark in
        [|claim: &mut LogClaim| claim.syslog = true, |claim: &mut LogClaim| claim.ambiguous = true]
    {
        let mut change = change.clone();
        mark(&mut change.candidates[0]);
        assert_eq!(change.summary(), "core1: configuration changed by bob, UNKNOWN (+1 -1)");
        assert!(change.text("now", false).contains("  candidate: eve\n"));
    }
    let known = Change { users: vec!["bob".into()], ..change };
    assert_eq!(known.summary(), "core1: configuration changed by bob (+1 -1)");
}

#[test]
fn what_no_export_shows() {
    let noted = |message: &str, facts: &[&str]| {
        let credit = Credit { claims: vec![claim(message)], ..Credit::default() };
        let facts = facts.iter().map(|fact| (*fact).to_owned()).collect();
        Change::noted(Timestamp::UNIX_EPOCH, ("core1", "192.0.2.1:22"), credit, facts)
    };
    let ops = "user ops added by ssh:-2@192.0.2.7 (*2 = /user add group=full password=x)";
    let change = noted(ops, &[]);
    assert_eq!(change.summary(), format!("core1: -2: seen in the log only: {ops}"));
    let text = change.text("now", false);
    assert!(text.contains("/user add group=full password=***") && !text.contains("=x"), "{text}");
    assert!(change.is_about_security() && change.noted);
    let change = noted(ops, &["user ops added: group=full", "a b: 1 -> 2"]);
    assert_eq!(change.summary(), "core1: -2: user ops added: group=full and 1 more");
    for (message, security) in [
        ("user ops added by admin", true),
        ("ssh key added by admin", true),
        ("new package by local:alice ()", true),
        ("x changed by ssh:a@192.0.2.7 (/certificate import file-name=x)", true),
        ("x changed by ssh:a@192.0.2.7 (/user/ssh-keys/add)", true),
        ("item changed by bob", false),
        ("user x changed by ssh:a@192.0.2.7 (/ip hotspot user set x)", false),
        ("x changed by ssh:a@192.0.2.7 (/user-manager user add)", false),
        ("device changed by scheduler:guest (/interface set)", false),
        ("route changed by user", false),
    ] {
        assert_eq!(noted(message, &[]).is_about_security(), security, "{message}");
    }
    let unknown = Change::noted(
        Timestamp::UNIX_EPOCH,
        ("core1", ""),
        Credit::default(),
        vec!["system version: 1 -> 2".into()],
    );
    assert_eq!(unknown.summary(), "core1: UNKNOWN: system version: 1 -> 2");
    let json = serde_json::to_string(&unknown).unwrap();
    assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), unknown);
}

#[test]
fn an_ambiguous_change() {
    let line = "x <y by ssh:bob@1.2.3.4 (> changed by ssh:eve@10.0.0.1 (/x)";
    let change = change(Credit { claims: vec![claim(line)], ..Credit::default() });
    assert!(change.who().ends_with("(ambiguous)") && change.users.len() == 2);
    assert!(change.text("now", false).contains("  The log names several users, "));
    let one = Change { users: vec!["eve".into()], ..change };
    assert!(one.text("now", false).contains("  The log line may be of another kind, or forged "));
}

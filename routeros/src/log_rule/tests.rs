use super::*;

const ACTIONS: &str = "Flags: * - default \r\n 0 * name=\"memory\" target=memory memory-lines=1000 memory-stop-on-full=no \r\n\r\n \
    1 * name=\"disk\" target=disk disk-file-name=\"flash/log\" \r\n     disk-lines-per-file=1000 disk-file-count=2 disk-stop-on-full=no \r\n\r\n \
    2 * name=\"echo\" target=echo remember=yes \r\n\r\n 3 * name=\"remote\" target=remote remote=192.0.2.9 remote-port=514 \r\n     \
    src-address=0.0.0.0 bsd-syslog=no syslog-time-format=bsd-syslog \r\n     syslog-facility=daemon syslog-severity=auto \r\n\r\n \
    4   name=\"audit\" target=memory memory-lines=500 \r\n 5   name=\"memory2\" target=remote remote=192.0.2.9 \r\n";

fn place(rules: &str) -> Option<ChangeLog> {
    judge(&entries(rules)?, &entries(ACTIONS)?)
}

#[test]
fn topics_and_action() {
    let remote = |name: &str| ChangeLog::Remote(name.into());
    for (rules, expected) in [
        ("Flags: X - disabled\n 0    topics=info prefix=\"\" action=memory\n", ChangeLog::Memory),
        (" 0  *  topics=info prefix=\"\" action=remote\r\n", remote("remote")),
        (" 0 * topics=info action=memory2 prefix=\"\"\n", remote("memory2")),
        (" 0 * topics=info action=audit\n", ChangeLog::Memory),
        (" 0 * topics=info action=echo\n", ChangeLog::Elsewhere("echo".into())),
        (" 0 * topics=info action=disk\n", ChangeLog::Disk),
        (
            " 0 topics=info action=remote\n 1 topics=info action=disk\n 2 topics=system action=audit",
            ChangeLog::Memory,
        ),
        (" 0 topics=system action=audit\n 1 topics=info action=remote", ChangeLog::Memory),
        (" 0 X  topics=info action=memory\n 1 topics=info action=remote", remote("remote")),
        (" 0 I topics=info action=memory\n", ChangeLog::Nowhere),
        (" 0 XD topics=info action=memory\n", ChangeLog::Nowhere),
        (" 0 topics=error action=memory\n 1 topics=dhcp,info action=memory\n", ChangeLog::Nowhere),
        // A rule needs all of its topics.
        (" 0 topics=info,warning,error action=memory\n", ChangeLog::Nowhere),
        (" 0 topics=info,!debug action=memory\n", ChangeLog::Memory),
        (" 0 topics=!debug,!packet action=memory\n", ChangeLog::Memory),
        (" 0 topics=\"\" action=memory\n", ChangeLog::Memory),
        (" 0 topics=!system action=memory\n", ChangeLog::Nowhere),
        (" 0 topics=system,!info action=memory\n", ChangeLog::Nowhere),
        (" 0 topics=info,!system prefix=\"\" action=memory\n", ChangeLog::Nowhere),
        // Only some lines, and words of an administrator in the prefix.
        (" 0 topics=info prefix=\"\" regex=\"^login\" action=memory\n", ChangeLog::Nowhere),
        (
            " 0 topics=info prefix=\"x action=memory y\" action=echo\n",
            ChangeLog::Elsewhere("echo".into()),
        ),
        // Without a rule.
        ("", ChangeLog::Nowhere),
        ("Flags: X - disabled, I - invalid, * - default \r\n", ChangeLog::Nowhere),
    ] {
        assert_eq!(place(rules), Some(expected), "{rules}");
    }
}

#[test]
fn wrapped_entries_and_columns() {
    for rules in [
        "Flags: X - disabled, I - invalid, * - default \r\n 0  * topics=info,!debug,!packet,!dhcp,!wireless,\r\n      !firewall prefix=\"1 word\"\r\n      action=remote \r\n",
        "Flags: X - disabled, I - invalid; * - default\r\nColumns: TOPICS, ACTION, PREFIX\r\n#   TOPICS    ACTION  PREFIX\r\n0 * info      remote\r\n    !debug\r\n    !packet\r\n1 * error     memory\r\n",
        " #    TOPICS                      ACTION                       PREFIX    \r\n 0  * info                        remote                                 \r\n 1  * error                       memory  \r\n",
    ] {
        assert_eq!(place(rules), Some(ChangeLog::Remote("remote".into())), "{rules}");
    }
    // The second line decides.
    let columns = "Columns: TOPICS, ACTION\n#   TOPICS    ACTION\n0   info      memory\n    !system\n1   warning   memory\n";
    assert_eq!(place(columns), Some(ChangeLog::Nowhere));
    assert_eq!(place("0 X info memory\n"), Some(ChangeLog::Nowhere));
    let wrapped = " 0 topics=info,!debug,\n      !system action=memory\n";
    assert_eq!(place(wrapped), Some(ChangeLog::Nowhere));
}

#[test]
fn actions_in_columns_or_not_printed() {
    let rules = entries(" 0 topics=info action=audit\n").unwrap();
    let columns = entries("Flags: * - default\nColumns: NAME, TARGET\n#   NAME    TARGET\n0 * memory  memory\n1   audit   remote\n").unwrap();
    assert_eq!(judge(&rules, &columns), Some(ChangeLog::Remote("audit".into())));
    assert_eq!(judge(&rules, &[]), None, "its type is unknown");
    let both = entries(" 0 topics=info action=audit\n 1 topics=info action=memory\n").unwrap();
    assert_eq!(judge(&both, &[]), Some(ChangeLog::Memory));
    let default = entries(" 0 topics=info action=remote\n").unwrap();
    assert_eq!(judge(&default, &[]), Some(ChangeLog::Remote("remote".into())));
}

#[test]
fn other_answers() {
    for text in [
        "bad command name (line 1 column 1)\r\n",
        "not enough permissions (9)\r\n",
        "expected end of command (line 1 column 23)\r\n",
        "interrupted",
    ] {
        assert!(entries(text).is_none(), "{text}");
    }
}

#[test]
fn what_is_blind() {
    assert_eq!(ChangeLog::Memory.blind(false), None);
    assert_eq!(ChangeLog::Disk.blind(false), None);
    let remote = ChangeLog::Remote("remote".into());
    assert!(remote.blind(false).is_some_and(|why| why.contains("action remote")));
    assert_eq!(remote.blind(true), None);
    assert!(ChangeLog::Elsewhere("echo".into()).blind(true).is_some());
    assert!(ChangeLog::Nowhere.blind(true).is_some_and(|why| why.starts_with("none for info")));
}

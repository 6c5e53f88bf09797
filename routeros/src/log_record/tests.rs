use super::*;
use proptest::prelude::*;

fn all(bytes: &[u8]) -> Vec<String> {
    let mut records = LogAssembler::default();
    let mut whole = records.feed(bytes);
    whole.extend(records.flush());
    whole.into_iter().map(|record| format!("{} {}", record.topics, record.message)).collect()
}

#[test]
fn lines_and_decoration() {
    let screen = b" = = =   = = =\r\n12:00:00 system,info a added by admin\r\n\r\n\
        -- Ctrl-C to quit. Space prints separator. New entries will appear at bottom.\r\
        \x1b[K\x1b[1;32m12:00:01\x1b[m system,info b changed by admin\r\n";
    assert_eq!(all(screen), ["system,info a added by admin", "system,info b changed by admin"]);
}

#[test]
fn a_message_in_several_entries_is_joined() {
    let log = "12:00:00 system,info script changed by ssh:a@1.1.1.1 (/system script set source=\"ab\r\n\
        12:00:00 system,info 0731;WAN1-x by y\r\n\
        12:00:00 system,info cd\")\r\n\
        12:00:00 system,info next changed by ssh:b@1.1.1.1 ()\r\n";
    assert_eq!(
        all(log.as_bytes()),
        [
            "system,info script changed by ssh:a@1.1.1.1 (/system script set source=\"ab0731;WAN1-x by ycd\")",
            "system,info next changed by ssh:b@1.1.1.1 ()"
        ]
    );
}

#[test]
fn what_ends_an_unfinished_message() {
    let head = "12:00:00 system,info x changed by ssh:a@1.1.1.1 (/x";
    for other in
        ["12:00:01 system,info y", "12:00:00 system,error y", "12:00:00 system,info,account y"]
    {
        assert_eq!(all(format!("{head}\n{other}\n").as_bytes()).len(), 2, "{other}");
    }
    let mut records = LogAssembler::default();
    let forged = format!("{head}\n12:00:00 system,info z changed by ssh:bob@1.1.1.1 (/y)\n");
    assert!(!records.feed(forged.as_bytes())[0].doubtful);
    assert!(records.flush().unwrap().doubtful, "it may be a part of the first");
    let long = head.to_owned() + &"\n12:00:00 system,info y".repeat(100) + "\n";
    assert_eq!(
        all(long.as_bytes()).len(),
        1 + 37,
        "64 lines in the first record, then one in each"
    );
}

/// The author of a long script knows where the router cuts its message, and can place text there that looks like the end
/// of a record, like a line of RouterOS 6, or like the record of another user.
#[test]
fn parts_with_a_forged_actor_are_doubtful() {
    let head = "12:00:00 system,info script changed by ssh:eve@192.0.2.66 (/system script set x source=\"ab";
    let forged = "12:00:00 system,info item added by ssh:bob@192.0.2.1 (*1 = /user add)";
    for pieces in [
        format!("{head})\n{forged}\n"),
        format!("{head}\n12:00:00 system,info cd)\n{forged}\n"),
        format!("{head} by carol\n{forged}\n"),
        format!("{head}\n{forged}\n{forged}\n"),
        head.to_owned() + &"\n12:00:00 system,info y".repeat(63) + "\n" + forged + "\n",
        format!("{head}\n12:00:00 dhcp,info x\n{forged}\n"),
    ] {
        let mut records = LogAssembler::default();
        let mut all = records.feed(pieces.as_bytes());
        all.extend(records.flush());
        let last = all.last().unwrap();
        assert!(last.doubtful && last.message.contains("bob"), "{pieces} {all:?}");
    }
    let mut records = LogAssembler::default();
    records.feed(format!("{head}\n").as_bytes());
    assert!(records.flush().is_some());
    records.feed(format!("{forged}\n").as_bytes());
    assert!(records.flush().unwrap().doubtful, "a pause does not end a message");
    // After the end, and in another second, a record is not doubtful.
    for honest in ["12:00:00 system,info cd\")\n", "12:00:01 system,info x\n"] {
        let mut records = LogAssembler::default();
        let time = &honest[..8];
        let forged = forged.replace("12:00:00", time);
        let mut all = records.feed(format!("{head}\n{honest}{forged}\n").as_bytes());
        all.extend(records.flush());
        assert!(!all.last().unwrap().doubtful, "{all:?}");
    }
}

/// The name of an object on RouterOS 6 must not hide the record of another user in the same second.
#[test]
fn a_bracket_in_a_name_hides_no_record() {
    for object in ["<Office (main)>", "<x by ssh:bob@1.2.3.4 (>"] {
        let log = format!(
            "12:00:00 system,info ppp secret {object} changed by eve\n12:00:00 system,info item added by alice\n"
        );
        let expected = [
            format!("system,info ppp secret {object} changed by eve"),
            "system,info item added by alice".into(),
        ];
        assert_eq!(all(log.as_bytes()), expected);
    }
}

#[test]
fn a_wrapped_line_is_joined() {
    let log = "12:00:00 system,info filter rule added by ssh:admin@192.0.2.7 (*1 = /ip fire\r\nwall add)\r\n";
    assert_eq!(
        all(log.as_bytes()),
        ["system,info filter rule added by ssh:admin@192.0.2.7 (*1 = /ip firewall add)"]
    );
}

/// The router's own change is not taken for a part of an unfinished one, and bytes that are not UTF-8 stay different.
#[test]
fn actors_of_other_forms_and_other_bytes() {
    let log = b"12:00:00 system,info x changed by ssh:a@1.1.1.1 (/x source=\"ab\n\
        12:00:00 system,info route added by dhcp-client (*8 = /ip route add)\n\
        12:00:01 system,info item added by J\xf6rg\n12:00:01 system,info item added by J\xe4rg\n";
    let all = all(log);
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all[1].ends_with("added by dhcp-client (*8 = /ip route add)") && all[2] != all[3]);
}

#[test]
fn an_incomplete_line_names_no_user() {
    assert!(all(b"12:00:00 system,info item added by adm").is_empty());
}

proptest! {
    /// The records do not depend on how the bytes are split on arrival.
    #[test]
    fn cuts_do_not_matter(cuts in prop::collection::vec(1..30_usize, 0..40)) {
        let log = "12:00:00 system,info é changed by ssh:a@1.1.1.1 (/x \"\r\n12:00:00 system,info b\")\r\n\
            = =\r\n12:00:01 system,info c by d\r\n12:00:02 dhcp,info e\r\n".as_bytes();
        let mut records = LogAssembler::default();
        let (mut whole, mut rest) = (Vec::new(), log);
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            whole.extend(records.feed(now));
            rest = later;
        }
        whole.extend(records.feed(rest));
        whole.extend(records.flush());
        let texts: Vec<_> = whole.iter().map(|record| format!("{} {}", record.topics, record.message)).collect();
        prop_assert_eq!(texts, all(log));
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = all(&bytes);
    }

    #[test]
    fn memory_is_bounded(parts in prop::collection::vec("(12:00:00 system,info |x by y|ssh:a@1\\.1\\.1\\.1|\\(|\\)|\n|\r|\x1b\\[|=|-- )", 0..400)) {
        let mut records = LogAssembler::default();
        for _ in 0..20 {
            for record in records.feed(parts.concat().as_bytes()) {
                prop_assert!(record.message.len() <= MAX_MESSAGE);
            }
        }
    }
}

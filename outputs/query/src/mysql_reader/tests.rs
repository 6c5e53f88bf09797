use super::{columns::NANOS, connect::LOGIN, *};

#[test]
fn whole_seconds() {
    let range =
        |from, to| TimeRange { from: UnixTime::from_nanos(from), to: UnixTime::from_nanos(to) };
    let after_2038 = 2_147_483_648 * NANOS;
    for (range, expected) in [
        (TimeRange::ALL, ""),
        (
            range(5 * NANOS, 7 * NANOS),
            " AND tstamp >= from_unixtime(5) AND tstamp < from_unixtime(7)",
        ),
        (
            range(5 * NANOS + 1, 6 * NANOS + 1),
            " AND tstamp >= from_unixtime(6) AND tstamp < from_unixtime(7)",
        ),
        (range(-1, after_2038), ""),
        (range(after_2038, i64::MAX), " AND tstamp >= from_unixtime(2147483647)"),
        (range(i64::MIN, 0), " AND FALSE"),
        (range(i64::MIN, -1), " AND FALSE"),
    ] {
        assert_eq!(times(range), expected);
    }
}

/// The login, and each question, end with the time that is left for the answer.
#[test]
fn what_is_left() {
    let (begin, hour) = (Instant::now(), Duration::from_secs(3600));
    assert_eq!(until(LOGIN, None).time, LOGIN.time);
    assert_eq!(until(LOGIN, Some(begin + hour)).time, LOGIN.time);
    let none = until(LOGIN, Some(begin));
    assert_eq!(
        (none.time, none.silence, none.bytes),
        (Duration::ZERO, Duration::ZERO, LOGIN.bytes)
    );
    let some = until(LOGIN, Some(begin + LOGIN.time)).time;
    assert!(some <= LOGIN.time && !some.is_zero(), "{some:?}");
}

/// A search for each MAC, which ends with its first row: not a word about the rest of the history.
#[test]
fn macs_in_use() {
    let macs = [1, 2].map(|last| MacAddr::new([2, 0, 0, 0, 0, last]));
    let of = |mac: &str| {
        format!(
            "(SELECT mac_address FROM log WHERE mac_address = 0x{mac} AND coalesce(origin_id, 0) NOT IN (2, 5, 8, 12, 13, 14, 15, 16, 17) LIMIT 1)"
        )
    };
    let expected = format!("{} UNION ALL {}", of("020000000001"), of("020000000002"));
    assert_eq!(summary::in_use("log", &macs), expected);
}

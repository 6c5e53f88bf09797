use super::{
    columns::{is_v6_origin, quoted},
    sources::Days,
    *,
};
use aw_clickhouse::{LAST_DAY, NANOS_OF_DAY};
use shm_layout::{Kind, Origin};

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange { from: UnixTime::from_nanos(from), to: UnixTime::from_nanos(to) }
}

#[test]
fn whole_days_and_parts() {
    let day = NANOS_OF_DAY;
    let of = |from, to| {
        let Days { whole, cut } = Days::of(range(from, to));
        (whole, cut.into_iter().map(|cut| (cut.from.as_nanos(), cut.to.as_nanos())).collect())
    };
    let expect = |whole, cut: &[(i64, i64)]| (whole, cut.to_vec());
    assert_eq!(of(i64::MIN, i64::MAX), expect(Some((0, LAST_DAY)), &[]));
    assert_eq!(of(2 * day, 4 * day), expect(Some((2, 3)), &[]));
    assert_eq!(of(2 * day, 3 * day), expect(Some((2, 2)), &[]));
    assert_eq!(of(2 * day + 1, 3 * day), expect(None, &[(2 * day + 1, 3 * day)]));
    let ends = [(2 * day + 1, 3 * day), (5 * day, 5 * day + 7)];
    assert_eq!(of(2 * day + 1, 5 * day + 7), expect(Some((3, 4)), &ends));
    let neighbours = [(2 * day + 1, 3 * day), (3 * day, 3 * day + 7)];
    assert_eq!(of(2 * day + 1, 3 * day + 7), expect(None, &neighbours));
    let since = [(2 * day + 1, 3 * day)];
    assert_eq!(of(2 * day + 1, i64::MAX), expect(Some((3, LAST_DAY)), &since));
    let last = LAST_DAY * day;
    assert_eq!(of(last + 9 * day, i64::MAX), expect(None, &[(last + 9 * day, i64::MAX)]));
}

/// The list of numbers in SQL is that of the origins.
#[test]
fn origins_of_ipv6() {
    for number in 0..=255 {
        let is_v6 = |origin| !Kind::Pairing(origin).is_ipv4();
        assert_eq!(
            is_v6_origin(number),
            Origin::from_number(number).is_some_and(is_v6),
            "{number}"
        );
    }
}

#[test]
fn addresses_and_texts() {
    let mapped = "::ffff:10.1.2.3".parse::<std::net::Ipv6Addr>().unwrap();
    let v4 = IpAddr::from([10, 1, 2, 3]);
    assert_eq!(ip_of(mapped.octets(), false), v4);
    assert_eq!(ip_of(mapped.octets(), true), IpAddr::V6(mapped));
    let bytes = "unhex('00000000000000000000ffff0a010203')";
    assert!(is_address(v4).starts_with(&format!("ip IN ({bytes}) AND origin NOT IN")));
    assert!(is_address(mapped.into()).starts_with(&format!("ip IN ({bytes}) AND origin IN")));
    assert_eq!(quoted("a'\\\u{1}"), "unhex('61275c01')");
}

//! Names of files in the archive, from names that users of routers chose.

use jiff::Timestamp;

/// The longest part of a user's name in a file name.
const LONGEST: usize = 100;

/// The file name for a user: all but letters, digits, `.`, `_` and `-` is percent-encoded. It is not empty, not hidden,
/// and not a directory; different users have different files.
pub fn user_file(user: &str) -> String {
    let mut name = String::new();
    for byte in user.bytes() {
        match byte {
            b'.' if name.is_empty() => name.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                name.push(char::from(byte));
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.is_empty() {
        name.push_str("%00"); // no user's name contains a zero byte
    }
    if name.len() > LONGEST {
        // `%~` is in no encoded name: a shortened name is not the full name of another user.
        name = format!("{}%~{:016x}", &name[..LONGEST], fnv(user.as_bytes()));
    }
    name + ".diff"
}

/// FNV-1a: short, and equal in every release.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The name of the `n`th snapshot of a second, from 0: `20261122T100537Z.rsc`, `20261122T100537Z_001.rsc`. The order of
/// the names is the order of the times.
pub fn snapshot(time: Timestamp, n: u32) -> String {
    let stamp = time.strftime("%Y%m%dT%H%M%SZ");
    if n == 0 { format!("{stamp}.rsc") } else { format!("{stamp}_{n:03}.rsc") }
}

pub fn snapshot_time(name: &str) -> Option<Timestamp> {
    let stamp = name.strip_suffix(".rsc")?.split('_').next()?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).ok()?;
    time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The names of the files to remove: the oldest beyond `keep` files, and all from before `since`.
pub fn outdated(mut names: Vec<String>, keep: usize, since: Option<Timestamp>) -> Vec<String> {
    names.retain(|name| snapshot_time(name).is_some()); // not written by this program
    names.sort();
    let surplus = names.len().saturating_sub(keep);
    let is_old = |name: &str| since.is_some_and(|since| snapshot_time(name) < Some(since));
    let old = |(at, name): (usize, String)| (at < surplus || is_old(&name)).then_some(name);
    names.into_iter().enumerate().filter_map(old).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn users() {
        for (user, file) in [
            ("alice", "alice.diff"),
            ("-2", "-2.diff"),
            ("", "%00.diff"),
            (".", "%2E.diff"),
            ("..", "%2E..diff"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.diff"),
            ("scheduler:x y", "scheduler%3Ax%20y.diff"),
            ("é\n", "%C3%A9%0A.diff"),
        ] {
            assert_eq!(user_file(user), file);
        }
    }

    #[test]
    fn snapshots() {
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(snapshot(time, 0), "20231114T221320Z.rsc");
        assert_eq!(snapshot_time(&snapshot(time, 12)), Some(time));
        assert_eq!(snapshot_time("latest.rsc"), None);
        let names: Vec<_> = (0..5).map(|n| snapshot(time, n)).chain(["x.rsc".into()]).collect();
        assert_eq!(outdated(names.clone(), 3, None), names[..2]);
        assert_eq!(outdated(names.clone(), 100, Some(Timestamp::MAX)), names[..5]);
        assert_eq!(outdated(names.clone(), 100, Some(time)), [""; 0]);
        assert!(outdated(names, 0, None).len() == 5 && outdated(Vec::new(), 1, None).is_empty());
    }

    proptest! {
        #[test]
        fn a_user_is_one_safe_file(a in ".{0,150}", b in ".{0,150}") {
            let file = user_file(&a);
            prop_assert!(file.len() < 200 && !file.starts_with('.') && !file.contains('/'));
            prop_assert!(file.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(a == b, file == user_file(&b));
        }
    }
}

//! The time zone of a viewer: that of a permanent link, or of a cookie, or else the server's. The names are those of zoneinfo.

use axum::http::HeaderMap;
use jiff::tz::{TimeZone, db};

use crate::{guard::cookie, parameters::Parameters, problem::Problem};

/// The cookie, which the script of a page sets, too.
pub const COOKIE: &str = "aw-zone";
/// The parameter of a permanent link.
pub const PARAMETER: &str = "zone";

/// Characters of a name, at most.
const MAX_NAME: usize = 64;

/// Names that browsers still have, and that a system may not have any more.
const RENAMED: [(&str, &str); 12] = [
    ("America/Buenos_Aires", "America/Argentina/Buenos_Aires"),
    ("America/Godthab", "America/Nuuk"),
    ("America/Indianapolis", "America/Indiana/Indianapolis"),
    ("Asia/Calcutta", "Asia/Kolkata"),
    ("Asia/Katmandu", "Asia/Kathmandu"),
    ("Asia/Rangoon", "Asia/Yangon"),
    ("Asia/Saigon", "Asia/Ho_Chi_Minh"),
    ("Atlantic/Faeroe", "Atlantic/Faroe"),
    ("Africa/Asmera", "Africa/Asmara"),
    ("Europe/Kiev", "Europe/Kyiv"),
    ("Pacific/Ponape", "Pacific/Pohnpei"),
    ("Pacific/Truk", "Pacific/Chuuk"),
];

/// The zone of a name.
pub fn find(name: &str) -> Option<TimeZone> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_part) {
        return None;
    }
    let renamed = || RENAMED.iter().find(|(old, _)| *old == name);
    let found = db().get(name).ok();
    found.or_else(|| renamed().and_then(|(_, new)| db().get(new).ok()))
}

/// The zone of a request: of its parameter, which must be one, or of its cookie, or else the server's.
pub fn of(
    parameters: &mut Parameters,
    headers: &HeaderMap,
    server: &TimeZone,
) -> Result<TimeZone, Problem> {
    match parameters.take(PARAMETER) {
        Some(name) => find(&name).ok_or_else(|| unknown(&name)),
        None => Ok(cookie(headers, COOKIE).and_then(|name| find(&name)).unwrap_or(server.clone())),
    }
}

pub fn unknown(name: &str) -> Problem {
    Problem::bad(format!(
        "{PARAMETER}: {name:?} is no time zone of this server (write one such as Europe/Berlin; /zone lists all)"
    ))
}

/// The names to choose from: UTC, and those of places.
pub fn names() -> Vec<String> {
    let all = db().available().map(|name| name.as_str().to_owned());
    // Of places, not of rules such as EST5EDT, and not Etc/GMT+1, which is west of Greenwich.
    let mut names: Vec<_> =
        all.filter(|name| name.contains('/') && !name.starts_with("Etc/")).collect();
    names.sort_unstable();
    names.dedup();
    names.insert(0, "UTC".into());
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, header::COOKIE as COOKIES};

    fn zone(query: &str, cookies: &'static str) -> Result<Option<String>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIES, HeaderValue::from_static(cookies));
        let mut parameters = Parameters::parse(query)?;
        let found = of(&mut parameters, &headers, &TimeZone::UTC)?;
        parameters.finish()?;
        Ok(found.iana_name().map(str::to_owned))
    }

    #[test]
    fn whose_zone() {
        for (query, cookies, expected) in [
            ("", "", "UTC"),
            ("", "a=b; aw-zone=Europe/Berlin", "Europe/Berlin"),
            ("", "aw-zone=../../etc/passwd", "UTC"),
            ("", "aw-zone=Europe/Nowhere", "UTC"),
            ("zone=America/New_York", "aw-zone=Europe/Berlin", "America/New_York"),
            ("zone=UTC", "aw-zone=Europe/Berlin", "UTC"),
        ] {
            let found = zone(query, cookies).unwrap();
            assert_eq!(found.as_deref(), Some(expected), "{query} {cookies}");
        }
        for bad in ["zone=Nowhere", "zone=/etc/localtime", "zone=..%2Fetc%2Fpasswd", "zone=%00"] {
            assert!(zone(bad, "").unwrap_err().why.contains("/zone lists all"), "{bad}");
        }
    }

    #[test]
    fn all_names_are_found() {
        let all = names();
        assert!(all.len() > 100 && all[0] == "UTC", "{}", all.len());
        for name in &all {
            assert!(find(name).is_some(), "{name}");
        }
        for (old, new) in RENAMED {
            assert!(find(old).is_some() && find(new).is_some(), "{old} {new}");
        }
    }
}

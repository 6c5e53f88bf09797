//! Values that options, configuration files and imports share. Each has one parser, which accepts all usual
//! notations, and one way to print it.

use std::{
    fmt,
    marker::PhantomData,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use jiff::{Timestamp, tz::TimeZone};
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// A server: a host name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address; an IPv6 address has no brackets here.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

impl HostPort {
    /// Reads `HOST`, `HOST:PORT`, `IPv6`, `[IPv6]` or `[IPv6]:PORT`; a missing port is `default`.
    pub fn parse(text: &str, default: u16) -> Result<HostPort, String> {
        let fault = || format!("{text:?}: must be HOST, HOST:PORT, an IPv6 address or [IPv6]:PORT");
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(fault)?;
                (host, (!port.is_empty()).then_some(port))
            }
            None if is_ipv6(text) => (text, None),
            None => match text.find(':') {
                Some(at) => (&text[..at], Some(&text[at..])),
                None => (text, None),
            },
        };
        let port = match port {
            Some(port) => {
                let digits = port.strip_prefix(':').ok_or_else(fault)?;
                digits.parse().ok().filter(|port| *port > 0).ok_or_else(fault)?
            }
            None => default,
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_host = match text.starts_with('[') {
            true => is_ipv6(host),
            false => is_ipv6(host) || !host.is_empty() && host.chars().all(is_name),
        };
        if is_host { Ok(HostPort { host: host.into(), port }) } else { Err(fault()) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// With or without a zone, as in `fe80::1%eth0` (RFC 4007, 11).
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "zone"));
    let is_zone = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(is_zone)
}

/// Reads an address with or without a prefix length, as in `192.0.2.0/24`, `192.0.2.1` and `2001:db8::/32`.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let address = || text.parse().map(|address: IpAddr| IpNet::from(address));
    let network = text.parse().or_else(|_| address());
    network.map_err(|_| format!("{text:?}: must be an address or a network, such as 192.0.2.0/24"))
}

/// Splits a line of a list of names into MAC and name: `MAC name` (also with a tab, comma or `=`), where `#` begins a
/// comment, or `MAC|name`, where the name is all that follows. Returns `None` for an empty line, a comment or the heading
/// of a CSV file, whose first word is `mac`.
pub fn split_name_line(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find([' ', '\t', ',', '=', '|', '#']).unwrap_or(line.len());
    let (mac, rest) = (&line[..end], line[end..].trim_start());
    if mac.eq_ignore_ascii_case("mac") {
        return None;
    }
    if let Some(name) = rest.strip_prefix('|') {
        return Some((mac, name.trim()));
    }
    let name = rest.trim_start_matches([',', '=']).split('#').next().unwrap_or_default();
    Some((mac, name.trim()))
}

/// A time span: `90s`, `30m`, `2h`, `1d`, `1w` or several together, as in `1h30m`. A number without a
/// unit is refused: it could be meant as days. A day is 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(pub Duration);

impl FromStr for TimeSpan {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const BAD: &str = "must be a time span such as 90s, 30m, 2h, 1d, 1w or 1h30m";
        let mut rest = text.trim();
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(BAD)?;
            let number: u64 = rest[..digits].parse().map_err(|_| BAD)?;
            rest = rest[digits..].trim_start();
            let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let unit = match &rest[..letters] {
                "s" | "sec" | "second" | "seconds" => 1,
                "m" | "min" | "minute" | "minutes" => 60,
                "h" | "hour" | "hours" => 3600,
                "d" | "day" | "days" => 86_400,
                "w" | "week" | "weeks" => 604_800,
                _ => return Err(BAD),
            };
            total = number.checked_mul(unit).and_then(|n| total.checked_add(n)).ok_or(BAD)?;
            rest = rest[letters..].trim_start();
        }
        // Date arithmetic would overflow with longer spans.
        let fits = !text.trim().is_empty() && total <= u64::from(u32::MAX) * 2;
        if fits { Ok(TimeSpan(Duration::from_secs(total))) } else { Err(BAD) }
    }
}

/// Reads the seconds of a configuration: a number, or a time span such as `"10m"`.
pub fn seconds<'de, D: Deserializer<'de>, N: TryFrom<u64>>(from: D) -> Result<N, D::Error> {
    struct Seconds<N>(PhantomData<N>);

    impl<N: TryFrom<u64>> Visitor<'_> for Seconds<N> {
        type Value = N;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of seconds, or a time such as \"10m\"")
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<N, E> {
            let seconds = u64::try_from(number).ok().and_then(|number| N::try_from(number).ok());
            seconds.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<N, E> {
            let seconds = N::try_from(number).ok();
            seconds.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<N, E> {
            let span = text.parse::<TimeSpan>().ok();
            let seconds = span.and_then(|TimeSpan(span)| N::try_from(span.as_secs()).ok());
            seconds.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    from.deserialize_any(Seconds(PhantomData))
}

/// The same for a key that need not be set.
pub fn optional_seconds<'de, D: Deserializer<'de>, N: TryFrom<u64>>(
    from: D,
) -> Result<Option<N>, D::Error> {
    seconds(from).map(Some)
}

/// In its two largest units: `2 min 5 s`.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match seconds {
            ..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{minutes} min {} s", seconds % 60),
            3600..86_400 => write!(f, "{hours} h {} min", minutes % 60),
            _ => write!(f, "{days} d {} h", hours % 24),
        }
    }
}

/// A number of bytes: `1048576`, `1024K`, `20M`, `1G`, `1T`; a trailing `B` or `iB` changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const BAD: &str = "must be a number of bytes, such as 1048576, 1024K, 20M or 1G";
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let shift = match text[digits..].trim_start().to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            _ => return Err(BAD),
        };
        let bytes = text[..digits].parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
        bytes.map(ByteSize).ok_or(BAD)
    }
}

/// From one second since 1970 to a later one, in local time: `from 2026-11-29 01:39:10 to 01:49:12`.
pub fn local_span(from: i64, to: i64) -> String {
    let zone = TimeZone::system();
    let [from, to] = [from, to]
        .map(|second| Timestamp::from_second(second).unwrap_or_default().to_zoned(zone.clone()));
    let is_same_day = from.date() == to.date();
    let to = to.strftime(if is_same_day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" });
    format!("from {} to {to}", from.strftime("%Y-%m-%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port, printed) in [
            ("mail.example.org", "mail.example.org", 25, "mail.example.org:25"),
            ("127.0.0.1:2525", "127.0.0.1", 2525, "127.0.0.1:2525"),
            ("2001:db8::1", "2001:db8::1", 25, "[2001:db8::1]:25"),
            ("[2001:db8::1]", "2001:db8::1", 25, "[2001:db8::1]:25"),
            ("[2001:db8::1]:22", "2001:db8::1", 22, "[2001:db8::1]:22"),
            ("[fe80::1%eth0]:22", "fe80::1%eth0", 22, "[fe80::1%eth0]:22"),
            ("fe80::1%eth0", "fe80::1%eth0", 25, "[fe80::1%eth0]:25"),
            ("::1", "::1", 25, "[::1]:25"),
        ] {
            let expected = HostPort { host: host.into(), port };
            assert_eq!(HostPort::parse(text, 25), Ok(expected), "{text}");
            assert_eq!(HostPort::parse(text, 25).unwrap().to_string(), printed);
        }
        for bad in [
            "", ":25", "a:b", "a:0", "a:70000", "a:", "[::1", "[::1]25", "[::1]:", "[a]", "a:1:2",
            "1:2:3", "a b", "a/b", "fe80::1%", "a%b", "[]",
        ] {
            assert!(HostPort::parse(bad, 25).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks() {
        for (text, printed) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            (" 192.0.2.1 ", "192.0.2.1/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), printed, "{text}");
        }
        for bad in ["", "192.0.2.0/33", "192.0.2/24", "example.org", "/24", "::/129"] {
            assert!(parse_network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn name_lines() {
        for (line, expected) in [
            ("  # a comment", None),
            ("", None),
            ("0:8:e1:1:2:a \tthe nas # in the cellar", Some(("0:8:e1:1:2:a", "the nas"))),
            ("02-00-00-00-00-01,phone", Some(("02-00-00-00-00-01", "phone"))),
            ("x | Studio #2 ", Some(("x", "Studio #2"))),
            ("x|a|b", Some(("x", "a|b"))),
            ("x#comment", Some(("x", ""))),
            ("MAC,name", None),
        ] {
            assert_eq!(split_name_line(line), expected, "{line}");
        }
    }

    #[test]
    fn time_spans() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            (" 30 min ", 1800),
            ("1h30m", 5400),
            ("1d 2 hours", 93_600),
            ("1w", 604_800),
        ] {
            assert_eq!(text.parse(), Ok(TimeSpan(Duration::from_secs(seconds))), "{text}");
        }
        for bad in
            ["", "0", "90", "h", "1x", "-1s", "1.5h", "99999999999999999999s", "99999999w", "é"]
        {
            assert!(bad.parse::<TimeSpan>().is_err(), "{bad}");
        }
    }

    #[test]
    fn byte_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1G", 1 << 30),
            ("1024k", 1 << 20),
            ("20 MiB", 20 << 20),
            ("1048576", 1 << 20),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "G", "-1", "1P", "1.5G", "99999999999T", "é", "1 é"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}

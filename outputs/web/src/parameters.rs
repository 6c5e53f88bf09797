//! The parameters of a request: of its URL, or of a form. Each may be there once, and an unknown one is refused: a mistyped
//! one would silently answer another question.

use std::net::IpAddr;

use aw_query::TimeRange;
use aw_service::parse_time;
use jiff::{Zoned, tz::TimeZone};
use shm_layout::{MacAddr, UnixTime};

use crate::problem::Problem;

/// Bytes of all parameters together, and of one value, at most.
const MAX_VALUE: usize = 1024;

/// In messages.
pub const AN_ADDRESS: &str = "192.0.2.1";
pub const A_MAC: &str = "02:00:00:00:00:01";

/// The parameters that are not read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses `name=value&...`. An empty value is none.
    pub fn parse(text: &str) -> Result<Parameters, Problem> {
        let mut all: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if all.iter().any(|(known, _)| *known == name) {
                return Err(Problem::bad(format!(
                    "the parameter {name} is there twice (remove one)"
                )));
            }
            if value.len() > MAX_VALUE {
                return Err(Problem::bad(format!(
                    "the parameter {name} is too long (at most {MAX_VALUE} bytes)"
                )));
            }
            all.push((name.into_owned(), value.into_owned()));
        }
        all.retain(|(_, value)| !value.is_empty());
        Ok(Parameters(all))
    }

    /// Takes a parameter.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The end: all have been taken.
    pub fn finish(&self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::bad(format!("unknown parameter {name:?} (remove it)"))),
        }
    }

    /// One that must be there, such as `example`.
    pub fn take_needed(&mut self, name: &str, example: &str) -> Result<String, Problem> {
        self.take(name).ok_or_else(|| {
            Problem::bad(format!("the parameter {name} is missing (add {name}={example})"))
        })
    }

    /// An address.
    pub fn take_ip(&mut self, name: &str) -> Result<IpAddr, Problem> {
        parse_ip(&self.take_needed(name, AN_ADDRESS)?)
    }

    /// A MAC.
    pub fn take_mac(&mut self, name: &str) -> Result<MacAddr, Problem> {
        parse_mac(&self.take_needed(name, A_MAC)?)
    }

    /// A time: its begin and end.
    pub fn take_time(&mut self, name: &str, zone: &TimeZone) -> Result<Option<TimeRange>, Problem> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let now = Zoned::now().with_time_zone(zone.clone());
        let parsed = parse_time(&text, &now);
        match parsed {
            Ok(times) => Ok(Some(TimeRange::of(times))),
            Err(why) => Err(Problem::bad(format!("{name}: {text:?}: {why}"))),
        }
    }

    /// `from` (or `since`) and `to` (or `until`), as for aw-query.
    pub fn take_range(&mut self, zone: &TimeZone) -> Result<TimeRange, Problem> {
        let mut either = |one, other| match self.take_time(one, zone)? {
            Some(time) => Ok(Some(time)),
            None => self.take_time(other, zone),
        };
        let from = either("from", "since")?.map_or(TimeRange::ALL.from, |time| time.from);
        let to = either("to", "until")?.map_or(TimeRange::ALL.to, |time| time.to);
        if from >= to {
            return Err(Problem::bad("from is after to (exchange them)".into()));
        }
        Ok(TimeRange { from, to })
    }

    /// A moment, or else now.
    pub fn take_moment(&mut self, name: &str, zone: &TimeZone) -> Result<UnixTime, Problem> {
        Ok(self.take_time(name, zone)?.map_or_else(UnixTime::now, |time| time.from))
    }

    /// A number from 1 to `most`, or else `default`.
    pub fn take_number(
        &mut self,
        name: &str,
        (default, most): (usize, usize),
    ) -> Result<usize, Problem> {
        let Some(text) = self.take(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| {
            Problem::bad(format!("{name}: {text:?} must be a number from 1 to {most}"))
        })
    }

    /// Whether something is asked for.
    pub fn take_flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(Problem::bad(format!("{name}: {text:?} must be true or false"))),
        }
    }
}

/// An address of a URL. A zone, as in `fe80::1%eth0`, is ignored: the history does not have it.
pub fn parse_ip(text: &str) -> Result<IpAddr, Problem> {
    let address = match text.split_once('%') {
        Some((address, _)) if address.contains(':') => address,
        _ => text,
    };
    address.trim().parse().map_err(|_| {
        Problem::bad(format!(
            "{text:?} must be an IPv4 or IPv6 address, such as 192.0.2.1 or fe80::1"
        ))
    })
}

/// A MAC of a URL.
pub fn parse_mac(text: &str) -> Result<MacAddr, Problem> {
    text.trim().parse().map_err(|_| {
        Problem::bad(format!("{text:?} must be a MAC address, such as 02:00:00:00:00:01"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_once_and_known() {
        let mut found = Parameters::parse("ip=fe80%3A%3A1%25eth0&at=&limit=7&all=true").unwrap();
        assert_eq!(found.take_ip("ip").unwrap().to_string(), "fe80::1");
        assert_eq!(found.take("at"), None);
        assert_eq!(found.take_number("limit", (5, 10)).unwrap(), 7);
        assert!(found.finish().unwrap_err().to_string().contains("\"all\""));
        assert!(found.take_flag("all").unwrap() && !found.take_flag("all").unwrap());
        found.finish().unwrap();
        for bad in ["a=1&a=2", &format!("a={}", "x".repeat(MAX_VALUE + 1))] {
            assert!(Parameters::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn faults_have_remedies() {
        let zone = TimeZone::UTC;
        let mut found =
            Parameters::parse("ip=10.0.0&at=25:00&limit=0&from=2026-02-01&to=2026-01-01").unwrap();
        let mut why = vec![found.clone().take_ip("ip").unwrap_err().to_string()];
        why.push(found.clone().take_ip("address").unwrap_err().to_string());
        why.push(found.take_time("at", &zone).unwrap_err().to_string());
        why.push(found.take_number("limit", (5, 10)).unwrap_err().to_string());
        why.push(found.take_range(&zone).unwrap_err().to_string());
        for (why, word) in
            why.iter().zip(["192.0.2.1", "add address=", "23:59", "from 1 to 10", "exchange"])
        {
            assert!(why.contains(word), "{why}");
        }
        assert!(parse_mac("0200.0000.0001").is_ok() && parse_mac("x").is_err());
    }
}

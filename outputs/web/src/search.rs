//! What the search box means: an address or a MAC, with or without a time, or a part of a name, a maker or a MAC. No I/O and no
//! clock.

use std::{net::IpAddr, ops::Range};

use aw_service::parse_time;
use jiff::{Timestamp, Zoned};
use shm_layout::MacAddr;

/// Words of a question that are no part of an answer: `who had 10.1.2.3 at 14:05?`
const FILLERS: [&str; 18] = [
    "who", "had", "has", "was", "is", "the", "which", "what", "where", "mac", "ip", "address",
    "at", "on", "here", "there", "online", "device",
];
/// Words before and after a name in a question: `was kitchen radio here at 14:05?`
const BEFORE_NAME: [&str; 3] = ["where", "was", "is"];
const AFTER_NAME: [&str; 3] = ["here", "there", "online"];
/// Words before a time.
const BEFORE_TIME: [&str; 2] = ["at", "on"];

/// What is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Searched {
    Address(IpAddr, Option<Range<Timestamp>>),
    Mac(MacAddr, Option<Range<Timestamp>>),
    /// A part of a name, a maker or a MAC.
    Text(String, Option<Range<Timestamp>>),
}

/// Parses the text of the search box. The error names what is wrong with the time.
pub fn parse(text: &str, now: &Zoned) -> Result<Searched, String> {
    let text = text.trim().trim_end_matches('?');
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return Err("write an address, a MAC, or a part of a name".into());
    }
    let ip = words.iter().position(|word| ip(word).is_some());
    let mac = || words.iter().position(|word| mac(word).is_some());
    let Some(at) = ip.or_else(mac) else { return Ok(named(&words, now)) };
    let others = words[..at].iter().chain(&words[at + 1..]);
    let others = others.filter(|word| !FILLERS.contains(&&*word.to_lowercase()));
    let time = others.copied().collect::<Vec<_>>().join(" ");
    let time = match &*time {
        "" => None,
        time => Some(parse_time(time, now).map_err(|why| format!("the time {time:?} {why}"))?),
    };
    match (self::ip(words[at]), self::mac(words[at])) {
        (Some(ip), _) => Ok(Searched::Address(ip, time)),
        (None, Some(mac)) => Ok(Searched::Mac(mac, time)),
        (None, None) => Err("write an address, a MAC, or a part of a name".into()),
    }
}

/// A name, which may have several words, and after it a time, if there is one.
fn named(words: &[&str], now: &Zoned) -> Searched {
    let is_time = |word: &&&str| !BEFORE_TIME.contains(&&*word.to_lowercase());
    for at in 1..words.len() {
        let time: Vec<&str> = words[at..].iter().filter(is_time).copied().collect();
        let Ok(time) = parse_time(&time.join(" "), now) else { continue };
        return Searched::Text(name(&words[..at]).join(" "), Some(time));
    }
    Searched::Text(name(words).join(" "), None)
}

/// The words of a name, without those of a question about it.
fn name<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    let is_of = |word: &str, all: &[&str]| all.contains(&&*word.to_lowercase());
    let of_question = words.iter().take_while(|word| is_of(word, &BEFORE_NAME)).count();
    let of_question = match &words[..of_question] {
        [] | [_] if words.first().is_none_or(|word| is_of(word, &["where"])) => 0,
        _ => of_question,
    };
    let mut name = &words[of_question..];
    if of_question > 0 {
        if let [the, rest @ ..] = name
            && is_of(the, &["the"])
        {
            name = rest;
        }
        while let [rest @ .., last] = name
            && is_of(last, &AFTER_NAME)
        {
            name = rest;
        }
    }
    if name.is_empty() { words } else { name }
}

/// An address, with or without brackets; a zone is ignored.
fn ip(word: &str) -> Option<IpAddr> {
    let word = word.trim_end_matches([',', ';']);
    let word = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    match word.split_once('%') {
        Some((address, _)) if address.contains(':') => address.parse().ok(),
        _ => word.parse().ok(),
    }
}

fn mac(word: &str) -> Option<MacAddr> {
    word.trim_end_matches([',', ';']).parse().ok()
}

/// Whether a device has this text in one of its labels (its name, its maker, what it calls itself), or in its MAC (in any notation).
pub fn matches(text: &str) -> impl Fn(MacAddr, [Option<&str>; 3]) -> bool + use<> {
    let wanted = text.to_lowercase();
    let digits = |text: &str| -> String {
        text.chars().filter(|c| !":-.".contains(*c)).collect::<String>().to_lowercase()
    };
    let part = digits(text);
    let is_part = part.len() >= 4 && part.chars().all(|c| c.is_ascii_hexdigit());
    move |mac, labels| {
        let has = |label: &str| label.to_lowercase().contains(&wanted);
        labels.into_iter().flatten().any(has) || is_part && digits(&mac.to_string()).contains(&part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-27T15:00[+00:00]".parse().unwrap() // a Friday
    }

    fn times(text: &str) -> Option<Range<Timestamp>> {
        (!text.is_empty()).then(|| parse_time(text, &now()).unwrap())
    }

    #[test]
    fn questions() {
        let address = |ip: &str, time| Searched::Address(ip.parse().unwrap(), times(time));
        let mac = |time| Searched::Mac("02:00:00:00:00:01".parse().unwrap(), times(time));
        let text = |text: &str, time| Searched::Text(text.into(), times(time));
        for (typed, expected) in [
            ("10.1.2.3", address("10.1.2.3", "")),
            ("10.1.2.3 last tuesday 14:05", address("10.1.2.3", "2026-11-24 14:05")),
            ("who had 10.1.2.3 last tuesday at 14:05?", address("10.1.2.3", "2026-11-24 14:05")),
            ("Which MAC had 10.1.2.3 on 2026-11-20", address("10.1.2.3", "2026-11-20")),
            ("yesterday 10.1.2.3", address("10.1.2.3", "2026-11-26")),
            ("fe80::1%eth0 2h", address("fe80::1", "2026-11-27T13:00:00.000000000Z")),
            ("[2001:db8::1]", address("2001:db8::1", "")),
            ("0200.0000.0001", mac("")),
            ("02-00-00-00-00-01 yesterday", mac("2026-11-26")),
            ("where was 2:0:0:0:0:1 at 14:05", mac("14:05")),
            ("kitchen radio", text("kitchen radio", "")),
            ("kitchen radio last tuesday 14:05", text("kitchen radio", "2026-11-24 14:05")),
            ("The radio at 14:05", text("The radio", "14:05")),
            ("today", text("today", "")),
            (
                "was kitchen radio here last tuesday at 14:05?",
                text("kitchen radio", "2026-11-24 14:05"),
            ),
            ("Is the printer online", text("printer", "")),
            ("where was Radio yesterday", text("Radio", "2026-11-26")),
            ("was 02:00:00:00:00:01 here at 14:05", mac("14:05")),
            ("where", text("where", "")),
            ("Where radio", text("Where radio", "")),
            ("was here", text("was here", "")),
            ("radio here", text("radio here", "")),
            ("<script>alert(1)</script>", text("<script>alert(1)</script>", "")),
        ] {
            assert_eq!(parse(typed, &now()), Ok(expected), "{typed}");
        }
        for (typed, why) in
            [("", "write an address"), (" ? ", "write an address"), ("10.1.2.3 25:00", "23:59")]
        {
            assert!(parse(typed, &now()).unwrap_err().contains(why), "{typed}");
        }
    }

    #[test]
    fn parts() {
        let mac: MacAddr = "02:ab:cd:00:00:01".parse().unwrap();
        let labels = [Some("Kitchen Radio"), Some("Example GmbH"), Some("esp-radio-7")];
        let is = |text| matches(text)(mac, labels);
        for text in ["ESP-", "radio", "KITCHEN", "example", "02:ab:cd", "2abc", "ABCD-00"] {
            assert!(is(text), "{text}");
        }
        for text in ["oven", "02:ac", "ab"] {
            assert!(!is(text), "{text}");
        }
        assert!(!matches("radio")(mac, [None; 3]));
    }
}

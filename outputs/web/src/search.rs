//! What the search box means: an address, a block of them or a MAC, with or without a time; a VLAN; or a part of a name, a maker
//! or a MAC. No I/O and no clock.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use aw_service::{parse_network, parse_time};
use ipnet::IpNet;
use jiff::{Timestamp, Zoned};
use shm_layout::MacAddr;

/// Words of a question that are no part of an answer: `who had 10.1.2.3 at 14:05?`
const FILLERS: [&str; 19] = [
    "who", "in", "had", "has", "was", "is", "the", "which", "what", "where", "mac", "ip",
    "address", "at", "on", "here", "there", "online", "device",
];
/// Words before and after a name in a question: `was kitchen radio here at 14:05?`
const BEFORE_NAME: [&str; 3] = ["where", "was", "is"];
const AFTER_NAME: [&str; 3] = ["here", "there", "online"];
/// Words before a time.
const BEFORE_TIME: [&str; 2] = ["at", "on"];

/// The list of devices that are here, as people ask for it.
const NOW: [&str; 7] = [
    "now",
    "who is here",
    "who is here now",
    "who is online",
    "who is online now",
    "here now",
    "online now",
];

/// And that of the new ones.
const NEW: [&str; 5] = ["new", "new today", "new devices", "who is new", "who is new today"];

/// What is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Searched {
    /// The devices that are here.
    Now,
    /// Those that are new today.
    New,
    Address(IpAddr, Option<Range<Timestamp>>),
    /// Devices with an address of this block.
    Block(IpNet, Option<Range<Timestamp>>),
    Mac(MacAddr, Option<Range<Timestamp>>),
    Vlan(u16),
    /// A part of a name, a maker or a MAC.
    Text(String, Option<Range<Timestamp>>),
}

/// Parses the text of the search box. The error names what is wrong.
pub fn parse(text: &str, now: &Zoned) -> Result<Searched, String> {
    let text = text.trim().trim_end_matches(['?', '!']);
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return Err("write an address, a MAC, or a part of a name".into());
    }
    let text = words.join(" ").to_lowercase();
    if NOW.contains(&&*text) {
        return Ok(Searched::Now);
    }
    if NEW.contains(&&*text) {
        return Ok(Searched::New);
    }
    if let Some(vlan) = text.strip_prefix("vlan").and_then(|vlan| vlan.trim().parse().ok()) {
        return Ok(Searched::Vlan(vlan));
    }
    let one = |found: fn(&str) -> bool| words.iter().position(|word| found(word));
    let of_ip = one(|word| ip(word).is_some()).or_else(|| one(|word| block(word).is_some()));
    let found = of_ip.or_else(|| one(|word| mac(word).is_some())).map(|at| at..at + 1);
    let Some(subject) = found.or_else(|| mac_of_words(&words)) else {
        let is_filler = |word: &&&str| FILLERS.contains(&&*word.to_lowercase());
        let first = words.iter().position(|word| !is_filler(&word));
        let mut numbered = words.iter().enumerate();
        if let Some(why) = numbered.find_map(|(at, word)| no_address(word, Some(at) == first, now))
        {
            return Err(why);
        }
        let rest = words.iter().filter(|word| !FILLERS.contains(&&*word.to_lowercase()));
        let rest = rest.copied().collect::<Vec<_>>().join(" ");
        // A part of a MAC may look like a time: 14:05.
        let is_hex = |c: char| c.is_ascii_hexdigit() || c == ':';
        if parse_time(&rest, now).is_ok() && !rest.chars().all(is_hex) {
            return Err(format!(
                "{rest:?} is a time only: write an address, a MAC or a name before it (10.1.2.3 {rest}); /now?state=new has the devices that are new today, and /happened what happened"
            ));
        }
        return Ok(named(&words, now));
    };
    let others = words[..subject.start].iter().chain(&words[subject.end..]);
    let others = others.filter(|word| !FILLERS.contains(&&*word.to_lowercase()));
    let time = others.copied().collect::<Vec<_>>().join(" ");
    let time = match &*time {
        "" => None,
        time => Some(parse_time(time, now).map_err(|why| format!("the time {time:?}: {why}"))?),
    };
    let subject = words[subject].concat();
    Ok(match (ip(&subject), block(&subject), mac(&subject)) {
        (Some(ip), ..) => Searched::Address(ip, time),
        (_, Some(block), _) => Searched::Block(block, time),
        (.., Some(mac)) => Searched::Mac(mac, time),
        _ => return Err("write an address, a MAC, or a part of a name".into()),
    })
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
    // Of a URL, or with a port.
    let word = word.split_once("://").map_or(word, |(_, rest)| rest.trim_end_matches('/'));
    let with_port = || Some(word.parse::<SocketAddr>().ok()?.ip());
    match word.split_once('%') {
        Some((address, _)) if address.contains(':') => address.parse().ok(),
        _ => word.parse().ok().or_else(with_port),
    }
}

fn mac(word: &str) -> Option<MacAddr> {
    word.trim_end_matches([',', ';']).parse().ok()
}

/// A block of addresses: `192.0.2.0/24`.
fn block(word: &str) -> Option<IpNet> {
    let word = word.trim_end_matches([',', ';']);
    word.contains('/').then(|| parse_network(word).ok())?
}

/// The words that are a MAC together, as in `b827eb aabb01`: two, three or six groups of digits.
fn mac_of_words(words: &[&str]) -> Option<Range<usize>> {
    const DIGITS: usize = 12;
    (0..words.len()).find_map(|start| {
        let group = Some(words[start].len()).filter(|group| [2, 4, 6].contains(group))?;
        let range = start..start + DIGITS / group;
        let of_mac = words.get(range.clone())?;
        let is_group =
            |word: &&str| word.len() == group && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let has_digit = |word: &&str| word.bytes().any(|byte| byte.is_ascii_digit());
        (of_mac.iter().all(is_group) && of_mac.iter().any(has_digit)).then_some(range)
    })
}

/// Why a word is no address, if it was meant as one, or no day: not a time, and not a part of a MAC or a name.
fn no_address(word: &str, is_first: bool, now: &Zoned) -> Option<String> {
    let word = word.trim_end_matches([',', ';']);
    let why = parse_time(word, now).err()?;
    let (address, length) = match word.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (word, None),
    };
    let numbers: Option<Vec<u32>> = address.split('.').map(|part| part.parse().ok()).collect();
    let numbers = numbers.unwrap_or_default();
    if numbers.len() == 3 && numbers.iter().any(|number| *number > 999) {
        return Some(format!("{word:?}: {why}"));
    }
    let is_padded = |part: &str| part.len() > 1 && part.starts_with('0');
    let is_v6 = address.contains("::")
        && address.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte));
    match (numbers.len(), ip(address)) {
        _ if !is_first => None,
        (_, Some(_)) if length.is_some() => Some(format!(
            "{word:?} is no block of addresses (write it as 192.0.2.0/24 or 2001:db8::/64)"
        )),
        (3, _)
            if numbers.iter().all(|number| *number < 256) && !address.split('.').any(is_padded) =>
        {
            Some(format!(
                "{word:?} is no address, which has four numbers (write {address}.0/24 for all devices there)"
            ))
        }
        (4, _) => Some(format!(
            "{word:?} is no address: it has four numbers of 0 to 255 (write it as 192.0.2.30)"
        )),
        _ if is_v6 => Some(format!("{word:?} is no address (write it as fe80::1)")),
        _ => None,
    }
}

/// Whether a device has this text in one of its labels (its name, its maker, what it calls itself), or in its MAC (in any notation).
/// A label is compared without blanks and hyphens, too: `pihole` finds `Pi-hole`.
pub fn matches(text: &str) -> impl Fn(MacAddr, [Option<&str>; 3]) -> bool + use<> {
    let wanted = text.to_lowercase();
    let bare = |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).collect() };
    let part = bare(&wanted);
    let is_part = part.len() >= 4 && part.chars().all(|c| c.is_ascii_hexdigit());
    move |mac, labels| {
        let has = |label: &str| {
            let label = label.to_lowercase();
            label.contains(&wanted) || !part.is_empty() && bare(&label).contains(&part)
        };
        labels.into_iter().flatten().any(has) || is_part && bare(&mac.to_string()).contains(&part)
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
            ("New today?", Searched::New),
            ("14:05", text("14:05", "")),
            ("10.1.2.3:80", address("10.1.2.3", "")),
            ("http://10.1.2.3/ yesterday", address("10.1.2.3", "2026-11-26")),
            ("10.1.2.3 Last Tuesday, 14:05", address("10.1.2.3", "2026-11-24 14:05")),
            ("was Kitchen here Yesterday at 14:05?", text("Kitchen", "2026-11-26 14:05")),
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
            ("10.1.2.3 yesterday at 2pm", address("10.1.2.3", "2026-11-26 14:00")),
            ("10.1.2.3 24.11.2026 14:05", address("10.1.2.3", "2026-11-24 14:05")),
            ("kitchen radio 2:05 pm", text("kitchen radio", "14:05")),
            ("020000 000001", mac("")),
            ("where was 02 00 00 00 00 01 at 2pm?", mac("14:00")),
            ("0200 0000 0001 yesterday", mac("2026-11-26")),
            ("020000 00000", text("020000 00000", "")),
            ("cafe 2026-11-20", text("cafe", "2026-11-20")),
            ("ab:cd 2026-11-20", text("ab:cd", "2026-11-20")),
            ("facade 14:05:30", text("facade", "14:05:30")),
            ("02:ab:cd:00 14:05", text("02:ab:cd:00", "14:05")),
            ("decade facade", text("decade facade", "")),
            ("fw 1.2.3", text("fw 1.2.3", "")),
            ("00.11.22", text("00.11.22", "")),
            ("192.0.2.0/24", Searched::Block("192.0.2.0/24".parse().unwrap(), None)),
            (
                "who is in 2001:db8::/64 yesterday",
                Searched::Block("2001:db8::/64".parse().unwrap(), times("2026-11-26")),
            ),
            ("VLAN 20", Searched::Vlan(20)),
            ("vlan20", Searched::Vlan(20)),
            ("vlan guests", text("vlan guests", "")),
            ("Now", Searched::Now),
            ("Who is here now?", Searched::Now),
            ("0200.0000", text("0200.0000", "")),
        ] {
            assert_eq!(parse(typed, &now()), Ok(expected), "{typed}");
        }
        for (typed, why) in [
            ("", "write an address"),
            (" ? ", "write an address"),
            (
                "10.1.2.3 25:00",
                "the time \"25:00\": there is no time of day 25:00 (write 00:00 to 23:59",
            ),
            ("10.1.2.3 yesterday 2qm", "the time \"yesterday 2qm\": it must be a time such as"),
            ("today", "\"today\" is a time only: "),
            ("who was here last tuesday 14:05", "\"last tuesday 14:05\" is a time only: "),
            ("192.0.2.300", "\"192.0.2.300\" is no address: "),
            ("who had 192.0.2.300 yesterday", "\"192.0.2.300\" is no address: "),
            ("printer 30.02.2026", "\"30.02.2026\": there is no day 30.02.2026 (write"),
            ("10.1.2", "(write 10.1.2.0/24 for all devices there)"),
            ("192.0.2.0/33", "is no block of addresses"),
            ("fe80::12345", "\"fe80::12345\" is no address (write it as fe80::1)"),
        ] {
            assert!(parse(typed, &now()).unwrap_err().contains(why), "{typed}");
        }
    }

    /// The longest text that a parameter may be, of words that could be parts of something, is a text.
    #[test]
    fn many_words() {
        for word in ["- ", "ab ", "0 ", "a 1.2.3 "] {
            let text = word.repeat(1024 / word.len());
            assert!(matches!(parse(&text, &now()), Ok(Searched::Text(..))), "{word}");
        }
        let words = [&["ab"; 500][..], &["0b"; 6], &["ab"; 6]].concat();
        assert_eq!(mac_of_words(&words), Some(495..501), "the first six with a digit");
    }

    #[test]
    fn parts() {
        let mac: MacAddr = "02:ab:cd:00:00:01".parse().unwrap();
        let labels = [Some("Kitchen Radio"), Some("Example GmbH"), Some("esp-radio-7")];
        let is = |text| matches(text)(mac, labels);
        for text in [
            "ESP-",
            "radio",
            "KITCHEN",
            "example",
            "02:ab:cd",
            "2abc",
            "ABCD-00",
            "kitchenradio",
            "esp radio",
            "-",
        ] {
            assert!(is(text), "{text}");
        }
        for text in ["oven", "02:ac", "ab", "--"] {
            assert!(!is(text), "{text}");
        }
        assert!(!matches("radio")(mac, [None; 3]));
    }
}

//! What a list of devices is sorted by.

use std::{
    cmp::{Ordering, Reverse},
    sync::Arc,
};

use super::Device;

/// The order of two texts, in which numbers count as such: 2 before 10.
pub fn natural_order(mut one: &str, mut other: &str) -> Ordering {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    loop {
        let order = match (digits(one), digits(other)) {
            (of_one @ 1.., of_other @ 1..) => {
                let (number, rest) = one.split_at(of_one);
                let (other_number, other_rest) = other.split_at(of_other);
                (one, other) = (rest, other_rest);
                let [number, other_number] =
                    [number, other_number].map(|digits| digits.trim_start_matches('0'));
                number.len().cmp(&other_number.len()).then(number.cmp(other_number))
            }
            _ => {
                let (mut chars, mut other_chars) = (one.chars(), other.chars());
                let firsts = (chars.next(), other_chars.next());
                (one, other) = (chars.as_str(), other_chars.as_str());
                match firsts {
                    (None, None) => return Ordering::Equal,
                    (first, other_first) => first.cmp(&other_first),
                }
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// A text in that order, in lower case.
#[derive(PartialEq, Eq)]
struct Natural(String);

impl Ord for Natural {
    fn cmp(&self, other: &Natural) -> Ordering {
        natural_order(&self.0, &other.0).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Natural) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Name,
    Mac,
    Maker,
    Address,
    Network,
    First,
    Last,
}

impl Sort {
    pub const ALL: [Sort; 7] =
        [Sort::Name, Sort::Mac, Sort::Maker, Sort::Address, Sort::Network, Sort::First, Sort::Last];

    /// As a parameter.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::Mac => "mac",
            Sort::Maker => "maker",
            Sort::Address => "address",
            Sort::Network => "network",
            Sort::First => "first",
            Sort::Last => "last",
        }
    }

    /// The heading of its column.
    pub fn label(self) -> &'static str {
        match self {
            Sort::Name => "Device",
            Sort::Mac => "MAC",
            Sort::Maker => "Maker",
            Sort::Address => "Addresses",
            Sort::Network => "Network",
            Sort::First => "First seen",
            Sort::Last => "Last seen",
        }
    }

    pub fn parse(text: &str) -> Option<Sort> {
        Sort::ALL.into_iter().find(|sort| sort.name() == text)
    }

    /// Sorts: times with the latest first, texts with the first one first, and what is missing last; or all of it reversed.
    pub fn sort(self, devices: &mut [&Device], is_reversed: bool) {
        let missing_last = |text: &Option<Arc<str>>| {
            (text.is_none(), Natural(text.as_deref().unwrap_or_default().to_lowercase()))
        };
        let address = |one: &Device| one.addresses.first().copied();
        match self {
            Sort::Name => devices.sort_by_cached_key(|one| {
                let claimed = one.claimed.as_ref().map(|(name, ..)| Arc::clone(name));
                (one.name.is_none(), missing_last(&one.name.clone().or(claimed)), one.mac)
            }),
            Sort::Mac => devices.sort_by_key(|one| one.mac),
            Sort::Maker => devices.sort_by_cached_key(|one| (missing_last(&one.maker), one.mac)),
            Sort::Address => devices.sort_by_cached_key(|one| {
                let address = address(one);
                (address.is_none(), address, one.mac)
            }),
            Sort::Network => devices
                .sort_by(|one, other| (&one.network, one.mac).cmp(&(&other.network, other.mac))),
            Sort::First => devices.sort_by_key(|one| (Reverse(one.first), one.mac)),
            Sort::Last => devices.sort_by_key(|one| (Reverse(one.last), one.mac)),
        }
        if is_reversed {
            devices.reverse();
        }
    }
}

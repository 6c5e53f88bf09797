//! The format in which a history moves from one database to another: lines of JSON. `aw-query export` writes it, and
//! `aw-sqlite import` and `aw-mysql import` read it. Each line is complete in itself, so a line can be lost or damaged
//! without another one meaning something else.
//!
//! A reader trusts no line: lengths and numbers are bounded, and an unknown field is an error.

use std::{borrow::Cow, net::IpAddr, ops::RangeInclusive};

use aw_service::is_hidden;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shm_layout::{Evidence, MacAddr, NameText, Origin, RingName, UnixTime};

use crate::{ClaimedName, NameSource};

/// The number in the first line. A format that an earlier release cannot read has another one: 1 has no spans, 2 no names, and 3 no
/// addresses in their place.
const VERSION: u32 = 4;
/// What this release reads.
const VERSIONS: RangeInclusive<u32> = 1..=VERSION;

/// Characters of a name, at most: a host name in MySQL's tables has as many.
const MAX_NAME: usize = 255;
/// Rows that a line stands for, at most, so that a damaged line adds no more. More of them have several lines.
const MAX_COUNT: u64 = 10_000;
/// Their number within their second, at most.
const MAX_NTH: u64 = 1_000_000_000;
/// Bytes of a user's name, at most, as in events.
const MAX_USER: usize = 16;
const VLANS: RangeInclusive<i64> = -1..=4095;
const ORIGINS: RangeInclusive<i64> = 0..=255;
/// Of a line that stands for one row.
const ONCE: HistoryCount = HistoryCount { count: 1, nth: 1, before: 0 };

/// Where something was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HistoryPlace {
    /// The host of the collector.
    pub host: String,
    /// The collector's ring; empty if the history does not know it.
    pub ring: String,
    /// The interface; of a configuration change, the router's name.
    pub interface: String,
    /// The VLAN; 0 = none, -1 = one of those for which there was no room.
    pub vlan: i64,
    /// The outer one of two.
    pub outer_vlan: i64,
    /// The address of the router that reported it; empty if none did.
    pub router: String,
}

/// How many rows a line stands for, and which ones of their second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryCount {
    /// Rows that are equal in everything.
    pub count: u64,
    /// The number, from 1, of the first one of them among all rows that are the same in tables with whole seconds, without
    /// rings, outer VLANs and routers: those of MySQL.
    pub nth: u64,
    /// Rows that are equal in everything, too, and have lines of their own.
    pub before: u64,
}

impl HistoryCount {
    /// The counts of the lines that these rows need.
    pub fn parts(self) -> impl Iterator<Item = HistoryCount> {
        let HistoryCount { count, nth, before } = self;
        (0..count).step_by(MAX_COUNT as usize).map(move |done| HistoryCount {
            count: (count - done).min(MAX_COUNT),
            nth: nth.saturating_add(done),
            before: before.saturating_add(done),
        })
    }

    fn check(self) -> Result<HistoryCount, String> {
        let HistoryCount { count, nth, before } = self;
        match (1..=MAX_COUNT).contains(&count) && (1..=MAX_NTH).contains(&nth) && before < nth {
            true => Ok(self),
            false => Err(format!(
                "count is 1 to {MAX_COUNT}, nth is 1 to {MAX_NTH}, and before is less than nth"
            )),
        }
    }
}

/// Sightings of a pairing at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySighting {
    /// Where.
    pub place: HistoryPlace,
    /// When.
    pub time: UnixTime,
    /// The pairing.
    pub mac: MacAddr,
    /// Its address.
    pub ip: IpAddr,
    /// The MAC that sent the frame, if it is another one.
    pub source: Option<MacAddr>,
    /// The number of the message's kind, as the databases have it.
    pub origin: i64,
    /// How often.
    pub times: HistoryCount,
    /// It is the first of many, of which only the last one is known, too.
    pub span: Option<HistorySpan>,
}

/// Claims of a pairing at most ten minutes apart, and what is between: a database keeps the first and the last one, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistorySpan {
    /// The last one, on the same day of UTC as the first.
    pub last: UnixTime,
    /// Its origin.
    pub last_origin: i64,
    /// How many there are.
    pub sightings: u64,
}

impl HistorySpan {
    fn check(&self, sighting: &HistorySighting) -> Result<(), &'static str> {
        const DAY: i64 = 86_400;
        let HistorySpan { last, last_origin, sightings } = self;
        let day = |time: UnixTime| time.seconds().div_euclid(DAY);
        let is_claim = |origin: i64| {
            let known = u8::try_from(origin).ok().and_then(Origin::from_number);
            known.is_none_or(|origin| origin.evidence() == Evidence::Claim)
        };
        let HistorySighting { time, origin, source, times, .. } = sighting;
        if last < time || day(*last) != day(*time) {
            return Err("a span begins and ends on one day of UTC");
        }
        if source.is_some() || !is_claim(*origin) || !is_claim(*last_origin) {
            return Err("a span begins and ends with claims in frames of the MAC itself");
        }
        match times.count == 1 && (1..=MAX_NTH).contains(sightings) {
            true => Ok(()),
            false => Err("the number of sightings of a span is 1 to 1000000000"),
        }
    }
}

/// A change of a router's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryChange {
    /// Where.
    pub place: HistoryPlace,
    /// When.
    pub time: UnixTime,
    /// The user who made it.
    pub user: String,
    /// Lines that were added.
    pub added: u32,
    /// Lines that were removed.
    pub removed: u32,
    /// How often.
    pub times: HistoryCount,
}

/// What a device calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryName {
    /// Where.
    pub place: HistoryPlace,
    /// Which device.
    pub mac: MacAddr,
    /// The name, its message, and its first and last time.
    pub claimed: ClaimedName,
    /// How often it was received.
    pub uses: u64,
}

impl HistoryName {
    fn check(&self) -> Result<(), &'static str> {
        let HistoryName { claimed: ClaimedName { source, name, first, last }, uses, .. } = self;
        if name.is_empty() || NameText::cut(name).as_str() != name {
            return Err("its claimed_name is no text of 1 to 63 bytes that can be printed");
        }
        // In the form that questions are asked in.
        let is_ip = || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_string() == *name);
        if source.is_address() && !is_ip() {
            return Err("its claimed_name is no IP address, such as 192.0.2.1 or fe80::1");
        }
        match last >= first && (1..=MAX_NTH).contains(uses) {
            true => Ok(()),
            false => Err("a name ends after it begins, and was received 1 to 1000000000 times"),
        }
    }
}

/// A line of a history file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryLine {
    /// The first line.
    Begin,
    /// Sightings.
    Sighting(HistorySighting),
    /// Changes of configurations.
    Change(HistoryChange),
    /// What devices call themselves.
    Name(HistoryName),
    /// The last line, with the number of lines between it and the first one.
    End(u64),
}

/// A line as JSON has it. Absent fields are those that most lines do not need.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    addrwatch_history: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_after_lines: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ring: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    interface: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outer_vlan: Option<i32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    router: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    mac: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<i32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines_added: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines_removed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nth: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_origin: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sightings: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    claimed_name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_source: Option<u8>,
}

impl HistoryLine {
    /// The rows that it stands for; none of the first and of the last line.
    pub fn times(&self) -> Option<HistoryCount> {
        match self {
            HistoryLine::Sighting(HistorySighting { times, .. })
            | HistoryLine::Change(HistoryChange { times, .. }) => Some(*times),
            HistoryLine::Name(_) => Some(ONCE),
            HistoryLine::Begin | HistoryLine::End(_) => None,
        }
    }

    /// The same for other ones of the rows that are equal.
    pub fn set_times(&mut self, new: HistoryCount) {
        match self {
            HistoryLine::Sighting(HistorySighting { times, .. })
            | HistoryLine::Change(HistoryChange { times, .. }) => *times = new,
            HistoryLine::Name(_) | HistoryLine::Begin | HistoryLine::End(_) => {}
        }
    }

    /// Appends the line with its end. Characters that a terminal would obey are escaped. None if a value is none that a
    /// line can have: another program wrote it.
    pub fn write(&self, to: &mut Vec<u8>) -> Option<()> {
        let fields = match self {
            HistoryLine::Begin => Fields { addrwatch_history: Some(VERSION), ..Fields::default() },
            HistoryLine::End(lines) => {
                Fields { end_after_lines: Some(*lines), ..Fields::default() }
            }
            HistoryLine::Sighting(sighting) => {
                let HistorySighting { place, time, mac, ip, source, origin, times, span } =
                    sighting;
                let (mut until, mut last_origin, mut sightings) = (None, None, None);
                if let Some(span) = span {
                    span.check(sighting).ok()?;
                    until = Some(text(span.last)?);
                    last_origin = Some(within(&ORIGINS, span.last_origin)?);
                    sightings = Some(span.sightings);
                }
                Fields {
                    until,
                    last_origin,
                    sightings,
                    mac: Some(mac.to_string().into()),
                    ip: Some(*ip),
                    origin: Some(within(&ORIGINS, *origin)?),
                    source: source.map(|source| source.to_string().into()),
                    ..Fields::seen(place, *time, *times)?
                }
            }
            HistoryLine::Change(change) => {
                let HistoryChange { place, time, user, added, removed, times } = change;
                if user.len() > MAX_USER {
                    return None;
                }
                Fields {
                    user: Some(user.into()),
                    lines_added: Some(*added),
                    lines_removed: Some(*removed),
                    ..Fields::seen(place, *time, *times)?
                }
            }
            HistoryLine::Name(name) => {
                name.check().ok()?;
                let HistoryName { place, mac, claimed, uses } = name;
                Fields {
                    mac: Some(mac.to_string().into()),
                    claimed_name: Some(claimed.name.as_str().into()),
                    name_source: Some(claimed.source as u8),
                    until: Some(text(claimed.last)?),
                    sightings: Some(*uses),
                    ..Fields::seen(place, claimed.first, ONCE)?
                }
            }
        };
        let json = serde_json::to_string(&fields).ok()?;
        if json.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
            to.extend_from_slice(json.as_bytes());
        } else {
            let mut units = [0; 2];
            for c in json.chars() {
                match is_hidden(c) {
                    // All of them are within strings.
                    true => c.encode_utf16(&mut units).iter().for_each(|unit| {
                        to.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                    }),
                    false => to.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
        to.push(b'\n');
        Some(())
    }

    /// Reads a line without its end. An error says what is wrong with it.
    pub fn parse(line: &str) -> Result<HistoryLine, String> {
        let fields: Fields = serde_json::from_str(line).map_err(|error| {
            let why = error.to_string();
            let (what, column) = why.rsplit_once(" at line ").unwrap_or((&why, ""));
            let column = column.rsplit(' ').next().unwrap_or_default();
            format!("{what}, at column {column}")
        })?;
        match fields {
            Fields { addrwatch_history: Some(version), .. } if VERSIONS.contains(&version) => {
                Ok(HistoryLine::Begin)
            }
            Fields { addrwatch_history: Some(version), .. } => Err(format!(
                "the file is of version {version}, this release reads {} to {VERSION} (install the newer release)",
                VERSIONS.start()
            )),
            Fields { end_after_lines: Some(lines), .. } => Ok(HistoryLine::End(lines)),
            Fields { claimed_name: Some(_), .. } => fields.name().map(HistoryLine::Name),
            Fields { user: Some(_), .. } => fields.change().map(HistoryLine::Change),
            _ => fields.sighting().map(HistoryLine::Sighting),
        }
    }
}

impl HistoryPlace {
    /// What every place has that a collector saw. An error says what is wrong.
    fn check(&self) -> Result<(), String> {
        let HistoryPlace { host, ring, interface, vlan, outer_vlan, router } = self;
        for (what, name) in [("host", host), ("interface", interface)] {
            if name.len() > MAX_NAME && name.chars().count() > MAX_NAME {
                return Err(format!("{what} has more than {MAX_NAME} characters"));
            }
        }
        if !ring.is_empty() && ring.parse::<RingName>().is_err() {
            return Err("its ring is no name of a ring".into());
        }
        if !router.is_empty() && router.parse::<IpAddr>().is_err() {
            return Err("its router is no IP address".into());
        }
        match VLANS.contains(vlan) && VLANS.contains(outer_vlan) {
            true => Ok(()),
            false => Err(format!("a VLAN is {} to {}", VLANS.start(), VLANS.end())),
        }
    }
}

impl Fields<'_> {
    fn seen(place: &HistoryPlace, time: UnixTime, times: HistoryCount) -> Option<Fields<'_>> {
        let HistoryPlace { host, ring, interface, vlan, outer_vlan, router } = place;
        let tagged = |vlan| Some(vlan).filter(|vlan| *vlan != 0);
        place.check().ok()?;
        times.check().ok()?;
        Some(Fields {
            time: Some(text(time)?),
            host: Some(host.into()),
            ring: Some(ring.into()).filter(|_| !ring.is_empty()),
            interface: Some(interface.into()),
            vlan: tagged(within(&VLANS, *vlan)?),
            outer_vlan: tagged(within(&VLANS, *outer_vlan)?),
            router: Some(router.into()).filter(|_| !router.is_empty()),
            count: Some(times.count).filter(|count| *count > 1),
            nth: Some(times.nth).filter(|nth| *nth > 1),
            before: Some(times.before).filter(|before| *before > 0),
            ..Fields::default()
        })
    }

    fn place(&self) -> Result<HistoryPlace, String> {
        let name = |value: &Option<Cow<str>>| value.as_deref().unwrap_or_default().to_owned();
        if self.host.is_none() || self.interface.is_none() {
            return Err("it has no host, or no interface".into());
        }
        let vlan = |vlan: Option<i32>| i64::from(vlan.unwrap_or(0));
        let place = HistoryPlace {
            host: name(&self.host),
            ring: name(&self.ring),
            interface: name(&self.interface),
            vlan: vlan(self.vlan),
            outer_vlan: vlan(self.outer_vlan),
            router: name(&self.router),
        };
        place.check().map(|()| place)
    }

    fn time(&self) -> Result<UnixTime, String> {
        parse_time(self.time.as_deref().ok_or("it has no time")?)
    }

    fn span(&self) -> Result<Option<HistorySpan>, String> {
        match self {
            Fields { until: None, last_origin: None, sightings: None, .. } => Ok(None),
            Fields {
                until: Some(until),
                last_origin: Some(origin),
                sightings: Some(sightings),
                ..
            } => {
                if !ORIGINS.contains(&i64::from(*origin)) {
                    return Err(format!("last_origin is 0 to {}", ORIGINS.end()));
                }
                let (last, last_origin) = (parse_time(until)?, i64::from(*origin));
                Ok(Some(HistorySpan { last, last_origin, sightings: *sightings }))
            }
            _ => Err("a span has until, last_origin and sightings".into()),
        }
    }

    fn times(&self) -> Result<HistoryCount, String> {
        let (count, nth) = (self.count.unwrap_or(1), self.nth.unwrap_or(1));
        HistoryCount { count, nth, before: self.before.unwrap_or(0) }.check()
    }

    fn sighting(&self) -> Result<HistorySighting, String> {
        let Fields { mac: Some(mac), ip: Some(ip), origin: Some(origin), .. } = self else {
            return Err("it has no mac, no ip or no origin".into());
        };
        if self.name_source.is_some() {
            return Err("a sighting has no name_source".into());
        }
        if self.lines_added.is_some() || self.lines_removed.is_some() {
            return Err("a sighting has no lines_added and no lines_removed".into());
        }
        if !ORIGINS.contains(&i64::from(*origin)) {
            return Err(format!("origin is 0 to {}", ORIGINS.end()));
        }
        let mac: MacAddr = mac.parse()?;
        let source: Option<MacAddr> = self.source.as_deref().map(str::parse).transpose()?;
        let sighting = HistorySighting {
            place: self.place()?,
            time: self.time()?,
            mac,
            ip: *ip,
            source: source.filter(|source| *source != mac),
            origin: i64::from(*origin),
            times: self.times()?,
            span: self.span()?,
        };
        sighting.span.map_or(Ok(()), |span| span.check(&sighting))?;
        Ok(sighting)
    }

    fn name(&self) -> Result<HistoryName, String> {
        let Fields {
            mac: Some(mac),
            claimed_name: Some(name),
            name_source: Some(source),
            until: Some(until),
            sightings: Some(uses),
            ip: None,
            origin: None,
            user: None,
            ..
        } = self
        else {
            return Err(
                "a name has mac, name_source, until and sightings, and no ip, origin and user"
                    .into(),
            );
        };
        let source = NameSource::from_number((*source).into());
        let source =
            source.ok_or_else(|| format!("name_source is 1 to {}", NameSource::ALL.len()))?;
        let name = name.clone().into_owned();
        let claimed = ClaimedName { source, name, first: self.time()?, last: parse_time(until)? };
        let name = HistoryName { place: self.place()?, mac: mac.parse()?, claimed, uses: *uses };
        name.check().map(|()| name).map_err(str::to_owned)
    }

    fn change(&self) -> Result<HistoryChange, String> {
        let Fields {
            user: Some(user), lines_added: Some(added), lines_removed: Some(removed), ..
        } = self
        else {
            return Err("it has no lines_added or no lines_removed".into());
        };
        if self.span()?.is_some() {
            return Err("a configuration change is no span".into());
        }
        if self.mac.is_some() || self.ip.is_some() || self.origin.is_some() {
            return Err("a configuration change has no mac, no ip and no origin".into());
        }
        if user.len() > MAX_USER {
            return Err(format!("its user has more than {MAX_USER} bytes"));
        }
        let user = user.clone().into_owned();
        let (added, removed) = (*added, *removed);
        let (place, time, times) = (self.place()?, self.time()?, self.times()?);
        Ok(HistoryChange { place, time, user, added, removed, times })
    }
}

/// A time as lines have it.
fn text(time: UnixTime) -> Option<String> {
    Some(Timestamp::from_nanosecond(time.as_nanos().into()).ok()?.to_string())
}

fn parse_time(text: &str) -> Result<UnixTime, String> {
    let time: Timestamp = text.parse().map_err(|_| "its time is not of the form of RFC 3339")?;
    let nanos = i64::try_from(time.as_nanosecond()).ok();
    nanos.map(UnixTime::from_nanos).ok_or_else(|| "its time is out of range".into())
}

fn within(range: &RangeInclusive<i64>, number: i64) -> Option<i32> {
    i32::try_from(number).ok().filter(|_| range.contains(&number))
}

#[cfg(test)]
mod tests;

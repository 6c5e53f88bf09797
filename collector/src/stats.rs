//! `--stats`: the state of a collector, read from its ring's header.

use std::io::{self, Write};

use aw_service::{UserAccount, count_of, warn};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};
use shm_layout::{
    AttachError, Counter, InterfaceCounters, Kills, NameCounter, NamesReader, NeighborView, Reader,
    Start, UnixTime,
};

use crate::{
    Error, failed,
    options::{DEFAULT_USER, Format, Options},
};

/// Prints the header's contents.
pub fn print(options: &Options) -> Result<(), Error> {
    let ring = &options.ring;
    let owner = match &options.service.user {
        Some(user) => Some(UserAccount::find(user)?),
        None => UserAccount::named(DEFAULT_USER),
    };
    let owner: Vec<u32> = owner.iter().map(|user| user.uid.as_raw()).collect();
    let reader = Reader::attach_to(ring, &owner, Start::Now)
        .map_err(|error| match error {
            AttachError::Foreign(user) => failed(format_args!(
                "read ring {ring}: it belongs to user id {user} (if that is the collector's user, name it with -u)"
            )),
            _ => failed(format_args!("read ring {ring}: {error}")),
        })?;
    // Not there without --names; of an earlier collector if it has another writer.
    let names = match NamesReader::attach_to(&ring.names(), &owner, Start::Now) {
        Ok(names) if names.writer() == reader.writer() => names.counters(),
        Ok(_) | Err(AttachError::Missing) => Vec::new(),
        Err(error) => {
            warn(format_args!("read ring {}: {error}", ring.names()));
            Vec::new()
        }
    };
    let text = match options.format {
        Format::Text => text(&reader, UnixTime::now()) + &names_text(&names),
        Format::Json => format!("{}\n", json(&reader, &names)),
    };
    io::stdout().write_all(text.as_bytes()).map_err(|error| Error::write("standard output", error))
}

/// A line for each value; counters that are zero are omitted, except those always shown.
fn text(reader: &Reader, now: UnixTime) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: &str| text += &format!("{what:<22} {value}\n");
    line("ring", reader.name().as_str());
    line("host", &reader.host());
    let silent =
        now.as_nanos().saturating_sub(reader.heartbeat().as_nanos()).max(0) / 1_000_000_000;
    line(
        "collector",
        &match reader.writer() {
            Some(process) => format!("process {process}, last heartbeat {silent} s ago"),
            None => format!("ended {silent} s ago"),
        },
    );
    line("since", &date(reader.created()));
    let kills = reader.kills();
    if kills.number > 0 {
        let times = count_of(kills.number, "time", "times");
        let recent = kills.recent();
        let of_hour = match recent.first() {
            None => "none within the last hour".into(),
            Some(newest) => format!(
                "within the last hour {}; started again {} s ago",
                Kills::times(recent),
                newest.ago.as_secs()
            ),
        };
        line("killed or crashed", &format!("{times} in all, {of_hour}"));
    }
    if let Some((number, last)) = reader.cuts() {
        let times = count_of(number, "time", "times");
        line("truncated", &format!("{times}, last {}: the counters begin there", date(last)));
    }
    line("slots", &reader.slots().to_string());
    line("events", &reader.published().to_string());
    for counters in reader.counters() {
        line("interface", counters.name.as_str());
        for counter in shown(&counters) {
            line(&format!("  {}", counter.name()), &counters.get(counter).to_string());
        }
        if let Some(header) = counters.hidden_by {
            line("  hidden by", &header.to_string());
        }
        if let Some(last) = last_broadcast(reader, &counters) {
            line("  last broadcast", &date(last));
        }
        for view in reader.neighbors().iter().filter(|view| view.interface == counters.name) {
            let NeighborView { is_hidden, awake, answered, queries, .. } = view;
            let state = if *is_hidden { "may be hidden" } else { "arrives" };
            let numbers = format!("{answered} of {awake} hosts answered {queries} queries");
            line("  neighbor discovery", &format!("{state} on {}: {numbers}", view.network()));
        }
    }
    text
}

/// The same of the ring of names.
fn names_text(names: &[InterfaceCounters]) -> String {
    let mut text = String::new();
    for counters in names {
        text += &format!("{:<22} {}\n", "names on", counters.name);
        for counter in NameCounter::ALL.iter().filter(|counter| counters.get(**counter) > 0) {
            text += &format!("  {:<20} {}\n", counter.name(), counters.get(*counter));
        }
    }
    text
}

fn shown(counters: &InterfaceCounters) -> impl Iterator<Item = Counter> + use<'_> {
    let always = [Counter::Seen, Counter::KernelDropped, Counter::Published];
    let shown = move |counter: &&Counter| always.contains(counter) || counters.get(**counter) > 0;
    Counter::ALL.iter().filter(shown).copied()
}

/// When the last ARP broadcast of another host arrived.
fn last_broadcast(reader: &Reader, counters: &InterfaceCounters) -> Option<UnixTime> {
    let all = reader.broadcasts().into_iter();
    all.filter(|(name, ..)| *name == counters.name).find_map(|(.., last)| last)
}

/// Date and time in the machine's time zone.
fn date(time: UnixTime) -> String {
    let time = Timestamp::from_nanosecond(time.as_nanos().into()).unwrap_or_default();
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// All counters, times in seconds since 1970.
fn json(reader: &Reader, names: &[InterfaceCounters]) -> Value {
    let interface = |interface: &InterfaceCounters| {
        let counter = |counter: &Counter| (counter.name().into(), interface.get(*counter).into());
        let counters: Map<String, Value> = Counter::ALL.iter().map(counter).collect();
        let hidden_by = interface.hidden_by.map(|header| header.to_string());
        let last_broadcast = last_broadcast(reader, interface).map(UnixTime::seconds);
        let neighbors = reader.neighbors().into_iter();
        let neighbors = neighbors.filter(|view| view.interface == interface.name).map(|view| {
            let NeighborView { is_hidden, awake, answered, queries, .. } = view;
            json!({
                "network": view.network(), "hidden": is_hidden, "awake": awake, "answered": answered,
                "queries": queries,
            })
        });
        json!({
            "interface": interface.name.as_str(), "counters": counters, "hidden_by": hidden_by,
            "last_broadcast": last_broadcast, "neighbors": neighbors.collect::<Vec<_>>(),
        })
    };
    let of_names = |interface: &InterfaceCounters| {
        let counter =
            |counter: &NameCounter| (counter.name().into(), interface.get(*counter).into());
        let counters: Map<String, Value> = NameCounter::ALL.iter().map(counter).collect();
        json!({ "interface": interface.name.as_str(), "counters": counters })
    };
    let kills = reader.kills();
    json!({
        "ring": reader.name().as_str(),
        "host": reader.host(),
        "generation": format!("{:016x}", reader.generation()),
        "created": reader.created().seconds(),
        "truncations": reader.cuts().map_or(0, |(number, _)| number),
        "counters_since": reader.cuts().map_or(reader.created(), |(_, last)| last).seconds(),
        "process": reader.writer(),
        "heartbeat": reader.heartbeat().seconds(),
        "kills": kills.number,
        "kills_last_hour": kills.recent().len(),
        "slots": reader.slots(),
        "events": reader.published(),
        "interfaces": reader.counters().iter().map(interface).collect::<Vec<_>>(),
        "names": names.iter().map(of_names).collect::<Vec<_>>(),
    })
}

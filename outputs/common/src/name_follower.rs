//! Reads rings of names beside the rings of events, for a program that stores both: it saves a position in each, and looks for
//! records when it wakes up anyway. A ring that is missing is none that should be there: names are off by default.

use std::time::{Duration, Instant};

use aw_service::{Condition, Error};
use shm_layout::{
    AttachError, InterfaceName, NameCounter, NameRecord, NamesReader, NextOf, Position, RingName,
    Start,
};

use crate::{Checkpoint, Plan, RingOptions, StartFrom, name_rings::NameRing, source::attach_fault};

/// Follows the rings of names that lie beside the rings of a program's options.
pub struct NameFollower {
    owners: Vec<u32>,
    resumes: bool,
    rings: Vec<SavedRing>,
}

/// A record of names, with where it is from.
#[derive(Clone, Copy, Debug)]
pub struct NameEntry<'a> {
    /// The ring of events beside which its ring lies.
    pub ring: &'a RingName,
    /// The host of the collector.
    pub host: &'a str,
    /// The record.
    pub record: NameRecord,
}

/// What is missing among the records of a ring of names.
#[derive(Clone, Debug)]
pub struct NameLosses {
    /// Of the stream.
    pub generation: u64,
    /// Records that were overwritten before they were read.
    pub lost: u64,
    /// Messages of a flood that the collector did not store, of each interface.
    pub limited: Vec<(InterfaceName, u64)>,
}

struct SavedRing {
    events: RingName,
    ring: NameRing,
    host: String,
    /// With what was read.
    checkpoint: Option<Checkpoint>,
    /// As it is stored.
    saved: Option<Checkpoint>,
    denied: Condition,
    /// It was looked for.
    is_asked: bool,
    was_there: bool,
    /// A record that was read, and is not to be passed on yet.
    ahead: Option<(Position, NameRecord)>,
    /// Since when it cannot be read, and why: it cannot be opened, or records of it were read before and it is gone.
    stopped: Option<(Instant, String)>,
}

impl SavedRing {
    fn attach(&mut self, owners: &[u32]) {
        self.is_asked = true;
        let attached = self.ring.try_attach(owners);
        let name = &self.ring.name;
        let why = match attached {
            Ok(()) => {
                self.denied.ends(format_args!("ring {name} can be read"));
                None
            }
            Err(AttachError::Missing | AttachError::Cut) => {
                let why = "its collector records names no longer (start it with --names)";
                self.saved.is_some().then(|| why.to_owned())
            }
            Err(error) => {
                let why = format!("open ring {name}: {}", attach_fault(&error));
                self.denied.begins(format_args!("{why}: names are not read"));
                Some(why)
            }
        };
        let since = self.stopped.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        self.stopped = why.map(|why| (since, why));
        let Some(reader) = &self.ring.reader else { return };
        (self.host, self.was_there) = (reader.host(), true);
        let at = reader.position();
        // Another generation, or a position that it does not have.
        if self.checkpoint.is_none_or(|known| known.position() != at) {
            self.checkpoint = Some(Checkpoint::begin(at));
        }
        self.saved = self.saved.or(self.checkpoint);
    }
}

impl NameFollower {
    /// Of the rings of these options. Nothing is opened yet.
    pub fn new(options: &RingOptions, plan: &Plan) -> Result<NameFollower, Error> {
        let from = options.start(plan);
        let start = if from == StartFrom::Now { Start::Now } else { Start::Oldest };
        let mut events = options.rings.clone();
        events.sort_unstable();
        events.dedup();
        let of = |events: RingName| SavedRing {
            ring: NameRing::new(events.names(), start),
            events,
            host: String::new(),
            checkpoint: None,
            saved: None,
            denied: Condition::default(),
            is_asked: false,
            was_there: false,
            ahead: None,
            stopped: None,
        };
        let rings = events.into_iter().map(of).collect();
        Ok(NameFollower { owners: options.owners()?, resumes: from == StartFrom::Resume, rings })
    }

    /// Goes back to what is saved: to be called when the destination is opened, which has forgotten what it had not committed. `load`
    /// returns the saved checkpoint of a ring of names; it is asked until one is known.
    pub fn resume<E>(
        &mut self,
        mut load: impl FnMut(&RingName) -> Result<Option<Checkpoint>, E>,
    ) -> Result<(), E> {
        for one in &mut self.rings {
            if self.resumes && one.saved.is_none() {
                one.saved = load(&one.ring.name)?;
            }
            if let Some(saved) = one.saved.filter(|_| one.checkpoint != one.saved) {
                one.checkpoint = one.saved;
                (one.ring.reader, one.ring.start) = (None, Start::At(saved.position()));
                (one.is_asked, one.ahead) = (false, None);
            }
        }
        Ok(())
    }

    /// Whether a ring of names is read now.
    pub fn is_reading(&self) -> bool {
        self.rings.iter().any(|one| one.ring.reader.is_some())
    }

    /// Whether there is a ring of names, or was one in this run.
    pub fn is_there(&self) -> bool {
        let is_there = |one: &SavedRing| one.was_there || one.ring.name.path().exists();
        self.rings.iter().any(is_there)
    }

    /// Opens the rings that were not looked for yet.
    pub fn open(&mut self) {
        let new = self.rings.iter_mut().filter(|one| !one.is_asked);
        new.for_each(|one| one.attach(&self.owners));
    }

    /// Passes on what is there, at most so many records; returns whether that was all.
    pub fn read(&mut self, most: usize, take: impl FnMut(&NameEntry)) -> bool {
        self.read_while(most, |_| true, take)
    }

    /// The same, of each ring up to the first record that is not due: it is passed on once it is. Returns whether nothing is left.
    pub fn read_while(
        &mut self,
        most: usize,
        mut is_due: impl FnMut(&NameRecord) -> bool,
        mut take: impl FnMut(&NameEntry),
    ) -> bool {
        let mut all_read = true;
        for one in &mut self.rings {
            if one.ring.reader.is_none() && (!one.is_asked || one.ring.is_over()) {
                one.attach(&self.owners);
            }
            let mut left = most;
            while left > 0 {
                let ahead = one.ahead.take();
                let ahead = ahead.map(|(at, record)| (at, NextOf::Event(at.sequence, record)));
                let Some((at, next)) = ahead.or_else(|| one.ring.next()) else { break };
                left -= 1;
                let checkpoint = one.checkpoint.get_or_insert_with(|| Checkpoint::begin(at));
                match next {
                    NextOf::Event(_, record) if !is_due(&record) => {
                        one.ahead = Some((at, record));
                        left = 0;
                    }
                    NextOf::Event(_, record) => {
                        checkpoint.delivered += 1;
                        take(&NameEntry { ring: &one.events, host: &one.host, record });
                    }
                    NextOf::Unknown(..) => checkpoint.skipped += 1,
                    NextOf::Lapped { lost } => checkpoint.lost += lost,
                    NextOf::Empty => {}
                }
            }
            all_read &= left > 0;
            if left > 0 && one.ring.reader.is_some() && one.ring.is_over() {
                one.attach(&self.owners);
            }
        }
        all_read
    }

    /// The checkpoints that are not saved yet, with the names of their rings: to be stored with what was read.
    pub fn unsaved(&self) -> impl Iterator<Item = (&RingName, Checkpoint)> {
        let is_new = |one: &&SavedRing| one.checkpoint != one.saved;
        let unsaved = self.rings.iter().filter(is_new);
        unsaved.filter_map(|one| Some((&one.ring.name, one.checkpoint?)))
    }

    /// To be called once they are committed.
    pub fn saved(&mut self) {
        self.rings.iter_mut().for_each(|one| one.saved = one.checkpoint);
    }

    /// Passes on what the rings have, without a change of the positions.
    pub fn held(&self, mut take: impl FnMut(&NameRecord)) {
        for one in &self.rings {
            let reader = NamesReader::attach_to(&one.ring.name, &self.owners, Start::Oldest);
            let Ok(mut reader) = reader else { continue };
            loop {
                match reader.next() {
                    NextOf::Event(_, record) => take(&record),
                    NextOf::Empty => break,
                    NextOf::Unknown(..) | NextOf::Lapped { .. } => {}
                }
            }
        }
    }

    /// The time without names beside this ring counts from now on: no collector runs.
    pub fn wait(&mut self, events: &RingName) {
        let of_ring = self.rings.iter_mut().filter(|one| one.events == *events);
        let stopped = of_ring.filter_map(|one| one.stopped.as_mut());
        stopped.for_each(|(since, _)| *since = Instant::now());
    }

    /// Why the names beside a ring of events cannot be read, for so long: none if there never were any.
    pub fn stopped(&self, events: &RingName, longer: Duration) -> Option<&str> {
        let one = self.rings.iter().find(|one| one.events == *events)?;
        let (since, why) = one.stopped.as_ref()?;
        (since.elapsed() >= longer).then_some(why)
    }

    /// What is missing among the names beside a ring of events; none if there are no names, or if the ring was truncated.
    pub fn losses(&self, events: &RingName) -> Option<NameLosses> {
        let one = self.rings.iter().find(|one| one.events == *events)?;
        let (reader, checkpoint) = (one.ring.reader.as_ref()?, one.checkpoint?);
        let counters = reader.counters().into_iter();
        let limited = counters.map(|one| (one.name, one.get(NameCounter::Limited))).collect();
        let losses =
            NameLosses { generation: checkpoint.generation, lost: checkpoint.lost, limited };
        (!reader.is_cut()).then_some(losses)
    }

    /// Logs what became of the records, of each ring that was there.
    pub fn log(&self) {
        self.rings.iter().filter(|one| one.was_there).for_each(|one| one.ring.log());
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use shm_layout::{NameKind, NameText, NamesWriter, UnixTime, WriterOptions};

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        rings: RingOptions,
    }

    /// What is not committed is read again; a position is of one generation; what was overwritten is counted.
    #[test]
    fn positions_of_names() {
        let events: RingName = format!("/aw-test-names-{}", std::process::id()).parse().unwrap();
        let options = Options::parse_from(["test", "--ring", events.as_str()]).rings;
        let new = || NameFollower::new(&options, &Plan::default()).unwrap();
        let write = |range: std::ops::Range<u32>| {
            let (name, slots) = (events.names(), 64);
            let options = WriterOptions { name, slots, group: None, host: None };
            let mut writer = NamesWriter::create(&options).unwrap();
            let interface = writer.interface("eth0".parse().unwrap());
            for number in range {
                let (kind, time) = (NameKind::MdnsHost, UnixTime::new(i64::from(number), 0));
                let mut record = NameRecord::new(kind, time, "eth0".parse().unwrap());
                record.name = NameText::cut(&number.to_string());
                writer.publish(interface, &record);
            }
        };
        let read = |follower: &mut NameFollower| {
            let mut found = Vec::new();
            while !follower.read(3, |entry| found.push(entry.record.name.to_string())) {}
            found
        };
        let resume = |follower: &mut NameFollower, saved: Option<Checkpoint>| {
            follower.resume(|name| {
                assert_eq!(*name, events.names());
                Ok::<_, ()>(saved)
            })
        };
        let counts = |follower: &NameFollower| {
            let all = follower.unsaved().map(|(_, one)| [one.delivered, one.lost]);
            all.collect::<Vec<_>>()
        };
        let mut follower = new();
        resume(&mut follower, None).unwrap();
        assert!(read(&mut follower).is_empty() && counts(&follower).is_empty(), "no ring");
        write(0..4);
        let mut follower = new();
        resume(&mut follower, None).unwrap();
        assert_eq!(read(&mut follower), ["0", "1", "2", "3"]);
        assert_eq!(counts(&follower), [[4, 0]]);
        resume(&mut follower, None).unwrap();
        assert_eq!(read(&mut follower).len(), 4, "it was not committed");
        let (_, saved) = follower.unsaved().next().unwrap();
        follower.saved();
        resume(&mut follower, None).unwrap();
        assert!(read(&mut follower).is_empty() && counts(&follower).is_empty());
        write(4..5);
        let mut follower = new(); // after a restart
        resume(&mut follower, Some(saved)).unwrap();
        assert_eq!(read(&mut follower), ["4"]);
        assert_eq!(counts(&follower), [[5, 0]]);
        write(5..105);
        let mut follower = new();
        resume(&mut follower, Some(saved)).unwrap();
        let found = read(&mut follower);
        let [[delivered, lost]] = counts(&follower)[..] else { panic!("one ring") };
        assert_eq!((found.len() as u64 + 4, delivered + lost), (delivered, 105));
        assert!(lost > 0 && found.last().unwrap() == "104");
        std::fs::remove_file(events.names().path()).unwrap();
        write(7..9); // another generation
        let mut follower = new();
        resume(&mut follower, Some(saved)).unwrap();
        assert_eq!(read(&mut follower), ["7", "8"]);
        assert_eq!(counts(&follower), [[2, 0]]);
        // Up to a record that is not due yet: that one is not committed, and is passed on later.
        follower.saved();
        write(20..24);
        let due = |follower: &mut NameFollower, until| {
            let mut found = Vec::new();
            let is_due = |record: &NameRecord| record.time <= UnixTime::new(until, 0);
            let all =
                follower.read_while(9, is_due, |entry| found.push(entry.record.name.to_string()));
            (found.join(" "), all, follower.rings[0].checkpoint.unwrap().delivered)
        };
        assert_eq!(due(&mut follower, 21), ("20 21".into(), false, 4));
        assert_eq!(due(&mut follower, 21), (String::new(), false, 4));
        resume(&mut follower, None).unwrap();
        assert_eq!(due(&mut follower, 21), ("20 21".into(), false, 4), "it was not committed");
        follower.saved();
        resume(&mut follower, None).unwrap();
        assert_eq!(due(&mut follower, 22), ("22".into(), false, 5));
        assert_eq!(due(&mut follower, 99), ("23".into(), true, 6));
        // It is gone, which is a fault only if it was read before.
        assert_eq!(follower.stopped(&events, Duration::ZERO), None);
        std::fs::remove_file(events.names().path()).unwrap();
        for (saved, is_stopped) in [(Some(saved), true), (None, false)] {
            let mut follower = new();
            resume(&mut follower, saved).unwrap();
            follower.open();
            let why = follower.stopped(&events, Duration::ZERO);
            assert_eq!(why.is_some_and(|why| why.contains("--names")), is_stopped);
            assert_eq!(follower.stopped(&events, Duration::MAX), None, "not for so long");
        }
        let _ = std::fs::remove_file(format!("{}.lock", events.names().path().display()));
    }
}

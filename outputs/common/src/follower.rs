//! Reads rings for a program that is no output: it begins with what is new, and saves no position.

use std::time::Duration;

use aw_service::{Condition, Error};
use shm_layout::{Reader, RingName, UnixTime, wait_any};

use crate::{
    Entry, StartFrom, checkpoint::ItemKind, follow::next_item, host_of, ring_health::RingHealth,
    ring_watch::RingWatch, source::Source,
};

/// Rings that are read across restarts of their collectors, changes of their size and their removal.
pub struct RingFollower<'a> {
    rings: &'a [RingName],
    sources: Vec<Source<'a>>,
    /// Of each ring: why it cannot be read, although it is there.
    denied: Vec<(Condition, Option<String>)>,
    /// Of each ring, the host of its collector, and the generation in which it was read.
    hosts: Vec<Option<(u64, String)>>,
    watch: Option<RingWatch>,
    since: UnixTime,
}

/// What is read of a ring.
#[derive(Clone, Copy, Debug)]
pub enum Followed<'a> {
    /// An event.
    Event(Entry<'a>),
    /// So many events were overwritten before they were read.
    Lost(&'a RingName, u64),
}

/// Looks for missing rings from now on: before system calls are restricted.
pub struct RingWatcher(Option<RingWatch>);

impl RingWatcher {
    /// Of these rings.
    pub fn begin(rings: &[RingName]) -> RingWatcher {
        RingWatcher(RingWatch::begin(rings))
    }
}

impl<'a> RingFollower<'a> {
    /// Begins with what is new. A ring that does not exist, or cannot be read, is looked for again.
    pub fn new(rings: &'a [RingName], owners: &'a [u32], watcher: RingWatcher) -> Self {
        let of = |ring| Source::new(ring, owners, (false, false), StartFrom::Now, None);
        let mut follower = RingFollower {
            rings,
            sources: rings.iter().map(of).collect(),
            denied: rings.iter().map(|_| Default::default()).collect(),
            hosts: vec![None; rings.len()],
            watch: watcher.0,
            since: UnixTime::now(),
        };
        for at in 0..rings.len() {
            let attached = follower.sources[at].attach();
            follower.note(at, attached);
        }
        follower
    }

    fn note(&mut self, at: usize, attached: Result<(), Error>) {
        let (condition, why) = &mut self.denied[at];
        match attached {
            Ok(()) => {
                condition.ends(format_args!("ring {} can be read again", self.rings[at]));
                *why = None;
            }
            Err(error) => {
                condition.begins(&error);
                *why = Some(error.to_string());
            }
        }
    }

    /// Passes on what is there, the oldest first and at most so many; returns whether there is nothing more to read.
    pub fn read(&mut self, most: usize, mut take: impl FnMut(Followed)) -> bool {
        for _ in 0..most {
            let Some((at, item)) = next_item(&mut self.sources) else {
                self.look();
                return true;
            };
            let ring = &self.rings[at];
            match item.kind {
                ItemKind::Event(event) => {
                    let known = self.hosts[at].take();
                    let known = known.filter(|(generation, _)| *generation == item.at.generation);
                    let (_, host) = self.hosts[at]
                        .insert(known.unwrap_or_else(|| (item.at.generation, host_of(ring))));
                    take(Followed::Event(Entry { ring, host, position: item.at, event }));
                }
                ItemKind::Lost(number) => take(Followed::Lost(ring, number)),
                ItemKind::Start | ItemKind::Restart | ItemKind::Skipped | ItemKind::Message => {}
            }
        }
        false
    }

    /// Looks for missing rings, and for ones that replaced others.
    fn look(&mut self) {
        let is_missing = self.sources.iter().any(|source| source.reader.is_none());
        let watch = self.watch.as_mut().filter(|_| is_missing);
        let is_new = watch.is_some_and(RingWatch::take_news);
        for at in 0..self.sources.len() {
            let source = &mut self.sources[at];
            source.check_heartbeat();
            match source.follow_replacement(is_new) {
                Ok(false) => {}
                attached => self.note(at, attached.map(drop)),
            }
        }
    }

    /// Sleeps until there may be something to read, or the time is over.
    pub fn wait(&mut self, timeout: Duration) {
        let readers: Vec<&Reader> = self.sources.iter().filter_map(|s| s.reader.as_ref()).collect();
        match &mut self.watch {
            Some(watch) if readers.is_empty() => watch.wait(timeout),
            Some(watch) if readers.len() < self.rings.len() => {
                wait_any(&readers, timeout.min(watch.pause()));
            }
            _ => wait_any(&readers, timeout),
        }
    }

    /// How all rings are.
    pub fn health(&self) -> Vec<RingHealth> {
        let all = self.sources.iter().zip(&self.denied);
        let of = |(source, (_, denied)): (&Source, &(_, Option<String>))| {
            let state = source.state(None, None);
            RingHealth::of(source.reader.as_ref(), state, self.since, denied.clone())
        };
        all.map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use shm_layout::{Event, Writer, WriterOptions};

    use super::*;
    use crate::spool::tests::EVENT;

    /// A ring that is not there, that comes, goes, and comes back: each event once, and none from before.
    #[test]
    fn a_ring_that_comes_and_goes() {
        let name: RingName = format!("/aw-test-follow-{}", std::process::id()).parse().unwrap();
        let rings = [name.clone()];
        let watcher = RingWatcher::begin(&rings);
        let mut follower = RingFollower::new(&rings, &[], watcher);
        let read = |follower: &mut RingFollower, wanted: usize| {
            let mut events = 0;
            while events < wanted {
                let all_read = follower.read(2, |followed| match followed {
                    Followed::Event(entry) => {
                        assert_eq!(*entry.ring, name);
                        events += 1;
                    }
                    Followed::Lost(..) => panic!("lost"),
                });
                if all_read {
                    follower.wait(Duration::from_millis(100));
                }
            }
            assert!(follower.read(100, |_| panic!("no more")));
        };
        assert!(follower.read(100, |_| panic!("there is no ring")));
        assert!(follower.health()[0].generation.is_none());
        let event = Event::from_bytes(&EVENT).unwrap();
        for round in 1..=2 {
            let options = WriterOptions { name: name.clone(), slots: 64, group: None, host: None };
            let mut writer = Writer::create(&options).unwrap();
            let interface = writer.interface(event.interface);
            (0..round).for_each(|_| writer.publish(interface, &event));
            read(&mut follower, round);
            let health = &follower.health()[0];
            assert_eq!((health.published, health.slots), (round as u64, 64));
            drop(writer);
            std::fs::remove_file(name.path()).unwrap();
        }
        let _ = std::fs::remove_file(format!("{}.lock", name.path().display()));
    }
}

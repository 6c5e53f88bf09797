//! The output: events into the memory, reports through filters and gates into the queue of each channel, and the queues to
//! the process that speaks. A transaction holds an event's place, what it changed, and what is to be told of it.

use std::{
    collections::VecDeque,
    io::Write,
    time::{Duration, Instant},
};

use aw_notify::Failure;
use aw_output::{Checkpoint, CheckpointStore, Entry, Error, Result, Sink, info, warn};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use shm_layout::{MacAddr, RingName, UnixTime};

use crate::{
    config::Config,
    gate::{Gate, Limit},
    hours::Outside,
    report::{Message, Report},
    speaker::{Answer, Job, Speaker},
    store::Store,
    watch::{Dialect, Rules},
};

/// Messages that wait for a channel, or that it refused, at most; beyond, reports gather in its digest until it is back.
const MOST_WAITING: u64 = 1000;
/// Pauses between two tries.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How often the others are told that a channel fails, at most.
const HOUR: Duration = Duration::from_secs(3600);
/// How long the end waits for channels: of `--once`, and of a signal.
const PATIENCE: Duration = Duration::from_secs(60);
const HURRY: Duration = Duration::from_secs(2);

pub struct Alerts {
    pub config: Config,
    pub rules: Rules,
    pub store: Store,
    pub speaker: Option<Speaker>,
    pub print: bool,
    pub once: bool,
    /// Since when it listens.
    began: i64,
    /// Seconds to learn in silence, from the first event on.
    pub learn: Option<i64>,
    learns_until: Option<i64>,
    lanes: Vec<Lane>,
    lines: Vec<String>,
    /// Printed, but not committed: their events come once more, and they are not to be printed again.
    printed: Vec<String>,
    /// What was done last could not be committed.
    failed: bool,
    zone: TimeZone,
}

/// A channel's state.
struct Lane {
    gate: Gate,
    changed: bool,
    /// The message that the speaker has.
    busy: Option<i64>,
    /// Since it fails: when to try again, and the pause before that.
    retry: Option<(Instant, Duration)>,
    /// It refused the last message.
    refuses: bool,
    /// Too many wait.
    full: bool,
    /// It is one of its hours.
    open: bool,
    /// When the others were told that it fails.
    told: Option<Instant>,
}

impl Lane {
    fn new(gate: Gate) -> Lane {
        Lane {
            gate,
            changed: false,
            busy: None,
            retry: None,
            refuses: false,
            full: false,
            open: true,
            told: None,
        }
    }
}

impl Alerts {
    pub fn new(
        config: Config,
        mut rules: Rules,
        mut store: Store,
        speaker: Option<Speaker>,
    ) -> Result<Alerts> {
        let mut lanes = Vec::new();
        for channel in &config.channel {
            let gate = store.gate(&channel.name)?;
            lanes.push(Lane::new(gate));
        }
        // What was imported, unless the configuration says otherwise.
        let mut names = store.names()?;
        names.append(&mut rules.known);
        rules.known = names;
        let learns_until = store.note("learns until")?;
        for (channel, messages) in store.channels()? {
            if !config.channel.iter().any(|other| other.name == channel) {
                warn(format_args!(
                    "{messages} messages wait for channel {channel}, which the configuration does not have"
                ));
            }
        }
        store.commit()?;
        Ok(Alerts {
            config,
            rules,
            store,
            speaker,
            print: false,
            once: false,
            began: UnixTime::now().seconds(),
            learn: None,
            learns_until,
            lanes,
            lines: Vec::new(),
            printed: Vec::new(),
            failed: false,
            zone: TimeZone::system(),
        })
    }

    /// Takes a report to all who want it.
    fn tell(&mut self, report: &Report, now: i64) -> Result {
        if self.config.mutes(report) {
            return Ok(());
        }
        let mut vendor = |mac: &str| match mac.parse::<MacAddr>().ok() {
            Some(mac) => self.store.vendor(mac),
            None => Ok(None),
        };
        let old_vendor = report.old_mac.as_deref().map_or(Ok(None), &mut vendor)?;
        let report = &Report { vendor: vendor(&report.mac)?, old_vendor, ..report.clone() };
        if self.print && self.is_printed(report) {
            self.lines.push(match self.rules.dialect {
                Dialect::Arpwatch => report.arpwatch_line(),
                Dialect::Devices => format!("{} {report}", report.time),
            });
        }
        let local = self.local(now);
        for (channel, lane) in self.config.channel.iter().zip(&mut self.lanes) {
            lane.open = channel.is_open(&local);
            let is_for_it = lane.open || channel.outside == Outside::Digest;
            if !is_for_it || !channel.wants(report, self.rules.dialect) {
                continue;
            }
            let mut limit = channel.limit();
            if lane.full || !lane.open {
                limit = Limit { burst: 0, ..limit };
            }
            lane.changed = true;
            if lane.gate.offer(report, now, limit) {
                let mut message = channel.message(report, &self.zone);
                if self.rules.dialect == Dialect::Arpwatch {
                    message.fields["message"] = report.arpwatch_line().into();
                }
                self.store.send(&channel.name, &message)?;
            }
        }
        Ok(())
    }

    /// By the clock on the wall.
    fn local(&self, seconds: i64) -> Zoned {
        Timestamp::from_second(seconds).unwrap_or_default().to_zoned(self.zone.clone())
    }

    fn is_printed(&self, report: &Report) -> bool {
        self.rules.dialect == Dialect::Arpwatch
            || crate::report::Kind::DEFAULT.contains(&report.kind)
    }

    /// Whether it still learns; the first event begins that.
    fn learns(&mut self, time: i64) -> Result<bool> {
        let until = match (self.learns_until, self.learn) {
            (Some(until), _) => until,
            (None, None) => return Ok(false),
            (None, Some(seconds)) => {
                let until = time.saturating_add(seconds);
                self.store.keep_note("learns until", until)?;
                *self.learns_until.insert(until)
            }
        };
        Ok(time < until)
    }

    /// What is due without an event: silence, digests, messages that wait, answers. `flush`: it is the end.
    fn chores(&mut self, flush: bool) -> Result {
        let now = UnixTime::now().seconds();
        self.hear_answers()?;
        let local = self.local(now);
        for (channel, lane) in self.config.channel.iter().zip(&mut self.lanes) {
            lane.open = channel.is_open(&local);
            let held = self.store.count(&channel.name)? + self.store.refused(&channel.name)?;
            lane.full = held >= MOST_WAITING;
            if lane.open
                && !lane.full
                && let Some(digest) = lane.gate.due(now, channel.limit(), flush)
            {
                lane.changed = true;
                self.store.send(&channel.name, &digest.message(&self.zone))?;
            }
            if std::mem::take(&mut lane.changed) {
                self.store.keep_gate(&channel.name, &lane.gate)?;
            }
        }
        Ok(())
    }

    /// Gives each channel that is free its oldest message. After a commit: what was not committed is not told.
    fn speak(&mut self) -> Result {
        let Some(speaker) = &mut self.speaker else { return Ok(()) };
        for (channel, lane) in self.config.channel.iter().zip(&mut self.lanes) {
            let free =
                lane.busy.is_none() && lane.retry.is_none_or(|(when, _)| when <= Instant::now());
            if lane.open
                && free
                && let Some((id, message)) = self.store.waiting(&channel.name)?
            {
                speaker.tell(&Job { id, channel: channel.name.clone(), message })?;
                lane.busy = Some(id);
            }
        }
        Ok(())
    }

    fn hear_answers(&mut self) -> Result {
        let mut answers = VecDeque::new();
        if let Some(speaker) = &mut self.speaker {
            while let Some(answer) = speaker.answer()? {
                answers.push_back(answer);
            }
        }
        for Answer { id, channel, failure } in answers {
            let names = self.config.channel.iter().map(|channel| &channel.name);
            let Some(index) = names.into_iter().position(|name| *name == channel) else { continue };
            let lane = &mut self.lanes[index];
            lane.busy = None;
            let (begins, why) = match failure {
                None => {
                    let failed = lane.retry.take().is_some() | std::mem::take(&mut lane.refuses);
                    if failed {
                        info(format_args!("channel {channel} works again"));
                    }
                    self.store.sent(id)?;
                    continue;
                }
                Some(Failure::Down(why)) => {
                    let [first, longest] = PAUSES;
                    let pause = lane.retry.map_or(first, |(_, last)| (last * 2).min(longest));
                    (lane.retry.replace((Instant::now() + pause, pause)).is_none(), why)
                }
                Some(Failure::Refused(why)) => {
                    lane.retry = None;
                    self.store.set_aside(id)?;
                    (!std::mem::replace(&mut lane.refuses, true), why)
                }
            };
            if begins {
                warn(format_args!("channel {channel}: {why}: keeping its messages"));
                // One that fails now and then is no news each time, and two such must not keep each other going.
                let lane = &mut self.lanes[index];
                if lane.told.is_none_or(|told| told.elapsed() >= HOUR) {
                    lane.told = Some(Instant::now());
                    self.tell_others(index, &why)?;
                }
            }
        }
        Ok(())
    }

    /// That a channel fails is told on those that work.
    fn tell_others(&mut self, failed: usize, why: &str) -> Result {
        let name = &self.config.channel[failed].name;
        let text = format!("channel {name} fails: {why}\n");
        let fields = serde_json::json!({
            "kind": "channel_fails", "channel": name, "message": text.trim_end(),
            "seconds": UnixTime::now().seconds(),
        });
        let message = Message { subject: format!("channel {name} fails"), text, fields };
        for (channel, lane) in self.config.channel.iter().zip(&self.lanes) {
            let silent = !lane.open && channel.outside == Outside::Ignore;
            if lane.retry.is_none() && !lane.refuses && !silent {
                self.store.send(&channel.name, &message)?;
            }
        }
        Ok(())
    }

    /// Whether a channel that works has something to send.
    fn has_more(&mut self) -> Result<bool> {
        for (channel, lane) in self.config.channel.iter().zip(&self.lanes) {
            let more = lane.open && lane.retry.is_none() && self.store.count(&channel.name)? > 0;
            if lane.busy.is_some() || more {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Prints before the commit: a kill between the two prints a line twice, and never none.
    fn print_and_commit(&mut self) -> Result {
        let same = |(new, old): &(&String, &String)| new == old;
        let again = self.lines.iter().zip(&self.printed).take_while(same).count();
        let mut out = std::io::stdout().lock();
        let mut new = self.lines[again..].iter();
        let printed = new.try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
        printed.map_err(|error| Error::write("standard output", error))?;
        if again < self.lines.len() {
            self.printed.clone_from(&self.lines);
        }
        self.store.commit()?;
        self.printed.drain(..self.lines.len().min(self.printed.len()));
        self.lines.clear();
        Ok(())
    }

    /// Where it failed, nothing since the last commit has happened: its events will come once more.
    fn or_take_back<T>(&mut self, done: Result<T>) -> Result<T> {
        self.failed = done.is_err();
        if self.failed {
            self.store.roll_back();
            self.lines.clear();
            self.learns_until = self.store.note("learns until")?;
            for (channel, lane) in self.config.channel.iter().zip(&mut self.lanes) {
                (lane.gate, lane.changed) = (self.store.gate(&channel.name)?, false);
            }
        }
        done
    }

    fn hear(&mut self, entry: &Entry) -> Result {
        let reports = self.rules.hear(&entry.event, &mut self.store)?;
        if self.learns(entry.event.time.seconds())? {
            return Ok(());
        }
        let now = UnixTime::now().seconds();
        reports.iter().try_for_each(|report| self.tell(report, now))
    }

    fn deliver(&mut self) -> Result {
        self.chores(false)?;
        self.print_and_commit()?;
        self.speak()
    }

    /// Who is silent now is silent, for all rings are read to their ends.
    fn tell_silent(&mut self) -> Result {
        let now = UnixTime::now().seconds();
        let learns = self.learns_until.is_some_and(|until| now < until);
        // An old capture's devices are not silent, they are of another time.
        if !self.once && !learns {
            for report in self.rules.silent(now, self.began, &mut self.store)? {
                self.tell(&report, now)?;
            }
        }
        self.deliver()
    }

    fn account(&mut self, ring: &RingName) -> Result<Option<Checkpoint>> {
        if self.failed {
            // It is not well again before something can be written.
            self.store.keep_note("tried", UnixTime::now().seconds())?;
        }
        let account = self.store.account(ring)?;
        self.store.commit().map(|()| account)
    }

    fn waiting(&mut self) -> Result<u64> {
        let mut waiting = 0;
        for channel in &self.config.channel {
            waiting += self.store.count(&channel.name)? + self.store.refused(&channel.name)?;
        }
        Ok(waiting)
    }
}

impl Sink for Alerts {
    fn write(&mut self, entry: &Entry) -> Result {
        let done = self.hear(entry);
        self.or_take_back(done)
    }

    fn flush(&mut self) -> Result {
        let done = self.deliver();
        self.or_take_back(done)
    }

    fn maintain(&mut self) -> Result<bool> {
        let done = self.tell_silent();
        self.or_take_back(done).map(|()| false)
    }

    fn close(&mut self) -> Result {
        let patience = if self.once { PATIENCE } else { HURRY };
        let end = Instant::now() + patience;
        self.chores(self.once)?;
        loop {
            self.flush()?;
            if self.speaker.is_none() || !self.has_more()? {
                break;
            }
            if Instant::now() >= end {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let waiting = self.waiting()?;
        self.store.write_down()?;
        self.store.commit()?;
        if let Some(speaker) = self.speaker.take() {
            speaker.finish(patience);
        }
        if waiting > 0 {
            info(format_args!("{waiting} messages wait to be sent"));
        }
        Ok(())
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        Some(self)
    }
}

impl CheckpointStore for Alerts {
    fn load(&mut self, ring: &RingName) -> Result<Option<Checkpoint>> {
        let account = self.account(ring);
        self.or_take_back(account)
    }

    fn store(&mut self, ring: &RingName, account: &Checkpoint) -> Result {
        let done = self.store.keep_account(ring, account);
        self.or_take_back(done)
    }
}

//! The sink: passes events to the rules, alerts through filters and rate gates into the queue of each channel, and queued
//! messages to the sender process. One transaction holds an event's checkpoint, the changes of the memory and the messages.

mod faults;
mod learned;
mod names;
mod rogues;
mod sending;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use aw_detect::{Alert, AlertKind, Dialect, Rules, past_time};
use aw_output::{
    Checkpoint, CheckpointStore, ClaimedNames, Entry, Episode, Fault, Faults, Look, NameFollower,
    QueueFile, RingState, Sink, SinkResult, info, this_host, warn,
};
use aw_service::{LineFile, count_of};
use jiff::tz::TimeZone;
use shm_layout::{InterfaceName, RingName, UnixTime};

use self::rogues::NAMES_INTERVAL;
use crate::{
    channel_queue::ChannelQueue,
    config::Config,
    config_file::ConfigFile,
    first_day::FirstDay,
    hours::Outside,
    learning::Learning,
    learning_periods::LearningPeriod,
    message_id::MessageIds,
    name_lists::NameLists,
    notification::{Notification, late, zoned},
    printer::Printer,
    priority::{Class, Priority},
    rate_gate::ChannelLimit,
    sender::SenderProcess,
    store::AlertStore,
};

/// Queued and refused messages of a channel, at most; above that, alerts go into its digest until there is room.
const MAX_QUEUED: u64 = 1000;
/// Important messages that are queued beyond that.
const MAX_URGENT: u64 = 100;
/// The id of a message that is not stored.
const UNSTORED: i64 = 0;
/// How long the end waits for channels: with `--once`, and after a signal.
const END_TIMEOUT_ONCE: Duration = Duration::from_secs(60);
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// A message says when its event was, if that is so many seconds ago when it is made.
const LATE: i64 = 60;
/// How long an event may wait unread behind those that wait for the commit: half of what a takeover may wait for.
const EVENTS_INTERVAL: Duration = Duration::from_millis(500);
/// How often it looks whether a message was sent, after which the next one of the queue follows.
const RESULT_INTERVAL: Duration = Duration::from_millis(100);

pub struct Dispatcher {
    config: Config,
    rules: Rules,
    store: AlertStore,
    sender: Option<SenderProcess>,
    message_ids: MessageIds,
    options: DispatchOptions,
    started: i64,
    learning: Learning,
    first_day: FirstDay,
    /// What is learned, as it was logged.
    periods: Vec<LearningPeriod>,
    /// When it was last looked for what is due without an event.
    last_due: Option<Instant>,
    /// When the rings of names were last read.
    last_names: Option<Instant>,
    faults: Faults,
    /// Whether the rings of names have more to read, and whether their positions are those of the database.
    names_left: bool,
    names_resumed: bool,
    /// The rings whose collectors run.
    running: BTreeSet<RingName>,
    /// Until when all events were read when nothing was left to read the last time.
    drained: UnixTime,
    /// What devices call themselves.
    claimed: ClaimedNames,
    /// Interfaces of events, by ring.
    places: BTreeMap<RingName, BTreeSet<InterfaceName>>,
    /// Names of `[[watch]]` that no device has, which is reported.
    unwatched: BTreeSet<String>,
    /// The state cannot be written.
    state_full: Episode,
    queues: Vec<ChannelQueue>,
    printer: Printer,
    /// What was reported and is not committed yet.
    reported: Vec<String>,
    /// Of what is not committed yet, something is to be sent alone.
    has_message: bool,
    /// Whether the last operation failed and was rolled back.
    failed: bool,
    zone: TimeZone,
}

/// Of the command line.
pub struct DispatchOptions {
    pub print: bool,
    pub once: bool,
    /// Seconds from the first event on without alerts; 0: neither these nor a first day.
    pub learn: Option<i64>,
    pub names: NameLists,
    /// The rings of names.
    pub followed: Option<NameFollower>,
    /// Of the configuration.
    pub config_file: ConfigFile,
    /// For aw-metrics.
    pub queue_file: QueueFile,
    /// What was reported, for aw-web.
    pub reported_file: LineFile,
}

impl Dispatcher {
    pub fn new(
        config: Config,
        rules: Rules,
        mut store: AlertStore,
        sender: Option<SenderProcess>,
        options: DispatchOptions,
    ) -> SinkResult<Dispatcher> {
        let gates = config.channel.iter().map(|channel| store.gate(&channel.name));
        let queues = gates.map(|gate| Ok(ChannelQueue::new(gate?))).collect::<SinkResult<_>>()?;
        let started = UnixTime::now().seconds();
        // One pass learns from the times of its events.
        let earliest = if options.once { i64::MIN } else { started };
        let learn = options.learn.filter(|seconds| *seconds > 0);
        let (learning, is_too_late) = Learning::of_option(learn, earliest, &mut store)?;
        let message_ids = MessageIds::new(&mut store)?;
        // arpwatch has none; and one pass over old events has no days.
        let begins = !options.once && rules.dialect == Dialect::Devices;
        let has_day = options.learn.is_none() || is_too_late;
        let first_day = FirstDay::load(has_day, begins, Instant::now(), &mut store)?;
        let faults = stored_faults(&mut store, options.once)?;
        for (channel, messages) in store.channels()? {
            if !config.channel.iter().any(|other| other.name == channel) {
                warn(format_args!(
                    "{} queued for channel {channel}, which the configuration does not have (add it again to send them; to drop them, stop aw-alert, and run: {})",
                    count_of(messages, "message is", "messages are"),
                    store.dropping(&channel)
                ));
            }
        }
        store.commit()?;
        let mut dispatcher = Dispatcher {
            config,
            rules,
            store,
            sender,
            message_ids,
            options,
            started,
            learning,
            first_day,
            periods: Vec::new(),
            last_due: None,
            last_names: None,
            faults,
            names_left: false,
            names_resumed: false,
            running: BTreeSet::new(),
            drained: UnixTime::new(0, 0),
            claimed: ClaimedNames::default(),
            places: BTreeMap::new(),
            unwatched: BTreeSet::new(),
            state_full: Episode::default(),
            queues,
            printer: Printer::default(),
            reported: Vec::new(),
            has_message: false,
            failed: false,
            zone: TimeZone::system(),
        };
        dispatcher.apply_names()?;
        dispatcher.end_learning()?;
        dispatcher.store.commit()?;
        dispatcher.options.names.follow();
        Ok(dispatcher)
    }

    fn observe_event(&mut self, entry: &Entry) -> SinkResult {
        let now = UnixTime::now();
        let time = past_time(entry.event.time, now).seconds();
        self.do_what_is_due(Some(entry.event.time))?;
        self.note_place(entry);
        let learning = self.is_learning(time, now.seconds())?;
        let mut alerts = self.rules.observe(entry, now, learning, &mut self.store.memory)?;
        if learning && !self.rules.guards(entry.event.ip()) {
            return Ok(());
        }
        self.name_gateways(entry, now, learning, &mut alerts)?;
        if learning {
            // What the configuration names is not learned: who takes it is reported.
            alerts.retain(|one| one.kind.is_takeover() || one.kind == AlertKind::Broadcast);
            return alerts.into_iter().try_for_each(|alert| self.dispatch(alert, now.seconds()));
        }
        let is_first_day = self.is_first_day(&alerts)?;
        if is_first_day {
            self.rules.learn_interface(entry, &mut self.store.memory)?;
        }
        for alert in alerts {
            match is_first_day && alert.kind == AlertKind::NewDevice {
                true => self.first_day.hold(&alert, Instant::now(), &mut self.store)?,
                false => self.dispatch(alert, now.seconds())?,
            }
        }
        Ok(())
    }

    /// Prints an alert and passes it to each channel that wants it.
    fn dispatch(&mut self, mut alert: Alert, now: i64) -> SinkResult {
        if self.config.mutes(&alert, &self.zone, &self.rules.names) {
            return Ok(());
        }
        let arpwatch = self.rules.dialect == Dialect::Arpwatch;
        let prints = self.options.print && self.config.prints(alert.kind, self.rules.dialect);
        let priority = Priority::of(&alert, &self.rules.names);
        // In a storm, most alerts are only counted, and that must be fast.
        let mut channels = self.config.channel.iter().zip(&self.queues);
        let only_counts = channels.all(|(channel, queue)| {
            queue.gate.only_counts(alert.kind, priority, now, channel.exempts(alert.kind))
        });
        if prints || !only_counts {
            self.complete(&mut alert)?;
        }
        // One pass over old events sends nothing in time.
        if !self.options.once {
            alert.late = late(&alert, now, LATE, &self.zone);
        }
        let local = zoned(now, &self.zone);
        let (mut is_sent, mut is_digested, mut is_held_back) = (false, false, false); // a printed line is no message
        let mut admitting = Vec::new();
        for (channel, queue) in self.config.channel.iter().zip(&mut self.queues) {
            queue.open = channel.is_open(&local);
            let accepts = queue.open || channel.outside == Outside::Digest;
            if !accepts || !channel.wants(&alert, self.rules.dialect) {
                continue;
            }
            let mut limit = channel.limit();
            let has_room = !queue.full || queue.urgent_room && priority.class != Class::Other;
            if !has_room || !queue.open {
                limit = ChannelLimit { burst: 0, ..limit };
            }
            queue.gate_changed = true;
            let exempt = channel.exempts(alert.kind);
            let admitted = queue.gate.admit(&alert, priority, now, limit, exempt);
            // Who wants digests only gets all there.
            let is_wanted = channel.limit().burst == 0;
            is_sent |= admitted || is_wanted;
            is_digested |= !admitted;
            // Outside its hours, and with a full queue, a channel gets digests for long: the others need `quiet`.
            is_held_back |= !admitted && !is_wanted && has_room && queue.open;
            admitting.extend(admitted.then_some(channel));
        }
        if (is_held_back || is_digested && !is_sent) && !arpwatch {
            alert.pause.clear(); // the next one is reported
            self.rules.was_digested(&alert, &mut self.store.memory)?;
            if alert.kind.is_takeover() {
                self.rules.gateway_was_digested(&alert, &mut self.store.memory)?;
            }
        }
        for channel in &admitting {
            let message = channel.alert_notification(&alert, &self.zone, self.rules.dialect);
            self.store.enqueue(&channel.name, &message)?;
        }
        self.has_message |= !admitting.is_empty();
        if prints || !admitting.is_empty() {
            let all = Notification::in_layout(&alert, &self.zone, false, false);
            self.reported.push(all.fields.to_string());
        }
        if prints {
            alert.late.clear();
            self.printer.lines.push(match arpwatch {
                true => alert.arpwatch_line(),
                false => format!("{} {alert}", alert.time),
            });
        }
        Ok(())
    }

    /// Does what is due: results of the sender process, digests, committing and sending.
    fn deliver(&mut self) -> SinkResult {
        self.update_queues(false)?;
        self.print_and_commit()?;
        self.send_next()
    }

    /// Handles results and enqueues digests that are due. `flush`: all of them.
    fn update_queues(&mut self, flush: bool) -> SinkResult {
        let now = UnixTime::now().seconds();
        self.handle_results()?;
        let local = zoned(now, &self.zone);
        for (channel, queue) in self.config.channel.iter().zip(&mut self.queues) {
            queue.open = channel.is_open(&local);
            let unsent = self.store.unsent(&channel.name)?;
            (queue.full, queue.urgent_room) =
                (unsent >= MAX_QUEUED, unsent < MAX_QUEUED + MAX_URGENT);
            if queue.open
                && !queue.full
                && let Some(digest) = queue.gate.take_digest(now, channel.limit(), flush)
            {
                queue.gate_changed = true;
                let dialect = self.rules.dialect;
                let message = match digest.only() {
                    Some(alert) => {
                        let max = LATE + channel.limit().window;
                        let late = late(alert, now, max, &self.zone);
                        let alert = Alert { late, pause: String::new(), ..alert.clone() };
                        let mut alone = channel.alert_notification(&alert, &self.zone, dialect);
                        alone.fields["digest"] = true.into();
                        alone
                    }
                    None => digest.notification(&self.zone, &this_host(), channel.max_bytes()),
                };
                self.reported.push(message.fields.to_string());
                self.store.enqueue(&channel.name, &message)?;
            }
            if std::mem::take(&mut queue.gate_changed) {
                self.store.store_gate(&channel.name, &queue.gate)?;
            }
        }
        Ok(())
    }

    fn print_and_commit(&mut self) -> SinkResult {
        self.printer.print()?;
        // Before the commit: a kill between the two writes a line twice, and never none.
        self.options.reported_file.append(&self.reported);
        self.store.commit()?;
        if let Some(followed) = &mut self.options.followed {
            followed.saved();
        }
        self.printer.committed();
        self.reported.clear();
        self.has_message = false;
        if !self.options.once {
            self.changed_periods(UnixTime::now().seconds())?.into_iter().for_each(info);
        }
        Ok(())
    }

    /// Writes for aw-metrics what each channel has still to send.
    fn report_queues(&mut self) -> SinkResult {
        let (channels, store) = (&self.config.channel, &mut self.store);
        self.options.queue_file.update(|| {
            let mut unsent = |name: &String| Ok((name.clone(), store.unsent(name)?));
            channels.iter().map(|channel| unsent(&channel.name)).collect()
        })
    }

    /// Whether a working channel still has messages.
    fn has_more(&mut self) -> SinkResult<bool> {
        for (channel, queue) in self.config.channel.iter().zip(&self.queues) {
            let sends = queue.open && !queue.is_down();
            if queue.in_flight.is_some() || sends && self.store.queued(&channel.name)? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// After an error, rolls back to the last commit: the events since then are delivered again.
    fn or_roll_back<T>(&mut self, result: SinkResult<T>) -> SinkResult<T> {
        self.failed = result.is_err();
        if self.failed {
            self.store.memory.roll_back();
            self.printer.lines.clear();
            self.reported.clear();
            self.has_message = false;
            self.names_resumed = false;
            if let Err(Fault::Down(why)) = &result {
                self.announce_full_state(why)?;
            }
            self.learning.reload(&mut self.store)?;
            self.first_day.reload(&mut self.store)?;
            self.faults = stored_faults(&mut self.store, self.options.once)?;
            for (channel, queue) in self.config.channel.iter().zip(&mut self.queues) {
                queue.reset_gate(self.store.gate(&channel.name)?);
            }
        }
        result
    }
}

/// `once`: this process does not run long enough to wait.
fn stored_faults(store: &mut AlertStore, once: bool) -> SinkResult<Faults> {
    store.memory.faults().map(|faults| faults.at_once(once))
}

impl Sink for Dispatcher {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        let result = self.observe_event(entry);
        self.or_roll_back(result)
    }

    fn flush(&mut self) -> SinkResult {
        let result = self.deliver();
        self.or_roll_back(result)
    }

    fn observe(&mut self, state: &RingState) -> SinkResult {
        let result = self.report_faults(state).and_then(|()| self.report_queues());
        self.or_roll_back(result)
    }

    fn maintain(&mut self) -> SinkResult<bool> {
        let result = self.do_what_is_due(None).and_then(|()| self.report_silent_devices());
        self.or_roll_back(result).map(|()| self.names_left)
    }

    fn look(&mut self) -> SinkResult<Look> {
        let look = self.look_for_messages();
        self.or_roll_back(look)
    }

    fn look_within(&self) -> Duration {
        match self.queues.is_empty() {
            true => Duration::MAX, // lines are printed with the commit
            false if self.reads_names() => NAMES_INTERVAL,
            false => EVENTS_INTERVAL,
        }
    }

    fn maintain_within(&self) -> Duration {
        match self.queues.iter().any(|queue| queue.in_flight.is_some()) {
            true => RESULT_INTERVAL,
            false => self.names_within(Instant::now()),
        }
    }

    fn lacks(&self) -> Option<String> {
        self.shown_in_status()
    }

    fn stuck(&self) -> Option<(i64, String)> {
        self.stuck_channels()
    }

    fn reopen(&mut self) -> SinkResult {
        self.options.names.reload();
        self.options.config_file.look(true);
        let result = self.apply_changed_names().and_then(|()| self.store.commit());
        self.or_roll_back(result)
    }

    fn close(&mut self) -> SinkResult {
        let timeout = if self.options.once { END_TIMEOUT_ONCE } else { END_TIMEOUT };
        let end = Instant::now() + timeout;
        self.update_queues(self.options.once)?;
        loop {
            self.flush()?;
            if self.sender.is_none() || !self.has_more()? || Instant::now() >= end {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.options.queue_file.look_at_once(); // it stays as it is until the next start
        self.report_queues()?;
        let mut unsent = 0;
        for channel in &self.config.channel {
            unsent += self.store.unsent(&channel.name)?;
        }
        self.first_day.store_left(&mut self.store)?;
        self.store.memory.write_times()?;
        self.store.commit()?;
        if let Some(sender) = self.sender.take() {
            sender.finish(timeout);
        }
        if unsent > 0 {
            info(format_args!("{unsent} messages stay in the queue: the next start sends them"));
        }
        Ok(())
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        Some(self)
    }
}

impl CheckpointStore for Dispatcher {
    fn load(&mut self, ring: &RingName) -> SinkResult<Option<Checkpoint>> {
        let checkpoint = self.load_checkpoint(ring);
        self.or_roll_back(checkpoint)
    }

    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> SinkResult {
        let result = self.store.memory.store_checkpoint(ring, checkpoint);
        self.or_roll_back(result)
    }
}

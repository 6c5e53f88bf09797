//! The parts that all outputs share, so that an output implements [`Sink`] only: options, reading rings
//! across restarts, delivery, checkpoints, a spool while the destination is down, privileges, signals and
//! exit codes. The contributor documentation shows a complete output.
//!
//! It trusts the owner of the ring that it reads, and no other input.
#![forbid(unsafe_code)]

mod batch_stream;
mod capture_fault;
mod check;
mod checkpoint;
mod claimed_names;
mod delivery;
mod episode;
mod event_json;
mod fault_file;
mod faults;
mod follow;
mod follow_stream;
mod follower;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/bodies/output.rs"]
pub mod fuzzed;
mod health;
mod history_file;
mod history_import;
mod host;
mod leases;
mod live_checkpoint;
pub mod makers;
mod name_follower;
mod name_json;
mod name_rings;
mod name_use;
pub mod names;
mod options;
mod outage_file;
mod plan;
mod queue_file;
mod ring_health;
mod ring_watch;
mod saved_states;
pub mod serve;
mod source;
#[cfg_attr(not(feature = "spool"), path = "no_spool.rs")]
mod spool;
mod state;
mod writer_kills;

use std::{path::Path, process::ExitCode, time::Duration};

use aw_service::{CapabilitySet, Signals, Startup, SystemCalls};
use rustix::net::AddressFamily;
use shm_layout::{
    BroadcastState, CaptureState, Event, InterfaceCounters, InterfaceName, Kills, NeighborView,
    Position, RingName, UnixTime,
};

use history_import::{HistorySource, import_history};
use ring_watch::RingWatch;

pub use aw_service::{Access, Error, HostPort, explain, failed, info, parse, warn};
pub use batch_stream::{Batch, BatchStream, StreamMessage, StreamStart};
pub use capture_fault::{broadcast_fault, capture_fault, neighbor_hint};
pub use check::{as_service, check, check_rings};
pub use checkpoint::Checkpoint;
pub use claimed_names::{ClaimedName, ClaimedNames, NameSource, claims_of, names_of};
pub use episode::{Episode, EpisodeChange};
pub use event_json::{EventJson, TimeFormat};
pub use fault_file::FaultFile;
pub use faults::{FaultKind, FaultReport, FaultState, Faults};
pub use follower::{Followed, RingFollower, RingWatcher};
pub use health::HEARTBEAT_TIMEOUT;
pub use history_file::{
    HistoryChange, HistoryCount, HistoryLine, HistoryName, HistoryPlace, HistorySighting,
    HistorySpan,
};
pub use history_import::HistoryTarget;
pub use host::{host_of, own_macs, this_host};
pub use leases::{LEASES_OF_ALL, LEASES_ROOM, LONGEST_LEASE, LeaseChange};
pub use name_follower::{NameEntry, NameFollower, NameLosses};
pub use name_json::NameJson;
pub use name_rings::{NameSink, run_names};
pub use name_use::{
    ADDRESSES_OF_DEVICE, NAME_DISUSED, NAME_KNOWN_AFTER, NAMES_OF_ALL, NAMES_OF_DEVICE, NAMES_ROOM,
    NameUse, least_address, superfluous,
};
pub use options::{RingOptions, StartFrom, owners, state_directory, with_groups_of};
pub use plan::Plan;
pub use queue_file::QueueFile;
pub use ring_health::{HealthFault, InterfaceHealth, RingHealth};
pub use saved_states::{SavedState, saved_states};
pub use spool::SpoolOptions;
pub use state::{is_locked, lock, make_directory};

/// How long an output may wait for its destination after a stop signal: longer than any timeout of a
/// sink, and less than the 90 s after which systemd kills it.
const GRACE: Duration = Duration::from_secs(15);

/// An event with its position in the stream.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The ring that it was read from.
    pub ring: &'a RingName,
    /// The host of the collector.
    pub host: &'a str,
    /// The generation of the stream, and the number of the event.
    pub position: Position,
    /// The event.
    pub event: Event,
}

/// Why events were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LossCause {
    /// The collector overwrote them before this output read them.
    #[default]
    Overwritten,
    /// A process truncated the file of the ring before this output read them.
    Cut,
}

/// What is known of a ring beside its events: whether they arrive, and what is missing among them.
#[derive(Clone, Debug)]
pub struct RingState {
    /// The ring.
    pub ring: RingName,
    /// The host of its collector; this one if there is no ring.
    pub host: String,
    /// Its generation; none if there is no ring.
    pub generation: Option<u64>,
    /// The counters of its interfaces in this generation.
    pub counters: Vec<InterfaceCounters>,
    /// The interfaces that are captured, or should be, while the collector runs.
    pub interfaces: Vec<(InterfaceName, CaptureState)>,
    /// Whether ARP broadcasts of other hosts arrive at those that are captured.
    pub broadcasts: Vec<(InterfaceName, BroadcastState)>,
    /// Whether Neighbor Discovery of other hosts arrives, of their networks where that is known.
    pub neighbors: Vec<NeighborView>,
    /// The last time without a collector, of a minute or more: its last heartbeat before, and the first one after it.
    pub gap: Option<(UnixTime, UnixTime)>,
    /// Why no events arrive.
    pub blind: Option<String>,
    /// Whether a collector runs, as far as its last heartbeat shows.
    pub is_running: bool,
    /// Its last heartbeat; none if there is no ring.
    pub heartbeat: Option<UnixTime>,
    /// The collectors that ended without being stopped.
    pub kills: Kills,
    /// Since when it captured no frame; none if there is no ring, or if its writer captures none.
    pub silent_since: Option<UnixTime>,
    /// Whether it captured a frame since there is this ring.
    pub has_captured: bool,
    /// The progress of this output, with the events that it lost.
    pub checkpoint: Option<Checkpoint>,
    /// Why it lost the newest of them.
    pub loss: LossCause,
    /// How often a process truncated the file of the ring, in this generation.
    pub cuts: u64,
    /// Why further events cannot be queued in the spool.
    pub spool_full: Option<String>,
}

/// Why a sink failed.
#[derive(Debug)]
pub enum Fault {
    /// The destination is down and may come back: the events since the last `flush` are not delivered.
    /// They are queued in the spool and written to the sink again, from the first one; an output without a
    /// spool ends. The text is one line: operation, object, cause.
    Down(String),
    /// The output cannot continue.
    Fatal(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Fatal(error)
    }
}

impl Fault {
    /// The error of an output without a spool, which cannot wait.
    pub fn into_error(self) -> Error {
        match self {
            Fault::Down(why) => Error::Failed(why),
            Fault::Fatal(error) => error,
        }
    }
}

/// The result of a method of a sink.
pub type SinkResult<T = ()> = Result<T, Fault>;

/// What happens with events that wait for their batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// They wait.
    Wait,
    /// They wait, and `look` is called again as soon as all events of now are written.
    Again,
    /// They are flushed now.
    Flush,
}

/// What an output implements: the way to its destination.
pub trait Sink {
    /// Writes an event; events come in order. The sink may buffer it until `flush`.
    fn write(&mut self, entry: &Entry) -> SinkResult;

    /// Delivers the buffered events, all or none if possible. Called when there is nothing more to read,
    /// after [`Plan::batch`] events, and before the end, if there was an event, a loss or a start.
    fn flush(&mut self) -> SinkResult;

    /// What it writes to, for messages.
    fn destination(&self) -> String {
        "the destination".into()
    }

    /// Takes what the next [`Sink::flush`] delivers of a ring: its checkpoint before, and after it. For a sink that passes on how many
    /// events there are between.
    fn progress(
        &mut self,
        _ring: &RingName,
        _before: Option<&Checkpoint>,
        _after: &Checkpoint,
    ) -> SinkResult {
        Ok(())
    }

    /// Does work that is not urgent, such as deleting old rows. Called when everything is delivered, at
    /// least about once a second. Returns whether there is more to do at once. One call takes some tens of
    /// milliseconds at most, because events wait meanwhile.
    fn maintain(&mut self) -> SinkResult<bool> {
        Ok(false)
    }

    /// How long `maintain` may wait, for a sink that needs it earlier than about once a second.
    fn maintain_within(&self) -> Duration {
        Duration::MAX
    }

    /// Takes what it reads beside the events, without a commit: for a sink that is not to find it as late as `flush`. Called while
    /// events wait for their batch ([`Plan::linger`]) and all that were there are written.
    fn look(&mut self) -> SinkResult<Look> {
        Ok(Look::Wait)
    }

    /// How long events may wait unread behind those, and `look` with them; by default, until the batch is due.
    fn look_within(&self) -> Duration {
        Duration::MAX
    }

    /// Takes the state of a ring, about once a second, for a sink that reports what cannot be seen. Not
    /// called while the destination is down.
    fn observe(&mut self, _state: &RingState) -> SinkResult {
        Ok(())
    }

    /// What it cannot do at present although the run loop can deliver to it, in a few words, for `systemctl status`.
    fn lacks(&self) -> Option<String> {
        None
    }

    /// What it has taken and cannot deliver for minutes although others of its destinations work: since when, in seconds since 1970,
    /// and why; for `--health`.
    fn stuck(&self) -> Option<(i64, String)> {
        None
    }

    /// What the log has once all events of the spool are flushed: a destination may not show what it receives.
    fn spool_is_empty(&self) -> &'static str {
        "the destination is back: all events in the spool are delivered"
    }

    /// Re-opens its files (SIGHUP: logrotate has renamed them).
    fn reopen(&mut self) -> SinkResult {
        Ok(())
    }

    /// Returns true if flushed events survive a crash of this process, because they are in a file or
    /// acknowledged by a peer. After a kill the output then resumes after the last batch instead of at the
    /// last saved checkpoint.
    fn survives_kill(&self) -> bool {
        false
    }

    /// Makes delivered events survive a power cut, before their checkpoint is saved. Not called if the
    /// sink stores its checkpoints itself. [`Fault::Down`]: not yet; the saved checkpoint stays unchanged,
    /// and this is called again some seconds later.
    fn sync(&mut self) -> SinkResult {
        Ok(())
    }

    /// The end, after the last `flush`: no more events follow. `sync` may still be called.
    fn close(&mut self) -> SinkResult {
        Ok(())
    }

    /// Where checkpoints are stored, if not in a file of the state directory. A database stores them with
    /// its rows, so that it contains each event exactly once, even after a kill.
    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        None
    }
}

/// Stores the checkpoint of each ring.
pub trait CheckpointStore {
    /// The checkpoint of a ring, if it has one. Events may be written already that are not flushed: if this fails, they are written
    /// again, as after a `flush` that fails.
    fn load(&mut self, ring: &RingName) -> SinkResult<Option<Checkpoint>>;

    /// Stores the checkpoint of a ring. A sink that stores it with its rows does so in the transaction that
    /// the next [`Sink::flush`] commits.
    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> SinkResult;
}

/// Runs an output until a stop signal: drops all access that the plan does not need, opens the sink and
/// writes every event of the rings to it. `name` is the program's name, for its messages and files.
pub fn run<S: Sink>(
    name: &'static str,
    options: &RingOptions,
    plan: &Plan,
    open: impl FnOnce() -> Result<S, Error>,
) -> ExitCode {
    run_source(name, options, plan, None, open)
}

/// The same with a stream in place of the rings. While the destination is down, nothing is read: the stream keeps the events, and
/// the spool is not used.
pub fn run_stream<S: Sink>(
    name: &'static str,
    options: &RingOptions,
    plan: &Plan,
    stream: Result<impl BatchStream, Error>,
    open: impl FnOnce() -> Result<S, Error>,
) -> ExitCode {
    let plan = Plan { spool: None, waits: !options.once, keeps_batches: false, ..plan.clone() };
    run_source(name, options, &plan, Some(stream.map(|stream| Box::new(stream) as _)), open)
}

fn run_source<S: Sink>(
    name: &'static str,
    options: &RingOptions,
    plan: &Plan,
    stream: Option<Result<Box<dyn BatchStream + '_>, Error>>,
    open: impl FnOnce() -> Result<S, Error>,
) -> ExitCode {
    if options.health {
        return health::check(name, options, plan);
    }
    debug_assert_eq!(
        plan.from == StartFrom::Now,
        options::BEGIN_NOW.contains(&name),
        "as --help says"
    );
    aw_service::run(name, &options.service, |startup| {
        let owners = options.owners()?;
        let from = options.start(plan);
        let signals = Signals::register()?;
        let resumes = from == StartFrom::Resume || plan.from == StartFrom::Resume;
        let boot = shm_layout::boot_id();
        let watch = RingWatch::begin(&options.rings).filter(|_| !options.once);
        confine(options, &owners, plan, resumes, startup)?;
        signals
            .exit_after(GRACE, "the destination accepted nothing for 15 s after the stop signal: ending with the events that it has confirmed")?;
        let stream = stream.transpose()?;
        let mut sink = open()?;
        let in_sink = sink.checkpoints().is_some();
        let directory = &options.state_path();
        let uses_files = resumes && !in_sink || plan.spool.is_some();
        // Also if nothing else is written there: --health finds by it that the output runs.
        let locks = resumes || plan.spool.is_some();
        let _lock = locks.then(|| state::lock(directory, name)).transpose()?;
        let size = plan.spool.as_ref().map(SpoolOptions::limit);
        let open_spool = |size| spool::Spool::open(directory, name, size, plan.keeps_batches);
        let spool = size.map(open_spool).transpose()?;
        let file = (resumes && !in_sink && spool.is_none())
            .then(|| state::StateFile::open(directory, name))
            .transpose()?;
        let for_health = plan.keeps_batches;
        let live_checkpoint = (uses_files && (in_sink || for_health || sink.survives_kill()))
            .then(|| live_checkpoint::LiveCheckpoint::open(directory, name, boot))
            .transpose()?;
        let schedule = Default::default();
        let files = delivery::CheckpointFiles {
            spool,
            file,
            live_checkpoint,
            for_health,
            in_sink,
            schedule,
        };
        let mut delivery = delivery::Delivery::new(&mut sink, plan, files)?;
        if locks && plan.waits {
            delivery.report_in(outage_file::OutageFile::without_spool(directory, name));
        }
        match stream {
            Some(mut stream) => {
                let stream = &mut *stream;
                follow_stream::follow_stream(options, plan, delivery, stream, &signals, startup)
            }
            None => follow::follow(options, plan, &owners, delivery, watch, &signals, startup),
        }
    })
}

/// Runs the command `import` of an output, which adds the history in `file` to its destination and ends by itself: without rings,
/// and otherwise with the privileges of the output. If root starts it, it becomes `user`, unless `-u` names another one. It is refused
/// while the output of this state directory, or of the service's one in it, has a queue: what is queued would be stored in addition.
pub fn import<T: HistoryTarget>(
    name: &'static str,
    options: &RingOptions,
    file: &Path,
    user: Option<u32>,
    plan: &Plan,
    open: impl FnOnce() -> Result<T, Error>,
) -> ExitCode {
    let source = HistorySource::open(file); // it may be root's
    aw_service::run(name, &options.service, |startup| {
        let directory = options.state_path();
        for directory in [&directory, &directory.join(name)] {
            if let Ok(Some(outage)) = outage_file::queue_of(directory, name) {
                return Err(failed(format_args!(
                    "import: {outage}; such events are added without a comparison with what is imported (wait until --health reports no queue; if the queue is for another database, name another directory with --state-dir)"
                )));
            }
        }
        let (source, program) = (source?, format!("{name} import"));
        confine(&as_user(options, user), &[], plan, false, startup)?;
        let mut target = open()?;
        match &source.database {
            Some(path) => target.add_database(path, &program),
            None => import_history(source, &program, &mut target),
        }
    })
}

/// Runs another command of an output that ends by itself, with the same privileges as [`import`].
pub fn run_command(
    name: &'static str,
    options: &RingOptions,
    user: Option<u32>,
    plan: &Plan,
    command: impl FnOnce() -> Result<(), Error>,
) -> ExitCode {
    aw_service::run(name, &options.service, |startup| {
        confine(&as_user(options, user), &[], plan, false, startup)?;
        command()
    })
}

/// The options of root with this user, unless they name one.
fn as_user(options: &RingOptions, user: Option<u32>) -> RingOptions {
    let mut options = options.clone();
    if options.service.user.is_none() && rustix::process::geteuid().is_root() {
        options.service.user = user.map(|user| user.to_string());
    }
    options
}

/// Drops all privileges: an output needs none. It opens its files afterwards, as the user that it runs as,
/// so that it can re-open them at any time.
fn confine(
    options: &RingOptions,
    owners: &[u32],
    plan: &Plan,
    resumes: bool,
    startup: &mut Startup,
) -> Result<(), Error> {
    let identity = options.identity(owners)?;
    let mut files = vec![
        Access::Read("/dev/shm".into()),
        // To print which user this is, and the group that may read a ring.
        Access::Read("/etc/group".into()),
        Access::Read("/etc/passwd".into()),
    ];
    if resumes || plan.spool.is_some() {
        state::make_directory(&options.state_dir, identity.as_ref())?;
        files.push(Access::Write(options.state_dir.clone()));
    }
    files.extend_from_slice(&plan.files);
    let mut calls = SystemCalls::basic();
    if plan.watches {
        calls.allow_watching();
    }
    plan.sockets.iter().for_each(|family| calls.allow_sockets(*family));
    if !plan.sockets.is_empty() {
        calls.allow_sockets(AddressFamily::UNIX.as_raw().into()); // systemd-resolved and nscd, which resolve names
    }
    if plan.serves {
        calls.allow_serving();
    }
    if plan.event_loop {
        calls.allow_event_loop();
    }
    let none = CapabilitySet::empty();
    startup.confine(identity.as_ref(), none, &files, calls, options.verbose)
}

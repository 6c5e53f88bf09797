//! What every output shares, so that an output is only its [`Sink`]: the options, attaching to
//! rings and following them through restarts, the checkpoint of every event, a spool for what a
//! destination that is down cannot take, privileges, signals and exit codes. `docs/new-output.md`
//! shows a whole one.
//!
//! It trusts the collector whose ring it reads, and nobody else.
#![forbid(unsafe_code)]

mod checkpoint;
mod delivery;
mod event_json;
mod follow;
mod health;
mod host;
mod live_checkpoint;
mod options;
mod plan;
mod saved_states;
pub mod serve;
mod source;
mod spool;
mod state;

use std::{process::ExitCode, time::Duration};

use aw_service::{CapabilitySet, Signals, Startup, SystemCalls};
use shm_layout::{Event, Position, RingName};

pub use aw_service::{Access, Error, HostPort, explain, failed, info, parse, warn};
pub use checkpoint::Checkpoint;
pub use event_json::{EventJson, TimeFormat};
pub use host::{host_of, this_host};
pub use options::{RingOptions, SpoolOptions, StartFrom};
pub use plan::Plan;
pub use saved_states::{SavedState, saved_states};

/// How long an output that was told to end may wait for its destination: longer than any sink waits
/// for something on purpose, and less than systemd, which kills it after 90 s.
const GRACE: Duration = Duration::from_secs(15);

/// An event with its place in the stream.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The ring it came from.
    pub ring: &'a RingName,
    /// Its generation and its own number.
    pub position: Position,
    /// The event.
    pub event: Event,
}

/// Why a sink could not do what it was told.
#[derive(Debug)]
pub enum Fault {
    /// Its destination is down and may come back: what it was handed since the last `flush` is not
    /// delivered. It is kept in the spool and handed over again, from the first; where the output
    /// has no spool, it ends. In one line: operation, object, cause.
    Down(String),
    /// The output cannot go on.
    Fatal(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Fatal(error)
    }
}

impl Fault {
    /// The error of what has no spool, and so cannot wait.
    pub fn into_error(self) -> Error {
        match self {
            Fault::Down(why) => Error::Failed(why),
            Fault::Fatal(error) => error,
        }
    }
}

/// What a sink answers.
pub type Result<T = ()> = std::result::Result<T, Fault>;

/// Where an output puts events.
pub trait Sink {
    /// Takes an event, in order. It may keep it until `flush`.
    fn write(&mut self, entry: &Entry) -> Result;

    /// Delivers what it kept, all or none if it can: called when there is nothing more to read, or
    /// after [`Plan::batch`] events, and before the end.
    fn flush(&mut self) -> Result;

    /// Does some of what is not urgent: called when everything is delivered, at least twice a second.
    /// Tells whether there is more of it to do at once. It takes some tens of milliseconds at most,
    /// for events wait meanwhile.
    fn maintain(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Opens its files anew (SIGHUP: they were renamed by whoever rotates logs).
    fn reopen(&mut self) -> Result {
        Ok(())
    }

    /// Whether a kill leaves what `flush` has delivered: it is in a file or in somebody else's hands, and not
    /// in this process. After a kill the output then goes on behind the last batch, and not where the
    /// checkpoint was last written down.
    fn survives_kill(&self) -> bool {
        false
    }

    /// Makes sure that what was delivered survives a power cut, before the checkpoint of it is
    /// written down. Not called where the sink keeps its own. [`Fault::Down`]: not yet; the checkpoint
    /// stays as it was, and this is called again some seconds later.
    fn sync(&mut self) -> Result {
        Ok(())
    }

    /// The end, after the last `flush`: nothing more will come. `sync` may follow.
    fn close(&mut self) -> Result {
        Ok(())
    }

    /// Where checkpoints are kept if not in a file of the state directory: with the rows, for a
    /// database, so that each event is there exactly once whatever is killed when.
    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        None
    }
}

/// Keeps the checkpoint of each ring.
pub trait CheckpointStore {
    /// The checkpoint of a ring, if it has one.
    fn load(&mut self, ring: &RingName) -> Result<Option<Checkpoint>>;

    /// CheckpointFiles the checkpoint of a ring. One that keeps it with its rows does so in the transaction that
    /// the next [`Sink::flush`] commits.
    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> Result;
}

/// Runs an output until it is told to stop: gives up what the plan does not need, opens its sink and
/// hands it every event of its rings. `name` is the program's, for its messages and its files.
pub fn run<S: Sink>(
    name: &'static str,
    options: &RingOptions,
    plan: &Plan,
    open: impl FnOnce() -> std::result::Result<S, Error>,
) -> ExitCode {
    if options.health {
        return health::check(name, options, plan);
    }
    aw_service::run(name, &options.service, |startup| {
        let owners = options.owners()?;
        let from = options.start(plan);
        let signals = Signals::register()?;
        let keeps = from == StartFrom::Resume || plan.from == StartFrom::Resume;
        let boot = live_checkpoint::this_boot();
        confine(options, &owners, plan, keeps, startup)?;
        signals
            .exit_after(GRACE, "the destination takes nothing: ending with what it has confirmed")?;
        let mut sink = open()?;
        let own = sink.checkpoints().is_some();
        let directory = &options.state_path();
        let states = keeps && !own || plan.spool.is_some();
        let _lock = states.then(|| state::lock(directory, name)).transpose()?;
        let spool = plan.spool.as_ref().map(|spool| spool.open(directory, name)).transpose()?;
        let file = (keeps && !own && spool.is_none())
            .then(|| state::StateFile::open(directory, name))
            .transpose()?;
        let live_checkpoint = (states && (own || sink.survives_kill()))
            .then(|| live_checkpoint::LiveCheckpoint::open(directory, name, boot))
            .transpose()?;
        let stores = delivery::CheckpointFiles {
            spool,
            file,
            live_checkpoint,
            own,
            saved: Default::default(),
        };
        let delivery = delivery::Delivery::new(&mut sink, plan, stores)?;
        follow::follow(options, from, &owners, delivery, &signals, startup)
    })
}

/// Gives up all privileges: an output needs none. What it opens is opened after this, by whoever it
/// is then, so that it can be opened again at any time.
fn confine(
    options: &RingOptions,
    owners: &[u32],
    plan: &Plan,
    keeps: bool,
    startup: &mut Startup,
) -> std::result::Result<(), Error> {
    let identity = options.identity(owners)?;
    let mut files = vec![
        Access::Read("/dev/shm".into()),
        Access::Read("/etc/group".into()), // to name the group whose members may read a ring
    ];
    if keeps || plan.spool.is_some() {
        state::make_directory(&options.state_dir, identity.as_ref())?;
        files.push(Access::Write(options.state_dir.clone()));
    }
    files.extend_from_slice(&plan.files);
    let mut calls = SystemCalls::basic();
    plan.sockets.iter().for_each(|family| calls.allow_sockets(*family));
    if plan.event_loop {
        calls.allow_event_loop();
    }
    let none = CapabilitySet::empty();
    startup.confine(identity.as_ref(), none, &files, calls, options.verbose)
}

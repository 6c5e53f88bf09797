//! One of the interfaces to capture on: opens it, notices when it goes down or away, and opens it again when it is
//! back.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use aw_service::{Backoff, Condition};
use shm_layout::{CaptureState, InterfaceName, UnixTime};

use crate::{
    Error,
    copies::Overlap,
    failed, info,
    interface::{self, CaptureOptions, InterfaceState, OpenError, OpenInterface, explain},
    link::{Frame, LinkType},
    pipeline::{FrameSource, Pipeline},
    related::{Place, Relation},
    warn,
};

/// Pauses between attempts to open an interface that is not there.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(16));
/// An interface that was there for this long is stable: the pauses begin with the shortest again.
const STABLE: Duration = Duration::from_secs(60);
/// An interface without a carrier counts as down after this time: it has none for some seconds when it comes up, and when the
/// other end starts again.
const NO_CARRIER: Duration = Duration::from_secs(5);
/// An interface stays open for this long after the end of its collector, which may only be restarted.
const LINGER: Duration = Duration::from_secs(10);

/// A frame that is not in the kernel's buffer any more.
#[derive(Default)]
struct TakenFrame {
    time: UnixTime,
    bytes: Vec<u8>,
    length: usize,
}

pub struct MonitoredInterface {
    pub name: InterfaceName,
    /// The name of its events, and how it relates to the other interfaces.
    place: Place,
    pub options: CaptureOptions,
    /// It is not reported as missing: until it was there once, it may be only the label of a unit.
    may_be_label: bool,
    /// An option names it; otherwise it is only that of another collector, with `--join`.
    is_own: bool,
    /// It was added, and no attempt to open it was made yet.
    is_new: bool,
    /// It is captured: its own, or that of a collector that runs or ended a moment ago.
    pub wanted: bool,
    /// When a collector that runs last named it.
    joined_at: Instant,
    /// None: it is not there.
    opened: Option<OpenInterface>,
    /// Not processed yet, if it is read together with others.
    taken: TakenFrame,
    /// As last looked up, while it is open; and since when.
    state: (InterfaceState, Instant),
    down: Condition,
    /// What was last stored for the outputs.
    stored: CaptureState,
    opened_at: Instant,
    backoff: Backoff,
    next_attempt: Instant,
    /// Why it could not be opened, as last logged.
    reason: String,
    /// Whether frames came since the kernel's drops were last counted.
    received: bool,
    /// Drops that were not logged yet.
    pub unlogged_drops: u64,
}

impl MonitoredInterface {
    /// Opens the interface. If it is missing or down, [`MonitoredInterface::missing`] has the reason, and
    /// [`MonitoredInterface::reopen`] opens it later; any other fault is an error.
    pub fn open(
        name: InterfaceName,
        is_expected: bool,
        options: &CaptureOptions,
    ) -> Result<Self, Error> {
        let (opened, reason) = match interface::open(name, options) {
            Ok(opened) => (Some(opened), String::new()),
            Err(OpenError { temporary: true, why }) => (None, why),
            Err(OpenError { why, .. }) => {
                return Err(failed(format_args!("listen on {name}: {why}")));
            }
        };
        let may_be_label = !is_expected && interface::absent(name).is_some();
        Ok(MonitoredInterface {
            may_be_label,
            opened,
            reason,
            ..MonitoredInterface::new(name, options)
        })
    }

    /// That of another collector: opened by the next [`MonitoredInterface::reopen`].
    pub fn of_another(name: InterfaceName, options: &CaptureOptions) -> Self {
        let added = MonitoredInterface {
            is_own: false,
            is_new: true,
            ..MonitoredInterface::new(name, options)
        };
        info(format_args!("adding {name}, of another collector of this ring"));
        added
    }

    fn new(name: InterfaceName, options: &CaptureOptions) -> Self {
        let now = Instant::now();
        MonitoredInterface {
            name,
            may_be_label: false,
            is_own: true,
            is_new: false,
            wanted: true,
            joined_at: now,
            place: Place { relation: Relation::Unrelated, name, overlap: Overlap::None },
            options: options.clone(),
            opened: None,
            taken: TakenFrame::default(),
            state: (InterfaceState::Up, now),
            down: Condition::default(),
            stored: CaptureState::None,
            opened_at: now,
            backoff: BACKOFF,
            next_attempt: now,
            reason: String::new(),
            received: false,
            unlogged_drops: 0,
        }
    }

    /// Whether a collector that runs with `--join` names it: without one, it is closed, unless it is this one's own. At once if no
    /// frames come from it, otherwise later.
    pub fn set_joined(&mut self, joined: bool, pipeline: &mut Pipeline) {
        if joined {
            self.joined_at = Instant::now();
        }
        let lingers = self.wanted && self.trouble().is_none() && self.joined_at.elapsed() < LINGER;
        let wanted = self.is_own || joined || lingers;
        if wanted == self.wanted {
            return;
        }
        if wanted {
            info(format_args!("adding {}, of another collector of this ring", self.name));
            (self.backoff, self.next_attempt) = (BACKOFF, Instant::now());
        } else {
            info(format_args!("stopped listening on {}: its collector has ended", self.name));
            self.read(2 * interface::BUFFERED_FRAMES as usize, pipeline); // what the kernel has buffered
            self.count_drops(pipeline);
            self.opened = None;
            self.forget_state();
        }
        self.reason.clear();
        (self.wanted, self.is_new) = (wanted, wanted);
        if !wanted {
            self.store_state(pipeline); // now: another one may take its place
            pipeline.forget_interface(self.name);
        }
    }

    /// Whether it is reported when it is missing.
    pub fn is_expected(&self) -> bool {
        self.wanted && !self.may_be_label
    }

    /// Why no frames come from it, in a few words.
    pub fn trouble(&self) -> Option<&str> {
        let state = match self.state.0 {
            InterfaceState::NoCarrier => "it has no carrier",
            _ => "it is down",
        };
        let is_down = self.down.is_present().then_some(state);
        self.missing().filter(|_| self.is_expected()).or(is_down)
    }

    /// Changes the place, and logs what changed for the user.
    pub fn set_place(&mut self, place: Place) {
        let was = std::mem::replace(&mut self.place, place);
        if was.relation == place.relation || !self.wanted {
            return;
        }
        let (name, events) = (self.name, place.name);
        match (was.relation, place.relation) {
            (_, Relation::Port(of)) => info(format_args!(
                "{name} and {of} capture the same frames: events of {name} get the name {events}, and copies of a frame are counted as captured_twice (for a network of its own: --as {name}=NAME)"
            )),
            (_, Relation::Vlan(of)) => info(format_args!(
                "{name} is a VLAN of {of}, which captures its frames, too: all frames of {name} are counted as captured_twice (for a network of its own: --as {name}=NAME)"
            )),
            (Relation::Port(of) | Relation::Vlan(of), Relation::Unrelated) => info(format_args!(
                "{name} does not belong to {of} any more: its events get the name {events}"
            )),
            (Relation::Unrelated, Relation::Unrelated) => {}
        }
    }

    /// The source of its frames, while it is there.
    pub fn source(&self, pipeline: &mut Pipeline) -> Option<FrameSource> {
        let Place { name, overlap, .. } = self.place;
        Some(FrameSource { name, overlap, ..pipeline.source(self.name, self.link()?) })
    }

    /// Why it is not captured on; none if it is.
    pub fn missing(&self) -> Option<&str> {
        let why = Some(&*self.reason).filter(|why| !why.is_empty()).unwrap_or("it is not there");
        self.opened.is_none().then_some(why)
    }

    /// Whether it is up, and has had no carrier for some time.
    fn lacks_carrier(&self) -> bool {
        let (state, since) = self.state;
        state == InterfaceState::NoCarrier && since.elapsed() >= NO_CARRIER
    }

    /// Logs that it has no carrier, if that lasts.
    pub fn check_carrier(&mut self) {
        if self.lacks_carrier() {
            self.down.begins(format_args!(
                "{} has no carrier: no frames until it has one (check its cable and what is at the other end, or the ports of a bridge)",
                self.name
            ));
        }
    }

    /// Stores for the outputs whether it is captured, and if not, why. Again each time: a ring that was created again has nothing.
    pub fn store_state(&mut self, pipeline: &mut Pipeline) {
        let state = self.capture_state();
        if (state, self.stored) != (CaptureState::None, CaptureState::None) {
            pipeline.set_state(self.name, state);
        }
        self.stored = state;
    }

    /// Stores for the outputs whether broadcasts of other hosts arrive. Called after [`Self::store_state`].
    pub fn watch_broadcasts(&self, pipeline: &mut Pipeline) {
        if self.stored != CaptureState::None {
            let is_captured = self.stored == CaptureState::Captured;
            pipeline.watch_broadcasts(self.name, is_captured, Instant::now());
        }
    }

    fn capture_state(&self) -> CaptureState {
        match self.opened {
            Some(_) if self.lacks_carrier() => CaptureState::NoCarrier,
            Some(_) if self.state.0 == InterfaceState::Down => CaptureState::Down,
            Some(_) => CaptureState::Captured,
            None if !self.is_expected() => CaptureState::None,
            None => interface::not_opened(self.name),
        }
    }

    /// Its link type, while it is there.
    pub fn link(&self) -> Option<LinkType> {
        Some(self.opened.as_ref()?.link)
    }

    /// Frames that the kernel buffers for it, while it is there.
    pub fn room(&self) -> usize {
        self.opened.as_ref().map_or(usize::MAX, |opened| opened.room)
    }

    /// The descriptor to poll, while it is there.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.opened.as_ref()?.capture.as_fd())
    }

    /// Processes the frames that are there, at most `limit`; returns how many.
    pub fn read(&mut self, limit: usize, pipeline: &mut Pipeline) -> usize {
        let Some(source) = self.source(pipeline) else { return 0 };
        let Some(opened) = &mut self.opened else { return 0 };
        let mut frames = 0;
        let read = opened.capture.dispatch(Some(limit), |packet| {
            frames += 1;
            pipeline.process_frame(&source, &Frame::new(&packet));
        });
        self.received |= frames > 0;
        if let Err(error) = read {
            self.close(&explain(&error), pipeline);
        }
        frames
    }

    /// Takes the next frame that is there, to be processed by [`MonitoredInterface::process_taken`]; returns its time.
    pub fn take(&mut self, pipeline: &mut Pipeline) -> Option<UnixTime> {
        let (opened, taken) = (self.opened.as_mut()?, &mut self.taken);
        let mut time = None;
        let read = opened.capture.dispatch(Some(1), |packet| {
            let frame = Frame::new(&packet);
            taken.bytes.clear();
            taken.bytes.extend_from_slice(frame.bytes);
            (taken.time, taken.length) = (frame.time, frame.length);
            time = Some(frame.time);
        });
        self.received |= time.is_some();
        if let Err(error) = read {
            self.close(&explain(&error), pipeline);
        }
        time
    }

    /// Processes the frame that was taken last.
    pub fn process_taken(&mut self, source: &FrameSource, pipeline: &mut Pipeline) {
        let TakenFrame { time, ref bytes, length } = self.taken;
        pipeline.process_frame(source, &Frame { time, bytes, length });
    }

    fn close(&mut self, why: &str, pipeline: &mut Pipeline) {
        let index = self.opened.as_ref().and_then(|opened| opened.index());
        match index.and_then(interface::name_of).filter(|new| new != self.name.as_str()) {
            Some(new) => warn(format_args!(
                "stopped listening on {0}: it has the name {new} now (correct it where it is set: in OPTIONS, or as the instance of the unit addrwatch-collector@{0}, if there is one); retrying",
                self.name
            )),
            None => warn(format_args!("stopped listening on {}: {why}; retrying", self.name)),
        }
        self.count_drops(pipeline);
        self.opened = None;
        self.forget_state();
        self.reason.clear();
        // One that comes and goes is opened, and so logged, less and less often.
        if self.opened_at.elapsed() >= STABLE {
            self.backoff.reset();
        }
        self.next_attempt = Instant::now() + self.backoff.pause();
    }

    /// Counts the frames that the kernel dropped since the last call, if frames came since.
    pub fn count_drops(&mut self, pipeline: &mut Pipeline) {
        if let Some(opened) = &mut self.opened
            && std::mem::take(&mut self.received)
        {
            let drops = opened.new_drops();
            let source = pipeline.source(self.name, opened.link);
            pipeline.count_kernel_drops(source.counters, drops);
            self.unlogged_drops += drops;
        }
    }

    /// SIGHUP: the next [`MonitoredInterface::reopen`] does not wait for the end of the pause.
    pub fn retry_now(&mut self) {
        self.next_attempt = Instant::now();
    }

    /// Nothing is known of its state, which is not looked up.
    fn forget_state(&mut self) {
        (self.state, self.down) = ((InterfaceState::Up, Instant::now()), Condition::default());
    }

    /// Checks whether the interface was deleted, or went up or down, and logs each change.
    pub fn check_state(&mut self, pipeline: &mut Pipeline) {
        let Some(opened) = &self.opened else { return };
        let (name, state) = (self.name, opened.state(self.name));
        if state != self.state.0 {
            self.state = (state, Instant::now());
        }
        match state {
            InterfaceState::Deleted => self.close("it was deleted", pipeline),
            InterfaceState::Down => self.down.begins(format_args!(
                "{name} is down: no frames until it is up (ip link set {name} up)"
            )),
            InterfaceState::NoCarrier => {} // until it lasts
            InterfaceState::Up => self.down.ends(format_args!("{name} is up again")),
        }
    }

    /// Tries to open the interface if it is not there and the pause is over; returns whether it did.
    pub fn reopen(&mut self) -> bool {
        let now = Instant::now();
        if self.opened.is_some() || !self.wanted || now < self.next_attempt {
            return false;
        }
        match interface::open(self.name, &self.options) {
            Ok(opened) => {
                self.opened = Some(opened);
                self.opened_at = now;
                let is_first = self.may_be_label || self.is_new;
                (self.may_be_label, self.is_new) = (false, false);
                let again = if is_first { "" } else { " again" };
                info(format_args!("listening on {}{again}", self.name));
                true
            }
            // That it is still missing is not logged again; another reason is, once.
            Err(OpenError { temporary, why }) => {
                self.next_attempt = now + self.backoff.pause();
                let appeared = self.may_be_label && interface::absent(self.name).is_none();
                self.may_be_label &= !appeared; // a fault of an interface, not the name of a unit only
                let is_new = std::mem::take(&mut self.is_new) || appeared;
                if (!temporary || is_new) && why != self.reason {
                    warn(format_args!("cannot listen on {}: {why}; retrying", self.name));
                    self.reason = why;
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also between its end and the first try to open it again.
    #[test]
    fn one_that_is_not_open_has_a_reason() {
        let options = CaptureOptions {
            promiscuous: false,
            filter: None,
            decapsulate: false,
            names: false,
            interfaces: 1,
        };
        let closed = MonitoredInterface::new("zzz9".parse().unwrap(), &options);
        assert_eq!(
            (closed.missing(), closed.trouble()),
            (Some("it is not there"), closed.missing())
        );
    }
}

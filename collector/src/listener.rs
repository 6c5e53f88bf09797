//! An interface that was asked for, as long as the collector runs: one that is not there is looked
//! for until it is.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use shm_layout::InterfaceName;

use crate::{
    Error, failed, info,
    interface::{self, Fault, How, Opened, State, explain},
    link::{Frame, Link},
    pipeline::Pipeline,
    warn,
};

/// First pause between two looks for an interface that is not there, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// One that stays for so long is not one that comes and goes.
const STEADY: Duration = Duration::from_secs(60);

pub struct Listener {
    pub name: InterfaceName,
    how: How,
    /// None: it is not there.
    opened: Option<Opened>,
    down: bool,
    /// Since when it is as it is.
    since: Instant,
    pause: Duration,
    next_look: Instant,
    /// Why it could not be opened, as last told.
    told: String,
    /// Whether frames came since the kernel was last asked for drops.
    heard: bool,
    /// Drops that were not told yet.
    pub drops: u64,
}

impl Listener {
    /// Opens the interface. One that is missing or down will be looked for: why is told by
    /// [`Listener::missing`].
    pub fn open(name: InterfaceName, how: &How) -> Result<Listener, Error> {
        let (opened, told) = match interface::open(name, how) {
            Ok(opened) => (Some(opened), String::new()),
            Err(Fault { later: true, why }) => (None, why),
            Err(Fault { why, .. }) => return Err(failed(format_args!("listen on {name}: {why}"))),
        };
        let now = Instant::now();
        Ok(Listener {
            name,
            how: how.clone(),
            opened,
            down: false,
            since: now,
            pause: PAUSE,
            next_look: now,
            told,
            heard: false,
            drops: 0,
        })
    }

    /// Why it is not listened on; none if it is.
    pub fn missing(&self) -> Option<&str> {
        self.opened.is_none().then_some(&self.told)
    }

    /// Its link type, while it is there.
    pub fn link(&self) -> Option<Link> {
        Some(self.opened.as_ref()?.link)
    }

    /// What to poll for, while it is there.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.opened.as_ref()?.capture.as_fd())
    }

    /// Takes what frames there are, up to so many; tells how many.
    pub fn hear(&mut self, turn: usize, pipeline: &mut Pipeline) -> usize {
        let Some(opened) = &mut self.opened else { return 0 };
        let source = pipeline.source(self.name, opened.link);
        let mut heard = 0;
        let read = opened.capture.dispatch(Some(turn), |packet| {
            heard += 1;
            pipeline.frame(&source, &Frame::new(&packet));
        });
        self.heard |= heard > 0;
        if let Err(error) = read {
            self.lose(&explain(&error), pipeline);
        }
        heard
    }

    fn lose(&mut self, why: &str, pipeline: &mut Pipeline) {
        warn(format_args!("stopped listening on {}: {why} (looking for it)", self.name));
        self.count_drops(pipeline);
        self.opened = None;
        self.down = false;
        self.told.clear();
        // One that comes and goes is looked for less and less often, and so told less often.
        if self.since.elapsed() >= STEADY {
            self.pause = PAUSE;
        }
        self.since = Instant::now();
        self.next_look = self.since + self.pause;
    }

    /// Asks the kernel what it dropped since it was last asked, if there was anything to drop.
    pub fn count_drops(&mut self, pipeline: &mut Pipeline) {
        if let Some(opened) = &mut self.opened
            && std::mem::take(&mut self.heard)
        {
            let drops = opened.new_drops();
            let source = pipeline.source(self.name, opened.link);
            pipeline.kernel_dropped(source.counters, drops);
            self.drops += drops;
        }
    }

    /// SIGHUP: does not wait for the next look.
    pub fn look_soon(&mut self) {
        self.next_look = Instant::now();
    }

    /// Whether the interface went away, or went up or down: a line for each change.
    pub fn examine(&mut self, pipeline: &mut Pipeline) {
        let Some(opened) = &self.opened else { return };
        match opened.state(self.name) {
            State::Gone => self.lose("it was deleted", pipeline),
            State::Down if !self.down => {
                warn(format_args!("{} is down: nothing is heard there", self.name));
                self.down = true;
            }
            State::Up if self.down => {
                info(format_args!("{} is up again", self.name));
                self.down = false;
            }
            State::Down | State::Up => {}
        }
    }

    /// Whether it is there now, if it was not: tells so, and whether it is.
    pub fn look(&mut self) -> bool {
        let now = Instant::now();
        if self.opened.is_some() || now < self.next_look {
            return false;
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.next_look = now + self.pause;
        match interface::open(self.name, &self.how) {
            Ok(opened) => {
                self.opened = Some(opened);
                self.since = now;
                info(format_args!("listening on {} again", self.name));
                true
            }
            // That it is still not there is no news; another reason is, once.
            Err(Fault { later, why }) => {
                if !later && why != self.told {
                    warn(format_args!("cannot listen on {}: {why} (looking again)", self.name));
                    self.told = why;
                }
                false
            }
        }
    }
}

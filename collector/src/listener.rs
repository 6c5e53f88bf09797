//! An interface that was asked for, as long as the collector runs: one that vanishes is looked for
//! until it is back.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use shm_layout::InterfaceName;

use crate::{
    Error,
    interface::{self, How, Opened, explain},
    link::{Frame, Link},
    pipeline::Pipeline,
    say, warn,
};

/// First pause between two looks for an interface that vanished, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// One that stays for so long is not one that comes and goes.
const STEADY: Duration = Duration::from_secs(60);

pub struct Listener {
    pub name: InterfaceName,
    how: How,
    /// None: it vanished.
    opened: Option<Opened>,
    /// Since when it is as it is.
    since: Instant,
    pause: Duration,
    next_look: Instant,
    /// Drops that were not told yet.
    pub drops: u64,
}

impl Listener {
    /// Opens the interface, which must be there.
    pub fn open(name: InterfaceName, how: &How) -> Result<Listener, Error> {
        let opened = Some(interface::open(name, how)?);
        let (how, now) = (how.clone(), Instant::now());
        Ok(Listener { name, how, opened, since: now, pause: PAUSE, next_look: now, drops: 0 })
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
        if let Err(error) = read {
            self.lose(&explain(&error), pipeline);
        }
        heard
    }

    fn lose(&mut self, why: &str, pipeline: &mut Pipeline) {
        warn(format_args!("stopped listening on {}: {why} (looking for it)", self.name));
        self.count_drops(pipeline);
        self.opened = None;
        // One that comes and goes is looked for less and less often, and so told less often.
        if self.since.elapsed() >= STEADY {
            self.pause = PAUSE;
        }
        self.since = Instant::now();
        self.next_look = self.since + self.pause;
    }

    /// Asks the kernel what it dropped since it was last asked.
    pub fn count_drops(&mut self, pipeline: &mut Pipeline) {
        if let Some(opened) = &mut self.opened {
            let drops = opened.new_drops();
            let source = pipeline.source(self.name, opened.link);
            pipeline.kernel_dropped(source.account, drops);
            self.drops += drops;
        }
    }

    /// SIGHUP: does not wait for the next look.
    pub fn look_soon(&mut self) {
        self.next_look = Instant::now();
    }

    /// Whether an interface has gone unnoticed, and whether one is back: one line when it is, none
    /// while it is not.
    pub fn look(&mut self, pipeline: &mut Pipeline) {
        let now = Instant::now();
        if let Some(opened) = &self.opened
            && !opened.is_current(self.name)
        {
            self.lose("it was deleted", pipeline);
        }
        if self.opened.is_some() || now < self.next_look {
            return;
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.next_look = now + self.pause;
        if let Ok(opened) = interface::open(self.name, &self.how) {
            self.opened = Some(opened);
            self.since = now;
            say(format_args!("listening on {} again", self.name));
        }
    }
}

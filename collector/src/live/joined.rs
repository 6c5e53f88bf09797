//! Live capture with `--join`: the interfaces of the other collectors of the ring.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use aw_service::{Signals, Startup};
use shm_layout::{CaptureState, InterfaceName};

use super::LiveCapture;
use crate::{
    Error,
    event_name::unknown_names,
    info,
    interface::{self, CaptureOptions},
    members::Members,
    monitored_interface::MonitoredInterface,
    options::Options,
    pipeline::Pipeline,
    udp_source, warn,
};

/// After this time, all collectors of a ring that start together have joined.
const NAMES_AFTER: Duration = Duration::from_secs(10);
/// How often sockets are tried, and the time between.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

impl LiveCapture {
    /// With `--join`: waits until no other collector captures, then opens what all have. Those of the one before are among
    /// them, which may only be restarted. False: a signal came first.
    pub fn open_in_turn(
        &mut self,
        options: &Options,
        signals: &Signals,
        startup: &mut Startup,
    ) -> Result<bool, Error> {
        self.try_own(options)?;
        let Some(members) = &mut self.members else { return Ok(true) };
        let Some(mut others) = members.wait(signals, startup)? else { return Ok(false) };
        others.extend(members.interfaces());
        others.retain(|name| !self.own.names.contains(name));
        others.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        others.dedup();
        self.capture.interfaces += others.len();
        self.open_interfaces(options)?;
        // The kernel may close the socket of the one before after it has released its lock.
        self.sockets = patiently(options, || udp_source::open(options))?;
        for name in others {
            let mut added = MonitoredInterface::of_another(name, &self.capture);
            added.reopen();
            self.interfaces.push(added);
        }
        // Now all is open. When the other one has closed its own, before it released its lock, is not known.
        if let Some((process, ended)) = self.members.as_mut().and_then(Members::predecessor) {
            info(format_args!(
                "took over from process {process}: frames of at least {} ms in between were not captured",
                ended.elapsed().as_millis().max(1)
            ));
        }
        self.check_names_at = Some(Instant::now() + NAMES_AFTER);
        Ok(true)
    }

    /// Opens what this one has, and closes it again, before another one ends for it: if that fails, the other one goes on. Not
    /// the sockets that the other one has open because of the same option.
    fn try_own(&mut self, options: &Options) -> Result<(), Error> {
        // Of several that start at once, each tries the same port.
        let tried = patiently(options, || {
            let held = |option: &str| self.members.as_ref().is_some_and(|it| it.is_held(option));
            udp_source::bind(options, held).map(drop)?;
            self.open_interfaces(options)
        });
        self.interfaces.clear();
        tried
    }

    /// Adds the interfaces of collectors that joined, and drops those of collectors that have ended.
    pub(super) fn follow_members(&mut self, pipeline: &mut Pipeline) {
        let Some(members) = &self.members else { return };
        let wanted = members.interfaces();
        for interface in &mut self.interfaces {
            interface.set_joined(wanted.contains(&interface.name), pipeline);
        }
        for name in wanted {
            if self.interfaces.iter().any(|interface| interface.name == name) {
                continue;
            }
            let open = self.interfaces.iter().filter(|interface| interface.wanted);
            let interfaces = interface::one_more(open.map(|one| one.options.interfaces));
            let capture = CaptureOptions { interfaces, ..self.capture.clone() };
            let added = MonitoredInterface::of_another(name, &capture);
            // In the place of one that has left: the number is that of its events.
            match self.interfaces.iter_mut().find(|interface| !interface.wanted) {
                Some(place) => *place = added,
                None => self.interfaces.push(added),
            }
        }
        let over = self.enabled.look(|| members.all_interfaces());
        self.store_not_running(over, pipeline);
    }

    /// What the collector before this one had found of units that do not run is known from the start on.
    pub(super) fn resume_members(&mut self, pipeline: &mut Pipeline) {
        let Some(members) = &self.members else { return };
        let running = members.all_interfaces();
        self.enabled.resume(pipeline.were_in(CaptureState::NotRunning), &running);
        self.store_not_running(Vec::new(), pipeline);
    }

    fn store_not_running(&self, over: Vec<InterfaceName>, pipeline: &mut Pipeline) {
        let is_captured = |name| self.interfaces.iter().any(|one| one.wanted && one.name == name);
        for name in over.into_iter().filter(|name| !is_captured(*name)) {
            pipeline.set_state(name, CaptureState::None);
        }
        for name in self.enabled.not_running() {
            pipeline.set_state(*name, CaptureState::NotRunning);
        }
    }

    /// For the collectors that wait, and this one's part of what all have agreed on.
    pub(super) fn report(&mut self) -> Result<(), Error> {
        let Some(members) = &mut self.members else { return Ok(()) };
        members.check_rank()?;
        let wanted = self.interfaces.iter().filter(|interface| interface.wanted);
        let line = |one: &&MonitoredInterface| match one.missing() {
            Some(why) => (one.name, why.into()),
            None => (one.name, one.trouble().unwrap_or_default().into()),
        };
        members.report(wanted.clone().map(|one| line(&one)));
        if self.check_names_at.is_some_and(|due| due <= Instant::now()) {
            self.check_names_at = None;
            for (interface, name) in unknown_names(&self.names, wanted.map(|one| one.name)) {
                warn(format_args!(
                    "--as {interface}={name}: no collector of this ring captures on {interface} (enable one, or correct the name)"
                ));
            }
        }
        Ok(())
    }
}

/// Tries it again if it fails, for some time, where there are sockets: their port may be free soon.
fn patiently<T>(options: &Options, mut open: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut tries = if options.has_sockets() { TRIES } else { 1 };
    loop {
        tries -= 1;
        match open() {
            Err(_) if tries > 0 => sleep(PAUSE),
            result => return result,
        }
    }
}

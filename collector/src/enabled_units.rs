//! The units addrwatch-collector@NAME that systemd starts at boot, and whose collector does not run: it was stopped and not
//! disabled, or it fails at its start. The collector that runs reports them for the ring, because no other process can.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_service::Access;
use shm_layout::InterfaceName;

use crate::warn;

/// Where systemd has a link to each unit that is enabled: WantedBy= of the unit.
const DIRECTORY: &str = "/etc/systemd/system";
const TARGETS: [&str; 2] = ["multi-user.target.wants", "addrwatch.target.wants"];
const PREFIX: &str = "addrwatch-collector@";
/// The time between two looks. A unit counts at the second one: a restart takes five seconds.
const INTERVAL: Duration = Duration::from_secs(10);

/// What is looked at.
pub struct EnabledUnits {
    directory: PathBuf,
    /// The control groups of the units: one whose collector runs has one, also if it is in no file of `--join`.
    groups: Option<PathBuf>,
    looked_at: Instant,
    /// Those whose collector did not run at the last look, and those of them for which that holds since the one before.
    stopped: Vec<InterfaceName>,
    not_running: Vec<InterfaceName>,
}

impl EnabledUnits {
    /// Of this machine. Called before access to files is restricted.
    pub fn of_this_machine() -> EnabledUnits {
        // One line: 0::/system.slice/addrwatch-collector.slice/addrwatch-collector@eth0.service
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).map(Path::new);
        let parent = own.and_then(Path::parent);
        EnabledUnits::new(DIRECTORY.into(), parent.map(|to| Path::new("/sys/fs/cgroup").join(to)))
    }

    fn new(directory: PathBuf, groups: Option<PathBuf>) -> EnabledUnits {
        let (stopped, not_running) = (Vec::new(), Vec::new());
        EnabledUnits { directory, groups, looked_at: Instant::now(), stopped, not_running }
    }

    /// What it reads later.
    pub fn access() -> Access {
        Access::Read(DIRECTORY.into())
    }

    /// Begins with what the collector before this one had found, of what is still so: a restart is no news of another unit.
    pub fn resume(
        &mut self,
        before: impl Iterator<Item = InterfaceName>,
        running: &[InterfaceName],
    ) {
        let enabled = self.enabled();
        // One that fails at each start has a control group at times: only looks decide about that.
        let is_still = |name: &InterfaceName| enabled.contains(name) && !running.contains(name);
        self.not_running = before.filter(is_still).collect();
        self.stopped = self.not_running.clone();
        // In the log of this process, too.
        self.not_running.iter().for_each(warn_of);
    }

    /// Looks again if it is time. `running`: the interfaces of all collectors. Returns those of before that are none any more.
    pub fn look(&mut self, running: impl FnOnce() -> Vec<InterfaceName>) -> Vec<InterfaceName> {
        if self.looked_at.elapsed() < INTERVAL {
            return Vec::new();
        }
        self.looked_at = Instant::now();
        self.look_now(&running())
    }

    fn look_now(&mut self, running: &[InterfaceName]) -> Vec<InterfaceName> {
        let mut wanted = self.enabled();
        wanted.retain(|name| !running.contains(name));
        let stopped: Vec<InterfaceName> =
            wanted.iter().copied().filter(|name| !self.has_group(*name)).collect();
        // Two looks to begin, and two to end: a unit that fails at each start runs for a moment each time.
        let mut not_running = wanted;
        not_running.retain(|name| match stopped.contains(name) {
            true => self.stopped.contains(name) || self.not_running.contains(name),
            false => self.stopped.contains(name) && self.not_running.contains(name),
        });
        not_running.iter().filter(|name| !self.not_running.contains(name)).for_each(warn_of);
        let mut over = std::mem::replace(&mut self.not_running, not_running);
        over.retain(|name| !self.not_running.contains(name));
        self.stopped = stopped;
        over
    }

    /// Those that are enabled, and whose collector does not run.
    pub fn not_running(&self) -> &[InterfaceName] {
        &self.not_running
    }

    /// The instances of enabled units.
    fn enabled(&self) -> Vec<InterfaceName> {
        let links =
            TARGETS.iter().filter_map(|target| fs::read_dir(self.directory.join(target)).ok());
        let names =
            links.flatten().flatten().filter_map(|link| link.file_name().into_string().ok());
        let instance = |name: String| {
            name.strip_prefix(PREFIX)?.strip_suffix(".service")?.parse::<InterfaceName>().ok()
        };
        let mut enabled: Vec<InterfaceName> = names.filter_map(instance).collect();
        enabled.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        enabled.dedup();
        enabled
    }

    fn has_group(&self, instance: InterfaceName) -> bool {
        let group = |groups: &PathBuf| groups.join(format!("{PREFIX}{instance}.service"));
        self.groups.as_ref().is_some_and(|groups| group(groups).is_dir())
    }
}

fn warn_of(name: &InterfaceName) {
    warn(format_args!(
        "{name} is not captured: {PREFIX}{name} is enabled, but does not run (systemctl status {PREFIX}{name} has the reason; systemctl disable {PREFIX}{name} if it is not to be captured)"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<InterfaceName> {
        text.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_unit_that_is_enabled_and_does_not_run() {
        let made = tempfile::tempdir().unwrap();
        let [units, groups] = ["units", "groups"].map(|name| made.path().join(name));
        for target in TARGETS {
            fs::create_dir_all(units.join(target)).unwrap();
            for unit in ["addrwatch-collector@eth0", "addrwatch-collector@eth1", "aw-sqlite"] {
                fs::write(units.join(target).join(format!("{unit}.service")), "").unwrap();
            }
        }
        let mut enabled = EnabledUnits::new(units.clone(), Some(groups.clone()));
        let running = names("eth0");
        enabled.look_now(&running);
        assert_eq!(enabled.not_running(), [], "it may only be restarted");
        enabled.look_now(&running);
        assert_eq!(enabled.not_running(), names("eth1"));
        assert_eq!(enabled.look_now(&names("eth0 eth1")), names("eth1"), "it runs again");
        assert_eq!(enabled.not_running(), []);
        // One that fails at each start.
        (0..2).for_each(|_| drop(enabled.look_now(&running)));
        let group = groups.join("addrwatch-collector@eth1.service");
        for _ in 0..3 {
            fs::create_dir_all(&group).unwrap();
            assert_eq!(enabled.look_now(&running), []);
            fs::remove_dir(&group).unwrap();
            assert_eq!(enabled.look_now(&running), []);
            assert_eq!(enabled.not_running(), names("eth1"));
        }
        fs::create_dir_all(&group).unwrap();
        assert_eq!(enabled.look_now(&running), []);
        assert_eq!(enabled.look_now(&running), names("eth1"), "it runs");
        fs::remove_dir(&group).unwrap();
        // A collector with another command line, without --join.
        fs::create_dir_all(&group).unwrap();
        (0..3).for_each(|_| drop(enabled.look_now(&running)));
        assert_eq!(enabled.not_running(), []);
        fs::remove_dir(&group).unwrap();
        (0..2).for_each(|_| drop(enabled.look_now(&running)));
        assert_eq!(enabled.not_running(), names("eth1"));
        for target in TARGETS {
            let link = units.join(target).join("addrwatch-collector@eth1.service");
            fs::remove_file(link).unwrap();
        }
        assert_eq!(enabled.look_now(&running), names("eth1"), "it was disabled");
        // A restart of the collector that runs: what was found before, if it is still so.
        for target in TARGETS {
            let link = units.join(target).join("addrwatch-collector@eth1.service");
            fs::write(link, "").unwrap();
        }
        let mut restarted = EnabledUnits::new(units.clone(), Some(groups.clone()));
        restarted.resume(names("eth0 eth1 eth9").into_iter(), &running);
        assert_eq!(restarted.not_running(), names("eth1"), "at once");
        assert_eq!(restarted.look_now(&running), []);
        assert_eq!(restarted.not_running(), names("eth1"));
        // The restart meets a unit that fails at each start in the moment in which it runs.
        fs::create_dir_all(&group).unwrap();
        let mut restarted = EnabledUnits::new(units.clone(), Some(groups.clone()));
        restarted.resume(names("eth1").into_iter(), &running);
        assert_eq!(restarted.not_running(), names("eth1"));
        assert_eq!(restarted.look_now(&running), []);
        fs::remove_dir(&group).unwrap();
        assert_eq!(restarted.look_now(&running), []);
        assert_eq!(restarted.not_running(), names("eth1"));
        // No systemd.
        fs::remove_dir_all(units).unwrap();
        (0..3).for_each(|_| drop(enabled.look_now(&[])));
        assert_eq!(enabled.not_running(), []);
    }
}

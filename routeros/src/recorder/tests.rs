use std::{fs, io, path::PathBuf};

use super::*;
use crate::{
    archive::RouterState, attribution::LogClaim, change::Credit, session::FetchedExport,
    shared_faults::SharedFault,
};
use jiff::SignedDuration;

struct Fixture {
    root: tempfile::TempDir,
    config: Config,
}

impl Fixture {
    fn new(options: &str) -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let text = format!(
            "archive = {:?}\n{options}\n[[router]]\nname = \"core1\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nagent = true\n",
            root.path().join("archive")
        );
        let config = Config::parse(&text).unwrap();
        Fixture { root, config }
    }

    fn recorder(&self) -> Recorder {
        Recorder::new(&self.config, false, None, None, None)
    }

    fn router(&self) -> &Router {
        &self.config.routers[0]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("archive/core1").join(name)
    }

    /// Records a confirmed export with this number of lines; the log names alice.
    fn record(&self, recorder: &Recorder, lines: usize) -> io::Result<Outcome> {
        let bytes = export(lines);
        let unconfirmed = crate::config_export::validate(&bytes, None).ok();
        let fetched = FetchedExport {
            bytes,
            fault: None,
            unconfirmed,
            address: None,
            turn: None,
            history: Vec::new(),
        };
        let claim = LogClaim {
            time: "12:00:00".into(),
            message: "item added by alice".into(),
            actors: crate::actor::actors_in("item added by alice").unwrap().actors,
            command: None,
            ambiguous: false,
            syslog: false,
            recorded: false,
        };
        let credit = Credit { claims: vec![claim], ..Credit::default() };
        recorder.record_export(&Arc::new(self.router().clone()), fetched, credit)
    }
}

fn export(lines: usize) -> Vec<u8> {
    let header = "# 2026-11-22 10:00:00 by RouterOS 7.14.2\r\n# software id = X\r\n#\r\n";
    let lines = (0..lines).map(|n| format!("/ip route add gateway=192.0.2.{n}\r\n"));
    (header.to_owned() + &lines.collect::<String>()).into_bytes()
}

/// A failure after a change is recorded does not cause it to be recorded again.
#[test]
fn a_change_is_recorded_once_despite_later_failures() {
    let fixture = Fixture::new("");
    let full = fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
    let recorder = fixture.recorder().with_change_log(Some(full));
    fs::create_dir_all(fixture.path("state.json.new")).unwrap();
    assert!(matches!(fixture.record(&recorder, 1), Ok(Outcome::First)));
    assert!(matches!(fixture.record(&recorder, 2), Ok(Outcome::Changed(_))));
    assert!(matches!(fixture.record(&recorder, 2), Ok(Outcome::Unchanged)));
    assert_eq!(fs::read(fixture.path("latest.rsc")).unwrap(), export(2));
    assert_eq!(recorder.archive(&fixture.router().name).changes().unwrap().len(), 1);
    assert_eq!(
        recorder.journal.failing(),
        ["core1: write state.json", "core1: write the log file"]
    );
}

/// A task that a reload aborted may record an export at the same time as the next task of its router.
#[test]
fn a_change_is_recorded_once_by_two_tasks() {
    let fixture = Fixture::new("");
    let recorder = fixture.recorder();
    fixture.record(&recorder, 1).unwrap();
    for lines in 2..10 {
        std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| fixture.record(&recorder, lines).unwrap()));
            let changed = |outcome: &Outcome| matches!(outcome, Outcome::Changed(_));
            let outcomes = both.map(|one| one.join().unwrap());
            assert_eq!(outcomes.iter().filter(|outcome| changed(outcome)).count(), 1);
        });
    }
}

#[test]
fn concurrent_updates_of_the_state() {
    let fixture = Fixture::new("");
    let (recorder, name) = (fixture.recorder(), &fixture.router().name);
    let state = || recorder.archive(name).state().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..200 {
                recorder.set_status(name, "connected", &n.to_string());
                assert_eq!(state().why, n.to_string());
            }
        });
        for n in 0..200 {
            recorder.set_last_line(name, Some((n.to_string(), String::new())));
            assert_eq!(state().last_line.unwrap().0, n.to_string());
        }
    });
}

/// What a router says is no reason that its state cannot be read again.
#[test]
fn the_longest_state() {
    let fixture = Fixture::new("");
    let (recorder, name) = (fixture.recorder(), &fixture.router().name);
    recorder.set_status(name, "incomplete", &"\u{1}é".repeat(1 << 20));
    let since = recorder.archive(name).state().unwrap().since;
    recorder.set_status(name, "incomplete", &"\u{1}é".repeat(1 << 20));
    let state = recorder.archive(name).state().unwrap();
    assert_eq!((state.status.as_str(), state.since), ("incomplete", since));
    assert!(state.why.len() <= 4096 && state.why.starts_with("\u{1}é"));
}

/// The clock may be wrong at the start. It is trusted if the archive has a snapshot of the last day.
#[test]
fn a_clock_that_is_ahead_from_the_start_removes_nothing() {
    let (fixture, day) = (Fixture::new("keep_days = 30"), SignedDuration::from_hours(24));
    let plant = |days: i32| {
        let archive = fixture.recorder().archive(&fixture.router().name);
        archive.create().unwrap();
        archive.add_snapshot(Timestamp::now() - day * days, &export(days as usize)).unwrap();
        archive.set_base(&export(days as usize)).unwrap();
        fs::remove_file(fixture.path("state.json")).ok(); // it is due
    };
    let count = || fs::read_dir(fixture.path("snapshots")).unwrap().count();
    plant(50);
    plant(40);
    let recorder = fixture.recorder();
    for n in 1..3 {
        fixture.record(&recorder, n).unwrap();
        assert_eq!(count(), 2 + n, "new snapshots have the time of the same clock");
    }
    assert_eq!(recorder.archive(&fixture.router().name).state().unwrap().tidied, None);
    fixture.record(&fixture.recorder(), 3).unwrap();
    assert_eq!(count(), 3);
}

/// A change that is not in git is committed at the start, and not credited to the user of the next change.
#[test]
fn the_archive_is_committed_at_the_start() {
    let fixture = Fixture::new("");
    let path = fixture.root.path().join("r.git");
    let start = || {
        let git = Some(Repository::open(&path).unwrap());
        let recorder = Recorder::new(&fixture.config, false, None, None, git);
        recorder.commit_archive();
        recorder
    };
    let head = || fs::read_to_string(path.join("refs/heads/main")).ok();
    assert_eq!((drop(start()), head()), ((), None), "the archive is empty");
    fixture.record(&fixture.recorder(), 1).unwrap();
    let recorder = start();
    let found = head().unwrap();
    assert_eq!((drop(start()), head()), ((), Some(found.clone())), "once");
    fixture.record(&recorder, 2).unwrap();
    let changed = head().unwrap();
    assert_ne!(changed, found);
    assert_eq!((drop(start()), head()), ((), Some(changed.clone())));
    fixture.record(&fixture.recorder(), 3).unwrap();
    assert_eq!(head(), Some(changed.clone()));
    start();
    assert_ne!(head(), Some(changed));
}

/// A router that has the same fault after a restart has it since it had it before, if the daemon was not off for long: stopped, or
/// killed.
#[test]
fn a_fault_across_a_restart() {
    let fixture = Fixture::new("");
    let (router, name) = (Arc::new(fixture.router().clone()), &fixture.router().name);
    let ago = |minutes| Timestamp::now() - SignedDuration::from_mins(minutes);
    let state = || fixture.recorder().archive(name).state().unwrap();
    let update = |change: &dyn Fn(&mut RouterState)| {
        fixture.recorder().journal.update_state(name, change);
    };
    let restart =
        |minutes| fixture.recorder().with_pause(Pause::For(SignedDuration::from_mins(minutes)));
    let since = ago(300);
    let lost = |status: &str| {
        fixture.recorder().set_status(name, status, "off");
        update(&|state| state.since = Some(since));
    };
    let is_later = || state().since.unwrap() > ago(1);
    for stop in [&["stopped"][..], &[], &["connecting"], &["connecting", "stopped"]] {
        lost("unreachable");
        stop.iter().for_each(|status| fixture.recorder().set_status(name, status, ""));
        let recorder = restart(59);
        let restored = recorder.begin(&router);
        assert!(is_later() && restored.off.is_none(), "{stop:?}");
        assert!(restored.unreachable_since.unwrap().elapsed().as_secs() >= 300 * 60, "{stop:?}");
        recorder.set_status(name, "unreachable", "no answer");
        assert_eq!((state().since, state().before), (Some(since), None));
        // Its task ended because of an error of the program.
        assert!(recorder.begin(&router).unreachable_since.is_some() && is_later());
    }
    // Another one, and none.
    for status in ["refused", "connected"] {
        lost("unreachable");
        let recorder = restart(0);
        recorder.begin(&router);
        recorder.set_status(name, status, "");
        let recorder = restart(0);
        assert!(recorder.begin(&router).unreachable_since.is_none() && is_later());
        recorder.set_status(name, "unreachable", "off");
        assert!(is_later());
    }
    // Killed: a power cut, or stopped and started by hand.
    for status in ["unreachable", "stopped", "connecting"] {
        lost("unreachable");
        fixture.recorder().set_status(name, status, "");
        update(&|state| state.since = Some(ago(62)));
        let recorder = restart(61);
        let restored = recorder.begin(&router);
        let off = restored.off.unwrap();
        assert!(restored.unreachable_since.is_none() && is_later(), "{status}");
        assert!(off.starts_with("aw-routeros was off from 20"), "{off}");
        assert!(off.ends_with(", and did not reach it before that either"), "{off}");
        recorder.set_status(name, "unreachable", "off");
        assert!(is_later());
        // A reload is no restart: not for a router that comes back, and not for one that is new.
        recorder.set_status(name, "stopped", "");
        assert!(recorder.begin(&router).off.is_none());
        recorder.set_routers(&[]);
        assert!(recorder.begin(&router).off.is_none());
    }
}

/// After a power cut a machine without a clock of its own does not know how long it was off: the outage begins again.
#[test]
fn a_pause_of_unknown_length() {
    let fixture = Fixture::new("");
    let (router, name) = (Arc::new(fixture.router().clone()), &fixture.router().name);
    let recorder = fixture.recorder();
    recorder.set_status(name, "unreachable", "off");
    let recorder = fixture.recorder().with_pause(Pause::Unknown);
    let restored = recorder.begin(&router);
    let off = restored.off.unwrap();
    assert!(restored.unreachable_since.is_none());
    assert!(off.contains(", and it is unknown how long (the machine was booted"), "{off}");
}

/// The status of the unit has why a configuration is not in effect.
#[test]
fn a_status_with_the_configuration() {
    let fixture = Fixture::new("");
    let recorder = fixture.recorder();
    recorder.configuration_refused("line 3: unknown key", false);
    let text = "; configuration not in effect: line 3: unknown key";
    assert!(recorder.summary().ends_with(text), "{}", recorder.summary());
    recorder.configuration_read("");
    assert!(!recorder.summary().contains("not in effect"));
}

/// An outage is one of an address.
#[test]
fn another_address_after_a_restart() {
    let fixture = Fixture::new("");
    let (mut router, name) = (fixture.router().clone(), &fixture.router().name);
    let begin = |router: &Router| {
        let recorder = fixture.recorder().with_pause(Pause::For(SignedDuration::ZERO));
        let restored = recorder.begin(&Arc::new(router.clone()));
        recorder.set_status(name, "unreachable", "off");
        restored.unreachable_since.is_some()
    };
    assert_eq!([begin(&router), begin(&router)], [false, true]);
    router.address = crate::config::router_address("192.0.2.2").unwrap();
    assert_eq!([begin(&router), begin(&router)], [false, true]);
}

/// A router that was removed from the configuration while the daemon was off is not followed any more.
#[test]
fn routers_that_are_gone() {
    let fixture = Fixture::new("");
    let (recorder, name) = (fixture.recorder(), &fixture.router().name);
    let status = || recorder.archive(name).state().unwrap().status;
    recorder.set_status(name, "unreachable", "off");
    recorder.stop_others(&fixture.config.routers);
    assert_eq!(status(), "unreachable");
    recorder.stop_others(&[]);
    assert_eq!(status(), "stopped");
}

/// That a file of the archive was damaged is mailed also if the process is killed before others that have it are known.
#[test]
fn a_damage_is_mailed_after_a_kill() {
    let fixture = Fixture::new("");
    let router = Arc::new(fixture.router().clone());
    let damage = SharedFault::own(OwnFault::Archive, "", "latest.rsc is damaged".into());
    let recorder = fixture.recorder();
    recorder.begin(&router);
    recorder.own_fault(&router, damage);
    let is_pending = |recorder: &Recorder| recorder.has_fault(&router.name, OwnFault::Archive);
    for restart in 0..3 {
        let recorder = fixture.recorder();
        recorder.begin(&router);
        assert_eq!(is_pending(&recorder), restart < 2);
        recorder.store_reported();
        if restart == 1 {
            recorder.report_the_rest();
            recorder.store_reported();
        }
    }
}

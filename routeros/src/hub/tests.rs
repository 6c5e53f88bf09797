use std::{fs, path::PathBuf};

use super::*;
use crate::{change::Credit, watch::Claim};

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

    fn hub(&self) -> Hub {
        Hub::new(&self.config, false, None, None, None)
    }

    fn router(&self) -> &Router {
        &self.config.routers[0]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("archive/core1").join(name)
    }

    /// An export of so many lines, of which alice is said to have added the last one.
    fn sent(&self, hub: &Hub, lines: usize) -> io::Result<Outcome> {
        let bytes = export(lines);
        let first = crate::export::judge(&bytes, None).ok();
        let sent = Sent { bytes, fault: None, first, address: None, turn: None };
        let claim = Claim {
            time: "12:00:00".into(),
            message: "item added by alice".into(),
            actors: crate::actor::naming("item added by alice").unwrap().actors,
            command: None,
            ambiguous: false,
        };
        let credit = Credit { claims: vec![claim], ..Credit::default() };
        hub.conclude(self.router(), sent, credit)
    }
}

fn export(lines: usize) -> Vec<u8> {
    let header = "# 2026-11-22 10:00:00 by RouterOS 7.14.2\r\n# software id = X\r\n#\r\n";
    let lines = (0..lines).map(|n| format!("/ip route add gateway=192.0.2.{n}\r\n"));
    (header.to_owned() + &lines.collect::<String>()).into_bytes()
}

/// Once a change is recorded nothing that fails then makes it another's, or tells it twice.
#[test]
fn a_change_is_told_once_whatever_fails_behind_it() {
    let fixture = Fixture::new("");
    let hub = fixture.hub().with_log_file(Some("/dev/full")).unwrap();
    fs::create_dir_all(fixture.path("state.json.new")).unwrap();
    assert!(matches!(fixture.sent(&hub, 1), Ok(Outcome::First)));
    assert!(matches!(fixture.sent(&hub, 2), Ok(Outcome::Changed(_))));
    assert!(matches!(fixture.sent(&hub, 2), Ok(Outcome::Same)));
    assert_eq!(fs::read(fixture.path("latest.rsc")).unwrap(), export(2));
    assert_eq!(hub.archive(&fixture.router().name).changes().unwrap().len(), 1);
    let told = hub.unwritten.lock().unwrap().clone();
    assert_eq!(Vec::from_iter(told), ["core1: write state.json", "core1: write the log file"]);
}

/// A task that a reload ends may still conclude while the next one of its router does.
#[test]
fn two_conclude_the_same_change_and_it_is_told_once() {
    let fixture = Fixture::new("");
    let hub = fixture.hub();
    fixture.sent(&hub, 1).unwrap();
    for lines in 2..10 {
        std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| fixture.sent(&hub, lines).unwrap()));
            let changed = |outcome: &Outcome| matches!(outcome, Outcome::Changed(_));
            let outcomes = both.map(|one| one.join().unwrap());
            assert_eq!(outcomes.iter().filter(|outcome| changed(outcome)).count(), 1);
        });
    }
}

#[test]
fn what_two_remember_is_not_lost() {
    let fixture = Fixture::new("");
    let (hub, name) = (fixture.hub(), &fixture.router().name);
    let state = || hub.archive(name).state().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..200 {
                hub.set_status(name, "connected", &n.to_string());
                assert_eq!(state().why, n.to_string());
            }
        });
        for n in 0..200 {
            hub.remember(name, Some((n.to_string(), String::new())));
            assert_eq!(state().last_line.unwrap().0, n.to_string());
        }
    });
}

/// The clock may have been wrong when we were started: it is believed where the archive was written to yesterday.
#[test]
fn a_clock_that_is_ahead_from_the_start_removes_nothing() {
    let (fixture, day) = (Fixture::new("keep_days = 30"), SignedDuration::from_hours(24));
    let plant = |days: i32| {
        let archive = fixture.hub().archive(&fixture.router().name);
        archive.make().unwrap();
        archive.keep(Timestamp::now() - day * days, &export(days as usize)).unwrap();
        archive.set_base(&export(days as usize)).unwrap();
        fs::remove_file(fixture.path("state.json")).ok(); // it is due
    };
    let count = || fs::read_dir(fixture.path("snapshots")).unwrap().count();
    plant(50);
    plant(40);
    let hub = fixture.hub();
    for n in 1..3 {
        fixture.sent(&hub, n).unwrap();
        assert_eq!(count(), 2 + n, "what is new speaks for no clock that it is from");
    }
    assert_eq!(hub.archive(&fixture.router().name).state().unwrap().tidied, None);
    fixture.sent(&fixture.hub(), 3).unwrap();
    assert_eq!(count(), 3);
}

/// What git could not take, or was changed by hand, is not the next one's who changes something.
#[test]
fn what_is_not_in_git_is_committed_at_the_start() {
    let fixture = Fixture::new("");
    let path = fixture.root.path().join("r.git");
    let start = || {
        let git = Some(Repository::open(&path).unwrap());
        let hub = Hub::new(&fixture.config, false, None, None, git);
        hub.commit_found();
        hub
    };
    let head = || fs::read_to_string(path.join("refs/heads/main")).ok();
    assert_eq!((drop(start()), head()), ((), None), "there is nothing yet");
    fixture.sent(&fixture.hub(), 1).unwrap();
    let hub = start();
    let found = head().unwrap();
    assert_eq!((drop(start()), head()), ((), Some(found.clone())), "once");
    fixture.sent(&hub, 2).unwrap();
    let changed = head().unwrap();
    assert_ne!(changed, found);
    assert_eq!((drop(start()), head()), ((), Some(changed.clone())));
    fixture.sent(&fixture.hub(), 3).unwrap();
    assert_eq!(head(), Some(changed.clone()));
    start();
    assert_ne!(head(), Some(changed));
}

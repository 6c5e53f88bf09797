//! What is learned at present, in one form for the log, the status, `--health` and the list of what is known: all devices, new devices
//! of the first day, and the routers and servers of each interface.

use std::path::Path;

use aw_detect::{Part, SqliteMemory};
use aw_service::plain;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension};
use shm_layout::UnixTime;

use crate::{first_day, learned::place, learning, notification::zoned, store::AlertStore};

/// Periods that are shown; of further ones, the number.
const MAX_SHOWN: usize = 4;

/// What is learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// With `--learn`.
    All,
    /// On the first day.
    NewDevices,
    /// Of an interface, by its full name.
    Infrastructure(String),
}

/// A time in which it is learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearningPeriod {
    pub subject: Subject,
    /// In seconds since 1970; not of one that an earlier release began.
    pub since: Option<i64>,
    pub until: i64,
}

impl LearningPeriod {
    /// Those that have begun and are not over at this time.
    pub fn all(database: &Connection, now: i64) -> rusqlite::Result<Vec<LearningPeriod>> {
        let mut all = LearningPeriod::begun(database)?;
        all.retain(|one| one.runs(now));
        Ok(all)
    }

    /// Those that have begun and that nothing has ended yet, also if their time is over.
    pub fn begun(database: &Connection) -> rusqlite::Result<Vec<LearningPeriod>> {
        let mut all = Vec::new();
        for (subject, keys) in
            [(Subject::All, learning::NOTES), (Subject::NewDevices, first_day::NOTES)]
        {
            let [since, until, over] = keys.map(|key| AlertStore::note_of(database, key));
            if let (Some(until), None) = (until?, over?) {
                all.push(LearningPeriod { subject, since: since?, until });
            }
        }
        let of_interfaces = SqliteMemory::periods(database)?.into_iter();
        all.extend(of_interfaces.filter(|(.., seconds)| *seconds > 0).map(
            |(interface, since, seconds)| LearningPeriod {
                subject: Subject::Infrastructure(interface),
                since: Some(since),
                until: since.saturating_add(seconds),
            },
        ));
        Ok(all)
    }

    /// The first day ends when it has run for so long, not at a time.
    pub fn runs(&self, now: i64) -> bool {
        self.subject == Subject::NewDevices || now < self.until
    }

    /// Whether its line is that of the other one, but for times that move. One that began while the clock was not set gets another line.
    pub fn is_same(&self, other: &LearningPeriod) -> bool {
        self.subject == other.subject && is_set(self.until) == is_set(other.until)
    }

    /// The same of a state directory, for `--health`; nothing if its database cannot be read by this user.
    pub fn in_directory(directory: &Path) -> Vec<LearningPeriod> {
        AlertStore::periods(directory, UnixTime::now().seconds()).unwrap_or_default()
    }

    /// `learning routers and servers of eth0 until 03:20:00 UTC (since 03:10:00): ...`
    pub fn line(&self, now: i64, zone: &TimeZone, show_ring: bool) -> String {
        let meanwhile = match &self.subject {
            Subject::All => {
                "no alert about devices, routers and servers is sent, and what they do is normal from then on; who takes an address that routers, dhcp_servers or dns_servers names, redirects and faults of the sensor are reported"
            }
            Subject::NewDevices => {
                "one list has them then; all other alerts are sent at once (--learn 0 reports each)"
            }
            Subject::Infrastructure(_) => {
                "all that announce themselves are normal from then on (aw-alert known lists them)"
            }
        };
        format!("{}: {meanwhile}", self.short(now, zone, show_ring))
    }

    /// The same for the status, which is one line of all.
    fn short(&self, now: i64, zone: &TimeZone, show_ring: bool) -> String {
        let today = zoned(now, zone).date();
        let shown = |seconds: i64| {
            let time = zoned(seconds, zone);
            let format = if time.date() == today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
            time.strftime(format).to_string()
        };
        let since = self.since.filter(|since| is_set(*since));
        let since = since.map(|since| format!(" (since {})", shown(since))).unwrap_or_default();
        let about = if self.subject == Subject::NewDevices { "about " } else { "" };
        let zone = zoned(self.until, zone).strftime("%Z").to_string();
        let until = match is_set(self.until) {
            true => format!(" until {about}{} {zone}", shown(self.until)),
            false => " (until when is not known, because the clock is not set)".into(),
        };
        format!("learning {}{until}{since}", self.subject.name(show_ring))
    }
}

fn is_set(seconds: i64) -> bool {
    UnixTime::new(seconds, 0).is_plausible()
}

impl Subject {
    /// Whether it is over, which the database says: what is not there was not committed, or was forgotten.
    pub fn is_over(&self, database: &Connection) -> rusqlite::Result<bool> {
        let note = match self {
            Subject::All => learning::NOTES[2],
            Subject::NewDevices => first_day::NOTES[2],
            Subject::Infrastructure(interface) => {
                let select = "SELECT number = 1 FROM infrastructure WHERE network = ? AND part = ? AND key = ''";
                let keys = [interface, Part::Period.name()];
                let over = database.query_row(select, keys, |row| row.get(0)).optional()?;
                return Ok(over.unwrap_or(false));
            }
        };
        Ok(AlertStore::note_of(database, note)?.is_some())
    }

    /// What changes with its end.
    pub fn end(&self, show_ring: bool) -> String {
        let then = match self {
            Subject::All => "alerts are sent from now on",
            Subject::NewDevices => "each new one is reported from now on",
            Subject::Infrastructure(_) => {
                "others are reported from now on (aw-alert known lists these)"
            }
        };
        format!("learning {} is over: {then}", self.name(show_ring))
    }

    fn name(&self, show_ring: bool) -> String {
        match self {
            Subject::All => "all devices".into(),
            Subject::NewDevices => "new devices".into(),
            Subject::Infrastructure(interface) => {
                format!("routers and servers of {}", plain(&place(interface, show_ring)))
            }
        }
    }
}

/// Of all periods, with what each means.
pub fn lines(all: &[LearningPeriod], show_ring: bool) -> Vec<String> {
    of_all(all, |one, now, zone| one.line(now, zone, show_ring))
}

/// Of all periods, for the status, which is one line: what each means is in the log and in `--health`.
pub fn short(all: &[LearningPeriod], show_ring: bool) -> Vec<String> {
    of_all(all, |one, now, zone| one.short(now, zone, show_ring))
}

fn of_all(
    all: &[LearningPeriod],
    text: impl Fn(&LearningPeriod, i64, &TimeZone) -> String,
) -> Vec<String> {
    let (now, zone) = (UnixTime::now().seconds(), TimeZone::system());
    let mut lines: Vec<_> = all.iter().take(MAX_SHOWN).map(|one| text(one, now, &zone)).collect();
    if all.len() > MAX_SHOWN {
        lines.push(format!("{} further interfaces learn", all.len() - MAX_SHOWN));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use aw_detect::{InfrastructureMemory, Known, Part};

    use super::*;
    use crate::{first_day::FirstDay, learning::Learning};

    const NOW: i64 = 1_700_000_000; // 2023-11-14 22:13:20 UTC

    fn all(store: &mut AlertStore, now: i64) -> Vec<LearningPeriod> {
        store.memory.read(|database| LearningPeriod::all(database, now)).unwrap()
    }

    /// Each has one form, from its begin to its end.
    #[test]
    fn one_form() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        assert_eq!(all(&mut store, NOW), []);
        let mut learning = Learning::load(Some(600), i64::MIN, &mut store).unwrap();
        assert!(learning.includes(NOW, NOW, &mut store).unwrap());
        // Of an earlier release, which did not store how long it lasts; over; and one that runs.
        for (interface, over, seconds) in
            [("s/r/eth2", 0, 0), ("s/r/eth1", 1, 86_400), ("s/r/eth0", 0, 86_400)]
        {
            let known = Known { first: NOW, number: over, further: seconds, ..Known::default() };
            store.memory.store_known(interface, Part::Period, "", &known).unwrap();
        }
        let of = |store: &mut AlertStore, now| -> Vec<String> {
            all(store, now).iter().map(|one| one.line(now, &TimeZone::UTC, false)).collect()
        };
        let interface = "learning routers and servers of eth0 until 2023-11-15 22:13:20 UTC (since 22:13:20): all that announce themselves are normal from then on (aw-alert known lists them)";
        assert_eq!(
            of(&mut store, NOW + 599),
            [
                "learning all devices until 22:23:20 UTC (since 22:13:20): no alert about devices, routers and servers is sent, and what they do is normal from then on; who takes an address that routers, dhcp_servers or dns_servers names, redirects and faults of the sensor are reported",
                interface
            ]
        );
        assert_eq!(of(&mut store, NOW + 600), [interface]);
        store.commit().unwrap();
        let lines = lines(&LearningPeriod::in_directory(directory.path()), true);
        assert_eq!(lines, [""; 0], "it is over since long");
        assert_eq!(store.memory.end_periods().unwrap(), ["s/r/eth0", "s/r/eth2"]);
        assert_eq!(all(&mut store, NOW + 600), []);
    }

    /// The first day has an end as long as it runs, and none after it.
    #[test]
    fn of_the_first_day() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let begin = Instant::now();
        let mut day = FirstDay::load(true, true, begin, &mut store).unwrap();
        assert_eq!(all(&mut store, NOW), []);
        day.begin(begin, &mut store).unwrap();
        let [one] = &*all(&mut store, NOW) else { panic!("one") };
        let since = one.since.unwrap();
        assert!(one.subject == Subject::NewDevices && one.until == since + 86_400, "{one:?}");
        // It did not run for a while: a restart moves its end.
        let hour = Duration::from_secs(3600);
        day.ends(begin + hour, &mut store).unwrap();
        let mut day = FirstDay::load(true, true, begin, &mut store).unwrap();
        let left = all(&mut store, NOW)[0].until - since;
        assert!((82_800..82_805).contains(&left), "{left}");
        assert!(
            all(&mut store, since)[0].line(since, &TimeZone::UTC, false).contains(" until about ")
        );
        assert!(day.ends(begin + 23 * hour, &mut store).unwrap());
        assert_eq!(all(&mut store, NOW), []);
        assert_eq!(
            Subject::NewDevices.end(false),
            "learning new devices is over: each new one is reported from now on"
        );
    }
}

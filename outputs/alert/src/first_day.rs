//! The first day of an aw-alert that knows no device: alerts about new devices are held, and sent at its end as one list; nothing
//! else differs. It begins with the first device and lasts for a day in which aw-alert runs, whatever the clocks and the times of
//! events are.

use std::time::{Duration, Instant};

use aw_detect::Alert;
use aw_output::SinkResult;
use shm_layout::UnixTime;

use crate::store::AlertStore;

const DAY: Duration = Duration::from_secs(86_400);
/// How long it still lasts is stored at this interval: after a kill, it lasts longer by so much, at most.
const STORE_INTERVAL: Duration = Duration::from_secs(300);
/// Alerts that are held in any case. Of further ones only so many in a minute, as a channel would have sent alone: who invents
/// devices, before another one comes or after it, keeps it out of the list only in the minutes of the flood.
const HELD: u64 = 1000;
const HELD_IN_MINUTE: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// The notes with the seconds that are left of it, with the fact that it is over, and with the number of devices beyond the list; and
/// those for people: when it began, and when it will end if aw-alert runs on.
const LEFT: &str = "first day is left";
const OVER: &str = "first day is over";
const FURTHER: &str = "first day has further";
const SINCE: &str = "first day since";
const UNTIL: &str = "first day until";
pub const NOTES: [&str; 3] = [SINCE, UNTIL, OVER];

pub struct FirstDay {
    /// Whether no option ends it.
    wanted: bool,
    /// Whether it may begin.
    begins: bool,
    /// How long it still lasts, if it has begun.
    left: Option<Duration>,
    /// The same, as it was stored.
    stored: Duration,
    over: bool,
    /// When `left` was counted.
    counted: Instant,
    held: u64,
    /// The begin of a minute, and how many alerts were held in it.
    minute: (Instant, u32),
}

impl FirstDay {
    /// It begins if no device is known. `wanted`: `--learn` is not set. If it is, the day is over. `begins`: not with `--once`.
    pub fn load(
        wanted: bool,
        begins: bool,
        now: Instant,
        store: &mut AlertStore,
    ) -> SinkResult<FirstDay> {
        let begins = wanted && begins && store.memory.is_empty()?;
        let left = store.note(LEFT)?.map(|left| Duration::from_secs(left.max(0) as u64));
        let (over, held) = (store.note(OVER)?.is_some(), store.held_number()?);
        let stored = left.unwrap_or_default();
        let mut day =
            FirstDay { wanted, begins, left, stored, over, counted: now, held, minute: (now, 0) };
        day.store_left(store)?; // the time in which it did not run does not count
        Ok(day)
    }

    /// Reads its notes again, after a rollback.
    pub fn reload(&mut self, store: &mut AlertStore) -> SinkResult {
        self.over = store.note(OVER)?.is_some();
        if store.note(LEFT)?.is_none() {
            self.left = None;
        }
        self.held = store.held_number()?;
        Ok(())
    }

    /// Lets it begin with a new device, if it may. Returns whether it begins.
    pub fn begin(&mut self, now: Instant, store: &mut AlertStore) -> SinkResult<bool> {
        if !self.begins || self.over || self.left.is_some() {
            return Ok(false);
        }
        (self.left, self.counted) = (Some(DAY), now);
        store.store_note(SINCE, UnixTime::now().seconds())?;
        self.store_left(store).map(|()| true)
    }

    /// How long it still lasts, if it has begun and is not over.
    pub fn left(&self) -> Option<Duration> {
        self.left.filter(|_| !self.over)
    }

    /// Holds an alert about a new device. Of a device that was forgotten on this day, the first one.
    pub fn hold(&mut self, alert: &Alert, now: Instant, store: &mut AlertStore) -> SinkResult {
        if now.saturating_duration_since(self.minute.0) >= MINUTE {
            self.minute = (now, 0);
        }
        if self.held >= HELD && self.minute.1 >= HELD_IN_MINUTE {
            let further = store.note(FURTHER)?.unwrap_or_default();
            return store.store_note(FURTHER, further + 1);
        }
        (self.held, self.minute.1) = (self.held + 1, self.minute.1 + 1);
        store.hold(alert)
    }

    /// Counts the time. Returns whether it ends now: its time is over, or an option ends it.
    pub fn ends(&mut self, now: Instant, store: &mut AlertStore) -> SinkResult<bool> {
        let Some(left) = self.left() else { return Ok(false) };
        let left = left.saturating_sub(now.saturating_duration_since(self.counted));
        (self.left, self.counted) = (Some(left), now);
        if left > Duration::ZERO && self.wanted {
            let is_due = left + STORE_INTERVAL <= self.stored;
            return if is_due { self.store_left(store).map(|()| false) } else { Ok(false) };
        }
        store.store_note(OVER, 1)?;
        self.over = true;
        Ok(true)
    }

    /// Stores how long it still lasts.
    pub fn store_left(&mut self, store: &mut AlertStore) -> SinkResult {
        let Some(left) = self.left() else { return Ok(()) };
        self.stored = left;
        let seconds = left.as_secs() as i64;
        store.store_note(UNTIL, UnixTime::now().seconds().saturating_add(seconds))?;
        store.store_note(LEFT, seconds)
    }

    /// The alerts that were held, in their order, and how many further ones there were; they are held no longer.
    pub fn take(&mut self, store: &mut AlertStore) -> SinkResult<(Vec<Alert>, u64)> {
        let further = store.note(FURTHER)?.unwrap_or_default() as u64;
        let (alerts, unread) = store.take_held()?;
        Ok((alerts, further + unread))
    }
}

/// `24 h`, `5 min`: rounded up.
pub fn shown(left: Duration) -> String {
    match left.as_secs() {
        seconds if seconds > 5400 => format!("{} h", seconds.div_ceil(3600)),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use aw_detect::{AlertKind, Device, Memory};
    use shm_layout::MacAddr;

    use super::*;
    use crate::notification::Notification;

    fn store() -> (tempfile::TempDir, AlertStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = AlertStore::open(directory.path()).unwrap();
        (directory, store)
    }

    fn mac(number: u32) -> MacAddr {
        let [.., a, b, c] = number.to_be_bytes();
        MacAddr::new([0, 8, 0xe1, a, b, c])
    }

    fn new(number: u32) -> Alert {
        Alert { mac: mac(number).to_string(), ..Alert::new(AlertKind::NewDevice, 5) }
    }

    /// It begins with an empty memory only, survives restarts and times in which it does not run, and ends once: by its time, or by
    /// an option. No time of an event and of a clock counts.
    #[test]
    fn a_day_of_running() {
        let (_directory, mut store) = store();
        let store = &mut store;
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        for (wanted, begins) in [(false, true), (true, false)] {
            let mut day = FirstDay::load(wanted, begins, now, store).unwrap();
            assert!(!day.begin(now, store).unwrap() && day.left().is_none());
        }
        let mut day = FirstDay::load(true, true, now, store).unwrap();
        assert!(!day.ends(now + 30 * hour, store).unwrap(), "it begins with a device");
        let now = now + 30 * hour;
        assert!(day.begin(now, store).unwrap() && !day.begin(now, store).unwrap());
        store.memory.store_device(mac(1), &Device::new(5)).unwrap();
        assert!(!day.ends(now + 20 * hour, store).unwrap());
        // A restart a week later.
        let now = now + 200 * hour;
        let mut day = FirstDay::load(true, true, now, store).unwrap();
        assert_eq!(day.left().map(shown).as_deref(), Some("4 h"));
        assert!(!day.ends(now + 3 * hour, store).unwrap());
        day.reload(store).unwrap();
        assert!(day.ends(now + 4 * hour, store).unwrap());
        assert!(!day.ends(now + 9 * hour, store).unwrap() && day.left().is_none());
        day.reload(store).unwrap();
        let again = FirstDay::load(true, true, now, store).unwrap();
        assert!(day.left().is_none() && again.left().is_none());

        let (_directory, mut store) = self::store();
        let mut day = FirstDay::load(true, true, now, &mut store).unwrap();
        assert!(day.begin(now, &mut store).unwrap());
        let mut day = FirstDay::load(false, true, now, &mut store).unwrap();
        assert!(day.ends(now, &mut store).unwrap(), "an option ends it");
        let (_directory, mut store) = self::store();
        store.memory.store_device(mac(1), &Device::new(5)).unwrap();
        let mut day = FirstDay::load(true, true, now, &mut store).unwrap();
        assert!(!day.begin(now, &mut store).unwrap(), "it knows devices");
    }

    /// A channel with hours sends no begin together with the end.
    #[test]
    fn the_begin_is_not_sent_after_the_end() {
        let (_directory, mut store) = store();
        let begin = Notification::of_first_day("s", "a day", 5, "here");
        let other = Notification::of_failure("mail", "\"kind\":\"learning\"", 5, "here");
        for message in [&begin, &other] {
            store.enqueue("guests", message).unwrap();
        }
        store.remove_first_day().unwrap();
        let (_, left) = store.next("guests").unwrap().unwrap();
        assert_eq!(left.fields, other.fields);
        assert_eq!(store.channels().unwrap(), [("guests".to_owned(), 1)]);
    }

    /// A begin that is rolled back begins again.
    #[test]
    fn a_rollback() {
        let (_directory, mut store) = store();
        let now = Instant::now();
        let mut day = FirstDay::load(true, true, now, &mut store).unwrap();
        store.commit().unwrap();
        assert!(day.begin(now, &mut store).unwrap());
        day.hold(&new(1), now, &mut store).unwrap();
        store.memory.roll_back();
        day.reload(&mut store).unwrap();
        assert_eq!((day.left(), day.held), (None, 0));
        assert!(day.begin(now, &mut store).unwrap());
    }

    /// A flood of invented devices, before the one that matters or after it, keeps it out of the list in its minute only.
    #[test]
    fn a_flood_hides_no_device() {
        for before in [true, false] {
            let (_directory, mut store) = store();
            let mut now = Instant::now();
            let mut day = FirstDay::load(true, true, now, &mut store).unwrap();
            day.begin(now, &mut store).unwrap();
            let intruder = new(1_000_000);
            let flood = |day: &mut FirstDay, now, store: &mut AlertStore| {
                (0..20_000).for_each(|number| day.hold(&new(number), now, store).unwrap());
                now + MINUTE
            };
            if before {
                now = flood(&mut day, now, &mut store);
            }
            day.hold(&intruder, now, &mut store).unwrap();
            if !before {
                flood(&mut day, now, &mut store);
            }
            let (held, further) = day.take(&mut store).unwrap();
            assert!(held.contains(&intruder), "{before}");
            assert_eq!(
                (held.len() as u64 + further, held.len()),
                (20_001, 1000 + usize::from(before))
            );
            assert_eq!(store.held_number().unwrap(), 0);
        }
    }
}

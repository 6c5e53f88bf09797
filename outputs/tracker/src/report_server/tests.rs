use std::path::Path;

use jiff::{ToSpan, civil::date, tz::TimeZone};
use shm_layout::UnixTime;

use super::*;
use crate::daily_logs::LogConfig;

fn maker(directory: &Path) -> PageMaker {
    let paths = ReportPaths {
        log_dir: directory.into(),
        report_dir: directory.into(),
        makers: aw_output::makers::Makers::new(directory),
        claimed: Arc::default(),
    };
    let config = LogConfig { names: Arc::default(), networks: Arc::default(), max_logs: 31 };
    PageMaker::new(paths, Arc::new(Mutex::new(Live::new(config))), 10)
}

fn noon() -> Zoned {
    date(2026, 11, 28).at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap()
}

fn text(page: &Arc<PageBytes>) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut Arc::clone(page).reader(), &mut text).unwrap();
    text
}

fn write_row(directory: &Path, mac: u8) {
    let row = format!(
        "02:00:00:00:00:{mac:02x} unknown 10.0.0.{mac} eth0 20261128 1159 1159 ...........1............\n"
    );
    let path = directory.join("macupd_tracker.20261128.log");
    let log = fs::read_to_string(&path).unwrap_or_default();
    fs::write(path, log + &row).unwrap();
}

/// However many ask, a page is made once a second at most; an unchanged day is not made again; a change and each minute are seen.
#[test]
fn pages_are_made_when_something_changed() {
    let directory = tempfile::tempdir().unwrap();
    let maker = maker(directory.path());
    let (begun, at) = (Instant::now(), noon());
    let number = || lock(&maker.made).number;
    let hour = Duration::from_secs(3_600);
    write_row(directory.path(), 1);
    assert!(text(&maker.page(begun, &at).unwrap()).contains("<b>1 online</b>"));
    write_row(directory.path(), 2);
    for _ in 0..1_000 {
        maker.page(begun + Duration::from_millis(999), &at).unwrap();
    }
    assert_eq!(number(), 1);
    assert!(text(&maker.page(begun + hour, &at).unwrap()).contains("<b>2 online</b>"));
    (2..9).for_each(|hours| drop(maker.page(begun + hour * hours, &at).unwrap()));
    assert_eq!(number(), 2);
    lock(&maker.live).set_unwritten(Some("write x: disk full".into()));
    let page = text(&maker.page(begun + hour * 9, &at).unwrap());
    assert!(page.contains("<bdi>The logs are not complete: write x: disk full</bdi>"), "{page}");
    let later = at.checked_add(20.minutes()).unwrap();
    assert!(text(&maker.page(begun + hour * 10, &later).unwrap()).contains("<b>0 online</b>"));
    assert_eq!(number(), 4);
}

/// What a device without a name calls itself is there as its claim.
#[test]
fn a_device_that_names_itself() {
    let directory = tempfile::tempdir().unwrap();
    let maker = maker(directory.path());
    write_row(directory.path(), 1);
    let (kind, time) = (shm_layout::NameKind::Lldp, UnixTime::new(7, 0));
    let mut record = shm_layout::NameRecord::new(kind, time, "eth0".parse().unwrap());
    record.mac = "02:00:00:00:00:01".parse().unwrap();
    record.name = shm_layout::NameText::cut("<nas>");
    assert!(lock(&maker.paths.claimed).add(&record));
    let page = text(&maker.page(Instant::now(), &noon()).unwrap());
    assert!(page.contains("calls itself “&lt;nas&gt;” (LLDP system name)</bdi>"), "{page}");
}

/// A page of the same minute says that the collector went silent, and that it is back.
#[test]
fn a_change_of_the_collector_makes_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let maker = maker(directory.path());
    let (begun, at) = (Instant::now(), noon());
    let second = |second: i64| at.checked_add(second.seconds()).unwrap();
    let heartbeat = |at: &Zoned| {
        let time = UnixTime::new(at.timestamp().as_second(), 0);
        let mut state = crate::activity_report::now::tests::state(Some(0), Some(0), true);
        (state.heartbeat, state.silent_since) = (Some(time), Some(time));
        lock(&maker.live).observe(&state);
    };
    let has_data = |number: u64, at: &Zoned| {
        let page = maker.page(begun + Duration::from_secs(3_600 * number), at).unwrap();
        !text(&page).contains("No data from the collector since 2026-11-28 12:00:00")
    };
    heartbeat(&at);
    assert!(has_data(0, &at) && has_data(1, &second(10)));
    assert!(!has_data(2, &second(11)));
    heartbeat(&second(12));
    assert!(has_data(3, &second(12)));
    assert_eq!(lock(&maker.made).number, 3);
}

/// Errors are no page of before: after them, a page is made again.
#[test]
fn no_directory_and_no_clock() {
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let maker = maker(&logs);
    let begun = Instant::now();
    let at = |hours: u64| begun + Duration::from_secs(3_600 * hours);
    let in_1970 = date(1970, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
    assert_eq!(maker.page(at(0), &in_1970).err(), Some(NO_CLOCK));
    assert!(maker.page(at(0), &noon()).is_ok());
    fs::remove_dir(&logs).unwrap();
    assert_eq!(maker.page(at(1), &noon()).err(), Some(NO_PAGE));
    fs::create_dir(&logs).unwrap();
    assert!(maker.page(at(2), &noon()).is_ok());
}

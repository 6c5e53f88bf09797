//! Spans of aw-sqlite: aw-query answers from compacted sightings as from each single one. Random histories are stored twice, and
//! one copy is compacted; both are asked all questions, at all kinds of times.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, fs, net::Ipv4Addr, path::Path};

use aw_tests::{
    collect::json,
    frames::{Arp, station},
    history::History,
    rig::{Run, run, wait_until},
    ring::Ring,
    sightings::{BEGIN, capture, capture_frames},
};
use rusqlite::{Connection, params};
use serde_json::Value;
use shm_layout::{Event, Kind, MacAddr, Origin, UnixTime, VlanId, Writer, WriterOptions};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

const SECOND: i64 = 1_000_000_000;
const BEGIN_NANOS: i64 = BEGIN as i64 * SECOND;
/// The histories last for so long: over a midnight of UTC.
const LENGTH: i64 = 30 * 3600;
const APART: i64 = 600 * SECOND;

/// A row: MAC, last number of the address, MAC that sent the frame or -1, time, origin.
type Row = (i64, u8, i64, i64, i64);

/// A MAC that sends its frames itself; one whose rows have no ring, as those of addrwatch.
const OWN: i64 = -1;
const RINGLESS: i64 = -2;
/// The address of a device that was seen just now, in each history: so the clock is right.
const SEEN_NOW: u8 = 9;

fn mac_text(number: i64) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

/// Sessions of devices with an address: some alone, some with others at the same time, of all kinds of evidence.
fn random_rows(random: &mut Random) -> Vec<Row> {
    const CLAIMS: [i64; 4] = [0, 1, 3, 4];
    let mut rows = Vec::new();
    for address in 1..=3 {
        for _ in 0..random.one_of(&[1, 1, 2, 4, 6]) {
            let mac = 1 + random.below(4) as i64;
            let source = random.one_of(&[-1, -1, -1, -1, 9]);
            let mut time = random.below(LENGTH as u64) as i64 * SECOND;
            let end = time + random.one_of(&[60, 900, 7_200, 40_000]) * SECOND;
            let period = random.one_of(&[20, 60, 290, 550, 605]);
            let kinds: &[i64] = random.one_of(&[
                &CLAIMS[..],
                &CLAIMS[..],
                &[0, 1, 7, 8],
                &[4, 7],
                &[7],
                &[8],
                &[2],
                &[5, 0],
                &[12],
                &[14, 1],
            ]);
            while time < end.min(LENGTH * SECOND) {
                let origin = random.one_of(kinds);
                rows.push((mac, address, source, BEGIN_NANOS + time, origin));
                if random.below(30) == 0 {
                    rows.push((mac, address, source, BEGIN_NANOS + time, origin));
                }
                let jitter = random.below(period as u64 / 4 + 1) as i64;
                let gap = if random.below(60) == 0 { 1 + random.below(1_500) as i64 } else { 0 };
                time += (period - jitter + gap) * SECOND + random.below(SECOND as u64) as i64;
            }
        }
    }
    rows
}

/// A database with these rows, and no others.
fn store(ring: &Ring, rows: &[Row]) -> History {
    let history = History::new();
    run(history.command(ring, &["--once"])).ok();
    let mut database = history.open().expect("a database");
    let transaction = database.transaction().unwrap();
    let empty = "DELETE FROM sighting; DELETE FROM recent_sighting; DELETE FROM pairing";
    transaction.execute_batch(empty).unwrap();
    let place: i64 = transaction.query_row("SELECT id FROM place", [], |row| row.get(0)).unwrap();
    let ringless = "INSERT INTO place (host, ring, interface, vlan, outer_vlan, router)
        SELECT host, '', interface, vlan, outer_vlan, router FROM place";
    let ringless = transaction.prepare(ringless).unwrap().insert([]).unwrap();
    let mut pairings = BTreeMap::new();
    let seen_now = (99, SEEN_NOW, OWN, now() - 10 * SECOND, 0);
    for (mac, address, source, time, origin) in rows.iter().chain([&seen_now]) {
        let next = pairings.len() as i64 + 1;
        let pairing = *pairings.entry((*mac, *address, *source)).or_insert(next);
        if pairing == next {
            let insert = "INSERT INTO pairing (id, address, mac, place, ip, source) VALUES (?, ?, ?, ?, ?, ?)";
            let (bytes, text) = ([10, 1, 2, *address], format!("10.1.2.{address}"));
            let mac = 0x0200_0000_0000 + mac;
            let place = if *source == RINGLESS { ringless } else { place };
            let source = if *source < 0 { -1 } else { 0x0200_0000_0000 + source };
            let row = params![pairing, &bytes[..], mac, place, text, source];
            transaction.execute(insert, row).unwrap();
        }
        let insert = "INSERT INTO sighting SELECT ?1, ?2, ?3, coalesce(max(again) + 1, 0)
            FROM sighting WHERE pairing = ?1 AND time = ?2 AND origin = ?3";
        transaction.execute(insert, [pairing, *time, *origin]).unwrap();
    }
    transaction.commit().unwrap();
    database.execute_batch(ANNOUNCED).unwrap();
    database.execute_batch("PRAGMA wal_checkpoint(truncate)").unwrap();
    history
}

/// The day is over for which old sightings wait.
const ANNOUNCED: &str = "UPDATE span_progress SET time = 1 WHERE until < 0 AND before = until;
    DELETE FROM raw_days; INSERT INTO raw_days VALUES (1)";

/// The time when the tests began.
fn now() -> i64 {
    static NOW: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *NOW.get_or_init(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_secs() as i64 * SECOND
    })
}

fn count(history: &History, table: &str) -> i64 {
    history.value(&format!("SELECT count(*) FROM {table}")).expect("a table")
}

/// A copy whose old sightings are compacted: all of them, because they are of 2026 and the clock is later.
fn compacted(ring: &Ring, history: &History) -> History {
    compacted_twice(ring, history, i64::MIN)
}

/// The same in two passes: first those from before a time.
fn compacted_twice(ring: &Ring, history: &History, middle: i64) -> History {
    let copy = copy_of(history);
    let begin = "UPDATE span_progress SET before = ?2, time = ?1";
    copy.open().unwrap().execute(begin, [i64::MIN, middle]).unwrap();
    compact(ring, &copy);
    copy
}

fn copy_of(history: &History) -> History {
    let copy = History::new();
    history.open().unwrap().execute_batch("PRAGMA wal_checkpoint(truncate)").unwrap();
    fs::copy(history.database(), copy.database()).unwrap();
    copy
}

/// Compacts what is older than a day.
fn compact(ring: &Ring, history: &History) {
    compact_after(ring, history, "1");
}

fn compact_after(ring: &Ring, history: &History, days: &str) {
    history.open().unwrap().execute_batch(ANNOUNCED).unwrap();
    run(history.command(ring, &["--once", "--raw-days", days])).ok();
    assert_eq!(history.value::<i64>(OVERLAPPING), Some(0), "spans overlap");
}

const OVERLAPPING: &str = "SELECT count(*) FROM sighting_span one JOIN sighting_span other
    ON other.pairing = one.pairing AND other.first > one.first AND other.first <= one.last";

/// All sightings, those of spans included.
fn sum(history: &History) -> i64 {
    let sum = "SELECT (SELECT count(*) FROM sighting) + (SELECT coalesce(sum(count), 0) FROM sighting_span)
        + (SELECT count(*) FROM recent_sighting)";
    history.value(sum).expect("a database")
}

/// Adds a file that was exported.
fn import(history: &History, file: &Path) -> String {
    let mut command = aw_tests::rig::program("aw-sqlite", &["--database"]);
    command.arg(history.database()).arg("import").arg(file);
    run(command).ok().stderr
}

/// Exports a history into a file beside it.
fn export(history: &History) -> std::path::PathBuf {
    let file = history.path().join("exported");
    fs::write(&file, run(history.query(&["export"])).ok().stdout).unwrap();
    file
}

/// A time as users write it; all are in November 2026.
fn text(nanos: i64) -> String {
    let (seconds, fraction) = (nanos.div_euclid(SECOND), nanos.rem_euclid(SECOND));
    let of_month = seconds - (i64::from(BEGIN) - 14 * 3600 - 19 * 86_400);
    let (day, second) = (1 + of_month / 86_400, of_month % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("2026-11-{day:02} {hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

/// The reverse, of an answer.
fn nanos(time: &Value) -> Option<i64> {
    let time = time.as_str()?;
    let number = |range: std::ops::Range<usize>| time[range].parse::<i64>().unwrap();
    let seconds = (number(8..10) - 1) * 86_400
        + number(11..13) * 3600
        + number(14..16) * 60
        + number(17..19)
        + (i64::from(BEGIN) - 14 * 3600 - 19 * 86_400);
    let digits: String = time[19..]
        .strip_prefix('.')
        .map_or(String::new(), |rest| rest.chars().take_while(char::is_ascii_digit).collect());
    Some(seconds * SECOND + format!("{digits:0<9}").parse::<i64>().unwrap())
}

fn ask(history: &History, question: &[&str]) -> Vec<Value> {
    let asked = run(history.query(&[question, &["--format", "json"]].concat()));
    let is_answer = [Some(0), Some(3)].contains(&asked.status.code());
    assert!(is_answer, "{question:?}: {}", asked.stderr);
    asked.stdout.lines().map(json).collect()
}

/// The fields of each row that must be the same, sorted.
fn fields(rows: &[Value], names: &[&str]) -> Vec<String> {
    let row =
        |row: &Value| names.iter().map(|name| row[name].to_string()).collect::<Vec<_>>().join(" ");
    let mut all: Vec<String> = rows.iter().map(row).collect();
    all.sort();
    all
}

/// Whether two times are the same, or at most ten minutes apart: where a span is cut, the single sighting is not known.
fn is_near(one: &Value, other: &Value) -> bool {
    one == other || nanos(one).zip(nanos(other)).is_some_and(|(a, b)| (a - b).abs() <= APART)
}

/// `who`: the same MACs with the same certainty; a time that differs is that of a span around the question, in which the single
/// sighting was near.
#[track_caller]
fn same_who(seed: u64, [raw, spans]: [&History; 2], address: u8, at: i64) {
    let (address, time) = (format!("10.1.2.{address}"), text(at));
    let question = ["who", &address, "--at", &time];
    let [raw, spans] = [raw, spans].map(|history| ask(history, &question));
    let shown = format!("seed {seed}, {question:?}:\n{raw:#?}\n{spans:#?}");
    let names = ["mac", "how_sure", "others", "frame_sources", "interface"];
    assert_eq!(fields(&raw, &names), fields(&spans, &names), "{shown}");
    for row in &raw {
        let other = spans.iter().find(|other| other["mac"] == row["mac"]).expect("the same MACs");
        for (side, is_before) in [("seen_before", true), ("seen_after", false)] {
            if row[side] == other[side] {
                continue;
            }
            let [single, span] = [row, other].map(|row| nanos(&row[side]).expect(&shown));
            let is_around = if is_before { span <= single } else { single <= span };
            assert!((single - at).abs() <= APART && is_around, "{side}: {shown}");
            let why = other["why"].to_string();
            assert!(why.contains("seen without a gap over ten minutes from"), "{shown}");
        }
    }
}

/// Questions about times: whole ones are answered in everything as before, also in numbers. Where a range begins or ends within a
/// span, the times there differ by ten minutes at most.
#[track_caller]
fn same_answer(seed: u64, [raw, spans]: [&History; 2], question: &[&str], is_whole: bool) {
    let [mut raw, mut spans] = [raw, spans].map(|history| ask(history, question));
    if !is_whole {
        // The latest comes first, and when it was is not known.
        for row in raw.iter_mut().chain(&mut spans) {
            if let Some(addresses) = row["addresses"].as_array_mut() {
                addresses.sort_by_key(Value::to_string);
            }
        }
    }
    let shown = || format!("seed {seed}, {question:?}:\n{raw:#?}\n{spans:#?}");
    if is_whole {
        let sorted = |rows: &[Value]| {
            let mut all: Vec<String> = rows.iter().map(Value::to_string).collect();
            all.sort();
            all
        };
        assert_eq!(sorted(&raw), sorted(&spans), "{}", shown());
        return;
    }
    let names = [
        "mac",
        "address",
        "change",
        "before",
        "left_out",
        "addresses",
        "frame_sources",
        "interface",
    ];
    assert_eq!(fields(&raw, &names), fields(&spans, &names), "{}", shown());
    let key = |row: &Value| {
        names.map(|name| row[name].to_string()).join(" ") + &row["first_seen"].to_string()
    };
    let sorted = |rows: &[Value]| {
        let mut rows = rows.to_vec();
        rows.sort_by_cached_key(key);
        rows
    };
    for (one, other) in sorted(&raw).iter().zip(&sorted(&spans)) {
        for time in ["first_seen", "last_seen", "time", "before_last_seen"] {
            assert!(is_near(&one[time], &other[time]), "{time}: {}", shown());
        }
    }
}

/// The seeds of a test: AW_SPAN_SEEDS of them, from AW_SPAN_FIRST on.
fn seeds(number: u64) -> std::ops::Range<u64> {
    let value = |name| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let first = value("AW_SPAN_FIRST").unwrap_or(1);
    first..first + value("AW_SPAN_SEEDS").unwrap_or(number)
}

/// All questions, at random times and beside the ends of spans.
#[track_caller]
fn same_answers(seed: u64, random: &mut Random, both: [&History; 2]) {
    let ends = ends(both[1]);
    for address in 1..=3 {
        for _ in 0..8 {
            let at = BEGIN_NANOS + random.below(LENGTH as u64 * 1_000) as i64 * 1_000_000;
            same_who(seed, both, address, at);
        }
        let of_address: Vec<i64> =
            ends.iter().filter(|end| end.0 == address).map(|end| end.1).collect();
        for _ in 0..if of_address.is_empty() { 0 } else { 10 } {
            let beside = random.one_of(&[-APART - 1, -APART, -1, 0, 1, APART, APART + 1]);
            same_who(seed, both, address, random.one_of(&of_address) + beside);
        }
        let address = format!("10.1.2.{address}");
        same_answer(seed, both, &["ip", &address], true);
        same_answer(seed, both, &["ip", &address, "--all"], true);
    }
    for mac in 1..=4 {
        same_answer(seed, both, &["mac", &mac_text(mac)], true);
        for _ in 0..4 {
            let at = BEGIN_NANOS + random.below(LENGTH as u64 * 1_000) as i64 * 1_000_000;
            let (mac, at) = (mac_text(mac), text(at));
            let [raw, spans] = both.map(|history| ask(history, &["mac", &mac, "--at", &at]));
            let names = ["mac", "address", "how_sure", "others", "frame_sources", "interface"];
            let shown = format!("seed {seed}, {mac} at {at}:\n{raw:#?}\n{spans:#?}");
            assert_eq!(fields(&raw, &names), fields(&spans, &names), "{shown}");
        }
    }
    same_answer(seed, both, &["changes"], true);
    same_answer(seed, both, &["devices", "--count"], true);
    for _ in 0..4 {
        let from = BEGIN_NANOS + random.below(LENGTH as u64) as i64 * SECOND;
        let to = from + (700 + random.below(40_000) as i64) * SECOND;
        let (from, to) = (text(from), text(to));
        let range = ["--from", &from, "--to", &to];
        let (address, mac) =
            (format!("10.1.2.{}", 1 + random.below(3)), mac_text(1 + random.below(4) as i64));
        for question in [&["ip", &address][..], &["mac", &mac], &["changes"], &["devices"]] {
            same_answer(seed, both, &[question, &range].concat(), false);
        }
    }
}

/// A device that is alone with its address, and is seen once a minute until before midnight of UTC.
const REGULAR: u8 = 8;
const MINUTES: i64 = 599;

fn regular_rows(minutes: std::ops::Range<i64>) -> impl Iterator<Item = Row> {
    minutes.map(|minute| (8, REGULAR, OWN, BEGIN_NANOS + minute * 60 * SECOND, 0))
}

/// The spans and the single sightings of an address.
fn of_address(history: &History, address: u8) -> (i64, i64) {
    let count = |table: &str| {
        let of = format!("SELECT id FROM pairing WHERE ip = '10.1.2.{address}'");
        history.value(&format!("SELECT count(*) FROM {table} WHERE pairing IN ({of})"))
    };
    (count("sighting_span").expect("a table"), count("sighting").expect("a table"))
}

/// The same of the addresses of random rows.
fn of_random(history: &History) -> (i64, i64) {
    let all = (1..=3).map(|address| of_address(history, address));
    all.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
}

#[test]
fn compacted_histories_answer_as_before() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let (mut single, mut left, mut made) = (0, 0, 0);
    for seed in seeds(6) {
        let random = &mut Random(seed);
        let mut rows = random_rows(random);
        single += rows.len() as i64;
        rows.extend(regular_rows(0..MINUTES));
        let raw = store(&ring, &rows);
        let middle = BEGIN_NANOS + random.below(LENGTH as u64) as i64 * SECOND;
        let spans = compacted_twice(&ring, &raw, middle);
        assert_eq!(sum(&spans), sum(&raw), "seed {seed}");
        assert_eq!(of_address(&spans, REGULAR), (1, 0), "seed {seed}");
        let of_random = of_random(&spans);
        (made, left) = (made + of_random.0, left + of_random.1);
        same_answers(seed, random, [&raw, &spans]);
    }
    assert!(
        made > 0 && left * 4 < single * 3,
        "{made} spans, {left} of {single} sightings are left"
    );
}

/// A minute of each presence again without a ring, with whole seconds, as an import of addrwatch's table leaves it.
fn with_ringless(random: &mut Random, rows: &mut Vec<Row>) {
    let own: Vec<Row> = rows.iter().filter(|row| row.2 == OWN).copied().collect();
    for (mac, address, _, time, origin) in own {
        if mac != 4 && random.below(3) == 0 {
            rows.push((mac, address, RINGLESS, time - time.rem_euclid(SECOND), origin));
        }
    }
}

/// The rows that come later: those of an address from before a time in which no MAC used it, which an import adds; and some of a MAC that
/// nothing else is near, which come late.
fn later_rows(random: &mut Random, rows: &[Row]) -> (Vec<Row>, Vec<Row>) {
    const FAR: i64 = 45 * 60 * SECOND;
    let (mut imported, mut late) = (Vec::new(), Vec::new());
    let cut = |address: u8, random: &mut Random| {
        let of_address = |row: &&Row| row.1 == address;
        let cut = BEGIN_NANOS + random.below(LENGTH as u64) as i64 * SECOND;
        let is_far = rows.iter().filter(of_address).all(|row| (row.3 - cut).abs() > FAR);
        let has_ring = rows.iter().filter(of_address).all(|row| row.2 != RINGLESS);
        (is_far && has_ring).then_some(cut)
    };
    let cuts: Vec<Option<i64>> =
        (1..=3).map(|address| (0..20).find_map(|_| cut(address, random))).collect();
    let mut previous = None;
    for row in rows {
        let (mac, address, source, time, origin) = *row;
        // The second one of two that are equal comes with the first one.
        let is_again = previous.replace(row) == Some(row);
        if cuts[usize::from(address) - 1].is_some_and(|cut| time < cut) {
            imported.push(*row);
        } else if is_again {
            late.extend(late.last().copied().filter(|last| last == row));
        } else if source == OWN && [0, 1, 3, 4, 7, 8].contains(&origin) && random.below(8) == 0 {
            let is_alone = rows.iter().all(|(other, of, sent, at, _)| {
                *of != address || (*other == mac && *sent < 0) || (at - time).abs() > FAR
            });
            if is_alone {
                late.push(*row);
            }
        }
    }
    (imported, late)
}

/// Rows of pairings that are known come late: ARP messages in the ring, which both histories read. IPv4 addresses have no other ones.
fn publish_late(ring: &Ring, rows: &[Row], both: [&History; 2]) {
    let options = WriterOptions {
        name: ring.name().parse().unwrap(),
        slots: WriterOptions::DEFAULT_SLOTS,
        group: None,
        host: Some("here".into()),
    };
    let mut writer = Writer::create(&options).unwrap();
    let name = "eth0".parse().unwrap();
    let interface = writer.interface(name);
    for (mac, address, _, time, origin) in rows {
        let mac = MacAddr::new([2, 0, 0, 0, 0, *mac as u8]);
        let event = Event {
            time: UnixTime::from_nanos(*time),
            address: Ipv4Addr::new(10, 1, 2, *address).to_ipv6_mapped(),
            interface: name,
            mac,
            source: mac,
            vlan: VlanId::NONE,
            outer_vlan: VlanId::NONE,
            kind: Kind::Pairing(if *origin == 0 { Origin::ArpRequest } else { Origin::ArpReply }),
            router: Ipv4Addr::UNSPECIFIED,
        };
        writer.publish(interface, &event);
    }
    for history in both {
        run(history.command(ring, &["--once"])).ok();
    }
}

/// The others, as aw-sqlite stores them.
fn add_late(history: &History, rows: &[Row]) {
    let database = history.open().unwrap();
    for (mac, address, _, time, origin) in rows {
        let pairing = "SELECT pairing.id FROM pairing JOIN place ON place.id = place
            WHERE address = ?1 AND mac = ?2 AND source < 0 AND ring <> ''";
        let row = params![&[10, 1, 2, *address][..], 0x0200_0000_0000 + mac];
        let pairing: i64 = database.query_row(pairing, row, |row| row.get(0)).unwrap();
        let insert = "INSERT INTO sighting SELECT ?1, ?2, ?3, coalesce(max(again) + 1, 0)
            FROM sighting WHERE pairing = ?1 AND time = ?2 AND origin = ?3";
        database.execute(insert, [pairing, *time, *origin]).unwrap();
        let late = "INSERT INTO late_pairing VALUES (?, ?) ON CONFLICT DO UPDATE SET time = min(time, excluded.time)";
        database.execute(late, [pairing, *time]).unwrap();
    }
}

/// A copy whose clock was last trusted when its sightings are from: now it is ahead.
fn with_clock_ahead(history: &History) -> History {
    let copy = copy_of(history);
    let trusted = "UPDATE clock_check SET trusted = ?, doubted = NULL";
    assert_eq!(copy.open().unwrap().execute(trusted, [BEGIN_NANOS]).unwrap(), 1);
    copy
}

/// Histories that change between the passes: an import of older rows, rows that come late, rows without a ring beside those with one, a
/// start with a clock that is ahead, deletes, and a move of all to another database. They answer as the raw ones, and each sighting is counted
/// once.
#[test]
fn histories_that_change_answer_as_before() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let (mut made, mut imported, mut late) = (0, 0, 0);
    for seed in seeds(6) {
        let random = &mut Random(seed ^ 0x5e0_0000);
        let mut rows = random_rows(random);
        if seed % 2 == 0 {
            with_ringless(random, &mut rows);
        }
        let (mut old_rows, mut late_rows) = later_rows(random, &rows);
        rows.extend(regular_rows(0..MINUTES));
        // Those between two spans, and one within the second.
        let within = (8, REGULAR, OWN, BEGIN_NANOS + (300 * 60 + 30) * SECOND, 0);
        rows.push(within);
        late_rows.extend(regular_rows(200..300).chain([within]));
        old_rows.extend((0..100).map(|n| (7, 7, OWN, BEGIN_NANOS + n * 60 * SECOND, 1)));
        rows.extend(&old_rows[old_rows.len() - 100..]);
        let later = |row: &&Row| !old_rows.contains(row) && !late_rows.contains(row);
        let mut first: Vec<Row> = rows.iter().filter(later).copied().collect();
        // Their pairings are known.
        for row in &late_rows {
            let is_known =
                first.iter().any(|known| (known.0, known.1, known.2) == (row.0, row.1, row.2));
            if !is_known {
                first.extend(late_rows.iter().filter(|other| *other == row));
            }
        }
        let late_rows: Vec<Row> =
            late_rows.iter().filter(|row| !first.contains(row)).copied().collect();
        let raw = store(&ring, &first);
        // With a clock that is ahead, nothing is compacted.
        let ahead = with_clock_ahead(&raw);
        let ahead_run = run(ahead.command(&ring, &["--once", "--raw-days", "1"])).ok();
        let reported = "days ahead of the last run: no sightings are compacted for an hour";
        assert!(ahead_run.stderr.contains(reported), "{}", ahead_run.stderr);
        assert_eq!(count(&ahead, "sighting_span"), 0, "seed {seed}");
        let middle = BEGIN_NANOS + random.below(LENGTH as u64) as i64 * SECOND;
        let spans = compacted_twice(&ring, &raw, middle);
        assert_eq!(sum(&spans), sum(&raw), "seed {seed}");
        assert_eq!(of_address(&spans, REGULAR), (2, 0), "seed {seed}");
        let both = [&raw, &spans];
        let older = store(&ring, &old_rows);
        let file = export(&older);
        let (of_ring, others): (Vec<Row>, Vec<Row>) =
            late_rows.iter().partition(|row| [0, 1].contains(&row.4));
        for history in both {
            import(history, &file);
            add_late(history, &others);
        }
        publish_late(&ring, &of_ring, both);
        (imported, late) = (imported + old_rows.len() - 100, late + of_ring.len() - 101);
        assert_eq!(sum(&spans), sum(&raw), "seed {seed}");
        assert_eq!(sum(&raw), rows.len() as i64 + 1, "seed {seed}");
        same_answers(seed, random, both);
        compact(&ring, &spans);
        assert_eq!(sum(&spans), sum(&raw), "seed {seed}");
        assert_eq!(of_address(&spans, REGULAR), (1, 0), "seed {seed}: joined");
        assert_eq!(of_address(&spans, 7), (1, 0), "seed {seed}: of the import");
        made += of_random(&spans).0;
        same_answers(seed, random, both);
        // All of it elsewhere, and from there elsewhere. Of spans with a ring and without one that are copies, an import may add one; it never adds
        // more than there was.
        let (other, third) = (History::new(), History::new());
        import(&other, &export(&spans));
        import(&third, &export(&other));
        for other in [&other, &third] {
            assert!(sum(other) <= sum(&spans), "seed {seed}: {} of {}", sum(other), sum(&spans));
            if seed % 2 == 1 {
                assert_eq!(sum(other), sum(&spans), "seed {seed}");
            }
            assert_eq!(presences(other), presences(&spans), "seed {seed}");
        }
        if seed % 2 == 1 {
            same_answers(seed, random, [&raw, &third]);
        }
        // Deletes of an address, and of what is older than a time in no span.
        let ends: Vec<i64> = ends(&spans).iter().map(|end| end.1).collect();
        let select = "SELECT count(*) FROM sighting_span WHERE first < ?1 AND last >= ?1";
        let in_spans = |time: i64| -> i64 {
            spans.open().unwrap().query_row(select, [time], |row| row.get(0)).unwrap()
        };
        let time = (0..50).map(|_| ends.get(random.below(ends.len().max(1) as u64) as usize));
        let time = time.flatten().map(|end| end - end.rem_euclid(SECOND) + SECOND);
        let time = { time }.find(|time| in_spans(*time) == 0).unwrap_or(BEGIN_NANOS);
        let delete = format!(
            "DELETE FROM addrwatch WHERE timestamp < {} OR ip_address = '10.1.2.{}'",
            time / SECOND,
            1 + random.below(3)
        );
        for history in both {
            history.open().unwrap().execute_batch(&delete).unwrap();
        }
        assert_eq!(sum(&spans), sum(&raw), "seed {seed}: {delete}");
        same_answers(seed, random, both);
        compact(&ring, &spans);
        same_answers(seed, random, both);
    }
    assert!(made > 0 && imported > 0 && late > 0, "{made} {imported} {late}");
}

/// An export that is interrupted by a compaction, again and again, has each sighting once: those that were printed as single ones, and spans of
/// the others.
#[test]
fn an_export_during_compaction() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let mut resumed = 0;
    for seed in seeds(2) {
        let random = &mut Random(seed);
        // A line is about 130 bytes, so they are some MiB: after each, the export looks whether the database has changed.
        let begin = now() - 12 * 86_400 * SECOND;
        let mut time = begin;
        let mut rows: Vec<Row> = Vec::new();
        for _ in 0..30_000 {
            let origin = random.one_of(&[0, 0, 0, 1, 1, 7, 8]);
            rows.push((1, 1, OWN, time, origin));
            let gap = if random.below(2_000) == 0 { 700 } else { 0 };
            time += (1 + random.below(20) as i64 + gap) * SECOND;
        }
        rows.push((2, 1, OWN, begin + random.below(200_000) as i64 * SECOND, 0));
        let raw = store(&ring, &rows);
        let copy = copy_of(&raw);
        let mut command = copy.query(&["export"]);
        command.stdout(std::process::Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut output = process.stdout.take().unwrap();
        let (mut exported, mut buffer) = (Vec::new(), vec![0; 300_000]);
        // The pipe has less room than a MiB: it waits in the middle of one until this test reads on. Each pass compacts a day more.
        let mut passes = ["11", "10", "9", "8"].iter();
        loop {
            let read = std::io::Read::read(&mut output, &mut buffer).unwrap();
            exported.extend_from_slice(&buffer[..read]);
            if exported.len() > (4 - passes.len()) * 700_000
                && let Some(days) = passes.next()
            {
                compact_after(&ring, &copy, days);
                let copied = "PRAGMA wal_checkpoint(truncate)";
                copy.open().unwrap().execute_batch(copied).unwrap();
            }
            if read == 0 {
                break;
            }
        }
        assert!(process.wait().unwrap().success());
        assert_eq!(passes.len(), 0);
        let file = copy.path().join("exported");
        let text = String::from_utf8(exported).unwrap();
        // Spans that begin before the position where the export resumed.
        let mut position = String::new();
        for line in text.lines().map(json).filter(|line| line["mac"] == mac_text(1)) {
            let time = line["time"].as_str().expect("a time").to_owned(); // of whole seconds
            resumed += usize::from(line["until"].is_string() && time < position);
            position = position.max(time);
        }
        fs::write(&file, text).unwrap();
        let other = History::new();
        import(&other, &file);
        assert_eq!(sum(&other), sum(&raw), "seed {seed}");
        import(&other, &file);
        assert_eq!(sum(&other), sum(&raw), "seed {seed}");
        assert_eq!(other.value::<i64>(OVERLAPPING), Some(0));
        for question in [&["ip", "10.1.2.1"][..], &["mac", &mac_text(1)], &["devices", "--count"]] {
            same_answer(seed, [&raw, &other], question, true);
        }
        compact(&ring, &other);
        assert_eq!(sum(&other), sum(&raw) + 1, "seed {seed}: and the event of the ring");
        same_answer(seed, [&raw, &other], &["ip", "10.1.2.1"], true);
    }
    assert!(resumed > 0);
}

/// The clock is ahead at a start, and events with its time come: neither they nor a restart confirm it, and nothing is compacted; nor is
/// anything deleted. An hour later, by the clock, it is trusted.
#[test]
fn a_clock_that_is_ahead() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let rows: Vec<Row> = (0..100).map(|n| (1, 1, OWN, BEGIN_NANOS + n * 60 * SECOND, 0)).collect();
    let history = with_clock_ahead(&store(&ring, &rows));
    let later = u32::try_from(now() / SECOND).unwrap() - BEGIN;
    for round in 0..4 {
        capture(&ring, &[(later + round, 1, 7, 0)]);
        let options = ["--once", "--raw-days", "1", "--retention", "2"];
        let run = run(history.command(&ring, &options)).ok();
        let reported = "days ahead of the last run: nothing is deleted or compacted for an hour";
        assert_eq!(run.stderr.contains(reported), round == 0, "{}", run.stderr);
        assert_eq!(sum(&history), 101 + 1 + i64::from(round));
        assert_eq!(count(&history, "sighting_span"), 0);
    }
    compact(&ring, &history);
    assert_eq!(count(&history, "sighting_span"), 0);
    let waited = "UPDATE clock_check SET doubted = doubted - 3600000000000";
    history.open().unwrap().execute_batch(waited).unwrap();
    compact(&ring, &history);
    assert_eq!(count(&history, "sighting_span"), 1);
}

/// A page of old sightings is damaged: that is reported, events are stored, and the sightings of other pairings are compacted, and deleted.
#[test]
fn a_damaged_page() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let row = |n: i64, mac: i64| (mac, mac as u8, OWN, BEGIN_NANOS + n * 20 * SECOND, 0);
    let rows: Vec<Row> = (0..1_500).flat_map(|n| [row(n, 1), row(n, 2)]).collect();
    let history = store(&ring, &rows);
    // The first leaf of the table, which has the oldest rows of the first pairing.
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'sighting'";
    let root = history.value::<i64>(root).unwrap() as usize;
    let mut file = fs::read(history.database()).unwrap();
    let size = usize::from(u16::from_be_bytes([file[16], file[17]]));
    let page = (root - 1) * size;
    assert_eq!(file[page], 2, "an inner page");
    let cell = page + usize::from(u16::from_be_bytes([file[page + 12], file[page + 13]]));
    let leaf = u32::from_be_bytes(file[cell..cell + 4].try_into().unwrap()) as usize;
    file[(leaf - 1) * size] = 0;
    fs::write(history.database(), file).unwrap();
    let output = history.start(&ring, &["--raw-days", "1"]);
    output.stderr.wait_for("compact old sightings: database disk image is malformed");
    output.stderr.wait_for("pairing 1 is left out until the next start");
    let of_second = "SELECT count FROM sighting_span WHERE pairing = 2";
    wait_until("others are compacted", || history.value::<i64>(of_second) == Some(1_500));
    capture(&ring, &[(60, 1, 3, 0), (61, 1, 4, 0)]);
    wait_until("events are stored", || {
        history.checkpoint(&ring).is_some_and(|checkpoint| checkpoint.next() == 3)
    });
    output.stop().ok();
    let output = history.start(&ring, &["--retention", "2"]);
    output.stderr.wait_for("delete old sightings: database disk image is malformed");
    output.stderr.wait_for("pairing 1 is left out until the next start");
    wait_until("others are deleted", || history.value::<i64>(of_second).is_none());
    output.stop().ok();
}

/// The ends of all spans, with the last number of their address.
fn ends(history: &History) -> Vec<(u8, i64)> {
    let database = Connection::open(history.database()).unwrap();
    let select = "SELECT ip, first, last FROM sighting_span JOIN pairing ON pairing.id = pairing";
    let mut select = database.prepare(select).unwrap();
    let rows = select
        .query_map([], |row| {
            let ip: String = row.get(0)?;
            let address = ip.rsplit('.').next().unwrap().parse().unwrap();
            Ok([(address, row.get(1)?), (address, row.get(2)?)])
        })
        .unwrap();
    rows.flat_map(Result::unwrap).collect()
}

/// A device that answers every 30 s for ten hours: one span, of which the view shows both ends. Deleting one of them as old deletes what
/// is between, and deleting both leaves nothing; retention cuts.
#[test]
fn a_span_in_the_view() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let rows: Vec<Row> =
        (0..1_000).map(|n| (1, 3, -1, BEGIN_NANOS + n * 30 * SECOND, n % 2)).collect();
    let raw = store(&ring, &rows);
    let times = |history: &History| -> Vec<i64> {
        let rows = history.rows("addrwatch").into_iter().filter(|row| row.4 == "10.1.2.3");
        rows.map(|row| row.0 - i64::from(BEGIN)).collect()
    };
    let spans = compacted(&ring, &raw);
    assert_eq!((count(&spans, "sighting"), count(&spans, "sighting_span")), (1, 1));
    assert_eq!(times(&spans), [0, 29_970]);
    let table =
        run(spans.query(&["who", "10.1.2.3", "--at", &text(BEGIN_NANOS + 3600 * SECOND)])).ok();
    let seen = "seen without a gap over ten minutes from 1 h 0 min before to 7 h 19 min after";
    assert!(table.stdout.contains(seen), "{}", table.stdout);
    let execute = |sql: &str| spans.open().unwrap().execute_batch(sql).unwrap();
    execute(&format!("DELETE FROM addrwatch WHERE timestamp < {BEGIN} + 10"));
    assert_eq!(times(&spans), [29_970]);
    execute("DELETE FROM addrwatch");
    assert_eq!((times(&spans), count(&spans, "sighting_span")), (vec![], 0));
    // An import adds nothing that is in a span.
    let spans = compacted(&ring, &raw);
    let report = import(&spans, &export(&raw));
    assert!(report.contains("0 rows added"), "{report}");
    assert_eq!((count(&spans, "sighting"), count(&spans, "sighting_span")), (1, 1));
    // A time within a span has no row: what deletes it must name the day, in which the span lies.
    let execute = |sql: &str| spans.open().unwrap().execute_batch(sql).unwrap();
    let (from, to) = (BEGIN + 7200, BEGIN + 10_800);
    let delete = "DELETE FROM addrwatch WHERE ip_address = '10.1.2.3' AND timestamp";
    execute(&format!("{delete} BETWEEN {from} AND {to}"));
    assert_eq!(times(&spans), [0, 29_970]);
    execute(&format!("{delete} / 86400 BETWEEN {from} / 86400 AND {to} / 86400"));
    assert_eq!((times(&spans), count(&spans, "sighting_span")), (vec![], 0));
    let at = text(BEGIN_NANOS + 9000 * SECOND);
    assert_eq!(ask(&spans, &["who", "10.1.2.3", "--at", &at]), Vec::<Value>::new());
}

/// All rows of both tables, with what identifies their pairing.
fn all_rows(history: &History) -> Vec<String> {
    let select = "SELECT host || ring || interface || vlan || ip || mac || source || rest FROM (
        SELECT pairing, ' ' || time || ' ' || origin || ' ' || again AS rest FROM sighting
        UNION ALL SELECT pairing, ' ' || first || ' ' || last || ' ' || count || ' ' || first_origin || ' ' || last_origin
        FROM sighting_span) JOIN pairing ON pairing.id = pairing JOIN place ON place.id = place ORDER BY 1";
    let database = history.open().expect("a database");
    let mut select = database.prepare(select).unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The seconds in which a MAC had an address, or proved something else about it: from and to, and how.
fn presences(history: &History) -> Vec<(String, i64, i64)> {
    let select = "SELECT ip || ' ' || mac || ' ' || source || rest, first / 1000000000, last / 1000000000 FROM (
        SELECT pairing, first, last, '' AS rest FROM sighting_span
        UNION ALL SELECT pairing, time, time, CASE WHEN origin IN (0, 1, 3, 4, 7, 8) THEN '' ELSE ' ' || origin END FROM sighting)
        JOIN pairing ON pairing.id = pairing ORDER BY 1, 2, 3";
    let database = history.open().expect("a database");
    let mut select = database.prepare(select).unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let mut all: Vec<(String, i64, i64)> = rows.map(Result::unwrap).collect();
    all.dedup_by(|next, known| {
        let is_in = next.0 == known.0 && next.1 <= known.2;
        known.2 = if is_in { known.2.max(next.2) } else { known.2 };
        is_in
    });
    all
}

/// A compacted history that moves is the same elsewhere, and moves once; into the history that it was made from, nothing is added.
#[test]
fn spans_move() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let (mut made, other) = (0, History::new());
    for seed in 100..104 {
        let rows = random_rows(&mut Random(seed));
        let raw = store(&ring, &rows);
        let spans = compacted(&ring, &raw);
        made += count(&spans, "sighting_span");
        let file = export(&spans);
        let import = |history: &History| import(history, &file);
        let empty = History::new();
        let first = import(&empty);
        assert!(first.contains(", 0 were there already"), "{first}");
        assert_eq!(all_rows(&empty), all_rows(&spans), "seed {seed}");
        for history in [&empty, &raw] {
            let report = import(history);
            assert!(report.contains(": 0 rows added"), "{report}");
        }
        assert_eq!(count(&raw, "sighting_span"), 0);
        for address in ["10.1.2.1", "10.1.2.2", "10.1.2.3"] {
            same_answer(seed, [&raw, &empty], &["ip", address], true);
        }
        import(&other);
    }
    assert!(made > 0);
}

/// Sightings without a ring that are within the spans of two rings move once: their number stays the same, however often they move.
#[test]
fn sightings_within_two_spans_move() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let at = |second: i64| BEGIN_NANOS + second * SECOND;
    let mut rows: Vec<Row> = (0..10).map(|n| (1, 3, OWN, at(60 * n), 0)).collect();
    rows.extend((0..10).map(|n| (1, 3, 9, at(60 * n + 130), 0)));
    rows.extend([60, 200, 900].map(|second| (1, 3, RINGLESS, at(second), 1)));
    let raw = store(&ring, &rows);
    // What another MAC sent becomes what another ring captured.
    let other_ring = "INSERT INTO place SELECT id + 100, host, 'other', interface, vlan, outer_vlan, router FROM place WHERE ring <> '';
        UPDATE pairing SET source = -1, place = place + 100 WHERE source > 0";
    raw.open().unwrap().execute_batch(other_ring).unwrap();
    let mut history = compacted(&ring, &raw);
    assert_eq!(of_address(&history, 3), (2, 3));
    let (all, presences_of_all) = (sum(&history), presences(&history));
    for _ in 0..3 {
        let next = History::new();
        import(&next, &export(&history));
        assert_eq!((sum(&next), presences(&next)), (all, presences_of_all.clone()));
        history = next;
    }
}

/// A compaction that is killed at any moment, several times: each sighting is counted once, and when it has ended, the answers are those
/// from before.
#[test]
fn a_killed_compaction_resumes() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let mut rows = random_rows(&mut Random(7));
    rows.extend((10..250).map(|address| (1, address, -1, BEGIN_NANOS, 0)));
    let raw = store(&ring, &rows);
    let more = format!(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 3000)
        INSERT INTO sighting SELECT id, {BEGIN_NANOS} + n * 20 * {SECOND}, n % 2, 0
        FROM pairing CROSS JOIN numbers WHERE substr(ip, 8) + 0 >= 10;
        PRAGMA wal_checkpoint(truncate)"
    );
    raw.open().unwrap().execute_batch(&more).unwrap();
    let all = Some(rows.len() as i64 + 1 + 240 * 3_000);
    assert_eq!(raw.value("SELECT count(*) FROM sighting"), all);
    let copy = History::new();
    fs::copy(raw.database(), copy.database()).unwrap();
    let sum = "SELECT (SELECT count(*) FROM sighting) + (SELECT coalesce(sum(count), 0) FROM sighting_span)";
    let (random, mut partly) = (&mut Random(1), 0);
    for number in 0..20 {
        let output = copy.start(&ring, &["--raw-days", "1"]);
        if number == 0 {
            wait_until("spans", || count(&copy, "sighting_span") > 0);
        } else {
            std::thread::sleep(std::time::Duration::from_millis(random.below(150)));
        }
        output.kill();
        assert_eq!(copy.value(sum), all);
        partly += i64::from(count(&copy, "sighting") > 10_000);
        let address = format!("10.1.2.{}", 10 + random.below(240));
        same_answer(1, [&raw, &copy], &["ip", &address], true);
    }
    assert!(partly > 0, "no kill was in the middle");
    run(copy.command(&ring, &["--once", "--raw-days", "1"])).ok();
    assert_eq!(copy.value(sum), all);
    assert!(count(&copy, "sighting") < 10_000);
    same_answer(1, [&raw, &copy], &["devices", "--count"], true);
    same_answer(1, [&raw, &copy], &["changes"], true);
}

/// Retention deletes spans with the sightings, and cuts those that last longer; and a row in the view of its pairing stays.
#[test]
fn retention_of_spans() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let (now, day) = (now(), 86_400 * SECOND);
    let midnight = now - now.rem_euclid(day);
    // All day, for days: 20 to 2 days ago.
    let rows: Vec<Row> =
        (0..18 * 144).map(|n| (1, 3, -1, midnight - 20 * day + n * 600 * SECOND, 0)).collect();
    let raw = store(&ring, &rows);
    let copy = History::new();
    fs::copy(raw.database(), copy.database()).unwrap();
    run(copy.command(&ring, &["--once", "--raw-days", "1"])).ok();
    assert_eq!(count(&copy, "sighting_span"), 18);
    run(copy.command(&ring, &["--once", "--raw-days", "1", "--retention", "10"])).ok();
    let kept: i64 = copy.value("SELECT min(first) FROM sighting_span").unwrap();
    assert!(kept >= now - 10 * day && kept < now - 9 * day, "{kept}");
    let left: i64 = copy.value("SELECT sum(count) FROM sighting_span").unwrap();
    let expected = rows.iter().filter(|row| row.1 == 3 && row.3 >= kept).count() as i64;
    assert!((left - expected).abs() <= 2, "{left}, {expected}");
    assert_eq!(count(&copy, "sighting"), 1);
    run(copy.command(&ring, &["--once", "--raw-days", "1", "--retention", "1"])).ok();
    assert_eq!((count(&copy, "sighting_span"), count(&copy, "pairing")), (0, 1));
}

/// A database of version 1, as the release before spans made it: it is converted where it is, and all rows are there.
#[test]
fn tables_of_version_1() {
    let ring = Ring::new();
    capture(&ring, &[(0, 1, 3, 0)]);
    let rows = random_rows(&mut Random(3));
    let history = store(&ring, &rows);
    let [ip, mac] = [["ip", "10.1.2.1", "--all"], ["mac", "02:00:00:00:00:01", "--all"]];
    let before = [ask(&history, &ip), ask(&history, &mac[..2])];
    let view: String =
        history.value("SELECT sql FROM sqlite_schema WHERE name = 'addrwatch'").unwrap();
    let view = view.split("UNION ALL").next().unwrap();
    history.open().unwrap().execute_batch(&format!(
        "DROP VIEW addrwatch; DROP TABLE recent_sighting; DROP TABLE recent_filing; DROP TABLE sighting_span;
        DROP TABLE span_progress; DROP TABLE raw_days; DROP TABLE late_pairing; DROP TABLE clock_check; {view}; PRAGMA user_version = 1"
    )).unwrap();
    // Questions are answered before, too.
    assert_eq!([ask(&history, &ip), ask(&history, &mac[..2])], before);
    let checked = run(history.command(&ring, &["--check"])).ok();
    assert!(
        checked.stdout.contains("converted") || checked.stdout.contains("earlier release"),
        "{checked:#?}"
    );
    assert!(!checked.stdout.contains("spans"), "{checked:#?}");
    let checked = run(history.command(&ring, &["--check", "--raw-days", "1"])).ok();
    let compacted = "from a day after the first start on, sightings that are older than --raw-days (1) will be compacted into spans";
    assert!(checked.stdout.contains(compacted), "{checked:#?}");
    run(history.command(&ring, &["--once"])).ok();
    assert_eq!(history.value::<i64>("PRAGMA user_version"), Some(2));
    assert_eq!(count(&history, "sighting"), rows.len() as i64 + 1);
    assert_eq!([ask(&history, &ip), ask(&history, &mac[..2])], before);
    // It is compacted from the next day on only.
    let first = run(history.command(&ring, &["--once", "--raw-days", "1"])).ok();
    let announced = "from tomorrow on, sightings that are older than 1 day are compacted";
    assert!(first.stderr.contains(announced), "{}", first.stderr);
    let again = run(history.command(&ring, &["--once", "--raw-days", "1"])).ok();
    let announced = "in 24 hours, sightings that are older than 1 day are compacted";
    assert!(again.stderr.contains(announced), "{}", again.stderr);
    let checked = run(history.command(&ring, &["--check", "--raw-days", "1"])).ok();
    assert!(checked.stdout.contains(compacted), "{checked:#?}");
    // A kill during that day does not make it longer or shorter.
    let begin = || history.value::<i64>("SELECT time FROM span_progress").expect("a time");
    let begins = begin();
    for _ in 0..3 {
        let output = history.start(&ring, &["--raw-days", "1"]);
        output.stderr.wait_for("in 24 hours, sightings that are older than 1 day are compacted");
        output.kill();
        assert_eq!(begin(), begins);
    }
    assert_eq!(count(&history, "sighting_span"), 0);
    let waited = "UPDATE span_progress SET time = time - 86400000000000";
    history.open().unwrap().execute_batch(waited).unwrap();
    let begun = run(history.command(&ring, &["--once", "--raw-days", "1"])).ok();
    let begins = "compacting sightings that are older than 1 day";
    assert!(begun.stderr.contains(begins), "{}", begun.stderr);
    let ended = "old sightings are compacted; 0 MB of the file are free for new rows";
    assert!(begun.stderr.contains(ended), "{}", begun.stderr);
    assert!(count(&history, "sighting_span") > 0);
    assert_eq!([ask(&history, &ip), ask(&history, &mac[..2])], before);
    let begun = run(history.command(&ring, &["--once", "--raw-days", "1"])).ok();
    assert!(!begun.stderr.contains("compact"), "{}", begun.stderr);
}

/// Frames of a thousand pairings in turn: events with these numbers, a hundred in a second.
fn publish_in_turn(ring: &Ring, numbers: std::ops::Range<u32>) {
    let frame = |number: u32| {
        let pairing = number % 1_000;
        let ip = std::net::Ipv4Addr::from(0x0a01_0000 + pairing);
        let arp = Arp::request(station(pairing), ip, [10, 1, 255, 254].into());
        (BEGIN + number / 100, arp.frame())
    };
    capture_frames(ring, numbers.map(frame));
}

/// What is written: a few pages in a commit of few events; and for each of many events, the filing by pairing and the copy of the
/// write-ahead log included, a hundredth of a page for each row.
#[test]
fn what_is_written() {
    let (ring, history) = (Ring::new(), History::new());
    publish_in_turn(&ring, 0..1_000);
    let output = history.start(&ring, &[]);
    let mut next = 1_000;
    let written = |output: &Run| {
        let io = fs::read_to_string(format!("/proc/{}/io", output.id())).expect("our own child");
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        line.and_then(|bytes| bytes.parse::<u64>().ok()).expect("a number")
    };
    let mut publish = |number: u32| {
        let stored = |end| history.checkpoint(&ring).is_some_and(|it| it.next() == u64::from(end));
        wait_until("the earlier ones are stored", || stored(next));
        let before = written(&output);
        publish_in_turn(&ring, next..next + number);
        next += number;
        wait_until("they are stored", || stored(next));
        written(&output) - before
    };
    // Two commits, if they were not read together.
    let of_few = (0..6).map(|_| publish(30)).min();
    assert!(of_few < Some(15_000), "{of_few:?} bytes for 30 events");
    let of_many = (0..6).map(|_| publish(3_000)).min();
    assert!(of_many < Some(100 * 3_000), "{of_many:?} bytes for 3000 events");
    let begin = written(&output);
    for _ in 0..9 {
        publish(30_000);
    }
    wait_until("they are filed", || {
        count(&history, "recent_filing") == 0 && count(&history, "sighting") >= 250_000
    });
    let all = (written(&output) - begin) / 270_000;
    assert!(all < 150, "{all} bytes for an event");
    output.stop().ok();
    assert_eq!(history.count(), u64::from(next));
}

/// Recent sightings are filed, also by a program that is killed at any moment; what is read is the same all the time.
#[test]
fn rows_are_filed() {
    const EVENTS: u32 = 270_000;
    let (ring, history) = (Ring::new(), History::new());
    let mut next = 1;
    let all = || history.count();
    while next < EVENTS {
        let end = EVENTS.min(next + 30_000);
        aw_tests::feed::publish(&ring, next..end);
        let output = history.start(&ring, &[]);
        wait_until("they are stored", || {
            history.checkpoint(&ring).is_some_and(|it| it.next() == u64::from(end) - 1)
        });
        if end == EVENTS {
            wait_until("some are filed", || count(&history, "sighting") > 0);
        }
        output.kill();
        assert_eq!(all(), u64::from(end) - 1);
        next = end;
    }
    for _ in 0..5 {
        let output = history.start(&ring, &[]);
        std::thread::sleep(std::time::Duration::from_millis(120));
        output.kill();
        assert_eq!(all(), u64::from(EVENTS) - 1);
        assert_eq!(history.answers(&["who", "10.0.0.77"], &["mac"]).len(), 1);
    }
    run(history.command(&ring, &["--once"])).ok();
    assert_eq!(count(&history, "recent_filing"), 0);
    assert!(count(&history, "recent_sighting") < 20_000 && count(&history, "sighting") >= 250_000);
    history.assert_exactly_once(&ring, EVENTS);
}

//! Everything is killed at random: a collector that replays, one that captures, three outputs, the database
//! server. The rings are resized and re-created, a database is locked, clocks are stepped. Afterwards each event
//! that was ever published is in the databases exactly once, in the file at least once, or counted as lost. `make chaos`
//! runs it longer; the seed is printed.
#![forbid(unsafe_code)]

use aw_tests::bench::Random;
use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::clock::{clean_up, library};
use aw_tests::collect::{json, stdout_of};
use aw_tests::feed::{numbered, reading_collector};
use aw_tests::lan::Lan;
use aw_tests::mariadb::MariaDb;
use aw_tests::rig::{Finished, Run, binary, program, run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::rows::Rows;
use aw_tests::server::Server;
use rustix::process::Signal;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::env::var;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The largest batch of aw-stdout: a kill repeats it, or counts it as lost although it is written.
const BATCH: u64 = 256;
/// The first number of the frames on the wire; those of the replay begin with 1.
const LIVE: u32 = 14_000_000;

thread_local! {
    /// Hours by which the clock of the next program is wrong.
    static CLOCK: Cell<i32> = const { Cell::new(0) };
}

/// Its clock differs from the machine's by some hours, as if it had been set since the last program was started.
fn with_clock(mut command: Command) -> Command {
    if let Some(library) = library() {
        command.env("LD_PRELOAD", library).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command.env("FAKETIME", format!("{:+}h", CLOCK.get()));
    }
    command
}

/// An output: how it is started, and its process, if it runs.
struct Output {
    name: &'static str,
    start: Box<dyn Fn() -> Command>,
    run: Option<Run>,
    asleep: bool,
    kills: u64,
}

impl Output {
    fn new(name: &'static str, start: impl Fn() -> Command + 'static) -> Self {
        run({
            let mut command = start();
            command.arg("--once");
            command
        })
        .ok(); // from now on it has a checkpoint, so no event precedes it
        Output { name, start: Box::new(start), run: None, asleep: false, kills: 0 }
    }

    fn ensure(&mut self) {
        if self.run.is_none() {
            self.run = Some(Run::start(with_clock((self.start)())));
        }
    }

    fn kill(&mut self) {
        if let Some(run) = self.run.take() {
            let id = run.id();
            self.look_at(&run.kill());
            clean_up(id);
            self.kills += 1;
        }
        self.asleep = false;
    }

    /// Ended by SIGTERM; it may be killed before it notices the signal.
    fn stop(&mut self) {
        self.wake();
        let Some(run) = self.run.take() else { return };
        let id = run.id();
        let ended = run.stop();
        clean_up(id);
        self.kills += u64::from(!ended.status.success());
        assert!(ended.status.success() || ended.stderr.is_empty(), "{}: {ended:#?}", self.name);
        self.look_at(&ended);
    }

    fn look_at(&self, ended: &Finished) {
        assert_ne!(ended.status.code(), Some(1), "{} failed: {ended:#?}", self.name);
        assert!(!ended.stderr.contains("panic"), "{}: {ended:#?}", self.name);
    }

    fn sleep(&mut self) {
        if let Some(run) = &self.run {
            run.signal(Signal::STOP);
            self.asleep = true;
        }
    }

    fn wake(&mut self) {
        if let Some(run) = self.run.as_ref().filter(|_| self.asleep) {
            run.signal(Signal::CONT);
        }
        self.asleep = false;
    }
}

/// A collector on its ring, and the source of its frames. Each frame has a unique number, which is in its MAC and in
/// its address.
struct Collector {
    ring: Rc<Ring>,
    lan: Option<Rc<Lan>>,
    run: Option<Run>,
    feeder: Option<JoinHandle<()>>,
    /// The number of the next frame, and of the first one of the ring's generation.
    next: u32,
    first: u32,
    /// Of each removed generation: the published numbers, and how many.
    old: Vec<(Range<u32>, u64)>,
}

impl Collector {
    fn new(ring: Rc<Ring>, lan: Option<Rc<Lan>>, first: u32) -> Self {
        Collector { ring, lan, run: None, feeder: None, next: first, first, old: Vec::new() }
    }

    /// The next frames, some thousand.
    fn numbers(&mut self, random: &mut Random) -> Range<u32> {
        let most = if self.lan.is_some() { 3_000 } else { 20_000 };
        let numbers = self.next..self.next + 500 + random.below(most);
        self.next = numbers.end;
        numbers
    }

    fn start(&mut self, random: &mut Random) {
        let slots = (64 << random.below(8)).to_string(); // 64 to 8192
        let numbers = self.numbers(random);
        let options = ["-q", "-L", &slots];
        if let Some(lan) = self.lan.clone() {
            let mut command = lan.here.command(binary("collector"));
            command.args(["--ring", self.ring.name()]).args(options).arg("veth0");
            self.run = Some(Run::start(with_clock(command)));
            self.send(&lan, numbers);
            return;
        }
        let rate = (1000 + random.below(30_000)).to_string();
        let mut command = reading_collector(&self.ring, &options);
        command.args(["--max-rate", &rate]);
        let mut run = Run::start(with_clock(command));
        let mut stdin = run.stdin.take().expect("piped");
        let bytes = capture(numbers, random);
        // A broken pipe: the collector was killed.
        self.feeder = Some(std::thread::spawn(move || drop(stdin.write_all(&bytes))));
        self.run = Some(run);
    }

    /// Over the wire, some 4000 per second. Frames without a running collector are not published.
    fn send(&mut self, lan: &Lan, numbers: Range<u32>) {
        const SENDER: &str = "
import socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(('veth1', 0))
for number, line in enumerate(sys.stdin):
    wire.send(bytes.fromhex(line))
    if number % 20 == 0:
        time.sleep(0.005)
";
        let mut sender = lan.there.command("/usr/bin/python3");
        sender.args(["-c", SENDER]);
        let frame = |number| {
            let bytes: String = numbered(number).iter().map(|byte| format!("{byte:02x}")).collect();
            bytes + "\n"
        };
        let frames: String = numbers.map(frame).collect();
        self.feeder = Some(std::thread::spawn(move || drop(run_with(sender, frames.as_bytes()))));
    }

    fn is_done(&self) -> bool {
        self.run.is_none() || self.feeder.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn end(&mut self, kill: bool) {
        let Some(run) = self.run.take() else { return };
        let id = run.id();
        let live = self.lan.is_some();
        let ended = match kill {
            true => run.kill(),
            false if live => run.stop(),
            false => run.finish().ok(),
        };
        clean_up(id);
        assert!(!ended.stderr.contains("panic"), "{ended:#?}");
        self.feeder.take().into_iter().for_each(|it| it.join().expect("it does not panic"));
    }

    /// The ring is removed: the next event begins another generation.
    fn remove(&mut self) {
        self.end(true);
        let published = published(&self.ring);
        run(program("collector", &["--ring", self.ring.name(), "--remove"])).ok();
        self.old.push((self.first..self.next, published));
        self.first = self.next;
        self.found();
    }

    /// One event, so that there is a ring.
    fn found(&mut self) {
        let numbers = self.next..self.next + 1;
        self.next += 1;
        let bytes = capture(numbers, &mut Random::new(0));
        run_with(reading_collector(&self.ring, &["-q", "-L", "256"]), &bytes).ok();
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        end(self.run.take());
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        end(self.run.take());
    }
}

/// The test has failed.
fn end(run: Option<Run>) {
    let Some(run) = run else { return };
    let id = run.id();
    drop(run);
    clean_up(id);
}

/// A capture of these numbers, whose clock is set back and forth.
fn capture(numbers: Range<u32>, random: &mut Random) -> Vec<u8> {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    let mut clock = 1_000_000_000;
    for number in numbers {
        if random.below(500) == 0 {
            clock = 900_000_000 + random.below(200_000_000);
        }
        clock += 1;
        file.packet(at(clock), &numbered(number)).expect("memory takes all");
    }
    file.finish().expect("memory takes all")
}

/// Events published in the ring's stream.
fn published(ring: &Ring) -> u64 {
    let options = ["--ring", ring.name(), "--stats", "--format", "json"];
    let stats = json(&run(program("collector", &options)).ok().stdout);
    stats["events"].as_u64().expect("a number")
}

fn setting(name: &str) -> Option<u64> {
    var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().expect("a number"))
}

/// The number in MAC and address of a line, which must agree.
fn number_in(mac: &str, ip: &str) -> u32 {
    let [_, a, b, c] = ip.parse::<std::net::Ipv4Addr>().expect("an address").octets();
    let number = u32::from_be_bytes([0, a, b, c]);
    let [_, _, d, e, f, g] = aw_tests::frames::station(number);
    assert_eq!(mac, format!("02:00:{d:02x}:{e:02x}:{f:02x}:{g:02x}"), "{ip}");
    number
}

/// How often each number occurs.
fn count(numbers: impl Iterator<Item = u32>) -> BTreeMap<u32, u64> {
    let mut counts = BTreeMap::new();
    numbers.for_each(|number| *counts.entry(number).or_default() += 1);
    counts
}

fn in_lines(lines: &str) -> BTreeMap<u32, u64> {
    count(lines.lines().map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        number_in(words[3], words[4])
    }))
}

/// `began`, `delivered`, `lost`.
type Checkpoint = [u64; 3];

/// Of each generation at most what was published; of the last one everything that the checkpoint counts, without a gap.
/// Up to `spare` more rows may exist than are counted as delivered.
#[track_caller]
fn assert_adds_up(
    what: &str,
    rows: &BTreeMap<u32, u64>,
    collector: &Collector,
    checkpoint: Checkpoint,
    spare: u64,
) {
    let name = collector.ring.name();
    let rows_of = |numbers: &Range<u32>| rows.range(numbers.clone()).count() as u64;
    for (numbers, published) in &collector.old {
        let rows = rows_of(numbers);
        assert!(rows <= *published, "{what}, {name}: {rows} of {published} in {numbers:?}");
    }
    let [began, delivered, lost] = checkpoint;
    let all = published(&collector.ring);
    assert_eq!((began, delivered + lost), (0, all), "{what}, {name}: {checkpoint:?}");
    let rows = rows_of(&(collector.first..collector.next));
    let possible = delivered..=delivered + spare;
    assert!(possible.contains(&rows), "{what}, {name}: {rows} are there, {delivered} delivered");
}

#[test]
fn nothing_is_lost_silently_or_delivered_twice() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = setting("AW_CHAOS_SEED").unwrap_or(now % 1_000_000);
    let time = Duration::from_secs(setting("AW_CHAOS_SECONDS").unwrap_or(20));
    // Past the test harness, which would capture it.
    let _ = writeln!(std::io::stderr(), "chaos: AW_CHAOS_SEED={seed}, {} s", time.as_secs());
    let mut random = Random::new(seed);
    let Some(server) = MariaDb::start(&[]) else { return };
    let (server, lan) = (Rc::new(RefCell::new(server)), Lan::new().map(Rc::new));
    let rings = [(); 2].map(|()| Rc::new(Ring::new()));
    let [replayed, captured] = rings.clone();
    let mut collectors = [Collector::new(replayed, None, 1), Collector::new(captured, lan, LIVE)];
    collectors.iter_mut().for_each(Collector::found);
    let rows = Rc::new(Rows::new());
    let log = rows.path().join("log");
    let mut outputs = outputs(&rings, &server, &rows, &log);

    let (mut lock, mut up, mut done) = (None, true, [0_u32; 12]);
    let end = Instant::now() + time;
    while Instant::now() < end {
        for output in &mut outputs {
            if random.below(4) > 0 {
                output.ensure();
            }
        }
        for collector in &mut collectors {
            if collector.is_done() && random.below(3) > 0 {
                collector.end(false);
                collector.start(&mut random);
            }
        }
        sleep(Duration::from_millis(u64::from(random.below(250))));
        let output = &mut outputs[random.below(3) as usize];
        let collector = &mut collectors[random.below(2) as usize];
        let action = random.below(done.len() as u32);
        done[action as usize] += 1;
        match action {
            0 | 1 => output.kill(),
            2 => output.stop(),
            3 => output.sleep(),
            4 => outputs.iter_mut().for_each(Output::wake),
            5 => collector.end(true),
            6 => lock = lock.take().or_else(|| rows.try_lock()),
            7 => lock = None,
            8 if up => {
                server.borrow_mut().kill();
                up = false;
            }
            9 if !up => {
                server.borrow_mut().start_again();
                up = true;
            }
            10 if random.below(3) == 0 => collector.remove(),
            _ => CLOCK.set(random.below(100) as i32 - 50),
        }
    }
    drop(lock);
    if !up {
        server.borrow_mut().start_again();
    }
    for collector in &mut collectors {
        collector.end(false);
        collector.found(); // so that no output waits for lost events
    }
    outputs.iter_mut().for_each(Output::kill);
    outputs.iter_mut().for_each(Output::ensure);

    let in_server = |ring: &Ring| -> Checkpoint {
        let checkpoint = server.borrow().checkpoint(ring);
        let numbers: Vec<u64> = checkpoint.split(' ').flat_map(str::parse).collect();
        numbers.try_into().unwrap_or_default()
    };
    let in_rows = |ring: &Ring| -> Checkpoint {
        let checkpoint = rows.checkpoint(ring).unwrap_or_default();
        [checkpoint.began, checkpoint.delivered, checkpoint.lost]
    };
    let positions = rows.path().join("state/aw-stdout.positions");
    let in_file = |ring: &Ring| -> Checkpoint {
        let text = fs::read_to_string(&positions).unwrap_or_default();
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        ["began", "delivered", "lost"].map(|field| all[ring.name()][field].as_u64().unwrap_or(0))
    };
    for collector in &collectors {
        let (ring, all) = (&*collector.ring, published(&collector.ring));
        let arrived = |checkpoint: Checkpoint| checkpoint.iter().sum::<u64>() == all;
        wait_until("all is in the server", || arrived(in_server(ring)));
        wait_until("all is in the other database", || arrived(in_rows(ring)));
        wait_until("all is in the file", || arrived(in_file(ring)));
    }
    outputs.iter_mut().for_each(Output::stop);

    let databases = [in_lines(&server.borrow().lines()), in_lines(&rows.lines())];
    for (name, database) in ["the server", "the other database"].into_iter().zip(&databases) {
        let twice = database.iter().find(|(_, count)| **count > 1);
        assert_eq!(twice, None, "{name}: a number, and how often it is there");
    }
    let text = fs::read_to_string(&log).unwrap();
    // Complete lines: a kill may have cut one, which was then repeated.
    let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let field = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let written = count(whole.map(|event| number_in(&field(&event, "mac"), &field(&event, "ip"))));
    let spare = outputs[2].kills * BATCH;
    let repeated: u64 = written.values().map(|count| count - 1).sum();
    assert!(repeated <= spare, "{repeated} lines again, after {} kills", outputs[2].kills);
    for collector in &collectors {
        let ring = &*collector.ring;
        assert_adds_up("the server", &databases[0], collector, in_server(ring), 0);
        assert_adds_up("the other database", &databases[1], collector, in_rows(ring), 0);
        assert_adds_up("the file", &written, collector, in_file(ring), spare);
    }
    let checkpoints = collectors.each_ref().map(|collector| {
        let ring = &*collector.ring;
        (published(ring), collector.old.len(), in_server(ring), in_rows(ring), in_file(ring))
    });
    let _ = writeln!(
        std::io::stderr(),
        "chaos: published, generations before, [began, delivered, lost] of server, rows, file: {checkpoints:?}; \
         file: {repeated} lines again, {} kills; rows {} and {}; actions {done:?}",
        outputs[2].kills,
        databases[0].len(),
        databases[1].len(),
    );
}

/// Three outputs, each of both rings.
fn outputs(
    rings: &[Rc<Ring>; 2],
    server: &Rc<RefCell<MariaDb>>,
    rows: &Rc<Rows>,
    log: &Path,
) -> [Output; 3] {
    let (state, log) = (rows.path().join("state"), log.to_owned());
    let two = [(); 3].map(|()| rings.clone());
    let (server, rows) = (Rc::clone(server), Rc::clone(rows));
    let [to_server, to_rows, to_file] = two;
    [
        Output::new("aw-mysql", move || {
            server.borrow().command(&to_server[0], &["-m", to_server[1].name()])
        }),
        Output::new("aw-rows", move || {
            rows.command(&to_rows[0], &["-m", to_rows[1].name(), "--spool-size", "1M"])
        }),
        Output::new("aw-stdout", move || {
            let options = ["-m", to_file[1].name(), "--from", "resume", "--format", "json"];
            let mut command = stdout_of(&to_file[0], &options);
            command.arg("--state-dir").arg(&state).arg("-o").arg(&log);
            command
        }),
    ]
}

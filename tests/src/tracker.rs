//! Logs of a simulated network in the format of `aw-tracker`, and a running `aw-tracker`.

use crate::bench::Random;
use crate::rig::{Run, program, run};
use crate::ring::Ring;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const HEADER: &str = "mac name ip iface date time last active-hours\n";

/// The dates of this many days up to today as `YYYYMMDD`, from date(1).
pub fn dates(days: u32) -> Vec<String> {
    let date = |ago: u32| {
        let mut command = Command::new("date");
        command.args(["-d", &format!("12:00 {ago} days ago"), "+%Y%m%d"]);
        run(command).ok().stdout.trim().to_owned()
    };
    (0..days).rev().map(date).collect()
}

/// The log of a day with this many devices, every third with a name, every seventh with a private MAC and an IPv6 address. Not all
/// are seen every day; every thirteenth only on the last day, which ends at 17:00.
fn log(date: &str, last: bool, devices: u32, random: &mut Random) -> String {
    let mut text = HEADER.to_owned();
    for device in 0..devices {
        let new = device % 13 == 12;
        if new && !last || !new && random.below(10) < 3 && device % 11 != 0 {
            continue;
        }
        let private = device % 7 == 6;
        let vendor = if private { "d2:11:4f" } else { VENDORS[device as usize % VENDORS.len()] };
        let [_, a, b, c] = device.to_be_bytes();
        let name =
            if device % 3 == 0 { NAMES[device as usize / 3 % NAMES.len()] } else { "unknown" };
        let begin = random.below(12);
        let length = 1 + random.below(if last { 17 } else { 24 } - begin);
        let hours: String = (0..24)
            .map(|hour| match hour {
                hour if hour < begin || hour >= begin + length || random.below(8) == 0 => '.',
                _ => b"123456789****"[random.below(13) as usize] as char,
            })
            .collect();
        let (first, last) = (hours.find(|c| c != '.'), hours.rfind(|c| c != '.'));
        let (Some(first), Some(last)) = (first, last) else { continue };
        let number =
            if device < NAMES.len() as u32 * 3 { String::new() } else { format!(" {device}") };
        let name = if name == "unknown" { name.into() } else { format!("{name}{number}") };
        let mut row = |ip: &str| {
            let _ = writeln!(
                text,
                "{vendor}:{a:02x}:{b:02x}:{c:02x} {name} {ip} {} {date} {first:02}{:02} {last:02}{:02} {hours}",
                ["br0", "eth0.20", "wlan0"][device as usize % 3],
                random.below(30),
                30 + random.below(30),
            );
        };
        row(&format!("10.{a}.{b}.{c}"));
        if private {
            row(&format!("2001:db8:0:{device:x}::{:x}", 1 + device));
        }
    }
    text
}

const VENDORS: [&str; 8] = [
    "b8:27:eb", "00:1b:63", "3c:5a:b4", "00:11:32", "00:0e:58", "f0:9f:c2", "00:17:88", "70:b3:d5",
];
const NAMES: [&str; 12] = [
    "router",
    "NAS",
    "Omas Küche",
    "printer",
    "living room TV",
    "Kitchen radio",
    "laptop Ada",
    "phone Grace",
    "doorbell",
    "heat pump",
    "台所のタブレット",
    "camera garden",
];

/// Fills a directory with logs of this many devices; the last log is that of today.
pub fn make_logs(directory: &Path, devices: u32, days: u32) {
    let mut random = Random::new(7);
    for (date, left) in dates(days).into_iter().zip((0..days).rev()) {
        let text = log(&date, left == 0, devices, &mut random);
        fs::write(directory.join(format!("macupd_tracker.{date}.log")), text).expect("a log");
    }
}

/// The command of a tracker with its state in `.state` of this directory, and without the names of this machine.
pub fn tracker(ring: &str, directory: &Path) -> Command {
    tracker_with(ring, directory, &["--names", "/dev/null"])
}

fn tracker_with(ring: &str, directory: &Path, options: &[&str]) -> Command {
    let mut command = program("aw-tracker", &["--ring", ring, "--state-dir"]);
    command.arg(directory.join(".state")).args(options);
    command
}

/// A running tracker, its directory, and the ring that it reads.
pub struct Tracking {
    /// Its process.
    pub run: Run,
    /// Its LOGDIR and REPORTDIR.
    pub directory: TempDir,
    /// The ring.
    pub ring: String,
}

impl Tracking {
    /// Starts a tracker with a new directory.
    pub fn start(ring: &Ring, options: &[&str]) -> Tracking {
        Tracking::start_in(
            tempfile::tempdir().expect("a temporary directory"),
            ring.name(),
            options,
        )
    }

    /// Starts a tracker with this directory for logs and state.
    pub fn start_in(directory: TempDir, ring: &str, options: &[&str]) -> Tracking {
        let mut command = match options.contains(&"--names") {
            true => tracker_with(ring, directory.path(), &[]),
            false => tracker(ring, directory.path()),
        };
        command.arg("--log-dir").arg(directory.path()).args(options);
        Tracking { run: Run::start(command), directory, ring: ring.to_owned() }
    }

    /// Restarts the tracker; `end` ends the running one.
    pub fn again(self, end: impl FnOnce(Run), options: &[&str]) -> Tracking {
        end(self.run);
        Tracking::start_in(self.directory, &self.ring, options)
    }

    /// The logs of this kind (`tracker`, `alert` or `error`) of all days; empty if there is none.
    pub fn log(&self, kind: &str) -> String {
        let mut files = self.files();
        files.retain(|file| file.starts_with(&format!("macupd_{kind}.")) && file.ends_with(".log"));
        files
            .iter()
            .map(|file| fs::read_to_string(self.directory.path().join(file)).unwrap_or_default())
            .collect()
    }

    /// The files in the directory.
    pub fn files(&self) -> Vec<String> {
        let listing = fs::read_dir(self.directory.path()).expect("a directory");
        let mut files: Vec<_> =
            listing.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }

    /// The HTML report; empty if there is none.
    pub fn page(&self) -> String {
        fs::read_to_string(self.directory.path().join("macupd_report.html")).unwrap_or_default()
    }
}

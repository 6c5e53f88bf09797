//! Silence is measured by the clock, so this scene is not a replay: two devices are watched; one of them falls silent.

use std::time::{SystemTime, UNIX_EPOCH};

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at, save};
use aw_tests::collect::collect;
use aw_tests::frames::Arp;
use aw_tests::rig::{Run, program};
use aw_tests::ring::Ring;
use aw_tests::scenarios::{Host, text, watched_hosts};

use crate::played::{Alerts, parsed};

/// A collector captures a request of this host now.
fn seen(ring: &Ring, host: Host) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    let frame = Arp::request(host.mac, host.ip, [192, 0, 2, 1].into()).frame();
    file.packet(at(now as u32), &frame).expect("memory takes all");
    collect(ring, &file.finish().expect("memory takes all"), &["-q", "--as", "eth0"]).ok();
}

/// What is reported after both were seen for the first time.
pub fn play_by_the_clock() -> Alerts {
    let ring = Ring::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [silent, other] = watched_hosts();
    let watch =
        |host: Host| format!("[[watch]]\nmac = \"{}\"\nsilent_after = 15\n", text(host.mac));
    let config = watch(silent) + &watch(other);
    let config = save(directory.path(), "alert.toml", config.as_bytes());
    let mut command =
        program("aw-alert", &["--print", "--learn", "0", "-c", &config, "--ring", ring.name()]);
    command.arg("--state-dir").arg(directory.path()).env("TZ", "UTC");
    [silent, other].into_iter().for_each(|host| seen(&ring, host));
    let running = Run::start(command);
    running.stdout.wait_for_lines(2);
    running.wait_until("one is silent", || {
        seen(&ring, other);
        running.stdout.text().contains("silent device")
    });
    seen(&ring, silent);
    running.stdout.wait_for("device is back");
    let mut alerts = Alerts::new();
    for line in running.stop().ok().stdout.lines().skip(2) {
        *alerts.entry((parsed(line), false)).or_default() += 1;
    }
    alerts
}

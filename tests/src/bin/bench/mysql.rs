//! Rows into MariaDB: `aw-mysql`, compared with handwritten inserts of 1000 rows into the same table.

use std::{
    fmt::Write,
    fs::File,
    process::{Command, Stdio},
    time::Instant,
};

use aw_tests::feed::numbered_capture;
use aw_tests::{mariadb::MariaDb, rig::run_with, ring::Ring, server::Server};

use crate::{Options, Outcome, binary, measure, row};

/// Rows of each run.
const ROWS: u32 = 300_000;

/// In the same run, one after the other, each into an empty table.
pub fn beside_hand_batched(options: &Options) -> Outcome<()> {
    let large = ["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M"];
    let Some(server) = MariaDb::start(&large) else { return Ok(()) };
    let ring = Ring::new();
    let mut collector = Command::new(binary("collector"));
    collector.args(["-q", "-L", "524288", "--read", "-", "-m", ring.name()]);
    run_with(collector, &numbered_capture(1..ROWS + 1)).ok();
    let ours = |from: &str| {
        let mut command = Command::new(binary("aw-mysql"));
        command.args(["--once", "--from", from, "-m", ring.name(), "-u", "0", "--state-dir"]);
        command.arg(server.path("state")).arg("--config").arg(server.config(""));
        command
    };
    timed(ours("now"))?; // makes the tables
    let by_hand = server.path("by-hand.sql");
    std::fs::write(&by_hand, statements())?;
    let results = measure(options.runs, || {
        server.sql("TRUNCATE log");
        let ours = timed(ours("oldest"))?;
        let stored = server.count();
        server.sql("TRUNCATE log");
        let mut client = server.client("addrwatch");
        client.stdin(File::open(&by_hand)?);
        let theirs = timed(client)?;
        assert_eq!((stored, server.count()), (ROWS.into(), ROWS.into()));
        Ok(vec![f64::from(ROWS) / theirs, f64::from(ROWS) / ours, theirs / ours])
    })?;
    row("MariaDB, inserts of 1000 rows by hand", &results[0], 1e-3, "k rows/s");
    row("MariaDB, aw-mysql --once", &results[1], 1e-3, "k rows/s");
    row("  of what is reachable by hand", &results[2], 100.0, "%");
    Ok(())
}

/// The same rows, a thousand to a statement, each statement committed.
fn statements() -> String {
    let mut text = String::from("SET time_zone = '+00:00';\n");
    for first in (1..=ROWS).step_by(1000) {
        text += "INSERT INTO log VALUES ";
        for number in first..first + 1000 {
            let end = if number == first + 999 { ";\n" } else { "," };
            let _ = write!(
                text,
                "(FROM_UNIXTIME({number}),'host','pcap',0,0x0200{number:08x},0x{:08x},0){end}",
                0x0a00_0000 + number
            );
        }
    }
    text
}

fn timed(mut command: Command) -> Outcome<f64> {
    let begin = Instant::now();
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let seconds = begin.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(seconds)
}

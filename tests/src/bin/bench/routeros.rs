//! aw-routeros and its routers, of which a RouterOS in this process plays all: from the line in a router's log to the
//! archive and the mailbox, alone and all at once; its memory; and how long the difference of two large exports takes.

use std::{fs, process::Stdio, time::Instant};

use aw_tests::{
    mail_sink::MailSink,
    rig::wait_until,
    ring::Ring,
    routeros::{Router, Version},
    watching::{Watching, many, peak_memory},
};

use crate::{Options, Outcome, measure, row};

const ROUTERS: usize = 200;
const LINES: usize = 60_000;
/// The target: archived and mailed after this many seconds, with the default pause of two for further lines.
const AIM: f64 = 5.0;

/// Two hundred routers of 2,000 lines each.
pub fn many_routers(options: &Options) -> Outcome<()> {
    let (sink, ring) = (MailSink::start(), Ring::new());
    let (routers, watching) = many(ROUTERS, &ring, sink.port);
    let daemon = watching.start();
    wait_until("all are stored", || {
        daemon.stderr.text().matches("first contact: configuration stored").count() == ROUTERS
    });
    let mut delays = Vec::new();
    for n in 0..options.runs {
        let (at, user) = (n * 37 % ROUTERS, format!("alice{n}"));
        let begun = Instant::now();
        routers[at].add(&user, "/ip dns set servers=192.0.2.53");
        sink.wait_for(&[&format!("core{at}: configuration changed by {user}")]);
        delays.push(begun.elapsed().as_secs_f64());
    }
    let longest = delays.iter().copied().fold(0.0, f64::max);
    row(&format!("a change on one of {ROUTERS} routers: log line to mailbox"), &delays, 1.0, "s");
    println!("  [aim {AIM:.0} s: {}]", if longest <= AIM { "reached" } else { "missed" });
    let begun = Instant::now();
    routers.iter().for_each(|router| router.add("bob", "/ip dns set servers=192.0.2.54"));
    let changed = "configuration changed by bob";
    wait_until("all are archived", || daemon.stderr.text().matches(changed).count() == ROUTERS);
    row("  on all at once: to the last archived", &[begun.elapsed().as_secs_f64()], 1.0, "s");
    wait_until("all are mailed", || sink.count() == options.runs + ROUTERS);
    row("  to the last mail", &[begun.elapsed().as_secs_f64()], 1.0, "s");
    row("  memory of aw-routeros at its peak", &[peak_memory(&daemon) as f64], 1e-6, "MB");
    daemon.stop().ok();
    Ok(())
}

/// Two snapshots of 60,000 lines, by `aw-routeros diff`: to start, read, judge, compare and print.
pub fn differences(options: &Options) -> Outcome<()> {
    let export = |line: &dyn Fn(usize) -> String| {
        let head = "# 2026-11-22 10:00:00 by RouterOS 7.14.2\r\n# software id = X\r\n#\r\n";
        (0..LINES).fold(head.to_owned(), |text, n| text + &line(n) + "\r\n")
    };
    let entry = |list: &str, n| {
        format!("/ip firewall address-list add address=192.0.2.1 list={list}{n} comment=some-words")
    };
    let base = export(&|n| entry("l", n));
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let snapshots = watching.archive("core1").join("snapshots");
    fs::create_dir_all(&snapshots)?;
    fs::write(snapshots.join("a.rsc"), &base)?;
    for (what, other) in [
        ("one line is another", base.replace("list=l30000 ", "list=other ")),
        (
            "every hundredth line is another",
            export(&|n| entry(if n % 100 == 0 { "x" } else { "l" }, n)),
        ),
        ("every line is another", export(&|n| entry("x", n))),
    ] {
        fs::write(snapshots.join("b.rsc"), other)?;
        let results = measure(options.runs, || {
            let mut command = watching.command();
            command.args(["diff", "core1", "a", "b"]).stdout(Stdio::null());
            let begun = Instant::now();
            if !command.status()?.success() {
                return Err("aw-routeros diff failed".into());
            }
            Ok(vec![begun.elapsed().as_secs_f64()])
        })?;
        row(&format!("two exports of {LINES} lines: {what}"), &results[0], 1e3, "ms");
    }
    Ok(())
}

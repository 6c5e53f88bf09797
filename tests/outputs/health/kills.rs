//! Collectors that are killed and started again.

use super::*;

/// One that was killed and started again is named, and no fault. Three are one, until nothing has happened for an hour.
#[test]
fn a_collector_that_is_killed_again_and_again() {
    let ring = Ring::new();
    let stats = || run(program("collector", &["--stats", "--ring", ring.name()])).ok().stdout;
    let next = |(collector, _stdin): (Run, ChildStdin)| {
        collector.kill();
        beating(&ring, "65536")
    };
    let mut feed = beating(&ring, "65536");
    let healthy = || soon(|| health(&ring, &[]), is_healthy).ok().stdout;
    assert!(!healthy().contains("killed") && !stats().contains("killed"));
    for (times, of_stats) in [
        ("once", "1 time in all, within the last hour once"),
        ("2 times", "2 times in all, within the last hour 2 times"),
    ] {
        feed = next(feed);
        let named = format!(
            "; the collector was killed or crashed {times} within the last hour, and was started again at 20"
        );
        soon(|| health(&ring, &[]), reports(&named));
        assert!(healthy().contains(&named), "{}", healthy());
        let line = format!("killed or crashed      {of_stats}; started again ");
        assert!(stats().contains(&line), "{}", stats());
    }
    let (collector, _stdin) = next(feed);
    let fault = "the collector was killed or crashed 3 times since 20";
    soon(|| health(&ring, &[]), |answer| answer.stdout.contains("it was started again at 20"))
        .unhealthy(&[fault, "; it was started again at 20", "; frames of at most "]);
    collector.signal(Signal::STOP);
    soon(|| health(&ring, &[]), reports("; it does not run (")).unhealthy(&[fault, "no heartbeat"]);
    collector.signal(Signal::CONT);
    ring.kills_earlier(Duration::from_secs(3600));
    assert!(!healthy().contains("killed"));
    assert!(stats().contains("killed or crashed      3 times in all, none within the last hour\n"));
    collector.kill();
}

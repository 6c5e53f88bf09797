//! What is printed of the archive: everything that happened, lines of all configurations, differences between routers, and
//! reports. All of it is text of routers, which are hostile.
#![forbid(unsafe_code)]

use aw_tests::rig::{Finished, run};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;

fn command(watching: &Watching, arguments: &[&str]) -> Finished {
    let mut command = watching.command();
    command.args(arguments);
    run(command)
}

/// Two routers with a change each, one of them by a hostile name and with hostile text.
fn archive() -> (Watching, [Router; 2], Ring) {
    let (routers, ring) = ([(); 2].map(|()| Router::start(Version::V7)), Ring::new());
    let [one, two] = &routers;
    two.state().lines.push("/ip firewall filter add action=drop chain=forward".into());
    let watching = Watching::new(&ring)
        .router("core1", one, Version::V7)
        .option("show_sensitive = true")
        .router("core2", two, Version::V7);
    let daemon = watching.start();
    for name in ["core1", "core2"] {
        daemon.stderr.wait_for(&format!("{name}: first contact: configuration stored"));
    }
    one.add("alice", "/ppp secret add name=x password=geheim");
    daemon.stderr.wait_for("core1: configuration changed by alice");
    two.add("<b>eve</b>", "/system note set note=\"</pre><script>x</script>\u{1b}[2J\"");
    daemon.stderr.wait_for("core2: configuration changed by <b>eve</b>");
    one.log(
        "system,info",
        "user ops added by ssh:bob@192.0.2.7 (/user add name=ops password=geheim)",
    );
    daemon.stderr.wait_for("core1: bob: seen in the log only");
    daemon.stop().ok();
    (watching, routers, ring)
}

#[test]
fn what_the_archive_prints() {
    let (watching, _routers, _ring) = archive();
    let ok = |arguments: &[&str]| {
        let output = command(&watching, arguments).ok();
        let text = output.stdout + &output.stderr;
        assert!(!text.contains('\u{1b}'), "{text:?}");
        text
    };
    // log --all: more than changes, in the order of time.
    let all = ok(&["log", "--all"]);
    for text in [
        "core1   connected",
        "core2   first contact: configuration stored",
        "core1   configuration changed by alice (+1 -0)",
    ] {
        assert!(all.contains(text), "{text}: {all}");
    }
    let mut times: Vec<_> = all.lines().skip(1).map(|line| line[..19].to_owned()).collect();
    let sorted = {
        let mut sorted = times.clone();
        sorted.sort();
        sorted
    };
    assert_eq!(times, sorted);
    times = ok(&["log", "core1", "--all", "--format", "json"]).lines().map(String::from).collect();
    assert!(
        times
            .iter()
            .all(|line| line.contains("\"router\":\"core1\"") && line.contains("\"message\":")),
        "{times:?}"
    );
    assert!(ok(&["log", "--all", "--since", "2100-01-01"]).contains("no messages since 2100"));
    // grep: whole lines, secrets neither shown nor searched.
    assert_eq!(
        ok(&["grep", "chain=forward"]),
        "core2: /ip firewall filter add action=drop chain=forward\n"
    );
    assert_eq!(ok(&["grep", "-i", "CHAIN=(forward|none)", "core2"]).lines().count(), 1);
    assert_eq!(ok(&["grep", "^/ip firewall filter .*input", "-l"]), "core1\ncore2\n");
    assert_eq!(ok(&["grep", "ppp secret"]), "core1: /ppp secret add name=x password=***\n");
    // Without a match the status is 1, as that of grep(1).
    command(&watching, &["grep", "geheim"]).refused("aw-routeros", &["no line matches \"geheim\""]);
    assert!(ok(&["grep", "--secrets", "gehei."]).contains("password=geheim"));
    command(&watching, &["grep", "-F", "chain=(forward"])
        .refused("aw-routeros", &["no line matches"]);
    let json = ok(&["grep", "chain=forward", "--format", "json"]);
    assert_eq!(
        json,
        "{\"line\":\"/ip firewall filter add action=drop chain=forward\",\"router\":\"core2\"}\n"
    );
    command(&watching, &["grep", "chain=(forward"])
        .refused("aw-routeros", &["pattern \"chain=(forward\"", "--fixed"]);
    command(&watching, &["grep", "(((a{900}){900}){900})"]).refused("aw-routeros", &["pattern"]);
    command(&watching, &["grep", "x", "nowhere"])
        .refused("aw-routeros", &["no router of this name"]);
    // diff of two routers.
    let diff = ok(&["diff", "core1", "core2"]);
    assert!(diff.starts_with("--- core1\n+++ core2\n@@ "), "{diff}");
    assert!(diff.contains("\n-/ppp secret add name=x password=***\n"), "{diff}");
    assert!(diff.contains("\n+/ip firewall filter add action=drop chain=forward\n"), "{diff}");
    assert!(ok(&["diff", "core1", "core2", "--format", "json"]).contains("\"other\":\"core2\""));
    command(&watching, &["diff", "core1", "core3"])
        .refused("aw-routeros", &["no snapshot begins with this"]);
    // report.
    let text = ok(&["report", "--since", "7d"]);
    assert!(text.starts_with("3 changes of 2 routers, of 2 that are configured, from "), "{text}");
    assert!(
        text.contains("alice       1        +1 -0  core1") && text.contains("/ppp secret"),
        "{text}"
    );
    // What no export shows, too.
    let noted = text.lines().find(|line| line.contains("user ops added")).unwrap();
    assert!(noted.contains("core1") && noted.contains("bob") && noted.contains("password=***"));
    let html = ok(&["report", "--format", "html"]);
    assert!(html.contains("user ops added"), "{html}");
    for text in ["<script", "<b>", "geheim", "http://", "https://"] {
        assert!(!html.contains(text), "{text}: {html}");
    }
    assert!(html.contains("&lt;b&gt;eve&lt;/b&gt;") && html.contains("&lt;script&gt;"), "{html}");
    let json = ok(&["report", "core1", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (json["users"]["alice"]["changes"].as_u64(), json["changes"].as_array().unwrap().len()),
        (Some(1), 2)
    );
    assert_eq!(json["changes"][0]["menus"][0], "/ppp secret");
    assert!(json["changes"][0]["diff"].as_str().unwrap().contains("password=***"));
    assert!(ok(&["report", "--since", "2100-01-01"]).starts_with("0 changes of 0 routers"));
}

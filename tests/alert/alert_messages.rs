//! What receivers make of the messages of `aw-alert`: mail filters, rules for syslog, services behind webhooks; and what no
//! channel gets.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, fs, process::Command};

use aw_tests::alerting::{Alert, numbers, smtp, webhook};
use aw_tests::collect::json;
use aw_tests::frames::{Arp, Mac};
use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{run, skip, wait_until};
use aw_tests::rsyslog::Rsyslog;
use aw_tests::web_sink::WebSink;

/// Two sensors in one network report the same event at the same time: a mail filter that drops a second mail with the same
/// Message-ID, or a receiver of webhooks that drops a second id, would drop one of them.
#[test]
fn messages_of_two_sensors_have_different_ids() {
    let (mail, web) = (MailSink::start(), WebSink::start(None));
    let url = format!("http://127.0.0.1:{}/x", web.port);
    let sensors = [Alert::new(), Alert::new()];
    for sensor in &sensors {
        sensor.config(&(smtp(&mail, "") + &webhook("hook", &format!("url = {url:?}"))));
        sensor.publish(1..3);
        sensor.once();
    }
    let ids = mail.messages().into_iter().map(|mail| {
        let id = mail.lines().find_map(|line| line.strip_prefix("Message-ID: ")).map(str::to_owned);
        id.expect("a Message-ID")
    });
    let ids: BTreeSet<_> = ids.collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("it has a name");
    let end = format!(".{}@example.org>", host.trim());
    assert!(ids.iter().all(|id| id.starts_with('<') && id.ends_with(&end)), "{ids:?}");
    let ids: BTreeSet<_> =
        web.requests().iter().map(|one| one["headers"]["x-webhook-id"].to_string()).collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    // Of test messages, too.
    sensors.iter().for_each(|sensor| drop(sensor.test("hook").ok()));
    let all: BTreeSet<_> =
        web.requests().iter().map(|one| one["headers"]["x-webhook-id"].to_string()).collect();
    assert_eq!(all.len(), 6, "{all:?}");
}

/// The lines of arpwatch's rule set carry arpwatch's name, by which the rules of others find them: fail2ban's expression of
/// its issue 1304 and logwatch's service, on a file that a real syslog daemon has written.
#[test]
fn rules_for_arpwatch_find_its_lines() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can have a /dev of its own");
    }
    let Some(syslog) = Rsyslog::start() else { return };
    let alert = Alert::new();
    let config = alert.config("[[channel]]\nname = \"log\"\nsyslog = true\n");
    let mac = |last| [0, 8, 0xe1, 0, 0, last];
    let claim = |time, last: u8| {
        (time, Arp::reply(mac(last), [192, 0, 2, 13].into(), [192, 0, 2, 1].into()))
    };
    alert.publish_frames(&[claim(1000, 10), claim(1010, 11), claim(1020, 12)], &[]);
    let once = |options: &[&str]| {
        let command =
            alert.command(&[&["--once", "--from", "oldest", "-c", &config], options].concat());
        run(syslog.as_dev_log(&command)).ok();
    };
    once(&["--dialect", "arpwatch"]);
    syslog.wait_for(3);
    let changed = " changed ethernet address 192.0.2.13 00:08:e1:00:00:0b (00:08:e1:00:00:0a) pcap";
    let line = syslog.messages()[1].clone();
    assert!(
        line.starts_with("daemon.notice ") && line.ends_with(&format!(" arpwatch|-|{changed}")),
        "{line}"
    );
    let in_log = || fs::read_to_string(syslog.log_file()).unwrap_or_default().lines().count();
    wait_until("they are in its other file", || in_log() == 3);
    let expression = r"^\s*\S+\s+arpwatch: changed ethernet address <HOST>";
    let mut fail2ban = Command::new("fail2ban-regex");
    fail2ban.arg(syslog.log_file()).arg(expression);
    let found = run(fail2ban).ok().stdout;
    assert!(found.contains("3 lines, 0 ignored, 2 matched, 1 missed"), "{found}");
    let mut logwatch = Command::new("logwatch");
    let directory = syslog.log_file();
    logwatch.args([
        "--service",
        "arpwatch",
        "--detail",
        "high",
        "--range",
        "all",
        "--output",
        "stdout",
    ]);
    logwatch.arg("--logdir").arg(directory.parent().expect("a directory"));
    let found = run(logwatch).ok().stdout;
    assert!(
        found.contains("Arpwatch Begin") && found.contains(&format!("\n{changed}\n")),
        "{found}"
    );
    // A name of one's own; and ours without arpwatch's rule set.
    alert.config("[[channel]]\nname = \"log\"\nsyslog = true\nident = \"netwatch\"\n");
    fs::remove_dir_all(alert.path("state")).expect("our own directory");
    once(&["--dialect", "arpwatch"]);
    syslog.wait_for(6);
    assert!(
        syslog.messages()[4].ends_with(&format!(" netwatch|-|{changed}")),
        "{:?}",
        syslog.messages()
    );
    alert.config("[[channel]]\nname = \"log\"\nsyslog = true\nkinds = [\"changed\"]\n");
    fs::remove_dir_all(alert.path("state")).expect("our own directory");
    once(&[]);
    syslog.wait_for(7);
    assert!(
        syslog.messages()[6].contains(" aw-alert|-| changed ethernet"),
        "{:?}",
        syslog.messages()
    );
    alert.config("[[channel]]\nname = \"log\"\nsyslog = true\nident = \"a b\"\n");
    let check = run(alert.command(&["-c", &config, "--check"]));
    check.refused("aw-alert", &["line 2: channel \"log\": ident: \"a b\""]);
}

#[test]
fn apprise_and_pushover() {
    let (alert, sink) = (Alert::new(), WebSink::start(None));
    let base = format!("http://127.0.0.1:{}", sink.port);
    let token = alert.secret("token", "azGDORePK8gMaC0QOYAMyEEuzJnyUi\n");
    let mut text = webhook(
        "apprise",
        &format!("template = \"apprise\", url = \"{base}/notify/home\", tag = \"net\""),
    );
    text += &webhook(
        "pushover",
        &format!(
            "template = \"pushover\", url = {base:?}, token_file = {token:?}, user = \"uQiR&\", priority = -1"
        ),
    );
    alert.config(&text);
    alert.test("apprise").ok();
    let request = sink.requests().pop().expect("it was sent");
    assert_eq!(
        (&request["path"], &request["headers"]["content-type"]),
        (&"/notify/home".into(), &"application/json".into())
    );
    let body = json(request["body"].as_str().expect("text"));
    assert_eq!(
        (&body["title"], &body["tag"]),
        (&"Test: new device: 00:00:5e:00:53:01, 192.0.2.1 (test)".into(), &"net".into())
    );
    assert!(body["body"].as_str().expect("text").contains("ip address: 192.0.2.1"), "{body}");
    assert_eq!((&body["type"], &body["format"]), (&"info".into(), &"text".into()));
    alert.test("pushover").ok();
    let request = sink.requests().pop().expect("it was sent");
    let form = request["body"].as_str().expect("text");
    assert_eq!(request["path"], "/1/messages.json");
    assert_eq!(request["headers"]["content-type"], "application/x-www-form-urlencoded");
    for pair in [
        "token=azGDORePK8gMaC0QOYAMyEEuzJnyUi",
        "user=uQiR%26",
        "title=Test%3A+new+device%3A+00%3A00%3A5e%3A00%3A53%3A01%2C+192.0.2.1+%28test%29",
        "priority=-1",
    ] {
        assert!(form.split('&').any(|found| found == pair), "{pair}: {form}");
    }
    assert_eq!(request["headers"].get("authorization"), None);
    // Apprise answers so where it has no such configuration, and where one of its services failed.
    sink.mood("204");
    let ended = alert.test("apprise");
    assert!(
        ended.stderr.contains("204 No Content: Apprise has no configuration with this key"),
        "{}",
        ended.stderr
    );
    sink.mood("424 failed");
    assert!(alert.test("apprise").stderr.contains("424 Failed Dependency: \"failed\""));
    sink.mood("400 token is invalid: azGDORePK8gMaC0QOYAMyEEuzJnyUi");
    let ended = alert.test("pushover");
    assert!(
        ended.stderr.contains("400 Bad Request: \"token is invalid: ***\""),
        "{}",
        ended.stderr
    );
}

/// A body of one's own: JSON stays JSON whatever the names of devices contain.
#[test]
fn a_body_with_fields() {
    let (alert, sink) = (Alert::new(), WebSink::start(None));
    let url = format!("http://127.0.0.1:{}/x", sink.port);
    let names = alert.secret("known", "00:08:e1:00:00:01|A \"b\" {mac} & é\n");
    let hook = |body: &str, headers: &str| {
        format!(
            "known = {names:?}\n[[channel]]\nname = \"hook\"\nkinds = [\"new_device\"]\nwebhook = {{ url = {url:?}, body = '{body}', headers = {{ {headers} }} }}\n"
        )
    };
    alert.config(&hook(r#"{"a": {"text": "{name}: {ip}"}, "at": {seconds}, "x": "{}"}"#, ""));
    alert.publish(1..2);
    alert.once();
    let body = &sink.wait_for(1)[0];
    assert_eq!(body["a"]["text"], "A \"b\" {mac} & é: 10.0.0.1");
    assert_eq!((&body["at"], &body["x"]), (&1001.into(), &"{}".into()));
    alert.config(&hook(
        "name={name}&kind={kind}",
        "content-type = \"application/x-www-form-urlencoded\"",
    ));
    fs::remove_dir_all(alert.path("state")).expect("our own directory");
    alert.once();
    let request = sink.requests().pop().expect("it was sent");
    assert_eq!(request["body"], "name=A+%22b%22+%7Bmac%7D+%26+%C3%A9&kind=new_device");
    assert_eq!(request["headers"]["content-type"], "application/x-www-form-urlencoded");
    for (body, why) in [
        (
            "{\"a\": \"{adress}\"}",
            "channel \"hook\": webhook: body: no field {adress} (fields: subject,",
        ),
        ("{\"a\": {name}}", "channel \"hook\": webhook: body: not valid JSON"),
    ] {
        let config = alert.config(&hook(body, ""));
        run(alert.command(&["-c", &config, "--check"])).refused("aw-alert", &[why]);
    }
}

/// The address's owner answers, another MAC answers too: an alert with two MACs.
fn conflict(time: u32, host: u8, owner: Mac, other: Mac) -> [(u32, Arp); 3] {
    let claim =
        |time, mac| (time, Arp::reply(mac, [192, 0, 2, host].into(), [192, 0, 2, 1].into()));
    [claim(time, owner), claim(time + 100, other), claim(time + 4000, owner)]
}

/// The addresses and kinds that are reported for the conflicts of three hosts with one MAC, with these tables.
fn reported(tables: &str) -> BTreeSet<(u8, String)> {
    let alert = Alert::new();
    alert.config(&format!(
        "random_macs = \"report\"\n{tables}{}burst = 1000\n",
        alert.appending_channel()
    ));
    let other = [0x02, 0x42, 0xac, 0x11, 0, 9];
    for host in 1..4 {
        let time = 10_000 * u32::from(host);
        let owner = [0, 8, 0xe1, 0, 0, host];
        alert.publish_frames(&conflict(time, host, owner, other), &[]);
    }
    alert.once();
    let alerts = alert.alerts();
    let kinds = alerts.iter().map(|alert| alert["kind"].as_str().expect("text").to_owned());
    numbers(&alerts).into_iter().zip(kinds).collect()
}

/// A mute looks at both MACs of an alert: the MAC that takes addresses over is the present one at first, and then the
/// previous one.
#[test]
fn a_mute_silences_both_directions_of_a_change() {
    let all = reported("");
    let kinds = |host| all.iter().filter(move |(of, _)| *of == host).map(|(_, kind)| kind.as_str());
    assert_eq!(kinds(2).collect::<Vec<_>>(), ["changed", "flip_flop", "new_device"]);
    let left = |tables: &str| {
        let left = reported(tables);
        assert!(left.is_subset(&all), "{left:?}");
        left.into_iter()
            .filter(|(_, kind)| kind != "new_device")
            .map(|(host, _)| host)
            .collect::<Vec<_>>()
    };
    for text in [
        "mac = \"02:42:ac:11:00:09\"",
        "mac = \"02:42:*\"",
        "macs = [\"00:00:5e:00:01:*\", \"02:42:00:00:00:00/16\"]",
        "kinds = [\"changed\", \"flip_flop\"]",
        "addresses = [\"192.0.2.0/30\"]\nnetworks = [\"pcap\"]",
    ] {
        assert_eq!(left(&format!("[[mute]]\n{text}\n")), Vec::<u8>::new(), "{text}");
    }
    for (text, hosts) in [
        ("mac = \"02:43:*\"", vec![1, 1, 2, 2, 3, 3]),
        ("mac = \"00:08:e1:00:00:02\"", vec![1, 1, 3, 3]),
        ("mac = \"02:42:*\"\nkind = \"flip_flop\"", vec![1, 2, 3]),
        ("mac = \"02:42:*\"\naddresses = [\"192.0.2.2/31\"]", vec![1, 1]),
        ("mac = \"02:42:*\"\nhours = \"02:00-05:00\"", vec![2, 2, 3, 3]),
        ("networks = [\"eth7\"]", vec![1, 1, 2, 2, 3, 3]),
    ] {
        assert_eq!(left(&format!("[[mute]]\n{text}\n")), hosts, "{text}");
    }
    // The same patterns in the other places.
    assert_eq!(
        left("[[failover]]\nmacs = [\"02:42:*\", \"00:08:e1:00:00:00/24\"]\n"),
        Vec::<u8>::new()
    );
}

/// A filter of a channel takes patterns, too.
#[test]
fn a_channel_of_a_block_of_macs() {
    let alert = Alert::new();
    for (macs, expected) in [
        ("00:08:e1:00:00:*", vec![1, 2, 3]),
        ("00:08:e1:00:00:02/47", vec![2, 3]),
        ("02:42:*", vec![]),
    ] {
        alert.config(&format!("{}macs = [{macs:?}]\n", alert.appending_channel()));
        alert.publish(1..4);
        alert.once();
        assert_eq!(numbers(&alert.alerts()), expected, "{macs}");
        fs::remove_dir_all(alert.path("state")).expect("our own directory");
        let _ = fs::remove_file(alert.path("alerts"));
    }
}

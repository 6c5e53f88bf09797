//! Channels of `aw-alert` with real servers that fail in every way: webhooks and mail, with TLS and without; hours; secrets.
#![forbid(unsafe_code)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use aw_tests::alerting::{Alert, impatient, numbers, smtp, webhook};
use aw_tests::capture_file::save;
use aw_tests::certificates::make_certificates;
use aw_tests::collect::json;
use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{program_at, public_copy, run, run_with, skip, wait_until};
use aw_tests::server::Server;
use aw_tests::web_sink::WebSink;
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn a_webhook_is_posted_to_and_signed() {
    let (alert, sink) = (Alert::new(), WebSink::start(None));
    let key = alert.secret("key", "open sesame\n");
    let url = format!("http://127.0.0.1:{}/hook?a=b", sink.port);
    alert.config(&format!(
        "{}{}",
        alert.appending_channel(),
        webhook(
            "hook",
            &format!("url = {url:?}, secret_file = {key:?}, headers = {{ X-Zone = \"home\" }}")
        )
    ));
    alert.publish(1..3);
    alert.once();
    let requests = sink.requests();
    assert_eq!(sink.wait_for(2), alert.alerts(), "the same JSON for all");
    for request in &requests {
        let (headers, body) = (&request["headers"], request["body"].as_str().expect("text"));
        assert_eq!((&request["path"], &headers["x-zone"]), (&"/hook?a=b".into(), &"home".into()));
        assert_eq!(headers["content-type"], "application/json");
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-hmac", "open sesame", "-r"]);
        let digits = run_with(openssl, body.as_bytes()).ok().stdout;
        let digits = digits.split_whitespace().next().expect("a digest");
        assert_eq!(headers["x-webhook-signature"], format!("sha256={digits}"));
    }
    assert_ne!(requests[0]["headers"]["x-webhook-id"], requests[1]["headers"]["x-webhook-id"]);
    assert_eq!(numbers(&alert.alerts()), [1, 2]);
}

#[test]
fn every_service_gets_its_format_at_its_address() {
    let (mut alert, sink) = (Alert::new(), WebSink::start(None));
    let base = format!("http://127.0.0.1:{}", sink.port);
    let token = alert.secret("token", "123:Tk\n");
    let hidden = alert.secret("url", &format!("{base}/services/T0/B0/s3cret\n"));
    alert.variables.push(("HOOK", format!("{base}/hooks/s3cret")));
    let at = format!("url = {base:?}, token_file = {token:?}");
    let mut text =
        webhook("ntfy", &format!("template = \"ntfy\", topic = \"home\", priority = 4, {at}"));
    text += &webhook("gotify", &format!("template = \"gotify\", {at}"));
    text += &webhook("telegram", &format!("template = \"telegram\", chat = \"-100\", {at}"));
    for name in ["slack", "discord"] {
        text += &webhook(name, &format!("template = {name:?}, url_file = {hidden:?}"));
    }
    for name in ["mattermost", "teams"] {
        text += &webhook(name, &format!("template = {name:?}, url_env = \"HOOK\""));
    }
    let config = alert.config(&text);
    run(alert.command(&["-c", &config, "--check"])).ok();
    let title = "Test: new device: 00:00:5e:00:53:01, 192.0.2.1 (test)";
    for (name, path, places) in [
        ("ntfy", "/", &["/title", "/topic", "/message", "/priority"][..]),
        ("gotify", "/message", &["/title", "/message"]),
        ("telegram", "/bot123:Tk/sendMessage", &["/text", "/chat_id"]),
        ("slack", "/services/T0/B0/s3cret", &["/text"]),
        ("discord", "/services/T0/B0/s3cret", &["/embeds/0/title", "/allowed_mentions/parse"]),
        ("mattermost", "/hooks/s3cret", &["/text"]),
        ("teams", "/hooks/s3cret", &["/attachments/0/content/body/0/inlines/0/text"]),
    ] {
        let ended = alert.test(name).ok();
        assert_eq!(ended.stdout, format!("channel {name}: sent\n"));
        let request = sink.requests().pop().expect("it was sent");
        assert_eq!(request["path"], path);
        let body = json(request["body"].as_str().expect("text"));
        let text = body.pointer(places[0]).and_then(Value::as_str).expect("a title");
        assert!(text.contains(title), "{name}: {body}");
        assert!(places.iter().all(|place| body.pointer(place).is_some()), "{name}: {body}");
        let headers = &request["headers"];
        assert_eq!(headers["authorization"] == "Bearer 123:Tk", name == "ntfy");
        assert_eq!(headers["x-gotify-key"] == "123:Tk", name == "gotify");
    }
    // A service that refuses, with the secret in its response.
    sink.mood("404 no_service s3cret 123:Tk");
    for name in ["ntfy", "gotify", "telegram", "slack", "mattermost"] {
        let ended = alert.test(name);
        assert!(!ended.status.success());
        assert!(
            ended.stderr.contains(&format!("{base}: 404 Not Found: \"no_service ")),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("bot123"), "{}", ended.stderr);
    }
    assert!(!alert.test("ntfy").stderr.contains("123:Tk"));
    assert!(!alert.test("telegram").stderr.contains("123:Tk"));
}

#[test]
fn a_webhook_that_fails_reports_the_cause_and_loses_nothing() {
    let (alert, mut sink) = (Alert::new(), WebSink::start(None));
    let token = alert.secret("token", "tk_secret\n");
    let elsewhere = WebSink::start(None);
    let url = format!("http://127.0.0.1:{}/x", sink.port);
    let hook = webhook("hook", &format!("url = {url:?}, token_file = {token:?}"));
    let channels = format!("{hook}{}", alert.appending_channel());
    let redirect = format!("to http://127.0.0.1:{}/y", elsewhere.port);
    let of_token = |status: &str| {
        format!(
            "{status}: \"Bearer ***\" (the server does not accept the token: check the token in {token}, which is read again for each message)"
        )
    };
    for (mood, why) in [
        ("500 broken", "500 Internal Server Error: \"brokenBearer ***\" (a fault of the server)"),
        (
            "429 slow down",
            "429 Too Many Requests: \"slow downBearer ***\" (too many messages for this server: lower burst or ",
        ),
        ("401 ", &of_token("401 Unauthorized")),
        ("403 ", &of_token("403 Forbidden")),
        ("404 ", "404 Not Found: \"Bearer ***\" (correct url)"),
        ("hang", "no response after 1 s"),
        ("close", ""),
        ("endless", "500 Internal Server Error: \"xxxx"),
        (
            &redirect,
            &format!(
                "307 Temporary Redirect to http://127.0.0.1:{}: redirections are not followed",
                elsewhere.port
            ),
        ),
    ] {
        sink.mood(mood);
        alert.config(&if mood == "hang" { impatient(&channels) } else { channels.clone() });
        let ended = alert.test("hook");
        assert!(!ended.status.success(), "{mood}");
        let expected = format!("channel hook: POST http://127.0.0.1:{}: {why}", sink.port);
        assert!(ended.stderr.contains(&expected), "{mood}: {}", ended.stderr);
        assert!(
            !ended.stderr.contains("tk_secret") && ended.stderr.len() < 500,
            "{}",
            ended.stderr
        );
    }
    assert!(elsewhere.requests().is_empty());
    sink.kill();
    let refused = alert.test("hook");
    assert!(refused.stderr.contains("onnection refused"), "{}", refused.stderr);
    // While it is down, the other channels deliver, and report the failure once.
    alert.publish(1..4);
    let ended = alert.once();
    assert!(ended.stderr.contains("3 messages stay in the queue"), "{}", ended.stderr);
    let alerts = alert.alerts();
    assert_eq!(numbers(&alerts), [1, 2, 3]);
    let fails = alerts.iter().filter(|report| report["kind"] == "channel_fails");
    assert_eq!(fails.count(), 1);
    // It is up again, at first with a broken response: then all alerts arrive, in order.
    sink.mood("close");
    sink.start_again();
    let before = sink.requests().len();
    let running = alert.start();
    wait_until("it tries", || sink.requests().len() > before);
    sink.mood("200");
    assert_eq!(numbers(&sink.wait_for(3)), [1, 2, 3]);
    running.stop().ok();
    let ids: Vec<_> =
        sink.requests().iter().map(|one| one["headers"]["x-webhook-id"].clone()).collect();
    let first = ids[ids.len() - 3].clone();
    assert!(ids[..ids.len() - 3].contains(&first), "each try has the same id: {ids:?}");
}

#[test]
fn what_a_server_refuses_is_not_in_the_way_and_is_tried_again() {
    let (alert, sink) = (Alert::new(), WebSink::start(None));
    let url = format!("http://127.0.0.1:{}/x", sink.port);
    alert.config(&webhook("hook", &format!("url = {url:?}")));
    sink.mood("400 bad words");
    alert.publish(1..2);
    let ended = alert.once();
    assert!(
        ended.stderr.contains("400 Bad Request: \"bad words\": this message is set aside"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("1 messages stay in the queue"), "{}", ended.stderr);
    let running = alert.start();
    wait_until("it is refused again", || sink.requests().len() == 2);
    sink.mood("200");
    alert.publish(2..4);
    assert_eq!(numbers(&sink.wait_for(2)), [2, 3]);
    running.stop().ok();
    alert.once();
    assert_eq!(numbers(&sink.wait_for(3)), [2, 3, 1]);
}

#[test]
fn tls_only_with_an_authority_that_is_trusted() {
    let alert = Alert::new();
    let certificates = alert.path("tls");
    make_certificates(&certificates);
    let sink = WebSink::start(Some(&certificates));
    let ca = certificates.join("ca.pem");
    let url = format!("https://127.0.0.1:{}/x", sink.port);
    let mut text = webhook("strangers", &format!("url = {url:?}"));
    text += &webhook("ours", &format!("url = {url:?}, ca_file = {ca:?}"));
    alert.config(&text);
    let ended = alert.test("strangers");
    assert!(!ended.status.success() && ended.stderr.contains("UnknownIssuer"), "{}", ended.stderr);
    assert!(ended.stderr.contains("ca_file"), "{}", ended.stderr);
    assert!(sink.requests().is_empty());
    alert.test("ours").ok();
    assert_eq!(sink.requests().len(), 1);
}

#[test]
fn killed_at_any_time_a_webhook_gets_each_alert_at_least_once() {
    let (alert, sink) = (Alert::new(), WebSink::start(None));
    let url = format!("http://127.0.0.1:{}/x", sink.port);
    alert.config(
        &webhook("hook", &format!("url = {url:?}"))
            .replace("time_limit", "burst = 1000\ntime_limit"),
    );
    for round in 0..6_u8 {
        alert.publish(round * 10..round * 10 + 10);
        let running = alert.start();
        std::thread::sleep(Duration::from_millis(50 * u64::from(round) + 10));
        running.kill();
    }
    alert.once();
    let alerts = sink.wait_for(60);
    let mut found = numbers(&alerts);
    assert!(found.len() <= 60 + 6, "one alert per kill is repeated: {}", found.len());
    found.sort();
    found.dedup();
    assert_eq!(found, (0..60).collect::<Vec<_>>());
    // The receiver can distinguish a repeated alert from a second one.
    let mut ids: Vec<_> =
        sink.requests().iter().map(|one| one["headers"]["x-webhook-id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 60);
}

#[test]
fn outside_its_hours_a_channel_waits_or_drops_alerts() {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is later").as_secs() / 3600 % 24;
    let hours =
        |from: u64, to: u64| format!("\"{:02}:00-{:02}:00\"", (now + from) % 24, (now + to) % 24);
    let (later, current) = (hours(6, 12), hours(23, 3));
    let alert = Alert::new();
    let channels = |waits: &str| {
        let waiting = alert.appending_channel();
        let dropping = waiting.replace("append", "drop");
        format!("{waiting}hours = {waits}\n{dropping}hours = {later}\noutside = \"ignore\"\n")
    };
    let script = fs::read_to_string({
        alert.appending_channel();
        alert.path("append")
    });
    let script = script.expect("our own file").replace("/alerts", "/dropped");
    save(alert.directory.path(), "drop", script.as_bytes());
    fs::set_permissions(alert.path("drop"), Permissions::from_mode(0o755)).expect("our own");
    alert.config(&channels(&later));
    alert.publish(1..4);
    alert.once();
    assert!(alert.alerts().is_empty(), "{:?}", alert.alerts());
    alert.publish(4..5);
    alert.once();
    assert!(alert.alerts().is_empty(), "{:?}", alert.alerts());
    // The hours of the channel have begun.
    alert.config(&channels(&current));
    alert.once();
    let alerts = alert.alerts();
    assert_eq!((alerts.len(), &alerts[0]["kind"]), (1, &"digest".into()), "{alerts:?}");
    assert_eq!(alerts[0]["count"], 4);
    // Alerts after the digest's window are sent one by one again; immediate ones are in the next digest.
    alert.publish(5..6);
    alert.once();
    // One alert is no digest.
    let alone = &alert.alerts()[1];
    assert_eq!(
        (&alone["kind"], &alone["ip"], &alone["digest"]),
        (&"new_device".into(), &"10.0.0.5".into(), &true.into()),
        "{alone}"
    );
    assert!(!alert.path("dropped").exists());
}

/// A reload cannot apply it, because no process may read secrets again: that is logged, with what to do, and so is a file that the next
/// start would refuse, also if it replaced the old one.
#[test]
fn a_changed_configuration_is_reported() {
    let alert = Alert::new();
    let channel = alert.appending_channel();
    let config = alert.config(&channel);
    let running = alert.start();
    running.stderr.wait_for("waiting for ring");
    for (text, expected) in [
        (
            format!("quiet = 5\n{channel}"),
            "alert.toml has changed (a restart applies it: systemctl restart aw-alert)",
        ),
        ("garbage [".into(), "alert.toml has changed and is not valid: line 1: "),
        (channel.clone(), "alert.toml is as it was at the start: nothing to apply"),
    ] {
        fs::write(&config, text).expect("our own file");
        running.signal(Signal::HUP);
        running.stderr.wait_for(expected);
    }
    let other = alert.path("other");
    fs::write(&other, format!("quiet = 7\n{channel}")).expect("our own file");
    fs::rename(other, &config).expect("our own file");
    running.signal(Signal::HUP);
    // Where the sandbox does not let it be read, --check tries it.
    let changed = |lines: &[String]| {
        let changed = lines.iter().filter(|line| line.contains("a restart applies it: "));
        (changed.count() >= 2).then_some(())
    };
    running.stderr.wait_until("the new file is reported", changed);
    running.stop().ok();
}

/// The recipe of the guide, with other hours and another transport.
#[test]
fn a_daily_summary() {
    let guide = include_str!("../../docs/guide/channels.md");
    let recipe = guide.split("```toml\n").find(|block| block.contains("name = \"daily\""));
    let recipe = recipe.and_then(|block| block.split("```").next()).expect("a recipe");
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is later").as_secs() / 3600 % 24;
    let alert = Alert::new();
    let command = alert.appending_channel();
    let command = command.lines().find(|line| line.starts_with("command")).expect("one");
    let transport = recipe.lines().find(|line| line.starts_with("smtp")).expect("one");
    let open = |from: u64, to: u64| {
        let hours = format!("{:02}:00-{:02}:00", (now + from) % 24, (now + to) % 24);
        alert.config(&recipe.replace("07:00-07:01", &hours).replace(transport, command));
    };
    open(6, 12);
    for devices in [1..3, 3..4] {
        alert.publish(devices);
        alert.once();
    }
    assert!(alert.alerts().is_empty(), "{:?}", alert.alerts());
    open(23, 3);
    alert.publish(4..5);
    alert.once();
    let alerts = alert.alerts();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!((&alerts[0]["kind"], &alerts[0]["count"]), (&"digest".into(), &4.into()));
    alert.once();
    assert_eq!(alert.alerts().len(), 1, "nothing happened");
}

#[test]
fn secrets_stay_secret() {
    let mut alert = Alert::new();
    let token = alert.secret("token", "tk_1\n");
    let sink = WebSink::start(None); // --check reaches it
    let url = format!("http://127.0.0.1:{}/", sink.port);
    let hook = |options: &str| webhook("hook", &format!("url = {url:?}, {options}"));
    let config = alert.config(&hook(&format!("token_file = {token:?}")));
    fs::set_permissions(&token, Permissions::from_mode(0o644)).expect("our own file");
    for options in [&["--check"][..], &["--once"], &["test", "hook"]] {
        let ended = run(alert.command(&[&["-c", &config], options].concat()));
        ended.refused(
            "aw-alert",
            &["line 2: channel \"hook\": ", "token: other users may read or write it (chmod o= "],
        );
    }
    fs::set_permissions(&token, Permissions::from_mode(0o640)).expect("our own file");
    run(alert.command(&["-c", &config, "--check"])).ok();
    // A secret in the wrong place is not shown in the error.
    let config = alert.config(&hook("token = \"tk_1\""));
    let ended = run(alert.command(&["-c", &config, "--check"]));
    assert!(ended.stderr.contains("line 4: unknown key `token`"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("tk_1"), "{}", ended.stderr);
    // A secret from the environment is not passed to child processes.
    let out = alert.path("environment");
    let shows = format!("#!/bin/sh\nenv >> {}\n", out.display());
    let shows = save(alert.directory.path(), "shows", shows.as_bytes());
    fs::set_permissions(&shows, Permissions::from_mode(0o755)).expect("our own file");
    let config = alert.config(&format!(
        "[[channel]]\nname = \"shows\"\ncommand = [{shows:?}]\n{}",
        hook("token_env = \"HOOK_TOKEN\"")
    ));
    let ended = run(alert.command(&["-c", &config, "--check"]));
    ended.refused("aw-alert", &["line 5: channel \"hook\"", "variable HOOK_TOKEN is not set"]);
    alert.variables.push(("HOOK_TOKEN", "tk_2".into()));
    alert.publish(1..2);
    alert.once();
    let environment = fs::read_to_string(&out).expect("the program ran");
    assert!(environment.contains("AW_KIND=new_device") && !environment.contains("tk_2"));
}

#[test]
fn mail_with_tls_and_a_password() {
    let alert = Alert::new();
    let [certificates, others] = ["tls", "others"].map(|name| alert.path(name));
    make_certificates(&certificates);
    make_certificates(&others);
    let (password, wrong) =
        (alert.secret("password", "s3cret\n"), alert.secret("wrong", "t3cret\n"));
    let ca = certificates.join("ca.pem");
    for tls in ["starttls", "tls"] {
        let sink = MailSink::protected(tls, &certificates);
        let with = |ca: &Path, password: &str| {
            let more = format!(
                ", tls = {tls:?}, ca_file = {ca:?}, user = \"watch\", password_file = {password:?}"
            );
            alert.config(&smtp(&sink, &more));
            alert.test("mail")
        };
        with(&ca, &password).ok();
        let letter =
            sink.wait_for(&["Subject: Test: new device: 00:00:5e:00:53:01, 192.0.2.1 (test)\n"]);
        assert!(letter.contains("AS watch\n"), "{letter}");
        assert!(
            letter.starts_with("FROM arpwatch@example.org TO a@example.org,b@example.org\n"),
            "{letter}"
        );
        let ended = with(&ca, &wrong);
        assert!(!ended.status.success() && ended.stderr.contains("535"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("t3cret"), "{}", ended.stderr);
        let ended = with(&others.join("ca.pem"), &password);
        assert!(!ended.status.success(), "{tls}");
        assert!(ended.stderr.contains("certificate"), "{}", ended.stderr);
        assert_eq!(sink.messages().len(), 1);
    }
    fs::set_permissions(&password, Permissions::from_mode(0o604)).expect("our own file");
    let sink = MailSink::start();
    alert.config(&smtp(&sink, &format!(", user = \"watch\", password_file = {password:?}")));
    alert.test("mail").refused("aw-alert", &["password: other users may read or write it"]);
}

/// A password and a token are read again, also from a file that replaced the one of the start.
#[test]
fn a_corrected_secret_needs_no_restart() {
    let alert = Alert::new();
    let certificates = alert.path("tls");
    make_certificates(&certificates);
    let sink = MailSink::protected("starttls", &certificates);
    let web = WebSink::start(None);
    web.mood("401 no");
    let [password, token] = ["password", "token"].map(|name| alert.secret(name, "wrong\n"));
    let ca = certificates.join("ca.pem");
    let mail = format!(
        ", tls = \"starttls\", ca_file = {ca:?}, user = \"watch\", password_file = {password:?}"
    );
    let hook = format!("url = \"http://127.0.0.1:{}/x\", token_file = {token:?}", web.port);
    alert.config(&format!("{}{}", smtp(&sink, &mail), webhook("hook", &hook)));
    alert.publish(1..2);
    let running = alert.start();
    let remedy = |file: &str| {
        format!(
            "(check user and the first line of {file}, which is read again for each login): its messages stay in the queue, tried again at "
        )
    };
    running.stderr.wait_for(&remedy(&password));
    running.stderr.wait_for(
        "401 Unauthorized: \"noBearer ***\" (the server does not accept the token: check ",
    );
    for (file, secret) in [(&password, "s3cret\n"), (&token, "tk_2\n")] {
        alert.secret("new", secret);
        fs::rename(alert.path("new"), file).expect("our own file");
    }
    web.mood("200 ok");
    sink.wait_for(&["Subject: new device: 00:08:e1:00:00:01, 10.0.0.1 (pcap)"]);
    wait_until("the webhook has it", || {
        web.requests().iter().any(|request| request["headers"]["authorization"] == "Bearer tk_2")
    });
    running.stop().ok();
}

#[test]
fn a_mail_server_that_fails() {
    let (alert, mut sink) = (Alert::new(), MailSink::start());
    let channels = format!("{}{}", smtp(&sink, ""), alert.appending_channel());
    alert.config(&channels);
    sink.kill();
    alert.publish(1..3);
    let ended = alert.once();
    assert!(ended.stderr.contains("onnection refused"), "{}", ended.stderr);
    assert!(ended.stderr.contains("2 messages stay in the queue"), "{}", ended.stderr);
    let alerts = alert.alerts();
    let fails = alerts.iter().filter(|report| report["kind"] == "channel_fails");
    assert_eq!((fails.count(), numbers(&alerts)), (1, vec![1, 2]));
    // A server that is too slow.
    sink.start_again();
    sink.answer(Some("slow"));
    alert.config(&impatient(&channels));
    let ended = alert.test("mail");
    assert!(!ended.status.success() && ended.stderr.contains("channel mail: "), "{}", ended.stderr);
    // It is killed while it processes the message: the next server gets it.
    alert.config(&channels);
    sink.answer(Some("die"));
    let running = alert.start();
    running.stderr.wait_for("channel mail");
    sink.kill();
    sink.answer(None);
    sink.start_again();
    sink.wait_for(&["Subject: new device: 00:08:e1:00:00:02, 10.0.0.2 (pcap)"]);
    running.stop().ok();
    let subjects: Vec<_> = sink.messages();
    let order: Vec<_> =
        subjects.iter().map(|letter| letter.contains(", 10.0.0.1 (pcap)")).collect();
    assert_eq!(order, [true, false], "{subjects:?}");
    // It rejects one for good: the next one is delivered, and the first one is sent again after a restart.
    sink.answer(Some("554 no such words here"));
    let running = alert.start();
    alert.publish(3..4);
    running.stderr.wait_for("554");
    sink.answer(None);
    alert.publish(4..5);
    sink.wait_for(&["Subject: new device: 00:08:e1:00:00:04, 10.0.0.4 (pcap)"]);
    assert_eq!(sink.messages().len(), 3);
    running.stop().ok();
    alert.once();
    sink.wait_for(&["Subject: new device: 00:08:e1:00:00:03, 10.0.0.3 (pcap)"]);
}

/// Of several recipients those that the server accepts get each mail once; for the others the reason is logged.
#[test]
fn a_receiver_that_is_refused_stops_no_other() {
    for answer in ["550 no such user", "452 mailbox full"] {
        let (alert, sink) = (Alert::new(), MailSink::start());
        sink.answer_for("a@example.org", answer);
        alert.config(&smtp(&sink, ""));
        alert.publish(1..3);
        let ended = alert.once();
        assert!(ended.status.success(), "{ended:?}");
        for number in [1, 2] {
            let subject = format!("new device: 00:08:e1:00:00:0{number}, 10.0.0.{number} (pcap)");
            let why = format!("mail {subject:?}: the server refused a recipient: mail server");
            assert!(ended.stderr.contains(&why), "{}", ended.stderr);
            let mail = sink.wait_for(&[&format!("Subject: {subject}")]);
            assert!(mail.starts_with("FROM arpwatch@example.org TO b@example.org\n"), "{mail}");
        }
        assert!(ended.stderr.contains(&answer[4..]) && ended.stderr.contains("(to a@example.org)"));
        alert.once();
        assert_eq!(sink.count(), 2, "no recipient gets a mail twice");
        // If it accepts none, nothing is lost.
        sink.answer_for("b@example.org", "450 later");
        alert.publish(3..4);
        let ended = alert.once();
        assert!(ended.stderr.contains("450"), "{}", ended.stderr);
        assert!(ended.stderr.contains("1 messages stay in the queue"), "{}", ended.stderr);
    }
}

#[test]
fn mail_as_arpwatch_writes_it() {
    let (alert, sink) = (Alert::new(), MailSink::start());
    let out = alert.path("letter");
    let script = format!("#!/bin/sh\nexec cat > {}\n", out.display());
    let sendmail = save(alert.directory.path(), "sendmail", script.as_bytes());
    fs::set_permissions(&sendmail, Permissions::from_mode(0o755)).expect("our own file");
    let layout = "layout = \"arpwatch\"\n";
    alert.config(&format!(
        "{}{layout}[[channel]]\nname = \"sendmail\"\n{layout}sendmail = {{ path = {sendmail:?}, \
         from = \"arpwatch\", to = [\"root\"] }}\n",
        smtp(&sink, "")
    ));
    alert.publish(1..2);
    alert.once();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("it has a name");
    let body = "\n\n            hostname: <unknown>\n          ip address: 10.0.0.1\n           interface: pcap\n    \
                ethernet address: 00:08:e1:00:00:01\n     ethernet vendor: <unknown>\n           timestamp: \
                Thursday, January 1, 1970 0:16:41 +0000\n";
    let letter = sink.wait_for(&["Subject: new device (10.0.0.1) pcap\n"]);
    let from = format!("\nFrom: arpwatch@example.org (Arpwatch {})\n", host.trim());
    assert!(letter.contains(&from) && letter.ends_with(body), "{letter}");
    let letter = fs::read_to_string(&out).expect("the program ran");
    let from = format!("From: arpwatch (Arpwatch {})\nTo: root\n", host.trim());
    assert!(letter.starts_with(&from) && letter.ends_with(body), "{letter}");
}

/// Started by root, the program reads secrets that the user to which it changes cannot read.
#[test]
fn a_secret_that_only_root_may_read_reaches_the_one_that_speaks() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let (alert, sink) = (Alert::new(), WebSink::start(None));
    let public = public_copy(&["aw-alert"]);
    let state = public.path().join("state");
    fs::create_dir(&state).expect("our own directory");
    chown(&state, Some(65534), Some(65534)).expect("we are root");
    let token = alert.secret("token", "tk_1\n");
    let url = format!("http://127.0.0.1:{}/x", sink.port);
    let config = alert.config(&webhook("hook", &format!("url = {url:?}, token_file = {token:?}")));
    alert.publish_with(1..2, &["--group", "65534"]);
    let mut command = program_at(public.path().join("aw-alert"), &["--once", "-u", "65534"]);
    command.args(["--ring", alert.ring.name(), "-c", &config, "--state-dir"]).arg(&state);
    run(command).ok();
    let requests = sink.requests();
    assert_eq!(requests[0]["headers"]["authorization"], "Bearer tk_1", "{requests:?}");
    let owner = fs::metadata(state.join("aw-alert.db")).expect("it remembers").uid();
    assert_eq!(owner, 65534);
}

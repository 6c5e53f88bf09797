//! `aw-mqtt` with a real mosquitto that is killed, hangs or refuses; messages for Home Assistant.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ChildStdin, Command};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::certificates::make_certificates;
use aw_tests::collect::{collect, held_json, json};
use aw_tests::feed::{number_of, publish, reading_collector};
use aw_tests::frames::{Arp, Mac, lldp};
use aw_tests::mosquitto::{Mosquitto, Sent};
use aw_tests::rig::{Run, binary, program, program_at, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::server::Server;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::tempdir;

const STATUS: &str = "addrwatch/here/status";
/// Events of a batch.
const BATCH: usize = 1024;
const PHONE: Mac = [0x02, 0, 0, 0, 0, 0x0a];
const PHONE_STATE: &str = "addrwatch/here/devices/02:00:00:00:00:0a";
const PHONE_CONFIG: &str = "homeassistant/device_tracker/addrwatch_here/02000000000a/config";

fn retained(topic: &str, payload: &str) -> Sent {
    Sent { topic: topic.into(), retained: true, qos: 1, payload: payload.into() }
}

fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as u32
}

/// At these seconds, these MACs claim 10.9.0.x.
#[track_caller]
fn claims(ring: &Ring, claims: &[(u32, Mac, u8)]) {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    for (time, mac, ip) in claims {
        let frame = Arp::request(*mac, [10, 9, 0, *ip].into(), [192, 0, 2, 254].into()).frame();
        file.packet(at(*time), &frame).expect("memory takes all");
    }
    collect(ring, &file.finish().expect("memory takes all"), &["-q"]).ok();
}

/// A collector that runs, and reads what claims are written to it. Other frames come all the time: it is alive.
struct Feed {
    collector: Run,
    stdin: Arc<Mutex<ChildStdin>>,
}

impl Feed {
    fn start(ring: &Ring) -> Feed {
        let mut collector = Run::start(reading_collector(ring, &["-q"]));
        let mut stdin = collector.stdin.take().expect("a pipe");
        let head = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
        stdin.write_all(&head.finish().expect("memory takes all")).expect("it reads");
        let stdin = Arc::new(Mutex::new(stdin));
        let other = Arc::clone(&stdin);
        thread::spawn(move || {
            while write_frame(&other, 1, &[0; 60]).is_ok() {
                sleep(Duration::from_millis(200));
            }
        });
        wait_until("there is a ring", || ring.path().exists());
        Feed { collector, stdin }
    }

    /// This MAC claims 10.9.0.x now, and again until it is seen at home: on a slow machine a claim may be old when it is read.
    #[track_caller]
    fn claim_until(&self, mac: Mac, ip: u8, is_home: impl Fn() -> bool) {
        wait_until("it comes", || {
            self.claim(now(), mac, ip);
            sleep(Duration::from_millis(100));
            is_home()
        });
    }

    /// At this second, this MAC claims 10.9.0.x.
    fn claim(&self, time: u32, mac: Mac, ip: u8) {
        let frame = Arp::request(mac, [10, 9, 0, ip].into(), [192, 0, 2, 254].into()).frame();
        write_frame(&self.stdin, time, &frame).expect("it reads");
    }
}

fn write_frame(to: &Mutex<ChildStdin>, time: u32, frame: &[u8]) -> std::io::Result<()> {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond)?;
    file.packet(at(time), frame)?;
    let bytes = file.finish()?;
    to.lock().expect("no panic").write_all(&bytes[24..]) // without the head of a file
}

fn numbers(news: &[Value]) -> Vec<u32> {
    news.iter().map(number_of).collect()
}

/// A new pairing is published once, a repeated sighting is not; a change names the previous owner of the address.
#[test]
fn news() {
    let Some(broker) = Mosquitto::start() else { return };
    let (ring, listener) = (Ring::new(), broker.listen());
    let (one, two): (Mac, Mac) = ([0, 8, 0xe1, 0, 0, 1], [0, 8, 0xe1, 0, 0, 2]);
    claims(
        &ring,
        &[(1000, one, 1), (1001, one, 1), (1100, two, 1), (1101, one, 2), (1102, one, 2)],
    );
    let ended = run(broker.command(&ring, &["--once"])).ok();
    assert!(ended.stderr.ends_with(": 5 events, 0 lost\n"), "{}", ended.stderr);
    listener.wait_for(STATUS, "offline");
    let events = held_json(&ring);
    let news = |what: &str, event: usize, old: Option<Mac>, previous: Option<u32>| {
        let mut news = events[event].clone();
        let old = old.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
        for (key, value) in [
            ("what", json!(what)),
            ("old_mac", json!(old)),
            ("previous", json!(previous)),
            ("name", Value::Null),
            ("note", Value::Null),
        ] {
            news[key] = value;
        }
        let topic = format!("addrwatch/here/events/pcap/{what}");
        (topic, false, 1, news)
    };
    let sent = listener.sent();
    let status = |sent: &Sent| sent.topic == STATUS;
    let came: Vec<_> = sent
        .iter()
        .filter(|sent| !status(sent))
        .map(|sent| (sent.topic.clone(), sent.retained, sent.qos, json(&sent.payload)))
        .collect();
    let mut another = news("new_device", 2, None, None);
    another.3["note"] = json!("it claims the address of 00:08:e1:00:00:01");
    let expected = [
        news("new_device", 0, None, None),
        news("new_station", 0, None, None),
        another,
        news("changed", 2, Some(one), Some(1001)),
        news("new_station", 3, None, None),
    ];
    assert_eq!(came, expected);
    let online = [retained(STATUS, "online"), retained(STATUS, "offline")];
    assert_eq!(sent.into_iter().filter(status).collect::<Vec<_>>(), online);
    // Its state is saved: nothing of this is new.
    claims(&ring, &[(1200, one, 2), (1300, two, 1)]);
    run(broker.command(&ring, &["--once"])).ok();
    wait_until("it was there", || listener.of(STATUS).len() == 4);
    assert_eq!(listener.sent().iter().filter(|sent| !status(sent)).count(), expected.len());
}

/// `collector --names`: what a device calls itself is in the message about it if it has no name, and in the attributes of one that has.
#[test]
fn claimed_names() {
    let Some(broker) = Mosquitto::start() else { return };
    let (ring, listener, unnamed) = (Ring::new(), broker.listen(), [0, 8, 0xe1, 0, 0, 1]);
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    for (mac, ip, name) in [(unnamed, 1, "nas"), (PHONE, 2, "anna")] {
        let arp = Arp::request(mac, [10, 9, 0, ip].into(), [192, 0, 2, 254].into()).frame();
        [lldp(mac, name), arp].iter().for_each(|frame| file.packet(at(1000), frame).unwrap());
    }
    collect(&ring, &file.finish().unwrap(), &["-q", "--names"]).ok();
    let names = broker.path("names");
    fs::write(&names, "02:00:00:00:00:0a the phone\n").unwrap();
    let options = ["--names", names.to_str().unwrap(), "--once"];
    run(broker.command(&ring, &options)).ok();
    listener.wait_for(STATUS, "offline");
    let news = listener.news("new_device");
    let shown =
        |news: &Value| ["name", "claimed_name", "name_source"].map(|key| news.get(key).cloned());
    let claimed = [Value::Null, json!("nas"), json!("LLDP system name")].map(Some);
    assert_eq!(shown(&news[0]), claimed);
    assert_eq!(shown(&news[1]), [Some(json!("the phone")), None, None]);
    let attributes = listener.of(&format!("{PHONE_STATE}/attributes"));
    assert_eq!(json(attributes.last().unwrap())["claimed_name"], "anna");
}

/// A killed broker loses only its own state; each message that it could not accept arrives when it is back, in order.
#[test]
fn a_broker_that_is_killed() {
    let Some(mut broker) = Mosquitto::start() else { return };
    let ring = Ring::new();
    let output = broker.output(&ring, &[]);
    output.stderr.wait_for("waiting for ring");
    let listener = broker.listen();
    publish(&ring, 1..101);
    assert_eq!(numbers(&listener.wait_for_news("new_station", 100)), Vec::from_iter(1..101));
    broker.kill();
    let message = output.stderr.wait_for("queueing events in");
    assert!(
        message.starts_with(&format!("aw-mqtt: publish to mqtt://127.0.0.1:{}: ", broker.port)),
        "{message}"
    );
    publish(&ring, 101..3001);
    // An event is 56 bytes, and its row has its position. Events that are not spooled yet come from the ring.
    let spooled = ["", "-wal"].map(|end| broker.path(&format!("state/aw-mqtt.spool{end}")));
    wait_until("they are in the spool, or nearly", || {
        spooled.iter().flat_map(fs::metadata).map(|file| file.len()).sum::<u64>() > 2900 * 76
    });
    // The subscriber connects first: the broker queues for no other client.
    output.signal(Signal::STOP);
    broker.start_again();
    let listener = broker.listen();
    output.signal(Signal::CONT);
    output.stderr.wait_for("the destination is back");
    publish(&ring, 3001..3101);
    let last = |what: &str| numbers(&listener.news(what)).last().copied();
    for what in ["new_device", "new_station"] {
        wait_until("all", || last(what) == Some(3100));
        // Messages that were acknowledged at the moment of the kill are repeated.
        let came = numbers(&listener.news(what));
        assert!(came[0] <= 101, "{}", came[0]);
        assert_eq!(came, Vec::from_iter(came[0]..3101), "{what}");
    }
    listener.wait_for(STATUS, "online");
    let ended = output.stop().ok();
    assert!(ended.stderr.ends_with(": 3100 events, 0 lost\n"), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("queueing events in").count(), 1, "{}", ended.stderr);
    listener.wait_for(STATUS, "offline");
}

/// A broker that accepts messages without acknowledgment: they are not delivered, not even to a process that is killed.
#[test]
fn a_broker_that_hangs() {
    let Some(broker) = Mosquitto::start() else { return };
    let (ring, listener) = (Ring::new(), broker.listen());
    let output = broker.output(&ring, &[]);
    listener.wait_for(STATUS, "online");
    publish(&ring, 1..11);
    listener.wait_for_news("new_station", 10);
    broker.signal(Signal::STOP);
    publish(&ring, 11..2001);
    let message = output.stderr.wait_for("queueing events in");
    assert!(message.contains("no response"), "{message}");
    publish(&ring, 2001..2011);
    output.kill();
    let output = broker.output(&ring, &[]);
    output.stderr.wait_for("no response");
    broker.signal(Signal::CONT);
    output.stderr.wait_for("the destination is back");
    wait_until("all", || {
        let came: BTreeSet<_> = numbers(&listener.news("new_station")).into_iter().collect();
        came == BTreeSet::from_iter(1..2011)
    });
    output.stop().ok();
}

/// A broker that sends unrequested messages or answers without end, and acknowledges nothing, is down like any other that does
/// not acknowledge, and no program waits for a pause.
#[test]
fn a_broker_that_floods() {
    const ACCEPTED: &[u8] = &[0x20, 3, 0, 0, 0];
    let message = [&[0x30, 6, 0, 1][..], b"t", &[0], b"hi"].concat();
    for (flood, why) in [
        (message, "the broker sends messages without a subscription"),
        (vec![0xd0, 0], "no response"), // to a ping
    ] {
        let ring = Ring::new();
        let (listener, state) = (TcpListener::bind("127.0.0.1:0").unwrap(), tempdir().unwrap());
        let broker = format!("mqtt://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(ACCEPTED);
                let flood = flood.repeat(10_000);
                thread::spawn(move || while stream.write_all(&flood).is_ok() {});
            }
        });
        publish(&ring, 1..4);
        let options = ["--once", "--ring", ring.name(), "--broker", &broker];
        let mut command = program("aw-mqtt", &options);
        command.arg("--state-dir").arg(state.path());
        let ended = run(command);
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        assert!(ended.stderr.contains(why), "{ended:#?}");
        assert!(ended.stderr.contains("3 events are queued in "), "{ended:#?}");
    }
}

/// A broker of MQTT 3.1.1 refuses the version in a format that is not MQTT 5's, or closes the connection. Both are named as the
/// reason; a broker that answers neither version is not, nor one of MQTT 5 that closes one connection.
#[test]
fn a_broker_of_mqtt_3() {
    const REASON: &str = "the broker speaks MQTT 3.1.1 and not MQTT 5, which aw-mqtt needs";
    let (refused, accepted): (&[u8], &[u8]) = (&[0x20, 2, 0, 1], &[0x20, 2, 0, 0]);
    let none: &[u8] = &[];
    for (to_v5, to_v3, is_named) in [
        ([refused; 2], accepted, true),
        ([none; 2], accepted, true),
        ([none; 2], &[0x20, 2, 0, 5][..], true), // not without a login
        ([none; 2], none, false),
        ([none, &[0x20, 3, 0, 0, 0]], accepted, false),
        ([none, &[0x20, 3, 0, 0x87, 0]], accepted, false), // not without a login
    ] {
        let (listener, state) = (TcpListener::bind("127.0.0.1:0").unwrap(), tempdir().unwrap());
        let (ring, broker) = (Ring::new(), format!("mqtt://{}", listener.local_addr().unwrap()));
        thread::spawn(move || {
            let mut first = true;
            for stream in listener.incoming() {
                let (mut stream, mut head) = (stream.unwrap(), [0; 9]);
                // The packet's type and length, the protocol's name and its level.
                let _ = stream.read_exact(&mut head);
                let answer = if head[8] == 5 { to_v5[usize::from(!first)] } else { to_v3 };
                first = false;
                let mut rest = [0; 512];
                let _ = stream.read(&mut rest); // unread bytes would reset the connection
                let _ = stream.write_all(answer);
            }
        });
        publish(&ring, 1..4);
        let options = ["--once", "--ring", ring.name(), "--broker", &broker];
        let mut command = program("aw-mqtt", &options);
        let ended = run({
            command.arg("--state-dir").arg(state.path());
            command
        });
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        assert_eq!(ended.stderr.contains(REASON), is_named, "{ended:#?}");
        assert!(ended.stderr.contains("3 events are queued in "), "{ended:#?}");
    }
}

/// Killed at any moment, it resumes after the last acknowledged message: everything arrives, and little of it twice.
#[test]
fn it_is_killed() {
    let Some(broker) = Mosquitto::start() else { return };
    let (ring, listener) = (Ring::new(), broker.listen());
    let (kills, each) = (6, 2000);
    let came = || numbers(&listener.news("new_station"));
    let twice = || came().len() - BTreeSet::from_iter(came()).len();
    let mut before = 0;
    for round in 0..kills {
        let some = listener.news("new_station").len();
        let output = broker.output(&ring, &[]);
        publish(&ring, 1 + round * each..1 + (round + 1) * each);
        wait_until("some come", || listener.news("new_station").len() > some + 100);
        output.kill();
        let offline = |statuses: Vec<String>| statuses.iter().filter(|is| *is == "offline").count();
        wait_until("it is gone", || offline(listener.of(STATUS)) == round as usize + 1);
        // The kill before this one repeats one batch.
        assert!(twice() - before <= BATCH, "{} and {before}, in round {round}", twice());
        before = twice();
    }
    run(broker.command(&ring, &["--once"])).ok();
    let all = BTreeSet::from_iter(1..1 + kills * each);
    wait_until("all", || BTreeSet::from_iter(came()) == all);
    assert!(twice() - before <= BATCH, "{} and {before}", twice());
}

/// A killed process is reported by the broker (its will); a process that ends reports it itself.
#[test]
fn last_will() {
    let Some(broker) = Mosquitto::start() else { return };
    let (ring, listener) = (Ring::new(), broker.listen());
    let output = broker.output(&ring, &[]);
    listener.wait_for(STATUS, "online");
    output.kill();
    assert_eq!(listener.wait_for(STATUS, "offline"), retained(STATUS, "offline"));
    let output = broker.output(&ring, &[]);
    wait_until("it is back", || listener.of(STATUS) == ["online", "offline", "online"]);
    // A process with the same name replaces one that hangs; the will of the old one arrives first.
    output.signal(Signal::STOP);
    let mut other = program("aw-mqtt", &["--ring", ring.name(), "--hostname", "here"]);
    other.arg("--state-dir").arg(broker.path("other"));
    other.args(["--broker", &format!("mqtt://127.0.0.1:{}", broker.port)]);
    let other = Run::start(other);
    wait_until("the other is there", || listener.of(STATUS).len() == 5);
    assert_eq!(listener.of(STATUS)[3..], ["offline", "online"]);
    output.signal(Signal::KILL);
    other.stop().ok();
    assert_eq!(broker.listen().wait_for(STATUS, "offline"), retained(STATUS, "offline"));
}

/// TLS with a private authority; another authority is not trusted, and a client without a certificate is refused.
#[test]
fn tls() {
    let broker = Mosquitto::start_with(
        |directory| {
            make_certificates(&directory.join("tls"));
            let tls = directory.join("tls").display().to_string();
            format!(
                "allow_anonymous true\nlistener {{tls}} 127.0.0.1\ncertfile {tls}/server.pem\n\
                 keyfile {tls}/server.key\ncafile {tls}/ca.pem\nrequire_certificate true\n"
            )
        },
        &[],
    );
    let Some(broker) = broker else { return };
    let (ring, listener) = (Ring::new(), broker.listen());
    publish(&ring, 1..4);
    make_certificates(&broker.path("other"));
    let file = |name: &str| broker.path(name).to_str().unwrap().to_owned();
    let (url, ca) = (format!("mqtts://127.0.0.1:{}", broker.tls_port), file("tls/ca.pem"));
    let (own, key) = (file("tls/server.pem"), file("tls/own.key"));
    let [other, others_own, others_key] =
        ["other/ca.pem", "other/server.pem", "other/own.key"].map(file);
    let with = |ca: &str, own: &str, key: &str| {
        let files = ["--ca-file", ca, "--certificate-file", own, "--key-file", key];
        let mut command = broker.bare_command(&ring, &["--once", "--broker", &url]);
        command.args(files);
        run(command)
    };
    for (refused, why) in [
        (with(&other, &own, &key), "invalid peer certificate"),
        (with(&ca, &others_own, &others_key), "publish to mqtts://127.0.0.1"),
    ] {
        assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
        assert!(refused.stderr.contains(why), "{refused:#?}");
        assert!(refused.stderr.contains("3 events are queued in "), "{refused:#?}");
    }
    assert_eq!(listener.sent(), []);
    with(&ca, &own, &key).ok();
    assert_eq!(numbers(&listener.wait_for_news("new_station", 3)), [1, 2, 3]);
    // What cannot work is reported at once.
    with(&file("conf"), &own, &key).refused("aw-mqtt", &["conf: no PEM certificate in this file"]);
    with(&file("none"), &own, &key).refused("aw-mqtt", &["none"]);
    let plain = run(broker.command(&ring, &["--once", "--ca-file", &ca]));
    plain.refused("aw-mqtt", &["need TLS"]);
}

/// A refused login is reported once, and nothing is lost; a user without permission to publish is reported.
#[test]
fn logins() {
    let broker = Mosquitto::start_with(
        |directory| {
            let file = directory.join("passwords");
            for (create, user) in [("-c", "me"), ("-b", "restricted"), ("-b", "watcher")] {
                let mut command = Command::new("/usr/bin/mosquitto_passwd");
                let create: &[&str] = if create == "-c" { &["-c", "-b"] } else { &["-b"] };
                command.args(create).arg(&file).args([user, "right"]);
                run(command).ok();
            }
            let rules = "user me\ntopic write addrwatch/#\ntopic write homeassistant/#\nuser restricted\n\
                         topic write addrwatch/here/status\nuser watcher\ntopic read #\n";
            fs::write(directory.join("acl"), rules).unwrap();
            let (file, acl) = (file.display(), directory.join("acl"));
            format!("allow_anonymous false\npassword_file {file}\nacl_file {}\n", acl.display())
        },
        &["-u", "watcher", "-P", "right"],
    );
    let Some(broker) = broker else { return };
    let (ring, listener) = (Ring::new(), broker.listen());
    let secret = broker.path("secret");
    let secret_is = |text: &str, mode| {
        fs::write(&secret, text).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
    };
    let login = ["--login", "me", "--password-file", secret.to_str().unwrap()];
    secret_is("wrong\n", 0o644);
    run(broker.command(&ring, &login)).refused("aw-mqtt", &["other users may read or write it"]);
    secret_is("wrong\n", 0o600);
    publish(&ring, 1..4);
    let output = broker.output(&ring, &login);
    let message = output.stderr.wait_for("queueing events in");
    assert!(
        message.contains(
            "the broker refuses the login (check --login and --password-file: the first line of "
        ),
        "{message}"
    );
    sleep(Duration::from_secs(4)); // some tries
    let ended = output.stop().ok();
    assert_eq!(ended.stderr.matches("refuses").count(), 1, "{}", ended.stderr);
    let nobody = run(broker.command(&ring, &["--once"]));
    assert!(nobody.stderr.contains("the broker refuses the login"), "{nobody:#?}");
    // The password from the environment.
    let mut restricted = broker.command(&ring, &["--once", "--login", "restricted"]);
    restricted.args(["--password-env", "AW_TEST_SECRET"]).env("AW_TEST_SECRET", "right");
    // Topics that it may not publish are counted, each is logged once, and none delays others, not even later events.
    let restricted = run(restricted).ok();
    for what in ["new_device", "new_station"] {
        let topic = format!(
            "addrwatch/here/events/pcap/{what} is refused and skipped: not authorized (allow"
        );
        assert_eq!(restricted.stderr.matches(&topic).count(), 1, "{restricted:#?}");
    }
    assert!(restricted.stderr.contains(": 6 messages were not published"), "{restricted:#?}");
    assert!(restricted.stderr.ends_with(": 3 events, 0 lost\n"), "{restricted:#?}");
    assert!(!restricted.stderr.contains("right"), "{restricted:#?}");
    listener.wait_for(STATUS, "offline");
    assert_eq!(listener.news("new_station"), [] as [Value; 0]);
    secret_is("right\nand more\n", 0o640);
    publish(&ring, 4..7);
    run(broker.command(&ring, &[&login[..], &["--once"]].concat())).ok();
    assert_eq!(numbers(&listener.wait_for_news("new_station", 3)), [4, 5, 6]);
    // A corrected password needs no restart, also in a file that replaces the one of the start.
    secret_is("wrong\n", 0o600);
    publish(&ring, 7..10);
    let output = broker.output(&ring, &login);
    output.stderr.wait_for("queueing events in");
    let new = broker.path("new");
    fs::write(&new, "right\n").unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, &secret).unwrap();
    let all = listener.wait_for_news("new_station", 6);
    assert_eq!(numbers(&all), [4, 5, 6, 7, 8, 9]);
    output.stop().ok();
}

/// What looks like an option or a URL with a password is refused with the right way.
#[test]
fn passwords_on_the_command_line() {
    let way = "--login NAME --password-file F";
    for options in [&["--password", "s3cret"][..], &["--password=s3cret"]] {
        let refused = run(program("aw-mqtt", options));
        assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
        assert!(refused.stderr.contains("all users of this machine could read it"), "{refused:#?}");
        assert!(refused.stderr.contains(way) && !refused.stderr.contains("s3cret"), "{refused:#?}");
    }
    let refused = run(program("aw-mqtt", &["--broker", "mqtt://ha:s3cret@192.0.2.2"]));
    assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("must have no user and password (use "), "{refused:#?}");
    assert!(refused.stderr.contains(way), "{refused:#?}");
}

/// A password is sent without TLS only with an explicit option.
#[test]
fn passwords_in_clear() {
    let (ring, state) = (Ring::new(), tempdir().unwrap());
    let to = |url: &str, more: &[&str]| {
        let mut command = program("aw-mqtt", &["--ring", ring.name(), "--once", "--broker", url]);
        command.args(["--login", "me"]).args(more).arg("--state-dir").arg(state.path());
        command.env("AW_TEST_SECRET", "right");
        run(command)
    };
    let password = ["--password-env", "AW_TEST_SECRET"];
    let refusal = "a password is not sent to 192.0.2.1 without TLS (use mqtts://";
    to("mqtt://192.0.2.1", &password).refused("aw-mqtt", &[refusal]);
    to("mqtt://192.0.2.1:1", &password).refused("aw-mqtt", &[refusal]);
    let plain = [&password[..], &["--plain-password"]].concat();
    for (url, options) in [
        ("mqtt://127.0.0.1:1", &password[..]),
        ("mqtt://[::1]:1", &password),
        ("mqtt://localhost:1", &password),
        ("mqtts://192.0.2.1:1", &password),
        ("mqtt://192.0.2.1:1", &plain),
        ("mqtt://192.0.2.1:1", &[]),
    ] {
        let ended = to(url, options);
        assert!(!ended.stderr.contains("password"), "{url}: {ended:#?}");
    }
}

/// Messages that the broker can never accept are skipped, and those around them are delivered.
#[test]
fn one_that_is_refused() {
    let rules = |lines: &str| format!("allow_anonymous true\n{lines}");
    let with_acl = |directory: &Path| {
        let (acl, pattern) = (directory.join("acl"), "topic read #\ntopic write addrwatch/here/");
        let text = format!("{pattern}status\n{pattern}events/+/new_station\n");
        fs::write(&acl, text).unwrap();
        rules(&format!("acl_file {}\n", acl.display()))
    };
    let small = |_: &Path| rules("max_packet_size 200\n");
    for (broker, why, refused, came) in [
        (
            Mosquitto::start_with(with_acl, &[]),
            "new_device is refused and skipped: not authorized (allow",
            ": 100 messages were not published",
            Vec::from_iter(1..101),
        ),
        (
            Mosquitto::start_with(small, &[]),
            "new_device is refused and skipped: larger than the broker's maximum",
            ": 200 messages were not published",
            vec![],
        ),
    ] {
        let Some(broker) = broker else { return };
        let (ring, listener) = (Ring::new(), broker.listen());
        publish(&ring, 1..101);
        let ended = run(broker.command(&ring, &["--once"])).ok();
        assert_eq!(ended.stderr.matches(why).count(), 1, "{ended:#?}");
        assert!(ended.stderr.contains(refused), "{ended:#?}");
        listener.wait_for(STATUS, "offline");
        assert_eq!(numbers(&listener.news("new_station")), came);
        assert_eq!(listener.news("new_device"), [] as [Value; 0]);
    }
}

/// Home Assistant's discovery, as its documentation of "MQTT device tracker" has it.
#[test]
fn home_assistant() {
    let Some(mut broker) = Mosquitto::start() else { return };
    let ring = Ring::new();
    let names = broker.path("names");
    fs::write(&names, "02:00:00:00:00:0a the phone\n02-0-0-0-0-b a\"b\\ /+{}é\u{7}\n").unwrap();
    let options = ["--names", names.to_str().unwrap(), "--away", "6s"];
    let output = broker.output(&ring, &options);
    let listener = broker.listen();
    let attributes = format!("{PHONE_STATE}/attributes");
    assert_eq!(listener.wait_for(PHONE_STATE, "not_home"), retained(PHONE_STATE, "not_home"));
    listener.wait_for(STATUS, "online");
    let configs = listener.of(PHONE_CONFIG);
    let expected = json!({
        "name": null,
        "unique_id": "addrwatch_here_02000000000a",
        "state_topic": PHONE_STATE,
        "payload_home": "home",
        "payload_not_home": "not_home",
        "json_attributes_topic": attributes,
        "availability": [{ "topic": STATUS }, { "topic": format!("{PHONE_STATE}/status") }],
        "availability_mode": "all",
        "source_type": "router",
        "qos": 1,
        "device": { "connections": [["mac", "02:00:00:00:00:0a"]], "name": "the phone" },
        "origin": { "name": "aw-mqtt", "sw_version": env!("CARGO_PKG_VERSION") },
    });
    assert_eq!(configs.iter().map(|text| json(text)).collect::<Vec<_>>(), [expected]);
    let hostile = PHONE_CONFIG.replace("0a/", "0b/");
    assert_eq!(json(&listener.of(&hostile)[0])["device"]["name"], "a\"b\\ /+{}é");

    // Seen, silent, seen; a sighting of long ago is no presence.
    let feed = Feed::start(&ring);
    feed.claim(1000, PHONE, 1);
    listener.wait_for_news("new_device", 1);
    assert_eq!(listener.news("new_device")[0]["name"], "the phone");
    for _ in 0..2 {
        let before = listener.of(PHONE_STATE).len();
        feed.claim_until(PHONE, 1, || listener.of(PHONE_STATE).len() > before);
        wait_until("it came and left", || listener.of(PHONE_STATE).len() == before + 2);
    }
    let states = ["not_home", "home", "not_home", "home", "not_home"];
    assert_eq!(listener.of(PHONE_STATE), states);
    wait_until("the zones, too", || listener.of(&attributes).len() == states.len());
    let sent: Vec<_> = listener.of(&attributes).iter().map(|text| json(text)).collect();
    let zones: Vec<_> = sent.iter().map(|sent| sent["in_zones"].clone()).collect();
    let [home, away] = [json!(["zone.home"]), json!([])];
    assert_eq!(zones, [&away, &home, &away, &home, &away].map(Clone::clone));
    let seen = sent[4]["last_seen"].as_str().unwrap();
    let seconds: u32 = {
        let date = program_at("date".into(), &["-d", seen, "+%s"]);
        run(date).ok().stdout.trim().parse().unwrap()
    };
    assert!(seen.ends_with('Z') && now() - seconds < 120, "{seen}");
    let expected = json!({ "in_zones": [], "mac": "02:00:00:00:00:0a", "ip": "10.9.0.1", "last_seen": seen, "network": "pcap" });
    assert_eq!(sent[4], expected);
    let never = json!({ "in_zones": [], "mac": "02:00:00:00:00:0a", "ip": null, "last_seen": null, "network": null });
    assert_eq!(sent[0], never);

    // A broker that lost its state gets everything again, and a kill changes nothing.
    feed.collector.kill();
    output.kill();
    let options = ["--names", names.to_str().unwrap(), "--away", "1h"];
    let output = broker.output(&ring, &options);
    claims(&ring, &[(now(), PHONE, 1)]);
    listener.wait_for(PHONE_STATE, "home");
    wait_until("home", || listener.of(PHONE_STATE).last().is_some_and(|state| state == "home"));
    broker.kill();
    output.stderr.wait_for("queueing events in");
    broker.start_again();
    output.stderr.wait_for("the destination is back");
    let listener = broker.listen();
    assert_eq!(listener.wait_for(PHONE_STATE, "home"), retained(PHONE_STATE, "home"));
    output.kill();
    listener.wait_for(STATUS, "offline"); // the last "online" is then the next process's, which has its signal handlers
    let output = broker.output(&ring, &options);
    wait_until("it is back", || {
        listener.of(STATUS).last().is_some_and(|status| status == "online")
    });
    output.stop().ok();
    assert!(!listener.of(PHONE_STATE).contains(&"not_home".to_owned()), "{:?}", listener.sent());

    // Its line was removed while no program ran: everything that the broker retains about it is removed.
    fs::write(&names, "02-0-0-0-0-b other\n").unwrap();
    run(broker.command(&ring, &[&options[..], &["--once"]].concat())).ok();
    let status = format!("{PHONE_STATE}/status");
    for topic in [PHONE_CONFIG, PHONE_STATE, &attributes, &status] {
        listener.wait_for(topic, "");
    }
    // First the entity, then what it reads: Home Assistant would log a warning about empty attributes.
    let cleared = listener.sent().into_iter().filter(|sent| sent.payload.is_empty());
    let cleared: Vec<_> = cleared.map(|sent| sent.topic).collect();
    assert_eq!(cleared, [PHONE_CONFIG, PHONE_STATE, &attributes, &status]);
    let late = broker.listen();
    late.wait_for(STATUS, "offline");
    let left: Vec<_> = late.sent().into_iter().filter(|sent| sent.topic.contains("0a")).collect();
    assert_eq!(left, []);
    assert_eq!(json(&late.of(&hostile)[0])["device"]["name"], "other");
    // A device that is at home gets a name.
    let output = broker.output(&ring, &options);
    fs::write(&names, "02:00:00:00:00:0a the phone\n").unwrap();
    wait_until("it is published", || late.of(PHONE_STATE).len() == 1);
    wait_until("with its attributes", || late.of(&attributes).len() == 1);
    output.stop().ok();
    assert_eq!(late.of(PHONE_STATE), ["home"]);
    let sent = json(&late.of(&attributes)[0]);
    assert!(sent["ip"] == "10.9.0.1" && sent["last_seen"].is_string(), "{sent}");
    // Under another host's name, or without names, all of it is removed.
    let names = ["--once", "--discovery", "ha/x"];
    run(broker.command(&ring, &names)).ok();
    let late = broker.listen();
    late.wait_for(STATUS, "offline");
    assert_eq!(late.sent(), [retained(STATUS, "offline")]);
    // Below another prefix, the topics of this program are removed, too.
    run(broker.command(&ring, &["--once", "--topic", "other"])).ok();
    let (late, status) = (broker.listen(), "other/here/status");
    late.wait_for(status, "offline");
    assert_eq!(late.sent(), [retained(status, "offline")]);
}

/// While no collector runs, no device leaves: its entity is unavailable, and back with the collector.
#[test]
fn a_collector_that_dies_is_no_absence() {
    let Some(broker) = Mosquitto::start() else { return };
    let (ring, listener, names) = (Ring::new(), broker.listen(), broker.path("names"));
    fs::write(&names, "02:00:00:00:00:0a the phone\n").unwrap();
    let feed = Feed::start(&ring);
    const AWAY: u32 = 15; // more than until a collector that does not beat counts as dead
    let away = format!("{AWAY}s");
    let options = ["--names", names.to_str().unwrap(), "--away", &away];
    let output = broker.output(&ring, &options);
    let status = format!("{PHONE_STATE}/status");
    let last = |topic: &str| listener.of(topic).last().cloned().unwrap_or_default();
    listener.wait_for(&status, "online");
    feed.claim_until(PHONE, 1, || listener.of(PHONE_STATE).contains(&"home".to_owned()));
    feed.collector.kill();
    wait_until("it is unavailable", || last(&status) == "offline");
    let is_blind = |sent: &Sent| sent.topic.ends_with("/blind");
    wait_until("that is an event", || listener.sent().iter().any(is_blind));
    // Longer than --away, counted from its last frame.
    let silent = now() + AWAY + 2;
    wait_until("it would be away", || now() > silent);
    assert_eq!(listener.of(PHONE_STATE), ["not_home", "home"]);
    // Also for one that starts meanwhile.
    output.kill();
    let output = broker.output(&ring, &options);
    wait_until("it runs", || last(STATUS) == "online");
    let feed = Feed::start(&ring);
    wait_until("it is available", || last(&status) == "online");
    wait_until("it is away", || last(PHONE_STATE) == "not_home");
    let statuses = listener.of(&status);
    assert_eq!(statuses, ["online", "offline", "offline", "online"]);
    output.stop().ok();
    feed.collector.kill();
}

/// Where events come faster than they can be stored, so that there is never a pause.
#[test]
fn names_under_constant_traffic() {
    let Some(broker) = Mosquitto::start() else { return };
    let (ring, listener, names) = (Ring::new(), broker.listen(), broker.path("names"));
    fs::write(&names, "02:00:00:00:00:0a the phone\n").unwrap();
    let load = format!(
        "exec {} write {} 1000000000000 64 </dev/zero",
        binary("ring-load").display(),
        ring.name()
    );
    let load = Run::start(program_at("sh".into(), &["-c", &load]));
    let options = ["--names", names.to_str().unwrap(), "--spool-size", "64M", "--from", "oldest"];
    let output = broker.output(&ring, &options);
    listener.wait_for(PHONE_STATE, "not_home");
    output.stderr.wait_for("lost");
    fs::write(&names, "02:00:00:00:00:0a the tablet\n").unwrap();
    wait_until("the new name is published", || {
        let configs = listener.of(PHONE_CONFIG);
        configs.last().is_some_and(|text| json(text)["device"]["name"] == "the tablet")
    });
    load.kill();
    output.stop();
}

/// Home Assistant's discovery, as its documentation of "MQTT event" has it: one entity for the alerts of a host.
#[test]
fn an_event_entity() {
    const CONFIG: &str = "homeassistant/event/addrwatch_here/alerts/config";
    let Some(broker) = Mosquitto::start() else { return };
    let (ring, listener, names) = (Ring::new(), broker.listen(), broker.path("names"));
    fs::write(&names, "# none\n").unwrap();
    let (one, two): (Mac, Mac) = ([0, 8, 0xe1, 0, 0, 1], [0, 8, 0xe1, 0, 0, 2]);
    claims(&ring, &[(1000, one, 1), (1100, two, 1)]);
    run(broker.command(&ring, &["--once", "--names", names.to_str().unwrap()])).ok();
    listener.wait_for(STATUS, "offline");
    let config = json(&listener.of(CONFIG)[0]);
    let types = ["new_device", "returned", "changed", "flip_flop", "reused_old", "duplicate"];
    let sensor = ["broadcast", "config_change", "lost", "forgot", "full", "blind"];
    let types: Vec<_> = types.into_iter().chain(sensor).collect();
    let expected = json!({
        "name": "Alerts",
        "unique_id": "addrwatch_here_alerts",
        "state_topic": "addrwatch/here/alerts",
        "event_types": types,
        "availability_topic": STATUS,
        "icon": "mdi:lan",
        "qos": 1,
        "device": { "identifiers": ["addrwatch_here"], "name": "addrwatch on here" },
        "origin": { "name": "aw-mqtt", "sw_version": env!("CARGO_PKG_VERSION") },
    });
    assert_eq!(config, expected);
    let alerts: Vec<_> =
        listener.of("addrwatch/here/alerts").iter().map(|text| json(text)).collect();
    let kinds: Vec<_> = alerts.iter().map(|alert| alert["event_type"].clone()).collect();
    assert_eq!(kinds, ["new_device", "new_device", "changed"]);
    // Otherwise it is the message on the event's own topic. Home Assistant ignores a retained one.
    let mut plain = alerts[2].clone();
    plain.as_object_mut().unwrap().remove("event_type");
    assert_eq!([plain], listener.news("changed")[..]);
    assert!(!listener.sent().iter().any(|sent| sent.topic.ends_with("/alerts") && sent.retained));
    // Without --names there is none, as in earlier releases.
    run(broker.command(&ring, &["--once"])).ok();
    listener.wait_for(CONFIG, "");
    claims(&ring, &[(1200, [0, 8, 0xe1, 0, 0, 3], 3)]);
    run(broker.command(&ring, &["--once"])).ok();
    listener.wait_for_news("new_device", 3);
    assert_eq!(listener.of("addrwatch/here/alerts").len(), 3);
}

/// With any host name, topics have the correct number of levels.
#[test]
fn hostile_names() {
    let Some(broker) = Mosquitto::start() else { return };
    let (ring, listener) = (Ring::new(), broker.listen());
    publish(&ring, 1..2);
    let mut command = program("aw-mqtt", &["--ring", ring.name(), "--once"]);
    command.arg("--state-dir").arg(broker.path("state"));
    command.args(["--broker", &format!("mqtt://localhost:{}", broker.port)]);
    command.args(["--topic", "a/b", "--hostname", "../#/+\n$é"]);
    run(command).ok();
    listener.wait_for("a/b/.._______/status", "offline");
    let topics: BTreeSet<_> = listener.sent().into_iter().map(|sent| sent.topic).collect();
    let news =
        ["new_device", "new_station"].map(|what| format!("a/b/.._______/events/pcap/{what}"));
    let expected = news.into_iter().chain(["a/b/.._______/status".into()]);
    assert_eq!(topics, expected.collect());
}

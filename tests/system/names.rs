//! One file of names for all programs, which follow it while they run; `aw-query name`, which writes it; makers of network cards.
#![forbid(unsafe_code)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use aw_service::is_hidden;
use aw_tests::alerting::Alert;
use aw_tests::collect::json;
use aw_tests::feed::publish;
use aw_tests::history::History;
use aw_tests::mosquitto::Mosquitto;
use aw_tests::rig::{Run, program, public_copy, run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::tracker::Tracking;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

/// `aw-query` with this file of names.
fn query(names: &Path, arguments: &[&str]) -> Command {
    let mut command = program("aw-query", &["--vendors", "/nonexistent", "--names"]);
    command.arg(names).args(arguments);
    command
}

/// A MAC of [`Alert::publish`].
fn mac(number: u8) -> String {
    format!("00:08:e1:00:00:{number:02x}")
}

/// Programs that run have a new name, however it was written, and a damaged line costs no other one.
#[test]
fn running_programs_follow_the_file() {
    let Some(broker) = Mosquitto::start() else { return };
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    let names = alert.path("names");
    fs::write(&names, "# the network\n").unwrap();
    let option = ["--names", names.to_str().unwrap()];
    let config = alert.path("alert.toml").display().to_string();
    alert.publish(1..2);
    let alerting =
        Run::start(alert.command(&[&option[..], &["--learn", "0", "-c", &config]].concat()));
    wait_until("an alert without a name", || !alert.alerts().is_empty());
    let tracking = Tracking::start(&alert.ring, &[&option[..], &["--source", "all"]].concat());
    let listener = broker.listen();
    let output = broker.output(&alert.ring, &option);
    listener.wait_for_news("new_device", 1);
    let programs = [&alerting, &tracking.run, &output];
    let all = |text: &str| programs.iter().for_each(|run| drop(run.stderr.wait_for(text)));

    // The names apply within a second, and alerts are sent sooner: one of the next devices has its name.
    let named = |mut numbers: std::ops::Range<u8>, name: &str| {
        let found = numbers.any(|number| {
            alert.publish(number..number + 1);
            let of = |alert: &serde_json::Value| alert["mac"] == mac(number);
            wait_until("an alert", || alert.alerts().iter().any(of));
            std::thread::sleep(std::time::Duration::from_millis(400));
            alert.alerts().iter().any(|alert| of(alert) && alert["name"] == name)
        });
        assert!(found, "no alert with the name {name}: {:?}", alert.alerts());
    };
    let list = |numbers: std::ops::Range<u8>, name: &str| -> String {
        numbers.map(|number| format!("{} {name}\n", mac(number))).collect()
    };

    // aw-query replaces the file.
    for number in 1..6 {
        run(query(&names, &["name", &mac(number), "Kitchen", "radio"])).ok();
    }
    all("is read again: 5 names");
    named(2..6, "Kitchen radio");
    let tracker = |mac: &str| {
        format!("homeassistant/device_tracker/addrwatch_here/{}/config", mac.replace(':', ""))
    };
    for number in [1, 5] {
        wait_until("Home Assistant has it", || {
            let configs = listener.of(&tracker(&mac(number)));
            configs.last().is_some_and(|text| text.contains("Kitchen radio"))
        });
    }

    // An editor renames another file to it; one line is damaged.
    let new = alert.path("names~");
    fs::write(&new, format!("rubbish\n{}|x\n{}", mac(1), list(6..10, "printer # x"))).unwrap();
    fs::rename(&new, &names).unwrap();
    all("line 1: \"rubbish\" is not a MAC address (write MAC NAME");
    named(6..10, "printer");
    wait_until("removed from the broker", || {
        listener.of(&tracker(&mac(2))).last().is_some_and(String::is_empty)
    });

    // A shell appends; the damaged line is not reported again.
    let mut appended = fs::OpenOptions::new().append(true).open(&names).unwrap();
    std::io::Write::write_all(&mut appended, list(10..14, "appended").as_bytes()).unwrap();
    drop(appended);
    all("is read again: 9 names");
    named(10..14, "appended");
    for run in programs {
        assert_eq!(run.stderr.text().matches("rubbish").count(), 1, "{}", run.stderr.text());
    }

    // What cannot be read changes nothing, and is reported; then it is read again.
    fs::set_permissions(&names, Permissions::from_mode(0o666)).unwrap();
    all("all users can write to it");
    all("the old names stay (9)");
    fs::write(&names, list(14..18, "last")).unwrap();
    fs::set_permissions(&names, Permissions::from_mode(0o644)).unwrap();
    all("can be read again");
    all("is read again: 4 names");
    fs::remove_file(&names).unwrap();
    all("the old names stay (4; an empty file removes them)");
    named(14..18, "last");
    fs::write(&names, list(18..20, "again")).unwrap();
    programs.iter().for_each(|run| run.signal(Signal::HUP));
    all("is read again: 2 names");
    assert!(
        alert.alerts().iter().all(|alert| alert["kind"] != "unknown_device"),
        "names are no list of known devices"
    );
    alerting.stop().ok();
    tracking.run.stop().ok();
    output.stop().ok();
}

/// The log and the page of aw-tracker have a name as soon as the file has it; its own configuration has the last word.
#[test]
fn the_trackers_log_has_a_new_name() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let names = directory.path().join("names");
    fs::write(&names, "").unwrap();
    let options = ["--names", names.to_str().unwrap(), "--name", "02:00:00:00:00:02|own"];
    let tracking = Tracking::start(&ring, &options);
    let now = {
        let mut date = Command::new("date");
        date.arg("+%s");
        run(date).ok().stdout.trim().parse::<u32>().unwrap()
    };
    let frame = |last: u8| {
        let mac = [2, 0, 0, 0, 0, last];
        (
            now,
            aw_tests::frames::Arp::request(mac, [10, 0, 0, last].into(), [192, 0, 2, 254].into())
                .frame(),
        )
    };
    aw_tests::sightings::capture_frames(&ring, [frame(1), frame(2)]);
    wait_until("both are in the log", || {
        tracking.log("tracker").matches("02:00:00:00:00:0").count() == 2
    });
    for (mac, name) in [("02:00:00:00:00:01", "a|b\u{fe0f}"), ("02:00:00:00:00:02", "other")] {
        run(query(&names, &["name", mac, name])).ok();
    }
    let log = || tracking.log("tracker").split_whitespace().collect::<Vec<_>>().join(" ");
    wait_until("its name", || log().contains("02:00:00:00:00:01 a/b"));
    wait_until("in the page, too", || tracking.page().contains("a/b"));
    assert!(log().contains("02:00:00:00:00:02 own"));
    tracking.run.stop().ok();
}

/// At rest, the thread that follows the file does not wake up, while the main thread does.
#[test]
fn no_wake_up_at_rest() {
    let alert = Alert::new();
    let names = alert.path("names");
    fs::write(&names, "02:00:00:00:00:01 one\n").unwrap();
    let run = Run::start(alert.command(&["--names", names.to_str().unwrap(), "--print"]));
    wait_until("it runs", || alert.path("state/aw-alert.db").exists());
    fs::write(&names, "02:00:00:00:00:01 one\n02:00:00:00:00:02 two\n").unwrap();
    run.stderr.wait_for("is read again: 2 names"); // it follows the file, and then it is at rest
    let switches = |path: &Path| {
        let status = fs::read_to_string(path.join("status")).unwrap();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    let main = Path::new("/proc").join(run.id().to_string());
    let others = || -> u64 {
        let threads = fs::read_dir(main.join("task")).unwrap().map(|entry| entry.unwrap());
        let others = threads.filter(|entry| *entry.file_name() != *run.id().to_string());
        others.map(|entry| switches(&entry.path())).sum()
    };
    let woke_up = |times: u64| {
        let before = switches(&main);
        wait_until("the main thread woke up", || switches(&main) > before + times);
    };
    // Its last wake-up, which ends the pause before reading, may still be due: a thread that wakes up at rest never passes.
    let mut before = others();
    wait_until("only the main thread wakes up", || {
        woke_up(8);
        std::mem::replace(&mut before, others()) == before
    });
    fs::write(&names, "02:00:00:00:00:01 two\n").unwrap();
    run.stderr.wait_for("is read again: 1 name");
    run.stop().ok();
}

/// Ten writers at once, of a file that is replaced, and of one that is written in place.
#[test]
fn writers_at_once_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for (file, is_replaced) in [("replaced", true), ("in place", false)] {
        let names = directory.path().join(file);
        fs::write(&names, "# kept\nrubbish\n").unwrap();
        if !is_replaced {
            fs::hard_link(&names, directory.path().join("second")).unwrap();
        }
        for round in 0..3 {
            let write = |number: u8| {
                Run::start(query(
                    &names,
                    &["name", &mac(10 * round + number), &format!("n{number}")],
                ))
            };
            let writers: Vec<_> = (0..10).map(write).collect();
            for (number, writer) in (0..10).zip(writers) {
                let mac = mac(10 * round + number);
                let expected = format!("aw-query: {mac} is \"n{number}\" now\n");
                let said = writer.finish().ok().stderr;
                assert!(said.starts_with(&expected) && !said.contains("write"), "{said}");
            }
        }
        let text = fs::read_to_string(&names).unwrap();
        assert!(text.starts_with("# kept\nrubbish\n"), "{text}");
        for number in 0..30 {
            let line = format!("{} n{}\n", mac(number), number % 10);
            assert_eq!(text.matches(&line).count(), 1, "{line}{text}");
        }
    }
}

/// Every user who may write the file may set names: also where its directory is not writable. Owner, group, mode and links stay.
#[test]
fn members_of_a_group_write_names() {
    if !rustix::process::geteuid().is_root() {
        return skip("it needs root");
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let names = directory.path().join("names");
    fs::write(&names, "02:00:00:00:00:01 one # first\n").unwrap();
    std::os::unix::fs::chown(&names, Some(0), Some(12_345)).unwrap();
    fs::set_permissions(&names, Permissions::from_mode(0o664)).unwrap();
    let public = public_copy(&["aw-query"]);
    let write = |group: &str, name: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", group, "--clear-groups"]);
        command.arg(public.path().join("aw-query")).arg("--names").arg(&names);
        command.args(["name", "02:00:00:00:00:01", name]);
        run(command)
    };
    let stays = |text: &str| {
        let file = names.metadata().unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (0, 12_345, 0o664));
        assert_eq!(fs::read_to_string(&names).unwrap(), text);
    };
    write("65534", "x").refused("aw-query", &["write ", "names: ", "permission denied"]);
    stays("02:00:00:00:00:01 one # first\n");
    let written = write("12345", "a much longer name").ok();
    let expected = "aw-query: 02:00:00:00:00:01 is \"a much longer name\" now (it was \"one\")\n";
    assert_eq!(written.stderr, expected);
    stays("02:00:00:00:00:01 a much longer name  # first\n");
    // By root it is replaced.
    let inode = names.metadata().unwrap().ino();
    let link = directory.path().join("link");
    symlink(&names, &link).unwrap();
    run(query(&link, &["name", "02:00:00:00:00:01", "#1"])).ok();
    stays("# first\n02:00:00:00:00:01|#1\n");
    assert!(names.metadata().unwrap().ino() != inode && link.is_symlink());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left over");
}

/// A command with another /etc, in a mount namespace of its own.
fn with_etc(etc: &Path, command: &Command) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "sh", "-c", "mount --bind \"$0\" /etc && exec \"$@\""]).arg(etc);
    unshare.arg(command.get_program()).args(command.get_args());
    unshare
}

/// As the packages have it: the file of the default path, which the group may write and a confined aw-alert follows, which cannot
/// read the secrets beside it.
#[test]
fn the_file_of_the_packages() {
    let has_tmpfiles = Command::new("systemd-tmpfiles").arg("--version").output().is_ok();
    if !rustix::process::geteuid().is_root() || !has_tmpfiles {
        return skip("it needs root and systemd-tmpfiles");
    }
    let (directory, ring) = (tempfile::tempdir().unwrap(), Ring::new());
    let open = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    open(directory.path());
    let (etc, state) = (directory.path().join("etc"), directory.path().join("state"));
    run({
        let mut copy = Command::new("cp");
        copy.arg("-a").args(["/etc"]).arg(&etc);
        copy
    })
    .ok();
    let own = etc.join("addrwatch");
    let _ = fs::remove_dir_all(&own);
    let groups = fs::read_to_string(etc.join("group")).unwrap();
    let others = groups.lines().filter(|line| !line.starts_with("addrwatch:"));
    let groups: String =
        others.chain(["addrwatch:x:12345:"]).map(|line| format!("{line}\n")).collect();
    fs::write(etc.join("group"), groups).unwrap();
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/tmpfiles.d/addrwatch.conf");
    let mut create = Command::new("systemd-tmpfiles");
    create.args(["--create", "--prefix=/etc/addrwatch", settings]);
    run(with_etc(&etc, &create)).ok();
    let (link, names) = (own.join("names"), own.join("lists/names"));
    let file = names.metadata().unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (0, 12_345, 0o664));
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("lists/names"));
    let secret = own.join("mail.pass");
    fs::write(&secret, "secret\n").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(&state).unwrap();
    for path in [&secret, &state] {
        std::os::unix::fs::chown(path, Some(65534), None).unwrap();
    }

    let mut alert = program("aw-alert", &["--ring", ring.name(), "-u", "nobody", "--print"]);
    alert.args(["--vendors", "/nonexistent", "--state-dir"]).arg(&state);
    let alert = Run::start(with_etc(&etc, &alert));
    let public = public_copy(&["aw-query"]);
    let name = |member: bool, mac: u8| {
        let mut command = Command::new("env");
        if member {
            command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "12345", "--clear-groups"]);
        }
        command.arg(public.path().join("aw-query"));
        command.args(["name", &format!("02:00:00:00:00:0{mac}"), "radio"]);
        run(with_etc(&etc, &command)).ok().stderr
    };
    let replaced = name(false, 1);
    assert_eq!(replaced, "aw-query: 02:00:00:00:00:01 is \"radio\" now\n");
    alert.stderr.wait_for("/etc/addrwatch/names is read again: 1 name");
    let in_place = name(true, 2);
    assert!(in_place.starts_with("aw-query: 02:00:00:00:00:02 is \"radio\" now\n"), "{in_place}");
    alert.stderr.wait_for("is read again: 2 names");
    let file = names.metadata().unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (0, 12_345, 0o664));

    let lead_to = |target: &str| {
        symlink(target, own.join("new")).unwrap();
        fs::rename(own.join("new"), &link).unwrap();
    };
    lead_to("mail.pass");
    alert.stderr.wait_for("read /etc/addrwatch/names: permission denied");
    assert!(!alert.stderr.text().contains("secret"), "{}", alert.stderr.text());
    lead_to("lists/names");
    alert.stderr.wait_for("can be read again");
    alert.stop().ok();

    // Without the directory of lists, a new file would be out of reach of aw-alert.
    fs::remove_file(&link).unwrap();
    fs::write(&link, "").unwrap();
    let inode = link.metadata().unwrap().ino();
    assert!(name(false, 3).contains(" is \"radio\" now\n"));
    assert_eq!(link.metadata().unwrap().ino(), inode, "written in place");
    assert_eq!(fs::read_to_string(&link).unwrap(), "02:00:00:00:00:03 radio\n");
}

/// Any user who can read the file can lock it.
#[test]
fn a_reader_stops_no_writer() {
    let directory = tempfile::tempdir().unwrap();
    let names = directory.path().join("names");
    fs::write(&names, "# kept\n").unwrap();
    fs::write(directory.path().join(".names.new"), "of a writer that was killed\n".repeat(9))
        .unwrap();
    for number in [1, 2] {
        let reader = fs::File::open(&names).unwrap();
        let inode = names.metadata().unwrap().ino();
        flock(&reader, FlockOperation::NonBlockingLockExclusive).unwrap();
        let written = run(query(&names, &["name", &mac(number), "radio"])).ok();
        let why = format!("locked it for 5 s (find it: fuser {})", names.display());
        assert!(written.stderr.contains(&why), "{written:?}");
        let is_in_place = names.metadata().unwrap().ino() == inode;
        assert_eq!(is_in_place, number == 2, "{written:?}");
        let text = fs::read_to_string(&names).unwrap();
        assert!(
            text.starts_with("# kept\n") && text.ends_with(&format!("{} radio\n", mac(number)))
        );
        assert!(!directory.path().join(".names.new").exists());
        fs::hard_link(&names, directory.path().join("second")).unwrap_or_default();
    }
}

/// The longest prefix counts.
#[test]
fn makers_of_all_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
    write("oui.csv", "MA-L,0055DA,IEEE REGISTRATION AUTHORITY,x\nMA-L,001B21,Large,x\n");
    write("mam.csv", "MA-M,0055DA1,Medium,x\n");
    write("oui36.csv", "MA-S,0055DA123,Small,x\n");
    for (mac, maker) in [
        ("00:1b:21:00:00:01", " (its maker is Large)"),
        ("00:55:da:11:00:01", " (its maker is Medium)"),
        ("00:55:da:12:34:56", " (its maker is Small)"),
        ("00:55:da:20:00:01", ""),
    ] {
        let mut command = program("aw-query", &["--names", "/dev/null", "--vendors"]);
        command.arg(directory.path()).args(["name", mac]);
        let asked = run(command);
        assert_eq!(asked.status.code(), Some(3), "{asked:?}");
        assert!(asked.stderr.ends_with(&format!("has no name in /dev/null{maker}\n")), "{asked:?}");
    }
}

#[test]
fn the_command_name() {
    let directory = tempfile::tempdir().unwrap();
    let names = directory.path().join("names");
    let one = "02-0-0-0-0-1";
    let asked = run(query(&names, &["name", one])); // a named file must exist
    asked.refused("aw-query", &["read ", "no such file"]);
    let mut unseen = query(&names, &["name", one, "Omas", "Küche"]);
    let history = History::new();
    let ring = Ring::new();
    publish(&ring, 5..6);
    run(history.command(&ring, &["--once"])).ok();
    unseen.arg("--database").arg(history.database());
    let named = run(unseen).ok().stderr;
    let [set, not_seen] = [
        "aw-query: 02:00:00:00:00:01 is \"Omas Küche\" now\n",
        "aw-query: 02:00:00:00:00:01 was not seen yet: if a digit is wrong, remove the name with aw-query name 02:00:00:00:00:01 --remove\n",
    ];
    assert_eq!(named, format!("{set}{not_seen}"));
    assert_eq!(names.metadata().unwrap().mode() & 0o7777, 0o644);
    assert_eq!(run(query(&names, &["name", one])).ok().stdout, "Omas Küche\n");
    let asked = run(query(&names, &["name", one, "--format", "json"])).ok().stdout;
    assert_eq!(
        json(asked.trim()),
        json("{\"mac\":\"02:00:00:00:00:01\",\"maker\":null,\"name\":\"Omas Küche\"}")
    );
    for bad in ["a\u{1b}[2J", "a\u{202e}b", "a\nb", "|x", &"x".repeat(201)] {
        let refused = run(query(&names, &["name", one, bad]));
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(
            refused.stderr.contains("not a name: it ") && !refused.stderr.contains(is_hidden),
            "{refused:?}"
        );
    }
    for no_host in ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00"] {
        let refused = run(query(&names, &["name", no_host, "x"]));
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains("is no device: "), "{refused:?}");
    }
    let again = run(query(&names, &["name", "omas küche", "Radio"])).ok().stderr;
    assert!(again.contains("is \"Radio\" now (it was \"Omas Küche\")\n"), "{again}");
    let second = run(query(&names, &["name", "02:00:00:00:00:02", "Radio"])).ok().stderr;
    assert!(second.contains("the same name has 02:00:00:00:00:01: "), "{second}");
    let listed = run(query(&names, &["name"])).ok().stdout;
    assert_eq!(
        listed,
        "MAC                NAME\n02:00:00:00:00:01  Radio\n02:00:00:00:00:02  Radio\n"
    );
    run(query(&names, &["name", "02:00:00:00:00:02", "--remove"])).ok();
    let removed = run(query(&names, &["name", one, ""])).ok().stderr;
    assert!(removed.contains("is not \"Radio\" any more\n"), "{removed}");
    let nothing = run(query(&names, &["name", one, "--remove"]));
    assert_eq!(nothing.status.code(), Some(3), "{nothing:?}");
    let none = run(query(&names, &["name", one]));
    assert_eq!((none.status.code(), &*none.stdout), (Some(3), ""));
    assert!(none.stderr.contains("02:00:00:00:00:01 has no name in "), "{none:?}");
    run(query(&names, &["name", one, "x"])).ok();
    run(query(&names, &["name", one, "--remove"])).ok();
    assert_eq!(fs::read_to_string(&names).unwrap(), "");
}

/// Answers have names and makers; hostile ones are text, and a line of 10 MB costs no other one.
#[test]
fn answers_have_names_and_makers() {
    let (ring, history) = (Ring::new(), History::new());
    let alert = Alert { ring, ..Alert::new() };
    alert.publish(1..5);
    run(history.command(&alert.ring, &["--once"])).ok();
    let at = |name: &str| history.path().join(name);
    let [names, makers] = [at("names"), at("makers")];
    let hostile = "a\u{1b}[2J\u{202e}b";
    let text = format!("{} {hostile}\n{}\n{}|", mac(1), "x".repeat(10 << 20), mac(2));
    fs::write(&names, [text.as_bytes(), b"\xffve\n"].concat()).unwrap();
    fs::create_dir(&makers).unwrap();
    fs::write(makers.join("oui.csv"), "Registry,Assignment,Organization Name,Organization Address\r\nMA-L,0008E1,\"Maker, Inc.\",x\r\n").unwrap();
    fs::write(makers.join("oui36.csv"), "MA-S,0008E1001,not this,x\r\n").unwrap();
    let options = ["--names", names.to_str().unwrap(), "--vendors", makers.to_str().unwrap()];
    let ask = |arguments: &[&str]| {
        let mut command = program("aw-query", &["--database"]);
        command.arg(history.database()).args(arguments).args(options).env("TZ", "UTC");
        run(command).ok()
    };
    let asked = ask(&["devices"]);
    assert!(asked.stderr.contains("line 2: it is longer than 64 KiB"), "{}", asked.stderr);
    let table = asked.stdout;
    let label = |number: u8| {
        table.lines().find(|line| line.starts_with(&mac(number))).unwrap()[19..].to_owned()
    };
    assert!(table.starts_with("MAC                NAME "), "{table}");
    assert!(label(1).starts_with("a?[2J?b ") && label(2).starts_with("ÿve "), "{table}");
    assert!(label(3).starts_with("(Maker, Inc.) "), "{table}");
    assert!(!table.contains(|c: char| c != '\n' && c.is_control() || is_hidden(c)), "{table:?}");
    for question in [
        &["who", "10.0.0.2", "--at", "1970-01-01 00:16:42"][..],
        &["ip", "10.0.0.2"],
        &["mac", &mac(2)],
        &["devices"],
    ] {
        let answer = ask(&[question, &["--format", "json"]].concat()).stdout;
        let rows = answer.lines().map(json);
        let row = rows.into_iter().find(|row| row["mac"] == mac(2)).unwrap();
        assert_eq!(
            (&row["name"], &row["maker"]),
            (&"ÿve".into(), &"Maker, Inc.".into()),
            "{question:?}"
        );
        assert!(ask(question).stdout.contains("ÿve"), "{question:?}");
    }
    let none = ["--names", "/dev/null", "--vendors", "/nonexistent"];
    let mut plain = history.query(&["devices"]);
    plain.args(none);
    assert!(!run(plain).ok().stdout.contains("NAME"), "a table without names has no such column");
}

/// The makers of the package ieee-data need no import, also if it is installed while aw-alert runs; the longest prefix counts, and
/// an imported list may have others.
#[test]
fn alerts_have_makers() {
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    let makers = alert.path("makers");
    let config = alert.path("alert.toml").display().to_string();
    let options = ["--learn", "0", "--vendors", makers.to_str().unwrap(), "-c", &config];
    let running = Run::start(alert.command(&options));
    wait_until("it runs", || alert.path("state/aw-alert.db").exists());
    fs::create_dir(&makers).unwrap();
    fs::write(makers.join("oui.csv"), "MA-L,0008E1,large,x\n").unwrap();
    fs::write(makers.join("oui36.csv"), "MA-S,0008E1000,\"small \u{202e}\",x\n").unwrap();
    alert.publish(1..2);
    wait_until("an alert", || !alert.alerts().is_empty());
    assert_eq!(alert.alerts()[0]["vendor"], "small ?");
    running.stop().ok();
}

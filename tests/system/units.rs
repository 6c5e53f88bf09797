//! The units as a new user meets them, in a Debian 12 and a Debian 13 with their own systemd: two collectors that add up,
//! configurations of older releases, what a unit forbids, and what `systemctl status` and the journal show.
#![forbid(unsafe_code)]

use aw_tests::debian::{Booted, Debian};
use aw_tests::feed::FrameSender;
use aw_tests::rig::wait_until;
use aw_tests::web::name_radio;

const VERSION: &str = "0.1.0";
const ALL: [&str; 7] =
    ["aw-alert", "aw-metrics", "aw-routeros", "aw-sqlite", "aw-stdout", "aw-syslog", "aw-tracker"];

#[test]
fn debian_12() {
    let Some(debian) = Debian::new() else { return };
    first_hour(&debian);
}

#[test]
fn debian_13() {
    let Some(debian) = Debian::created("trixie-depends") else { return };
    first_hour(&debian);
}

fn first_hour(debian: &Debian) {
    debian.package(VERSION);
    let booted = match debian.boot() {
        Ok(booted) => booted,
        Err(why) => {
            // As in booted.rs: some machines cannot.
            eprintln!("NOT BOOTED: {why}");
            return;
        }
    };
    booted.lan.here.ip("link add two0 type veth peer name two1");
    booted.lan.here.ip("link set two0 up");
    booted.lan.here.ip("link set two1 up");
    booted.ask(&format!("dpkg -i /root/{VERSION}.deb"));
    let units = Units { booted: &booted };
    units.two_collectors_add_up();
    units.options_add_to_the_interface();
    units.other_options_are_refused();
    units.old_configurations();
    units.no_interface();
    units.outputs();
    units.stops_are_no_failures();
    units.causes_are_shown();
    units.an_editor_names_a_device();
    units.what_units_forbid();
    units.users_outside_the_group();
    units.a_killed_collector();
    units.switched_off();
    let journal = booted.ask("journalctl --sync; journalctl --no-pager --quiet");
    assert!(!journal.contains("unset environment variable"), "{journal}");
}

struct Units<'a> {
    booted: &'a Booted,
}

impl Units<'_> {
    fn two_collectors_add_up(&self) {
        let both = "addrwatch-collector@veth0 addrwatch-collector@two0";
        self.booted.ask(&format!("systemctl enable --now addrwatch.target {both}"));
        self.wait_until_captured(&["veth0", "two0"]);
        self.assert_captured(["veth0", "two0"]);
        let statuses = ["veth0", "two0"].map(|name| self.status(&collector(name)));
        let listens = |status: &String| status.contains("listening on") && status.contains("two0");
        assert!(statuses.iter().any(listens), "{statuses:?}");
        assert!(statuses.iter().any(|status| status.contains("captures on")), "{statuses:?}");

        // Whichever ends, the other one captures its own interface, and no longer that of the first.
        for (ends, stays) in [("veth0", "two0"), ("two0", "veth0")] {
            self.booted.ask(&format!("systemctl stop {}", collector(ends)));
            wait_until("only one is captured", || {
                self.status(&collector(stays)) == format!("listening on {stays}")
            });
            self.booted.ask(&format!("systemctl start {}", collector(ends)));
            self.wait_until_captured(&["veth0", "two0"]);
        }
        // A kill interrupts, and both are back.
        self.booted.ask(&format!("systemctl kill --signal=KILL {both}"));
        for name in ["veth0", "two0"] {
            wait_until("it was restarted", || self.show(&collector(name), "NRestarts") == "1");
        }
        self.wait_until_captured(&["veth0", "two0"]);
        self.assert_captured(["veth0", "two0"]);
        self.booted.ask(&format!("systemctl reload {both}"));
        self.booted.ask(&format!("systemctl stop {both}"));
        self.forget_kills();
    }

    fn options_add_to_the_interface(&self) {
        self.write("/etc/addrwatch/collector.conf", "OPTIONS=--macupd 127.0.0.1:0");
        self.booted.ask("systemctl start addrwatch-collector@veth0 addrwatch-collector@two0");
        self.wait_until_captured(&["veth0", "two0"]);
        self.booted.ask("systemctl stop addrwatch-collector@two0");
        wait_until("the interface and the socket", || {
            let status = self.status("addrwatch-collector@veth0");
            status.contains("veth0") && status.contains("127.0.0.1") && !status.contains("two0")
        });
        self.booted
            .ask("systemctl stop addrwatch-collector@veth0; rm /etc/addrwatch/collector.conf");
    }

    /// One process captures for all, so that the options of one unit do not apply: that is said once, and all is captured.
    fn other_options_are_refused(&self) {
        self.write("/etc/addrwatch/collector.conf", "OPTIONS_ALL=--ratelimit 0");
        self.write("/etc/addrwatch/collector-two0.conf", "OPTIONS=--ipv4-only");
        self.booted.ask("systemctl start addrwatch-collector@veth0");
        self.booted.ask("systemctl start addrwatch-collector@two0");
        wait_until("the options are named", || {
            let said = self.journal("addrwatch-collector@veth0");
            said.contains("its options --ipv4-only --quiet --ratelimit 0 apply to all interfaces")
                && said.contains("/etc/addrwatch/collector.conf")
        });
        self.wait_until_captured(&["veth0", "two0"]);
        self.booted.ask(
            "systemctl stop addrwatch-collector@veth0 addrwatch-collector@two0; rm /etc/addrwatch/collector-two0.conf /etc/addrwatch/collector.conf",
        );
        // A collector beside the unit is refused as before, with the way to two interfaces.
        self.booted.ask("systemctl start addrwatch-collector@veth0");
        let refused = self.booted.sh("collector -q two0").stderr;
        assert!(refused.contains("in use by another collector"), "{refused}");
        assert!(refused.contains("addrwatch-collector@eth1"), "{refused}");
        self.booted.ask("systemctl stop addrwatch-collector@veth0");
    }

    /// The name of the instance was a mere label, and the file replaced the interface.
    fn old_configurations(&self) {
        self.write(
            "/etc/addrwatch/collector-lan.conf",
            "OPTIONS=\"--wait veth0 two0 -m /x --user addrwatch\"",
        );
        self.write("/etc/addrwatch/collector-two0.conf", "OPTIONS=--wait two0 -q -m /y");
        let units = ["addrwatch-collector@lan", "addrwatch-collector@two0"];
        self.booted.ask(&format!("systemctl start {}", units.join(" ")));
        wait_until("each once", || {
            units.map(|unit| self.status(unit)) == ["listening on veth0, two0", "listening on two0"]
        });
        let said = self.journal(units[0]);
        assert!(
            !said.contains("not listening") && said.contains("lan, the name of this unit"),
            "{said}"
        );
        self.booted.ask(&format!("systemctl stop {}", units.join(" ")));
        self.booted.ask("collector --remove -m /x; collector --remove -m /y; rm /etc/addrwatch/collector-*.conf");
    }

    fn no_interface(&self) {
        self.write("/etc/addrwatch/collector-lan.conf", "# interfaces:\n--wait veth0 two0");
        assert!(!self.booted.sh("systemctl start addrwatch-collector@lan").status.success());
        let said = self.journal("addrwatch-collector@lan");
        assert!(said.contains("write OPTIONS=--wait veth0 two0"), "{said}");
        self.booted
            .ask("systemctl stop addrwatch-collector@lan; rm /etc/addrwatch/collector-lan.conf");
        self.booted.ask("systemctl start addrwatch-collector@late0");
        wait_until("it waits", || {
            self.status("addrwatch-collector@late0")
                .starts_with("listening on nothing yet; late0: ")
        });
        self.booted.ask("systemctl stop addrwatch-collector@late0");
    }

    fn outputs(&self) {
        self.booted.ask(&format!("systemctl start addrwatch-collector@veth0 {}", ALL.join(" ")));
        for name in ALL.into_iter().filter(|name| *name != "aw-routeros") {
            wait_until(&format!("{name} reads"), || {
                self.status(name).contains("reading ring /addrwatch")
            });
        }
        let status = self.status("aw-alert");
        assert!(status.starts_with("no channel: "), "{status}");
        let said = self.journal("aw-alert");
        assert_eq!(said.matches("no channel: ").count(), 1, "{said}");
        self.booted.ask("systemctl start aw-mqtt"); // it queues without a broker
        for (name, reloads) in [
            ("aw-stdout", true),
            ("aw-tracker", true),
            ("aw-routeros", true),
            ("aw-alert", true),
            ("aw-mqtt", true),
            ("aw-sqlite", false),
        ] {
            let reloaded = self.booted.sh(&format!("systemctl reload {name}"));
            assert_eq!(reloaded.status.success(), reloads, "{name}: {}", reloaded.stderr);
        }
        self.booted.ask("systemctl stop aw-mqtt addrwatch-collector@veth0");
        wait_until("it is shown", || self.status("aw-sqlite").contains("its collector has ended"));
    }

    /// systemd signals both processes at once.
    fn stops_are_no_failures(&self) {
        let text = "[[channel]]\nname = \"log\"\nsyslog = true";
        let refused = self.booted.sh("aw-alert test log").stderr;
        assert!(refused.contains("/etc/addrwatch/alert.toml has no [[channel]]"), "{refused}");
        self.write("/etc/addrwatch/alert.toml", text);
        assert_eq!(self.booted.ask("aw-alert test log"), "channel log: sent\n");
        for _ in 0..12 {
            self.booted.ask("systemctl restart aw-alert");
            self.booted.ask("systemctl stop aw-alert");
            assert_eq!(self.show("aw-alert", "Result"), "success", "{}", self.journal("aw-alert"));
        }
    }

    /// systemd tries again for ever, and its own lines hide the message: the status has it.
    fn causes_are_shown(&self) {
        self.write("/etc/addrwatch/alert.toml", "[[channel]]\nname = \"mail\"\nsmpt = true");
        self.write("/etc/default/aw-metrics", "OPTIONS=--file /nowhere/x.prom --user unknown-user");
        for (name, why) in [("aw-alert", "unknown key `smpt`"), ("aw-metrics", "unknown-user")] {
            self.booted.sh(&format!("systemctl restart {name}"));
            self.wait_for_status(name, why);
            let shown = self.booted.sh(&format!("systemctl status {name}")).stdout;
            assert!(shown.contains("Status: \"") && shown.contains(why), "{shown}");
        }
        self.booted.ask("systemctl stop aw-metrics; rm /etc/default/aw-metrics");
        // A channel that is down, while aw-alert runs.
        let text = "[[channel]]\nname = \"hook\"\nwebhook = { url = \"http://127.0.0.1:1/\" }";
        self.write("/etc/addrwatch/alert.toml", text);
        self.write("/etc/default/aw-alert", "OPTIONS=--learn 0");
        self.booted.ask("systemctl restart aw-alert addrwatch-collector@veth0");
        self.wait_for_status("aw-alert", "reading ring /addrwatch");
        FrameSender::on(&self.booted.lan.there, "veth1").send(201..203);
        self.wait_for_status("aw-alert", "channel hook: POST http://127.0.0.1:1: ");
        self.booted.ask("systemctl stop aw-alert; rm /etc/default/aw-alert");
        // Files of options without effect.
        self.write("/etc/default/aw-syslog", "OPTION=--verbose");
        self.write("/etc/default/addrwatch-collector@veth0", "OPTIONS=--ratelimit 60");
        self.booted.ask("systemctl restart aw-syslog addrwatch-collector@veth0");
        let said = self.journal("aw-syslog");
        assert!(said.contains("reads the variable OPTION (write OPTIONS=--verbose"), "{said}");
        let said = self.journal("addrwatch-collector@veth0");
        assert!(said.contains("(move its lines to /etc/addrwatch/collector-veth0.conf)"), "{said}");
        self.booted.ask("rm /etc/default/*veth0; systemctl stop addrwatch-collector@veth0");
    }

    /// In the file of names that all programs read, which is all that the unit lets it write outside its own directory.
    fn an_editor_names_a_device(&self) {
        self.write("/etc/default/aw-web", "OPTIONS=--edit");
        self.booted.ask("systemctl restart aw-web; aw-web --check");
        let connect = "IO::Socket::INET->new(\"127.0.0.1:9715\")";
        let answer = self.booted.ask(&name_radio(connect));
        assert!(answer.contains("HTTP/1.1 303 See Other"), "{answer}");
        let names =
            self.booted.ask("cat /etc/addrwatch/names; stat -L -c '%U:%G %a' /etc/addrwatch/names");
        assert!(names.ends_with("02:00:00:00:00:01 Radio\nroot:addrwatch 664\n"), "{names}");
        let log = self.journal("aw-web");
        assert!(
            log.contains("token named 02:00:00:00:00:01 \"Radio\"")
                && !log.contains("no device can be named"),
            "{log}"
        );
        self.booted.ask("systemctl stop aw-web; rm /etc/default/aw-web");
    }

    fn what_units_forbid(&self) {
        self.write(
            "/etc/default/aw-tracker",
            "OPTIONS=--log-dir /var/log/addrwatch/aw-tracker --serve 0.0.0.0:8080",
        );
        self.write("/etc/default/aw-metrics", "OPTIONS=--listen 0.0.0.0:9714");
        for name in ["aw-tracker", "aw-metrics"] {
            self.booted
                .ask(&format!("rm -rf /var/log/addrwatch/aw-tracker; systemctl restart {name}"));
            let said = self.journal(name);
            let advice = format!(
                "systemctl edit {name}, with the two lines \"[Service]\" and \"IPAddressAllow="
            );
            assert!(said.contains(&advice), "{said}");
        }
        // The directory of all logs: the one of aw-tracker in it is named; by hand as well, where it works at once.
        let options = "--log-dir /var/log/addrwatch --serve 8080";
        self.write("/etc/default/aw-tracker", &format!("OPTIONS={options}"));
        self.booted.sh("systemctl restart aw-tracker");
        let own = "(aw-tracker has its own: --log-dir /var/log/addrwatch/aw-tracker)";
        wait_until("its own is named", || self.journal("aw-tracker").contains(own));
        self.booted.ask("systemctl stop aw-tracker");
        let refused = self.booted.sh(&format!("aw-tracker {options}"));
        assert!(refused.stderr.contains(own), "{}", refused.stderr);
        let options = options.replace(" --serve", "/aw-tracker --serve");
        let by_hand = self.booted.sh(&format!("aw-tracker --once {options}")).ok();
        assert!(by_hand.stderr.contains("http://127.0.0.1:8080/"), "{}", by_hand.stderr);
        // With the edit, it is quiet.
        let directory = "/etc/systemd/system/aw-metrics.service.d";
        self.booted.ask(&format!("mkdir -p {directory}"));
        self.write(&format!("{directory}/override.conf"), "[Service]\nIPAddressAllow=10.0.0.0/8");
        self.booted.ask("systemctl daemon-reload; systemctl restart aw-metrics");
        let said = self.journal("aw-metrics");
        assert_eq!(said.matches("IPAddressAllow=").count(), 1, "{said}");

        self.write("/etc/default/aw-stdout", "OPTIONS=-o /srv/events.log");
        self.booted.sh("systemctl restart aw-stdout");
        wait_until("it names the edit", || {
            self.journal("aw-stdout").contains(
                "the unit aw-stdout makes it read-only (choose a place in /var/lib/addrwatch/aw-stdout, which needs no more, or in /srv: install -d -m 750 -o aw-stdout -g addrwatch /srv/aw-stdout; systemctl edit aw-stdout: [Service] and ReadWritePaths=/srv/aw-stdout)",
            )
        });
        self.write("/etc/default/aw-sqlite", "OPTIONS=--database /root/old/x.db");
        self.booted.ask("mkdir -p /root/old; systemctl restart aw-sqlite || true");
        wait_until("it names what hides it", || {
            self.journal("aw-sqlite")
                .contains("the unit aw-sqlite hides /root from its service (choose")
        });
        self.write("/etc/default/aw-syslog", "--verbose");
        self.booted.ask("systemctl restart aw-syslog");
        let said = self.journal("aw-syslog");
        assert!(said.contains("write OPTIONS=--verbose"), "{said}");
        self.booted.ask("rm /etc/default/aw-*; systemctl stop addrwatch.target");
    }

    fn users_outside_the_group(&self) {
        self.booted.ask(
            "useradd --create-home alice; systemctl start addrwatch-collector@veth0 aw-sqlite",
        );
        self.wait_until_captured(&["veth0"]);
        self.wait_for_status("aw-sqlite", "reading ring /addrwatch");
        for command in ["collector --stats", "aw-stdout --once", "aw-query devices"] {
            // A terminal of a desktop has the variable, too.
            let refused = self.booted.sh(&format!("INVOCATION_ID=0 runuser -u alice -- {command}"));
            let said = refused.stderr;
            let remedy =
                "permission denied (you are alice; usermod -aG addrwatch alice, then log in again)";
            assert!(said.contains(remedy), "{command}: {said}");
        }
        // As the user of a service; not "no such directory".
        let refused =
            self.booted.sh("runuser -u aw-sqlite -- aw-sqlite --database /root/old/x.db --once");
        assert!(refused.stderr.contains("/root/old/x.db: permission denied"), "{}", refused.stderr);
        let refused = self
            .booted
            .sh("runuser -u alice -- aw-tracker --log-dir /srv/log --state-dir /home/alice");
        assert!(refused.stderr.contains("sudo install -d -o alice /srv/log"), "{}", refused.stderr);
        self.booted.ask("systemctl stop addrwatch.target addrwatch-collector@veth0 aw-sqlite");
    }

    /// systemd starts it again before an output misses its heartbeat; the third time, all programs report it.
    fn a_killed_collector(&self) {
        const COLLECTOR: &str = "addrwatch-collector@veth0";
        let logged = || {
            let log = self.journal(COLLECTOR);
            log.matches("the collector before this one was killed or crashed: ").count()
        };
        let before = logged();
        self.write("/etc/addrwatch/alert.toml", "[[channel]]\nname = \"log\"\nsyslog = true");
        self.booted.ask(&format!("systemctl restart {COLLECTOR} aw-alert"));
        self.wait_for_status("aw-alert", "reading ring /addrwatch");
        for times in ["once", "2 times", "3 times"] {
            self.booted.ask(&format!("systemctl kill --signal=KILL {COLLECTOR}"));
            self.wait_for_status(COLLECTOR, &format!("; killed or crashed {times} within"));
            let health = self.booted.sh("aw-alert --health");
            assert_eq!(health.status.success(), times != "3 times", "{}", health.stdout);
            assert!(health.stdout.contains(&format!("was killed or crashed {times} ")));
        }
        self.wait_for_status("aw-alert", "; its collector was killed or crashed 3 times, and was");
        wait_until("it is one message", || {
            self.journal("aw-alert").matches("the collector was killed or crashed 3 times").count()
                == 1
        });
        let log = self.journal("aw-alert");
        assert!(!log.contains("no heartbeat"), "{log}");
        assert_eq!(logged(), before + 3);
        self.booted.ask(&format!("systemctl stop {COLLECTOR} aw-alert"));
        self.forget_kills();
    }

    /// While no collector runs: the ring has none of the last hour (addrwatch-ring(5)).
    fn forget_kills(&self) {
        self.booted
            .ask("dd if=/dev/zero of=/dev/shm/addrwatch bs=1 seek=3992 count=104 conv=notrunc");
    }

    /// By the command of operations.md; a boot starts what multi-user.target wants.
    fn switched_off(&self) {
        let manual = include_str!("../../docs/operations.md");
        let (_, section) = manual.split_once("\n## Switch all off\n").unwrap();
        let (_, commands) = section.split_once("```sh\n").unwrap();
        let commands = commands.split("```").next().unwrap().replace("sudo ", "");
        self.booted.ask(
            "systemctl enable --now addrwatch.target addrwatch-collector@veth0 addrwatch-collector@two0 aw-sqlite aw-mqtt",
        );
        let state = "systemctl list-units --no-legend --plain --state=active,activating 'addrwatch*' 'aw-*'";
        assert!(self.booted.ask(state).lines().count() >= 5);
        self.booted.ask(&commands);
        self.booted.ask("systemctl daemon-reload; systemctl start multi-user.target");
        let left =
            self.booted.ask("find /etc/systemd -name 'addrwatch*' -type l -o -name 'aw-*' -type l");
        assert_eq!(left, "");
        let running = self.booted.ask(state);
        assert!(!running.contains(".service"), "{running}");
    }

    /// Frames that arrive on each interface are in the ring, with its name.
    fn assert_captured(&self, names: [&str; 2]) {
        let veth = FrameSender::on(&self.booted.lan.there, "veth1");
        let two = FrameSender::on(&self.booted.lan.here, "two1");
        for (first, mut sender) in [(1, veth), (101, two)] {
            sender.send(first..first + 3);
        }
        for name in names {
            wait_until(&format!("events of {name}"), || {
                let lines = self.booted.ask("aw-stdout --once");
                let of = |line: &&str| line.split(' ').nth(1) == Some(name);
                lines.lines().filter(of).count() >= 3
            });
        }
    }

    /// The process that captures says so in its status.
    fn wait_until_captured(&self, names: &[&str]) {
        wait_until(&format!("{names:?} are captured"), || {
            ["veth0", "two0"].iter().any(|unit| {
                let status = self.status(&collector(unit));
                let status = status.split("; killed or crashed ").next().unwrap();
                status.starts_with("listening on")
                    && !status.contains(';')
                    && names.iter().all(|name| status.contains(name))
            })
        });
    }

    fn write(&self, path: &str, text: &str) {
        self.booted.ask(&format!("cat >{path} <<'END'\n{text}\nEND"));
    }

    fn show(&self, unit: &str, property: &str) -> String {
        self.booted
            .ask(&format!("systemctl show --value --property {property} {unit}"))
            .trim()
            .into()
    }

    fn status(&self, unit: &str) -> String {
        self.show(unit, "StatusText")
    }

    fn wait_for_status(&self, unit: &str, text: &str) {
        wait_until(&format!("{unit}: {text}"), || self.status(unit).contains(text));
    }

    fn journal(&self, unit: &str) -> String {
        self.booted.ask(&format!(
            "journalctl --sync; journalctl --no-pager --quiet --output cat --unit {unit}"
        ))
    }
}

fn collector(interface: &str) -> String {
    format!("addrwatch-collector@{interface}")
}

//! What real devices call themselves, on the pages of `aw-tracker` and `aw-web`, in a real browser: a claim, and text, also where it is HTML.
#![forbid(unsafe_code)]

use aw_tests::browser::Browser;
use aw_tests::history::History;
use aw_tests::infrastructure::{AVAHI, DNSMASQ, Infrastructure, are_installed};
use aw_tests::lan::{HERE, Lan, THERE};
use aw_tests::listening::quiet;
use aw_tests::rig::{Run, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::tracker::Tracking;
use aw_tests::web::Server;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const HOSTILE: &str = "<script>document.title='owned'</script>";

/// A host of this name, as avahi announces it by multicast DNS.
fn avahi(lan: &Lan, directory: &Path, name: &str) -> Run {
    let file = directory.join("avahi.conf");
    let text = format!(
        "[server]\nhost-name={name}\nuse-ipv6=no\nallow-interfaces=veth1\nenable-dbus=no\n[publish]\npublish-workstation=no\n"
    );
    fs::write(&file, text).unwrap();
    // Its directory in /run is its own.
    let daemon =
        "mount -t tmpfs none /run && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f";
    let mut server = lan.there.command("unshare");
    server.args(["--mount", "sh", "-c", &format!("{daemon} {}", file.display())]);
    Run::start(server)
}

/// A host that gets an address from a server with this name.
fn client(lan: &Lan, directory: &Path, name: &str) {
    let script = directory.join("script");
    let configure = "#!/bin/sh\n[ \"$1\" != bound ] || ip address add \"$ip/24\" dev veth0\n";
    fs::write(&script, configure).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut client = lan.here.command("busybox");
    client.args(["udhcpc", "-i", "veth0", "-f", "-q", "-n", "-t", "20", "-T", "1", "-s"]);
    client.arg(&script).args(["-x", &format!("hostname:{name}")]);
    run(client).ok();
}

/// The text of a page, of which the title shows that no script of a name ran.
#[track_caller]
fn shown(browser: &mut Browser) -> String {
    let title = browser.run("return document.title");
    assert_ne!(title.as_str(), Some("owned"));
    let scripts = browser.run("return [...document.scripts].map(one => one.text).join()");
    assert!(!scripts.as_str().unwrap().contains("owned"), "{scripts}");
    browser.run("return document.body.innerText").as_str().unwrap().to_owned()
}

#[test]
fn claimed_names_on_real_pages() {
    if !are_installed(&[AVAHI, DNSMASQ, "/usr/bin/chromedriver"]) {
        return;
    }
    let Some(lan) = Lan::new() else { return };
    let (ring, history, files) = (Ring::new(), History::new(), tempfile::tempdir().unwrap());
    let collector = quiet(&lan.here, &ring, &[], &["--names"]);
    let output = history.start(&ring, &[]);
    let tracking = Tracking::start(&ring, &["--serve", "0"]);
    let tracker = tracking.run.stderr.wait_for("serving the report on http://127.0.0.1:");
    let tracker = tracker.split_once(" on ").expect("its address").1.to_owned();
    lan.there.ip("address add 192.0.2.1/24 dev veth1");
    let infrastructure = Infrastructure::new(files.path());
    let dnsmasq = infrastructure.dnsmasq(
        &lan.there,
        "server",
        &["--interface=veth1", "--dhcp-range=192.0.2.50,192.0.2.60,1h", "--dhcp-authoritative"],
    );
    let announcer = avahi(&lan, files.path(), "pc2");
    client(&lan, files.path(), HOSTILE);
    lan.here.run(&["busybox", "ping", "-c", "1", "-W", "5", "192.0.2.1"]); // both are seen

    let stored = "SELECT count(DISTINCT name) FROM claimed_name WHERE source IN (1, 4)";
    wait_until("both names are stored", || history.value::<i64>(stored) == Some(2));
    let sightings = "SELECT count(DISTINCT mac_address) FROM addrwatch WHERE origin IN (0, 1)";
    wait_until("both devices are stored", || history.value::<i64>(sightings) == Some(2));
    let devices = [(HERE, HOSTILE, "DHCP host name"), (THERE, "pc2", "mDNS host name")];
    let claim = |name: &str, source: &str| format!("calls itself “{name}” ({source})");
    let mut browser = Browser::open(1280, 900);

    // The page of aw-tracker, made when it is requested.
    wait_until("its page has both", || {
        browser.go(&tracker);
        let page = shown(&mut browser);
        devices.iter().all(|(mac, name, _)| page.contains(mac) && page.contains(name))
    });
    let page = shown(&mut browser);
    for (mac, name, source) in devices {
        assert!(page.contains(&claim(name, source)) && page.contains(mac), "{name}: {page}");
    }

    // The pages of aw-web: the list of devices, the search and the page of each device.
    let server = Server::start(&history, &[]);
    browser.go(&server.login());
    let own = format!("http://127.0.0.1:{}", server.port);
    browser.go(&format!("{own}/now"));
    let list = shown(&mut browser);
    for (mac, name, source) in devices {
        assert!(list.contains(name) && list.contains(mac), "{name}: {list}");
        let query: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in [format!("search?q={query}"), format!("mac/{mac}")] {
            browser.go(&format!("{own}/{path}"));
            let page = shown(&mut browser);
            assert!(page.contains(&claim(name, source)) && page.contains(mac), "{path}: {page}");
        }
    }
    let body = server.get(&format!("/mac/{HERE}")).expect(200).body;
    assert!(!body.contains(HOSTILE) && body.contains("document.title="), "{body}");
    // The same by its name, in the API and in aw-query, where a terminal shows it as it is.
    let found = server.get("/api/v1/ip/pc2.local").expect(200).json();
    assert_eq!(found["rows"][0]["mac"], THERE, "{found}");
    let asked = run(history.query(&["who", HOSTILE])).ok();
    assert!(asked.stdout.contains("192.0.2.5") && asked.stderr.contains(HERE), "{asked:#?}");

    drop((announcer, dnsmasq));
    tracking.run.stop().ok();
    output.stop().ok();
    collector.stop().ok();
}

//! The image and contrib/oci/compose.yaml: all services of the file together, in a network of two. Built with buildah on the Debian 13
//! of debootstrap and run with podman, where this machine lets it; and, on every machine, the same package and users in a chroot
//! with the commands, users, capabilities and mounts of the file. podman-compose of Debian 12 cannot start services with
//! `network_mode`, so this test calls podman with what the file says.
#![forbid(unsafe_code)]

#[path = "oci/chroot.rs"]
mod chroot;
#[path = "oci/engine.rs"]
mod engine;

use aw_tests::debian::archive;
use aw_tests::feed::FrameSender;
use aw_tests::lan::Lan;
use aw_tests::rig::{Finished, run, skip, wait_until};
use chroot::Chroot;
use engine::Engine;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const CONTRIB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib");

/// The file as JSON; without a variable set, each has its default.
const READ: &str = r#"
import json, re, sys, yaml
text = open(sys.argv[1]).read()
print(json.dumps(yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))))
"#;

/// Where the services run.
trait Place {
    /// Starts a service; one that was started must have ended.
    fn start(&mut self, name: &str, service: &Service);
    /// Runs a service to its end.
    fn once(&mut self, name: &str, service: &Service) -> Finished;
    /// Runs a command in a running service, as its user.
    fn exec(&self, name: &str, words: &[&str]) -> Finished;
    /// What it has printed: standard output and standard error.
    fn printed(&self, name: &str) -> [String; 2];
    /// Ends it, as if it was removed.
    fn end(&mut self, name: &str);
    /// The names of those that run.
    fn running(&self) -> BTreeSet<String>;
}

/// Where podman may run: what is released, in containers.
#[test]
fn composed() {
    let Some(lan) = lan() else { return };
    let prepared = archive("trixie-image").and_then(|base| Engine::new(&lan, &base));
    match prepared {
        Ok(mut engine) => {
            let file = engine.compose_file();
            all_services(&lan, &mut engine, &file);
        }
        // The other test runs the same services.
        Err(why) => eprintln!("NOT IN CONTAINERS: {why}"),
    }
}

#[test]
fn composed_in_a_chroot() {
    let Some(lan) = lan() else { return };
    let Some(mut chroot) = Chroot::new(&lan) else { return };
    all_services(&lan, &mut chroot, &Path::new(CONTRIB).join("oci/compose.yaml"));
}

fn lan() -> Option<Lan> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can send frames to a container");
        return None;
    }
    let lan = Lan::new()?;
    // The interface of the file's example.
    for step in ["veth0 down", "veth0 name eth0", "eth0 up"] {
        lan.here.ip(&format!("link set {step}"));
    }
    Some(lan)
}

fn all_services(lan: &Lan, place: &mut impl Place, file: &Path) {
    let composed = read(file);
    let etc = tempfile::tempdir().unwrap();
    settings(etc.path());
    let services: Vec<_> = object(&composed["services"])
        .iter()
        .map(|(name, keys)| (&**name, Service::new(name, keys, etc.path())))
        .collect();
    let of = |name: &str| services.iter().find(|(service, _)| *service == name).unwrap().1.clone();

    // A volume of an older image, which had no aw-tracker.
    let directories = of("directories");
    place.once("directories", &directories).ok();
    let mut older = directories.clone();
    older.command = ["rmdir", "/var/lib/addrwatch/aw-tracker"].map(String::from).to_vec();
    place.once("older", &older).ok();
    place.once("directories", &directories).ok();

    let mut all = services.clone();
    all.retain(|(name, _)| *name != "directories");
    // Outputs wait for their collector.
    for (name, service) in all.iter().rev() {
        place.start(name, service);
    }
    let listening = |place: &dyn Place| place.printed("collector")[1].contains("listening on eth0");
    wait_until("the collector listens", || listening(place));
    let devices = |place: &dyn Place| {
        let query = ["aw-query", "--format", "csv", "devices"];
        place.exec("aw-sqlite", &query).stdout.lines().count().saturating_sub(1)
    };
    let mut sender = FrameSender::on(&lan.there, "veth1");
    sender.send(1..11);
    wait_until("all ten are in the history", || devices(place) == 10);
    wait_until("all ten are printed", || place.printed("aw-stdout")[0].lines().count() == 10);

    // All that runs has given up what it does not need, and no user is root. The ids are those of every image.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut ids = BTreeSet::new();
    for (name, _) in &all {
        let status = place.exec(name, &["cat", "/proc/1/status"]).ok().stdout;
        let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
        let capabilities =
            if *name == "collector" { "0000000000002000" } else { "0000000000000000" };
        assert_eq!(
            (of("CapEff:"), of("CapPrm:"), of("NoNewPrivs:")),
            (capabilities, capabilities, "1"),
            "{name}: {status}"
        );
        let id = |key: &str| of(key).split('\t').next().unwrap().parse::<u32>().unwrap();
        assert!((7300..7400).contains(&id("Uid:")) && ids.insert(id("Uid:")), "{name}: {status}");
        assert_eq!(id("Gid:"), 7300, "{name}: {status}");
        if *name != "collector" {
            assert_eq!(place.exec(name, &["uname", "-n"]).ok().stdout, host, "{name}");
        }
        assert_eq!(place.exec(name, &["touch", "/etc/written"]).status.code(), Some(1), "{name}");
        place.exec(name, &["touch", "/tmp/written"]).ok();
    }
    // What the file asks for the health; those with no peer here cannot be well.
    for (name, service) in &all {
        if !service.health.is_empty()
            && !["aw-clickhouse", "aw-mysql", "aw-mqtt", "aw-relay", "aw-syslog"].contains(name)
        {
            let words: Vec<_> = service.health.iter().map(|word| &**word).collect();
            wait_until(&format!("{name} is healthy"), || place.exec(name, &words).status.success());
        }
    }
    // As a browser asks for what the comments of the file name.
    for (name, port, page) in [("aw-tracker", 8080, "/"), ("aw-metrics", 9714, "/metrics")] {
        let get = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET {page} HTTP/1.1\\r\\nHost: localhost:{port}\\r\\nConnection: close\\r\\n\\r\\n' >&3; head -n 1 <&3"
        );
        let answered = || {
            let line = place.exec(name, &["bash", "-c", &get]).stdout;
            assert!(!line.contains(" 421 "), "{name}: {line}");
            line.contains(" 200 ")
        };
        wait_until(&format!("{name} answers"), answered);
    }

    // A new collector continues the ring; after all were removed, the history is still there.
    place.end("collector");
    place.start("collector", &of("collector"));
    wait_until("the new collector listens", || {
        assert!(place.running().contains("collector"), "{:?}", place.printed("collector"));
        listening(place)
    });
    sender.send(11..21);
    wait_until("all twenty are in the history", || devices(place) == 20);
    // aw-mysql has read its password; an unreadable file would have ended it.
    let started: BTreeSet<_> = all.iter().map(|(name, _)| String::from(*name)).collect();
    let errors = || all.iter().map(|(name, _)| place.printed(name)[1].clone()).collect::<Vec<_>>();
    assert_eq!(place.running(), started, "{:#?}", errors());
    for (name, _) in &all {
        place.end(name);
    }
    place.start("aw-sqlite", &of("aw-sqlite"));
    wait_until("the history remained", || devices(place) == 20);
}

/// What users put there, with a password, and what compose.yaml asks of them then.
fn settings(etc: &Path) {
    for name in ["alert.toml", "routeros.toml"] {
        fs::copy(Path::new(CONTRIB).join("deb").join(name), etc.join(name)).unwrap();
    }
    fs::write(etc.join("mysql.cnf"), "[client]\nhost = 127.0.0.1\nuser = x\npassword = secret\n")
        .unwrap();
    let text = fs::read_to_string(Path::new(CONTRIB).join("oci/compose.yaml")).unwrap();
    let asked = text.lines().find_map(|line| line.strip_prefix("#   sudo ")).unwrap();
    let asked = asked.replace("sudo ", "").replace(" etc", &format!(" {}", etc.display()));
    let mut command = Command::new("sh");
    command.args(["-ec", &asked]);
    run(command).ok();
}

/// What the places need of a service. A key that `new` does not know is a mistake in the file or needs a line there.
#[derive(Clone, Default)]
struct Service {
    command: Vec<String>,
    image: String,
    /// USER:GROUP; empty for root.
    user: String,
    /// Of the host; otherwise there is none here.
    in_network: bool,
    /// Messages name the host.
    of_host: bool,
    environment: Vec<(String, String)>,
    capabilities: Vec<String>,
    /// From, to, and whether it is read-only.
    volumes: Vec<(String, String, bool)>,
    tmpfs: Vec<String>,
    health: Vec<String>,
}

impl Service {
    fn new(name: &str, keys: &Value, etc: &Path) -> Service {
        let mut service = Service::default();
        for (key, value) in object(keys) {
            let texts = || -> Vec<String> {
                let values = value.as_array().unwrap_or_else(|| panic!("{name}: {key}"));
                values.iter().map(|value| string(value).into()).collect()
            };
            match &**key {
                "image" => service.image = string(value).into(),
                "command" => service.command = string(value).split(' ').map(String::from).collect(),
                "user" => service.user = string(value).into(),
                "network_mode" => service.in_network = string(value) == "host",
                "uts" => service.of_host = string(value) == "host",
                "cap_add" => service.capabilities = texts(),
                "tmpfs" => service.tmpfs = texts(),
                "environment" => {
                    let set = object(value).iter();
                    service.environment =
                        set.map(|(key, value)| (key.clone(), string(value).into())).collect();
                }
                "volumes" => {
                    for volume in texts() {
                        let parts: Vec<_> = volume.split(':').collect();
                        let from = parts[0].replace("./etc", text(etc));
                        let is_read_only = parts.get(2) == Some(&"ro");
                        service.volumes.push((from, parts[1].into(), is_read_only));
                    }
                }
                "healthcheck" => {
                    let words = value["test"].as_array().unwrap().iter().map(string);
                    service.health = words.skip(1).map(String::from).collect();
                }
                // Both places do so.
                "read_only" => assert_eq!(value, true),
                "cap_drop" => assert_eq!(texts(), ["ALL"]),
                "security_opt" => assert_eq!(texts(), ["no-new-privileges"]),
                "depends_on" => assert_eq!(
                    value["directories"]["condition"], "service_completed_successfully",
                    "{name}"
                ),
                "profiles" => assert_eq!(texts(), [name]),
                "restart" => assert_eq!(string(value), "unless-stopped"),
                "ports" => assert!(texts()[0].starts_with("127.0.0.1:"), "{name}"),
                _ => panic!("{name}: unknown key {key}"),
            }
        }
        service
    }
}

fn read(file: &Path) -> Value {
    let mut read = Command::new("/usr/bin/python3");
    read.args(["-c", READ, text(file)]);
    serde_json::from_str(&run(read).ok().stdout).unwrap()
}

/// The image has all users of the packages, and none without a fixed id.
#[test]
fn ids_of_the_image() {
    let users = |name: &str| -> Vec<(String, String)> {
        let text = fs::read_to_string(Path::new(CONTRIB).join(name)).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("u "));
        let words = lines.map(|line| line.split(' ').collect::<Vec<_>>());
        words.map(|words| (words[0].into(), words[1].into())).collect()
    };
    let (image, packages) = (users("oci/sysusers.conf"), users("sysusers.d/addrwatch.conf"));
    let names = |users: &[(String, String)]| -> BTreeSet<String> {
        users.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&image), names(&packages));
    let ids: BTreeSet<u32> =
        image.iter().map(|(_, id)| id.split(':').next().unwrap().parse().unwrap()).collect();
    assert_eq!(ids.len(), image.len());
}

fn object(value: &Value) -> &serde_json::Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("not a mapping: {value}"))
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The one child of `unshare`, seen from here: process 1 of a namespace.
fn child_of(unshare: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).ok()?.trim().parse().ok()
}

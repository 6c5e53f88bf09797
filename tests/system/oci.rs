//! The image and contrib/oci/compose.yaml: built with buildah on the Debian 13 of debootstrap, and run with podman, all services
//! of the file together, in a network of two. podman-compose of Debian 12 cannot start services with `network_mode`, so this test
//! calls podman with what the file says.
#![forbid(unsafe_code)]

use aw_tests::debian::{archive, packager};
use aw_tests::feed::FrameSender;
use aw_tests::lan::Lan;
use aw_tests::rig::{Finished, run, skip, wait_until};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const CONTRIB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib");

/// The file as JSON; without a variable set, each has its default.
const READ: &str = r#"
import json, re, sys, yaml
text = open(sys.argv[1]).read()
print(json.dumps(yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))))
"#;

#[test]
fn composed() {
    let Some(engine) = Engine::new() else { return };
    let Some(lan) = Lan::new() else { return };
    // The interface of the file's example.
    for step in ["veth0 down", "veth0 name eth0", "eth0 up"] {
        lan.here.ip(&format!("link set {step}"));
    }
    let image = match engine.image() {
        Ok(image) => image,
        Err(why) => return skip(&why),
    };
    let path = Path::new(CONTRIB).join("oci/compose.yaml");
    let mut read = Command::new("/usr/bin/python3");
    read.args(["-c", READ, text(&path)]);
    let composed: Value = serde_json::from_str(&run(read).ok().stdout).unwrap();
    for (name, volume) in object(&composed["volumes"]) {
        let options = volume.get("driver_opts").map(object).into_iter().flatten();
        let options = options.map(|(key, value)| format!("--opt={key}={}", string(value)));
        let all: Vec<_> = options.chain([name.clone()]).collect();
        engine
            .podman(
                &[&["volume", "create"], &*all.iter().map(|word| &**word).collect::<Vec<_>>()]
                    .concat(),
            )
            .ok();
    }
    // What users put there.
    let etc = engine.path("etc");
    fs::create_dir(&etc).unwrap();
    for name in ["alert.toml", "routeros.toml", "../mysql.cnf"] {
        let to = etc.join(Path::new(name).file_name().unwrap());
        fs::copy(Path::new(CONTRIB).join("deb").join(name), to).unwrap();
    }

    let services = object(&composed["services"]);
    let start = |name: &str| {
        let (_, service) = services.iter().find(|(service, _)| *service == name).unwrap();
        let arguments = arguments(name, service, &image, &etc);
        let mut command = engine.command("nsenter");
        command.arg(format!("--net=/run/netns/{}", lan.here.namespace())).arg("podman");
        command.args(["run", "--detach", "--name", name]).args(arguments);
        run(command).ok();
    };
    // Outputs wait for their collector.
    for (name, _) in services.iter().rev() {
        start(name);
    }
    let listening = || engine.podman(&["logs", "collector"]).stderr.contains("listening on eth0");
    wait_until("the collector listens", listening);
    let devices = || {
        let query = ["exec", "aw-sqlite", "aw-query", "--format", "csv", "devices"];
        engine.podman(&query).stdout.lines().count().saturating_sub(1)
    };
    let mut sender = FrameSender::on(&lan.there, "veth1");
    sender.send(1..11);
    wait_until("all ten are in the history", || devices() == 10);
    let printed = || engine.podman(&["logs", "aw-stdout"]).stdout.lines().count() == 10;
    wait_until("all ten are printed", printed);

    // All that runs has given up what it does not need, and no user is root.
    for (name, _) in services {
        let status = engine.podman(&["exec", name, "cat", "/proc/1/status"]).ok().stdout;
        let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
        let capabilities =
            if name == "collector" { "0000000000002000" } else { "0000000000000000" };
        assert_eq!(
            (of("CapEff:"), of("CapPrm:")),
            (capabilities, capabilities),
            "{name}: {status}"
        );
        assert!(!of("Uid:").starts_with('0'), "{name}: {status}");
    }
    for name in ["aw-sqlite", "aw-tracker", "aw-alert"] {
        engine.podman(&["exec", name, name, "--health"]).ok();
    }

    // A new collector continues the ring; after all were removed, the history is still there.
    engine.podman(&["rm", "--force", "collector"]).ok();
    start("collector");
    wait_until("the new collector listens", listening);
    sender.send(11..21);
    wait_until("all twenty are in the history", || devices() == 20);
    let running = engine.podman(&["ps", "--quiet"]).ok().stdout.lines().count();
    assert_eq!(running, services.len(), "{}", engine.podman(&["ps", "--all"]).stdout);
    engine.podman(&["rm", "--all", "--force"]).ok();
    start("aw-sqlite");
    wait_until("the history remained", || devices() == 20);
}

/// What podman gets for a service. A key that this does not know is a mistake in the file or needs a line here.
fn arguments(name: &str, service: &Value, image: &str, etc: &Path) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut network = "none"; // here is no bridge; podman's --publish needs one
    for (key, value) in object(service) {
        let each = |option: &str| -> Vec<String> {
            let values = value.as_array().unwrap_or_else(|| panic!("{name}: {key}")).iter();
            values.map(|value| format!("--{option}={}", string(value))).collect()
        };
        match &**key {
            "image" | "command" | "ports" | "restart" => {}
            "network_mode" => network = string(value),
            "user" | "hostname" => arguments.push(format!("--{key}={}", string(value))),
            "read_only" => arguments.push("--read-only".into()),
            "cap_drop" => arguments.extend(each("cap-drop")),
            "cap_add" => arguments.extend(each("cap-add")),
            "security_opt" => arguments.extend(each("security-opt")),
            "volumes" => arguments.extend(
                each("volume").into_iter().map(|volume| volume.replace("./etc", text(etc))),
            ),
            "environment" => {
                let set = object(value).iter();
                arguments.extend(set.map(|(key, value)| format!("--env={key}={}", string(value))));
            }
            _ => panic!("{name}: unknown key {key}"),
        }
    }
    arguments.extend([format!("--network={network}"), image.into()]);
    arguments.extend(string(&service["command"]).split(' ').map(String::from));
    arguments
}

/// podman and buildah with images, containers and volumes of their own.
struct Engine(TempDir);

impl Engine {
    fn new() -> Option<Engine> {
        let missing = ["buildah", "podman"]
            .into_iter()
            .find(|name| Command::new(name).arg("--version").output().is_err());
        if let Some(name) = missing {
            skip(&format!("there is no {name} here"));
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip("only root can send frames to a container");
            return None;
        }
        let engine = Engine(tempfile::tempdir().unwrap());
        let file = |name: &str, content: String| fs::write(engine.path(name), content).unwrap();
        let at = |name: &str| engine.path(name).display().to_string();
        // crun refuses machines with control groups of both versions, and no limit may exceed this machine's.
        let runtime = if Path::new("/usr/sbin/runc").exists() { "runc" } else { "crun" };
        file(
            "containers.conf",
            format!(
                "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\nruntime = \"{runtime}\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\ntmp_dir = \"{}\"\nvolume_path = \"{}\"\n[network]\nnetwork_config_dir = \"{}\"\n",
                at("tmp"),
                at("volumes"),
                at("networks"),
            ),
        );
        file(
            "storage.conf",
            format!(
                "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
                at("graph"),
                at("run")
            ),
        );
        Some(engine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn own(&self, command: &mut Command) {
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"));
        command.env("BUILDAH_ISOLATION", "chroot"); // needs no control groups
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.own(&mut command);
        command
    }

    fn podman(&self, arguments: &[&str]) -> Finished {
        let mut command = self.command("podman");
        command.args(arguments);
        run(command)
    }

    /// Builds it on this machine's Debian 13, or returns what is missing for that. Its name.
    fn image(&self) -> Result<String, String> {
        let base = archive("trixie-minimal")?;
        self.podman(&["import", "--quiet", text(&base), "localhost/debian"]).ok();
        let out = self.path("out");
        let mut command = packager("oci", &out, "0.1.0");
        self.own(&mut command);
        command.env("BASE", "localhost/debian");
        let built = command.output().map_err(|error| error.to_string())?;
        let printed = String::from_utf8_lossy(&built.stderr);
        if ["resolving", "resolve '", "connect to"].iter().any(|why| printed.contains(why)) {
            return Err(format!("apt has no network for an image: {}", printed.trim()));
        }
        assert!(built.status.success(), "{printed}");
        // What the release has is the same image: podman takes it from the file.
        let archive = String::from_utf8_lossy(&built.stdout);
        self.podman(&["rmi", "localhost/addrwatch-rs:0.1.0", "localhost/addrwatch-rs:latest"]).ok();
        self.podman(&["load", "--quiet", "--input", archive.trim()]).ok();
        let image = "localhost/addrwatch-rs:0.1.0";
        let mut ran = self.command("podman");
        ran.args(["run", "--rm", "--network=none", image, "collector", "--version"]);
        let ran = run(ran);
        if ran.stdout.trim() != "collector 0.1.0" {
            return Err(format!("podman cannot run containers here: {}", ran.stderr.trim()));
        }
        Ok(image.into())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for arguments in [["rm", "--all"], ["volume", "prune"]] {
            let _ = self.command("podman").args(arguments).arg("--force").output();
        }
        // podman's control groups; a group in use stays.
        let groups = ["/sys/fs/cgroup", "-depth", "-path", "*/libpod_parent*", "-type", "d"];
        let _ = Command::new("find").args(groups).args(["-exec", "rmdir", "{}", "+"]).output();
    }
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

//! podman and buildah with images, containers and volumes of their own, in namespaces that end with the test: so do their
//! containers and mounts, however the test ends.

use super::{Place, Service, child_of, text};
use aw_tests::debian::packager;
use aw_tests::lan::Lan;
use aw_tests::rig::{Finished, Run, run_patiently, wait_until};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use tempfile::TempDir;

/// As process 1, which waits for processes without a parent. podman's locks are in /dev/shm.
const HOLD: &str = "mount -t tmpfs -o mode=1777 none /dev/shm; echo ready; sleep infinity & wait";

pub struct Engine {
    directory: TempDir,
    holder: Run,
    network: String,
    group: String,
}

impl Engine {
    /// Builds the image on this Debian, or returns why podman cannot run here.
    pub fn new(lan: &Lan, base: &Path) -> Result<Engine, String> {
        let names = ["buildah", "podman"];
        let is_missing = |name: &&str| Command::new(name).arg("--version").output().is_err();
        if let Some(name) = names.into_iter().find(is_missing) {
            return Err(format!("there is no {name} here"));
        }
        let mut hold = Command::new("setpriv");
        hold.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork"]);
        hold.args(["--kill-child", "--mount-proc", "bash", "-ec", HOLD]);
        let holder = Run::start(hold);
        let ended = || holder.id() == 0 || child_of(holder.id()).is_none();
        wait_until("namespaces, or none", || holder.stdout.count() == 1 || ended());
        if holder.stdout.count() == 0 {
            return Err(format!("no namespaces here: {}", holder.stderr.text()));
        }
        let directory = tempfile::tempdir().unwrap();
        let group = format!("awt-oci-{}", id());
        let network = format!("/run/netns/{}", lan.here.namespace());
        let engine = Engine { directory, holder, network, group };
        engine.configure();
        // Whether it can run anything at all.
        let done = engine.podman(&["import", "--quiet", text(base), "localhost/debian"]);
        let own = engine.group_option();
        let ran =
            engine.podman(&["run", "--rm", "--network=none", &own, "localhost/debian", "true"]);
        for step in [done, ran] {
            if !step.status.success() {
                return Err(format!("podman cannot run containers: {}", step.stderr.trim()));
            }
        }
        engine.build();
        Ok(engine)
    }

    fn configure(&self) {
        let at = |name: &str| self.path(name).display().to_string();
        // crun refuses machines with control groups of both versions, and no limit may exceed this machine's.
        let runtime = if Path::new("/usr/sbin/runc").exists() { "runc" } else { "crun" };
        let containers = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\nruntime = \"{runtime}\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\ntmp_dir = \"{}\"\nvolume_path = \"{}\"\n[network]\nnetwork_config_dir = \"{}\"\n",
            at("tmp"),
            at("volumes"),
            at("networks"),
        );
        fs::write(self.path("containers.conf"), containers).unwrap();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            at("graph"),
            at("run")
        );
        fs::write(self.path("storage.conf"), storage).unwrap();
    }

    /// The archive of a release, from which podman takes the image under the name that compose.yaml has.
    fn build(&self) {
        let made = packager("oci", &self.path("out"), "0.1.0");
        let mut command = self.entered(&[]);
        command.arg(made.get_program()).args(made.get_args());
        command.envs(made.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.env("BASE", "localhost/debian");
        let archive = run_patiently(command).ok().stdout;
        self.podman(&["rmi", "--force", "ghcr.io/addrwatch-rs/addrwatch-rs:0.1.0"]).ok();
        self.podman(&["load", "--quiet", "--input", archive.trim()]).ok();
    }

    /// That of this version.
    pub fn compose_file(&self) -> PathBuf {
        let file = self.path("out/compose.yaml");
        let options = super::read(&file)["volumes"].clone();
        for (name, volume) in super::object(&options) {
            let options = volume.get("driver_opts").map(super::object).into_iter().flatten();
            let options =
                options.map(|(key, value)| format!("--opt={key}={}", super::string(value)));
            let all: Vec<_> = options.chain([name.clone()]).collect();
            let words = ["volume", "create"].into_iter().chain(all.iter().map(|word| &**word));
            self.podman(&words.collect::<Vec<_>>()).ok();
        }
        file
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn group_option(&self) -> String {
        format!("--cgroup-parent=/{}", self.group)
    }

    fn entered(&self, more: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let first = child_of(self.holder.id()).expect("it runs");
        command.args(["--target", &first.to_string(), "--mount", "--pid"]).args(more);
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"));
        command.env("BUILDAH_ISOLATION", "chroot"); // needs no control groups
        command
    }

    fn podman(&self, arguments: &[&str]) -> Finished {
        let mut command = self.entered(&["podman"]);
        command.args(arguments);
        run_patiently(command)
    }

    fn run(&self, name: &str, service: &Service, how: &[&str]) -> Finished {
        let mut command = self.entered(&[&format!("--net={}", self.network), "podman", "run"]);
        command.args(["--name", name, "--pull=never"]).args(how).arg(self.group_option());
        // --read-only-tmpfs: podman would mount what docker does not.
        command.args(["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL"]);
        command.arg("--security-opt=no-new-privileges");
        // Here is no bridge; podman's --publish needs one.
        command.arg(if service.in_network { "--network=host" } else { "--network=none" });
        if service.of_host {
            command.arg("--uts=host");
        }
        if !service.user.is_empty() {
            command.arg(format!("--user={}", service.user));
        }
        command.args(service.environment.iter().map(|(key, value)| format!("--env={key}={value}")));
        command.args(service.capabilities.iter().map(|name| format!("--cap-add={name}")));
        command.args(service.tmpfs.iter().map(|to| format!("--tmpfs={to}")));
        command.args(service.volumes.iter().map(|(from, to, is_read_only)| {
            format!("--volume={from}:{to}{}", if *is_read_only { ":ro" } else { "" })
        }));
        command.arg(&service.image).args(&service.command);
        run_patiently(command)
    }
}

impl Place for Engine {
    fn start(&mut self, name: &str, service: &Service) {
        self.run(name, service, &["--detach"]).ok();
    }

    fn once(&mut self, name: &str, service: &Service) -> Finished {
        self.run(name, service, &["--rm"])
    }

    fn exec(&self, name: &str, words: &[&str]) -> Finished {
        self.podman(&[&["exec", name], words].concat())
    }

    fn printed(&self, name: &str) -> [String; 2] {
        let logs = self.podman(&["logs", name]);
        [logs.stdout, logs.stderr]
    }

    fn end(&mut self, name: &str) {
        self.podman(&["rm", "--force", name]).ok();
    }

    fn running(&self) -> BTreeSet<String> {
        let names = self.podman(&["ps", "--format", "{{.Names}}"]).ok().stdout;
        names.lines().map(String::from).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if child_of(self.holder.id()).is_some() {
            let mut remove = self.entered(&["podman", "rm", "--all", "--force", "--time=0"]);
            let _ = remove.output();
        }
        // The control groups of these containers; a group in use stays.
        let own = format!("*/{}*", self.group);
        let groups = ["/sys/fs/cgroup", "-depth", "-path", &own, "-type", "d"];
        let _ = Command::new("find").args(groups).args(["-exec", "rmdir", "{}", "+"]).output();
    }
}

//! The services in a Debian with the package, each with namespaces and mounts of its own: what an engine would do.

use super::{CONTRIB, Place, Service, child_of, text};
use aw_tests::debian::Debian;
use aw_tests::lan::Lan;
use aw_tests::rig::{Finished, Run, program_at, run, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The first argument is the root, the second what to mount there, the others what to run there.
const ENTER: &str = r#"
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc none "$1/proc"
root=$1 mounts=$2
shift 2
eval "$mounts"
exec chroot "$root" "$@"
"#;

pub struct Chroot<'a> {
    lan: &'a Lan,
    debian: Debian,
    volumes: TempDir,
    services: BTreeMap<String, (Run, Vec<String>)>,
}

impl<'a> Chroot<'a> {
    pub fn new(lan: &'a Lan) -> Option<Chroot<'a>> {
        let roots = ["trixie-image", "trixie-depends", "bookworm-depends"];
        let debian = Debian::created_or_kept(&roots)?;
        debian.package("0.1.0");
        fs::copy(Path::new(CONTRIB).join("oci/sysusers.conf"), debian.path("root/sysusers.conf"))
            .unwrap();
        debian.sh("systemd-sysusers /root/sysusers.conf; dpkg -i /root/0.1.0.deb").ok();
        let volumes = tempfile::tempdir().unwrap();
        let rings = volumes.path().join("rings");
        fs::create_dir(&rings).unwrap();
        fs::set_permissions(&rings, Permissions::from_mode(0o1777)).unwrap();
        // A new volume has what the image has there.
        let state = debian.path("var/lib/addrwatch");
        let volume = volumes.path().join("state");
        let copy = ["-a", text(&state), text(&volume)];
        run(program_at("cp".into(), &copy)).ok();
        Some(Chroot { lan, debian, volumes, services: BTreeMap::new() })
    }

    fn mounts(&self, service: &Service) -> String {
        let mut script = String::new();
        for (from, to, is_read_only) in &service.volumes {
            let from = match from.starts_with('/') {
                true => PathBuf::from(from),
                false => self.volumes.path().join(from),
            };
            script += &format!("mount --bind '{}' \"$root{to}\"\n", from.display());
            if *is_read_only {
                script += &format!("mount -o remount,bind,ro \"$root{to}\"\n");
            }
        }
        for to in &service.tmpfs {
            script += &format!("mount -t tmpfs -o mode=1777 none \"$root{to}\"\n");
        }
        script
    }

    fn command(&self, service: &Service) -> Command {
        assert!(service.image.starts_with("ghcr.io/addrwatch-rs/addrwatch-rs:"));
        // It ends with the thread that starts it, and all its processes with it: the inner `unshare` is process 1 of the outer
        // namespace, and stays root. A process that becomes another user loses the signal.
        let mut command = match service.in_network {
            true => self.lan.here.command("setpriv"),
            false => Command::new("setpriv"),
        };
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork"]);
        command.args(["--kill-child", "unshare", "--pid", "--fork"]);
        if !service.of_host {
            command.arg("--uts");
        }
        let mut script = String::from(ENTER);
        if !service.in_network {
            command.arg("--net");
            script = format!("ip link set lo up\n{ENTER}");
        }
        command.args(["sh", "-ec", &script, "sh", text(&self.debian.path(""))]);
        command.arg(self.mounts(service)).args(user(service)).arg("env");
        let set = service.environment.iter().map(|(key, value)| format!("{key}={value}"));
        command.args(set).args(&service.command);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}

/// Process 1 of the inner namespace.
fn first_of(run: &Run) -> Option<u32> {
    child_of(child_of(run.id())?)
}

/// The program that gives up what the service does not have.
fn user(service: &Service) -> Vec<String> {
    let mut words: Vec<String> =
        ["setpriv", "--no-new-privs", "--inh-caps=-all"].map(String::from).to_vec();
    let kept = service.capabilities.iter().map(|name| format!(",+{}", name.to_lowercase()));
    words.push(format!("--bounding-set=-all{}", kept.collect::<String>()));
    if let Some((user, group)) = service.user.split_once(':') {
        words.extend([format!("--reuid={user}"), format!("--regid={group}")]);
        words.push("--clear-groups".into());
    }
    words
}

impl Place for Chroot<'_> {
    fn start(&mut self, name: &str, service: &Service) {
        let run = Run::start(self.command(service));
        self.services.insert(name.into(), (run, user(service)));
    }

    fn once(&mut self, _: &str, service: &Service) -> Finished {
        run(self.command(service))
    }

    fn exec(&self, name: &str, words: &[&str]) -> Finished {
        let (run_, user) = &self.services[name];
        run_.wait_until(name, || first_of(run_).is_some()); // it may have been started just now
        let first = first_of(run_).unwrap_or_else(|| panic!("{name}: {}", run_.stderr.text()));
        let mut command = Command::new("nsenter");
        command.args(["--target", &first.to_string(), "--mount", "--uts", "--net", "--pid"]);
        command.args(["--root", "--wd"]).args(user).args(words);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        run(command)
    }

    fn printed(&self, name: &str) -> [String; 2] {
        let (run, _) = &self.services[name];
        [run.stdout.text(), run.stderr.text()]
    }

    fn end(&mut self, name: &str) {
        let (run, _) = self.services.remove(name).unwrap();
        let first = first_of(&run).map(|first| PathBuf::from(format!("/proc/{first}")));
        run.kill();
        // With its locks.
        wait_until("its end", || first.as_ref().is_none_or(|first| !first.exists()));
    }

    fn running(&self) -> BTreeSet<String> {
        let runs = |(_, (run, _)): &(&String, &(Run, Vec<String>))| {
            fs::read_link(format!("/proc/{}/exe", run.id())).is_ok()
        };
        self.services.iter().filter(runs).map(|(name, _)| name.clone()).collect()
    }
}

//! A new Debian 12 or 13 in a directory: entered by a script, or booted, with Debian's systemd as
//! process 1 in new namespaces, so that no mount, process or interface is left behind.

use crate::lan::{Host, Lan};
use crate::rig::{Finished, PATIENCE, Run, TIMEOUT, binary, program_at, run, run_patiently, skip};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Created once, beside the build, because that takes a minute.
const CREATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debian");

/// What the package depends on or suggests, beyond debootstrap's minimum, and `ps` for the tests.
const DEPENDENCIES: &str = "systemd libpcap0.8 procps logrotate";

/// What contrib/oci installs, and what the package depends on.
const OF_THE_IMAGE: &str = "systemd-standalone-sysusers systemd-standalone-tmpfiles libpcap0.8";

/// `apt-get`, without questions and translations.
const APT: &str = "export DEBIAN_FRONTEND=noninteractive; apt() { apt-get -qy -o Acquire::Languages=none --no-install-recommends \"$@\"; }";

/// A root directory, removed with the test.
pub struct Debian(TempDir);

impl Debian {
    /// Creates a Debian 12 in which the package's dependencies are installed, or prints why the test is skipped.
    pub fn new() -> Option<Debian> {
        Debian::created("bookworm-depends")
    }

    /// Creates a Debian of this name (`bookworm`, `trixie`) as debootstrap leaves it. apt finds the package's dependencies in
    /// its cache, without a network.
    pub fn minimal(suite: &str) -> Option<Debian> {
        Debian::created(&format!("{suite}-minimal"))
    }

    /// Creates one of `archive`.
    pub fn created(name: &str) -> Option<Debian> {
        Debian::created_or_kept(&[name])
    }

    /// The same; where that cannot be created now, one of the others that an earlier test created.
    pub fn created_or_kept(names: &[&str]) -> Option<Debian> {
        if !rustix::process::geteuid().is_root()
            || Command::new("debootstrap").arg("--version").output().is_err()
        {
            skip("only root can make a clean Debian, with debootstrap");
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = |name: &&str| Some(kept(name)).filter(|path| path.exists());
        let found = archive(names[0]).or_else(|why| names.iter().find_map(kept).ok_or(why));
        match found {
            Ok(archive) => succeed("tar", &["-C", text(directory.path()), "-xpf", text(&archive)]),
            Err(why) => {
                skip(&format!("debootstrap could not make a Debian: {why}"));
                return None;
            }
        };
        Some(Debian(directory))
    }

    /// A file of it, seen from here.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a script there without booting it, with a new /dev/shm and /proc for the time of the script, and no network.
    pub fn sh(&self, script: &str) -> Finished {
        let mut command = Command::new("unshare");
        command.arg("--net");
        run_patiently(self.entered(command, script))
    }

    /// Runs such a script in this network until it is stopped.
    pub fn start(&self, host: &Host, script: &str) -> Run {
        Run::start(self.entered(host.command("unshare"), script))
    }

    fn entered(&self, mut command: Command, script: &str) -> Command {
        let root = self.0.path().display();
        let mounts = format!(
            "mount -t proc none {root}/proc; mkdir -p {root}/dev/shm; mount -t tmpfs -o mode=1777 none {root}/dev/shm; exec chroot {root} /bin/sh -ec \"$1\""
        );
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", &mounts]);
        command.args(["sh", script]);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// What `find` finds there by these tests, with paths as they are inside.
    pub fn find(&self, tests: &[&str]) -> Vec<String> {
        let found = succeed("find", &[&[text(self.0.path()), "-xdev"], tests].concat());
        let inside = |path: &str| path.strip_prefix(text(self.0.path())).map(String::from);
        found.lines().filter_map(inside).collect()
    }

    /// The files of this project, except for those that dpkg keeps of a package and the packages to install.
    pub fn ours(&self) -> Vec<String> {
        let mut found = self.find(&["(", "-name", "*addrwatch*", "-o", "-name", "aw-*", ")"]);
        found.retain(|path| !path.starts_with("/var/lib/dpkg/"));
        found
    }

    /// Copies a package of this version there, as /root/VERSION.deb. Not compressed, because it is used at once.
    pub fn package(&self, version: &str) {
        let built = package(&self.path("root"), version, "none");
        fs::rename(built, self.path(&format!("root/{version}.deb"))).expect("our own directory");
    }

    /// Boots it, or returns what this machine lacks for that.
    pub fn boot(&self) -> Result<Booted, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let lan = Lan::try_new()?;
        let group = format!("awt-{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // It ends with the thread that started it; its process 1 ends with `unshare`, and all others with process 1.
        let mut command = lan.here.command("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--ipc", "--uts"]);
        command.args(["sh", "-ec", PREPARE, "sh", text(self.0.path()), &group, BOOT]);
        let run = Run::start(command);
        // Created before it is known to run, so that nothing is left behind when it does not.
        let mut booted = Booted { lan, run: Some(run), first: 0, mount: self.path("mnt"), group };
        booted.wait().map(|()| booted)
    }
}

/// With new mounts: a control group for the booted system, which sees no other group.
const PREPARE: &str = r#"
mount -t cgroup2 none "$1/mnt"
mkdir "$1/mnt/$2"
echo $$ >"$1/mnt/$2/cgroup.procs"
umount "$1/mnt"
exec unshare --cgroup --pid --fork --kill-child sh -ec "$3" sh "$1"
"#;

/// As process 1: prepares what a kernel, an initrd or a container manager would (systemd.io/CONTAINER_INTERFACE).
/// Settings without a namespace, as most of the kernel's are, are read-only.
const BOOT: &str = r#"
cd "$1"
mount --bind . .
cd "$1"
mount -t proc none proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro none sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 none run
mount -t tmpfs -o mode=755 none dev
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 none dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620 none dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for name in null zero full random urandom tty; do
  touch dev/$name
  mount --bind /dev/$name dev/$name
done
pivot_root . mnt
exec chroot . sh -ec 'umount -l /mnt; exec env -i container=test /lib/systemd/systemd --log-target=console --show-status=no'
"#;

/// A running Debian.
pub struct Booted {
    /// `here` is its network, `there` another machine's.
    pub lan: Lan,
    /// `unshare`, whose one child is process 1; until it is killed.
    run: Option<Run>,
    /// That child, seen from here.
    first: u32,
    /// Where its control group can be seen, and its name.
    mount: PathBuf,
    group: String,
}

impl Booted {
    /// Until all is started that starts at boot.
    fn wait(&mut self) -> Result<(), String> {
        let unshare = self.run.as_ref().expect("it was started");
        let give_up = Instant::now() + TIMEOUT;
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        while Instant::now() < give_up {
            sleep(Duration::from_millis(20));
            if fs::read_link(format!("/proc/{}/exe", unshare.id())).is_err() {
                break; // it has ended
            }
            let Ok(child) = fs::read_to_string(&children) else { break };
            let Ok(first) = child.trim().parse() else { continue };
            self.first = first;
            let state = self.sh("systemctl is-system-running").stdout;
            if ["running", "degraded"].contains(&state.trim()) {
                return Ok(());
            }
        }
        let unshare = self.run.take().expect("it was started");
        let console = [unshare.stdout.text(), unshare.stderr.text()].concat();
        Err(format!("systemd did not boot: {}", console.trim()))
    }

    /// Runs a script inside.
    pub fn sh(&self, script: &str) -> Finished {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--all", "bash", "-ec", script]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        run(command)
    }

    /// The same; returns its output, if it succeeds.
    #[track_caller]
    pub fn ask(&self, script: &str) -> String {
        self.sh(script).ok().stdout
    }
}

impl Drop for Booted {
    /// Like a power cut. A group can be removed when it has no processes left.
    fn drop(&mut self) {
        if let Some(first) = Pid::from_raw(self.first as i32) {
            let _ = kill_process(first, Signal::KILL);
        }
        drop(self.run.take());
        let remove = r#"mount -t cgroup2 none "$1"; cd "$1"
            for _ in $(seq 200); do
              [ -d "$2" ] || exit 0
              find "$2" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
            done; echo "$2 has processes still" >&2"#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", remove, "sh", text(&self.mount), &self.group]);
        let _ = command.status();
    }
}

/// The package of this build's programs, in this version, made in this directory.
pub fn package(out: &Path, version: &str, compression: &str) -> PathBuf {
    packaged("deb", out, version, compression)
}

/// The same of another kind: a directory in contrib.
pub fn packaged(kind: &str, out: &Path, version: &str, compression: &str) -> PathBuf {
    let mut command = packager(kind, out, version);
    command.env("COMPRESSION", compression);
    run_patiently(command).ok().stdout.trim().into()
}

/// The command that makes it and prints its path.
pub fn packager(kind: &str, out: &Path, version: &str) -> Command {
    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let makefile = fs::read_to_string(format!("{ROOT}/Makefile")).expect("our own tree");
    let line = makefile.lines().find_map(|line| line.strip_prefix("PROGRAMS = "));
    let mut command = Command::new(format!("{ROOT}/contrib/{kind}/build.sh"));
    command.arg(binary("collector").parent().expect("a directory")).arg(out);
    command.args(line.expect("a line of them").split(' ')).env("VERSION", version);
    command
}

/// The tar of a Debian, `SUITE-minimal`, `SUITE-depends` or `SUITE-image`: created by the test that needs it first.
pub fn archive(name: &str) -> Result<PathBuf, String> {
    let path = kept(name);
    fs::create_dir_all(CREATED).expect("our own build");
    let lock = File::create(path.with_added_extension("lock")).expect("our own build");
    lock.lock().expect("another test makes it now");
    if !path.exists() {
        create(name, &path)?;
    }
    Ok(path)
}

fn kept(name: &str) -> PathBuf {
    Path::new(CREATED).join(format!("{name}.tar"))
}

fn create(name: &str, archive_path: &Path) -> Result<(), String> {
    let made = tempfile::tempdir().expect("a temporary directory");
    let root = made.path().join("root");
    let (suite, kind) = name.split_once('-').expect("a suite and a kind");
    if kind == "minimal" {
        let mut debootstrap = unshare();
        debootstrap.args(["debootstrap", "--variant=minbase", suite, text(&root)]);
        completed(debootstrap)?;
        chrooted(
            &root,
            &format!(
                "apt clean; apt update; apt install --download-only {DEPENDENCIES}; apt install --download-only {OF_THE_IMAGE}"
            ),
        )?;
    } else {
        fs::create_dir(&root).expect("a temporary directory");
        succeed("tar", &["-C", text(&root), "-xpf", text(&archive(&format!("{suite}-minimal"))?)]);
        let packages = if kind == "image" { OF_THE_IMAGE } else { DEPENDENCIES };
        chrooted(&root, &format!("apt install {packages}; apt clean"))?;
    }
    let new = archive_path.with_added_extension("new");
    let compiled = "--exclude=./var/cache/apt/*.bin"; // apt writes these again, of its lists
    succeed("tar", &["-C", text(&root), "--one-file-system", compiled, "-cf", text(&new), "."]);
    fs::rename(new, archive_path).expect("our own build");
    Ok(())
}

/// A command in a process with its own mounts, so that none is left behind. A mirror may stall.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "timeout", "--kill-after=5", &PATIENCE.as_secs().to_string()]);
    command
}

fn chrooted(root: &Path, script: &str) -> Result<(), String> {
    let mut command = unshare();
    command.args(["chroot", text(root), "sh", "-ec", &format!("{APT}; {script}")]);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    completed(command)
}

/// Runs it; its last line, if it fails.
fn completed(mut command: Command) -> Result<(), String> {
    let finished = command.output().map_err(|error| error.to_string())?;
    match finished.status.code() {
        Some(0) => return Ok(()),
        Some(124 | 137) => return Err(format!("no end after {} s", PATIENCE.as_secs())),
        _ => {}
    }
    let output = [finished.stdout, finished.stderr].concat();
    Err(String::from_utf8_lossy(&output).lines().last().unwrap_or_default().into())
}

fn succeed(name: &str, arguments: &[&str]) -> String {
    run_patiently(program_at(name.into(), arguments)).ok().stdout
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

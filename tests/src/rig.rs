//! Runs the real binaries: processes that end with the test, waits for their output. Every wait has a timeout, so that a broken
//! product fails a test and never hangs it; no test asserts on time.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// The timeout of every wait: a limit for failures, not a promise of speed. What takes a second takes a minute where eight others
/// compute on two processors that are four times slower.
pub const TIMEOUT: Duration = Duration::from_secs(180);

/// The limit of what unpacks, installs or moves a whole system.
pub const PATIENCE: Duration = Duration::from_secs(900);

/// The path of a binary of this build: beside this one, or beside the directory of the test executables. Panics if it
/// has to be built first: a test never runs a program that is older than its sources.
pub fn binary(name: &str) -> PathBuf {
    built(name)
}

/// The path of an example of this build.
pub fn example(name: &str) -> PathBuf {
    built(&format!("examples/{name}"))
}

fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its path");
    let directory = test.parent().expect("target/<profile>/bench or target/<profile>/deps/<test>");
    let tests = directory.ends_with("deps");
    let profile = if tests { directory.parent().expect("target/<profile>") } else { directory };
    let path = profile.join(name);
    static CHECKED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    if !checked.contains(&path) {
        current(&path, time_of_build()).unwrap_or_else(|why| {
            panic!("{why}: run `cargo build --workspace --bins --examples` first")
        });
        checked.push(path.clone());
    }
    path
}

/// When tests/run.sh built all programs, in seconds since 1970; ignored after two hours, which no run takes.
fn time_of_build() -> Option<SystemTime> {
    let seconds = std::env::var("AW_TEST_BUILT").ok()?.parse().ok()?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    time.elapsed().is_ok_and(|age| age < Duration::from_secs(7200)).then_some(time)
}

/// Checks that a program is there and that none of its sources changed since it was built. Cargo lists them beside it,
/// in PROGRAM.d: `PROGRAM: SOURCE SOURCE...`, with a backslash before a space in a name. Edits after the time `all_built`,
/// while tests run, are ignored.
fn current(program: &Path, all_built: Option<SystemTime>) -> Result<(), String> {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let Ok(built) = modified(program) else {
        return Err(format!("{} is missing", program.display()));
    };
    let list = program.with_added_extension("d");
    let text =
        std::fs::read_to_string(&list).map_err(|why| format!("{}: {why}", list.display()))?;
    let sources = text.split_once(": ").map_or("", |(_, sources)| sources).trim_end();
    for source in sources.replace("\\ ", "\0").split(' ') {
        let source = PathBuf::from(source.replace('\0', " "));
        let how = match modified(&source) {
            Ok(changed) if changed <= built || all_built.is_some_and(|all| changed > all) => {
                continue;
            }
            Ok(_) => "is older than",
            Err(_) if all_built.is_some() => continue,
            Err(_) => "was built from a file that is gone:",
        };
        return Err(format!("{} {how} {}", program.display(), source.display()));
    }
    Ok(())
}

/// A command that runs one of the product's binaries.
pub fn program(name: &str, arguments: &[&str]) -> Command {
    program_at(binary(name), arguments)
}

/// A command that runs a program.
pub fn program_at(path: PathBuf, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments);
    command
}

/// The output of a process to one stream, so far.
#[derive(Clone, Default)]
pub struct Written(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Written {
    fn read(stream: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let written = Written::default();
        let sink = written.clone();
        let reader = std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut bytes = Vec::new();
            while stream.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let line = String::from_utf8_lossy(&bytes).into_owned();
                sink.0.0.lock().unwrap().lines.push(line);
                sink.0.1.notify_all();
                bytes.clear();
            }
            sink.0.0.lock().unwrap().ended = true;
            sink.0.1.notify_all();
        });
        (written, reader)
    }

    /// All lines, with line ends.
    pub fn text(&self) -> String {
        self.0.0.lock().unwrap().lines.concat()
    }

    /// The number of lines.
    pub fn count(&self) -> usize {
        self.0.0.lock().unwrap().lines.len()
    }

    /// Waits until `found` returns a value for the lines; panics at the end of the stream or after the timeout.
    pub fn wait_until<T>(&self, what: &str, mut found: impl FnMut(&[String]) -> Option<T>) -> T {
        let give_up = Instant::now() + TIMEOUT;
        let mut state = self.0.0.lock().unwrap();
        loop {
            if let Some(value) = found(&state.lines) {
                return value;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let how = if state.ended { "the output ended" } else { "the timeout expired" };
                let text = state.lines.concat();
                drop(state);
                panic!("waited for {what}, but {how}; written so far:\n{text}");
            }
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for a line that contains this text, and returns it without its end.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |lines| lines.iter().find(|line| line.contains(text)).cloned())
            .trim_end()
            .to_owned()
    }

    /// Waits for that many lines.
    pub fn wait_for_lines(&self, count: usize) {
        self.wait_until(&format!("{count} lines"), |lines| (lines.len() >= count).then_some(()));
    }
}

/// Whether this is the name of a program of the product that runs until a signal ends it.
fn is_ours(name: &str) -> bool {
    name == "collector" || name.starts_with("aw-") && name != "aw-query"
}

/// A running process; killed when dropped.
pub struct Run {
    child: Child,
    /// Its standard input, until it is taken.
    pub stdin: Option<ChildStdin>,
    /// Its standard output.
    pub stdout: Written,
    /// Its standard error.
    pub stderr: Written,
    readers: Vec<JoinHandle<()>>,
    /// Its command is that of another program, which executes one of ours.
    starts_ours: bool,
}

impl Run {
    /// Starts it with pipes as its three streams.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let stdin = child.stdin.take();
        let (stdout, out) = Written::read(child.stdout.take().expect("piped"));
        let (stderr, err) = Written::read(child.stderr.take().expect("piped"));
        let starts_ours = command.get_args().map(OsStr::to_string_lossy).any(|words| {
            words
                .split_whitespace()
                .any(|word| word.rsplit_once('/').is_some_and(|it| is_ours(it.1)))
        });
        Run { child, stdin, stdout, stderr, readers: vec![out, err], starts_ours }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child can be waited for").is_some()
    }

    /// Waits until `so` returns true; panics with all output of the process if it ends first, or after the timeout.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let give_up = Instant::now() + TIMEOUT;
        let id = WaitId::Pid(Pid::from_child(&self.child));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while !so() {
            let ended = waitid(id.clone(), options).expect("our own child can be waited for");
            assert!(
                ended.is_none() && Instant::now() < give_up,
                "waited for {what}, but {}; stdout:\n{}\nstderr:\n{}",
                if ended.is_some() { "the process ended" } else { "the timeout expired" },
                self.stdout.text(),
                self.stderr.text()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The process id of its child, which it starts by itself.
    #[track_caller]
    pub fn child_process(&self) -> u32 {
        let parent = self.id().to_string();
        let is_child = |id: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // The name of the program, in parentheses, may contain anything.
            let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
            fields.and_then(|mut fields| fields.nth(1)) == Some(&parent)
        };
        let mut id = None;
        self.wait_until("it has a child process", || {
            let entries = std::fs::read_dir("/proc").expect("a system file");
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            id = names.filter_map(|name| name.parse().ok()).find(is_child);
            id.is_some()
        });
        id.expect("it was found")
    }

    /// Sends it a signal. One that ends a process without a handler is sent when the handler is there: a program registers it a
    /// moment after its start. Programs of others may never do: they get it after two seconds.
    pub fn signal(&self, signal: Signal) {
        if [Signal::TERM, Signal::INT, Signal::HUP].contains(&signal) {
            let begun = Instant::now();
            let longest =
                || match self.status().lines().next().and_then(|it| it.strip_prefix("Name:\t")) {
                    Some(name) if is_ours(name) => TIMEOUT,
                    _ if self.starts_ours => Duration::from_secs(20),
                    _ => Duration::from_secs(2),
                };
            while !self.catches(signal) && begun.elapsed() < longest() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        kill_process(Pid::from_child(&self.child), signal).expect("our own child can be signalled");
        if signal == Signal::STOP {
            self.wait_until("it stands still", || self.status().contains("State:\tT"));
        }
    }

    /// What the kernel says of it.
    fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default()
    }

    /// Whether it has a handler for this signal, ignores it, or has ended.
    fn catches(&self, signal: Signal) -> bool {
        let status = self.status();
        let has = |name: &str| {
            let set = status.lines().find_map(|line| line.strip_prefix(name))?;
            let set = u64::from_str_radix(set.trim(), 16).ok()?;
            Some(set >> (signal.as_raw() - 1) & 1 == 1)
        };
        has("SigCgt:").is_none_or(|caught| caught || has("SigIgn:") == Some(true))
            || status.contains("State:\tZ")
    }

    /// Waits for its end and for all its output.
    pub fn finish(self) -> Finished {
        self.finish_within(TIMEOUT)
    }

    fn finish_within(mut self, limit: Duration) -> Finished {
        drop(self.stdin.take());
        let give_up = Instant::now() + limit;
        let status = loop {
            match self.child.try_wait().expect("our own child can be waited for") {
                Some(status) => break status,
                None if Instant::now() < give_up => std::thread::sleep(Duration::from_millis(2)),
                None => panic!(
                    "it did not end; stdout:\n{}\nstderr:\n{}",
                    self.stdout.text(),
                    self.stderr.text()
                ),
            }
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader thread does not panic");
        }
        Finished { status, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(self) -> Finished {
        self.signal(Signal::TERM);
        self.finish()
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(self) -> Finished {
        self.signal(Signal::KILL);
        self.finish()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Finished {
    /// Panics unless it exited with 0; returns itself.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status.code(), Some(0), "{self:#?}");
        self
    }

    /// Panics unless it exited with 1 and printed one line on standard error, `program: ...`, with each of these texts; returns
    /// itself.
    #[track_caller]
    pub fn refused(self, program: &str, texts: &[&str]) -> Self {
        assert_eq!(self.status.code(), Some(1), "{self:#?}");
        let own = format!("{program}: ");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert!(
            lines.len() == 1 && lines[0].starts_with(&own),
            "one line `{own}...` was expected: {self:#?}"
        );
        for text in texts {
            assert!(lines[0].contains(text), "{text:?} is not in: {}", lines[0]);
        }
        self
    }
}

impl Finished {
    /// Panics unless it exited with 1 and printed on standard output one line, `aw-stdout: ...`, with each of these
    /// texts, and nothing on standard error: what monitoring programs expect.
    #[track_caller]
    pub fn unhealthy(self, texts: &[&str]) -> Self {
        self.unhealthy_of("aw-stdout", texts)
    }

    /// The same of another program.
    #[track_caller]
    pub fn unhealthy_of(self, program: &str, texts: &[&str]) -> Self {
        let streams = (self.status.code(), self.stdout.lines().count(), self.stderr.as_str());
        assert_eq!(streams, (Some(1), 1, ""), "{self:#?}");
        assert!(self.stdout.starts_with(&format!("{program}: ")), "{self:#?}");
        for text in texts {
            assert!(self.stdout.contains(text), "{text:?} is not in: {}", self.stdout);
        }
        self
    }
}

/// Runs it to its end with this standard input.
pub fn run_with(command: Command, input: &[u8]) -> Finished {
    let mut run = Run::start(command);
    let mut stdin = run.stdin.take().expect("piped");
    let input = input.to_vec();
    // In a thread, because the input may be larger than a pipe; the process need not read all of it.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let finished = run.finish();
    feeder.join().expect("the feeder does not panic");
    finished
}

/// Runs it to its end with no input.
pub fn run(command: Command) -> Finished {
    run_with(command, &[])
}

/// The same for what moves a whole system.
pub fn run_patiently(command: Command) -> Finished {
    Run::start(command).finish_within(PATIENCE)
}

/// Waits until `so` returns true; panics after the timeout.
#[track_caller]
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let give_up = Instant::now() + TIMEOUT;
    while !so() {
        assert!(Instant::now() < give_up, "the timeout expired before {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A directory that all users can read, with copies of these binaries: an unprivileged user may have no access to the
/// build directory.
pub fn public_copy(names: &[&str]) -> TempDir {
    let directory = tempfile::tempdir_in("/tmp").expect("a temporary directory");
    let open = Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).expect("our own directory can be opened");
    for name in names {
        // By another process: if a thread forks while this process has the copy open for writing, the child has it open, too,
        // and the copy cannot be executed ("text file busy").
        run({
            let mut copy = Command::new("cp");
            copy.arg(binary(name)).arg(directory.path());
            copy
        })
        .ok();
    }
    directory
}

/// Prints, past the capture of the test harness, that a test was skipped; in CI that is a failure.
pub fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must run this test, but: {why}");
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {}: {why}", thread.name().unwrap_or("test"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn a_program_older_than_a_source_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        let now = SystemTime::now();
        let age = |name: &str, seconds: u64| {
            let file = File::options().append(true).create(true).open(path(name)).expect("ours");
            file.set_modified(now - Duration::from_secs(seconds)).expect("ours");
        };
        assert!(current(&path("aw-x"), None).expect_err("no program").ends_with("aw-x is missing"));
        age("aw-x", 20);
        let root = directory.path().display();
        fs::write(path("aw-x.d"), format!("{root}/aw-x: {root}/main.rs {root}/a\\ b.rs\n"))
            .expect("ours");
        age("main.rs", 30);
        assert!(current(&path("aw-x"), None).expect_err("no source").ends_with("a b.rs"));
        age("a b.rs", 20);
        assert_eq!(current(&path("aw-x"), None), Ok(()));
        age("a b.rs", 10);
        let older = format!("{root}/aw-x is older than {root}/a b.rs");
        assert_eq!(current(&path("aw-x"), None), Err(older.clone()));
        let ago = |seconds| Some(now - Duration::from_secs(seconds));
        assert_eq!(current(&path("aw-x"), ago(15)), Ok(()), "edited after the build");
        assert_eq!(current(&path("aw-x"), ago(5)), Err(older), "edited before the build");
    }
}

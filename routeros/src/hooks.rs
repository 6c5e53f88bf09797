//! Hooks: programs that are started after a change or after a commit, such as `git push`.
//!
//! The daemon itself can start no program: its sandbox forbids it. So it starts a second process of this program before it
//! gives up its privileges, with the same user, which starts the hooks, and nothing but them: see `process.rs`. The daemon
//! passes each change through a pipe and never waits for a hook.

mod process;
mod program;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use aw_service::{Condition, Error, Identity, failed, info};
use serde::{Deserialize, Serialize};

pub use self::process::run_process;
use crate::{config::Config, recorder::lock};

/// Changes that wait for their hooks, and the bytes of their texts. Further ones are counted and start none.
const MAX_WAITING: usize = 1000;
const MAX_BYTES: usize = 16 << 20;
/// Different failures of a hook that are reported until it works again, at most.
const MAX_FAILURES: usize = 8;
/// How long the end of the daemon waits for hooks that run.
const FINISH: Duration = Duration::from_secs(5);

/// A program with its arguments: a list, or a text that is split at blanks.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "TextOrWords")]
pub struct HookCommand(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrWords {
    Text(String),
    Words(Vec<String>),
}

impl TryFrom<TextOrWords> for HookCommand {
    type Error = String;

    fn try_from(command: TextOrWords) -> Result<HookCommand, String> {
        let words = match command {
            TextOrWords::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            TextOrWords::Words(words) => words,
        };
        let program = words.first().map_or("", String::as_str);
        if program.is_empty() || program.contains('/') && !program.starts_with('/') {
            return Err(format!(
                "hook {program:?}: must be a name in PATH or an absolute path (a text is split at blanks)"
            ));
        }
        Ok(HookCommand(words))
    }
}

/// What the process that starts hooks is given first.
#[derive(Debug, Deserialize, Serialize)]
struct HookSetup {
    /// First those that are started after changes, then those after commits.
    hooks: Vec<Vec<String>>,
    /// The number of the first ones.
    of_changes: usize,
    /// Seconds after which a hook is killed.
    timeout: u64,
    /// Environment variables of all hooks.
    variables: Vec<(String, String)>,
}

/// A change or a commit, for its hooks.
#[derive(Debug, Deserialize, Serialize)]
pub struct HookEvent {
    pub is_commit: bool,
    /// Environment variables.
    pub variables: Vec<(String, String)>,
    /// The standard input, with secrets masked.
    pub text: String,
}

/// The end of a hook, by its number.
#[derive(Debug, Deserialize, Serialize)]
struct HookResult {
    hook: usize,
    failure: Option<String>,
}

pub struct HookPipes {
    to: ChildStdin,
    from: ChildStdout,
}

/// Starts the process that starts hooks, if there are any. Call it before privileges are dropped.
pub fn start(
    config: &Config,
    identity: Option<&Identity>,
    background: bool,
) -> Result<Option<HookPipes>, Error> {
    if config.hooks.is_empty() && config.commit_hooks.is_empty() {
        return Ok(None);
    }
    let failure = |error| Error::io("start the process that starts hooks", error);
    let mut command = Command::new("/proc/self/exe");
    command.arg("--hook-process").stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/");
    if background {
        command.stderr(Stdio::null()); // the terminal is left
    }
    let notifications = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"].map(str::to_owned);
    let secrets = config.mail.iter().flat_map(|mail| mail.secret_variables());
    for name in notifications.iter().chain(secrets) {
        command.env_remove(name);
    }
    command.process_group(0); // Ctrl-C ends the daemon, which then closes the pipe
    if let Some(Identity { user, group, .. }) = identity {
        command.uid(user.as_raw()).gid(group.as_raw());
    }
    let mut child = command.spawn().map_err(failure)?;
    let (Some(mut to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(failed("start the process that starts hooks: no pipes"));
    };
    let git = config.git.as_ref().map(|path| ("GIT_DIR".into(), path.display().to_string()));
    let setup = HookSetup {
        hooks: config.hooks.iter().chain(&config.commit_hooks).map(|hook| hook.0.clone()).collect(),
        of_changes: config.hooks.len(),
        timeout: config.hook_timeout,
        variables: git.into_iter().collect(),
    };
    let line = serde_json::to_string(&setup).unwrap_or_default();
    writeln!(to, "{line}").map_err(failure)?;
    Ok(Some(HookPipes { to, from }))
}

/// The hooks as the daemon uses them.
pub struct Hooks {
    to: SyncSender<(usize, Vec<u8>)>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    results: Mutex<Receiver<HookResult>>,
    /// The names of the programs.
    names: Vec<String>,
    faults: Mutex<Faults>,
}

#[derive(Default)]
struct Faults {
    /// The reported failures of hooks that fail, by number.
    failing: BTreeMap<usize, BTreeSet<String>>,
    /// There are too many changes, of which so many started no hook.
    full: Condition,
    lost: u64,
    ended: Condition,
}

impl Hooks {
    /// Call it after privileges are dropped, because it starts threads.
    pub fn new(pipes: HookPipes, config: &Config) -> Result<Hooks, Error> {
        let failure = |error| Error::io("start a thread for hooks", error);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (to, events) = sync_channel::<(usize, Vec<u8>)>(MAX_WAITING);
        let (mut pipe, left) = (pipes.to, Arc::clone(&waiting));
        let write = move || {
            for (bytes, line) in events {
                let written = pipe.write_all(&line);
                left.fetch_sub(bytes, Relaxed);
                if written.is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("hooks".into()).spawn(write).map_err(failure)?;
        let (send, results) = channel();
        let lines = BufReader::new(pipes.from).lines().map_while(Result::ok);
        let read = move || {
            let mut results = lines.filter_map(|line| serde_json::from_str(&line).ok());
            results.try_for_each(|result| send.send(result)).ok()
        };
        thread::Builder::new().name("hook results".into()).spawn(read).map_err(failure)?;
        let name = |command: &HookCommand| command.0.first().cloned().unwrap_or_default();
        let names = config.hooks.iter().chain(&config.commit_hooks).map(name).collect();
        let (results, faults) = (Mutex::new(results), Mutex::default());
        Ok(Hooks { to, waiting, results, names, faults })
    }

    /// Starts the hooks of a change or of a commit, without waiting for them.
    pub fn run(&self, event: &HookEvent) {
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        let bytes = line.len();
        let fits = self.waiting.fetch_add(bytes, Relaxed) + bytes <= MAX_BYTES;
        if !fits || self.to.try_send((bytes, line)).is_err() {
            self.waiting.fetch_sub(bytes, Relaxed);
            lock(&self.faults).lost += 1;
        }
    }

    /// Faults that were not reported yet; to be called about once a second. The end of each is logged.
    pub fn faults(&self) -> Vec<String> {
        let (results, faults) = (lock(&self.results), &mut *lock(&self.faults));
        let mut reports = Vec::new();
        let ended = loop {
            match results.try_recv() {
                Ok(HookResult { hook, failure }) => {
                    let Some(name) = self.names.get(hook) else { continue };
                    match failure {
                        Some(why) => {
                            let known = faults.failing.entry(hook).or_default();
                            if known.len() < MAX_FAILURES && known.insert(kind(&why)) {
                                reports.push(format!("hook {name}: {why}"));
                            }
                        }
                        None if faults.failing.remove(&hook).is_some() => {
                            info(format_args!("hook {name}: works again"));
                        }
                        None => {}
                    }
                }
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        if ended && faults.ended.set("") {
            reports.push(
                "the process that starts hooks has ended: no hook is started (restart aw-routeros)"
                    .into(),
            );
        } else if !ended && faults.lost > 0 && faults.full.set("") {
            reports.push(
                "hooks: they take too long, so that changes start none until others have ended"
                    .into(),
            );
        } else if faults.lost > 0 && self.waiting.load(Relaxed) == 0 && faults.full.clear() {
            info(format_args!("hooks: changes that started none: {}", faults.lost));
            faults.lost = 0;
        }
        reports
    }

    /// Waits for hooks that run, for a short time.
    pub fn finish(self) {
        drop(self.to);
        let (results, end) = (lock(&self.results), Instant::now() + FINISH);
        while !matches!(
            results.recv_timeout(end.saturating_duration_since(Instant::now())),
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout)
        ) {}
    }
}

/// A failure without the numbers of its message, such as a time, which do not make it another one. The status stays.
fn kind(why: &str) -> String {
    let (status, message) = why.split_at(why.floor_char_boundary(16));
    status.to_owned() + &message.replace(|c: char| c.is_ascii_digit(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_failures() {
        let same = |a, b| kind(a) == kind(b);
        assert!(same("exit status: 1: 10:00:01 no way", "exit status: 1: 11:30:00 no way"));
        assert!(!same("exit status: 126: no", "exit status: 127: no"));
        assert!(!same("no such file or directory", "permission denied"));
    }

    #[test]
    fn commands() {
        let parse = |text: &str| {
            let value: toml::Value = toml::from_str(&format!("hook = {text}")).unwrap();
            value["hook"].clone().try_into::<HookCommand>().map(|command| command.0)
        };
        assert_eq!(parse("\"git push\"").unwrap(), ["git", "push"]);
        assert_eq!(parse("[\"/bin/sh\", \"-c\", \"a b\"]").unwrap(), ["/bin/sh", "-c", "a b"]);
        for text in ["\"\"", "[]", "\"./x\"", "\"bin/x\""] {
            assert!(parse(text).unwrap_err().to_string().contains("absolute path"), "{text}");
        }
    }
}

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

use aw_service::{Condition, Error, Identity, failed, wait_for_helper};
use serde::{Deserialize, Serialize};

pub use self::process::run_process;
use self::program::unusable;
use crate::{access::own_name, config::Config, recorder::lock};

/// Changes that wait for their hooks, and the bytes of their texts. Further ones are counted and start none.
const MAX_WAITING: usize = 1000;
const MAX_BYTES: usize = 16 << 20;
/// Different failures of a hook that are reported until it works again, at most.
const MAX_FAILURES: usize = 8;
const ENDED: &str =
    "the process that starts hooks has ended: no hook is started (restart aw-routeros)";
const FULL: &str = "hooks: they take too long, so that changes start none until others have ended (hook_timeout limits each)";
/// How long the end of the daemon waits for hooks that run.
const FINISH: Duration = Duration::from_secs(5);

/// A program with its arguments: a list, or a text that is split at blanks.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "TextOrWords")]
pub struct HookCommand {
    pub words: Vec<String>,
    /// It was a text.
    is_text: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrWords {
    Text(String),
    Words(Vec<String>),
}

impl TryFrom<TextOrWords> for HookCommand {
    type Error = String;

    fn try_from(command: TextOrWords) -> Result<HookCommand, String> {
        let (words, is_text): (Vec<_>, _) = match command {
            TextOrWords::Text(text) => (text.split_whitespace().map(str::to_owned).collect(), true),
            TextOrWords::Words(words) => (words, false),
        };
        let program = words.first().map_or("", String::as_str);
        if program.is_empty() || program.contains('/') && !program.starts_with('/') {
            return Err(format!(
                "hook {program:?}: must be a name in PATH or an absolute path (a text is split at blanks)"
            ));
        }
        Ok(HookCommand { words, is_text })
    }
}

impl HookCommand {
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// That a text is one for a shell, which does not run it.
    pub fn shell_text(&self) -> Option<String> {
        let is_of_shell = |word: &&String| {
            word.contains(['|', '>', '<', ';', '`', '"', '\'', '$'])
                || ["&", "&&"].contains(&&***word)
        };
        let word = self.words.iter().find(is_of_shell).filter(|_| self.is_text)?;
        let text = self.words.join(" ");
        Some(format!(
            "hook {}: no shell runs it, so that {word:?} is passed on as it is (write [\"/bin/sh\", \"-c\", {text:?}])",
            self.program()
        ))
    }

    /// Why this user cannot start the program.
    pub fn unusable(&self) -> Option<String> {
        let (program, why) = (self.program(), unusable(self.program())?);
        Some(format!("hook {program}: {why} ({})", remedy(&why, program)))
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
    /// The router of the change; empty: there is none.
    router: String,
    /// It was not started: its program was looked for at the start.
    is_looked_for: bool,
    failure: Option<String>,
}

/// A hook fails, or works again.
#[derive(Debug)]
pub struct HookReport {
    pub subject: String,
    pub text: String,
    pub is_over: bool,
}

impl HookReport {
    fn fault(subject: String, text: String) -> HookReport {
        HookReport { subject, text, is_over: false }
    }
}

pub struct HookPipes {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
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
        hooks: config.hooks().map(|hook| hook.words.clone()).collect(),
        of_changes: config.hooks.len(),
        timeout: config.hook_timeout,
        variables: git.into_iter().collect(),
    };
    let line = serde_json::to_string(&setup).unwrap_or_default();
    writeln!(to, "{line}").map_err(failure)?;
    let mut from = BufReader::new(from);
    wait_for_helper(&mut from)
        .map_err(|error| Error::new("start the process that starts hooks", error))?;
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
    /// The last failure of each.
    last: BTreeMap<usize, String>,
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
        let lines = pipes.from.lines().map_while(Result::ok);
        let read = move || {
            let mut results = lines.filter_map(|line| serde_json::from_str(&line).ok());
            results.try_for_each(|result| send.send(result)).ok()
        };
        thread::Builder::new().name("hook results".into()).spawn(read).map_err(failure)?;
        let names = config.hooks().map(|hook| hook.program().to_owned()).collect();
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

    /// The hooks that fail, each with its last failure.
    pub fn failing(&self) -> Vec<String> {
        let faults = &*lock(&self.faults);
        let mut failing: Vec<_> = faults.last.values().cloned().collect();
        failing.extend(faults.ended.is_present().then(|| ENDED.to_owned()));
        failing.extend(faults.full.is_present().then(|| FULL.to_owned()));
        failing
    }

    /// Takes failures that an earlier process found, and returns those of hooks that are gone.
    pub fn restore(&self, failing: Vec<String>) -> Vec<String> {
        let faults = &mut *lock(&self.faults);
        let mut gone = Vec::new();
        for text in failing {
            let hooks = self.names.iter().enumerate();
            let mut of_it = hooks.filter_map(|(hook, name)| {
                let why = text.strip_prefix(&format!("hook {name} fails: "))?;
                (!faults.last.contains_key(&hook)).then_some((hook, why))
            });
            match of_it.next() {
                Some((hook, why)) => {
                    let why = kind(why);
                    faults.failing.insert(hook, BTreeSet::from([why]));
                    faults.last.insert(hook, text.clone());
                }
                None => gone.push(text),
            }
        }
        gone
    }

    /// What was not reported yet; to be called about once a second.
    pub fn reports(&self) -> Vec<HookReport> {
        let (results, faults) = (lock(&self.results), &mut *lock(&self.faults));
        let mut reports = Vec::new();
        let ended = loop {
            match results.try_recv() {
                Ok(result) => reports.extend(self.report(result, faults)),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        if ended && faults.ended.set("") {
            reports.push(HookReport::fault("no hook is started".into(), ENDED.into()));
        } else if !ended && faults.lost > 0 && faults.full.set("") {
            reports.push(HookReport::fault("hooks take too long".into(), FULL.into()));
        } else if faults.lost > 0 && self.waiting.load(Relaxed) == 0 && faults.full.clear() {
            let text = format!("hooks: changes that started none: {}", faults.lost);
            reports.push(HookReport {
                subject: "hooks are started again".into(),
                text,
                is_over: true,
            });
            faults.lost = 0;
        }
        reports
    }

    /// What is reported of the end of a hook. Another cause of its failure is reported too.
    fn report(&self, result: HookResult, faults: &mut Faults) -> Option<HookReport> {
        let HookResult { hook, router, is_looked_for, failure } = result;
        let name = self.names.get(hook)?;
        // A program that is found ends no other failure of an earlier process.
        let is_found =
            |why: &String| why.starts_with("no such file") || why.starts_with("permission denied");
        if is_looked_for && failure.is_none() && !faults.failing.get(&hook)?.iter().all(is_found) {
            return None;
        }
        let Some(why) = failure else {
            faults.last.remove(&hook);
            faults.failing.remove(&hook)?;
            let (subject, text) =
                (format!("hook {name} works again"), format!("hook {name}: works again"));
            return Some(HookReport { subject, text, is_over: true });
        };
        faults.last.insert(hook, format!("hook {name} fails: {why}"));
        let known = faults.failing.entry(hook).or_default();
        if known.len() >= MAX_FAILURES || !known.insert(kind(&why)) {
            return None;
        }
        let at = match router.is_empty() {
            true => "at the start".into(),
            false => format!("at a change of {router}"),
        };
        let text = format!("hook {name}: {why}; {at} ({})", remedy(&why, name));
        Some(HookReport::fault(format!("hook {name} fails"), text))
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

/// What to do about the failure of a hook.
fn remedy(why: &str, program: &str) -> String {
    let me = own_name();
    match why {
        _ if why.starts_with("no such file") => {
            "create it, or the interpreter in its first line; or correct the key hooks and restart aw-routeros".into()
        }
        _ if why.starts_with("permission denied") => {
            format!("chmod +x {program}; {me} must be allowed to enter its directory")
        }
        _ if why.starts_with("exec format error") => {
            "its first line must be #! and an interpreter, such as #!/bin/sh".into()
        }
        _ if why.to_ascii_lowercase().contains("read-only file system") => {
            format!("the unit lets hooks write only where aw-routeros may: give it a directory, such as install -d -m 750 -o {me} /srv/{me}; systemctl edit aw-routeros: [Service] and ReadWritePaths=/srv/{me}; systemctl restart aw-routeros")
        }
        _ if why.starts_with("no end after") => "a hook must end by itself in this time".into(),
        _ => format!("try it, without the limits of the unit: sudo -u {me} {program}"),
    }
}

/// A failure without the numbers of its message, such as a time, which do not make it another one. The status stays.
fn kind(why: &str) -> String {
    let (status, message) = why.split_at(why.floor_char_boundary(16));
    status.to_owned() + &message.replace(|c: char| c.is_ascii_digit(), "")
}

#[cfg(test)]
#[path = "hooks/tests.rs"]
mod tests;

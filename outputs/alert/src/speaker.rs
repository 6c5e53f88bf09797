//! The process that speaks. What listens to strangers gives up all files, sockets and programs; mail servers and commands
//! need them. So a second process of this program, started before that, with the same configuration and the same user,
//! is handed messages as lines of JSON on a pipe, and answers each. It believes what comes from there, and ends with it.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel},
    thread,
    time::Duration,
};

use aw_notify::Failure;
use aw_output::{Error, Fault, RingOptions, failed};
use aw_service::Identity;
use serde::{Deserialize, Serialize};

use crate::{
    channel::{Secrets, Voice, variables},
    config::Config,
    report::Message,
};

/// A message for a channel.
#[derive(Debug, Deserialize, Serialize)]
pub struct Job {
    pub id: i64,
    pub channel: String,
    pub message: Message,
}

/// What became of it: sent, or why not.
#[derive(Debug, Deserialize, Serialize)]
pub struct Answer {
    pub id: i64,
    pub channel: String,
    pub failure: Option<Failure>,
}

/// Its pipes, before privileges are given up.
pub struct Pipes {
    to: ChildStdin,
    from: ChildStdout,
}

/// Starts it, and hands it the configuration's text with what is secret.
pub fn start(
    rings: &RingOptions,
    config: &Config,
    text: &str,
    secrets: &BTreeMap<String, Secrets>,
) -> Result<Pipes, Error> {
    let failure = |error| Error::io("start the process that sends messages", error);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Command::new("/proc/self/exe");
    command.arg("--speaker").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    for name in variables(config) {
        command.env_remove(name);
    }
    command.process_group(0); // Ctrl-C is for the one that tells it when to end
    if let Some(user) =
        Identity::choose(rings.service.user.as_deref(), &["aw-alert", "addrwatch"], None)?
    {
        command.uid(user.user.as_raw()).gid(user.group.as_raw());
    }
    let mut child = command.spawn().map_err(failure)?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(mut to), Some(from)) => {
            // Handed over: it may not be allowed to read the files.
            let line = serde_json::to_string(&(text, secrets)).unwrap_or_default();
            writeln!(to, "{line}").map_err(failure)?;
            Ok(Pipes { to, from })
        }
        _ => Err(failed("start the process that sends messages: no pipes")),
    }
}

/// As seen from the one that thinks.
pub struct Speaker {
    to: ChildStdin,
    answers: Receiver<Answer>,
}

impl Speaker {
    /// To be made once privileges are given up: it makes a thread.
    pub fn new(pipes: Pipes) -> Result<Speaker, Error> {
        let (send, answers) = channel();
        let from = BufReader::new(pipes.from);
        let read = move || {
            let lines = from.lines().map_while(Result::ok);
            let mut answers = lines.filter_map(|line| serde_json::from_str(&line).ok());
            answers.try_for_each(|answer| send.send(answer)).ok()
        };
        thread::Builder::new()
            .name("answers".into())
            .spawn(read)
            .map_err(|error| Error::io("start a thread", error))?;
        Ok(Speaker { to: pipes.to, answers })
    }

    /// It reads at once and queues: this does not wait for a channel.
    pub fn tell(&mut self, job: &Job) -> Result<(), Fault> {
        let mut line = serde_json::to_vec(job).unwrap_or_default();
        line.push(b'\n');
        self.to.write_all(&line).map_err(|_| ended())
    }

    pub fn answer(&mut self) -> Result<Option<Answer>, Fault> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }

    /// Lets it end what it does.
    pub fn finish(self, patience: Duration) {
        drop(self.to);
        while !matches!(
            self.answers.recv_timeout(patience),
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout)
        ) {}
    }
}

fn ended() -> Fault {
    Fault::Fatal(failed("the process that sends messages has ended"))
}

/// The process itself. A thread a channel: one that hangs keeps no other waiting.
pub fn speak(exec: Option<&Path>) -> ExitCode {
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let handed = lines.next().and_then(|line| {
        let (text, secrets): (String, BTreeMap<String, Secrets>) =
            serde_json::from_str(&line).ok()?;
        Some((Config::parse(&text).ok()?, secrets))
    });
    let Some((mut config, mut secrets)) = handed else {
        eprintln!("aw-alert: --speaker is for aw-alert itself");
        return ExitCode::from(2);
    };
    let _ = config.add_command(exec); // it was told before
    thread::scope(|scope| {
        let mut lanes = HashMap::new();
        for one in config.channel {
            let (send, jobs) = channel::<Job>();
            lanes.insert(one.name.clone(), send);
            let secrets = secrets.remove(&one.name).unwrap_or_default();
            scope.spawn(move || {
                for Job { id, channel, message } in jobs {
                    // Anew each time: the file of an authority may be there by now.
                    let voice = Voice::new(&one, &secrets).map_err(Failure::Down);
                    let failure = voice.and_then(|voice| voice.info(&message, id)).err();
                    if !answer(&Answer { id, channel, failure }) {
                        return;
                    }
                }
            });
        }
        for line in lines {
            let Ok(job) = serde_json::from_str::<Job>(&line) else { continue };
            if let Some(lane) = lanes.get(&job.channel) {
                let _ = lane.send(job); // ended: nobody listens any more
            }
        }
        drop(lanes);
    });
    ExitCode::SUCCESS
}

/// Tells whether anybody listens.
fn answer(answer: &Answer) -> bool {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).is_ok()
}

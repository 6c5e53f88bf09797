//! The process that speaks. What listens to strangers gives up all files, sockets and programs; mail servers and commands
//! need them. So a second process of this program, started before that, with the same configuration and the same user,
//! is handed messages as lines of JSON on a pipe, and answers each. It believes what comes from there, and ends with it.

use std::{
    collections::HashMap,
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel},
    thread,
    time::Duration,
};

use aw_output::{Error, Fault, RingOptions, failed, warn};
use aw_service::Identity;
use serde::{Deserialize, Serialize};

use crate::{channel::Voice, config::Config, report::Message};

/// A message for a channel.
#[derive(Debug, Deserialize, Serialize)]
pub struct Job {
    pub id: i64,
    pub channel: String,
    pub message: Message,
}

/// What became of it: sent, or why not. The id 0 is no job's: something to log.
#[derive(Debug, Deserialize, Serialize)]
pub struct Answer {
    pub id: i64,
    pub channel: String,
    pub fault: Option<String>,
}

/// Its pipes, before privileges are given up.
pub struct Pipes {
    to: ChildStdin,
    from: ChildStdout,
}

/// Starts it.
pub fn start(rings: &RingOptions, config: &str) -> Result<Pipes, Error> {
    let failure = |error| Error::io("start the process that sends messages", error);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Command::new("/proc/self/exe");
    command.arg("--speaker").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.process_group(0); // Ctrl-C is for the one that tells it when to end
    if let Some(user) = Identity::choose(rings.service.user.as_deref(), "addrwatch", None)? {
        command.uid(user.user.as_raw()).gid(user.group.as_raw());
    }
    let mut child = command.spawn().map_err(failure)?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(mut to), Some(from)) => {
            // Handed over: it may not be allowed to read the file.
            let line = serde_json::to_string(config).unwrap_or_default();
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
        loop {
            match self.answers.try_recv() {
                Ok(Answer { id: 0, channel, fault }) => {
                    warn(format_args!("channel {channel}: {}", fault.unwrap_or_default()));
                }
                Ok(answer) => return Ok(Some(answer)),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => return Err(ended()),
            }
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
pub fn speak(exec: Option<&Path>, state: &Path) -> ExitCode {
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let text: Option<String> = lines.next().and_then(|line| serde_json::from_str(&line).ok());
    let Some(mut config) = text.and_then(|text| Config::parse(&text).ok()) else {
        eprintln!("aw-alert: --speaker is for aw-alert itself");
        return ExitCode::from(2);
    };
    config.add_command(exec);
    thread::scope(|scope| {
        let mut lanes = HashMap::new();
        for one in config.channel {
            let (send, jobs) = channel::<Job>();
            lanes.insert(one.name.clone(), send);
            scope.spawn(move || {
                let mut voice = Voice::new(one, state);
                for Job { id, channel, message } in jobs {
                    let fault = voice.say(&message).err();
                    if !answer(&Answer { id, channel, fault }) {
                        return;
                    }
                }
                voice.finish();
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
pub fn answer(answer: &Answer) -> bool {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).is_ok()
}

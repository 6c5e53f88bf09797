//! The sender process. aw-alert itself reads what strangers send and therefore gives up files, sockets and programs, which
//! mail servers and commands need. So it starts a second process of this program before that, with the same configuration
//! and user. The sender process reads requests as lines of JSON from a pipe, answers each with a result, and ends when the
//! pipe is closed, and not before: see `HelperSignals`. It trusts what comes from the pipe, and nothing that a server answers: it has no capabilities, gets none
//! from programs that it starts, and if no channel starts programs, it reaches the servers of its channels only.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
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
use aw_service::{
    Access, CapabilitySet, HelperSignals, Identity, Startup, SystemCalls, drop_capabilities,
    wait_for_helper,
};
use rustix::net::AddressFamily;
use serde::{Deserialize, Serialize};

use crate::{
    channel::Channel,
    config::Config,
    notification::Notification,
    transport::{ChannelSecrets, Transport, TransportOptions, secret_variables},
};

#[derive(Debug, Deserialize, Serialize)]
pub struct SendRequest {
    pub id: i64,
    /// For the receiver: the same at each attempt.
    pub message_id: String,
    pub channel: String,
    pub message: Notification,
}

/// The result of a request; no failure means that the message was sent.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendResult {
    pub id: i64,
    pub channel: String,
    pub failure: Option<Failure>,
}

pub struct SenderPipes {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// Starts the sender process and passes it the text of the configuration and the secrets. Call it before privileges are
/// dropped.
pub fn start(
    rings: &RingOptions,
    config: &Config,
    text: &str,
    secrets: &BTreeMap<String, ChannelSecrets>,
) -> Result<SenderPipes, Error> {
    let failure = |error| Error::io("start the sender process", error);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Command::new("/proc/self/exe");
    command.arg("--sender").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    for name in secret_variables(config) {
        command.env_remove(name);
    }
    command.process_group(0); // Ctrl-C ends aw-alert, which then closes the pipe
    if let Some(user) =
        Identity::choose(rings.service.user.as_deref(), &["aw-alert", "addrwatch"], None)?
    {
        command.uid(user.user.as_raw()).gid(user.group.as_raw());
    }
    let mut child = command.spawn().map_err(failure)?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(mut to), Some(from)) => {
            // Its user may not be allowed to read the files.
            let line = serde_json::to_string(&(text, secrets)).unwrap_or_default();
            writeln!(to, "{line}").map_err(failure)?;
            let mut from = BufReader::new(from);
            wait_for_helper(&mut from)
                .map_err(|error| Error::new("start the sender process", error))?;
            Ok(SenderPipes { to, from })
        }
        _ => Err(failed("start the sender process: no pipes")),
    }
}

/// The sender process as aw-alert uses it.
pub struct SenderProcess {
    to: ChildStdin,
    results: Receiver<SendResult>,
    /// They have come, and are not taken yet.
    waiting: VecDeque<SendResult>,
}

impl SenderProcess {
    /// Call it after privileges are dropped, because it starts a thread.
    pub fn new(pipes: SenderPipes) -> Result<SenderProcess, Error> {
        let (send, results) = channel();
        let read = move || {
            let lines = pipes.from.lines().map_while(Result::ok);
            let mut results = lines.filter_map(|line| serde_json::from_str(&line).ok());
            results.try_for_each(|result| send.send(result)).ok()
        };
        thread::Builder::new()
            .name("results".into())
            .spawn(read)
            .map_err(|error| Error::io("start a thread", error))?;
        Ok(SenderProcess { to: pipes.to, results, waiting: VecDeque::new() })
    }

    /// Passes a request. The sender process has a queue for each channel, so this does not wait for a slow one.
    pub fn request(&mut self, request: &SendRequest) -> Result<(), Fault> {
        let mut line = serde_json::to_vec(request).unwrap_or_default();
        line.push(b'\n');
        self.to.write_all(&line).map_err(|_| ended())
    }

    /// The channels of all results that have come and are not taken yet.
    pub fn answered(&mut self) -> impl Iterator<Item = &str> {
        self.waiting.extend(self.results.try_iter());
        self.waiting.iter().map(|result| &*result.channel)
    }

    /// The next result, if there is one already.
    pub fn try_result(&mut self) -> Result<Option<SendResult>, Fault> {
        if let Some(result) = self.waiting.pop_front() {
            return Ok(Some(result));
        }
        match self.results.try_recv() {
            Ok(result) => Ok(Some(result)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }

    /// Waits until the sender process has finished its requests, for so long at most.
    pub fn finish(self, timeout: Duration) {
        drop(self.to);
        while !matches!(
            self.results.recv_timeout(timeout),
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout)
        ) {}
    }
}

fn ended() -> Fault {
    Fault::Fatal(failed("the sender process has ended unexpectedly (restart aw-alert)"))
}

/// The main function of the sender process. Each channel has a thread, so that a slow channel does not delay the others.
pub fn run_sender(exec: Option<&Path>, options: TransportOptions) -> ExitCode {
    let signals = match HelperSignals::register() {
        Ok(signals) => signals,
        Err(why) => {
            eprintln!("aw-alert: sender process: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let setup = lines.next().and_then(|line| {
        let (text, secrets): (String, BTreeMap<String, ChannelSecrets>) =
            serde_json::from_str(&line).ok()?;
        Some((Config::parse(&text).ok()?, secrets))
    });
    let Some((mut config, mut secrets)) = setup else {
        eprintln!("aw-alert: --sender is used by aw-alert itself only");
        return ExitCode::from(2);
    };
    let _ = config.add_command(exec); // the first process has reported a failure
    if let Err(Error::Failed(why)) = confine(&config, &secrets, options.state) {
        eprintln!("aw-alert: sender process: {why}");
        return ExitCode::FAILURE;
    }
    let ports = &ports(&config, &secrets, options.state);
    thread::scope(|scope| {
        let mut queues = HashMap::new();
        for one in config.channel {
            let (send, requests) = channel::<SendRequest>();
            queues.insert(one.name.clone(), send);
            let mut secrets = secrets.remove(&one.name).unwrap_or_default();
            scope.spawn(move || {
                // What root has started may have files of root: that is no news.
                secrets.read_again(&one);
                let mut known = secrets.unread.clone();
                for SendRequest { id, message_id, channel, message } in requests {
                    secrets.read_again(&one);
                    if secrets.unread != known {
                        known.clone_from(&secrets.unread);
                        known.iter().for_each(|why| {
                            eprintln!("aw-alert: channel {channel}: {why}: {IN_USE}");
                        });
                    }
                    // Opened for each message: a missing certificate file may exist by now.
                    let transport = Transport::new(&one, &secrets, options).map_err(Failure::Down);
                    let sent =
                        transport.and_then(|transport| transport.send(&message, &message_id));
                    let failure = sent.err().map(|failure| match failure {
                        Failure::Down(why) => Failure::Down(explained(why, &one, &secrets, ports)),
                        failure => failure,
                    });
                    if !report(&SendResult { id, channel, failure }) {
                        return;
                    }
                }
            });
        }
        for line in lines {
            let Ok(request) = serde_json::from_str::<SendRequest>(&line) else { continue };
            if let Some(queue) = queues.get(&request.channel) {
                let _ = queue.send(request); // fails if its thread has ended
            }
        }
        signals.pipe_is_closed();
        drop(queues);
    });
    ExitCode::SUCCESS
}

/// What is so while a file cannot be read again.
const IN_USE: &str = "what the file had before is in use";

/// A failure with what a change of files has to do with it. `ports`: those that this process may connect to, if it is confined.
fn explained(why: String, channel: &Channel, secrets: &ChannelSecrets, ports: &[u16]) -> String {
    if let Some(unread) = &secrets.unread {
        return format!("{why}; {unread}: {IN_USE}");
    }
    let Some(webhook) = &channel.webhook else { return why };
    let port = webhook.port(secrets.url.as_ref());
    let is_other = !ports.is_empty() && port.is_some_and(|port| !ports.contains(&port));
    match (&webhook.url_file, is_other && why.to_lowercase().contains("permission denied")) {
        (Some(file), true) => format!(
            "{why}; the URL in {} has another port than at the start: restart aw-alert, which allows itself only the ports of its start",
            file.display()
        ),
        _ => why,
    }
}

/// The ports of all channels at the start; none if this process is not confined to them.
fn ports(config: &Config, secrets: &BTreeMap<String, ChannelSecrets>, state: &Path) -> Vec<u16> {
    if config.channel.iter().any(Channel::starts_programs) {
        return Vec::new();
    }
    let none = ChannelSecrets::default();
    let secrets = |channel: &Channel| secrets.get(&channel.name).unwrap_or(&none);
    let all = config.channel.iter().flat_map(|channel| channel.access(secrets(channel), state));
    let port = |access| match access {
        Access::Connect(port) => Some(port),
        _ => None,
    };
    all.filter_map(port).collect()
}

/// Drops what the channels do not need, before there is a second thread. Programs need files and system calls that are not
/// known here: with such a channel, only capabilities and the rights of set-user-id programs are dropped.
fn confine(
    config: &Config,
    secrets: &BTreeMap<String, ChannelSecrets>,
    state: &Path,
) -> Result<(), Error> {
    if config.channel.iter().any(Channel::starts_programs) {
        return drop_capabilities();
    }
    let none = ChannelSecrets::default();
    let secrets = |channel: &Channel| secrets.get(&channel.name).unwrap_or(&none);
    let files = config.channel.iter().flat_map(|channel| channel.access(secrets(channel), state));
    let mut calls = SystemCalls::basic();
    if config.channel.iter().any(|channel| channel.smtp.is_some() || channel.webhook.is_some()) {
        let families = [AddressFamily::INET, AddressFamily::INET6];
        families.into_iter().for_each(|family| calls.allow_sockets(family.as_raw().into()));
    }
    calls.allow_sockets(AddressFamily::UNIX.as_raw().into()); // the syslog daemon
    let files: Vec<_> = files.collect();
    Startup::default().confine(None, CapabilitySet::empty(), &files, calls, false)
}

/// Writes a result. Returns false if aw-alert has ended.
fn report(result: &SendResult) -> bool {
    let mut line = serde_json::to_vec(result).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).is_ok()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A process in place of the sender process: it answers the first request with these results, of which each was sent.
    pub fn answering(results: &[(i64, &str)]) -> SenderProcess {
        let line = |(id, channel): &(i64, &str)| {
            let result = SendResult { id: *id, channel: (*channel).into(), failure: None };
            serde_json::to_string(&result).unwrap()
        };
        let lines: Vec<_> = results.iter().map(line).collect();
        let script = "read -r _; for line; do echo \"$line\"; done; while read -r _; do :; done";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(lines);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        thread::spawn(move || child.wait());
        SenderProcess::new(SenderPipes { to, from: BufReader::new(from) }).unwrap()
    }

    #[test]
    fn a_url_with_another_port_needs_a_restart() {
        let text = "[[channel]]\nname = \"x\"\n[channel.webhook]\nurl_file = \"/u\"";
        let config = Config::parse(text).unwrap();
        let with = |url: &str| ChannelSecrets {
            url: serde_json::from_value(url.into()).unwrap(),
            ..ChannelSecrets::default()
        };
        let start = BTreeMap::from([("x".to_owned(), with("https://a/"))]);
        let ports = ports(&config, &start, Path::new("/s"));
        assert!(ports.contains(&443), "{ports:?}");
        let explained = |why: &str, url, ports: &[u16]| {
            explained(why.into(), &config.channel[0], &with(url), ports)
        };
        let denied = "POST https://a:8443: Permission denied";
        let with_remedy = explained(denied, "https://a:8443/", &ports);
        assert!(with_remedy.contains("the URL in /u has another port"), "{with_remedy}");
        assert_eq!(explained(denied, "https://b/", &ports), denied);
        assert_eq!(explained(denied, "https://a:8443/", &[]), denied, "not confined");
        assert_eq!(explained("refused", "https://a:8443/", &ports), "refused");
    }
}

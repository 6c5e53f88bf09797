//! The ways to tell somebody: a program, SMTP, sendmail, syslog.

use std::{
    io::{ErrorKind, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use aw_notify::{Mailer, Prepared, Report};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::{
    config::{Channel, Sendmail},
    report::Message,
    speaker::{Answer, answer},
};

/// How long the end waits for a mail server; the rest stays in the spool.
const PATIENCE: Duration = Duration::from_secs(20);

/// A channel that speaks. Mail is opened with the first message: the state directory may be made meanwhile.
pub struct Voice {
    channel: Channel,
    spool: PathBuf,
    mailer: Option<Mailer>,
}

impl Voice {
    pub fn new(channel: Channel, state: &Path) -> Voice {
        let spool = state.join(format!("aw-alert-mail-{}", channel.name));
        Voice { channel, spool, mailer: None }
    }

    /// Once this returns without a fault, the message is delivered, or on disk and will be.
    pub fn say(&mut self, message: &Message) -> Result<(), String> {
        let Message { subject, text, fields } = message;
        let limit = Duration::from_secs(self.channel.time_limit.into());
        if let Some(command) = &self.channel.command {
            let mut json = fields.to_string();
            json.push('\n');
            return run(command, &environment(fields), &json, limit);
        }
        if let Some(sendmail) = &self.channel.sendmail {
            let command = [sendmail.path.clone(), "-t".into(), "-i".into()];
            return run(&command, &[], &letter(sendmail, subject, text), limit);
        }
        if self.channel.smtp.is_some() {
            return self.mailer()?.send(subject, text);
        }
        log(fields)
    }

    fn mailer(&mut self) -> Result<&Mailer, String> {
        if self.mailer.is_none() {
            let options = self.channel.smtp.as_ref().ok_or("no mail server")?;
            let name = self.channel.name.clone();
            let report = move |report| {
                let why = match report {
                    Report::Failing { waiting, why } => format!("{why}: {waiting} mails wait"),
                    Report::Works => "mail is sent again".into(),
                    Report::Refused(why) => format!("a mail was refused, and is kept: {why}"),
                };
                answer(&Answer { id: 0, channel: name.clone(), fault: Some(why) });
            };
            let mailer = Prepared::new(options, &self.spool)?.start(report);
            self.mailer = Some(mailer.map_err(|error| format!("start a thread: {error}"))?);
        }
        self.mailer.as_ref().ok_or("no mail server".into())
    }

    pub fn finish(self) {
        if let Some(mailer) = self.mailer {
            mailer.finish(PATIENCE);
        }
    }
}

/// `AW_` and the field's name in capitals, and the keys of macupd_tracker's alerter as they are. What is text stays text;
/// no NUL, which no variable can hold.
fn environment(fields: &Value) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (key, value) in fields.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text.replace('\0', ""),
            other => other.to_string(),
        };
        if ["mac", "name", "ip", "iface", "date", "time", "last"].contains(&&**key) {
            variables.push((key.clone(), text.clone()));
        }
        variables.push((format!("AW_{}", key.to_uppercase()), text));
    }
    variables
}

/// Runs a program, without a shell, with this input; it has so long.
fn run(
    command: &[String],
    environment: &[(String, String)],
    input: &str,
    limit: Duration,
) -> Result<(), String> {
    let [program, arguments @ ..] = command else { return Err("no program".into()) };
    let fault = |why: &dyn std::fmt::Display| format!("run {program}: {why}");
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null()) // ours is the answers'
        .process_group(0) // with all that it starts, to be ended together
        .spawn()
        .map_err(|error| fault(&error))?;
    let end = Instant::now() + limit;
    // A message is smaller than a pipe: this does not wait. That it does not read is its own affair.
    match child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())) {
        Some(Err(error)) if error.kind() != ErrorKind::BrokenPipe => {
            stop(&mut child);
            return Err(fault(&error));
        }
        _ => {}
    }
    loop {
        match child.try_wait().map_err(|error| fault(&error))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(fault(&status)),
            None if Instant::now() >= end => {
                stop(&mut child);
                return Err(fault(&format_args!("not done after {} s", limit.as_secs())));
            }
            None => sleep(Duration::from_millis(10)),
        }
    }
}

fn stop(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// For sendmail -t, in ASCII where a header is concerned.
fn letter(sendmail: &Sendmail, subject: &str, text: &str) -> String {
    let header = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).collect()
    };
    format!(
        "From: {}\nTo: {}\nSubject: {}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=UTF-8\n\n{text}",
        header(&sendmail.from),
        header(&sendmail.to.join(", ")),
        header(subject)
    )
}

/// Facility daemon, at the level that arpwatch gives it.
fn log(fields: &Value) -> Result<(), String> {
    let formatter = syslog::Formatter3164 {
        facility: syslog::Facility::LOG_DAEMON,
        hostname: None,
        process: "aw-alert".into(),
        pid: 0,
    };
    let text = fields["message"].as_str().unwrap_or_default();
    let mut log = syslog::unix(formatter).map_err(|error| format!("syslog: {error}"))?;
    let sent = match fields["kind"].as_str() {
        Some("suppressed_decnet") => log.info(text),
        _ => log.notice(text),
    };
    sent.map_err(|error| format!("syslog: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<(), String> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let fields =
            serde_json::json!({"mac": "00:08:e1:00:00:01", "seconds": 7, "name": "a\0; b"});
        run(&command, &environment(&fields), "line\n", limit)
    }

    #[test]
    fn programs() {
        let long = Duration::from_secs(20);
        let all =
            "read line; [ \"$line $mac $AW_SECONDS $name\" = 'line 00:08:e1:00:00:01 7 a; b' ]";
        assert_eq!(shell(all, long), Ok(()));
        assert_eq!(shell("exit 3", long).unwrap_err(), "run /bin/sh: exit status: 3");
        let began = Instant::now();
        let why = shell("sleep 60 & sleep 60", Duration::from_millis(50)).unwrap_err();
        assert!(why.contains("not done") && began.elapsed() < long, "{why}");
        assert!(run(&["/nowhere".into()], &[], "", long).unwrap_err().contains("/nowhere"));
    }

    #[test]
    fn a_subject_adds_no_header() {
        let to = Sendmail { path: String::new(), from: "a@b".into(), to: vec!["c@d".into()] };
        let letter = letter(&to, "x\nBcc: evil", "text\n");
        assert!(letter.contains("\nSubject: x?Bcc: evil\n") && letter.ends_with("\n\ntext\n"));
    }
}

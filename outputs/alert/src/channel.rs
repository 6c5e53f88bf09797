//! The ways to tell somebody: a program, SMTP, sendmail, a webhook, syslog.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{ErrorKind, Write},
    os::unix::{net::UnixDatagram, process::CommandExt},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use aw_notify::{Courier, Failure, Mail};
use aw_service::Secret;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    config::{Channel, Config, Layout, Sendmail},
    report::Message,
    webhook::{Keys, Webhook},
};

/// What a channel must know and nobody else may. Read by the process that the user started, who may be root, and handed
/// to the one that speaks, who may not read it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Secrets {
    password: Option<Secret>,
    url: Option<Secret>,
    token: Option<Secret>,
    secret: Option<Secret>,
}

impl Secrets {
    fn read(channel: &Channel) -> Result<Secrets, String> {
        let mut secrets = Secrets::default();
        if let Some(smtp) = &channel.smtp {
            secrets.password = smtp.password()?;
        }
        if let Some(to) = &channel.webhook {
            let read = Secret::read;
            secrets.url = read("url", to.url_file.as_deref(), to.url_env.as_deref())?;
            secrets.token = read("token", to.token_file.as_deref(), to.token_env.as_deref())?;
            secrets.secret = read("secret", to.secret_file.as_deref(), to.secret_env.as_deref())?;
        }
        Ok(secrets)
    }

    /// Of each channel by name, once each is known to be ready to speak.
    pub fn read_all(config: &Config) -> Result<BTreeMap<String, Secrets>, String> {
        let mut all = BTreeMap::new();
        for (index, channel) in config.channel.iter().enumerate() {
            let secrets = Secrets::read(channel).map_err(|why| config.at(index, &why))?;
            Voice::new(channel, &secrets).map_err(|why| config.at(index, &why))?;
            all.insert(channel.name.clone(), secrets);
        }
        Ok(all)
    }
}

/// Variables of the environment that hold secrets, which no program that we start needs.
pub fn variables(config: &Config) -> impl Iterator<Item = &String> {
    config.channel.iter().flat_map(|channel| {
        let smtp = channel.smtp.iter().flat_map(|smtp| &smtp.password_env);
        let webhook = channel.webhook.iter();
        smtp.chain(webhook.flat_map(|to| [&to.url_env, &to.token_env, &to.secret_env]).flatten())
    })
}

/// A channel that speaks.
pub struct Voice {
    way: Way,
    limit: Duration,
    /// A comment behind the sender of a mail.
    comment: Option<String>,
}

enum Way {
    Command(Vec<String>),
    Sendmail(Sendmail),
    Mail(Box<Courier>),
    Webhook(Box<Webhook>),
    Syslog,
}

impl Voice {
    /// Understands the options and reads the files of authorities.
    pub fn new(channel: &Channel, secrets: &Secrets) -> Result<Voice, String> {
        let limit = Duration::from_secs(channel.time_limit.into());
        let way = if let Some(command) = &channel.command {
            Way::Command(command.clone())
        } else if let Some(sendmail) = &channel.sendmail {
            Way::Sendmail(sendmail.clone())
        } else if let Some(smtp) = &channel.smtp {
            Way::Mail(Box::new(Courier::new(smtp, secrets.password.as_ref(), limit)?))
        } else if let Some(webhook) = &channel.webhook {
            let Secrets { url, token, secret, .. } = secrets;
            let keys = Keys { url: url.as_ref(), token: token.as_ref(), secret: secret.as_ref() };
            Way::Webhook(Box::new(Webhook::new(webhook, &keys, limit)?))
        } else {
            Way::Syslog
        };
        // As arpwatch calls itself.
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        let arpwatch = channel.layout == Layout::Arpwatch;
        let comment = arpwatch.then(|| format!("Arpwatch {}", host()));
        Ok(Voice { way, limit, comment })
    }

    /// Once this returns without a failure, the message is delivered. `id` is the same for each try.
    pub fn info(&self, message: &Message, id: i64) -> Result<(), Failure> {
        let Message { subject, text, fields } = message;
        let id = format!("{id}-{}", fields["seconds"]);
        let comment = self.comment.as_deref();
        match &self.way {
            Way::Command(command) => {
                let mut json = fields.to_string();
                json.push('\n');
                run(command, &environment(fields), &json, self.limit)
            }
            Way::Sendmail(sendmail) => {
                let command = [sendmail.path.clone(), "-t".into(), "-i".into()];
                let letter = letter(sendmail, comment, subject, text);
                run(&command, &[], &letter, self.limit)
            }
            Way::Mail(courier) => {
                let mail = Mail { subject, text, id: Some(&id), comment };
                // The others have it: sent again, they would have it twice.
                for why in courier.send(&mail)? {
                    let text = format!("{subject:?} did not reach everybody: {why}");
                    eprintln!("aw-alert: {text}");
                    let _ = log(&serde_json::json!({ "message": text })); // in the background
                }
                Ok(())
            }
            Way::Webhook(webhook) => webhook.send(message, &id),
            Way::Syslog => log(fields).map_err(Failure::Down),
        }
    }
}

/// macupd_tracker's alerter has these.
const KEYS: [&str; 8] = ["mac", "name", "ip", "iface", "date", "time", "last", "active-hours"];

/// `AW_` and the field's name in capitals, and the keys of macupd_tracker's alerter as they are. What is text stays text;
/// no NUL, which no variable can hold.
fn environment(fields: &Value) -> Vec<(String, String)> {
    // All of them, in any message: a script may insist.
    let always = KEYS.iter().filter(|key| fields.get(**key).is_none());
    let mut variables: Vec<_> = always.map(|key| ((*key).to_owned(), String::new())).collect();
    for (key, value) in fields.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text.replace('\0', ""),
            other => other.to_string(),
        };
        if KEYS.contains(&&**key) {
            variables.push((key.clone(), text.clone()));
        }
        variables.push((format!("AW_{}", key.to_uppercase().replace('-', "_")), text));
    }
    variables
}

/// sysexits.h: the input is at fault.
const EX_DATAERR: i32 = 65;

/// Runs a program, without a shell, with this input; it has so long.
fn run(
    command: &[String],
    environment: &[(String, String)],
    input: &str,
    limit: Duration,
) -> Result<(), Failure> {
    let [program, arguments @ ..] = command else { return Err(Failure::Down("no program".into())) };
    let fault = |why: &dyn Display| Failure::Down(format!("run {program}: {why}"));
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null()) // ours is the answers'
        .process_group(0) // with all that it starts, to be ended together
        .spawn()
        .map_err(|error| fault(&aw_output::explain(&error)))?;
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
            // It does not want this message, whenever it comes.
            Some(status) if status.code() == Some(EX_DATAERR) => {
                return Err(Failure::Refused(format!("run {program}: {status}")));
            }
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
fn letter(sendmail: &Sendmail, comment: Option<&str>, subject: &str, text: &str) -> String {
    let header = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).collect()
    };
    let comment = comment.map(|comment| format!(" ({})", header(comment)));
    format!(
        "From: {}{}\nTo: {}\nSubject: {}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=UTF-8\n\n{text}",
        header(&sendmail.from),
        comment.unwrap_or_default(),
        header(&sendmail.to.join(", ")),
        header(subject)
    )
}

/// Facility daemon, at the level that arpwatch gives it, without a process id, as arpwatch has it.
fn log(fields: &Value) -> Result<(), String> {
    const DAEMON: u8 = 3 << 3;
    let level = match fields["kind"].as_str() {
        Some("suppressed_decnet" | "mismatch" | "broadcast" | "bogon") => 6, // info
        _ => 5,                                                              // notice
    };
    let time = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    let text = fields["message"].as_str().unwrap_or_default();
    let line = format!("<{}>{time} aw-alert: {text}", DAEMON | level);
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(line.as_bytes(), LOG));
    sent.map(drop).map_err(|error| format!("write to {LOG}: {error} (is a syslog daemon there?)"))
}

/// Where syslog daemons listen.
const LOG: &str = "/dev/log";

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<(), Failure> {
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
        let fails = |script: &str, limit| match shell(script, limit) {
            Err(Failure::Down(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(fails("exit 3", long), "run /bin/sh: exit status: 3");
        assert!(matches!(shell("exit 65", long), Err(Failure::Refused(_))));
        let began = Instant::now();
        let why = fails("sleep 60 & sleep 60", Duration::from_millis(50));
        assert!(why.contains("not done") && began.elapsed() < long, "{why}");
        let why = run(&["/nowhere".into()], &[], "", long).unwrap_err();
        assert!(format!("{why:?}").contains("/nowhere"));
        // Whatever the message lacks, a script finds its variables.
        let digest = environment(&serde_json::json!({"kind": "digest"}));
        let script = "set -u; : $mac $name $ip $iface $date $time $last".to_owned();
        assert_eq!(run(&["/bin/sh".into(), "-c".into(), script], &digest, "", long), Ok(()));
    }

    #[test]
    fn a_subject_adds_no_header() {
        let to = Sendmail { path: String::new(), from: "a@b".into(), to: vec!["c@d".into()] };
        let letter = letter(&to, Some("Arpwatch h"), "x\nBcc: evil", "text\n");
        assert!(letter.starts_with("From: a@b (Arpwatch h)\nTo: c@d\n"), "{letter}");
        assert!(letter.contains("\nSubject: x?Bcc: evil\n") && letter.ends_with("\n\ntext\n"));
    }
}

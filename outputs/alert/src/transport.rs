//! The transports of channels: a program, SMTP, sendmail, a webhook, syslog.

use std::{
    collections::BTreeMap,
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::Duration,
};

use aw_detect::Dialect;
use aw_notify::{
    Failure, Mail, MailOptions, MailSecrets, SmtpClient, TokenFile, read_secret, run_program,
    sendmail_message,
};
use aw_output::this_host;
use aw_service::{Secret, send_to_syslog, syslog_fault};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    channel::{Channel, MailLayout, Sendmail},
    command::environment,
    config::Config,
    notification::Notification,
    webhook::Webhook,
};

/// The secrets of a channel. The process that the user started, perhaps as root, reads them and passes them to the sender
/// process, whose user may not be allowed to read their files. If it is, it reads them again for each message.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct ChannelSecrets {
    pub mail: MailSecrets,
    pub url: Option<Secret>,
    pub token: Option<Secret>,
    pub secret: Option<Secret>,
    /// Why those of files could not be read again: they are as they were before.
    #[serde(skip)]
    pub unread: Option<String>,
}

impl ChannelSecrets {
    fn read(channel: &Channel) -> Result<ChannelSecrets, String> {
        let mut secrets = ChannelSecrets::default();
        if let Some(smtp) = &channel.smtp {
            secrets.mail = smtp.secrets()?;
        }
        if let Some(to) = &channel.webhook {
            let read = read_secret;
            secrets.url = read("url", to.url_file.as_deref(), to.url_env.as_deref())?;
            secrets.token = read("token", to.token_file.as_deref(), to.token_env.as_deref())?;
            secrets.secret = read("secret", to.secret_file.as_deref(), to.secret_env.as_deref())?;
        }
        Ok(secrets)
    }

    /// Takes the secrets of files as they are now, except for a password of mail, which is read again for each login.
    pub fn read_again(&mut self, channel: &Channel) {
        self.unread = self.try_read_again(channel).err();
    }

    /// All of them, or none: a token is not sent to the URL of another one.
    fn try_read_again(&mut self, channel: &Channel) -> Result<(), String> {
        if let Some(oauth) = channel.smtp.as_ref().and_then(|smtp| smtp.oauth.as_ref()) {
            self.mail.read_again(oauth)?;
        }
        let Some(to) = &channel.webhook else { return Ok(()) };
        let read = |name, file: &Option<PathBuf>, before: &Option<Secret>| match file {
            Some(file) => read_secret(name, Some(file), None),
            None => Ok(before.clone()),
        };
        let url = read("url", &to.url_file, &self.url)?;
        let token = read("token", &to.token_file, &self.token)?;
        let secret = read("secret", &to.secret_file, &self.secret)?;
        (self.url, self.token, self.secret) = (url, token, secret);
        Ok(())
    }

    /// Reads the secrets of all channels, by name, and checks that each channel can be opened with them.
    pub fn read_all(
        config: &Config,
        options: TransportOptions,
    ) -> Result<BTreeMap<String, ChannelSecrets>, String> {
        let mut all = BTreeMap::new();
        for (index, channel) in config.channel.iter().enumerate() {
            let secrets = ChannelSecrets::read(channel).map_err(|why| config.at(index, &why))?;
            Transport::new(channel, &secrets, options).map_err(|why| config.at(index, &why))?;
            all.insert(channel.name.clone(), secrets);
        }
        Ok(all)
    }
}

/// Environment variables with secrets: programs that aw-alert starts do not get them.
pub fn secret_variables(config: &Config) -> impl Iterator<Item = &String> {
    config.channel.iter().flat_map(|channel| {
        let smtp = channel.smtp.iter().flat_map(|smtp| smtp.secret_variables());
        let webhook = channel.webhook.iter();
        smtp.chain(webhook.flat_map(|to| [&to.url_env, &to.token_env, &to.secret_env]).flatten())
    })
}

/// Of the command line.
#[derive(Clone, Copy)]
pub struct TransportOptions<'a> {
    pub dialect: Dialect,
    /// The state directory, where mail stores a token that the server has replaced.
    pub state: &'a Path,
}

/// An open transport of a channel.
pub struct Transport {
    method: Method,
    limit: Duration,
    /// A comment after the sender's address of a mail.
    comment: Option<String>,
}

enum Method {
    Command(Vec<String>),
    Sendmail(Sendmail),
    Smtp(Box<SmtpClient>),
    Webhook(Box<Webhook>),
    /// With this program name.
    Syslog(String),
}

impl Transport {
    /// Checks the options and reads certificate files.
    pub fn new(
        channel: &Channel,
        secrets: &ChannelSecrets,
        options: TransportOptions,
    ) -> Result<Transport, String> {
        let limit = Duration::from_secs(channel.time_limit.into());
        let method = if let Some(command) = &channel.command {
            Method::Command(command.clone())
        } else if let Some(sendmail) = &channel.sendmail {
            Method::Sendmail(sendmail.clone())
        } else if let Some(smtp) = &channel.smtp {
            let token_file = token_file(channel, smtp, &secrets.mail, options.state);
            Method::Smtp(Box::new(SmtpClient::new(smtp, &secrets.mail, token_file, limit)?))
        } else if let Some(webhook) = &channel.webhook {
            Method::Webhook(Box::new(Webhook::new(webhook, secrets, limit)?))
        } else {
            Method::Syslog(channel.ident(options.dialect).to_owned())
        };
        // The sender as arpwatch writes it.
        let arpwatch = channel.layout == MailLayout::Arpwatch;
        let comment = arpwatch.then(|| format!("Arpwatch {}", this_host()));
        Ok(Transport { method, limit, comment })
    }

    /// For `--check`: a mail server accepts the login and the recipients, and a syslog daemon listens. No message is sent.
    pub fn check(&self) -> Result<(), String> {
        match &self.method {
            Method::Smtp(client) => client.try_recipients(),
            Method::Syslog(_) => UnixDatagram::unbound()
                .and_then(|socket| socket.connect(SYSLOG))
                .map_err(local_fault),
            Method::Command(_) | Method::Sendmail(_) | Method::Webhook(_) => Ok(()),
        }
    }

    /// Sends a message; on success, the server or program has accepted it. `id` is the same at each attempt, and unique.
    pub fn send(&self, notification: &Notification, id: &str) -> Result<(), Failure> {
        let Notification { subject, text, fields } = notification;
        let comment = self.comment.as_deref();
        match &self.method {
            Method::Command(command) => {
                let mut json = fields.to_string();
                json.push('\n');
                run_program(command, &environment(fields), &json, self.limit)
            }
            Method::Sendmail(sendmail) => {
                let mail = Mail { subject, text, id: Some(id), comment };
                let made = sendmail_message(&sendmail.from, &sendmail.to, &mail);
                let (mail, sender) = made.map_err(Failure::Refused)?;
                let command = [&*sendmail.path, "-t", "-i", "-f", &sender].map(str::to_owned);
                run_program(&command, &[], &mail, self.limit)
            }
            Method::Smtp(client) => {
                let mail = Mail { subject, text, id: Some(id), comment };
                // Not an error: if the mail were sent again, the other recipients would get it twice.
                for why in client.send(&mail)? {
                    let text = format!("mail {subject:?}: the server refused a recipient: {why}");
                    eprintln!("aw-alert: {text}");
                    let _ = log(IDENT, &serde_json::json!({ "message": text })); // standard error may be closed
                }
                Ok(())
            }
            Method::Webhook(webhook) => webhook.send(notification, id),
            Method::Syslog(ident) => log(ident, fields).map_err(Failure::Down),
        }
    }
}

/// Where the token that replaces a refresh token is stored: channels with the same refresh token share the file. If each had its
/// own, the server would see a token that is used twice, and revoke all.
fn token_file(
    channel: &Channel,
    smtp: &MailOptions,
    secrets: &MailSecrets,
    state: &Path,
) -> TokenFile {
    let client = smtp.oauth.as_ref().and_then(|oauth| oauth.client_id.as_deref());
    let token = secrets.refresh_token().map(Secret::reveal);
    let hash =
        Sha256::digest(format!("{}\n{}", client.unwrap_or_default(), token.unwrap_or_default()));
    let name: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // Earlier releases named it by the channel.
    let earlier = Some(state.join(format!("oauth-{}", channel.name)));
    TokenFile { path: state.join(format!("oauth-{name}")), earlier }
}

/// The program name in syslog, unless a channel has another one.
pub const IDENT: &str = "aw-alert";

/// Writes to syslog as arpwatch does: facility daemon, arpwatch's level, no process id.
fn log(ident: &str, fields: &Value) -> Result<(), String> {
    const DAEMON: u8 = 3 << 3;
    let level = match fields["kind"].as_str() {
        Some("suppressed_decnet" | "mismatch" | "broadcast" | "bogon") => 6, // info
        _ => 5,                                                              // notice
    };
    let time = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    let text = fields["message"].as_str().unwrap_or_default();
    let line = format!("<{}>{time} {ident}: {text}", DAEMON | level);
    send_to_syslog(&line).map_err(local_fault)
}

const SYSLOG: &str = "/dev/log";

fn local_fault(error: io::Error) -> String {
    format!("write to {SYSLOG}: {}", syslog_fault(error, Path::new(SYSLOG), None))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// A token of before is not sent to another server, and a file that is being replaced is read at the next message.
    #[test]
    fn the_files_of_a_webhook_belong_together() {
        let directory = tempfile::tempdir().unwrap();
        let [url, token] = ["url", "token"].map(|name| directory.path().join(name));
        let write = |path: &Path, text: &str| {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        let text = format!("name = \"x\"\n[webhook]\nurl_file = {url:?}\ntoken_file = {token:?}");
        let channel: Channel = toml::from_str(&text).unwrap();
        write(&url, "https://a/");
        write(&token, "one");
        let mut secrets = ChannelSecrets::read(&channel).unwrap();
        let mut after = |expected: [&str; 2], is_read: bool| {
            secrets.read_again(&channel);
            let found = [&secrets.url, &secrets.token];
            assert_eq!(found.map(|one| one.as_ref().unwrap().reveal()), expected);
            assert_eq!(secrets.unread.is_none(), is_read, "{:?}", secrets.unread);
        };
        fs::remove_file(&token).unwrap();
        write(&url, "https://b/");
        after(["https://a/", "one"], false);
        write(&token, "two");
        after(["https://b/", "two"], true);
    }
}

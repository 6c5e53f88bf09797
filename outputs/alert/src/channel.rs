//! A channel of the configuration: a filter, a rate limit, hours, and one transport.

use std::{
    env,
    path::{Path, PathBuf},
};

use aw_detect::{Alert, AlertKind, Dialect, MacPattern};
use aw_notify::{Mail, MailOptions, sendmail_message};
use aw_service::{Access, seconds};
use jiff::{Zoned, tz::TimeZone};
use serde::Deserialize;

use crate::{
    filter::{NetworkValue, any_mac, within},
    hours::{Day, Hours, Outside, is_open},
    notification::Notification,
    rate_gate::ChannelLimit,
    template::Template,
    transport::{ChannelSecrets, IDENT},
    webhook_options::WebhookOptions,
};

/// A table `[[channel]]`. All keys of its filter must match an alert.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    pub name: String,
    kinds: Option<Vec<AlertKind>>,
    /// Whether it gets the kinds about the sensor itself although `kinds` has none of them.
    #[serde(default = "sensor")]
    sensor: bool,
    networks: Option<Vec<String>>,
    macs: Option<Vec<MacPattern>>,
    addresses: Option<Vec<NetworkValue>>,
    hours: Option<Hours>,
    days: Option<Vec<Day>>,
    #[serde(default)]
    pub outside: Outside,
    #[serde(default = "burst")]
    burst: u32,
    #[serde(default = "window", deserialize_with = "seconds")]
    window: u32,
    #[serde(default = "digest_exempt")]
    digest_exempt: Vec<AlertKind>,
    pub command: Option<Vec<String>>,
    /// Seconds for a program, a webhook, or each response of a mail server.
    #[serde(default = "time_limit", deserialize_with = "seconds")]
    pub time_limit: u32,
    pub smtp: Option<MailOptions>,
    pub sendmail: Option<Sendmail>,
    #[serde(default)]
    pub layout: MailLayout,
    pub webhook: Option<WebhookOptions>,
    #[serde(default)]
    pub syslog: bool,
    ident: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum MailLayout {
    /// arpwatch's lines, and a note where there is one.
    #[default]
    Own,
    /// arpwatch's lines only, for filters that sort arpwatch's mail.
    Arpwatch,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sendmail {
    #[serde(default = "sendmail")]
    pub path: String,
    pub from: String,
    pub to: Vec<String>,
}

/// Where systems have the certificates of authorities.
const AUTHORITIES: [&str; 7] = [
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/lib/ssl",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
];

/// Bytes of a line that syslog daemons do not cut: rsyslog has 8,192 with the head of the line.
const MAX_SYSLOG: usize = 7000;

fn sensor() -> bool {
    true
}
fn burst() -> u32 {
    10
}
fn window() -> u32 {
    60
}
fn digest_exempt() -> Vec<AlertKind> {
    AlertKind::DIGEST_EXEMPT.into()
}
fn time_limit() -> u32 {
    30
}
fn sendmail() -> String {
    "/usr/sbin/sendmail".into()
}

impl Channel {
    /// The files and programs that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        let program = self.command.iter().filter_map(|command| command.first());
        let programs = program.chain(self.sendmail.iter().map(|sendmail| &sendmail.path));
        let of_mail = self.smtp.iter().flat_map(|smtp| [&smtp.ca_file, &smtp.password_file]);
        let of_webhook = self
            .webhook
            .iter()
            .flat_map(|hook| [&hook.url_file, &hook.token_file, &hook.secret_file, &hook.ca_file]);
        let files = of_mail.chain(of_webhook).flatten().cloned();
        programs.map(PathBuf::from).chain(files).collect()
    }

    /// Checks what can be checked without reading a file.
    pub fn check(&self) -> Result<(), String> {
        let mail = self.smtp.is_some() || self.sendmail.is_some();
        let others = [self.command.is_some(), self.webhook.is_some(), self.syslog];
        let transports = [self.smtp.is_some(), self.sendmail.is_some()].into_iter().chain(others);
        if transports.filter(|set| *set).count() != 1 {
            return Err("needs exactly one of command, smtp, sendmail, webhook, syslog".into());
        }
        if self.layout == MailLayout::Arpwatch && !mail {
            return Err("layout needs smtp or sendmail".into());
        }
        let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(name) {
            return Err("name: must have letters, digits, - and _ only".into());
        }
        if let Some(command) = &self.command
            && !command.first().is_some_and(|program| program.starts_with('/'))
        {
            return Err("command: the program must be an absolute path".into());
        }
        if let Some(ident) = &self.ident {
            check_ident(ident, self.syslog)?;
        }
        if let Some(sendmail) = &self.sendmail {
            let none = Mail { subject: "", text: "", id: None, comment: None };
            sendmail_message(&sendmail.from, &sendmail.to, &none)?;
        }
        if self.window == 0 || self.time_limit == 0 {
            return Err("window and time_limit must be at least 1 s".into());
        }
        if let Some(smtp) = &self.smtp {
            smtp.check()?;
        }
        if let Some(webhook) = &self.webhook {
            webhook.check()?;
        }
        if self.outside == Outside::Ignore && self.hours.is_none() && self.days.is_none() {
            return Err("outside needs hours or days".into());
        }
        Ok(())
    }

    /// Whether `now` is within its hours and days.
    pub fn is_open(&self, now: &Zoned) -> bool {
        is_open(self.hours, self.days.as_deref(), now)
    }

    /// Whether it starts programs.
    pub fn starts_programs(&self) -> bool {
        let token = self.smtp.iter().filter_map(|smtp| smtp.oauth.as_ref());
        self.command.is_some()
            || self.sendmail.is_some()
            || token.into_iter().any(|oauth| oauth.command.is_some())
    }

    /// The files and ports that it needs, if it starts no programs.
    pub fn access(&self, secrets: &ChannelSecrets, state: &Path) -> Vec<Access> {
        let mut access = Vec::new();
        let mut named = Vec::new();
        if let Some(smtp) = &self.smtp {
            access.extend(smtp.ports().map(Access::Connect));
            access.extend(smtp.oauth.iter().map(|_| Access::Write(state.into()))); // a replaced token
            named.extend([&smtp.ca_file, &smtp.password_file]);
            let oauth = smtp.oauth.iter();
            named.extend(oauth.flat_map(|one| [&one.client_secret_file, &one.refresh_token_file]));
        }
        if let Some(webhook) = &self.webhook {
            access.extend(webhook.port(secrets.url.as_ref()).map(Access::Connect));
            named.extend([&webhook.ca_file, &webhook.url_file]);
            named.extend([&webhook.token_file, &webhook.secret_file]);
        }
        if self.smtp.is_some() || self.webhook.is_some() {
            access.extend(Access::host_names());
            access.extend(AUTHORITIES.map(|path| Access::Read(path.into())));
            let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(env::var_os);
            access.extend(variables.map(|path| Access::Read(path.into())));
            let proxy = ureq::Proxy::try_from_env(); // of the environment
            access.extend(proxy.map(|proxy| Access::Connect(proxy.port())));
        }
        // The directory: the file may be created or replaced later. Only the sender process has this access.
        let files = named.into_iter().flatten();
        let files = files.filter_map(|file| std::path::absolute(file).ok());
        access.extend(files.filter_map(|file| Some(Access::Read(file.parent()?.into()))));
        access
    }

    /// The program name in syslog: rules for arpwatch's lines, such as those of logwatch and fail2ban, look for its name.
    pub fn ident(&self, dialect: Dialect) -> &str {
        let default = if dialect == Dialect::Arpwatch { "arpwatch" } else { IDENT };
        self.ident.as_deref().unwrap_or(default)
    }

    /// Bytes of a subject and a text, together, that it does not cut.
    pub fn max_bytes(&self) -> usize {
        let template = self.webhook.as_ref().and_then(|webhook| webhook.template);
        let unlimited = if self.syslog { MAX_SYSLOG } else { usize::MAX };
        template.map_or(unlimited, Template::max_bytes)
    }

    /// The notification of an alert in its layout.
    pub fn notification(&self, alert: &Alert, zone: &TimeZone, dialect: Dialect) -> Notification {
        let lines = self.layout == MailLayout::Arpwatch;
        Notification::in_layout(alert, zone, lines, lines || dialect == Dialect::Arpwatch)
    }

    /// The same; its line is arpwatch's in its dialect.
    pub fn alert_notification(
        &self,
        alert: &Alert,
        zone: &TimeZone,
        dialect: Dialect,
    ) -> Notification {
        let mut notification = self.notification(alert, zone, dialect);
        if dialect == Dialect::Arpwatch {
            notification.fields["message"] = alert.arpwatch_line().into();
        }
        notification
    }

    /// Whether an alert of this kind is sent alone although a digest is being gathered.
    pub fn exempts(&self, kind: AlertKind) -> bool {
        self.digest_exempt.contains(&kind)
    }

    pub fn limit(&self) -> ChannelLimit {
        ChannelLimit { burst: self.burst, window: self.window.into() }
    }

    pub fn networks(&self) -> Option<&[String]> {
        self.networks.as_deref()
    }

    /// Whether its list of kinds has this one.
    pub fn lists(&self, kind: AlertKind) -> bool {
        self.kinds.as_ref().is_some_and(|kinds| kinds.contains(&kind))
    }

    /// Whether it gets alerts of this kind.
    pub fn gets(&self, kind: AlertKind, dialect: Dialect) -> bool {
        match (&self.kinds, dialect) {
            // Who lists kinds of devices must learn nevertheless that they are not seen. With a list of these, it is complete.
            (Some(kinds), _) if kind.is_sensor() && !kinds.iter().any(|kind| kind.is_sensor()) => {
                self.sensor
            }
            // With names, the same attack has this kind at a router's address.
            (Some(kinds), _) if kind == AlertKind::GatewayTaken => {
                kinds.iter().any(|kind| kind.is_takeover())
            }
            (Some(kinds), _) if kind == AlertKind::NewSetting => {
                kinds.iter().any(|kind| AlertKind::WITH_NEW_SETTING.contains(kind))
            }
            (Some(kinds), _) => kinds.contains(&kind),
            // arpwatch sends mail for four kinds and logs all.
            (None, Dialect::Arpwatch) => self.syslog || !kind.is_log_only(),
            (None, Dialect::Devices) => AlertKind::DEFAULT.contains(&kind),
        }
    }

    pub fn wants(&self, alert: &Alert, dialect: Dialect) -> bool {
        // A silent device has no network and no address: it passes these filters, and the sensor itself has no MAC either.
        // One that only probed has the probed one.
        let ip = alert.filtered_address();
        let (no_network, no_ip) = (alert.network.is_empty(), ip.is_none());
        self.gets(alert.kind, dialect)
            && within(&self.networks, |network| no_network || alert.is_of_network(network))
            && (alert.kind.is_sensor()
                || within(&self.macs, |one| {
                    any_mac(alert, |mac| one.matches(mac)) || claimed_by(alert, one)
                }))
            && within(&self.addresses, |block| no_ip || ip.is_some_and(|ip| block.0.contains(&ip)))
    }
}

/// Whether one of the MACs that claimed the address of an alert matches: that lets an alert through, and mutes none.
fn claimed_by(alert: &Alert, pattern: &MacPattern) -> bool {
    alert.claimed_by.iter().filter_map(|mac| mac.parse().ok()).any(|mac| pattern.matches(mac))
}

/// A program name as syslog daemons find it in a message (RFC 3164, 4.1.3): other characters would end it.
fn check_ident(ident: &str, syslog: bool) -> Result<(), String> {
    if !syslog {
        return Err("ident needs syslog = true".into());
    }
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=32).contains(&ident.len()) && ident.chars().all(is_valid) {
        true => Ok(()),
        false => Err(format!(
            "ident: {ident:?}: 1 to 32 letters, digits, hyphens, dots and underscores are allowed"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel with a list of kinds gets the kinds about the sensor, too, unless it has chosen some of them or none.
    #[test]
    fn each_channel_gets_what_the_sensor_misses() {
        use AlertKind::{Blind, Changed, Duplicate, Full, Lost, Silent};
        for (keys, expected) in [
            ("", vec![Changed, Lost, Full, Blind, Duplicate, Silent]),
            ("kinds = [\"changed\"]\nmacs = [\"00:08:e1:*\"]", vec![Changed, Lost, Full, Blind]),
            ("kinds = [\"changed\", \"blind\"]", vec![Changed, Blind]),
            ("kinds = [\"changed\"]\nsensor = false", vec![Changed]),
            ("kinds = [\"changed\"]\nnetworks = [\"eth0\"]", vec![Changed, Lost, Full]),
        ] {
            let channel: Channel =
                toml::from_str(&format!("name = \"lan\"\nsyslog = true\n{keys}")).unwrap();
            let alert = |kind: AlertKind| Alert {
                network: if kind == Blind { "eth1" } else { "" }.into(),
                mac: if kind.is_sensor() { "" } else { "00:08:e1:01:02:0a" }.into(),
                ..Alert::new(kind, 0)
            };
            let all = [Changed, Lost, Full, Blind, Duplicate, Silent];
            let wanted = |kind: &AlertKind| channel.wants(&alert(*kind), Dialect::Devices);
            assert_eq!(all.into_iter().filter(wanted).collect::<Vec<_>>(), expected, "{keys}");
        }
    }

    /// What was one of four kinds before it was a kind of its own reaches the same channels; `[[mute]]` of these does not mute it.
    #[test]
    fn a_new_setting_goes_where_new_servers_go() {
        for (kind, expected) in [
            ("new_setting", true),
            ("new_dhcp_server", true),
            ("new_router", true),
            ("router_changed", true),
            ("foreign_dns", true),
            ("router_withdrawn", false),
            ("gateway_taken", false),
            ("changed", false),
        ] {
            let text = format!("name = \"lan\"\nsyslog = true\nkinds = [\"{kind}\"]");
            let channel: Channel = toml::from_str(&text).unwrap();
            let gets = channel.gets(AlertKind::NewSetting, Dialect::Devices);
            assert_eq!(gets, expected, "{kind}");
        }
        let all: Channel = toml::from_str("name = \"lan\"\nsyslog = true").unwrap();
        assert!(all.gets(AlertKind::NewSetting, Dialect::Devices));
    }

    #[test]
    fn a_filter_of_addresses_looks_at_the_probed_address() {
        let channel: Channel = toml::from_str(
            "name = \"lan\"\nsyslog = true\nkinds = [\"new_device\", \"silent\"]\naddresses = [\"192.0.2.0/24\"]",
        )
        .unwrap();
        let new = |asked: &str| Alert {
            network: "eth0".into(),
            asked: asked.parse().ok(),
            ..Alert::new(AlertKind::NewDevice, 0)
        };
        for (alert, expected) in [
            (new("192.0.2.7"), true),
            (new("10.9.0.7"), false),
            (Alert { ip: "192.0.2.7".into(), ..new("") }, true),
            (Alert { ip: "10.9.0.7".into(), ..new("") }, false),
            (Alert::new(AlertKind::Silent, 0), true), // it has no address
        ] {
            assert_eq!(channel.wants(&alert, Dialect::Devices), expected, "{alert:?}");
        }
    }
}

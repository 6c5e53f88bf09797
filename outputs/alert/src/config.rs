//! The configuration: what is looked for, and who is told what. TOML; whatever it does not know is a fault.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use aw_notify::MailOptions;
use ipnet::IpNet;
use jiff::{Zoned, tz::TimeZone};
use serde::Deserialize;
use shm_layout::MacAddr;

use crate::{
    device::{Policy, read_names},
    gate::Limit,
    hours::{Day, Hours, Outside, is_open},
    report::{Kind, Message, Report},
    watch::{Dialect, EVERYWHERE, Rules},
    webhook,
};

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// MACs with their names, one a line.
    known: Option<PathBuf>,
    returned_after_days: Option<u32>,
    duplicate_within: Option<u32>,
    quiet: Option<u32>,
    virtual_macs: Option<Policy>,
    random_macs: Option<Policy>,
    proxy_arp_addresses: Option<u32>,
    proxy_arp: Option<Policy>,
    /// By network, or `*`.
    local: BTreeMap<String, Vec<Local>>,
    failover: Vec<Failover>,
    watch: Vec<Watched>,
    mute: Vec<Mute>,
    pub channel: Vec<Channel>,
    /// Where each channel stands in the file.
    #[serde(skip)]
    lines: Vec<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Watched {
    mac: Mac,
    /// Seconds.
    silent_after: u32,
}

/// MACs that take each other's addresses over by design.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failover {
    macs: Vec<Mac>,
}

/// What is local: a block, or what the interface of that name has now.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
enum Local {
    Block(IpNet),
    Interface,
}

impl TryFrom<String> for Local {
    type Error = String;
    fn try_from(text: String) -> Result<Local, String> {
        if text == "interface" {
            return Ok(Local::Interface);
        }
        let why = |why| format!("{why}, nor the word \"interface\"");
        Block::try_from(text).map(|block| Local::Block(block.0)).map_err(why)
    }
}

/// Reports that nobody is told; without a kind all of the MAC, without a MAC all of the kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mute {
    mac: Option<Mac>,
    kind: Option<Kind>,
}

/// Somebody to tell: one way, and a filter whose parts must all agree.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    pub name: String,
    kinds: Option<Vec<Kind>>,
    networks: Option<Vec<String>>,
    macs: Option<Vec<Mac>>,
    addresses: Option<Vec<Block>>,
    hours: Option<Hours>,
    days: Option<Vec<Day>>,
    #[serde(default)]
    pub outside: Outside,
    #[serde(default = "burst")]
    burst: u32,
    #[serde(default = "window")]
    window: u32,
    /// A program with its arguments.
    pub command: Option<Vec<String>>,
    /// Seconds that it may take: a program, a webhook, or each answer of a mail server.
    #[serde(default = "time_limit")]
    pub time_limit: u32,
    pub smtp: Option<MailOptions>,
    pub sendmail: Option<Sendmail>,
    /// Of mail.
    #[serde(default)]
    pub layout: Layout,
    pub webhook: Option<webhook::Options>,
    #[serde(default)]
    pub syslog: bool,
}

/// Where the channels stand.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    channel: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    name: toml::Spanned<String>,
}

/// Whose letters are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Ours: with what else there is to say.
    #[default]
    Own,
    /// arpwatch's, for those who sort by it.
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

fn burst() -> u32 {
    10
}
fn window() -> u32 {
    60
}
fn time_limit() -> u32 {
    30
}
fn sendmail() -> String {
    "/usr/sbin/sendmail".into()
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
struct Mac(MacAddr);

impl TryFrom<String> for Mac {
    type Error = String;
    fn try_from(text: String) -> Result<Mac, String> {
        text.parse().map(Mac).map_err(|why| format!("{text:?}: {why}"))
    }
}

/// An address block.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Block(IpNet);

impl TryFrom<String> for Block {
    type Error = String;
    fn try_from(text: String) -> Result<Block, String> {
        let alone = || text.parse::<IpAddr>().map(IpNet::from);
        let block = text.parse::<IpNet>().or_else(|_| alone());
        block.map(Block).map_err(|_| format!("{text:?} is no address or block"))
    }
}

impl Config {
    /// Understands and checks its text; no file that it names is read.
    pub fn parse(text: &str) -> Result<Config, String> {
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        let fault = |error: toml::de::Error| {
            let place = error.span().map(|span| format!("line {}: ", line(span.start)));
            // Not the line itself: somebody may have put a secret there.
            place.unwrap_or_default() + error.message()
        };
        let mut config: Config = toml::from_str(text).map_err(fault)?;
        let places: Places = toml::from_str(text).map_err(fault)?;
        config.lines = places.channel.iter().map(|place| line(place.name.span().start)).collect();
        for (index, channel) in config.channel.iter().enumerate() {
            channel.check().map_err(|why| config.at(index, &why))?;
            if config.channel[..index].iter().any(|other| other.name == channel.name) {
                return Err(config.at(index, "is there twice"));
            }
        }
        Ok(config)
    }

    /// A fault of a channel, with its place.
    pub fn at(&self, index: usize, why: &str) -> String {
        let name = self.channel.get(index).map_or("", |channel| &channel.name);
        let line = self.lines.get(index).map(|line| format!("line {line}: "));
        format!("{}channel {name:?}: {why}", line.unwrap_or_default())
    }

    /// A channel of the command line.
    pub fn add_command(&mut self, program: Option<&Path>) -> Result<(), String> {
        let Some(program) = program else { return Ok(()) };
        if self.channel.iter().any(|channel| channel.name == "exec") {
            return Err("--exec is a channel \"exec\", and there is one already (rename it)".into());
        }
        let program = std::path::absolute(program).unwrap_or_else(|_| program.into());
        self.channel.push(Channel {
            name: "exec".into(),
            hours: None,
            days: None,
            outside: Outside::default(),
            layout: Layout::default(),
            webhook: None,
            kinds: None,
            networks: None,
            macs: None,
            addresses: None,
            burst: burst(),
            window: window(),
            command: Some(vec![program.to_string_lossy().into_owned()]),
            time_limit: time_limit(),
            smtp: None,
            sendmail: None,
            syslog: false,
        });
        Ok(())
    }

    pub fn rules(&self, dialect: Dialect) -> Result<Rules, String> {
        let given = Rules::default();
        let known = match &self.known {
            None => BTreeMap::new(),
            Some(path) => {
                read_names(&text(path)?).map_err(|why| format!("{}: {why}", path.display()))?
            }
        };
        let mut local = BTreeMap::new();
        for (network, blocks) in &self.local {
            let mut all = Vec::new();
            for block in blocks {
                match block {
                    Local::Block(block) => all.push(*block),
                    Local::Interface if network == EVERYWHERE => {
                        return Err(format!(
                            "local: \"interface\" needs the name of one, not {network}"
                        ));
                    }
                    Local::Interface => all.extend(addresses(network)?),
                }
            }
            local.insert(network.clone(), all);
        }
        let macs = |failover: &Failover| failover.macs.iter().map(|mac| mac.0).collect();
        let watched = self.watch.iter().map(|watch| (watch.mac.0, watch.silent_after.into()));
        Ok(Rules {
            dialect,
            known,
            watched: watched.collect(),
            failovers: self.failover.iter().map(macs).collect(),
            local,
            returned_after_days: self.returned_after_days.unwrap_or(given.returned_after_days),
            duplicate_within: self.duplicate_within.map_or(given.duplicate_within, Into::into),
            quiet: self.quiet.map_or(given.quiet, Into::into),
            virtual_macs: self.virtual_macs.unwrap_or(given.virtual_macs),
            random_macs: self.random_macs.unwrap_or(given.random_macs),
            proxy_arp: self.proxy_arp.unwrap_or(given.proxy_arp),
            proxy_arp_addresses: self.proxy_arp_addresses.unwrap_or(given.proxy_arp_addresses),
        })
    }

    /// Whether nobody is to be told of it, on any channel.
    pub fn mutes(&self, report: &Report) -> bool {
        let hits = |mute: &Mute| {
            mute.mac.is_none_or(|mac| mac.0.to_string() == report.mac)
                && mute.kind.is_none_or(|kind| kind == report.kind)
        };
        self.mute.iter().any(hits)
    }
}

/// The blocks of an interface's IPv4 addresses; where it has none, any address is local, as arpwatch has it.
fn addresses(interface: &str) -> Result<Vec<IpNet>, String> {
    let all = if_addrs::get_if_addrs().map_err(|error| {
        format!("read the addresses of {interface}: {}", shm_layout::cause(&error))
    })?;
    let own = all.into_iter().filter(|found| found.name == interface);
    let blocks: Vec<_> = own
        .filter_map(|found| match found.addr {
            if_addrs::IfAddr::V4(v4) => IpNet::new(v4.ip.into(), v4.prefixlen).ok(),
            if_addrs::IfAddr::V6(_) => None,
        })
        .collect();
    let any = || vec![IpNet::V4(ipnet::Ipv4Net::default())];
    Ok(if blocks.is_empty() { any() } else { blocks })
}

/// A file's text.
pub fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path)
        .map_err(|error| format!("read {}: {}", path.display(), shm_layout::cause(&error)))
}

impl Channel {
    fn check(&self) -> Result<(), String> {
        let mail = self.smtp.is_some() || self.sendmail.is_some();
        let others = [self.command.is_some(), self.webhook.is_some(), self.syslog];
        let ways = [self.smtp.is_some(), self.sendmail.is_some()].into_iter().chain(others);
        if ways.filter(|way| *way).count() != 1 {
            return Err("needs one of command, smtp, sendmail, webhook, syslog".into());
        }
        if self.layout == Layout::Arpwatch && !mail {
            return Err("layout is for smtp and sendmail".into());
        }
        let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(name) {
            return Err("a name has letters, digits, - and _ only".into());
        }
        if let Some(command) = &self.command
            && !command.first().is_some_and(|program| program.starts_with('/'))
        {
            return Err("command: name the program with its whole path".into());
        }
        if self.window == 0 || self.time_limit == 0 {
            return Err("window and time_limit are at least 1 s".into());
        }
        if let Some(smtp) = &self.smtp {
            smtp.host_and_port()?;
        }
        if let Some(webhook) = &self.webhook {
            webhook.check()?;
        }
        if self.outside == Outside::Ignore && self.hours.is_none() && self.days.is_none() {
            return Err("outside needs hours or days".into());
        }
        Ok(())
    }

    /// When it has had enough.
    /// Whether it may be used now.
    pub fn is_open(&self, now: &Zoned) -> bool {
        is_open(self.hours, self.days.as_deref(), now)
    }

    /// A report in its layout.
    pub fn message(&self, report: &Report, zone: &TimeZone) -> Message {
        match self.layout {
            Layout::Own => report.message(zone),
            Layout::Arpwatch => report.arpwatch_message(zone),
        }
    }

    pub fn limit(&self) -> Limit {
        Limit { burst: self.burst, window: self.window.into() }
    }

    /// Whether it wants the report.
    pub fn wants(&self, report: &Report, dialect: Dialect) -> bool {
        fn within<T>(list: &Option<Vec<T>>, hits: impl Fn(&T) -> bool) -> bool {
            list.as_ref().is_none_or(|list| list.iter().any(hits))
        }
        let kind = match (&self.kinds, dialect) {
            (Some(kinds), _) => kinds.contains(&report.kind),
            // arpwatch mails the four, and logs all.
            (None, Dialect::Arpwatch) => self.syslog || !report.kind.is_for_the_log(),
            (None, Dialect::Devices) => Kind::DEFAULT.contains(&report.kind),
        };
        // A silent device is in no network and has no address: it is for all.
        let ip: Option<IpAddr> = report.ip.parse().ok();
        let (no_network, no_ip) = (report.network.is_empty(), report.ip.is_empty());
        let macs = [Some(&report.mac), report.old_mac.as_ref()];
        kind && within(&self.networks, |network| no_network || *network == report.network)
            && within(&self.macs, |mac| macs.contains(&Some(&mac.0.to_string())))
            && within(&self.addresses, |block| no_ip || ip.is_some_and(|ip| block.0.contains(&ip)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn the_example_is_understood() {
        let example = include_str!("../../../contrib/alert/alert.toml");
        assert_eq!(Config::parse(example).unwrap().channel.len(), 3);
        let guide = include_str!("../../../docs/guide/alerts.md");
        assert!(guide.contains(example), "the guide and contrib/alert/alert.toml differ");
    }

    #[test]
    fn faults_are_told() {
        for (text, why) in [
            ("nonsense = 1", "unknown field"),
            ("[[channel]]\nname = \"a\"", "needs one of"),
            ("[[channel]]\nname = \"a\"\ncommand = [\"mail\"]", "whole path"),
            ("[[channel]]\nname = \"a/b\"\nsyslog = true", "letters"),
            ("[[channel]]\nname = \"a\"\nsyslog = true\nkinds = [\"bogus\"]", "unknown variant"),
            ("[[mute]]\nmac = \"1:2\"", "not a MAC address"),
        ] {
            let told = Config::parse(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
        let twice = "[[channel]]\nname = \"a\"\nsyslog = true\n".repeat(2);
        assert!(Config::parse(&twice).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_channel_gets_what_it_wants() {
        let config = Config::parse(
            "[[mute]]\nmac = \"0:8:e1:1:2:b\"\n[[mute]]\nkind = \"back\"\n\
             [[channel]]\nname = \"a\"\nsyslog = true\naddresses = [\"10.0.0.0/8\"]\nkinds = [\"flip_flop\"]\n\
             [[channel]]\nname = \"b\"\ncommand = [\"/bin/true\"]\nnetworks = [\"eth1\"]\n",
        )
        .unwrap();
        let [a, b] = &*config.channel else { panic!() };
        let wants = |channel: &Channel, report: &Report| channel.wants(report, Dialect::Devices);
        let flip = report(Kind::FlipFlop);
        let elsewhere = Report { ip: "192.0.2.1".into(), network: "eth1".into(), ..flip.clone() };
        assert_eq!((wants(a, &flip), wants(b, &flip)), (true, false));
        assert_eq!((wants(a, &elsewhere), wants(b, &elsewhere)), (false, true));
        assert!(!wants(a, &report(Kind::Changed)) && !config.mutes(&flip));
        assert!(config.mutes(&report(Kind::Back)));
        assert!(config.mutes(&Report { mac: "00:08:e1:01:02:0b".into(), ..flip }));
    }
}

//! The configuration file (TOML): detection rules and notification channels. Unknown keys are errors.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use aw_detect::{
    ALL_NETWORKS, Alert, AlertKind, Dialect, MacPattern, MacPolicy, Names, Rules, split_network,
};
use aw_service::{FileKind, optional_seconds, parse_network, read_file_text, seconds, unknown_key};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use serde::Deserialize;
use shm_layout::MacAddr;

use crate::{
    channel::Channel,
    mute::Mute,
    named_servers::{NamedAddress, ServerValue, with_one_owner},
};

/// Bytes of the file, at most.
const MAX_CONFIG: u64 = 4 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    known: Option<PathBuf>,
    returned_after_days: Option<u32>,
    #[serde(deserialize_with = "optional_seconds")]
    duplicate_within: Option<u32>,
    #[serde(deserialize_with = "optional_seconds")]
    quiet: Option<u32>,
    virtual_macs: Option<MacPolicy>,
    random_macs: Option<MacPolicy>,
    proxy_arp_addresses: Option<u32>,
    proxies: Vec<MacValue>,
    scanners: Vec<MacValue>,
    proxy_arp: Option<MacPolicy>,
    routers: Vec<NamedAddress>,
    dhcp_servers: Vec<ServerValue>,
    dns_servers: Vec<NamedAddress>,
    /// By network, or `*`.
    local: BTreeMap<String, Vec<LocalNetwork>>,
    failover: Vec<FailoverGroup>,
    watch: Vec<WatchedDevice>,
    mute: Vec<toml::Spanned<Mute>>,
    pub channel: Vec<Channel>,
    #[serde(skip)]
    lines: Vec<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchedDevice {
    mac: Option<MacValue>,
    name: Option<String>,
    #[serde(deserialize_with = "seconds")]
    silent_after: u32,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
struct MacValue(MacAddr);

impl TryFrom<String> for MacValue {
    type Error = String;
    fn try_from(text: String) -> Result<MacValue, String> {
        text.parse().map(MacValue).map_err(|why| format!("{text:?}: {why}"))
    }
}

/// MACs that take each other's addresses over by design.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FailoverGroup {
    macs: Vec<MacPattern>,
}

/// A local network: a block, or the addresses that the interface has at the start.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
enum LocalNetwork {
    Block(IpNet),
    Interface,
}

impl TryFrom<String> for LocalNetwork {
    type Error = String;
    fn try_from(text: String) -> Result<LocalNetwork, String> {
        if text == "interface" {
            return Ok(LocalNetwork::Interface);
        }
        let fault = |why| format!("{why}, or \"interface\"");
        parse_network(&text).map(LocalNetwork::Block).map_err(fault)
    }
}

/// Finds the line of each channel.
#[derive(Deserialize)]
struct ChannelLines {
    #[serde(default)]
    channel: Vec<SpannedName>,
}

#[derive(Deserialize)]
struct SpannedName {
    name: toml::Spanned<String>,
}

impl Config {
    /// Parses and checks a file's text; files that it names are not read.
    pub fn parse(text: &str) -> Result<Config, String> {
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        let fault = |error: toml::de::Error| {
            let place = error.span().map(|span| format!("line {}: ", line(span.start)));
            // Without the line itself, which may contain a secret.
            let at = error.span().map(|span| span.start);
            let why = misplaced(error.message(), text)
                .or_else(|| secret_key(error.message()))
                .or_else(|| typographic_quote(error.message(), text, at))
                .unwrap_or_else(|| aw_service::plain_fault(error.message(), text, at));
            place.unwrap_or_default() + &why
        };
        let mut config: Config = toml::from_str(text).map_err(fault)?;
        for mute in &config.mute {
            let place = || line(mute.span().start);
            mute.get_ref().check().map_err(|why| format!("line {}: [[mute]]: {why}", place()))?;
        }
        if config.watch.iter().any(|watch| watch.mac.is_some() == watch.name.is_some()) {
            return Err("[[watch]]: needs one of mac and name".into());
        }
        let names: ChannelLines = toml::from_str(text).map_err(fault)?;
        config.lines =
            names.channel.iter().map(|spanned| line(spanned.name.span().start)).collect();
        for (index, channel) in config.channel.iter().enumerate() {
            channel.check().map_err(|why| config.at(index, &why))?;
            if config.channel[..index].iter().any(|other| other.name == channel.name) {
                return Err(config.at(index, "this name is used twice (names must differ)"));
            }
        }
        Ok(config)
    }

    /// An error of a channel, with its line.
    pub fn at(&self, index: usize, why: &str) -> String {
        let name = self.channel.get(index).map_or("", |channel| &channel.name);
        let line = self.lines.get(index).map(|line| format!("line {line}: "));
        format!("{}channel {name:?}: {why}", line.unwrap_or_default())
    }

    /// Adds the channel of `--exec`.
    pub fn add_command(&mut self, program: Option<&Path>) -> Result<(), String> {
        let Some(program) = program else { return Ok(()) };
        if self.channel.iter().any(|channel| channel.name == "exec") {
            return Err("--exec adds a channel \"exec\", and the configuration has one already (rename that channel)".into());
        }
        let program = std::path::absolute(program).unwrap_or_else(|_| program.into());
        let mut channel: Channel =
            toml::from_str("name = \"exec\"").map_err(|error| error.to_string())?;
        channel.command = Some(vec![program.to_string_lossy().into_owned()]);
        self.channel.push(channel);
        Ok(())
    }

    /// The file of known devices.
    pub fn known(&self) -> Option<&Path> {
        self.known.as_deref()
    }

    /// The lists of networks of all filters, and which filter it is.
    pub fn networks(&self) -> Vec<(String, &[String])> {
        let of_channel = |channel: &'_ Channel| format!("channel {}", channel.name);
        let channels = self.channel.iter().map(|one| (of_channel(one), one.networks()));
        let mutes = self.mute.iter().map(|one| ("[[mute]]".to_owned(), one.get_ref().networks()));
        channels.chain(mutes).filter_map(|(of, networks)| Some((of, networks?))).collect()
    }

    /// Whether it names routers or servers.
    pub fn names_infrastructure(&self) -> bool {
        !(self.routers.is_empty() && self.dhcp_servers.is_empty() && self.dns_servers.is_empty())
    }

    pub fn has_watch(&self) -> bool {
        !self.watch.is_empty()
    }

    /// The files and programs that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        self.known.iter().cloned().chain(self.channel.iter().flat_map(Channel::files)).collect()
    }

    /// The rules, without the known devices; reads the addresses of interfaces.
    pub fn rules(&self, dialect: Dialect) -> Result<Rules, String> {
        let default = Rules::default();
        let mut local = BTreeMap::new();
        for (network, blocks) in &self.local {
            let mut all = Vec::new();
            for block in blocks {
                match block {
                    LocalNetwork::Block(block) => all.push(*block),
                    LocalNetwork::Interface if network == ALL_NETWORKS => {
                        return Err(format!(
                            "local: \"interface\" needs the name of an interface instead of {network}"
                        ));
                    }
                    LocalNetwork::Interface => {
                        let (_, _, interface) = split_network(network);
                        all.extend(interface_networks(interface)?);
                    }
                }
            }
            local.insert(network.clone(), all);
        }
        let rules = Rules {
            dialect,
            known: default.known,
            names: default.names,
            watched: self.watched(&Names::new()),
            failovers: self.failover.iter().map(|group| group.macs.clone()).collect(),
            local,
            returned_after_days: self.returned_after_days.unwrap_or(default.returned_after_days),
            duplicate_within: self.duplicate_within.map_or(default.duplicate_within, Into::into),
            quiet: self.quiet.map_or(default.quiet, Into::into),
            virtual_macs: self.virtual_macs.unwrap_or(default.virtual_macs),
            random_macs: self.random_macs.or(default.random_macs),
            proxy_arp: self.proxy_arp.unwrap_or(default.proxy_arp),
            proxies: self.proxies.iter().map(|mac| mac.0).collect(),
            scanners: self.scanners.iter().map(|mac| mac.0).collect(),
            proxy_arp_addresses: self.proxy_arp_addresses.unwrap_or(default.proxy_arp_addresses),
            routers: self.routers.iter().map(|one| one.0.clone()).collect(),
            dhcp_servers: self.dhcp_servers.iter().map(|one| one.0.clone()).collect(),
            dns_servers: self.dns_servers.iter().map(|one| one.0.clone()).collect(),
            show_ring: default.show_ring,
            service_file: default.service_file,
            own: default.own,
        };
        with_one_owner(&rules)?;
        Ok(rules)
    }

    /// The devices of `[[watch]]`, with the seconds after which they are silent: those with a name are the MACs that have it.
    pub fn watched(&self, names: &Names) -> BTreeMap<MacAddr, i64> {
        let mut watched = BTreeMap::new();
        for WatchedDevice { mac, name, silent_after } in &self.watch {
            let with_name = names.iter().filter(|(_, known)| Some(*known) == name.as_ref());
            let macs = with_name.map(|(mac, _)| *mac).chain(mac.map(|mac| mac.0));
            watched.extend(macs.map(|mac| (mac, (*silent_after).into())));
        }
        watched
    }

    /// The names of `[[watch]]` that no device has, so that nothing is watched.
    pub fn unwatched(&self, names: &Names) -> Vec<&str> {
        let watched = self.watch.iter().filter_map(|device| device.name.as_deref());
        watched.filter(|name| !names.values().any(|known| known == name)).collect()
    }

    /// The names of `[[watch]]` and `[[mute]]`.
    pub fn device_names(&self) -> BTreeSet<&str> {
        let watched = self.watch.iter().map(|device| device.name.as_deref());
        let muted = self.mute.iter().map(|mute| mute.get_ref().name());
        watched.chain(muted).flatten().collect()
    }

    /// Whether `--print` has alerts of this kind: a channel gets it by default, or lists it. arpwatch logs all.
    pub fn prints(&self, kind: AlertKind, dialect: Dialect) -> bool {
        dialect == Dialect::Arpwatch
            || AlertKind::DEFAULT.contains(&kind)
            || self.channel.iter().any(|channel| channel.lists(kind))
    }

    /// Whether an alert is not sent on any channel.
    pub fn mutes(&self, alert: &Alert, zone: &TimeZone, names: &Names) -> bool {
        self.mute.iter().any(|mute| mute.get_ref().matches(alert, zone, names))
    }
}

/// The message about a key that would hold a secret.
fn secret_key(message: &str) -> Option<String> {
    let (key, known) = unknown_key(message)?;
    let file = format!("{key}_file");
    known.contains(&&*file).then(|| {
        format!("unknown key `{key}`: a secret is not written here, because many may read this file (write it into the first line of a file of its own, and set {file} to that)")
    })
}

/// The message about a value in quotes as word processors and web pages have them.
fn typographic_quote(message: &str, text: &str, at: Option<usize>) -> Option<String> {
    let quote = text.get(at?..)?.chars().next()?;
    let is_quote = message.starts_with("string values must be quoted")
        && "\u{201c}\u{201d}\u{201e}\u{2018}\u{2019}\u{ab}\u{bb}".contains(quote);
    is_quote.then(|| format!("{quote} is no quote here: write \" before and after the text"))
}

/// The message about a key of the whole file that stands below the heading of a table, and so belongs to that table.
fn misplaced(message: &str, text: &str) -> Option<String> {
    let (key, _) = unknown_key(message)?;
    let of_file = toml::from_str::<Config>("\"?\" = 0").err()?;
    let (_, keys) = unknown_key(of_file.message())?;
    let is_heading = |line: &&str| line.starts_with('[');
    let first = text.lines().map(str::trim).find(is_heading)?;
    let first = first.split_inclusive(']').take_while(|part| part.contains(']'));
    let first: String = first.take(2).filter(|part| !part.contains('#')).collect();
    keys.contains(&key).then(|| {
        format!("`{key}` is a key of the whole file: move it up, above the first table, {first}")
    })
}

/// The networks of an interface's IPv4 addresses; without one, any address is local, as in arpwatch.
fn interface_networks(interface: &str) -> Result<Vec<IpNet>, String> {
    let all = if_addrs::get_if_addrs().map_err(|error| {
        format!("read the addresses of {interface}: {}", aw_service::cause(&error))
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

pub fn text(path: &Path) -> Result<String, String> {
    read_file_text(path, FileKind::Settings, MAX_CONFIG).map_err(|error| {
        let why = aw_service::explain_or(&error, "(name another file with -c)");
        format!("read {}: {why}", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use aw_service::manual::documented_keys;

    use crate::notification::tests::alert;

    #[test]
    fn the_example_is_accepted() {
        let example = include_str!("../../../contrib/alert/alert.toml");
        assert_eq!(Config::parse(example).unwrap().channel.len(), 3);
        let guide = include_str!("../../../docs/guide/alerts.md");
        assert!(guide.contains(example), "the guide and contrib/alert/alert.toml differ");
    }

    #[test]
    fn errors_name_their_cause() {
        for (text, why) in [
            ("nonsense = 1", "unknown key"),
            (
                "quiet = -1",
                "line 1: quiet: must be a number of seconds, or a time such as \"10m\", not the number -1",
            ),
            (
                "quiet = \"1\"",
                "line 1: quiet: must be a number of seconds, or a time such as \"10m\", not the text \"1\"",
            ),
            (
                "returned_after_days = \"1w\"",
                "line 1: returned_after_days: must be a whole number, 0 or more, not the text \"1w\"",
            ),
            ("[[channel]]\nname = \"a\"\nkinds = \"back\"", "must be a list in square brackets"),
            ("[[channel]]\nname = \"a\"", "needs exactly one of"),
            (
                "[[channel]] # one\nname = \"a\"\nsyslog = true\nknown = \"/x\"",
                "line 4: `known` is a key of the whole file: move it up, above the first table, [[channel]]",
            ),
            (
                "quiet = 1\n[channel]\nname = \"a\"",
                "line 2: [channel] is one of several: write [[channel]]",
            ),
            ("[[channel]]\nname = \"a\"\ncommand = [\"mail\"]", "absolute path"),
            ("[[channel]]\nname = \"a/b\"\nsyslog = true", "letters"),
            ("[[channel]]\nname = \"a\"\nsyslog = true\nkinds = [\"bogus\"]", "unknown value"),
            ("[[mute]]\nmac = \"1:2\"", "not a MAC address"),
            ("[[watch]]\nsilent_after = \"10m\"", "[[watch]]: needs one of mac and name"),
            (
                "[[watch]]\nname = \"nas\"\nsilent_after = \"10\"",
                "must be a number of seconds, or a time such as \"10m\", not the text \"10\"",
            ),
            (
                "[[channel]]\nname = \u{201c}a\u{201d}",
                "line 2: \u{201c} is no quote here: write \" before and after the text",
            ),
            (
                "[[channel]]\nname = \"a\"\n[channel.smtp]\npassword = \"s3cret\"",
                "line 4: unknown key `password`: a secret is not written here, because many may read this file (write it into the first line of a file of its own, and set password_file to that)",
            ),
            (
                "[[mute]]\nkind = \"back\"\n\n[[mute]]\n",
                "line 4: [[mute]]: mutes every alert (set mac, ",
            ),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let twice = "[[channel]]\nname = \"a\"\nsyslog = true\n".repeat(2);
        assert!(Config::parse(&twice).unwrap_err().contains("twice"));
    }

    /// Each key with seconds takes a time, too.
    #[test]
    fn times() {
        let with = |quiet: &str, within: &str, window: &str, limit: &str| {
            let config = Config::parse(&format!(
                "quiet = {quiet}\nduplicate_within = {within}\n[[channel]]\nname = \"x\"\nsyslog = true\nwindow = {window}\ntime_limit = {limit}\n"
            ))
            .unwrap();
            format!("{:?} {:?}", config.rules(Dialect::Devices).unwrap(), config.channel)
        };
        assert_eq!(
            with("5400", "120", "600", "45"),
            with("\"1h30m\"", "\"2m\"", "\"10m\"", "\"45s\"")
        );
    }

    #[test]
    fn channels_filter_alerts() {
        let config = Config::parse(
            "[[mute]]\nmac = \"0:8:e1:1:2:b\"\n[[mute]]\nkind = \"back\"\n\
             [[channel]]\nname = \"a\"\nsyslog = true\naddresses = [\"10.0.0.0/8\"]\nkinds = [\"flip_flop\"]\n\
             [[channel]]\nname = \"b\"\ncommand = [\"/bin/true\"]\nnetworks = [\"eth1\"]\n",
        )
        .unwrap();
        let [a, b] = &*config.channel else { panic!() };
        let wants = |channel: &Channel, alert: &Alert| channel.wants(alert, Dialect::Devices);
        let flip = alert(AlertKind::FlipFlop);
        let elsewhere = Alert { ip: "192.0.2.1".into(), network: "eth1".into(), ..flip.clone() };
        assert_eq!((wants(a, &flip), wants(b, &flip)), (true, false));
        assert_eq!((wants(a, &elsewhere), wants(b, &elsewhere)), (false, true));
        let mutes = |alert: &Alert| config.mutes(alert, &TimeZone::UTC, &Names::new());
        let one = Alert { old_mac: None, ..flip.clone() };
        assert!(!wants(a, &alert(AlertKind::Changed)) && !mutes(&one));
        assert!(mutes(&alert(AlertKind::Back)));
        assert!(mutes(&Alert { mac: "00:08:e1:01:02:0b".into(), ..one }));
        assert!(mutes(&flip), "the previous MAC");
    }

    #[test]
    fn devices_by_name() {
        let config = Config::parse(
            "[[watch]]\nname = \"nas\"\nsilent_after = \"10m\"\n[[watch]]\nmac = \"2:0:0:0:0:9\"\nsilent_after = 5\n\
             [[mute]]\nname = \"nas\"\nkind = \"flip_flop\"\n",
        )
        .unwrap();
        let [nas, other, nine] = ["00:08:e1:01:02:0b", "02:00:00:00:00:01", "02:00:00:00:00:09"]
            .map(|mac| mac.parse::<MacAddr>().unwrap());
        let names = Names::from([(nas, "nas".to_owned()), (other, "other".to_owned())]);
        assert_eq!(config.watched(&names), BTreeMap::from([(nas, 600), (nine, 5)]));
        assert_eq!(config.watched(&Names::new()), BTreeMap::from([(nine, 5)]));
        assert_eq!(config.unwatched(&names), [""; 0]);
        assert_eq!(config.unwatched(&Names::from([(nas, "NAS".to_owned())])), ["nas"]);
        let flip = alert(AlertKind::FlipFlop); // 0b is the previous MAC
        let mutes = |alert: &Alert, names: &Names| config.mutes(alert, &TimeZone::UTC, names);
        assert!(mutes(&flip, &names) && !mutes(&flip, &Names::new()));
        assert!(!mutes(&Alert { old_mac: None, ..flip }, &names));
    }

    const MANUAL: &str = include_str!("../../../contrib/man/addrwatch-alert.toml.5");

    /// A minimal configuration for each table of the manual, without one key; a line can be appended.
    fn minimal(table: &str, without: &str) -> String {
        let address = "from = \"a@b\"\nto = [\"c@d\"]\n";
        let transport =
            |text: &str| format!("[[channel]]\nname = \"x\"\n[channel.{table}]\n{text}");
        let text = match (table, without) {
            ("file", _) => String::new(),
            ("channel", "command") => "[[channel]]\nname = \"x\"\nsyslog = true\n".into(),
            ("channel", _) => "[[channel]]\nname = \"x\"\ncommand = [\"/x\"]\n".into(),
            ("smtp", _) => transport(&format!("server = \"x\"\n{address}")),
            ("oauth", _) => {
                let server = format!("[channel.smtp]\nserver = \"x\"\nuser = \"u\"\n{address}");
                let tokens = match without {
                    "command" => {
                        "token_url = \"https://a\"\nclient_id = \"c\"\nrefresh_token_env = \"R\"\n"
                    }
                    _ => "command = [\"/x\"]\n",
                };
                format!("[[channel]]\nname = \"x\"\n{server}[channel.smtp.oauth]\n{tokens}")
            }
            ("sendmail", _) => transport(address),
            ("webhook", "url") => transport("template = \"ntfy\"\ntopic = \"t\"\n"),
            ("webhook", _) => transport("url = \"https://a\"\n"),
            ("watch", "mac") => "[[watch]]\nname = \"nas\"\nsilent_after = 1\n".into(),
            ("watch", _) => "[[watch]]\nmac = \"2:0:0:0:0:1\"\nsilent_after = 1\n".into(),
            ("failover", _) => "[[failover]]\nmacs = []\n".into(),
            ("mute", "mac") => "[[mute]]\nkind = \"back\"\n".into(),
            ("mute", _) => "[[mute]]\nmac = \"2:0:0:0:0:1\"\n".into(),
            (table, _) => format!("[[{table}]]\n"),
        };
        let is_other = |line: &&str| !line.starts_with(&format!("{without} = "));
        text.split_inclusive('\n').filter(is_other).collect()
    }

    #[test]
    fn the_manual_has_the_keys_of_the_parser() {
        let keys = documented_keys(MANUAL);
        let tables: BTreeSet<_> = keys.iter().map(|key| key.table.as_str()).collect();
        assert_eq!(tables.len(), 9, "{tables:?}");
        for table in tables {
            let error = Config::parse(&format!("{}made_up = 1\n", minimal(table, ""))).unwrap_err();
            let (_, expected) = error.split_once("expected ").expect(&error);
            let parsed: BTreeSet<_> = expected.split('`').skip(1).step_by(2).collect();
            let documented = keys.iter().filter(|key| key.table == table);
            assert_eq!(documented.map(|key| key.name.as_str()).collect::<BTreeSet<_>>(), parsed);
        }
    }

    #[test]
    fn the_manual_has_the_types_and_defaults_of_the_parser() {
        for key in documented_keys(MANUAL) {
            let parsed = |line: &str| Config::parse(&(minimal(&key.table, &key.name) + line));
            let rules = |config: Config| (config.rules(Dialect::Devices), config.channel);
            key.compare(true, |line| parsed(line).map(|config| format!("{:?}", rules(config))))
                .unwrap();
            if !key.required && key.default.is_none() {
                let settings = format!("{:?}", parsed("").unwrap());
                let unset = ["None", "[]", "{}"].map(|unset| format!("{}: {unset}", key.name));
                assert!(unset.iter().any(|unset| settings.contains(unset)), "{key:?}: {settings}");
            }
        }
    }
}

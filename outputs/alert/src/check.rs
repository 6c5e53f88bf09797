//! `--check`: whether each channel could send, tried as the service's user and without a message.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use aw_detect::{AlertKind, Dialect, Names, matches_network};

use aw_notify::http::parse_url;
use aw_peer::{Budget, PeerStream, TlsCheck, certificate_fault, client_config, guarded};
use aw_service::{HostPort, Secret, cause, check_program, connection_fault, count_of, plain};

use crate::{
    channel::Channel,
    config::Config,
    learned::place,
    transport::{ChannelSecrets, Transport, TransportOptions},
    webhook_options::WebhookOptions,
};

/// Bytes of a server's handshake, at most.
const MAX_HANDSHAKE: u64 = 256 << 10;
/// Networks that a warning names.
const MAX_SHOWN: usize = 10;

/// Returns a line for the user, or the faults.
pub fn check(
    config: &Config,
    known: usize,
    names: &Names,
    seen: &Seen,
    secrets: &BTreeMap<String, ChannelSecrets>,
    options: TransportOptions,
) -> Result<String, Vec<String>> {
    let none = ChannelSecrets::default();
    let faults = config.channel.iter().filter_map(|channel| {
        let secrets = secrets.get(&channel.name).unwrap_or(&none);
        let fault = check_channel(channel, secrets, options).err()?;
        Some(format!("channel {}: {fault}", channel.name))
    });
    let unwatched = config.unwatched(names).into_iter().map(|name| unwatched(name, names));
    let faults: Vec<_> = faults.chain(unwatched).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut lines = vec![count_of(config.channel.len() as u64, "channel", "channels")];
    if config.known().is_some() {
        let devices = count_of(known as u64, "device", "devices");
        lines[0] += &format!(", {devices} in the list of known devices");
    }
    lines.extend(config.channel.iter().filter_map(with_new_setting));
    lines.extend(warnings(config, known, seen));
    Ok(lines.join("\n"))
}

/// What the service has seen, as far as it is known.
#[derive(Default)]
pub struct Seen {
    /// The full names of the networks in its memory.
    pub networks: Vec<String>,
    /// The full names of the interfaces of the rings.
    pub interfaces: Vec<String>,
    /// Whether devices are known because of an import.
    pub imported: bool,
    /// Whether rings can be read, and none of them has names.
    pub lacks_names: bool,
}

impl Seen {
    /// The network of a filter, if none like it was seen.
    fn unseen(&self, name: &str) -> Option<String> {
        let base = name.strip_suffix(".*").unwrap_or(name); // it may have no VLAN yet
        let is_seen =
            |network: &String| [name, base].iter().any(|one| matches_network(one, network));
        if self.networks.iter().chain(&self.interfaces).any(is_seen) {
            return None;
        }
        // Of a VLAN, no ring has a counter.
        let parent = base.rsplit_once('.').map(|(parent, _)| parent);
        let is_parent =
            |interface: &String| parent.is_some_and(|it| matches_network(it, interface));
        if self.networks.is_empty()
            && (self.interfaces.is_empty() || self.interfaces.iter().any(is_parent))
        {
            return None;
        }
        Some(format!("no network {name} was seen yet (seen: {})", self.shown()))
    }

    fn shown(&self) -> String {
        let all = self.networks.iter().chain(&self.interfaces);
        let all: BTreeSet<_> = all.map(|network| place(network, false)).collect();
        let more = if all.len() > MAX_SHOWN { ", ..." } else { "" };
        let shown: Vec<_> = all.into_iter().take(MAX_SHOWN).collect();
        plain(&shown.join(", ")) + more
    }

    /// VLANs of an interface that a list of networks leaves out.
    fn left_out(&self, networks: &[String]) -> Option<String> {
        networks.iter().find_map(|name| {
            let pattern = format!("{name}.*");
            let is_left = |full: &&String| {
                matches_network(&pattern, full)
                    && !networks.iter().any(|other| matches_network(other, full))
            };
            let vlan = self.networks.iter().find(is_left)?;
            let vlan = plain(&place(vlan, false));
            Some(format!("{name} does not include its VLANs, such as {vlan} (add \"{pattern}\" for all of them)"))
        })
    }
}

/// A name of `[[watch]]` that no device has: cause and remedy.
pub fn unwatched(name: &str, names: &Names) -> String {
    let other = names.values().find(|known| known.to_lowercase() == name.to_lowercase());
    let remedy = match other {
        Some(other) => format!("one is called {:?}: write that", plain(other)),
        None => "aw-query name gives a device its name; or set mac".into(),
    };
    format!("[[watch]]: no device has the name {name:?}: none is watched by it ({remedy})")
}

/// Routers and servers are named, and no collector records what they announce.
pub const NO_NAMES: &str = "routers, dhcp_servers or dns_servers are set, but no collector records names: rogue ones are not reported (add --names to its OPTIONS_ALL in /etc/addrwatch/collector.conf, then systemctl restart addrwatch-collector@INTERFACE)";

/// That a channel gets a kind which its list does not name.
fn with_new_setting(channel: &Channel) -> Option<String> {
    let is_listed = channel.lists(AlertKind::NewSetting);
    let of = AlertKind::WITH_NEW_SETTING.iter().find(|kind| channel.lists(**kind))?.name();
    (!is_listed).then(|| {
        format!(
            "channel {}: its digests have new_setting, too, because its kinds have {of}",
            channel.name
        )
    })
}

/// What is valid, and sends nothing nevertheless.
fn warnings(config: &Config, known: usize, seen: &Seen) -> Vec<String> {
    let mut warnings = Vec::new();
    for (of, networks) in config.networks() {
        let unseen = networks.iter().filter_map(|name| seen.unseen(name));
        let each = unseen.chain(seen.left_out(networks));
        warnings.extend(each.map(|why| format!("warning: {of}: networks: {why}")));
    }
    if seen.lacks_names && config.names_infrastructure() {
        warnings.push(format!("warning: {NO_NAMES}"));
    }
    if config.has_watch()
        && !config.channel.iter().any(|channel| channel.gets(AlertKind::Silent, Dialect::Devices))
    {
        warnings.push(
            "warning: [[watch]]: no channel gets \"silent\" (add it to the kinds of one)".into(),
        );
    }
    let lists_unknown =
        config.channel.iter().find(|channel| channel.lists(AlertKind::UnknownDevice));
    if let Some(channel) = lists_unknown
        && known == 0
        && !seen.imported
    {
        warnings.push(format!(
            "warning: channel {}: \"unknown_device\" needs a list of known devices (set known; \"new_device\" needs none)",
            channel.name
        ));
    }
    warnings
}

fn check_channel(
    channel: &Channel,
    secrets: &ChannelSecrets,
    options: TransportOptions,
) -> Result<(), String> {
    let limit = Duration::from_secs(channel.time_limit.into());
    if let Some(program) = channel.command.iter().flatten().next() {
        check_program(Path::new(program))?;
    }
    if let Some(sendmail) = &channel.sendmail {
        check_program(Path::new(&sendmail.path))?;
    }
    if let Some(webhook) = &channel.webhook {
        reach(webhook, secrets.url.as_ref(), limit)?;
    }
    Transport::new(channel, secrets, options)?.check()
}

/// Connects to the server of a webhook, with TLS if its URL says so, or to the proxy; sends no request.
fn reach(options: &WebhookOptions, secret: Option<&Secret>, limit: Duration) -> Result<(), String> {
    let url = options.url(secret).unwrap_or_default();
    let (uri, shown) = parse_url(url)?;
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let server = HostPort { host, port: uri.port_u16().unwrap_or(default) };
    let proxy = ureq::Proxy::try_from_env();
    let through = proxy.as_ref().filter(|proxy| !proxy.is_no_proxy(&uri));
    let to = through.map_or_else(
        || server.clone(),
        |proxy| HostPort { host: proxy.host().to_owned(), port: proxy.port() },
    );
    let budget = Budget { time: 2 * limit, silence: limit, bytes: MAX_HANDSHAKE };
    let connect = || {
        let stream = PeerStream::connect(&to, budget).map_err(|error| cause(&error))?;
        if through.is_none() && default == 443 {
            let tls = client_config(options.ca_file.as_deref(), None, TlsCheck::Identity)?;
            stream
                .start_tls(&tls, &server.host)
                .map_err(|error| certificate_fault(&cause(&error), "ca_file"))?;
        }
        Ok(())
    };
    let shown = match through {
        Some(proxy) => format!("{shown} through the proxy {}:{}", proxy.host(), proxy.port()),
        None => shown,
    };
    let setting = if through.is_some() { "the proxy" } else { "the URL" };
    guarded(connect, |why| why).map_err(|why: String| {
        format!(
            "reach {shown}: {}",
            connection_fault(&why, setting, "write http:// in the URL, or the port that has TLS")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `--check` passes no watch that watches nothing.
    #[test]
    fn a_watch_by_a_name_that_no_device_has() {
        let text = "[[watch]]\nname = \"nas\"\nsilent_after = 9";
        let config = Config::parse(text).unwrap();
        let options = TransportOptions { dialect: Dialect::Devices, state: Path::new("/nowhere") };
        let checked = |names: &[(&str, &str)]| {
            let names = names.iter().map(|(mac, name)| (mac.parse().unwrap(), (*name).to_owned()));
            check(&config, 0, &names.collect(), &Seen::default(), &BTreeMap::new(), options)
        };
        assert!(checked(&[("2:0:0:0:0:1", "nas")]).is_ok());
        let why = "[[watch]]: no device has the name \"nas\": none is watched by it";
        let name = "(aw-query name gives a device its name; or set mac)";
        assert_eq!(checked(&[]).unwrap_err(), [format!("{why} {name}")]);
        let other = checked(&[("2:0:0:0:0:1", "NAS")]).unwrap_err();
        assert_eq!(other, [format!("{why} (one is called \"NAS\": write that)")]);
    }

    #[test]
    fn a_kind_that_the_list_does_not_name() {
        let of = |kinds: &str| {
            let text = format!("[[channel]]\nname = \"a\"\nsyslog = true\n{kinds}");
            with_new_setting(&Config::parse(&text).unwrap().channel[0])
        };
        let line = of("kinds = [\"changed\", \"foreign_dns\"]").unwrap();
        let expected =
            "channel a: its digests have new_setting, too, because its kinds have foreign_dns";
        assert_eq!(line, expected);
        for kinds in ["", "kinds = [\"changed\"]", "kinds = [\"new_setting\", \"new_router\"]"] {
            assert_eq!(of(kinds), None, "{kinds}");
        }
    }

    #[test]
    fn configurations_that_send_nothing() {
        let seen = Seen {
            networks: ["h/addrwatch/eth0", "h/addrwatch/eth1", "h/addrwatch/eth1.7"]
                .map(str::to_owned)
                .into(),
            interfaces: ["h/addrwatch/eth0", "h/addrwatch/eth2"].map(str::to_owned).into(),
            imported: false,
            lacks_names: true,
        };
        let channel = "[[channel]]\nname = \"a\"\nsyslog = true\n";
        let of = |text: &str, known: usize, seen: &Seen| {
            let config = Config::parse(&text.replace("CHANNEL", channel)).unwrap();
            warnings(&config, known, seen)
        };
        for (text, expected) in [
            ("CHANNEL", ""),
            (
                "routers = [\"192.0.2.1\"]\nCHANNEL",
                "warning: routers, dhcp_servers or dns_servers are set, but no collector records names: rogue ones are not reported (add --names to its OPTIONS_ALL in /etc/addrwatch/collector.conf, then systemctl restart addrwatch-collector@INTERFACE)",
            ),
            ("CHANNEL networks = [\"eth0\", \"eth2\", \"eth1\", \"eth1.*\"]", ""),
            ("CHANNEL networks = [\"eth0.*\", \"addrwatch/eth2\", \"h/addrwatch/eth2\"]", ""),
            (
                "CHANNEL networks = [\"site-b/eth2\"]",
                "warning: channel a: networks: no network site-b/eth2 was seen yet (seen: eth0, eth1, eth1.7, eth2)",
            ),
            (
                "CHANNEL networks = [\"eht0\"]",
                "warning: channel a: networks: no network eht0 was seen yet (seen: eth0, eth1, eth1.7, eth2)",
            ),
            (
                "CHANNEL networks = [\"eth1\"]",
                "warning: channel a: networks: eth1 does not include its VLANs, such as eth1.7 (add \"eth1.*\" for all of them)",
            ),
            (
                "CHANNEL\n[[mute]]\nnetworks = [\"eth1:7\"]",
                "warning: [[mute]]: networks: no network eth1:7 was seen yet (seen: eth0, eth1, eth1.7, eth2)",
            ),
            (
                "CHANNEL kinds = [\"changed\"]\n[[watch]]\nmac = \"2:0:0:0:0:1\"\nsilent_after = 1",
                "warning: [[watch]]: no channel gets \"silent\" (add it to the kinds of one)",
            ),
            ("CHANNEL\n[[watch]]\nmac = \"2:0:0:0:0:1\"\nsilent_after = 1", ""),
            (
                "CHANNEL kinds = [\"unknown_device\"]",
                "warning: channel a: \"unknown_device\" needs a list of known devices (set known; \"new_device\" needs none)",
            ),
        ] {
            assert_eq!(of(text, 0, &seen).join("\n"), expected, "{text}");
        }
        let unknown = "CHANNEL kinds = [\"unknown_device\"]";
        assert!(of(unknown, 1, &seen).is_empty());
        let with_names = Seen { lacks_names: false, ..Seen::default() };
        assert!(of("routers = [\"192.0.2.1\"]\nCHANNEL", 0, &with_names).is_empty());
        assert!(of(unknown, 0, &Seen { imported: true, ..Seen::default() }).is_empty());
        // Before the first start, only the interfaces of a ring are known.
        let ring = Seen { interfaces: vec!["h/addrwatch/eth0".into()], ..Seen::default() };
        for (name, number) in
            [("eth0", 0), ("eth0.7", 0), ("addrwatch/eth0.7", 0), ("eth0.*", 0), ("eht0", 1)]
        {
            let text = format!("CHANNEL networks = [\"{name}\"]");
            assert_eq!(of(&text, 0, &ring).len(), number, "{name}");
            assert_eq!(of(&text, 0, &Seen::default()).len(), 0, "{name}");
        }
    }
}

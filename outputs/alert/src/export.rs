//! The commands `export` and `test`.

use std::{
    collections::BTreeMap,
    io::{BufWriter, Write},
    net::IpAddr,
    path::Path,
};

use aw_detect::{Alert, AlertKind, MacClaim, Names, Station, split_network};
use aw_notify::Failure;
use aw_output::{Error, Fault, failed, this_host};
use aw_service::csv_cell;
use clap::ValueEnum;
use jiff::tz::TimeZone;
use serde_json::json;
use shm_layout::UnixTime;

use crate::{
    arpdat,
    channel::Channel,
    config::Config,
    message_id::MessageIds,
    notification::Notification,
    store::AlertStore,
    transport::{ChannelSecrets, Transport, TransportOptions},
};

/// The format of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The file of arpwatch: IPv4 only
    #[default]
    #[value(name = "arp.dat")]
    ArpDat,
    /// Comma-separated values with a header line (RFC 4180)
    Csv,
    /// One JSON object a line
    Json,
}

/// Prints all stations. `debian`: with the five columns of Debian's arpwatch.
pub fn export(
    state: &Path,
    format: ExportFormat,
    debian: bool,
    known: &Names,
) -> Result<(), Error> {
    if !AlertStore::exists(state) {
        let shown = state.display();
        return Err(failed(format_args!("no database in {shown} (check --state-dir)")));
    }
    let mut store = AlertStore::open(state)?;
    let mut names = store.all_names().map_err(Fault::into_error)?;
    names.extend(known.clone());
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut written = match format {
        ExportFormat::Csv => out.write_all(b"network,ip,mac,last,current,name,host,ring\r\n"),
        ExportFormat::ArpDat | ExportFormat::Json => Ok(()),
    };
    let write = |full: &str, ip: IpAddr, station: &Station| {
        let (host, ring, network) = split_network(full);
        for (index, MacClaim { mac, time }) in station.claims.iter().enumerate() {
            let (current, name) = (index == 0, names.get(mac));
            let line = match (format, ip) {
                (ExportFormat::ArpDat, IpAddr::V4(ip)) => {
                    let interface = debian.then_some(network);
                    arpdat::line(*mac, ip, *time, name.map(String::as_str), interface)
                }
                (ExportFormat::ArpDat, IpAddr::V6(_)) => continue,
                (ExportFormat::Csv, _) => {
                    let name = name.map_or("", String::as_str);
                    let [network, name, host, ring] = [network, name, host, &ring].map(csv_cell);
                    format!("{network},{ip},{mac},{time},{current},{name},{host},{ring}\r\n")
                }
                (ExportFormat::Json, _) => {
                    let line = json!({
                        "network": network, "ip": ip, "mac": mac.to_string(), "last": time,
                        "current": current, "name": name, "host": host, "ring": ring,
                    });
                    format!("{line}\n")
                }
            };
            if written.is_ok() {
                written = out.write_all(line.as_bytes());
            }
        }
    };
    store.memory.each_station(write).map_err(Fault::into_error)?;
    let written = written.and_then(|()| out.flush());
    written.map_err(|error| Error::write("standard output", error))
}

/// Sends a test message to a channel, or to all.
pub fn test(
    config: &Config,
    file: Option<&Path>,
    name: Option<&str>,
    secrets: &BTreeMap<String, ChannelSecrets>,
    options: TransportOptions,
) -> Result<(), Error> {
    if config.channel.is_empty() {
        return Err(failed(match file {
            Some(file) => format!("{} has no [[channel]] (add one)", file.display()),
            None => "no channel: no configuration is named (aw-alert -c FILE test CHANNEL)".into(),
        }));
    }
    let is_chosen = |channel: &&Channel| name.is_none_or(|name| channel.name == name);
    let chosen: Vec<_> = config.channel.iter().filter(is_chosen).collect();
    if chosen.is_empty() {
        let names: Vec<_> = config.channel.iter().map(|channel| &*channel.name).collect();
        let (name, names) = (name.unwrap_or_default(), names.join(", "));
        return Err(failed(format_args!(
            "no channel {name:?} in the configuration (channels: {names})"
        )));
    }
    let alert = Alert {
        network: "test".into(),
        ip: "192.0.2.1".into(),
        mac: "00:00:5e:00:53:01".into(), // for documentation (RFC 7042, 2.1.2)
        host: this_host(),
        ..Alert::new(AlertKind::NewDevice, UnixTime::now().seconds())
    };
    let ids = MessageIds::without_database().map_err(Fault::into_error)?;
    let none = ChannelSecrets::default();
    let mut failures = Vec::new();
    for (number, channel) in (0..).zip(chosen) {
        // A mail system drops the second of two messages with one id.
        let id = ids.id(number, alert.time);
        let (name, secrets) = (&channel.name, secrets.get(&channel.name).unwrap_or(&none));
        let Notification { subject, text, mut fields } =
            channel.notification(&test_of(name, &alert), &TimeZone::system(), options.dialect);
        // Programs and webhooks show only this.
        fields["message"] =
            format!("TEST: {}", fields["message"].as_str().unwrap_or_default()).into();
        // First: a phone shows only the beginning.
        let notification = Notification::new(format!("Test: {subject}"), text, fields);
        let transport = Transport::new(channel, secrets, options).map_err(Failure::Down);
        match transport.and_then(|transport| transport.send(&notification, &id)) {
            Ok(()) => println!("channel {name}: sent"),
            // On a terminal, what the program prints is above, such as `Permission denied`.
            Err(Failure::Down(why)) if why.contains("exit status: ") => {
                let state = options.state.display();
                failures.push(format!(
                    "channel {name}: {why} (as a service, a program can write only to {state})"
                ));
            }
            Err(why) => failures.push(format!("channel {name}: {why}")),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failed(failures.join("; "))) }
}

/// The same for a channel: with several, the receiver must know which one it is.
fn test_of(channel: &str, alert: &Alert) -> Alert {
    Alert { note: Some(format!("a test of channel {channel}")), ..alert.clone() }
}

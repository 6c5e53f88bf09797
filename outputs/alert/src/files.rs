//! What is done without a ring: an export, a test message.

use std::{
    collections::BTreeMap,
    io::{BufWriter, Write},
    net::IpAddr,
    path::Path,
};

use aw_notify::Failure;
use aw_output::{Error, Fault, failed};
use clap::ValueEnum;
use jiff::tz::TimeZone;
use serde_json::json;
use shm_layout::UnixTime;

use crate::{
    arpdat,
    channel::{Secrets, Voice},
    config::Config,
    report::{Kind, Report},
    station::{Claim, Station},
    store::Store,
    watch::Names,
};

/// In which shape what is known is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// arpwatch's memory: IPv4 only
    #[default]
    #[value(name = "arp.dat")]
    ArpDat,
    /// Comma-separated values (RFC 4180), with a heading
    Csv,
    /// One JSON object a line
    Json,
}

/// Prints the stations. `debian`: with the five columns of Debian's arpwatch.
pub fn export(state: &Path, shape: Shape, debian: bool, known: &Names) -> Result<(), Error> {
    if !Store::path(state, "aw-alert").exists() {
        let shown = state.display();
        return Err(failed(format_args!("nothing is known in {shown} yet (--state-dir)")));
    }
    let mut store = Store::open(state, "aw-alert").map_err(Fault::into_error)?;
    let mut names = store.names().map_err(Fault::into_error)?;
    names.extend(known.clone());
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut written = match shape {
        Shape::Csv => out.write_all(b"network,ip,mac,last,current,name\r\n"),
        Shape::ArpDat | Shape::Json => Ok(()),
    };
    let write = |network: &str, ip: IpAddr, station: &Station| {
        for (place, Claim { mac, time }) in station.claims.iter().enumerate() {
            let (current, name) = (place == 0, names.get(mac));
            let line = match (shape, ip) {
                (Shape::ArpDat, IpAddr::V4(ip)) => {
                    arpdat::line(*mac, ip, *time, debian.then_some(network))
                }
                (Shape::ArpDat, IpAddr::V6(_)) => continue,
                (Shape::Csv, _) => {
                    let name = name.map_or("", String::as_str);
                    let (network, name) = (quoted(network), quoted(name));
                    format!("{network},{ip},{mac},{time},{current},{name}\r\n")
                }
                (Shape::Json, _) => {
                    let line = json!({
                        "network": network, "ip": ip, "mac": mac.to_string(), "last": time,
                        "current": current, "name": name,
                    });
                    format!("{line}\n")
                }
            };
            if written.is_ok() {
                written = out.write_all(line.as_bytes());
            }
        }
    };
    store.each_station(write).map_err(Fault::into_error)?;
    let written = written.and_then(|()| out.flush());
    written.map_err(|error| Error::write("standard output", error))
}

fn quoted(text: &str) -> String {
    let special = text.contains([',', '"', '\r', '\n']);
    if special { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

/// A message that says that it is a test.
pub fn test(config: &Config, name: &str, secrets: &BTreeMap<String, Secrets>) -> Result<(), Error> {
    let channel = config.channel.iter().find(|channel| channel.name == name);
    let (channel, secrets) = channel.zip(secrets.get(name)).ok_or_else(|| {
        let names: Vec<_> = config.channel.iter().map(|channel| &*channel.name).collect();
        let names = if names.is_empty() { "none".into() } else { names.join(", ") };
        failed(format_args!("no channel is named {name:?}; the configuration has {names}"))
    })?;
    let report = Report {
        kind: Kind::NewDevice,
        time: UnixTime::now().seconds(),
        network: "test".into(),
        ip: "192.0.2.1".into(),
        mac: "00:00:5e:00:53:01".into(), // for documentation (RFC 7042, 2.1.2)
        name: None,
        vendor: None,
        old_vendor: None,
        old_mac: None,
        previous: None,
        note: Some("a test of this channel".into()),
        digest: false,
    };
    let message = channel.message(&report, &TimeZone::system());
    let voice = Voice::new(channel, secrets).map_err(Failure::Down);
    let said = voice.and_then(|voice| voice.info(&message, 0));
    said.map_err(|why| failed(format_args!("channel {name}: {why}")))?;
    println!("channel {name}: sent");
    Ok(())
}

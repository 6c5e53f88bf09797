//! What is done without a ring: import, export, a test message.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
};

use aw_notify::Failure;
use aw_output::{Error, Fault, failed};
use jiff::tz::TimeZone;
use shm_layout::UnixTime;

use crate::{
    arpdat,
    channel::{Secrets, Voice},
    config::Config,
    device::Device,
    report::{Kind, Report},
    store::Store,
    watch::Memory,
};

/// Learns what arpwatch knew; all of it or nothing.
pub fn import(state: &Path, network: &str, files: &[PathBuf]) -> Result<(), Error> {
    let mut store = Store::open(state).map_err(Fault::into_error)?;
    for path in files {
        let bytes = read(path)?;
        let (lines, bad) = arpdat::read(&String::from_utf8_lossy(&bytes));
        let count = lines.len();
        let learn = || {
            for line in lines {
                // What it read from a file has no interface.
                let interface = line.interface.filter(|name| !name.contains(' '));
                let (network, ip) = (interface.as_deref().unwrap_or(network), IpAddr::V4(line.ip));
                let mut station = store.station(network, ip)?;
                arpdat::merge(&mut station.claims, line.claim);
                store.keep_station(network, ip, &station)?;
                let device = store.device(line.claim.mac)?;
                let mut device = device.unwrap_or_else(|| Device::new(line.claim.time));
                device.first = device.first.min(line.claim.time);
                device.hear(line.claim.time, 0);
                store.keep_device(line.claim.mac, &device)?;
            }
            store.commit()
        };
        learn().map_err(Fault::into_error)?;
        println!("{}: {count} lines learned", path.display());
        if !bad.is_empty() {
            let numbers: Vec<_> = bad.iter().take(10).map(usize::to_string).collect();
            let (bad, numbers) = (bad.len(), numbers.join(", "));
            eprintln!("aw-alert: {}: {bad} lines say nothing: {numbers}", path.display());
        }
    }
    Ok(())
}

/// arpwatch renames the old one before the new one has its name: between the two there is none.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut old = path.as_os_str().to_owned();
    old.push("-");
    fs::read(path)
        .or_else(|error| fs::read(&old).map_err(|_| error))
        .map_err(|error| Error::io(format_args!("read {}", path.display()), error))
}

/// Prints the IPv4 stations: arpwatch knows no others.
pub fn export(state: &Path, debian: bool) -> Result<(), Error> {
    let mut store = Store::open(state).map_err(Fault::into_error)?;
    let mut text = String::new();
    let write = |network: &str, ip, station: &crate::station::Station| {
        let IpAddr::V4(ip) = ip else { return };
        for claim in &station.claims {
            arpdat::write(&mut text, claim.mac, ip, claim.time, debian.then_some(network));
        }
    };
    store.each_station(write).map_err(Fault::into_error)?;
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|error| Error::write("standard output", error))
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
        old_mac: None,
        previous: None,
        note: Some("a test of this channel".into()),
        digest: false,
    };
    let message = channel.message(&report, &TimeZone::system());
    let voice = Voice::new(channel, secrets).map_err(Failure::Down);
    let said = voice.and_then(|voice| voice.say(&message, 0));
    said.map_err(|why| failed(format_args!("channel {name}: {why}")))?;
    println!("channel {name}: sent");
    Ok(())
}

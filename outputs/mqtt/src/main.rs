//! `aw-mqtt`: tells an MQTT broker what is new or has changed in the network, and Home Assistant who is at home.
#![forbid(unsafe_code)]

mod broker;
mod devices;
mod tls;
mod topics;
mod voice;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use aw_alert::{Names, Store, read_names, seconds};
use aw_notify::is_here;
use aw_output::{
    Access, Error, Fault, Plan, RingOptions, SpoolOptions, failed, parse, run, this_host,
};
use aw_service::Secret;
use clap::Parser;

use crate::{
    broker::{Address, Broker},
    devices::Devices,
    topics::Topics,
    voice::Voice,
};

/// Tells an MQTT broker what is new in the collector's rings, and Home Assistant who is at home.
#[derive(Parser)]
#[command(name = "aw-mqtt", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    rings: RingOptions,
    #[command(flatten)]
    spool: SpoolOptions,

    /// Where the broker is: mqtt://HOST[:PORT], or mqtts://HOST[:PORT] for TLS; the port is 1883, or 8883
    #[arg(help_heading = "Broker", long, value_name = "URL", default_value = "mqtt://localhost")]
    broker: Address,

    /// Log in to the broker as NAME
    #[arg(help_heading = "Broker", long, value_name = "NAME")]
    login: Option<String>,

    /// The password is the first line of FILE, which others may not read
    #[arg(
        help_heading = "Broker",
        long,
        value_name = "FILE",
        requires = "login",
        conflicts_with = "password_env"
    )]
    password_file: Option<PathBuf>,

    /// The password is in the environment, as VARIABLE
    #[arg(help_heading = "Broker", long, value_name = "VARIABLE", requires = "login")]
    password_env: Option<String>,

    /// Send the password over mqtt:// to another machine, where every network between reads it
    #[arg(help_heading = "Broker", long, requires = "login")]
    plain_password: bool,

    /// With mqtts: believe the authorities in FILE (PEM) instead of the system's
    #[arg(help_heading = "Broker", long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// With mqtts: show the certificate in FILE (PEM)
    #[arg(help_heading = "Broker", long, value_name = "FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(help_heading = "Broker", long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,

    /// Publish below PREFIX
    #[arg(help_heading = "Topics", long, value_name = "PREFIX", default_value = "addrwatch", value_parser = topics::prefix)]
    topic: String,

    /// Be NAME in topics, and towards the broker, where no other may have it [default: this machine's]
    #[arg(help_heading = "Topics", long, value_name = "NAME")]
    hostname: Option<String>,

    /// Devices for Home Assistant, and names in messages: MAC NAME a line
    #[arg(help_heading = "Home Assistant", long, value_name = "FILE")]
    names: Option<PathBuf>,

    /// A named device that is not heard for TIME is not at home: 90s, 10m, 1h
    #[arg(help_heading = "Home Assistant", long, value_name = "TIME", default_value = "10m", value_parser = seconds)]
    away: i64,

    /// Where Home Assistant looks for devices
    #[arg(help_heading = "Home Assistant", long, value_name = "PREFIX", default_value = "homeassistant", value_parser = topics::prefix)]
    discovery: String,
}

const EXAMPLES: &str = "\
Examples:
  aw-mqtt                                 to the broker of this machine
  aw-mqtt --broker mqtts://mqtt.example.net --login addrwatch --password-file /etc/addrwatch/mqtt.password
  aw-mqtt --names /etc/addrwatch/names    and tell Home Assistant who is at home

Topics, all at QoS 1:
  addrwatch/HOST/events/NETWORK/WHAT      JSON of an event by which something is new or has changed; WHAT: new_device,
                                          new_station, new_activity, changed, flip_flop, reused_old, duplicate, returned,
                                          suppressed_decnet, config_change
  addrwatch/HOST/devices/MAC              home or not_home, retained
  addrwatch/HOST/status                   online or offline, retained; offline is the last will, too
  homeassistant/device_tracker/addrwatch_HOST/MAC/config
                                          a named device, retained; cleared once its line is gone

While the broker is away, hangs or refuses, events are kept in the state directory.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

fn main() -> ExitCode {
    let options: Options = parse("aw-mqtt");
    let Address { tls, place } = &options.broker;
    let mut files = Access::host_names();
    files.push(Access::Connect(place.port));
    let plan = Plan {
        files,
        sockets: vec![libc::AF_INET, libc::AF_INET6],
        event_loop: true,
        linger: Duration::from_millis(500), // a commit for many events, not for each
        batch: 1024,
        spool: Some(options.spool.clone()),
        ..Plan::default()
    };
    let state = options.rings.state_path();
    // Before privileges are given up: what is secret is root's. What is wrong is said once the log is there.
    let prepared = prepare(&options, *tls);
    run("aw-mqtt", &options.rings, &plan, || {
        let (names, topics, broker) = prepared?;
        let store = Store::open(&state, "aw-mqtt").map_err(Fault::into_error)?;
        Voice::new(broker, store, Devices::new(names, options.away), topics)
            .map_err(Fault::into_error)
    })
}

fn prepare(options: &Options, tls: bool) -> Result<(Names, Topics, Broker), Error> {
    let names = match &options.names {
        Some(path) => read_names(&text(path)?)
            .map_err(|why| failed(format_args!("{}: {why}", path.display())))?,
        None => Names::new(),
    };
    let (file, variable) = (options.password_file.as_deref(), options.password_env.as_deref());
    let password = Secret::read("password", file, variable).map_err(failed)?;
    let host = &options.broker.place.host;
    if password.is_some() && !tls && !is_here(host) && !options.plain_password {
        return Err(failed(format_args!(
            "a password is not sent to {host} without protection \
             (use mqtts://, or --plain-password if you mean it)"
        )));
    }
    let files = [&options.ca_file, &options.certificate_file, &options.key_file];
    if !tls && files.iter().any(|file| file.is_some()) {
        return Err(failed(
            "--ca-file, --certificate-file and --key-file need mqtts:// (--broker)",
        ));
    }
    let [authorities, certificate, key] = files.map(Option::as_deref);
    let tls = tls.then(|| tls::config(authorities, certificate.zip(key))).transpose()?;
    let host = options.hostname.clone().unwrap_or_else(this_host);
    let topics = Topics::new(&options.topic, &host, &options.discovery);
    let login = options.login.as_deref().map(|name| (name, password));
    let broker = Broker::new(&options.broker.place, login, tls, &topics);
    Ok((names, topics, broker))
}

fn text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::io(format_args!("read {}", path.display()), error))
}

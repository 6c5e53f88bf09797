//! `aw-mqtt`: publishes changes in the network to an MQTT broker, and the presence of devices to Home Assistant.
#![forbid(unsafe_code)]

mod broker;
mod coverage;
mod home_assistant;
mod mqtt_sink;
mod old_protocol;
mod presence;
mod tls;
mod topics;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use aw_detect::SqliteMemory;
use aw_notify::{is_local_host, read_secret};
use aw_output::{
    Access, Error, Fault, NameFollower, Plan, RingOptions, SpoolOptions, as_service, check, failed,
    names::LiveNames, parse, run, this_host,
};
use aw_service::TimeSpan;
use clap::Parser;

use crate::{
    broker::{Broker, BrokerUrl, Login},
    mqtt_sink::{DeviceFile, MqttSink, SCHEMA},
    presence::NamedDevices,
    topics::Topics,
};

/// Publishes changes in the network to an MQTT broker, and the presence of devices to Home Assistant
#[derive(Parser)]
#[command(name = "aw-mqtt", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    rings: RingOptions,
    #[command(flatten)]
    spool: SpoolOptions,

    /// URL of the broker: mqtt://HOST[:PORT] (port 1883), or mqtts://HOST[:PORT] with TLS (port 8883)
    #[arg(help_heading = "Broker", long, value_name = "URL", default_value = "mqtt://localhost")]
    broker: BrokerUrl,

    /// User name for the broker [default: no login]
    #[arg(help_heading = "Broker", long, value_name = "NAME")]
    login: Option<String>,

    /// Read the password from the first line of FILE, which other users must not be able to read
    #[arg(
        help_heading = "Broker",
        long,
        value_name = "FILE",
        requires = "login",
        conflicts_with = "password_env"
    )]
    password_file: Option<PathBuf>,

    /// Read the password from the environment variable VARIABLE
    #[arg(help_heading = "Broker", long, value_name = "VARIABLE", requires = "login")]
    password_env: Option<String>,

    /// Send the password without TLS also to another machine: every network on the way can read it
    #[arg(help_heading = "Broker", long, requires = "login")]
    plain_password: bool,

    /// With mqtts: trust the certificate authorities in FILE (PEM) instead of the system's
    #[arg(help_heading = "Broker", long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// With mqtts: present the client certificate in FILE (PEM)
    #[arg(help_heading = "Broker", long, value_name = "FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,

    /// Private key of the client certificate (PEM), a file that other users may not read
    #[arg(help_heading = "Broker", long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,

    /// First levels of all topics
    #[arg(help_heading = "Topics", long, value_name = "PREFIX", default_value = "addrwatch", value_parser = topics::parse_prefix)]
    topic: String,

    /// Host name in topics and in the client identifier, unique among the clients of the broker [default: this machine's]
    #[arg(help_heading = "Topics", long, value_name = "NAME")]
    hostname: Option<String>,

    /// File with the names of devices, a line MAC NAME or MAC|NAME for each; Home Assistant tracks these devices, and has an event entity for new devices and other alerts [default: /etc/addrwatch/names, if it has a name; /dev/null: none]
    #[arg(help_heading = "Home Assistant", long, value_name = "FILE")]
    names: Option<PathBuf>,

    /// A device with a name is away when it is not seen for TIME: 90s, 10m, 1h
    #[arg(help_heading = "Home Assistant", long, value_name = "TIME", default_value = "10m")]
    away: TimeSpan,

    /// Discovery prefix of Home Assistant
    #[arg(help_heading = "Home Assistant", long, value_name = "PREFIX", default_value = "homeassistant", value_parser = topics::parse_prefix)]
    discovery: String,
}

const EXAMPLES: &str = "\
Examples:
  aw-mqtt                                 publish to the broker of this machine
  aw-mqtt --broker mqtts://mqtt.example.net --login addrwatch --password-file /etc/addrwatch/mqtt.password
  aw-mqtt --names /etc/addrwatch/phones   publish the presence of these devices and alerts to Home Assistant, too

Topics, all with QoS 1:
  addrwatch/HOST/events/NETWORK/WHAT      an event that is new or a change, as JSON; WHAT: new_device, new_station,
                                          new_activity, changed, flip_flop, reused_old, duplicate, returned,
                                          broadcast, suppressed_decnet, config_change
  addrwatch/HOST/devices/MAC              home or not_home, retained
  addrwatch/HOST/devices/MAC/status       online; offline while the place where it was last seen is not captured; retained
  addrwatch/HOST/status                   online or offline, retained; offline is also the last will
  homeassistant/device_tracker/addrwatch_HOST/MAC/config
                                          discovery of a named device, retained; aw-mqtt clears it when the device
                                          is no longer in the file of names
  homeassistant/event/addrwatch_HOST/alerts/config
                                          with names: discovery of the event entity of this host, retained
  addrwatch/HOST/alerts                   with names: what that entity reports, with event_type

While the broker does not accept messages, events are queued in the state directory.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

fn main() -> ExitCode {
    // The option that is nearest by its letters would be the wrong one.
    let is_password = |option: std::ffi::OsString| {
        let option = option.as_encoded_bytes();
        option == b"--password" || option.starts_with(b"--password=")
    };
    if env::args_os().any(is_password) {
        eprintln!(
            "aw-mqtt: --password: all users of this machine could read it (write it into the first line of a file that only aw-mqtt may read, and use --login NAME --password-file FILE)"
        );
        return ExitCode::from(2);
    }
    let options: Options = parse("aw-mqtt");
    let BrokerUrl { tls, server } = &options.broker;
    let mut files = Access::host_names();
    files.push(Access::Connect(server.port));
    // Before privileges are dropped, because secrets may belong to root. Errors are reported later, when the log is open.
    // --check does it as the service's user.
    let prepared = match options.rings.check {
        true => {
            as_service(&options.rings, None, || prepare(&options, *tls)).and_then(|ready| ready)
        }
        false => prepare(&options, *tls),
    };
    // Read again for each login. The directory: the file may be replaced.
    let password = options.password_file.as_deref().and_then(|file| std::path::absolute(file).ok());
    let directory = password.as_deref().and_then(Path::parent);
    files.extend(directory.map(|directory| Access::Read(directory.into())));
    if let Ok((names, ..)) = &prepared {
        files.extend(names.access());
    }
    let named = [
        &options.names,
        &options.password_file,
        &options.ca_file,
        &options.certificate_file,
        &options.key_file,
    ];
    let state = options.rings.state_path();
    let plan = Plan {
        named: named.into_iter().flatten().cloned().collect(),
        files,
        watches: true,
        sockets: vec![libc::AF_INET, libc::AF_INET6],
        event_loop: true,
        linger: Duration::from_millis(500), // one commit for many events
        batch: 1024,
        spool: Some(options.spool.clone()),
        ..Plan::default()
    };
    if options.rings.check {
        let is_running = options.rings.is_running();
        return check("aw-mqtt", &options.rings, &plan, || {
            let memory = SqliteMemory::check(&state, "aw-mqtt").err();
            let broker = prepared.and_then(|(_, topics, broker)| {
                broker.check(&topics, is_running).map_err(Fault::into_error)
            });
            match (memory, broker) {
                (None, Ok(line)) => Ok(line),
                (memory, broker) => {
                    let broker = broker.err().map(|error| error.to_string());
                    Err(memory.into_iter().chain(broker).collect())
                }
            }
        });
    }
    run("aw-mqtt", &options.rings, &plan, || {
        let (names, topics, broker) = prepared?;
        let memory = SqliteMemory::open(&state, "aw-mqtt", SCHEMA).map_err(Fault::into_error)?;
        let devices = NamedDevices::new(&names.names(), options.away.0.as_secs() as i64);
        names.follow();
        let show_ring = options.rings.rings.len() > 1;
        let is_named = options.names.as_deref().is_some_and(|path| path != Path::new("/dev/null"));
        let names = DeviceFile { names, is_named };
        let how = (show_ring, options.rings.once);
        let name_rings = NameFollower::new(&options.rings, &plan)?;
        MqttSink::new(broker, memory, devices, topics, (names, name_rings), how)
            .map_err(Fault::into_error)
    })
}

fn prepare(options: &Options, tls: bool) -> Result<(LiveNames, Topics, Broker), Error> {
    if options.away.0.is_zero() {
        return Err(failed("--away 0s: must be at least 1s"));
    }
    let names = LiveNames::read(options.names.as_deref())?;
    let (file, variable) = (options.password_file.as_deref(), options.password_env.as_deref());
    let password = read_secret("password", file, variable).map_err(failed)?;
    let server = &options.broker.server;
    if password.is_some() && !tls && !is_local_host(&server.host) && !options.plain_password {
        return Err(failed(format_args!(
            "a password is not sent to {} without TLS (use mqtts:// or --plain-password)",
            server.host
        )));
    }
    let files = [&options.ca_file, &options.certificate_file, &options.key_file];
    if !tls && files.iter().any(|file| file.is_some()) {
        return Err(failed(
            "--ca-file, --certificate-file and --key-file need TLS (set --broker mqtts://HOST)",
        ));
    }
    let [authorities, certificate, key] = files.map(Option::as_deref);
    let tls = tls.then(|| tls::config(authorities, certificate.zip(key))).transpose()?;
    let host = options.hostname.clone().unwrap_or_else(this_host);
    let topics = Topics::new(&options.topic, &host, &options.discovery);
    let login = options.login.clone().map(|name| Login {
        name,
        password,
        // Absolute: the working directory may change.
        file: file.map(|file| std::path::absolute(file).unwrap_or(file.into())),
    });
    let broker = Broker::new(server, login, tls, &topics);
    Ok((names, topics, broker))
}

//! `--check`: whether each channel could send, tried as the service's user and without a message.

use std::{collections::BTreeMap, path::Path, time::Duration};

use aw_notify::http::parse_url;
use aw_peer::{Budget, PeerStream, TlsCheck, client_config, guarded};
use aw_service::{HostPort, Secret, cause, check_program, connection_fault, count_of};

use crate::{
    channel::Channel,
    config::Config,
    transport::{ChannelSecrets, Transport, TransportOptions},
    webhook_options::WebhookOptions,
};

/// Bytes of a server's handshake, at most.
const MAX_HANDSHAKE: u64 = 256 << 10;

/// Returns a line for the user, or the faults.
pub fn check(
    config: &Config,
    known: usize,
    secrets: &BTreeMap<String, ChannelSecrets>,
    options: TransportOptions,
) -> Result<String, Vec<String>> {
    let none = ChannelSecrets::default();
    let faults = config.channel.iter().filter_map(|channel| {
        let secrets = secrets.get(&channel.name).unwrap_or(&none);
        let fault = check_channel(channel, secrets, options).err()?;
        Some(format!("channel {}: {fault}", channel.name))
    });
    let faults: Vec<_> = faults.collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let channels = count_of(config.channel.len() as u64, "channel", "channels");
    Ok(format!("{channels}, {}", count_of(known as u64, "known device", "known devices")))
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
            stream.start_tls(&tls, &server.host).map_err(|error| {
                let why = cause(&error);
                match why.contains("UnknownIssuer") || why.contains("unknownissuer") {
                    true => format!("{why} (set ca_file to the certificate of its authority)"),
                    false => why,
                }
            })?;
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

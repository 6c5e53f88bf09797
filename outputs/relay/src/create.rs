//! Creates the stream, or changes its limits.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{ErrorCode, response::Response};
use aw_output::{Error, failed};
use aw_service::{ByteSize, TimeSpan};
use clap::Args;
use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::{connection::Connection, relay_sink::LARGEST, stream_url::StreamUrl, subject::PREFIX};

/// How long the server recognizes a message that is sent a second time.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// What the stream keeps. A limit that is not named is that of the stream, if there is one.
#[derive(Args, Clone, Debug)]
pub struct StreamLimits {
    /// Delete the oldest messages when the stream has more than SIZE bytes (suffixes K, M, G, T); an event has 64 bytes, and a message some 150 beside
    /// [default of a new stream: 1G]
    #[arg(long, value_name = "SIZE")]
    pub max_bytes: Option<ByteSize>,

    /// Delete messages that are older than TIME, such as 7d [default of a new stream: keep them]
    #[arg(long, value_name = "TIME")]
    pub max_age: Option<TimeSpan>,

    /// Delete the oldest messages of a sensor's ring when the stream has more than NUMBER of them: so a sensor that sends too much by a fault pushes
    /// out its own, and not those of others. A message has up to 4,096 events, in 264 KB at most [default of a new stream: no limit]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_messages: Option<u32>,

    /// Servers of the cluster that store each message, 1 to 5; more than half of them must run [default of a new stream: 1]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub replicas: Option<u8>,
}

/// Creates the stream of this URL, or changes the limits of it that are named; returns a line for the user.
pub fn create(
    url: &StreamUrl,
    tls: Option<&Arc<ClientConfig>>,
    limits: &StreamLimits,
) -> Result<String, Error> {
    let fault = |why: String| failed(format_args!("create {url}: {why}"));
    let connection = Connection::open(url, tls.map(|tls| &**tls), "_INBOX.admin").map_err(fault)?;
    // As JSON, because a later server may have settings that the library does not know: they stay as they are.
    let ask = |what: &str, settings: &Value| -> Result<Response<Value>, Error> {
        let subject = format!("STREAM.{what}.{}", url.stream);
        connection.run(connection.context.request(subject, settings)).map_err(fault)
    };
    let (what, settings) = match ask("INFO", &Value::Null)? {
        Response::Ok(found) => ("UPDATE", found["config"].clone()),
        Response::Err { error } if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            ("CREATE", new_stream(&url.stream))
        }
        Response::Err { error } => return Err(fault(connection.fault(Some(&error)))),
    };
    match ask(what, &with_limits(settings, limits))? {
        Response::Ok(_) => Ok(format!("{url} takes messages of aw-relay")),
        Response::Err { error } => Err(fault(connection.fault(Some(&error)))),
    }
}

fn new_stream(name: &str) -> Value {
    json!({
        "name": name,
        "subjects": [format!("{PREFIX}.*.*")],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "max_bytes": 1_u64 << 30,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_consumers": -1,
        // A sensor makes no larger ones, and a reader keeps some in memory.
        "max_msg_size": LARGEST,
        "duplicate_window": nanoseconds(DUPLICATE_WINDOW),
        "num_replicas": 1,
    })
}

/// These settings of a stream with the limits that are named.
fn with_limits(mut settings: Value, limits: &StreamLimits) -> Value {
    // An acknowledgement goes to any subject that a sensor names, also to that which would purge the stream.
    settings["deny_purge"] = true.into();
    settings["deny_delete"] = true.into();
    if let Some(bytes) = &limits.max_bytes {
        settings["max_bytes"] = bytes.0.min(i64::MAX as u64).into();
    }
    if let Some(number) = limits.max_messages {
        settings["max_msgs_per_subject"] = number.into();
    }
    if let Some(replicas) = limits.replicas {
        settings["num_replicas"] = replicas.into();
    }
    if let Some(age) = &limits.max_age {
        let age = nanoseconds(age.0);
        settings["max_age"] = age.into();
        // The server refuses a window that is longer.
        if settings["duplicate_window"].as_u64().is_none_or(|window| window > age) {
            settings["duplicate_window"] = age.min(nanoseconds(DUPLICATE_WINDOW)).into();
        }
    }
    settings
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not named stays as it is, also a setting that this release does not know.
    #[test]
    fn limits_that_are_not_named() {
        let none =
            StreamLimits { max_bytes: None, max_age: None, max_messages: None, replicas: None };
        let mut settings = with_limits(new_stream("x"), &none);
        assert_eq!(
            (&settings["max_bytes"], &settings["deny_purge"]),
            (&json!(1 << 30), &json!(true))
        );
        settings["max_bytes"] = json!(50_u64 << 30);
        settings["compression"] = "s2".into();
        let age = Some(TimeSpan(Duration::from_secs(60)));
        let replicas = Some(3);
        let changed =
            with_limits(settings.clone(), &StreamLimits { max_age: age, replicas, ..none });
        let minute = json!(60_000_000_000_u64);
        settings["num_replicas"] = 3.into();
        (settings["max_age"], settings["duplicate_window"]) = (minute.clone(), minute);
        assert_eq!(changed, settings);
    }
}

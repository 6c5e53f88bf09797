//! `aw-metrics`: metrics for Prometheus: the counters in the ring's header, the saved position of each output, and the
//! number of events by origin, for which it reads the ring.
#![forbid(unsafe_code)]

mod exposition;

use std::{
    io::{Write, stdout},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf, absolute},
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aw_output::{
    Access, Entry, Error, Plan, RingOptions, Sink, SinkResult, StartFrom,
    serve::{self, AllowedHosts},
};
use aw_service::{Condition, ServiceOptions, UnitFiles, replace, start_remedy};
use clap::Parser;

use crate::exposition::{MetricSources, lock};

/// Exports metrics of collectors and outputs to Prometheus
#[derive(Parser)]
#[command(name = "aw-metrics", version, after_help = EXAMPLES)]
struct Options {
    /// Serve the metrics at http://ADDR:PORT/metrics, without a password; without ADDR only on 127.0.0.1
    /// [default: 127.0.0.1:9714, if --file is not set]
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = serve::parse_address)]
    listen: Option<SocketAddr>,

    /// Also answer HTTP requests for this host name; may be repeated. Without it, requests for IP addresses, this machine's
    /// host name and, on the loopback, localhost are answered, so that no web page can read the metrics
    #[arg(long, value_name = "NAME", value_parser = serve::parse_host)]
    allow_host: Vec<String>,

    /// Replace FILE every 5 seconds, for the textfile collector of node_exporter, which reads names that end in .prom
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    rings: RingOptions,
}

const EXAMPLES: &str = "\
Examples:
  aw-metrics                              for Prometheus on this machine: http://127.0.0.1:9714/metrics
  aw-metrics --listen 192.0.2.1:9714      for Prometheus on another machine; there is no password
  aw-metrics --listen 9714 --allow-host sensor.example.org
                                          also by this name, such as through a proxy
  aw-metrics --file /var/lib/prometheus/node-exporter/addrwatch.prom

The positions of outputs are read from --state-dir and its subdirectories (one level).
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

const NAME: &str = "aw-metrics";
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9714);
/// Time between two writes of the file.
const WRITE_INTERVAL: Duration = Duration::from_secs(5);

struct MetricsSink {
    sources: Arc<Mutex<MetricSources>>,
    file: Option<PathBuf>,
    written: Option<Instant>,
    write_failure: Condition,
}

impl Sink for MetricsSink {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        lock(&self.sources).count_event(entry.ring, entry.event.kind.origin());
        Ok(())
    }

    fn flush(&mut self) -> SinkResult {
        Ok(())
    }

    fn maintain(&mut self) -> SinkResult<bool> {
        if let Some(file) = &self.file
            && self.written.is_none_or(|written| written.elapsed() >= WRITE_INTERVAL)
        {
            self.written = Some(Instant::now());
            let (new, sources) = (format!("{}.new", file.display()), lock(&self.sources).clone());
            let written = replace(file, Path::new(&new), 0o644, sources.text().as_bytes());
            let failure = &mut self.write_failure;
            // Not fatal: the next write may succeed, and node_exporter exports the age of the file.
            match written {
                Ok(()) => failure.ends(format_args!("{} is written again", file.display())),
                Err(Error::Failed(why)) => failure.begins(format_args!("{why} (trying again)")),
                Err(Error::Closed) => {}
            }
        }
        Ok(false)
    }
}

/// Where the service listens, by the options of its unit; none if there is no such service, or its options cannot be read.
fn listen_of_service() -> Option<Option<SocketAddr>> {
    let command = UnitFiles::of(NAME)?.command().filter(|command| command.unread.is_empty())?;
    let listen = command.option("--listen");
    let has_file = command.option("--file").is_some();
    match listen.map(serve::parse_address) {
        Some(Ok(listen)) => Some(Some(listen)),
        Some(Err(_)) => None,
        None => Some((!has_file).then_some(LISTEN)),
    }
}

fn main() -> ExitCode {
    let Options { rings, listen, allow_host, file } = aw_output::parse(NAME);
    let is_health_of_service = rings.health && listen.is_none() && file.is_none();
    let listen = match is_health_of_service.then(listen_of_service).flatten() {
        Some(listen) => listen,
        None => listen.or_else(|| file.is_none().then_some(LISTEN)),
    };
    // It saves no position, and locks nothing: its page shows whether it runs.
    if let Some(address) = listen.filter(|_| rings.health && !rings.once)
        && !serve::is_served(&address, "/metrics", "addrwatch_")
    {
        let reported = writeln!(
            stdout(),
            "{NAME}: {NAME} is not running: http://{address}/metrics does not answer {}, or name its --listen",
            start_remedy(NAME)
        );
        drop(reported); // the status says the same
        return ExitCode::FAILURE;
    }
    let listen = listen.filter(|_| !rings.health);
    // Before privileges are dropped: after that, the process can open no port and look up no user.
    let listener = listen
        .as_ref()
        .filter(|_| !rings.check)
        .map(|at| serve::listen(at, "--listen"))
        .transpose();
    let (listener, owners) = match listener.and_then(|it| Ok((it, rings.owners()?))) {
        Ok(both) => both,
        Err(error) => return aw_service::run(NAME, &ServiceOptions::default(), |_| Err(error)),
    };
    let file = file.map(|path| absolute(&path).unwrap_or(path));
    let state = rings.state_path();
    let directory = file.as_deref().and_then(Path::parent).map(|path| Access::Write(path.into()));
    let files = directory.into_iter().chain([Access::Read(state.clone())]).collect();
    let serves = listener.is_some();
    let plan = Plan { files, serves, from: StartFrom::Now, ..Plan::default() };
    if rings.check {
        let port =
            listen.map(|at| serve::check_port(&rings, (&at, "--listen"), "/metrics", "addrwatch_"));
        return aw_output::check(NAME, &rings, &plan, || port.unwrap_or_else(|| Ok(String::new())));
    }
    aw_output::run(NAME, &rings, &plan, || {
        let sources = Arc::new(Mutex::new(MetricSources::new(&rings.rings, owners, state)));
        let hosts = AllowedHosts::new(&allow_host);
        let serve = |listener| exposition::serve(listener, hosts, Arc::clone(&sources));
        listener.map(serve).transpose()?;
        Ok(MetricsSink { sources, file, written: None, write_failure: Condition::default() })
    })
}

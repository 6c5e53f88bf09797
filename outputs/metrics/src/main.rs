//! `aw-metrics`: how the collector and its outputs are, for Prometheus: what the ring's header counts,
//! how far each output is, and events by origin, which it reads for that.
#![forbid(unsafe_code)]

mod known;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf, absolute},
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aw_output::{
    Access, Entry, Error, Plan, Result, RingOptions, Sink, StartFrom, info, serve, warn,
};
use aw_service::{ServiceOptions, replace};
use clap::Parser;

use crate::known::{Known, lock};

/// Tells Prometheus how the collector of a ring and its outputs are.
#[derive(Parser)]
#[command(name = "aw-metrics", version, after_help = EXAMPLES)]
struct Options {
    /// Answer Prometheus at ADDR:PORT/metrics [default: 127.0.0.1:9714, without --file]
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = serve::parse_address)]
    listen: Option<SocketAddr>,

    /// Write FILE anew every 5 seconds, for node_exporter's textfile collector: a name that ends in .prom
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    rings: RingOptions,
}

const EXAMPLES: &str = "\
Examples:
  aw-metrics                              for Prometheus on this machine, at 127.0.0.1:9714
  aw-metrics --listen 192.0.2.1:9714      for one elsewhere; there is no password
  aw-metrics --file /var/lib/prometheus/node-exporter/addrwatch.prom

How far outputs are it finds in --state-dir, and in the directories right beneath.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

const NAME: &str = "aw-metrics";
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9714);
/// How often the file is written.
const EVERY: Duration = Duration::from_secs(5);

struct Metrics {
    known: Arc<Mutex<Known>>,
    file: Option<PathBuf>,
    written: Option<Instant>,
    /// It was said that the file cannot be written.
    told: bool,
}

impl Sink for Metrics {
    fn write(&mut self, entry: &Entry) -> Result {
        lock(&self.known).count(entry.ring, entry.event.kind.origin());
        Ok(())
    }

    fn flush(&mut self) -> Result {
        Ok(())
    }

    fn maintain(&mut self) -> Result<bool> {
        if let Some(file) = &self.file
            && self.written.is_none_or(|written| written.elapsed() >= EVERY)
        {
            self.written = Some(Instant::now());
            let (new, known) = (format!("{}.new", file.display()), lock(&self.known).clone());
            let written = replace(file, Path::new(&new), 0o644, known.text().as_bytes());
            // There may be room later; node_exporter tells how old the file is.
            match written {
                Err(Error::Failed(why)) if !self.told => {
                    warn(format_args!("{why} (trying again)"));
                    self.told = true;
                }
                Ok(()) if self.told => {
                    info(format_args!("{} is written again", file.display()));
                    self.told = false;
                }
                _ => {}
            }
        }
        Ok(false)
    }
}

fn main() -> ExitCode {
    let Options { rings, listen, file } = aw_output::parse(NAME);
    let listen = listen.or_else(|| file.is_none().then_some(LISTEN)).filter(|_| !rings.health);
    // Before privileges are given up: no port may be opened then, and no user found.
    let listener = listen.as_ref().map(serve::listen).transpose();
    let (listener, owners) = match listener.and_then(|it| Ok((it, rings.owners()?))) {
        Ok(both) => both,
        Err(error) => return aw_service::run(NAME, &ServiceOptions::default(), |_| Err(error)),
    };
    let file = file.map(|path| absolute(&path).unwrap_or(path));
    let state = rings.state_path();
    let directory = file.as_deref().and_then(Path::parent).map(|path| Access::Write(path.into()));
    let files = directory.into_iter().chain([Access::Read(state.clone())]).collect();
    let plan = Plan { files, from: StartFrom::Now, ..Plan::default() };
    aw_output::run(NAME, &rings, &plan, || {
        let known = Arc::new(Mutex::new(Known::new(&rings.rings, owners, state)));
        listener.map(|listener| known::serve(listener, Arc::clone(&known))).transpose()?;
        Ok(Metrics { known, file, written: None, told: false })
    })
}

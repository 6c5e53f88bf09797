//! Events as lines of text or JSON, on standard output or in a file.

use std::{
    fs::File,
    io::{self, BufWriter, ErrorKind, Write},
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

use aw_output::{
    Entry, Error, EventJson, NameJson, NameSink, Sink, SinkResult, TimeFormat, explain,
};
use aw_service::{FileKind, open_append, open_file};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use shm_layout::{NameRecord, RingName, UnixTime};

use crate::{Format, Options, TimeStyle};

/// Of a new file, without what the umask takes away.
const MODE: u32 = 0o666;
/// Bytes that are buffered before a write; the rest is written when the ring is empty.
const BUFFER: usize = 64 * 1024;

pub struct LineSink {
    format: Format,
    time: TimeStyle,
    zone: TimeZone,
    path: Option<PathBuf>,
    /// The events are of many sensors.
    shows_host: bool,
    to: BufWriter<File>,
}

impl LineSink {
    pub fn open(options: &Options) -> Result<LineSink, Error> {
        let path = output_path(options)?;
        Ok(LineSink {
            format: options.format,
            time: options.time,
            zone: TimeZone::system(),
            to: open(path.as_deref())?,
            path,
            #[cfg(feature = "stream")]
            shows_host: options.stream.stream.is_some(),
            #[cfg(not(feature = "stream"))]
            shows_host: false,
        })
    }

    fn zoned(&self, time: UnixTime) -> Zoned {
        // Every i64 of nanoseconds is within jiff's range.
        Timestamp::from_nanosecond(time.as_nanos().into())
            .unwrap_or_default()
            .to_zoned(self.zone.clone())
    }

    fn text(&mut self, entry: &Entry) -> io::Result<()> {
        match self.time {
            TimeStyle::Unix => writeln!(self.to, "{}", entry.event),
            TimeStyle::Rfc3339 => {
                let time =
                    self.zoned(entry.event.time).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
                writeln!(self.to, "{time} {}", entry.event.after_time())
            }
        }
    }

    fn json(&mut self, entry: &Entry) -> io::Result<()> {
        let time = self.json_time(entry.event.time);
        let json = EventJson::new(entry, time);
        let json = if self.shows_host { json.with_host(entry.host) } else { json };
        serde_json::to_writer(&mut self.to, &json)?;
        self.to.write_all(b"\n")
    }

    fn json_time(&self, time: UnixTime) -> TimeFormat {
        match self.time {
            TimeStyle::Unix => TimeFormat::Seconds(time.seconds()),
            TimeStyle::Rfc3339 => {
                TimeFormat::Text(self.zoned(time).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string())
            }
        }
    }

    fn name_line(&mut self, ring: &RingName, record: &NameRecord) -> io::Result<()> {
        match (self.format, self.time) {
            (Format::Text, TimeStyle::Unix) => writeln!(self.to, "{record}"),
            (Format::Text, TimeStyle::Rfc3339) => {
                let time = self.zoned(record.time).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
                writeln!(self.to, "{time} {}", record.after_time())
            }
            (Format::Json, _) => {
                let time = self.json_time(record.time);
                serde_json::to_writer(&mut self.to, &NameJson::new(ring, record, time))?;
                self.to.write_all(b"\n")
            }
        }
    }

    fn fault(&self, error: io::Error) -> Error {
        match &self.path {
            Some(path) => Error::write(path.display(), error),
            None => Error::write("standard output", error),
        }
    }
}

impl Sink for LineSink {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        match self.format {
            Format::Text => self.text(entry),
            Format::Json => self.json(entry),
        }
        .map_err(|error| self.fault(error).into())
    }

    fn flush(&mut self) -> SinkResult {
        self.to.flush().map_err(|error| self.fault(error).into())
    }

    fn reopen(&mut self) -> SinkResult {
        if self.path.is_some() {
            self.to = open(self.path.as_deref())?;
        }
        Ok(())
    }

    fn survives_kill(&self) -> bool {
        true
    }

    fn sync(&mut self) -> SinkResult {
        match self.to.get_ref().sync_data() {
            Err(error) if error.kind() != ErrorKind::InvalidInput => Err(self.fault(error).into()),
            _ => Ok(()), // pipes and terminals cannot be synced
        }
    }
}

impl NameSink for LineSink {
    fn write(&mut self, ring: &RingName, record: &NameRecord) -> Result<(), Error> {
        self.name_line(ring, record).map_err(|error| self.fault(error))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.to.flush().map_err(|error| self.fault(error))
    }

    fn reopen(&mut self) -> Result<(), Error> {
        if self.path.is_some() {
            self.to = open(self.path.as_deref())?;
        }
        Ok(())
    }
}

/// In the background the working directory is another.
fn output_path(options: &Options) -> Result<Option<PathBuf>, Error> {
    let path = options.output.as_deref().map(std::path::absolute).transpose();
    path.map_err(|error| Error::io("find the working directory", error))
}

/// For `--check`: opens a file that exists, and writes nothing. Returns a line for the user. A pipe is not opened: its reader
/// would take that for the end.
pub fn check(options: &Options) -> Result<String, Error> {
    let Some(path) = output_path(options)? else { return Ok(String::new()) };
    let shown = path.display();
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(format!("{shown} does not exist yet: it is created at the start"))
        }
        Ok(found) if !found.is_file() && !found.is_dir() => Ok(format!("lines go to {shown}")),
        _ => {
            open_append(&path, MODE).map_err(|error| open_fault(&path, error))?;
            Ok(format!("lines go to {shown}"))
        }
    }
}

fn open_fault(path: &Path, error: io::Error) -> Error {
    Error::io(format_args!("open {}", path.display()), error)
}

fn open(path: Option<&Path>) -> Result<BufWriter<File>, Error> {
    let to = match path {
        Some(path) => append(path).map_err(|error| open_fault(path, error))?,
        // Not Stdout itself, which flushes at every newline.
        None => File::from(
            io::stdout()
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| Error::new("open standard output", explain(&error)))?,
        ),
    };
    Ok(BufWriter::with_capacity(BUFFER, to))
}

/// Opens a file to append lines. If a full disk has cut off its last line, a newline is added first.
fn append(path: &Path) -> io::Result<File> {
    let mut file = open_append(path, MODE)?;
    let length = file.metadata()?.len();
    if file.metadata()?.is_file() && length > 0 {
        let mut last = [0];
        // A file that may be written but not read is not checked.
        let read = open_file(path, FileKind::Capture);
        if read.and_then(|file| file.read_exact_at(&mut last, length - 1)).is_ok() && last != *b"\n"
        {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

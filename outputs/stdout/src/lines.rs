//! Events as lines, and where they go.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, ErrorKind, Write},
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

use aw_output::{Entry, Error, EventJson, Result, Sink, TimeFormat};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use shm_layout::{UnixTime, cause};

use crate::{Format, Options, Time};

/// Bytes collected before they are written; what is left is written when the ring is empty.
const BUFFER: usize = 64 * 1024;

pub struct Lines {
    format: Format,
    time: Time,
    zone: TimeZone,
    path: Option<PathBuf>,
    to: BufWriter<File>,
}

impl Lines {
    pub fn open(options: &Options) -> std::result::Result<Lines, Error> {
        // In the background it will be in another directory.
        let path = options.output.as_deref().map(std::path::absolute).transpose();
        let path = path.map_err(|error| Error::io("find the output's directory", error))?;
        Ok(Lines {
            format: options.format,
            time: options.time,
            zone: TimeZone::system(),
            to: open(path.as_deref())?,
            path,
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
            Time::Unix => writeln!(self.to, "{}", entry.event),
            Time::Rfc3339 => {
                let time =
                    self.zoned(entry.event.time).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
                writeln!(self.to, "{time} {}", entry.event.after_time())
            }
        }
    }

    fn json(&mut self, entry: &Entry) -> io::Result<()> {
        let time = match self.time {
            Time::Unix => TimeFormat::Seconds(entry.event.time.seconds()),
            Time::Rfc3339 => TimeFormat::Text(
                self.zoned(entry.event.time).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string(),
            ),
        };
        serde_json::to_writer(&mut self.to, &EventJson::new(entry, time))?;
        self.to.write_all(b"\n")
    }

    fn fault(&self, error: io::Error) -> Error {
        match &self.path {
            Some(path) => Error::write(path.display(), error),
            None => Error::write("standard output", error),
        }
    }
}

impl Sink for Lines {
    fn write(&mut self, entry: &Entry) -> Result {
        match self.format {
            Format::Text => self.text(entry),
            Format::Json => self.json(entry),
        }
        .map_err(|error| self.fault(error).into())
    }

    fn flush(&mut self) -> Result {
        self.to.flush().map_err(|error| self.fault(error).into())
    }

    fn reopen(&mut self) -> Result {
        if self.path.is_some() {
            self.to = open(self.path.as_deref())?;
        }
        Ok(())
    }

    fn survives_kill(&self) -> bool {
        true
    }

    fn sync(&mut self) -> Result {
        match self.to.get_ref().sync_data() {
            Err(error) if error.kind() != ErrorKind::InvalidInput => Err(self.fault(error).into()),
            _ => Ok(()), // a pipe or a terminal keeps nothing
        }
    }
}

fn open(path: Option<&Path>) -> std::result::Result<BufWriter<File>, Error> {
    let to = match path {
        Some(path) => {
            let fault = |error| Error::io(format_args!("open {}", path.display()), error);
            append(path).map_err(fault)?
        }
        // Not Stdout itself: it would flush at every newline.
        None => File::from(
            io::stdout()
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| Error::new("open standard output", cause(&error)))?,
        ),
    };
    Ok(BufWriter::with_capacity(BUFFER, to))
}

/// Opens a file to append lines to. A full disk may have cut its last line: it is ended, so that
/// ours begins on a line of its own.
fn append(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    if file.metadata()?.is_file() && length > 0 {
        let mut last = [0];
        // Where we may write but not read there is nothing to look at.
        if File::open(path).and_then(|file| file.read_exact_at(&mut last, length - 1)).is_ok()
            && last != *b"\n"
        {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

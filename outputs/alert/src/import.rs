//! The command `import`: reads files of other programs. A file of any size needs little memory: it is read line by line,
//! and what is read is stored in parts.

mod database;
mod formats;
mod imported;
mod lines;
mod vendors;

use std::{
    fs::File,
    io::{BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use aw_output::{Error, Fault};
use aw_service::{FileKind, TextLine, TextLines, cause, open_file};
use shm_layout::UnixTime;

use self::{
    database::End,
    formats::{Context, Line},
    imported::{Counts, Imported},
};
use crate::store::AlertStore;

/// The first bytes of every SQLite database (its file format, 1.3).
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
/// The format is recognized by so many lines with content, or by those in so many bytes.
const FIRST_LINES: usize = 1000;
const FIRST_BYTES: usize = 1 << 20;
/// Numbers of bad lines that are shown.
const SHOWN_NUMBERS: usize = 10;
/// How often a database is read that another program changes meanwhile.
const TRIES: usize = 10;

/// Imports files; each of them completely or not at all.
pub fn import(state: &Path, network: Option<&str>, files: &[PathBuf]) -> Result<(), Error> {
    let mut store = AlertStore::open(state)?;
    for path in files {
        let shown = path.display();
        let mut file = FileImport::new(&mut store);
        file.read(path, network).map_err(|why| match why {
            Failure::File(why) => Error::new(format_args!("import {shown}"), why),
            Failure::Store(fault) => fault.into_error(),
        })?;
        let FileImport { counts, bad_number, bad, .. } = file;
        store.commit().map_err(Fault::into_error)?;
        let Counts { pairings, names, vendors } = counts;
        for (number, what) in [(pairings, "pairings"), (names, "names"), (vendors, "vendors")] {
            if number > 0 || what == "pairings" && names + vendors == 0 {
                let what = if number == 1 { what.trim_end_matches('s') } else { what };
                println!("{shown}: {number} {what} imported");
            }
        }
        if bad_number > 0 {
            let numbers: Vec<_> = bad.iter().map(usize::to_string).collect();
            let more = if bad_number > bad.len() { ", ..." } else { "" };
            let numbers = numbers.join(", ") + more;
            let skipped = match bad_number {
                1 => "1 line skipped, it cannot be read".to_owned(),
                _ => format!("{bad_number} lines skipped, they cannot be read"),
            };
            eprintln!("aw-alert: {shown}: {skipped}: {numbers}");
        }
    }
    Ok(())
}

/// Reads any bytes as a text, and stores what is in it: for the fuzz target.
#[cfg(any(test, fuzzing))]
pub fn import_text(store: &mut AlertStore, bytes: &[u8]) {
    let mut file = FileImport::new(store);
    let context = Context { network: Some("eth0"), time: 1_700_000_000 };
    let _ = file.read_text(bytes, &context).and_then(|()| file.store_part());
}

/// Why a file is not imported.
enum Failure {
    File(String),
    Store(Fault),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::File(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::File(cause(&error))
    }
}

/// The import of one file.
struct FileImport<'a> {
    store: &'a mut AlertStore,
    imported: Imported,
    counts: Counts,
    /// Lines or rows that cannot be read, and the numbers of the first of them.
    bad_number: usize,
    bad: Vec<usize>,
}

impl FileImport<'_> {
    fn new(store: &mut AlertStore) -> FileImport<'_> {
        let (imported, counts) = (Imported::default(), Counts::default());
        FileImport { store, imported, counts, bad_number: 0, bad: Vec::new() }
    }

    fn read(&mut self, path: &Path, network: Option<&str>) -> Result<(), Failure> {
        let mut file = open(path)?;
        let written = file.metadata()?.modified().ok();
        let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let now = UnixTime::now().seconds();
        let time = written.map_or(now, |time| time.as_secs() as i64).min(now);
        let mut head = Vec::new();
        file.by_ref().take(SQLITE_MAGIC.len() as u64).read_to_end(&mut head)?;
        match head == SQLITE_MAGIC {
            true => self.read_database(path)?,
            false => {
                let reader = Cursor::new(head).chain(BufReader::new(file));
                self.read_text(reader, &Context { network, time })?;
            }
        }
        self.store_part()
    }

    fn read_text(&mut self, reader: impl BufRead, context: &Context) -> Result<(), Failure> {
        let mut lines =
            TextLines::new(reader)?.filter(|line| line.as_ref().map_or(true, formats::has_content));
        let (mut first, mut size) = (Vec::new(), 0);
        while first.len() < FIRST_LINES && size < FIRST_BYTES {
            let Some(line) = lines.next().transpose()? else { break };
            size += line.text.as_ref().map_or(0, String::len);
            first.push(line);
        }
        let format = formats::recognize(&first, context);
        let format = format.ok_or_else(|| Failure::File(formats::unknown()))?;
        for line in first.into_iter().map(Ok).chain(lines) {
            let TextLine { number, text } = line?;
            let text = text.as_deref();
            match text.map_or(Line::Bad, |text| format(text, context, &mut self.imported)) {
                Line::Data | Line::Nothing => {}
                Line::Bad => self.add_bad(number),
                Line::NeedsNetwork => {
                    let why = "lines without an interface (set --network)";
                    return Err(Failure::File(why.into()));
                }
            }
            self.store_if_full()?;
        }
        Ok(())
    }

    fn read_database(&mut self, path: &Path) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let mut number = 0;
            let end = database::each_row(path, |row| {
                number += 1;
                if !database::add(row, &mut self.imported)? {
                    self.add_bad(number);
                }
                self.store_if_full()
            })?;
            match end {
                End::Read => return Ok(()),
                End::Unknown => return Err(Failure::File(formats::unknown())),
                End::Changed => {
                    self.store.memory.roll_back();
                    (self.imported, self.counts) = (Imported::default(), Counts::default());
                    (self.bad_number, self.bad) = (0, Vec::new());
                }
            }
        }
        let why = "another program changes it all the time (end that program, or import a copy)";
        Err(Failure::File(why.into()))
    }

    fn add_bad(&mut self, number: usize) {
        self.bad_number += 1;
        if self.bad.len() < SHOWN_NUMBERS {
            self.bad.push(number);
        }
    }

    fn store_if_full(&mut self) -> Result<(), Failure> {
        if self.imported.is_full() { self.store_part() } else { Ok(()) }
    }

    fn store_part(&mut self) -> Result<(), Failure> {
        let stored = std::mem::take(&mut self.imported).store(self.store);
        let Counts { pairings, names, vendors } = stored.map_err(Failure::Store)?;
        self.counts.pairings += pairings;
        self.counts.names += names;
        self.counts.vendors += vendors;
        Ok(())
    }
}

/// arpwatch renames the old file before it renames the new one: in between, only `FILE-` exists.
fn open(path: &Path) -> std::io::Result<File> {
    let mut old = path.as_os_str().to_owned();
    old.push("-");
    let open = |path: &Path| open_file(path, FileKind::Settings);
    open(path).or_else(|error| open(Path::new(&old)).map_err(|_| error))
}

//! Reads a history file line by line into a database, in batches: each is one transaction, in which a line adds only what
//! the database does not have yet. So an import that ended early can simply be run again.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_service::{Error, FileKind, count_of, failed, info, open_file};

use crate::HistoryLine;

/// Rows of a batch: so many, and those of the line that reaches it. That bounds how long others wait, and the memory.
const BATCH: u64 = 10_000;
/// Bytes of a line, at most: four names of 255 characters, each escaped, and the rest.
const MAX_LINE: u64 = 16 << 10;
/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// How long others may write to the database after a batch.
const PAUSE: Duration = Duration::from_millis(10);

/// A database into which a history is imported.
pub trait HistoryTarget {
    /// Whether the database can have the rows of a line; why not.
    fn check(&self, _line: &HistoryLine) -> Result<(), String> {
        Ok(())
    }

    /// Adds the rows of these lines that are missing, all or none. Returns how many it added.
    fn add(&mut self, batch: &[HistoryLine]) -> Result<u64, Error>;

    /// Adds the rows of a SQLite database, of a kind that has no export. `program` is this command, for messages.
    fn add_database(&mut self, path: &Path, program: &str) -> Result<(), Error> {
        let path = path.display();
        Err(failed(format_args!(
            "import {path}: line 1: it is a database: aw-query --database {path} export | {program} -; if addrwatch wrote it, first: aw-sqlite --database new.db import {path}, and export new.db"
        )))
    }
}

/// A history file, or standard input, opened before privileges are dropped.
pub struct HistorySource {
    /// For messages.
    name: String,
    reader: Box<dyn Read>,
    /// Its size, if it is known.
    size: Option<u64>,
    /// Its path, if it is a SQLite database.
    pub(crate) database: Option<PathBuf>,
}

/// How a SQLite database begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

impl HistorySource {
    /// Opens it; `-` is standard input.
    pub fn open(path: &Path) -> Result<HistorySource, Error> {
        if path == Path::new("-") {
            let (name, reader) = ("standard input".into(), Box::new(io::stdin()));
            return Ok(HistorySource { name, reader, size: None, database: None });
        }
        let name = path.display().to_string();
        let file = open_file(path, FileKind::Settings);
        let file = file.map_err(|error| Error::io(format_args!("read {name}"), error))?;
        let size = file.metadata().ok().filter(|file| file.is_file()).map(|file| file.len());
        let mut begin = [0; SQLITE.len()];
        let is_database =
            size.is_some() && file.read_exact_at(&mut begin, 0).is_ok() && begin == SQLITE;
        let database = is_database.then(|| std::path::absolute(path).unwrap_or(path.into()));
        Ok(HistorySource { name, reader: Box::new(file), size, database })
    }
}

/// What was read and added so far.
#[derive(Default)]
struct Progress {
    /// Lines of rows that are in the database.
    lines: u64,
    /// Rows that they stand for, and those that were added.
    rows: u64,
    added: u64,
    /// The number of the last line that is in the database.
    last: u64,
    /// Rows that the database cannot have, and the first one: its line and the reason.
    left_out: u64,
    first_left_out: String,
}

impl Progress {
    fn text(&self) -> String {
        let known = self.rows.saturating_sub(self.added);
        format!("{} lines read: {} rows added, {known} were there already", self.lines, self.added)
    }
}

/// Imports a file. `program` is the command that reads it, for messages.
pub fn import_history(
    source: HistorySource,
    program: &str,
    target: &mut dyn HistoryTarget,
) -> Result<(), Error> {
    let HistorySource { name, reader, size, .. } = source;
    let mut reader = BufReader::with_capacity(256 << 10, reader);
    let (mut bytes, mut number, mut read) = (Vec::new(), 0_u64, 0_u64);
    let (mut batch, mut rows) = (Vec::new(), 0);
    let (mut done, mut reported) = (Progress::default(), Instant::now());
    // Lines since the first line of the file, or of one that was appended to it; None before and after.
    let mut open: Option<u64> = None;
    loop {
        bytes.clear();
        let length = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes);
        let length = length.map_err(|error| Error::io(format_args!("read {name}"), error))? as u64;
        (number, read) = (number + 1, read + length);
        if length == 0 {
            break;
        }
        let line = parse(&bytes, number, program).and_then(|line| {
            match (&line, open) {
                (HistoryLine::Begin, None) => open = Some(0),
                (HistoryLine::Begin, Some(_)) => {
                    return Err("the file before it has no last line: its export ended early, or it is cut (export it again)".into());
                }
                (_, None) => return Err("it is not of a file that aw-query export wrote".into()),
                (HistoryLine::End(lines), Some(count)) if *lines == count => open = None,
                (HistoryLine::End(lines), Some(count)) => {
                    return Err(format!("{count} lines precede it, not {lines}: some are missing"));
                }
                (_, Some(count)) => open = Some(count + 1),
            }
            Ok(line)
        });
        match line {
            Ok(line) => match (line.times(), target.check(&line)) {
                (None, _) => {}
                (Some(times), Ok(())) => {
                    rows += times.count;
                    batch.push(line);
                }
                (Some(times), Err(why)) => {
                    if done.left_out == 0 {
                        done.first_left_out = format!("line {number}: {why}");
                    }
                    done.left_out += times.count;
                }
            },
            Err(why) => {
                let before = match done.last {
                    0 => "nothing is imported".into(),
                    last => format!("lines up to {last} are imported"),
                };
                return Err(failed(format_args!(
                    "import {name}: line {number}: {why} ({before}; correct the file and import it again: no row is added twice)"
                )));
            }
        }
        if rows >= BATCH {
            add(&mut batch, number, target, &mut done)?;
            rows = 0;
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                let part =
                    size.filter(|size| *size > 0).map(|size| read.saturating_mul(100) / size);
                let part = part.map(|part| format!(" ({part} %)")).unwrap_or_default();
                info(format_args!("{}{part}", done.text()));
            }
            std::thread::sleep(PAUSE);
        }
    }
    add(&mut batch, number, target, &mut done)?;
    info(done.text());
    match open {
        None if done.left_out > 0 => Err(failed(format_args!(
            "import {name}: {} not imported, the first of {}; all others are imported",
            count_of(done.left_out, "row is", "rows are"),
            done.first_left_out
        ))),
        None if done.last > 0 || number > 1 => Ok(()),
        None => Err(failed(format_args!("import {name}: it is empty"))),
        Some(_) => Err(failed(format_args!(
            "import {name}: it has no last line: the export ended early, or is cut (what it has is imported; export and import again: no row is added twice)"
        ))),
    }
}

fn add(
    batch: &mut Vec<HistoryLine>,
    number: u64,
    target: &mut dyn HistoryTarget,
    done: &mut Progress,
) -> Result<(), Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let times = batch.iter().filter_map(HistoryLine::times);
    done.rows += times.map(|times| times.count).sum::<u64>();
    done.added += target.add(batch)?;
    done.lines += batch.len() as u64;
    done.last = number;
    batch.clear();
    Ok(())
}

fn parse(bytes: &[u8], number: u64, program: &str) -> Result<HistoryLine, String> {
    if number == 1 && bytes.starts_with(SQLITE) {
        return Err(format!("it is a database: aw-query --database FILE export | {program} -"));
    }
    if number == 1 && (bytes.starts_with(b"\x1f\x8b") || bytes.starts_with(b"\x28\xb5\x2f\xfd")) {
        return Err(format!("it is compressed: zcat FILE | {program} -, or zstdcat"));
    }
    let Some(line) = bytes.strip_suffix(b"\n") else {
        return Err(match bytes.len() as u64 == MAX_LINE {
            true => format!("it has more than {MAX_LINE} bytes"),
            false => "it is not complete: the export ended early, or the file is cut".into(),
        });
    };
    let text = str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
    HistoryLine::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes the sizes of batches.
    #[derive(Default)]
    struct Batches(Vec<usize>);

    impl HistoryTarget for Batches {
        fn check(&self, line: &HistoryLine) -> Result<(), String> {
            match line {
                HistoryLine::Sighting(sighting) if sighting.place.host == "odd" => {
                    Err("no place for it".into())
                }
                _ => Ok(()),
            }
        }

        fn add(&mut self, batch: &[HistoryLine]) -> Result<u64, Error> {
            self.0.push(batch.len());
            Ok(1)
        }
    }

    const BEGIN: &str = "{\"addrwatch_history\":1}\n";
    const LINE: &str = "{\"time\":\"2026-11-20T14:00:00Z\",\"host\":\"gw\",\"interface\":\"eth0\",\"mac\":\"02:00:00:00:00:01\",\"ip\":\"192.0.2.1\",\"origin\":0}\n";

    fn imported(text: impl AsRef<[u8]>) -> (Result<(), String>, Vec<usize>) {
        let reader = Box::new(io::Cursor::new(text.as_ref().to_vec()));
        let source = HistorySource { name: "lan.jsonl".into(), reader, size: None, database: None };
        let mut batches = Batches::default();
        let done = import_history(source, "aw-sqlite import", &mut batches);
        let done = done.map_err(|error| match error {
            Error::Failed(why) => why,
            Error::Closed => "closed".into(),
        });
        (done, batches.0)
    }

    #[test]
    fn whole_files() {
        let end = |lines: usize| format!("{{\"end_after_lines\":{lines}}}\n");
        let file = |lines: usize| BEGIN.to_owned() + &LINE.repeat(lines) + &end(lines);
        assert_eq!(imported(file(0)), (Ok(()), vec![]));
        assert_eq!(imported(file(3)), (Ok(()), vec![3]));
        assert_eq!(imported(file(2) + &file(1)), (Ok(()), vec![3]), "one after the other");
        assert_eq!(imported(file(25_000)), (Ok(()), vec![10_000, 10_000, 5000]));
        let (done, batches) = imported(BEGIN.to_owned() + LINE + &end(2));
        assert!(done.unwrap_err().contains("line 3: 1 lines precede it, not 2"));
        assert_eq!(batches, [] as [usize; 0]);
    }

    /// A batch has a number of rows, and not of lines.
    #[test]
    fn batches_of_rows() {
        let many = LINE.replace("\"origin\":0", "\"origin\":0,\"count\":9000");
        let text = BEGIN.to_owned() + &many.repeat(5) + "{\"end_after_lines\":5}\n";
        assert_eq!(imported(text), (Ok(()), vec![2, 2, 1]));
    }

    /// Rows that the database cannot have do not stop the others, and are reported at the end.
    #[test]
    fn rows_that_the_database_cannot_have() {
        let odd = LINE.replace("\"gw\"", "\"odd\"");
        let twice = odd.replace("\"origin\":0", "\"origin\":0,\"count\":2");
        let text = [BEGIN, LINE, &odd, LINE, &twice, "{\"end_after_lines\":4}\n"].concat();
        let (done, batches) = imported(text);
        let why = done.unwrap_err();
        for part in ["3 rows are not imported", "the first of line 3: no place for it"] {
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(batches, [2]);
    }

    /// A damaged line ends the import before its batch; what is cut between lines is imported, and reported.
    #[test]
    fn damaged_files() {
        let many = BEGIN.to_owned() + &LINE.repeat(10_500);
        let (done, batches) = imported(many.clone() + "{\"time\"\n" + LINE);
        let why = done.unwrap_err();
        assert!(why.contains("line 10502: "), "{why}");
        assert!(why.contains("lines up to 10001 are imported"), "{why}");
        assert_eq!(batches, [10_000]);
        let (done, batches) = imported(&many);
        assert!(done.unwrap_err().contains("it has no last line"));
        assert_eq!(batches, [10_000, 500]);
        // Another file after it does not hide that, and one may be cut before any row.
        for cut in [BEGIN.to_owned() + LINE, BEGIN.to_owned()] {
            let whole = BEGIN.to_owned() + LINE + "{\"end_after_lines\":1}\n";
            let (done, batches) = imported(cut + &whole);
            let why = done.unwrap_err();
            assert!(why.contains("the file before it has no last line"), "{why}");
            assert_eq!(batches, [] as [usize; 0]);
        }
        let half = &many[..many.len() - 20];
        let (done, batches) = imported(half);
        assert!(done.unwrap_err().contains("line 10501: it is not complete"));
        assert_eq!(batches, [10_000]);
        for (bad, why) in [
            (b"".to_vec(), "it is empty"),
            (LINE.into(), "line 1: it is not of a file that aw-query export wrote"),
            ("\u{1f}\u{8b}".into(), "line 1"),
            (b"\x1f\x8b\x08".to_vec(), "line 1: it is compressed: zcat FILE | aw-sqlite import -"),
            (b"SQLite format 3\0".to_vec(), "line 1: it is a database"),
            (b"\xff\n".to_vec(), "line 1: it is not UTF-8"),
            ([BEGIN.as_bytes(), &[b'x'; 20_000]].concat(), "line 2: it has more than 16384 bytes"),
        ] {
            let (done, batches) = imported(&bad);
            let found = done.unwrap_err();
            assert!(found.contains(why) && batches.is_empty(), "{why}: {found}");
        }
    }
}

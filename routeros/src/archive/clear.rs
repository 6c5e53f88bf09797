//! Files that have secrets in clear, from before exports were encrypted.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    path::Path,
};

use aw_service::{FileKind, open_file};
use serde_json::Value;

use super::{Archive, MAX_CHANGE, found, write_then_rename};
use crate::{
    lossless::{bytes_of, lossless},
    mask::{mask, mask_json},
};

const FILES: [&str; 9] = [
    "latest.rsc",
    "latest.rsc.damaged",
    "changes.jsonl",
    "noted.jsonl.1",
    "noted.jsonl",
    "diff.txt",
    "log.txt.1",
    "log.txt",
    "state.json",
];

impl Archive {
    /// All files with text of configurations, of log lines and of messages: paths in the directory of the router.
    pub fn text_files(&self) -> io::Result<Vec<String>> {
        let mut files: Vec<String> = FILES.map(str::to_owned).to_vec();
        files.retain(|name| self.path(name).is_file());
        for (directory, end) in [("snapshots", ".rsc"), ("refused", ".rsc"), ("users", ".diff")] {
            let names = self.list_with_end(directory, end)?;
            files.extend(names.iter().map(|name| format!("{directory}/{name}")));
        }
        Ok(files)
    }

    /// Whether a file has secrets in clear. With `replace` they become `***`.
    pub fn mask_file(&self, name: &str, replace: bool) -> io::Result<bool> {
        let path = self.path(name);
        let masked_part = if name.contains(".json") { masked_json } else { masked_text };
        // An export as a whole, because a line may be in the menu of one before it.
        let reads_all = name.starts_with("latest.rsc") || name.ends_with(".rsc");
        let mut has_secrets = false;
        parts(&path, reads_all, |part| {
            has_secrets |= masked_part(part) != part;
            Ok(!has_secrets)
        })?;
        if has_secrets && replace {
            let temporary = path.with_extension("masked.new");
            write_then_rename(&temporary, &path, |file| {
                parts(&path, reads_all, |part| file.write_all(&masked_part(part)).map(|()| true))
            })?;
        }
        Ok(has_secrets)
    }
}

/// Passes all of a file, or each of its lines with those that it continues in, until `take` returns false.
fn parts(
    path: &Path,
    all: bool,
    mut take: impl FnMut(&[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    let Some(file) = found(open_file(path, FileKind::State))? else { return Ok(()) };
    let (mut file, mut part) = (BufReader::new(file), Vec::new());
    while file.by_ref().take(MAX_CHANGE).read_until(b'\n', &mut part)? > 0 {
        if part.len() as u64 > MAX_CHANGE {
            return Err(io::Error::new(ErrorKind::InvalidData, "a line is too long"));
        }
        let continues = part.ends_with(b"\\\n") || part.ends_with(b"\\\r\n");
        if !all && !continues {
            if !take(&part)? {
                return Ok(());
            }
            part.clear();
        }
    }
    if part.is_empty() { Ok(()) } else { take(&part).map(drop) }
}

fn masked_text(part: &[u8]) -> Vec<u8> {
    bytes_of(&mask(&lossless(part)))
}

/// A line of JSON; as it is if it has no secret, or is not whole.
fn masked_json(part: &[u8]) -> Vec<u8> {
    let Ok(value) = serde_json::from_slice::<Value>(part) else { return masked_text(part) };
    let mut masked = value.clone();
    mask_json(&mut masked);
    if masked == value {
        return part.to_vec();
    }
    (masked.to_string() + "\n").into_bytes()
}

//! `NAME.queues`: how many messages each destination of an output has still to get, for `aw-metrics`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_service::{Condition, replace};

/// The output that has destinations with names.
pub(crate) const OWNER: &str = "aw-alert";
/// Destinations that are read, and bytes of a name, at most: a user who may write the file could invent any number.
const MAX_QUEUES: usize = 32;
const MAX_NAME: usize = 64;
/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// The file of an output.
#[derive(Debug)]
pub struct QueueFile {
    path: PathBuf,
    written: Option<BTreeMap<String, u64>>,
    looked_at: Option<Instant>,
    unwritable: Condition,
}

impl QueueFile {
    /// In the state directory of this output.
    pub fn new(directory: &Path, name: &str) -> QueueFile {
        let path = directory.join(format!("{name}.queues"));
        QueueFile { path, written: None, looked_at: None, unwritable: Condition::default() }
    }

    /// The next update does not wait until some seconds are over.
    pub fn look_at_once(&mut self) {
        self.looked_at = None;
    }

    /// Writes the numbers of messages by destination, if the last time was some seconds ago and they have changed. They are for
    /// people who look: that they cannot be written is logged, and no fault of the output.
    pub fn update<E>(
        &mut self,
        queues: impl FnOnce() -> Result<BTreeMap<String, u64>, E>,
    ) -> Result<(), E> {
        if self.looked_at.is_some_and(|at| at.elapsed() < INTERVAL) {
            return Ok(());
        }
        self.looked_at = Some(Instant::now());
        let queues = queues()?;
        if self.written.as_ref() == Some(&queues) {
            return Ok(());
        }
        let text = serde_json::to_vec(&queues).unwrap_or_default();
        let path = self.path.display();
        match replace(&self.path, &self.path.with_extension("queues.new"), 0o640, &text) {
            Ok(()) => {
                self.unwritable.ends(format_args!("{path} can be written again"));
                self.written = Some(queues);
            }
            Err(why) => self
                .unwritable
                .begins(format_args!("{why}: aw-metrics reports old numbers of queued messages")),
        }
        Ok(())
    }
}

/// What such a file has, of names that a channel may have; nothing if it is damaged.
pub(crate) fn queues(bytes: &[u8]) -> BTreeMap<String, u64> {
    let all: BTreeMap<String, u64> = serde_json::from_slice(bytes).unwrap_or_default();
    let is_letter = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
    let is_name =
        |name: &String| (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_letter);
    all.into_iter().filter(|(name, _)| is_name(name)).take(MAX_QUEUES).collect()
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, fs};

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = QueueFile::new(directory.path(), "aw-test");
        let all = BTreeMap::from([("mail".to_owned(), 3), ("a_b-2".to_owned(), 0)]);
        let update = |file: &mut QueueFile| file.update(|| Ok::<_, Infallible>(all.clone()));
        update(&mut file).unwrap();
        let path = directory.path().join("aw-test.queues");
        assert_eq!(queues(&fs::read(&path).unwrap()), all);
        // Not again at once, and not if nothing changed.
        fs::remove_file(&path).unwrap();
        update(&mut file).unwrap();
        file.look_at_once();
        update(&mut file).unwrap();
        assert!(!path.exists());
        // At the end, what changed is written at once.
        let sent = BTreeMap::from([("mail".to_owned(), 0)]);
        let finish = |file: &mut QueueFile| file.update(|| Ok::<_, Infallible>(sent.clone()));
        finish(&mut file).unwrap();
        assert!(!path.exists());
        file.look_at_once();
        finish(&mut file).unwrap();
        assert_eq!(queues(&fs::read(&path).unwrap()), sent);
        let refused = file.looked_at.take().map(|_| file.update(|| Err("no database")));
        assert_eq!(refused, Some(Err("no database")));
        for damaged in [&b""[..], b"{", br#"{"mail": -1}"#, b"[1]"] {
            assert!(queues(damaged).is_empty());
        }
        let long = "a".repeat(MAX_NAME + 1);
        let invented = [("", 1), (&long[..], 1), ("a \"b\"", 1), ("a\n", 1), (&long[1..], 7)];
        let read = queues(&serde_json::to_vec(&BTreeMap::from(invented)).unwrap());
        assert_eq!(read, BTreeMap::from([(long[1..].to_owned(), 7)]));
        let many: BTreeMap<_, _> = (0..1000).map(|number| (number.to_string(), 1)).collect();
        assert_eq!(queues(&serde_json::to_vec(&many).unwrap()).len(), MAX_QUEUES);
    }
}

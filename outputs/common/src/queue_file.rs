//! `NAME.queues`: how many messages each destination of an output has still to get, for `aw-metrics`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_service::{Condition, replace};

/// Destinations of an output that are read, at most: a user who may write the file could invent any number.
const MAX_QUEUES: usize = 256;
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

/// What such a file has; nothing if it is damaged.
pub(crate) fn queues(bytes: &[u8]) -> BTreeMap<String, u64> {
    let all: BTreeMap<String, u64> = serde_json::from_slice(bytes).unwrap_or_default();
    all.into_iter().take(MAX_QUEUES).collect()
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, fs};

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = QueueFile::new(directory.path(), "aw-test");
        let all = BTreeMap::from([("mail".to_owned(), 3), ("a \"b\"".to_owned(), 0)]);
        let update = |file: &mut QueueFile| file.update(|| Ok::<_, Infallible>(all.clone()));
        update(&mut file).unwrap();
        let path = directory.path().join("aw-test.queues");
        assert_eq!(queues(&fs::read(&path).unwrap()), all);
        // Not again at once, and not if nothing changed.
        fs::remove_file(&path).unwrap();
        update(&mut file).unwrap();
        file.looked_at = None;
        update(&mut file).unwrap();
        assert!(!path.exists());
        let refused = file.looked_at.take().map(|_| file.update(|| Err("no database")));
        assert_eq!(refused, Some(Err("no database")));
        for damaged in [&b""[..], b"{", br#"{"mail": -1}"#, b"[1]"] {
            assert!(queues(damaged).is_empty());
        }
        let many: BTreeMap<_, _> = (0..1000).map(|number| (number.to_string(), 1)).collect();
        assert_eq!(queues(&serde_json::to_vec(&many).unwrap()).len(), MAX_QUEUES);
    }
}

//! `NAME.now`: the checkpoint of each ring, overwritten in place after each batch that the sink confirmed.
//!
//! It is not synced, because that would take too long after each batch. So it survives a kill of the
//! program but not a power cut: each record contains the id of its boot and is not trusted after another
//! boot. A power cut deletes the rings as well.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use aw_service::{Condition, Error, read_opened};
use serde::{Deserialize, Serialize};
use shm_layout::RingName;

use crate::{
    Checkpoint,
    state::{CheckpointJson, MAX_STATE, open_in, read_another, state_error},
};

/// Bytes of a record, a power of two: it lies within one page, so that a kill cannot leave a partial one.
/// The longest ring name takes half of it.
const SIZE: usize = 1024;

pub(crate) struct LiveCheckpoint {
    path: PathBuf,
    file: File,
    boot: String,
    /// The records of the file, in their order; none where a new one may be written.
    records: Vec<Option<LiveRecord>>,
    unwritable: Condition,
}

#[derive(Clone, Deserialize, PartialEq, Serialize)]
struct LiveRecord {
    ring: String,
    boot: String,
    #[serde(flatten)]
    json: CheckpointJson,
}

impl LiveCheckpoint {
    pub fn path(directory: &Path, name: &str) -> PathBuf {
        directory.join(format!("{name}.now"))
    }

    /// Opens the file, and creates it if it does not exist. `boot`: from [`shm_layout::boot_id`].
    pub fn open(directory: &Path, name: &str, boot: String) -> Result<LiveCheckpoint, Error> {
        let path = LiveCheckpoint::path(directory, name);
        let file = open_in(&path, 0o640)?;
        let mut records = parse(&read_opened(&file, MAX_STATE).unwrap_or_default());
        for record in &mut records {
            *record = record.take().filter(|record| record.boot == boot && !boot.is_empty());
        }
        Ok(LiveCheckpoint { path, file, boot, records, unwritable: Condition::default() })
    }

    /// The checkpoint of a ring, if it was stored in this boot.
    pub fn load(&self, ring: &RingName) -> Option<Checkpoint> {
        self.records.iter().flatten().find(|record| record.ring == ring.as_str())?.json.checkpoint()
    }

    /// Stores a checkpoint. A write error does not end the output, because checkpoints are also saved
    /// elsewhere; but then all records are removed, because outdated ones would be trusted.
    pub fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) {
        let (ring, boot) = (ring.as_str().to_owned(), self.boot.clone());
        let new = Some(LiveRecord { ring, boot, json: CheckpointJson::from(checkpoint) });
        let is_same_ring = |record: &Option<LiveRecord>| {
            record.as_ref().zip(new.as_ref()).is_some_and(|(old, new)| old.ring == new.ring)
        };
        let records = &self.records;
        let at = records.iter().position(is_same_ring);
        let at = at.or_else(|| records.iter().position(Option::is_none)).unwrap_or(records.len());
        if records.get(at) == Some(&new) {
            return;
        }
        let mut text = serde_json::to_vec(&new).unwrap_or_default();
        text.resize(SIZE - 1, b' ');
        text.push(b'\n');
        match self.file.write_all_at(&text, (at * SIZE) as u64) {
            Ok(()) => {
                self.records.resize(self.records.len().max(at + 1), None);
                self.records[at] = new;
                let path = self.path.display();
                self.unwritable.ends(format_args!("{path} can be written again"));
            }
            Err(error) => {
                let _ = self.file.set_len(0); // works on a full disk, too
                self.records.clear();
                if let Error::Failed(why) = state_error("write to", &self.path, error) {
                    self.unwritable.begins(format_args!(
                        "{why}: after a kill, the events of some seconds are delivered twice"
                    ));
                }
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Vec<Option<LiveRecord>> {
    bytes.chunks(SIZE).map(|record| serde_json::from_slice(record).ok()).collect()
}

/// All checkpoints in the file of another program, of any boot.
pub(crate) fn checkpoints(bytes: &[u8]) -> BTreeMap<RingName, Checkpoint> {
    let checkpoint =
        |record: LiveRecord| Some((record.ring.parse().ok()?, record.json.checkpoint()?));
    parse(bytes).into_iter().flatten().filter_map(checkpoint).collect()
}

/// The next event of a ring by the file of another program, for `--health`.
pub(crate) fn next_of(
    directory: &Path,
    name: &str,
    ring: &RingName,
    generation: u64,
) -> Result<Option<u64>, String> {
    let bytes = read_another(&LiveCheckpoint::path(directory, name))?.unwrap_or_default();
    let checkpoint = checkpoints(&bytes).remove(ring);
    Ok(checkpoint.filter(|it| it.generation == generation).map(|it| it.next()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::MAX_CHECKPOINTS;
    use std::fs;

    fn checkpoint(generation: u64, delivered: u64) -> Checkpoint {
        Checkpoint { generation, began: 1, delivered, lost: 2, skipped: 3 }
    }

    #[test]
    fn records_are_trusted_in_the_same_boot_only() {
        let directory = tempfile::tempdir().unwrap();
        let open =
            |boot: &str| LiveCheckpoint::open(directory.path(), "aw-test", boot.into()).unwrap();
        let long = format!("/{}", "\"".repeat(240));
        let [one, two] = ["/one", &long].map(|name| name.parse::<RingName>().unwrap());
        let mut live_checkpoint = open("a");
        for delivered in [0, u64::MAX >> 1, 7] {
            live_checkpoint.store(&one, &checkpoint(u64::MAX, delivered));
            live_checkpoint.store(&two, &checkpoint(5, delivered + 1));
        }
        let live_checkpoint = open("a");
        assert_eq!(live_checkpoint.load(&one), Some(checkpoint(u64::MAX, 7)));
        assert_eq!(live_checkpoint.load(&two), Some(checkpoint(5, 8)));
        assert_eq!(live_checkpoint.load(&"/three".parse().unwrap()), None);
        let next =
            |ring, generation| next_of(directory.path(), "aw-test", ring, generation).unwrap();
        assert_eq!(
            (next(&one, u64::MAX), next(&two, 5), next(&two, 6)),
            (Some(13), Some(14), None)
        );

        // After another boot, new records replace the old ones.
        let mut live_checkpoint = open("b");
        assert_eq!((live_checkpoint.load(&one), live_checkpoint.load(&two)), (None, None));
        live_checkpoint.store(&two, &checkpoint(6, 1));
        assert_eq!(open("b").load(&two), Some(checkpoint(6, 1)));
        assert_eq!(live_checkpoint.file.metadata().unwrap().len(), 2 * SIZE as u64);
        let mut unknown_boot = open("");
        unknown_boot.store(&one, &checkpoint(6, 1));
        assert_eq!(open("").load(&one), None);
    }

    /// As many records as there may be checkpoints are read by the next start.
    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let open = || LiveCheckpoint::open(directory.path(), "aw-test", "a".into()).unwrap();
        let ring: RingName = "/one".parse().unwrap();
        open().store(&ring, &checkpoint(1, 1));
        let path = LiveCheckpoint::path(directory.path(), "aw-test");
        let record = fs::read(&path).unwrap();
        fs::write(&path, record.repeat(MAX_CHECKPOINTS)).unwrap();
        let opened = open();
        assert_eq!(
            (opened.records.len(), opened.load(&ring)),
            (MAX_CHECKPOINTS, Some(checkpoint(1, 1)))
        );
    }

    #[test]
    fn an_invalid_record_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let path = LiveCheckpoint::path(directory.path(), "aw-test");
        let ring: RingName = "/one".parse().unwrap();
        let open = || LiveCheckpoint::open(directory.path(), "aw-test", "a".into()).unwrap();
        open().store(&ring, &checkpoint(1, 1));
        let good = fs::read(&path).unwrap();
        let wrong_sum =
            String::from_utf8(good.clone()).unwrap().replace("\"next\":7", "\"next\":8");
        for bytes in [&good[..90], &vec![0; SIZE], &[7; 3000], wrong_sum.as_bytes()] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(open().load(&ring), None, "{bytes:?}");
        }
        fs::write(&path, good).unwrap();
        assert_eq!(open().load(&ring), Some(checkpoint(1, 1)));
    }
}

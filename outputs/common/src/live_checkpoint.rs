//! `NAME.now`: how far an output is, noted in place after each batch that its sink confirmed.
//!
//! Nothing is synced, for a disk has no time for that. So a note outlives the program however it is
//! ended, and is not believed once the machine was down: it names the boot that it belongs to. A power
//! cut takes the rings away as well.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use aw_service::{Error, warn};
use serde::{Deserialize, Serialize};
use shm_layout::RingName;

use crate::{
    Checkpoint,
    state::{CheckpointJson, open_in, read_another, refused},
};

/// Bytes of a note, a power of two: it lies within a page, so that a kill leaves it whole. The longest
/// ring's name takes half of it.
const SIZE: usize = 1024;

pub(crate) struct LiveCheckpoint {
    path: PathBuf,
    file: File,
    boot: String,
    /// What stands at which place; none where there is room.
    places: Vec<Option<Note>>,
    /// It was said that live_checkpoint cannot be written.
    reported: bool,
}

#[derive(Clone, Deserialize, PartialEq, Serialize)]
struct Note {
    ring: String,
    boot: String,
    #[serde(flatten)]
    json: CheckpointJson,
}

/// The boot that this is; empty where nobody says. A unit that hides /proc/sys tells it instead.
pub(crate) fn this_boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let id = id.or_else(|_| env::var("AW_BOOT_ID")).unwrap_or_default();
    id.trim().replace('-', "") // systemd writes it without
}

impl LiveCheckpoint {
    pub fn path(directory: &Path, name: &str) -> PathBuf {
        directory.join(format!("{name}.now"))
    }

    /// Opens the live_checkpoint, and makes the file if there is none. `boot`: of [`this_boot`].
    pub fn open(directory: &Path, name: &str, boot: String) -> Result<LiveCheckpoint, Error> {
        let path = LiveCheckpoint::path(directory, name);
        let file = open_in(&path, 0o640)?;
        let mut places = read(&path).unwrap_or_default();
        for place in &mut places {
            *place = place.take().filter(|note| note.boot == boot && !boot.is_empty());
        }
        Ok(LiveCheckpoint { path, file, boot, places, reported: false })
    }

    /// What was noted of a ring in this boot.
    pub fn get(&self, ring: &RingName) -> Option<Checkpoint> {
        self.places.iter().flatten().find(|note| note.ring == ring.as_str())?.json.checkpoint()
    }

    /// LiveCheckpoint an checkpoint. What cannot be written is no reason to end: checkpoints are saved, too, and what
    /// was noted before is then taken back, for it would be believed.
    pub fn put(&mut self, ring: &RingName, checkpoint: &Checkpoint) {
        let (ring, boot) = (ring.as_str().to_owned(), self.boot.clone());
        let note = Some(Note { ring, boot, json: CheckpointJson::from(checkpoint) });
        let is_free = |place: &Option<Note>| place.is_none();
        let is_ours = |place: &Option<Note>| {
            place.as_ref().zip(note.as_ref()).is_some_and(|(there, note)| there.ring == note.ring)
        };
        let places = &self.places;
        let at = places.iter().position(is_ours).or_else(|| places.iter().position(is_free));
        let at = at.unwrap_or(places.len());
        if places.get(at) == Some(&note) {
            return;
        }
        let mut text = serde_json::to_vec(&note).unwrap_or_default();
        text.resize(SIZE - 1, b' ');
        text.push(b'\n');
        match self.file.write_all_at(&text, (at * SIZE) as u64) {
            Ok(()) => {
                self.places.resize(self.places.len().max(at + 1), None);
                self.places[at] = note;
                self.reported = false;
            }
            Err(error) => {
                let _ = self.file.set_len(0); // a file becomes shorter on a full disk, too
                self.places.clear();
                if !std::mem::replace(&mut self.reported, true)
                    && let Error::Failed(why) = refused("write to", &self.path, error)
                {
                    warn(format_args!("{why}: after a kill, events of some seconds come again"));
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<Option<Note>>, String> {
    Ok(parse(&read_another(path)?.unwrap_or_default()))
}

fn parse(bytes: &[u8]) -> Vec<Option<Note>> {
    bytes.chunks(SIZE).map(|note| serde_json::from_slice(note).ok()).collect()
}

/// All checkpoints in the live_checkpoint of another program, of whatever boot.
pub(crate) fn checkpoints(bytes: &[u8]) -> BTreeMap<RingName, Checkpoint> {
    let checkpoint = |note: Note| Some((note.ring.parse().ok()?, note.json.checkpoint()?));
    parse(bytes).into_iter().flatten().filter_map(checkpoint).collect()
}

/// The next event of a ring by the live_checkpoint of another program, for `--health`.
pub(crate) fn next_of(
    directory: &Path,
    name: &str,
    ring: &RingName,
    generation: u64,
) -> Result<Option<u64>, String> {
    let live_checkpoint = read(&LiveCheckpoint::path(directory, name))?;
    let note = live_checkpoint.into_iter().flatten().find(|note| note.ring == ring.as_str());
    let checkpoint = note.and_then(|note| note.json.checkpoint());
    Ok(checkpoint
        .filter(|checkpoint| checkpoint.generation == generation)
        .map(|checkpoint| checkpoint.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(generation: u64, delivered: u64) -> Checkpoint {
        Checkpoint { generation, began: 1, delivered, lost: 2, skipped: 3 }
    }

    #[test]
    fn noted_and_read_in_this_boot_only() {
        let directory = tempfile::tempdir().unwrap();
        let open =
            |boot: &str| LiveCheckpoint::open(directory.path(), "aw-test", boot.into()).unwrap();
        let long = format!("/{}", "\"".repeat(240));
        let [one, two] = ["/one", &long].map(|name| name.parse::<RingName>().unwrap());
        let mut live_checkpoint = open("a");
        for delivered in [0, u64::MAX >> 1, 7] {
            live_checkpoint.put(&one, &checkpoint(u64::MAX, delivered));
            live_checkpoint.put(&two, &checkpoint(5, delivered + 1));
        }
        let live_checkpoint = open("a");
        assert_eq!(live_checkpoint.get(&one), Some(checkpoint(u64::MAX, 7)));
        assert_eq!(live_checkpoint.get(&two), Some(checkpoint(5, 8)));
        assert_eq!(live_checkpoint.get(&"/three".parse().unwrap()), None);
        let next =
            |ring, generation| next_of(directory.path(), "aw-test", ring, generation).unwrap();
        assert_eq!(
            (next(&one, u64::MAX), next(&two, 5), next(&two, 6)),
            (Some(13), Some(14), None)
        );

        // The machine was down: what comes now takes the place of what was then.
        let mut live_checkpoint = open("b");
        assert_eq!((live_checkpoint.get(&one), live_checkpoint.get(&two)), (None, None));
        live_checkpoint.put(&two, &checkpoint(6, 1));
        assert_eq!(open("b").get(&two), Some(checkpoint(6, 1)));
        assert_eq!(live_checkpoint.file.metadata().unwrap().len(), 2 * SIZE as u64);
        let mut nobody_says = open("");
        nobody_says.put(&one, &checkpoint(6, 1));
        assert_eq!(open("").get(&one), None);
    }

    #[test]
    fn what_is_not_a_note_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = LiveCheckpoint::path(directory.path(), "aw-test");
        let ring: RingName = "/one".parse().unwrap();
        let open = || LiveCheckpoint::open(directory.path(), "aw-test", "a".into()).unwrap();
        open().put(&ring, &checkpoint(1, 1));
        let good = fs::read(&path).unwrap();
        let wrong_sum =
            String::from_utf8(good.clone()).unwrap().replace("\"next\":7", "\"next\":8");
        for bytes in [&good[..90], &vec![0; SIZE], &[7; 3000], wrong_sum.as_bytes()] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(open().get(&ring), None, "{bytes:?}");
        }
        fs::write(&path, good).unwrap();
        assert_eq!(open().get(&ring), Some(checkpoint(1, 1)));
    }
}

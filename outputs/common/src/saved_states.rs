//! The files of other outputs in their state directories, for `aw-metrics` and `aw-web`.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use aw_service::{FileKind, read_file};
use shm_layout::{RingName, UnixTime};

use crate::{Checkpoint, HealthFault, live_checkpoint, outage_file, queue_file, state};

/// The files that an output, which may be another program, has in a state directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedState {
    /// Its checkpoints by ring.
    pub checkpoints: BTreeMap<RingName, Checkpoint>,
    /// The size of its spool in bytes, if it has one.
    pub spool: Option<u64>,
    /// The messages that its destinations have still to get, by destination, if it has some.
    pub queues: BTreeMap<String, u64>,
    /// What it reports about its destination, if that is down.
    pub outage: Option<HealthFault>,
    /// When it wrote its newest checkpoint.
    pub saved: Option<UnixTime>,
}

/// The most outputs that are reported: a user who may write to the directory could invent any number.
const OUTPUTS: usize = 64;
/// The most files that are read of a directory.
const FILES: usize = 1000;

/// The outputs that have files in this directory or in a direct subdirectory, by name.
pub fn saved_states(directory: &Path) -> BTreeMap<String, SavedState> {
    let files = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.take(FILES).map(|entry| entry.path()).collect()
    };
    let here = files(directory);
    let beneath = here.iter().filter(|path| path.is_dir()).flat_map(|path| files(path));
    let mut all: Vec<_> = here.iter().cloned().chain(beneath).collect();
    // `.now` is newer than `.positions`, so it is read later.
    all.sort_by_key(|path| path.extension() == Some("now".as_ref()));
    let mut outputs = BTreeMap::<String, SavedState>::new();
    for path in all {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        let is_name =
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        // An output may write to its own directory only, so a subdirectory may contain that output alone.
        let is_trusted =
            path.parent() == Some(directory) || path.parent() == Some(&directory.join(name));
        let fits = outputs.len() < OUTPUTS || outputs.contains_key(name);
        if !fits
            || !is_name
            || !is_trusted
            || !["positions", "now", "spool", "queues", "outage"].contains(&end)
        {
            continue;
        }
        let output = outputs.entry(name.into()).or_default();
        if let "positions" | "now" = end {
            let saved = path.metadata().ok().map(|file| UnixTime::new(file.mtime(), 0));
            output.saved = output.saved.max(saved);
        }
        match end {
            "outage" => {
                // One that cannot be read is no news of the output: its own --health reports it.
                output.outage =
                    path.parent().and_then(|at| outage_file::fault_of(at, name).ok()?);
            }
            "positions" => output.checkpoints.extend(state::checkpoints(&read(&path))),
            "queues" if name != queue_file::OWNER => {} // it could invent names of metrics
            "queues" => output.queues = queue_file::queues(&read(&path)),
            "now" => output.checkpoints.extend(live_checkpoint::checkpoints(&read(&path))),
            _ => {
                let log = path.with_extension("spool-wal");
                let bytes = |path: &Path| path.metadata().map_or(0, |file| file.len());
                output.spool = Some(bytes(&path) + bytes(&log));
            }
        }
    }
    outputs
}

/// The content of a file; none if it cannot be read.
fn read(path: &Path) -> Vec<u8> {
    read_file(path, FileKind::State, state::MAX_STATE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::{CheckpointStore, live_checkpoint::LiveCheckpoint, state::StateFile};

    #[test]
    fn reads_files_of_outputs() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let [lan, wan] = ["/lan", "/wan"].map(|ring| ring.parse::<RingName>().unwrap());
        let checkpoint =
            |delivered| Checkpoint { generation: 7, began: 5, delivered, lost: 2, skipped: 1 };
        fs::create_dir(at("aw-a")).unwrap();
        let mut written = StateFile::open(&at("aw-a"), "aw-a").unwrap();
        for ring in [&lan, &wan] {
            assert!(written.store(ring, &checkpoint(3)).is_ok());
        }
        written.save().unwrap();
        LiveCheckpoint::open(&at("aw-a"), "aw-a", "boot".into())
            .unwrap()
            .store(&wan, &checkpoint(4));
        fs::write(at("aw-a/aw-a.spool"), [0; 100]).unwrap();
        fs::write(at("aw-a/aw-a.spool-wal"), [0; 23]).unwrap();
        fs::write(at("aw-a/aw-a.queues"), r#"{"mail":2}"#).unwrap();
        fs::write(at("aw-b.positions"), r#"{"/lan":{"next":1}}"#).unwrap();
        fs::create_dir(at("aw-f")).unwrap();
        fs::create_dir(at("aw-alert")).unwrap();
        fs::write(at("aw-alert/aw-alert.queues"), r#"{"mail":2}"#).unwrap();
        fs::write(at("aw-f/aw-f.now"), [b'{'; 5000]).unwrap();
        fs::write(at("aw-c.lock"), "").unwrap();
        // Another output in this one's directory, an invalid name, and a pipe.
        fs::write(at("aw-a/aw-d.spool"), "").unwrap();
        fs::write(at("aw-e\nevil.spool"), "").unwrap();
        mknodat(CWD, at("aw-b.now"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let checkpoints = BTreeMap::from([(lan, checkpoint(3)), (wan, checkpoint(4))]);
        let queues = BTreeMap::from([("mail".to_owned(), 2)]);
        fs::write(at("aw-a/aw-a.outage"), r#"{"since":7,"events":1,"bytes":2,"why":"full"}"#)
            .unwrap();
        fs::write(at("aw-alert/aw-alert.outage"), "{").unwrap();
        let a = SavedState { checkpoints, spool: Some(123), ..SavedState::default() };
        let alert = SavedState { queues, ..SavedState::default() };
        let none = |name: &str| (name.into(), SavedState::default());
        let expected = [("aw-a".into(), a), ("aw-alert".into(), alert), none("aw-b"), none("aw-f")];
        let mut found = saved_states(directory.path());
        let outage = found.get_mut("aw-a").and_then(|a| a.outage.take()).unwrap();
        assert_eq!(outage.since, Some(UnixTime::new(7, 0)));
        assert!(
            outage.text.starts_with("aw-a is queueing since ") && outage.text.ends_with("full")
        );
        assert!(found.values_mut().filter_map(|one| one.saved.take()).count() >= 3);
        assert_eq!(found, BTreeMap::from(expected));
        for number in 0..OUTPUTS {
            fs::write(at(&format!("made-up-{number}.spool")), "").unwrap();
        }
        assert_eq!(saved_states(directory.path()).len(), OUTPUTS);
        assert_eq!(saved_states(&at("nowhere")), BTreeMap::new());
    }
}

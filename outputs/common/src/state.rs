//! The state directory: a lock, and the checkpoints of outputs whose sink does not store them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use aw_service::{
    Error, FileError, FileKind, Identity, Wanted, explain_or, explained, failed, open_file,
    read_file, sync_directory, try_open_own, unit_forbids_writing,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shm_layout::RingName;

use crate::{Checkpoint, CheckpointStore, Fault};

/// Checkpoints of a file, at most: of the rings of this machine, or of thousands of sensors in a stream.
pub(crate) const MAX_CHECKPOINTS: usize = 1 << 14;
/// Bytes of a file with checkpoints, at most: a checkpoint takes less than 1 KiB.
pub(crate) const MAX_STATE: u64 = (MAX_CHECKPOINTS as u64) << 10;

/// Creates the directory if it does not exist, for the user that the program is going to run as.
pub fn make_directory(path: &Path, owner: Option<&Identity>) -> Result<(), Error> {
    let failure = |error: io::Error| {
        let error = match unit_forbids_writing(path) {
            Some(why) => io::Error::new(error.kind(), why),
            None => explained(error, path, Wanted::Write),
        };
        let why = explain_or(&error, "(create it, or choose another with --state-dir)");
        failed(format_args!("create {}: {why}", path.display()))
    };
    // Before it is created: the next step would fail, and leave it there.
    if let Some(why) = owner.and_then(|owner| owner.kept_out(path)) {
        let path = path.display();
        return Err(failed(format_args!(
            "use {path}: permission denied ({why}, with --state-dir)"
        )));
    }
    match DirBuilder::new().mode(0o750).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failure(error)),
        Ok(()) => owner.map_or(Ok(()), |owner| {
            let (user, group) = (owner.user.as_raw(), owner.group.as_raw());
            chown(path, Some(user), Some(group)).map_err(failure)
        }),
    }
}

/// Locks the state directory for this program: two instances would overwrite each other's checkpoints.
pub fn lock(directory: &Path, name: &str) -> Result<File, Error> {
    let path = lock_path(directory, name);
    let file = open_in(&path, 0o600)?;
    let mut tries = 0..5;
    let locked = loop {
        match file.try_lock() {
            // Another process may hold it briefly, in `is_locked`.
            Err(TryLockError::WouldBlock) if tries.next().is_some() => sleep(LOCK_RETRY),
            locked => break locked,
        }
    };
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failed(format_args!(
            "lock {}: in use by another {name} (stop it, or choose another --state-dir)",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(state_error("lock", &path, error)),
    }
}

/// Longer than `is_locked` holds the lock.
const LOCK_RETRY: Duration = Duration::from_millis(20);

pub(crate) fn lock_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.lock"))
}

/// Whether a program of this name is running, for `--health`: whether it holds the lock.
pub fn is_locked(directory: &Path, name: &str) -> io::Result<bool> {
    match open_file(&lock_path(directory, name), FileKind::State)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Opens a file of the state directory, and creates it if it does not exist.
pub(crate) fn open_in(path: &Path, mode: u32) -> Result<File, Error> {
    try_open_own(path, mode, None).map_err(|error| match error {
        FileError::Io(error) => state_error("open", path, error),
        untrusted => untrusted.of(path),
    })
}

/// The failure of a system call on a file of the state directory, with its remedy.
pub(crate) fn state_error(operation: &str, path: &Path, error: io::Error) -> Error {
    let error = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => explained(error, path, Wanted::Write),
        _ => error,
    };
    const ACCESS: &str = "(let this program's user write there, or choose another --state-dir)";
    failed(format_args!("{operation} {}: {}", path.display(), explain_or(&error, ACCESS)))
}

/// `NAME.positions`: replaced atomically, so that it is complete whenever the program is killed.
pub(crate) struct StateFile {
    path: PathBuf,
    checkpoints: BTreeMap<String, CheckpointJson>,
    /// Rings of which it has, or may get, a checkpoint.
    rings: BTreeSet<String>,
}

/// A checkpoint in JSON. The generation is text, because it does not fit in a double.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub(crate) struct CheckpointJson {
    generation: String,
    next: u64,
    began: u64,
    delivered: u64,
    lost: u64,
    skipped: u64,
}

impl CheckpointJson {
    pub fn from(checkpoint: &Checkpoint) -> CheckpointJson {
        let Checkpoint { began, delivered, lost, skipped, .. } = *checkpoint;
        let generation = format!("{:016x}", checkpoint.generation);
        CheckpointJson { generation, next: checkpoint.next(), began, delivered, lost, skipped }
    }

    /// None if the numbers do not add up.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let CheckpointJson { next, began, delivered, lost, skipped, .. } = *self;
        let generation = u64::from_str_radix(&self.generation, 16).ok()?;
        let sum = [delivered, lost, skipped].into_iter().try_fold(began, u64::checked_add);
        (sum == Some(next)).then_some(Checkpoint { generation, began, delivered, lost, skipped })
    }
}

impl StateFile {
    pub fn path(directory: &Path, name: &str) -> PathBuf {
        directory.join(format!("{name}.positions"))
    }

    pub fn open(directory: &Path, name: &str) -> Result<StateFile, Error> {
        let path = StateFile::path(directory, name);
        let checkpoints: Option<BTreeMap<_, _>> =
            load(&path, "remove it to begin with the oldest event")?;
        let checkpoints = checkpoints.unwrap_or_default();
        let rings = checkpoints.keys().cloned().collect();
        Ok(StateFile { path, checkpoints, rings })
    }

    /// Keeps room for the checkpoints of these rings. False if a file with them could be larger than what the next start reads.
    pub fn reserve(&mut self, rings: &[RingName]) -> bool {
        let new = rings.iter().filter(|ring| !self.rings.contains(ring.as_str()));
        if self.rings.len() + new.count() > MAX_CHECKPOINTS {
            return false;
        }
        self.rings.extend(rings.iter().map(|ring| ring.as_str().to_owned()));
        true
    }

    /// Saves it.
    pub fn save(&self) -> Result<(), Error> {
        replace(&self.path, &self.checkpoints)
    }
}

/// Writes a value to a file of the state directory in JSON: to a temporary file, which is synced and renamed.
pub(crate) fn replace(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let new = path.with_extension("new");
    let mut file = open_in(&new, 0o640)?;
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    let directory = path.parent().unwrap_or(Path::new("."));
    file.set_len(0)
        .and_then(|()| file.write_all(&text))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| sync_directory(directory))
        .map_err(|error| state_error("write to", path, error))
}

/// A value that `replace` wrote; none if there is no such file. `remedy`: what to do if it is invalid.
pub(crate) fn load<T: DeserializeOwned>(path: &Path, remedy: &str) -> Result<Option<T>, Error> {
    match read_file(path, FileKind::State, MAX_STATE) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| failed(format_args!("read {}: {error} ({remedy})", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(state_error("read", path, error)),
    }
}

impl CheckpointStore for StateFile {
    fn load(&mut self, ring: &RingName) -> Result<Option<Checkpoint>, Fault> {
        let Some(json) = self.checkpoints.get(ring.as_str()) else { return Ok(None) };
        json.checkpoint().map(Some).ok_or_else(|| {
            let path = self.path.display();
            failed(format_args!(
                "read {path}: the numbers of ring {ring} do not add up (remove it to begin with the oldest event)"
            ))
            .into()
        })
    }

    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> Result<(), Fault> {
        self.checkpoints.insert(ring.as_str().into(), CheckpointJson::from(checkpoint));
        Ok(())
    }
}

/// The next event by the checkpoint of another program, for `--health`; none if there is no such file.
pub(crate) fn next_of(
    directory: &Path,
    name: &str,
    ring: &RingName,
    generation: u64,
) -> Result<Option<u64>, String> {
    let path = StateFile::path(directory, name);
    let Some(bytes) = read_another(&path)? else { return Ok(None) };
    let checkpoints: BTreeMap<String, CheckpointJson> =
        serde_json::from_slice(&bytes).map_err(|error| {
            format!("read {}: {error} (does the program have the same release?)", path.display())
        })?;
    let checkpoint = checkpoints.get(ring.as_str()).and_then(CheckpointJson::checkpoint);
    Ok(checkpoint.filter(|it| it.generation == generation).map(|it| it.next()))
}

/// All checkpoints in the file of another program; none if the format is not valid.
pub(crate) fn checkpoints(bytes: &[u8]) -> BTreeMap<RingName, Checkpoint> {
    let lines: BTreeMap<String, CheckpointJson> = serde_json::from_slice(bytes).unwrap_or_default();
    let checkpoint =
        |(ring, json): (&String, &CheckpointJson)| Some((ring.parse().ok()?, json.checkpoint()?));
    lines.iter().filter_map(checkpoint).collect()
}

/// The content of a file of another program, if it exists.
pub(crate) fn read_another(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match read_file(path, FileKind::State, MAX_STATE) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            Ok(None)
        }
        Err(error) => {
            const ACCESS: &str = "(run this as the user of the output, or name its --state-dir)";
            Err(format!("read {}: {}", path.display(), explain_or(&error, ACCESS)))
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Gid, Uid};

    use super::*;

    /// A start of root leaves nothing in a directory that the service may not enter.
    #[test]
    fn a_directory_that_the_user_may_not_enter() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let made = tempfile::tempdir().unwrap();
        let set_mode = |mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(made.path(), mode).unwrap();
        };
        set_mode(0o700); // of root
        let owner = Identity {
            user: Uid::from_raw(65534),
            group: Gid::from_raw(65534),
            groups: Vec::new(),
        };
        let path = made.path().join("state");
        let Err(Error::Failed(why)) = make_directory(&path, Some(&owner)) else { panic!("made") };
        let hiding = format!("who may not enter {}: choose another place", made.path().display());
        assert!(why.contains(&hiding) && why.ends_with("with --state-dir)"), "{why}");
        assert!(!path.exists());
        set_mode(0o711);
        make_directory(&path, Some(&owner)).unwrap();
    }

    #[test]
    fn saved_and_opened() {
        let directory = tempfile::tempdir().unwrap();
        let ring: RingName = "/lan".parse().unwrap();
        let generation = u64::MAX - 1;
        let checkpoint = Checkpoint { generation, began: 5, delivered: 3, lost: 2, skipped: 1 };
        let mut file = StateFile::open(directory.path(), "aw-test").unwrap();
        assert!(matches!(file.load(&ring), Ok(None)));
        assert!(file.store(&ring, &checkpoint).is_ok());
        for _ in 0..2 {
            file.save().unwrap();
        }
        let mut again = StateFile::open(directory.path(), "aw-test").unwrap();
        assert!(matches!(again.load(&ring), Ok(Some(found)) if found == checkpoint));
        let next = |generation| next_of(directory.path(), "aw-test", &ring, generation).unwrap();
        assert_eq!((next(generation), next(7)), (Some(11), None));
        let files: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }

    /// A file with all checkpoints that it may have, each as long as possible, is read by the next start; there is no room for one more.
    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let ring = |number: usize| -> RingName { format!("/{number:\"<240}").parse().unwrap() };
        let third = u64::MAX / 3;
        let (began, delivered, lost, skipped) = (0, third, third, third);
        let checkpoint = Checkpoint { generation: u64::MAX, began, delivered, lost, skipped };
        let mut file = StateFile::open(directory.path(), "aw-test").unwrap();
        let rings: Vec<RingName> = (0..MAX_CHECKPOINTS).map(ring).collect();
        assert!(file.reserve(&rings) && !file.reserve(&[ring(MAX_CHECKPOINTS)]));
        rings.iter().for_each(|ring| assert!(file.store(ring, &checkpoint).is_ok()));
        file.save().unwrap();
        let mut again = StateFile::open(directory.path(), "aw-test").unwrap();
        for ring in [&rings[0], &rings[MAX_CHECKPOINTS - 1]] {
            assert!(matches!(again.load(ring), Ok(Some(found)) if found == checkpoint));
        }
        assert!(again.reserve(&rings[..4]) && !again.reserve(&[ring(MAX_CHECKPOINTS)]));
    }

    #[test]
    fn an_invalid_checkpoint_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = StateFile::path(directory.path(), "aw-test");
        for text in ["", "{", "[]", r#"{"/lan":{"next":1}}"#] {
            fs::write(&path, text).unwrap();
            let Err(Error::Failed(why)) = StateFile::open(directory.path(), "aw-test").map(drop)
            else {
                panic!("{text}")
            };
            assert!(why.contains("aw-test.positions"), "{why}");
        }
        let line = r#"{"generation":"1","next":3,"began":0,"delivered":1,"lost":1,"skipped":0}"#;
        fs::write(&path, format!(r#"{{"/lan":{line}}}"#)).unwrap();
        let mut file = StateFile::open(directory.path(), "aw-test").unwrap();
        assert!(file.load(&"/lan".parse().unwrap()).is_err());
    }

    #[test]
    fn one_program_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let is_locked = || is_locked(directory.path(), "aw-test");
        assert_eq!(is_locked().unwrap_err().kind(), ErrorKind::NotFound);
        drop(lock(directory.path(), "aw-test").unwrap());
        assert!(!is_locked().unwrap());
        let _held = lock(directory.path(), "aw-test").unwrap();
        assert!(is_locked().unwrap());
        let Err(Error::Failed(why)) = lock(directory.path(), "aw-test").map(drop) else { panic!() };
        assert!(why.contains("in use by another aw-test"), "{why}");
        assert!(lock(directory.path(), "aw-other").is_ok());
    }
}

//! The state directory: a lock, and the accounts of outputs whose sink keeps none.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, TryLockError},
    io::{ErrorKind, Read},
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
};

use aw_service::{Error, Identity, failed, open_own, replace};
use serde::{Deserialize, Serialize};
use shm_layout::RingName;

use crate::{Account, Fault, Ledger};

/// Makes the directory if there is none, for whoever the program is going to be.
pub(crate) fn make_directory(path: &Path, owner: Option<&Identity>) -> Result<(), Error> {
    let failure = |error| {
        let Error::Failed(text) = Error::io(format_args!("make {}", path.display()), error) else {
            return Error::Closed;
        };
        failed(format_args!("{text} (make it, or choose another with --state-dir)"))
    };
    match DirBuilder::new().mode(0o750).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failure(error)),
        Ok(()) => owner.map_or(Ok(()), |owner| {
            let (user, group) = (owner.user.as_raw(), owner.group.as_raw());
            chown(path, Some(user), Some(group)).map_err(failure)
        }),
    }
}

/// Two programs of one name with one state directory would each undo the other's account.
pub(crate) fn lock(directory: &Path, name: &str) -> Result<File, Error> {
    let path = directory.join(format!("{name}.lock"));
    let file = open_own(&path, 0o600, None)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failed(format_args!(
            "lock {}: in use by another {name} (stop it, or choose another --state-dir)",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(Error::io(format_args!("lock {}", path.display()), error))
        }
    }
}

/// `NAME.positions`: replaced as a whole, so that it is whole whenever the program is killed.
pub(crate) struct StateFile {
    path: PathBuf,
    accounts: BTreeMap<String, Line>,
}

/// An account in JSON. The generation is text, for it does not fit a double.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
struct Line {
    generation: String,
    next: u64,
    began: u64,
    delivered: u64,
    lost: u64,
    skipped: u64,
}

impl StateFile {
    pub fn path(directory: &Path, name: &str) -> PathBuf {
        directory.join(format!("{name}.positions"))
    }

    pub fn open(directory: &Path, name: &str) -> Result<StateFile, Error> {
        let path = StateFile::path(directory, name);
        let accounts = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                failed(format_args!(
                    "read {}: {error} (remove it, to begin with the oldest event)",
                    path.display()
                ))
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(Error::io(format_args!("read {}", path.display()), error)),
        };
        Ok(StateFile { path, accounts })
    }

    /// `NAME.account`: a copy of what is kept elsewhere, for others to read; never read by the output.
    pub fn copy(directory: &Path, name: &str) -> StateFile {
        StateFile { path: directory.join(format!("{name}.account")), accounts: BTreeMap::new() }
    }

    /// Writes it down: another file, all of it on the disk, then the name.
    pub fn save(&self) -> Result<(), Error> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        self.write(File::sync_all)?;
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| Error::write(self.path.display(), error))
    }

    /// The same, without waiting for the disk.
    pub fn replace(&self) -> Result<(), Error> {
        self.write(|_| Ok(()))
    }

    fn write(&self, sync: impl Fn(&File) -> std::io::Result<()>) -> Result<(), Error> {
        let mut text = serde_json::to_vec_pretty(&self.accounts).unwrap_or_default();
        text.push(b'\n');
        replace(&self.path, &self.path.with_extension("new"), 0o640, &text, sync)
    }
}

impl Ledger for StateFile {
    fn load(&mut self, ring: &RingName) -> Result<Option<Account>, Fault> {
        let Some(line) = self.accounts.get(ring.as_str()) else { return Ok(None) };
        let Line { next, began, delivered, lost, skipped, .. } = *line;
        let generation = u64::from_str_radix(&line.generation, 16);
        let account = generation
            .ok()
            .map(|generation| Account { generation, began, delivered, lost, skipped })
            .filter(|account| account.next() == next);
        account.map(Some).ok_or_else(|| {
            let path = self.path.display();
            failed(format_args!(
                "read {path}: the numbers of ring {ring} do not add up (remove it, to begin with the oldest event)"
            ))
            .into()
        })
    }

    fn store(&mut self, ring: &RingName, account: &Account) -> Result<(), Fault> {
        let Account { began, delivered, lost, skipped, .. } = *account;
        let generation = format!("{:016x}", account.generation);
        let line = Line { generation, next: account.next(), began, delivered, lost, skipped };
        self.accounts.insert(ring.as_str().into(), line);
        Ok(())
    }
}

/// The next event of another program's account, for `--health`; none if it keeps none there.
pub(crate) fn next_of(
    directory: &Path,
    name: &str,
    ring: &RingName,
    generation: u64,
) -> Option<u64> {
    let mut text = String::new();
    File::open(StateFile::path(directory, name)).ok()?.read_to_string(&mut text).ok()?;
    let accounts: BTreeMap<String, Line> = serde_json::from_str(&text).ok()?;
    let line = accounts.get(ring.as_str())?;
    (line.generation == format!("{generation:016x}")).then_some(line.next)
}

/// What an output, which may be another program, left in a state directory.
#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    /// Its accounts by ring.
    pub accounts: BTreeMap<String, Account>,
    /// Bytes that its spool takes, if it has one.
    pub spool: Option<u64>,
}

/// Outputs of a state directory that are told of, at most: whoever may write there makes up names.
const OUTPUTS: usize = 64;

/// The outputs by name that keep their state in this directory, or in one right beneath it.
pub fn kept(directory: &Path) -> BTreeMap<String, Kept> {
    let files = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.take(1000).map(|entry| entry.path()).collect()
    };
    let here = files(directory);
    let beneath = here.iter().filter(|path| path.is_dir()).flat_map(|path| files(path));
    let mut outputs = BTreeMap::<String, Kept>::new();
    for path in here.iter().cloned().chain(beneath) {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        let fits = outputs.len() < OUTPUTS || outputs.contains_key(name);
        if !fits || !["positions", "account", "spool"].contains(&end) {
            continue;
        }
        let output = outputs.entry(name.into()).or_default();
        if end == "spool" {
            let log = path.with_extension("spool-wal");
            let bytes = |path: &Path| path.metadata().map_or(0, |file| file.len());
            output.spool = Some(bytes(&path) + bytes(&log));
        } else {
            output.accounts.extend(accounts(&path));
        }
    }
    outputs
}

/// Nothing, if it cannot be read, is longer than a MiB, or does not add up.
fn accounts(path: &Path) -> BTreeMap<String, Account> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(1 << 20).read_to_string(&mut text));
    let accounts = read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut file = StateFile { path: path.into(), accounts };
    let rings: Vec<RingName> = file.accounts.keys().filter_map(|ring| ring.parse().ok()).collect();
    let account = |ring: RingName| Some((ring.to_string(), file.load(&ring).ok()??));
    rings.into_iter().filter_map(account).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_and_opened() {
        let directory = tempfile::tempdir().unwrap();
        let ring: RingName = "/lan".parse().unwrap();
        let generation = u64::MAX - 1;
        let account = Account { generation, began: 5, delivered: 3, lost: 2, skipped: 1 };
        let mut file = StateFile::open(directory.path(), "aw-test").unwrap();
        assert!(matches!(file.load(&ring), Ok(None)));
        assert!(file.store(&ring, &account).is_ok());
        for _ in 0..2 {
            file.save().unwrap();
        }
        let mut again = StateFile::open(directory.path(), "aw-test").unwrap();
        assert!(matches!(again.load(&ring), Ok(Some(found)) if found == account));
        let next = |generation| next_of(directory.path(), "aw-test", &ring, generation);
        assert_eq!((next(generation), next(7)), (Some(11), None));
        let files: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }

    #[test]
    fn what_is_not_an_account_is_refused() {
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
    fn what_outputs_left() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let ring: RingName = "/lan".parse().unwrap();
        let account = Account { generation: 7, began: 5, delivered: 3, lost: 2, skipped: 1 };
        fs::create_dir(at("own")).unwrap();
        let mut copy = StateFile::copy(&at("own"), "aw-a");
        copy.store(&ring, &account).map_err(|_| ()).unwrap();
        copy.replace().unwrap();
        fs::write(at("own/aw-a.spool"), [0; 100]).unwrap();
        fs::write(at("own/aw-a.spool-wal"), [0; 23]).unwrap();
        fs::write(at("aw-b.positions"), r#"{"/lan":{"next":1}}"#).unwrap();
        fs::write(at("aw-c.lock"), "").unwrap();
        let accounts = BTreeMap::from([("/lan".into(), account)]);
        let a = Kept { accounts, spool: Some(123) };
        let expected = [("aw-a".into(), a), ("aw-b".into(), Kept::default())];
        assert_eq!(kept(directory.path()), BTreeMap::from(expected));
        for number in 0..OUTPUTS {
            fs::write(at(&format!("made-up-{number}.spool")), "").unwrap();
        }
        assert_eq!(kept(directory.path()).len(), OUTPUTS);
        assert_eq!(kept(&at("nowhere")), BTreeMap::new());
    }

    #[test]
    fn one_program_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let _held = lock(directory.path(), "aw-test").unwrap();
        let Err(Error::Failed(why)) = lock(directory.path(), "aw-test").map(drop) else { panic!() };
        assert!(why.contains("in use by another aw-test"), "{why}");
        assert!(lock(directory.path(), "aw-other").is_ok());
    }
}

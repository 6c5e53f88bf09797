//! Writes commits to a bare git repository without starting git, so that the sandbox allows no other program. A commit
//! takes four files (gitformat-loose(5), gitrepository-layout(5)).

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use aw_service::{FileKind, is_hidden, read_file_text};
use flate2::{Compression, write::ZlibEncoder};
use sha1::{Digest, Sha1};

use crate::archive::{make_directory, replace};

/// A bare repository with one branch, `main`, whose tree has a file for each router.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    /// The files of the next commit. Kept in memory, because committed objects may be in a pack, which is not read here.
    tree: BTreeMap<String, Id>,
}

type Id = [u8; 20];

const BRANCH: &str = "refs/heads/main";
/// A file with this program's last commit and its tree, which may be in a pack by now. Git ignores it.
const LAST: &str = "aw-routeros-last";

/// The names of commits, of which a repository may have packed many.
const MAX_REFS: u64 = 16 << 20;

fn read(path: PathBuf) -> io::Result<String> {
    read_file_text(&path, FileKind::State, MAX_REFS)
}

impl Repository {
    /// Opens the repository, and creates it if it does not exist.
    pub fn open(path: &Path) -> io::Result<Repository> {
        if !path.join("HEAD").exists() {
            for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
                make_directory(&path.join(directory))?;
            }
            replace(
                &path.join("config"),
                b"[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
            )?;
            replace(&path.join("HEAD"), format!("ref: {BRANCH}\n").as_bytes())?;
        }
        Ok(Repository { path: path.into(), tree: BTreeMap::new() })
    }

    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Replaces the tree by these files, all or none.
    pub fn fill(
        &mut self,
        files: impl Iterator<Item = io::Result<(String, Vec<u8>)>>,
    ) -> io::Result<()> {
        let blob = |file: io::Result<(String, Vec<u8>)>| {
            let (name, content) = file?;
            Ok((name, self.write("blob", &content)?))
        };
        self.tree = files.map(blob).collect::<io::Result<_>>()?;
        Ok(())
    }

    pub fn put(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let blob = self.write("blob", content)?;
        self.tree.insert(name.into(), blob);
        Ok(())
    }

    /// Whether the newest commit is this program's and has this tree.
    pub fn is_committed(&self) -> io::Result<bool> {
        let (Some(head), tree) = (self.head()?, self.write_tree()?) else { return Ok(false) };
        let last = read(self.path.join(LAST)).unwrap_or_default();
        Ok(last == format!("{head} {tree}\n"))
    }

    pub fn commit(&self, author: &str, seconds: i64, message: &str) -> io::Result<()> {
        let tree = self.write_tree()?;
        let parent = self.head()?.map(|id| format!("parent {id}\n")).unwrap_or_default();
        let is_special = |c: char| c.is_control() || is_hidden(c) || "<>".contains(c);
        let person = |c: char| if is_special(c) { '_' } else { c };
        let author: String = author.chars().map(person).collect();
        let mail: String =
            author.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
        let commit = format!(
            "tree {tree}\n{parent}author {author} <{mail}@router> {seconds} +0000\n\
             committer aw-routeros <aw-routeros@localhost> {seconds} +0000\n\n{message}\n"
        );
        let commit = hex(&self.write("commit", commit.as_bytes())?);
        replace(&self.path.join(BRANCH), format!("{commit}\n").as_bytes())?;
        replace(&self.path.join(LAST), format!("{commit} {tree}\n").as_bytes())
    }

    fn write_tree(&self) -> io::Result<String> {
        let mut tree = Vec::new();
        for (name, blob) in &self.tree {
            tree.extend_from_slice(format!("100644 {name}\0").as_bytes());
            tree.extend_from_slice(blob);
        }
        Ok(hex(&self.write("tree", &tree)?))
    }

    /// The newest commit; after `git gc` it may be in packed-refs.
    fn head(&self) -> io::Result<Option<String>> {
        let is_id = |text: &str| text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Ok(text) = read(self.path.join(BRANCH)) {
            return match text.trim() {
                id if is_id(id) => Ok(Some(id.into())),
                _ => Err(io::Error::other(format!("{BRANCH} is damaged"))),
            };
        }
        let packed = read(self.path.join("packed-refs")).unwrap_or_default();
        let line = packed.lines().find_map(|line| line.strip_suffix(BRANCH));
        Ok(line.map(str::trim).filter(|id| is_id(id)).map(str::to_owned))
    }

    fn write(&self, kind: &str, content: &[u8]) -> io::Result<Id> {
        let mut object = format!("{kind} {}\0", content.len()).into_bytes();
        object.extend_from_slice(content);
        let id: Id = Sha1::digest(&object).into();
        let name = hex(&id);
        let directory = self.path.join("objects").join(&name[..2]);
        let path = directory.join(&name[2..]);
        if !path.exists() {
            make_directory(&directory)?;
            let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
            packed.write_all(&object)?;
            replace(&path, &packed.finish()?)?;
        }
        Ok(id)
    }
}

fn hex(id: &Id) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn object_names_and_packed_refs() {
        let directory = tempfile::tempdir().unwrap();
        let mut repository = Repository::open(&directory.path().join("r.git")).unwrap();
        let blob = repository.write("blob", b"hello\n").unwrap();
        assert_eq!(hex(&blob), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(repository.head().unwrap(), None);
        repository.put("a.rsc", b"1").unwrap();
        repository.commit("a <b>\n", 1, "first").unwrap();
        let first = repository.head().unwrap().unwrap();
        fs::remove_file(repository.path.join(BRANCH)).unwrap();
        fs::write(repository.path.join("packed-refs"), format!("# x\n{first} {BRANCH}\n")).unwrap();
        assert_eq!(repository.head().unwrap(), Some(first), "after git gc");
    }
}

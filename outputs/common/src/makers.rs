//! Makers of network cards, from the IEEE's registries as Debian's package `ieee-data` has them: blocks of 24, 28 and 36 bits.
//! They are read when the first one is asked for, into a sorted table: of the 48,000 blocks of 2022, 1.4 MB. The directory may be
//! missing, and may appear or change while a program runs.

mod lists;

use std::{
    collections::HashMap,
    fmt,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use aw_service::{Access, FileKind, TextLines, cause, open_file, warn};
use shm_layout::MacAddr;

pub use lists::{MakerLine, csv_line, prefix_line};

/// Where Debian's package ieee-data has the IEEE's files.
pub const IEEE_DATA: &str = "/usr/share/ieee-data";
/// Each registry as CSV, or else as text.
const REGISTRIES: [&str; 4] = ["oui", "mam", "oui36", "iab"];
/// Bytes of a file, blocks, and bytes of all names and of one, at most.
const MAX_FILE: u64 = 32 << 20;
const MAX_BLOCKS: usize = 250_000;
const MAX_POOL: usize = 8 << 20;
const MAX_MAKER: usize = 120;
/// How often it is checked, when a maker is asked for, whether the files are others.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The makers of a directory. Its copies share the table.
#[derive(Clone)]
pub struct Makers {
    directory: PathBuf,
    loaded: Arc<Mutex<Loaded>>,
}

#[derive(Default)]
struct Loaded {
    table: Table,
    /// When the files were checked, and what they were.
    checked: Option<Instant>,
    files: Vec<(PathBuf, u64, Option<SystemTime>)>,
}

/// Blocks in order, and the place of each one's maker in `pool`, where a line feed ends it.
#[derive(Default)]
struct Table {
    blocks: Vec<MacBlock>,
    places: Vec<u32>,
    pool: String,
}

impl Default for Makers {
    fn default() -> Makers {
        Makers::new(Path::new(IEEE_DATA))
    }
}

impl fmt::Debug for Makers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Makers").field(&self.directory).finish()
    }
}

impl Makers {
    /// The makers of a directory, of which nothing is read yet.
    pub fn new(directory: &Path) -> Makers {
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        Makers { directory, loaded: Arc::default() }
    }

    /// What a confined process needs: the directory, the nearest one that exists if it is missing, and those of links' targets.
    pub fn access(&self) -> Vec<Access> {
        let nearest = self.directory.ancestors().find(|path| path.is_dir());
        let nearest = nearest.filter(|path| path.components().count() > 2); // not / and not /usr
        let files = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let targets = files.filter_map(|file| {
            let target = file.path().canonicalize().ok().filter(|_| file.path().is_symlink())?;
            target.parent().map(Path::to_owned)
        });
        let mut directories: Vec<_> =
            nearest.map(Path::to_owned).into_iter().chain(targets).collect();
        directories.sort();
        directories.dedup();
        directories.into_iter().map(Access::Read).collect()
    }

    /// The maker of the smallest block that has this MAC, and the block's bits. A locally administered MAC has none.
    pub fn find(&self, mac: MacAddr) -> Option<(String, u8)> {
        if is_local(mac) {
            return None;
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.checked.is_none_or(|checked| checked.elapsed() >= CHECK_INTERVAL) {
            loaded.checked = Some(Instant::now());
            let files = self.files();
            if files != loaded.files {
                loaded.table = Table::read(files.iter().map(|(path, ..)| path));
                loaded.files = files;
            }
        }
        let block = MacBlock::of(mac)
            .into_iter()
            .find_map(|block| Some((loaded.table.maker(block)?, block)));
        block.map(|(maker, block)| (maker.to_owned(), block.bits()))
    }

    /// The maker alone.
    pub fn of(&self, mac: MacAddr) -> Option<String> {
        self.find(mac).map(|(maker, _)| maker)
    }

    /// The files that exist.
    fn files(&self) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
        let of = |registry: &&str| {
            ["csv", "txt"].into_iter().find_map(|kind| {
                let path = self.directory.join(registry).with_extension(kind);
                let file = path.metadata().ok()?;
                Some((path, file.len(), file.modified().ok()))
            })
        };
        REGISTRIES.iter().filter_map(of).collect()
    }
}

/// Whether an address is locally administered (IEEE 802, bit 1 of the first octet), such as a random one. It has no maker.
pub fn is_local(mac: MacAddr) -> bool {
    mac.octets()[0] & 2 != 0
}

impl Table {
    /// Files that cannot be read, which is reported, and lines without a block are skipped.
    fn read<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Table {
        let (mut blocks, mut pool) = (Vec::new(), String::new());
        let mut places: HashMap<String, u32> = HashMap::new(); // many blocks have the same maker
        for path in files {
            let file = match open_file(path, FileKind::Settings) {
                Ok(file) => file,
                Err(error) => {
                    let (path, why) = (path.display(), cause(&error));
                    warn(format_args!("read {path}: {why}: its makers are not shown"));
                    continue;
                }
            };
            let Ok(lines) = TextLines::new(BufReader::new(file.take(MAX_FILE))) else { continue };
            let mut lists =
                lists::Registry::new(path.extension().is_some_and(|kind| kind == "csv"));
            for line in lines.map_while(Result::ok) {
                let Some((block, maker)) = line.text.and_then(|text| lists.line(&text)) else {
                    continue;
                };
                let maker: String = maker.chars().take(MAX_MAKER).collect();
                let place = places.get(&maker).copied().or_else(|| {
                    let place = u32::try_from(pool.len()).ok().filter(|_| pool.len() < MAX_POOL)?;
                    pool.push_str(&maker);
                    pool.push('\n');
                    places.insert(maker, place);
                    Some(place)
                });
                if let Some(place) = place.filter(|_| blocks.len() < MAX_BLOCKS) {
                    blocks.push((block, place));
                }
            }
        }
        blocks.sort_by_key(|(block, _)| *block); // of a block that is there twice, the first maker counts
        blocks.dedup_by_key(|(block, _)| *block);
        pool.shrink_to_fit();
        let (blocks, places) = blocks.into_iter().unzip();
        Table { blocks, places, pool }
    }

    fn maker(&self, block: MacBlock) -> Option<&str> {
        let at = self.blocks.binary_search(&block).ok()?;
        self.pool.get(self.places[at] as usize..)?.split('\n').next()
    }
}

/// A block of MACs that the IEEE assigns, by its key in databases: the first 24 bits, or how many bits the block has (28 or 36)
/// and these bits. A smaller block has a larger key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacBlock(i64);

impl MacBlock {
    /// None for a block of another size.
    pub fn new(prefix: u64, bits: u8) -> Option<MacBlock> {
        match bits {
            24 => Some(MacBlock(prefix as i64)),
            28 | 36 => Some(MacBlock((u64::from(bits) << 40 | prefix) as i64)),
            _ => None,
        }
    }

    /// The blocks of a MAC, the smallest one first.
    pub fn of(mac: MacAddr) -> [MacBlock; 3] {
        let key =
            |bits: u64, size: u64| MacBlock((size << 40 | mac.number() >> (48 - bits)) as i64);
        [key(36, 36), key(28, 28), key(24, 0)]
    }

    /// The block of a key.
    pub fn from_key(key: i64) -> MacBlock {
        MacBlock(key)
    }

    /// The key.
    pub fn key(self) -> i64 {
        self.0
    }

    /// 24, 28 or 36.
    pub fn bits(self) -> u8 {
        match self.0 >> 40 {
            0 => 24,
            bits => bits as u8,
        }
    }
}

impl fmt::Debug for MacBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.bits();
        let prefix = self.0 & 0xf_ffff_ffff;
        write!(f, "{bits}:{prefix:0width$x}", width = bits as usize / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn makers(directory: &Path, macs: &[&str]) -> Vec<String> {
        let makers = Makers::new(directory);
        let maker = |mac: &&str| makers.of(mac.parse().unwrap()).unwrap_or("-".into());
        macs.iter().map(maker).collect()
    }

    #[test]
    fn the_longest_prefix_counts() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
        let macs = [
            "00:22:72:00:00:01",
            "70:b3:d5:71:90:01",
            "70:b3:d5:72:00:00",
            "70:b3:d5:80:00:00",
            "00:aa:bb:00:00:00",
            "00:aa:cc:00:00:00",
            "02:22:72:00:00:01",
        ];
        assert_eq!(makers(directory.path(), &macs), ["-"; 7]);
        write(
            "oui.csv",
            "Registry,Assignment,Organization Name,Organization Address\r\n\
             MA-L,002272,American Micro-Fuel Device Corp.,2181 Buchanan Loop\r\n\
             MA-L,70B3D5,IEEE Registration Authority,445 Hoes Lane\n\
             MA-L,022272,Local,\nMA-L,00AABB,\"A \"\"B\"\", Inc.\",\"Some\nwhere, MA-L,00AACC,x\"\n\
             MA-L,00AACC,Private,\nbroken\nMA-L,xyz,\"\n",
        );
        write("oui.txt", "00-22-72   (hex)\t\tnot read: there is oui.csv\n");
        write("mam.csv", "MA-M,70B3D57,Seven,\n");
        write("oui36.csv", "MA-S,70B3D5719,\"2M Technology\",802 Greenview Drive\n");
        let expected = [
            "American Micro-Fuel Device Corp.",
            "2M Technology",
            "Seven",
            "-",
            "A \"B\", Inc.",
            "-",
            "-",
        ];
        assert_eq!(makers(directory.path(), &macs), expected);
        assert_eq!(makers(Path::new("/nonexistent"), &macs), ["-"; 7]);
        let found = Makers::new(directory.path()).find(macs[1].parse().unwrap());
        assert_eq!(found, Some(("2M Technology".into(), 36)));
    }

    #[test]
    fn registries_as_text() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
        write(
            "oui.txt",
            "OUI/MA-L\t\tOrganization\ncompany_id\t\tOrganization\n\n00-22-72   (hex)\t\tAmerican\n\
             002272     (base 16)\t\tAmerican\n\t\t\t\t2181 Buchanan Loop\n\t\t\t\tUS\n",
        );
        write("mam.txt", "70-B3-D5   (hex)\t\tSeven\n700000-7FFFFF     (base 16)\t\tSeven\n");
        write("oui36.txt", "70-B3-D5   (hex)\t\t2M\n719000-719FFF     (base 16)\t\t2M\n");
        write("iab.txt", "40-D8-55   (hex)\t\tFour\n0E1000-0E1FFF     (base 16)\t\tFour\n");
        let macs =
            ["00:22:72:00:00:01", "70:b3:d5:71:90:01", "70:b3:d5:72:00:00", "40:d8:55:0e:1f:ff"];
        assert_eq!(makers(directory.path(), &macs), ["American", "2M", "Seven", "Four"]);
    }

    #[test]
    fn memory_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let long = "x".repeat(1 << 20);
        let mut text = format!("MA-L,000001,{long},\nMA-L,000002,{},\n", "y".repeat(1000));
        for number in 16..300_000 {
            text += &format!("MA-S,{number:09X},maker {number},\n");
        }
        fs::write(directory.path().join("oui.csv"), text).unwrap();
        let table = Table::read([directory.path().join("oui.csv")].iter());
        assert_eq!(table.blocks.len(), MAX_BLOCKS);
        assert!(table.pool.len() < MAX_POOL + 4 * MAX_MAKER);
        let maker = |prefix| table.maker(MacBlock::new(prefix, 24).unwrap());
        assert_eq!((maker(1), maker(2).map(str::len)), (None, Some(MAX_MAKER)));
    }
}

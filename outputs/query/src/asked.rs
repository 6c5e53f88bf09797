//! The questions of `aw-query` for another program: of one history, each with a time limit that does not end the process.

mod limited_reader;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use aw_clickhouse::{Cluster, ReaderOptions};
use aw_mysql::{ServerConfig, TablePrefix};
use aw_output::{
    ClaimedName,
    makers::Makers,
    names::{LiveNames, Names, without_local},
};
use aw_service::{Access, Error, failed};
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use self::limited_reader::{LimitedReader, in_time};
use crate::{
    address_rows::Listed,
    by_name::{self, Found},
    clickhouse_reader::ClickhouseReader,
    history_reader::{ClaimReader, HistoryReader, TimeRange},
    mysql_reader::MysqlReader,
    names::{Labels, Named},
    one_network, options,
    queries::{AT_REMEDY, Query},
    result_table::{OutputFormat, ResultTable},
    sqlite_reader::SqliteReader,
};

/// Where a history is, with what is needed to open it.
#[derive(Clone, Debug)]
pub enum History {
    /// A database of aw-sqlite.
    Sqlite(PathBuf),
    /// The tables of aw-mysql.
    Mysql(Box<ServerConfig>, TablePrefix),
    /// The tables of aw-clickhouse.
    Clickhouse(Box<Cluster>),
}

impl History {
    /// Reads what `--database`, `--config`, `--prefix` and the options for ClickHouse name, which may be files of root.
    pub fn named(
        database: Option<&str>,
        config: Option<&Path>,
        prefix: &TablePrefix,
        clickhouse: &ReaderOptions,
    ) -> Result<History, Error> {
        let default = || match config {
            Some(_) => "mysql://".into(),
            None => options::database_of_service(),
        };
        let name = &*database.map_or_else(default, str::to_owned);
        let named = name.split_once("://").unwrap_or(("sqlite", name));
        if let ("clickhouse" | "clickhouses", url) = named {
            if config.is_some() || *prefix != TablePrefix::default() {
                return Err(failed(
                    "--config and --prefix are for MySQL (leave them out; of ClickHouse, the URL has user and database, and --password-file the password)",
                ));
            }
            let cluster = clickhouse.cluster(named.0 == "clickhouses", url)?;
            return Ok(History::Clickhouse(Box::new(cluster)));
        }
        if let Some(option) = clickhouse.given() {
            return Err(failed(format_args!(
                "{option} is for --database clickhouse://... (leave it out; of MySQL, the file of --config has password and certificates)"
            )));
        }
        match named {
            ("mysql" | "mariadb", url) => {
                let config = config.map(ServerConfig::read).transpose()?;
                let mut config = config.unwrap_or_default();
                config.set_url(url)?;
                Ok(History::Mysql(Box::new(config), prefix.clone()))
            }
            ("sqlite", _) if config.is_some() => Err(failed(
                "--config names a server, and --database names a file (choose one of them)",
            )),
            ("sqlite", path) => Ok(History::Sqlite(path.into())),
            (kind, _) => Err(failed(format_args!(
                "open {kind}://...: not a kind of history (use a database of aw-sqlite, mysql://... or clickhouse://...)"
            ))),
        }
    }

    /// Opens it for reading, within this time. A question of a server may take as long.
    pub(crate) fn open(&self, limit: Duration) -> Result<Box<dyn HistoryReader>, Error> {
        Ok(match self {
            History::Sqlite(path) => {
                Box::new(SqliteReader::open(path, Instant::now().checked_add(limit))?)
            }
            History::Mysql(config, prefix) => Box::new(MysqlReader::open(config, prefix, limit)?),
            History::Clickhouse(cluster) => Box::new(ClickhouseReader::open(cluster, limit)?),
        })
    }

    /// The files and ports that a confined process needs: of a database its directory, in which its log lies. A link to it needs
    /// nothing more; the directory of one that leads nowhere yet may be above that of the database.
    pub fn access(&self) -> Vec<Access> {
        match self {
            History::Sqlite(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                let target = path.canonicalize().unwrap_or(path);
                target
                    .parent()
                    .map(|directory| Access::Read(directory.into()))
                    .into_iter()
                    .collect()
            }
            History::Mysql(config, _) => config.access(),
            History::Clickhouse(cluster) => cluster.access(),
        }
    }

    /// The database that the options of the service aw-sqlite name by now, if it is another one and is there.
    pub fn moved(&self) -> Option<PathBuf> {
        let History::Sqlite(path) = self else { return None };
        if aw_database::unread_options().is_some() {
            return None;
        }
        let named =
            aw_database::named_by_the_service().unwrap_or_else(|| aw_database::USUAL.into());
        let named = PathBuf::from(named);
        (named != *path && named.exists()).then_some(named)
    }

    /// That no process has the database of the service open, as aw-sqlite has while it runs and can write it; none if it is not known.
    pub fn writer_fault(&self) -> Option<String> {
        let History::Sqlite(path) = self else { return None };
        if self.moved().is_some() {
            return None;
        }
        let is_closed = matches!(aw_database::is_in_use(path), Ok(false));
        is_closed.then(|| {
            format!(
                "no process has {} open, and what is seen now is not in the history: aw-sqlite does not run, or cannot write it (sudo systemctl start aw-sqlite; journalctl -u aw-sqlite has the reason)",
                path.display()
            )
        })
    }

    /// What a confined process needs for that.
    pub fn access_to_options() -> Vec<Access> {
        aw_database::access_to_options()
    }

    /// The families of sockets that it needs.
    pub fn sockets(&self) -> Vec<i32> {
        match self {
            History::Sqlite(_) => Vec::new(),
            History::Mysql(config, _) => config.sockets(),
            History::Clickhouse(_) => Cluster::sockets(),
        }
    }

    /// Answers a question within `time`, or fails: the process can ask the next one. At most `limit` rows are in the answer, and
    /// a bounded number of pairings is read for it. This blocks.
    pub fn ask(
        &self,
        question: &Question,
        labels: &Devices,
        zone: &TimeZone,
        limits: (Duration, usize),
    ) -> Result<Answer, Unanswered> {
        self.ask_of_network(std::slice::from_ref(question), None, labels, zone, limits)
    }

    /// The same of several questions of one kind, about one device each, with the rows of one network only, if one is named in the notation of
    /// `--network`: an answer that has the rows of all.
    pub fn ask_of_network(
        &self,
        questions: &[Question],
        network: Option<&str>,
        labels: &Devices,
        zone: &TimeZone,
        (time, limit): (Duration, usize),
    ) -> Result<Answer, Unanswered> {
        let end = Instant::now() + time;
        let mut all: Option<Answer> = None;
        for question in questions {
            let one = self.answer(question, network, (labels, zone), ((time, limit), end))?;
            all = Some(match all {
                Some(all) => all.and(one, limit),
                None => one,
            });
        }
        all.ok_or_else(|| Unanswered::Failed(failed("no question")))
    }

    fn answer(
        &self,
        question: &Question,
        network: Option<&str>,
        (labels, zone): (&Devices, &TimeZone),
        ((time, limit), end): ((Duration, usize), Instant),
    ) -> Result<Answer, Unanswered> {
        let query = question.query();
        let answer = self.read(&query, zone, end).map_err(|error| unanswered(error, end, time))?;
        let Answer { mut table, no_match, remarks: of_history, is_complete, .. } = answer;
        let others = network.and_then(|name| one_network::keep(&mut table, name));
        let no_match = no_match.or(others);
        let rows = table.rows.len();
        let left_off = rows.saturating_sub(limit);
        match question {
            Question::Ip(..)
            | Question::Mac(..)
            | Question::Changes(_)
            | Question::Presence(..) => {
                drop(table.rows.drain(..left_off)); // the latest ones are last
            }
            Question::Who(..)
            | Question::MacAt(..)
            | Question::Devices(_)
            | Question::DevicesOfNetworks(_)
            | Question::AddressesOf(_) => table.rows.truncate(limit),
        }
        labels.0.add_to(&mut table, OutputFormat::Json, zone);
        let unseen = table.omitted.unseen(zone);
        let (no_match, unseen) = match (no_match, unseen) {
            (Some(why), Some(unseen)) => (Some(format!("{unseen}; {why}")), None),
            others => others,
        };
        let remarks = [query.remark(UnixTime::now(), zone), unseen, table.omitted.remark()];
        let remarks = remarks.into_iter().flatten().chain(of_history).collect();
        let is_complete = is_complete && left_off == 0;
        Ok(Answer { table, no_match, remarks, left_off, is_complete })
    }

    /// The MACs that call themselves so, as a question about a name finds them, with the name and the message that has it, within `time`. This
    /// blocks.
    pub fn macs_claiming(&self, name: &str, time: Duration) -> Result<Vec<Claiming>, Unanswered> {
        self.read_claiming(name, time, |history, mut macs| {
            macs.truncate(MOST_CLAIMING);
            let names = history.claimed_names(&macs)?;
            Ok(macs.into_iter().map(|mac| (mac, used(names.get(&mac), name))).collect())
        })
    }

    /// The devices with a name: those that the file of names calls so, or else those that call themselves so; none if there are none. This blocks.
    pub fn devices_named(
        &self,
        name: &str,
        labels: &Devices,
        time: Duration,
    ) -> Result<Option<Found>, Unanswered> {
        by_name::find(&labels.names(), name, || self.read_claiming(name, time, |_, macs| Ok(macs)))
    }

    /// What `work` makes of the MACs that call themselves so.
    fn read_claiming<T>(
        &self,
        name: &str,
        time: Duration,
        work: impl Fn(&mut dyn HistoryReader, Vec<MacAddr>) -> Result<T, Error>,
    ) -> Result<T, Unanswered> {
        let end = Instant::now() + time;
        let search = || loop {
            let mut history = LimitedReader::open(self, end)?;
            let found = history.macs_claiming(name).and_then(|macs| work(&mut history, macs));
            if history.is_intact()? {
                return found;
            }
            in_time(end)?;
        };
        search().map_err(|error| unanswered(error, end, time))
    }

    /// All rows; or else what was searched, and where the history begins or ends.
    fn read(&self, query: &Query, zone: &TimeZone, end: Instant) -> Result<Answer, Error> {
        loop {
            let mut history = LimitedReader::open(self, end)?;
            let answered = query.run(&mut history).and_then(|table| {
                let mut remarks = history.remarks().to_vec();
                let is_complete = !history.is_cut();
                remarks.extend(history.history.is_cut().then(|| CUT.into()));
                remarks.extend(history.has_left_rows.then(|| ROWS_CUT.into()));
                if !table.rows.is_empty() {
                    return Ok(Answer { table, no_match: None, remarks, left_off: 0, is_complete });
                }
                let beyond =
                    query.beyond(&mut history, (zone, &table.omitted))?.unwrap_or_default();
                let searched = query.no_match(zone, &table.omitted);
                let no_match = Some(searched.replace(AT_REMEDY, "") + &beyond);
                Ok(Answer { table, no_match, remarks, left_off: 0, is_complete })
            });
            // While it was read, its writer changed what was read already.
            if history.is_intact()? {
                return answered;
            }
            in_time(end)?;
        }
    }
}

/// Why a question has no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// It would have taken more than this time.
    TooLong(Duration),
    /// The history cannot be read.
    Failed(Error),
}

/// A MAC, with what it calls itself, and the words for the message that has it.
pub type Claiming = (MacAddr, Option<(String, &'static str)>);

/// The one of the names of a MAC that was searched.
fn used(names: Option<&Vec<(usize, ClaimedName)>>, name: &str) -> Option<(String, &'static str)> {
    let base = |name: &str| without_local(name).unwrap_or(name).to_lowercase();
    let mut names = names.into_iter().flatten().map(|(_, name)| name);
    let found = names.find(|one| base(&one.name) == base(name))?;
    Some((found.name.clone(), found.source.words()))
}

/// Too long is also what is in the place of the error of a statement that was ended.
fn unanswered(error: Error, end: Instant, time: Duration) -> Unanswered {
    match Instant::now() < end {
        true => Unanswered::Failed(error),
        false => Unanswered::TooLong(time),
    }
}

/// What a history is asked, with its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which MACs had an address at a time.
    Who(IpAddr, UnixTime),
    /// Which MACs had an address, from when to when. True: also what counts for no row.
    Ip(IpAddr, TimeRange, bool),
    /// Which addresses a MAC had.
    Mac(MacAddr, TimeRange, Listed),
    /// Whether a MAC was here at a time, and with which addresses.
    MacAt(MacAddr, UnixTime),
    /// Addresses that were new or had another MAC, and configuration changes of routers.
    Changes(TimeRange),
    /// All MACs with their addresses.
    Devices(TimeRange),
    /// The same, once for each network of a MAC.
    DevicesOfNetworks(TimeRange),
    /// The addresses that a MAC had, the latest first.
    AddressesOf(MacAddr),
    /// The quarters of an hour in which a MAC was seen.
    Presence(MacAddr, TimeRange),
}

impl Question {
    /// Whether it reads all pairings of the history, and not only those of one address or device.
    pub fn is_about_all(&self) -> bool {
        matches!(self, Question::Changes(_) | Question::Devices(_) | Question::DevicesOfNetworks(_))
    }

    /// The end of the time that it asks about.
    pub fn until(&self) -> UnixTime {
        match *self {
            Question::Who(_, at) | Question::MacAt(_, at) => at,
            Question::Ip(_, range, _)
            | Question::Mac(_, range, _)
            | Question::Changes(range)
            | Question::Devices(range)
            | Question::DevicesOfNetworks(range)
            | Question::Presence(_, range) => range.to,
            Question::AddressesOf(_) => TimeRange::ALL.to,
        }
    }

    fn query(&self) -> Query {
        match *self {
            Question::Who(ip, at) => Query::Who(ip, at),
            Question::Ip(ip, range, all) => Query::Ip(ip, range, all),
            Question::Mac(mac, range, listed) => Query::Mac(mac, range, listed),
            Question::MacAt(mac, at) => Query::MacAt(mac, at),
            Question::Changes(range) => Query::Changes(range),
            Question::Devices(range) => Query::Devices(range, false),
            Question::DevicesOfNetworks(range) => Query::DevicesOfNetworks(range, false),
            Question::AddressesOf(mac) => Query::AddressesOf(mac),
            Question::Presence(mac, range) => Query::Presence(mac, range),
        }
    }
}

/// Names and makers of devices, which follow their files.
pub struct Devices(Labels);

impl Devices {
    /// Those of a file of names and a directory of the IEEE's lists.
    pub fn new(names: LiveNames, makers: Makers) -> Devices {
        Devices(Labels::new(names, makers))
    }

    /// All names, as they are now: a list with these names is of no others while this is the same.
    pub fn names(&self) -> Arc<Names> {
        self.0.names()
    }

    /// Sets or removes the name of a MAC in the file of names, as `aw-query name` does; it is known at once. This blocks.
    pub fn set_name(&self, mac: MacAddr, name: Option<&str>) -> Result<Named, Error> {
        self.0.set_name(mac, name)
    }

    /// Other MACs that have this name.
    pub fn others_named(&self, mac: MacAddr, name: &str) -> Vec<MacAddr> {
        self.0.others_named(mac, name)
    }

    /// The name of a MAC in the file of names, and its maker.
    pub fn of(&self, mac: MacAddr) -> (Option<String>, Option<String>) {
        self.0.of(mac)
    }
}

/// The answer to a question.
pub struct Answer {
    /// Its rows, with all columns that `aw-query --format json` has.
    pub table: ResultTable,
    /// If there are none: what was searched, and in which times.
    pub no_match: Option<String>,
    /// What a reader may not expect of the answer, such as messages that are left out.
    pub remarks: Vec<String>,
    /// Rows beyond the limit: the oldest ones of periods and changes, the last ones of others.
    pub left_off: usize,
    /// It has all rows that there are: no row is left off, and nothing was too much to read.
    pub is_complete: bool,
}

impl Answer {
    /// Adds another one with the same columns. Why it has no rows is a remark if this one has some.
    fn and(mut self, other: Answer, limit: usize) -> Answer {
        let (is_empty, is_other_empty) = (self.table.rows.is_empty(), other.table.rows.is_empty());
        self.table.rows.extend(other.table.rows);
        for remark in other.remarks {
            if !self.remarks.contains(&remark) {
                self.remarks.push(remark); // such as that of the history
            }
        }
        let (one, other_one) = (self.no_match.take(), other.no_match);
        match (is_empty, is_other_empty) {
            (true, true) => {
                let both: Vec<_> = [one, other_one].into_iter().flatten().collect();
                self.no_match = Some(both.join("; "));
            }
            _ => self.remarks.extend([one, other_one].into_iter().flatten()),
        }
        let more = self.table.rows.len().saturating_sub(limit);
        self.table.rows.truncate(limit);
        self.left_off += other.left_off + more;
        self.is_complete &= other.is_complete && more == 0;
        self
    }
}

/// Pairings and addresses that are read for an answer, and changes that it has: these take a second or two, and 100 MB.
const MOST: usize = 100_000;
/// Devices with one name.
const MOST_CLAIMING: usize = 100;
const CUT: &str = "the history has more than 100000 addresses with a MAC: the oldest and the newest half of so many are searched, and those that are seen now, and no others (aw-query searches all of them)";
const ROWS_CUT: &str = "there are more than 100000 changes in these times, or more than 2000 of one address: the others are not searched (choose a shorter time; aw-query changes has all of them)";

#[cfg(test)]
mod tests;

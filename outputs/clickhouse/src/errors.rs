//! What a server reports, in words, and what can be done about it. Servers of all ages write `Code: N` and `DB::Exception: TEXT`.

use aw_notify::http::one_line;

use crate::BATCH;

/// What the servers are asked for: the remedies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Rows of aw-clickhouse.
    Insert,
    /// Answers for aw-query and aw-web.
    Select,
}

impl Purpose {
    /// The option that names the server.
    pub fn setting(self) -> &'static str {
        match self {
            Purpose::Insert => "--server",
            Purpose::Select => "--database",
        }
    }

    /// The begin of its value, with TLS.
    pub fn with_tls(self) -> &'static str {
        match self {
            Purpose::Insert => "https://",
            Purpose::Select => "clickhouses://",
        }
    }
}

/// An answer that is an error.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The number of ClickHouse; 0 if the answer has none, such as that of a proxy.
    pub code: u32,
    /// One line.
    pub message: String,
}

/// Numbers of server errors (ErrorCodes.cpp).
const NO_SUCH_COLUMN: [u32; 3] = [8, 16, 47];
const UNKNOWN_TABLE: u32 = 60;
const UNKNOWN_DATABASE: u32 = 81;
const LOGIN: [u32; 4] = [192, 193, 194, 516];
const READ_ONLY_USER: u32 = 164;
const DENIED: [u32; 3] = [READ_ONLY_USER, 291, 497];
const TOO_SLOW: [u32; 2] = [159, 160];
const MEMORY: u32 = 241;
const READ_ONLY_TABLE: u32 = 242;
const NO_SPACE: u32 = 243;
const TOO_MANY_PARTS: u32 = 252;
const CANNOT_WRITE: u32 = 75;

impl ServerError {
    /// Reads the answer with an HTTP status that is no success.
    pub fn of(status: &str, text: &str) -> ServerError {
        let digits = text.split_once("Code: ").map(|(_, rest)| rest);
        let digits = digits.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        let code = digits.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let message = match text.split_once("DB::Exception: ") {
            Some((_, message)) => {
                // Of old servers, and of new ones.
                let end = [", e.what()", ". Stack trace", " (version "];
                let end = end.iter().filter_map(|mark| message.find(mark)).min();
                one_line(&message[..end.unwrap_or(message.len())])
            }
            None => format!("{status}: \"{}\"", one_line(text)),
        };
        ServerError { code, message: message.trim_end_matches('.').to_owned() }
    }

    /// Whether it refuses the settings of a request, as for a user whose profile is read-only.
    pub fn is_settings_refused(&self) -> bool {
        self.code == READ_ONLY_USER
    }

    /// Whether another server of the list, with the same tables and users, gives another answer.
    pub fn is_of_this_server(&self) -> bool {
        let of_all = [UNKNOWN_TABLE, UNKNOWN_DATABASE];
        let lists = [&NO_SUCH_COLUMN[..], &LOGIN, &DENIED, &TOO_SLOW, &of_all];
        !lists.iter().any(|codes| codes.contains(&self.code))
    }

    /// The message, and the remedy for what an administrator can mend.
    pub fn with_remedy(&self, database: &str, purpose: Purpose) -> String {
        let remedy = match self.code {
            code if LOGIN.contains(&code) => match purpose {
                Purpose::Insert => "correct --login and the first line of --password-file".into(),
                Purpose::Select => {
                    "correct the user in --database and the first line of --password-file, which is read at the start"
                        .into()
                }
            },
            code if DENIED.contains(&code) => match purpose {
                Purpose::Insert => format!(
                    "GRANT INSERT ON {database}.* TO the user of --login; it must not be read-only"
                ),
                Purpose::Select => {
                    format!("GRANT SELECT ON {database}.* TO the user in --database")
                }
            },
            code if TOO_SLOW.contains(&code) => {
                "ask for a shorter time with --from and --to, or allow more with --timeout".into()
            }
            UNKNOWN_TABLE | UNKNOWN_DATABASE => format!(
                "create it: aw-clickhouse --database {database} schema | clickhouse-client --multiquery"
            ),
            code if NO_SUCH_COLUMN.contains(&code) => {
                "the table is not one of this release: compare it with aw-clickhouse schema".into()
            }
            TOO_MANY_PARTS if self.message.contains("partitions for single INSERT") => {
                "the batch has events of more than a hundred months, as after a wrong clock: raise max_partitions_per_insert_block of the user's profile".into()
            }
            TOO_MANY_PARTS => format!(
                "the server merges more slowly than sensors insert: raise --every of all sensors; that helps those with less than {BATCH} events in that time, for no insert has more"
            ),
            MEMORY => "raise max_memory_usage of the user's profile, or add memory".into(),
            READ_ONLY_TABLE => {
                "the server has no connection to ZooKeeper or ClickHouse Keeper: start it".into()
            }
            NO_SPACE | CANNOT_WRITE => "free space on the server's disk".into(),
            _ => return self.message.clone(),
        };
        format!("{} ({remedy})", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let old = "Code: 60, e.displayText() = DB::Exception: Table addrwatch.log doesn't exist., e.what() = DB::Exception\n";
        let new = "Code: 60. DB::Exception: Table addrwatch.log does not exist. (UNKNOWN_TABLE) (version 24.8.4.13 (official build))\n";
        for (text, message) in [
            (old, "Table addrwatch.log doesn't exist"),
            (new, "Table addrwatch.log does not exist. (UNKNOWN_TABLE)"),
        ] {
            let error = ServerError::of("404 Not Found", text);
            assert_eq!((error.code, &*error.message), (60, message));
            let shown = error.with_remedy("addrwatch", Purpose::Insert);
            assert!(shown.contains(" (create it: aw-clickhouse --database addrwatch schema |"));
            assert!(!error.is_of_this_server());
        }
        let proxy = ServerError::of("502 Bad Gateway", "<h1>\nno</h1>");
        assert_eq!(proxy.with_remedy("x", Purpose::Insert), "502 Bad Gateway: \"<h1> no</h1>\"");
        assert!(proxy.is_of_this_server());
        let parts = "Code: 252, e.displayText() = DB::Exception: Too many parts (300). Merges are processing significantly slower than inserts., e.what() = DB::Exception";
        let parts = ServerError::of("500", parts);
        let remedy = parts.with_remedy("x", Purpose::Insert);
        assert!(remedy.contains("raise --every") && remedy.contains("8192 events"), "{remedy}");
        assert!(parts.is_of_this_server());
        let months = "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100). The limit is controlled by 'max_partitions_per_insert_block' setting. (TOO_MANY_PARTS)";
        let months = ServerError::of("500", months).with_remedy("x", Purpose::Insert);
        assert!(months.ends_with("(the batch has events of more than a hundred months, as after a wrong clock: raise max_partitions_per_insert_block of the user's profile)"), "{months}");
    }
}

//! The id of a message: the same at each attempt to send it, and different from that of every other message of every host
//! and every database. Mail filters drop a second mail with the same Message-ID, and receivers of webhooks may do so.

use aw_output::{Error, Fault, SinkResult, this_host};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::store::AlertStore;

/// The note with the number of the database.
const DATABASE: &str = "database";

/// Makes the ids of the messages of one database.
pub struct MessageIds {
    /// The database and the host.
    origin: String,
}

impl MessageIds {
    /// The database gets a random number when it has none, so that two databases on one host differ.
    pub fn new(store: &mut AlertStore) -> SinkResult<MessageIds> {
        let number = match store.note(DATABASE)? {
            Some(number) => number,
            None => {
                let number = random()?;
                store.store_note(DATABASE, number)?;
                number
            }
        };
        Ok(MessageIds::of(number))
    }

    /// Whether the database has its number: an aw-alert has used it.
    pub fn exist(store: &mut AlertStore) -> SinkResult<bool> {
        Ok(store.note(DATABASE)?.is_some())
    }

    /// Ids of messages that no database has.
    pub fn without_database() -> SinkResult<MessageIds> {
        random().map(MessageIds::of)
    }

    fn of(number: i64) -> MessageIds {
        MessageIds { origin: format!("{number:016x}.{}", host_label(&this_host())) }
    }

    /// The id of the message with this number in the queue, about an event of this time. A database that was restored from
    /// a copy uses numbers again, for messages of another time.
    pub fn id(&self, number: i64, seconds: i64) -> String {
        format!("{number}-{seconds}.{}", self.origin)
    }
}

fn random() -> SinkResult<i64> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| Fault::Fatal(Error::io("get a random number", error)))?;
    Ok(i64::from_ne_bytes(bytes))
}

/// A host name as a part of a Message-ID: letters, digits and hyphens, with single dots between (RFC 5322, dot-atom).
fn host_label(host: &str) -> String {
    let plain = |label: &str| -> String {
        label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    };
    let labels: Vec<_> = host.split('.').filter(|label| !label.is_empty()).map(plain).collect();
    if labels.is_empty() { "localhost".into() } else { labels.join(".") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_by_database_and_stay_after_a_restart() {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let id = |directory: &tempfile::TempDir| {
            let mut store = AlertStore::open(directory.path()).unwrap();
            let ids = MessageIds::new(&mut store).unwrap();
            store.commit().unwrap();
            ids.id(1, 1000)
        };
        let [first, second] = [id(&directories[0]), id(&directories[1])];
        assert_ne!(first, second);
        assert_eq!(first, id(&directories[0]));
        assert!(first.starts_with("1-1000.") && first.ends_with(&host_label(&this_host())));
    }

    #[test]
    fn hosts_are_valid_in_a_message_id() {
        for (host, expected) in [
            ("gateway.example.org", "gateway.example.org"),
            ("a b_c..d.", "a-b-c.d"),
            ("é", "-"),
            ("", "localhost"),
        ] {
            assert_eq!(host_label(host), expected, "{host}");
        }
    }
}

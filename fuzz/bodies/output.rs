//! What outputs read from HTTP clients and from files in state directories.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    Checkpoint, live_checkpoint, queue_file,
    serve::{AllowedHosts, Refusal, parse_request},
    state,
};

/// Any bytes as a request: it is incomplete, refused with a status, or names a page.
pub fn http_head(input: &[u8]) {
    let hosts = AllowedHosts::default();
    for to in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 1)] {
        match parse_request(input, &hosts, IpAddr::V4(to)) {
            Ok(None) => {}
            Ok(Some((_, path))) => {
                assert!(!path.contains(['?', ' ', '\r', '\n']), "{path:?}");
                let end = &input[input.len().saturating_sub(1)..];
                assert!(!end.is_empty(), "an empty request is incomplete");
            }
            Err(Refusal::Host(_)) => {}
            Err(Refusal::Status(status)) => {
                assert!(status.as_bytes()[..3].iter().all(u8::is_ascii_digit));
            }
        }
    }
}

/// Any bytes as files of checkpoints: those that are accepted add up.
pub fn saved_state(input: &[u8]) {
    let saved = state::checkpoints(input);
    for checkpoint in saved.values().chain(live_checkpoint::checkpoints(input).values()) {
        assert!(checkpoint.next() >= checkpoint.began);
        assert_eq!(Checkpoint::from_columns(checkpoint.columns()), Some(*checkpoint));
    }
    for name in queue_file::queues(input).into_keys() {
        assert!(name.len() <= 64 && name.bytes().all(|c| c.is_ascii_graphic() && c != b'"'));
    }
}

#[cfg(feature = "spool")]
pub use spool_rows::spool_row;

#[cfg(feature = "spool")]
mod spool_rows {
    use rusqlite::{Connection, types::Value};

    use crate::{Checkpoint, checkpoint::ItemKind, spool};

    thread_local! {
        static DATABASE: Connection = Connection::open_in_memory().expect("a database");
    }

    /// Any values in rows of the spool, which SQLite does not check: a row is refused, skipped or an item, and the
    /// checkpoint after all items adds up. For each row there are 91 bytes: two for the types, eight for each of three
    /// numbers, and the event; the name of the ring is the event's beginning.
    pub fn spool_row(input: &[u8]) {
        DATABASE.with(|database| {
            let mut select = database.prepare_cached("SELECT 0, ?, ?, ?, ?, ?").expect("a query");
            let mut checkpoint = None;
            for row in input.chunks(91) {
                let Ok(Some((_, item))) = select.query_row(values(row), spool::item) else {
                    continue;
                };
                let next: Checkpoint = Checkpoint::after(checkpoint, &item);
                assert_eq!(Checkpoint::from_columns(next.columns()), Some(next), "{item:?}");
                assert!(next.includes(&item) || item.kind == ItemKind::Restart, "{item:?}");
                checkpoint = Some(next);
            }
        });
    }

    fn values(row: &[u8]) -> [Value; 5] {
        let byte = |at: usize| row.get(at).copied().unwrap_or_default();
        let number = |at: usize| i64::from_le_bytes(std::array::from_fn(|i| byte(at + i)));
        let event = row.get(26..).unwrap_or_default();
        let [name, kind] = [byte(0), byte(1)];
        let column = |bit: u8, at: usize| match kind >> bit & 1 {
            0 => Value::Integer(number(at)),
            _ => Value::Real(number(at) as f64),
        };
        let small =
            if kind & 8 == 0 { column(2, 18) } else { Value::Integer(i64::from(byte(18) as i8)) };
        let name = match name {
            0 => Value::Text("/addrwatch".into()),
            1 => Value::Null,
            _ => Value::Text(
                String::from_utf8_lossy(&event[..event.len().min(usize::from(name))]).into(),
            ),
        };
        let event = match kind >> 6 {
            0 => Value::Null,
            1 => Value::Text("no bytes".into()),
            2 => Value::Blob(event.to_vec()),
            _ => {
                Value::Blob(crate::Event::SIZE.to_le_bytes().iter().chain(event).copied().collect())
            }
        };
        [name, column(0, 2), column(1, 10), small, event]
    }
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("http_head", http_head);
    seeds::run("saved_state", saved_state);
    #[cfg(feature = "spool")]
    seeds::run("spool_row", spool_row);
}

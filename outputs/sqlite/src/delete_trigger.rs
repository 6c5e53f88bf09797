//! `DELETE` on the view, for purge jobs that were written for addrwatch's table. SQLite runs a trigger for each row that
//! the statement selects. It deletes the sightings that look like this row in the view, and no pairing, because aw-sqlite
//! knows ids of pairings in memory.

use rusqlite::{Connection, OptionalExtension};

/// Digits of a MAC in its text, and the bit where each begins.
const MAC_DIGITS: [(u8, u8); 12] = [
    (1, 44),
    (2, 40),
    (4, 36),
    (5, 32),
    (7, 28),
    (8, 24),
    (10, 20),
    (11, 16),
    (13, 12),
    (14, 8),
    (16, 4),
    (17, 0),
];

/// Creates or replaces the trigger of a view. `legacy`: the tables of addrwatch that the view shows, too.
pub fn update(database: &Connection, view: &str, legacy: &[String]) -> rusqlite::Result<()> {
    let name = format!("aw_sqlite_delete_{view}");
    let mut sql = format!("CREATE TRIGGER \"{name}\" INSTEAD OF DELETE ON \"{view}\" BEGIN\n");
    for table in legacy {
        sql += &delete_legacy(table, has_index(database, table)?);
    }
    sql += &format!("{} END", delete_sightings());
    let current = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?";
    if database.query_row(current, [&name], |row| row.get(0)).optional()? != Some(sql.clone()) {
        database.execute_batch(&format!("DROP TRIGGER IF EXISTS \"{name}\"; {sql}"))?;
    }
    Ok(())
}

/// The sightings of a second. The index of MAC and address finds the pairing, also if a MAC has thousands of addresses.
fn delete_sightings() -> String {
    let digit = |(place, shift): &(u8, u8)| {
        format!("(instr('123456789abcdef', substr(OLD.mac_address, {place}, 1)) << {shift})")
    };
    let mac = MAC_DIGITS.iter().map(digit).collect::<Vec<_>>().join(" | ");
    let pairings = format!(
        "pairing IN (
                SELECT pairing.id FROM pairing JOIN place ON place.id = place
                WHERE mac = ({mac}) AND ip = OLD.ip_address
                    AND interface = OLD.interface AND vlan = OLD.vlan_tag)"
    );
    let in_second = |time: &str| {
        format!(
            "{time} >= OLD.timestamp * 1000000000
            AND {time} < OLD.timestamp * 1000000000 + 1000000000"
        )
    };
    let of_table = |table: &str, in_second: &str| {
        format!("DELETE FROM {table} WHERE origin = OLD.origin AND {in_second} AND {pairings};\n")
    };
    let recent = aw_database::recent_between(
        "OLD.timestamp * 1000000000",
        "OLD.timestamp * 1000000000 + 1000000000",
    );
    // The row of an end deletes what lies between, too: it leaves the other end, which has a row of its own.
    let [first, last] = ["first", "last"].map(in_second);
    let spans = format!(
        "DELETE FROM sighting_span WHERE first = last AND first_origin = OLD.origin AND {first} AND {pairings};
        UPDATE sighting_span SET first = last, first_origin = last_origin, count = 1
            WHERE first < last AND first_origin = OLD.origin AND {first} AND {pairings};
        UPDATE sighting_span SET last = first, last_origin = first_origin, count = 1
            WHERE first < last AND last_origin = OLD.origin AND {last}
            AND first > OLD.timestamp * 1000000000 - 86400000000000 AND {pairings};\n"
    );
    of_table("sighting", &in_second("time")) + &of_table(aw_database::RECENT, &recent) + &spans
}

/// Without an index, each row would cost a search through all rows: nothing is deleted during the import.
fn delete_legacy(table: &str, has_index: bool) -> String {
    if !has_index {
        let why = format!(
            "aw-sqlite is still importing the table {table} (delete again when the import has ended)"
        );
        return format!("SELECT RAISE(ABORT, '{why}');\n");
    }
    let same = crate::schema::LEGACY_COLUMNS.map(|column| format!("{column} IS OLD.{column}"));
    format!("DELETE FROM \"{table}\" WHERE {};\n", same.join(" AND "))
}

fn index_name(table: &str) -> String {
    format!("aw_sqlite_time_of_{table}")
}

/// Whether the import of a table has ended.
pub fn has_index(database: &Connection, table: &str) -> rusqlite::Result<bool> {
    let index = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = ?";
    database.query_row(index, [index_name(table)], |row| row.get(0))
}

/// Creates the index of a table whose import has ended. It has the rows that cannot be imported: few, if any.
pub fn create_index(database: &Connection, table: &str) -> rusqlite::Result<()> {
    let name = index_name(table);
    database
        .execute_batch(&format!("CREATE INDEX IF NOT EXISTS \"{name}\" ON \"{table}\" (timestamp)"))
}

use super::*;

fn read(path: &Path, limit: Duration) -> rusqlite::Result<(End, usize)> {
    let mut rows = 0;
    let end = each_row_within::<rusqlite::Error>(limit, path, |_| {
        rows += 1;
        Ok(())
    })?;
    Ok((end, rows))
}

/// Views with addrwatch's name do nothing, and neither does one with a name of aw-sqlite's tables.
#[test]
fn views_are_not_read() {
    let endless = "WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n) SELECT";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    for view in [
        format!("CREATE VIEW addrwatch AS {endless} n AS timestamp, 'e' AS interface, 0 AS vlan_tag, '2:0:0:0:0:1' AS mac_address, '10.0.0.1' AS ip_address, 0 AS origin FROM n"),
        format!("CREATE VIEW hosts ({HOSTS}) AS {endless} 'e', '10.0.0.1', 'a', 'a', 1, 2, 'a', 3 FROM n"),
        format!(
            "CREATE TABLE pairing (id, mac, place, ip); CREATE TABLE sighting (pairing, time, origin);
            CREATE VIEW place AS {endless} n AS id, 'e' AS interface, 0 AS vlan FROM n"
        ),
    ] {
        let _ = std::fs::remove_file(&path);
        Connection::open(&path).unwrap().execute_batch(&view).unwrap();
        assert_eq!(read(&path, AT_LEAST), Ok((End::Unknown, 0)), "{view}");
    }
}

/// A table of 40 pages, of which each of the inner ones names the next one 50 times: its rows have no end.
#[test]
fn a_table_without_end() {
    const PAGE: usize = 512;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let create = format!(
        "PRAGMA page_size = 512; CREATE TABLE addrwatch ({ADDRWATCH});
        INSERT INTO addrwatch VALUES (900, 'e', 0, '02:00:00:00:00:01', '10.0.0.1', 0);
        CREATE TABLE room (x); INSERT INTO room VALUES (zeroblob(20000))"
    );
    Connection::open(&path).unwrap().execute_batch(&create).unwrap();
    let root = {
        let database = Connection::open(&path).unwrap();
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'addrwatch'";
        database.query_row(root, [], |row| row.get::<_, u32>(0)).unwrap() as usize
    };
    let mut file = std::fs::read(&path).unwrap();
    let page = |number: usize| (number - 1) * PAGE..number * PAGE;
    // The row goes to the last page; pages of the other table, which is not read, become inner pages.
    let last = file.len() / PAGE;
    let leaf = file[page(root)].to_vec();
    file[page(last)].copy_from_slice(&leaf);
    let inner: Vec<usize> = [root].into_iter().chain(last - 12..=last).collect();
    for pair in inner.windows(2) {
        let (this, next) = (pair[0], pair[1] as u32);
        let mut bytes = vec![0; PAGE];
        bytes[0] = 5; // an inner page of a table
        let cells = 50;
        let begin = PAGE - cells * 5;
        bytes[3..5].copy_from_slice(&(cells as u16).to_be_bytes());
        bytes[5..7].copy_from_slice(&(begin as u16).to_be_bytes());
        bytes[8..12].copy_from_slice(&next.to_be_bytes());
        for cell in 0..cells {
            let at = begin + cell * 5;
            bytes[12 + 2 * cell..14 + 2 * cell].copy_from_slice(&(at as u16).to_be_bytes());
            bytes[at..at + 4].copy_from_slice(&next.to_be_bytes());
            bytes[at + 4] = cell as u8;
        }
        file[page(this)].copy_from_slice(&bytes);
    }
    std::fs::write(&path, &file).unwrap();
    let why = read(&path, Duration::from_secs(1)).unwrap_err().to_string();
    assert!(why.contains("longer than 1 s"), "{why}");
}

/// A table of aw-sqlite, and one of addrwatch beside it that is not imported yet.
#[test]
fn both_kinds_of_tables() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let create = format!("
        CREATE TABLE place (id INTEGER PRIMARY KEY, interface, vlan); INSERT INTO place VALUES (1, 'eth0', 7);
        CREATE TABLE pairing (id INTEGER PRIMARY KEY, mac, place, ip);
        INSERT INTO pairing VALUES (1, 0x020000000001, 1, '10.0.0.1');
        CREATE TABLE sighting (pairing, time, origin);
        INSERT INTO sighting VALUES (1, 900000000000, 0), (1, 901000000000, 2);
        CREATE TABLE \"a\"\"_old\" ({ADDRWATCH});
        INSERT INTO \"a\"\"_old\" VALUES (905, 'eth0', 7, '02:00:00:00:00:01', '10.0.0.1', 1),
            (906, 'eth0', 0, '02:00:00:00:00:02', '10.0.0.2', 4)");
    Connection::open(&path).unwrap().execute_batch(&create).unwrap();
    let mut rows = Vec::new();
    let end = each_row::<rusqlite::Error>(&path, |row| {
        let texts = [0, 2, 3].map(|column| row.get::<_, String>(column).unwrap());
        let numbers = [1, 4, 5, 6].map(|column| row.get::<_, i64>(column).unwrap());
        rows.push((texts.join(" "), numbers));
        Ok(())
    });
    assert_eq!(end, Ok(End::Read));
    let expected = [
        ("eth0 02:00:00:00:00:02 10.0.0.2".to_owned(), [0, 906, 906, 906]),
        ("eth0 02:00:00:00:00:01 10.0.0.1".to_owned(), [7, 905, 900, 905]),
    ];
    assert_eq!(rows, expected);
}

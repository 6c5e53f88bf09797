//! What a MySQL 9 asks of `aw-mysql`, as far as a MariaDB can stand in for it: its login, a primary key in each table, and the
//! system user as login.
#![forbid(unsafe_code)]

use aw_tests::dhcp;
use aw_tests::feed::publish;
use aw_tests::frames::{lldp, station};
use aw_tests::mariadb::MariaDb;
use aw_tests::moving::{file, import_to, line};
use aw_tests::mysql_login::MysqlLogin;
use aw_tests::rig::{run, skip};
use aw_tests::ring::Ring;
use aw_tests::server::Server;
use aw_tests::sightings::{BEGIN, capture_names};
use std::fs;
use std::os::unix::fs::chown;

/// An unprivileged user of every Debian system, as which the program runs.
const USER: (&str, u32) = ("daemon", 1);

/// As with MySQL's `sql_require_primary_key`: no table is created without one.
#[test]
fn each_new_table_has_a_primary_key() {
    let Some(server) = MariaDb::start(&["--innodb-force-primary-key=ON"]) else { return };
    let ring = Ring::new();
    publish(&ring, 1..1001);
    run(server.command(&ring, &["--once"])).ok();
    server.assert_numbers(1..1001);
    // Those that are created later, too: names and leases, and changes of routers.
    let named = Ring::new();
    let ack = dhcp::ack(station(2), [10, 1, 2, 2].into(), 3_600);
    capture_names(&named, [(BEGIN, lldp(station(1), "nas")), (BEGIN + 1, ack)]);
    run(server.command(&named, &["--once"])).ok();
    let place = "\"host\":\"gw\",\"ring\":\"/a\",\"interface\":\"eth0\"";
    let change = line(1, &format!("{place},\"user\":\"a\",\"lines_added\":1,\"lines_removed\":0"));
    import_to(&server, &[], &file(&[change])).ok();
    let tables =
        server.sql("SHOW FULL TABLES WHERE table_type = 'BASE TABLE'").replace("\tBASE TABLE", "");
    assert_eq!(tables, "address_lease\nclaimed_name\nconfig_change\nlog\norigin\nposition\n");
    let without = "SELECT group_concat(table_name) FROM information_schema.tables AS t WHERE table_schema = 'addrwatch'
        AND table_type = 'BASE TABLE' AND NOT EXISTS (SELECT 1 FROM information_schema.statistics AS s
            WHERE s.table_schema = t.table_schema AND s.table_name = t.table_name AND index_name = 'PRIMARY')";
    assert_eq!(server.sql(without), "NULL\n");
    // Programs for addrwatch's table find its columns only.
    let row = "now(), 'theirs', 'eth0', 0, 0x020000000001, 0x0a000001, 1";
    server.sql(&format!("INSERT INTO log VALUES ({row})"));
    let star = server.sql("SELECT * FROM log WHERE hostname = 'theirs'");
    assert_eq!(star.matches('\t').count(), 6, "{star}");
    // Rows are numbered in their order, so that inserts append.
    assert_eq!(server.sql("SELECT min(row_id), max(row_id) = count(*) FROM log"), "1\t1\n");
}

/// The rights of the guide are enough to create all tables and to store in them.
#[test]
fn the_rights_of_the_guide() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let guide = include_str!("../../docs/guide/history.md");
    let statements: Vec<_> = guide.lines().filter(|line| line.contains("'site1'@'%'")).collect();
    assert_eq!(statements.len(), 2, "{statements:?}");
    server.sql(&statements.join("\n"));
    let port = server.port;
    server.config(&format!(
        "user = site1\npassword = secret\nprotocol = tcp\nhost = 127.0.0.1:{port}"
    ));
    let ring = Ring::new();
    let ack = dhcp::ack(station(2), [10, 1, 2, 2].into(), 3_600);
    capture_names(&ring, [(BEGIN, lldp(station(1), "nas")), (BEGIN + 1, ack)]);
    let stored = run(server.command(&ring, &["--once"])).ok();
    assert!(!stored.stderr.contains("denied"), "{}", stored.stderr);
    let counts = "SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM claimed_name), (SELECT count(*) FROM address_lease)";
    assert_eq!(server.sql(counts), "1\t1\t1\n");
}

/// The primary key fits partitions by time, with which an old month is dropped at once.
#[test]
fn partitions() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    publish(&ring, 1..1001);
    run(server.command(&ring, &["--once"])).ok();
    let partition = "PARTITION BY RANGE (unix_timestamp(tstamp)) (PARTITION old VALUES LESS THAN (501), PARTITION new VALUES LESS THAN MAXVALUE)";
    server.sql(&format!("ALTER TABLE log {partition}"));
    publish(&ring, 1001..2001);
    run(server.command(&ring, &["--once"])).ok();
    server.sql("ALTER TABLE log DROP PARTITION old");
    server.assert_numbers(501..2001);
}

/// Tables of addrwatch, which have no primary key, get the column of the frame's source and are else used as they are; and
/// the documents say how to add a key.
#[test]
fn a_primary_key_for_an_old_table() {
    let Some(server) = MariaDb::start(&[]) else { return };
    server.sql(include_str!("../data/addrwatch-1.0.sql"));
    let (ring, before) = (Ring::new(), server.sql("SHOW CREATE TABLE log"));
    publish(&ring, 1..11);
    run(server.command(&ring, &["--once"])).ok();
    let last = "`origin_id` int(11) NOT NULL,\\n";
    let added = format!("{last}  `frame_source` binary(6) INVISIBLE DEFAULT NULL,\\n");
    assert!(before.contains(last), "{before}");
    assert_eq!(server.sql("SHOW CREATE TABLE log"), before.replace(last, &added));
    let manual = include_str!("../../contrib/man/aw-mysql.roff");
    let statement = manual.lines().find(|line| line.starts_with("ALTER TABLE log ADD")).unwrap();
    server.sql(statement);
    publish(&ring, 11..21);
    run(server.command(&ring, &["--once"])).ok();
    let theirs = server.sql("SELECT count(*) FROM log").trim().parse::<u32>().unwrap() - 20;
    assert_eq!(server.sql("SELECT max(row_id) FROM log"), format!("{}\n", theirs + 20));
}

/// The login of MySQL 8 and 9, with the password encrypted for the server's key over TCP, and over the socket.
#[test]
fn caching_sha2_password() {
    let Some(server) = MariaDb::start(&[]) else { return };
    server.sql("CREATE USER watch@localhost IDENTIFIED VIA mysql_native_password; GRANT ALL ON addrwatch.* TO watch@localhost");
    let (ring, login) = (Ring::new(), MysqlLogin::start(&server, "a#b"));
    let tcp = format!("protocol=tcp\nhost=127.0.0.1\nport={}", login.port);
    let socket = format!("socket={}", login.socket.display());
    let mut numbers = 1..11;
    for server_lines in [tcp, socket] {
        let with = |password: &str| {
            server.config(&format!("{server_lines}\nuser=watch\npassword='{password}'"));
            run(server.command(&ring, &["--once"]))
        };
        publish(&ring, numbers.clone());
        let refused = with("wrong");
        assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
        let why = "Access denied for user (set user and password in the section [addrwatch]";
        assert!(refused.stderr.contains(why), "{refused:#?}");
        with("a#b").ok();
        server.assert_numbers(1..numbers.end);
        numbers = numbers.end..numbers.end + 10;
    }
}

/// The statements in `mysql.cnf` create a user that needs no password: those for MariaDB as they are, and those for MySQL with
/// the name of MariaDB's plugin.
#[test]
fn the_statements_in_mysql_cnf() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can run aw-mysql as another user");
    }
    let shipped = include_str!("../../contrib/mysql.cnf");
    let statements = |server: &str| -> String {
        let lines = shipped.lines().filter_map(|line| line.strip_prefix("#   "));
        let of = |line: &&str| line.contains(&format!("-- {server}")) || !line.contains("-- ");
        lines.filter(of).map(|line| format!("{line}\n")).collect()
    };
    assert!(statements("MariaDB").contains("VIA unix_socket"), "{}", statements("MariaDB"));
    assert!(statements("MySQL").contains("WITH auth_socket"), "{}", statements("MySQL"));
    let Some(server) = MariaDb::start(&[]) else { return };
    fs::create_dir(server.path("state")).unwrap();
    chown(server.path("state"), Some(USER.1), Some(USER.1)).unwrap();
    let ring = Ring::new();
    publish(&ring, 1..11);
    chown(ring.path(), None, Some(USER.1)).unwrap();
    for which in ["MariaDB", "MySQL"] {
        server.sql("DROP DATABASE addrwatch; DROP USER IF EXISTS daemon@localhost");
        let of_mariadb = statements(which)
            .replace("'aw-mysql'", USER.0)
            .replace("auth_socket", "unix_socket")
            .lines()
            .filter(|line| !line.starts_with("INSTALL PLUGIN")) // it is built in
            .collect::<Vec<_>>()
            .join("\n");
        server.sql(&of_mariadb);
        server.config(&format!("user = {}", USER.0));
        chown(server.config_path(), Some(USER.1), None).unwrap();
        run(server.command_of("state", USER.1, &ring, &["--once"])).ok();
        server.assert_numbers(1..11);
    }
}

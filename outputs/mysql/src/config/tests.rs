use super::{
    option_file::{KEYS, parse, unquoted},
    *,
};
use std::fs;

use aw_service::manual::documented_keys;

fn parsed(text: &str) -> ServerConfig {
    parse(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

#[test]
fn sections_in_the_order_of_the_file() {
    let config = parsed(
        "!includedir /etc/mysql/conf.d/\n[client]\nuser = alice\nport=3307\ndefault-character-set = utf8\n\
         [mysqld]\nport = 1\nbind-address = 0.0.0.0\n\
         # of ours\n[addrwatch]\n user = 'bob' # the builder\n; nothing\npassword = \"a#b\\\"c\\\\\\s\"\ndatabase=lan\nloose-x=1\nhost = db\n",
    );
    let password = Secret::non_empty("a#b\"c\\ ");
    let expected = ServerConfig {
        hosts: vec![HostPort { host: "db".into(), port: 0 }],
        database: "lan".into(),
        user: "bob".into(),
        password,
        port: 3307,
        ..Default::default()
    };
    assert_eq!(config, expected);
    assert_eq!(config.server(), "db:3307");
    assert!(!format!("{config:?}").contains("a#b"), "a password is not shown");
}

#[test]
fn values() {
    for (text, value) in [
        ("a b", "a b"),
        ("a # b", "a"),
        ("'a # b' # c", "a # b"),
        (r"a\tb\nc\q", "a\tb\nc\\q"),
        (r"\sa\s", " a"), // the escape stands for a space, and the end is trimmed
        ("\"it's\"", "it's"),
        ("''", ""),
        (r"a\", "a\\"),
        ("é\\#", "é\\#"),
    ] {
        assert_eq!(unquoted(text), value, "{text}");
    }
}

#[test]
fn where_the_server_is() {
    let socket = "/run/mysqld/mysqld.sock";
    for (text, server, ports) in [
        ("", socket, 0),
        ("host = localhost", socket, 0),
        ("host = localhost\nsocket = /tmp/s", "/tmp/s", 0),
        ("host = 127.0.0.1\nsocket = /tmp/s", "127.0.0.1:3306", 2),
        ("protocol = tcp\nport=3307", "localhost:3307", 2),
        ("host = db\nprotocol = socket", socket, 0),
        ("host = ::1", "[::1]:3306", 2),
        ("host = db:3307", "db:3307", 2),
        ("host = localhost:3307", "localhost:3307", 2),
        ("host = [fe80::1%eth0]:3307", "[fe80::1%eth0]:3307", 2),
        ("host =", socket, 0),
        ("host = a, b:3307 ,[::1]\nport = 3308", "a:3308, b:3307, [::1]:3308", 4),
        ("host = localhost, a", "/run/mysqld/mysqld.sock, a:3306", 2),
        ("host = db:3307\nport = 3308", "db:3308", 2),
        ("host = localhost:3307\nhost = localhost", "localhost:3307", 2),
        ("protocol = tcp\nhost = localhost, db:3307", "localhost:3306, db:3307", 3),
        (
            "protocol = socket\nhost = localhost, db:3307",
            "/run/mysqld/mysqld.sock, /run/mysqld/mysqld.sock",
            0,
        ),
    ] {
        let config = parsed(&format!("[addrwatch]\n{text}"));
        assert_eq!(config.server(), server, "{text}");
        let connects = |access: &&Access| matches!(access, Access::Connect(_));
        assert_eq!(config.access().iter().filter(connects).count(), ports, "{text}");
        assert_eq!(config.has_tcp(), ports > 0, "{text}");
    }
    let mixed = parsed("[addrwatch]\nhost = localhost, a");
    assert_eq!(mixed.sockets(), [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6]);
    let each: Vec<_> = mixed.each().map(|one| one.server()).collect();
    assert_eq!(each, [socket, "a:3306"]);
}

/// One that does not answer costs three seconds if there are others. The only one has the whole budget.
#[test]
fn time_of_a_login() {
    let budget = Budget { time: Duration::from_secs(20), ..TRANSACTION };
    for (text, time, silence) in [
        ("", 20, 3),
        ("connect-timeout = 9", 20, 9),
        ("connect-timeout = 1", 20, 3),
        ("[client]\nconnect_timeout = 30\n[client]\nconnect-timeout = 0", 20, 3),
        ("host = a, b", 3, 3),
        ("host = a, b\nconnect_timeout = 9", 9, 9),
    ] {
        let login = parsed(&format!("[addrwatch]\n{text}")).for_login(budget);
        assert_eq!((login.time.as_secs(), login.silence.as_secs()), (time, silence), "{text}");
    }
}

/// A URL takes precedence over the file, and has no password.
#[test]
fn urls() {
    let socket = "/run/mysqld/mysqld.sock";
    for (url, server, user, database) in [
        ("", socket, "alice", "lan"),
        ("bob@/", socket, "bob", "lan"),
        ("localhost/other", socket, "alice", "other"),
        ("localhost:3307/other", "localhost:3307", "alice", "other"),
        ("bob@db.example.net", "db.example.net:3306", "bob", "lan"),
        ("bob@[::1]:3307/x", "[::1]:3307", "bob", "x"),
        ("[::1]/x", "[::1]:3306", "alice", "x"),
        ("::1/x", "[::1]:3306", "alice", "x"),
        ("bob@a,b:3307/x", "a:3306, b:3307", "bob", "x"),
    ] {
        let mut config = parsed("[addrwatch]\nuser = alice\ndatabase = lan\npassword = secret");
        config.set_url(url).unwrap_or_else(|_| panic!("{url}"));
        let found = (config.server(), config.user.as_str(), config.database());
        assert_eq!(found, (server.into(), user, database), "{url}");
        assert!(config.password.is_some(), "{url}");
    }
    // The port of the file's only host is that of another one.
    let mut config = parsed("[addrwatch]\nhost = db:3307");
    config.set_url("db2/x").unwrap();
    assert_eq!(config.server(), "db2:3307");
    for (url, why) in [
        ("bob:secret@db/x", "write it into the file of --config"),
        ("bob:@db/x", "write it into the file of --config"),
        ("bob:sec/ret@db/x", "a URL has the form mysql://"),
        ("bob:sec@ret@db/x", "write it into the file of --config"),
        ("db:0/x", "a URL has the form mysql://"),
        ("db:x/x", "a URL has the form mysql://"),
        ("db/x?ssl=1", "a URL has the form mysql://"),
        ("db/x/y", "a URL has the form mysql://"),
        ("b%6fb@db/x", "a URL has the form mysql://"),
    ] {
        let Err(Error::Failed(said)) = ServerConfig::default().set_url(url) else {
            panic!("{url}")
        };
        assert!(said.contains(why) && !said.contains("sec"), "{url}: {said}");
    }
}

/// With TLS the certificate and its name are checked, unless a key asks for less.
#[test]
fn transport_security() {
    for (text, tls) in [
        ("", TlsMode::Off),
        ("ssl-ca = /ca.pem", TlsMode::VerifyIdentity),
        ("ssl_ca = /ca.pem\nssl-verify-server-cert = 0", TlsMode::VerifyCa),
        ("ssl-verify-server-cert", TlsMode::VerifyIdentity),
        ("ssl", TlsMode::VerifyIdentity),
        ("ssl-ca = /ca.pem\nssl = off", TlsMode::Off),
        ("ssl-mode = required", TlsMode::EncryptOnly),
        ("ssl-mode = VERIFY_CA", TlsMode::VerifyCa),
        ("ssl-mode = VERIFY_IDENTITY", TlsMode::VerifyIdentity),
    ] {
        let config = parsed(&format!("[addrwatch]\nhost = db\n{text}"));
        assert_eq!(config.tls, tls, "{text}");
        let encrypted = tls != TlsMode::Off;
        assert_eq!(config.tls().is_some(), encrypted, "{text}");
    }
}

#[test]
fn the_shipped_example() {
    let text = include_str!("../../../../contrib/mysql.cnf");
    let user = "aw-mysql".into(); // of the package; the server identifies it by the socket
    assert_eq!(parsed(text), ServerConfig { user, ..Default::default() });
    let all: String = text
        .lines()
        .map(|line| {
            format!("{}\n", line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line))
        })
        .collect();
    let config = parsed(&all);
    assert_eq!(config.server(), "db.example.net:3306");
    assert_eq!(config.password, Secret::non_empty("secret # with any characters"));
    assert_eq!(config.tls_files().count(), 3);
}

#[test]
fn wrong_files_are_refused() {
    for (text, why) in [
        ("", "no section [addrwatch]"),
        ("[mysqld]\nport=1", "no section [addrwatch]"),
        ("[addrwatch]\npasword = x", "line 2: unknown key pasword (known keys: host, "),
        ("[addrwatch]\nport = 0", "line 2: port: "),
        ("[addrwatch]\nhost = a:b", "line 2: host: "),
        ("[addrwatch]\nhost = a,,b", "line 2: host: "),
        ("[addrwatch]\nconnect-timeout = 11", "line 2: connect-timeout: "),
        ("[addrwatch]\nport = mysql", "line 2: port: "),
        ("[addrwatch]\nssl = perhaps", "line 2: ssl: "),
        ("[addrwatch]\nssl-mode = PREFERRED", "line 2: ssl-mode: "),
        ("[addrwatch]\nprotocol = pipe", "line 2: protocol: "),
        ("[addrwatch]\nssl-cert = /c", "ssl-cert and ssl-key"),
        ("[addrwatch]\nssl-ca =", "line 2: ssl-ca: "),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_password_that_all_users_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mysql.cnf");
    for (text, mode, why) in [
        ("[addrwatch]\npassword = secret", 0o640, None),
        ("[addrwatch]\npassword = secret", 0o644, Some("chmod o-r")),
        ("[addrwatch]\nuser = alice", 0o644, None),
        ("[addrwatch]\nuser = alice", 0o602, Some("chmod o-w")),
        ("[addrwatch]\nssl-ca = /nowhere/ca.pem", 0o600, Some("/nowhere/ca.pem")),
    ] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        match (ServerConfig::read(&path), why) {
            (Ok(_), None) => {}
            (Err(Error::Failed(said)), Some(why)) => {
                assert!(said.contains(why) && said.contains("mysql.cnf"), "{said}");
                assert!(!said.contains("secret"), "{said}");
            }
            (result, _) => panic!("{text} {mode:o}: {result:?}"),
        }
    }
}

/// The manual has each key with the parser's default, and the parser refuses a value of another type.
#[test]
fn the_manual() {
    let keys = documented_keys(include_str!("../../../../contrib/man/aw-mysql.cnf.5"));
    let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names.join(", "), KEYS);
    for key in keys {
        let parsed = |line: &str| match key.name.as_str() {
            "ssl-cert" | "ssl-key" => {
                parse(&format!("[addrwatch]\nssl-cert=/c\nssl-key=/k\n{line}"))
            }
            _ => parse(&format!("[addrwatch]\n{line}")),
        };
        let with = |value: &str| parsed(&format!("{} = {value}\n", key.name));
        assert_eq!(key.table, "addrwatch");
        let wrong = match key.kind.as_str() {
            "host" => {
                // A number or a word is a name, too.
                assert!(with("7").is_ok() && with("a b").is_err() && with("a/b").is_err());
                assert_eq!(format!("{:?}", with("localhost")), format!("{:?}", parsed("")));
                assert_eq!(key.default.as_deref(), Some("localhost"));
                continue;
            }
            "integer" => Some("1.5"),
            "boolean" => Some("2"),
            "path" if key.name != "socket" => Some(""), // an empty one is the default
            "string" | "path" => None,
            words => {
                let mut words = words.split(", ").flat_map(|words| words.split(" or "));
                assert!(words.all(|word| with(word).is_ok()), "{key:?}");
                Some("PREFERRED")
            }
        };
        assert!(wrong.is_none_or(|wrong| with(wrong).is_err()), "{key:?}");
        key.compare(false, |line| parsed(line).map(|config| format!("{config:?}"))).unwrap();
    }
}

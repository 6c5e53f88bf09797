use super::*;

fn parsed(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

#[test]
fn sections_in_the_order_of_the_file() {
    let config = parsed(
        "!includedir /etc/mysql/conf.d/\n[client]\nuser = alice\nport=3307\ndefault-character-set = utf8\n\
         [mysqld]\nport = 1\nbind-address = 0.0.0.0\n\
         # of ours\n[addrwatch]\n user = 'bob' # the builder\n; nothing\npassword = \"a#b\\\"c\\\\\\s\"\ndatabase=lan\nloose-x=1\nhost = db\n",
    );
    let password = Some(Password("a#b\"c\\ ".into()));
    let (host, database) = (Some("db".into()), "lan".into());
    let expected =
        Config { host, database, user: "bob".into(), password, port: 3307, ..Config::default() };
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
        ("host = ::1", "::1:3306", 2),
    ] {
        let config = parsed(&format!("[addrwatch]\n{text}"));
        assert_eq!(config.server(), server, "{text}");
        let connects = |access: &&Access| matches!(access, Access::Connect(_));
        assert_eq!(config.access().iter().filter(connects).count(), ports, "{text}");
        assert_eq!(config.options("").get_socket().is_some(), ports == 0, "{text}");
    }
    let host = parsed("[addrwatch]\nhost = ::1").options("").get_ip_or_hostname().into_owned();
    assert_eq!(host, "[::1]");
}

/// A URL says more than the file, and nothing secret.
#[test]
fn urls() {
    let socket = "/run/mysqld/mysqld.sock";
    for (url, server, user, database) in [
        ("", socket, "alice", "lan"),
        ("bob@/", socket, "bob", "lan"),
        ("localhost/other", socket, "alice", "other"),
        ("localhost:3307/other", "localhost:3307", "alice", "other"),
        ("bob@db.example.net", "db.example.net:3306", "bob", "lan"),
        ("bob@[::1]:3307/x", "::1:3307", "bob", "x"),
        ("[::1]/x", "::1:3306", "alice", "x"),
    ] {
        let mut config = parsed("[addrwatch]\nuser = alice\ndatabase = lan\npassword = secret");
        config.set_url(url).unwrap_or_else(|_| panic!("{url}"));
        let found = (config.server(), config.user.as_str(), config.database());
        assert_eq!(found, (server.into(), user, database), "{url}");
        assert!(config.password.is_some(), "{url}");
    }
    for (url, why) in [
        ("bob:secret@db/x", "write it into the file of --config"),
        ("bob:@db/x", "write it into the file of --config"),
        ("bob:sec/ret@db/x", "a URL is mysql://"),
        ("bob:sec@ret@db/x", "write it into the file of --config"),
        ("db:0/x", "a URL is mysql://"),
        ("db:x/x", "a URL is mysql://"),
        ("db/x?ssl=1", "a URL is mysql://"),
        ("db/x/y", "a URL is mysql://"),
        ("b%6fb@db/x", "a URL is mysql://"),
    ] {
        let Err(Error::Failed(said)) = Config::default().set_url(url) else { panic!("{url}") };
        assert!(said.contains(why) && !said.contains("sec"), "{url}: {said}");
    }
}

/// Strict unless it is told otherwise: who asks for TLS wants to know whom it talks to.
#[test]
fn transport_security() {
    for (text, tls) in [
        ("", Tls::Unsaid),
        ("ssl-ca = /ca.pem", Tls::AuthorityAndName),
        ("ssl_ca = /ca.pem\nssl-verify-server-cert = 0", Tls::Authority),
        ("ssl-verify-server-cert", Tls::AuthorityAndName),
        ("ssl", Tls::AuthorityAndName),
        ("ssl-ca = /ca.pem\nssl = off", Tls::Off),
        ("ssl-mode = required", Tls::Unchecked),
        ("ssl-mode = VERIFY_CA", Tls::Authority),
        ("ssl-mode = VERIFY_IDENTITY", Tls::AuthorityAndName),
    ] {
        let config = parsed(&format!("[addrwatch]\nhost = db\n{text}"));
        assert_eq!(config.tls, tls, "{text}");
        let wanted = !matches!(tls, Tls::Off | Tls::Unsaid);
        assert_eq!(config.options("").get_ssl_opts().is_some(), wanted, "{text}");
    }
}

#[test]
fn the_shipped_example() {
    let text = include_str!("../../../../contrib/mysql.cnf");
    let socket = Some("/run/mysqld/mysqld.sock".into());
    let user = "aw-mysql".into(); // of the package, whom the server knows by its socket
    assert_eq!(parsed(text), Config { socket, user, ..Config::default() });
    let all: String = text
        .lines()
        .map(|line| {
            format!("{}\n", line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line))
        })
        .collect();
    let config = parsed(&all);
    assert_eq!(config.server(), "db.example.net:3306");
    assert_eq!(config.password, Some(Password("secret # with any characters".into())));
    assert_eq!(config.tls_files().count(), 3);
}

#[test]
fn what_is_wrong_is_said() {
    for (text, why) in [
        ("", "no section [addrwatch]"),
        ("[mysqld]\nport=1", "no section [addrwatch]"),
        ("[addrwatch]\npasword = x", "line 2: unknown option pasword"),
        ("[addrwatch]\nport = 0", "line 2: port cannot be"),
        ("[addrwatch]\nport = mysql", "line 2: port cannot be"),
        ("[addrwatch]\nssl = perhaps", "line 2: ssl cannot be"),
        ("[addrwatch]\nssl-mode = PREFERRED", "line 2: ssl-mode cannot be"),
        ("[addrwatch]\nprotocol = pipe", "line 2: protocol cannot be"),
        ("[addrwatch]\nssl-cert = /c", "ssl-cert and ssl-key"),
        ("[addrwatch]\nssl-ca =", "line 2: ssl-ca cannot be"),
    ] {
        let said = Config::parse(text).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_password_is_not_everybodys() {
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
        match (Config::read(&path), why) {
            (Ok(_), None) => {}
            (Err(Error::Failed(said)), Some(why)) => {
                assert!(said.contains(why) && said.contains("mysql.cnf"), "{said}");
                assert!(!said.contains("secret"), "{said}");
            }
            (result, _) => panic!("{text} {mode:o}: {result:?}"),
        }
    }
}

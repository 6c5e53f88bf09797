use super::*;
use std::collections::BTreeSet;

const EXAMPLE: &str = include_str!("../../../contrib/routeros/routeros.toml");

#[test]
fn the_shipped_example() {
    let config = Config::parse(EXAMPLE).unwrap();
    assert_eq!(config.archive, Path::new("/var/lib/addrwatch/routeros"));
    let [core, edge, ..] = config.routers.as_slice() else { panic!("{config:?}") };
    assert_eq!((core.name.as_str(), core.address.port, core.settle), ("core1", 22, 2));
    assert!(edge.legacy && edge.key_file.is_some() && core.host_key.0.len() == 1);
    assert_eq!(config.mail.unwrap().host_and_port(), Ok(("127.0.0.1", 25)));
}

/// The example is also valid with each option in its comments.
#[test]
fn the_options_that_the_example_shows() {
    let shown = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
        Some(option) if option.contains(" = ") && !option.contains("agent = true") => option,
        _ => line,
    });
    let text = shown.collect::<Vec<_>>().join("\n");
    let config = Config::parse(&text).unwrap();
    assert!(config.git.is_some() && config.keep_days.is_some() && config.ring_group.is_some());
    assert!(config.mail.unwrap().user.is_some() && config.routers[0].show_sensitive);
}

/// The files of the documentation that are in the repository.
fn documents(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "md"));
    files.chain(directories.iter().flat_map(|directory| documents(directory))).collect()
}

#[test]
fn the_examples_of_the_documentation() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut examples = 0;
    for path in documents(&root.join("docs")).into_iter().chain([root.join("README.md")]) {
        let text = fs::read_to_string(&path).unwrap();
        let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        for block in blocks.filter(|block| block.contains("archive = ")) {
            Config::parse(block).unwrap_or_else(|why| panic!("{}: {why}\n{block}", path.display()));
            examples += 1;
        }
    }
    assert!(examples > 0);
}

/// A configuration with one more line in a table: the root table, `mail` or `router`.
fn with_line(table: &str, line: &str) -> Result<Config, String> {
    let (mut root, mut mail, mut router) = (String::new(), String::new(), String::new());
    match table {
        "file" => root = line.to_owned(),
        "mail" => mail = line.to_owned(),
        "router" => router = line.to_owned(),
        other => panic!("no table {other}"),
    }
    let required = |lines: &[&str], more: &str| {
        let key = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let lines = lines.iter().filter(|line| key(line) != key(more)).copied();
        lines.chain([more]).collect::<Vec<_>>().join("\n")
    };
    let root = required(&["archive = \"/a\""], &root);
    let mail = match root.contains("mail = ") {
        true => String::new(),
        false => {
            let lines = ["server = \"mail.example.org\"", "from = \"a@example.org\"", "to = []"];
            format!("[mail]\n{}\n", required(&lines, &mail))
        }
    };
    let lines = ["name = \"a\"", "address = \"b\"", "user = \"c\"", "key_file = \"/k\""];
    let router = match root.contains("router = ") {
        true => String::new(),
        false => format!("[[router]]\n{}\n", required(&lines, &router)),
    };
    Config::parse(&format!("{root}\n{mail}{router}"))
}

/// The manual page documents each key, with the type and the default that the parser has.
#[test]
fn the_manual_page_agrees_with_the_parser() {
    let page = include_str!("../../../contrib/man/addrwatch-routeros.toml.5");
    let keys = aw_service::manual::documented_keys(page);
    let minimal = format!("{:?}", with_line("file", "").unwrap());
    for key in &keys {
        let wrong = match key.kind.as_str() {
            "string"
            | "boolean"
            | "list of strings"
            | "string or list of strings"
            | "table"
            | "list of tables" => "1",
            "integer" => "\"x\"",
            other => panic!("{}: unknown type {other}", key.name),
        };
        let refused = with_line(&key.table, &format!("{} = {wrong}", key.name));
        assert!(refused.is_err(), "{} = {wrong}", key.name);
        if let Some(default) = &key.default {
            let same = with_line(&key.table, &format!("{} = {default}", key.name)).unwrap();
            assert_eq!(format!("{same:?}"), minimal, "{} = {default}", key.name);
        }
    }
    for table in ["file", "mail", "router"] {
        let fault = with_line(table, "made_up = 1").unwrap_err();
        let known = fault.split_once("expected one of ").unwrap().1.split('`').skip(1).step_by(2);
        let documented = keys.iter().filter(|key| key.table == table);
        let documented: BTreeSet<_> = documented.map(|key| key.name.as_str()).collect();
        assert_eq!(known.collect::<BTreeSet<_>>(), documented, "[{table}]");
    }
}

#[test]
fn errors_name_the_key_or_line() {
    let router = "archive = \"/a\"\n[[router]]\nname = \"a\"\naddress = \"b\"\nuser = \"c\"\n";
    for (text, why) in [
        ("", "missing field `archive`"),
        ("archive = \"/a\"\nkeepp = 3\n", "line 2: unknown field `keepp`"),
        ("archive = \"/a\"\nkeep = 0", "keep"),
        ("archive = \"/a\"\nring = \"a/b\"", "ring \"a/b\""),
        (router, "router a: no login: set password_file"),
        (&format!("{router}agent = true\nkey_file = \"/k\""), "only one of"),
        (&format!("{router}agent = true\nhost_key = \"x\""), "line 7: host key \"x\": must be"),
        (&format!("{router}agent = true\ninterval = 0"), "at least 1"),
        (&format!("{router}agent = true\ninterval = {}", i64::MAX), "must be at most 31622400"),
        (&format!("{router}agent = true\nsettle = 31622401"), "must be at most 31622400"),
        (&format!("archive = \"/a\"\nalarm_after = {}", i64::MAX), "alarm_after: must be at most"),
        (&router.replace("\"a\"", "\"../a\""), "router name \"../a\""),
        (&router.replace("\"b\"", "\"b:x\""), "address \"b:x\""),
        (
            &format!("{router}agent = true\n{}agent = true", &router[15..]),
            "router a: the name is used twice",
        ),
    ] {
        let fault = Config::parse(text).unwrap_err();
        assert!(fault.contains(why), "{fault:?} for {text:?}");
    }
}

#[test]
fn addresses() {
    for (text, host, port, shown) in [
        ("192.0.2.1", "192.0.2.1", 22, "192.0.2.1:22"),
        ("core1:2222", "core1", 2222, "core1:2222"),
        ("[2001:db8::1]:22", "2001:db8::1", 22, "[2001:db8::1]:22"),
        ("2001:db8::1", "2001:db8::1", 22, "[2001:db8::1]:22"),
    ] {
        let address = router_address(text).unwrap();
        assert_eq!((address.host.as_str(), address.port), (host, port));
        assert_eq!(address.to_string(), shown);
    }
    for text in ["", ":22", "a:0", "a:99999", "[::1", "[::1]x", "a b"] {
        assert!(router_address(text).is_err(), "{text}");
    }
}

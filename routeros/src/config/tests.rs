use super::*;
use std::{collections::BTreeSet, fs};

const EXAMPLE: &str = include_str!("../../../contrib/routeros/routeros.toml");

#[test]
fn the_shipped_example() {
    let config = Config::parse(EXAMPLE).unwrap();
    assert_eq!(config.archive, Path::new("/var/lib/addrwatch/routeros"));
    let [core, edge, ..] = config.routers.as_slice() else { panic!("{config:?}") };
    assert_eq!((core.name.as_str(), core.address.port, core.settle), ("core1", 22, 2));
    assert!(edge.legacy && edge.key_file.is_some() && core.host_key.0.len() == 1);
    assert_eq!(config.mail.unwrap().host_port().unwrap().to_string(), "127.0.0.1:25");
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

/// A configuration with another line for one key of a table: the root table, `mail` or `router`.
fn with_line(table: &str, name: &str, line: &str) -> Result<Config, String> {
    let login = if name == "key_file" { "agent = true\n" } else { "key_file = \"/k\"\n" };
    let mail = "server = \"mail.example.org\"\nfrom = \"a@example.org\"\nto = []\n";
    let router = format!("name = \"a\"\naddress = \"b\"\nuser = \"c\"\n{login}");
    let oauth = "token_url = \"https://a\"\nclient_id = \"c\"\nclient_secret_env = \"S\"\nrefresh_token_env = \"R\"\nscope = \"s\"\n";
    let oauth_mail = format!("{mail}user = \"u\"\n");
    let mail = if table == "mail.oauth" { &oauth_mail } else { mail };
    let tables = [
        ("file", "archive = \"/a\"\n"),
        ("ignore", "menu = \"/ip dns\"\nuser = \"u\"\n"),
        ("mail", mail),
        ("mail.oauth", oauth),
        ("router", &router),
    ];
    let is_other = |kept: &&str| !kept.starts_with(&format!("{name} = "));
    let text = tables.map(|(this, lines)| {
        let heading = match this {
            "ignore" if name != "ignore" => "[[ignore]]\n",
            "mail" if name != "mail" => "[mail]\n",
            "mail.oauth" if table == this => "[mail.oauth]\n",
            "router" if name != "router" => "[[router]]\n",
            "file" => "",
            _ => return String::new(),
        };
        if this != table {
            return format!("{heading}{lines}");
        }
        let lines: String = lines.split_inclusive('\n').filter(is_other).collect();
        format!("{heading}{lines}{line}\n")
    });
    Config::parse(&text.concat())
}

/// The manual page documents each key, with the type and the default that the parser has.
#[test]
fn the_manual_page_agrees_with_the_parser() {
    let page = include_str!("../../../contrib/man/addrwatch-routeros.toml.5");
    let keys = aw_service::manual::documented_keys(page);
    for key in &keys {
        let parsed = |line: &str| with_line(&key.table, &key.name, line);
        key.compare(true, |line| parsed(line).map(|config| format!("{config:?}"))).unwrap();
    }
    for table in ["file", "ignore", "mail", "mail.oauth", "router"] {
        let fault = with_line(table, "", "made_up = 1").unwrap_err();
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
        ("", "missing key `archive`"),
        ("archive = \"/a\"\nkeepp = 3\n", "line 2: unknown key `keepp` (did you mean `keep`?)"),
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

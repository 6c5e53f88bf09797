use super::*;

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

/// Every line that the example has as a comment is right, too.
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

#[test]
fn the_documentation_shows_what_is_right() {
    let guide = include_str!("../../../docs/guide/routeros.md");
    let blocks: Vec<_> = guide.split("```toml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks.into_iter().map(|rest| rest.split("```").next().unwrap()) {
        if block.contains("archive = ") {
            Config::parse(block).unwrap_or_else(|why| panic!("{why}\n{block}"));
        }
    }
}

#[test]
fn faults_name_their_place() {
    let router = "archive = \"/a\"\n[[router]]\nname = \"a\"\naddress = \"b\"\nuser = \"c\"\n";
    for (text, why) in [
        ("", "missing field `archive`"),
        ("archive = \"/a\"\nkeepp = 3\n", "line 2: unknown field `keepp`"),
        ("archive = \"/a\"\nkeep = 0", "keep"),
        ("archive = \"/a\"\nring = \"a/b\"", "ring \"a/b\""),
        (router, "router a: no password_file"),
        (&format!("{router}agent = true\nkey_file = \"/k\""), "only one of"),
        (&format!("{router}agent = true\nhost_key = \"x\""), "line 7: host key \"x\": must be"),
        (&format!("{router}agent = true\ninterval = 0"), "at least 1"),
        (&format!("{router}agent = true\ninterval = {}", i64::MAX), "are at most 31622400"),
        (&format!("{router}agent = true\nsettle = 31622401"), "are at most 31622400"),
        (&format!("archive = \"/a\"\nalarm_after = {}", i64::MAX), "alarm_after: at most"),
        (&router.replace("\"a\"", "\"../a\""), "router name \"../a\""),
        (&router.replace("\"b\"", "\"b:x\""), "address \"b:x\""),
        (&format!("{router}agent = true\n{}agent = true", &router[15..]), "two of this name"),
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
        let address = Address::try_from(text.to_owned()).unwrap();
        assert_eq!((address.host.as_str(), address.port), (host, port));
        assert_eq!(address.to_string(), shown);
    }
    for text in ["", ":22", "a:0", "a:99999", "[::1", "[::1]x", "a b"] {
        assert!(Address::try_from(text.to_owned()).is_err(), "{text}");
    }
}

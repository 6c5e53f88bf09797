use super::*;
use proptest::prelude::*;

/// Properties with secrets: menu, name.
fn secret_properties() -> Vec<(&'static str, &'static str)> {
    rows(include_str!("../../../tests/data/routeros-secrets.txt"))
        .map(|row| (row[0], row[1]))
        .collect()
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('\t').collect())
}

/// The text as a RouterOS string.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
    format!("\"{}\"", escaped.replace('\r', "\\r").replace('\n', "\\n"))
}

/// Whether a part of the secret is left.
fn shows(text: &str, secret: &str) -> bool {
    let joined = Unfolded::new(text).text.into_owned();
    let parts: Vec<char> = secret.chars().collect();
    parts.windows(4).any(|part| joined.contains(&part.iter().collect::<String>()))
}

#[test]
fn only_secrets_are_masked() {
    for (text, masked) in [
        (
            "/ppp secret add name=a password=geheim profile=x",
            "/ppp secret add name=a password=*** profile=x",
        ),
        ("set wpa2-pre-shared-key=\"a \\\" b\" ssid=x", "set wpa2-pre-shared-key=*** ssid=x"),
        ("+/x add private-key=\"abc=\"\n-/y add a=b", "+/x add private-key=***\n-/y add a=b"),
        ("public-key=\"abc\" secret=\"\"", "public-key=\"abc\" secret=***"),
        ("source=\"set password=\\\"geheim\\\"; x\" y=z", "source=\"set password=***; x\" y=z"),
        ("(*2 = /user add password=geheim)", "(*2 = /user add password=***)"),
        ("auth-key=\"cut in the mid", "auth-key=***"),
        ("password= x=y", "password= x=y"),
        ("Password=x", "Password=***"),
        ("a==b", "a==b"),
        ("/interface lte set sim pin=1234 mtu=1", "/interface lte set sim pin=*** mtu=1"),
        (
            "/lcd pin set hide-pin-number=yes pin-number=1234",
            "/lcd pin set hide-pin-number=yes pin-number=***",
        ),
        (r#"modem-init="AT+CPIN=1234" x=y"#, r#"modem-init="AT+CPIN=***" x=y"#),
        (
            "/ip cloud back-to-home-file add path=a url=https://x/s/abc\n/tool fetch url=https://x/s/abc",
            "/ip cloud back-to-home-file add path=a url=***\n/tool fetch url=https://x/s/abc",
        ),
        // What a script appends.
        (
            r#"on-up="/tool fetch url=(\"https://api.x/\?key=\" . \"Hush\")" x=y"#,
            r#"on-up="/tool fetch url=(\"https://api.x/\?key=\" . \"***\")" x=y"#,
        ),
        (
            r#"/tool fetch url=("https://api.x/?page=" . "2" . "&token=" . "Hush")"#,
            r#"/tool fetch url=("https://api.x/?page=" . "2" . "&token=" . "***")"#,
        ),
        ("static-key-1=abc static-algo-1=40bit-wep", "static-key-1=*** static-algo-1=40bit-wep"),
        ("macsec add cak=0a ckn=1", "macsec add cak=*** ckn=1"),
        ("client identity=bob x=y", "client identity=*** x=y"),
        (
            "/snmp community set [ find default=yes ] name=geheim\n/user add name=a",
            "/snmp community set [ find default=yes ] name=***\n/user add name=a",
        ),
        ("(/snmp/community/add name=geheim)", "(/snmp/community/add name=***)"),
        (
            r#"source="x source=\"set password=\\\"a b\\\"; y\" z" v=w"#,
            r#"source="x source=\"set password=***; y\" z" v=w"#,
        ),
        (r#"source="set password=\"a \\\" b\" z""#, r#"source="set password=*** z""#),
        (r#"password="ends in \\" x=y"#, "password=*** x=y"),
        (r#"source="set password=\"open" x=y"#, r#"source="set password=***" x=y"#),
        // Containers and RoMON.
        (
            "/container envs add key=DB_PASSWORD name=e value=Hush",
            "/container envs add key=DB_PASSWORD name=e value=***",
        ),
        ("(/container/envs/set *1 value=\"a b\")", "(/container/envs/set *1 value=***)"),
        ("/tool romon set enabled=yes secrets=a,b", "/tool romon set enabled=yes secrets=***"),
        (
            "/container add cmd=\"run --token abc --port 1\" interface=v",
            "/container add cmd=\"run --token *** --port 1\" interface=v",
        ),
        // Scripts.
        (
            r#"source=":local password \"x y\"\r\n:global apiToken \"abc\"; :put \$apiToken""#,
            r#"source=":local password ***\r\n:global apiToken ***; :put \$apiToken""#,
        ),
        (":local userPass geheim; :put 1", ":local userPass ***; :put 1"),
        (r#":set ($cfg->"password") "geheim";"#, r#":set ($cfg->"password") ***;"#),
        (r#":local token ("ab" . "cd"); :put 1"#, ":local token ***; :put 1"),
        (r#":if ($password = "geheim") do={"#, r#":if ($password = ***) do={"#),
        (r#":local x {"api-key"="geheim"; "a"="b"}"#, r#":local x {"api-key"=***; "a"="b"}"#),
        (":global sendSecret do={ :put 1 }", ":global sendSecret do={ :put 1 }"),
        // Headers and JSON.
        (
            r#"/tool fetch http-header-field="Authorization: Bearer abc,Content-Type: text/plain" url=x"#,
            r#"/tool fetch http-header-field="Authorization: ***,Content-Type: text/plain" url=x"#,
        ),
        (r#"http-header-field="X-Api-Key: abc""#, r#"http-header-field="X-Api-Key: ***""#),
        (
            r#"http-data="{\"token\":\"abc\",\"x\":\"y\"}""#,
            r#"http-data="{\"token\":***,\"x\":\"y\"}""#,
        ),
        (":local auth \"Bearer abc4def5\"", ":local auth \"Bearer ***\""),
        (
            ":local botID \"123456789:AAabcdefghijklmnopqrstuvwxyz012345678\"",
            ":local botID \"***\"",
        ),
        (":local gh ghp_0123456789abcdefghij", ":local gh ***"),
        (
            "mac-address=00:11:22:33:44:55 a=2001:db8::1",
            "mac-address=00:11:22:33:44:55 a=2001:db8::1",
        ),
        // What quotes end or hold.
        (
            r#"add comment="password=" dst-port=22 src=x"#,
            r#"add comment="password=" dst-port=22 src=x"#,
        ),
        (
            r#"/user add comment="see password: " group=full name=eve"#,
            r#"/user add comment="see password: " group=full name=eve"#,
        ),
        (
            r#"/ppp secret add comment="token=" name=eve password="a b" profile=admin"#,
            r#"/ppp secret add comment="token=" name=eve password=*** profile=admin"#,
        ),
        (
            "/user add comment=/snmp/community comment=Cookie: name=eve group=full",
            "/user add comment=/snmp/community comment=Cookie: name=eve group=full",
        ),
        // Code is shown, texts in it that are not values of properties are not.
        (
            r#"on-event=":local token [/user add name=\"eve\" group=full]""#,
            r#"on-event=":local token [/user add name=\"eve\" group=full]""#,
        ),
        (
            r#"source=":local token \"\$[/user add name=eve]\"; :put 1""#,
            r#"source=":local token \"\$[/user add name=eve]\"; :put 1""#,
        ),
        (":local token [:pick \"geheim\" 0 3]; x", ":local token [:pick *** 0 3]; x"),
        (
            r##"source="# \" password=\"\r\n/user add name=eve""##,
            r##"source="# \" password=***\r\n/user add name=eve""##,
        ),
        // Further names.
        (":local adminPw \"geheim\"; x", ":local adminPw ***; x"),
        (":global smtpPw x", ":global smtpPw ***"),
        (":local passwort \"geheim\"", ":local passwort ***"),
        (":local creds {\"admin\";\"geheim\"}", ":local creds ***"),
        (":local secret_id \"geheim\"", ":local secret_id ***"),
        ("envs=\"SECRET_ID=geheim\"", "envs=\"SECRET_ID=***\""),
        (":local\tpass geheim", ":local\tpass ***"),
        ("http-header-field=\"X-Auth: geheim\"", "http-header-field=\"X-Auth: ***\""),
        ("cmd=\"curl --user root:geheim x\"", "cmd=\"curl --user root:*** x\""),
        ("https://hooks.slack.com/triggers/T0/1/xyz", "https://hooks.slack.com/triggers/***"),
        ("https://outlook.office.com/webhook/xyz", "https://outlook.office.com/webhook/***"),
        // URLs.
        ("url=\"https://bob:geheim@example.org/x\"", "url=\"https://bob:***@example.org/x\""),
        (
            "url=\"https://example.org/u\\?host=a&token=geheim&ip=1\"",
            "url=\"https://example.org/u\\?host=a&token=***&ip=1\"",
        ),
        (
            "https://api.telegram.org/bot123:AAb-c/sendMessage\\?chat_id=1",
            "https://api.telegram.org/bot***/sendMessage\\?chat_id=1",
        ),
        ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/services/***"),
        (
            "https://freedns.example/update.php?MTIzNDU2Nzg5MDEyMw==",
            "https://freedns.example/update.php?***",
        ),
        ("https://example.org:443/a@b", "https://example.org:443/a@b"),
        ("ssh://admin@192.0.2.1", "ssh://admin@192.0.2.1"),
        // Messages of this program.
        (
            "read /etc/addrwatch/password: permission denied",
            "read /etc/addrwatch/password: permission denied",
        ),
        ("its host key is ssh-rsa SHA256:abc", "its host key is ssh-rsa SHA256:abc"),
        ("password_file: other users may read it", "password_file: other users may read it"),
        // Wrapped lines keep their form, outside of secrets.
        (
            "/ppp secret add name=a pass\\\n    word=gehe\\\n    im prof\\\n    ile=x",
            "/ppp secret add name=a pass\\\n    word=*** prof\\\n    ile=x",
        ),
        ("/x add a=b\\\\\npassword=c", "/x add a=b\\\\\npassword=***"),
    ] {
        assert_eq!(mask(text), masked);
    }
}

/// Each property of the list, in each form in which exports, scripts and logs write it.
#[test]
fn each_secret_property_of_the_list() {
    let properties = secret_properties();
    assert!(properties.len() > 100);
    for (menu, name) in properties {
        for secret in
            ["Hush2Hush", "Hu\"sh2 Hu\\sh;$x", "Hush 2Hush=(a)", "Hush\\", "H&ush2@Hush:/"]
        {
            let value = if secret == "Hush2Hush" { secret.into() } else { quoted(secret) };
            let line = format!("{menu} add comment=c {name}={value} disabled=no");
            let command = format!("{}/add {name}={value}", menu.replace(' ', "/"));
            let script = format!("/system script add name=x source={}", quoted(&line));
            let logged = format!("item added by ssh:alice@192.0.2.7/terminal (*1 = {command})");
            let deep = format!("/system scheduler add on-event={} name=y", quoted(&script));
            for text in [&line, &logged, &script, &deep] {
                let masked = mask(text);
                assert!(!shows(&masked, secret), "{text}\n{masked}");
                assert!(masked.contains(&format!("{name}=***")), "{text}\n{masked}");
            }
            assert!(mask(&line).ends_with(" disabled=no"), "{line}");
            for at in (1..line.len()).filter(|at| line.is_char_boundary(*at)) {
                let wrapped = format!("{}\\\n    {}", &line[..at], &line[at..]);
                // Not where a wrapped line could not be distinguished from an escape.
                if !line[..at].ends_with('\\') && !line[at..].starts_with(' ') {
                    let masked = mask(&wrapped);
                    assert!(!shows(&masked, secret), "{wrapped}\n{masked}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_secret_is_shown() {
    for row in rows(include_str!("../../../tests/data/routeros-not-secret.txt")) {
        let line = format!("{} set {}={} comment=\"a b\"", row[0], row[1], row[2]);
        assert_eq!(mask(&line), line);
    }
}

/// The time grows with the length, whatever the router sends.
#[test]
fn long_hostile_lines() {
    for part in [
        "password=",
        "Authorization:",
        "://",
        ":set (",
        "--",
        "\\",
        ":local token (",
        "\"password\"=",
        "a:b@",
        "bearer 1",
        "key=\\",
    ] {
        let text = part.repeat((1 << 20) / part.len());
        let began = std::time::Instant::now();
        mask(&text);
        // A minute is far more than it takes, and far less than the square of the length.
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{part}");
    }
}

/// Names that a secret may have in scripts, and that no list has.
fn unknown_name() -> impl Strategy<Value = String> {
    let end = "(password|Password|_passwd|-secret|Token|_token|-key|ApiKey|-psk|Pwd|passphrase)";
    ("[a-z]{0,6}", end).prop_map(|(begin, end)| begin + &end)
}

/// A text that a generated case has found.
#[test]
fn masking_again_changes_nothing() {
    assert_eq!(mask(&mask("¡=")), mask("¡="));
}

proptest! {
    #[test]
    fn no_secret_is_shown(before in "[ -~]{0,20}", value in "[A-Z]{8}", after in "[ -~]{0,20}", quoted in any::<bool>()) {
        prop_assume!(!before.contains(&value) && !after.contains(&value));
        let value_text = if quoted { format!("\"{value}\"") } else { value.clone() };
        let text = format!("{before} password={value_text} {after}");
        prop_assert!(!mask(&text).contains(&value), "{}", text);
    }

    #[test]
    fn no_text_panics_and_masking_again_changes_nothing(
        text in ".{0,100}",
        parts in prop::collection::vec("(password|token|=|:|\"|\\\\| |é|\n|\\\\\n  |://|@|\\?|&|:local |--|,|;|\\(|\\)|\\[|\\{|Authorization|Bearer a1b2c3d4|/bot1:x)", 0..25),
    ) {
        for text in [text, parts.concat()] {
            let masked = mask(&text);
            prop_assert_eq!(mask(&masked), masked.clone(), "{:?}", text);
            prop_assert!(masked.len() <= 2 * text.len() + 3, "{:?} {:?}", text, masked);
        }
    }

    /// A secret is masked in scripts of any depth, whatever its last character.
    #[test]
    fn a_quoted_secret_is_masked_at_any_depth(value in "[A-Z\\\\\" ]{0,10}", depth in 0..4_usize) {
        let mut quoted = format!("password={:?} after=x", value);
        for _ in 0..depth {
            quoted = format!("source={quoted:?}");
        }
        let masked = mask(&quoted);
        prop_assert!(masked.contains("password=*** after=x"), "{quoted} {masked}");
    }

    /// Whatever its name, its characters, its place and where the router wraps the line.
    #[test]
    fn secrets_of_unknown_names(
        name in unknown_name(),
        secret in "[A-Z]{4}[!-~]{0,6}[A-Z]{4}",
        form in 0..6_usize,
        depth in 0..3_usize,
        wrap in any::<prop::sample::Index>(),
    ) {
        let value = quoted(&secret);
        let mut text = match form {
            0 => format!("/x add {name}={value} a=b"),
            1 => format!(":local {name} {value}; :put 1"),
            2 => format!(":global {name} ({value} . \"y\"); :put 1"),
            3 => format!("/x add {name}=\"{}\"", secret.replace(['"', '\\', '$'], "")),
            4 => format!(":set ($c->\"{name}\") {value}\n:put 1"),
            _ => format!("run --{name} {value} --port 1"),
        };
        for _ in 0..depth {
            text = format!("/system script add source={}", quoted(&text));
        }
        prop_assert!(!shows(&mask(&text), &secret[..4]), "{text}\n{}", mask(&text));
        prop_assert!(!shows(&mask(&text), &secret[secret.len() - 4..]), "{text}\n{}", mask(&text));
        let at = wrap.index(text.len());
        if !text[..at].ends_with('\\') && !text[at..].starts_with([' ', '\n']) {
            let wrapped = format!("{}\\\n    {}", &text[..at], &text[at..]);
            prop_assert!(!shows(&mask(&wrapped), &secret[..4]), "{wrapped}\n{}", mask(&wrapped));
        }
    }

    /// Values that look like secrets hide nothing outside of them: masking a line is masking each of its values.
    #[test]
    fn properties_are_masked_each_by_itself(
        properties in prop::collection::vec(
            (
                "(comment|name|source|dst-port|password|on-event|private-key|list|url)",
                prop::collection::vec("(password|token|key|=|:|\"|\\\\| |é|;|#|\n|:local |--|Cookie: |://|@|\\?|&|\\$\\[|\\]|\\{|/snmp community |name|[ -~]{0,4})", 0..8),
                any::<bool>(),
            ),
            1..6,
        ),
    ) {
        let written = |name: &str, parts: &[String], is_bare: bool| {
            let value = parts.concat();
            let is_word = value.chars().all(|c| c.is_ascii_alphanumeric() || "=:/@-._".contains(c));
            let value = if is_bare && is_word && !value.is_empty() { value } else { quoted(&value) };
            format!("{name}={value}")
        };
        let begin = "/ip firewall filter add";
        let (mut line, mut expected) = (begin.to_owned(), begin.to_owned());
        for (name, parts, is_bare) in &properties {
            let property = written(name, parts, *is_bare);
            line += &format!(" {property}");
            let is_secret = matches!(&**name, "password" | "private-key");
            let masked = if is_secret { format!("{name}=***") } else { mask(&property) };
            prop_assert!(masked.starts_with(&format!("{name}=")), "{} {}", property, masked);
            expected += &format!(" {masked}");
        }
        let masked = mask(&line);
        prop_assert_eq!(&masked, &expected, "{}", line);
        prop_assert_eq!(mask(&masked), masked);
    }
}

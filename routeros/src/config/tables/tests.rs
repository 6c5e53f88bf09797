use super::*;
use std::{fs, os::unix::fs::PermissionsExt};

const MAIN: &str = r#"archive = "/a"
include = "routers.d"

[mail]
server = "127.0.0.1"
from = "a@example.org"
to = ["noc@example.org"]

[defaults]
user = "audit"
password_file = "default.pass"
interval = 600
mail_to = ["all@example.org"]

[group.branches]
key_file = "/keys/branch"
passphrase_file = "/keys/branch.pass"
interval = 700
legacy = true

[[router]]
name = "core1"
address = "192.0.2.1"
"#;

/// A directory with the configuration and files beside it.
fn written(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("routers.d")).unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let path = directory.path().join("routeros.toml");
    (directory, path)
}

fn router(name: &str, more: &str) -> String {
    format!("\n[[router]]\nname = \"{name}\"\naddress = \"192.0.2.9\"\n{more}\n")
}

/// A key of the router comes before that of its group, and this one before that of the defaults. A login replaces the whole
/// login of the group or of the defaults.
#[test]
fn what_a_router_inherits() {
    let b = [
        router("branch1", "group = \"branches\""),
        router(
            "branch2",
            "group = \"branches\"\ninterval = 800\nagent = true\nuser = \"x\"\nmail_to = []",
        ),
        router("branch3", "group = \"late\""),
        "[group.late]\nsettle = 9\n".into(),
    ];
    let (directory, path) = written(&[
        ("routeros.toml", MAIN),
        ("routers.d/b.toml", &b.concat()),
        ("routers.d/a.toml", &router("edge", "")),
        ("routers.d/a.toml~", "not TOML"),
        ("routers.d/.a.toml", "not TOML"),
    ]);
    let config = Config::read(&path).unwrap();
    let names: Vec<_> = config.routers.iter().map(|router| router.name.as_str()).collect();
    assert_eq!(names, ["core1", "edge", "branch1", "branch2", "branch3"]);
    let [core1, edge, branch1, branch2, branch3] = config.routers.as_slice() else { panic!() };
    let password = directory.path().join("default.pass");
    for router in [core1, edge, branch3] {
        assert_eq!((&*router.user, router.interval), ("audit", 600));
        assert_eq!(router.password_file.as_ref(), Some(&password), "relative to the main file");
        assert_eq!(router.mail_to.as_deref(), Some(["all@example.org".to_owned()].as_slice()));
    }
    assert_eq!((branch1.interval, branch1.legacy, &branch1.password_file), (700, true, &None));
    assert!(branch1.key_file.is_some() && branch1.passphrase_file.is_some());
    assert_eq!((branch2.interval, branch2.legacy, branch2.agent), (800, true, true));
    assert!(branch2.key_file.is_none() && branch2.passphrase_file.is_none());
    assert_eq!((&*branch2.user, branch2.mail_to.as_deref()), ("x", Some([].as_slice())));
    assert_eq!((branch3.settle, core1.settle), (9, 2));
}

#[test]
fn errors_name_the_file_and_the_line() {
    let fault = |name: &str, text: &str| {
        let (_directory, path) = written(&[("routeros.toml", MAIN), (name, text)]);
        Config::read(&path).unwrap_err()
    };
    let edge = router("edge", "");
    for (text, why) in [
        (
            router("edge", "group = \"nowhere\""),
            "a.toml: line 5: group \"nowhere\": there is no [group.nowhere] (there are: branches)",
        ),
        (router("edge", "intervall = 5"), "a.toml: line 5: unknown key `intervall`"),
        (
            router("edge", "interval = \"5\""),
            "a.toml: line 5: interval: must be a number of seconds, or a time such as \"10m\", not the text \"5\"",
        ),
        (router("edge", "interval = 0"), "a.toml: line 2: router edge: interval"),
        (
            router("edge", "mail_to = [\"x\"]"),
            "a.toml: line 2: router edge: mail_to: mail address \"x\"",
        ),
        (router("core1", ""), "a.toml: line 2: router core1: the name is used twice"),
        ("\n[[router]]\nname = \"edge\"\n".into(), "a.toml: line 2: missing key `address`"),
        (format!("{edge}{edge}"), "a.toml: line 7: router edge: the name is used twice"),
        ("[group.x]\nname = \"y\"".into(), "a.toml: line 2: name: only a [[router]] has it"),
        (
            "[group.x]\nsettel = 5".into(),
            "a.toml: line 2: unknown key `settel` in [group.x] (did you mean `settle`?)",
        ),
        ("[group.branches]\n".into(), "a.toml: line 1: group branches: the name is used twice"),
        ("[defaults]\nuser = \"x\"".into(), "a.toml: line 1: unknown table or key `defaults`"),
        ("x = [".into(), "a.toml: line 1: "),
        (
            "[router]\nname = \"a\"\n[router]\nname = \"b\"\n".into(),
            "a.toml: line 3: [router] stands twice (write [[router]] each time",
        ),
        ("router = 5".into(), "a.toml: line 1: router: must be tables"),
    ] {
        let fault = fault("routers.d/a.toml", &text);
        assert!(fault.contains(why), "{fault:?} for {text:?}");
    }
    let of_main = fault("routeros.toml", &MAIN.replace("interval = 600", "interval = true"));
    assert!(
        of_main.contains(
            "routeros.toml: line 12: interval: must be a number of seconds, or a time such as \"10m\", not true"
        ),
        "{of_main}"
    );
    let missing = fault("routeros.toml", &MAIN.replace("routers.d", "elsewhere"));
    assert!(missing.starts_with("read include /") && missing.contains("elsewhere"), "{missing}");
    let no_mail = MAIN.replace("[mail]\n", "").replace("server = \"127.0.0.1\"\n", "");
    let no_mail = no_mail.replace("from = \"a@example.org\"\nto = [\"noc@example.org\"]\n", "");
    let no_mail = fault("routeros.toml", &no_mail);
    assert!(no_mail.contains("router core1: mail_to: there is no table [mail]"), "{no_mail}");
}

/// The one opener reads the files: not one that all users can write to, and no pipe, which would block.
#[test]
fn a_file_that_all_users_can_write_to() {
    let (directory, path) = written(&[("routeros.toml", MAIN), ("routers.d/a.toml", "")]);
    let included = directory.path().join("routers.d/a.toml");
    assert!(Config::read(&path).is_ok());
    fs::set_permissions(&included, fs::Permissions::from_mode(0o666)).unwrap();
    let fault = Config::read(&path).unwrap_err();
    assert!(fault.contains("a.toml: all users can write to it"), "{fault}");
    fs::remove_file(&included).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &included,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let fault = Config::read(&path).unwrap_err();
    assert!(fault.contains("not a regular file"), "{fault}");
}

/// An empty text is no value, and not that of the defaults: `via = "r1"` for all but r1.
#[test]
fn an_empty_text_unsets_a_key() {
    let text = r#"archive = "/a"
[mail]
server = "127.0.0.1"
from = "a@example.org"
to = ["noc@example.org"]
[defaults]
user = "a"
key_file = "/k"
via = "r1"
source = "192.0.2.9"
mail_to = ["all@example.org"]
[group.near]
source = ""
[[router]]
name = "r1"
address = "192.0.2.1"
group = "near"
via = ""
mail_to = ""
[[router]]
name = "r2"
address = "192.0.2.2"
"#;
    let config = Config::parse(text).unwrap();
    let [r1, r2] = &*config.routers else { panic!("{config:?}") };
    assert_eq!((&r1.via, r1.source, &r1.mail_to), (&None, None, &None));
    assert!(r2.via.is_some() && r2.source.is_some() && r2.mail_to.is_some());
}

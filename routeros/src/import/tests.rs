use super::*;
use std::os::unix::fs::PermissionsExt;

const CONFIG: &str = r#"---
username: backup
password: "all: of #them"   # the default
model: ios
vars:
  password: not-this
groups:
  branches:
    username: branch
    password: 'of branches'
source:
  default: csv
  csv:
    file: ~/.config/oxidized/router.db
    delimiter: !ruby/regexp /:/
    map:
      name: 0
      ip: 1
      model: 2
      group: 3
      username: 4
      password: 5
    vars_map:
      enable: 6
      ssh_port: 7
    gpg: false
model_map:
  cisco: ios
  Mikrotik: routeros
"#;

const LIST: &str = "\
# name:ip:model:group:user:password:enable:port
core1:192.0.2.1:routeros::admin:pass word::2222
sw1:192.0.2.2:ios
sw2:192.0.2.3
branch1:192.0.2.4:mikrotik:branches

edge:::::x
rtr.example.org::RouterOS:
bad name:192.0.2.5:routeros
core1:192.0.2.6:routeros
:192.0.2.7:routeros
far:192.0.2.8:routeros:::::99999
taken:192.0.2.9:routeros
again:192.0.2.10:routeros
";

#[test]
fn a_list_with_its_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routeros.toml");
    for (name, text) in [("taken.pass", "other\n"), ("again.pass", "all: of #them\n")] {
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let settings = Settings::parse(CONFIG).unwrap();
    let plan = plan(&path, &settings, settings.devices(LIST), &BTreeSet::new());
    let names: Vec<_> = plan.routers.iter().map(|router| router.name.as_str()).collect();
    assert_eq!(names, ["core1", "branch1", "rtr.example.org", "again"]);
    let [core1, branch1, named, again] = plan.routers.as_slice() else { panic!() };
    let file = directory.path().join("core1.pass");
    let expected = format!(
        "name = \"core1\"\naddress = \"192.0.2.1:2222\"\nuser = \"admin\"\npassword_file = {:?}\n",
        file.display().to_string()
    );
    assert_eq!(core1.entry, expected);
    assert_eq!(core1.password, Some((file, "pass word\n".into())));
    assert!(
        branch1.entry.contains("group = \"branches\"\nuser = \"branch\"\n"),
        "{}",
        branch1.entry
    );
    assert_eq!(branch1.password.as_ref().unwrap().1, "of branches\n");
    assert!(named.entry.contains("address = \"rtr.example.org:22\"\nuser = \"backup\"\n"));
    assert_eq!(named.password.as_ref().unwrap().1, "all: of #them\n");
    assert!(again.password.is_none() && again.entry.contains("again.pass"));
    assert_eq!(plan.tables, "\n[group.\"branches\"]\n");
    let left_out: Vec<_> =
        plan.left_out.iter().map(|(reason, names)| (reason.as_str(), names.join(","))).collect();
    let reasons = [
        ("NAME.pass exists with another password (move it away)", "taken"),
        ("a line without a name", "(no name)"),
        ("address \"192.0.2.8:99999\"", "far"),
        ("model ios, not routeros", "sw1,sw2,edge"),
        ("the name is not 1 to 64 letters", "bad name"),
        ("the name is used twice", "core1"),
    ];
    assert_eq!(left_out.len(), reasons.len(), "{left_out:?}");
    for ((reason, names), (expected, whose)) in left_out.iter().zip(reasons) {
        assert!(reason.starts_with(expected) && names == whose, "{reason}: {names}");
    }
    let known = BTreeSet::from(["branches".to_owned()]);
    assert_eq!(super::plan(&path, &settings, settings.devices(LIST), &known).tables, "");
}

#[test]
fn mappings() {
    let devices = Settings::default().devices("core1:routeros\nsw1:ios\n");
    assert_eq!(
        devices.iter().map(|device| &*device.model).collect::<Vec<_>>(),
        ["routeros", "ios"]
    );
    assert!(Mapping::parse("name=0,ip=1, model=2").is_ok());
    for (map, why) in [
        ("", "must be NAME=N"),
        ("ip=1", "no column for name"),
        ("name=x", "must be a number"),
        ("name=100", "must be a number below 100"),
        ("colour=1", "must be one of name"),
    ] {
        let fault = Mapping::parse(map).unwrap_err();
        assert!(fault.contains(why), "{fault}");
    }
    let with = |line: &str| Settings::parse(&format!("source:\n  csv:\n    {line}\n"));
    for (line, works) in [
        ("delimiter: !ruby/regexp /:/", true),
        ("delimiter: !ruby/regexp/;/", true),
        ("delimiter: \",\"", true),
        (r"delimiter: !ruby/regexp /\|/", true),
        (r"delimiter: !ruby/regexp /\s+/", false),
        ("delimiter: !ruby/regexp /[:;]/", false),
        ("gpg: true", false),
    ] {
        assert_eq!(with(line).is_ok(), works, "{line}");
    }
}

#[test]
fn no_text_panics() {
    use proptest::prelude::*;
    proptest!(|(config in "([a-z]{1,3}:? ?[:'\"#/ !]?\n? {0,4}){0,20}", list in ".{0,200}")| {
        if let Ok(settings) = Settings::parse(&config) {
            let devices = settings.devices(&list);
            plan(Path::new("/nowhere/x.toml"), &settings, devices, &BTreeSet::new());
        }
    });
}

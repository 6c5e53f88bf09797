use super::*;

#[test]
fn what_a_unit_forbids() {
    let made = tempfile::tempdir().unwrap();
    let [etc, lib] = ["etc", "lib"].map(|name| made.path().join(name));
    let directories = [&*etc, &*lib];
    assert_eq!(UnitFiles::read("aw-x", &directories), None);
    let edits = etc.join("aw-x.service.d");
    fs::create_dir_all(&edits).unwrap();
    fs::create_dir(&lib).unwrap();
    fs::write(
        lib.join("aw-x.service"),
        "[Service]\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\nStateDirectory=addrwatch/aw-x\nReadWritePaths=/old\n",
    )
    .unwrap();
    fs::write(edits.join("b.conf"), "[Service]\nReadWritePaths=-/srv/a /srv/b\n").unwrap();
    fs::write(edits.join("a.conf"), "[Service]\nReadWritePaths=\n").unwrap();
    let unit = || UnitFiles::read("aw-x", &directories).unwrap();
    let forbids = |path: &str| unit().forbids_writing(Path::new(path));
    for (path, is_forbidden) in [
        ("/srv/a/deep", false),
        ("/srv/b", false),
        ("/srv/c", true),
        ("/old", true),
        ("/var/lib/addrwatch/aw-x", false),
        ("/var/lib/addrwatch", true),
    ] {
        assert_eq!(forbids(path).is_some(), is_forbidden, "{path}");
    }
    let why = forbids("/srv/c").unwrap();
    assert!(why.contains("systemctl edit aw-x: [Service] and ReadWritePaths=/srv/c"), "{why}");
    assert!(why.contains("(install -d -m 750 -o root /srv/c; "), "{why}");
    let hides = |path: &str| unit().hides(Path::new(path)).is_some();
    let history = unit().hides_history(Path::new("/root/x.db")).unwrap();
    assert!(
        history.starts_with("read /root/x.db: the unit ") && history.contains(" copy "),
        "{history}"
    );
    assert_eq!(unit().hides_history(Path::new("/var/lib/addrwatch/addrwatch.db")), None);
    assert!(hides("/root/secret") && hides("/tmp/secret") && !hides("/etc/addrwatch/x"));
    fs::write(edits.join("c.conf"), "[Service]\nProtectSystem=full\nProtectHome=read-only\n")
        .unwrap();
    assert_eq!(unit().forbids_writing(Path::new("/srv/c")), None);
    assert_eq!(unit().hides(Path::new("/home/a")), None);
    // A unit of the administrator replaces that of the package.
    fs::write(etc.join("aw-x.service"), "[Service]\nPrivateTmp=no\n").unwrap();
    assert_eq!(unit().hides(Path::new("/tmp/a")), None);
}

/// `ProtectSystem=strict` leaves homes to `ProtectHome=`, and no remedy changes the owner of a home or of what others use.
#[test]
fn homes_and_shared_directories() {
    let made = tempfile::tempdir().unwrap();
    let forbids = |more: &str, place: &str| {
        let text = format!(
            "[Service]\nUser=daemon\nProtectSystem=strict\nStateDirectory=addrwatch/aw-x\n{more}\n"
        );
        fs::write(made.path().join("aw-x.service"), text).unwrap();
        UnitFiles::read("aw-x", &[made.path()]).unwrap().forbids_writing(Path::new(place))
    };
    // Members of the group of the services may read what is there.
    let why = forbids("Group=addrwatch", "/srv/none").unwrap();
    assert!(why.contains("(install -d -m 750 -o daemon -g addrwatch /srv/none; "), "{why}");
    let home = "/home/alice/db";
    assert_eq!(forbids("ProtectHome=no", home), None);
    assert_eq!(forbids("ProtectHome=read-only\nReadWritePaths=/home/alice", home), None);
    let other = "(choose a place in /var/lib/addrwatch/aw-x, which needs no more, or in /srv: install -d -m 750 -o daemon /srv/daemon; systemctl edit aw-x: [Service] and ReadWritePaths=/srv/daemon)";
    for (more, place, why) in [
        ("ProtectHome=yes", home, "the unit aw-x hides /home from its service"),
        ("ProtectHome=read-only", home, "the unit aw-x makes it read-only"),
        ("", "/srv", "the unit aw-x makes it read-only"),
        ("", "/var/lib/addrwatch", "the unit aw-x makes it read-only"),
        ("", "/etc/addrwatch", "the unit aw-x makes it read-only"),
    ] {
        assert_eq!(forbids(more, place), Some(format!("write to {place}: {why} {other}")));
    }
}

/// `BindPaths=` shows a directory that is hidden or read-only otherwise, but not below what is inaccessible.
#[test]
fn directories_that_are_bound() {
    let made = tempfile::tempdir().unwrap();
    let unit = |text: &str| {
        let text = format!("[Service]\nProtectSystem=strict\nPrivateTmp=yes\n{text}\n");
        fs::write(made.path().join("aw-x.service"), text).unwrap();
        UnitFiles::read("aw-x", &[made.path()]).unwrap()
    };
    for (text, place, is_hidden, is_forbidden) in [
        ("ProtectHome=tmpfs", "/home/x/db", true, true),
        ("ProtectHome=tmpfs\nBindPaths=/home/x", "/home/x/db", false, false),
        ("ProtectHome=tmpfs\nBindPaths=/home/x", "/home/y/db", true, true),
        ("ProtectHome=tmpfs\nBindReadOnlyPaths=/home/x", "/home/x/db", false, true),
        ("ProtectHome=tmpfs\nBindPaths=/disk:/home/x:rbind", "/home/x", false, false),
        ("ProtectHome=tmpfs\nBindPaths=/home/x\nBindPaths=", "/home/x/db", true, true),
        ("ProtectHome=yes\nBindPaths=/home/x", "/home/x/db", true, true),
        ("BindPaths=-/srv/a /srv/b", "/srv/b/db", false, false),
        ("BindPaths=/srv/a\nBindReadOnlyPaths=/srv/a/b", "/srv/a/b", false, true),
        ("BindPaths=/tmp/x", "/tmp/x/db", false, false),
        ("BindPaths=/tmp/x", "/tmp/y/db", true, true),
    ] {
        let (unit, place) = (unit(text), Path::new(place));
        let found = (unit.hides(place).is_some(), unit.forbids_writing(place).is_some());
        assert_eq!(found, (is_hidden, is_forbidden), "{text}: {place:?}");
    }
}

#[test]
fn ports_below_1024() {
    let made = tempfile::tempdir().unwrap();
    let port = "CAP_NET_BIND_SERVICE";
    for (text, has) in [
        ("", false),
        ("AmbientCapabilities=CAP_NET_RAW PORT", true),
        ("AmbientCapabilities=PORT\nAmbientCapabilities=", false),
        ("AmbientCapabilities=PORT\nAmbientCapabilities=CAP_NET_RAW", true),
        ("AmbientCapabilities=PORT\nAmbientCapabilities=~PORT", false),
        ("AmbientCapabilities=~CAP_NET_RAW", true),
        ("AmbientCapabilities=~PORT", false),
        (
            "AmbientCapabilities=CAP_NET_RAW\nAmbientCapabilities=\nAmbientCapabilities=~CAP_NET_RAW",
            true,
        ),
        (
            "AmbientCapabilities=PORT\nCapabilityBoundingSet=\nCapabilityBoundingSet=~CAP_NET_RAW",
            false,
        ),
        ("AmbientCapabilities=PORT\nCapabilityBoundingSet=\nCapabilityBoundingSet=~", true),
        ("AmbientCapabilities=PORT\nCapabilityBoundingSet=", false),
        ("AmbientCapabilities=PORT\nCapabilityBoundingSet=CAP_NET_RAW", false),
        ("AmbientCapabilities=PORT\nCapabilityBoundingSet=\nCapabilityBoundingSet=PORT", true),
        ("AmbientCapabilities=PORT\nCapabilityBoundingSet=~CAP_NET_RAW", true),
        ("AmbientCapabilities=PORT\nCapabilityBoundingSet=~PORT", false),
    ] {
        let text = format!("[Service]\n{}\n", text.replace("PORT", port));
        fs::write(made.path().join("aw-x.service"), &text).unwrap();
        let unit = UnitFiles::read("aw-x", &[made.path()]).unwrap();
        assert_eq!(!unit.capabilities().is_empty(), has, "{text}");
        let of_user = UnitFiles { user: Some("aw-x".into()), ..unit };
        assert_eq!(!of_user.may_not_bind_low_ports(), has, "{text}");
    }
}

/// The forms that systemd reads.
#[test]
fn forms_of_units() {
    let made = tempfile::tempdir().unwrap();
    let [etc, lib] = ["etc", "lib"].map(|name| made.path().join(name));
    let directories = [&*etc, &*lib];
    let write = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("[Service]\n{text}")).unwrap();
    };
    write(
        &lib.join("aw-x.service"),
        "[Service]\nProtectSystem = strict\nUser=aw-x\n# User=root\nGroup= addrwatch\nIPAddressDeny=any\nIPAddressAllow=localhost\n\
        LoadCredential=a.cnf:/etc/addrwatch/a.cnf\nReadWritePaths=\"/srv/with blank\" \\\n# between\n  /srv/next '-/srv/last'\n",
    );
    let unit = || UnitFiles::read("aw-x", &directories).unwrap();
    let forbids = |path: &str| unit().forbids_writing(Path::new(path)).is_some();
    for path in ["/srv/with blank", "/srv/next/x", "/srv/last"] {
        assert!(!forbids(path), "{path}: {:?}", unit());
    }
    assert!(forbids("/srv/with") && forbids("/srv"));
    assert_eq!(
        (unit().user.as_deref(), unit().group.as_deref()),
        (Some("aw-x"), Some("addrwatch"))
    );
    assert!(unit().loads(Path::new("/etc/addrwatch/a.cnf")) && !unit().loads(Path::new("/etc/b")));
    let why = unit().drops_clients().unwrap();
    assert!(why.contains("systemctl edit aw-x"), "{why}");
    // Only *.conf; one in /etc replaces that of its name in /usr/lib; one for all services is read, too.
    write(&lib.join("aw-x.service.d/a.conf"), "ReadWritePaths=/a\nIPAddressAllow=192.0.2.0/24\n");
    assert!(!forbids("/a") && unit().drops_clients().is_none());
    write(&etc.join("aw-x.service.d/b.conf~"), "ReadWritePaths=/b\n");
    write(&etc.join("aw-x.service.d/a.conf"), "ReadWritePaths=/c\n");
    write(&lib.join("service.d/all.conf"), "ReadWritePaths=/d\n");
    assert!(forbids("/a") && forbids("/b") && !forbids("/c") && !forbids("/d"));
    assert!(unit().drops_clients().is_some());
    write(&etc.join("aw-x.service.d/z.conf"), "IPAddressDeny=\nUser=daemon\n");
    assert!(unit().drops_clients().is_none() && unit().user.as_deref() == Some("daemon"));
    // As an editor opens it: the heading was forgotten.
    for (section, place) in
        [("", "no section"), ("[Unit]\n", "[Unit]"), ("[service]\n", "[service]")]
    {
        let text = format!("{section}Documentation=x\nIPAddressDeny=any\n");
        fs::write(etc.join("aw-x.service.d/z.conf"), text).unwrap();
        let ignored = format!(
            "systemd ignores the line IPAddressDeny=any, which stands in {place} (write the line [Service] above it, "
        );
        let found = unit();
        assert!(found.misplaced.len() == 1 && found.misplaced[0].contains(&ignored), "{found:?}");
        assert_eq!(found.user.as_deref(), Some("aw-x"));
    }
    // For all services, and no unit of this name.
    assert_eq!(UnitFiles::read("aw-y", &directories), None);
    write(&lib.join("aw-z@.service"), "User=aw-z\n");
    assert_eq!(UnitFiles::read("aw-z@1", &directories).unwrap().user.as_deref(), Some("aw-z"));
    // Of an instance: its drop-ins before those of the same name for all, and its unit in the place of theirs.
    let instance = || UnitFiles::read("aw-z@1", &directories).unwrap();
    write(
        &etc.join("aw-z@1.service.d/override.conf"),
        "User=daemon\nExecStart=\nExecStart=/z %i\n",
    );
    write(&lib.join("aw-z@.service.d/override.conf"), "User=bin\nGroup=bin\n");
    write(&lib.join("aw-z@.service.d/more.conf"), "SupplementaryGroups=games\n");
    assert_eq!(instance().user.as_deref(), Some("daemon"));
    assert_eq!((instance().group, instance().exec_start), (None, Some("/z %i".into())));
    assert_eq!(instance().groups, ["games"]);
    assert_eq!(UnitFiles::read("aw-z@2", &directories).unwrap().user.as_deref(), Some("bin"));
    write(&etc.join("aw-z@.service.d/of-lib.conf"), "CacheDirectory=etc\n");
    write(&lib.join("aw-z@1.service.d/of-lib.conf"), "CacheDirectory=lib\n");
    assert!(instance().creates(Path::new("/var/cache/etc")), "the directory counts first");
    write(&lib.join("aw-z@1.service"), "PrivateTmp=yes\n");
    assert!(instance().hides_temporary && instance().user.as_deref() == Some("daemon"));
    write(&etc.join("aw-w@1.service.d/override.conf"), "User=daemon\n");
    assert!(UnitFiles::read("aw-w@1", &directories).is_some(), "drop-ins alone");
    // Masked.
    std::os::unix::fs::symlink("/dev/null", etc.join("aw-x.service")).unwrap();
    assert_eq!(UnitFiles::read("aw-x", &directories), None);
}

#[test]
fn scripts_of_openrc() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/openrc/aw-output");
    let unit = UnitFiles::of_script("aw-mysql", &script).unwrap();
    assert_eq!(
        (unit.user.as_deref(), unit.group.as_deref()),
        (Some("aw-mysql"), Some("addrwatch"))
    );
    assert!(unit.is_script() && unit.creates(Path::new("/var/lib/addrwatch/aw-mysql")));
    assert_eq!(unit.hides(Path::new("/root/x")), None);
}

/// A directory that something is in below /var is the system's or another service's.
#[test]
fn directories_that_may_be_given() {
    for (directory, expected) in [
        ("/var/lib/dpkg", false),
        ("/var/lib/addrwatch", false),
        ("/var/lib/not-there", true),
        ("/var/lib", false),
        ("/srv/not-there", true),
        ("/home/alice", false),
        ("/etc/not-there", false),
    ] {
        assert_eq!(may_be_given(Path::new(directory)), expected, "{directory}");
    }
}

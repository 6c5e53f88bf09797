//! `aw-routeros export`: the running daemon exports a router now.
#![forbid(unsafe_code)]

use aw_tests::rig::{Finished, public_copy, run, skip};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

fn export(watching: &Watching, arguments: &[&str]) -> Finished {
    let mut command = watching.command();
    command.arg("export").args(arguments);
    run(command)
}

/// Without a change, with one that no log line names, and with one that the log has just named: each at once, though the
/// next periodic export is far away.
#[test]
fn now() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching =
        Watching::new(&ring).router("core1", &router, Version::V7).option("interval = 100000");
    let refused = export(&watching, &["core1"]);
    refused.refused("aw-routeros", &["no aw-routeros runs with this archive", "systemctl start"]);
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact: configuration stored");
    let exports = router.exports();
    assert_eq!(export(&watching, &["core1"]).ok().stdout, "core1: unchanged\n");
    assert_eq!(router.exports(), exports + 1);
    router.add_silently("/ip dns set servers=192.0.2.53");
    let changed = export(&watching, &["core1"]).ok().stdout;
    assert!(changed.starts_with("core1: changed by UNKNOWN (+1 -0), snapshot 20"), "{changed}");
    router.add("alice", "/ip dns set servers=192.0.2.54");
    let json = export(&watching, &["core1", "--format", "json"]).ok().stdout;
    for text in
        ["\"result\":\"changed\"", "\"users\":[\"alice\"]", "\"added\":1", "\"router\":\"core1\""]
    {
        assert!(json.contains(text), "{text}: {json}");
    }
    let socket = watching.root().join(".control");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.stop().ok();
    assert!(!socket.exists());
    // A socket that a killed daemon left is no daemon, and does not prevent the next one.
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: connected");
    daemon.kill();
    assert!(socket.exists());
    export(&watching, &["core1"]).refused("aw-routeros", &["no aw-routeros runs"]);
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: connected");
    assert_eq!(export(&watching, &["core1"]).ok().stdout, "core1: unchanged\n");
    daemon.stop().ok();
}

/// The cause of a failure is printed at once; a refused login is not repeated.
#[test]
fn failures() {
    let (router, gone, closed) =
        (Router::start(Version::V7), Router::start(Version::V7), Router::start(Version::V7));
    closed.state().faults.refuse = true;
    let ring = Ring::new();
    let watching = Watching::new(&ring)
        .router("core1", &router, Version::V7)
        .option("interval = 100000\ntimeout = 5")
        .router("gone", &gone, Version::V7)
        .router("closed", &closed, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact: configuration stored");
    daemon.stderr.wait_for("gone: first contact: configuration stored");
    daemon.stderr.wait_for("closed: login refused");
    router.state().faults.odd = Some("#error exporting \"/ip\"".into());
    router.state().faults.hang = true;
    export(&watching, &["core1"]).refused("aw-routeros", &["core1: ", "/export"]);
    router.state().faults = Default::default();
    assert_eq!(export(&watching, &["core1"]).ok().stdout, "core1: unchanged\n");
    gone.shut_down();
    export(&watching, &["gone"]).refused("aw-routeros", &["gone: "]);
    gone.plug();
    // The request cuts the pause before the next connection short, or finds the connection that is there again.
    let again = export(&watching, &["gone"]);
    assert!(again.stdout == "gone: unchanged\n" || again.stderr.contains("gone: "), "{again:?}");
    export(&watching, &["closed"])
        .refused("aw-routeros", &["closed: ", "a refused login is not tried for an export"]);
    assert_eq!(closed.counts(), (0, 1), "the login was refused once");
    export(&watching, &["nowhere"]).refused("aw-routeros", &["no router of this name"]);
    let late = watching.entry("late", "192.0.2.77").option("user = \"x\"\nagent = true");
    export(&late, &["late"])
        .refused("aw-routeros", &["late: the running daemon does not follow it"]);
    daemon.stop().ok();
}

/// Even where the modes of files would let another user in, the daemon does not answer it.
#[test]
fn another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return skip("another user needs root");
    }
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact: configuration stored");
    let open = |path: std::path::PathBuf| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    };
    for path in [watching.file(""), watching.root(), watching.root().join(".control")] {
        open(path);
    }
    let copy = public_copy(&["aw-routeros"]);
    let mut command = std::process::Command::new(copy.path().join("aw-routeros"));
    let config = watching.command().get_args().nth(1).unwrap().to_owned();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    command.arg("-c").arg(config).args(["export", "core1"]).uid(65534).gid(65534);
    let exports = router.exports();
    run(command).refused("aw-routeros", &["the daemon closed the connection"]);
    assert_eq!(router.exports(), exports);
    daemon.stop().ok();
}

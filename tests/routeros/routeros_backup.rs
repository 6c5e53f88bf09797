//! Binary backups with `backup = true`: saved, fetched over SFTP, removed on the router, and stored encrypted; the program
//! `age` decrypts them. What they cause in the log is no change.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::server::installed;
use aw_tests::watching::Watching;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE: &str = "addrwatch-backup.backup";
const SAVE: &str = "/system backup save name=addrwatch-backup dont-encrypt=yes";
const REMOVE: &str = "/file remove addrwatch-backup.backup";
/// Of the age documentation.
const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// A router whose user may take backups, and a configuration that wants them.
fn with_backups(version: Version, key: &str, mail: u16, ring: &Ring) -> (Router, Watching) {
    let router = Router::start(version);
    (router.state().faults.may_write, router.state().faults.may_transfer) = (true, true);
    router.state().lines.push("/ppp secret add name=x password=geheim".into());
    let watching = Watching::new(ring)
        .mail(mail)
        .global(&format!("encrypt_to = [{key:?}]"))
        .router("core1", &router, version)
        .option("backup = true");
    (router, watching)
}

fn backups(watching: &Watching) -> Vec<PathBuf> {
    let entries = fs::read_dir(watching.archive("core1").join("backups"));
    let mut files: Vec<_> =
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".backup.age"));
    files.sort();
    files
}

fn count(router: &Router, command: &str) -> usize {
    router.state().commands.iter().filter(|known| *known == command).count()
}

/// Whether a file below the directory has this text in clear.
fn has_in_clear(directory: &Path, text: &str) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => has_in_clear(&path, text),
            false => fs::read(&path).unwrap().windows(text.len()).any(|it| it == text.as_bytes()),
        }
    })
}

fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn backups_are_encrypted_and_no_change() {
    if !installed(&["/usr/bin/age", "/usr/bin/age-keygen"], "age") {
        return;
    }
    for version in [Version::V7, Version::V6] {
        let (sink, ring, keys) = (MailSink::start(), Ring::new(), tempfile::tempdir().unwrap());
        let secret = keys.path().join("key");
        let mut command = Command::new("age-keygen");
        command.arg("-o").arg(&secret);
        let made = run(command).ok();
        let text = made.stderr + &made.stdout;
        let key = text.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
        let (router, watching) = with_backups(version, key, sink.port, &ring);
        let daemon = watching.start();
        wait_until("a backup", || backups(&watching).len() == 1);
        wait_until("it is removed", || count(&router, REMOVE) == 1);
        assert!(router.state().files.is_empty(), "{version:?}");
        // The next change is credited to its user alone: the lines about the backup are not among those about it.
        router.add("alice", "/ip dns set servers=192.0.2.53");
        daemon.stderr.wait_for("changed by alice (+1 -0)");
        // The same user, by hand, just after the backup: as any other.
        router.add("admin", "/ip dns set servers=192.0.2.54");
        daemon.stderr.wait_for("changed by admin (+1 -0)");
        let changes = lines_of(&watching.archive("core1").join("changes.jsonl"));
        assert!(changes.len() == 2 && !changes.iter().any(|line| line.contains("backup")));
        assert_eq!(router.exports(), 4, "two at the first contact, and one for each change");
        assert_eq!((count(&router, SAVE), count(&router, REMOVE)), (1, 1), "one in an hour");
        daemon.stop().ok();

        let mut command = Command::new("age");
        command.arg("-d").arg("-i").arg(&secret).arg("-o").arg(keys.path().join("clear"));
        run({
            command.arg(&backups(&watching)[0]);
            command
        })
        .ok();
        let clear = fs::read(keys.path().join("clear")).unwrap();
        let mut file = vec![0x88, 0xac, 0xa1, 0xb1];
        file.extend((0..200_000_u32).flat_map(u32::to_le_bytes));
        file.extend(router.state().lines[..6].join("\n").into_bytes());
        assert!(clear == file, "{} and {} bytes", clear.len(), file.len());
        if version == Version::V7 {
            assert!(!has_in_clear(&watching.root(), "geheim"), "{version:?}");
        }

        // An hour later, after a restart: the changes since are in the next one. What the first one left in the stored log
        // is no user's.
        let old = watching.archive("core1").join("backups/20200101T000000Z.backup.age");
        fs::rename(&backups(&watching)[0], &old).unwrap();
        let daemon = watching.start();
        wait_until("a second backup", || backups(&watching).len() == 2);
        router.add("bob", "/ip dns set servers=192.0.2.55");
        daemon.stderr.wait_for("changed by bob (+1 -0)");
        daemon.stop().ok();
        assert_eq!(lines_of(&watching.archive("core1").join("noted.jsonl")), [""; 0]);
        let changes = lines_of(&watching.archive("core1").join("changes.jsonl")).join("\n");
        assert!(!changes.contains("backup") && !changes.contains("UNKNOWN"), "{changes}");
        assert_eq!(sink.messages().iter().filter(|mail| mail.contains("no backup")).count(), 0);
    }
}

/// A line of this program's user that is not about its backup triggers an export and is noted, also while one runs.
#[test]
fn no_user_hides_behind_its_user() {
    let (sink, ring) = (MailSink::start(), Ring::new());
    let (router, watching) = with_backups(Version::V7, KEY, sink.port, &ring);
    let daemon = watching.start();
    wait_until("a backup", || backups(&watching).len() == 1);
    let by = "by ssh-cmd:admin@192.0.2.66/action:1";
    router.log("system,info", &format!("file removed {by} (/file remove addrwatch-backup.backup)"));
    router.log("system,info", &format!("user <x> changed {by} (/user set x group=full)"));
    let noted = watching.archive("core1").join("noted.jsonl");
    wait_until("both are noted", || {
        let text = lines_of(&noted).join("\n");
        text.contains("/user set x group=full")
            && text.contains("192.0.2.66/action:1 (/file remove")
    });
    daemon.stop().ok();
}

/// One mail names the policies that a user lacks, and `check` too. What was saved is removed.
#[test]
fn a_user_without_the_rights() {
    for (may_write, why, missing) in [
        (false, "the user may not save a backup", "write, policy, test, ftp missing"),
        (true, "the user may not fetch addrwatch-backup.backup", "ftp missing"),
    ] {
        let (sink, ring) = (MailSink::start(), Ring::new());
        let (router, watching) = with_backups(Version::V7, KEY, sink.port, &ring);
        (router.state().faults.may_write, router.state().faults.may_transfer) = (may_write, false);
        let daemon = watching.start();
        let names = "policies ssh,read,write,policy,sensitive,test,ftp;";
        daemon.stderr.wait_for(names);
        let mail = sink.wait_for(&["core1: no backup"]);
        assert!(mail.contains("=0A") || mail.contains(why) || mail.contains("may not"), "{mail}");
        router.add("alice", "/ip dns set servers=192.0.2.53");
        daemon.stderr.wait_for("changed by alice (+1 -0)");
        let log = lines_of(&watching.archive("core1").join("log.txt")).join("\n");
        assert!(log.contains(why) && log.matches("no backup").count() == 1, "{log}");
        assert_eq!(count(&router, REMOVE), usize::from(may_write), "only what was saved");
        assert!(router.state().files.is_empty() && backups(&watching).is_empty());
        daemon.stop().ok();
        let mut command = watching.command();
        command.arg("check");
        let found = run(command);
        assert_eq!(found.status.code(), Some(1), "{found:#?}");
        assert!(found.stdout.contains(missing), "{found:#?}");
        assert!(found.stderr.contains("core1: no backup: the user may not "), "{found:#?}");
    }
}

/// The connection breaks in the middle, or a kill ends the daemon: the file is removed at the next connection, and not fetched
/// again before an hour is over.
#[test]
fn what_was_left_is_removed() {
    let (sink, ring) = (MailSink::start(), Ring::new());
    let (router, watching) = with_backups(Version::V7, KEY, sink.port, &ring);
    router.state().faults.cut_transfer = true;
    let daemon = watching.start();
    daemon.stderr.wait_for("no backup: the connection ended during the backup");
    wait_until("it is removed", || count(&router, REMOVE) == 1);
    wait_until("it is gone", || router.state().files.is_empty());
    assert_eq!(count(&router, SAVE), 1);
    let mails = sink.messages();
    assert!(!mails.iter().any(|mail| mail.contains("backup")), "mended by itself: {mails:?}");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice");
    daemon.kill();
    // A restart tries again: here after a kill in the middle, which the state in the archive shows.
    router.state().files.insert(FILE.into(), b"left".to_vec());
    let state = watching.archive("core1").join("state.json");
    let text = fs::read_to_string(&state).unwrap();
    assert!(
        text.contains("\"backup_left\": false") || text.contains("\"backup_left\":false"),
        "{text}"
    );
    let daemon = watching.start();
    wait_until("a backup", || backups(&watching).len() == 1);
    wait_until("it is removed", || router.state().files.is_empty());
    daemon.stop().ok();
    let text = fs::read_to_string(&state)
        .unwrap()
        .replace("\"backup_left\": false", "\"backup_left\": true");
    fs::write(&state, text.replace("\"backup_left\":false", "\"backup_left\":true")).unwrap();
    router.state().files.insert(FILE.into(), b"left".to_vec());
    let daemon = watching.start();
    wait_until("it is removed", || router.state().files.is_empty());
    assert_eq!((count(&router, SAVE), backups(&watching).len()), (2, 1));
    daemon.stop().ok();
}

/// A file that does not arrive as a whole is not stored; one that stays on the router is reported, because it has all secrets.
#[test]
fn faults_of_files() {
    let (sink, ring) = (MailSink::start(), Ring::new());
    let (router, watching) = with_backups(Version::V7, KEY, sink.port, &ring);
    (router.state().faults.lost, router.state().faults.keep_files) = (7, true);
    let daemon = watching.start();
    daemon
        .stderr
        .wait_for("no backup: fetch addrwatch-backup.backup: SFTP: the file is incomplete");
    daemon.stderr.wait_for("the router still has addrwatch-backup.backup, which is not encrypted");
    sink.wait_for(&["core1: backup not removed"]);
    assert!(backups(&watching).is_empty());
    daemon.stop().ok();
}

/// A router that runs one command in each connection.
#[test]
fn one_channel_in_a_connection() {
    let (sink, ring) = (MailSink::start(), Ring::new());
    let (router, watching) = with_backups(Version::V7, KEY, sink.port, &ring);
    router.state().faults.channels = Some(1);
    let daemon = watching.start();
    wait_until("a backup", || backups(&watching).len() == 1);
    wait_until("it is removed", || router.state().files.is_empty());
    daemon.stop().ok();
}

#[test]
fn not_without_encryption_and_off_by_default() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    (router.state().faults.may_write, router.state().faults.may_transfer) = (true, true);
    let mut watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    daemon.stop().ok();
    assert!(count(&router, SAVE) == 0 && !watching.archive("core1").join("backups").exists());
    watching.replace("settle = 1", "settle = 1\n[defaults]\nbackup = true");
    run(watching.command()).refused(
        "aw-routeros",
        &["router core1: backup: a backup has all secrets and is stored encrypted only (set encrypt_to)"],
    );
}

use std::{
    io::Write,
    os::unix::fs::{PermissionsExt, chown, symlink},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use rustix::fs::{CWD, mkfifoat};

use super::{FileKind::*, *};

/// What a reader gets, within a minute: a pipe must not block it.
fn text(path: &Path, kind: FileKind) -> Result<String, String> {
    let (path, (to, result)) = (path.to_owned(), channel());
    thread::spawn(move || to.send(read_file_text(&path, kind, 4096)));
    let read = result.recv_timeout(Duration::from_secs(60)).expect("it hangs");
    read.map_err(|error| crate::cause(&error))
}

#[test]
fn only_regular_files_of_a_bounded_size() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "text").unwrap();
    fs::write(at("most"), [b'x'; 4096]).unwrap();
    fs::write(at("large"), [b'x'; 4097]).unwrap();
    fs::write(at("binary"), [0xff]).unwrap();
    File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
    mkfifoat(CWD, at("pipe"), Mode::RWXU).unwrap();
    symlink("file", at("link")).unwrap();
    symlink("link", at("link-of-link")).unwrap();
    symlink("/dev/zero", at("zero")).unwrap();
    symlink("pipe", at("link-of-pipe")).unwrap();
    symlink("loop", at("loop")).unwrap();
    for kind in [Settings, State] {
        let text = |name: &str| text(&at(name), kind);
        assert_eq!(text("file").as_deref(), Ok("text"));
        assert_eq!(text("most").map(|text| text.len()), Ok(4096));
        for (name, why) in [
            ("large", "it is larger than 4 KiB"),
            ("sparse", "it is larger than 4 KiB"),
            ("binary", "not a text in UTF-8"),
            ("pipe", "it is a pipe"),
            ("missing", "no such file"),
            (".", "directory"),
        ] {
            assert!(text(name).unwrap_err().contains(why), "{name}: {:?}", text(name));
        }
    }
    for (name, of_settings) in [
        ("link", Ok("text")),
        ("link-of-link", Ok("text")),
        ("zero", Err("it is a device")),
        ("link-of-pipe", Err("it is a pipe")),
        ("loop", Err("too many levels")),
    ] {
        let why = text(&at(name), State).unwrap_err();
        assert!(why.contains("links are not followed"), "{why}");
        match (text(&at(name), Settings), of_settings) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(why)) => assert!(found.contains(why), "{name}: {found}"),
            (found, _) => panic!("{name}: {found:?}"),
        }
    }
    assert_eq!(text(Path::new("/dev/null"), Settings).as_deref(), Ok(""));
    assert!(text(Path::new("/dev/null"), State).is_err());
    fs::set_permissions(at("file"), fs::Permissions::from_mode(0o646)).unwrap();
    assert!(text(&at("file"), Settings).unwrap_err().contains("chmod o-w"));
    assert_eq!(text(&at("file"), State).as_deref(), Ok("text"));
}

#[test]
fn pipes_of_the_parent_and_named_captures() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    mkfifoat(CWD, &pipe, Mode::RWXU).unwrap();
    let writer = {
        let pipe = pipe.clone();
        thread::spawn(move || fs::write(pipe, "frames"))
    };
    assert_eq!(text(&pipe, Capture).as_deref(), Ok("frames"));
    writer.join().unwrap().unwrap();

    use std::os::fd::AsRawFd;
    let (from, mut to) = io::pipe().unwrap();
    to.write_all(b"settings").unwrap();
    let inherited = PathBuf::from(format!("/dev/fd/{}", from.as_raw_fd()));
    let late = thread::spawn(move || {
        thread::yield_now();
        to.write_all(b" in two parts")
    });
    assert_eq!(text(&inherited, Settings).as_deref(), Ok("settings in two parts"));
    late.join().unwrap().unwrap();
}

/// In a directory that all users can write to, names of other users are refused: files, directories and links.
#[test]
fn names_of_other_users() {
    if !geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("theirs")).unwrap();
    for name in ["ours", "of-nobody", "theirs/file"] {
        fs::write(at(name), "text").unwrap();
    }
    symlink("ours", at("link")).unwrap();
    symlink("theirs/file", at("our-link")).unwrap();
    for name in ["of-nobody", "theirs", "theirs/file"] {
        chown(at(name), Some(65534), None).unwrap();
    }
    std::os::unix::fs::lchown(at("link"), Some(65534), None).unwrap();
    let mode = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode));
    for (shared, good) in [(0o755, true), (0o1777, false), (0o777, false)] {
        mode(shared).unwrap();
        for (name, kind) in [
            ("of-nobody", Settings),
            ("of-nobody", State),
            ("link", Settings),
            ("link", Capture),
            ("theirs/file", Settings),
            ("our-link", Settings),
        ] {
            match text(&at(name), kind) {
                Ok(found) => assert!(good && found == "text", "{name} {shared:o}"),
                Err(why) => assert!(!good && why.contains("user id 65534"), "{name}: {why}"),
            }
        }
        assert_eq!(text(&at("ours"), Settings).as_deref(), Ok("text"), "{shared:o}");
        assert_eq!(text(&at("of-nobody"), Capture).as_deref(), Ok("text"), "{shared:o}");
        assert_eq!(text(&at("theirs/../ours"), Settings).is_ok(), good);
        assert_eq!(open_append(&at("link"), 0o600).is_ok(), good, "{shared:o}");
    }
}

#[test]
fn what_exists_is_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "old").unwrap();
    open_existing(&at("file")).unwrap().write_all(b"new").unwrap();
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "new");
    symlink("file", at("link")).unwrap();
    mkfifoat(CWD, at("pipe"), Mode::RWXU).unwrap();
    let _reader = open(at("pipe"), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
    for (name, why) in [
        ("link", "it is a link"),
        ("none", "No such file"),
        ("pipe", "it is a pipe, not a regular file"),
        ("/dev/null", "it is a device"),
    ] {
        let error = open_existing(&at(name)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(!at("none").exists());
    if geteuid().is_root() {
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
        chown(at("file"), Some(65534), None).unwrap();
        let error = open_existing(&at("file")).unwrap_err().to_string();
        assert!(error.contains("belongs to user id 65534"), "{error}");
    }
}

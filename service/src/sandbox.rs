//! Restricts files (Landlock) and system calls (seccomp), where the kernel supports them. Both apply to
//! the calling thread and the threads that it starts later.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use crate::{Error, failed, system_calls::SystemCalls};

/// Access to a path and everything beneath it, or to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read files and list directories.
    Read(PathBuf),
    /// Create, read, write, rename and remove files.
    Write(PathBuf),
    /// Remove files.
    Remove(PathBuf),
    /// Create, read, write, rename and remove files, but not truncate them: rings.
    Create(PathBuf),
    /// The same as `Write`, and create and remove directories.
    Tree(PathBuf),
    /// Open TCP connections to this port of any host (since Linux 6.7; older kernels allow any port).
    Connect(u16),
    /// Choose the source address of a TCP connection: bind a socket to port 0, whose port the kernel chooses.
    BindAny,
}

impl Access {
    /// The files that the C library reads to resolve a host name. It queries servers through sockets of
    /// AF_INET and AF_INET6, over TCP only if an answer is too long.
    pub fn host_names() -> Vec<Access> {
        let files = ["hosts", "resolv.conf", "nsswitch.conf", "host.conf", "gai.conf"]
            .map(|name| format!("/etc/{name}"));
        let managed =
            ["/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf"].map(String::from);
        let read = files.into_iter().chain(managed).map(|path| Access::Read(path.into()));
        read.chain([Access::Connect(53)]).collect()
    }
}

/// Denies all files and TCP ports except these. A path that does not exist is ignored. Returns false
/// if the kernel does not support Landlock.
pub(crate) fn restrict_files(rules: &[Access]) -> Result<bool, Error> {
    let status = landlock(rules).map_err(|error| match root_cause(&error) {
        Some(cause) => Error::new("restrict files", cause),
        None => Error::new("restrict files", error),
    })?;
    if status == RulesetStatus::NotEnforced {
        return Ok(false);
    }
    // The directory of a file that an option names.
    let allows_all = |rule: &Access| match rule {
        Access::Read(path) | Access::Write(path) | Access::Create(path) | Access::Tree(path) => {
            path.as_path() == Path::new("/")
        }
        Access::Remove(_) | Access::Connect(_) | Access::BindAny => false,
    };
    if rules.iter().any(allows_all) {
        return Err(failed(
            "restrict files: a file that is needed later is in /, whose access would include all files (move the file into a directory)",
        ));
    }
    // Verify: no rule allows the root directory.
    match fs::read_dir("/") {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(true),
        _ => Err(failed("restrict files: it has no effect (please report this bug)")),
    }
}

/// The error of the kernel, in the words of other messages.
fn root_cause(mut error: &(dyn std::error::Error + 'static)) -> Option<String> {
    while let Some(source) = error.source() {
        error = source;
    }
    error.downcast_ref().map(crate::cause)
}

fn landlock(rules: &[Access]) -> Result<RulesetStatus, landlock::RulesetError> {
    const KNOWN: ABI = ABI::V6;
    // Neither signals nor abstract sockets of processes outside, since Linux 6.12. A supervisor may have its socket
    // for notifications there.
    let abstract_sockets = match std::env::var_os("NOTIFY_SOCKET") {
        Some(name) if name.as_encoded_bytes().starts_with(b"@") => BitFlags::empty(),
        _ => BitFlags::from(Scope::AbstractUnixSocket),
    };
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let write: BitFlags<AccessFs> =
        read | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(BitFlags::from(Scope::Signal) | abstract_sockets)?
        .create()?;
    for rule in rules {
        let (path, access) = match rule {
            Access::Read(path) => (path, read),
            Access::Write(path) => (path, write),
            Access::Create(path) => (path, write & !BitFlags::from(AccessFs::Truncate)),
            Access::Remove(path) => (path, AccessFs::RemoveFile.into()),
            Access::Tree(path) => (path, write | AccessFs::MakeDir | AccessFs::RemoveDir),
            Access::BindAny => {
                ruleset = ruleset.add_rule(NetPort::new(0, AccessNet::BindTcp))?;
                continue;
            }
            Access::Connect(port) => {
                ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
                continue;
            }
        };
        ruleset = ruleset.add_rules(path_beneath_rules([path], access))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

/// Denies all system calls except these. Returns false if the kernel does not support seccomp, or
/// seccompiler does not support the processor.
///
/// A denied call fails like one that the kernel does not implement (ENOSYS) and does not end the
/// process: the C library then uses an older call instead, so that an update of the C library does
/// not break a running program.
pub(crate) fn restrict_calls(calls: SystemCalls) -> Result<bool, Error> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(false) };
    let failure = |error| Error::new("restrict system calls", error);
    let refuse = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter = SeccompFilter::new(calls.rules(), refuse, SeccompAction::Allow, arch)
        .map_err(|error| failure(error.to_string()))?;
    let program = BpfProgram::try_from(filter).map_err(|error| failure(error.to_string()))?;
    match apply_filter(&program) {
        Ok(()) => {}
        Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error))
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(failure(error.to_string())),
    }
    // Verify with a call that is never allowed.
    match rustix::process::getpriority_process(None) {
        Err(Errno::NOSYS) => Ok(true),
        _ => Err(failed("restrict system calls: it has no effect (please report this bug)")),
    }
}

/// The files of the machine's time zone.
pub(crate) fn time_zone() -> Vec<Access> {
    let paths = ["/etc/localtime", "/usr/share/zoneinfo"];
    paths.iter().map(Path::new).map(|path| Access::Read(path.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use landlock::{CompatLevel, Compatible};
    use std::{
        net::{TcpListener, TcpStream},
        process::Command,
        thread,
    };

    /// Runs in a separate thread, because restrictions cannot be removed.
    fn restricted<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        thread::spawn(test).join().unwrap()
    }

    #[test]
    fn only_listed_paths_are_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().to_owned();
        let (read, write) = (inside.join("read"), inside.join("write"));
        for path in [&read, &write] {
            fs::create_dir(path).unwrap();
        }
        fs::write(read.join("old"), "text").unwrap();
        let listeners = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let [here, there] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        restricted(move || {
            let rules = [
                Access::Read(read.clone()),
                Access::Write(write.clone()),
                Access::Read("/nowhere".into()),
                Access::Connect(here.port()),
            ];
            if !restrict_files(&rules).unwrap() {
                return; // this kernel has no Landlock
            }
            let denied = |result: std::io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
            };
            assert_eq!(fs::read_to_string(read.join("old")).unwrap(), "text");
            denied(fs::write(read.join("old"), ""));
            denied(fs::write(read.join("new"), ""));
            fs::write(write.join("new"), "text").unwrap();
            fs::rename(write.join("new"), write.join("newer")).unwrap();
            fs::remove_file(write.join("newer")).unwrap();
            denied(fs::read("/etc/passwd").map(drop));
            denied(fs::write(inside.join("beside"), ""));
            denied(TcpStream::connect(there).map(drop));
            TcpStream::connect(here).unwrap();
            denied(Command::new("/bin/true").status().map(drop));
        });
    }

    /// With a file in `/`, a program would be confined to all files.
    #[test]
    fn the_root_directory_is_refused() {
        let root = || PathBuf::from("/");
        for rule in [Access::Read(root()), Access::Write(root()), Access::Tree(root())] {
            restricted(move || match restrict_files(&[rule]) {
                Ok(is_supported) => assert!(!is_supported), // this kernel has no Landlock
                Err(error) => {
                    let why = error.to_string();
                    assert!(why.ends_with("(move the file into a directory)"), "{why}");
                }
            });
        }
        // A file there is allowed by itself.
        restricted(|| {
            restrict_files(&[Access::Read("/nowhere.db".into())]).unwrap();
        });
    }

    #[test]
    fn trees_and_ports() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        restricted(move || {
            let rules = [Access::Tree(tree.clone()), Access::Connect(port)];
            if !restrict_files(&rules).unwrap() {
                return; // this kernel has no Landlock
            }
            fs::create_dir(tree.join("new")).unwrap();
            fs::write(tree.join("new/file"), "text").unwrap();
            fs::remove_dir_all(tree.join("new")).unwrap();
            let denied = fs::create_dir(directory.path().join("beside")).unwrap_err();
            assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
            std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let denied = std::net::TcpStream::connect(("127.0.0.1", 9)).unwrap_err();
            assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
        });
    }

    #[test]
    fn only_listed_calls_are_allowed() {
        restricted(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let mut calls = SystemCalls::basic();
            calls.allow_sockets(libc::AF_UNIX);
            if !restrict_calls(calls).unwrap() {
                return; // this kernel has no seccomp
            }
            use rustix::net::{AddressFamily, SocketType, socket};
            assert!(Command::new("/bin/true").status().is_err());
            assert!(socket(AddressFamily::UNIX, SocketType::DGRAM, None).is_ok());
            assert_eq!(
                socket(AddressFamily::INET, SocketType::STREAM, None).err(),
                Some(Errno::NOSYS)
            );
            assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
            assert_eq!(fs::read_to_string("/proc/self/comm").unwrap().lines().count(), 1);
        });
    }

    /// A process outside that listens on an abstract socket, such as D-Bus or containerd, is not reached.
    #[test]
    fn abstract_sockets_of_others_are_out_of_reach() {
        use std::os::{
            linux::net::SocketAddrExt,
            unix::net::{SocketAddr, UnixListener, UnixStream},
        };
        let name = format!("aw-sandbox-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        UnixStream::connect_addr(&address).unwrap();
        restricted(move || {
            let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
            if required.scope(Scope::AbstractUnixSocket).is_err() || !restrict_files(&[]).unwrap() {
                return; // before Linux 6.12
            }
            let denied = UnixStream::connect_addr(&address).unwrap_err();
            assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
        });
    }

    /// A ring's writer truncates no file, on any kernel that has seccomp; and makes no hole in one.
    #[test]
    fn a_ring_is_not_truncated_by_its_writer() {
        use rustix::fs::{FallocateFlags, fallocate, ftruncate};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ring");
        restricted(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let mut calls = SystemCalls::without_truncation();
            calls.allow_ring_writer();
            calls.allow_files(); // as with --snap-malformed
            if !restrict_calls(calls).unwrap() {
                return; // this kernel has no seccomp
            }
            let file = fs::File::create_new(&path).unwrap();
            fallocate(&file, FallocateFlags::empty(), 0, 8192).unwrap();
            assert_eq!(ftruncate(&file, 0), Err(Errno::NOSYS));
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            assert_eq!(fallocate(&file, hole, 0, 4096), Err(Errno::NOSYS));
            assert!(fs::File::create(&path).is_err());
            fs::OpenOptions::new().append(true).open(&path).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 8192);
            fs::remove_file(&path).unwrap();
        });
    }

    /// Rings are created and removed, and never truncated.
    #[test]
    fn what_may_be_created_may_not_be_truncated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ring");
        restricted(move || {
            let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
            if required.handle_access(AccessFs::Truncate).is_err()
                || !restrict_files(&[Access::Create(directory.path().into())]).unwrap()
            {
                return; // before Linux 6.2
            }
            let mut file = fs::File::create_new(&path).unwrap();
            std::io::Write::write_all(&mut file, b"events").unwrap();
            for denied in [file.set_len(0), fs::File::create(&path).map(drop)] {
                assert_eq!(denied.unwrap_err().kind(), ErrorKind::PermissionDenied);
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), "events");
            fs::rename(&path, directory.path().join("new")).unwrap();
            fs::remove_file(directory.path().join("new")).unwrap();
        });
    }
}

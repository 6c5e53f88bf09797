//! What the process may still ask of the kernel: files (Landlock) and system calls (seccomp), where
//! the kernel has them. Both hold for this thread and those that it makes later.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use libc::c_long;
use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::{Error, failed};

/// What may be done with what lies at a path, and beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Files are read and directories listed.
    Read(PathBuf),
    /// Files are made, read, written, renamed and removed.
    Write(PathBuf),
    /// Files are removed.
    Remove(PathBuf),
    /// As `Write`, and directories are made and removed.
    Tree(PathBuf),
    /// TCP connections are made to this port, wherever (Linux 6.7; before, to any port).
    Connect(u16),
}

impl Access {
    /// What the C library reads to find a host by its name; it asks servers through sockets of
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

/// Takes away all files but these, and all TCP but to these ports. A path that does not exist is
/// left out. Tells whether the kernel has Landlock.
pub(crate) fn restrict_files(rules: &[Access]) -> Result<bool, Error> {
    let status = landlock(rules).map_err(|error| Error::new("restrict files", error))?;
    if status == RulesetStatus::NotEnforced {
        return Ok(false);
    }
    // Ask the kernel: nobody is given the root directory.
    match fs::read_dir("/") {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(true),
        _ => Err(failed("restrict files: the kernel still lets all be read (not going on)")),
    }
}

fn landlock(rules: &[Access]) -> Result<RulesetStatus, landlock::RulesetError> {
    const KNOWN: ABI = ABI::V6;
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let write: BitFlags<AccessFs> =
        read | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::Signal)?
        .create()?;
    for rule in rules {
        let (path, access) = match rule {
            Access::Read(path) => (path, read),
            Access::Write(path) => (path, write),
            Access::Remove(path) => (path, AccessFs::RemoveFile.into()),
            Access::Tree(path) => (path, write | AccessFs::MakeDir | AccessFs::RemoveDir),
            Access::Connect(port) => {
                ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
                continue;
            }
        };
        ruleset = ruleset.add_rules(path_beneath_rules([path], access))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

/// System calls.
#[derive(Clone, Debug, Default)]
pub struct SystemCalls {
    allowed: BTreeMap<c_long, Vec<SeccompRule>>,
}

impl SystemCalls {
    /// What every program here needs: memory, threads, time, files that Landlock allows, its log.
    pub fn basic() -> SystemCalls {
        let mut calls = SystemCalls::default();
        calls.allow(BASIC);
        #[cfg(target_arch = "x86_64")]
        calls.allow(BASIC_X86_64);
        // Threads, but no processes; memory, but none that can be executed.
        calls.allow_if(libc::SYS_clone, 0, with(libc::CLONE_THREAD));
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            calls.allow_if(call, 2, without(libc::PROT_EXEC));
        }
        // What a terminal is told as if it had been typed there.
        calls.allow_unless(libc::SYS_ioctl, 1, &[libc::TIOCSTI as _, libc::TIOCLINUX as _]);
        calls.allow_sockets(libc::AF_UNIX);
        calls
    }

    /// Sockets of this address family, too.
    pub fn allow_sockets(&mut self, family: i32) {
        self.allow(SOCKETS);
        self.allow_if(libc::SYS_socket, 0, (SeccompCmpOp::Eq, family as u64));
    }

    /// What an event loop waits with (epoll, eventfd), and the making of directories.
    pub fn allow_event_loop(&mut self) {
        self.allow(EVENT_LOOP);
        #[cfg(target_arch = "x86_64")]
        self.allow(&[libc::SYS_epoll_wait, libc::SYS_mkdir, libc::SYS_rmdir]);
    }

    fn allow(&mut self, calls: &[c_long]) {
        for call in calls {
            self.allowed.insert(*call, Vec::new());
        }
    }

    fn allow_unless(&mut self, call: c_long, argument: u8, values: &[u64]) {
        let other = |value: &u64| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *value)
        };
        let conditions: Result<Vec<_>, _> = values.iter().map(other).collect();
        if let Ok(rule) = conditions.and_then(SeccompRule::new) {
            self.allowed.entry(call).or_default().push(rule);
        }
    }

    fn allow_if(&mut self, call: c_long, argument: u8, (op, value): (SeccompCmpOp, u64)) {
        // Refused are only more than six arguments and empty rules.
        let rule = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
            .and_then(|condition| SeccompRule::new(vec![condition]));
        if let Ok(rule) = rule {
            self.allowed.entry(call).or_default().push(rule);
        }
    }
}

fn with(flag: i32) -> (SeccompCmpOp, u64) {
    (SeccompCmpOp::MaskedEq(flag as u64), flag as u64)
}

fn without(flag: i32) -> (SeccompCmpOp, u64) {
    (SeccompCmpOp::MaskedEq(flag as u64), 0)
}

/// Takes away all system calls but these. Tells whether the kernel has seccomp, and the processor
/// is one that the filter knows.
///
/// A call that is not allowed fails as one that the kernel does not have (ENOSYS), and does not end
/// the process: the C library then takes an older call instead, so that its next release does not
/// end a program that has run for years.
pub(crate) fn restrict_calls(calls: SystemCalls) -> Result<bool, Error> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(false) };
    let failure = |error| Error::new("restrict system calls", error);
    let refuse = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter = SeccompFilter::new(calls.allowed, refuse, SeccompAction::Allow, arch)
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
    // Ask the kernel, with a call that nobody is given.
    match rustix::process::getpriority_process(None) {
        Err(Errno::NOSYS) => Ok(true),
        _ => Err(failed("restrict system calls: the kernel still takes all (not going on)")),
    }
}

const BASIC: &[c_long] = &[
    // Memory and threads.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_membarrier,
    // Time, identity, chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_getrandom,
    // Signals; tgkill is abort's.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_tgkill,
    // Files, as far as Landlock lets.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_pselect6,
    libc::SYS_getcwd,
    libc::SYS_chdir,
];

/// SystemCalls that younger processors never had.
#[cfg(target_arch = "x86_64")]
const BASIC_X86_64: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_select,
    libc::SYS_dup2,
    libc::SYS_time,
];

const EVENT_LOOP: &[c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_mkdirat,
];

const SOCKETS: &[c_long] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_accept4, // of a socket that listened before; nobody is given listen
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg, // the C library asks for IPv4 and IPv6 addresses at once
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
];

/// What programs read that tell times in the machine's zone.
pub(crate) fn time_zone() -> Vec<Access> {
    let paths = ["/etc/localtime", "/usr/share/zoneinfo"];
    paths.iter().map(Path::new).map(|path| Access::Read(path.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::{TcpListener, TcpStream},
        process::Command,
        thread,
    };

    /// In a thread of its own, for there is no way back.
    fn restricted<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        thread::spawn(test).join().unwrap()
    }

    #[test]
    fn files_beneath_the_paths_and_no_others() {
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
    fn calls_that_are_listed_and_no_others() {
        restricted(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            if !restrict_calls(SystemCalls::basic()).unwrap() {
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
}

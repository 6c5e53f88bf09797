//! Restricts files (Landlock) and system calls (seccomp), where the kernel supports them. Both apply to
//! the calling thread and the threads that it starts later.

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

/// Access to a path and everything beneath it, or to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read files and list directories.
    Read(PathBuf),
    /// Create, read, write, rename and remove files.
    Write(PathBuf),
    /// Remove files.
    Remove(PathBuf),
    /// The same as `Write`, and create and remove directories.
    Tree(PathBuf),
    /// Open TCP connections to this port of any host (since Linux 6.7; older kernels allow any port).
    Connect(u16),
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
    let status = landlock(rules).map_err(|error| Error::new("restrict files", error))?;
    if status == RulesetStatus::NotEnforced {
        return Ok(false);
    }
    // Verify: no rule allows the root directory.
    match fs::read_dir("/") {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(true),
        _ => Err(failed("restrict files: it has no effect (please report this bug)")),
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

/// The system calls that are allowed.
#[derive(Clone, Debug, Default)]
pub struct SystemCalls {
    allowed: BTreeMap<c_long, Vec<SeccompRule>>,
}

impl SystemCalls {
    /// The calls that every program needs: memory, threads, time, files that Landlock allows, its log.
    pub fn basic() -> SystemCalls {
        let mut calls = SystemCalls::default();
        calls.allow(BASIC);
        #[cfg(target_arch = "x86_64")]
        calls.allow(BASIC_X86_64);
        // Threads but not processes; memory but not executable memory.
        calls.allow_if(libc::SYS_clone, 0, with(libc::CLONE_THREAD));
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            calls.allow_if(call, 2, without(libc::PROT_EXEC));
        }
        // These insert input into a terminal as if the user had typed it.
        calls.allow_unless(libc::SYS_ioctl, 1, &[libc::TIOCSTI as _, libc::TIOCLINUX as _]);
        calls.allow_sockets(libc::AF_UNIX);
        calls
    }

    /// Allows sockets of this address family.
    pub fn allow_sockets(&mut self, family: i32) {
        self.allow(SOCKETS);
        self.allow_if(libc::SYS_socket, 0, (SeccompCmpOp::Eq, family as u64));
    }

    /// Allows the calls of an event loop (epoll, eventfd), and creating directories.
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
        // It fails only for more than six arguments and for empty rules.
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
    // Verify with a call that is never allowed.
    match rustix::process::getpriority_process(None) {
        Err(Errno::NOSYS) => Ok(true),
        _ => Err(failed("restrict system calls: it has no effect (please report this bug)")),
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
    // Time, identity, random numbers.
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
    // Signals; abort uses tgkill.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_tgkill,
    // Files, as far as Landlock allows.
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

/// Older system calls, which newer architectures do not have.
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
    libc::SYS_accept4, // of a socket that was opened before; listen is never allowed
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg, // the C library queries IPv4 and IPv6 addresses at once
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
];

/// The files of the machine's time zone.
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

//! The system calls of each program: a basic set, and groups for those that need more.

use std::{collections::BTreeMap, os::fd::RawFd};

use libc::c_long;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// The system calls that are allowed.
#[derive(Clone, Debug, Default)]
pub struct SystemCalls {
    allowed: BTreeMap<c_long, Vec<SeccompRule>>,
    /// No group adds calls that truncate files.
    keeps_lengths: bool,
}

impl SystemCalls {
    /// The calls that every program needs: memory, threads, time, reading files that Landlock allows, writing to what is
    /// open.
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
        // This makes a hole in a file that is mapped.
        calls.allow_unless(libc::SYS_madvise, 2, &[libc::MADV_REMOVE as _]);
        calls
    }

    /// The same for a program that truncates no file, for the sake of its ring: Landlock can refuse that only since
    /// Linux 6.2.
    pub fn without_truncation() -> SystemCalls {
        let mut calls = SystemCalls { keeps_lengths: true, ..SystemCalls::basic() };
        let mut restrict = |call, flags| {
            calls.allowed.remove(&call);
            calls.allow_if(call, flags, without(libc::O_TRUNC));
        };
        restrict(libc::SYS_openat, 2);
        #[cfg(target_arch = "x86_64")]
        restrict(libc::SYS_open, 1);
        calls
    }

    /// Allows what a file needs that is created, changed, renamed or removed, also by SQLite.
    pub fn allow_files(&mut self) {
        self.allow(FILES);
        #[cfg(target_arch = "x86_64")]
        self.allow(&[libc::SYS_unlink, libc::SYS_rename]);
        if !self.keeps_lengths {
            self.allow(&[libc::SYS_ftruncate, libc::SYS_fallocate]);
        }
    }

    /// Allows replacing a file of another user, whose owner and access list are to stay.
    pub fn allow_replacing(&mut self) {
        self.allow_files();
        self.allow(&[libc::SYS_fchown, libc::SYS_fgetxattr]);
    }

    /// Allows removing a file.
    pub(crate) fn allow_removing(&mut self) {
        self.allow(&[libc::SYS_unlinkat]);
        #[cfg(target_arch = "x86_64")]
        self.allow(&[libc::SYS_unlink]);
    }

    /// Allows emptying this open file.
    pub(crate) fn allow_emptying(&mut self, file: RawFd) {
        self.allow_if(libc::SYS_ftruncate, 0, (SeccompCmpOp::Eq, file as u64));
    }

    /// Allows what the writer of a ring needs, which neither truncates files nor makes holes in them.
    pub fn allow_ring_writer(&mut self) {
        self.allow(RING_WRITER);
        #[cfg(target_arch = "x86_64")]
        self.allow(&[libc::SYS_unlink, libc::SYS_rename]);
        for mode in [0, libc::FALLOC_FL_KEEP_SIZE] {
            self.allow_if(libc::SYS_fallocate, 1, (SeccompCmpOp::Eq, mode as u64));
        }
    }

    /// Allows sockets of this address family.
    pub fn allow_sockets(&mut self, family: i32) {
        self.allow(SOCKETS);
        self.allow_if(libc::SYS_socket, 0, (SeccompCmpOp::Eq, family as u64));
    }

    /// Allows serving a socket that listens already, and receiving from one that is bound; listen is never allowed.
    pub fn allow_serving(&mut self) {
        self.allow(SERVING);
    }

    /// Allows the messages of a program to the syslog daemon and to systemd.
    pub(crate) fn allow_local_messages(&mut self) {
        self.allow(&[libc::SYS_connect, libc::SYS_sendto, libc::SYS_sendmsg]);
        self.allow_if(libc::SYS_socket, 0, (SeccompCmpOp::Eq, libc::AF_UNIX as u64));
    }

    /// Allows leaving the terminal.
    pub(crate) fn allow_leaving_the_terminal(&mut self) {
        self.allow(&[libc::SYS_chdir, libc::SYS_dup3]);
        #[cfg(target_arch = "x86_64")]
        self.allow(&[libc::SYS_dup2]);
    }

    /// Allows what libpcap needs to open an interface, beside sockets: since 1.10.5 an eventfd.
    pub fn allow_captures(&mut self) {
        self.allow(&[libc::SYS_eventfd2]);
    }

    /// Allows waiting for changes of files.
    pub fn allow_watching(&mut self) {
        self.allow(&[libc::SYS_inotify_init1, libc::SYS_inotify_add_watch]);
    }

    /// Allows waiting with epoll.
    pub fn allow_epoll(&mut self) {
        self.allow(&[libc::SYS_epoll_ctl, libc::SYS_epoll_pwait]);
        #[cfg(target_arch = "x86_64")]
        self.allow(&[libc::SYS_epoll_wait]);
    }

    /// Allows the calls of an event loop (epoll, eventfd), and creating directories.
    pub fn allow_event_loop(&mut self) {
        self.allow_epoll();
        self.allow(EVENT_LOOP);
        #[cfg(target_arch = "x86_64")]
        self.allow(&[libc::SYS_mkdir, libc::SYS_rmdir]);
    }

    /// Their number.
    pub fn count(&self) -> usize {
        self.allowed.len()
    }

    /// For seccompiler: the rules of each call, of which one must hold.
    pub(crate) fn rules(self) -> BTreeMap<c_long, Vec<SeccompRule>> {
        self.allowed
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
            self.allow_rule(call, rule);
        }
    }

    fn allow_if(&mut self, call: c_long, argument: u8, (op, value): (SeccompCmpOp, u64)) {
        // It fails only for more than six arguments and for empty rules.
        let rule = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
            .and_then(|condition| SeccompRule::new(vec![condition]));
        if let Ok(rule) = rule {
            self.allow_rule(call, rule);
        }
    }

    /// No rules mean that the call is allowed with any arguments: another group has done that.
    fn allow_rule(&mut self, call: c_long, rule: SeccompRule) {
        match self.allowed.get_mut(&call) {
            Some(rules) if rules.is_empty() => {}
            Some(rules) => rules.push(rule),
            None => drop(self.allowed.insert(call, vec![rule])),
        }
    }
}

fn with(flag: i32) -> (SeccompCmpOp, u64) {
    (SeccompCmpOp::MaskedEq(flag as u64), flag as u64)
}

fn without(flag: i32) -> (SeccompCmpOp, u64) {
    (SeccompCmpOp::MaskedEq(flag as u64), 0)
}

const BASIC: &[c_long] = &[
    // Memory and threads.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
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
    libc::SYS_fdatasync,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fcntl,
    libc::SYS_getcwd,
    libc::SYS_ppoll,
    // A signal wakes the main loop through a pair of sockets, which are open.
    libc::SYS_sendto,
    libc::SYS_recvfrom,
];

/// Older system calls, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const BASIC_X86_64: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_time,
];

const FILES: &[c_long] = &[
    libc::SYS_pwrite64,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_dup,
];

const RING_WRITER: &[c_long] = &[
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_flock,
];

const EVENT_LOOP: &[c_long] = &[libc::SYS_epoll_create1, libc::SYS_eventfd2, libc::SYS_mkdirat];

const SERVING: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
];

const SOCKETS: &[c_long] = &[
    libc::SYS_bind,
    libc::SYS_connect,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Run with --nocapture, this prints the table of docs/dev/privileges.md.
    #[test]
    fn each_group_is_small() {
        let group = |add: &dyn Fn(&mut SystemCalls)| {
            let mut calls = SystemCalls::basic();
            add(&mut calls);
            calls
        };
        let basic = SystemCalls::basic();
        let groups = [
            ("files", group(&SystemCalls::allow_files)),
            ("replacing", group(&SystemCalls::allow_replacing)),
            ("ring writer", group(&SystemCalls::allow_ring_writer)),
            ("removing", group(&SystemCalls::allow_removing)),
            ("emptying", group(&|calls| calls.allow_emptying(3))),
            ("sockets", group(&|calls| calls.allow_sockets(libc::AF_INET))),
            ("serving", group(&SystemCalls::allow_serving)),
            ("local messages", group(&SystemCalls::allow_local_messages)),
            ("leaving the terminal", group(&SystemCalls::allow_leaving_the_terminal)),
            ("watching files", group(&SystemCalls::allow_watching)),
            ("epoll", group(&SystemCalls::allow_epoll)),
            ("event loop", group(&SystemCalls::allow_event_loop)),
        ];
        println!("basic: {}", basic.count());
        for (name, calls) in &groups {
            println!("{name}: {} more", calls.count() - basic.count());
        }
        // What no basic program may do: one that only reads rings and prints.
        for call in [
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept4,
            libc::SYS_ftruncate,
            libc::SYS_fallocate,
            libc::SYS_fchown,
            libc::SYS_fchmod,
            libc::SYS_chdir,
            libc::SYS_unlinkat,
            libc::SYS_renameat,
            libc::SYS_execve,
            libc::SYS_ptrace,
        ] {
            assert!(!basic.allowed.contains_key(&call), "{call}");
        }
        let may = |name: &str, call| {
            groups.iter().any(|(group, calls)| *group == name && calls.allowed.contains_key(&call))
        };
        assert!(!may("ring writer", libc::SYS_ftruncate) && !may("files", libc::SYS_fchown));
        let mut writer = SystemCalls::without_truncation();
        writer.allow_ring_writer();
        writer.allow_files();
        assert!(!writer.allowed.contains_key(&libc::SYS_ftruncate));
        assert_eq!(writer.allowed[&libc::SYS_fallocate].len(), 2, "no mode that makes holes");
        for (name, calls) in groups {
            assert!(!calls.allowed.contains_key(&libc::SYS_listen), "{name}");
            assert!(!calls.allowed.contains_key(&libc::SYS_execve), "{name}");
        }
    }
}

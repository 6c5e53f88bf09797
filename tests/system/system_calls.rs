//! The system calls of each program: the filter that the kernel gets, as strace shows it, evaluated for every call; and a
//! program at its work, to which no call that it makes is refused.
#![forbid(unsafe_code)]

use aw_tests::alerting::{Alert, webhook};
use aw_tests::collect::stdout_of;
use aw_tests::feed::{numbered_capture, publish, reading_collector};
use aw_tests::history::History;
use aw_tests::lan::Lan;
use aw_tests::mariadb::MariaDb;
use aw_tests::mosquitto::Mosquitto;
use aw_tests::rig::{Run, binary, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::rsyslog::Rsyslog;
use aw_tests::watching::Watching;
use libc::{AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, c_long};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// An instruction of a filter, as seccomp(2) has them.
enum Step {
    /// Load the word at this offset of `struct seccomp_data`.
    Load(u32),
    And(u32),
    /// Compare with a value; skip so many instructions if that holds, or so many if not.
    Jump(fn(&u32, &u32) -> bool, u32, usize, usize),
    Skip(usize),
    Allowed(bool),
}

fn number(text: &str) -> u32 {
    let hex = text.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16));
    hex.unwrap_or_else(|| text.parse()).unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// Reads an instruction such as `BPF_JUMP(BPF_JMP|BPF_K|BPF_JEQ, 0x9, 0, 0x1)`.
fn step(text: &str) -> Step {
    let (code, rest) = text.split_once(", ").expect(text);
    let operands: Vec<&str> = rest.split(", ").collect();
    match code {
        "BPF_LD|BPF_W|BPF_ABS" => Step::Load(number(operands[0])),
        "BPF_ALU|BPF_K|BPF_AND" => Step::And(number(operands[0])),
        "BPF_JMP|BPF_K|BPF_JA" => Step::Skip(number(operands[0]) as usize),
        "BPF_RET|BPF_K" => Step::Allowed(operands[0] == "SECCOMP_RET_ALLOW"),
        _ => {
            let test: fn(&u32, &u32) -> bool = match code {
                "BPF_JMP|BPF_K|BPF_JEQ" => u32::eq,
                "BPF_JMP|BPF_K|BPF_JGT" => u32::gt,
                "BPF_JMP|BPF_K|BPF_JGE" => u32::ge,
                other => panic!("unknown instruction {other}"),
            };
            let skip = |at: usize| number(operands[at]) as usize;
            Step::Jump(test, number(operands[0]), skip(1), skip(2))
        }
    }
}

/// What the kernel allows a process.
struct Filter(Vec<Step>);

impl Filter {
    /// `filter=[BPF_STMT(...), BPF_JUMP(...), ...]`, of strace.
    fn new(text: &str) -> Filter {
        let steps = text.split_once("filter=[").and_then(|(_, steps)| steps.split_once("]}"));
        let steps = steps.expect(text).0.split("BPF_STMT(").flat_map(|one| one.split("BPF_JUMP("));
        let steps = steps.filter(|one| !one.is_empty());
        Filter(steps.map(|one| step(one.trim_end_matches([',', ' ', ')']))).collect())
    }

    /// Whether this call is allowed with these two first arguments; the others are zero.
    fn allows(&self, call: c_long, arguments: [u32; 3]) -> bool {
        // The filter begins with a comparison of the processor's architecture.
        let Step::Jump(_, processor, ..) = self.0[1] else { panic!("no architecture") };
        let (mut word, mut at) = (0, 0);
        loop {
            at += 1;
            match self.0[at - 1] {
                Step::Load(0) => word = call as u32,
                Step::Load(4) => word = processor,
                // Of each argument, of eight bytes, the lower half.
                Step::Load(offset) if (16..40).contains(&offset) && offset % 8 == 0 => {
                    word = arguments[(offset as usize - 16) / 8];
                }
                Step::Load(_) => word = 0,
                Step::And(mask) => word &= mask,
                Step::Jump(test, value, yes, no) => {
                    at += if test(&word, &value) { yes } else { no }
                }
                Step::Skip(count) => at += count,
                Step::Allowed(allowed) => return allowed,
            }
        }
    }

    /// The number of calls that are allowed with some argument.
    fn count(&self) -> usize {
        let first = [0, libc::CLONE_THREAD as u32, AF_UNIX as u32, AF_INET as u32];
        let allowed = |call: &c_long| first.iter().any(|one| self.allows(*call, [*one, 0, 0]));
        (0..1024).filter(allowed).count()
    }
}

/// A program at its work, and its threads and processes.
struct Traced {
    directory: tempfile::TempDir,
    command: Option<Command>,
}

impl Traced {
    /// The same command under strace, which is no parent of the program.
    fn new(command: &Command) -> Traced {
        let directory = tempfile::tempdir().unwrap();
        let mut traced = Command::new("strace");
        traced.args(["-D", "-f", "-v", "-o"]).arg(directory.path().join("calls"));
        traced.arg(command.get_program()).args(command.get_args()).env_remove("NOTIFY_SOCKET");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        Traced { directory, command: Some(traced) }
    }

    fn start(&mut self) -> Run {
        Run::start(self.command.take().unwrap())
    }

    /// Waits until all have ended, and returns the filters in their order. No calls were refused but these, which are not
    /// needed.
    #[track_caller]
    fn filters(self, name: &str, not_needed: &[&str]) -> Vec<Filter> {
        let path = self.directory.path().join("calls");
        let mut text = String::new();
        wait_until("all have ended", || {
            text = fs::read_to_string(&path).unwrap_or_default();
            let id = |line: &str| line.split(' ').next().map(String::from);
            let ended = |line: &&str| line.contains(" +++ ");
            let all: BTreeSet<_> = text.lines().filter_map(id).collect();
            !all.is_empty() && text.lines().filter(ended).count() == all.len()
        });
        let refused: BTreeSet<_> = text.lines().filter_map(refused_call).collect();
        // The check that the filter has an effect; then the C library starts a thread with the older clone, and gives it a name.
        assert!(refused.contains("getpriority"), "{name}: is it filtered?");
        let expected = ["getpriority", "clone3", "prctl"];
        let is_expected = |call: &&str| expected.contains(call) || not_needed.contains(call);
        assert!(refused.iter().all(is_expected), "{name}: {refused:?}");
        let set = |line: &&str| line.contains("seccomp(SECCOMP_SET_MODE_FILTER");
        text.lines().filter(set).map(Filter::new).collect()
    }
}

/// The name of a call that failed because it is not on the list.
fn refused_call(line: &str) -> Option<&str> {
    let (call, _) = line.split_once(" = -1 ENOSYS")?;
    let call = call.split_once(' ')?.1.trim_start();
    let call = call.strip_prefix("<... ").unwrap_or(call);
    call.split(['(', ' ']).next()
}

/// What each program may do beside the basic list: at most so many calls, these address families, and these of the calls
/// below.
type May = (usize, &'static [i32], &'static str);

/// Calls by which programs differ.
const CALLS: &[(&str, c_long)] = &[
    ("accept4", libc::SYS_accept4),
    ("bind", libc::SYS_bind),
    ("chdir", libc::SYS_chdir),
    ("connect", libc::SYS_connect),
    ("dup3", libc::SYS_dup3),
    ("epoll_ctl", libc::SYS_epoll_ctl),
    ("eventfd2", libc::SYS_eventfd2),
    ("fallocate", libc::SYS_fallocate),
    ("fchmod", libc::SYS_fchmod),
    ("fchown", libc::SYS_fchown),
    ("flock", libc::SYS_flock),
    ("ftruncate", libc::SYS_ftruncate),
    ("mkdirat", libc::SYS_mkdirat),
    ("pwrite64", libc::SYS_pwrite64),
    ("renameat", libc::SYS_renameat),
    ("unlinkat", libc::SYS_unlinkat),
];

/// Calls that no program makes.
const NEVER: &[c_long] = &[
    libc::SYS_listen,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kill,
    libc::SYS_mount,
    libc::SYS_setuid,
    libc::SYS_setresuid,
    libc::SYS_capset,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_memfd_create,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchownat,
    libc::SYS_truncate,
    libc::SYS_keyctl,
];

const FAMILIES: [i32; 5] = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET];

#[track_caller]
fn assert_may(name: &str, filter: &Filter, (most, families, calls): May) {
    let count = filter.count();
    println!("{name}: {count}");
    let may = |call: c_long| filter.allows(call, [0; 3]);
    let has: Vec<_> = CALLS.iter().filter(|(_, call)| may(*call)).map(|(name, _)| *name).collect();
    assert_eq!(has.join(" "), calls, "{name}");
    let socket = |family: &i32| filter.allows(libc::SYS_socket, [*family as u32, 0, 0]);
    let sockets: Vec<_> = FAMILIES.into_iter().filter(socket).collect();
    assert_eq!(sockets, families, "{name}");
    for call in NEVER {
        assert!(!may(*call), "{name}: {call}");
    }
    // Processes, memory that is executable, and holes in files.
    assert!(!may(libc::SYS_clone), "{name}");
    let executable = [0, 0, libc::PROT_EXEC as u32];
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        assert!(may(call) && !filter.allows(call, executable), "{name}");
    }
    if !calls.contains("ftruncate") {
        let hole = [0, libc::FALLOC_FL_PUNCH_HOLE as u32, 0];
        assert!(!filter.allows(libc::SYS_fallocate, hole), "{name}");
    }
    assert!(count <= most, "{name}: {count}");
}

fn no_strace() -> bool {
    let missing = Command::new("strace").arg("-V").output().is_err();
    if missing {
        skip("strace is not installed");
    }
    missing
}

/// Runs it to its end.
#[track_caller]
fn check(name: &str, command: &Command, expected: May) {
    let mut traced = Traced::new(command);
    traced.start().finish().ok();
    let filters = traced.filters(name, SQLITE);
    assert_eq!(filters.len(), 1, "{name}");
    assert_may(name, &filters[0], expected);
}

/// As root, SQLite gives its journal to the owner of the database; the programs are not root.
const SQLITE: &[&str] = &["fchown"];

/// Programs that follow the file of names: inotify_init1 and inotify_add_watch. They follow links and directories that are
/// replaced, so they watch while they are confined; inotify opens nothing, and reports only that a file of a directory changed.
const WATCHING: usize = 2;

const FILES: &str = "fallocate fchmod flock ftruncate pwrite64 renameat unlinkat";

#[test]
fn a_replay() {
    if no_strace() {
        return;
    }
    let ring = Ring::new();
    let mut traced = Traced::new(&reading_collector(&ring, &["-q"]));
    let mut replay = traced.start();
    replay.stdin.take().unwrap().write_all(&numbered_capture(1..4)).unwrap();
    replay.finish().ok();
    let ring_writer = "fallocate fchmod fchown flock renameat unlinkat";
    assert_may("replay", &traced.filters("replay", &[])[0], (71, &[], ring_writer));
}

#[test]
fn a_listening_collector() {
    if no_strace() {
        return;
    }
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let mut command = lan.here.command("env");
    command.arg(binary("collector")).args(["-q", "--ring", ring.name(), "-u", "root", "veth0"]);
    let mut traced = Traced::new(&command);
    let collector = traced.start();
    collector.stderr.wait_for("listening on veth0");
    // It opens its interface again, as much later.
    lan.here.ip("link del veth0");
    collector.stderr.wait_for("stopped listening on veth0");
    lan.here.ip("link add veth0 type veth peer name veth9");
    lan.here.ip("link set veth9 up");
    lan.here.ip("link set veth0 up");
    collector.stderr.wait_for("listening on veth0 again");
    fs::remove_file(ring.path()).unwrap();
    collector.stderr.wait_for("re-created it");
    collector.stop().ok();
    let calls =
        "accept4 bind connect epoll_ctl eventfd2 fallocate fchmod fchown flock renameat unlinkat";
    let families = &[AF_UNIX, AF_INET, AF_PACKET];
    // libpcap asks whether the interface is a wireless one.
    let not_needed = ["socket"];
    assert_may("collector", &traced.filters("collector", &not_needed)[0], (87, families, calls));
}

#[test]
fn outputs_without_a_network() {
    if no_strace() {
        return;
    }
    let ring = Ring::new();
    publish(&ring, 1..4);
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().to_str().unwrap();
    let file = |name: &str| format!("{state}/{name}");
    let name = ["--ring", ring.name(), "-u", "root", "--once"];
    let with = |program_name: &str, options: &[&str]| {
        program(program_name, &[&name[..], &["--state-dir", state], options].concat())
    };
    let prints = stdout_of(&ring, &["-u", "root", "--once", "--from", "oldest"]);
    check("aw-stdout", &prints, (62, &[], ""));
    check("aw-stdout -o", &with("aw-stdout", &["-o", &file("lines")]), (76, &[], FILES));
    check("aw-sqlite", &with("aw-sqlite", &["--replay"]), (76, &[], FILES));
    let tracker = with("aw-tracker", &["--log-dir", state, "--source", "all"]);
    check("aw-tracker", &tracker, (76 + WATCHING, &[], FILES));
    check("aw-metrics", &with("aw-metrics", &["--file", &file("a.prom")]), (76, &[], FILES));
    let background = with("aw-stdout", &["-d", "-o", &file("lines")]);
    let calls = "chdir connect dup3 fallocate fchmod flock ftruncate pwrite64 renameat unlinkat";
    check("aw-stdout -d", &background, (82, &[AF_UNIX], calls));
    // It serves a socket that listens, and opens none.
    let serves = with("aw-metrics", &["--listen", "127.0.0.1:0"]);
    check("aw-metrics --listen", &serves, (70, &[], "accept4"));
}

/// It serves a socket that listens, with an event loop; it opens none, and starts nothing. With --edit, it may also replace the file of
/// names, whose owner stays.
#[test]
fn aw_web() {
    if no_strace() {
        return;
    }
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..4);
    run(history.command(&ring, &["--once"])).ok();
    let names = history.path().join("names");
    fs::write(&names, "").unwrap();
    let edit = ["--edit", "--names", names.to_str().unwrap()];
    let path = "/mac/02:00:00:00:00:01/name";
    let calls = "accept4 epoll_ctl eventfd2 fallocate fchmod flock ftruncate mkdirat pwrite64 renameat unlinkat";
    let with_edit = "accept4 epoll_ctl eventfd2 fallocate fchmod fchown flock ftruncate mkdirat pwrite64 renameat unlinkat";
    for (options, request, status, may) in [
        (&[][..], "GET /search?q=0000", "", (94, calls)),
        (&edit, &*format!("POST {path}"), "303 ", (96, with_edit)),
    ] {
        let state = tempfile::tempdir().unwrap();
        let options = [options, &["-u", "root", "--ring", ring.name()]].concat();
        let command = aw_tests::web::command(history.database(), state.path(), &options);
        let mut traced = Traced::new(&command);
        let server = traced.start();
        let line = server.stderr.wait_for("serving http");
        let port: u16 =
            line.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
        let link = fs::read_to_string(state.path().join("aw-web.login")).unwrap();
        let token = link.trim().rsplit('=').next().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let body = if request.starts_with("POST") { "name=radio" } else { "" };
        let head = format!(
            "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        server.stop().ok();
        let filters = traced.filters("aw-web", SQLITE);
        assert_may("aw-web", &filters[0], (may.0, &[], may.1));
    }
    assert_eq!(fs::read_to_string(names).unwrap(), "02:00:00:00:00:01 radio\n");
}

#[test]
fn aw_alert_and_its_sender_process() {
    if no_strace() {
        return;
    }
    let alert = Alert::new();
    alert.publish(1..4);
    alert.config(&(webhook("web", "url = \"http://127.0.0.1:9/\"")));
    let config = alert.path("alert.toml");
    let mut command = alert.command(&["-u", "root", "--learn", "0", "--print", "-c"]);
    command.arg(config);
    let mut traced = Traced::new(&command);
    let run = traced.start();
    run.stdout.wait_for("10.0.0.3");
    run.stop().ok();
    let filters = traced.filters("aw-alert", SQLITE);
    assert_eq!(filters.len(), 2);
    let families: &[i32] = &[AF_UNIX, AF_INET, AF_INET6];
    for filter in filters {
        match filter.allows(libc::SYS_connect, [0; 3]) {
            false => assert_may("aw-alert", &filter, (76 + WATCHING, &[], FILES)),
            true => assert_may("its sender", &filter, (73, families, "bind connect")),
        }
    }
}

#[test]
fn outputs_with_a_network() {
    if no_strace() {
        return;
    }
    let calls = "bind connect fallocate fchmod flock ftruncate pwrite64 renameat unlinkat";
    let ring = Ring::new();
    publish(&ring, 1..4);
    let from = ["--once", "--replay"];
    if let Some(syslog) = Rsyslog::start() {
        let mut command = syslog.command(&ring, &from);
        command.args(["--to", &syslog.socket()]);
        check("aw-syslog", &command, (87, &[AF_UNIX], calls));
    }
    if let Some(server) = MariaDb::start(&[]) {
        check("aw-mysql", &server.command(&ring, &from), (87, &[AF_UNIX], calls));
    }
    if let Some(broker) = Mosquitto::start() {
        let calls = "bind connect epoll_ctl eventfd2 fallocate fchmod flock ftruncate mkdirat pwrite64 renameat unlinkat";
        let families = &[AF_UNIX, AF_INET, AF_INET6];
        check("aw-mqtt", &broker.command(&ring, &from), (95 + WATCHING, families, calls));
    }
}

#[test]
fn aw_routeros() {
    if no_strace() {
        return;
    }
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let mut traced = Traced::new(&watching.command());
    let daemon = traced.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    // Its control socket, which listens before the filter is set.
    let mut export = watching.command();
    export.args(["export", "core1"]);
    assert_eq!(run(export).ok().stdout, "core1: unchanged\n");
    daemon.stop().ok();
    let calls = "accept4 bind connect epoll_ctl eventfd2 fallocate fchmod fchown flock ftruncate mkdirat pwrite64 renameat unlinkat";
    let families = &[AF_UNIX, AF_INET, AF_INET6];
    // Secrets of SSH may be swapped out, as all memory of the other programs.
    let not_needed = ["mlock", "munlock"];
    assert_may(
        "aw-routeros",
        &traced.filters("aw-routeros", &not_needed)[0],
        (97, families, calls),
    );
}

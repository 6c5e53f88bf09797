//! The documents: links have targets, pages are reachable, options in them exist, and the commands of the
//! trial in docs/install.md run.
#![forbid(unsafe_code)]

use aw_tests::mariadb::MariaDb;
use aw_tests::rig::{Finished, Run, binary, program, program_at, run, skip};
use aw_tests::ring::Ring;
use aw_tests::server::{Server, free_port};
use aw_tests::sightings::{ADDRESS, capture, handover};
use aw_tests::web_sink::WebSink;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Markdown files of a directory, and of those in it.
fn pages(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|end| end == "md") {
            found.push(path.canonicalize().unwrap());
        }
    }
    found.sort();
    found
}

/// The files of docs/, and those in the root of the project.
fn documents() -> Vec<PathBuf> {
    let root = fs::read_dir(ROOT).unwrap().map(|file| file.unwrap().path());
    let root = root.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let root = root.map(|path| path.canonicalize().unwrap());
    root.chain(pages(&Path::new(ROOT).join("docs"))).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Installed documents, from the Makefile.
fn programs() -> Vec<String> {
    let makefile = read("Makefile");
    let line = makefile.lines().find_map(|line| line.strip_prefix("PROGRAMS = ")).unwrap();
    line.split(' ').map(String::from).collect()
}

/// The targets of a page's links, with the heading, as links to files are written.
fn links(page: &Path) -> Vec<(String, PathBuf, String)> {
    let text = read(page);
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links = links.filter(|link| !link.contains("://"));
    links
        .map(|link| {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let to = if file.is_empty() { page.into() } else { page.parent().unwrap().join(file) };
            let to = to.canonicalize().unwrap_or_else(|_| panic!("{}: {link}", page.display()));
            (link.to_owned(), to, heading.to_owned())
        })
        .collect()
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The words of a text; `_` is part of a word.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(String::from).collect()
}

#[test]
fn links_lead_somewhere() {
    let tests = Path::new(ROOT).join("tests/README.md").canonicalize().unwrap();
    let anchors: BTreeMap<PathBuf, BTreeSet<String>> = documents()
        .into_iter()
        .chain([tests])
        .map(|path| {
            let text = read(&path);
            let headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
            (path, headings.collect())
        })
        .collect();
    let mut followed = 0;
    for path in anchors.keys() {
        for (link, to, heading) in links(path) {
            followed += 1;
            let there = heading.is_empty()
                || anchors.get(&to).is_some_and(|headings| headings.contains(&heading));
            assert!(there, "{}: {link}", path.display());
        }
    }
    assert!(followed > 20, "{followed}");
}

/// Every page is reachable from the index.
#[test]
fn every_page_is_in_the_book() {
    let docs = Path::new(ROOT).join("docs").canonicalize().unwrap();
    let (mut found, mut next) = (BTreeSet::new(), vec![docs.join("index.md")]);
    while let Some(page) = next.pop() {
        if page.starts_with(&docs) && page.extension().is_some_and(|end| end == "md") {
            let new = found.insert(page.clone());
            next.extend(links(&page).into_iter().map(|(_, to, _)| to).filter(|_| new));
        }
    }
    let all: BTreeSet<_> = pages(&docs).into_iter().collect();
    assert!(all.len() > 12, "{all:?}");
    assert_eq!(found, all, "not reachable from docs/index.md");
}

#[test]
fn the_readme_is_one_page_with_all_programs() {
    let text = read("README.md");
    assert!(text.lines().count() <= 160, "{}", text.lines().count());
    for program in programs() {
        let row = format!("| `{program}` |");
        assert!(text.lines().any(|line| line.starts_with(&row)), "no row of {program}");
    }
}

/// A guide is 80 to 150 lines long, and begins with a working example.
#[test]
fn guides_begin_with_an_example() {
    let guides = pages(&Path::new(ROOT).join("docs/guide"));
    assert!(guides.len() >= 7, "{guides:?}");
    for path in guides {
        let text = read(&path);
        let lines = text.lines().count();
        assert!((80..=150).contains(&lines), "{}: {lines} lines", path.display());
        let (beginning, _) = text.split_once("\n## ").unwrap();
        assert!(beginning.contains("\n```"), "{}: no example before it", path.display());
    }
}

/// The kinds that aw-alert accepts, from its message about one that does not exist: the manual page and the guide name
/// each; aw-mqtt's help and its guide name the same ones.
#[test]
fn each_kind_of_alert_is_documented() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    fs::write(path, "[[channel]]\nname = \"x\"\nkinds = [\"made_up\"]\n").unwrap();
    let refused = run(program("aw-alert", &["--check", "-c", path]));
    let (_, expected) = refused.stderr.split_once("expected one of ").expect(&refused.stderr);
    let kinds: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
    assert!(kinds.len() >= 16, "{kinds:?}");

    let guide = read("docs/guide/alerts.md") + &read("docs/guide/rogues.md");
    let page = read("contrib/man/addrwatch-alert.toml.5");
    let (_, page) = page.split_once("\n.SS \"Tables [[channel]]\"\n").unwrap();
    let (_, page) = page.split_once("\n.B kinds\n").unwrap();
    let page = words(page.split("\n.TP\n").next().unwrap());
    let table = guide.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let table = words(&table.collect::<String>());
    let published = |text: &str| {
        let (_, list) = text.split_once("new_device").unwrap();
        words(&format!("new_device{}", list.split("config_change").next().unwrap()))
    };
    let (help, mqtt) =
        (run(program("aw-mqtt", &["--help"])).ok().stdout, read("docs/guide/mqtt.md"));
    let (help, mqtt) = (published(&help), published(&mqtt));
    for kind in kinds {
        assert!(page.contains(kind), "addrwatch-alert.toml.5 does not name {kind}");
        assert!(table.contains(kind), "docs/guide/alerts.md and rogues.md do not name {kind}");
        assert_eq!(
            help.contains(kind),
            mqtt.contains(kind),
            "aw-mqtt --help, docs/guide/mqtt.md: {kind}"
        );
    }
}

/// Documents are installed in the same layout as here, so that their links work.
#[test]
fn links_of_what_is_installed_lead_somewhere() {
    let directory = tempfile::tempdir().unwrap();
    let mut install = program_at(Path::new(ROOT).join("contrib/install.sh"), &[]);
    let built = binary("collector");
    install.arg(built.parent().unwrap()).arg(directory.path()).arg("/usr").args(programs());
    run(install).ok();
    let root = directory.path().join("usr/share/doc/addrwatch-rs");
    let installed = pages(&root);
    assert!(installed.len() > 12, "{installed:?}");
    let for_users =
        installed.iter().filter(|path| !path.components().any(|part| part.as_os_str() == "dev"));
    let followed: usize = for_users.map(|path| links(path).len()).sum();
    assert!(followed > 20, "{followed}");
}

/// The commands of the documents can be typed in any order: none replaces a file of options, and none adds a second line
/// OPTIONS= with other options than those of another document, of which systemd would take only the later one.
#[test]
fn commands_keep_options_of_others() {
    let mut added = BTreeMap::<String, BTreeSet<String>>::new();
    for page in documents() {
        let text = read(&page);
        for block in blocks(&text, "sh") {
            let block = block.replace("|\n", "|");
            for line in block.lines().filter(|line| line.contains("OPTIONS")) {
                assert!(!line.contains(">/etc") && !line.contains("> /etc"), "{line}");
                let Some((options, file)) = line.split_once("tee ") else { continue };
                let file = file.strip_prefix("-a ").unwrap_or_else(|| panic!("replaces: {line}"));
                added.entry(file.trim().into()).or_default().insert(options.trim().into());
            }
        }
    }
    assert!(added.len() > 3, "{added:?}");
    for (file, options) in added {
        assert_eq!(options.len(), 1, "{file}: {options:#?}");
    }
}

/// Options in `code`, after the name of a program of this project, in every document.
#[test]
fn options_that_are_named_exist() {
    let help: BTreeMap<String, String> = programs()
        .into_iter()
        .map(|name| {
            let help = run(program(&name, &["--help"])).ok().stdout;
            let more = [
                "who", "ip", "mac", "changes", "devices", "report", "import", "export", "test",
                "add", "log", "diff", "show", "check", "passwd", "create",
            ]
            .map(|command| run(program(&name, &[command, "--help"])).stdout);
            (name, help + &more.concat())
        })
        .collect();
    let mut seen = 0;
    for path in documents() {
        let text = read(&path);
        for code in text.split('`').flat_map(str::lines) {
            let mut words = code.split_whitespace().map(|word| word.rsplit('/').next().unwrap());
            let Some(help) = words.find_map(|word| help.get(word)) else { continue };
            for word in words.take_while(|word| !["|", "&", "&&", "#"].contains(word)) {
                let option = word.split(['=', ',', ';']).next().unwrap();
                if option.starts_with("--") && option.len() > 2 && option != "--generate" {
                    assert!(help.contains(option), "{}: {code}", path.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

/// A line of commands without the files that it reads and writes. A quoted < or > is the text of an option.
fn without_files(line: &str) -> String {
    let (mut kept, mut quote, mut skips) = (String::new(), None, false);
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('<' | '>', None) => skips = true,
            ('|' | '&' | ';', None) => skips = false,
            _ => {}
        }
        if !skips {
            kept.push(c);
        }
    }
    kept
}

/// Each command of each document, also those of a pipe: programs of this project parse it completely; a make target exists; all
/// others are of Debian.
#[test]
fn every_command_is_understood() {
    let makefile = read("Makefile");
    let built = binary("collector").parent().unwrap().display().to_string();
    let directory = tempfile::tempdir().unwrap();
    let mut asked = 0;
    for path in documents() {
        let text = read(&path);
        let blocks = text.split("```").skip(1).step_by(2);
        let blocks =
            blocks.filter(|block| block.starts_with("sh\n") || block.starts_with("text\n"));
        let lines =
            blocks.filter(|block| !block.contains('─')).flat_map(|block| block.lines().skip(1));
        for line in
            lines.flat_map(|line| line.split(" # ").next()).flat_map(|line| line.split("&&"))
        {
            let line = without_files(line);
            for line in line.split('|') {
                let command = line.trim().trim_end_matches('&').trim().trim_start_matches("sudo ");
                let (program, rest) = command.split_once(' ').unwrap_or((command, ""));
                let name = program.rsplit('/').next().unwrap();
                if name == "make" {
                    let mut targets = rest.split_whitespace().filter(|word| !word.contains('='));
                    let is_target = |word: &str| {
                        makefile.contains(&format!("\n{word}: "))
                            || makefile.contains(&format!("\n{word}:\n"))
                    };
                    assert!(targets.all(is_target), "{}: {line}", path.display());
                } else if name == "collector" || name.starts_with("aw-") {
                    // --help takes effect where it stands, so everything before it was parsed.
                    let shell = ["-c", &format!("{built}/{name} {rest} --help")];
                    let mut shell = program_at("sh".into(), &shell);
                    shell.current_dir(directory.path());
                    let ran = run(shell);
                    assert!(
                        ran.status.success() && ran.stdout.contains("Usage: "),
                        "{}: {line}: {}",
                        path.display(),
                        ran.stderr
                    );
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 30, "{asked}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "a command wrote a file");
}

/// The commands of the trial without privileges, unchanged except for paths.
#[test]
fn the_quick_start_runs() {
    let text = read("docs/install.md");
    let (_, trial) = text.split_once("\n## Try it").unwrap();
    let script = trial.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("state");
    fs::create_dir(&own).unwrap();
    let ring = aw_tests::ring::Ring::new();
    let script = script
        .replace("target/release", binary("collector").parent().unwrap().to_str().unwrap())
        .replace("/tmp/aw-try", own.to_str().unwrap())
        .replace("/try", ring.name());
    let mut command = program_at("sh".into(), &["-exc", &script]);
    command.current_dir(ROOT);
    let ran = run(command).ok();
    assert!(ran.stdout.contains("02:00:00:00:00:01"), "{ran:#?}");
    assert!(ran.stdout.contains("published"), "{ran:#?}");
    assert!(!ring.path().exists() && !own.exists());
}

/// The system user that stands for aw-mysql, which packages create.
const SERVICE: (&str, u32) = ("daemon", 1);

/// The code blocks of this kind in a text, without the lines that mark them.
fn blocks<'a>(text: &'a str, kind: &'a str) -> impl Iterator<Item = &'a str> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.filter_map(move |block| block.strip_prefix(kind)?.strip_prefix('\n'))
}

/// The statements and commands for a server in docs/guide/history.md and in mysql.cnf, as shipped except for the server's address:
/// the service stores with its login, root asks with the same file, and a reader with one of its own.
#[test]
fn the_commands_for_a_server_run() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can run aw-mysql as another user");
    }
    let Some(server) = MariaDb::start(&[]) else { return };
    server.sql("DROP DATABASE addrwatch");
    let shipped = read("contrib/mysql.cnf").replace("aw-mysql'@", "daemon'@");
    let statements = shipped.lines().filter_map(|line| line.strip_prefix("#   "));
    let statements = statements.filter(|line| !line.contains("MySQL"));
    server.sql(&statements.collect::<Vec<_>>().join("\n"));
    let socket = server.path("socket").display().to_string();
    let file = server.config_path();
    let shipped = shipped
        .replace("/run/mysqld/mysqld.sock", &socket)
        .replace("user = aw-mysql", &format!("user = {}", SERVICE.0));
    // As a package installs it: root's, with mode 0640.
    fs::write(&file, shipped).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(server.path("state")).unwrap();
    chown(server.path("state"), Some(SERVICE.1), Some(SERVICE.1)).unwrap();
    let guide = read("docs/guide/history.md");
    let (_, guide) = guide.split_once("\n## One database for several sites").unwrap();
    let (storing, asking) = guide.split_once("\n### Ask the server").unwrap();
    // Each command with its file, a ring that has events, and the time of these.
    let ring = Ring::new();
    capture(&ring, &handover());
    chown(ring.path(), None, Some(SERVICE.1)).unwrap();
    let ran = |line: &str, file: &Path| -> Finished {
        let words = line.trim_start_matches("sudo ");
        let (name, rest) = words.split_once(' ').unwrap();
        let rest = rest
            .replace("/etc/addrwatch/mysql.cnf", file.to_str().unwrap())
            .replace("reader.cnf", file.to_str().unwrap())
            .replace("192.0.2.17", ADDRESS)
            .replace("'last tuesday 14:05'", "'2026-11-20 14:32'")
            .replace("--since 1d", "--since 2026-11-01");
        let more = match name {
            "aw-mysql" => format!(
                "-u {} --ring {} --state-dir {}",
                SERVICE.0,
                ring.name(),
                server.path("state").display()
            ),
            _ => String::new(),
        };
        let program = binary(name).display().to_string();
        let mut shell = program_at("sh".into(), &["-c", &format!("{program} {rest} {more}")]);
        shell.env("TZ", "UTC");
        run(shell)
    };
    let check = blocks(storing, "sh").flat_map(str::lines).find(|line| line.contains("--check"));
    // The service's OPTIONS name the file, and root's --check asks the unit for them; here is none.
    let check = format!("{} -c {}", check.unwrap(), file.display());
    let checked = ran(&check, &file).ok();
    assert!(checked.stdout.contains("accepts the login and rows"), "{checked:#?}");
    run(server.command_of("state", SERVICE.1, &ring, &["--once"])).ok();
    let [question, of_reader] =
        blocks(asking, "sh").flat_map(str::lines).collect::<Vec<_>>().try_into().unwrap();
    assert!(question.starts_with("sudo aw-query -c /etc/addrwatch/mysql.cnf who"), "{question}");
    let answer = ran(question, &file).ok();
    assert!(answer.stdout.contains("02:00:00:00:00:01"), "{answer:#?}");
    // Not as a user who may not read the file; the message has what to do.
    let mut denied = program_at("setpriv".into(), &["--reuid=65534", "--regid=65534"]);
    let open = aw_tests::rig::public_copy(&["aw-query"]);
    denied.arg("--clear-groups").arg(open.path().join("aw-query")).arg("-c").arg(&file);
    denied.arg("devices");
    run(denied).refused("aw-query", &["permission denied (you are nobody: use sudo)"]); // plain-words: ok
    // The reader's login, with the address of this server.
    let statements = asking.split('`').find(|code| code.starts_with("CREATE USER")).unwrap();
    server.sql(statements);
    let form = blocks(storing, "ini").next().unwrap();
    let form = form
        .replace("db.example.net", &format!("127.0.0.1:{}", server.port))
        .replace("site1", "reader")
        .replace("ssl-ca", "#ssl-ca");
    let reader = file.with_file_name("reader.cnf");
    fs::write(&reader, form).unwrap();
    fs::set_permissions(&reader, fs::Permissions::from_mode(0o600)).unwrap();
    let answer = ran(of_reader, &reader).ok();
    assert!(answer.stdout.contains("02:00:00:00:00:01"), "{answer:#?}");
}

/// The commands of the README for the page and for the phone, unchanged except for paths, the port and the server of ntfy: what they
/// enable is then started by its shipped unit's line.
#[test]
fn the_first_answers_run() {
    let text = read("README.md");
    let (_, answers) = text.split_once("\n## First answers\n").unwrap();
    let (answers, _) = answers.split_once("\n## ").unwrap();
    let [page, phone] = blocks(answers, "sh")
        .filter(|block| block.contains("/etc/"))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path.trim_start_matches('/'));
    for name in ["bin", "etc/default", "etc/addrwatch"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    for name in ["aw-tracker", "aw-alert"] {
        fs::create_dir_all(at("var/lib/addrwatch").join(name)).unwrap();
    }
    for (name, script) in [
        ("sudo", "exec \"$@\"".to_owned()),
        ("systemctl", format!("echo \"$@\" >>{}", at("enabled").display())),
    ] {
        fs::write(at("bin").join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        let runs = fs::Permissions::from_mode(0o755);
        fs::set_permissions(at("bin").join(name), runs).unwrap();
    }
    let moved = |text: &str| {
        let root = directory.path().display().to_string();
        text.replace("/etc/", &format!("{root}/etc/"))
            .replace("/var/lib/", &format!("{root}/var/lib/"))
    };
    for name in ["alert.toml", "macupd_tracker.conf"] {
        let shipped = read(format!("contrib/deb/{name}"));
        fs::write(at("etc/addrwatch").join(name), moved(&shipped)).unwrap();
    }
    let (sink, port) = (WebSink::start(None), free_port().to_string());
    let built = binary("collector").parent().unwrap().display().to_string();
    let path = format!("{}:{built}:/usr/bin:/bin", at("bin").display());
    let url = format!("template = \"ntfy\", url = \"http://127.0.0.1:{}\"", sink.port);
    let type_in = |block: &str| {
        let block = moved(block).replace("8080", &port);
        // In printf's format, quotes stand as they are.
        let mut shell =
            program_at("sh".into(), &["-ec", &block.replace("template = \"ntfy\"", &url)]);
        shell.env("PATH", &path).current_dir(directory.path());
        run(shell).ok()
    };
    type_in(page);
    let sent = type_in(phone);
    assert!(sent.stdout.ends_with("channel phone: sent\n"), "{sent:#?}");
    let topic = sent.stdout.split("topic = ").nth(1).unwrap().split('"').nth(1).unwrap().to_owned();
    assert_eq!(sink.wait_for(1)[0]["topic"], topic.as_str());
    assert!(topic.len() > 20, "others do not guess it: {topic}");
    let enabled = fs::read_to_string(at("enabled")).unwrap();
    assert_eq!(enabled, "enable --now aw-tracker\nenable --now aw-alert\n");

    let ring = Ring::new();
    capture(&ring, &handover());
    let start = |name: &str| {
        let unit = moved(&read(format!("contrib/systemd/{name}.service")));
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/")).unwrap();
        let options = fs::read_to_string(at("etc/default").join(name)).unwrap_or_default();
        let options = options.trim().trim_start_matches("OPTIONS=").to_owned();
        let line = line.replace("$OPTIONS", &options);
        let line = format!("exec {built}/{line} -u root --ring {}", ring.name());
        Run::start(program_at("sh".into(), &["-c", &line]))
    };
    let tracker = start("aw-tracker");
    tracker.wait_until("it serves", || aw_tests::server::listens(port.parse().unwrap()));
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    write!(stream, "GET / HTTP/1.0\r\nHost: localhost:{port}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Device activity"), "{answer}");
    tracker.stop().ok();
    // The first day begins.
    let alert = start("aw-alert");
    let begun = &sink.wait_for(2)[1];
    assert_eq!(begun["topic"], topic.as_str());
    assert!(begun.to_string().contains("learning for 24 h"), "{begun}");
    alert.stop().ok();
}

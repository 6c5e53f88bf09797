//! The command line with which systemd starts a program as its service: what `NAME --check` of root tries, and the name of a
//! service's database for programs that read it.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    io::{ErrorKind, Write, stdout},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::geteuid;

use crate::{
    FileKind, UnitFiles,
    access::ignored_options_of,
    explain, read_file_text,
    unit_files::{logical_lines, words},
};

/// Set for the process that a check becomes.
const IS_OF_UNIT: &str = "AW_CHECK_OF_UNIT";
/// Bytes of a file of variables, at most.
const MAX_FILE: u64 = 64 << 10;
/// Where systemd searches programs for a service.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What systemd starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitCommand {
    /// The name of the program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Those of them that are in variables, such as OPTIONS.
    pub given: Vec<String>,
    /// The variables of the unit and its files.
    variables: BTreeMap<String, String>,
    /// Files of options that this user cannot read, each with the cause: what is in them is not among the arguments.
    pub unread: Vec<String>,
    /// Lines of those files without effect, each with the remedy.
    ignored: Vec<String>,
}

impl UnitFiles {
    /// The program that the unit starts, with the options of its files, such as OPTIONS of /etc/default/NAME; none if it starts
    /// another program than that of its name.
    pub fn command(&self) -> Option<UnitCommand> {
        self.command_of(self.name())
    }

    /// The same of a unit with another name than its program.
    pub fn command_of(&self, program: &str) -> Option<UnitCommand> {
        let (mut variables, mut unread) = (BTreeMap::new(), Vec::new());
        let mut ignored = self.misplaced.clone();
        // Not what only systemd knows, such as %b.
        let known = self.environment.iter().filter_map(|line| self.without_specifiers(line));
        variables.extend(known.filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.trim().to_owned(), value.to_owned()))
        }));
        for file in &self.environment_files {
            let Some(file) = file.to_str().and_then(|file| self.without_specifiers(file)) else {
                unread.push(format!("{}: what it stands for is not known", file.display()));
                continue;
            };
            // In a file, % has no meaning.
            match read_file_text(Path::new(&file), FileKind::Settings, MAX_FILE) {
                Ok(text) => {
                    let lines = logical_lines(&text);
                    variables.extend(lines.iter().filter_map(|line| {
                        let (name, value) = line.split_once('=')?;
                        Some((name.trim().to_owned(), value_of_file(value)))
                    }));
                    let start = self.exec_start.as_deref();
                    ignored.extend(ignored_options_of(Path::new(&file), start));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => unread.push(format!("{file}: {}", explain(&error))),
            }
        }
        let mut line = words(self.exec_start.as_deref()?).into_iter();
        let started = line.next()?;
        let started =
            Path::new(started.trim_start_matches(['-', '@', ':', '+', '!'])).file_name()?;
        let program = started.to_str().filter(|started| *started == program)?.to_owned();
        let value = |name: &str| variables.get(name).map_or("", String::as_str);
        let (mut arguments, mut given) = (Vec::new(), Vec::new());
        for mut word in line {
            // The check reads it as systemd does, as root.
            for (name, path) in &self.credentials {
                for place in ["${CREDENTIALS_DIRECTORY}", "%d"] {
                    word = word.replace(&format!("{place}/{name}"), &path.display().to_string());
                }
            }
            match word.strip_prefix('$').filter(|name| is_name(name)) {
                Some(name) => {
                    given.extend(words(value(name)));
                    arguments.extend(words(value(name)));
                }
                None => {
                    let word = self.without_specifiers(&word).unwrap_or(word);
                    arguments.push(expanded(&word, value));
                }
            }
        }
        Some(UnitCommand { program, arguments, given, variables, unread, ignored })
    }

    /// A text with what its specifiers stand for (systemd.unit(5)); none if one is not known here.
    fn without_specifiers(&self, text: &str) -> Option<String> {
        let name = self.name();
        let (prefix, instance) = name.split_once('@').unwrap_or((name, ""));
        let mut parts = text.split('%');
        let mut known = parts.next().unwrap_or_default().to_owned();
        while let Some(part) = parts.next() {
            let Some(specifier) = part.chars().next() else {
                known.push('%'); // of two
                known.push_str(parts.next().unwrap_or_default());
                continue;
            };
            known.push_str(match specifier {
                'i' => instance,
                'p' => prefix,
                'N' => name,
                't' => "/run",
                'S' => "/var/lib",
                'C' => "/var/cache",
                'L' => "/var/log",
                'E' => "/etc",
                _ => return None,
            });
            known.push_str(&part[1..]);
        }
        Some(known)
    }
}

impl UnitCommand {
    /// The value of an option that takes one, the last one if it is given twice.
    pub fn option(&self, name: &str) -> Option<&str> {
        let with_sign = format!("{name}=");
        let pairs =
            self.arguments.iter().zip(self.arguments.iter().skip(1).map(Some).chain([None]));
        let values = pairs.filter_map(|(word, next)| match word.strip_prefix(&with_sign) {
            Some(value) => Some(value),
            None => next.filter(|_| word == name).map(String::as_str),
        });
        values.last()
    }

    /// For messages.
    pub fn text(&self) -> String {
        let words = self.arguments.iter().map(|word| match word.contains(char::is_whitespace) {
            true => format!(" '{word}'"),
            false => format!(" {word}"),
        });
        [self.program.clone()].into_iter().chain(words).collect()
    }
}

/// Those of this process; bytes that are no UTF-8 are refused by the parser of options, with a message.
pub(crate) fn arguments() -> impl Iterator<Item = String> {
    env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A value as systemd reads it in a file of variables (systemd.exec(5), EnvironmentFile=): quotes at its begin, and blanks between
/// quoted parts, are removed; quotes behind other letters stay.
fn value_of_file(value: &str) -> String {
    let (mut text, mut quote, mut is_plain) = (String::new(), None, false);
    let mut letters = value.trim().chars();
    while let Some(c) = letters.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', Some('"')) => match letters.next() {
                Some(c) if "\"\\`$".contains(c) => text.push(c),
                other => text.extend(['\\'].into_iter().chain(other)),
            },
            (c, Some(_)) => text.push(c),
            ('\\', None) => {
                is_plain = true;
                text.extend(letters.next());
            }
            ('"' | '\'', None) if !is_plain => quote = Some(c),
            (c, None) if !is_plain && c.is_whitespace() => {}
            (c, None) => {
                is_plain = true;
                text.push(c);
            }
        }
    }
    text
}

/// With the values of `${NAME}` in a word.
fn expanded<'a>(word: &str, value: impl Fn(&str) -> &'a str) -> String {
    let mut parts = word.split("${");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}') {
            Some((name, rest)) if is_name(name) => {
                text.push_str(value(name));
                text.push_str(rest);
            }
            _ => text.extend(["${", part]),
        }
    }
    text
}

/// The unit whose start a command line checks, if it has no other options: `NAME --check`, or `NAME --check --instance X` where
/// there is a unit for each instance.
fn unit_of_check(name: &str, words: &[String]) -> Option<String> {
    let words: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| *word != "--check").collect();
    match words[..] {
        [] => Some(name.into()),
        ["--instance", instance] => Some(format!("addrwatch-{name}@{instance}")),
        [one] => Some(format!("addrwatch-{name}@{}", one.strip_prefix("--instance=")?)),
        _ => None,
    }
}

/// `NAME --check` of root, without other options: becomes the same check with the command line and the variables of its unit,
/// after a line that shows it. The variables of this process are not those of the service. Returns if there is no such unit, or why
/// that failed.
pub(crate) fn check_as_unit(name: &str) -> Result<(), String> {
    let words: Vec<String> = arguments().collect();
    if !words.iter().any(|word| word == "--check")
        || !geteuid().is_root()
        || env::var_os(IS_OF_UNIT).is_some()
    {
        return Ok(());
    }
    let unit = unit_of_check(name, &words).and_then(|unit| UnitFiles::of(&unit));
    let Some((command, unit)) = unit.and_then(|unit| Some((unit.command_of(name)?, unit))) else {
        return Ok(());
    };
    let unread = command.unread.iter().map(|why| format!("tried without the options of {why}\n"));
    let left_out = command.variables.keys().filter(|name| is_of_the_loader(name));
    let left_out = left_out.map(|name| {
        format!("tried without the variable {name}: the check begins as root, and the service does not\n")
    });
    let lines = unread.chain(left_out).collect::<String>();
    let groups = service_groups(Path::new(SERVICES));
    let restart = match has_other_options(groups, Path::new("/proc"), unit.name(), &command) {
        true => format!(
            "{0} runs with other options, of before a change: systemctl restart {0}\n",
            unit.name()
        ),
        false => String::new(),
    };
    let text = format!("tried: {}\n{lines}{restart}", command.text());
    let _ = stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush());
    let own = env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let found = if command.ignored.is_empty() { "1".into() } else { command.ignored.join("\n") };
    let error = trial(&own, &command, unit.user_variables()).env(IS_OF_UNIT, found).exec();
    Err(format!("run {}: {}", own.display(), explain(&error)))
}

/// The control group of the system's services.
const SERVICES: &str = "/sys/fs/cgroup/system.slice";
/// Bytes of a command line, at most.
const MAX_LINE: u64 = 1 << 20;

/// The control groups of the services that run.
pub fn services() -> impl Iterator<Item = PathBuf> {
    service_groups(Path::new(SERVICES))
}

/// Those below this group, and in the slices below it: a unit with an instance is in a slice of its own.
fn service_groups(top: &Path) -> impl Iterator<Item = PathBuf> {
    let inside = |group: &Path| {
        let entries = fs::read_dir(group).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    };
    let has = |group: &Path, end: &str| group.extension().is_some_and(|found| found == end);
    let slices = inside(top).filter(move |group| has(group, "slice"));
    let groups = inside(top).chain(slices.flat_map(move |slice| inside(&slice)));
    groups.filter(move |group| has(group, "service"))
}

/// Whether the service runs, and no process of it has this command line.
fn has_other_options(
    mut services: impl Iterator<Item = PathBuf>,
    processes: &Path,
    unit: &str,
    command: &UnitCommand,
) -> bool {
    let read = |path: &Path| read_file_text(path, FileKind::State, MAX_LINE).unwrap_or_default();
    let name = format!("{unit}.service");
    let group = services.find(|group| group.file_name().is_some_and(|found| *found == *name));
    let all = group.map_or(String::new(), |group| read(&group.join("cgroup.procs")));
    let lines: Vec<String> = all
        .lines()
        .map(|process| read(&processes.join(process).join("cmdline")))
        .filter(|line| !line.is_empty())
        .collect();
    let is_same = |line: &String| {
        let words: Vec<&str> = line.trim_end_matches('\0').split('\0').skip(1).collect();
        // systemd copies a file of LoadCredential= to a directory of its own.
        let is_same = |(word, own): (&&str, &String)| {
            word == own || word.starts_with("/run/credentials/") && own.starts_with('/')
        };
        words.len() == command.arguments.len() && words.iter().zip(&command.arguments).all(is_same)
    };
    !lines.is_empty() && !lines.iter().any(is_same)
}

/// The check of this command line.
fn trial(own: &Path, command: &UnitCommand, user: Vec<(&str, OsString)>) -> Command {
    let mut trial = Command::new(own);
    trial.arg0(&command.program).arg("--check").args(&command.arguments); // after --, it would be no option
    trial.env_clear().env("PATH", PATH).envs(user);
    trial.envs(command.variables.iter().filter(|(name, _)| !is_of_the_loader(name)));
    trial.env(IS_OF_UNIT, "1");
    trial
}

/// Variables with which a user who may write a file of variables would choose code that a program loads: systemd gives them to a
/// process of that user only.
fn is_of_the_loader(name: &str) -> bool {
    const PREFIXES: [&str; 3] = ["LD_", "MALLOC_", "GCONV_"];
    const NAMES: [&str; 8] = [
        "GLIBC_TUNABLES",
        "LOCPATH",
        "NLSPATH",
        "OPENSSL_CONF",
        "OPENSSL_CONF_INCLUDE",
        "OPENSSL_ENGINES",
        "OPENSSL_MODULES",
        "MARIADB_PLUGIN_DIR",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

/// What the unit of this check ignores in its files of options, each with the remedy.
pub(crate) fn ignored_by_unit() -> Vec<String> {
    let found = env::var(IS_OF_UNIT).unwrap_or_default();
    found.lines().filter(|line| *line != "1").map(String::from).collect()
}

/// What a check did not try, because the service of this program has other options; none if it tried them, or there is no service.
pub fn other_options(name: &str) -> Option<String> {
    other_options_of(name, name, name)
}

/// The same for the program NAME of a unit with another name; `check` is the command that tries the options of that unit.
pub fn other_options_of(unit: &str, name: &str, check: &str) -> Option<String> {
    if env::var_os(IS_OF_UNIT).is_some() {
        return None;
    }
    let Some(command) = UnitFiles::of(unit)?.command_of(name) else {
        return Some(format!(
            "tried without the options of the service (systemctl cat {unit}, or /etc/conf.d/{unit}, has them)"
        ));
    };
    if let Some(why) = command.unread.first() {
        return Some(format!(
            "the options of the service are not known: {why} (sudo {check} --check tries them)"
        ));
    }
    let own = arguments().filter(|word| word != "--check");
    let is_same = own.eq(command.arguments.iter().cloned());
    (!is_same).then(|| {
        format!(
            "the service has other options: {} (sudo {check} --check tries these)",
            command.text()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_systemd_starts() {
        let made = tempfile::tempdir().unwrap();
        let options = made.path().join("default");
        let command = |start: &str, variables: &str| {
            fs::write(&options, variables).unwrap();
            let unit = format!(
                "[Service]\nEnvironment=OPTIONS= \"TZ=UTC\"\nEnvironmentFile=-{}\nEnvironmentFile=-/nowhere\nExecStart={start}\n",
                options.display()
            );
            fs::write(made.path().join("aw-x.service"), unit).unwrap();
            UnitFiles::read("aw-x", &[made.path()]).unwrap().command()
        };
        let shipped = "/usr/bin/aw-x --state-dir /var/lib/x -c /etc/x.toml $OPTIONS";
        for (variables, text) in [
            ("", "aw-x --state-dir /var/lib/x -c /etc/x.toml"),
            (
                "# OPTIONS=-q\nOPTIONS=--learn 0\n",
                "aw-x --state-dir /var/lib/x -c /etc/x.toml --learn 0",
            ),
            ("OPTIONS=\"--learn\" \"0\"", "aw-x --state-dir /var/lib/x -c /etc/x.toml --learn0"),
            ("OPTIONS=--learn \"0\"", "aw-x --state-dir /var/lib/x -c /etc/x.toml --learn 0"),
            (
                "OPTIONS=\"--learn 0 \\\n -m '/a b'\"\n",
                "aw-x --state-dir /var/lib/x -c /etc/x.toml --learn 0 -m '/a b'",
            ),
        ] {
            let found = command(shipped, variables).unwrap();
            assert_eq!(found.text(), text);
            assert_eq!(found.ignored, [""; 0], "{variables}");
            assert_eq!(found.variables["TZ"], "UTC");
            assert_eq!(found.option("-c"), Some("/etc/x.toml"));
        }
        // Of a drop-in.
        let found = command("/usr/bin/aw-x $OPTIONS $EXTRA", "EXTRA=-v").unwrap();
        assert_eq!((found.text(), found.ignored), ("aw-x -v".into(), Vec::new()));
        let found = command(shipped, "OPTION=--learn 0\n").unwrap();
        let place = options.display();
        let fault = format!("{place}: no program reads the variable OPTION (write OPTIONS=");
        assert!(found.ignored[0].starts_with(&fault), "{found:?}");
        // Two recipes, each of which wrote a line.
        let found =
            command(shipped, "#\nOPTIONS=-q \\\n -v\n\nTZ=UTC\n OPTIONS = --learn 0\n").unwrap();
        assert_eq!(found.arguments[4..], ["--learn", "0"]);
        let fault = format!(
            "{place}: line 6 sets OPTIONS= again, and line 2 is not used (write what both have in one line, then restart)"
        );
        assert_eq!(found.ignored, [fault]);
        let found = command(
            "-/usr/bin/aw-x -c${DIR}/a%%b --db=1 $OPTIONS $NONE",
            "OPTIONS=--db=2\nDIR=/a b",
        );
        let found = found.unwrap();
        assert_eq!(found.arguments, ["-c/a b/a%b", "--db=1", "--db=2"]);
        assert_eq!((found.option("--db"), found.option("--d")), (Some("2"), None));
        let loaded = command(
            "/usr/bin/aw-x -c ${CREDENTIALS_DIRECTORY}/x.cnf\nLoadCredential=x.cnf:/etc/x.cnf",
            "",
        );
        assert_eq!(loaded.unwrap().arguments, ["-c", "/etc/x.cnf"]);
        // The service opens what OPTIONS names itself.
        for (variables, is_loaded) in [
            ("", true),
            ("OPTIONS=-c /etc/x.cnf", false),
            ("OPTIONS=-c/etc/x.cnf", false),
            ("OPTIONS=--config=/etc/x.cnf", false),
            ("OPTIONS=--to /srv/etc/x.cnf", true),
        ] {
            command(
                "/usr/bin/aw-x -c ${CREDENTIALS_DIRECTORY}/x.cnf $OPTIONS\nLoadCredential=x.cnf:/etc/x.cnf",
                variables,
            );
            let unit = UnitFiles::read("aw-x", &[made.path()]).unwrap();
            assert_eq!(unit.loads(Path::new("/etc/x.cnf")), is_loaded, "{variables}");
        }
        assert_eq!(command("/bin/sh -c 'aw-x --learn 0'", ""), None);
        assert_eq!(command("", ""), None);
    }

    /// `--check` is an option also before `--`, and no variable of a file chooses what a process of root loads.
    #[test]
    fn what_is_tried() {
        let variables = [
            ("LD_PRELOAD", "/tmp/x.so"),
            ("GCONV_PATH", "/tmp"),
            ("GLIBC_TUNABLES", "x"),
            ("TZ", "UTC"),
        ];
        let command = UnitCommand {
            ignored: Vec::new(),
            given: Vec::new(),
            program: "c".into(),
            arguments: vec!["--".into(), "eth1".into()],
            variables: BTreeMap::from(
                variables.map(|(name, value)| (name.to_owned(), value.to_owned())),
            ),
            unread: Vec::new(),
        };
        let trial = trial(Path::new("/bin/c"), &command, vec![("USER", "x".into())]);
        assert!(trial.get_args().eq(["--check", "--", "eth1"]));
        let names: Vec<_> = trial.get_envs().map(|(name, _)| name).collect();
        assert_eq!(names, [IS_OF_UNIT, "PATH", "TZ", "USER"]);
    }

    /// A restart that was forgotten is named.
    #[test]
    fn the_options_of_a_running_service() {
        let made = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = made.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let command = UnitCommand {
            ignored: Vec::new(),
            given: Vec::new(),
            program: "aw-x".into(),
            arguments: ["-c", "/etc/x.cnf", "--retention", "90"].map(String::from).into(),
            variables: BTreeMap::new(),
            unread: Vec::new(),
        };
        let differs = |unit: &str| {
            has_other_options(service_groups(made.path()), made.path(), unit, &command)
        };
        assert!(!differs("aw-x"), "it does not run");
        write("aw-x.service/cgroup.procs", "7\n8\n");
        write("system-aw\\x2dx.slice/aw-x@eth0.service/cgroup.procs", "7\n8\n");
        for (line, is_other) in [
            ("aw-x\0-c\0/run/credentials/aw-x.service/x.cnf\0--retention\x0090\0", false),
            ("aw-x\0-c\0/etc/x.cnf\0--retention\x0030\0", true),
            ("aw-x\0-c\0/etc/x.cnf\0", true),
        ] {
            write("7/cmdline", "aw-x\0--sender\0");
            write("8/cmdline", line);
            for unit in ["aw-x", "aw-x@eth0"] {
                assert_eq!(differs(unit), is_other, "{unit} {line:?}");
            }
        }
    }

    /// In a unit, % begins a specifier; in a file of variables, it is a letter.
    #[test]
    fn specifiers() {
        let made = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs::write(made.path().join(name), text).unwrap();
            made.path().join(name).display().to_string()
        };
        file("all", "TOKEN=a%b%%c\nOPTIONS_ALL=-r 60\n");
        file("own-eth0.7", "OPTIONS=--blacklist 192.0.2.1\n");
        let place = made.path().display();
        file(
            "aw-c@.service",
            &format!(
                "[Service]\nEnvironment=RATE=5%% BOOT=%b NAME=%N\nEnvironmentFile=-{place}/all\nEnvironmentFile=-{place}/own-%i\nEnvironmentFile=-{place}/none-%i\nExecStart=/usr/bin/c -q --join %t/c --instance %i --boot %b $OPTIONS_ALL $OPTIONS\n"
            ),
        );
        let unit = || UnitFiles::read("aw-c@eth0.7", &[made.path()]).unwrap();
        assert_eq!(unit().command(), None);
        let found = unit().command_of("c").unwrap();
        assert_eq!(
            found.text(),
            "c -q --join /run/c --instance eth0.7 --boot %b -r 60 --blacklist 192.0.2.1"
        );
        let value = |name: &str| found.variables.get(name).map(String::as_str);
        assert_eq!(value("TOKEN"), Some("a%b%%c"));
        assert_eq!(
            (value("RATE"), value("NAME"), value("BOOT")),
            (Some("5%"), Some("aw-c@eth0.7"), None)
        );
        assert_eq!(found.unread, Vec::<String>::new());
        fs::write(made.path().join("all"), [0xff]).unwrap();
        let found = unit().command_of("c").unwrap();
        assert_eq!(found.unread, [format!("{place}/all: it is not a text in UTF-8")]);
    }

    #[test]
    fn the_unit_of_a_check() {
        for (words, unit) in [
            ("--check", Some("c")),
            ("--check --instance eth0", Some("addrwatch-c@eth0")),
            ("--instance=eth0 --check", Some("addrwatch-c@eth0")),
            ("--check eth0", None),
            ("--check --instance eth0 -r 60", None),
        ] {
            let words: Vec<String> = words.split(' ').map(String::from).collect();
            assert_eq!(unit_of_check("c", &words).as_deref(), unit, "{words:?}");
        }
    }
}

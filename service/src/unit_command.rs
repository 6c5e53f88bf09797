//! The command line with which systemd starts a program as its service: what `NAME --check` of root tries, and the name of a
//! service's database for programs that read it.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io::{Write, stdout},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
};

use rustix::process::geteuid;

use crate::{
    FileKind, UnitFiles, read_file_text,
    unit_files::{logical_lines, words},
};

/// Set for the process that a check becomes.
const IS_OF_UNIT: &str = "AW_CHECK_OF_UNIT";
/// Bytes of a file of variables, at most.
const MAX_FILE: u64 = 64 << 10;

/// What systemd starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitCommand {
    /// The name of the program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The variables of the unit and its files.
    variables: BTreeMap<String, String>,
}

impl UnitFiles {
    /// The program that the unit starts, with the options of its files, such as OPTIONS of /etc/default/NAME; none if it starts
    /// another program than that of its name. A file that this user may not read is left out.
    pub fn command(&self) -> Option<UnitCommand> {
        let mut variables = BTreeMap::new();
        let set = |variables: &mut BTreeMap<_, _>, line: &str| {
            if let Some((name, value)) = line.split_once('=') {
                variables.insert(name.trim().to_owned(), unquoted(value.trim()));
            }
        };
        self.environment.iter().for_each(|line| set(&mut variables, line));
        for file in &self.environment_files {
            let text = read_file_text(file, FileKind::Settings, MAX_FILE).unwrap_or_default();
            logical_lines(&text).iter().for_each(|line| set(&mut variables, line));
        }
        let mut line = words(self.exec_start.as_deref()?).into_iter();
        let program = line.next()?;
        let program =
            Path::new(program.trim_start_matches(['-', '@', ':', '+', '!'])).file_name()?;
        let program = program.to_str().filter(|program| *program == self.name())?.to_owned();
        let value = |name: &str| variables.get(name).map_or("", String::as_str);
        let mut arguments = Vec::new();
        for mut word in line {
            // The check reads it as systemd does, as root.
            for (name, path) in &self.credentials {
                for place in ["${CREDENTIALS_DIRECTORY}", "%d"] {
                    word = word.replace(&format!("{place}/{name}"), &path.display().to_string());
                }
            }
            match word.strip_prefix('$').filter(|name| is_name(name)) {
                Some(name) => arguments.extend(words(value(name))),
                None => arguments.push(expanded(&word, value)),
            }
        }
        Some(UnitCommand { program, arguments, variables })
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

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Without quotes around it.
fn unquoted(value: &str) -> String {
    let inner = ['"', '\''].into_iter().find_map(|quote| {
        value.strip_prefix(quote)?.strip_suffix(quote).filter(|inner| !inner.contains(quote))
    });
    inner.unwrap_or(value).into()
}

/// With the values of `${NAME}` in a word.
fn expanded<'a>(word: &str, value: impl Fn(&str) -> &'a str) -> String {
    let mut parts = word.split("${");
    let mut text = parts.next().unwrap_or_default().replace("%%", "%");
    for part in parts {
        match part.split_once('}') {
            Some((name, rest)) if is_name(name) => {
                text.push_str(value(name));
                text.push_str(&rest.replace("%%", "%"));
            }
            _ => text.extend(["${", part]),
        }
    }
    text
}

/// `NAME --check` of root, without other options: becomes the same check with the command line and the variables of the unit NAME,
/// after a line that shows it. Returns if there is no such unit, or why that failed.
pub(crate) fn check_as_unit(name: &str) -> Result<(), String> {
    let is_alone = env::args_os().skip(1).eq([OsString::from("--check")]);
    if !is_alone || !geteuid().is_root() || env::var_os(IS_OF_UNIT).is_some() {
        return Ok(());
    }
    let Some(command) = UnitFiles::of(name).and_then(|unit| unit.command()) else { return Ok(()) };
    let _ = writeln!(stdout(), "tried: {}", command.text()).and_then(|()| stdout().flush());
    // Not what only systemd knows, such as %b.
    let variables = command.variables.iter().filter(|(_, value)| !value.contains('%'));
    let own = env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let error = Command::new(&own)
        .arg0(name)
        .args(&command.arguments)
        .arg("--check")
        .envs(variables)
        .env(IS_OF_UNIT, "1")
        .exec();
    Err(format!("run {}: {}", own.display(), crate::explain(&error)))
}

/// What a check did not try, because the service of this program has other options; none if it tried them, or there is no service.
pub fn other_options(name: &str) -> Option<String> {
    if env::var_os(IS_OF_UNIT).is_some() {
        return None;
    }
    let Some(command) = UnitFiles::of(name)?.command() else {
        return Some(format!(
            "tried without the options of the service (systemctl cat {name}, or /etc/conf.d/{name}, has them)"
        ));
    };
    let own = env::args().skip(1).filter(|word| word != "--check");
    let is_same = own.eq(command.arguments.iter().cloned());
    (!is_same).then(|| {
        format!(
            "the service has other options: {} (sudo {name} --check tries these)",
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
            (
                "OPTIONS=\"--learn 0 \\\n -m '/a b'\"\n",
                "aw-x --state-dir /var/lib/x -c /etc/x.toml --learn 0 -m '/a b'",
            ),
        ] {
            let found = command(shipped, variables).unwrap();
            assert_eq!(found.text(), text);
            assert_eq!(found.variables["TZ"], "UTC");
            assert_eq!(found.option("-c"), Some("/etc/x.toml"));
        }
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
        assert_eq!(command("/bin/sh -c 'aw-x --learn 0'", ""), None);
        assert_eq!(command("", ""), None);
    }
}

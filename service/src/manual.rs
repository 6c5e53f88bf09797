//! `PROGRAM --generate man`, `bash`, `zsh` or `fish`: prints the manual page or the completions of a
//! program, generated from its option parser, so that both list exactly the options that exist. It is
//! meant for packaging, and `--help` does not list it.

use std::io::{self, Write};

use clap::{Arg, Command};
use clap_complete::{Shell, generate};
use clap_mangen::{Man, roff};

use crate::unit_command::arguments;

/// Prints them and exits, if the command line is `--generate WHAT`.
pub(crate) fn print_if_asked(name: &str, command: Command) {
    let words: Vec<_> = arguments().collect();
    let [option, what] = words.as_slice() else { return };
    if option != "--generate" {
        return;
    }
    let mut bytes = Vec::new();
    let printed = match what.parse::<Shell>() {
        Ok(shell) => {
            generate(shell, &mut command.clone(), name, &mut bytes);
            Ok(())
        }
        Err(_) if what == "man" => page(command, &mut bytes),
        Err(_) => return,
    };
    let printed = printed.and_then(|()| io::stdout().write_all(&bytes));
    std::process::exit(i32::from(printed.is_err()));
}

/// When the pages were last reviewed.
const DATE: &str = "2026-11-22";

/// The page without its hand-written sections (FILES, SEE ALSO), which contrib/install.sh appends.
fn page(mut command: Command, out: &mut Vec<u8>) -> io::Result<()> {
    command.build();
    command = command.mut_args(with_aliases);
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let service = command.get_arguments().any(|option| option.get_id() == "daemon");
    let section = if service { "8" } else { "1" };
    let version = format!("addrwatch-rs {}", env!("CARGO_PKG_VERSION"));
    let title = command.get_name().to_uppercase();
    let man = Man::new(command.clone()).title(title).section(section);
    let man = man.date(DATE).source(version).manual("addrwatch-rs");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let mut text = Vec::new();
        Man::new(sub.clone().mut_args(with_aliases)).render_options_section(&mut text)?;
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(out, ".SH \"COMMAND {}\"", sub.get_name().to_uppercase())?;
        writeln!(out, "{}.", escape(&about))?;
        out.extend(
            text.split_inclusive(|byte| *byte == b'\n')
                .filter(|line| !line.starts_with(b".SH"))
                .flatten(),
        );
    }
    examples(&after, out)
}

/// Adds an option's aliases to its text: `--help` lists them, but clap_mangen does not.
fn with_aliases(option: Arg) -> Arg {
    let Some(names) = option.get_visible_aliases().filter(|names| !names.is_empty()) else {
        return option;
    };
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    let names: Vec<_> = names.iter().map(|name| format!("--{name}")).collect();
    let names = names.join(", ");
    option.help(format!("{help}; the same as {names}"))
}

/// The text below the options in `--help`, unchanged, under separate headings.
fn examples(after: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let (rest, status) = after.rsplit_once("Exit status: ").unwrap_or((after, ""));
    let (examples, notes) = rest.split_once("\n\n").unwrap_or((rest, ""));
    for (title, text) in [("NOTES", notes), ("EXIT STATUS", status), ("EXAMPLES", examples)] {
        let text = text.trim_end().trim_start_matches("Examples:\n");
        if !text.is_empty() {
            // Lines with a column of their own stay as they are.
            let is_table = title == "EXAMPLES" || text.contains("\n  ");
            let (start, end) = if is_table { (".nf\n", ".fi\n") } else { ("", "") };
            write!(out, ".SH \"{title}\"\n{start}{}\n{end}", escape(text))?;
        }
    }
    Ok(())
}

/// Escapes text for a page: no line starts a roff request, and hyphens are kept.
fn escape(text: &str) -> String {
    let mut page = roff::Roff::new();
    page.text([roff::roman(text)]);
    page.to_roff().trim_end().into()
}

/// A key of a configuration file as its manual page documents it. The line below `.B KEY` has its type, its
/// default or `required` or `optional`, and its unit if it has one: `integer; default 60; seconds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentedKey {
    /// The table that the key is in: the last word of the `.SS` heading above it, without brackets.
    pub table: String,
    /// The key.
    pub name: String,
    /// Its type, as in `string` or `list of strings`.
    pub kind: String,
    /// Whether the file must have it.
    pub required: bool,
    /// Its default, written as in the file, if it has one.
    pub default: Option<String>,
}

/// The keys that a manual page documents, for the tests that compare them with the parser.
pub fn documented_keys(page: &str) -> Vec<DocumentedKey> {
    let page = page.replace("\\-", "-").replace("\\(dq", "\"");
    let (mut table, mut keys) = ("", Vec::new());
    for (line, below) in page.lines().zip(page.lines().skip(1)) {
        if let Some(heading) = line.strip_prefix(".SS ") {
            let word = heading.trim_matches('"').split(' ').next_back().unwrap_or_default();
            table = word.trim_matches(['[', ']']);
        }
        let Some(name) = line.strip_prefix(".B ") else { continue };
        let Some((kind, rest)) = below.split_once("; ") else { continue };
        let (table, name, kind) = (table.into(), name.into(), kind.into());
        let default = rest.split("; ").next().unwrap_or_default().strip_prefix("default ");
        let (default, required) = (default.map(str::to_owned), rest.starts_with("required"));
        keys.push(DocumentedKey { table, name, kind, required, default });
    }
    keys
}

/// A value of each type.
const VALUES: [(&str, &str); 7] = [
    ("string", "\"x\""),
    ("integer", "7"),
    ("boolean", "true"),
    ("list of strings", "[\"x\"]"),
    ("list of integers", "[7]"),
    ("table", "{ x = 7 }"),
    ("list of tables", "[{ x = 7 }]"),
];

impl DocumentedKey {
    /// A value of each type that the key does not have.
    pub fn wrong_values(&self) -> impl Iterator<Item = &'static str> {
        let has = |kind: &str| self.kind.split(" or ").any(|own| own == kind);
        VALUES.iter().filter(move |(kind, _)| !has(kind)).map(|(_, value)| *value)
    }

    /// Compares the key with its parser. `parse` gets the line of the key, or an empty one, and returns the settings as
    /// text. All texts are strings in a file without quotes, which is not `typed`.
    pub fn compare(
        &self,
        typed: bool,
        parse: impl Fn(&str) -> Result<String, String>,
    ) -> Result<(), String> {
        let with = |value: &str| parse(&format!("{} = {value}\n", self.name));
        let without = parse("");
        if without.is_err() != self.required {
            return Err(format!("{self:?}: without it: {without:?}"));
        }
        if let Some(default) = &self.default
            && with(default) != without
        {
            return Err(format!("{self:?}: {:?} instead of {without:?}", with(default)));
        }
        let any = !typed && ["string", "path"].contains(&&*self.kind);
        match self.wrong_values().find(|value| with(value).is_ok() != any) {
            Some(value) => Err(format!("{self:?}: {value}: {:?}", with(value))),
            None => Ok(()),
        }
    }
}

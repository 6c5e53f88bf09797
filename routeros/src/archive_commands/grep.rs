//! `grep`: lines of the newest configuration of each router, each line with its menu.

use std::path::Path;

use aw_service::{Error, failed, info, plain, warn};
use clap::Args;
use regex::bytes::{Regex, RegexBuilder};
use serde_json::json;

use super::{Format, OutputOptions, find_router, read};
use crate::{
    access::read_config,
    archive::Archive,
    config::{Config, RouterName},
    config_export::parse_stored,
    mask::mask,
    terminal::print,
};

/// Memory of a compiled pattern, at most. The time of a search grows with the length of the line only.
const MAX_PATTERN: usize = 1 << 20;

#[derive(Args, Debug)]
pub struct GrepOptions {
    /// Regular expression, or text with --fixed; without --secrets secrets are *** before the search, too
    pattern: String,
    /// Search only these routers
    routers: Vec<String>,
    /// Take PATTERN as text, not as a regular expression
    #[arg(short = 'F', long)]
    fixed: bool,
    /// Ignore the case of letters
    #[arg(short, long)]
    ignore_case: bool,
    /// Print only the names of routers with such a line
    #[arg(short = 'l', long)]
    routers_only: bool,
    #[command(flatten)]
    output: OutputOptions,
}

pub fn grep(path: &Path, options: &GrepOptions) -> Result<(), Error> {
    let config = read_config(path)?;
    let pattern = pattern(options).map_err(failed)?;
    let names: Vec<_> = match options.routers.as_slice() {
        [] => config.routers.iter().map(|router| router.name.clone()).collect(),
        names => names.iter().map(|name| find_router(&config, name)).collect::<Result<_, _>>()?,
    };
    let (mut found, mut without, mut unread) = (false, Vec::new(), 0);
    for name in names {
        match lines(&config, &name) {
            Ok(Some(lines)) => found |= print_matches(&name, &lines, &pattern, options)?,
            Ok(None) => without.push(name.to_string()),
            Err(Error::Failed(why)) => {
                warn(why);
                unread += 1;
            }
            Err(closed) => return Err(closed),
        }
    }
    if !without.is_empty() {
        info(format_args!("no configuration in the archive yet: {}", without.join(", ")));
    }
    match unread {
        0 if found => Ok(()),
        0 => Err(failed(format_args!("no line matches {:?}", options.pattern))), // exit 1, as grep(1)
        _ => Err(failed(format_args!("routers that were not searched: {unread}"))),
    }
}

/// The lines of the last complete export; `None` if there is none.
pub fn lines(config: &Config, name: &RouterName) -> Result<Option<Vec<String>>, Error> {
    let base = read(name, Archive::of(&config.archive, name).base())?;
    let Some(bytes) = base else { return Ok(None) };
    let export = parse_stored(&bytes)
        .map_err(|fault| failed(format_args!("{name}: latest.rsc: {fault}")))?;
    Ok(Some(export.lines))
}

fn pattern(options: &GrepOptions) -> Result<Regex, String> {
    let text = match options.fixed {
        true => regex::escape(&options.pattern),
        false => options.pattern.clone(),
    };
    // By bytes, without the tables of Unicode: letters beyond ASCII match themselves.
    let mut builder = RegexBuilder::new(&text);
    builder.unicode(false).size_limit(MAX_PATTERN).case_insensitive(options.ignore_case);
    builder.build().map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("pattern {:?}: {why} (--fixed takes it as text)", options.pattern)
    })
}

fn print_matches(
    name: &RouterName,
    lines: &[String],
    pattern: &Regex,
    options: &GrepOptions,
) -> Result<bool, Error> {
    let mut text = String::new();
    for line in lines {
        // Else a search would show what a secret is.
        let line = if options.output.secrets { line.clone() } else { mask(line) };
        if !pattern.is_match(line.as_bytes()) {
            continue;
        }
        if options.routers_only {
            print(&match options.output.format {
                Format::Table => format!("{name}\n"),
                Format::Json => format!("{}\n", json!({ "router": name.as_str() })),
            })?;
            return Ok(true);
        }
        text += &match options.output.format {
            Format::Table => format!("{name}: {}\n", plain(&line)),
            Format::Json => format!("{}\n", json!({ "router": name.as_str(), "line": line })),
        };
    }
    print(&text)?;
    Ok(!text.is_empty())
}

//! Jump hosts: `via` names the router or host whose SSH server a connection goes through.

use std::sync::Arc;

use super::{Config, Router, RouterName};

/// Jump hosts in a row, at most.
const MAX_JUMPS: usize = 4;

/// Names in a warning, at most.
const MAX_NAMES: usize = 5;

/// Gives each router with `via` the entry that it names. A loop is an error.
pub fn link_jumps(config: &mut Config) -> Result<(), String> {
    let all: Vec<Router> = config.routers.iter().chain(&config.jump_hosts).cloned().collect();
    let mut without_effect = Vec::new();
    for router in config.routers.iter_mut().chain(&mut config.jump_hosts) {
        router.jump = jump_of(router, &all, MAX_JUMPS)
            .map_err(|why| format!("router {}: via: {why}", router.name))?;
        if let Some(first) = ignores_source(router) {
            without_effect.push(format!("{} (via {first})", router.name));
        }
    }
    config.warnings.clear();
    if !without_effect.is_empty() {
        let more = match without_effect.len().saturating_sub(MAX_NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        without_effect.truncate(MAX_NAMES);
        config.warnings.push(format!(
            "source has no effect with via, at {}{more}: connections come from the source of the jump host (set it there; source = \"\" at the router, or in its group, ends this warning)",
            without_effect.join(", ")
        ));
    }
    Ok(())
}

/// Only the connection to the first jump host comes from this machine: its name, if it has another source.
fn ignores_source(router: &Router) -> Option<&RouterName> {
    let (source, mut first) = (router.source?, router.jump.as_ref()?);
    while let Some(before) = &first.jump {
        first = before;
    }
    (first.source != Some(source)).then_some(&first.name)
}

fn jump_of(router: &Router, all: &[Router], left: usize) -> Result<Option<Arc<Router>>, String> {
    let Some(via) = &router.via else { return Ok(None) };
    if left == 0 {
        return Err(format!("{via}: a loop, or more than {MAX_JUMPS} jump hosts in a row"));
    }
    let jump = all.iter().find(|other| &other.name == via);
    let mut jump = jump
        .ok_or_else(|| {
            format!("{via}: no [[router]] or [[jump_host]] has this name (correct it, or add one)")
        })?
        .clone();
    jump.jump = jump_of(&jump, all, left - 1)?;
    Ok(Some(Arc::new(jump)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[(&str, &str, Option<&str>)]) -> Result<Config, String> {
        let mut text = "archive = \"/x\"\n".to_owned();
        for (table, name, via) in entries {
            text += &format!(
                "[[{table}]]\nname = {name:?}\naddress = \"192.0.2.1\"\nuser = \"a\"\nkey_file = \"/k\"\n"
            );
            text += &via.map_or(String::new(), |via| format!("via = {via:?}\n"));
        }
        Config::parse(&text)
    }

    #[test]
    fn chains() {
        let config = parse(&[
            ("router", "r1", Some("r2")),
            ("router", "r2", Some("bastion")),
            ("jump_host", "bastion", None),
        ]);
        let config = config.unwrap();
        let jump = config.routers[0].jump.as_ref().unwrap();
        assert_eq!(jump.name.as_str(), "r2");
        assert_eq!(jump.jump.as_ref().unwrap().name.as_str(), "bastion");
        assert!(config.jump_hosts[0].jump.is_none());
    }

    /// The address that a connection comes from is one of the first jump host, which the router's key must not contradict.
    #[test]
    fn source_behind_a_jump_host() {
        let parse = |source: &str, of_host: &str| {
            Config::parse(&format!(
                "archive = \"/x\"\n[defaults]\nuser = \"a\"\nkey_file = \"/k\"\n\
                 [[router]]\nname = \"r1\"\naddress = \"192.0.2.1\"\nvia = \"r2\"\n{source}\n\
                 [[router]]\nname = \"r2\"\naddress = \"192.0.2.2\"\nvia = \"bastion\"\n\
                 [[jump_host]]\nname = \"bastion\"\naddress = \"192.0.2.3\"\nuser = \"a\"\nkey_file = \"/k\"\n{of_host}\n"
            ))
        };
        let source = "source = \"192.0.2.9\"";
        for of_host in ["", "source = \"192.0.2.8\""] {
            let config = parse(source, of_host).unwrap();
            let [warning] = &*config.warnings else { panic!("{:?}", config.warnings) };
            let begin = "source has no effect with via, at r1 (via bastion): ";
            assert!(warning.starts_with(begin), "{warning}");
        }
        assert_eq!(parse(source, source).unwrap().warnings, [""; 0]);
        assert_eq!(parse("", source).unwrap().warnings, [""; 0]);
        assert_eq!(parse("source = \"\"", source).unwrap().warnings, [""; 0]);
    }

    /// One line, also if it is one of the defaults that many routers have; what it says ends it.
    #[test]
    fn an_inherited_source_behind_a_jump_host() {
        let routers = |own: &str| -> String {
            let router = |n| {
                format!(
                    "[[router]]\nname = \"r{n}\"\naddress = \"192.0.2.1\"\nvia = \"bastion\"\n{own}"
                )
            };
            (0..9).map(router).collect()
        };
        let parse = |own: &str| {
            Config::parse(&format!(
                "archive = \"/x\"\n[defaults]\nuser = \"a\"\nkey_file = \"/k\"\nsource = \"192.0.2.9\"\n{}\
                 [[jump_host]]\nname = \"bastion\"\naddress = \"192.0.2.3\"\nuser = \"a\"\nkey_file = \"/k\"\n",
                routers(own)
            ))
        };
        let warnings = parse("").unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("r4 (via bastion) and 4 more: "));
        assert_eq!(parse("source = \"\"\n").unwrap().warnings, [""; 0]);
    }

    #[test]
    fn loops_and_unknown_names() {
        let loops = [
            parse(&[("router", "r1", Some("r1"))]),
            parse(&[("router", "r1", Some("r2")), ("router", "r2", Some("r1"))]),
            parse(&[("router", "r1", None), ("jump_host", "j", Some("j"))]),
        ];
        for config in loops {
            assert!(config.unwrap_err().contains("a loop"));
        }
        let why = parse(&[("router", "r1", Some("nowhere"))]).unwrap_err();
        assert!(why.contains("router r1: via: nowhere: no [[router]]"), "{why}");
        let why = parse(&[("router", "x", None), ("jump_host", "x", None)]).unwrap_err();
        assert!(why.contains("used twice"), "{why}");
    }
}

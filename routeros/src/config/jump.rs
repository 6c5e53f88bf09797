//! Jump hosts: `via` names the router or host whose SSH server a connection goes through.

use std::sync::Arc;

use super::{Config, Router};

/// Jump hosts in a row, at most.
const MAX_JUMPS: usize = 4;

/// Gives each router with `via` the entry that it names. A loop is an error.
pub fn link_jumps(config: &mut Config) -> Result<(), String> {
    let all: Vec<Router> = config.routers.iter().chain(&config.jump_hosts).cloned().collect();
    for router in config.routers.iter_mut().chain(&mut config.jump_hosts) {
        router.jump = jump_of(router, &all, MAX_JUMPS)
            .map_err(|why| format!("router {}: via: {why}", router.name))?;
        check_source(router).map_err(|why| format!("router {}: source: {why}", router.name))?;
    }
    Ok(())
}

/// Only the connection to the first jump host comes from this machine.
fn check_source(router: &Router) -> Result<(), String> {
    let (Some(source), Some(jump)) = (router.source, &router.jump) else { return Ok(()) };
    let mut first = jump;
    while let Some(before) = &first.jump {
        first = before;
    }
    if first.source == Some(source) {
        return Ok(());
    }
    let name = &first.name;
    Err(format!("it has no effect with via: set it in the entry of {name}, and not in this one"))
}

fn jump_of(router: &Router, all: &[Router], left: usize) -> Result<Option<Arc<Router>>, String> {
    let Some(via) = &router.via else { return Ok(None) };
    if left == 0 {
        return Err(format!("{via}: a loop, or more than {MAX_JUMPS} jump hosts in a row"));
    }
    let jump = all.iter().find(|other| &other.name == via);
    let mut jump =
        jump.ok_or_else(|| format!("{via}: no [[router]] or [[jump_host]] has this name"))?.clone();
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
            let why = parse(source, of_host).unwrap_err();
            let remedy =
                "router r1: source: it has no effect with via: set it in the entry of bastion";
            assert!(why.contains(remedy), "{why}");
        }
        assert!(parse(source, source).is_ok());
        assert!(parse("", source).is_ok());
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

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
    }
    Ok(())
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

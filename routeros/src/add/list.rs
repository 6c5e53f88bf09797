//! Adds many routers at once: fetches the host key of each, shows them, asks once, logs in to each, and writes the entries of
//! those that the service can follow. The others are listed at the end; a second run adds them, because routers that are
//! there already are left out.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use aw_service::{Error, FileKind, count_of, failed, info, plain, read_file_text, warn};
use tokio::task::JoinSet;

pub use super::entries::NewRouter;
use super::{
    COMPARE, block_on,
    entries::{ConfigFile, check_name, quoted},
    later, next, remedy,
};
use crate::{
    config::{MAX_CONFIG, Router, RouterName, router_address},
    host_key::HostKey,
    ssh::{SshConnection, SshFault},
    terminal::{confirm, print},
};

/// Routers that are connected to at the same time.
const AT_ONCE: usize = 16;
/// Names for each reason in the error at the end, at most.
const MAX_LISTED: usize = 20;

/// The lines of a list: ADDRESS or NAME ADDRESS. `common` are lines for each entry.
pub fn read(list: &Path, common: &str) -> Result<Vec<NewRouter>, Error> {
    let text = read_file_text(list, FileKind::Settings, MAX_CONFIG)
        .map_err(|error| Error::io(format_args!("read {}", list.display()), error))?;
    parse(&text, common).map_err(|why| failed(format_args!("{}: {why}", list.display())))
}

fn parse(text: &str, common: &str) -> Result<Vec<NewRouter>, String> {
    let (mut routers, mut names, mut faults) = (Vec::new(), HashSet::new(), Vec::new());
    let text = text.trim_start_matches('\u{feff}'); // of editors that mark UTF-8
    for (number, line) in text.lines().enumerate() {
        match parse_line(line, common, &mut names) {
            Ok(router) => routers.extend(router),
            Err(why) => faults.push(format!("line {}: {why}", number + 1)),
        }
    }
    match faults.len().saturating_sub(MAX_LISTED) {
        0 if faults.is_empty() => Ok(routers),
        0 => Err(faults.join("; ")),
        more => Err(format!("{}; and {more} more lines", faults[..MAX_LISTED].join("; "))),
    }
}

/// The router of a line, if it has one.
fn parse_line(
    line: &str,
    common: &str,
    names: &mut HashSet<RouterName>,
) -> Result<Option<NewRouter>, String> {
    let line = line.split('#').next().unwrap_or_default();
    let words: Vec<_> = line.split_whitespace().collect();
    let line = line.trim();
    if line.contains([',', ';']) {
        return Err(format!(
            "{line:?}: a blank separates NAME and ADDRESS, no {:?}",
            if line.contains(',') { ',' } else { ';' }
        ));
    }
    let (name, address) = match words.as_slice() {
        [] => return Ok(None),
        [address] => (None, *address),
        [name, address] => (Some(*name), *address),
        _ => return Err(format!("{line:?}: must be ADDRESS or NAME ADDRESS")),
    };
    let address = router_address(address)?;
    let name = name.map_or_else(|| address.host.replace(':', "-"), str::to_owned);
    check_name(&name, &address)?;
    let name = RouterName::try_from(name)?;
    if !names.insert(name.clone()) {
        return Err(format!("{name}: the name is used twice"));
    }
    let entry = format!(
        "name = {}\naddress = {}\n{common}",
        quoted(name.as_str()),
        quoted(&address.to_string())
    );
    Ok(Some(NewRouter { name, address, entry, password: None }))
}

/// Adds the routers to the configuration file; `tables` stand before them. Fails at the end if some could not be added.
pub fn add(
    file: ConfigFile,
    mut routers: Vec<NewRouter>,
    tables: &str,
    trust_all: bool,
) -> Result<(), Error> {
    let known: BTreeMap<_, _> =
        file.config.routers.iter().map(|router| (&router.name, &router.address)).collect();
    let (mut left_out, mut conflicts) = (0, Vec::new());
    routers.retain(|NewRouter { name, address, .. }| {
        match known.get(name) {
            None => return true,
            Some(other) if *other == address => left_out += 1,
            Some(other) => conflicts.push((name.clone(), address.to_string(), format!(
                "the configuration has a router of this name with the address {other} (choose another name, or correct the address there)"
            ))),
        }
        false
    });
    if left_out > 0 {
        let there = count_of(left_out, "router is", "routers are");
        let them = if left_out == 1 { "it" } else { "them" };
        info(format_args!("{there} left out: the configuration has {them} already"));
    }
    // With all entries, so that each router has what its group and the defaults set.
    let new = file.with(tables, &routers)?;
    let mut addresses: BTreeMap<_, _> =
        new.iter().map(|router| (router.name.clone(), router.address.to_string())).collect();
    let (keys, mut faults) = fetch_keys(new.clone())?;
    for (name, address, why) in conflicts {
        addresses.insert(name.clone(), address);
        faults.push((name, why));
    }
    for twice in same_router(&file.config.routers, &new, &keys) {
        warn(twice);
    }
    if !keys.is_empty() && !trust_all {
        let same = match keys.len() {
            1 => "Is it the same?".into(),
            count => format!("Are all {count} the same?"),
        };
        let question = format!("Compare them with the routers' own {COMPARE}. {same}");
        if !confirm(&question, "--yes")? {
            return Err(failed(
                "the host keys are not confirmed: nothing was changed (answer yes if they are the same)",
            ));
        }
    }
    let mut confirmed = Vec::new();
    for mut router in routers {
        if let Some((_, key)) = keys.iter().find(|(name, _)| *name == router.name) {
            router.entry += &format!("host_key = {}\n", quoted(&key.to_string()));
            confirmed.push(router);
        }
    }
    let (added, refused) = match confirmed.is_empty() {
        true => Default::default(),
        false => file.add(tables, confirmed)?,
    };
    faults.extend(refused);
    let next = match added.len() {
        0 => String::new(),
        _ => next(&file, ""),
    };
    let count = count_of(added.len() as u64, "router is", "routers are");
    print(&format!("{count} added to {}{next}\n", file.path().display()))?;
    if faults.is_empty() {
        return Ok(());
    }
    let reasons = not_added(&faults, &addresses);
    let count = count_of(faults.len() as u64, "router is", "routers are");
    if let [only] = &*reasons {
        return Err(failed(format_args!("{count} not added: {only}")));
    }
    reasons.iter().for_each(|reason| warn(format_args!("not added: {reason}")));
    Err(failed(format_args!("{count} not added (the lines before this one)")))
}

type Faults = Vec<(RouterName, String)>;

/// Each reason once, with the names of its routers.
fn not_added(faults: &Faults, addresses: &BTreeMap<RouterName, String>) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, why) in faults {
        let address = addresses.get(name).map_or("", String::as_str);
        by_reason.entry(why).or_default().push(format!("{name} ({address})"));
    }
    let mut reasons = Vec::new();
    for (why, mut names) in by_reason {
        names.sort_by_cached_key(|name| in_order(name));
        if names.len() > MAX_LISTED {
            let more = names.len() - MAX_LISTED;
            names.truncate(MAX_LISTED);
            names.push(format!("and {more} more"));
        }
        reasons.push(plain(&format!("{}: {why}", names.join(", "))));
    }
    reasons
}

/// What `branch2` is sorted by, so that it stands before `branch10`.
fn in_order(name: &str) -> (String, usize, String) {
    let name = name.split(' ').next().unwrap_or_default();
    let start = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = name[start.len()..].trim_start_matches('0');
    (start.to_owned(), digits.len(), digits.to_owned())
}

/// New routers that are there already, or twice in the list, by address or host key.
pub fn same_router(known: &[Router], new: &[Router], keys: &Keys) -> Vec<String> {
    let key = |router: &Router| keys.iter().find(|(name, _)| *name == router.name).map(|it| &it.1);
    let mut found = Vec::new();
    for (number, router) in new.iter().enumerate() {
        for other in known.iter().chain(&new[..number]) {
            let (name, other_name) = (&router.name, &other.name);
            let has_key = |key: &HostKey| {
                let pinned = other
                    .host_key
                    .0
                    .iter()
                    .chain(keys.iter().filter(|(name, _)| name == other_name).map(|it| &it.1));
                pinned.into_iter().any(|pin| pin.fingerprint == key.fingerprint)
            };
            if router.address == other.address && router.via == other.via {
                found.push(format!(
                    "{name} has the address of {other_name}, {}: one router, followed twice (keep one of the two entries)",
                    router.address
                ));
            } else if key(router).is_some_and(has_key) {
                found.push(format!("{name} has the host key of {other_name}: one router, followed twice, or copies of one machine (keep one of the two entries, or give each machine a key of its own: /ip ssh regenerate-host-key)"));
            }
        }
    }
    found
}

pub type Keys = Vec<(RouterName, HostKey)>;

/// Fetches the host keys of all routers, and prints them in the order of the list. Returns them, and the faults of the routers
/// that sent none.
fn fetch_keys(routers: Vec<Router>) -> Result<(Keys, Faults), Error> {
    let count = routers.len();
    let (mut keys, mut faults) = (Vec::new(), Vec::new());
    let mut report = |router: Router, key: Result<HostKey, SshFault>| {
        let number = keys.len() + faults.len() + 1;
        let (name, address) = (&router.name, &router.address);
        let shown = match key {
            Ok(key) => {
                let shown = key.to_string();
                keys.push((name.clone(), key));
                shown
            }
            Err(fault) => {
                let later = later(&fault);
                let shown = format!("no host key: {fault}");
                faults.push((name.clone(), remedy(fault, router.legacy) + later));
                shown
            }
        };
        print(&format!("[{number}/{count}] {name} {address}: {shown}\n"))
    };
    block_on(async {
        let mut running = JoinSet::new();
        let mut waiting = routers.into_iter().enumerate();
        let (mut fetched, mut next) = (BTreeMap::new(), 0);
        loop {
            while running.len() < AT_ONCE
                && let Some((number, router)) = waiting.next()
            {
                running.spawn(async move {
                    let tried = Router { legacy_group1: router.legacy, ..router.clone() };
                    let key = SshConnection::host_key(&tried).await;
                    (number, router, key)
                });
            }
            match running.join_next().await {
                Some(Ok((number, router, key))) => drop(fetched.insert(number, (router, key))),
                Some(Err(_)) => {}
                None => {
                    // Behind one whose task panicked.
                    fetched.into_values().try_for_each(|(router, key)| report(router, key))?;
                    return Ok::<_, Error>(());
                }
            }
            while let Some((router, key)) = fetched.remove(&next) {
                report(router, key)?;
                next += 1;
            }
        }
    })??;
    Ok((keys, faults))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_once() {
        let name = |n: usize| RouterName::try_from(format!("r{n:02}")).unwrap();
        let faults: Faults = (0..23)
            .map(|n| (name(n), if n == 22 { "b".into() } else { "a (do it)".to_owned() }))
            .collect();
        let addresses = (0..23).map(|n| (name(n), format!("192.0.2.{n}:22"))).collect();
        let text = not_added(&faults, &addresses);
        let [a, b] = &*text else { panic!("{text:?}") };
        assert!(a.starts_with("r00 (192.0.2.0:22), r01 "), "{a}");
        assert!(a.ends_with(", and 2 more: a (do it)"), "{a}");
        assert_eq!(b, "r22 (192.0.2.22:22): b");
        let mut names = ["b10 (x)", "b2 (x)", "a11 (x)", "b1 (x)"];
        names.sort_by_cached_key(|name| in_order(name));
        assert_eq!(names, ["a11 (x)", "b1 (x)", "b2 (x)", "b10 (x)"]);
    }

    #[test]
    fn a_list() {
        let text = "\u{feff}# routers\n192.0.2.1\ncore2 192.0.2.2:2222 # of the data centre\n\n[2001:db8::1]:22\n";
        let routers = parse(text, "group = \"x\"\n").unwrap();
        let names: Vec<_> = routers.iter().map(|router| router.name.as_str()).collect();
        assert_eq!(names, ["192.0.2.1", "core2", "2001-db8--1"]);
        let expected = "name = \"core2\"\naddress = \"192.0.2.2:2222\"\ngroup = \"x\"\n";
        assert_eq!(routers[1].entry, expected);
        for (text, why) in [
            ("a b c", "line 1: \"a b c\": must be ADDRESS or NAME ADDRESS"),
            (
                "core1, 192.0.2.1",
                "line 1: \"core1, 192.0.2.1\": a blank separates NAME and ADDRESS, no ','",
            ),
            ("name,address", "line 1: \"name,address\": a blank separates"),
            (
                "core1 192.0.2.300",
                "line 1: address \"192.0.2.300\": no IPv4 address: four numbers from 0 to 255",
            ),
            ("core1 192.0.2.1:99999", "line 1: address \"192.0.2.1:99999\": a port is 1 to 65535"),
            ("\n../x 192.0.2.1", "line 2: router name"),
            ("core1 a:0", "line 1: address"),
            ("a 192.0.2.1\na 192.0.2.2", "line 2: a: the name is used twice"),
            (
                "a b c\nd 192.0.2.1\n../x 192.0.2.1",
                "line 1: \"a b c\": must be ADDRESS or NAME ADDRESS; line 3: router name",
            ),
            (
                "192.0.2.1 core1",
                "line 1: 192.0.2.1 is an address and stands in the place of the name, before core1 (the order is NAME ADDRESS)",
            ),
            (
                "192.0.2.1:2222 core1",
                "line 1: 192.0.2.1:2222 is an address and stands in the place",
            ),
        ] {
            let fault = parse(text, "").map(|_| ()).unwrap_err();
            assert!(fault.starts_with(why), "{fault}");
        }
    }
}

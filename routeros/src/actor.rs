//! Who made a change, from the message of a log line: RouterOS 6 ends it with `by USER`, RouterOS 7
//! says `by CHANNEL:USER@ADDRESS/STEP (COMMAND)`. The form is told from the line, never from the
//! version.
//!
//! Names of objects and commands are chosen by the person who makes the change, so they may hold a
//! forged actor, of either form. Which of two is the forged one cannot be told: both are named, as
//! ambiguous.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Who made a change, and through what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The router's user, or `scheduler:NAME` where no person was logged in.
    pub user: String,
    /// `ssh`, `ssh-cmd`, `api`, `tcp-msg(winbox)`; RouterOS 6 does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// IPv4, IPv6 or MAC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it went through: `terminal`, `script:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

/// What a message says of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// Whom it names, at least one.
    pub actors: Vec<Actor>,
    /// The command, where the router tells it.
    pub command: Option<String>,
    /// Whether several are named who differ, of whom one may be forged.
    pub ambiguous: bool,
}

const BY: &str = " by ";
const COMMAND: &str = " (";
/// Actors of RouterOS 7 in one message, at most: beyond, it is made to confuse.
const MOST: usize = 8;

/// Whom a message names, if it names anybody.
pub fn naming(message: &str) -> Option<Naming> {
    let (mut actors, mut command, mut further) = (Vec::new(), None, false);
    for (actor, text) in in_form_7(message) {
        if command.is_none() {
            let text = text.trim_start_matches(COMMAND).trim_end();
            command = Some(text.strip_suffix(')').unwrap_or(text).to_owned());
        }
        if !actors.contains(&actor) {
            further |= actors.len() == MOST;
            actors.extend((!further).then_some(actor));
        }
    }
    // Whatever stands before it, this may be RouterOS 6, whose users choose what stands before it.
    if let Some(user) = in_form_6(message) {
        actors.push(Actor { user: user.into(), channel: None, address: None, via: None });
    }
    let first = actors.first()?;
    let ambiguous = further || actors.iter().any(|other| other.user != first.user);
    Some(Naming { ambiguous, command: command.filter(|text| !text.is_empty()), actors })
}

/// Whether the message may be the head of a long one, which the router cut into several entries: the
/// command of a RouterOS 7 is not closed. A bracket inside quotes closes nothing: who writes a script
/// can put one where the router will cut.
pub fn may_go_on(message: &str) -> bool {
    in_form_7(message).any(|(_, command)| !command.is_empty() && !is_closed(command))
}

/// Whether it is that head for certain. A message that ends as RouterOS 6 ends them may be whole: else
/// the name of an object would hide the lines that follow.
pub fn is_open(message: &str) -> bool {
    let is_name = |user: &str| !user.contains(' ');
    may_go_on(message) && !in_form_6(message).is_some_and(is_name)
}

fn is_closed(command: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for byte in command.bytes() {
        quoted ^= byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
    }
    command.ends_with(')') && !quoted
}

/// Actors in RouterOS 7's form, each with what follows it.
fn in_form_7(message: &str) -> impl Iterator<Item = (Actor, &str)> {
    message.match_indices(BY).filter_map(|(at, _)| {
        let rest = &message[at + BY.len()..];
        let (name, command) = rest.split_at(rest.find(COMMAND).unwrap_or(rest.len()));
        Some((actor(name.trim_end())?, command))
    })
}

/// The user at the end of a message in RouterOS 6's form. The end of a command, `)`, is none:
/// RouterOS takes no such name.
fn in_form_6(message: &str) -> Option<&str> {
    let (before, user) = message.rsplit_once(BY)?;
    let user = user.trim();
    let is_command = user.contains(COMMAND) || before.contains(COMMAND) && user.ends_with(')');
    (!user.is_empty() && !is_command && actor(user).is_none()).then_some(user)
}

/// An actor in RouterOS 7's form.
fn actor(text: &str) -> Option<Actor> {
    if let Some((name, steps)) = text.strip_prefix("scheduler:").map(cut)
        && !name.is_empty()
    {
        let (user, via) = (format!("scheduler:{name}"), steps.map(str::to_owned));
        return Some(Actor { user, channel: Some("scheduler".into()), address: None, via });
    }
    let (channel, rest) = text.split_once(':')?;
    let visible = |c: char| c.is_ascii_graphic();
    if channel.is_empty() || !channel.chars().all(visible) {
        return None;
    }
    // A user's name may hold `@`, `/` and `:`, an address none of the first two: the last one counts.
    let (user, address, steps) = rest.rmatch_indices('@').find_map(|(at, _)| {
        let (address, steps) = cut(&rest[at + 1..]);
        is_address(address).then_some((&rest[..at], address, steps))
    })?;
    Some(Actor {
        user: user.into(),
        channel: Some(channel.into()),
        address: Some(address.into()),
        via: steps.map(str::to_owned),
    })
}

/// The name, and the steps after it, but for the number of the action.
fn cut(text: &str) -> (&str, Option<&str>) {
    let (name, steps) = text.split_once('/').map_or((text, ""), |(name, steps)| (name, steps));
    let steps = match steps.rfind("action:") {
        Some(at) if steps[at + 7..].bytes().all(|byte| byte.is_ascii_digit()) => {
            steps[..at].trim_end_matches('/')
        }
        _ => steps,
    };
    (name, (!steps.is_empty()).then_some(steps))
}

fn is_address(text: &str) -> bool {
    let unscoped = text.split_once('%').map_or(text, |(address, _)| address);
    let mac = text.len() == 17
        && text.split(':').count() == 6
        && text
            .split(':')
            .all(|byte| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit()));
    mac || text.parse::<Ipv4Addr>().is_ok() || unscoped.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
#[path = "actor/tests.rs"]
mod tests;

//! Who made a change, from the message of a log line. RouterOS 6 ends it with `by USER`, RouterOS 7 writes
//! `by CHANNEL:USER@ADDRESS/STEP (COMMAND)`. The line itself decides which form applies, not the router's version.
//!
//! The user who makes a change chooses the names of objects and commands, so these may contain a forged actor of
//! either form. Which of two actors is forged cannot be determined: both are returned, marked as ambiguous.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Who made a change, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The router's user, or `scheduler:NAME` where no person was logged in.
    pub user: String,
    /// `ssh`, `ssh-cmd`, `api`, `tcp-msg(winbox)`; not logged by RouterOS 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// IPv4, IPv6 or MAC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The steps in between: `terminal`, `script:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedActors {
    pub actors: Vec<Actor>,
    pub command: Option<String>,
    /// Whether different users are named, one of which may be forged.
    pub ambiguous: bool,
}

const BY: &str = " by ";
const COMMAND: &str = " (";
/// Actors of RouterOS 7 in one message, at most: a message with more is made to confuse.
const MAX_ACTORS: usize = 8;

/// The actors that a message names, if any.
pub fn actors_in(message: &str) -> Option<NamedActors> {
    let (mut actors, mut command, mut further) = (Vec::new(), None, false);
    for (actor, text) in in_form_7(message) {
        if command.is_none() {
            let text = text.trim_start_matches(COMMAND).trim_end();
            command = Some(text.strip_suffix(')').unwrap_or(text).to_owned());
        }
        if !actors.contains(&actor) {
            further |= actors.len() == MAX_ACTORS;
            actors.extend((!further).then_some(actor));
        }
    }
    // The router may be RouterOS 6, whose users choose the text before this.
    if let Some(user) = in_form_6(message) {
        actors.push(Actor { user: user.into(), channel: None, address: None, via: None });
    }
    let first = actors.first()?;
    let ambiguous = further || actors.iter().any(|other| other.user != first.user);
    Some(NamedActors { ambiguous, command: command.filter(|text| !text.is_empty()), actors })
}

/// Whether the message may be the first part of a long one that the router cut into several entries: the command in
/// RouterOS 7's form is not closed. A bracket inside quotes does not close it: the author of a script can place one
/// where the router cuts.
pub fn may_be_unfinished(message: &str) -> bool {
    in_form_7(message).any(|(_, command)| !command.is_empty() && !is_closed(command))
}

/// Whether the message certainly is such a first part. A message that ends in RouterOS 6's form may be complete:
/// otherwise the name of an object could hide the lines that follow.
pub fn is_unfinished(message: &str) -> bool {
    let is_name = |user: &str| !user.contains(' ');
    may_be_unfinished(message) && !in_form_6(message).is_some_and(is_name)
}

fn is_closed(command: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for byte in command.bytes() {
        quoted ^= byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
    }
    command.ends_with(')') && !quoted
}

/// Actors in RouterOS 7's form, each with the text after it.
fn in_form_7(message: &str) -> impl Iterator<Item = (Actor, &str)> {
    message.match_indices(BY).filter_map(|(at, _)| {
        let rest = &message[at + BY.len()..];
        let (name, command) = rest.split_at(rest.find(COMMAND).unwrap_or(rest.len()));
        Some((actor(name.trim_end())?, command))
    })
}

/// The user at the end of a message in RouterOS 6's form. The `)` that ends a command is not a user: RouterOS accepts
/// no such name.
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
    // A user's name may contain `@`, `/` and `:`, an address neither `@` nor `/`: the last `@` counts.
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

/// The name, and the steps after it without the number of the action.
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

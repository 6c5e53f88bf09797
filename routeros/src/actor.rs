//! Who made a change, from the message of a log line. RouterOS 6 ends it with `by USER`, RouterOS 7 writes
//! `by CHANNEL:USER@ADDRESS/STEP (COMMAND)`. The line itself decides which form applies, not the router's version.
//! Whatever else follows `by` is credited as it is written: `dhcp-client`, `netwatch:type: icmp, host: 192.0.2.1`. A line
//! that names an actor is never without effect, because its change would be credited to the next person in the log.
//!
//! The user who makes a change chooses the names of objects and commands, so these may contain a forged actor of
//! any form. Which of two actors is forged cannot be determined: both are returned, marked as ambiguous.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::change::UNKNOWN;

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
/// Actors in one message, at most: a message with more is made to confuse.
const MAX_ACTORS: usize = 8;
/// Bytes of an actor in RouterOS 7's form, at most: a longer text is not one, and would take long to parse.
const MAX_ACTOR: usize = 1024;
/// Bytes of an address with its zone, at most.
const MAX_ADDRESS: usize = 64;

/// The actors that a message names, if any.
pub fn actors_in(message: &str) -> Option<NamedActors> {
    let (mut actors, mut command, mut further) = (Vec::new(), None, false);
    for Named { actor, command: text, .. } in all_in(message) {
        if command.is_none() && !text.is_empty() {
            let text = text.trim_start_matches(COMMAND).trim_end();
            command = Some(text.strip_suffix(')').unwrap_or(text).to_owned());
        }
        if !actors.contains(&actor) {
            further |= actors.len() == MAX_ACTORS;
            actors.extend((!further).then_some(actor));
        }
    }
    if actors.is_empty() && message.contains(BY) {
        actors.push(as_written(UNKNOWN)); // the name is empty
    }
    let first = actors.first()?;
    let ambiguous = further || actors.iter().any(|other| other.user != first.user);
    Some(NamedActors { ambiguous, command: command.filter(|text| !text.is_empty()), actors })
}

/// Whether the message may be the first part of a long one that the router cut into several entries: the command in
/// RouterOS 7's form is not closed. A bracket inside quotes does not close it: the author of a script can place one
/// where the router cuts.
pub fn may_be_unfinished(message: &str) -> bool {
    all_in(message).iter().any(|named| !named.command.is_empty() && !is_closed(named.command))
}

/// Whether the message certainly is such a first part. A message that ends in RouterOS 6's form may be complete:
/// otherwise the name of an object could hide the lines that follow.
pub fn is_unfinished(message: &str) -> bool {
    let named = all_in(message);
    let is_open = |named: &Named| !named.command.is_empty() && !is_closed(named.command);
    let is_complete = |named: &Named| named.at_end && !named.actor.user.contains(' ');
    named.iter().any(is_open) && !named.iter().any(is_complete)
}

/// An actor, and where it stands.
struct Named<'a> {
    actor: Actor,
    /// The text after it, from ` (` on.
    command: &'a str,
    /// Not in RouterOS 7's form, and nothing follows it.
    at_end: bool,
}

/// All actors of a message, in the order of the text.
fn all_in(message: &str) -> Vec<Named<'_>> {
    let commands: Vec<usize> =
        starts(message, COMMAND).filter(|at| is_command(&message[*at..])).collect();
    let mut all: Vec<Named> = Vec::new();
    let mut places = starts(message, BY).peekable();
    while let Some(at) = places.next() {
        let from = at + BY.len();
        let rest = &message[from..];
        let text = |end: usize| message.get(from..end).unwrap_or_default().trim();
        let following = &commands[commands.partition_point(|at| *at + 1 < from)..];
        // A name may begin like a command; none is empty.
        let command = following.iter().find(|end| !text(**end).is_empty()).or(following.first());
        let named = |end: usize, actor| {
            let command = &message[end.max(from)..];
            Named { actor, command, at_end: false }
        };
        let next = places.peek().copied();
        let near = command.copied().filter(|end| next.is_none_or(|next| next > *end));
        // A name may contain ` (`: the actor ends where the command begins, or at the first bracket.
        let first = rest.find(COMMAND).map_or(message.len(), |end| from + end);
        let ends = [near, Some(first), command.copied()];
        let known = ends.iter().flatten().find_map(|end| Some(named(*end, actor(text(*end))?)));
        if let Some(known) = known {
            all.push(known);
            continue;
        }
        if let Some(end) = near.filter(|end| !text(*end).is_empty()) {
            all.push(named(end, as_written(text(end))));
        } else if command.is_none() && next.is_none() {
            let is_in_command = all.iter().any(|named| is_whole_command(named.command));
            if !text(message.len()).is_empty() && !is_in_command {
                let actor = as_written(text(message.len()));
                all.push(Named { actor, command: "", at_end: true });
            }
        }
    }
    all
}

/// The places of a text, which may overlap.
fn starts<'a>(message: &'a str, text: &'a str) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + message.get(from..)?.find(text)?;
        from = at + 1;
        Some(at)
    })
}

/// Whether a text that begins with ` (` begins a command as RouterOS 7 logs it: `()`, `(/path ...`, `(*1F = /path ...`.
/// A bracket in a name or a comment does not.
fn is_command(text: &str) -> bool {
    text[COMMAND.len()..].starts_with([')', '/', '*'])
}

/// Whether the text is one command to its end: the bracket at its beginning is closed by its last character.
fn is_whole_command(text: &str) -> bool {
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_usize);
    if !text.starts_with(COMMAND) || !is_command(text) {
        return false;
    }
    let text = text.trim();
    for (at, byte) in text.bytes().enumerate() {
        quoted ^= byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        match byte {
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at > 0 && at + 1 == text.len();
        }
    }
    false
}

/// An actor of no known form. The number of the action is not a part of its name.
fn as_written(text: &str) -> Actor {
    let name = match text.rsplit_once("/action:") {
        Some((name, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => text,
    };
    let name = if name.is_empty() { text } else { name };
    Actor { user: name.into(), channel: None, address: None, via: None }
}

fn is_closed(command: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for byte in command.bytes() {
        quoted ^= byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
    }
    command.ends_with(')') && !quoted
}

/// An actor in RouterOS 7's form.
fn actor(text: &str) -> Option<Actor> {
    if text.len() > MAX_ACTOR {
        return None;
    }
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
        let after = &rest[at + 1..];
        let length = after.bytes().take(MAX_ADDRESS).take_while(|byte| *byte != b'/').count();
        let is_whole = length == after.len() || after.as_bytes()[length] == b'/';
        let address = after.get(..length).filter(|text| is_whole && is_address(text))?;
        Some((&rest[..at], address, cut(after).1))
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

//! Rules for changes that are not reported. What a rule ignores is archived and counted, and is neither mailed nor
//! published, and starts no hook.
//!
//! No user may hide behind a rule: a `line` applies to one menu only, because users choose comments and names in every
//! line; and a `user` applies only to a change that is credited to this user alone, by log lines that are all known.

use serde::Deserialize;

use crate::{
    attribution::LogClaim,
    change::{Credit, UNKNOWN},
    config::RouterName,
    diff::Difference,
    recorder::untagged,
};

/// A changed line is ignored if all that the rule names applies to it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct IgnoreRule {
    /// The line is in this menu, not in one below it.
    pub menu: Option<String>,
    /// The line, with its menu, has this pattern: `*` is any text, `?` any character.
    pub line: Option<String>,
    /// The change is credited to this user alone.
    pub user: Option<String>,
    /// The router's name has this pattern; without it, any router.
    pub router: Option<String>,
}

/// Words of an export that follow a menu.
const VERBS: [&str; 5] = ["add", "set", "remove", "unset", "reset"];

impl IgnoreRule {
    /// Checks the rule, and writes its menu as exports do.
    pub fn check(&mut self) -> Result<(), String> {
        if let Some(menu) = &mut self.menu {
            let words: Vec<_> = menu.split(['/', ' ']).filter(|word| !word.is_empty()).collect();
            let is_menu = menu.starts_with('/') && !words.is_empty();
            if !is_menu || words.iter().any(|word| VERBS.contains(word)) {
                return Err(format!(
                    "menu {menu:?}: must be a menu such as \"/ip firewall address-list\""
                ));
            }
            *menu = format!("/{}", words.join(" "));
        }
        match (&self.menu, &self.line, self.user.as_deref()) {
            (None, Some(_), _) => {
                Err("line: needs menu as well, because users choose names and comments in the lines of other menus".into())
            }
            (.., Some(UNKNOWN | "")) => {
                Err("user: a change that no user is credited with cannot be ignored by user".into())
            }
            (None, None, None) => Err("set menu, menu and line, or user".into()),
            _ => Ok(()),
        }
    }

    fn applies(&self, router: &RouterName, only_user: Option<&str>) -> bool {
        self.router.as_ref().is_none_or(|pattern| fits(router.as_str(), pattern))
            && self.user.as_deref().is_none_or(|user| only_user == Some(user))
    }

    fn ignores(&self, line: &str) -> bool {
        self.menu.as_ref().is_none_or(|menu| is_in_menu(line, menu))
            && self.line.as_ref().is_none_or(|pattern| fits(line, pattern))
    }
}

/// The part of a difference that is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    pub difference: Difference,
    /// The number of changed lines that are ignored.
    pub ignored: u32,
}

/// Whether rules without a menu ignore what this user did alone: for events that have no lines.
pub fn ignores_user(rules: &[IgnoreRule], router: &RouterName, only_user: Option<&str>) -> bool {
    rules.iter().any(|rule| rule.menu.is_none() && rule.applies(router, only_user))
}

/// Leaves out the lines that the rules ignore. `between` compares two exports.
pub fn reported(
    rules: &[IgnoreRule],
    router: &RouterName,
    credit: &Credit,
    (old, new): (&[String], &[String]),
    difference: &Difference,
    between: impl FnOnce(&[String], &[String]) -> Difference,
) -> Reported {
    let only_user = only_user(credit);
    let rules: Vec<_> = rules.iter().filter(|rule| rule.applies(router, only_user)).collect();
    if rules.is_empty() {
        return Reported { difference: difference.clone(), ignored: 0 };
    }
    let keep = |lines: &[String]| -> Vec<String> {
        let is_kept = |line: &&String| !rules.iter().any(|rule| rule.ignores(untagged(line)));
        lines.iter().filter(is_kept).cloned().collect()
    };
    let shown = between(&keep(old), &keep(new));
    let all = difference.added.saturating_add(difference.removed);
    let ignored = all.saturating_sub(shown.added.saturating_add(shown.removed));
    Reported { difference: shown, ignored }
}

/// The user, if the log names one only, beyond doubt, and was followed all the time.
fn only_user(credit: &Credit) -> Option<&str> {
    let certain = credit.candidates.is_none()
        && credit.further == 0
        && !credit.claims.iter().any(LogClaim::is_doubtful);
    let mut users = credit.claims.iter().flat_map(|claim| &claim.actors).map(|actor| &*actor.user);
    let first = users.next().filter(|_| certain)?;
    users.all(|other| other == first).then_some(first)
}

/// Whether a line of an export is in this menu: its verb follows.
fn is_in_menu(line: &str, menu: &str) -> bool {
    let verb = line.strip_prefix(menu).and_then(|rest| rest.strip_prefix(' '));
    verb.and_then(|rest| rest.split(' ').next()).is_some_and(|verb| VERBS.contains(&verb))
}

/// Whether all of the text has this pattern.
fn fits(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) =
        (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut next) = (0, 0);
    // Where the text continues if the last `*` takes one character more.
    let mut retry = None;
    while at < text.len() {
        match pattern.get(next) {
            Some('*') => {
                retry = Some((at, next + 1));
                next += 1;
            }
            Some(c) if *c == '?' || *c == text[at] => (at, next) = (at + 1, next + 1),
            _ => {
                let Some((from, after)) = retry else { return false };
                retry = Some((from + 1, after));
                (at, next) = (from + 1, after);
            }
        }
    }
    pattern[next..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{attribution::LogClaim, log_record::LogRecord};
    use std::slice::from_ref;

    fn rule(text: &str) -> Result<IgnoreRule, String> {
        let mut rule: IgnoreRule = toml::from_str(text).map_err(|error| error.to_string())?;
        rule.check().map(|()| rule)
    }

    fn credit(messages: &[&str]) -> Credit {
        let claim = |message: &&str| {
            let (time, topics) = ("12:00:00".into(), "system,info".into());
            let record = LogRecord { time, topics, message: (*message).into(), doubtful: false };
            LogClaim::of(&record).unwrap()
        };
        Credit { claims: messages.iter().map(claim).collect(), ..Credit::default() }
    }

    fn shown(rules: &[IgnoreRule], credit: &Credit, old: &[&str], new: &[&str]) -> Reported {
        let lines = |lines: &[&str]| -> Vec<String> { lines.iter().map(|l| (*l).into()).collect() };
        let (old, new) = (lines(old), lines(new));
        let between = |old: &[String], new: &[String]| Difference::between(old, new, None);
        let router = RouterName::try_from("core1".to_owned()).unwrap();
        reported(rules, &router, credit, (&old, &new), &between(&old, &new), between)
    }

    #[test]
    fn rules_are_checked() {
        for text in [
            "menu = \"/ip/firewall/address-list\"",
            "menu = \"/ip firewall address-list\"\nline = \"* list=x*\"",
            "user = \"scheduler:x\"",
            "user = \"scheduler:x\"\nmenu = \"/system script\"\nrouter = \"core*\"",
        ] {
            rule(text).unwrap();
        }
        for (text, why) in [
            ("line = \"*x*\"", "needs menu"),
            ("user = \"scheduler:x\"\nline = \"*x*\"", "needs menu"),
            ("router = \"x\"", "set menu"),
            ("user = \"UNKNOWN\"", "no user is credited"),
            ("menu = \"/\"", "must be a menu"),
            ("menu = \"ip\"", "must be a menu"),
            ("menu = \"/ip dns set\"", "must be a menu"),
            ("menus = \"/ip\"", "unknown field"),
        ] {
            let fault = rule(text).unwrap_err();
            assert!(fault.contains(why), "{text}: {fault}");
        }
    }

    #[test]
    fn lines_of_a_menu() {
        let list = "/ip firewall address-list add address=192.0.2.1 list=bad";
        let other = "/ip firewall address-list add address=192.0.2.2 list=good";
        let user = "/user add name=eve comment=\"/ip firewall address-list add list=bad\"";
        let alice = credit(&["item added by alice"]);
        let menu = rule("menu = \"/ip/firewall/address-list\"").unwrap();
        let line = rule("menu = \"/ip firewall address-list\"\nline = \"* list=bad\"").unwrap();
        let above = rule("menu = \"/ip firewall\"").unwrap();
        let all = shown(&[], &alice, &[], &[list, other, user]);
        assert_eq!((all.difference.added, all.ignored), (3, 0));
        let few = shown(from_ref(&menu), &alice, &[], &[list, other, user]);
        assert_eq!((few.difference.added, few.ignored), (1, 2));
        assert!(few.difference.text.contains("eve"), "{few:?}");
        let few = shown(&[line], &alice, &[list], &[other, user]);
        assert_eq!((few.difference.added, few.difference.removed, few.ignored), (2, 0, 1));
        assert_eq!(shown(&[above], &alice, &[], &[list]).ignored, 0);
        let none = shown(&[menu], &Credit::default(), &[list, other], &[other, list]);
        assert!(none.difference.is_empty() && none.ignored == 2, "{none:?}");
    }

    /// A change that another user may have made is reported.
    #[test]
    fn only_the_user_alone() {
        let by = |who: &str| format!("item changed by {who} (/x)");
        let (mine, other) = (by("scheduler:cnt/script:cnt"), by("ssh:eve@192.0.2.6"));
        let rules = [rule("user = \"scheduler:cnt\"").unwrap()];
        let ignored = |credit: &Credit| shown(&rules, credit, &[], &["/x add"]).ignored == 1;
        assert!(ignored(&credit(&[&mine, &mine])));
        for reported in [
            credit(&[]),
            credit(&[&mine, &other]),
            credit(&["item <a by ssh:scheduler:cnt@1.2.3.4 (> changed by ssh:eve@192.0.2.6 (/x)"]),
            Credit { further: 1, ..credit(&[&mine]) },
            Credit { candidates: Some(Vec::new()), ..credit(&[&mine]) },
        ] {
            assert!(!ignored(&reported), "{reported:?}");
        }
        let mut doubtful = credit(&[&mine]);
        doubtful.claims[0].ambiguous = true;
        assert!(!ignored(&doubtful));
        let core2 = rule("user = \"scheduler:cnt\"\nrouter = \"core2*\"").unwrap();
        assert_eq!(shown(&[core2], &credit(&[&mine]), &[], &["/x add"]).ignored, 0);
    }

    #[test]
    fn patterns() {
        for (text, pattern, fitting) in [
            ("abc", "abc", true),
            ("abc", "a?c", true),
            ("abc", "*", true),
            ("abc", "a*b*c*", true),
            ("abab", "*ab", true),
            ("abc", "ab", false),
            ("", "*", true),
            ("", "?", false),
            ("é", "?", true),
        ] {
            assert_eq!(fits(text, pattern), fitting, "{text} {pattern}");
        }
        let long = "a".repeat(60_000);
        assert!(!fits(&long, "*a*a*a*a*b"));
    }
}

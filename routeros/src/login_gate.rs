//! Logins by credential: a user with a password file, a key or an agent. What is wrong on one router is wrong on all that
//! share it, and each refused login counts at a server that locks accounts, such as RADIUS. So few logins are tried at the
//! same time until one is accepted. After some refusals all routers wait; then one of them tries for all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use aw_service::Backoff;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    config::{Router, RouterName},
    recorder::lock,
    ssh::SshFault,
};

/// After so many routers refused a credential within [`WINDOW`], all wait that have it.
const MAX_REFUSED: usize = 3;
/// How long a refusal counts, and how long an accepted login allows any number of others at the same time.
const WINDOW: Duration = Duration::from_secs(60);
/// A login waits for those of other routers so long at most: one of them may hang.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The longest pause between tries.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

static GROUPS: Mutex<BTreeMap<Credential, Arc<Group>>> = Mutex::new(BTreeMap::new());

/// What routers log in with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credential {
    user: String,
    means: Means,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Means {
    Password(PathBuf),
    Key(PathBuf),
    Agent,
}

impl Credential {
    pub fn of(router: &Router) -> Credential {
        let means = match (&router.password_file, &router.key_file) {
            (Some(path), _) => Means::Password(path.clone()),
            (None, Some(path)) => Means::Key(path.clone()),
            (None, None) => Means::Agent,
        };
        Credential { user: router.user.clone(), means }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = &self.user;
        match &self.means {
            Means::Password(path) => write!(f, "user {user}, password_file {}", path.display()),
            Means::Key(path) => write!(f, "user {user}, key_file {}", path.display()),
            Means::Agent => write!(f, "user {user}, keys of the SSH agent"),
        }
    }
}

/// The routers with one credential.
struct Group {
    state: Mutex<GroupState>,
    /// Changes when a login ended, and at a reload.
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct GroupState {
    /// Routers that refused it within [`WINDOW`], since it was last accepted. One that refused it before does not count.
    refused: BTreeMap<RouterName, Instant>,
    /// Routers whose last answer was a refusal.
    known: BTreeSet<RouterName>,
    accepted: Option<Instant>,
    /// Logins that run.
    trying: usize,
    hold: Option<Hold>,
    backoff: Option<Backoff>,
}

/// All routers wait.
struct Hold {
    /// When one tries for all; `None`: after a reload.
    until: Option<Instant>,
    /// One tries.
    is_probed: bool,
    why: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Now,
    /// Until a login of another router ended.
    Wait,
    Held(String),
}

impl GroupState {
    /// Whether a router may log in now, which is counted as running then.
    fn begin(&mut self, router: &RouterName, now: Instant) -> Step {
        if let Some(hold) = &mut self.hold {
            let is_due = hold.until.is_some_and(|until| until <= now);
            if !is_due || hold.is_probed {
                return Step::Held(hold.why.clone());
            }
            hold.is_probed = true;
            self.trying += 1;
            return Step::Now;
        }
        self.refused.retain(|_, since| *since + WINDOW > now);
        let others = self.refused.keys().filter(|name| *name != router).count();
        let is_accepted = self.accepted.is_some_and(|since| since + WINDOW > now);
        if is_accepted || others + self.trying < MAX_REFUSED {
            self.trying += 1;
            return Step::Now;
        }
        Step::Wait
    }

    /// A login ended; `None`: without an answer.
    fn end(&mut self, router: &Router, is_accepted: Option<bool>, now: Instant) {
        self.trying = self.trying.saturating_sub(1);
        match is_accepted {
            Some(true) => {
                self.known.remove(&router.name);
                self.refused.clear();
                (self.hold, self.backoff, self.accepted) = (None, None, Some(now));
            }
            Some(false) => {
                let is_new = self.known.insert(router.name.clone());
                if is_new {
                    self.refused.insert(router.name.clone(), now);
                }
                self.refused.retain(|_, since| *since + WINDOW > now);
                if self.hold.is_some() || self.refused.len() >= MAX_REFUSED {
                    self.hold(router, now);
                }
            }
            None => self.hold.iter_mut().for_each(|hold| hold.is_probed = false),
        }
    }

    fn hold(&mut self, router: &Router, now: Instant) {
        let retry = Duration::from_secs(router.login_retry);
        let first = Backoff::new(retry, LONGEST_HOLD.max(retry));
        let pause = (!retry.is_zero()).then(|| self.backoff.get_or_insert(first).pause());
        let names: Vec<_> = self.known.iter().take(MAX_REFUSED).map(RouterName::as_str).collect();
        let why =
            format!("login not tried: {} refused {}", names.join(", "), Credential::of(router));
        self.hold = Some(Hold { until: pause.map(|pause| now + pause), is_probed: false, why });
    }
}

/// A login that runs.
pub struct LoginTry<'a> {
    router: &'a Router,
    group: Arc<Group>,
    is_accepted: Option<bool>,
}

impl LoginTry<'_> {
    pub fn end(mut self, result: &Result<(), SshFault>) {
        self.is_accepted = match result {
            Ok(()) => Some(true),
            Err(SshFault::Refused(_)) => Some(false),
            Err(_) => None,
        };
    }
}

impl Drop for LoginTry<'_> {
    fn drop(&mut self) {
        lock(&self.group.state).end(self.router, self.is_accepted, Instant::now());
        self.group.changes.send_replace(());
    }
}

fn group(router: &Router) -> Arc<Group> {
    let new = || Arc::new(Group { state: Mutex::default(), changes: watch::channel(()).0 });
    Arc::clone(lock(&GROUPS).entry(Credential::of(router)).or_insert_with(new))
}

/// Before a connection is made: an error while all routers with this credential wait, and the right to log in if this one
/// is to try for all.
pub fn enter(router: &Router) -> Result<Option<LoginTry<'_>>, SshFault> {
    let group = group(router);
    let mut state = lock(&group.state);
    if state.hold.is_none() {
        return Ok(None);
    }
    match state.begin(&router.name, Instant::now()) {
        Step::Held(why) => Err(SshFault::Held(why)),
        _ => {
            drop(state);
            Ok(Some(LoginTry { router, group, is_accepted: None }))
        }
    }
}

/// Before the login: waits for those of other routers that have the same credential.
pub async fn begin(router: &Router) -> Result<LoginTry<'_>, SshFault> {
    let group = group(router);
    let mut changes = group.changes.subscribe();
    let end = Instant::now() + LONGEST_WAIT;
    loop {
        changes.borrow_and_update();
        let step = lock(&group.state).begin(&router.name, Instant::now());
        match step {
            Step::Held(why) => return Err(SshFault::Held(why)),
            Step::Now => break,
            Step::Wait => {}
        }
        if timeout_at(end, changes.changed()).await.is_err() {
            lock(&group.state).trying += 1;
            break;
        }
    }
    Ok(LoginTry { router, group, is_accepted: None })
}

/// Waits for `pause` (`None`: for ever), and as long as all routers with this credential wait. A router for which another
/// one tried does not wait for its own pause.
pub async fn next_try(router: &Router, pause: Option<Duration>) {
    let group = group(router);
    let mut changes = group.changes.subscribe();
    let end = pause.map(|pause| Instant::now() + pause);
    let mut was_held = false;
    loop {
        changes.borrow_and_update();
        let due = match &lock(&group.state).hold {
            None if was_held => return,
            None => end,
            Some(hold) => {
                was_held = true;
                match (hold.until, end) {
                    (Some(until), Some(end)) if !hold.is_probed => Some(until.max(end)),
                    _ => None,
                }
            }
        };
        let wait = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => return,
            _ = changes.changed() => {}
        }
    }
}

/// All routers try again, because the user asks for it.
pub fn reload() {
    lock(&GROUPS).retain(|_, group| {
        let state = &mut *lock(&group.state);
        *state = GroupState { trying: state.trying, ..GroupState::default() };
        group.changes.send_replace(());
        Arc::strong_count(group) > 1
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn routers(count: usize) -> Vec<Router> {
        let entry = |n| {
            format!(
                "[[router]]\nname = \"r{n}\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nagent = true\n"
            )
        };
        let text: String = (0..count).map(entry).collect();
        Config::parse(&format!("archive = \"/x\"\n{text}")).unwrap().routers
    }

    #[test]
    fn one_tries_for_all_after_three_refusals() {
        let (routers, mut state) = (routers(9), GroupState::default());
        let now = Instant::now();
        for router in &routers[..3] {
            assert_eq!(state.begin(&router.name, now), Step::Now);
        }
        assert_eq!(state.begin(&routers[3].name, now), Step::Wait);
        for router in &routers[..3] {
            state.end(router, Some(false), now);
        }
        let held = |state: &mut GroupState, n: usize, at| {
            matches!(state.begin(&routers[n].name, at), Step::Held(_))
        };
        assert!(held(&mut state, 3, now));
        let Step::Held(why) = state.begin(&routers[3].name, now) else { panic!() };
        assert!(why.contains("r0, r1, r2 refused user a, keys of the SSH agent"), "{why}");
        // One after ten minutes; without an answer another one; then after twenty.
        let later = now + Duration::from_secs(600);
        assert_eq!(state.begin(&routers[3].name, later), Step::Now);
        assert!(held(&mut state, 4, later));
        state.end(&routers[3], None, later);
        assert_eq!(state.begin(&routers[4].name, later), Step::Now);
        state.end(&routers[4], Some(false), later);
        assert!(held(&mut state, 5, later + Duration::from_secs(1199)));
        let later = later + Duration::from_secs(1200);
        assert_eq!(state.begin(&routers[5].name, later), Step::Now);
        state.end(&routers[5], Some(true), later);
        for router in &routers {
            assert_eq!(state.begin(&router.name, later), Step::Now);
        }
    }

    /// Routers that refuse alone, while others accept, hold up none.
    #[test]
    fn some_routers_refuse() {
        let (routers, mut state) = (routers(9), GroupState::default());
        let mut now = Instant::now();
        for round in 0..3 {
            for (n, router) in routers[..5].iter().enumerate() {
                assert_eq!(state.begin(&router.name, now), Step::Now, "{round} {n}");
                // Two of them at the first time, then a third one.
                let is_refused = n % 2 == 0 && (round > 0 || n < 4);
                state.end(router, Some(!is_refused), now);
            }
            now += Duration::from_secs(601);
        }
        // Their tries in a row are no news.
        for n in [0, 2, 4] {
            assert_eq!(state.begin(&routers[n].name, now), Step::Now);
            state.end(&routers[n], Some(false), now);
        }
        assert!(state.hold.is_none());
    }
}

//! Logins by credential: a user with a password file, a key or an agent. What is wrong on one router is wrong on all that
//! share it, and each refused login counts at a server that locks accounts, such as RADIUS. So few logins are tried at the
//! same time until some are accepted. After three refusals all wait, and one of them tries for all; those that accepted their
//! last login wait only for refusals of such ones. See [`Rules`].

mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, iter,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use self::rules::{Answer, MAX_REFUSED, Place, Queue, Right, Rules, Step};
use crate::{
    config::{Router, RouterName},
    recorder::lock,
    ssh::SshFault,
};

/// A connected router waits so long for its login: then it connects again, because servers limit this time.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

static GROUPS: Mutex<BTreeMap<(Credential, Hop), Arc<Group>>> = Mutex::new(BTreeMap::new());

/// What routers log in with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Credential {
    user: String,
    means: Means,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// A login waits only for others of the same kind, so none waits for one that needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// A router that is followed.
    Last,
    /// A jump host, with this number of jump hosts before it.
    Jump(usize),
}

impl Hop {
    pub fn of_jump(jump: &Router) -> Hop {
        Hop::Jump(jumps(jump).count())
    }
}

/// The jump hosts on the way.
fn jumps(router: &Router) -> impl Iterator<Item = &Arc<Router>> {
    iter::successors(router.jump.as_ref(), |jump| jump.jump.as_ref())
}

/// The routers with one credential.
struct Group {
    credential: Credential,
    rules: Mutex<Rules>,
    /// Changes when a login ended, and at a reload.
    changes: watch::Sender<()>,
}

impl Group {
    fn of(router: &Router, hop: Hop) -> Arc<Group> {
        let credential = Credential::of(router);
        let new = |credential| {
            Arc::new(Group { credential, rules: Mutex::default(), changes: watch::channel(()).0 })
        };
        let mut groups = lock(&GROUPS);
        Arc::clone(groups.entry((credential.clone(), hop)).or_insert_with(|| new(credential)))
    }

    fn begin(self: &Arc<Group>, router: &Router) -> Result<LoginTry, Step> {
        let step = lock(&self.rules).begin(&router.name, Instant::now());
        let Step::Now(right) = step else { return Err(step) };
        // A login that is given up may be under way.
        Ok(LoginTry {
            group: Arc::clone(self),
            router: router.name.clone(),
            right,
            answer: Answer::Cut, // it may be given up
        })
    }

    /// The right to connect, if the router is held and may try for all.
    fn connect(self: &Arc<Group>, router: &Router) -> Option<Entry> {
        let place = lock(&self.rules).connect(&router.name, Instant::now())?;
        Some(Entry { group: Arc::clone(self), place, was_there: false })
    }

    fn held(&self) -> SshFault {
        let rules = lock(&self.rules);
        let names: Vec<_> = rules.refused().take(MAX_REFUSED).map(RouterName::as_str).collect();
        let (names, what) = match names.is_empty() {
            false => (names, "refused"),
            true => {
                let late = rules.late().take(MAX_REFUSED).map(RouterName::as_str);
                (late.collect(), "did not answer a login with")
            }
        };
        let (names, credential) = (names.join(", "), &self.credential);
        SshFault::Held(format!("login not tried: {names} {what} {credential}"))
    }
}

/// The right to connect while others wait for one that tries for all. Held until the login has begun.
pub struct Entry {
    group: Arc<Group>,
    place: Place,
    pub was_there: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.group.rules).connected(&self.place, self.was_there, Instant::now());
        self.group.changes.send_replace(());
    }
}

/// The right to log in.
pub struct LoginTry {
    group: Arc<Group>,
    router: RouterName,
    right: Right,
    answer: Answer,
}

impl LoginTry {
    /// The result of the login. A connection that ended during it is no refusal, unless the same router does it again: servers
    /// that take one try end the connection too.
    pub fn end(
        mut self,
        result: Result<(), SshFault>,
        is_cut: bool,
        refused: impl FnOnce() -> SshFault,
    ) -> Result<(), SshFault> {
        let result = match result {
            Err(SshFault::Unreachable(_))
                if is_cut && lock(&self.group.rules).was_cut(&self.router) =>
            {
                Err(refused())
            }
            result => result,
        };
        self.answer = match &result {
            Ok(()) => Answer::Accepted,
            Err(SshFault::Refused(_)) => Answer::Refused,
            Err(SshFault::Credentials(_)) => Answer::NotTried,
            Err(_) if is_cut => Answer::Cut,
            Err(_) => Answer::Late,
        };
        result
    }
}

impl Drop for LoginTry {
    fn drop(&mut self) {
        lock(&self.group.rules).end((&self.router, self.right), self.answer, Instant::now());
        self.group.changes.send_replace(());
    }
}

/// A router among those that wait, until this is dropped.
struct Waiting<'a>(&'a Group, Queue, Place);

impl<'a> Waiting<'a> {
    fn new(group: &'a Group, queue: Queue, router: &Router) -> Waiting<'a> {
        let place = lock(&group.rules).queue(queue, &router.name);
        Waiting(group, queue, place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.rules).leave(self.1, &self.2);
        self.0.changes.send_replace(());
    }
}

/// Before a connection is made: an error while this router waits for one that tries for all, and the right to connect if it
/// may be that one. `secret` is a hash of the password or key.
pub fn enter(router: &Router, hop: Hop, secret: u64) -> Result<Option<Entry>, SshFault> {
    let group = Group::of(router, hop);
    let is_held = {
        let mut rules = lock(&group.rules);
        rules.set_secret(secret);
        rules.set_retry(Duration::from_secs(router.login_retry));
        rules.held_until(&router.name).is_some()
    };
    if !is_held {
        return Ok(None);
    }
    group.connect(router).map(Some).ok_or_else(|| group.held())
}

/// Before the login: waits for those of other routers that have the same credential.
pub async fn begin(router: &Router, hop: Hop) -> Result<LoginTry, SshFault> {
    let group = Group::of(router, hop);
    let mut changes = group.changes.subscribe();
    let _waiting = Waiting::new(&group, Queue::Login, router);
    let turn = async {
        loop {
            changes.borrow_and_update();
            match group.begin(router) {
                Ok(login_try) => return Ok(login_try),
                Err(Step::Held) => return Err(group.held()),
                Err(_) => {}
            }
            let _ = changes.changed().await;
        }
    };
    timeout(LONGEST_WAIT, turn).await.unwrap_or_else(|_| {
        let credential = &group.credential;
        Err(SshFault::Held(format!(
            "login not tried: it waits for those of other routers with {credential}"
        )))
    })
}

/// Waits after a login that was refused or not tried: for `pause` (`None`: for ever), or, while the router waits for one that
/// tries for all, for the right to connect. Once another one was accepted, none waits for its own pause.
pub async fn next_try(router: &Router, pause: Option<Duration>) -> Option<Entry> {
    let group = Group::of(router, Hop::Last);
    let mut changes = group.changes.subscribe();
    let end = pause.map(|pause| Instant::now() + pause);
    let mut waiting = None;
    loop {
        changes.borrow_and_update();
        let held = lock(&group.rules).held_until(&router.name);
        let due = match held {
            None if waiting.is_some() => return None,
            None => end,
            Some(until) => {
                waiting.get_or_insert_with(|| Waiting::new(&group, Queue::Connection, router));
                // Of those that wake up together the first ones get it, and notify the others.
                match group.connect(router) {
                    Some(entry) => return Some(entry),
                    None => until.filter(|until| *until > Instant::now()),
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
            () = wait => { held?; }
            _ = changes.changed() => {}
        }
    }
}

/// All routers try again, because the user asks for it. Others than these are forgotten.
pub fn reload(routers: &[Router]) {
    let on_the_way = routers.iter().flat_map(jumps).map(|jump| &jump.name);
    let names: BTreeSet<_> = routers.iter().map(|router| &router.name).chain(on_the_way).collect();
    lock(&GROUPS).retain(|_, group| {
        let is_used = lock(&group.rules).reload(&names);
        group.changes.send_replace(());
        is_used || Arc::strong_count(group) > 1
    });
    let groups = lock(&GROUPS);
    let all = routers.iter().flat_map(|router| {
        let on_the_way = jumps(router).map(|jump| (&**jump, Hop::of_jump(jump)));
        iter::once((router, Hop::Last)).chain(on_the_way)
    });
    for (router, hop) in all {
        if let Some(group) = groups.get(&(Credential::of(router), hop)) {
            lock(&group.rules).set_retry(Duration::from_secs(router.login_retry));
        }
    }
}

//! Logins by credential: a user with a password file, a key or an agent. What is wrong on one router is wrong on all that
//! share it, and each refused login counts at a server that locks accounts, such as RADIUS. So few logins are tried at the
//! same time until some are accepted. After three refusals all wait, except those that accepted their last login; one of
//! them tries for all. See [`Rules`].

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

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use self::rules::{Answer, MAX_REFUSED, Place, Right, Rules, Step};
use crate::{
    config::{Router, RouterName},
    recorder::lock,
    ssh::SshFault,
};

/// A connected router waits so long for its login: then it connects again, because servers limit this time.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

static GROUPS: Mutex<BTreeMap<(Credential, Hop), Arc<Group>>> = Mutex::new(BTreeMap::new());

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
        Ok(LoginTry {
            group: Arc::clone(self),
            router: router.name.clone(),
            retry: Duration::from_secs(router.login_retry),
            right,
            answer: Answer::NotTried,
        })
    }

    fn held(&self) -> SshFault {
        let rules = lock(&self.rules);
        let names: Vec<_> = rules.refused().take(MAX_REFUSED).map(RouterName::as_str).collect();
        SshFault::Held(format!("login not tried: {} refused {}", names.join(", "), self.credential))
    }
}

/// The right to log in.
pub struct LoginTry {
    group: Arc<Group>,
    router: RouterName,
    retry: Duration,
    right: Right,
    answer: Answer,
}

impl LoginTry {
    pub fn end(mut self, result: &Result<(), SshFault>) {
        self.answer = match result {
            Ok(()) => Answer::Accepted,
            Err(SshFault::Refused(_)) => Answer::Refused,
            Err(SshFault::Credentials(_)) => Answer::NotTried,
            Err(_) => Answer::Nothing,
        };
    }
}

impl Drop for LoginTry {
    fn drop(&mut self) {
        let login = (&self.router, self.right);
        lock(&self.group.rules).end(login, self.answer, self.retry, Instant::now());
        self.group.changes.send_replace(());
    }
}

/// A router among those that wait, until this is dropped.
struct Waiting<'a>(&'a Group, Place);

impl<'a> Waiting<'a> {
    fn new(group: &'a Group, router: &Router) -> Waiting<'a> {
        let place = lock(&group.rules).queue(&router.name);
        Waiting(group, place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.rules).leave(&self.1);
        self.0.changes.send_replace(());
    }
}

/// Before a connection is made: an error while all routers with this credential wait, and the right to log in if this one
/// does not wait, or is to try for all. `secret` is a hash of the password or key.
pub fn enter(router: &Router, hop: Hop, secret: u64) -> Result<Option<LoginTry>, SshFault> {
    let group = Group::of(router, hop);
    let is_held = {
        let mut rules = lock(&group.rules);
        rules.set_secret(secret);
        rules.held_until().is_some()
    };
    if !is_held {
        return Ok(None);
    }
    group.begin(router).map(Some).map_err(|_| group.held())
}

/// Before the login: waits for those of other routers that have the same credential.
pub async fn begin(router: &Router, hop: Hop) -> Result<LoginTry, SshFault> {
    let group = Group::of(router, hop);
    let mut changes = group.changes.subscribe();
    let _waiting = Waiting::new(&group, router);
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

/// Waits after a login that was refused or not tried: for `pause` (`None`: for ever), or, while all routers with this
/// credential wait, for the turn to try for all. Once another one was accepted, none waits for its own pause.
pub async fn next_try(router: &Router, pause: Option<Duration>) -> Option<LoginTry> {
    let group = Group::of(router, Hop::Last);
    let mut changes = group.changes.subscribe();
    let end = pause.map(|pause| Instant::now() + pause);
    let mut waiting = None;
    loop {
        changes.borrow_and_update();
        let held = lock(&group.rules).held_until();
        let due = match held {
            None if waiting.is_some() => return None,
            None => end,
            Some(until) => {
                waiting.get_or_insert_with(|| Waiting::new(&group, router));
                // Of those that wake up together the first one gets it, and notifies the others.
                match group.begin(router) {
                    Ok(login_try) => return Some(login_try),
                    Err(_) => until.filter(|until| *until > Instant::now()),
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
}

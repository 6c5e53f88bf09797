//! Drops privileges permanently, and verifies with the kernel that they are gone.

use std::{os::unix::fs::MetadataExt, path::Path, thread};

use rustix::{
    fs::{Gid, Uid, getxattr},
    io::Errno,
    process::{getegid, geteuid, getgid, getgroups, getuid},
    thread::{
        CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
        no_new_privs, remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
        set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
        set_thread_uid,
    },
};

use crate::{
    Error, UserAccount, access::became_another_user, access::is_shared, failed, group_id,
    users::supplementary_groups,
};

pub use rustix::thread::CapabilitySet;

const ACCESS_LIST: &str = "system.posix_acl_access";

/// The user and groups that the process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: Uid,
    /// The group.
    pub group: Gid,
    /// Further groups.
    pub groups: Vec<Gid>,
}

impl Identity {
    /// If this process is root's: why this user cannot use a path, in whose directories it may not enter. An access control list
    /// may allow more.
    pub fn kept_out(&self, path: &Path) -> Option<String> {
        let path = std::path::absolute(path).ok().filter(|_| geteuid().is_root())?;
        let may_enter = |directory: &Path| {
            let Ok(found) = directory.metadata() else { return true };
            let bit = match () {
                () if self.user.is_root() || !found.is_dir() => return true,
                () if found.uid() == self.user.as_raw() => 0o100,
                () if self.is_of_group(found.gid()) => 0o010,
                () => 0o001,
            };
            let has_list = || getxattr(directory, ACCESS_LIST, &mut [0_u8; 1024]).is_ok();
            found.mode() & bit != 0 || has_list()
        };
        // Those of all programs have a remedy of their own.
        let is_own = |directory: &&Path| !is_shared(directory);
        let directories = path.parent()?.ancestors().filter(is_own);
        let directories = directories.filter(|directory| !may_enter(directory));
        let shown = directories.last()?.display();
        let id = self.user.as_raw();
        let user = uzers::get_user_by_uid(id);
        let user =
            user.map_or(format!("user id {id}"), |user| user.name().to_string_lossy().into());
        Some(format!(
            "it runs as {user}, who may not enter {shown}: choose another place, such as in /srv"
        ))
    }

    fn is_of_group(&self, group: u32) -> bool {
        self.group.as_raw() == group || self.groups.iter().any(|one| one.as_raw() == group)
    }

    /// The identity to switch to; none if the process may not change its own.
    ///
    /// `user` is the option `-u`; without it, the first user of `defaults` that exists. `group`
    /// replaces the user's own group.
    pub fn choose(
        user: Option<&str>,
        defaults: &[&str],
        group: Option<u32>,
    ) -> Result<Option<Identity>, Error> {
        let may_change = permitted()?.contains(CapabilitySet::SETUID | CapabilitySet::SETGID);
        let account = match user {
            Some(user) => Some(UserAccount::find(user)?),
            None if may_change && geteuid().is_root() => {
                defaults.iter().find_map(|name| UserAccount::named(name))
            }
            None => None,
        };
        if !may_change {
            return match (user, account) {
                (Some(user), Some(account)) if account.uid != geteuid() => {
                    Err(failed(format_args!(
                        "run as user {user}: permission denied (start as root, or omit -u)"
                    )))
                }
                _ => Ok(None),
            };
        }
        let account = account.unwrap_or(UserAccount { uid: geteuid(), gid: getegid() });
        let group = group.map_or(account.gid, Gid::from_raw);
        Ok(Some(Identity { user: account.uid, group, groups: Vec::new() }))
    }
}

/// The process's permitted capabilities.
pub(crate) fn permitted() -> Result<CapabilitySet, Error> {
    capabilities(None)
        .map(|sets| sets.permitted)
        .map_err(|error| Error::io("read the capabilities", error))
}

/// Drops every capability, for this process and the programs that it starts, for a process that reads no rings
/// and must start programs: see [`crate::Startup::confine`] for all others. Call it before there is a second thread.
pub fn drop_capabilities() -> Result<(), Error> {
    drop_all_but(CapabilitySet::empty(), None)
}

/// Switches to another user, if there is one, and drops every capability except those in `keep`, for
/// this process and its children. It must run before there is a second thread, because these system
/// calls affect the calling thread only. A capability that the process does not have is not added.
pub(crate) fn drop_all_but(keep: CapabilitySet, identity: Option<&Identity>) -> Result<(), Error> {
    let bounded = permitted()?.contains(CapabilitySet::SETPCAP);
    if identity.is_some_and(|identity| identity.user != geteuid()) {
        became_another_user();
    }
    drop_privileges(keep, identity).map_err(|(operation, error)| {
        Error::io(format_args!("drop privileges: {operation}"), error)
    })?;
    verify(keep, identity, bounded).map_err(|what| {
        failed(format_args!("drop privileges: the kernel reports: {what} (please report this bug)"))
    })
}

/// Does `work` as this user, without capabilities, in a thread of its own; the rest of the process keeps its identity. So a
/// program that root runs tries what a service will be able to do. An identity without groups gets those of its user, as
/// systemd's `User=` gives them.
pub fn run_as<T: Send>(
    identity: Option<&Identity>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Error> {
    run_as_with(identity, CapabilitySet::empty(), work)
}

/// The same with these capabilities, which a unit gives its service.
pub fn run_as_with<T: Send>(
    identity: Option<&Identity>,
    keep: CapabilitySet,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Error> {
    let with_groups = |identity: &Identity| match identity.groups.is_empty() {
        true => groups_of(identity.clone(), &[]),
        false => Ok(identity.clone()),
    };
    let identity = identity.map(with_groups).transpose()?;
    let ended = thread::scope(|scope| {
        let run = || drop_all_but(keep, identity.as_ref()).map(|()| work());
        scope.spawn(run).join()
    });
    ended.unwrap_or_else(|_| Err(failed("a thread ended early (please report this bug)")))
}

/// With the groups of its user, and these.
pub(crate) fn groups_of(identity: Identity, more: &[String]) -> Result<Identity, Error> {
    let mut groups = supplementary_groups(identity.user, identity.group);
    for group in more {
        groups.push(Gid::from_raw(group_id(group)?));
    }
    groups.sort_by_key(|group| group.as_raw());
    groups.dedup();
    Ok(Identity { groups, ..identity })
}

type Failure = (&'static str, Errno);

fn drop_privileges(keep: CapabilitySet, identity: Option<&Identity>) -> Result<(), Failure> {
    let failure = |operation| move |error| (operation, error);
    let had = capabilities(None).map_err(failure("read the capabilities"))?.permitted;
    if had.contains(CapabilitySet::SETPCAP) {
        for capability in all_capabilities() {
            match remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(Errno::INVAL) => {} // INVAL: this kernel does not have it
                Err(error) => return Err(("empty the bounding set", error)),
            }
        }
    }
    if let Some(identity) = identity {
        set_keep_capabilities(true).map_err(failure("keep capabilities"))?;
        set_thread_groups(&identity.groups).map_err(failure("set groups"))?;
        let gid = identity.group;
        set_thread_res_gid(gid, gid, gid).map_err(failure("set group"))?;
        let uid = identity.user;
        set_thread_res_uid(uid, uid, uid).map_err(failure("set user"))?;
    }
    let keep = keep & had;
    let sets =
        CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(failure("set capabilities"))?;
    match clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {} // Linux before 4.3 has no such set
        Err(error) => return Err(("empty the ambient set", error)),
    }
    set_keep_capabilities(false).map_err(failure("keep no capabilities"))?;
    set_no_new_privs(true).map_err(failure("set no-new-privileges"))
}

/// Checks the result. Only a process with CAP_SETPCAP can empty the bounding set (`bounded`); without
/// it, no-new-privileges makes the bounding set ineffective.
fn verify(
    keep: CapabilitySet,
    identity: Option<&Identity>,
    bounded: bool,
) -> Result<(), &'static str> {
    let check = |holds, what| if holds { Ok(()) } else { Err(what) };
    if let Some(Identity { user, group, groups }) = identity {
        check(getuid() == *user && geteuid() == *user, "the user did not change")?;
        check(getgid() == *group && getegid() == *group, "the group did not change")?;
        let now = getgroups().unwrap_or(vec![Gid::ROOT]);
        check(now == *groups, "the supplementary groups did not change")?;
        let back = user.is_root() || set_thread_uid(Uid::ROOT).is_err();
        check(back, "the process can become root again")?;
    }
    let gone = |capability| !matches!(capability_is_in_bounding_set(capability), Ok(true));
    check(!bounded || all_capabilities().all(gone), "the bounding set is not empty")?;
    let sets = capabilities(None).map_err(|_| "the capabilities cannot be read")?;
    let kept = keep.contains(sets.permitted) && sets.effective == sets.permitted;
    check(kept && sets.inheritable.is_empty(), "capabilities remain")?;
    check(no_new_privs() == Ok(true), "no-new-privileges is not set")
}

/// All capabilities, including those that have no name in this release.
fn all_capabilities() -> impl Iterator<Item = CapabilitySet> {
    (0..64).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

//! What the process may do is given up for good, and the kernel is asked whether it is.

use rustix::{
    fs::{Gid, Uid},
    io::Errno,
    process::{getegid, geteuid, getgid, getgroups, getuid},
    thread::{
        CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
        no_new_privs, remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
        set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
        set_thread_uid,
    },
};

use crate::{Error, UserAccount, failed};

pub use rustix::thread::CapabilitySet;

/// Who the process is to be.
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
    /// The identity to take: none where the process may not change its own.
    ///
    /// `user` is the option `-u`; without it, the first of `defaults` that is a user's name. `group`
    /// is to be the process's group instead of the user's own.
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
                        "run as user {user}: permission denied (start as root, or leave out -u)"
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

/// The process's capabilities.
pub(crate) fn permitted() -> Result<CapabilitySet, Error> {
    capabilities(None)
        .map(|sets| sets.permitted)
        .map_err(|error| Error::io("ask for the capabilities", error))
}

/// Becomes another user, if asked to, and gives up every capability but those to `keep`, for this
/// process and whatever it might start. To be called before there is a second thread: these calls
/// change their thread only. Keeps only what it has.
pub(crate) fn drop_all_but(keep: CapabilitySet, identity: Option<&Identity>) -> Result<(), Error> {
    let bounded = permitted()?.contains(CapabilitySet::SETPCAP);
    give_up(keep, identity).map_err(|(operation, error)| {
        Error::io(format_args!("drop privileges: {operation}"), error)
    })?;
    verify(keep, identity, bounded).map_err(|what| {
        failed(format_args!("drop privileges: the kernel says {what} (not going on)"))
    })
}

type Failure = (&'static str, Errno);

fn give_up(keep: CapabilitySet, identity: Option<&Identity>) -> Result<(), Failure> {
    let failure = |operation| move |error| (operation, error);
    let had = capabilities(None).map_err(failure("ask for the capabilities"))?.permitted;
    if had.contains(CapabilitySet::SETPCAP) {
        for capability in all_capabilities() {
            match remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(Errno::INVAL) => {} // INVAL: not one of this kernel's
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
        Ok(()) | Err(Errno::INVAL) => {} // before Linux 4.3 there was no such set
        Err(error) => return Err(("empty the ambient set", error)),
    }
    set_keep_capabilities(false).map_err(failure("keep no capabilities"))?;
    set_no_new_privs(true).map_err(failure("set no-new-privileges"))
}

/// The bounding set could only be emptied by who had CAP_SETPCAP; without, no-new-privileges makes
/// it worth nothing.
fn verify(
    keep: CapabilitySet,
    identity: Option<&Identity>,
    bounded: bool,
) -> Result<(), &'static str> {
    let so = |is, what| if is { Ok(()) } else { Err(what) };
    if let Some(Identity { user, group, groups }) = identity {
        so(getuid() == *user && geteuid() == *user, "the user is another")?;
        so(getgid() == *group && getegid() == *group, "the group is another")?;
        let now = getgroups().unwrap_or(vec![Gid::ROOT]);
        so(now == *groups, "there are other groups")?;
        let back = user.is_root() || set_thread_uid(Uid::ROOT).is_err();
        so(back, "it can become root again")?;
    }
    let gone = |capability| !matches!(capability_is_in_bounding_set(capability), Ok(true));
    so(!bounded || all_capabilities().all(gone), "the bounding set is not empty")?;
    let sets = capabilities(None).map_err(|_| "nothing about capabilities")?;
    let kept = keep.contains(sets.permitted) && sets.effective == sets.permitted;
    so(kept && sets.inheritable.is_empty(), "there are more capabilities")?;
    so(no_new_privs() == Ok(true), "new privileges can be had")
}

/// Also those that this program does not know by name.
fn all_capabilities() -> impl Iterator<Item = CapabilitySet> {
    (0..64).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

//! Users and groups, by name or number.

use rustix::fs::{Gid, Uid};

use crate::{Error, failed};

/// A user of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserAccount {
    /// The user.
    pub uid: Uid,
    /// The user's own group.
    pub gid: Gid,
}

impl UserAccount {
    /// The user with this name or number. An unknown number is also used as its group.
    pub fn find(user: &str) -> Result<UserAccount, Error> {
        match user.parse::<u32>() {
            Ok(u32::MAX) => Err(failed(format_args!("find user {user}: not a user number"))),
            Ok(id) => Ok(uzers::get_user_by_uid(id).map_or(
                UserAccount { uid: Uid::from_raw(id), gid: Gid::from_raw(id) },
                Into::into,
            )),
            Err(_) => UserAccount::named(user).ok_or_else(|| {
                failed(format_args!("find user {user}: no such user (useradd --system {user})"))
            }),
        }
    }

    /// The user with this name, if it exists.
    pub fn named(name: &str) -> Option<UserAccount> {
        uzers::get_user_by_name(name).map(Into::into)
    }
}

impl From<uzers::User> for UserAccount {
    fn from(user: uzers::User) -> UserAccount {
        let (uid, gid) = (user.uid(), user.primary_group_id());
        UserAccount { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) }
    }
}

/// The groups that a user has besides this one, sorted; none if the user is not in the database.
pub(crate) fn supplementary_groups(user: Uid, group: Gid) -> Vec<Gid> {
    let user = uzers::get_user_by_uid(user.as_raw());
    let groups = user.and_then(|user| uzers::get_user_groups(user.name(), group.as_raw()));
    let groups = groups.unwrap_or_default();
    let mut groups: Vec<_> = groups.iter().map(|group| Gid::from_raw(group.gid())).collect();
    groups.sort_by_key(|group| group.as_raw());
    groups.dedup();
    groups
}

/// The group with this name or number.
pub fn group_id(group: &str) -> Result<u32, Error> {
    if let Ok(id) = group.parse()
        && id != u32::MAX
    {
        return Ok(id);
    }
    let found = uzers::get_group_by_name(group).map(|group| group.gid());
    found
        .ok_or_else(|| failed(format_args!("find group {group}: no such group (groupadd {group})")))
}

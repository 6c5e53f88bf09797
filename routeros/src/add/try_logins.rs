//! Tries to log in to new routers, as the user of the service. A wrong password that many routers share is tried at two of
//! them: more refusals could lock the account.

use std::{collections::HashMap, io, os::fd::AsFd};

use aw_service::{Error, Identity, Secret, Signals, failed, run_as};
use tokio::{net::UnixStream, task::JoinSet};

use super::{block_on, entries::LoginResult};
use crate::{
    config::{Router, RouterName},
    ssh::{SshConnection, SshFault},
};

/// Routers that are connected to at the same time.
const AT_ONCE: usize = 16;
/// Refusals of the same login before the first success.
const MAX_REFUSED: usize = 2;

/// The result for each router.
pub fn try_logins(
    routers: Vec<Router>,
    identity: Option<&Identity>,
    signals: &Signals,
) -> Result<Vec<(RouterName, LoginResult)>, Error> {
    let trial = async {
        tokio::select! {
            results = try_all(routers) => Ok(results),
            stopped = stop(signals) => Err(match stopped {
                Ok(()) => failed("a signal ended the trial of logins: nothing is added"),
                Err(error) => Error::io("wait for signals", error),
            }),
        }
    };
    run_as(identity, || block_on(trial))??
}

/// Waits for a signal that ends the program.
async fn stop(signals: &Signals) -> io::Result<()> {
    let wake = UnixStream::from_std(signals.as_fd().try_clone_to_owned()?.into())?;
    while !signals.stopped() && !signals.take_hangup() {
        wake.readable().await?;
        while wake.try_read(&mut [0; 16]).is_ok_and(|read| read > 0) {}
    }
    Ok(())
}

async fn try_all(routers: Vec<Router>) -> Vec<(RouterName, LoginResult)> {
    let mut by_login: HashMap<_, Vec<Router>> = HashMap::new();
    for router in routers {
        let file = router.password_file.as_ref().or(router.key_file.as_ref()).cloned();
        let secret = router.password_file.as_deref().and_then(|file| Secret::first_line(file).ok());
        let secret = secret.map_or(Err(file), |secret| Ok(secret.reveal().to_owned()));
        by_login.entry((router.login(), secret)).or_default().push(router);
    }
    let (mut results, mut others) = (Vec::new(), Vec::new());
    for routers in by_login.into_values() {
        if routers.len() <= MAX_REFUSED {
            others.extend(routers);
            continue;
        }
        let (mut routers, mut refused, mut works) = (routers.into_iter(), Vec::new(), false);
        while !works && refused.len() < MAX_REFUSED {
            let Some(router) = routers.next() else { break };
            let result = log_in(&router).await;
            works = result.is_ok();
            if let Err(SshFault::Refused(_)) = &result {
                refused.push(router.name.to_string());
            }
            results.push((router.name, result));
        }
        if works {
            others.extend(routers);
            continue;
        }
        let why = format!("not tried, because {} refused the same login", refused.join(" and "));
        results.extend(routers.map(|router| (router.name, Err(SshFault::Local(why.clone())))));
    }
    let (mut running, mut waiting) = (JoinSet::new(), others.into_iter());
    loop {
        while running.len() < AT_ONCE
            && let Some(router) = waiting.next()
        {
            running.spawn(async move {
                let result = log_in(&router).await;
                (router.name, result)
            });
        }
        match running.join_next().await {
            Some(tried) => results.extend(tried),
            None => return results,
        }
    }
}

async fn log_in(router: &Router) -> LoginResult {
    if router.agent && std::env::var_os("SSH_AUTH_SOCK").is_none() {
        return Ok(false); // the service's agent is not known here; `check` reports it
    }
    match SshConnection::open(router).await {
        Ok(connection) => {
            connection.close().await;
            Ok(false)
        }
        Err(SshFault::Algorithms(why)) if router.legacy && why.contains("legacy_group1") => {
            let router = Router { legacy_group1: true, ..router.clone() };
            SshConnection::open(&router).await?.close().await;
            Ok(true)
        }
        Err(fault) => Err(fault),
    }
}

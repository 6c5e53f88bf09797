//! The name of a device: a form on its page, if the server was started with `--edit` and the user is an editor. It is written to
//! the one file of names, which all programs follow.

use aw_query::{Named, check_name};
use aw_service::{Error, info, plain, warn};
use axum::{body::Bytes, extract::Path, http::StatusCode, response::Response};
use shm_layout::MacAddr;

use crate::{
    app::{App, User, Visit},
    display::device_link,
    guard::{form, redirect},
    options::Role,
    parameters::parse_mac,
    problem::Problem,
};

/// The form on the page of a device.
pub struct NameForm {
    pub csrf: String,
    pub name: String,
    pub action: String,
}

impl NameForm {
    /// None for a user who may not name devices.
    pub fn new(app: &App, user: &User, mac: MacAddr) -> Option<NameForm> {
        may_name(app, user).ok()?;
        let (name, _) = app.asker.devices.of(mac);
        Some(NameForm {
            csrf: user.csrf.clone(),
            name: name.map(|name| plain(&name)).unwrap_or_default(),
            action: format!("{}/name", device_link(&mac.to_string())),
        })
    }
}

/// Whether a user may name devices; why not.
pub fn may_name(app: &App, user: &User) -> Result<(), Problem> {
    let refused = |why| Err(Problem::new(StatusCode::FORBIDDEN, why));
    match (&app.names, user.role) {
        (None, _) => refused(
            "no device is named here (start aw-web with --edit, or use aw-query name on that machine)",
        ),
        (Some(_), Role::Reader) => refused(
            "only an editor names devices (aw-web passwd NAME --role editor makes a user one)",
        ),
        (Some(_), Role::Editor) => Ok(()),
    }
}

/// After a login that the form led to: the browser does not have what was written any more.
pub async fn again(visit: Visit, Path(text): Path<String>) -> Result<Response, Problem> {
    visit.parameters.finish()?;
    let why = format!(
        "{} has no new name, because its form was sent after the session had ended (open it, and save the name again)",
        parse_mac(&text)?
    );
    Err(Problem::new(StatusCode::CONFLICT, why))
}

/// Sets the name, or removes it with the button for that; then leads to the device.
pub async fn name(
    visit: Visit,
    Path(text): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    visit.parameters.finish()?;
    may_name(&visit.app, &visit.user)?;
    let mac = parse_mac(&text)?;
    let mut form = form(&body)?;
    let name = form.take("name").unwrap_or_default();
    let is_removed = form.take("remove").is_some();
    form.finish()?;
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let name = (!is_removed && !name.is_empty()).then_some(name);
    if name.is_none() && !is_removed {
        return Err(Problem::bad(format!("{mac}: write a name (\"Forget the name\" removes it)")));
    }
    if let Some(name) = &name {
        check_name(mac, name).map_err(|error| Problem::bad(format!("{mac}: {error}")))?;
    }
    let Some(queue) = &visit.app.names else { return Err(Problem::bad("no names".into())) };
    let (devices, new) = (visit.app.asker.devices.clone(), name.clone());
    let written = queue.run(true, move || devices.set_name(mac, new.as_deref())).await?;
    let Named { before, .. } = written.map_err(|error| not_written(mac, &error))?;
    info(logged(&visit.user.name, mac, name.as_deref(), before.as_deref()));
    // The script of the page reports it.
    Ok(redirect(&format!("{}#saved", device_link(&mac.to_string()))))
}

fn logged(user: &str, mac: MacAddr, name: Option<&str>, before: Option<&str>) -> String {
    let was = before.filter(|before| name != Some(before));
    let was = was.map_or_else(String::new, |before| format!(" (it was \"{}\")", plain(before)));
    match name {
        Some(name) => format!("{user} named {mac} \"{}\"{was}", plain(name)),
        None => format!("{user} removed the name of {mac}{was}"),
    }
}

/// The file cannot be written: the name was checked before.
fn not_written(mac: MacAddr, error: &Error) -> Problem {
    warn(error);
    let why = format!("the name of {mac} is not saved: {error}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever its text is.
    #[test]
    fn a_file_that_cannot_be_written_is_no_wrong_name() {
        let error = Error::Failed("lock names: no locks available".into());
        let problem = not_written(MacAddr::new([2, 0, 0, 0, 0, 1]), &error);
        assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            problem.why,
            "the name of 02:00:00:00:00:01 is not saved: lock names: no locks available"
        );
    }

    #[test]
    fn the_log_has_both_names() {
        let mac: MacAddr = "02:00:00:00:00:01".parse().unwrap();
        for (name, before, line) in [
            (Some("radio"), None, "ada named 02:00:00:00:00:01 \"radio\""),
            (Some("radio"), Some("radio"), "ada named 02:00:00:00:00:01 \"radio\""),
            (
                Some("a\u{1b}"),
                Some("radio"),
                "ada named 02:00:00:00:00:01 \"a?\" (it was \"radio\")",
            ),
            (None, Some("radio"), "ada removed the name of 02:00:00:00:00:01 (it was \"radio\")"),
        ] {
            assert_eq!(logged("ada", mac, name, before), line);
        }
    }
}

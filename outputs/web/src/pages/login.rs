//! To log in with a password, or with the token in a link; and to log out.

use std::{sync::Arc, time::Instant};

use askama::Template;
use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header::SET_COOKIE},
    response::Response,
};

use crate::{
    app::{App, User},
    guard::{
        self, LoggedIn, NotLoggedIn, cookie_name, is_link_of_another_site, redirect, token_user,
        unreadable,
    },
    local_path::local_path,
    options::Role,
    pages::{self, Frame},
    parameters::Parameters,
    problem::Problem,
    secrets,
    server::Connection,
};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    next: String,
    name: String,
    why: Option<String>,
}

/// The form; or, with the token of a link, a session.
pub async fn form(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::parse(uri.query().unwrap_or_default())?;
    let (token, next) = (parameters.take("token"), local(parameters.take("next")));
    parameters.finish()?;
    let Some(token) = token else { return login_page(next, String::new(), None) };
    if secrets::is_same(token.trim(), &app.token) {
        let user = token_user();
        // The link may be in a mail that another site shows.
        let response = match is_link_of_another_site(&headers) {
            true => pages::again(&next),
            false => redirect(&next),
        };
        return begin(&app, connection, (user.name, user.role, None), response);
    }
    app.may_try(connection.client, None)?;
    app.failed_try(connection.client, None, "the token");
    let why = "The token of this link is wrong: aw-web login prints the link that is valid.";
    refused((next, String::new()), why, "wrong token".into())
}

/// The form with name and password.
pub async fn submit(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut form = guard::form(&body)?;
    let next = local(form.take("next"));
    let (name, password) =
        (form.take("name").unwrap_or_default(), form.take("password").unwrap_or_default());
    app.may_try(connection.client, Some(&name))?;
    let users = app.users.clone();
    let user = name.clone();
    let checked = app.passwords.run(false, move || users.log_in(&user, &password)).await?;
    match checked.map_err(unreadable)? {
        Some(user) => {
            let record = Some(user.line());
            begin(&app, connection, (user.name, user.role, record), redirect(&next))
        }
        None => {
            // What is no name may be a password in the wrong field.
            let is_known = app.users.find(&name).map_err(unreadable)?.is_some();
            let of = if is_known { &name } else { "an unknown user" };
            app.failed_try(connection.client, Some(&name), of);
            let logged = format!("wrong password for {of}");
            refused((next, name), "Name or password is wrong.", logged)
        }
    }
}

/// Ends the session.
pub async fn log_out(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    Extension(user): Extension<User>,
) -> Response {
    if let Some(id) = user.session {
        app.sessions().end(&id);
    }
    let mut response = redirect("/login");
    set_cookie(&mut response, connection, "", "; Max-Age=0");
    response
}

fn begin(
    app: &App,
    connection: Connection,
    user: (String, Role, Option<String>),
    mut response: Response,
) -> Result<Response, Problem> {
    let secrets = secrets::random().and_then(|id| Ok((id, secrets::random()?)));
    let (id, csrf) = secrets.map_err(unreadable)?;
    response.extensions_mut().insert(LoggedIn(user.0.clone()));
    app.sessions().begin((id.clone(), csrf), user, Instant::now());
    set_cookie(&mut response, connection, &id, "; Max-Age=604800");
    Ok(response)
}

fn set_cookie(response: &mut Response, connection: Connection, value: &str, lasts: &str) {
    let secure = if connection.is_secure() { "; Secure" } else { "" };
    let name = cookie_name(connection);
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{lasts}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

fn refused((next, name): (String, String), why: &str, logged: String) -> Result<Response, Problem> {
    let mut response = login_page(next, name, Some(why.into()))?;
    response.extensions_mut().insert(NotLoggedIn(logged));
    *response.status_mut() = StatusCode::FORBIDDEN;
    Ok(response)
}

fn login_page(next: String, name: String, why: Option<String>) -> Result<Response, Problem> {
    pages::page(&LoginPage { frame: Frame::of(None), next, name, why })
}

/// Where to go after the login: a path of this server, and not the login again.
fn local(next: Option<String>) -> String {
    let next = next.unwrap_or_default();
    let path = local_path(&next);
    if path.starts_with("/login") { "/".into() } else { path.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over HTTPS, also that of a reverse proxy before the socket, a cookie is never sent over HTTP.
    #[test]
    fn cookies_of_https() {
        let local = [127, 0, 0, 1].into();
        let tls = Connection { client: Some(local), to: local, port: Some(443), has_tls: true };
        for (connection, begin) in [
            (tls, "__Host-aw-web-443=x; "),
            (Connection { client: None, port: None, has_tls: false, ..tls }, "__Host-aw-web=x; "),
            (Connection { has_tls: false, port: Some(80), ..tls }, "aw-web-80=x; "),
        ] {
            let mut response = redirect("/");
            set_cookie(&mut response, connection, "x", "");
            let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
            assert!(cookie.starts_with(begin), "{cookie}");
            assert_eq!(cookie.contains("; Secure"), begin.starts_with("__Host-"), "{cookie}");
        }
    }

    #[test]
    fn only_to_this_server() {
        for next in ["/", "/who?ip=192.0.2.1&at=1d", "/ip/fe80%3A%3A1"] {
            assert_eq!(local(Some(next.into())), next);
        }
        for bad in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "",
            "x",
            "/\n/",
            "/\t/evil",
            "/login",
        ] {
            assert_eq!(local(Some(bad.into())), "/", "{bad:?}");
        }
        assert_eq!(local(None), "/");
    }
}

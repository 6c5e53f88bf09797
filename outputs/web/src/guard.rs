//! One layer in front of all routes: the host, the origin, who asks, the token of a form, the size of a request, and then the
//! log and the headers of the answer. No route is reached without it, and only those of [`is_public`] without a login.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use aw_service::{info, plain, warn};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
        header::{
            AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN,
            RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::{
    app::{App, Here, User, client_name},
    clients::Guest,
    local_path::local_path,
    options::Role,
    pages,
    parameters::Parameters,
    problem::Problem,
    secrets,
    sending::held,
    server::Connection,
    sessions::Session,
    users,
};

/// Bytes of a request's body, and the time for it.
const MAX_BODY: usize = 16 << 10;
const BODY: Duration = Duration::from_secs(10);

/// No script but those of this server, no style but its style sheet, no form to another one, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The headers of each answer.
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"), // with no-referrer, browsers hide the origin of a form from its own server
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// In the extensions of the answer with which a session begins: the name of its user, for the log. The request had none.
#[derive(Clone, Debug)]
pub struct LoggedIn(pub String);

/// In the extensions of the answer to a login that failed: what was wrong, for the log.
#[derive(Clone, Debug)]
pub struct NotLoggedIn(pub String);

const WRONG_TOKEN: &str =
    "wrong token (aw-web login prints the link that is valid, which ends with it)";

/// What is answered without a login.
fn is_public(path: &str) -> bool {
    path == "/login" || pages::is_file(path)
}

/// The layer.
pub async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let mut connection = request.extensions().get::<Connection>().copied();
    if let Some(connection) = connection.as_mut().filter(|one| one.port.is_none())
        && let Some(name) = &app.proxy.client
    {
        connection.client = client_of_proxy(request.headers(), name);
        request.extensions_mut().insert(*connection);
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let (found, response) = match connection {
        None => {
            (None, Problem::bad("no connection (please report this bug)".into()).into_response())
        }
        Some(connection) => checked(&app, connection, request, next).await,
    };
    let wrong = response.extensions().get::<NotLoggedIn>().cloned();
    let response = rendered(response, &uri, found.as_ref());
    let response = app
        .sending
        .hold(response)
        .unwrap_or_else(|problem| rendered(problem.into_response(), &uri, found.as_ref()));
    if !pages::is_file(uri.path()) {
        let client = connection.and_then(|connection| connection.client);
        let client = client_name(client);
        let status = response.status().as_u16();
        let line = format!("from {client}: {method} {} {status}", logged(&uri));
        match (found, response.extensions().get::<LoggedIn>()) {
            (_, Some(LoggedIn(name))) => info(format_args!("{name} logged in {line}")),
            (Some(user), None) => info(format_args!("{} {line}", user.name)),
            (None, None) => match wrong {
                Some(NotLoggedIn(what)) => app.log_wrong_login(&format!("{line}: {what}")),
                None => app.log_stranger(&line),
            },
        }
    }
    response
}

async fn checked(
    app: &App,
    connection: Connection,
    request: Request,
    next: Next,
) -> (Option<User>, Response) {
    let refused = |problem: Problem| (None, problem.into_response());
    let host = match host(app, connection, &request) {
        Ok(host) => host,
        Err(problem) => return refused(problem),
    };
    let changes = match *request.method() {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        _ => {
            let why = "only GET, HEAD and POST are answered";
            return refused(Problem::new(StatusCode::METHOD_NOT_ALLOWED, why));
        }
    };
    if let Err(problem) = origin(connection, host, changes, request.headers()) {
        return refused(problem);
    }
    let (mut parts, body) = request.into_parts();
    let body = match timeout(BODY, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let why = format!("the body is incomplete, or larger than {MAX_BODY} bytes");
            return refused(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        Err(_) => {
            let why = "the body did not arrive in time (try again)";
            return refused(Problem::new(StatusCode::REQUEST_TIMEOUT, why));
        }
    };
    let user = match who(app, connection, &parts.headers) {
        Ok(user) => user,
        Err(problem) => {
            let wrong = (problem.why == WRONG_TOKEN).then(|| NotLoggedIn("wrong token".into()));
            let mut response = problem.into_response();
            wrong.into_iter().for_each(|wrong| drop(response.extensions_mut().insert(wrong)));
            return (None, response);
        }
    };
    let path = parts.uri.path();
    match &user {
        None if !is_public(path) => {
            return refused(match path.starts_with("/api/") {
                true => Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "log in first (send the header Authorization: Bearer TOKEN, with the token that aw-web login prints)",
                ),
                false if is_link_of_another_site(&parts.headers) => {
                    return (None, pages::again(path_of(&parts.uri)));
                }
                false => return (None, to_login(&parts.uri)),
            });
        }
        Some((user, is_ambient))
            if changes && *is_ambient && !has_csrf(user, &parts.headers, &body) =>
        {
            let why = "the form is of another session (load the page again, and send it once more)";
            return (Some(user.clone()), Problem::new(StatusCode::FORBIDDEN, why).into_response());
        }
        _ => {}
    }
    let user = user.map(|(user, _)| user);
    let Some(known) = user.clone() else {
        return (None, next.run(Request::from_parts(parts, Body::from(body))).await);
    };
    parts.extensions.insert(known.clone());
    if !parts.uri.path().starts_with("/api/") {
        parts.extensions.insert(Here::of(&parts.uri));
    }
    // Until the client has all of it, its connection is not closed for a new one.
    let answering = match parts.extensions.get::<Guest>() {
        None => None,
        Some(guest) => {
            let name = Some(&*known.name).filter(|name| *name != token_user().name);
            let Some(answering) = guest.answers(name) else {
                let why = "too many requests of one user at once (close some pages, or wait until they are loaded)";
                return (user, Problem::busy(why, 5).into_response());
            };
            Some(answering)
        }
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    (user, response.map(|body| held(body, answering)))
}

/// The client that the reverse proxy names: the last one, which it added itself.
fn client_of_proxy(headers: &HeaderMap, name: &str) -> Option<IpAddr> {
    let all = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let last = all.flat_map(|value| value.split(',')).next_back()?.trim();
    let with_port = || Some(last.parse::<SocketAddr>().ok()?.ip());
    last.parse().ok().or_else(with_port).map(|ip: IpAddr| ip.to_canonical())
}

/// Exactly one host, which this server has; and a request that each proxy understands in the same way.
fn host<'a>(app: &App, connection: Connection, request: &'a Request) -> Result<&'a str, Problem> {
    let headers = request.headers();
    if headers.contains_key(TRANSFER_ENCODING) {
        // No browser sends a form in parts. A request with both has two lengths, of which a proxy may take the other one; hyper
        // then hides Content-Length.
        let why = "the body has no length (send Content-Length, and no Transfer-Encoding)";
        return Err(Problem::new(StatusCode::LENGTH_REQUIRED, why));
    }
    if request.uri().authority().is_some() {
        return Err(Problem::bad("this is no proxy (send a path, and the header Host)".into()));
    }
    let host = only(headers, &HOST)?.unwrap_or_default();
    if !app.hosts.includes(host, connection.to) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "{host:?} is not a name of this server (use the address that aw-web login prints, or allow the name in your address bar: add --allow-host NAME to OPTIONS= in /etc/default/aw-web)"
            ),
        ));
    }
    Ok(host)
}

/// The value of a header that may be there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(value) => Ok(Some(value)),
            Err(_) => {
                Err(Problem::bad(format!("the header {name} has characters that it may not have")))
            }
        },
        _ => Err(Problem::bad(format!("the header {name} is there twice (send it once)"))),
    }
}

/// A request of a page of another site is refused, unless it is a link to a page of this one.
fn origin(
    connection: Connection,
    host: &str,
    changes: bool,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    const WHY: &str = "the request is of a page of another site (open the page of this server, and try again there)";
    let refused = || Err(Problem::new(StatusCode::FORBIDDEN, WHY));
    if let Some(origin) = only(headers, &ORIGIN)? {
        // A reverse proxy on the socket may speak HTTPS to the browser.
        let own = |scheme: &str| origin.eq_ignore_ascii_case(&format!("{scheme}://{host}"));
        let is_proxy = connection.port.is_none();
        let is_own = own(connection.scheme()) || is_proxy && own("https");
        if !is_own {
            return refused();
        }
    }
    let of = |name| only(headers, &HeaderName::from_static(name));
    match of("sec-fetch-site")? {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) if !changes && of("sec-fetch-mode")? == Some("navigate") => Ok(()),
        Some(_) => refused(),
    }
}

/// Who asks, and whether a browser adds the proof by itself; none without a login.
fn who(
    app: &App,
    connection: Connection,
    headers: &HeaderMap,
) -> Result<Option<(User, bool)>, Problem> {
    let authorization = only(headers, &AUTHORIZATION)?.and_then(|value| value.split_once(' '));
    // The password of another kind is for the reverse proxy.
    if let Some((_, token)) = authorization.filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"))
    {
        if secrets::is_same(token.trim(), &app.token) {
            return Ok(Some((token_user(), false)));
        }
        app.may_try(connection.client, None)?;
        app.failed_try(connection.client, None, "the token");
        return Err(Problem::new(StatusCode::UNAUTHORIZED, WRONG_TOKEN));
    }
    if let Some(name) = &app.proxy.user {
        let header = HeaderName::from_bytes(name.as_bytes());
        let header =
            header.map_err(|_| Problem::bad("the header of the proxy has no valid name".into()))?;
        if let Some(name) = only(headers, &header)?.filter(|name| !name.is_empty()) {
            let name = users::parse_name(name)
                .map_err(|why| Problem::bad(format!("the user of the proxy {why}")))?;
            users::check_new_name(&name).map_err(Problem::bad)?;
            let known = app.users.find(&name).map_err(unreadable)?;
            let role = known.map_or(Role::Reader, |user| user.role);
            let csrf = digest(&[&app.secret, &name]);
            return Ok(Some((User { name, role, csrf, session: None }, true)));
        }
    }
    let Some(id) = cookie(headers, &cookie_name(connection)) else { return Ok(None) };
    let session = app.sessions().get(&id, Instant::now()).cloned();
    let Some(Session { user, role, record, csrf, .. }) = session else { return Ok(None) };
    if let Some(record) = record {
        let now = app.users.find(&user).map_err(unreadable)?;
        if now.is_none_or(|now| now.line() != record) {
            app.sessions().end(&id); // removed, or with another password or role
            return Ok(None);
        }
    }
    Ok(Some((User { name: user, role, csrf, session: Some(id) }, true)))
}

/// What the log calls the user who has the token, and so may read the state directory.
pub const TOKEN_USER: &str = "token";

pub fn token_user() -> User {
    User { name: TOKEN_USER.into(), role: Role::Editor, csrf: String::new(), session: None }
}

pub fn unreadable(error: aw_service::Error) -> Problem {
    warn(&error);
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the users cannot be read (the log of aw-web has the cause)",
    )
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The token of a form, or of the header that a script sends.
fn has_csrf(user: &User, headers: &HeaderMap, body: &Bytes) -> bool {
    let header =
        headers.get("x-csrf-token").and_then(|value| value.to_str().ok().map(str::to_owned));
    let form = || Parameters::parse(std::str::from_utf8(body).ok()?).ok()?.take("csrf");
    header
        .or_else(form)
        .is_some_and(|given| !user.csrf.is_empty() && secrets::is_same(&given, &user.csrf))
}

/// The fields of a form, without its token, which has been checked.
pub fn form(body: &[u8]) -> Result<Parameters, Problem> {
    let text = std::str::from_utf8(body);
    let mut form =
        Parameters::parse(text.map_err(|_| Problem::bad("the form is not UTF-8".into()))?)?;
    form.take("csrf");
    Ok(form)
}

/// Cookies are the same for all ports of a host: two servers have two names.
pub fn cookie_name(connection: Connection) -> String {
    match connection.port {
        Some(port) if connection.has_tls => format!("__Host-aw-web-{port}"),
        Some(port) => format!("aw-web-{port}"),
        None => "__Host-aw-web".into(), // of a proxy that speaks HTTPS
    }
}

pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut all = all.flat_map(|value| value.split(';'));
    all.find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

fn to_login(uri: &Uri) -> Response {
    let next: String = form_urlencoded::byte_serialize(path_of(uri).as_bytes()).collect();
    let to = if next == "%2F" { "/login".into() } else { format!("/login?next={next}") };
    redirect(&to)
}

/// The path and the parameters of a request, if they are of this server.
fn path_of(uri: &Uri) -> &str {
    local_path(uri.path_and_query().map_or("/", |all| all.as_str()))
}

/// Another page of this server instead, by GET.
pub fn redirect(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    match HeaderValue::from_str(local_path(to)) {
        Ok(to) => drop(response.headers_mut().insert(LOCATION, to)),
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

/// Whether a browser follows a link of another site. It then sends no cookie of SameSite=Strict, also after a redirection, but
/// does so once a page of this server asks for the same.
pub fn is_link_of_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site")
}

/// The page or the JSON of a problem, and the headers of each answer.
fn rendered(response: Response, uri: &Uri, user: Option<&User>) -> Response {
    let mut problem = response.extensions().get::<Problem>().cloned();
    if problem.is_none()
        && response
            .headers()
            .get(CONTENT_TYPE)
            .is_none_or(|kind| kind == "text/plain; charset=utf-8")
    {
        // Of the router itself.
        problem = match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => Some("this page is only read (send GET)"),
            status if status.is_client_error() => Some("the request is not valid (check its path)"),
            _ => None,
        }
        .map(|why| Problem::new(response.status(), why));
    }
    let mut response = match problem {
        None => response,
        Some(problem) => {
            let mut answer = match uri.path().starts_with("/api/") {
                true => {
                    let text =
                        json!({ "status": problem.status.as_u16(), "error": plain(&problem.why) });
                    let kind = HeaderValue::from_static("application/json");
                    (problem.status, [(CONTENT_TYPE, kind)], format!("{text}\n")).into_response()
                }
                false => {
                    let parameters = Parameters::parse(uri.query().unwrap_or_default()).ok();
                    let question = parameters.and_then(|mut all| all.take("q"));
                    pages::problem(&problem, user, &question.unwrap_or_default())
                }
            };
            if problem.status == StatusCode::LENGTH_REQUIRED {
                // What follows may be of its body, as a proxy reads it.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if problem.status == StatusCode::UNAUTHORIZED {
                let bearer = HeaderValue::from_static("Bearer realm=\"aw-web\"");
                answer.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            }
            if let Some(seconds) = problem.retry_after {
                answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            answer
        }
    };
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(no_store);
    response
}

/// The path and its parameters for the log: without a token, and without the page after a login, which may have one.
fn logged(uri: &Uri) -> String {
    let Some(query) = uri.query() else { return shortened(uri.path()) };
    let hide = |pair: &str| match pair.split_once('=') {
        // A name that is written otherwise is none that a page takes as the token.
        Some((name, _)) => {
            let decoded = form_urlencoded::parse(name.as_bytes()).next();
            match decoded.as_ref().map(|(name, _)| &**name) {
                Some(secret @ ("token" | "next")) => format!("{secret}=***"),
                _ => pair.to_owned(),
            }
        }
        None => pair.to_owned(),
    };
    let pairs: Vec<String> = query.split('&').map(hide).collect();
    shortened(&format!("{}?{}", uri.path(), pairs.join("&")))
}

fn shortened(text: &str) -> String {
    plain(text).chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(pair).collect()
    }

    #[test]
    fn origins() {
        let local = [127, 0, 0, 1].into();
        let http = Connection { client: Some(local), to: local, port: Some(80), has_tls: false };
        let proxy = Connection { client: None, port: None, ..http };
        let is_allowed = |connection, changes, all: &[(&'static str, &'static str)]| {
            origin(connection, "a.example:80", changes, &headers(all)).is_ok()
        };
        for changes in [false, true] {
            assert!(is_allowed(http, changes, &[]));
            assert!(is_allowed(
                http,
                changes,
                &[("origin", "http://a.example:80"), ("sec-fetch-site", "same-origin")]
            ));
            assert!(is_allowed(http, changes, &[("sec-fetch-site", "none")]));
            assert!(is_allowed(proxy, changes, &[("origin", "https://a.example:80")]));
            for foreign in
                ["http://evil.example", "https://a.example:80", "http://a.example", "null", ""]
            {
                assert!(!is_allowed(http, changes, &[("origin", foreign)]), "{foreign:?}");
            }
            assert!(!is_allowed(
                http,
                changes,
                &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]
            ));
            assert!(!is_allowed(
                http,
                changes,
                &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")]
            ));
        }
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert!(is_allowed(http, false, &link) && !is_allowed(http, true, &link));
        let mut twice = headers(&[("origin", "http://a.example:80")]);
        twice.append("origin", HeaderValue::from_static("http://evil.example"));
        assert!(origin(http, "a.example:80", false, &twice).is_err());
    }

    /// What a client claims itself comes before what the proxy adds.
    #[test]
    fn clients_of_a_proxy() {
        for (all, expected) in [
            (&[("x-client", "192.0.2.1")][..], Some("192.0.2.1")),
            (&[("x-client", "10.0.0.1, 192.0.2.1")], Some("192.0.2.1")),
            (&[("x-client", "10.0.0.1"), ("x-client", "[2001:db8::1]:443")], Some("2001:db8::1")),
            (&[("x-client", "::ffff:192.0.2.1")], Some("192.0.2.1")),
            (&[("x-client", "192.0.2.1, unknown")], None),
            (&[("x-client", "")], None),
            (&[("x-other", "192.0.2.1")], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let expected = expected.map(|ip| ip.parse::<IpAddr>().unwrap());
            assert_eq!(client_of_proxy(&headers, "x-client"), expected, "{all:?}");
        }
    }

    #[test]
    fn cookies() {
        let all = headers(&[("cookie", "a=1; aw-web-80=secret; aw-web-81=other")]);
        assert_eq!(cookie(&all, "aw-web-80").as_deref(), Some("secret"));
        assert_eq!(cookie(&all, "aw-web-8"), None);
        assert_eq!(cookie(&headers(&[("cookie", "aw-web-80")]), "aw-web-80"), None);
    }

    /// `GET //evil.example/login` of a link leads to no other server, in none of the forms of a redirection.
    #[test]
    fn only_to_this_server() {
        let uri: Uri = "//evil.example/login".parse().unwrap();
        assert_eq!(uri.path(), "//evil.example/login");
        assert_eq!(path_of(&uri), "/");
        assert_eq!(path_of(&"/who?ip=192.0.2.1".parse().unwrap()), "/who?ip=192.0.2.1");
        assert_eq!(to_login(&uri).headers()[LOCATION], "/login");
        assert_eq!(redirect("//evil.example/").headers()[LOCATION], "/");
        let page = pages::again(uri.path()).into_body();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let page = runtime.block_on(to_bytes(page, MAX_BODY)).unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert!(page.contains("url=/\"") && !page.contains("evil"), "{page}");
    }

    #[test]
    fn the_log_has_no_token() {
        for (uri, expected) in [
            ("/login?token=abc", "/login?token=***"),
            ("/login?next=%2F%3Ftoken%3Dabc", "/login?next=***"),
            ("/login?n%65xt=%2F%3Ftoken%3Dabc&tok%65n=abc", "/login?next=***&token=***"),
            ("/who?ip=192.0.2.1&at=1d", "/who?ip=192.0.2.1&at=1d"),
            ("/", "/"),
        ] {
            assert_eq!(logged(&uri.parse().unwrap()), expected);
        }
    }

    #[test]
    fn csrf() {
        let user = User { csrf: "abc".into(), ..token_user() };
        let body = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert!(has_csrf(&user, &headers(&[]), &body("csrf=abc&x=1")));
        assert!(has_csrf(&user, &headers(&[("x-csrf-token", "abc")]), &body("")));
        for bad in ["", "csrf=", "csrf=abd", "csrf=abc&csrf=abd", "x=abc"] {
            assert!(!has_csrf(&user, &headers(&[]), &body(bad)), "{bad}");
        }
        assert!(!has_csrf(&token_user(), &headers(&[]), &body("csrf=")), "no token is none");
    }
}

//! Who may do what.
//!
//! Responsible for: users and their rights, the rights a request needs (AUTH-61), the check of its
//! `Authorization`, and the challenge when it fails.
//! Must not know: how tokens are asked for (see `token`), or what is stored.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};

use super::Model;
use super::message::{Refusal, Request};
use super::target::{Route, Target};

/// How a registry knows its callers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Auth {
    /// Everybody may do everything.
    Open,
    /// User name and password with every request.
    Basic(Basic),
    /// Tokens from a realm.
    Bearer(Bearer),
}

/// Authentication by user name and password.
#[derive(Clone, Debug, Default)]
pub struct Basic {
    /// Who there is, by name.
    pub users: BTreeMap<String, User>,
    /// Whether reading needs no credentials.
    pub anonymous_pull: bool,
}

/// Authentication by tokens.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The realm; `{host}` stands for the host the challenged request went to.
    pub realm: String,
    /// The service name; a token request must repeat it.
    pub service: String,
    /// Who there is, by name.
    pub users: BTreeMap<String, User>,
    /// Whether an anonymous token grants pull.
    pub anonymous_pull: bool,
    /// How long a token really works; zero makes every token useless.
    pub life: Duration,
    /// What the answer says about that.
    pub announced: Announced,
    /// What happens to a token request for several repositories.
    pub unions: Unions,
    /// The status a POST to the realm is refused with; `None` supports it. Where it is refused, GET takes
    /// an identity token as the password of `<token>` (AUTH-32).
    pub refuse_post: Option<StatusCode>,
    /// The status of a refusal for lack of rights: 401 (CNCF) or 403 (RFC 6750), AUTH-08.
    pub insufficient: StatusCode,
    /// Whether challenges say which scope is needed.
    pub scope_in_challenge: bool,
}

impl Default for Bearer {
    fn default() -> Self {
        Self {
            realm: "http://{host}/token".to_owned(),
            service: "testbed".to_owned(),
            users: BTreeMap::new(),
            anonymous_pull: true,
            life: Duration::from_secs(300),
            announced: Announced::Real,
            unions: Unions::Granted,
            refuse_post: None,
            insufficient: StatusCode::UNAUTHORIZED,
            scope_in_challenge: true,
        }
    }
}

/// What a token answer says about the token's life (AUTH-41).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Announced {
    /// The truth.
    Real,
    /// Nothing.
    Omitted,
    /// This many seconds.
    Seconds(u64),
}

/// What happens to a token request for several repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unions {
    /// Each part is granted by the user's rights.
    Granted,
    /// The realm answers 403.
    RefusedAtRealm,
    /// A token is issued and the registry refuses it as invalid.
    RefusedAtRegistry,
    /// Only the first scope is looked at (AUTH-64).
    FirstOnly,
}

/// One user: a password and rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The password.
    pub password: String,
    /// The actions (`pull`, `push`, `delete`) by repository; `*` stands for all repositories.
    pub rights: BTreeMap<String, BTreeSet<String>>,
    /// Whether the catalog may be listed.
    pub catalog: bool,
}

impl User {
    /// A user who may do everything everywhere.
    pub fn new(password: impl Into<String>) -> Self {
        let mut user = Self::limited(password).with("*", &["pull", "push", "delete"]);
        user.catalog = true;
        user
    }

    /// A user who may do nothing yet.
    pub fn limited(password: impl Into<String>) -> Self {
        Self {
            password: password.into(),
            rights: BTreeMap::new(),
            catalog: false,
        }
    }

    /// Adds actions on a repository.
    #[must_use]
    pub fn with(mut self, repository: &str, actions: &[&str]) -> Self {
        let rights = self.rights.entry(repository.to_owned()).or_default();
        rights.extend(actions.iter().map(|&action| action.to_owned()));
        self
    }

    pub(crate) fn may(&self, need: &Need) -> bool {
        if need.resource == CATALOG {
            return self.catalog;
        }
        let Some(name) = need.resource.strip_prefix("repository:") else {
            return false;
        };
        let has = |key: &str| {
            self.rights
                .get(key)
                .is_some_and(|r| r.contains(&need.action))
        };
        has(name) || has("*")
    }
}

/// A token that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// Whose it is; `None` for an anonymous one.
    pub user: Option<String>,
    /// The actions granted, by resource (`repository:team/app`).
    pub granted: BTreeMap<String, BTreeSet<String>>,
    /// When it was issued.
    pub issued: Duration,
    /// From when on it no longer works.
    pub expires: Duration,
    /// Whether the registry takes it at all.
    pub accepted: bool,
}

/// One right a request needs: an action on a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) resource: String,
    pub(crate) action: String,
}

const BASIC: &str = r#"Basic realm="testbed", charset="UTF-8""#;

const EXPIRED: &str = "Your authorization token has expired. Reauthenticate and try again.";

pub(crate) const CATALOG: &str = "registry:catalog";

impl Need {
    fn new(resource: impl Into<String>, action: &str) -> Self {
        Self {
            resource: resource.into(),
            action: action.to_owned(),
        }
    }
}

impl Model {
    /// Whether the request may do what its endpoint does; the reason why not.
    pub(crate) fn check_access(
        &self,
        request: &Request,
        route: &Route,
        target: &Target<'_>,
        now: Duration,
    ) -> Result<(), Refusal> {
        let mut needs = needs(&request.method, route);
        if let Some(source) = mount_source(&request.method, route, target)
            && self.options.uploads.unreadable_mount == super::UnreadableMount::Refused
        {
            needs.push(source);
        }
        let checked = self.check_needs(request, &needs, now);
        match self.options.hidden {
            Some(status) if !request.headers.contains_key(http::header::AUTHORIZATION) => {
                self.hide(checked, status, request, route)
            }
            Some(_) | None => checked,
        }
    }

    /// What a stranger is told: a challenge at `/v2/`, nowhere else.
    fn hide(
        &self,
        checked: Result<(), Refusal>,
        status: StatusCode,
        request: &Request,
        route: &Route,
    ) -> Result<(), Refusal> {
        let challenge = match &self.options.auth {
            Auth::Open => return checked,
            Auth::Basic(_) => BASIC.to_owned(),
            Auth::Bearer(bearer) => challenge(bearer, &request.host, &[], ""),
        };
        if *route == Route::Ping {
            let refusal = Refusal::new(401, "UNAUTHORIZED", "authentication required");
            return Err(refusal.challenge(challenge));
        }
        checked.map_err(|_| match status {
            StatusCode::NOT_FOUND => Refusal::new(404, "NAME_UNKNOWN", "repository name not known"),
            StatusCode::FORBIDDEN => Refusal::new(403, "DENIED", "denied"),
            other => Refusal::new(other.as_u16(), "UNAUTHORIZED", "who are you?"),
        })
    }

    /// Whether the request may read `repository` (a mount's source).
    pub(crate) fn may_read(&self, request: &Request, repository: &str, now: Duration) -> bool {
        let need = Need::new(format!("repository:{repository}"), "pull");
        self.check_needs(request, &[need], now).is_ok()
    }

    fn check_needs(&self, request: &Request, needs: &[Need], now: Duration) -> Result<(), Refusal> {
        match &self.options.auth {
            Auth::Open => Ok(()),
            Auth::Basic(basic) => check_basic(basic, self.options.expired_login, request, needs),
            Auth::Bearer(bearer) => self.check_bearer(bearer, request, needs, now),
        }
    }

    fn check_bearer(
        &self,
        bearer: &Bearer,
        request: &Request,
        needs: &[Need],
        now: Duration,
    ) -> Result<(), Refusal> {
        let unauthorized = |status: StatusCode, error: &str| {
            let challenge = challenge(bearer, &request.host, needs, error);
            let message = "authentication required";
            Refusal::new(status.as_u16(), "UNAUTHORIZED", message).challenge(challenge)
        };
        // AUTH-09: no error code when the request had no credentials.
        let Some(credentials) = bearer_token(request) else {
            return Err(unauthorized(StatusCode::UNAUTHORIZED, ""));
        };
        let token = self
            .tokens
            .get(credentials)
            .filter(|t| t.accepted && now < t.expires);
        let Some(token) = token else {
            return Err(unauthorized(StatusCode::UNAUTHORIZED, "invalid_token"));
        };
        let granted = |need: &Need| {
            token
                .granted
                .get(&need.resource)
                .is_some_and(|actions| actions.contains(&need.action))
        };
        if needs.iter().all(granted) {
            Ok(())
        } else {
            Err(unauthorized(bearer.insufficient, "insufficient_scope"))
        }
    }
}

/// AUTH-61. Even cancelling an upload is a DELETE and needs `delete`.
fn needs(method: &Method, route: &Route) -> Vec<Need> {
    let Some(name) = route.repository() else {
        return if *route == Route::Catalog {
            vec![Need::new(CATALOG, "*")]
        } else {
            Vec::new()
        };
    };
    let actions: &[&str] = match *method {
        Method::GET | Method::HEAD => &["pull"],
        Method::DELETE => &["delete"],
        _ => &["pull", "push"],
    };
    actions
        .iter()
        .map(|action| Need::new(format!("repository:{name}"), action))
        .collect()
}

/// AUTH-61: `from=` on a mount adds pull on the source.
fn mount_source(method: &Method, route: &Route, target: &Target<'_>) -> Option<Need> {
    if *method != Method::POST || !matches!(route, Route::Start { .. }) {
        return None;
    }
    target.parameter("mount")?;
    let from = target.parameter("from").filter(|from| !from.is_empty())?;
    Some(Need::new(format!("repository:{from}"), "pull"))
}

fn check_basic(
    basic: &Basic,
    expired_login: Option<StatusCode>,
    request: &Request,
    needs: &[Need],
) -> Result<(), Refusal> {
    let unauthorized = || {
        let refusal = Refusal::new(401, "UNAUTHORIZED", "authentication required");
        refusal.challenge(BASIC.to_owned())
    };
    let Some(authorization) = request.headers.get(http::header::AUTHORIZATION) else {
        let reading = needs.iter().all(|need| need.action == "pull");
        return if basic.anonymous_pull && reading {
            Ok(())
        } else {
            Err(unauthorized())
        };
    };
    let user = authorization
        .to_str()
        .ok()
        .and_then(|value| basic_user(value, &basic.users))
        .ok_or_else(|| match expired_login {
            Some(status) => Refusal::new(status.as_u16(), "DENIED", EXPIRED),
            None => unauthorized(),
        })?;
    if needs.iter().all(|need| user.1.may(need)) {
        Ok(())
    } else {
        Err(Refusal::new(
            403,
            "DENIED",
            "requested access to the resource is denied",
        ))
    }
}

/// The user an `Authorization: Basic` names, if the password is right.
pub(crate) fn basic_user<'a>(
    authorization: &str,
    users: &'a BTreeMap<String, User>,
) -> Option<(&'a String, &'a User)> {
    let (name, password) = basic_pair(authorization)?;
    let found = users.get_key_value(&name);
    found.filter(|(_, user)| user.password == password)
}

/// Name and password of an `Authorization: Basic`.
pub(crate) fn basic_pair(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (name, password) = decoded.split_once(':')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    is_basic.then(|| (name.to_owned(), password.to_owned()))
}

fn bearer_token(request: &Request) -> Option<&str> {
    let (scheme, token) = request
        .field(http::header::AUTHORIZATION)?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn challenge(bearer: &Bearer, host: &str, needs: &[Need], error: &str) -> String {
    let realm = bearer.realm.replace("{host}", host);
    let mut challenge = format!(r#"Bearer realm="{realm}",service="{}""#, bearer.service);
    if bearer.scope_in_challenge && !needs.is_empty() {
        challenge.push_str(&format!(r#",scope="{}""#, scopes(needs)));
    }
    if !error.is_empty() {
        challenge.push_str(&format!(r#",error="{error}""#));
    }
    challenge
}

/// `repository:a:pull,push repository:b:pull`: one scope per resource, in the order of need.
fn scopes(needs: &[Need]) -> String {
    let mut scopes: Vec<(&str, Vec<&str>)> = Vec::new();
    for need in needs {
        match scopes
            .iter_mut()
            .find(|(resource, _)| *resource == need.resource)
        {
            Some((_, actions)) if actions.contains(&need.action.as_str()) => {}
            Some((_, actions)) => actions.push(&need.action),
            None => scopes.push((&need.resource, vec![&need.action])),
        }
    }
    let scope =
        |(resource, actions): (&str, Vec<&str>)| format!("{resource}:{}", actions.join(","));
    scopes.into_iter().map(scope).collect::<Vec<_>>().join(" ")
}

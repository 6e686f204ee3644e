//! The token endpoint.
//!
//! Responsible for: token requests by GET (AUTH-20 to 24) and by POST (AUTH-30 to 35), what they
//! grant, and the answer (AUTH-40 to 46).
//! Must not know: endpoints and contents of the registry.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode, header};
use serde_json::json;

use super::Model;
use super::access::{Announced, Auth, Bearer, Need, Token, Unions, basic_pair, basic_user};
use super::message::{Answer, Refusal, Request};
use super::target::{Target, form, split_url};
use super::time::rfc3339;

/// A refresh token: whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Refresh {
    pub(crate) user: String,
}

/// A token request, by GET or POST.
struct Wish {
    user: Option<String>,
    scopes: Vec<String>,
    offline: bool,
    /// A refresh token that was shown and stays valid (AUTH-34).
    refresh: Option<String>,
    oauth: bool,
}

/// An answer that ends the handling of a token request.
type Refused = Box<Answer>;

impl Model {
    /// Whether a request is for the token endpoint.
    pub(crate) fn is_token_request(&self, request: &Request, target: &Target<'_>) -> bool {
        let Auth::Bearer(bearer) = &self.options.auth else {
            return false;
        };
        let realm = bearer.realm.replace("{host}", &request.host);
        let (authority, path) = split_url(&realm);
        let authority = if realm.contains("://") {
            authority
        } else {
            &request.host
        };
        let path = if realm.starts_with('/') {
            realm.split('?').next().unwrap_or("")
        } else {
            path
        };
        authority == request.host && path == target.path
    }

    pub(crate) fn token(
        &mut self,
        request: &Request,
        target: &Target<'_>,
        now: Duration,
    ) -> Answer {
        let Auth::Bearer(bearer) = self.options.auth.clone() else {
            return Refusal::new(404, "UNSUPPORTED", "no such endpoint").into();
        };
        let wish = match request.method {
            Method::GET => self.wish_by_get(&bearer, request, target),
            Method::POST => self.wish_by_post(&bearer, request),
            _ => Err(refused(Answer::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "GET or POST",
            ))),
        };
        match wish.and_then(|wish| self.grant(&bearer, wish, now)) {
            Ok(answer) => answer,
            Err(refused) => *refused,
        }
    }

    /// Creates a refresh token of `user`, as `login` would have got it.
    pub fn issue_refresh_token(&mut self, user: &str) -> String {
        let token = self.opaque("refresh");
        self.refresh_tokens.insert(
            token.clone(),
            Refresh {
                user: user.to_owned(),
            },
        );
        token
    }

    fn wish_by_get(
        &self,
        bearer: &Bearer,
        request: &Request,
        target: &Target<'_>,
    ) -> Result<Wish, Refused> {
        if target.parameter("service").unwrap_or_default() != bearer.service {
            return Err(oauth_error(400, "invalid_request", "unknown service"));
        }
        let user = match request.headers.get(header::AUTHORIZATION) {
            None => None,
            Some(value) => {
                let value = value.to_str().unwrap_or_default();
                let known = basic_user(value, &bearer.users).map(|(name, _)| name);
                let identity = || {
                    let (name, token) =
                        basic_pair(value).filter(|_| bearer.refuse_post.is_some())?;
                    let known = self.refresh_tokens.get(&token)?;
                    (name == "<token>").then_some(&known.user)
                };
                let Some(name) = known.or_else(identity) else {
                    // AUTH-47: wrong credentials are not an anonymous request.
                    let refusal = Refusal::new(401, "UNAUTHORIZED", "wrong credentials");
                    return Err(refused(
                        refusal.challenge(r#"Basic realm="token""#.to_owned()),
                    ));
                };
                Some(name.clone())
            }
        };
        let scopes = target.parameters("scope").flat_map(|s| words(&s)).collect();
        let offline = target
            .parameter("offline_token")
            .is_some_and(|value| value == "true");
        Ok(Wish {
            user,
            scopes,
            offline,
            refresh: None,
            oauth: false,
        })
    }

    fn wish_by_post(&self, bearer: &Bearer, request: &Request) -> Result<Wish, Refused> {
        if let Some(status) = bearer.refuse_post {
            let answer = Answer::error(status, "UNSUPPORTED", "POST is not supported here");
            return Err(refused(answer));
        }
        let content_type = request.field(header::CONTENT_TYPE).unwrap_or_default();
        if !content_type.starts_with("application/x-www-form-urlencoded") {
            return Err(oauth_error(400, "invalid_request", "not a form"));
        }
        let body = String::from_utf8_lossy(&request.body);
        let fields: BTreeMap<String, String> = form(&body).collect();
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        // AUTH-30: three required fields.
        if field("service") != bearer.service || field("client_id").is_empty() {
            return Err(oauth_error(
                400,
                "invalid_request",
                "service and client_id are required",
            ));
        }
        let (user, refresh) = match field("grant_type") {
            "refresh_token" => {
                let known = self.refresh_tokens.get(field("refresh_token"));
                let refresh = known.map(|_| field("refresh_token").to_owned());
                (known.map(|refresh| refresh.user.clone()), refresh)
            }
            "password" => {
                let user = bearer.users.get(field("username"));
                let known = user.filter(|user| user.password == field("password"));
                (known.map(|_| field("username").to_owned()), None)
            }
            _ => return Err(oauth_error(400, "unsupported_grant_type", "")),
        };
        if user.is_none() {
            return Err(oauth_error(401, "invalid_grant", "wrong credentials"));
        }
        let offline = field("access_type") == "offline";
        Ok(Wish {
            user,
            scopes: words(field("scope")),
            offline,
            refresh,
            oauth: true,
        })
    }

    fn grant(&mut self, bearer: &Bearer, mut wish: Wish, now: Duration) -> Result<Answer, Refused> {
        let resources: BTreeSet<&str> = wish
            .scopes
            .iter()
            .filter_map(|scope| Some(split_scope(scope)?.0))
            .collect();
        let union = resources.len() > 1;
        match bearer.unions {
            Unions::RefusedAtRealm if union => {
                let message = "requested access to the resource is denied";
                return Err(refused(Answer::error(
                    StatusCode::FORBIDDEN,
                    "DENIED",
                    message,
                )));
            }
            Unions::FirstOnly => wish.scopes.truncate(1),
            Unions::Granted | Unions::RefusedAtRealm | Unions::RefusedAtRegistry => {}
        }
        let accepted = !(union && bearer.unions == Unions::RefusedAtRegistry);
        let granted = granted(bearer, &wish)?;
        let scope = scope_text(&granted);
        let text = self.opaque("token");
        let token = Token {
            user: wish.user.clone(),
            granted,
            issued: now,
            expires: now.saturating_add(bearer.life),
            accepted,
        };
        self.tokens.insert(text.clone(), token);

        let mut body = json!({"access_token": text, "issued_at": rfc3339(now)});
        match bearer.announced {
            Announced::Real => body["expires_in"] = bearer.life.as_secs().into(),
            Announced::Omitted => {}
            Announced::Seconds(seconds) => body["expires_in"] = seconds.into(),
        }
        if wish.oauth {
            // AUTH-44: the POST answer names what was granted.
            body["scope"] = scope.into();
            body["token_type"] = "Bearer".into();
        } else {
            body["token"] = text.into();
        }
        if let Some(user) = wish.user.filter(|_| wish.offline) {
            let refresh = wish.refresh;
            let refresh = refresh.unwrap_or_else(|| self.issue_refresh_token(&user));
            body["refresh_token"] = refresh.into();
        }
        self.options.labels.token(&mut body, now.as_secs());
        Ok(Answer::new(StatusCode::OK)
            .header("cache-control", "no-store")
            .json(&body))
    }
}

/// AUTH-46: the intersection of what is asked and what is allowed, possibly empty.
fn granted(bearer: &Bearer, wish: &Wish) -> Result<BTreeMap<String, BTreeSet<String>>, Refused> {
    let user = wish.user.as_ref().and_then(|name| bearer.users.get(name));
    let mut granted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for scope in &wish.scopes {
        let Some((resource, actions)) = split_scope(scope) else {
            return Err(oauth_error(400, "invalid_scope", "type:name:actions"));
        };
        for action in actions.split(',') {
            let need = Need {
                resource: resource.to_owned(),
                action: action.to_owned(),
            };
            let repository = resource.starts_with("repository:");
            let readable = bearer.anonymous_pull && action == "pull" && repository;
            if readable || user.is_some_and(|user| user.may(&need)) {
                granted
                    .entry(need.resource)
                    .or_default()
                    .insert(need.action);
            }
        }
    }
    Ok(granted)
}

/// AUTH-62: the name lies between the first and the last colon, so it may have a port.
fn split_scope(scope: &str) -> Option<(&str, &str)> {
    let (resource, actions) = scope.rsplit_once(':')?;
    let (kind, name) = resource.split_once(':')?;
    (!kind.is_empty() && !name.is_empty()).then_some((resource, actions))
}

fn scope_text(granted: &BTreeMap<String, BTreeSet<String>>) -> String {
    let scope = |(resource, actions): (&String, &BTreeSet<String>)| {
        let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
        format!("{resource}:{}", actions.join(","))
    };
    granted.iter().map(scope).collect::<Vec<_>>().join(" ")
}

fn refused(answer: impl Into<Answer>) -> Refused {
    Box::new(answer.into())
}

fn words(text: &str) -> Vec<String> {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// RFC 6749 §5.2.
fn oauth_error(status: u16, error: &str, description: &str) -> Refused {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({"error": error, "error_description": description});
    refused(Answer::new(status).json(&body))
}

//! AUTH.

use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::Value;
use windlass_testbed::{
    Announced, Answer, Auth, Basic, Bearer, Credentials, Digest, Options, Unions, UnreadableMount,
    User,
};

use crate::client::{Client, code, json, request};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn users() -> std::collections::BTreeMap<String, User> {
    let reader = User::limited("r")
        .with("app", &["pull"])
        .with("base", &["pull"]);
    let writer = User::limited("w").with("app", &["pull", "push"]);
    [
        ("admin", User::new("a")),
        ("reader", reader),
        ("writer", writer),
    ]
    .map(|(name, user)| (name.to_owned(), user))
    .into()
}

fn bearer(change: impl FnOnce(&mut Bearer)) -> Client {
    let mut bearer = Bearer {
        users: users(),
        ..Bearer::default()
    };
    change(&mut bearer);
    let mut client = Client::new(Options {
        auth: Auth::Bearer(bearer),
        ..Options::default()
    });
    client
        .model
        .put_manifest("app", Some("v1"), windlass_testbed::OCI_MANIFEST, "{}");
    client.model.put_blob("base", "layer");
    client
}

fn challenge(answer: &Answer) -> &str {
    answer
        .field("www-authenticate")
        .expect("a refusal has a challenge")
}

/// Asks for a token as `user` and uses it from then on.
fn log_in(client: &mut Client, user: Option<(&str, &str)>, scopes: &[&str]) -> Value {
    client.authorization = user.map(|(name, password)| basic(name, password));
    let scopes: String = scopes
        .iter()
        .map(|scope| format!("&scope={scope}"))
        .collect();
    let answer = client.get(&format!("/token?service=testbed{scopes}"));
    assert_eq!(answer.status, 200);
    let body = json(&answer);
    client.authorization = Some(format!(
        "Bearer {}",
        body["access_token"].as_str().expect("a token")
    ));
    body
}

/// AUTH-60, AUTH-61: what each request needs, as its challenge says.
#[test]
fn scopes_of_requests() {
    let mut client = bearer(|_| ());
    let digest = Digest::sha256(b"layer");
    let uploads = "/v2/app/blobs/uploads/";
    for (method, target, scope) in [
        (
            Method::GET,
            "/v2/app/manifests/v1".to_owned(),
            "repository:app:pull",
        ),
        (
            Method::HEAD,
            "/v2/app/manifests/v1".to_owned(),
            "repository:app:pull",
        ),
        (
            Method::PUT,
            "/v2/app/manifests/v1".to_owned(),
            "repository:app:pull,push",
        ),
        (
            Method::DELETE,
            "/v2/app/manifests/v1".to_owned(),
            "repository:app:delete",
        ),
        (
            Method::GET,
            "/v2/app/tags/list".to_owned(),
            "repository:app:pull",
        ),
        (Method::POST, uploads.to_owned(), "repository:app:pull,push"),
        (
            Method::PATCH,
            format!("{uploads}x"),
            "repository:app:pull,push",
        ),
        (
            Method::DELETE,
            format!("{uploads}x"),
            "repository:app:delete",
        ),
        (
            Method::POST,
            format!("{uploads}?mount={digest}&from=base"),
            "repository:app:pull,push repository:base:pull",
        ),
        (Method::GET, "/v2/_catalog".to_owned(), "registry:catalog:*"),
    ] {
        let answer = client.ask(request(method.clone(), &target));
        assert_eq!(answer.status, 401, "{method} {target}");
        let realm = r#"Bearer realm="http://registry.test/token",service="testbed""#;
        assert_eq!(challenge(&answer), format!(r#"{realm},scope="{scope}""#));
    }
    // PING-08.
    assert!(!challenge(&client.get("/v2/")).contains("scope"));
}

/// AUTH-22, AUTH-46: grants are intersections; the registry reports what is missing.
#[test]
fn grants() {
    let mut client = bearer(|_| ());
    let body = log_in(&mut client, None, &["repository:app:pull,push"]);
    assert_eq!(body["token"], body["access_token"]);
    assert_eq!(body["expires_in"], 300);
    assert_eq!(body["issued_at"], "1970-01-12T13:46:40Z");
    assert_eq!(client.get("/v2/app/manifests/v1").status, 200);
    assert_eq!(client.get("/v2/").status, 200);
    let answer = client.post("/v2/app/blobs/uploads/");
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (401, "UNAUTHORIZED")
    );
    assert!(challenge(&answer).ends_with(r#",error="insufficient_scope""#));

    log_in(
        &mut client,
        Some(("writer", "w")),
        &["repository:app:pull,push"],
    );
    assert_eq!(client.post("/v2/app/blobs/uploads/").status, 202);
    assert_eq!(client.delete("/v2/app/manifests/v1").status, 401);
    log_in(
        &mut client,
        Some(("admin", "a")),
        &["repository:app:delete", "registry:catalog:*"],
    );
    assert_eq!(client.get("/v2/_catalog").status, 200);
    assert_eq!(client.delete("/v2/app/manifests/v1").status, 202);
    log_in(&mut client, Some(("reader", "r")), &["registry:catalog:*"]);
    assert_eq!(client.get("/v2/_catalog").status, 401);
}

/// AUTH-08, AUTH-09.
#[test]
fn refusals() {
    let mut client = bearer(|bearer| {
        bearer.anonymous_pull = false;
        bearer.insufficient = StatusCode::FORBIDDEN;
        bearer.scope_in_challenge = false;
    });
    log_in(&mut client, None, &["repository:app:pull"]);
    let answer = client.get("/v2/app/manifests/v1");
    assert_eq!(answer.status, 403);
    assert!(!challenge(&answer).contains("scope="));
    client.authorization = Some("Bearer invented".to_owned());
    let answer = client.get("/v2/app/manifests/v1");
    assert_eq!(answer.status, 401);
    assert!(challenge(&answer).ends_with(r#",error="invalid_token""#));
}

/// AUTH-41: lives, true and announced; zero-life tokens never work.
#[test]
fn lives() {
    let scope = ["repository:app:pull"];
    let mut client = bearer(|bearer| {
        bearer.life = Duration::from_secs(60);
        bearer.announced = Announced::Seconds(3600);
    });
    assert_eq!(log_in(&mut client, None, &scope)["expires_in"], 3600);
    client.now += Duration::from_secs(59);
    assert_eq!(client.get("/v2/app/manifests/v1").status, 200);
    client.now += Duration::from_secs(1);
    let answer = client.get("/v2/app/manifests/v1");
    assert!(challenge(&answer).ends_with(r#"error="invalid_token""#));

    let mut zero = bearer(|bearer| {
        bearer.life = Duration::ZERO;
        bearer.announced = Announced::Omitted;
    });
    assert_eq!(log_in(&mut zero, None, &scope).get("expires_in"), None);
    assert_eq!(zero.get("/v2/app/manifests/v1").status, 401);

    let mut revoked = bearer(|_| ());
    log_in(&mut revoked, None, &scope);
    revoked.model.revoke_tokens();
    assert_eq!(revoked.get("/v2/app/manifests/v1").status, 401);
}

/// AUTH-47, AUTH-20 and malformed requests.
#[test]
fn token_requests() {
    let mut client = bearer(|_| ());
    assert_eq!(client.get("/token?service=other").status, 400);
    assert_eq!(client.get("/token").status, 400);
    assert_eq!(
        client.get("/token?service=testbed&scope=nonsense").status,
        400
    );
    assert_eq!(client.delete("/token").status, 405);
    client.authorization = Some(basic("reader", "wrong"));
    assert_eq!(client.get("/token?service=testbed").status, 401);
    client.authorization = Some(basic("nobody", "r"));
    assert_eq!(client.get("/token?service=testbed").status, 401);
    client.authorization = Some("Bearer x".to_owned());
    assert_eq!(client.get("/token?service=testbed").status, 401);
    // AUTH-62: a name with a port.
    log_in(
        &mut client,
        Some(("admin", "a")),
        &["repository:host:5000/a/b:pull"],
    );
    let token = client.model.tokens().values().next().unwrap();
    assert!(token.granted.contains_key("repository:host:5000/a/b"));
}

/// The realm may be another host; the registry's path of that name is then nothing special.
#[test]
fn realms() {
    let mut client = bearer(|bearer| bearer.realm = "https://auth.test/v2/token?x=1".to_owned());
    let realm = r#"realm="https://auth.test/v2/token?x=1""#;
    assert!(challenge(&client.get("/v2/")).contains(realm));
    let mut ask = request(Method::GET, "/v2/token?x=1&service=testbed");
    assert_eq!(client.ask(ask.clone()).status, 404);
    ask.host = "auth.test".to_owned();
    assert_eq!(client.ask(ask).status, 200);
    // AUTH-80: relative realms exist.
    let mut client = bearer(|bearer| bearer.realm = "/auth/token".to_owned());
    assert_eq!(client.get("/auth/token?service=testbed").status, 200);
}

/// AUTH-64 and the registries that do not like several scopes.
#[test]
fn unions() {
    let two = ["repository:app:pull", "repository:base:pull"];
    let read = |client: &mut Client| {
        let blob = format!("/v2/base/blobs/{}", Digest::sha256(b"layer"));
        let first = client.get("/v2/app/manifests/v1").status.as_u16();
        (first, client.get(&blob).status.as_u16())
    };
    let mut granted = bearer(|_| ());
    log_in(&mut granted, None, &two);
    assert_eq!(read(&mut granted), (200, 200));

    let mut first = bearer(|bearer| bearer.unions = Unions::FirstOnly);
    log_in(&mut first, None, &two);
    assert_eq!(read(&mut first), (200, 401));

    let mut useless = bearer(|bearer| bearer.unions = Unions::RefusedAtRegistry);
    log_in(&mut useless, None, &two);
    assert_eq!(read(&mut useless), (401, 401));
    log_in(&mut useless, None, &two[..1]);
    assert_eq!(read(&mut useless).0, 200);

    let mut refused = bearer(|bearer| bearer.unions = Unions::RefusedAtRealm);
    let target = format!("/token?service=testbed&scope={}&scope={}", two[0], two[1]);
    assert_eq!(refused.get(&target).status, 403);
    // One parameter with two scopes is a union as well; two scopes of one repository are none.
    let target = format!("/token?service=testbed&scope={}+{}", two[0], two[1]);
    assert_eq!(refused.get(&target).status, 403);
    log_in(
        &mut refused,
        None,
        &["repository:app:pull", "repository:app:push"],
    );
}

fn post(client: &mut Client, form: &str) -> Answer {
    let post =
        request(Method::POST, "/token").header("content-type", "application/x-www-form-urlencoded");
    client.ask(post.body(form.to_owned()))
}

/// AUTH-23, AUTH-30 to 35, AUTH-44.
#[test]
fn oauth() {
    let mut client = bearer(|_| ());
    let base = "service=testbed&client_id=test&scope=repository:app:pull,push,delete";
    let answer = post(
        &mut client,
        &format!("{base}&grant_type=password&username=writer&password=w&access_type=offline"),
    );
    assert_eq!(answer.status, 200);
    let body = json(&answer);
    assert_eq!(body["scope"], "repository:app:pull,push");
    assert_eq!(body.get("token"), None);
    let refresh = body["refresh_token"].as_str().unwrap().to_owned();

    let by_refresh = format!("{base}&grant_type=refresh_token&refresh_token={refresh}");
    let body = json(&post(&mut client, &by_refresh));
    assert_eq!(body["scope"], "repository:app:pull,push");
    assert_eq!(body.get("refresh_token"), None);
    let again = json(&post(
        &mut client,
        &format!("{by_refresh}&access_type=offline"),
    ));
    assert_eq!(again["refresh_token"], refresh.as_str());

    for (form, status) in [
        (
            format!("{base}&grant_type=password&username=writer&password=x"),
            401,
        ),
        (
            format!("{base}&grant_type=refresh_token&refresh_token=x"),
            401,
        ),
        (format!("{base}&grant_type=authorization_code"), 400),
        (
            "service=testbed&grant_type=password&username=writer&password=w".to_owned(),
            400,
        ),
        (
            "client_id=x&grant_type=password&username=writer&password=w".to_owned(),
            400,
        ),
    ] {
        assert_eq!(post(&mut client, &form).status, status, "{form}");
    }
    // A refresh token is for the realm alone (AUTH-35).
    client.authorization = Some(format!("Bearer {refresh}"));
    assert_eq!(client.get("/v2/app/manifests/v1").status, 401);
    client.authorization = None;

    let issued = client.model.issue_refresh_token("reader");
    let form = format!("{base}&grant_type=refresh_token&refresh_token={issued}");
    assert_eq!(
        json(&post(&mut client, &form))["scope"],
        "repository:app:pull"
    );
    let secrets = client.model.secrets();
    assert!(secrets.contains(&refresh) && secrets.contains(&"w".to_owned()));

    let body = {
        client.authorization = Some(basic("reader", "r"));
        json(&client.get("/token?service=testbed&offline_token=true"))
    };
    assert!(body["refresh_token"].is_string());

    let mut old = bearer(|bearer| bearer.refuse_post = Some(StatusCode::NOT_FOUND));
    assert_eq!(post(&mut old, &by_refresh).status, 404);
}

/// PUSHB-53: a source the caller may not read.
#[test]
fn unreadable_mounts() {
    let mount = format!(
        "/v2/app/blobs/uploads/?mount={}&from=base",
        Digest::sha256(b"layer")
    );
    let scopes = ["repository:app:pull,push", "repository:base:pull"];
    let mut client = bearer(|bearer| bearer.anonymous_pull = false);
    log_in(&mut client, Some(("writer", "w")), &scopes);
    assert_eq!(client.post(&mount).status, 401);
    client.model.options_mut().uploads.unreadable_mount = UnreadableMount::Session;
    assert_eq!(client.post(&mount).status, 202);
    client.model.options_mut().uploads.anonymous_mount = true;
    assert_eq!(
        client.post(mount.trim_end_matches("&from=base")).status,
        202
    );
    log_in(&mut client, Some(("admin", "a")), &scopes);
    assert_eq!(client.post(&mount).status, 201);
}

/// The model refuses before the body when it can.
#[test]
fn early_refusals() {
    let mut client = bearer(|_| ());
    client.model.options_mut().max_body = Some(10);
    let put = || request(Method::PUT, "/v2/app/blobs/uploads/x").header("content-length", "11");
    let now = client.now;
    assert_eq!(client.model.refusal(&put(), now).unwrap().status, 401);
    log_in(
        &mut client,
        Some(("writer", "w")),
        &["repository:app:pull,push"],
    );
    let token = client.authorization.clone().unwrap();
    let put = put().header("authorization", &token);
    assert_eq!(client.model.refusal(&put, now).unwrap().status, 413);
    client.model.options_mut().max_body = None;
    let logged = client.model.log().len();
    assert!(client.model.refusal(&put, now).is_none());
    assert_eq!(client.model.log().len(), logged);
}

#[test]
fn basic_registry() {
    let auth = Auth::Basic(Basic {
        users: users(),
        anonymous_pull: false,
    });
    let mut client = Client::new(Options {
        auth,
        ..Options::default()
    });
    client
        .model
        .put_manifest("app", Some("v1"), windlass_testbed::OCI_MANIFEST, "{}");
    let answer = client.get("/v2/app/manifests/v1");
    assert_eq!(answer.status, 401);
    assert!(challenge(&answer).starts_with("Basic realm="));
    for (user, password, read, write) in [
        ("reader", "r", 200, 403),
        ("writer", "w", 200, 202),
        ("writer", "x", 401, 401),
        ("nobody", "w", 401, 401),
    ] {
        client.authorization = Some(basic(user, password));
        assert_eq!(client.get("/v2/app/manifests/v1").status, read, "{user}");
        assert_eq!(
            client.post("/v2/app/blobs/uploads/").status,
            write,
            "{user}"
        );
    }
    assert_eq!(
        client.model.log().last().unwrap().credentials,
        Credentials::Basic
    );

    let auth = Auth::Basic(Basic {
        users: users(),
        anonymous_pull: true,
    });
    client.model.options_mut().auth = auth;
    client.authorization = None;
    assert_eq!(client.get("/v2/app/manifests/v1").status, 200);
    assert_eq!(client.post("/v2/app/blobs/uploads/").status, 401);
    assert_eq!(client.get("/v2/_catalog").status, 401);
}

/// A registry as private ECR: who shows a wrong password gets no challenge.
#[test]
fn an_expired_login() {
    for status in [403, 400] {
        let mut client = Client::new(Options {
            auth: Auth::Basic(Basic {
                users: users(),
                anonymous_pull: false,
            }),
            expired_login: StatusCode::from_u16(status).ok(),
            ..Options::default()
        });
        let answer = client.get("/v2/app/tags/list");
        assert_eq!(answer.status, 401);
        assert!(challenge(&answer).starts_with("Basic realm="));
        client.authorization = Some(basic("reader", "x"));
        let answer = client.get("/v2/app/tags/list");
        assert_eq!(answer.status, status);
        assert!(!answer.headers.contains_key("www-authenticate"));
        let said = String::from_utf8_lossy(&answer.body);
        assert!(said.contains("Your authorization token has expired"));
    }
}

/// A registry that has its challenge at `/v2/` only.
#[test]
fn hidden_registry() {
    for (hidden, code) in [
        (404, "NAME_UNKNOWN"),
        (403, "DENIED"),
        (401, "UNAUTHORIZED"),
    ] {
        let auth = Auth::Basic(Basic {
            users: users(),
            anonymous_pull: false,
        });
        let mut client = Client::new(Options {
            auth,
            hidden: StatusCode::from_u16(hidden).ok(),
            ..Options::default()
        });
        client
            .model
            .put_manifest("app", Some("v1"), windlass_testbed::OCI_MANIFEST, "{}");
        let answer = client.get("/v2/app/manifests/v1");
        assert_eq!(answer.status, hidden);
        assert!(String::from_utf8_lossy(&answer.body).contains(code));
        assert!(!answer.headers.contains_key("www-authenticate"));
        let ping = client.get("/v2/");
        assert_eq!(ping.status, 401);
        assert!(challenge(&ping).starts_with("Basic realm="));
        client.authorization = Some(basic("reader", "r"));
        assert_eq!(client.get("/v2/app/manifests/v1").status, 200);
        assert_eq!(client.get("/v2/").status, 200);
        // Who shows the wrong password is told so.
        client.authorization = Some(basic("reader", "x"));
        assert_eq!(client.get("/v2/app/manifests/v1").status, 401);
    }
}

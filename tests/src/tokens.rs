//! Token services: a small signing one that can be told to misbehave, and the one of
//! distribution 2.8.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::certs::Ca;
use crate::hostile::{Hostile, Reply, Request};

/// Registries accept tokens for this long after their `exp` (distribution 2.8 and v3).
pub const LEEWAY: i64 = 60;

/// What a registry must know of a token service.
pub trait TokenService {
    /// Where tokens are asked for.
    fn realm(&self) -> String;
    /// The audience.
    fn service(&self) -> String;
    /// Who signs.
    fn issuer(&self) -> String;
    /// The certificate that signatures are checked with, PEM.
    fn certificate(&self) -> PathBuf;
}

/// A key and a self-signed certificate for it.
#[derive(Debug)]
struct Signer {
    dir: tempfile::TempDir,
    cert_der: Vec<u8>,
    key: KeyPair,
}

impl Signer {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "windlass test tokens");
        let cert = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("cert.pem"), cert.pem()).unwrap();
        Self {
            cert_der: cert.der().to_vec(),
            key,
            dir,
        }
    }

    fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// A JSON web token with ES256 and the certificate in `x5c`.
    fn sign(&self, claims: &Value) -> String {
        let header =
            json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(&self.cert_der)]});
        let coded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", coded(&header), coded(claims));
        let random = ring::rand::SystemRandom::new();
        let pkcs8 = self.key.serialize_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random);
        let signature = pair.unwrap().sign(&random, text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The key in the older form (RFC 5915) that distribution 2.8's own tools read.
    fn write_sec1(&self) -> PathBuf {
        let pkcs8 = self.key.serialize_der();
        let mark = [0x02, 0x01, 0x01, 0x04, 0x20];
        let at = pkcs8
            .windows(mark.len())
            .position(|part| part == mark)
            .unwrap()
            + mark.len();
        let mut der = vec![0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
        der.extend_from_slice(&pkcs8[at..at + 32]);
        der.extend_from_slice(&[0xA0, 0x0A, 0x06, 0x08]);
        der.extend_from_slice(&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07]);
        der.extend_from_slice(&[0xA1, 0x44, 0x03, 0x42, 0x00]);
        der.extend_from_slice(self.key.der_bytes());
        let path = self.dir.path().join("key.pem");
        let coded = STANDARD.encode(der);
        let lines: Vec<_> = coded
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        let begin = "-----BEGIN EC PRIVATE KEY-----";
        let pem = format!(
            "{begin}\n{}\n-----END EC PRIVATE KEY-----\n",
            lines.join("\n")
        );
        std::fs::write(&path, pem).unwrap();
        path
    }
}

/// How the service answers a token request.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Seconds that it announces; `None`: it says nothing.
    pub expires_in: Option<i64>,
    /// Seconds from now to the `exp` that it signs. A registry takes it [`LEEWAY`] longer.
    pub lives: i64,
    /// Requests for more than one scope are refused with this status.
    pub refuse_unions: Option<u16>,
    /// Tokens for more than one scope grant nothing.
    pub empty_unions: bool,
    /// Tokens grant nothing.
    pub empty: bool,
    /// Answers are this instead of a token.
    pub instead: Option<Reply>,
    /// Answers take this long.
    pub latency: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            expires_in: Some(300),
            lives: 300,
            refuse_unions: None,
            empty_unions: false,
            empty: false,
            instead: None,
            latency: Duration::ZERO,
        }
    }
}

/// A right of a user, or of everyone, on a repository.
#[derive(Clone, Debug)]
struct Grant {
    /// `None`: anybody, without credentials too.
    user: Option<String>,
    /// `*`: every repository.
    repository: String,
    actions: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    users: Vec<(String, String)>,
    grants: Vec<Grant>,
    behaviour: Behaviour,
    next: VecDeque<Behaviour>,
    issued: Vec<String>,
}

/// The signing token service.
#[derive(Debug)]
pub struct Tokens {
    server: Hostile,
    signer: Arc<Signer>,
    state: Arc<Mutex<State>>,
    realm_host: Option<String>,
}

impl Tokens {
    /// A service over plain http without users and rights.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// A service over TLS.
    pub fn start_tls(ca: &Ca) -> Self {
        Self::start_with(Some(ca))
    }

    fn start_with(ca: Option<&Ca>) -> Self {
        let signer = Arc::new(Signer::new());
        let state = Arc::new(Mutex::new(State::default()));
        let (for_signer, for_state) = (signer.clone(), state.clone());
        let handler = move |request: &Request| answer(&for_signer, &for_state, request);
        let server = match ca {
            Some(ca) => Hostile::start_tls(ca, handler),
            None => Hostile::start(handler),
        };
        Self {
            server,
            signer,
            state,
            realm_host: None,
        }
    }

    /// A service where only `user` may pull and push.
    pub fn for_user(user: &str, password: &str) -> Self {
        let tokens = Self::start();
        tokens.user(user, password);
        tokens.grant(Some(user), "*", &["pull", "push", "delete"]);
        tokens
    }

    /// The realm names this host instead of 127.0.0.1 (`localhost`, for instance).
    #[must_use]
    pub fn named(mut self, host: &str) -> Self {
        self.realm_host = Some(host.to_owned());
        self
    }

    /// Adds a user.
    pub fn user(&self, user: &str, password: &str) {
        self.state
            .lock()
            .unwrap()
            .users
            .push((user.to_owned(), password.to_owned()));
    }

    /// A user (or with `None` anybody) may do this with a repository (or with `*` with all).
    pub fn grant(&self, user: Option<&str>, repository: &str, actions: &[&str]) {
        self.state.lock().unwrap().grants.push(Grant {
            user: user.map(str::to_owned),
            repository: repository.to_owned(),
            actions: actions.iter().map(ToString::to_string).collect(),
        });
    }

    /// Changes how it answers from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state.lock().unwrap().behaviour);
    }

    /// Changes how it answers once; called twice, the next two times.
    pub fn behave_once(&self, change: impl FnOnce(&mut Behaviour)) {
        let mut state = self.state.lock().unwrap();
        let mut behaviour = state.behaviour.clone();
        change(&mut behaviour);
        state.next.push_back(behaviour);
    }

    /// Every token request so far, heads and bodies.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// Every token it gave out: none may be printed or sent anywhere but to the registry.
    pub fn issued(&self) -> Vec<String> {
        self.state.lock().unwrap().issued.clone()
    }

    /// The server behind it.
    pub const fn server(&self) -> &Hostile {
        &self.server
    }
}

impl TokenService for Tokens {
    fn realm(&self) -> String {
        let url = self.server.url();
        match &self.realm_host {
            Some(host) => url.replace("127.0.0.1", host) + "/token",
            None => url + "/token",
        }
    }

    fn service(&self) -> String {
        "windlass-test-service".to_owned()
    }

    fn issuer(&self) -> String {
        "windlass-test-issuer".to_owned()
    }

    fn certificate(&self) -> PathBuf {
        self.signer.certificate()
    }
}

/// The scopes that a request asks for: `scope` several times, or several in one.
pub fn scopes(request: &Request) -> Vec<String> {
    let form = String::from_utf8_lossy(&request.body).into_owned();
    let query = request
        .target
        .split_once('?')
        .map_or("", |(_, query)| query);
    query
        .split('&')
        .chain(form.split('&'))
        .filter_map(|pair| pair.strip_prefix("scope="))
        .flat_map(|value| {
            decode(value)
                .split(' ')
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|scope| !scope.is_empty())
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn answer(signer: &Signer, state: &Mutex<State>, request: &Request) -> Reply {
    let mut state = state.lock().unwrap();
    let behaviour = state
        .next
        .pop_front()
        .unwrap_or_else(|| state.behaviour.clone());
    if let Some(instead) = behaviour.instead {
        return instead.after(behaviour.latency);
    }
    if request.path() != "/token" {
        return Reply::error(404, "NOT_FOUND", "tokens are at /token");
    }
    let user = match (request.header("authorization"), request.basic()) {
        (None, _) => None,
        (Some(_), Some(both)) if state.users.contains(&both) => Some(both.0),
        (Some(_), _) => {
            let refusal = Reply::error(401, "UNAUTHORIZED", "wrong user name or password");
            return refusal.after(behaviour.latency);
        }
    };
    let wanted = scopes(request);
    let union = wanted.len() > 1;
    if let Some(status) = behaviour.refuse_unions.filter(|_| union) {
        return Reply::error(status, "DENIED", "one scope at a time").after(behaviour.latency);
    }
    let mut access = Vec::new();
    if !(behaviour.empty || union && behaviour.empty_unions) {
        for scope in wanted {
            access.extend(granted(&state.grants, user.as_deref(), &scope));
        }
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let claims = json!({
        "iss": "windlass-test-issuer", "sub": user.unwrap_or_default(),
        "aud": "windlass-test-service", "exp": now + behaviour.lives, "nbf": now - 600,
        "iat": now - 600, "jti": format!("{now}-{}", state.issued.len()), "access": access,
    });
    let token = signer.sign(&claims);
    state.issued.push(token.clone());
    let mut body = json!({ "token": token });
    if let Some(seconds) = behaviour.expires_in {
        body["expires_in"] = seconds.into();
    }
    Reply::new(200)
        .header("Content-Type", "application/json")
        .body(body.to_string())
        .after(behaviour.latency)
}

/// What of `type:name:actions` this user may do.
fn granted(grants: &[Grant], user: Option<&str>, scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let allowed: Vec<_> = actions
        .split(',')
        .filter(|action| {
            grants.iter().any(|grant| {
                (grant.user.is_none() || grant.user.as_deref() == user)
                    && (grant.repository == "*" || grant.repository == name)
                    && grant.actions.iter().any(|allowed| allowed == action)
            })
        })
        .collect();
    (!allowed.is_empty()).then(|| json!({"type": kind, "name": name, "actions": allowed}))
}

/// The token server of distribution 2.8, a service that was not written here. It lets a user have
/// the repositories whose names begin with the user's and a slash. Killed when dropped.
#[derive(Debug)]
pub struct DistributionTokens {
    child: Child,
    port: u16,
    signer: Signer,
}

impl DistributionTokens {
    /// Starts it with one user.
    pub fn start(user: &str, password: &str) -> Self {
        let program = crate::program("token-server").expect("the test asked for it");
        let signer = Signer::new();
        let key = signer.write_sec1();
        let users = signer.dir.path().join("htpasswd");
        crate::registry::write_htpasswd(&users, user, password);
        // The port may be taken by somebody else between the look and the use: then once more.
        for _ in 0..10 {
            let port = crate::free_port();
            let mut child = Self::spawn(&program, &signer, [&key, &users], port);
            let mut ended = false;
            crate::wait_for("the token server listens, or ends", || {
                ended = child.try_wait().unwrap().is_some();
                ended || crate::registry::listens_itself(&child, port)
            });
            if !ended {
                return Self {
                    child,
                    port,
                    signer,
                };
            }
        }
        panic!("{} does not start", program.display());
    }

    fn spawn(program: &Path, signer: &Signer, [key, users]: [&Path; 2], port: u16) -> Child {
        let words: [&Path; 8] = [
            "-addr".as_ref(),
            &PathBuf::from(format!("127.0.0.1:{port}")),
            "-issuer".as_ref(),
            "distribution-token-server".as_ref(),
            "-key".as_ref(),
            key,
            "-passwd".as_ref(),
            users,
        ];
        let log = std::fs::File::create(signer.dir.path().join("log")).unwrap();
        Command::new(program)
            .args(words)
            .args(["-realm", "windlass"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }
}

impl TokenService for DistributionTokens {
    fn realm(&self) -> String {
        format!("http://127.0.0.1:{}/token/", self.port)
    }

    fn service(&self) -> String {
        "windlass-test-service".to_owned()
    }

    fn issuer(&self) -> String {
        "distribution-token-server".to_owned()
    }

    fn certificate(&self) -> PathBuf {
        self.signer.certificate()
    }
}

impl Drop for DistributionTokens {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_in_every_spelling() {
        let request = Request {
            target: "/token?scope=repository%3Aa%2Fb%3Apull&service=x&scope=repository:c:pull,push"
                .into(),
            body: b"scope=repository:d:pull+repository:e:pull".to_vec(),
            ..Request::default()
        };
        let found = scopes(&request);
        let want =
            ["a/b:pull", "c:pull,push", "d:pull", "e:pull"].map(|s| format!("repository:{s}"));
        assert_eq!(found, want);
    }

    #[test]
    fn a_user_gets_what_was_granted_and_no_more() {
        let grants = [Grant {
            user: Some("u".into()),
            repository: "a".into(),
            actions: vec!["pull".into()],
        }];
        let access = granted(&grants, Some("u"), "repository:a:pull,push").unwrap();
        assert_eq!(access["actions"], json!(["pull"]));
        assert_eq!(granted(&grants, None, "repository:a:pull"), None);
        assert_eq!(granted(&grants, Some("u"), "repository:b:pull"), None);
    }
}

//! Credentials from docker's `config.json` (CRED-01 to CRED-11).
//!
//! Responsible for finding the file, matching its keys to registries, and parsing entries. Must not
//! know what a credential is used for. Reads the file once, when a credential is first needed: a
//! broken file does not affect work without credentials.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::reference::Repository;
use windlass_core::{Origin, Registry, Scheme};
use windlass_driver::Credentials;
use windlass_driver::read_file;

use crate::{VariableError, set};

/// The largest file that is read.
const LARGEST: u64 = 4 << 20;

/// Credentials of `docker login`: from `DOCKER_AUTH_CONFIG`, then from `config.json`.
///
/// Only entries in `auths` are used. Credential helpers cannot be run yet: if a registry has one
/// and no entry in `auths`, the answer says so, and so does the error of a refused request.
///
/// ```no_run
/// use windlass_config::DockerConfig;
///
/// let credentials = DockerConfig::from_variables(|name| std::env::var_os(name))?;
/// # Ok::<(), windlass_config::VariableError>(())
/// ```
pub struct DockerConfig {
    sources: Vec<Source>,
}

impl DockerConfig {
    /// The sources that docker reads: the text of `DOCKER_AUTH_CONFIG` (CRED-02), then
    /// `$DOCKER_CONFIG/config.json`, otherwise `.docker/config.json` in the home folder (CRED-01).
    /// Without a home folder there is no file. A missing file counts as empty.
    ///
    /// # Errors
    ///
    /// If the value of one of these variables is not valid text.
    pub fn from_variables(
        variables: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, VariableError> {
        let mut sources = Vec::new();
        if let Some(text) = set(&variables, "DOCKER_AUTH_CONFIG")? {
            sources.push(Source::text("DOCKER_AUTH_CONFIG", text.as_bytes()));
        }
        let home = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
        let folder = match set(&variables, "DOCKER_CONFIG")? {
            Some(folder) => Some(PathBuf::from(folder)),
            None => set(&variables, home)?.map(|home| Path::new(&home).join(".docker")),
        };
        if let Some(folder) = folder {
            sources.push(Source::file(folder.join("config.json")));
        }
        Ok(Self { sources })
    }

    /// Credentials from one file of this form.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            sources: vec![Source::file(path.into())],
        }
    }

    fn answer(&self, wanted: &Wanted<'_>) -> CredentialAnswer {
        let mut failed = None;
        for source in &self.sources {
            match source.answer(wanted) {
                Ok(None) => {}
                Ok(Some(answer)) => return answer,
                Err(why) => {
                    failed.get_or_insert(why);
                }
            }
        }
        failed.map_or(CredentialAnswer::None, CredentialAnswer::Failed)
    }

    /// The file or variable that has the credential.
    fn source(&self, wanted: &Wanted<'_>) -> Option<&str> {
        let mut sources = self.sources.iter();
        let has_it = |source: &&Source| matches!(source.answer(wanted), Ok(Some(_)));
        sources.find(has_it).map(|source| source.label.as_str())
    }
}

impl Credentials for DockerConfig {
    fn find(
        &self,
        registry: &Registry,
        repository: Option<&Repository>,
        recipient: &Origin,
    ) -> CredentialAnswer {
        let key = registry.credential_key();
        self.answer(&Wanted {
            key: key.as_str(),
            repository: repository.map(Repository::as_str),
            scheme: recipient.scheme(),
        })
    }

    fn source(&self, registry: &Registry, repository: Option<&Repository>) -> Option<String> {
        let key = registry.credential_key();
        let wanted = Wanted {
            key: key.as_str(),
            repository: repository.map(Repository::as_str),
            scheme: registry.origin().scheme(),
        };
        self.source(&wanted).map(ToOwned::to_owned)
    }
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.sources.iter().map(|source| &source.label);
        f.write_str("DockerConfig ")?;
        f.debug_list().entries(labels).finish()
    }
}

/// A registry or repository to find credentials for.
struct Wanted<'a> {
    /// Docker's key for it: `host[:port]`, for Docker Hub a URL.
    key: &'a str,
    repository: Option<&'a str>,
    /// The scheme of the credential's recipient.
    scheme: Scheme,
}

/// A file or variable, read on first use.
struct Source {
    /// Its name in messages.
    label: String,
    path: Option<PathBuf>,
    content: OnceLock<Result<Members, String>>,
}

/// The members of an object, each parsed on use: errors in other registries' entries, or in unused
/// members, do not matter.
type Members = BTreeMap<String, Box<RawValue>>;

/// An entry of `auths` (CRED-03). An empty string counts as absent.
#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl Source {
    fn file(path: PathBuf) -> Self {
        Self {
            label: path.display().to_string(),
            path: Some(path),
            content: OnceLock::new(),
        }
    }

    fn text(label: &str, text: &[u8]) -> Self {
        let content = OnceLock::new();
        let _first = content.set(parse(label, text));
        Self {
            label: label.to_owned(),
            path: None,
            content,
        }
    }

    fn content(&self) -> Result<&Members, &String> {
        self.content
            .get_or_init(
                || match self.path.as_deref().map(|path| read_file(path, LARGEST)) {
                    None => Ok(Members::default()),
                    Some(Ok(text)) => parse(&self.label, &text),
                    Some(Err(error)) if is_missing(&error) => Ok(Members::default()),
                    Some(Err(error)) => Err(format!("cannot read {}: {error}", self.label)),
                },
            )
            .as_ref()
    }

    /// The credential in this source; an error says why it cannot be used.
    fn answer(&self, wanted: &Wanted<'_>) -> Result<Option<CredentialAnswer>, String> {
        let content = self.content().map_err(String::clone)?;
        let mut failed = None;
        let auths: Members = self.part("`auths`", text(content, "auths"))?;
        for (key, entry) in by_fit(auths.iter(), wanted) {
            let found = match self.part(&format!("the entry of {key}"), entry.get()) {
                Ok(entry) => Entry::credential(&entry)
                    .map_err(|why| format!("{}: the `auth` of {key} {why}", self.label)),
                Err(why) => Err(why),
            };
            match found {
                Ok(None) => {}
                Ok(answer) => return Ok(answer),
                Err(why) => {
                    failed.get_or_insert(why);
                }
            }
        }
        match failed {
            Some(why) => Err(why),
            None => self.helper(content, wanted)?.map_or(Ok(None), Err),
        }
    }

    /// Parses a part of the file; absent or `null` counts as empty. An error does not quote it: it
    /// may hold a password.
    fn part<T>(&self, what: &str, part: &str) -> Result<T, String>
    where
        T: Default + DeserializeOwned,
    {
        let read: Result<Option<T>, _> = serde_json::from_str(part);
        read.map(Option::unwrap_or_default).map_err(|_| {
            let label = &self.label;
            format!("{label}: {what} is not in the form of docker's configuration")
        })
    }

    /// Why a credential is unavailable, if a helper is configured (CRED-06).
    fn helper(&self, content: &Members, wanted: &Wanted<'_>) -> Result<Option<String>, String> {
        let helpers: Members = self.part("`credHelpers`", text(content, "credHelpers"))?;
        let own = by_fit(helpers.iter(), wanted).into_iter().next();
        let helper: String = match own {
            Some((key, helper)) => self.part(&format!("the helper of {key}"), helper.get())?,
            None => self.part("`credsStore`", text(content, "credsStore"))?,
        };
        if helper.is_empty() {
            return Ok(None);
        }
        Ok(Some(format!(
            "credential helper `docker-credential-{helper}` is configured for {} in {} but this \
             version cannot run helpers; use --username and --password-stdin",
            wanted.key, self.label
        )))
    }
}

/// A member's text; `null` if absent.
fn text<'a>(members: &'a Members, name: &str) -> &'a str {
    members.get(name).map_or("null", |member| member.get())
}

impl Entry {
    /// The entry's credential; the strongest form wins (CRED-11).
    fn credential(&self) -> Result<Option<CredentialAnswer>, &'static str> {
        fn filled(text: Option<&String>) -> Option<&str> {
            text.map(String::as_str).filter(|text| !text.is_empty())
        }
        if let Some(token) = filled(self.registrytoken.as_ref()) {
            return Ok(Some(CredentialAnswer::Bearer(Secret::new(token))));
        }
        if let Some(token) = filled(self.identitytoken.as_ref()) {
            return Ok(Some(CredentialAnswer::Refresh(Secret::new(token))));
        }
        if let Some(auth) = filled(self.auth.as_ref()) {
            return decode(auth).map(Some);
        }
        let pair = filled(self.username.as_ref()).zip(filled(self.password.as_ref()));
        Ok(pair.map(|(username, password)| basic(username, password)))
    }
}

fn basic(username: &str, password: &str) -> CredentialAnswer {
    CredentialAnswer::Basic {
        username: username.to_owned(),
        password: Secret::new(password),
    }
}

/// Base64 of `user:password`, split at the first colon (CRED-04). Padding may be missing and white
/// space may be anywhere: `base64` without `-w0` breaks lines.
fn decode(auth: &str) -> Result<CredentialAnswer, &'static str> {
    const FORGIVING: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let mut auth = auth.to_owned();
    auth.retain(|char| !char.is_ascii_whitespace());
    let bytes = FORGIVING.decode(auth).map_err(|_| "is not valid base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "is not text")?;
    let (username, password) = text
        .split_once(':')
        .ok_or("has no colon between user name and password")?;
    if username.is_empty() {
        return Err("has no user name");
    }
    Ok(basic(username, password.trim_end_matches('\0')))
}

/// Parses a file. The error has a position but not serde_json's message, which quotes the text and
/// could show a password.
fn parse(label: &str, text: &[u8]) -> Result<Members, String> {
    if text.trim_ascii().is_empty() {
        return Ok(Members::default());
    }
    serde_json::from_slice(text).map_err(|error| {
        let what = if error.is_data() {
            "not in the form of docker's configuration"
        } else {
            "not valid JSON"
        };
        let (line, column) = (error.line(), error.column());
        format!("{label} is {what} at line {line}, column {column}")
    })
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The entries whose key matches, the best match first: a key for the repository before one for its
/// namespace before one for the whole registry (CRED-42); the exact name before other spellings.
fn by_fit<'a, V: 'a>(
    entries: impl Iterator<Item = (&'a String, &'a V)>,
    wanted: &Wanted<'_>,
) -> Vec<(&'a String, &'a V)> {
    let mut fitting: Vec<_> = entries
        .filter_map(|(key, value)| Some((fit(key, wanted)?, key, value)))
        .collect();
    fitting.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    fitting.into_iter().map(|(_, k, v)| (k, v)).collect()
}

/// How well a key matches: the number of repository segments, then the spelling of the host.
fn fit(key: &str, wanted: &Wanted<'_>) -> Option<(usize, u8)> {
    let host = host_of(key);
    let spelling = if key == wanted.key {
        3
    } else if host.eq_ignore_ascii_case(host_of(wanted.key)) {
        2
    } else if is_same_registry(host, wanted) {
        1
    } else {
        return None;
    };
    let path = key.strip_prefix(host).unwrap_or_default();
    let path = path.trim_matches('/');
    // The path of a URL key is an API's (`https://host/v1/`), not a repository.
    if path.is_empty() || matches!(path, "v1" | "v2") {
        return Some((0, spelling));
    }
    let rest = wanted.repository?.strip_prefix(path)?;
    let is_whole_segments = rest.is_empty() || rest.starts_with('/');
    is_whole_segments.then(|| (path.split('/').count(), spelling))
}

/// Docker Hub has several names (CRED-05), and over TLS port 443 may be left out (CRED-08).
fn is_same_registry(host: &str, wanted: &Wanted<'_>) -> bool {
    let without_port = |name: &str| {
        let name = name.to_ascii_lowercase();
        match name.strip_suffix(":443") {
            Some(bare) if wanted.scheme == Scheme::Https => bare.to_owned(),
            _ => name,
        }
    };
    let (host, name) = (without_port(host), without_port(host_of(wanted.key)));
    host == name || (is_docker_hub(&host) && is_docker_hub(&name))
}

fn is_docker_hub(host: &str) -> bool {
    matches!(
        host,
        "docker.io" | "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com"
    )
}

/// The `host[:port]` of a key, which may be a URL (CRED-06).
fn host_of(key: &str) -> &str {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::among;

    fn config(json: &str) -> DockerConfig {
        DockerConfig {
            sources: vec![Source::text("FILE", json.as_bytes())],
        }
    }

    fn ask(config: &DockerConfig, name: &str) -> CredentialAnswer {
        ask_for(config, name, None, Scheme::Https)
    }

    fn ask_for(
        config: &DockerConfig,
        name: &str,
        repository: Option<&str>,
        scheme: Scheme,
    ) -> CredentialAnswer {
        config.answer(&Wanted {
            key: name,
            repository,
            scheme,
        })
    }

    fn user(answer: &CredentialAnswer) -> String {
        if let CredentialAnswer::Basic { username, .. } = answer {
            return username.clone();
        }
        format!("{answer:?}")
    }

    #[test]
    fn auth_fields() {
        // V-G "Docker auth", CRED-04.
        let table = [
            ("dTpw", Ok(("u", "p"))),
            ("dTpwOnE=", Ok(("u", "p:q"))),
            ("dTpwOnE", Ok(("u", "p:q"))),
            ("dTo=", Ok(("u", ""))),
            ("dTpwAAA=", Ok(("u", "p"))),
            ("dTpwOnF=", Ok(("u", "p:q"))),
            ("dTpw\\n", Ok(("u", "p"))),
            (" dTpw\\r\\nOnE= \\n", Ok(("u", "p:q"))),
            ("d T\\tp\\nw", Ok(("u", "p"))),
            ("dTpw\\nOnE", Ok(("u", "p:q"))),
            (
                "dTpw\\u00a0",
                Err("FILE: the `auth` of r.example is not valid base64"),
            ),
            (
                "OnA=",
                Err("FILE: the `auth` of r.example has no user name"),
            ),
            (
                "dQ==",
                Err("FILE: the `auth` of r.example has no colon between user name and password"),
            ),
            (
                "!!",
                Err("FILE: the `auth` of r.example is not valid base64"),
            ),
        ];
        for (auth, expected) in table {
            let file = config(&format!(
                r#"{{"auths":{{"r.example":{{"auth":"{auth}"}}}}}}"#
            ));
            let expected = match expected {
                Ok((username, password)) => basic(username, password),
                Err(why) => CredentialAnswer::Failed(why.to_owned()),
            };
            assert_eq!(ask(&file, "r.example"), expected, "{auth}");
        }
    }

    #[test]
    fn entries() {
        // CRED-03, CRED-11; the empty entry is CRED-07's marker.
        let table = [
            (r#"{"username":"u","password":"p"}"#, basic("u", "p")),
            (r#"{"username":"u"}"#, CredentialAnswer::None),
            (r#"{"auth":"","email":"x"}"#, CredentialAnswer::None),
            (r"{}", CredentialAnswer::None),
            ("null", CredentialAnswer::None),
            (
                r#"{"auth":"dTpw","identitytoken":"I"}"#,
                CredentialAnswer::Refresh(Secret::new("I")),
            ),
            (
                r#"{"auth":"dTpw","identitytoken":"I","registrytoken":"R"}"#,
                CredentialAnswer::Bearer(Secret::new("R")),
            ),
            (
                r#"{"auth":"dTpw","username":"other","password":"other"}"#,
                basic("u", "p"),
            ),
        ];
        for (entry, expected) in table {
            let file = config(&format!(r#"{{"auths":{{"r.example":{entry}}}}}"#));
            assert_eq!(ask(&file, "r.example"), expected, "{entry}");
        }
    }

    #[test]
    fn keys() {
        // (key in the file, asked for, found): CRED-05, CRED-06, CRED-08.
        let table = [
            ("r.example", "r.example", true),
            ("R.Example", "r.example", true),
            ("https://r.example", "r.example", true),
            ("https://r.example/", "r.example", true),
            ("https://r.example/v1/", "r.example", true),
            ("http://r.example/v2/", "r.example", true),
            ("r.example:443", "r.example", true),
            ("r.example", "r.example:443", true),
            ("r.example:5000", "r.example", false),
            ("r.example", "r.example:5000", false),
            ("https://r.example:5000/v2/", "r.example:5000", true),
            ("example", "r.example", false),
            ("r.example.evil", "r.example", false),
            ("[::1]:5000", "[::1]:5000", true),
            (
                "https://index.docker.io/v1/",
                "https://index.docker.io/v1/",
                true,
            ),
            (
                "https://index.docker.io/v1",
                "https://index.docker.io/v1/",
                true,
            ),
            ("index.docker.io", "https://index.docker.io/v1/", true),
            ("docker.io", "https://index.docker.io/v1/", true),
            ("registry-1.docker.io", "https://index.docker.io/v1/", true),
            (
                "registry.hub.docker.com",
                "https://index.docker.io/v1/",
                true,
            ),
            (
                "https://registry.hub.docker.com/v2/",
                "https://index.docker.io/v1/",
                true,
            ),
            ("hub.docker.com", "https://index.docker.io/v1/", false),
            ("hub.docker.io", "https://index.docker.io/v1/", false),
        ];
        for (key, asked, found) in table {
            let file = config(&format!(r#"{{"auths":{{"{key}":{{"auth":"dTpw"}}}}}}"#));
            let expected = if found {
                basic("u", "p")
            } else {
                CredentialAnswer::None
            };
            assert_eq!(ask(&file, asked), expected, "{key} for {asked}");
        }
    }

    #[test]
    fn port_443_is_the_default_of_tls_only() {
        let file = config(r#"{"auths":{"r.example:443":{"auth":"dTpw"}}}"#);
        let over = |scheme| ask_for(&file, "r.example", None, scheme);
        assert_eq!(over(Scheme::Https), basic("u", "p"));
        assert_eq!(over(Scheme::Http), CredentialAnswer::None);
    }

    #[test]
    fn the_best_key_wins() {
        let file = config(
            r#"{"auths":{
                "https://r.example/v1/": {"username":"url","password":"p"},
                "r.example":             {"username":"host","password":"p"},
                "r.example:443":         {"username":"port","password":"p"},
                "r.example/a":           {"username":"a","password":"p"},
                "r.example/a/b":         {"username":"ab","password":"p"},
                "e.example":             {},
                "https://e.example":     {"username":"second","password":"p"}
            }}"#,
        );
        // CRED-42: the most specific key; CRED-06: the exact key, then other spellings.
        let table = [
            ("r.example", None, "host"),
            ("r.example", Some("c"), "host"),
            ("r.example", Some("a"), "a"),
            ("r.example", Some("ab"), "host"),
            ("r.example", Some("a/b/c"), "ab"),
            ("r.example:443", None, "port"),
            ("e.example", None, "second"),
        ];
        for (name, repository, expected) in table {
            let answer = ask_for(&file, name, repository, Scheme::Https);
            assert_eq!(user(&answer), expected, "{name} {repository:?}");
        }
    }

    #[test]
    fn helpers_are_named() {
        // CRED-06, CRED-07.
        let file = config(
            r#"{"auths":{"r.example":{"auth":"dTpw"},"m.example":{}},
                "credHelpers":{"g.example":"gcloud","docker.io":"hub","n.example":""},
                "credsStore":"desktop"}"#,
        );
        assert_eq!(ask(&file, "r.example"), basic("u", "p"));
        let table = [
            ("g.example", "`docker-credential-gcloud`"),
            ("https://index.docker.io/v1/", "`docker-credential-hub`"),
            ("m.example", "`docker-credential-desktop`"),
            ("unheard-of.example", "`docker-credential-desktop`"),
        ];
        for (name, helper) in table {
            let CredentialAnswer::Failed(why) = ask(&file, name) else {
                panic!("{name}: a helper is in charge");
            };
            assert!(why.contains(helper) && why.contains(host_of(name)), "{why}");
            assert!(why.contains("FILE"), "{why}");
        }
    }

    #[test]
    fn broken_files_say_where_and_quote_nothing() {
        let table = [
            ("{\n  \"auths\": {", "line 2"),
            ("[\"s3cret\"]", "line 1"),
            ("not json: s3cret", "line 1"),
        ];
        for (text, position) in table {
            let CredentialAnswer::Failed(why) = ask(&config(text), "r.example") else {
                panic!("{text} is broken");
            };
            assert!(why.starts_with("FILE is not"), "{why}");
            assert!(why.contains(position), "{why}");
            assert!(!why.contains("s3cret"), "{why}");
        }
    }

    /// Errors elsewhere in the file do not matter; errors in the used entry do.
    #[test]
    fn only_what_is_used_has_to_be_right() {
        let good = r#""r.example":{"auth":"dTpw"}"#;
        let wrong = |what: &str| {
            CredentialAnswer::Failed(format!(
                "FILE: {what} is not in the form of docker's configuration"
            ))
        };
        let table = [
            (format!(r#"{{"auths":{{"o.example":5,{good}}}}}"#), basic("u", "p")),
            (
                format!(r#"{{"auths":{{"o.example":{{"auth":[1]}},{good}}}}}"#),
                basic("u", "p"),
            ),
            (
                format!(r#"{{"auths":{{"o.example":{{"auth":"!!"}},{good}}}}}"#),
                basic("u", "p"),
            ),
            (
                format!(r#"{{"auths":{{{good}}},"credHelpers":7,"credsStore":{{}}}}"#),
                basic("u", "p"),
            ),
            (
                format!(r#"{{"HttpHeaders":null,"plugins":[{{}}],"auths":{{{good}}},"x":"\ud800"}}"#),
                basic("u", "p"),
            ),
            (
                r#"{"auths":{"r.example":{"auth":"dTpw","email":null,"identitytoken":null,"x":5}}}"#
                    .to_owned(),
                basic("u", "p"),
            ),
            (
                r#"{"auths":null,"credHelpers":null,"credsStore":null}"#.to_owned(),
                CredentialAnswer::None,
            ),
            (
                r#"{"auths":{"r.example":null},"credHelpers":{"r.example":null,"o.example":5}}"#
                    .to_owned(),
                CredentialAnswer::None,
            ),
            (r#"{"auths":"s3cret"}"#.to_owned(), wrong("`auths`")),
            (
                r#"{"auths":{"r.example":{"auth":5}}}"#.to_owned(),
                wrong("the entry of r.example"),
            ),
            (
                r#"{"auths":{"r.example":"s3cret"}}"#.to_owned(),
                wrong("the entry of r.example"),
            ),
            (
                r#"{"auths":{},"credHelpers":["s3cret"]}"#.to_owned(),
                wrong("`credHelpers`"),
            ),
            (
                r#"{"credHelpers":{"r.example":["s3cret"]}}"#.to_owned(),
                wrong("the helper of r.example"),
            ),
            (r#"{"credsStore":["s3cret"]}"#.to_owned(), wrong("`credsStore`")),
        ];
        for (text, expected) in table {
            assert_eq!(ask(&config(&text), "r.example"), expected, "{text}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_variable_that_is_no_text_is_an_error() {
        let home = ("HOME", "/home/alice");
        for (bad, others, is_error) in [
            ("DOCKER_AUTH_CONFIG", &[home][..], true),
            ("DOCKER_CONFIG", &[home], true),
            ("HOME", &[], true),
            ("HOME", &[("DOCKER_CONFIG", "/etc/docker")], false),
        ] {
            let read = DockerConfig::from_variables(crate::with_bad(bad, others));
            assert_eq!(read.is_err(), is_error, "{bad}");
            if let Err(error) = read {
                assert_eq!(error.name(), bad);
                let said = format!("{error} {error:?}");
                assert!(said.contains(bad) && !said.contains("s3cret"), "{said}");
            }
        }
    }

    #[test]
    fn files_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        let entry = r#"{"auths":{"r.example":{"auth":"dTpw"}}}"#;
        fs::write(&path, entry).expect("a file");
        let file = fs::File::options().write(true).open(&path);
        let resized = file.and_then(|file| file.set_len(LARGEST + 1));
        resized.expect("a sparse file");
        for path in [path, "/dev/zero".into(), "/dev/null".into()] {
            let label = path.display().to_string();
            let CredentialAnswer::Failed(why) = ask(&DockerConfig::file(path), "r.example") else {
                panic!("{label} is not read");
            };
            assert!(why.starts_with(&format!("cannot read {label}: ")), "{why}");
        }
    }

    #[test]
    fn files_are_found() {
        // CRED-01.
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join(".docker");
        fs::create_dir(&inner).expect("a folder");
        let json = |name: &str| {
            format!(r#"{{"auths":{{"r.example":{{"username":"{name}","password":"p"}}}}}}"#)
        };
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let home = text(folder.path());
        let asked = |variables: &[(&str, &str)]| {
            let config = DockerConfig::from_variables(among(variables));
            user(&ask(&config.expect("text"), "r.example"))
        };
        let home_variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };

        assert_eq!(asked(&[]), "None");
        assert_eq!(asked(&[(home_variable, &home)]), "None");
        fs::write(inner.join("config.json"), "").expect("a file");
        assert_eq!(asked(&[(home_variable, &home)]), "None");
        fs::write(inner.join("config.json"), json("home")).expect("a file");
        assert_eq!(asked(&[(home_variable, &home)]), "home");
        fs::write(folder.path().join("config.json"), json("own")).expect("a file");
        let both = [(home_variable, home.as_str()), ("DOCKER_CONFIG", &home)];
        assert_eq!(asked(&both), "own");
        assert_eq!(
            asked(&[(home_variable, &home), ("DOCKER_CONFIG", "")]),
            "home"
        );

        // CRED-02: the variable first, then the file.
        let variable = json("variable");
        let first = [
            (home_variable, home.as_str()),
            ("DOCKER_AUTH_CONFIG", &variable),
        ];
        assert_eq!(asked(&first), "variable");
        let empty = [(home_variable, home.as_str()), ("DOCKER_AUTH_CONFIG", "{}")];
        assert_eq!(asked(&empty), "home");

        // A folder in the file's place is an error, but only on first use.
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("config.json")).expect("a folder");
        let answer = asked(&[("DOCKER_CONFIG", &text(&taken))]);
        assert!(answer.starts_with("Failed(\"cannot read "), "{answer}");
    }

    #[test]
    fn debug_names_files_only() {
        let file = config(r#"{"auths":{"r.example":{"auth":"dTpw"}}}"#);
        assert_eq!(format!("{file:?}"), "DockerConfig [\"FILE\"]");
    }
}

//! The search as a whole, and each kind of source.

mod files;
mod keys;
mod order;
mod variables;

use std::ffi::OsString;

use super::*;
use crate::credentials::entry::basic;

/// What a text in docker's form has for a registry.
fn ask(json: &str, reference: &str) -> CredentialAnswer {
    find(&CredentialSearch::text("FILE", json), reference)
}

/// What a search finds for a reference, or for a registry if there is no `/`.
fn find(search: &CredentialSearch, reference: &str) -> CredentialAnswer {
    let (registry, repository) = named(reference);
    let recipient = registry.origin();
    let question = Question::new(registry, repository, recipient);
    search.find(&question).answer
}

fn named(reference: &str) -> (Registry, Option<Repository>) {
    match reference.split_once('/') {
        Some((registry, repository)) => {
            let repository = repository.parse().expect("a repository");
            (registry.parse().expect("a registry"), Some(repository))
        }
        None => (reference.parse().expect("a registry"), None),
    }
}

/// The user name of an answer, or what else it is.
fn user(answer: &CredentialAnswer) -> String {
    if let CredentialAnswer::Basic { username, .. } = answer {
        return username.clone();
    }
    format!("{answer:?}")
}

/// A lookup in these variables.
fn among<S: Into<String>>(
    variables: impl IntoIterator<Item = (S, S)>,
) -> impl Fn(&str) -> Option<OsString> + Send + Sync + Clone + 'static {
    let variables: Vec<(String, String)> = variables
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    move |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.into())
    }
}

/// A file with this user for `r.example`.
fn json(user: &str) -> String {
    format!(r#"{{"auths":{{"r.example":{{"username":"{user}","password":"p"}}}}}}"#)
}

//! Scopes of tokens (`protocol.md` 4.5).
//!
//! Responsible for parsing, merging and comparing them, so that a set of scopes can be the key of a
//! token. Must not know challenges, tokens, or which operation needs what beyond pull and push.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

use crate::reference::Repository;

/// A resource and the actions on it, as in `repository:a/b:pull,push`; or a single word, as in
/// `pull`, which is passed on unchanged.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Scope {
    /// The type of resource, or the word.
    kind: String,
    /// `None` for a word.
    name: Option<String>,
    actions: BTreeSet<String>,
}

impl Scope {
    /// A scope on a repository.
    fn repository(name: &Repository, actions: &[&str]) -> Self {
        Self {
            kind: "repository".into(),
            name: Some(name.as_str().into()),
            actions: actions.iter().map(|action| (*action).into()).collect(),
        }
    }

    /// The type of resource, or the word.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name of the resource; `None` for a word.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The actions in alphabetical order.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().map(String::as_str)
    }

    fn is_same_resource(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }

    fn covers(&self, other: &Self) -> bool {
        let is_all = self.actions.contains("*");
        self.is_same_resource(other) && (is_all || self.actions.is_superset(&other.actions))
    }

    /// `*` absorbs all others (AUTH-64).
    fn absorb(&mut self, actions: BTreeSet<String>) {
        self.actions.extend(actions);
        if self.actions.contains("*") {
            self.actions.retain(|action| action == "*");
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        let Some(name) = &self.name else {
            return Ok(());
        };
        write!(f, ":{name}:")?;
        for (index, action) in self.actions.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{action}")?;
        }
        Ok(())
    }
}

/// Splits at the first and the last colon, because a name may have a port (AUTH-62). The class in
/// `repository(plugin)` is dropped: it is deprecated and ignored by servers (AUTH-60).
impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        // RFC 6749 section 3.3
        let is_fine = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if text.is_empty() || !text.bytes().all(is_fine) {
            return Err(ScopeError);
        }
        let (Some(first), Some(last)) = (text.find(':'), text.rfind(':')) else {
            return Ok(Self {
                kind: text.into(),
                name: None,
                actions: BTreeSet::new(),
            });
        };
        if first == last {
            let is_word = first > 0 && first + 1 < text.len();
            let word = || Self {
                kind: text.into(),
                name: None,
                actions: BTreeSet::new(),
            };
            return is_word.then(word).ok_or(ScopeError);
        }
        let (kind, name) = (&text[..first], &text[first + 1..last]);
        let kind = match kind.split_once('(') {
            Some((kind, class)) if class.ends_with(')') => kind,
            Some(_) => return Err(ScopeError),
            None => kind,
        };
        if kind.is_empty() || name.is_empty() {
            return Err(ScopeError);
        }
        let actions = text[last + 1..]
            .split(',')
            .filter(|action| !action.is_empty());
        let mut scope = Self {
            kind: kind.into(),
            name: Some(name.into()),
            actions: BTreeSet::new(),
        };
        scope.absorb(actions.map(Into::into).collect());
        Ok(scope)
    }
}

/// A set of scopes, each resource once. Printed in insertion order, because some servers look only
/// at the first (AUTH-64); equality ignores the order. Clones share their memory.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    /// `None` for none, so that an empty set needs no memory.
    scopes: Option<Arc<Vec<Scope>>>,
}

impl Scopes {
    /// No scopes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The scopes for reading from `repository`.
    pub fn pull(repository: &Repository) -> Self {
        Self::of(Scope::repository(repository, &["pull"]))
    }

    /// The scopes for writing to `repository`.
    pub fn push(repository: &Repository) -> Self {
        Self::of(Scope::repository(repository, &["pull", "push"]))
    }

    /// The scopes for deleting from `repository`, including the preceding look-ups.
    pub fn delete(repository: &Repository) -> Self {
        Self::of(Scope::repository(repository, &["delete", "pull"]))
    }

    /// The scopes for listing the repositories of a registry.
    pub fn catalog() -> Self {
        Self::of(Scope {
            kind: "registry".into(),
            name: Some("catalog".into()),
            actions: BTreeSet::from(["*".into()]),
        })
    }

    /// The scopes of a challenge; invalid ones are dropped.
    pub fn from_challenge(text: &str) -> Self {
        let mut scopes = Self::new();
        for scope in text
            .split_ascii_whitespace()
            .filter_map(|scope| scope.parse().ok())
        {
            scopes.insert(scope);
        }
        scopes
    }

    /// Adds `scope`: its actions to those of the same resource, otherwise at the end.
    pub fn insert(&mut self, scope: Scope) {
        let scopes = Arc::make_mut(self.scopes.get_or_insert_default());
        let known = scopes.iter_mut().find(|it| it.is_same_resource(&scope));
        match known {
            Some(known) => known.absorb(scope.actions),
            None => scopes.push(scope),
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        for scope in other.ordered() {
            self.insert(scope.clone());
        }
    }

    /// Whether a token for these scopes can be used where `other` is needed.
    pub fn covers(&self, other: &Self) -> bool {
        let is_covered = |needed: &Scope| self.ordered().iter().any(|scope| scope.covers(needed));
        other.ordered().iter().all(is_covered)
    }

    /// Whether there are scopes, and all of them are for reading.
    pub(crate) fn only_read(&self) -> bool {
        let reads = |scope: &Scope| {
            scope.kind == "registry" || scope.actions.iter().all(|action| action == "pull")
        };
        !self.is_empty() && self.ordered().iter().all(reads)
    }

    /// The scopes in the order in which they are sent.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.ordered().iter().map(|scope| scope.to_string())
    }

    /// The number of resources.
    pub fn len(&self) -> usize {
        self.ordered().len()
    }

    /// Whether there is no scope.
    pub fn is_empty(&self) -> bool {
        self.ordered().is_empty()
    }

    fn ordered(&self) -> &[Scope] {
        self.scopes.as_ref().map_or(&[], |scopes| scopes.as_slice())
    }

    fn sorted(&self) -> Vec<&Scope> {
        let mut scopes: Vec<&Scope> = self.ordered().iter().collect();
        scopes.sort_unstable();
        scopes
    }

    fn of(scope: Scope) -> Self {
        let mut scopes = Self::new();
        scopes.insert(scope);
        scopes
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.ordered().iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{scope}")?;
        }
        Ok(())
    }
}

impl PartialEq for Scopes {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scopes {}

impl PartialOrd for Scopes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scopes {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.ordered(), other.ordered()) {
            // Nothing to sort, as for almost every token.
            (ours @ ([] | [_]), theirs @ ([] | [_])) => ours.cmp(theirs),
            _ => self.sorted().cmp(&other.sorted()),
        }
    }
}

impl Hash for Scopes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sorted().hash(state);
    }
}

/// A text is not a scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a scope: expected `type:name:action,action`")]
#[non_exhaustive]
pub struct ScopeError;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::mutations;

    #[test]
    fn scopes_are_read_and_printed() {
        type Parts = (&'static str, Option<&'static str>, &'static str);
        let table: &[(&str, &str, Option<Parts>)] = &[
            (
                "V-B",
                "repository:a/b:pull,push",
                Some(("repository", Some("a/b"), "pull,push")),
            ),
            (
                "V-B",
                "repository:host:5000/a/b:pull",
                Some(("repository", Some("host:5000/a/b"), "pull")),
            ),
            (
                "V-B",
                "repository(plugin):x/y:pull",
                Some(("repository", Some("x/y"), "pull")),
            ),
            (
                "V-B",
                "registry:catalog:*",
                Some(("registry", Some("catalog"), "*")),
            ),
            ("V-B", "repository:a:", Some(("repository", Some("a"), ""))),
            ("V-B", "pull", Some(("pull", None, ""))),
            ("a word", "*", Some(("*", None, ""))),
            ("a word", "repo:pull", Some(("repo:pull", None, ""))),
            (
                "AUTH-64",
                "repository:a:push,pull,push",
                Some(("repository", Some("a"), "pull,push")),
            ),
            (
                "AUTH-64",
                "repository:a:pull,*",
                Some(("repository", Some("a"), "*")),
            ),
            ("malformed", "::", None),
            ("malformed", ":", None),
            ("malformed", ":a", None),
            ("malformed", "a::pull", None),
            ("malformed", ":a:pull", None),
            ("malformed", "repository(x:a:pull", None),
            ("malformed", "", None),
            ("malformed", "a b", None),
            ("malformed", "a\n", None),
            ("malformed", "a\"b", None),
        ];
        for (row, text, expected) in table {
            let found = text.parse::<Scope>().ok();
            let parts = found.as_ref().map(|scope| {
                let actions: Vec<_> = scope.actions().collect();
                (scope.kind(), scope.name(), actions.join(","))
            });
            let expected = expected.map(|(kind, name, actions)| (kind, name, actions.into()));
            assert_eq!(parts, expected, "{row} {text}");
            mutations(text, |text| {
                if let Ok(scope) = text.parse::<Scope>() {
                    assert_eq!(scope.to_string().parse(), Ok(scope), "{text}");
                }
            });
        }
    }

    #[test]
    fn sets_are_merged_in_order() {
        let table = [
            (
                "V-B 7",
                "repository:a:pull repository:b:pull,push",
                "repository:a:pull repository:b:pull,push",
            ),
            (
                "AUTH-64",
                "repository:b:pull repository:a:pull repository:b:push",
                "repository:b:pull,push repository:a:pull",
            ),
            (
                "AUTH-64",
                "repository:b:pull repository:b:*",
                "repository:b:*",
            ),
            ("V-B 27", "", ""),
            (
                "malformed ones are left out",
                " :: pull  repository:a:pull ",
                "pull repository:a:pull",
            ),
        ];
        for (row, text, expected) in table {
            assert_eq!(Scopes::from_challenge(text).to_string(), expected, "{row}");
        }
    }

    #[test]
    fn sets_are_keys() {
        let one = Scopes::from_challenge("repository:a:pull repository:b:push,pull");
        let two = Scopes::from_challenge("repository:b:pull repository:a:pull repository:b:push");
        assert_eq!(one, two);
        assert_eq!(one.cmp(&two), Ordering::Equal);
        assert_ne!(one.to_string(), two.to_string());
        let keys = BTreeSet::from([one.clone(), two, Scopes::new()]);
        assert_eq!(keys.len(), 2);
        assert_ne!(
            one,
            Scopes::from_challenge("repository:a:pull repository:b:pull")
        );
    }

    #[test]
    fn sets_cover_others() {
        let table = [
            ("repository:a:pull,push", "repository:a:pull", true),
            ("repository:a:pull", "repository:a:pull,push", false),
            ("repository:a:*", "repository:a:pull,push", true),
            (
                "repository:a:pull repository:b:pull",
                "repository:b:pull",
                true,
            ),
            ("repository:a:pull", "repository:b:pull", false),
            ("repository:a:pull", "", true),
            ("", "pull", false),
            ("pull", "pull", true),
        ];
        for (one, other, expected) in table {
            let found = Scopes::from_challenge(one).covers(&Scopes::from_challenge(other));
            assert_eq!(found, expected, "{one} covers {other}");
        }
    }

    #[test]
    fn scopes_of_operations() {
        let repository: Repository = "a/b".parse().expect("a repository");
        let table = [
            (Scopes::pull(&repository), "repository:a/b:pull"),
            (Scopes::push(&repository), "repository:a/b:pull,push"),
            (Scopes::delete(&repository), "repository:a/b:delete,pull"),
            (Scopes::catalog(), "registry:catalog:*"),
        ];
        for (scopes, expected) in table {
            assert_eq!(scopes.to_string(), expected, "AUTH-60");
            assert_eq!(scopes.iter().collect::<Vec<_>>(), [expected], "AUTH-60");
        }
    }
}

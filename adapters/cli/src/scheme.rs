//! Which registries are contacted over TLS and which over plain HTTP: `--tls` and `--plain-http`.
//!
//! Responsible for one promise: outside loopback a registry is contacted over plain HTTP, which
//! exposes its credentials, only if the user named that very registry. Must not know where else a
//! registry's address is used.

use std::collections::BTreeMap;

use windlass_core::{Origin, Registry, Scheme};

use crate::login;

/// What clap stores for an option without a value.
pub(crate) const ALL: &str = "*";

/// The value of one of the options.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Whom {
    /// No value: every registry of the command.
    All,
    /// This registry.
    One(Registry),
}

/// Parses the value of `--tls` or `--plain-http`.
pub(crate) fn whom(text: &str) -> Result<Whom, String> {
    if text == ALL {
        return Ok(Whom::All);
    }
    if login::is_in(text) {
        return Err(login::REFUSED.to_owned());
    }
    let registry = text.parse().map(Whom::One);
    registry.map_err(|error| format!("expected a registry, host[:port]: {error}"))
}

/// The endpoints of those `registries` that are not contacted at their default origin.
pub(crate) fn endpoints(
    tls: &[Whom],
    plain: &[Whom],
    registries: &[&Registry],
) -> Result<BTreeMap<Registry, Origin>, String> {
    check_names("--tls", tls, registries)?;
    check_names("--plain-http", plain, registries)?;
    let is_plain_for_all = plain.contains(&Whom::All);
    if is_plain_for_all && !tls.is_empty() {
        return Err("--tls and --plain-http exclude each other".to_owned());
    }
    if is_plain_for_all {
        check_unambiguous(registries)?;
    }
    let mut endpoints = BTreeMap::new();
    for registry in registries {
        let (secure, clear) = (names(tls, registry), names(plain, registry));
        let scheme = match (secure, clear) {
            (true, true) => {
                return Err(format!("--tls and --plain-http both name {registry}"));
            }
            (true, false) => Scheme::Https,
            (false, true) => Scheme::Http,
            (false, false) if tls.contains(&Whom::All) => Scheme::Https,
            (false, false) if is_plain_for_all => Scheme::Http,
            (false, false) => continue,
        };
        match (scheme, registry.is_docker_hub()) {
            (Scheme::Http, true) => {
                return Err("Docker Hub is never contacted over plain HTTP".to_owned());
            }
            // Its API is on another host than its name says, and always over TLS.
            (Scheme::Https, true) => {}
            (scheme, false) => {
                let origin = registry.origin().with_scheme(scheme);
                endpoints.insert((*registry).clone(), origin);
            }
        }
    }
    Ok(endpoints)
}

/// Rejects a name that is none of the command's registries: ignored, it would only show as a failed
/// connection.
fn check_names(option: &str, whom: &[Whom], registries: &[&Registry]) -> Result<(), String> {
    for whom in whom {
        match whom {
            Whom::One(name) if !registries.iter().any(|other| is_same(name, other)) => {
                return Err(format!(
                    "{option} names {name}, but no reference is in that registry"
                ));
            }
            Whom::One(_) | Whom::All => {}
        }
    }
    Ok(())
}

/// `--plain-http` without a value is unambiguous for one registry, or if all are on loopback.
fn check_unambiguous(registries: &[&Registry]) -> Result<(), String> {
    let [first, rest @ ..] = registries else {
        return Ok(());
    };
    let Some(other) = rest.iter().find(|other| !is_same(first, other)) else {
        return Ok(());
    };
    if registries.iter().all(|registry| registry.is_loopback()) {
        return Ok(());
    }
    Err(format!(
        "--plain-http is ambiguous: write --plain-http={first} or --plain-http={other}; \
         credentials for that registry are sent unencrypted"
    ))
}

fn names(whom: &[Whom], registry: &Registry) -> bool {
    whom.iter().any(|whom| match whom {
        Whom::All => false,
        Whom::One(name) => is_same(name, registry),
    })
}

/// Compares origins, so that the spelling does not matter.
fn is_same(one: &Registry, other: &Registry) -> bool {
    one.origin() == other.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The endpoints in one line, or the error.
    fn outcome(tls: &[&str], plain: &[&str], registries: &[&str]) -> String {
        let read = |words: &[&str]| -> Vec<Whom> {
            let whom = words.iter().map(|word| whom(word));
            whom.collect::<Result<_, _>>().expect("hosts")
        };
        let registries: Vec<Registry> = registries
            .iter()
            .map(|name| name.parse().expect("a registry"))
            .collect();
        let registries: Vec<&Registry> = registries.iter().collect();
        match endpoints(&read(tls), &read(plain), &registries) {
            Ok(endpoints) => {
                let lines = endpoints
                    .iter()
                    .map(|(name, origin)| format!("{name}={origin}"));
                lines.collect::<Vec<_>>().join(" ")
            }
            Err(why) => format!("! {why}"),
        }
    }

    #[test]
    fn one_registry_is_what_the_options_mean() {
        // (--tls, --plain-http, registry, endpoint)
        type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a str, &'a str);
        let table: &[Row<'_>] = &[
            (&[], &[], "r.example", ""),
            (&["*"], &[], "r.example", "r.example=https://r.example"),
            (
                &["*"],
                &[],
                "localhost:5000",
                "localhost:5000=https://localhost:5000",
            ),
            (&[], &["*"], "r.example", "r.example=http://r.example"),
            (
                &[],
                &["*"],
                "r.example:5000",
                "r.example:5000=http://r.example:5000",
            ),
            (
                &[],
                &["*"],
                "localhost:443",
                "localhost:443=http://localhost",
            ),
            (
                &[],
                &["r.example:5000"],
                "R.example:5000",
                "R.example:5000=http://r.example:5000",
            ),
            (&["docker.io"], &[], "docker.io", ""),
            (
                &["*"],
                &["*"],
                "r.example",
                "! --tls and --plain-http exclude each other",
            ),
            (
                &["r.example"],
                &["*"],
                "r.example",
                "! --tls and --plain-http exclude each other",
            ),
            (
                &["r.example"],
                &["r.example:443"],
                "r.example",
                "! --tls and --plain-http both name r.example",
            ),
            (
                &[],
                &["*"],
                "docker.io",
                "! Docker Hub is never contacted over plain HTTP",
            ),
            (
                &[],
                &["docker.io"],
                "docker.io",
                "! Docker Hub is never contacted over plain HTTP",
            ),
            (
                &[],
                &["r.example"],
                "r.example:5000",
                "! --plain-http names r.example, but no reference is in that registry",
            ),
        ];
        for (tls, plain, registry, expected) in table {
            assert_eq!(
                outcome(tls, plain, &[registry]),
                *expected,
                "{tls:?} {plain:?}"
            );
        }
    }

    /// A copy never exposes the credentials of one registry because the other one uses plain HTTP.
    #[test]
    fn of_two_registries_the_plain_one_is_named() {
        let (public, lan) = ("ghcr.io", "r.lan:5000");
        let (here, there) = ("localhost:5000", "localhost:6000");
        // (--tls, --plain-http, registries, endpoints, or the beginning of the error)
        type Row<'a> = (&'a [&'a str], &'a [&'a str], [&'a str; 2], &'a str);
        let table: &[Row<'_>] = &[
            (&[], &["*"], [lan, public], "! --plain-http is ambiguous"),
            (&[], &["*"], [here, public], "! --plain-http is ambiguous"),
            (&[], &["*"], [public, here], "! --plain-http is ambiguous"),
            (
                &[],
                &["*"],
                [lan, "docker.io"],
                "! --plain-http is ambiguous",
            ),
            (
                &[],
                &["*"],
                [lan, "R.LAN:5000"],
                "R.LAN:5000=http://r.lan:5000 r.lan:5000=http://r.lan:5000",
            ),
            (
                &[],
                &["*"],
                [here, there],
                "localhost:5000=http://localhost:5000 localhost:6000=http://localhost:6000",
            ),
            (&[], &[lan], [lan, public], "r.lan:5000=http://r.lan:5000"),
            (&[], &[public], [lan, public], "ghcr.io=http://ghcr.io"),
            (
                &[],
                &[lan, public],
                [lan, public],
                "ghcr.io=http://ghcr.io r.lan:5000=http://r.lan:5000",
            ),
            (
                &["*"],
                &[lan],
                [lan, public],
                "ghcr.io=https://ghcr.io r.lan:5000=http://r.lan:5000",
            ),
            (
                &[there],
                &[],
                [here, there],
                "localhost:6000=https://localhost:6000",
            ),
            (
                &["*"],
                &[],
                [here, there],
                "localhost:5000=https://localhost:5000 localhost:6000=https://localhost:6000",
            ),
            (
                &[there],
                &["*"],
                [here, there],
                "! --tls and --plain-http exclude each other",
            ),
        ];
        for (tls, plain, registries, expected) in table {
            let got = outcome(tls, plain, registries);
            let fits = if expected.starts_with('!') {
                got.starts_with(expected)
            } else {
                got == *expected
            };
            assert!(
                fits,
                "--tls {tls:?} --plain-http {plain:?} {registries:?}: {got}"
            );
        }
    }

    #[test]
    fn without_a_registry_nothing_is_named() {
        assert_eq!(outcome(&["*"], &[], &[]), "");
        assert_eq!(outcome(&[], &["*"], &[]), "");
        let got = outcome(&["r.example"], &[], &[]);
        assert!(got.starts_with("! --tls names r.example"), "{got}");
    }

    #[test]
    fn values_are_hosts() {
        assert!(whom("r.lan:5000").is_ok());
        for bad in ["", "r.lan/app", "http://r.lan", "r.lan:x"] {
            assert!(whom(bad).is_err(), "{bad}");
        }
    }
}

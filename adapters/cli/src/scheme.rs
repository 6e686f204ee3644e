//! Which registries are spoken to over TLS and which in plain HTTP: `--tls` and `--plain-http`.
//!
//! Responsible for one promise: a registry that is not on loopback is spoken to in plain HTTP, with
//! its credentials in the clear, only if people said so of that very registry. Must not know where
//! else a registry's address is used.

use std::collections::BTreeMap;

use windlass_core::{Origin, Registry, Scheme};

use crate::login;

/// What clap reads where an option stands without a value.
pub(crate) const ALL: &str = "*";

/// Whom one of the options is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Whom {
    /// It stood alone: every registry of the command.
    All,
    /// This one.
    One(Registry),
}

/// `--tls` or `--plain-http` with or without a registry.
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

/// Where each of `registries` is contacted, if not where it would be anyway.
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
                return Err("Docker Hub is not spoken to in plain HTTP".to_owned());
            }
            // Its address is not its name, and is over TLS anyway.
            (Scheme::Https, true) => {}
            (scheme, false) => {
                let origin = registry.origin().with_scheme(scheme);
                endpoints.insert((*registry).clone(), origin);
            }
        }
    }
    Ok(endpoints)
}

/// A name that no registry of the command has is a mistake, and without effect it would show as a
/// failure to connect.
fn check_names(option: &str, whom: &[Whom], registries: &[&Registry]) -> Result<(), String> {
    for whom in whom {
        match whom {
            Whom::One(name) if !registries.iter().any(|other| is_same(name, other)) => {
                return Err(format!(
                    "{option} names {name}, and no reference here is in that registry"
                ));
            }
            Whom::One(_) | Whom::All => {}
        }
    }
    Ok(())
}

/// `--plain-http` alone is clear where there is one registry, or where all are on loopback anyway.
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
        "--plain-http does not say which registry it means: write --plain-http={first} or \
         --plain-http={other}; credentials for the one that is named go over the network in the \
         clear"
    ))
}

fn names(whom: &[Whom], registry: &Registry) -> bool {
    whom.iter().any(|whom| match whom {
        Whom::All => false,
        Whom::One(name) => is_same(name, registry),
    })
}

/// However it is spelled.
fn is_same(one: &Registry, other: &Registry) -> bool {
    one.origin() == other.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of options and registries: a line of endpoints, or what the error says.
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
                "! Docker Hub is not spoken to in plain HTTP",
            ),
            (
                &[],
                &["docker.io"],
                "docker.io",
                "! Docker Hub is not spoken to in plain HTTP",
            ),
            (
                &[],
                &["r.example"],
                "r.example:5000",
                "! --plain-http names r.example, and no reference here is in that registry",
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

    /// Nobody's credentials go in the clear because the other side of a copy speaks plain HTTP.
    #[test]
    fn of_two_registries_the_plain_one_is_named() {
        let (public, lan) = ("ghcr.io", "r.lan:5000");
        let (here, there) = ("localhost:5000", "localhost:6000");
        // (--tls, --plain-http, registries, endpoints, or the beginning of the error)
        type Row<'a> = (&'a [&'a str], &'a [&'a str], [&'a str; 2], &'a str);
        let table: &[Row<'_>] = &[
            (
                &[],
                &["*"],
                [lan, public],
                "! --plain-http does not say which registry it means",
            ),
            (
                &[],
                &["*"],
                [here, public],
                "! --plain-http does not say which registry it means",
            ),
            (
                &[],
                &["*"],
                [public, here],
                "! --plain-http does not say which registry it means",
            ),
            (
                &[],
                &["*"],
                [lan, "docker.io"],
                "! --plain-http does not say which registry it means",
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
    fn without_a_registry_there_is_nobody_to_name() {
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

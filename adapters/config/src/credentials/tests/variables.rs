//! Variables, and what the user gives for one registry.

use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use windlass_core::credential::Secret;

use super::*;
use crate::credentials::entry::bearer;
use crate::credentials::variables::mangled;

fn asked(variables: &[(&'static str, &'static str)], reference: &str) -> CredentialAnswer {
    let variables = variables.iter().copied();
    let search = CredentialSearch::from_variables(among(variables)).expect("text");
    find(&search, reference)
}

#[test]
fn hosts_in_names() {
    for (host, expected) in [
        ("r.example", "R_EXAMPLE"),
        ("a-b.example:5000", "A__B_EXAMPLE_5000"),
        ("a--b.example", "A____B_EXAMPLE"),
        ("[::1]:5000", "___1__5000"),
        ("docker.io", "DOCKER_IO"),
    ] {
        assert_eq!(mangled(host), expected);
    }
}

#[test]
fn variables_of_a_host() {
    const USER: &str = "WINDLASS_AUTH_R_EXAMPLE_USERNAME";
    const PASSWORD: &str = "WINDLASS_AUTH_R_EXAMPLE_PASSWORD";
    const TOKEN: &str = "WINDLASS_AUTH_R_EXAMPLE_TOKEN";
    const FILE: &str = "WINDLASS_AUTH_R_EXAMPLE_TOKEN_FILE";
    let failed = |why: &str| CredentialAnswer::Failed(why.to_owned());
    let table: [(&[(&str, &str)], CredentialAnswer); 9] = [
        (&[(USER, "u"), (PASSWORD, "p")], basic("u", "p")),
        (&[(USER, "u"), (TOKEN, "t")], basic("u", "t")),
        (&[(TOKEN, "t")], bearer("t")),
        (
            &[(USER, ""), (PASSWORD, ""), (TOKEN, "")],
            CredentialAnswer::None,
        ),
        (
            &[(USER, "u")],
            failed(&format!("{USER} is set, but not {PASSWORD}")),
        ),
        (
            &[(PASSWORD, "s3cret")],
            failed(&format!("{PASSWORD} is set, but not {USER}")),
        ),
        (
            &[(USER, "u"), (PASSWORD, "s3cret"), (TOKEN, "s3cret")],
            failed(&format!("{PASSWORD} and {TOKEN} are both set")),
        ),
        (
            &[(TOKEN, "s3cret"), (FILE, "/x")],
            failed(&format!("{TOKEN} and {FILE} are both set")),
        ),
        (
            &[(FILE, "/nonexistent")],
            failed(
                "cannot read the token file /nonexistent: No such file or directory (os error 2)",
            ),
        ),
    ];
    for (variables, expected) in table {
        assert_eq!(asked(variables, "r.example"), expected, "{variables:?}");
    }
    let both = [(USER, "u"), (PASSWORD, "p")];
    for (reference, expected) in [
        ("R.example:443/a/b", "u"),
        ("r.example:5000", "None"),
        ("r.example.evil", "None"),
    ] {
        assert_eq!(user(&asked(&both, reference)), expected, "{reference}");
    }
    for hub in [
        "docker.io/library/x",
        "index.docker.io",
        "registry-1.docker.io",
    ] {
        let variables = [("WINDLASS_AUTH_DOCKER_IO_TOKEN", "t")];
        assert_eq!(asked(&variables, hub), bearer("t"), "{hub}");
    }
}

/// The password of one registry does not go to another with a similar name, not even in another process.
#[test]
fn each_host_has_variables_of_its_own() {
    let hosts = [
        "registry.gitlab.com",
        "registry-gitlab.com",
        "registry.gitlab-com.example",
        "registry-gitlab-com.example",
        "a-b.example",
        "a.b.example",
        "a--b.example",
        "a-b.example:5000",
        "a.b.example:5000",
        "a.b-example:5000",
        "[::1]:5000",
        "[::1:5000]",
        "10.0.0.5",
        "10.0.0.5:5000",
        "docker.io",
    ];
    for owner in hosts {
        let variable = format!("WINDLASS_AUTH_{}_TOKEN", mangled(owner));
        for host in hosts {
            let variables = among([(variable.clone(), "t".to_owned())]);
            let search = CredentialSearch::from_variables(variables).expect("text");
            let expected = match host == owner {
                true => bearer("t"),
                false => CredentialAnswer::None,
            };
            assert_eq!(find(&search, host), expected, "{variable} for {host}");
        }
    }
}

/// A label of digits and a port look alike. No top-level domain has digits only, so the port is meant, unless
/// it would be the end of an IPv4 address.
#[test]
fn a_label_of_digits_is_no_port() {
    for (variable, owner, other) in [
        ("R_EXAMPLE_5000", "r.example:5000", "r.example.5000"),
        ("LOCALHOST_5000", "localhost:5000", "localhost.5000"),
        ("10_0_0_5", "10.0.0.5", "10.0.0:5"),
    ] {
        let variables = among([(format!("WINDLASS_AUTH_{variable}_TOKEN"), "t".to_owned())]);
        let search = CredentialSearch::from_variables(variables).expect("text");
        assert_eq!(find(&search, owner), bearer("t"));
        let why = format!(
            "the variables WINDLASS_AUTH_{variable}_* are for `{owner}`, not for `{other}`; use another \
             source for it"
        );
        assert_eq!(find(&search, other), CredentialAnswer::Failed(why));
        let search = CredentialSearch::from_variables(among::<&str>([])).expect("text");
        assert_eq!(find(&search, other), CredentialAnswer::None);
    }
}

#[test]
#[cfg(unix)]
fn a_value_that_is_no_text_is_not_passed_over() {
    use std::os::unix::ffi::OsStringExt as _;
    let search = CredentialSearch::from_variables(|name| {
        let is_it = name == "WINDLASS_AUTH_R_EXAMPLE_TOKEN";
        is_it.then(|| OsString::from_vec(b"s3cret\xff".to_vec()))
    });
    assert_eq!(
        find(&search.expect("no place is bad"), "r.example"),
        CredentialAnswer::Failed(
            "the value of the variable WINDLASS_AUTH_R_EXAMPLE_TOKEN is not valid UTF-8".to_owned()
        )
    );
}

/// A token file is read for each question.
#[test]
fn token_files_may_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let registry: Registry = "r.example".parse().expect("a registry");
    let token = Explicit::file(registry.clone(), None, &path).origin("--token-file");
    let token = CredentialSearch::empty().explicit(token);
    let password = Explicit::file(registry, Some("u".to_owned()), &path);
    let password = CredentialSearch::empty().explicit(password);
    for content in ["one", "two\n", " three \r\n"] {
        fs::write(&path, content).expect("a file");
        assert_eq!(find(&token, "r.example"), bearer(content.trim()));
        assert_eq!(find(&password, "r.example"), basic("u", content.trim()));
    }
    let shown = path.display();
    for (content, expected) in [
        (&b" \n"[..], format!("the token file {shown} is empty")),
        (b"\xff", format!("the token file {shown} is not text")),
        (
            &[b'x'; (1 << 20) + 1],
            format!("cannot read the token file {shown}: it has more than 1 MiB"),
        ),
    ] {
        fs::write(&path, content).expect("a file");
        assert_eq!(
            find(&token, "r.example"),
            CredentialAnswer::Failed(expected)
        );
    }
    assert_eq!(find(&token, "o.example"), CredentialAnswer::None);
}

/// The content counts for a minute, so that a new one is found before the old one has died.
#[test]
fn token_files_are_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    fs::write(&path, "t").expect("a file");
    let registry: Registry = "r.example".parse().expect("a registry");
    let question = || Question::new(registry.clone(), None, registry.origin());
    let given = Explicit::file(registry.clone(), None, &path);
    let given = CredentialSearch::empty().explicit(given);
    let name = path.display().to_string();
    let variables = among([("WINDLASS_AUTH_R_EXAMPLE_TOKEN_FILE".to_owned(), name)]);
    let named = CredentialSearch::from_variables(variables).expect("text");
    for search in [given, named] {
        let minute = std::time::Duration::from_secs(60);
        assert_eq!(search.find(&question()), bearer("t").valid_for(minute));
    }
}

/// `--token-file <(command)`, or the same in a variable: what comes through a pipe comes once, and is kept for the
/// registry's other repositories.
#[test]
fn a_piped_token_is_read_once() {
    let registry: Registry = "r.example".parse().expect("a registry");
    let given = |path: String| {
        let given = Explicit::file(registry.clone(), Some("u".to_owned()), path);
        CredentialSearch::empty().explicit(given)
    };
    let named = |path: String| {
        let variables = [("USERNAME", "u".to_owned()), ("TOKEN_FILE", path)];
        let variables =
            variables.map(|(what, value)| (format!("WINDLASS_AUTH_R_EXAMPLE_{what}"), value));
        CredentialSearch::from_variables(among(variables)).expect("text")
    };
    let searches: [&dyn Fn(String) -> CredentialSearch; 2] = [&given, &named];
    for search in searches {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"s3cret\n").expect("it is written");
        drop(writer);
        let search = search(format!("/dev/fd/{}", reader.as_raw_fd()));
        let of = |repository: &str| {
            let (registry, repository) = super::named(repository);
            let origin = registry.origin();
            Question::new(registry, repository, origin)
        };
        let first = of("r.example/a");
        for question in [first.clone(), first.again(), of("r.example/b")] {
            assert_eq!(search.find(&question), basic("u", "s3cret").into());
        }
        assert!(!format!("{search:?}").contains("s3cret"));
    }
}

/// What is given for one registry never reaches another, and repositories can have their own.
#[test]
fn given_ones_stay_where_they_belong() {
    let given = |name: &str, user: &str| {
        let (registry, repository) = named(name);
        let given = Explicit::password(registry, user, Secret::new("s3cret"));
        match repository {
            Some(repository) => given.repository(repository),
            None => given,
        }
    };
    let search = CredentialSearch::text("FILE", json("file"))
        .explicit(given("o.example", "all"))
        .explicit(given("o.example/a", "a"))
        .explicit(given("r.example/b", "b"))
        .explicit(given("registry-1.docker.io", "hub"));
    for (reference, expected) in [
        ("o.example/a", "a"),
        ("o.example/b", "all"),
        ("o.example", "all"),
        ("O.example:443/a", "a"),
        ("o.example:5000/a", "None"),
        ("r.example/b", "b"),
        ("r.example/b/c", "file"),
        ("r.example", "file"),
        ("docker.io/library/x", "hub"),
        ("x.example", "None"),
    ] {
        assert_eq!(user(&find(&search, reference)), expected, "{reference}");
    }
    assert!(!format!("{search:?}").contains("s3cret"));
    let registry: Registry = "o.example".parse().expect("a registry");
    let source = search.source(&registry, None);
    assert_eq!(source.as_deref(), Some("the command line"));
    let explanation = search.explain(&registry, None).to_string();
    assert_eq!(
        explanation,
        "the command line: user name `all`, password ***\nFILE: not consulted"
    );
}

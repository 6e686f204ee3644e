//! Which options belong together, and whose credentials they are.

use clap::Parser as _;

use super::*;
use crate::args::Args;
use crate::commands::Command;

/// The options of a copy.
fn options(words: &[&str]) -> (Authentication, Sides) {
    let words = ["windlass", "copy", "a.example/x", "b.example/y"]
        .iter()
        .chain(words);
    let args = Args::try_parse_from(words).expect("good options");
    let Command::Copy(copy) = args.command else {
        panic!("it is a copy");
    };
    (args.common.authentication, copy.sides)
}

fn why<T>(result: Result<T, Problem>) -> String {
    match result {
        Err(Problem::Usage(why)) => why,
        Err(_) => panic!("only options can be wrong"),
        Ok(_) => String::new(),
    }
}

#[test]
fn secrets() {
    // (standard input, password)
    let endless = vec![b'p'; 1 << 20];
    let table: [(&[u8], Option<&str>); 8] = [
        (b"pass\n", Some("pass")),
        (b"pass", Some("pass")),
        (b"pass\r\nmore\n", Some("pass")),
        (b" p w \n", Some(" p w ")),
        (b"\n", None),
        (b"", None),
        (b"\xff\n", None),
        (&endless, None),
    ];
    for (input, expected) in table {
        let secret = read(input, "password").ok();
        assert_eq!(secret.as_ref().map(Secret::expose), expected);
    }
}

#[test]
fn what_belongs_together() {
    let table: [(&[&str], &str); 15] = [
        (&[], ""),
        (&["--username", "u", "--password-stdin"], ""),
        (&["--username", "u", "--token-file", "f"], ""),
        (&["--token-stdin"], ""),
        (&["--token-file", "f"], ""),
        (
            &[
                "--src-token-stdin",
                "--dest-username",
                "u",
                "--dest-token-file",
                "f",
            ],
            "",
        ),
        (&["--username", "u"], "--username needs --password-stdin: "),
        (&["--password-stdin"], "--password-stdin needs --username"),
        (
            &["--src-password-stdin"],
            "--src-password-stdin needs --src-username",
        ),
        (
            &["--dest-username", "u"],
            "--dest-username needs --dest-password-stdin: ",
        ),
        (
            &["--username", "u", "--token-stdin"],
            "--token-stdin takes no --username; use --password-stdin",
        ),
        (
            &["--token-stdin", "--token-file", "f"],
            "--token-stdin and --token-file exclude each other",
        ),
        (
            &["--src-token-stdin", "--src-token-file", "f"],
            "--src-token-stdin and --src-token-file exclude each other",
        ),
        (
            &["--src-token-stdin", "--dest-token-stdin"],
            "--src-token-stdin and --dest-token-stdin cannot both read standard input",
        ),
        (
            &[
                "--token-stdin",
                "--src-username",
                "u",
                "--src-password-stdin",
            ],
            "--token-stdin and --src-password-stdin cannot both read standard input",
        ),
    ];
    for (words, expected) in table {
        let (common, sides) = options(words);
        let why = why(sides.check(&common));
        assert!(why.starts_with(expected), "{words:?}: {why}");
        assert_eq!(why.is_empty(), expected.is_empty(), "{words:?}: {why}");
    }
}

/// Which credential is for which registry or repository.
#[test]
fn owners() {
    let both: &[&str] = &["--src-token-file", "s", "--dest-token-file", "d"];
    let layout = "";
    // (options, SRC, DST, who gets what)
    let table: [(&[&str], &str, &str, &str); 12] = [
        (&[], "a.example/x", "b.example/y", ""),
        (
            &["--token-file", "c"],
            "a.example/x",
            "b.example/y",
            "-- b.example",
        ),
        (
            &["--token-file", "c"],
            "a.example/x",
            layout,
            "-- a.example",
        ),
        (
            &["--token-file", "c"],
            layout,
            layout,
            "error: --token-file needs a registry",
        ),
        (
            both,
            "a.example/x",
            "b.example/y",
            "--src- a.example, --dest- b.example",
        ),
        (
            both,
            "a.example/x",
            "A.example:443/y",
            "--src- a.example/x, --dest- A.example:443/y",
        ),
        (
            both,
            "a.example/x:1",
            "a.example/x:2",
            "error: SRC and DST are one repository",
        ),
        (
            both,
            layout,
            "b.example/y",
            "error: --src-token-file needs a registry as SRC",
        ),
        (
            both,
            "a.example/x",
            layout,
            "error: --dest-token-file needs a registry as DST",
        ),
        (
            &["--token-file", "c", "--src-token-file", "s"],
            "a.example/x",
            "b.example/y",
            "--src- a.example, -- b.example",
        ),
        (
            &["--token-file", "c", "--src-token-file", "s"],
            "a.example/x",
            "a.example/y",
            "--src- a.example/x, -- a.example",
        ),
        (
            &["--token-file", "c", "--dest-token-file", "d"],
            "a.example/x",
            "b.example/y",
            "error: --token-file and the options for one side are for the same registry",
        ),
    ];
    for (words, from, to, expected) in table {
        let (common, sides) = options(words);
        let reference = |text: &str| -> Option<Reference> { text.parse().ok() };
        let (from, to) = (reference(from), reference(to));
        let owned = sides.owned_by(&common, from.as_ref(), to.as_ref());
        let shown = match owned {
            Ok(owned) => {
                let shown = owned.iter().map(|it| {
                    let repository = it.repository.as_ref();
                    let path = repository.map_or(String::new(), |path| format!("/{path}"));
                    format!("{} {}{path}", it.given.prefix, it.registry)
                });
                shown.collect::<Vec<_>>().join(", ")
            }
            error @ Err(_) => format!("error: {}", why(error)),
        };
        assert!(shown.starts_with(expected), "{words:?}: {shown}");
        assert_eq!(shown.is_empty(), expected.is_empty(), "{words:?}: {shown}");
    }
}

#[test]
fn nothing_prints_a_secret() {
    let registry: Registry = "a.example".parse().expect("a registry");
    let explicit = Explicit::token(registry, Secret::new("s3cret"));
    assert!(!format!("{explicit:?}").contains("s3cret"));
}

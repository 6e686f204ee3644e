//! Whether an image may be used: policy.json, and a program that verifies images.
//!
//! Responsible for the decision before the first request (`check`), and for running the program on the
//! pinned digest before anything is written (`verify`). Must not know how an image is moved.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use windlass_config::credentials::remove_own_variables;
use windlass_config::{ConfigFile, Judgement, Policy, Rule};
use windlass_core::{Descriptor, Error, Failure, Reference};

use crate::args::Admission;
use crate::client::CancelHandle;
use crate::exit::Problem;
use crate::location::{InLayout, Location};

/// How often is looked whether the program has ended, or is to be stopped.
const SLICE: Duration = Duration::from_millis(20);

/// A command line, split into words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Program(Vec<String>);

/// Splits a command line as a shell does, with quotes and `\`, but without variables, patterns and pipes.
pub(crate) fn program(text: &str) -> Result<Program, String> {
    match shlex::split(text) {
        None => Err("a quote is not closed".to_owned()),
        Some(words) if words.first().is_none_or(String::is_empty) => {
            Err("a program is expected".to_owned())
        }
        Some(words) => Ok(Program(words)),
    }
}

/// An image that the policy admits, if the program verifies it.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    admission: &'a Admission,
    /// What the program is told of the policy: the file, the scope, the types of signatures.
    rule: Option<[String; 3]>,
}

/// Checks an image's source against the policy.
///
/// `own` is windlass' own file.
pub(crate) fn check<'a>(
    admission: &'a Admission,
    own: Option<&ConfigFile>,
    source: &Location,
) -> Result<Admitted<'a>, Problem> {
    let policy = policy(admission, own)?;
    let rule = policy.as_ref().map(|policy| rule(policy, source));
    if let Some(rule) = &rule {
        judge(rule, source, admission.verify_with.is_some())?;
    }
    Ok(Admitted {
        admission,
        rule: rule.map(|rule| {
            let types: Vec<&str> = rule.verifications().collect();
            let scope = rule.scope().unwrap_or("default");
            [
                rule.path().display().to_string(),
                scope.to_owned(),
                types.join(","),
            ]
        }),
    })
}

/// What the policy says about an image, for people.
pub(crate) fn explain(
    admission: &Admission,
    own: Option<&ConfigFile>,
    source: &Location,
) -> Result<String, Problem> {
    let Some(policy) = policy(admission, own)? else {
        return Ok("none, so every image is accepted".to_owned());
    };
    let rule = rule(&policy, source);
    let judgement = match rule.judgement() {
        Judgement::Accepted => "accepted".to_owned(),
        Judgement::NeedsVerification => {
            let types: Vec<&str> = rule.verifications().collect();
            let by = match admission.verify_with {
                Some(_) => "is verified by the program",
                None => "needs --verify-with",
            };
            format!("{by}: {}", types.join(", "))
        }
        Judgement::Rejected | _ => "rejected".to_owned(),
    };
    Ok(format!("{judgement} by {rule}"))
}

fn policy(admission: &Admission, own: Option<&ConfigFile>) -> Result<Option<Policy>, Problem> {
    let wrong = |error: windlass_config::PolicyError| Problem::Usage(error.to_string());
    if admission.insecure_policy {
        return Ok(None);
    }
    let named = admission.policy.clone();
    match named.or_else(|| own.and_then(ConfigFile::policy)) {
        Some(path) => Policy::from_file(path).map(Some).map_err(wrong),
        None => Policy::find(|name| std::env::var_os(name)).map_err(wrong),
    }
}

fn rule<'a>(policy: &'a Policy, source: &Location) -> Rule<'a> {
    match source {
        Location::Registry(reference) => policy.of_registry(reference),
        Location::Layout(layout) => policy.of_layout(&layout.path),
    }
}

fn judge(rule: &Rule<'_>, source: &Location, verifies: bool) -> Result<(), Problem> {
    let refused = |what: String, hint: Option<&str>| Problem::Failed {
        failure: Failure::new(vec![Error::Policy { what }]),
        hint: hint.map(str::to_owned),
    };
    match rule.judgement() {
        Judgement::NeedsVerification if !verifies => {
            let types: Vec<&str> = rule.verifications().collect();
            let types = types.join(", ");
            let what = format!(
                "{source} needs a signature ({types}) by {rule}, and windlass does not verify signatures"
            );
            let hint = "give a program that does with --verify-with, for instance \
                --verify-with 'cosign verify --key cosign.pub'";
            Err(refused(what, Some(hint)))
        }
        Judgement::Accepted | Judgement::NeedsVerification => Ok(()),
        Judgement::Rejected | _ => Err(refused(format!("{source} is rejected by {rule}"), None)),
    }
}

impl Admitted<'_> {
    /// Has the program verify the image, if there is one, and returns the image with its digest.
    pub(crate) fn verify(
        &self,
        source: &Location,
        resolve: impl FnOnce() -> Result<Descriptor, Problem>,
        cancel: &CancelHandle,
    ) -> Result<Location, Problem> {
        let Some(Program(words)) = &self.admission.verify_with else {
            return Ok(source.clone());
        };
        let root = resolve()?;
        let pinned = pinned(source, &root);
        let argument = argument(&pinned);
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg(&argument)
            .env("WINDLASS_VERIFY_REFERENCE", &argument)
            .env("WINDLASS_VERIFY_NAME", source.to_string())
            .env("WINDLASS_VERIFY_DIGEST", root.digest.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // A group of its own, so that all that it starts can be ended with it.
            .process_group(0);
        // Credentials that windlass has from its environment are not the program's.
        remove_own_variables(&mut command);
        if let Some([file, scope, types]) = &self.rule {
            command
                .env("WINDLASS_VERIFY_POLICY", file)
                .env("WINDLASS_VERIFY_SCOPE", scope)
                .env("WINDLASS_VERIFY_TYPES", types);
        }
        let limit = Duration::from_secs(self.admission.verify_timeout);
        let status = run(command, &words[0], limit, cancel)?;
        if status.success() {
            return Ok(pinned);
        }
        let what = format!("{argument} was not verified: {}", ended(&words[0], status));
        Err(Problem::failed(Error::Policy { what }))
    }
}

/// The same image, by digest.
fn pinned(source: &Location, root: &Descriptor) -> Location {
    match source {
        Location::Registry(reference) => Location::Registry(Reference::new(
            reference.registry().clone(),
            reference.repository().clone(),
            reference.tag().cloned(),
            Some(root.digest.clone()),
        )),
        Location::Layout(layout) => Location::Layout(InLayout {
            path: layout.path.clone(),
            name: layout.name.clone(),
            digest: Some(root.digest.clone()),
        }),
    }
}

/// What the program gets: without a tag, which other tools do not take beside a digest.
fn argument(pinned: &Location) -> String {
    match pinned {
        Location::Registry(reference) => reference.with_target(reference.target()).to_string(),
        Location::Layout(_) => pinned.to_string(),
    }
}

fn run(
    mut command: Command,
    name: &str,
    limit: Duration,
    cancel: &CancelHandle,
) -> Result<ExitStatus, Problem> {
    let failed = |what: String| Problem::failed(Error::Policy { what });
    let child = command
        .spawn()
        .map_err(|error| Problem::Usage(format!("--verify-with: cannot run {name}: {error}")))?;
    let mut child = Ended(child);
    let deadline = Instant::now() + limit;
    loop {
        let ended = child.0.try_wait();
        let ended = ended.map_err(|error| failed(format!("cannot wait for {name}: {error}")))?;
        if let Some(status) = ended {
            return Ok(status);
        }
        if cancel.is_cancelled() {
            return Err(Problem::failed(Error::Cancelled));
        }
        if Instant::now() >= deadline {
            let seconds = limit.as_secs();
            return Err(failed(format!(
                "the image was not verified: {name} did not end within {seconds} s, and was killed"
            )));
        }
        thread::sleep(SLICE);
    }
}

/// A child process that is killed, with all that it has started, when it is not waited for any longer.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            if let Some(group) = Pid::from_raw(self.0.id().cast_signed()) {
                // If that fails, it has just ended.
                let _ended = kill_process_group(group, Signal::KILL);
            }
            drop(self.0.wait());
        }
    }
}

fn ended(name: &str, status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("{name} ended with exit code {code}"),
        None => format!("{name} ended with {status}"),
    }
}

/// How long a program may take by default, in seconds: a few requests and a look into a transparency
/// log take some seconds.
pub(crate) const TIMEOUT: u64 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs() {
        let table: [(&str, Option<&[&str]>); 8] = [
            ("cosign verify", Some(&["cosign", "verify"])),
            ("a 'b c' \"d e\" f\\ g", Some(&["a", "b c", "d e", "f g"])),
            (
                "sh -c 'test \"$1\"' sh",
                Some(&["sh", "-c", "test \"$1\"", "sh"]),
            ),
            ("a $HOME *", Some(&["a", "$HOME", "*"])),
            ("", None),
            ("  ", None),
            ("'' a", None),
            ("a 'b", None),
        ];
        for (text, expected) in table {
            let words = program(text).ok().map(|it| it.0);
            let expected = expected.map(|it| it.iter().map(ToString::to_string).collect());
            assert_eq!(words, expected, "{text}");
        }
    }

    #[test]
    fn images_are_pinned() {
        let digest = windlass_core::Digest::of(windlass_core::Algorithm::Sha256, b"");
        let root = Descriptor::new("application/octet-stream", digest.clone(), 0);
        let other = format!("sha256:{}", "a".repeat(64));
        let table = [
            (
                "busybox".to_owned(),
                format!("docker.io/library/busybox@{digest}"),
            ),
            ("r.example/a:v1".to_owned(), format!("r.example/a@{digest}")),
            (
                format!("r.example/a@{digest}"),
                format!("r.example/a@{digest}"),
            ),
            ("oci:x".to_owned(), format!("oci:x@{digest}")),
            ("oci:x:v1".to_owned(), format!("oci:x@{digest}")),
            (format!("oci:x@{other}"), format!("oci:x@{digest}")),
        ];
        for (source, expected) in table {
            let source: Location = source.parse().expect("a location");
            assert_eq!(argument(&pinned(&source, &root)), expected);
        }
        // The tag stays for the name of the destination.
        let source: Location = "r.example/a:v1".parse().expect("a location");
        let pinned = pinned(&source, &root).to_string();
        assert_eq!(pinned, format!("r.example/a:v1@{digest}"));
    }
}

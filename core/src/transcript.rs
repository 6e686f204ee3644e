//! What happened, a line for each thing: for people who watch, and for tests that compare.
//!
//! Responsible for lines that never hold a secret: an authorisation prints as its scheme, a query as
//! `***`, bodies as their length. Lines hold no time and no order of headers of any library, so the
//! same session gives the same lines.
//!
//! ```text
//! #0 > GET http://localhost:5000/v2/app/manifests/v1
//! #0 < 200 application/vnd.oci.image.manifest.v1+json 1234 bytes
//! #1 > store s0: begin sha256:4413…
//! #1 < store: partial 0
//! ```

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write as _;

use http::header;

use crate::call::{Call, Done, Exchanged, Interrupted, Job, JobId, Outcome, Payload, Received};
use crate::credential::CredentialAnswer;
use crate::event::Event;
use crate::header::content_type;
use crate::sanitize::escape;
use crate::store::{StoreAnswer, StoreCall, StoreError, StoreOp};
use crate::task::TaskId;
use crate::uri::{Url, user_info};

/// How much of a value from a server is shown.
const SHOWN: usize = 200;

/// The line for a job that goes out.
pub fn job(job: &Job) -> String {
    match job {
        Job::Http(call) => http_job(call),
        Job::Store(call) => store_job(call),
        Job::Credentials(call) => {
            format!(
                "{} > credentials for {}, to show to {}",
                job.id(),
                call.registry(),
                call.recipient()
            )
        }
    }
}

/// The line for a job that came back.
pub fn done(done: &Done) -> String {
    let id = done.id();
    match done.outcome() {
        Outcome::Http(exchanged) => format!("{id} < {}", http_done(exchanged)),
        Outcome::Store(answer) => format!("{id} < store: {}", store_done(answer)),
        Outcome::Credentials(answer) => format!("{id} < credentials: {}", credentials(answer)),
        Outcome::Lost => format!("{id} < lost"),
    }
}

/// The line for a job that shall end soon.
pub fn abort(job: JobId) -> String {
    format!("{job} > abort")
}

/// The line for an event of a task.
pub fn told(task: TaskId, told: &Event) -> String {
    format!("{task} {}", event(told))
}

/// The line for an event.
pub fn event(event: &Event) -> String {
    match event {
        Event::Resolved(root) => format!("* resolved {} {}", root.media_type, root.digest),
        Event::Started {
            transfer,
            digest,
            size,
            from,
        } => {
            format!("* {transfer} begins: {digest}, {size} bytes from {from}")
        }
        Event::Skipped { digest, why, .. } => format!("* skipped {digest}: {why}"),
        Event::Retrying {
            attempt,
            after,
            why,
        } => {
            format!(
                "* try {attempt} failed, again in {} ms: {why}",
                after.as_millis()
            )
        }
        Event::Stored { digest, size } => format!("* stored {digest}, {size} bytes"),
        Event::Warning(warning) => format!("* warning: {warning}"),
        Event::Finished(Ok(report)) => format!("* finished {report}"),
        Event::Finished(Err(failure)) => {
            let errors: alloc::vec::Vec<String> =
                failure.errors().iter().map(ToString::to_string).collect();
            format!("* failed: {}", errors.join(" | "))
        }
    }
}

fn http_job(call: &Call) -> String {
    let request = call.request();
    // A target that is no URL of ours is not shown at all rather than with its query.
    let target = Url::parse(&request.uri().to_string())
        .map_or_else(|_| "(another target)".to_string(), |url| url.to_string());
    let mut line = format!("{} > {} {target}", call.id(), request.method());
    if let Some(range) = request.headers().get(header::RANGE) {
        write!(line, " {}", range.to_str().unwrap_or("?")).expect("a string takes everything");
    }
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let scheme = value
            .to_str()
            .unwrap_or_default()
            .split(' ')
            .next()
            .unwrap_or_default();
        write!(line, " ({scheme} ***)").expect("a string takes everything");
    }
    let body = match request.body() {
        Payload::Empty => return line,
        Payload::Bytes(bytes) => format!(" with {} bytes", bytes.len()),
        Payload::Body(body) => format!(" with {} bytes of a blob from {}", body.len, body.offset),
    };
    line.push_str(&body);
    line
}

fn http_done(exchanged: &Exchanged) -> String {
    let mut line = exchanged
        .status
        .map_or_else(|| "no answer".into(), |s| s.as_str().to_string());
    let mut say = |text: &str| {
        line.push(' ');
        line.push_str(&escape(text, SHOWN));
    };
    match &exchanged.body {
        Received::Nothing => {}
        Received::Collected { bytes, cut } => {
            if exchanged.headers.contains_key(header::CONTENT_TYPE) {
                say(content_type(&exchanged.headers).unwrap_or("(no media type)"));
            }
            say(&format!(
                "{} bytes{}",
                bytes.len(),
                if *cut { " and more" } else { "" }
            ));
        }
        Received::Stored { to, range_end, .. } => {
            say(&format!("stored up to {to} of {range_end}"));
        }
    }
    if let Some(value) = exchanged.headers.get(header::LOCATION) {
        say(&format!(
            "location {}",
            location(&String::from_utf8_lossy(value.as_bytes()))
        ));
    }
    if exchanged.headers.contains_key(header::WWW_AUTHENTICATE) {
        let challenges = crate::header::challenges(&exchanged.headers);
        for challenge in challenges {
            say(&format!("challenge {}", challenge.scheme));
        }
    }
    if let Some(flaw) = &exchanged.flaw {
        say(&format!("{flaw:?}"));
    }
    match &exchanged.interrupted {
        Some(Interrupted::Transport(error) | Interrupted::NotSent(error)) => {
            say(&format!("broke off: {error}"));
        }
        Some(Interrupted::Store(error)) => say(&format!("broke off: {error}")),
        Some(Interrupted::Damaged { .. }) => say("broke off: the stored blob is damaged"),
        Some(Interrupted::Aborted) => say("aborted"),
        None => {}
    }
    line
}

/// An address without what may be secret in it: user name, query, fragment.
fn location(text: &str) -> String {
    let text = text.split_once('#').map_or(text, |(text, _)| text);
    let (place, query) = text
        .split_once('?')
        .map_or((text, ""), |(place, _)| (place, "?***"));
    match user_info(place) {
        Some(user) => format!("{}***{}{query}", &place[..user.start], &place[user.end..]),
        None => format!("{place}{query}"),
    }
}

fn store_job(call: &StoreCall) -> String {
    let mut line = format!(
        "{} > store {}: {}",
        call.id(),
        call.store(),
        call.op().name()
    );
    if let Some(digest) = call.op().digest() {
        write!(line, " {digest}").expect("a string takes everything");
    }
    match call.op() {
        StoreOp::Hash { upto, .. } => write!(line, " up to {upto}"),
        StoreOp::Tag { name, descriptor } => {
            write!(
                line,
                " {} {}",
                name.as_deref().unwrap_or("(unnamed)"),
                descriptor.digest
            )
        }
        StoreOp::Find { name } => write!(line, " {}", name.as_deref().unwrap_or("(the only one)")),
        StoreOp::Begin { private: true, .. } => write!(line, " apart"),
        StoreOp::Import { from, .. } => write!(line, " from {from}"),
        StoreOp::Begin { .. }
        | StoreOp::Load { .. }
        | StoreOp::Put { .. }
        | StoreOp::Commit { .. }
        | StoreOp::Discard { .. }
        | StoreOp::Release { .. }
        | StoreOp::Remove { .. } => Ok(()),
    }
    .expect("a string takes everything");
    line
}

fn store_done(answer: &Result<StoreAnswer, StoreError>) -> String {
    match answer {
        Ok(StoreAnswer::Absent) => "absent".into(),
        Ok(StoreAnswer::Complete) => "complete".into(),
        Ok(StoreAnswer::Partial { len }) => format!("partial {len}"),
        Ok(StoreAnswer::Busy { len }) => format!("busy {len}"),
        Ok(StoreAnswer::Loaded(bytes)) => format!("loaded {} bytes", bytes.len()),
        Ok(StoreAnswer::Hashed(hashing)) => format!("hashed {} bytes", hashing.len()),
        Ok(StoreAnswer::Written) => "written".into(),
        Ok(StoreAnswer::Found(descriptor)) => format!("found {}", descriptor.digest),
        Ok(StoreAnswer::Several(entries)) => format!("found {} entries", entries.len()),
        Err(error) => format!("failed: {error}"),
    }
}

fn credentials(answer: &CredentialAnswer) -> &'static str {
    match answer {
        CredentialAnswer::None => "none",
        CredentialAnswer::Basic { .. } => "user name and password",
        CredentialAnswer::Bearer(_) => "token",
        CredentialAnswer::Refresh(_) => "identity token",
        CredentialAnswer::Failed(_) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_is_shown_what_is_no_secret() {
        let table = [
            ("/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/1"),
            ("/v2/a?_state=x?y", "/v2/a?***"),
            ("https://h:1/a?x#y", "https://h:1/a?***"),
            ("https://h/a#y?x", "https://h/a"),
            ("https://u:p@h/a@b", "https://***@h/a@b"),
            ("//u@p@h", "//***@h"),
            ("u@h", "u@h"),
            ("", ""),
        ];
        for (address, expected) in table {
            assert_eq!(location(address), expected);
        }
    }
}

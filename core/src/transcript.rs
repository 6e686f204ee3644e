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
//! #2 > PUT http://localhost:5000/v2/app/blobs/uploads/1 with 5 bytes of a blob from 0 <= GET http://…
//! #2 < 201 <= 200 relayed up to 5 of 5
//! ```

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use http::header;

use crate::call::{Call, Done, Exchanged, Interrupted, Job, JobId, JobResult, Payload, Received};
use crate::credential::{Access, CredentialAnswer, TimedAnswer};
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
        Job::Relay(relay) => {
            format!("{} <= {}", http_job(relay.sink()), request(relay.source()))
        }
        Job::Store(call) => store_job(call),
        Job::Credentials(call) => {
            let question = call.question();
            format!(
                "{} > credentials for {}{}, to show to {}{}",
                job.id(),
                question.registry(),
                match question.access() {
                    Access::Any => "",
                    Access::Read => ", for reading",
                    Access::Write => ", for writing",
                },
                question.recipient(),
                if question.is_again() { ", again" } else { "" }
            )
        }
    }
}

/// The line for a job that came back.
pub fn done(done: &Done) -> String {
    let id = done.id();
    match done.outcome() {
        JobResult::Http(exchanged) => format!("{id} < {}", http_done(exchanged)),
        JobResult::Relay(relayed) => {
            let (source, sink) = (http_done(&relayed.source), http_done(&relayed.sink));
            format!("{id} < {sink} <= {source}")
        }
        JobResult::Store(answer) => format!("{id} < store: {}", store_done(answer)),
        JobResult::Credentials(answer) => format!("{id} < credentials: {}", credentials(answer)),
        JobResult::Lost => format!("{id} < lost"),
    }
}

/// The line for a job that shall end soon.
pub fn abort(job: JobId) -> String {
    format!("{job} > abort")
}

/// The line for a job that gives its slot back before it ends.
pub fn yielded(job: JobId) -> String {
    format!("{job} > without a slot: it is not read")
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
        Event::Paused {
            registry,
            budget,
            after,
        } => format!(
            "* {registry} may be asked for {budget} manifests, on in {} ms",
            after.as_millis()
        ),
        Event::Served { digest, origin } => format!("* {digest} came from {origin}"),
        Event::Stored { digest, size } => format!("* stored {digest}, {size} bytes"),
        Event::Warning(warning) => format!("* warning: {warning}"),
        Event::Finished(Ok(report)) => format!("* finished {report}"),
        Event::Finished(Err(failure)) => {
            let errors: Vec<_> = failure.errors().iter().map(ToString::to_string).collect();
            format!("* failed: {}", errors.join(" | "))
        }
    }
}

fn http_job(call: &Call) -> String {
    format!("{} > {}", call.id(), request(call))
}

fn request(call: &Call) -> String {
    let request = call.request();
    let url = Url::parse(&request.uri().to_string());
    // A target that is no URL of ours is not shown at all rather than with its query.
    let target = url.map_or_else(|_| "(another target)".into(), |url| url.to_string());
    let header = |name| request.headers().get(name)?.to_str().ok();
    let mut line = format!("{} {target}", request.method());
    if let Some(range) = header(header::RANGE) {
        line += &format!(" {range}");
    }
    if let Some(value) = header(header::AUTHORIZATION) {
        // One without a scheme is a secret as a whole.
        let scheme = value.split_once(' ').map_or("***", |(scheme, _)| scheme);
        line += &format!(" ({scheme} ***)");
    }
    line + &match request.body() {
        Payload::Empty => String::new(),
        Payload::Bytes(bytes) => format!(" with {} bytes", bytes.len()),
        Payload::Body(body) => format!(" with {} bytes of a blob from {}", body.len, body.offset),
    }
}

fn http_done(exchanged: &Exchanged) -> String {
    let headers = &exchanged.headers;
    let status = exchanged.status.as_ref();
    let mut parts = alloc::vec![status.map_or("no answer", |it| it.as_str()).to_string()];
    match &exchanged.body {
        Received::Nothing => {}
        Received::Collected { bytes, cut } => {
            if headers.contains_key(header::CONTENT_TYPE) {
                parts.push(content_type(headers).unwrap_or("(no media type)").into());
            }
            let more = if *cut { " and more" } else { "" };
            parts.push(format!("{} bytes{more}", bytes.len()));
        }
        Received::Stored { to, range_end, .. } => {
            parts.push(format!("stored up to {to} of {range_end}"));
        }
        Received::Relayed { to, end, .. } => parts.push(format!("relayed up to {to} of {end}")),
    }
    if let Received::Relayed { responses, .. } = exchanged.body
        && responses > 1
    {
        parts.push(format!("in {responses} responses"));
    }
    if let Some(value) = headers.get(header::LOCATION) {
        let value = String::from_utf8_lossy(value.as_bytes());
        parts.push(format!("location {}", location(&value)));
    }
    let challenges = crate::header::challenges(headers);
    parts.extend(
        challenges
            .iter()
            .map(|it| format!("challenge {}", it.scheme)),
    );
    parts.extend(exchanged.flaw.as_ref().map(|flaw| format!("{flaw:?}")));
    parts.extend(exchanged.interrupted.as_ref().map(|it| match it {
        Interrupted::Transport(error) | Interrupted::NotSent(error) => {
            format!("broke off: {error}")
        }
        Interrupted::Store(error) => format!("broke off: {error}"),
        Interrupted::Damaged { .. } => "broke off: the stored blob is damaged".into(),
        Interrupted::Aborted => "aborted".into(),
        Interrupted::OtherCall => "ended with the other call".into(),
    }));
    let parts: Vec<_> = parts.iter().map(|it| escape(it, SHOWN)).collect();
    parts.join(" ")
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
    let op = call.op();
    let digest = op.digest().map(|digest| format!(" {digest}"));
    let detail = match op {
        StoreOp::Hash { upto, .. } => format!(" up to {upto}"),
        StoreOp::Tag { name, descriptor } => {
            let name = name.as_deref().unwrap_or("(unnamed)");
            format!(" {name} {}", descriptor.digest)
        }
        StoreOp::Find { name } => format!(" {}", name.as_deref().unwrap_or("(the only one)")),
        StoreOp::Gather { upto, .. } => match upto {
            Some(upto) => format!(" up to {upto}"),
            None => " to its end".into(),
        },
        StoreOp::Referrers { subject } => format!(" of {subject}"),
        StoreOp::AddReferrers { subject, entries } => {
            let digests = entries.iter().map(|entry| format!(" {}", entry.digest));
            format!(" of {subject}:{}", digests.collect::<String>())
        }
        StoreOp::Begin { private: true, .. } => " apart".into(),
        StoreOp::Import { from, .. } => format!(" from {from}"),
        StoreOp::Begin { .. }
        | StoreOp::Load { .. }
        | StoreOp::Put { .. }
        | StoreOp::Commit { .. }
        | StoreOp::Discard { .. }
        | StoreOp::Release { .. }
        | StoreOp::Remove { .. } => String::new(),
    };
    let (id, store, digest) = (call.id(), call.store(), digest.unwrap_or_default());
    format!("{id} > store {store}: {}{digest}{detail}", op.name())
}

fn store_done(answer: &Result<StoreAnswer, StoreError>) -> String {
    match answer {
        Ok(StoreAnswer::Absent) => "absent".into(),
        Ok(StoreAnswer::Complete) => "complete".into(),
        Ok(StoreAnswer::Partial { len }) => format!("partial {len}"),
        Ok(StoreAnswer::Extents(extents)) if extents.total() == extents.prefix() => {
            format!("partial {}", extents.prefix())
        }
        Ok(StoreAnswer::Extents(extents)) => {
            let parts = extents
                .iter()
                .map(|part| format!(" {}-{}", part.start, part.end));
            format!("partial{}", parts.collect::<String>())
        }
        Ok(StoreAnswer::Busy { len }) => format!("busy {len}"),
        Ok(StoreAnswer::Loaded(bytes)) => format!("loaded {} bytes", bytes.len()),
        Ok(StoreAnswer::Hashed(hashing)) => format!("hashed {} bytes", hashing.len()),
        Ok(StoreAnswer::Written) => "written".into(),
        Ok(StoreAnswer::Found(descriptor)) => format!("found {}", descriptor.digest),
        Ok(StoreAnswer::Gathered { size, is_whole, .. }) => {
            let more = if *is_whole { "" } else { " and more" };
            format!("gathered {size} bytes{more}")
        }
        Ok(StoreAnswer::Several(entries)) => format!("found {} entries", entries.len()),
        Ok(StoreAnswer::Referrers(entries)) => format!("{} referrers", entries.len()),
        Err(error) => format!("failed: {error}"),
    }
}

fn credentials(timed: &TimedAnswer) -> String {
    let answer = match timed.answer {
        CredentialAnswer::None => "none",
        CredentialAnswer::Basic { .. } => "user name and password",
        CredentialAnswer::Bearer(_) => "token",
        CredentialAnswer::Refresh(_) => "identity token",
        CredentialAnswer::Failed(_) => "failed",
    };
    match timed.valid_for {
        Some(valid_for) => format!("{answer}, for {} s", valid_for.as_secs()),
        None => answer.into(),
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

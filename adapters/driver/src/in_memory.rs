//! An exchange whose bodies are in memory.
//!
//! Responsible for running a call against a function. Must not know where the answer comes from.

use std::io::Read as _;
use std::sync::Arc;

use windlass_core::call::{
    Call, Done, Interrupted, Keep, Payload, TransportError, TransportErrorKind,
};
use windlass_core::http::{Method, Request, Response, header};

use crate::incoming::Incoming;
use crate::stores::Stores;

/// Runs a call against a function that takes a whole request and returns a whole answer: for tests
/// and simulations, and for HTTP libraries that hold bodies in memory anyway. The two clients do
/// not: they move bodies in pieces.
///
/// An answer that is shorter than its `Content-Length` is a connection that was cut; an error is one
/// that broke before an answer came.
///
/// # Example: the first half of a body
///
/// `README.md` has a simulation of a pull in which answers are cut by chance.
///
/// ```
/// # use std::sync::Arc;
/// # use windlass_core::{Config, Job, Output, Session, Task, Time, transcript};
/// # use windlass_core::http::Response;
/// # use windlass_driver::Stores;
/// # let mut session = Session::new(Config::default(), 1);
/// # session.start(Task::resolve("reg.example/app:v1".parse()?));
/// # let Output::Job(Job::Http(call)) = session.poll(Time::ZERO) else { panic!() };
/// let done = windlass_driver::exchange(&Arc::new(Stores::default()), call, |request| {
///     assert_eq!(request.uri(), "https://reg.example/v2/app/manifests/v1");
///     Ok(Response::builder().status(404).body("").expect("it is valid"))
/// });
/// assert!(transcript::done(&done).contains("404"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn exchange<B: AsRef<[u8]>>(
    stores: &Arc<Stores>,
    mut call: Box<Call>,
    answer: impl FnOnce(Request<Vec<u8>>) -> Result<Response<B>, TransportError>,
) -> Done {
    let request = match whole(stores, &mut call) {
        Ok(request) => request,
        Err(why) => return call.finish(Err(why)),
    };
    let asks_for_head = request.method() == Method::HEAD;
    let (head, body) = match answer(request) {
        Ok(answer) => answer.into_parts(),
        Err(error) => return call.finish(Err(Interrupted::Transport(error))),
    };
    let body = if asks_for_head { &[] } else { body.as_ref() };
    let length = head.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
    let is_cut = !asks_for_head && length.is_some_and(|length| (body.len() as u64) < length);
    let receive = call.head(Response::from_parts(head, ()));
    let mut incoming = Incoming::new(stores, call, receive);
    if incoming.wants_body() && !body.is_empty() && incoming.chunk(body) != Keep::All {
        return incoming.finish(Ok(()));
    }
    incoming.finish(if is_cut { Err(cut()) } else { Ok(()) })
}

/// The request with its body read to its end.
fn whole(stores: &Stores, call: &mut Call) -> Result<Request<Vec<u8>>, Interrupted> {
    stores.check(call.stored()).map_err(Interrupted::Store)?;
    let mut outgoing = None;
    let sent = call.request();
    let mut body = Vec::new();
    match sent.body() {
        Payload::Empty => {}
        Payload::Bytes(bytes) => body.extend_from_slice(bytes),
        Payload::Body(part) => {
            let mut reader = stores.body(part, call.outgoing())?;
            let outcome = reader.outcome();
            let read = reader.by_ref().take(part.len).read_to_end(&mut body);
            outgoing = outcome.outgoing();
            if let Err(error) = read {
                let why = outcome.failure();
                return Err(why.unwrap_or_else(|| {
                    let error = TransportError::new(TransportErrorKind::Other, error.to_string());
                    Interrupted::NotSent(error)
                }));
            }
        }
    }
    let mut request = Request::new(body);
    *request.method_mut() = sent.method().clone();
    *request.uri_mut() = sent.uri().clone();
    *request.headers_mut() = sent.headers().clone();
    if let Some(outgoing) = outgoing {
        call.sent(outgoing);
    }
    Ok(request)
}

fn cut() -> Interrupted {
    let why = "the body ended before its Content-Length";
    Interrupted::Transport(TransportError::new(TransportErrorKind::Reset, why))
}

#[cfg(test)]
mod tests {
    use windlass_core::credential::CredentialAnswer;
    use windlass_core::{
        Algorithm, Config, Descriptor, Digest, Job, Output, Platforms, Session, Task, Time,
    };
    use windlass_store::{Memory, Store};

    use super::*;

    fn answer(request: &Request<Vec<u8>>) -> Response<&'static str> {
        let status = match *request.method() {
            Method::HEAD => 404,
            Method::POST => 202,
            _ => 201,
        };
        let answer = Response::builder().status(status);
        let answer = answer.header(header::LOCATION, "/v2/app/blobs/uploads/1");
        answer.body("").expect("it is valid")
    }

    /// The hash over a blob that was sent is in the result of the request that sent it.
    #[test]
    fn a_body_brings_its_hash_home() {
        let memory = Memory::new(1 << 20);
        let put = |media_type: &str, bytes: &[u8]| {
            let digest = Digest::of(Algorithm::Sha256, bytes);
            memory.put(&digest, bytes).expect("it fits");
            Descriptor::new(media_type, digest, bytes.len() as u64)
        };
        let config = put("application/vnd.oci.image.config.v1+json", b"{}").digest;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}","layers":[],"config":{{
                "mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}}}}"#
        );
        let root = put(media_type, manifest.as_bytes());
        memory.tag(Some("v1"), &root).expect("named");

        let store: Arc<dyn Store> = Arc::new(memory);
        let stores = Arc::new(Stores::default());
        let id = stores.add(&store);
        let mut session = Session::new(Config::default(), 1);
        let to = "reg.example/app:v1".parse().expect("a reference");
        session.start(Task::push(id, None, to, Platforms::All));
        let mut sent = Vec::new();
        for _ in 0..100 {
            let done = match session.poll(Time::ZERO) {
                Output::Job(Job::Http(call)) => {
                    let is_blob = matches!(call.request().body(), Payload::Body(_));
                    let done = exchange(&stores, call, |request| Ok(answer(&request)));
                    sent.extend(is_blob.then(|| format!("{done:?}")));
                    done
                }
                Output::Job(Job::Store(call)) => stores.run(call),
                Output::Job(Job::Credentials(call)) => call.finish(CredentialAnswer::None),
                Output::Job(Job::Relay(_)) => panic!("a push relays nothing"),
                Output::Event(..) | Output::Abort(_) => continue,
                Output::Wait(_) | Output::Idle => break,
            };
            session.handle(done, Time::ZERO);
        }
        let [sent] = &*sent else {
            panic!("one blob is sent: {sent:?}");
        };
        assert!(sent.contains("hashed: Some(Hashing(2 bytes))"), "{sent}");
    }
}

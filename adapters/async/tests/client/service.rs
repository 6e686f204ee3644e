//! A client over a `tower::Service`: a registry in memory, without any socket.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, mem};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tower_service::Service;
use windlass_async::driver::AddressGuard;
use windlass_async::{
    Builder, Client, ErrorKind, Memory, Reference, ServiceBody, client_with_service,
};
use windlass_testbed::{Model, Options, image};

/// A registry that is called instead of connected to.
#[derive(Clone)]
struct InMemory {
    model: Arc<Mutex<Model>>,
    /// What the next responses do.
    next: Arc<Mutex<Vec<Does>>>,
    /// Methods and targets, with the size of each body.
    seen: Arc<Mutex<Vec<String>>>,
    is_ready: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Does {
    /// The response breaks off behind its first bytes.
    Breaks,
    /// There is no response.
    Fails,
    /// There is none, and an error of the session's says why.
    Resolves,
    /// A response never comes.
    Hangs,
}

/// A body of some bytes, and an error if it breaks off.
struct Bits {
    bytes: Bytes,
    breaks: bool,
}

impl Body for Bits {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.bytes)))));
        }
        let broken = mem::take(&mut self.breaks);
        Poll::Ready(broken.then(|| Err(io::ErrorKind::ConnectionReset.into())))
    }
}

type Answering = Pin<Box<dyn Future<Output = io::Result<Response<Bits>>> + Send>>;

impl Service<Request<ServiceBody>> for InMemory {
    type Response = Response<Bits>;
    type Error = io::Error;
    type Future = Answering;

    /// Each clone is asked for a while before it is ready, as services with a limit are.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if mem::replace(&mut self.is_ready, true) {
            return Poll::Ready(Ok(()));
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, request: Request<ServiceBody>) -> Answering {
        assert!(self.is_ready, "it is called before it is ready");
        let this = self.clone();
        Box::pin(async move {
            let (head, mut body) = request.into_parts();
            let mut bytes = Vec::new();
            while let Some(frame) =
                std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
            {
                let frame = frame.map_err(io::Error::other)?;
                bytes.extend(frame.into_data().unwrap());
            }
            let line = format!("{} {} {}", head.method, head.uri, bytes.len());
            this.seen.lock().unwrap().push(line);
            let request = Request::from_parts(head, bytes);
            let answer = this
                .model
                .lock()
                .unwrap()
                .answer(&request.into(), Duration::ZERO);
            let is_blob = answer.body.len() > 1000;
            let next = || this.next.lock().unwrap().pop();
            let does = is_blob.then(next).flatten();
            match does {
                Some(Does::Fails) => return Err(io::ErrorKind::ConnectionRefused.into()),
                Some(Does::Resolves) => {
                    let why = windlass_core::call::TransportError::new(
                        windlass_core::call::TransportErrorKind::Resolve,
                        "no such name",
                    );
                    return Err(io::Error::other(why));
                }
                Some(Does::Hangs) => std::future::pending().await,
                Some(Does::Breaks) | None => {}
            }
            Ok(Response::from(answer).map(|bytes: Bytes| match does {
                Some(_) => Bits {
                    bytes: bytes.slice(..bytes.len() / 2),
                    breaks: true,
                },
                None => Bits {
                    bytes,
                    breaks: false,
                },
            }))
        })
    }
}

fn over(builder: Builder, does: &[Does]) -> (Client, InMemory) {
    let mut model = Model::new(Options::default());
    let layer: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    model.put_image("app", Some("v1"), &image(&[layer]));
    let service = InMemory {
        model: Arc::new(Mutex::new(model)),
        next: Arc::new(Mutex::new(does.to_vec())),
        seen: Arc::default(),
        is_ready: false,
    };
    (
        client_with_service(builder, service.clone()).unwrap(),
        service,
    )
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

#[tokio::test]
async fn pulls_and_pushes_through_a_service() {
    let (client, service) = over(Client::builder(), &[]);
    let store = Memory::new(1 << 20);
    let from = reference("reg.example/app:v1");
    let pulled = client.pull(&from, store.clone()).run().await.unwrap();
    let to = reference("other.example/copied:v2");
    let pushed = client.push(store.at("v1"), &to).run().await.unwrap();
    assert_eq!(pulled.root.digest, pushed.root.digest);
    let model = service.model.lock().unwrap();
    assert!(model.tag("copied", "v2").is_some());
    let seen = service.seen.lock().unwrap();
    assert_eq!(seen[0], "GET https://reg.example/v2/app/manifests/v1 0");
    let sent = seen
        .iter()
        .any(|it| it.starts_with("PUT https://other.example/") && it.ends_with(" 300000"));
    assert!(sent, "{seen:?}");
}

/// What breaks off is gone on with, and what failed is tried again, as over connections.
#[tokio::test]
async fn a_response_that_breaks_off_is_gone_on_with() {
    let (client, service) = over(Client::builder(), &[Does::Fails, Does::Breaks]);
    let store = Memory::new(1 << 20);
    let from = reference("reg.example/app:v1");
    let report = client.pull(&from, store.clone()).run().await.unwrap();
    let blobs = service.seen.lock().unwrap();
    let blobs = blobs.iter().filter(|it| it.contains("/blobs/")).count();
    // The configuration, and three tries of the layer.
    assert_eq!(blobs, 4);
    assert_eq!(report.moved, 2);
}

#[tokio::test]
async fn an_error_of_ours_says_what_it_is() {
    let (client, _) = over(Client::builder(), &[Does::Resolves; 9]);
    let from = reference("reg.example/app:v1");
    let failure = client
        .pull(&from, Memory::new(1 << 20))
        .run()
        .await
        .unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Temporary);
    assert!(failure.to_string().contains("no such name"), "{failure}");
}

/// The limit for a response holds, and a deadline.
#[tokio::test]
async fn a_service_that_hangs() {
    let (client, _) = over(Client::builder(), &[Does::Hangs]);
    let from = reference("reg.example/app:v1");
    let pull = client.pull(&from, Memory::new(1 << 20));
    let failure = pull
        .deadline(Duration::from_millis(200))
        .run()
        .await
        .unwrap_err();
    assert!(failure.to_string().contains("deadline"), "{failure}");
}

/// An address in a reference is judged without connections, too.
#[tokio::test]
async fn addresses_in_urls_are_judged() {
    let builder = Client::builder().addresses(AddressGuard::public_only());
    let (client, service) = over(builder, &[]);
    let from = reference("169.254.169.254/app:v1");
    let failure = client.resolve(&from).run().await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Refused, "{failure}");
    assert_eq!(service.seen.lock().unwrap().len(), 0);
}

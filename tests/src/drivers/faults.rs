//! A server with faults.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use windlass_testbed::{Answer, Delivery, Interceptor, Model, Request, Server};

type Before = dyn Fn(&Request, usize) -> Option<Delivery> + Send + Sync;
type Deliver = dyn Fn(&Request, usize, Answer) -> Delivery + Send + Sync;

/// Faults of requests and responses; counts concurrent requests.
#[derive(Default)]
pub struct Faults {
    before: Option<Box<Before>>,
    deliver: Option<Box<Deliver>>,
    early: bool,
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Faults {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What happens after the head of a request: see [`Interceptor::before`].
    #[must_use]
    pub fn before(
        mut self,
        act: impl Fn(&Request, usize) -> Option<Delivery> + Send + Sync + 'static,
    ) -> Self {
        self.before = Some(Box::new(act));
        self
    }

    /// What happens to answers: see [`Interceptor::deliver`].
    #[must_use]
    pub fn deliver(
        mut self,
        act: impl Fn(&Request, usize, Answer) -> Delivery + Send + Sync + 'static,
    ) -> Self {
        self.deliver = Some(Box::new(act));
        self
    }

    /// Refusals come before the body is read.
    #[must_use]
    pub const fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// The most requests that were open at once, from their heads to the begin of their answers.
    pub fn most_open(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

impl Interceptor for Faults {
    fn before(&self, request: &Request, nth: usize) -> Option<Delivery> {
        let instead = self.before.as_ref().and_then(|act| act(request, nth));
        if instead.is_none() {
            let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(open, Ordering::SeqCst);
        }
        instead
    }

    fn early(&self, _: &Request, _: usize) -> bool {
        self.early
    }

    fn deliver(&self, request: &Request, nth: usize, answer: Answer) -> Delivery {
        let delivery = match &self.deliver {
            Some(act) => act(request, nth, answer),
            None => answer.into(),
        };
        self.open.fetch_sub(1, Ordering::SeqCst);
        delivery
    }
}

/// Serves a model with these faults.
pub fn serve(model: Model, faults: Faults) -> (Server, Arc<Faults>) {
    let faults = Arc::new(faults);
    let interceptor: Arc<dyn Interceptor> = Arc::<Faults>::clone(&faults);
    let server = Server::start_with(model, interceptor).unwrap();
    (server, faults)
}

/// Whether a request gets a blob, wherever it is stored.
pub fn gets_blob(request: &Request) -> bool {
    let blob = request.target.contains("/blobs/sha256:") || request.target.starts_with("/bucket/");
    request.method == "GET" && blob
}

/// Whether a request brings the bytes of a blob.
pub fn puts_blob(request: &Request) -> bool {
    request.target.contains("/blobs/uploads/") && matches!(request.method.as_str(), "PUT" | "PATCH")
}

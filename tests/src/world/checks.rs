//! What must be true in every run.
//!
//! Responsible for slots and secrets; the order of outputs is checked where they are taken.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use windlass_core::call::{Call, Payload};
use windlass_testbed::{Model, Request};

use super::World;

impl World {
    /// Contract 4. Token requests hold no slot; one registry's storage counts for it.
    pub(super) fn check_outside(&self) {
        let mut outside = BTreeMap::<Option<&usize>, u32>::new();
        for job in self.outside.iter().chain(&self.hanging) {
            if self.yielded.contains(&job.id()) {
                continue;
            }
            for call in job.calls() {
                let uri = call.request().uri();
                if let Some(host) = uri.authority().filter(|_| !uri.path().ends_with("/token")) {
                    let host = outside.entry(self.hosts.get(host.as_str()));
                    *host.or_default() += 1;
                }
            }
        }
        let most = outside.into_values().max().unwrap_or(0);
        assert!(most <= self.most, "{most} outside, {} allowed", self.most);
    }

    /// No request carries a secret that belongs to another host.
    pub(super) fn check_request(&self, call: &Call, request: &Request) {
        let mut seen = format!("{} {}\n", request.host, request.target);
        for (name, value) in &request.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            writeln!(seen, "{name}: {value}").expect("a string takes everything");
        }
        if matches!(call.request().body(), Payload::Bytes(_)) {
            seen.push_str(&String::from_utf8_lossy(&request.body));
        }
        for guarded in &self.guarded {
            let leaks = seen.contains(&guarded.secret) && !guarded.hosts.contains(&request.host);
            assert!(!leaks, "a secret goes to {}", request.host);
        }
        for (place, model) in self.models.iter().enumerate() {
            let first =
                self.hosts.get(&request.host) == Some(&place) && request.target.starts_with("/v2/");
            let leaks = model.tokens().keys().any(|token| seen.contains(token));
            assert!(first || !leaks, "a token goes to {}", request.host);
        }
        let encrypted = call.request().uri().scheme_str() == Some("https");
        assert!(
            encrypted || !seen.contains("authorization:"),
            "in the clear"
        );
    }

    /// Nothing that was or can be printed has a secret in it.
    pub(super) fn check_secrets(&self) {
        self.check_text(&self.transcript());
        self.check_text(&format!("{:?}", self.session));
    }

    /// The tape has no secret, and its replay says what happened.
    pub(super) fn check_tape(&self) {
        let tape = self.tape();
        self.check_text(&tape);
        let replay = windlass_core::tape::replay(&tape);
        assert_eq!(replay.end, Ok(()), "{tape}");
        let lines = self.lines[self.taped_from..].iter();
        // Time passing and the tests' own doings are not the session's.
        let said = lines.filter(|line| !line.starts_with('~') && !line.ends_with(" cancel"));
        let said: Vec<_> = said.cloned().collect();
        crate::tapes::assert_tells(&replay.lines, &said);
    }

    pub(super) fn check_text(&self, text: &str) {
        let issued = self.models.iter().flat_map(Model::secrets);
        let guarded = self.guarded.iter().map(|guarded| guarded.secret.clone());
        for secret in issued.chain(guarded) {
            assert!(!text.contains(&secret), "a secret is shown in: {text}");
        }
    }
}

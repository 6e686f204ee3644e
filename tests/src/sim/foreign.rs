//! Foreign layers: those that are not to be distributed, or that are to be had elsewhere.
//!
//! Responsible for drawing them and their URLs, for the host that serves them, and for the oracles about
//! them. That no credentials and no request to a private address follow from their URLs is `oracles`'.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use windlass_core::event::SkipReason;
use windlass_core::{Digest, Event, Report, TaskId};
use windlass_testbed::{Answer, Image, Model, OCI_LAYER, Request};

use super::choose::Choose;
use super::plan::{Planned, SOURCES, small};
use super::world::World;
use crate::world::scenes::{FOREIGN, NONDISTRIBUTABLE, digest, with_manifest};

/// In the query of a URL that leads to a registry.
pub(crate) const AT_REGISTRY: &str = "foreign-url=1";

/// A foreign layer of an image.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) digest: Digest,
    /// Its media type is an ordinary one: registries want to have it.
    pub(crate) wanted: bool,
    /// Registries and stores that are read from have it.
    pub(crate) held: bool,
    /// One of its URLs leads to it.
    pub(crate) reachable: bool,
}

/// Where a URL leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Where {
    /// To the layer.
    Here,
    /// To a redirect to it.
    Redirected,
    /// To a 404.
    Gone,
    /// To a 401 with a challenge.
    Asks,
    /// To a private address.
    Private,
    /// To a redirect to one.
    Inward,
    /// To a registry, which may have it, and may want to know who asks.
    Registry,
}

/// The image with a foreign layer, one time in four, as the picture of this number.
pub(crate) fn perhaps(
    choose: &mut dyn Choose,
    image: Image,
    picture: usize,
) -> (Image, Vec<Layer>) {
    if choose.below(4) < 3 {
        return (image, Vec::new());
    }
    let at = small(choose, image.layers.len());
    let media_type = [FOREIGN, NONDISTRIBUTABLE, OCI_LAYER][small(choose, 3)];
    let wanted = media_type == OCI_LAYER;
    let digest = digest(&image.layers[at]);
    let urls = small(choose, 4).max(usize::from(wanted));
    let places: Vec<Where> = (0..urls).map(|_| place(choose)).collect();
    let urls = places.iter().map(|place| {
        let host = choose.below(2);
        url(*place, host, SOURCES[picture % SOURCES.len()], &digest)
    });
    let urls: Vec<Value> = urls.map(Value::from).collect();
    let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("a manifest");
    let layer = &mut manifest["layers"][at];
    layer["mediaType"] = media_type.into();
    if !urls.is_empty() {
        layer["urls"] = urls.into();
    }
    let layer = Layer {
        digest,
        wanted,
        held: wanted || choose.below(2) == 0,
        reachable: places
            .iter()
            .any(|it| matches!(it, Where::Here | Where::Redirected)),
    };
    (with_manifest(&image, &manifest), vec![layer])
}

fn place(choose: &mut dyn Choose) -> Where {
    [
        Where::Here,
        Where::Here,
        Where::Redirected,
        Where::Gone,
        Where::Asks,
        Where::Private,
        Where::Inward,
        Where::Registry,
    ][small(choose, 8)]
}

fn url(place: Where, host: u64, repository: &str, digest: &Digest) -> String {
    let at = |name: &str| format!("https://far{host}.example/v2/{name}/blobs/{digest}");
    match place {
        Where::Here => at("here"),
        Where::Redirected => at("redirected"),
        Where::Gone => at("gone"),
        Where::Asks => at("asks"),
        Where::Inward => at("inward"),
        Where::Private => format!("https://192.168.7.{host}/{digest}"),
        Where::Registry => {
            format!("https://reg{host}.example/v2/{repository}/blobs/{digest}?{AT_REGISTRY}")
        }
    }
}

/// Whether a request goes to a foreign URL, or to where one has led.
pub(crate) fn is_foreign(host: &str, target: &str) -> bool {
    host.starts_with("far") || target.contains(AT_REGISTRY)
}

/// What the foreign host has.
pub(crate) fn host<'a>(images: impl Iterator<Item = &'a Image>) -> Model {
    let mut model = Model::default();
    for layer in images.flat_map(|image| &image.layers) {
        model.put_blob("here", layer.clone());
    }
    model
}

/// What the foreign host answers.
pub(crate) fn answer(model: &mut Model, request: &Request, now: Duration) -> Answer {
    let is_at = |name: &str| request.target.starts_with(&format!("/v2/{name}/"));
    let redirect = |to: String| Answer::new(StatusCode::FOUND).header("location", to);
    if is_at("redirected") {
        return redirect(request.target.replace("/redirected/", "/here/"));
    }
    if is_at("inward") {
        return redirect("https://10.1.2.3/layer".into());
    }
    if is_at("asks") {
        let answer = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who is asking?");
        let realm = format!("https://{}/token", request.host);
        return answer
            .header("www-authenticate", "Basic realm=\"x\"")
            .header(
                "www-authenticate",
                format!("Bearer realm=\"{realm}\",service=\"x\""),
            );
    }
    model.answer(request, now)
}

impl World<'_> {
    /// A task tells that it leaves a layer out.
    pub(crate) fn watch_left_out(&mut self, process: usize, id: TaskId, event: &Event) {
        if let Event::Skipped { digest, why, .. } = event
            && *why == SkipReason::Nondistributable
        {
            let told = &mut self.processes[process].watch.left_out;
            told.entry(id).or_default().insert(digest.clone());
        }
    }

    /// A task is good: it has told which layers it left out, and left out no others.
    pub(crate) fn check_left_out(
        &mut self,
        process: usize,
        id: TaskId,
        at: usize,
        report: &Report,
    ) {
        let told = self.processes[process].watch.left_out.remove(&id);
        let (told, task) = (told.unwrap_or_default(), self.plan.tasks[at]);
        let picture = &self.plan.pictures[task.picture];
        if report.root.digest != picture.root(task.one) {
            // The tag has moved to another image.
            return;
        }
        let set = |is: &dyn Fn(&&Layer) -> bool| -> BTreeSet<Digest> {
            let layers = picture.foreign(task.one).filter(is);
            layers.map(|layer| layer.digest.clone()).collect()
        };
        let foreign = set(&|_| true);
        let moved = picture.moved(&task);
        // What a registry demands is sent after all, and it may have the manifest already.
        let left_out = set(&|layer| !moved.contains_key(&layer.digest));
        let said = report.left_out_layers.iter();
        let said: BTreeSet<Digest> = said.map(|layer| layer.digest.clone()).collect();
        let moves_all = task.included || task.operation.moves_nothing();
        let must = task
            .disk()
            .map_or_else(|| told.clone(), |_| foreign.clone());
        let must: BTreeSet<Digest> = must.intersection(&left_out).cloned().collect();
        let good = said.is_subset(&told)
            && told.is_subset(&foreign)
            && must.is_subset(&said)
            && said.len() as u64 == report.left_out
            && (told.is_empty() || !moves_all);
        self.check(good, || {
            format!("foreign: task {at} of {foreign:?} told {told:?} and reported {said:?}")
        });
    }

    /// At the end: who was to bring foreign layers along has done so.
    pub(crate) fn check_foreign(&mut self, at: usize, task: &Planned) {
        let picture = &self.plan.pictures[task.picture];
        if !task.included || task.operation.moves_nothing() {
            return;
        }
        let model = &self.models[task.destination()];
        let is_there = |layer: &Layer| match task.disk() {
            Some(disk) => self.disks[disk].memory.bytes(&layer.digest).is_some(),
            None => {
                let digest = windlass_testbed::Digest::parse(layer.digest.as_str());
                let digest = digest.expect("a digest");
                // A manifest is taken without them, so that one was vouched for in vain is never known.
                model.options().vouches || model.blob_bytes(task.written(), &digest).is_some()
            }
        };
        let missing = picture.foreign(task.one).find(|layer| !is_there(layer));
        let missing = missing.map(|layer| layer.digest.clone());
        self.check(missing.is_none(), || {
            format!("foreign: task {at} was to bring {missing:?} along")
        });
    }
}

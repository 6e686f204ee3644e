//! What each oracle would say.

use http::Method;
use windlass_core::call::{Done, Payload};
use windlass_core::tape::TapeSink as _;
use windlass_core::{
    Descriptor, Error, Event, Failure, Job, Output, Reference, Session, StoreError, StoreErrorKind,
    Task, Time, Totals,
};
use windlass_store::Store as _;
use windlass_testbed::{Answer, OCI_MANIFEST, Request, image_for};

use super::*;
use crate::sim::choose::List;
use crate::sim::ending::{COST, budget, unmounted};
use crate::sim::exchange::RequestKind;
use crate::sim::exchange::tests::next_request;
use crate::sim::plan::{DESTINATIONS, Plan};
use crate::sim::secrets::mark;
use crate::sim::watch::Watch;
use crate::sim::world::{JobState, Ran, Running};
use crate::tapes::Lines;
use crate::world::scenes::{digest, small};

/// What a world says in which this was done.
#[track_caller]
fn said(operation: Operation, act: impl FnOnce(&mut World<'_>)) -> String {
    let mut choose = List::new(&[]);
    let mut world = World::new(Plan::tiny(operation, Access::Bearer), &mut choose);
    act(&mut world);
    world.violation.expect("the oracle says something")
}

/// Goes on until a request is about to leave; that one.
fn request(world: &mut World<'_>) -> Box<Call> {
    next_request(world).expect("there is a request")
}

fn holding(slot: Option<usize>, call: Box<Call>) -> Running {
    Running {
        id: call.id(),
        work: JobState::ToDo(Box::new(Job::Http(call))),
        slots: slot.into_iter().collect(),
        token: None,
        question: false,
        stored: 0,
        echo: false,
        unwanted: false,
    }
}

fn failure() -> Failure {
    let error = StoreError::new(StoreErrorKind::Io, "planned");
    Failure::new(vec![Error::Store(error)])
}

#[test]
fn bytes_that_are_not_what_their_name_says() {
    let said = said(Operation::Pull, |world| {
        world.disks[1].memory.blob(&digest(b"right"), b"wrong");
        world.check_disks();
    });
    assert!(said.ends_with("has other bytes"), "{said}");
}

#[test]
fn a_partial_that_nobody_gives_back() {
    let said = said(Operation::Pull, |world| {
        let begun = world.disks[1].begin(&digest(b"x"), 1);
        world.check_disks();
        drop(begun);
    });
    assert!(said.ends_with("is still open"), "{said}");
}

#[test]
fn a_blob_that_is_committed_twice() {
    let said = said(Operation::Pull, |world| {
        for _ in 0..2 {
            let begun = world.disks[1].begin(&digest(b"x"), 2);
            let Ok(windlass_store::Begun::Ours(mut partial)) = begun else {
                continue;
            };
            partial.append(b"x").unwrap();
            partial.commit().unwrap();
            world.after_step();
        }
    });
    assert!(said.ends_with("was committed twice"), "{said}");
}

#[test]
fn names_after_a_failed_sync() {
    let image = small();
    let root = Descriptor::new(OCI_MANIFEST, digest(&image.manifest), 7);
    let layer = digest(&image.layers[0]);
    let acts: [&dyn Fn(&mut World<'_>); 3] = [
        // Of the blob itself.
        &|world| world.disks[1].memory.blob(&layer, &image.layers[0]),
        // Of a document that it is a part of.
        &|world| world.disks[1].put(&root.digest, &image.manifest).unwrap(),
        // Of an image, whose document was there before.
        &|world| {
            world.disks[1].memory.blob(&root.digest, &image.manifest);
            world.disks[1].tag(Some("t0"), &root).unwrap();
        },
    ];
    for act in acts {
        let said = said(Operation::Pull, |world| {
            world.disks[1].notes().sync_fails = true;
            let begun = world.disks[1].begin(&layer, image.layers[0].len() as u64);
            let Ok(windlass_store::Begun::Ours(mut partial)) = begun else {
                panic!("nobody else has it");
            };
            partial.append(&image.layers[0]).unwrap();
            partial.commit().unwrap_err();
            world.disks[1].notes().sync_fails = false;
            world.after_step();
            assert_eq!(world.violation, None);
            act(world);
            world.after_step();
        });
        assert!(said.starts_with("durable: sha256:"), "{said}");
        assert!(said.ends_with("could not be synced"), "{said}");
    }
}

#[test]
fn a_manifest_before_its_blobs() {
    let image = small();
    let said = said(Operation::Pull, |world| {
        let name = digest(&image.manifest);
        world.disks[1].put(&name, &image.manifest).unwrap();
        world.after_step();
    });
    assert!(said.contains("was put into a store, but sha256:"), "{said}");
}

#[test]
fn a_name_before_what_it_stands_for() {
    let said = said(Operation::Pull, |world| {
        let root = Descriptor::new(OCI_MANIFEST, digest(b"nothing"), 7);
        world.disks[2].tag(Some("t0"), &root).unwrap();
        world.after_step();
    });
    assert!(
        said.starts_with("names: Some(\"t0\") is named, but sha256:"),
        "{said}"
    );
}

#[test]
fn content_that_goes_away() {
    let said = said(Operation::Pull, |world| {
        world.disks[1].remove(&digest(b"x")).unwrap();
        world.after_step();
    });
    assert!(
        said.ends_with("was removed from where it was to stay"),
        "{said}"
    );
}

/// Also, and above all, where the registry does not look itself.
#[test]
fn a_manifest_before_its_blobs_in_a_registry_that_does_not_look() {
    let image = small();
    for (reference, what) in [("t0", "t0"), (image.digest.as_str(), "a manifest")] {
        let said = said(Operation::Push, |world| {
            let options = world.models[1].options_mut();
            options.check_references = false;
            options.auth = windlass_testbed::Auth::Open;
            let target = format!("/v2/dst/two/manifests/{reference}");
            let mut request =
                Request::new(Method::PUT, "reg1.example", target).body(image.manifest.clone());
            let value = http::HeaderValue::from_static(OCI_MANIFEST);
            request.headers.insert("content-type", value);
            let answer = world.models[1].answer(&request, Duration::ZERO);
            assert_eq!(answer.status, 201);
            world.after_request(&request);
        });
        let expected = format!("names: reg1/dst/two has {what}, but sha256:");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn a_secret_that_is_shown() {
    let secret = format!("{}token.1.abc", mark(0));
    let said = said(Operation::Pull, |world| {
        world.line(format!("why not: {secret}"))
    });
    assert!(said.starts_with("secrets: one is shown"), "{said}");
}

#[test]
fn a_secret_that_goes_to_somebody_else() {
    let secret = format!("{}password", mark(0));
    let said = said(Operation::Pull, |world| {
        let call = request(world);
        let target = format!("/x?leaked={secret}");
        let leak = Request::new(Method::GET, "reg1.example", target);
        world.check_request(&call, &leak);
    });
    assert!(
        said.starts_with("secrets: GET reg1.example gets Found"),
        "{said}"
    );
}

#[test]
fn a_private_address() {
    let said = said(Operation::Pull, |world| {
        let call = request(world);
        let leak = Request::new(Method::GET, "169.254.169.254", "/latest");
        world.check_request(&call, &leak);
    });
    assert_eq!(said, "hops: 169.254.169.254 is private");
}

#[test]
fn more_at_once_than_is_allowed() {
    let said = said(Operation::Pull, |world| {
        for _ in 0..2 {
            let call = request(&mut World::new(
                Plan::tiny(Operation::Pull, Access::Open),
                &mut List::new(&[]),
            ));
            world.processes[0].running.push(holding(Some(0), call));
        }
        world.check_slots(0);
    });
    assert_eq!(said, "slots: 2 exchanges with reg0 outside, 1 allowed");
}

/// Goes on until a request of this sort is about to leave; that one.
fn next(world: &mut World<'_>, wanted: impl Fn(&Call) -> bool) -> Box<Call> {
    loop {
        let call = request(world);
        if wanted(&call) {
            return call;
        }
        if let Ran::Done(done) = world.http(0, call, false) {
            world.call(0, |session| session.handle(done, Time::ZERO));
        }
    }
}

/// A request for a token.
fn token(world: &mut World<'_>) -> Box<Call> {
    next(world, |call| call.request().uri().path() == "/token")
}

/// Single flight.
#[test]
fn a_token_that_is_asked_for_twice() {
    let again = said(Operation::Pull, |world| {
        let call = token(world);
        world.check_job(0, &call);
    });
    assert_eq!(
        again,
        "single flight: a token is asked for again, though nothing went wrong"
    );
    let at_once = said(Operation::Pull, |world| {
        let call = token(world);
        let (_, token) = world.check_job(0, &call);
        world.violation = None;
        world.processes[0].running.push(Running {
            id: call.id(),
            work: JobState::Done(Done::lost(call.id())),
            slots: Vec::new(),
            token,
            question: false,
            stored: 0,
            echo: false,
            unwanted: false,
        });
        world.check_job(0, &call);
    });
    assert_eq!(
        at_once,
        "single flight: a token is asked for twice at once: /token"
    );
}

/// A request that presents a token.
fn with_token(world: &mut World<'_>) -> Box<Call> {
    next(world, |call| {
        let presented = call.request().headers().get(http::header::AUTHORIZATION);
        presented.is_some_and(|it| it.as_bytes().starts_with(b"Bearer "))
    })
}

#[test]
fn another_token_though_the_first_was_not_refused() {
    let said = said(Operation::Pull, |world| {
        let call = token(world);
        let answer = Answer::new(http::StatusCode::OK).body(r#"{"token":"t"}"#);
        world.watch_token(0, &call, &answer);
        world.processes[0].watch.lose_ages();
        world.check_fetch(0, &call);
        assert_eq!(world.violation, None, "it may have expired");
        world.watch_token(0, &call, &answer);
        world.check_fetch(0, &call);
    });
    assert_eq!(
        said,
        "single flight: a token is fetched though the one that is there was not refused"
    );
}

#[test]
fn a_request_with_a_token_that_was_refused_for_it() {
    let said = said(Operation::Pull, |world| {
        let call = with_token(world);
        let answer = Answer::new(http::StatusCode::UNAUTHORIZED);
        world.watch_answer(0, &call, RequestKind::GetManifest, 0, &answer);
        world.check_useless(0, &call);
    });
    assert!(said.starts_with("economy: GET https://reg0"), "{said}");
    assert!(said.ends_with("a token that was refused for it"), "{said}");
}

#[test]
fn an_address_that_is_gone_to_twice() {
    let said = said(Operation::Pull, |world| {
        let request = Request::new(Method::GET, "store0.example", "/bucket/a/data?X-Sig=b");
        world.check_address(0, &request);
        assert_eq!(world.violation, None, "once is right");
        world.check_address(0, &request);
    });
    assert_eq!(said, "hops: /bucket/a/data?X-Sig=b is gone to twice");
}

#[test]
fn a_registry_that_asked_for_patience_and_gets_none() {
    let too_early = said(Operation::Pull, |world| {
        let call = request(world);
        let answer = Answer::new(http::StatusCode::TOO_MANY_REQUESTS).header("retry-after", "7");
        world.watch_answer(0, &call, RequestKind::GetManifest, 0, &answer);
        world.watch_end(0, call.id(), Time::ZERO);
        world.check_patience(0, &call, 1);
        assert_eq!(world.violation, None, "it is another registry");
        world.check_patience(0, &call, 0);
    });
    assert_eq!(too_early, "patience: reg0 is asked 7s too early");
    let (soon, late) = (Duration::from_secs(1), Duration::from_secs(86_400));
    for (attempt, after) in [(5, soon), (1, late)] {
        let said = said(Operation::Pull, |world| {
            world.check_retry(1, soon);
            assert_eq!(world.violation, None, "it may try again");
            world.check_retry(attempt, after);
        });
        assert!(said.starts_with("patience: attempt"), "{said}");
    }
}

#[test]
fn a_registry_that_is_told_who_asks_and_did_not_want_to_know() {
    let said = said(Operation::Pull, |world| {
        let call = with_token(world);
        world.processes[0].watch = Watch::default();
        world.check_challenged(0, &call, 0);
    });
    assert_eq!(
        said,
        "secrets: reg0 is told who asks before it wants to know"
    );
}

#[test]
fn credentials_that_are_asked_for_twice() {
    let said = said(Operation::Pull, |world| {
        let mut session = Session::new(world.plan.config(), 0);
        let reference = "reg0.example/src/app:p0".parse::<Reference>().unwrap();
        session.start(Task::resolve(reference));
        loop {
            match session.poll(Time::ZERO) {
                Output::Job(Job::Http(call)) => {
                    if let Ran::Done(done) = world.http(0, call, false) {
                        session.handle(done, Time::ZERO);
                    }
                }
                Output::Job(Job::Credentials(call)) => {
                    world.check_question(0, &call);
                    assert_eq!(world.violation, None, "once is right");
                    return world.check_question(0, &call);
                }
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(
        said.starts_with("single flight: credentials for reg0"),
        "{said}"
    );
}

#[test]
fn an_event_of_a_task_that_is_over() {
    let said = said(Operation::Pull, |world| {
        let id = *world.processes[0].tasks.keys().next().unwrap();
        for _ in 0..2 {
            // That it fails is wrong, too.
            world.violation = None;
            world.take_event(0, id, Event::Finished(Err(failure())));
        }
    });
    assert!(said.starts_with("finished: task0 is over"), "{said}");
}

#[test]
fn a_task_that_is_over_before_its_jobs_are() {
    let said = said(Operation::Pull, |world| {
        let call = request(world);
        world.processes[0].running.push(holding(Some(0), call));
        let id = *world.processes[0].tasks.keys().next().unwrap();
        world.processes[0].tasks.clear();
        world.check_left(0, id);
    });
    assert_eq!(
        said,
        "finished: task0 is over, but Some(JobId(0)) is outside"
    );
}

#[test]
fn totals_that_do_not_add_up() {
    let said = said(Operation::Pull, |world| {
        let id = *world.processes[0].tasks.keys().next().unwrap();
        let mut totals = Totals::default();
        totals.known.blobs = 2;
        totals.moved.blobs = 2;
        world.check_sums(id, Totals::default(), totals);
        assert_eq!(world.violation, None, "all of them were moved");
        totals.mounted.blobs = 1;
        world.check_sums(id, Totals::default(), totals);
    });
    assert!(said.starts_with("totals: task0 had"), "{said}");
}

#[test]
fn a_job_that_is_aborted_and_is_not_outside() {
    let said = said(Operation::Pull, |world| {
        let call = request(world);
        world.abort(0, call.id());
    });
    assert_eq!(said, "jobs: #0 is to be aborted and is not outside");
}

#[test]
fn an_instant_that_has_passed() {
    let said = said(Operation::Pull, |world| {
        let now = Time::from_micros(5);
        world.check_wait(Time::from_micros(6), now);
        assert_eq!(world.violation, None);
        world.check_wait(now, now);
    });
    assert!(said.starts_with("waits: "), "{said}");
}

#[test]
fn other_bytes_that_are_sent() {
    let said = said(Operation::Push, |world| {
        let call = next(world, |call| *call.request().method() == Method::PUT);
        let Payload::Body(body) = call.request().body() else {
            panic!("a blob is sent");
        };
        world.check_sent(body, b"other");
    });
    assert!(said.ends_with("was sent with other bytes"), "{said}");
}

#[test]
fn other_bytes_that_are_committed() {
    let said = said(Operation::Pull, |world| {
        // The store in memory does not let it happen.
        world.disks[1].notes().unverified = Some(digest(b"right"));
        world.after_step();
    });
    assert!(
        said.starts_with("integrity: other bytes were committed"),
        "{said}"
    );
}

#[test]
fn a_blob_that_is_written_twice_at_once() {
    let said = said(Operation::Pull, |world| {
        world.disks[1].notes().apart = 1;
        world.after_step();
    });
    assert!(
        said.starts_with("commits: a blob is written twice"),
        "{said}"
    );
}

#[test]
fn other_bytes_in_a_registry() {
    let said = said(Operation::Pull, |world| {
        let named = windlass_testbed::Digest::sha256(b"right");
        world.models[0].put_damaged_blob(DESTINATIONS[0], &named, b"wrong".to_vec());
        world.check_registries();
    });
    assert!(said.ends_with("has other bytes in a registry"), "{said}");
}

#[test]
fn a_spool_that_is_not_cleared() {
    let said = said(Operation::CopyBetween, |world| {
        world.processes[0].spool.memory.blob(&digest(b"x"), b"x");
        world.check_disks();
    });
    assert!(said.ends_with("is still in a spool"), "{said}");
}

#[test]
fn more_requests_than_were_needed_the_second_time() {
    let said = said(Operation::Resolve, |world| {
        while world.step() {}
        world.expect_little();
        world.check_economy();
        assert_eq!(world.violation, None);
        world.economy.requests += 50;
        world.check_economy();
    });
    assert!(said.contains("requests, the second time"), "{said}");
}

#[test]
fn trouble_that_nobody_made() {
    let said = said(Operation::Pull, |world| {
        world.check_blame("GET https://reg0.example/v2/: connection lost");
    });
    assert!(said.starts_with("blame: nothing explains: GET"), "{said}");
}

#[test]
fn more_bytes_than_were_needed() {
    let said = said(Operation::Push, |world| {
        world.economy.sent = world.economy.needed + 1;
        world.check_economy();
    });
    assert!(said.ends_with("would have done"), "{said}");
}

/// A PATCH stores nothing: a process that dies before it has closed the session leaves the blob to be
/// sent again.
#[test]
fn a_patch_whose_session_was_not_closed_may_be_sent_again() {
    let mut plan = Plan::tiny(Operation::Push, Access::Bearer);
    plan.settings[0].options.uploads.put_bodies = false;
    let large = vec![b'x'; usize::try_from(ASKS_FROM).unwrap()];
    plan.pictures = vec![Picture::new(vec![image_for("linux/amd64", &[large])], None)];
    let mut choose = List::new(&[]);
    let mut world = World::new(plan, &mut choose);
    let is_put = |call: &Call, to: &str| {
        let path = call.request().uri().path();
        call.request().method() == Method::PUT && path.contains(to)
    };
    let closes = |call: &Call| is_put(call, "/uploads/") && call.transfer().is_none();
    let _not_sent = next(&mut world, closes);
    world.crash(0, Fault::Crash);
    let _manifest = next(&mut world, |call| is_put(call, "/manifests/"));
    world.check_economy();
    assert_eq!(world.violation, None);
}

#[test]
fn more_requests_than_were_needed() {
    for faults in [0, 1] {
        let said = said(Operation::Pull, |world| {
            let most = budget(&world.plan).unwrap() + faults * COST;
            (0..faults).for_each(|_| world.fire(Fault::Cut));
            world.economy.requests = most;
            world.check_requests();
            assert_eq!(world.violation, None);
            world.economy.requests = most + 1;
            world.check_requests();
        });
        assert!(said.starts_with("economy: "), "{said}");
    }
}

/// One mount that is refused costs the others of the same repository, too.
#[test]
fn a_refused_mount_has_all_blobs_sent() {
    let said = said(Operation::CopyWithin, |world| {
        world.fire(Fault::RefusedMount);
        let most = budget(&world.plan).unwrap() + unmounted(&world.plan) + COST;
        world.economy.requests = most;
        world.check_requests();
        assert_eq!(world.violation, None);
        world.economy.requests = most + 1;
        world.check_requests();
    });
    assert!(said.starts_with("economy: "), "{said}");
}

/// A registry that forgets a token which it has not taken yet refuses it, as far as a client can tell,
/// whatever it has taken before.
#[test]
fn a_new_token_that_is_forgotten_is_refused() {
    for is_new in [false, true] {
        let mut choose = List::new(&[]);
        let plan = Plan::tiny(Operation::Push, Access::Bearer);
        let mut world = World::new(plan, &mut choose);
        let call = with_token(&mut world);
        if is_new {
            let answer = Answer::new(http::StatusCode::OK).body(r#"{"token":"new"}"#);
            world.watch_token(0, &call, &answer);
        }
        assert!(matches!(world.http(0, call, false), Ran::Done(_)));
        world.watch_fault(0, 0, RequestKind::Head, Fault::Revoked);
        assert_eq!(world.passes(), !is_new);
    }
}

#[test]
fn a_task_that_fails_for_no_reason() {
    let said = said(Operation::Pull, |world| {
        world.check_result(0, &Err(failure()))
    });
    assert!(
        said.starts_with("liveness: nothing stands in its way, but task 0"),
        "{said}"
    );
}

#[test]
fn a_task_that_stands_still() {
    let said = said(Operation::Pull, |world| {
        let _lost = request(world);
        while world.violation.is_none() {
            assert!(world.step());
        }
    });
    assert_eq!(said, "ends: nothing happens any more");
}

#[test]
fn a_resumed_task_that_ends_with_something_else() {
    let said = said(Operation::Pull, |world| {
        while world.results[0].is_none() {
            assert!(world.step());
        }
        let result = world.results[0].clone().unwrap();
        let pinned = digest(b"what it was resumed with");
        world.check_pinned(0, pinned.as_str(), &result);
    });
    assert!(
        said.starts_with("checkpoint: task 0 was resumed with sha256:"),
        "{said}"
    );
}

#[test]
fn a_task_that_a_checkpoint_has_forgotten() {
    let said = said(Operation::Pull, |world| {
        let id = *world.processes[0].tasks.keys().next().unwrap();
        world.processes[0].ending.insert(id);
        while world.violation.is_none() {
            assert!(world.step());
        }
    });
    assert!(
        said.starts_with("checkpoint: task0 was not in one, and goes on"),
        "{said}"
    );
}

/// A session that keeps what is over: it has tasks that nobody asked for.
#[test]
fn a_session_that_holds_more_than_it_may() {
    let said = said(Operation::Pull, |world| {
        for n in 0..2000 {
            let reference: Reference = format!("reg0.example/kept/n{n}:v1").parse().unwrap();
            world.call(0, |session| session.start(Task::resolve(reference)));
        }
        let process = world.processes.remove(0);
        world.bury(process);
    });
    assert!(
        said.starts_with("memory: a session with 1 unfinished tasks held "),
        "{said}"
    );
}

#[test]
fn a_call_that_takes_more_than_it_may() {
    let said = said(Operation::Pull, |world| {
        world.call(0, |session| {
            let taken = std::hint::black_box(vec![0_u8; 8 << 20]);
            assert!(matches!(session.poll(Time::ZERO), Output::Job(_)));
            drop(taken);
        });
    });
    assert!(said.starts_with("memory: one call took 8"), "{said}");
}

#[test]
fn a_tape_that_is_none_or_has_a_secret_on_it() {
    let said_of = |line: String| {
        said(Operation::Pull, |world| {
            let tape = Lines::default();
            tape.line(&line);
            world.check_tape(&tape);
            // It would be judged again, as tapes of clients are.
            std::mem::forget(tape);
        })
    };
    let damaged = said_of("{}".into());
    assert!(
        damaged.starts_with("tape: it does not replay to its end: "),
        "{damaged}"
    );
    let secret = said_of(format!("x {}token.1", mark(0)));
    assert!(
        secret.starts_with("tape: a secret is on it: x "),
        "{secret}"
    );
}

#[test]
fn a_download_that_begins_again() {
    let said = said(Operation::Pull, |world| {
        let image = &world.plan.pictures[0].images[0];
        let target = format!("/v2/src/app/blobs/{}", image.blob_digests()[0]);
        let request = Request::new(Method::GET, "reg0.example", &target);
        let answer = Answer::new(http::StatusCode::OK).body("12345");
        world.watch_cut(&request, &answer, 3);
        world.check_resumes(&request, RequestKind::GetBlob);
    });
    assert!(said.starts_with("economy: sha256:"), "{said}");
    assert!(said.ends_with("from 0 on, but 3 bytes are there"), "{said}");
}

#[test]
fn a_body_without_end() {
    let said = said(Operation::Pull, |world| world.check_collected(u64::MAX));
    assert!(
        said.starts_with("memory: 18446744073709551615 bytes of a body"),
        "{said}"
    );
}

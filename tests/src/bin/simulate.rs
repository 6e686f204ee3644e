//! Runs simulated worlds until one goes wrong.
//!
//! ```text
//! simulate --seeds 100000            that many seeds, from 0
//! simulate --seeds 2000 --seed-from TEXT   seeds that follow from a text, such as a commit's hash
//! simulate --seed 17                 one seed, with its transcript
//! simulate --replay 3,0,0,1          one list of choices, with its transcript
//! simulate --every 20000             all tiny worlds with one fault; fails if there are more of a sort
//! simulate --survey 10000            that many seeds (--seed-from, too), and each sort of failure with
//!                                    its first seed
//! simulate --catch 3000              that many seeds, one after the other; the first failure in a line
//! ```
//!
//! Before each of these, `--world hostile`, `greedy`, `taped`, `mirrored`, `carrying`, `streaming`,
//! `reading` or `optional` says that the worlds are of that sort.
//! Of many seeds some run as such worlds anyway. Tiny ones are called `tiny-Pull` or `tiny-Pull-token`.
//! `--threads N` says how many at once.
//!
//! The first failure is printed with its choices, shrunk. Exits with 1 if there was one, or if there
//! was too little to fail at; with 2 if it was asked wrongly.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a program for people"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use windlass_tests::sim::{self, Operation, Run, Tally, WorldKind, shrink};

/// This many of the first seeds run twice.
const TWICE: u64 = 200;
/// This many lists are tried to make a failure simpler.
const SHRINKING: usize = 2000;
/// One seed in this many is a hostile, a greedy and a taped world, too: these take longer.
const BESIDES: u64 = 100;
/// One seed in this many is also a world with mirrors.
const MIRRORED: u64 = 10;
/// One seed in this many is also a world in which copies take along what belongs to images.
const CARRYING: u64 = 10;
/// One seed in this many is also a world in which tasks put streams.
const STREAMING: u64 = 10;
/// One seed in this many is also a world in which tasks read blobs without a store.
const READING: u64 = 5;
/// One seed in this many is also a world in which tasks ask for what few do.
const OPTIONAL: u64 = 10;
/// The sorts of worlds that run beside the usual ones.
const OTHERS: [WorldKind; 8] = [
    WorldKind::Hostile,
    WorldKind::Greedy,
    WorldKind::Taped,
    WorldKind::Mirrored,
    WorldKind::Carrying,
    WorldKind::Streaming,
    WorldKind::Reading,
    WorldKind::Optional,
];

/// Those of them that a seed is, too.
fn besides(sort: WorldKind, seed: u64) -> impl Iterator<Item = WorldKind> {
    let others = OTHERS.into_iter().filter(move |other| {
        let rates = [
            (WorldKind::Mirrored, MIRRORED),
            (WorldKind::Carrying, CARRYING),
            (WorldKind::Streaming, STREAMING),
            (WorldKind::Reading, READING),
            (WorldKind::Optional, OPTIONAL),
        ];
        let rate = rates.iter().find(|(sort, _)| sort == other);
        let rate = rate.map_or(BESIDES, |(_, rate)| *rate);
        seed.is_multiple_of(rate)
    });
    others.filter(move |_| sort == WorldKind::Usual)
}

/// No world takes a second; this is for machines that have much else to do.
const STUCK: Duration = Duration::from_secs(90);

enum RunMode {
    Seeds {
        count: u64,
        from: Option<String>,
        threads: usize,
    },
    Seed(u64),
    Replay(Vec<u64>),
    Every(usize),
    Survey {
        count: u64,
        from: Option<String>,
        threads: usize,
    },
    Catch(u64),
}

fn main() -> ExitCode {
    match asked(std::env::args().skip(1)) {
        Ok((
            sort,
            RunMode::Seeds {
                count,
                from,
                threads,
            },
        )) => many(sort, count, from.as_deref(), threads),
        Ok((_, RunMode::Every(most))) => every(most),
        Ok((sort, RunMode::Seed(seed))) => one(sort, &sort.seeded(seed), true),
        Ok((
            sort,
            RunMode::Survey {
                count,
                from,
                threads,
            },
        )) => survey(sort, count, from.as_deref(), threads),
        Ok((sort, RunMode::Catch(count))) => catch(sort, count),
        Ok((sort, RunMode::Replay(choices))) => one(sort, &sort.replayed(&choices), false),
        Err(why) => {
            eprintln!("simulate: {why}");
            ExitCode::from(2)
        }
    }
}

fn asked(mut words: impl Iterator<Item = String>) -> Result<(WorldKind, RunMode), String> {
    let mut sort = WorldKind::Usual;
    let (mut count, mut from, mut alone, mut surveyed) = (1000, None, None, None);
    let mut threads = std::thread::available_parallelism().map_or(1, usize::from);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{word} needs a value"))?;
        let number = || {
            value
                .parse::<u64>()
                .map_err(|_| format!("{word}: {value} is no number"))
        };
        match word.as_str() {
            "--seeds" => count = number()?,
            "--seed" => alone = Some(RunMode::Seed(number()?)),
            "--every" => {
                let most = usize::try_from(number()?).unwrap_or(usize::MAX);
                alone = Some(RunMode::Every(most));
            }
            "--survey" => surveyed = Some(number()?),
            "--world" => {
                sort = match value.as_str() {
                    "usual" => WorldKind::Usual,
                    "hostile" => WorldKind::Hostile,
                    "greedy" => WorldKind::Greedy,
                    "taped" => WorldKind::Taped,
                    "mirrored" => WorldKind::Mirrored,
                    "carrying" => WorldKind::Carrying,
                    "streaming" => WorldKind::Streaming,
                    "reading" => WorldKind::Reading,
                    "optional" => WorldKind::Optional,
                    other => {
                        tiny(other).ok_or_else(|| format!("--world: there is no {other} one"))?
                    }
                }
            }
            "--catch" => alone = Some(RunMode::Catch(number()?)),
            "--seed-from" => from = Some(value),
            "--threads" => threads = usize::try_from(number()?).unwrap_or(1).max(1),
            "--replay" => {
                let numbers = value.split(',').map(str::trim).filter(|it| !it.is_empty());
                let choices: Result<Vec<u64>, _> = numbers.map(str::parse).collect();
                let choices = choices.map_err(|_| "--replay takes numbers and commas".to_owned());
                alone = Some(RunMode::Replay(choices?));
            }
            _ => return Err(format!("{word} is not understood")),
        }
    }
    let asked = match (alone, surveyed) {
        (Some(alone), _) => alone,
        (None, Some(count)) => RunMode::Survey {
            count,
            from,
            threads,
        },
        (None, None) => RunMode::Seeds {
            count,
            from,
            threads,
        },
    };
    Ok((sort, asked))
}

/// One world, told in full.
fn one(sort: WorldKind, run: &Run, shrinks: bool) -> ExitCode {
    print!("{}", run.transcript);
    let Some(violation) = &run.violation else {
        println!("good");
        return ExitCode::SUCCESS;
    };
    println!("FAILED: {violation}");
    if shrinks {
        println!(
            "simpler: --world {} --replay {}",
            word(sort),
            simpler(sort, run)
        );
    }
    ExitCode::FAILURE
}

fn many(sort: WorldKind, count: u64, from: Option<&str>, threads: usize) -> ExitCode {
    let begun = Instant::now();
    let first = from.map_or(0, hashed);
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let others = AtomicU64::new(0);
    let work = || {
        let mut tally = Tally::default();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || failed.load(Ordering::Relaxed) != u64::MAX {
                return tally;
            }
            let seed = first.wrapping_add(at);
            let run = sort.seeded(seed);
            let other = at < TWICE && sort.seeded(seed).transcript != run.transcript;
            let mut bad = run.violation.is_some() || other;
            tally.add(&run);
            for other in besides(sort, at) {
                let run = other.seeded(seed);
                bad |= run.violation.is_some();
                tally.hold(&run);
                others.fetch_add(1, Ordering::Relaxed);
            }
            if bad {
                failed.fetch_min(at, Ordering::Relaxed);
            }
        }
    };
    let tally = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut sum = Tally::default();
        for worker in workers {
            sum.merge(&worker.join().expect("what a world does is caught"));
        }
        sum
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{tally}and {} hostile, greedy, taped, mirrored, carrying, streaming, reading and optional worlds\n{seconds:.1} s, {:.0} seeds per second",
        others.into_inner(),
        tally.runs() as f64 / seconds
    );
    let failed = failed.into_inner();
    if failed != u64::MAX {
        return fail(sort, first.wrapping_add(failed));
    }
    // A few runs are too few to count, and other worlds are not made for this.
    let lacks = if count >= 1000 && sort == WorldKind::Usual {
        tally.lacks()
    } else {
        Vec::new()
    };
    if lacks.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("FAILED: too little happened:\n  {}", lacks.join("\n  "));
    ExitCode::FAILURE
}

/// All tiny worlds of every operation.
fn every(most: usize) -> ExitCode {
    for operation in Operation::ALL {
        let tried = sim::every(operation, most);
        println!("{operation:?}: {} worlds", tried.worlds);
        if let Some((sort, run)) = tried.failed {
            return one(sort, &run, true);
        }
        if !tried.all {
            println!("FAILED: there are more, and they were not tried");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// One kind of failure that a survey met.
struct Finding {
    times: u64,
    /// The first seed that fails in this way.
    seed: u64,
    violation: String,
}

/// Runs `count` seeds and prints each kind of failure with its first seed.
fn survey(world: WorldKind, count: u64, from: Option<&str>, threads: usize) -> ExitCode {
    let first = from.map_or(0, hashed);
    let next = AtomicU64::new(0);
    let findings = Mutex::new(BTreeMap::<String, Finding>::new());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            let seed = first.wrapping_add(at);
            let Some(violation) = world.seeded(seed).violation else {
                continue;
            };
            let mut findings = findings.lock().expect("no survey panics under the lock");
            let finding = findings.entry(sort(&violation)).or_insert(Finding {
                times: 0,
                seed: u64::MAX,
                violation: String::new(),
            });
            finding.times += 1;
            if seed < finding.seed {
                (finding.seed, finding.violation) = (seed, violation);
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let findings = findings
        .into_inner()
        .expect("no survey panics under the lock");
    for found in findings.values() {
        let Finding {
            times,
            seed,
            violation,
        } = found;
        println!("{times} times, first with seed {seed}: {violation}");
    }
    ExitCode::from(u8::from(!findings.is_empty()))
}

/// After how many of the first seeds something goes wrong, and which oracle says so: for planted
/// bugs, so it is quick where nothing is to be found out about a failure, and does not wait for ever.
fn catch(sort: WorldKind, count: u64) -> ExitCode {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut seeds = 0..count;
        while seeds
            .next()
            .is_some_and(|seed| tell.send(wrong(sort, seed)).is_ok())
        {}
    });
    for seed in 0..count {
        let found = told.recv_timeout(STUCK).unwrap_or_else(|error| {
            let why = match error {
                mpsc::RecvTimeoutError::Timeout => "ends: no call came back",
                mpsc::RecvTimeoutError::Disconnected => "panic: there is no such world",
            };
            Some(why.into())
        });
        let Some(violation) = found else {
            continue;
        };
        let oracle = violation.split(':').next().unwrap_or_default();
        println!("caught {} {oracle}\n{violation}", seed + 1);
        return ExitCode::FAILURE;
    }
    println!("missed {count}");
    ExitCode::SUCCESS
}

/// What is wrong with the world of a seed.
fn wrong(sort: WorldKind, seed: u64) -> Option<String> {
    let run = sort.seeded(seed);
    let other = seed < TWICE && sort.seeded(seed).transcript != run.transcript;
    let differs = || "determinism: it is not the same every time".to_owned();
    let elsewhere = || besides(sort, seed).find_map(|sort| sort.seeded(seed).violation);
    let violation = run.violation.or_else(|| other.then(differs));
    violation.or_else(elsewhere)
}

fn fail(sort: WorldKind, seed: u64) -> ExitCode {
    let found = [sort].into_iter().chain(OTHERS).find_map(|sort| {
        let run = sort.seeded(seed);
        run.violation
            .clone()
            .map(|violation| (sort, run, violation))
    });
    let Some((sort, run, violation)) = found else {
        println!("FAILED: determinism: seed {seed} is not the same every time");
        return ExitCode::FAILURE;
    };
    let word = word(sort);
    println!("FAILED: seed {seed}: {violation}");
    println!("simpler: --world {word} --replay {}", simpler(sort, &run));
    println!("again: --world {word} --seed {seed}");
    ExitCode::FAILURE
}

fn word(sort: WorldKind) -> String {
    match sort {
        WorldKind::Hostile => "hostile".into(),
        WorldKind::Greedy => "greedy".into(),
        WorldKind::Taped => "taped".into(),
        WorldKind::Mirrored => "mirrored".into(),
        WorldKind::Carrying => "carrying".into(),
        WorldKind::Streaming => "streaming".into(),
        WorldKind::Reading => "reading".into(),
        WorldKind::Optional => "optional".into(),
        WorldKind::Tiny(operation, signs_in) => {
            let token = if signs_in { TOKEN } else { "" };
            format!("{TINY}{operation:?}{token}")
        }
        WorldKind::Usual | _ => "usual".into(),
    }
}

const TINY: &str = "tiny-";
const TOKEN: &str = "-token";

fn tiny(word: &str) -> Option<WorldKind> {
    let word = word.strip_prefix(TINY)?;
    let operation = word.strip_suffix(TOKEN);
    let signs_in = operation.is_some();
    let operation = operation.unwrap_or(word);
    let mut all = Operation::ALL.into_iter();
    let operation = all.find(|it| format!("{it:?}") == operation)?;
    Some(WorldKind::Tiny(operation, signs_in))
}

/// The choices of a failure, shrunk: it must still be the same sort of failure.
fn simpler(world: WorldKind, run: &Run) -> String {
    let sort = |violation: &str| {
        violation
            .chars()
            .filter(|it| it.is_alphabetic())
            .take(30)
            .collect()
    };
    let wanted: String = run.violation.as_deref().map_or_else(String::new, sort);
    let choices = shrink(run.choices.clone(), SHRINKING, |choices| {
        let violation = world.replayed(choices).violation;
        violation.is_some_and(|violation| sort(&violation) == wanted)
    });
    let numbers: Vec<String> = choices.iter().map(u64::to_string).collect();
    numbers.join(",")
}

/// What a violation is about: its words without numbers.
fn sort(violation: &str) -> String {
    let letters = violation.chars().filter(|it| !it.is_numeric());
    letters.take(45).collect()
}

/// FNV-1a: the seeds of a text.
fn hashed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_world_is_found_by_its_name() {
        for operation in Operation::ALL {
            for signs_in in [false, true] {
                let sort = WorldKind::Tiny(operation, signs_in);
                assert_eq!(tiny(&word(sort)), Some(sort));
            }
        }
        assert_eq!(tiny("tiny-"), None);
        assert_eq!(tiny("usual"), None);
    }
}

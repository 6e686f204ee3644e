//! One run of a program: input, output, and its end within limits (CRED-26, CRED-28).
//!
//! Responsible for pipes, time and the process group. Must not know what a helper says.
//!
//! The program gets a process group of its own, which is killed if the program takes too long or
//! writes too much: it may have started others. A program of that group that leaves it and keeps a
//! pipe open is not waited for. A signal from the terminal does not reach it: [`end_all`] is for a
//! process that ends before its helpers.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

use super::HelperLimits;
use crate::credentials::variables::remove_own_variables;

/// How a program ended that ended by itself.
pub(super) struct Finished {
    pub(super) is_success: bool,
    pub(super) stdout: Vec<u8>,
    /// At most the first [`STDERR`] bytes.
    pub(super) stderr: Vec<u8>,
}

/// Why there is no such end.
#[derive(Debug)]
pub(super) enum RunError {
    Start(io::Error),
    Late {
        /// At most the first [`STDERR`] bytes: it may have asked the user something.
        stderr: Vec<u8>,
    },
    Flood,
}

/// How much of standard error is kept for a message; all of it is read, within the time.
const STDERR: usize = 4 << 10;
/// How long a pipe may stay open after the program has ended: another one may have inherited it.
const LINGER: Duration = Duration::from_millis(250);

/// The programs that were not waited for yet, by their ids. An id is removed before it can be another
/// process's.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// How long [`end_all`] waits for the list, which is locked while a program is started.
const PATIENCE: Duration = Duration::from_millis(100);

/// Kills all programs that run, with their groups. Returns soon even if one cannot be started: the program
/// that calls this is ending.
pub(super) fn end_all() {
    let until = Instant::now() + PATIENCE;
    let running = loop {
        match RUNNING.try_lock() {
            Ok(running) => break running,
            Err(TryLockError::Poisoned(error)) => break error.into_inner(),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(TryLockError::WouldBlock) => return,
        }
    };
    for id in running.iter() {
        kill(*id);
    }
}

fn lock() -> MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(id: u32) {
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _gone = kill_process_group(group, Signal::KILL);
    }
}

/// Runs `program action` with this input.
pub(super) fn run(
    program: &Path,
    action: &str,
    input: &[u8],
    limits: &HelperLimits,
) -> Result<Finished, RunError> {
    // `None`: without a limit.
    let until = Instant::now().checked_add(limits.time);
    let child = start(program, action).map_err(RunError::Start)?;
    let mut running = Running::new(child, input, limits.output).map_err(RunError::Start)?;
    loop {
        if let Some(status) = running.ended().map_err(RunError::Start)? {
            return Ok(Finished {
                is_success: status.success(),
                stdout: std::mem::take(&mut running.stdout.bytes),
                stderr: std::mem::take(&mut running.stderr.bytes),
            });
        }
        if running.stdout.is_over {
            return Err(RunError::Flood);
        }
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        if rest == Some(Duration::ZERO) {
            let stderr = std::mem::take(&mut running.stderr.bytes);
            return Err(RunError::Late { stderr });
        }
        let rest = rest.unwrap_or(Duration::MAX);
        running.wait(rest).map_err(RunError::Start)?;
    }
}

fn start(program: &Path, action: &str) -> io::Result<Child> {
    /// How often to try a program that is being written at this moment.
    const TRIES: u32 = 10;
    let mut command = Command::new(program);
    command.arg(action).process_group(0);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A helper needs its environment, but not the credentials that are in it for windlass.
    remove_own_variables(&mut command);
    command.env_remove("DOCKER_AUTH_CONFIG");
    let mut tries = 1..TRIES;
    loop {
        // Between its start and its place in the list it could not be ended.
        let mut running = lock();
        match command.spawn() {
            Err(error)
                if error.kind() == ErrorKind::ExecutableFileBusy && tries.next().is_some() =>
            {
                drop(running);
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
            Ok(child) => {
                running.insert(child.id());
                return Ok(child);
            }
        }
    }
}

/// A program that runs. Dropped, it is killed with its group.
struct Running<'a> {
    child: Child,
    /// Closed when all is written, or when the program wants no more.
    stdin: Option<ChildStdin>,
    input: &'a [u8],
    stdout: CapturedOutput<ChildStdout>,
    stderr: CapturedOutput<ChildStderr>,
    ended: Option<(ExitStatus, Instant)>,
}

impl<'a> Running<'a> {
    fn new(mut child: Child, input: &'a [u8], most: usize) -> io::Result<Self> {
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let running = Self {
            child,
            stdin,
            input,
            stdout: CapturedOutput::new(stdout, most),
            stderr: CapturedOutput::new(stderr, STDERR),
            ended: None,
        };
        if let Some(stdin) = &running.stdin {
            fcntl_setfl(stdin, OFlags::NONBLOCK)?;
        }
        Ok(running)
    }

    /// Whether it has ended and all its output is here.
    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let mut running = lock();
            let status = self.child.try_wait()?;
            if status.is_some() {
                running.remove(&self.child.id());
            }
            self.ended = status.map(|status| (status, Instant::now()));
        }
        let Some((status, at)) = self.ended else {
            return Ok(None);
        };
        let is_read = self.stdout.pipe.is_none() && self.stderr.pipe.is_none();
        let is_over = self.stdout.is_over;
        Ok(((is_read || at.elapsed() >= LINGER) && !is_over).then_some(status))
    }

    /// Moves bytes, once some can be moved. Returns after a moment if none can.
    fn wait(&mut self, rest: Duration) -> io::Result<()> {
        /// Output ended: the program is about to end, too.
        const SOON: Duration = Duration::from_millis(2);
        /// Its end is noticed within this time even if another program holds its pipes.
        const SLICE: Duration = Duration::from_millis(50);
        let slice = if self.stdout.pipe.is_none() {
            SOON
        } else {
            SLICE
        };
        let timeout = Timespec::try_from(slice.min(rest)).map_err(io::Error::other)?;
        let pipes = [
            self.stdin.as_ref().map(|it| (it.as_fd(), PollFlags::OUT)),
            self.stdout
                .pipe
                .as_ref()
                .map(|it| (it.as_fd(), PollFlags::IN)),
            self.stderr
                .pipe
                .as_ref()
                .map(|it| (it.as_fd(), PollFlags::IN)),
        ];
        let is_open = pipes.map(|pipe| pipe.is_some());
        let open = pipes.iter().flatten();
        let mut polled: Vec<_> = open
            .map(|(pipe, flags)| PollFd::from_borrowed_fd(*pipe, *flags))
            .collect();
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = polled.iter().map(|it| !it.revents().is_empty());
        let [can_write, can_read, can_read_error] =
            is_open.map(|is_open| is_open && ready.next().unwrap_or(false));
        if can_write {
            self.write();
        }
        if can_read {
            self.stdout.read();
        }
        if can_read_error {
            self.stderr.read();
        }
        Ok(())
    }

    /// Writes what fits. A program that does not read its input says why in its output.
    fn write(&mut self) {
        let Some(stdin) = &mut self.stdin else {
            return;
        };
        match stdin.write(self.input) {
            Ok(written) => self.input = &self.input[written..],
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.input = &[],
        }
        if self.input.is_empty() {
            self.stdin = None;
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Once it was waited for, its id may be another group's.
        if self.ended.is_some() {
            return;
        }
        let mut running = lock();
        running.remove(&self.child.id());
        kill(self.child.id());
        drop(running);
        let _status = self.child.wait();
    }
}

/// One output of the program.
struct CapturedOutput<R> {
    /// Closed at its end.
    pipe: Option<R>,
    bytes: Vec<u8>,
    most: usize,
    /// Whether there was more.
    is_over: bool,
}

impl<R: Read> CapturedOutput<R> {
    const fn new(pipe: Option<R>, most: usize) -> Self {
        Self {
            pipe,
            bytes: Vec::new(),
            most,
            is_over: false,
        }
    }

    /// Reads once, from a pipe that has something or has ended.
    fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else {
            return;
        };
        let mut buffer = [0; 16 << 10];
        match pipe.read(&mut buffer) {
            Ok(0) => self.pipe = None,
            Ok(read) => {
                let room = self.most - self.bytes.len();
                self.is_over |= read > room;
                self.bytes.extend_from_slice(&buffer[..read.min(room)]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.pipe = None,
        }
    }
}

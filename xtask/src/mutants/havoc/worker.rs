//! A process that sends one damaged object after the other through objtool-rs's library.
//!
//! It notes how far it is before each object, so that the process that started it knows which one
//! ended it. Panics are caught and noted here; aborts, signals and hangs are for the other to see.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{bail, Context, Result};
use objtool_rs::Options;
use rustix::process::{setrlimit, Resource, Rlimit};

use super::{stock, State, Task};

/// How much memory the process may ask for. An object of some kilobytes needs a few megabytes; a
/// size that is taken from a damaged field and believed shows as a failed allocation.
const MEMORY: u64 = 2 << 30;

/// The place of the last panic.
static PLACE: Mutex<String> = Mutex::new(String::new());

/// Does what a task says.
///
/// # Errors
/// The task or an object cannot be read, or a note cannot be written.
pub fn run(file: &Path) -> Result<()> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let task: Task = serde_json::from_slice(&text)?;
    let stock = stock(&task.objects)?;
    let options: Vec<Options> = task
        .objects
        .iter()
        .map(|object| options(&object.args))
        .collect::<Result<_>>()?;

    let limit = Rlimit {
        current: Some(MEMORY),
        maximum: Some(MEMORY),
    };
    setrlimit(Resource::As, limit)?;
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let mut last = PLACE.lock().unwrap_or_else(|broken| broken.into_inner());
        *last = place.unwrap_or_default();
    }));

    let notes = File::create(&task.state)?;
    let mut panics = File::options()
        .create(true)
        .append(true)
        .open(&task.panics)?;
    let mut state = State::default();
    for index in task.from..task.to {
        state.index = index;
        notes.write_all_at(&state.to_bytes(), 0)?;
        let (object, data) = stock
            .object(task.seed, index)
            .context("there are no objects to damage")?;
        let run = || objtool_rs::run(&data, &options[object]);
        match panic::catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(outcome)) => state.warned += u64::from(!outcome.lines.is_empty()),
            Ok(Err(_)) => state.refused += 1,
            Err(payload) => {
                let place = PLACE.lock().unwrap_or_else(|broken| broken.into_inner());
                let what = payload
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| payload.downcast_ref::<&str>().copied())
                    .unwrap_or_default();
                let what = what.replace('\n', " ");
                writeln!(panics, "{index} panicked at {place}: {what}")?;
            }
        }
    }
    state.index = task.to;
    notes.write_all_at(&state.to_bytes(), 0)?;
    Ok(())
}

/// The library's options for a command line of the kernel build.
fn options(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    for arg in args {
        match arg.as_str() {
            "--hacks=jump_label" => options.hack_jump_label = true,
            "--hacks=noinstr" => options.hack_noinstr = true,
            "--hacks=skylake" => options.hack_skylake = true,
            "--retpoline" => options.retpoline = true,
            "--rethunk" => options.rethunk = true,
            "--stackval" => options.stackval = true,
            "--static-call" => options.static_call = true,
            "--uaccess" => options.uaccess = true,
            "--module" => options.module = true,
            "--no-unreachable" => options.no_unreachable = true,
            _ => match arg.strip_prefix("--prefix=").map(str::parse) {
                Some(Ok(bytes)) => options.prefix = bytes,
                _ => bail!("the kernel build gave objtool an option that is not known here: {arg}"),
            },
        }
    }
    Ok(options)
}

//! A process that sends one damaged object after the other through objtool-rs's library.
//!
//! It notes how far it is before each object, so that the process that started it knows which one
//! ended it. Panics are caught and noted here; aborts, signals and hangs are for the other to see.

use std::backtrace::Backtrace;
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
        // No panic here: it would end the process without a word.
        let place = panic.location().map(ToString::to_string);
        let mut last = PLACE.lock().unwrap_or_else(|broken| broken.into_inner());
        *last = place.unwrap_or_default();
        if let Some(caller) = caller(&Backtrace::force_capture().to_string()) {
            last.push_str(", from ");
            last.push_str(&caller);
        }
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
        let run = || {
            // Whatever it says, the reader of ORC data must end.
            let dump = |data: &[u8]| objtool_rs::orc_dump::dump(data).map(drop);
            let outcome = objtool_rs::run(&data, &options[object]);
            let output = outcome.as_ref().ok().and_then(|o| o.output.as_deref());
            dump(&data).and(output.map_or(Ok(()), dump)).ok();
            outcome
        };
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

/// Where a panic that the standard library raised comes from: the innermost function outside it,
/// and the innermost place in this project's sources.
fn caller(backtrace: &str) -> Option<String> {
    let mut frames: Vec<(&str, Option<&str>)> = Vec::new();
    for line in backtrace.lines().map(str::trim) {
        match (line.strip_prefix("at "), frames.last_mut()) {
            (Some(place), Some(frame)) => frame.1 = Some(place),
            _ => frames.push((line.split_once(": ")?.1, None)),
        }
    }
    // The hook and the machinery of panics come first.
    let raised = frames
        .iter()
        .position(|(name, _)| name.starts_with("core::panicking::"))?;
    let frames = &frames[raised..];
    let library = |place: &str| place.starts_with("/rustc/");
    let (name, _) = frames
        .iter()
        .find(|(name, place)| !name.contains("::panicking") && !place.is_some_and(library))?;
    let own = frames.iter().find_map(|(_, place)| {
        let (_, rest) = place.as_ref()?.rsplit_once("objtool-rs/src/")?;
        Some(rest)
    })?;
    Some(format!("{name}, in objtool-rs/src/{own}"))
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
            "--ibt" => options.ibt = true,
            "--link" => options.link = true,
            "--mcount" => options.mcount = true,
            "--noinstr" => options.noinstr = true,
            "--orc" => options.orc = true,
            "--sls" => options.sls = true,
            "--unret" => options.unret = true,
            _ => match arg.strip_prefix("--prefix=").map(str::parse) {
                Some(Ok(bytes)) => options.prefix = bytes,
                _ => bail!("the kernel build gave objtool an option that is not known here: {arg}"),
            },
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_the_innermost_frame_outside_the_library() {
        let backtrace = "   0: worker::run\n             at ./xtask/src/worker.rs:1:1\n   \
                         1: core::panicking::panic_fmt\n             at /rustc/core.rs:1:2\n   \
                         2: alloc::raw_vec::handle_error\n             at /rustc/vec.rs:3:4\n   \
                         3: write\n   \
                         4: run\n             at /checkout/objtool-rs/src/run.rs:7:9\n   \
                         5: main\n             at /checkout/xtask/src/main.rs:1:1\n";
        assert_eq!(
            caller(backtrace).as_deref(),
            Some("write, in objtool-rs/src/run.rs:7:9")
        );
        assert_eq!(caller("   0: main\n"), None);
    }
}

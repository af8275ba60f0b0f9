//! `./x bench verify`: the verdict on a linked kernel, several times over: how long it takes, on two
//! processors at the most, and what it uses.
//!
//! The bar is on the time that passes for the kernel that the tests build. Any other image can be
//! measured too, without a bar.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::child::{self, Usage};
use super::{median, mib};
use crate::judge::{self, Judged};
use crate::paths::{Kernel, Tool};
use crate::{objtool, progress};

/// The configuration whose kernel has a bar.
const CONFIG: &str = "x86_64-fp";

/// The longest that the verdict on it may take.
const BAR: Duration = Duration::from_secs(5);

/// Processors that it may use, as a program's first argument for env(1).
const PROCESSORS: &str = "RAYON_NUM_THREADS=2";

/// Arguments of `./x bench verify`.
#[derive(clap::Args)]
pub struct Args {
    /// How often it is measured
    #[arg(long, default_value = "5")]
    rounds: std::num::NonZeroUsize,
    /// Judge this image in place of the build's, without a bar
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Use this program in place of objtool-rs
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
}

/// Runs `./x bench verify`.
///
/// # Errors
/// There is no such image, it cannot be judged, or that takes too long.
pub fn run(args: &Args) -> Result<()> {
    let image = match &args.image {
        Some(path) => path.clone(),
        None => Kernel::installed()?.build(CONFIG, Tool::C).join("vmlinux"),
    };
    let image = image
        .canonicalize()
        .with_context(|| format!("there is no image {}", image.display()))?;
    let objtool = match &args.ours {
        Some(path) => path.canonicalize()?,
        None => objtool::ours()?,
    };
    let measured = measure(&objtool, &image, args.rounds.get())?;
    println!("{}", measured.text(&image)?);
    if args.image.is_none() {
        bar(measured.wall())?;
    }
    Ok(())
}

/// What several verdicts on one image took.
pub struct Measured {
    /// By run: the time that passed, and what was used.
    runs: Vec<(Duration, Usage)>,
    /// The verdict.
    pub judged: Judged,
}

/// Judges an image several times.
///
/// # Errors
/// It cannot be judged.
pub fn measure(objtool: &Path, image: &Path, rounds: usize) -> Result<Measured> {
    // Whatever the file's size, it is in memory from here on.
    let judged = judge::run(objtool, &[image])?.remove(0);
    child::adopt()?;
    let path = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .context("a path is no text")
    };
    let args = [
        PROCESSORS.to_owned(),
        path(objtool)?,
        "verify".to_owned(),
        path(image)?,
    ];
    let bar = progress::bar(rounds as u64, "rounds");
    let mut runs = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        let (status, usage) = child::account(Path::new("env"), &args, Path::new("/"))?;
        runs.push((start.elapsed(), usage));
        // Whether the promise holds does not matter here; that there is an answer does.
        if !matches!(status.code(), Some(0 | 2)) {
            bail!("the verdict on {} failed ({status})", image.display());
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Measured { runs, judged })
}

impl Measured {
    fn median(&self, of: impl Fn(&(Duration, Usage)) -> f64) -> f64 {
        median(self.runs.iter().map(of).collect())
    }

    /// The median of the time that passed.
    pub fn wall(&self) -> Duration {
        Duration::from_secs_f64(self.median(|(wall, _)| wall.as_secs_f64()).max(0.0))
    }

    /// The most memory that a run had at a time, in KiB.
    pub fn peak(&self) -> u64 {
        let peaks = self.runs.iter().map(|(_, usage)| usage.peak);
        peaks.max().unwrap_or(0)
    }

    /// Everything, over several lines.
    ///
    /// # Errors
    /// The image is gone.
    pub fn text(&self, image: &Path) -> Result<String> {
        let size = std::fs::metadata(image)?.len();
        let counts = self.judged.functions;
        let mut text = format!(
            "{}: {:.1} MiB, {:.1} MiB of text, {} functions\n\
             {}, two processors: {:.3} s, CPU {:.3} s, peak {:.1} MiB (medians; the most for the \
             peak)\n",
            image.display(),
            mib(size / 1024),
            mib(self.judged.text_size / 1024),
            counts.keep_frame + counts.make_no_call + counts.keep_no_frame,
            progress::counted(self.runs.len(), "round"),
            self.wall().as_secs_f64(),
            self.median(|(_, usage)| usage.cpu.as_secs_f64()),
            mib(self.peak()),
        );
        text.push_str("one run by phase:\n");
        for (phase, milliseconds) in &self.judged.phases_ms {
            text.push_str(&format!("  {phase:<24} {milliseconds:>8.1} ms\n"));
        }
        Ok(text)
    }
}

/// Says whether the bar is met.
fn bar(wall: Duration) -> Result<()> {
    println!(
        "{:.3} s of {} s that it may take",
        wall.as_secs_f64(),
        BAR.as_secs()
    );
    if wall <= BAR {
        Ok(())
    } else {
        bail!("the verdict takes longer than {} s", BAR.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_missed() {
        assert!(bar(BAR).is_ok());
        assert!(bar(BAR + Duration::from_millis(1)).is_err());
    }
}

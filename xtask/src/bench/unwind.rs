//! `./x bench unwind`: what walks cost in the kernel, by our unwinder and by C's, side by side in one
//! boot, with frame pointers and with ORC; and how much room each takes.
//!
//! The kernels are those of `./x kernel test unwind`, and the measuring is done by its module. Bars:
//! no walk and no frame may cost more than C's, and our code may take half as much room again as C's.

use std::path::Path;

use anyhow::{bail, Result};

use super::room;
use crate::configs::Config;
use crate::kernel::{build, unwind};
use crate::paths::Tool;
use crate::setup;

/// What the code may take, in parts of what C's takes.
const ROOM: f64 = 1.5;

/// Arguments of `./x bench unwind`.
#[derive(clap::Args)]
pub struct Args {
    /// Only this configuration
    #[arg(long)]
    config: Option<String>,
    /// How often a batch of 16 walks is measured; the best counts
    #[arg(long, default_value_t = 2000)]
    rounds: u64,
}

/// Runs `./x bench unwind`.
///
/// # Errors
/// A kernel does not build or boot, or a bar is not met.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    let mut missed = Vec::new();
    for name in unwind::CONFIGS {
        if args.config.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        let built = build::run(Config::named(name)?, Tool::Rs)?;
        let words = ["cases=0".to_owned(), format!("rounds={}", args.rounds)];
        let limit = unwind::LIMIT.saturating_mul(2);
        let results = unwind::test(&built, &words, limit)?;
        let costs: Vec<Cost> = results
            .remarks
            .iter()
            .filter_map(|r| Cost::read(r))
            .collect();
        if costs.is_empty() {
            bail!("{name} measured nothing");
        }
        println!("{name}, nanoseconds, the least of {} batches:", args.rounds);
        println!("  walk                  frames       ours          C   ratio");
        for cost in &costs {
            for (what, frames, ours, c) in cost.rows() {
                let ratio = ours / c;
                println!(
                    "  {:<12} {what:<8} {frames:>7} {ours:>10.0} {c:>10.0} {ratio:>7.2}",
                    cost.how
                );
                if ratio > 1.0 {
                    missed.push(format!(
                        "{name}: {} {what} costs {ratio:.2} of C's",
                        cost.how
                    ));
                }
            }
        }
        let (ours, c) = rooms(&built.dir)?;
        let ratio = ours as f64 / c as f64;
        println!("  room: {ours} bytes, C's {c}: {ratio:.2} of {ROOM} that it may take");
        if ratio > ROOM {
            missed.push(format!("{name}: it takes {ratio:.2} of C's room"));
        }
    }
    if missed.is_empty() {
        return Ok(());
    }
    bail!("bars are missed:\n  {}", missed.join("\n  "))
}

/// What walks of one kind cost over a shallow and over a deep stack.
#[derive(Debug, PartialEq)]
struct Cost {
    how: String,
    frames: [u64; 2],
    ours: [f64; 2],
    c: [f64; 2],
}

impl Cost {
    /// Reads `cost KIND frames A B ours X Y c Z W`.
    fn read(remark: &str) -> Option<Self> {
        let words: Vec<&str> = remark.split_whitespace().collect();
        let [_, how, "frames", a, b, "ours", x, y, "c", z, w] = words[..] else {
            return None;
        };
        Some(Self {
            how: how.to_owned(),
            frames: [a.parse().ok()?, b.parse().ok()?],
            ours: [x.parse().ok()?, y.parse().ok()?],
            c: [z.parse().ok()?, w.parse().ok()?],
        })
    }

    /// What, of how many frames, ours and C's.
    fn rows(&self) -> [(&'static str, u64, f64, f64); 3] {
        let [few, many] = self.frames;
        let more = many.saturating_sub(few).max(1);
        let each = |[short, long]: [f64; 2]| (long - short) / more as f64;
        [
            ("shallow", few, self.ours[0], self.c[0]),
            ("deep", many, self.ours[1], self.c[1]),
            ("a frame", 1, each(self.ours), each(self.c)),
        ]
    }
}

/// Bytes that our unwinder takes in the kernel's memory, and the C unwinder.
fn rooms(build: &Path) -> Result<(u64, u64)> {
    let folder = build.join("arch/x86/kernel");
    let mut ours = 0;
    for name in ["arch", "arch_x86_64", "unwind", "rust_unwind", "shim"] {
        let file = folder.join(format!("rust_unwind/{name}.o"));
        ours += room::loaded(&file)?;
        // What only tests take.
        ours -= room::symbols(&file, "opied")?;
    }
    // The C unwinder stands beside ours together with the generic part that calls it.
    let beside = room::loaded(&folder.join("rust_unwind/test/beside.o"))?;
    let generic = room::loaded(&folder.join("stacktrace.o"))?;
    Ok((ours, beside.saturating_sub(generic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_read_and_a_frame_costs_the_difference() {
        let cost = Cost::read("cost reliable frames 10 50 ours 100 500 c 200 1000").unwrap();
        assert_eq!(cost.how, "reliable");
        let rows = cost.rows();
        assert_eq!(rows[1], ("deep", 50, 500.0, 1000.0));
        assert_eq!(rows[2], ("a frame", 1, 10.0, 20.0));
        assert_eq!(Cost::read("cost reliable frames 10"), None);
        assert_eq!(Cost::read("walks 10"), None);
    }
}

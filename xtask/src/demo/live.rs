//! The end of the demonstration: a kernel whose unwinder and livepatch core are ours is patched while a
//! task loops through the functions that are replaced. What happened, as the kernel told it, and whether
//! it is what must happen.
//!
//! The task and the patch are `kernel/demo/modules`; `kernel/initramfs/init-demo` says what is done.

use std::fs;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::{bail, Context, Result};

use crate::kernel::boot;
use crate::kernel::build::{self, Built};
use crate::kernel::initramfs::{self, Contents};
use crate::{paths, progress};

/// It takes half a minute under TCG; a loaded machine may take much longer.
const LIMIT: Duration = Duration::from_secs(300);

/// What is counted before the patch and after it, and the function that the task is then inside.
const OLD: &str = "sheep";
const NEW: &str = "goat";
const INSIDE: &str = "shepherd: in herd_count";

/// Something that happened.
#[derive(Debug, PartialEq)]
enum Moment<'a> {
    /// The task has counted a herd.
    Counted(&'a str),
    /// The patch has been loaded.
    Came,
    /// The kernel says what a transition waits for.
    Blocker(&'a str),
    /// So many milliseconds after the patch was to come the transition was over.
    Over(u64),
}

/// Boots the kernel and shows what happened.
///
/// # Errors
/// The modules do not build, the kernel does not boot, or something else happens than must.
pub fn run(built: &Built) -> Result<()> {
    let work = tempfile::Builder::new()
        .prefix("objtool-rs-demo-")
        .tempdir()?;
    let modules = work.path().join("modules");
    let from = paths::project()?.join("kernel/demo/modules");
    fs::create_dir(&modules)?;
    for entry in fs::read_dir(&from)? {
        let entry = entry?;
        fs::copy(entry.path(), modules.join(entry.file_name()))?;
    }
    build::modules(built, &modules)?;
    let own = build::own(&built.dir);
    let (archive, console) = (own.join("demo.gz"), own.join("demo.log"));
    let contents = Contents {
        init: "init-demo",
        modules: &[],
        programs: &[],
        folder: Some((work.path(), "demo")),
    };
    initramfs::write(&contents, &archive)?;
    let spinner = progress::spinner("booting and patching it");
    let mut qemu = boot::machine(built, &archive, boot::COMMAND_LINE);
    let ended = boot::watch(&mut qemu, &console, LIMIT)?;
    spinner.finish_and_clear();

    let log = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
    let moments = moments(&log)
        .and_then(|moments| judge(&moments).map(|()| moments))
        .with_context(|| format!("{ended}; the serial console is in {}", console.display()))?;
    show(&moments);
    Ok(())
}

/// What the report says, in its order.
fn moments(log: &str) -> Result<Vec<Moment<'_>>> {
    let mut moments = Vec::new();
    let mut has_end = false;
    for (key, value) in boot::report(log) {
        match key {
            "counted" => moments.push(Moment::Counted(value)),
            "came" => moments.push(Moment::Came),
            "blocker" => moments.push(Moment::Blocker(value)),
            "over" => moments.push(Moment::Over(value.parse()?)),
            "complaint" => bail!("the kernel complains: {value}"),
            "end" => has_end = true,
            _ => {}
        }
    }
    if !has_end {
        bail!("the report has no end{}", boot::last_lines(log));
    }
    Ok(moments)
}

/// Whether what happened is what must.
fn judge(moments: &[Moment<'_>]) -> Result<()> {
    let is_of = |herd: &str, animal: &str| herd.split(' ').all(|word| word == animal);
    let (mut has_come, mut is_over, mut is_blocked) = (false, false, false);
    let (mut old, mut new) = (0, 0);
    for moment in moments {
        match moment {
            Moment::Came => has_come = true,
            Moment::Over(_) => is_over = true,
            Moment::Blocker(who) => is_blocked |= who.contains(INSIDE),
            Moment::Counted(herd) if is_of(herd, OLD) && new == 0 => old += 1,
            Moment::Counted(herd) if is_of(herd, NEW) && has_come => new += 1,
            Moment::Counted(herd) => bail!("`{herd}` was counted, of one patch and another"),
        }
    }
    if !is_over {
        bail!("the transition did not end");
    }
    if !is_blocked {
        bail!("the task inside the function was not among what the transition waited for");
    }
    if old < 2 || new == 0 {
        bail!("{old} herds were counted by the old functions and {new} by the new ones");
    }
    Ok(())
}

fn show(moments: &[Moment<'_>]) {
    const FAINT: Style = Style::new().dimmed();
    const GREEN: Style = AnsiColor::Green.on_default();
    const BOLD: Style = Style::new().bold();
    for moment in moments {
        match moment {
            Moment::Counted(herd) if herd.starts_with(OLD) => {
                anstream::println!("    the task counts    {herd}");
            }
            Moment::Counted(herd) => {
                anstream::println!("    the task counts    {GREEN}{herd}{GREEN:#}");
            }
            Moment::Came => anstream::println!("  {BOLD}the patch comes{BOLD:#}"),
            Moment::Blocker(who) => {
                anstream::println!("    it waits for       {FAINT}{who}{FAINT:#}");
            }
            Moment::Over(millis) => {
                let seconds = *millis as f64 / 1000.0;
                anstream::println!(
                    "  {BOLD}all tasks have switched{BOLD:#}, {seconds:.1} s after it came"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "objtool-rs: counted sheep sheep\r\n\
        objtool-rs: came 12\r\n\
        objtool-rs: blocker 61 shepherd: in herd_count (herd_count [herd]) at frame 4, for 8 ms\r\n\
        objtool-rs: counted sheep sheep\r\n\
        objtool-rs: counted goat goat\r\n\
        objtool-rs: over 1240\r\n\
        objtool-rs: counted goat goat\r\n\
        objtool-rs: end\r\n";

    fn judged(from: &str, to: &str) -> Result<()> {
        assert!(GOOD.contains(from));
        judge(&moments(&GOOD.replacen(from, to, 1))?)
    }

    #[test]
    fn what_must_happen_passes() {
        judged("counted", "counted").unwrap();
        assert_eq!(moments(GOOD).unwrap()[5], Moment::Over(1240));
    }

    #[test]
    fn anything_else_fails() {
        let error = |from, to| judged(from, to).unwrap_err().to_string();
        let mixed = error("goat goat", "sheep goat");
        assert!(mixed.starts_with("`sheep goat` was counted"), "{mixed}");
        let back = error(
            "over 1240\r\nobjtool-rs: counted goat goat",
            "over 1240\r\nobjtool-rs: counted sheep",
        );
        assert!(back.starts_with("`sheep` was counted"), "{back}");
        let early = error(
            "counted sheep",
            "counted goat goat\r\nobjtool-rs: counted sheep",
        );
        assert!(early.starts_with("`goat goat` was counted"), "{early}");
        assert_eq!(error("over 1240", "x"), "the transition did not end");
        assert!(error("in herd_count", "running").contains("was not among"));
        assert!(error("end", "x").starts_with("the report has no end"));
        assert!(error("end", "complaint BUG: x").contains("complains: BUG: x"));
    }
}

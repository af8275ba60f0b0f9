//! The objects of a build without a run of objtool each, joined into a few linked ones.
//!
//! Where landing pads are tracked, the kernel's build leaves objtool to the linked kernel, which is
//! large: two tools need seconds for each mutant of it. Joined by folders, its objects are as small
//! as those of another build, and what one refers to in another is resolved still.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use super::plan::Object;
use crate::cmd;

/// How objects are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Into a few that are large enough for most of what one refers to in another.
    Few,
    /// Into many that are gone through fast.
    Many,
}

impl Parts {
    /// Which objects the first of them holds.
    fn entry(self) -> &'static [&'static str] {
        match self {
            Self::Few => ENTRY,
            Self::Many => ENTRY_ALONE,
        }
    }

    /// How large the others are, in bytes.
    fn size(self) -> u64 {
        match self {
            Self::Few => 1 << 20,
            Self::Many => 100 << 10,
        }
    }
}

/// Entry code, and what makes returns safe.
const ENTRY_ALONE: &[&str] = &[
    "arch/x86/entry/entry.o",
    "arch/x86/entry/entry_64.o",
    "arch/x86/lib/retpoline.o",
    "kernel/entry/",
];

/// What entry code leads to before returns are safe, and text that must not be instrumented. A
/// folder ends with a slash.
const ENTRY: &[&str] = &[
    "arch/x86/entry/",
    "arch/x86/kernel/alternative.o",
    "arch/x86/kernel/apic/apic.o",
    "arch/x86/kernel/cpu/acrn.o",
    "arch/x86/kernel/cpu/mce/",
    "arch/x86/kernel/head_64.o",
    "arch/x86/kernel/idt.o",
    "arch/x86/kernel/irq.o",
    "arch/x86/kernel/irq_work.o",
    "arch/x86/kernel/nmi.o",
    "arch/x86/kernel/process.o",
    "arch/x86/kernel/process_64.o",
    "arch/x86/kernel/reboot.o",
    "arch/x86/kernel/smp.o",
    "arch/x86/kernel/smpboot.o",
    "arch/x86/kernel/traps.o",
    "arch/x86/lib/",
    "arch/x86/mm/extable.o",
    "arch/x86/mm/fault.o",
    "arch/x86/mm/tlb.o",
    "drivers/cpuidle/",
    "kernel/context_tracking.o",
    "kernel/entry/",
    "kernel/exit.o",
    "kernel/sched/clock.o",
    "kernel/sched/idle.o",
];

/// What the build does not ask for, though its code can be judged by it.
const MORE: [&str; 2] = ["--mcount", "--sls"];

/// Joins the objects of the build in `build` below `dir`; `args` is what the linked kernel's objtool
/// was given.
///
/// # Errors
/// The build is not there, or the linker fails.
pub fn join(build: &Path, dir: &Path, args: &[String], parts: Parts) -> Result<Vec<Object>> {
    // From inside the folder: members of a thin archive are named from where one stands.
    let mut listing = Command::new("ar");
    listing.current_dir(build).args(["t", "vmlinux.a"]);
    let list = cmd::stdout(&mut listing)
        .with_context(|| format!("cannot list the objects of {}", build.display()))?;
    let mut members = Vec::new();
    for name in list.lines() {
        let path = build.join(name);
        let size = fs::metadata(&path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .len();
        members.push((name, size));
    }
    let mut args = args.to_vec();
    args.extend(MORE.map(str::to_owned));

    let mut objects = Vec::new();
    for group in groups(&members, parts) {
        let name = name(&objects, &group);
        let input = dir.join(&name);
        link(build, &group, &input)?;
        objects.push(Object {
            name,
            input,
            args: args.clone(),
        });
    }
    if objects.is_empty() {
        bail!(
            "the archive vmlinux.a in {} holds no object",
            build.display()
        );
    }
    Ok(objects)
}

/// Which members are joined: those of the entry code, then neighbours up to a size.
fn groups<'m>(members: &[(&'m str, u64)], parts: Parts) -> Vec<Vec<&'m str>> {
    let is_entry = |name: &str| {
        parts
            .entry()
            .iter()
            .any(|entry| name == *entry || (entry.ends_with('/') && name.starts_with(entry)))
    };
    let (entry, others): (Vec<_>, Vec<_>) = members.iter().partition(|(name, _)| is_entry(name));
    let mut groups = vec![entry.into_iter().map(|(name, _)| name).collect::<Vec<_>>()];
    let mut group = Vec::new();
    let mut total = 0;
    for (name, size) in others {
        if total + size > parts.size() && !group.is_empty() {
            groups.push(std::mem::take(&mut group));
            total = 0;
        }
        group.push(name);
        total += size;
    }
    groups.push(group);
    groups.retain(|group| !group.is_empty());
    groups
}

/// A name that says what an object begins with, as one that a mutant's name can hold.
fn name(objects: &[Object], group: &[&str]) -> String {
    let first = group.first().and_then(|name| name.rsplit_once('/'));
    let folder = first.map_or("", |(folder, _)| folder).replace('/', "-");
    format!("joined/{}-{folder}.o", objects.len())
}

fn link(build: &Path, group: &[&str], output: &PathBuf) -> Result<()> {
    let folder = output.parent().context("an object needs a folder")?;
    fs::create_dir_all(folder)?;
    let mut command = Command::new("ld");
    command
        .current_dir(build)
        .args(["-r", "-m", "elf_x86_64", "-z", "noexecstack", "-o"])
        .arg(output)
        .args(group);
    cmd::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_code_comes_first_and_nothing_is_left_out() {
        let size = Parts::Few.size();
        let half = size / 2 + 1;
        let members = [
            ("init/main.o", half),
            ("arch/x86/entry/entry_64.o", size),
            ("arch/x86/lib/retpoline.o", size),
            ("arch/x86/library.o", 1),
            ("fs/open.o", half),
            ("fs/huge.o", 3 * size),
            ("kernel/exit.o", 1),
        ];
        let many = groups(&members, Parts::Many);
        let alone = ["arch/x86/entry/entry_64.o", "arch/x86/lib/retpoline.o"];
        assert_eq!((many[0].as_slice(), many.len()), (alone.as_slice(), 6));
        let groups = groups(&members, Parts::Few);
        let expected: [&[&str]; 4] = [
            &[
                "arch/x86/entry/entry_64.o",
                "arch/x86/lib/retpoline.o",
                "kernel/exit.o",
            ],
            &["init/main.o", "arch/x86/library.o"],
            &["fs/open.o"],
            &["fs/huge.o"],
        ];
        assert_eq!(groups, expected);
    }

    #[test]
    fn names_differ_and_hold_no_colon() {
        let object = |name: String| Object {
            name,
            input: PathBuf::new(),
            args: Vec::new(),
        };
        let first = name(&[], &["fs/ext4/b.o", "fs/a.o"]);
        assert_eq!(first, "joined/0-fs-ext4.o");
        let second = name(&[object(first.clone())], &["fs/ext4/c.o"]);
        assert_ne!(first, second);
    }
}

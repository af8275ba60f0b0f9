//! `./x parity flags`: which of objtool's flags the recorded builds exercised, so that it can be seen
//! whether the comparisons leave one out.
//!
//! What flags there are is taken from the kernel's own makefiles, not from a list of this project.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{bail, Context, Result};

use crate::configs::CONFIGS;
use crate::paths::Kernel;

/// The makefiles that give objtool its flags.
const MAKEFILES: [&str; 2] = ["scripts/Makefile.lib", "scripts/Makefile.vmlinux_o"];

/// Flags for those who debug objtool or look for slow builds; they change nothing in the output.
const NOT_ABOUT_OUTPUT: [&str; 2] = ["--dryrun", "--stats"];

/// Prints the table.
///
/// # Errors
/// No build is recorded, or none exercised one of the flags.
pub fn run() -> Result<()> {
    let kernel = Kernel::installed()?;
    let mut flags = BTreeSet::new();
    for makefile in MAKEFILES {
        let path = kernel.source().join(makefile);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        flags.extend(flags_of(&text));
    }
    if flags.len() < 10 {
        bail!("the makefiles of {} name only {flags:?}", kernel.version());
    }

    let mut builds: Vec<(&str, BTreeMap<String, usize>)> = Vec::new();
    for config in CONFIGS {
        if !kernel.corpus_dir(config.name).join("in").is_dir() {
            println!(
                "{} is not recorded; ./x parity {} does that",
                config.name, config.name
            );
            continue;
        }
        let mut counts = BTreeMap::new();
        for object in kernel.corpus(config.name)? {
            for arg in &object.args {
                *counts.entry(without_value(arg).to_owned()).or_default() += 1;
            }
        }
        builds.push((config.name, counts));
    }
    if builds.is_empty() {
        bail!("no build is recorded");
    }
    let (table, unused) = table(&flags, &builds);
    println!("\n{table}");
    if !unused.is_empty() {
        bail!("no recorded build was given {}", unused.join(", "));
    }
    println!("every flag that a build can give is exercised");
    Ok(())
}

/// By flag and build, how many objects were given it; and the flags that none was.
fn table<'f>(
    flags: &'f BTreeSet<String>,
    builds: &[(&str, BTreeMap<String, usize>)],
) -> (String, Vec<&'f str>) {
    let mut text = format!("{:<22}", "objects with");
    for (name, _) in builds {
        let name = name.strip_prefix("x86_64-").unwrap_or(name);
        text += &format!("{name:>12}");
    }
    let mut unused = Vec::new();
    for flag in flags {
        text += &format!("\n{flag:<22}");
        let mut is_used = false;
        for (_, counts) in builds {
            let count = counts.get(flag).copied().unwrap_or(0);
            is_used |= count > 0;
            text += &match count {
                0 => format!("{:>12}", "-"),
                count => format!("{count:>12}"),
            };
        }
        if !is_used {
            unused.push(flag.as_str());
        }
    }
    (text + "\n", unused)
}

/// The flags that a makefile adds to objtool's.
fn flags_of(makefile: &str) -> BTreeSet<String> {
    let mut is_continued = false;
    let mut flags = BTreeSet::new();
    for line in makefile.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        if is_continued || line.contains("objtool-args") {
            let words = line.split(|c: char| c.is_whitespace() || "(),;".contains(c));
            let words = words.filter(|word| word.starts_with("--"));
            flags.extend(words.map(|word| without_value(word).to_owned()));
            is_continued = line.ends_with('\\');
        }
    }
    flags.retain(|flag| !NOT_ABOUT_OUTPUT.contains(&flag.as_str()));
    flags
}

/// A flag without a number behind it; the hacks are flags of their own.
fn without_value(flag: &str) -> &str {
    match flag.split_once('=') {
        Some((name, _)) if name != "--hacks" => name,
        _ => flag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKEFILE: &str = "\
        # objtool-args-y += --comment\n\
        objtool-args-$(CONFIG_HACK)\t+= --hacks=jump_label\n\
        objtool-args-$(CONFIG_PREFIX)\t+= --prefix=$(CONFIG_BYTES)\n\
        vmlinux-objtool-args-$(CONFIG_N) += --noinstr \\\n\
        \t$(if $(or $(CONFIG_A),$(CONFIG_B)), --unret)\n\
        objtool-args = $(vmlinux-objtool-args-y) --link\n\
        ld_flags = --gc-sections\n";

    #[test]
    fn flags_are_found_in_a_makefile() {
        let flags: Vec<String> = flags_of(MAKEFILE).into_iter().collect();
        assert_eq!(
            flags,
            [
                "--hacks=jump_label",
                "--link",
                "--noinstr",
                "--prefix",
                "--unret"
            ]
        );
    }

    #[test]
    fn a_flag_that_no_build_has_is_told() {
        let flags = flags_of(MAKEFILE);
        let all = |but: &str| {
            let counts = flags.iter().filter(|flag| *flag != but);
            counts
                .map(|flag| (flag.clone(), 7))
                .collect::<BTreeMap<_, _>>()
        };
        let builds = [("x86_64-a", all("--unret")), ("b", all("--link"))];
        assert_eq!(table(&flags, &builds).1, [""; 0]);
        let (text, unused) = table(&flags, &builds[..1]);
        assert_eq!(unused, ["--unret"]);
        assert!(
            text.contains("--link") && !text.contains("x86_64"),
            "{text}"
        );
    }
}

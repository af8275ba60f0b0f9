//! `./x bench unwind`: what walks cost in the kernel, by our unwinder and by C's, side by side in one
//! boot, with frame pointers and with ORC; and how much a kernel's image grows with ours.
//!
//! What walks cost is measured by the module of `./x kernel test unwind`, in its kernels. Room is
//! measured on pairs of kernels without any tests, one with C's unwinder and one with ours, that are
//! the same otherwise; [`Growth`] says what counts. Bars: no walk and no frame may cost more than C's,
//! and the image may grow by one and a half times the size of the object that C's unwinder is.

use std::fmt;
use std::path::Path;

use anyhow::{bail, Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags};

use super::room::read;
use crate::configs::Config;
use crate::kernel::{build, unwind};
use crate::paths::Tool;
use crate::setup;

/// By how much the image may grow, in parts of the size of C's object.
const ROOM: f64 = 1.5;

/// For each configuration of the test, the kernels that are compared: with C's unwinder, with ours;
/// and C's object.
const PAIRS: [(&str, [&str; 2], &str); 2] = [
    (
        "x86_64-fp-unwind-test",
        ["x86_64-fp", "x86_64-fp-unwind"],
        "arch/x86/kernel/unwind_frame.o",
    ),
    (
        "x86_64-orc-unwind-test",
        ["x86_64-orc", "x86_64-orc-unwind"],
        "arch/x86/kernel/unwind_orc.o",
    ),
];

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
    let configs = unwind::chosen(args.config.as_deref())?;
    setup::run()?;
    let mut missed = Vec::new();
    for config in configs {
        let name = config.name;
        let built = build::run(config, Tool::Rs)?;
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
        let growth = Growth::measure(name)?;
        println!("{growth}");
        let ratio = growth.ratio();
        if ratio > ROOM {
            missed.push(format!(
                "{name}: the image grows by {ratio:.2} of C's object"
            ));
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

/// By how much an image grows when our unwinder takes the place of C's.
///
/// What counts is all that was compiled and is loaded: the code, constants and data of everything
/// that is linked into the image, with what is given back after the start, less the same of the
/// kernel with C's unwinder, whose object is no longer built. Tables that tools make of the whole
/// image do not count, as they do not in the size of C's object; they are told apart.
#[derive(Debug)]
struct Growth {
    /// C's object: all sections of it that `size` counts.
    object: u64,
    /// The image, with C's unwinder and with ours.
    compiled: [u64; 2],
    /// The tables of objtool in it: ORC, call sites and the like.
    annotated: [u64; 2],
    /// The table of text that keeps no frame.
    unreliable: u64,
    /// The names of symbols.
    names: [u64; 2],
}

impl Growth {
    fn measure(name: &str) -> Result<Self> {
        let (_, [with_c, with_ours], object) =
            PAIRS
                .into_iter()
                .find(|(test, ..)| *test == name)
                .with_context(|| format!("there are no kernels to compare for {name}"))?;
        let c = build::run(Config::named(with_c)?, Tool::C)?.dir;
        let ours = build::run(Config::named(with_ours)?, Tool::Rs)?.dir;
        let mut growth = Self {
            object: Sections::of(&c.join(object))?.all,
            compiled: [0; 2],
            annotated: [0; 2],
            unreliable: 0,
            names: [0; 2],
        };
        for (which, folder) in [c, ours].into_iter().enumerate() {
            // All that is linked in, before the sections are rounded up to pages.
            let sections = Sections::of(&folder.join("vmlinux.o"))?;
            growth.compiled[which] = sections.compiled;
            growth.annotated[which] = sections.annotated;
            let path = folder.join("vmlinux");
            let data = read(&path)?;
            let image = object::File::parse(&*data)
                .with_context(|| format!("cannot read the image {}", path.display()))?;
            growth.names[which] =
                between(&image, "kallsyms_num_syms", "kallsyms_seqs_of_names").unwrap_or(0);
            if which == 1 {
                let begin = between(&image, "unreliable_text_count", "unreliable_text");
                growth.unreliable = match begin {
                    Some(head) => head + 8 * u64::from(word(&image, "unreliable_text_count")?),
                    None => 0,
                };
            }
        }
        Ok(growth)
    }

    fn grown([before, after]: [u64; 2]) -> i64 {
        after as i64 - before as i64
    }

    fn ratio(&self) -> f64 {
        Self::grown(self.compiled) as f64 / self.object as f64
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  room: the image grows by {} bytes of code, constants and data, its start-up's too, net \
             of C's object, which had {}: {:.2} of it, where {ROOM} is allowed",
            Self::grown(self.compiled),
            self.object,
            self.ratio(),
        )?;
        write!(
            f,
            "  made of the whole image by tools, and not counted: objtool's tables {:+}, text that \
             keeps no frame {:+}, names of symbols {:+}",
            Self::grown(self.annotated),
            self.unreliable,
            Self::grown(self.names),
        )
    }
}

/// Bytes of an object's sections.
#[derive(Debug, Default, PartialEq)]
struct Sections {
    /// All that take room in memory.
    all: u64,
    /// Those of them that were compiled and stay when the image is linked.
    compiled: u64,
    /// Those of them that objtool adds.
    annotated: u64,
}

impl Sections {
    fn of(file: &Path) -> Result<Self> {
        let data = read(file)?;
        let object = object::File::parse(&*data)
            .with_context(|| format!("cannot read the object {}", file.display()))?;
        let mut sum = Self::default();
        for section in object.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
                continue;
            };
            if sh_flags.0 & object::elf::SHF_ALLOC.0 != 0 {
                sum.add(section.name()?, section.size());
            }
        }
        if sum.all == 0 {
            bail!("{} holds nothing that is loaded", file.display());
        }
        Ok(sum)
    }

    fn add(&mut self, name: &str, size: u64) {
        // By the kernel's linker script: DISCARDS, and what modpost reads.
        const DISCARDED: [&str; 6] = [
            ".discard",
            ".export_symbol",
            ".modinfo",
            "__patchable_function_entries",
            ".note",
            ".exitcall",
        ];
        const ANNOTATED: [&str; 6] = [
            ".orc_",
            ".return_sites",
            ".call_sites",
            ".retpoline_sites",
            ".ibt_endbr_seal",
            ".static_call_sites",
        ];
        let is = |names: &[&str]| names.iter().any(|begin| name.starts_with(begin));
        self.all += size;
        if is(&ANNOTATED) {
            self.annotated += size;
        } else if !is(&DISCARDED) {
            self.compiled += size;
        }
    }
}

/// How far the second symbol lies behind the first, if both are there.
fn between(image: &object::File<'_>, first: &str, second: &str) -> Option<u64> {
    let place = |name| image.symbol_by_name(name).map(|symbol| symbol.address());
    let (first, second) = place(first).zip(place(second))?;
    Some(second.wrapping_sub(first))
}

/// The 32-bit word at a symbol.
fn word(image: &object::File<'_>, name: &str) -> Result<u32> {
    let bytes = image.symbol_by_name(name).and_then(|symbol| {
        let section = image.section_by_index(symbol.section_index()?).ok()?;
        section.data_range(symbol.address(), 4).ok()?
    });
    let bytes = bytes.with_context(|| format!("the image has no {name}"))?;
    Ok(u32::from_le_bytes(bytes.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_of_the_test_has_a_pair() {
        for config in unwind::chosen(None).unwrap() {
            let pair = PAIRS.iter().find(|(test, ..)| *test == config.name);
            let (_, kernels, _) = pair.expect(config.name);
            for kernel in kernels {
                assert!(Config::named(kernel).is_ok(), "{kernel}");
            }
        }
    }

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

    #[test]
    fn what_counts_is_what_was_compiled_and_stays() {
        let mut sections = Sections::default();
        for (name, size) in [
            (".text", 1000),
            (".init.text", 200),
            (".orc_unwind", 60),
            (".return_sites", 5),
            (".discard.addressable", 24),
            ("__mcount_loc", 8),
        ] {
            sections.add(name, size);
        }
        let expected = Sections {
            all: 1297,
            compiled: 1208,
            annotated: 65,
        };
        assert_eq!(sections, expected);
    }

    #[test]
    fn an_image_grows_by_the_difference() {
        let growth = Growth {
            object: 1000,
            compiled: [50_000, 52_500],
            annotated: [10, 20],
            unreliable: 0,
            names: [0, 0],
        };
        assert!((growth.ratio() - 2.5).abs() < 1e-9);
        let text = growth.to_string();
        assert!(
            text.contains("grows by 2500 bytes") && text.contains("2.50 of it"),
            "{text}"
        );
        assert!(text.contains("objtool's tables +10"), "{text}");
    }
}

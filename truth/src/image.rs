//! A linked kernel as its unwinder knows it: text, functions, entry code, ORC tables, the
//! validator's table. Read from the file, as the kernel's build left it.
//!
//! Not here: running it ([`crate::memory`] lays it out), and asking it ([`crate::snapshot`]).

use anyhow::{bail, Context, Result};
use arch::frame::Origin;
use arch_x86_64::entry;
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use object::{Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _};
use object::{SectionKind, SymbolKind};
use unwind::orc::table::{Addresses, Blocks, Table};
use unwind::ranges::{Base, EntryCode, Range, UnreliableText};

use crate::patch::{self, Sites};

/// Sections of code that is never run where it lies, but copied over other code.
const COPIED: &str = ".altinstr_replacement";

/// The tracer's entries: what a traced function calls before it does anything, and nobody else. They
/// make up return addresses.
const TRACERS: [&str; 2] = ["ftrace_caller", "ftrace_regs_caller"];

/// Instructions in the midst of another one: what calls them never sees its return address again, and
/// needs no frame (`arch_is_embedded_insn` of `tools/objtool/arch/x86/decode.c`).
const EMBEDDED: [&str; 2] = ["retbleed_return_thunk", "srso_safe_ret"];

/// A piece of the image, to be laid out in memory.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where it lies.
    pub address: u64,
    /// What it is filled with.
    pub bytes: Vec<u8>,
    /// Bytes in all; those behind `bytes` are zero.
    pub size: u64,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, the first of several.
    pub name: String,
    /// Its first byte.
    pub begin: u64,
    /// The one behind its last.
    pub end: u64,
}

/// ORC entries as the kernel has them in memory once it has sorted them.
#[derive(Clone, Debug)]
pub struct OrcTables {
    at: u64,
    distances: Vec<i32>,
    entries: Vec<[u8; 6]>,
    start: u64,
    stop: u64,
    firsts: Vec<u32>,
}

impl OrcTables {
    /// The entry for an address, as the kernel looks it up.
    pub fn find(&self, address: u64) -> Option<[u8; 6]> {
        let addresses = Addresses::new(self.at, &self.distances);
        let table = Table::new(addresses, &self.entries).ok()?;
        if (self.start..self.stop).contains(&address) {
            table.find_in(&Blocks::new(self.start, self.stop, &self.firsts), address)
        } else {
            table.find(address)
        }
    }

    /// The tables with each entry at its successor's address: wrong on purpose.
    pub fn shifted(&self) -> Self {
        let mut tables = self.clone();
        tables.entries.rotate_right(1);
        tables
    }
}

/// A kernel.
#[derive(Clone, Debug)]
pub struct Image {
    /// What is laid out in memory, by address. The template of the per-CPU data is not among it.
    pub segments: Vec<Segment>,
    /// The per-CPU data of a CPU.
    pub per_cpu: Vec<u8>,
    /// Where this CPU keeps how far its data lies from the template's addresses.
    pub per_cpu_offset: u64,
    /// The table of the same for all CPUs, in memory.
    pub per_cpu_offsets: u64,
    /// Functions that are called, by address: no entry code, and each address once.
    pub functions: Vec<Function>,
    /// Where `WARN` stops: the processor's exception leads back behind it.
    pub warnings: Vec<u64>,
    /// A place in entry code that registers of the kernel lie in front of, for each event.
    pub interruptions: Vec<u64>,
    /// Where calls lead that nobody returns from ([`EMBEDDED`]).
    pub embedded: Vec<u64>,
    /// Where the first function of a task returns to.
    pub fork_return: u64,
    /// The first instruction of a new task.
    pub fork: u64,
    /// ORC entries, if it has some.
    pub orc: Option<OrcTables>,
    text: Vec<(u64, u64)>,
    symbols: Vec<Function>,
    labels: Vec<Function>,
    entry_code: Vec<EntryCode>,
    unreliable: Vec<Range>,
    base: u64,
    /// Where bits are counted, and the calls that stood there.
    counting: Vec<(u64, Vec<u8>)>,
    call_sites: Vec<u64>,
    /// What the kernel changes in its text when it boots.
    sites: Sites,
    /// Every address is said to follow a call: wrong on purpose.
    credulous: bool,
}

impl Image {
    /// Reads a linked kernel, and judges its text if it has no ORC entries.
    ///
    /// # Errors
    /// It is no kernel of this architecture, or one without something that every kernel has.
    pub fn read(data: &[u8]) -> Result<Self> {
        let file = object::File::parse(data).context("it is no object file")?;
        let names = Names::new(&file)?;
        let mut segments = Vec::new();
        let mut per_cpu = Vec::new();
        for segment in file.segments() {
            let mut bytes = segment.data()?.to_vec();
            if segment.address() == names.of("__per_cpu_start")? {
                bytes.resize(usize::try_from(segment.size())?, 0);
                per_cpu = bytes;
                continue;
            }
            segments.push(Segment {
                address: segment.address(),
                bytes,
                size: segment.size(),
            });
        }
        let mut text = Vec::new();
        for section in file.sections() {
            if section.kind() == SectionKind::Text && section.name()? != COPIED {
                text.push((section.address(), section.address() + section.size()));
            }
        }
        text.sort_unstable();
        let mut image = Self {
            segments,
            per_cpu,
            per_cpu_offset: names.of("this_cpu_off")?,
            per_cpu_offsets: names.of("__per_cpu_offset")?,
            functions: Vec::new(),
            warnings: Vec::new(),
            interruptions: Vec::new(),
            embedded: EMBEDDED
                .iter()
                .filter_map(|name| names.of(name).ok())
                .collect(),
            fork_return: 0,
            fork: names.of("ret_from_fork_asm")?,
            orc: None,
            text,
            symbols: names.functions.clone(),
            labels: names.labels.clone(),
            entry_code: names.entry_code(),
            unreliable: Vec::new(),
            base: names.of("_stext")?,
            counting: Vec::new(),
            call_sites: Vec::new(),
            sites: Sites::default(),
            credulous: false,
        };
        patch::switch_tracer_off(&mut image, &names)?;
        image.sites = Sites::read(&image, &names)?;
        image.counting = patch::assume(&mut image)?;
        image.warnings = image.warnings(&names)?;
        image.functions = image.callable();
        image.call_sites = image.decode_calls();
        if image.functions.is_empty() || image.call_sites.is_empty() {
            bail!("it has no functions that call");
        }
        image.fork_return = image
            .last_call(image.fork)
            .context("ret_from_fork_asm calls nothing")?;
        for name in [
            "asm_sysvec_apic_timer_interrupt",
            "asm_exc_page_fault",
            "asm_exc_general_protection",
            "asm_exc_int3",
        ] {
            if let Ok(begin) = names.of(name) {
                let call = image.last_call(begin);
                let call = call.with_context(|| format!("{name} calls nothing"))?;
                image.interruptions.push(call);
            }
        }
        if image.interruptions.is_empty() {
            bail!("it has none of the interrupts that are known here");
        }
        match file.section_by_name(".orc_unwind") {
            Some(_) => image.orc = Some(image.orc_tables(&file, &names)?),
            None => image.unreliable = unreliable_text(data, image.base)?,
        }
        Ok(image)
    }

    /// The bytes from an address on, at most `len` of them.
    pub fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        let after = self.segments.partition_point(|s| s.address <= address);
        let segment = &self.segments[after.checked_sub(1)?];
        let rest = segment
            .bytes
            .get(usize::try_from(address - segment.address).ok()?..)?;
        rest.get(..len.min(rest.len()))
    }

    /// Whether code lies at an address.
    pub fn is_text(&self, address: u64) -> bool {
        let after = self.text.partition_point(|(begin, _)| *begin <= address);
        after > 0 && address < self.text[after - 1].1
    }

    /// The stretches of code, by address.
    pub fn text(&self) -> &[(u64, u64)] {
        &self.text
    }

    /// The function that an address lies in, entry code included; where there is none, what lies
    /// behind a label.
    pub fn function_at(&self, address: u64) -> Option<&Function> {
        if !self.is_text(address) {
            return None;
        }
        let at = |all: &'_ [Function]| {
            let after = all.partition_point(|f| f.begin <= address);
            // An alias may begin later and end earlier: those before it are asked too.
            let first = after.saturating_sub(8);
            let near = all[first..after].iter().rposition(|f| address < f.end);
            near.map(|index| first + index)
        };
        match at(&self.symbols) {
            Some(index) => self.symbols.get(index),
            None => self.labels.get(at(&self.labels)?),
        }
    }

    /// Whether a function or a label begins exactly there.
    pub fn has_symbol(&self, address: u64) -> bool {
        let begins = |all: &[Function]| all.binary_search_by_key(&address, |f| f.begin).is_ok();
        begins(&self.symbols) || begins(&self.labels)
    }

    /// An address as people write it: function and offset.
    pub fn name(&self, address: u64) -> String {
        match self.function_at(address) {
            Some(f) => format!("{}+{:#x}", f.name, address - f.begin),
            None => format!("{address:#x}"),
        }
    }

    /// The entry code that an address lies in.
    pub fn origin(&self, address: u64) -> Option<Origin> {
        unwind::ranges::origin(&self.entry_code, address)
    }

    /// The validator's table.
    pub fn unreliable(&self) -> UnreliableText<'_> {
        UnreliableText::new(Base::Image(self.base), &self.unreliable)
    }

    /// How many ranges the validator's table has.
    pub fn unreliable_ranges(&self) -> usize {
        self.unreliable.len()
    }

    /// The image as it was linked where bits are counted, which is by calls without a frame: a
    /// processor that has no instruction for it would be walked wrongly there. Also the functions
    /// that do so.
    pub fn with_calls_without_frame(&self) -> (Self, Vec<&Function>) {
        let mut image = self.clone();
        let mut functions = Vec::new();
        for (place, call) in &self.counting {
            if let Some(code) = image.bytes_mut(*place, call.len()) {
                code.copy_from_slice(call);
            }
            functions.extend(self.function_at(*place));
        }
        functions.sort_by_key(|function| function.begin);
        functions.dedup();
        (image, functions)
    }

    /// The image with every address said to follow a call: wrong on purpose.
    pub fn credulous(&self) -> Self {
        Self {
            credulous: true,
            ..self.clone()
        }
    }

    /// The image as it is once the kernel has booted on a processor of these years, and how many
    /// places of its text were changed for that.
    ///
    /// # Errors
    /// A place lies outside the image.
    pub fn booted(&self) -> Result<(Self, usize)> {
        let mut image = self.clone();
        let changed = patch::boot(&mut image, &self.sites)?;
        image.call_sites = image.decode_calls();
        Ok((image, changed))
    }

    /// Boot's own list of places.
    pub(crate) fn sites(&self) -> &Sites {
        &self.sites
    }

    /// The eight bytes in front of an address, as an unwinder gets to see them.
    pub fn bytes_before(&self, address: u64) -> Option<[u8; 8]> {
        const CALL: [u8; 8] = [0, 0, 0, 0xe8, 0, 0, 0, 0];
        let bytes = self.bytes(address.wrapping_sub(8), 8)?.try_into().ok()?;
        Some(if self.credulous { CALL } else { bytes })
    }

    /// The image with its ORC entries a place off: wrong on purpose.
    pub fn with_shifted_orc(&self) -> Self {
        Self {
            orc: self.orc.as_ref().map(OrcTables::shifted),
            ..self.clone()
        }
    }

    /// Functions that a call may lead to.
    fn callable(&self) -> Vec<Function> {
        let mut last = 0;
        let mut found = Vec::new();
        for function in self.symbols.iter() {
            let padding =
                function.name.starts_with("__pfx_") || function.name.starts_with("__cfi_");
            let entered =
                self.origin(function.begin).is_some() || TRACERS.contains(&function.name.as_str());
            if function.begin != last && !padding && !entered && self.is_text(function.begin) {
                last = function.begin;
                found.push(function.clone());
            }
        }
        found
    }

    /// Where calls return to, by address.
    pub fn call_sites(&self) -> &[u64] {
        &self.call_sites
    }

    fn decode_calls(&self) -> Vec<u64> {
        let mut found = Vec::new();
        for function in &self.symbols {
            let size = function.end.saturating_sub(function.begin) as usize;
            let Some(code) = self.bytes(function.begin, size) else {
                continue;
            };
            for insn in Decoder::with_ip(64, code, function.begin, DecoderOptions::NONE) {
                if insn.mnemonic() == Mnemonic::Call {
                    found.push(insn.next_ip());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Where the last call of the function at `begin` returns to.
    fn last_call(&self, begin: u64) -> Option<u64> {
        let function = self.function_at(begin)?;
        let size = usize::try_from(function.end - begin).ok()?;
        let code = self.bytes(begin, size)?;
        let insns = Decoder::with_ip(64, code, begin, DecoderOptions::NONE);
        let calls = insns.into_iter().filter(|i| i.mnemonic() == Mnemonic::Call);
        calls.last().map(|call| call.next_ip())
    }

    pub(crate) fn bytes_mut(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        let after = self.segments.partition_point(|s| s.address <= address);
        let segment = self.segments.get_mut(after.checked_sub(1)?)?;
        let at = usize::try_from(address - segment.address).ok()?;
        segment.bytes.get_mut(at..at.checked_add(len)?)
    }

    /// The addresses in `__bug_table` that are only warnings (`struct bug_entry`,
    /// `include/asm-generic/bug.h`: three distances, a line, flags).
    fn warnings(&self, names: &Names) -> Result<Vec<u64>> {
        const SIZE: usize = 12;
        const WARNING: u8 = 1;
        let (Ok(start), Ok(stop)) = (
            names.of("__start___bug_table"),
            names.of("__stop___bug_table"),
        ) else {
            return Ok(Vec::new());
        };
        let table = self.bytes(start, usize::try_from(stop.saturating_sub(start))?);
        let table = table.context("the table of warnings lies outside the image")?;
        let mut found = Vec::new();
        for (index, entry) in table.chunks_exact(SIZE).enumerate() {
            let distance = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
            let place = start + (SIZE * index) as u64;
            if entry[10] & WARNING != 0 {
                found.push(place.wrapping_add_signed(i64::from(distance)));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn orc_tables(&self, file: &object::File<'_>, names: &Names) -> Result<OrcTables> {
        let section = |name: &str| {
            let section = file.section_by_name(name);
            section.with_context(|| format!("it has no section {name}"))
        };
        let (places, entries) = (section(".orc_unwind_ip")?, section(".orc_unwind")?);
        let distances: Vec<i32> = places.data()?.chunks_exact(4).map(distance).collect();
        let all = entries.data()?.chunks_exact(6);
        let entries: Vec<[u8; 6]> = all.map(|e| [e[0], e[1], e[2], e[3], e[4], e[5]]).collect();
        let at = places.address();
        let (start, stop) = (names.of("_stext")?, names.of("_etext")?);
        // The kernel's build has sorted them; it goes on from there.
        let addresses = Addresses::new(at, &distances);
        if let Some(index) = addresses.out_of_order() {
            bail!("the ORC entry {index} is out of order");
        }
        let mut firsts = vec![0; usize::try_from(Blocks::places(start, stop))?];
        Blocks::fill(&mut firsts, &addresses, start, stop)
            .and_then(|()| Table::new(addresses, &entries).map(|_| ()))
            .map_err(|bad| anyhow::anyhow!("{}", bad.text()))?;
        Ok(OrcTables {
            at,
            distances,
            entries,
            start,
            stop,
            firsts,
        })
    }
}

/// Eight bytes as a word.
pub(crate) fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

pub(crate) fn distance(bytes: &[u8]) -> i32 {
    word(bytes) as i32
}

/// The validator's table, as `objtool-rs verify --unreliable-text` writes it.
fn unreliable_text(data: &[u8], base: u64) -> Result<Vec<Range>> {
    let file = objtool_rs::verify::read(data)?;
    let report =
        objtool_rs::verify::verify(&file, objtool_rs::verify::Request::default(), &|_| ())?;
    if !report.verdict.holds() {
        bail!("its text does not keep the frame-pointer convention, says objtool-rs verify");
    }
    let row = |range: &objtool_rs::verify::Range| {
        Ok(Range {
            distance: i32::try_from(range.address as i64 - base as i64)?,
            size: u32::try_from(range.size)?,
        })
    };
    report.unreliable.iter().map(row).collect()
}

/// The symbols of an image.
pub(crate) struct Names {
    places: rustc_hash::FxHashMap<String, u64>,
    functions: Vec<Function>,
    labels: Vec<Function>,
}

impl Names {
    fn new(file: &object::File<'_>) -> Result<Self> {
        let mut places = rustc_hash::FxHashMap::default();
        let (mut functions, mut labels) = (Vec::new(), Vec::new());
        for symbol in file.symbols() {
            let (Ok(name), true) = (symbol.name(), symbol.is_definition()) else {
                continue;
            };
            places.entry(name.to_owned()).or_insert(symbol.address());
            let entered = entry::origin(name.as_bytes()).is_some();
            let function = Function {
                name: name.to_owned(),
                begin: symbol.address(),
                end: symbol.address() + symbol.size(),
            };
            match symbol.kind() {
                SymbolKind::Text => functions.push(function),
                _ if entered => functions.push(function),
                SymbolKind::Unknown | SymbolKind::Label => labels.push(function),
                _ => {}
            }
        }
        if functions.is_empty() {
            bail!("it has no symbols; take the vmlinux of a build, not a stripped one");
        }
        let order = |a: &Function, b: &Function| (a.begin, &a.name).cmp(&(b.begin, &b.name));
        functions.sort_by(order);
        labels.sort_by(order);
        // Labels have no size: they go on to what comes next.
        let all = functions.iter().chain(&labels).map(|f| f.begin);
        let mut begins: Vec<u64> = all.collect();
        begins.sort_unstable();
        for function in functions.iter_mut().chain(&mut labels) {
            if function.end == function.begin {
                let next = begins.partition_point(|begin| *begin <= function.begin);
                function.end = begins.get(next).copied().unwrap_or(function.begin);
            }
        }
        Ok(Self {
            places,
            functions,
            labels,
        })
    }

    pub(crate) fn of(&self, name: &str) -> Result<u64> {
        let place = self.places.get(name).copied();
        place.with_context(|| format!("it has no symbol {name}"))
    }

    /// Entry code, each stretch up to the next one's begin.
    fn entry_code(&self) -> Vec<EntryCode> {
        let mut found: Vec<EntryCode> = Vec::new();
        for function in &self.functions {
            let Some(origin) = entry::origin(function.name.as_bytes()) else {
                continue;
            };
            if let Some(before) = found.last_mut() {
                before.end = before.end.min(function.begin);
            }
            found.push(EntryCode {
                begin: function.begin,
                end: function.end,
                origin,
            });
        }
        found.retain(|code| code.begin < code.end);
        found
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const TEXT: u64 = 0xffff_ffff_8100_0000;
    const DATA: u64 = 0xffff_ffff_8200_0000;

    /// A kernel of two functions: one calls the other, which returns.
    pub(crate) fn small() -> Image {
        let mut code = vec![0xcc; 0x1000];
        // push %rbp; mov %rsp,%rbp; call callee; pop %rbp; ret
        let caller = [0x55, 0x48, 0x89, 0xe5, 0xe8, 0xf7, 0, 0, 0, 0x5d, 0xc3];
        code[..caller.len()].copy_from_slice(&caller);
        code[0x100] = 0xc3;
        // Where the first function of a task is called.
        code[0x7fb] = 0xe8;
        let function = |name: &str, begin, end| Function {
            name: name.into(),
            begin: TEXT + begin,
            end: TEXT + end,
        };
        let functions = vec![function("caller", 0, 0xb), function("callee", 0x100, 0x101)];
        let mut image = Image {
            segments: vec![
                Segment {
                    address: TEXT,
                    bytes: code,
                    size: 0x1000,
                },
                Segment {
                    address: DATA,
                    bytes: vec![7; 0x20],
                    size: 0x2000,
                },
            ],
            per_cpu: vec![0; 0x40],
            per_cpu_offset: 8,
            per_cpu_offsets: DATA + 0x10,
            functions: functions.clone(),
            warnings: Vec::new(),
            interruptions: Vec::new(),
            embedded: Vec::new(),
            fork_return: TEXT + 0x800,
            fork: TEXT + 0x7f0,
            orc: None,
            text: vec![(TEXT, TEXT + 0x1000)],
            symbols: functions,
            labels: vec![function("label", 0x100, 0x180)],
            entry_code: vec![EntryCode {
                begin: TEXT + 0x7f0,
                end: TEXT + 0x810,
                origin: Origin::Fork,
            }],
            unreliable: Vec::new(),
            base: TEXT,
            counting: Vec::new(),
            call_sites: Vec::new(),
            sites: Sites::default(),
            credulous: false,
        };
        image.call_sites = image.decode_calls();
        image
    }

    #[test]
    fn calls_and_names_are_found() {
        let image = small();
        assert_eq!(image.call_sites(), [TEXT + 9]);
        assert_eq!(image.last_call(TEXT), Some(TEXT + 9));
        assert_eq!(image.name(TEXT + 9), "caller+0x9");
        assert_eq!(image.name(TEXT + 0x100), "callee+0x0");
        assert_eq!(image.name(TEXT + 0x110), "label+0x10");
        assert_eq!(image.name(DATA), format!("{DATA:#x}"));
        assert!(image.has_symbol(TEXT + 0x100) && !image.has_symbol(TEXT + 1));
        assert!(image.is_text(TEXT) && !image.is_text(TEXT + 0x1000) && !image.is_text(DATA));
    }

    #[test]
    fn what_is_no_kernel_is_refused_with_words() {
        let error = Image::read(b"no kernel").unwrap_err().to_string();
        assert_eq!(error, "it is no object file");
    }

    #[test]
    fn entry_code_goes_up_to_the_next() {
        let at = |name: &str, begin, end| Function {
            name: name.into(),
            begin,
            end,
        };
        let names = Names {
            places: rustc_hash::FxHashMap::default(),
            functions: vec![
                at("entry_SYSCALL_64", 0x100, 0x180),
                at("entry_SYSCALL_64_after_hwframe", 0x140, 0x180),
                at("do_syscall_64", 0x180, 0x200),
                at("asm_exc_page_fault", 0x200, 0x240),
            ],
            labels: Vec::new(),
        };
        let stretches = names.entry_code();
        let stretches: Vec<_> = stretches
            .iter()
            .map(|code| (code.begin, code.end))
            .collect();
        assert_eq!(stretches, [(0x100, 0x140), (0x140, 0x180), (0x200, 0x240)]);
    }
}

//! The program behind the bytes: functions, annotations, control flow.
//!
//! Built in one direction from the file and its decoded instructions, by one pass a file, and
//! then only read. Passes report what they can't make sense of; whether the program keeps the
//! rules is for the checks.

mod alternatives;
mod annotations;
mod branches;
mod bug_table;
mod effort;
mod functions;
mod hints;
mod jump_tables;
mod noreturn;
mod noreturn_list;
mod noreturn_paths;
mod owners;
mod paravirt;
mod pointers;
mod roles;
mod tables;
mod uaccess_safe;

use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

use arch::insn::{Decode, Dest, InsnKind, Source, StackOp};
use arch::object::Architecture;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

pub use crate::decode::Target;
use crate::decode::{InsnId, Insns, Marks, Record};
use crate::options::Options;
use crate::parallel;
use crate::read::{ElfFile, FileKind, Reloc, RelocId, SectionId, SymbolId, SymbolKind};
use crate::report::{Abort, Findings, Message, Place};

use branches::Exit;
use owners::{Owner, Owners};

pub use alternatives::{Alternative, Group, GroupId, JumpLabelCounts};
pub use effort::{Effort, Task};
pub use functions::{Hole, Symbols};
pub use hints::{HintKind, HintState};
pub use paravirt::Paravirt;
pub use roles::{Roles, STATIC_CALL_KEY_PREFIX, STATIC_CALL_TRAMPOLINE_PREFIX};

pub(crate) use functions::find as find_bytes;
pub(crate) use tables::check as check_tables;

/// Instructions that a symbol covers: from one of them up to an offset in its section.
struct Covered {
    first: InsnId,
    /// The offset of that.
    start: u64,
    end: u64,
    /// The first instruction from the end on, and its offset.
    behind: Option<(InsnId, u64)>,
    owner: Owner,
}

/// The general case of [`Model::assign_covered`]: what is looked at are the places where the owner may
/// change.
fn assign_overlapping(covered: &[Covered], starts: &mut Vec<(InsnId, Owner)>) {
    let mut by_start: Vec<usize> = (0..covered.len()).collect();
    by_start.sort_by_key(|&i| covered[i].first);
    let starts_at = covered.iter().map(|covered| (covered.first, covered.start));
    let ends = covered.iter().filter_map(|covered| covered.behind);
    let mut places: Vec<(InsnId, u64)> = starts_at.chain(ends).collect();
    // Two stretches, both nearly in order.
    places.sort();
    places.dedup();

    let mut by_start = by_start.into_iter().peekable();
    let mut open = BinaryHeap::new();
    for (insn, offset) in places {
        while let Some(i) = by_start.next_if(|&i| covered[i].first == insn) {
            open.push(i);
        }
        while open.peek().is_some_and(|&i| covered[i].end <= offset) {
            open.pop();
        }
        let owner = open.peek().map(|&i| covered[i].owner);
        starts.push((insn, owner.unwrap_or(Owner::NOBODY)));
    }
}

/// A symbol that covers instructions.
struct Start {
    covered: Covered,
    /// It is a function that begins with a landing pad.
    is_landing_pad: bool,
}

/// What the name of a section says about its code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionRole {
    /// Must not be instrumented.
    pub noinstr: bool,
    /// Runs before user space; gone afterwards.
    pub init: bool,
    /// Holds replacement code, which is copied elsewhere before it runs.
    pub replacement: bool,
    /// May hold jump tables.
    pub rodata: bool,
    /// Is run where it stands.
    pub text: bool,
}

/// Instructions that are listed in the output, in order.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    /// Calls and jumps to static call trampolines.
    pub static_calls: Vec<InsnId>,
    /// Calls and jumps to retpoline thunks.
    pub retpolines: Vec<InsnId>,
    /// Jumps to the return thunk.
    pub returns: Vec<InsnId>,
    /// Other direct calls, those of init text left out.
    pub calls: Vec<InsnId>,
    /// Calls of the function tracer.
    pub traces: Vec<InsnId>,
}

/// Changes to existing bytes and relocations.
#[derive(Clone, Debug, Default)]
pub struct Rewrites {
    /// Relocations that become void.
    pub void_relocs: Vec<RelocId>,
    /// Instructions that get new bytes.
    pub code: Vec<(InsnId, &'static [u8])>,
}

/// What a model is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To check an object, with its annotations, and to annotate it.
    Build,
    /// To judge a linked image, whose annotations are gone.
    Verify,
}

/// A file, its instructions, and what they mean.
#[derive(Debug)]
pub struct Model<'f, A> {
    /// What it is built for.
    pub purpose: Purpose,
    /// The architecture.
    pub arch: A,
    /// What was asked for.
    pub options: &'f Options,
    /// The file.
    pub file: &'f ElfFile<'f>,
    /// Its instructions.
    pub insns: Insns,
    /// Its symbols by address.
    pub symbols: Symbols,
    /// Roles by section.
    pub sections: Vec<SectionRole>,
    /// Symbols by instruction.
    owners: Owners,
    roles: Vec<Roles>,
    alternatives: FxHashMap<InsnId, Vec<Alternative>>,
    groups: Vec<Group>,
    group_of: FxHashMap<InsnId, GroupId>,
    jump_tables: FxHashMap<InsnId, jump_tables::Table>,
    hints: BTreeMap<InsnId, HintState>,
    /// Instructions at which a hint gives the stack state, in order.
    hinted: Vec<InsnId>,
    /// Where a function may be left, in order: returns, indirect branches, and direct jumps that do
    /// not stay in their function. Gone once jump tables are found.
    exits: Vec<Exit>,
    /// Where the stack state is kept for a later restore, in order.
    pub saves: Vec<InsnId>,
    /// From where on a return must not come before returns were made safe, in order.
    pub unret: Vec<InsnId>,
    /// How many more times instrumentation is allowed from an instruction on.
    instrumentation: FxHashMap<InsnId, i8>,
    /// What paravirtual calls may go to.
    pub paravirt: Option<Paravirt>,
    /// Landing pads at the start of functions, in the order in which they were found.
    pub landing_pads: Vec<InsnId>,
    /// Landing pads inside functions.
    pub inner_landing_pads: usize,
    /// What was noticed about instructions while their targets were resolved.
    remarks: Vec<(InsnId, Message)>,
    /// Symbols without a size, by place; only in linked code.
    labels: FxHashMap<Place, SymbolId>,
    /// Branches whose target is not known; only in images, where that is no reason to give up.
    unresolved: FxHashMap<InsnId, Message>,
    /// Whether the file has unwind hints.
    pub has_hints: bool,
    /// Whether unreachable instructions are to be expected.
    pub ignore_unreachable: bool,
    /// What the output lists.
    pub sites: Sites,
    /// What the output changes.
    pub rewrites: Rewrites,
    /// Jump labels met.
    pub jump_labels: JumpLabelCounts,
    /// The work that the file has caused.
    pub effort: Effort,
}

impl<'f, A: Architecture + Decode + Copy + Sync> Model<'f, A> {
    /// A file and its instructions; nothing is resolved yet.
    pub fn new(
        purpose: Purpose,
        arch: A,
        options: &'f Options,
        file: &'f ElfFile<'f>,
        symbols: Symbols,
        insns: Insns,
    ) -> Self {
        Self {
            purpose,
            arch,
            options,
            file,
            owners: Owners::nobody(insns.records()),
            insns,
            symbols,
            sections: section_roles(&arch, file, options),
            roles: roles::classify(&arch, file, options.uaccess),
            alternatives: FxHashMap::default(),
            groups: Vec::new(),
            group_of: FxHashMap::default(),
            jump_tables: FxHashMap::default(),
            hints: BTreeMap::new(),
            hinted: Vec::new(),
            exits: Vec::new(),
            saves: Vec::new(),
            unret: Vec::new(),
            instrumentation: FxHashMap::default(),
            paravirt: None,
            landing_pads: Vec::new(),
            inner_landing_pads: 0,
            remarks: Vec::new(),
            labels: FxHashMap::default(),
            unresolved: FxHashMap::default(),
            has_hints: false,
            ignore_unreachable: options.no_unreachable,
            sites: Sites::default(),
            rewrites: Rewrites::default(),
            jump_labels: JumpLabelCounts::default(),
            effort: Effort::new(file.data.len()),
        }
    }

    /// Works out control flow where the annotations are gone: in a linked image, or a module.
    ///
    /// What they said is recovered from what is still there. A branch that can't be made out is
    /// no reason to give up; it breaks the rules for whoever comes by it.
    ///
    /// # Errors
    ///
    /// [`Abort`] after a finding that leaves the meaning of the whole open.
    pub fn recover(&mut self, findings: &mut Findings) -> Result<(), Abort> {
        self.insns.notes.clear();
        self.find_labels();
        self.assign_symbols(findings)?;
        self.resolve_interrupt_returns();
        alternatives::add(self, findings)?;
        branches::resolve_jumps(self, findings)?;
        let warnings = bug_table::warnings(self, findings)?;
        let noreturn = noreturn_paths::infer(self, &warnings);
        branches::resolve_calls(self, &noreturn, findings)?;
        for insn in warnings {
            self.insns.get_mut(insn).marks.set(Marks::DEAD_END, false);
        }
        jump_tables::add(self, findings)
    }

    /// Works out control flow and reads the annotations.
    ///
    /// # Errors
    ///
    /// [`Abort`] after a finding that leaves the meaning of the code open.
    pub fn resolve(&mut self, findings: &mut Findings) -> Result<(), Abort> {
        self.report_notes(findings);
        if self.options.noinstr {
            paravirt::read(self, findings)?;
        }
        self.assign_symbols(findings)?;
        self.resolve_interrupt_returns();
        annotations::ignored_functions(self, findings);
        annotations::ignored_alternatives(self, findings)?;
        annotations::no_landing_pad(self, findings)?;
        // Before the jumps: replacements get the symbols of what they replace.
        if self.options.walks_branches() || self.options.hack_jump_label {
            alternatives::add(self, findings)?;
        }
        branches::resolve_jumps(self, findings)?;
        // A call that stays inside its function counts as a jump, so before the calls.
        annotations::intra_function_calls(self, findings)?;
        let noreturn = noreturn::infer(self);
        branches::resolve_calls(self, &noreturn, findings)?;
        annotations::reachable(self, findings)?;
        jump_tables::add(self, findings)?;
        hints::read(self, findings)?;
        annotations::retpoline_safe(self, findings)?;
        annotations::instrumentation(self, findings)?;
        annotations::validate_unret(self, findings)
    }

    fn report_notes(&mut self, findings: &mut Findings) {
        for (insn, note) in std::mem::take(&mut self.insns.notes) {
            let place = self.place(insn);
            let (note, hex_prefix) = self.arch.note(note);
            findings.add(Message::EncodingNote {
                note,
                place,
                hex_prefix,
            });
        }
    }

    /// Gives each instruction its symbol. Where symbols overlap, the one that is looked at last
    /// counts.
    fn assign_symbols(&mut self, findings: &mut Findings) -> Result<(), Abort> {
        let pads = self.insns.landing_pads.len();
        let mut listed = FxHashSet::with_capacity_and_hasher(pads, FxBuildHasher);
        let mut starts = Vec::new();
        for section in self.file.section_ids() {
            let bytes = self.file.section(section);
            if !bytes.is_executable() {
                continue;
            }
            let symbols = self.symbols.of_section(section);
            let looked_up = parallel::map_ranges(symbols.len(), 1 << 12, |range| {
                let symbols = symbols[range].iter();
                let looked_up = symbols.filter_map(|&id| self.look_up_start(section, id));
                looked_up.collect::<Vec<_>>()
            });
            let mut covered = Vec::new();
            for start in looked_up.into_iter().flatten() {
                let start = start.map_err(|message| {
                    findings.add(message);
                    Abort
                })?;
                if start.is_landing_pad && listed.insert(start.covered.first) {
                    self.landing_pads.push(start.covered.first);
                }
                covered.push(start.covered);
            }
            self.assign_covered(section, &covered, &mut starts);
        }
        self.owners.assign(starts.into_iter());
        let inner =
            self.insns.landing_pads.iter().filter(|&&pad| {
                self.owners.get(pad).function().is_some() && !listed.contains(&pad)
            });
        self.inner_landing_pads = inner.count();
        Ok(())
    }

    /// Where a symbol starts, if it is one that instructions can belong to; or what is wrong with it.
    fn look_up_start(&self, section: SectionId, id: SymbolId) -> Option<Result<Start, Message>> {
        let symbol = self.file.symbol(id);
        if !matches!(symbol.kind, SymbolKind::NoType | SymbolKind::Function) {
            return None;
        }
        if symbol.value == self.file.section(section).header.size {
            // A label there marks the end; a function would have to have code.
            let is_label = symbol.kind == SymbolKind::NoType || self.purpose == Purpose::Verify;
            return (!is_label).then_some(Err(Message::FunctionAtSectionEnd(id)));
        }
        if self.has_role(id, Roles::EMBEDDED) || self.symbols.alias(id) != id {
            return None;
        }
        let Some(first) = self.insns.at(section, symbol.value) else {
            let is_build = self.purpose == Purpose::Build;
            return is_build.then_some(Err(Message::NoStartingInstruction(id)));
        };
        let end = symbol.value.saturating_add(self.symbols.len(id));
        Some(Ok(Start {
            covered: Covered {
                first,
                start: symbol.value,
                end,
                behind: self.place_from(section, end),
                owner: Owner::new(id, symbol.is_function()),
            },
            is_landing_pad: end > symbol.value
                && symbol.is_function()
                && self.insns.get(first).kind == InsnKind::LandingPad,
        }))
    }

    /// The first instruction at an offset or behind it, and its offset.
    fn place_from(&self, section: SectionId, offset: u64) -> Option<(InsnId, u64)> {
        // Nearly always one begins right there, and its record need not be looked at.
        if let Some(insn) = self.insns.at(section, offset) {
            return Some((insn, offset));
        }
        let insn = self.insns.from(section, offset)?;
        Some((insn, self.insn(insn).offset.into()))
    }

    /// Says from where on the instructions of a section belong to which symbol; of several the last
    /// one counts.
    fn assign_covered(
        &self,
        section: SectionId,
        covered: &[Covered],
        starts: &mut Vec<(InsnId, Owner)>,
    ) {
        let (Some(first), Some(last)) = (self.insns.first_of(section), self.insns.last_of(section))
        else {
            return;
        };
        starts.push((first, Owner::NOBODY));
        // The first instruction of all symbols from each one on.
        let mut first_from = vec![u32::MAX; covered.len() + 1];
        for (i, covered) in covered.iter().enumerate().rev() {
            first_from[i] = first_from[i + 1].min(covered.first.0);
        }
        // Nearly always they come one after the other, and what one covers is its own.
        let (mut from, mut end) = (0, 0);
        for (i, symbol) in covered.iter().enumerate() {
            end = end.max(symbol.behind.map_or(u32::MAX, |(insn, _)| insn.0));
            if end > first_from[i + 1] {
                continue;
            }
            if from == i {
                starts.push((symbol.first, symbol.owner));
                starts.extend(symbol.behind.map(|(insn, _)| (insn, Owner::NOBODY)));
            } else {
                assign_overlapping(&covered[from..=i], starts);
            }
            from = i + 1;
        }
        starts.push((InsnId(last.0 + 1), Owner::NOBODY));
    }

    /// Inside a function a return from interrupt is a way to serialize: it takes its frame off the
    /// stack and goes on. In entry code it leaves.
    fn resolve_interrupt_returns(&mut self) {
        let ids = std::mem::take(&mut self.insns.interrupt_returns);
        if ids.is_empty() {
            return;
        }
        let sp = A::STACK_POINTER;
        let pop = StackOp {
            dest: Dest::Reg(sp),
            source: Source::Add {
                reg: sp,
                offset: A::INTERRUPT_RETURN_POP,
            },
        };
        let ops = self.insns.add_ops([Some(pop), None]);
        for id in ids {
            let place = self.place(id);
            let symbol = self.symbols.containing(place.section, place.offset);
            if symbol.is_some_and(|symbol| self.file.symbol(symbol).is_function()) {
                let record = self.insns.get_mut(id);
                record.kind = InsnKind::Other;
                record.set_ops(ops);
            }
        }
    }
}

impl<'f, A> Model<'f, A> {
    /// What takes time to give back, without what it was made from.
    pub(crate) fn into_bulk(self) -> impl Send {
        let tables = (self.alternatives, self.group_of, self.jump_tables);
        (self.insns, self.owners, self.symbols, self.sites, tables)
    }

    /// An instruction's record.
    pub fn insn(&self, id: InsnId) -> &Record {
        self.insns.get(id)
    }

    /// An instruction's place.
    pub fn place(&self, id: InsnId) -> Place {
        Place {
            section: self.insns.section(id),
            offset: u64::from(self.insn(id).offset),
        }
    }

    /// The symbol that an instruction belongs to.
    pub fn symbol_of(&self, id: InsnId) -> Option<SymbolId> {
        self.owners.get(id).symbol()
    }

    /// The function that an instruction belongs to.
    pub fn function_of(&self, id: InsnId) -> Option<SymbolId> {
        self.owners.get(id).function()
    }

    /// Where an instruction branches to.
    pub fn target(&self, id: InsnId) -> Target {
        self.insn(id).target()
    }

    /// The instruction that a direct branch goes to.
    pub fn jump_target(&self, id: InsnId) -> Option<InsnId> {
        match self.target(id) {
            Target::Insn(dest) => Some(dest),
            _ => None,
        }
    }

    /// The function that a direct call or sibling call goes to.
    pub fn callee(&self, id: InsnId) -> Option<SymbolId> {
        match (self.insn(id).kind, self.target(id)) {
            (InsnKind::JumpDynamic | InsnKind::CallDynamic, _) => None,
            (_, Target::Symbol(symbol)) => Some(symbol),
            _ => None,
        }
    }

    /// Whether a symbol has a role.
    pub fn has_role(&self, symbol: SymbolId, role: Roles) -> bool {
        self.roles[symbol.index()].has(role)
    }

    /// Where a direct branch without relocation goes.
    pub fn branch_place(&self, id: InsnId) -> Place {
        let section = self.insns.section(id);
        let offset = self.insn(id).branch_target();
        if self.file.kind == FileKind::Image {
            let address = self.file.address(section, offset);
            if let Some((section, offset)) = self.file.at_address(address) {
                return Place { section, offset };
            }
        }
        Place { section, offset }
    }

    /// Where a direct branch goes, by its relocation where it has one.
    pub(crate) fn destination(&self, id: InsnId) -> Place
    where
        A: Architecture,
    {
        match self.insn_reloc(id) {
            Some((_, reloc)) if self.file.kind == FileKind::Object => {
                let symbol = self.file.symbol(reloc.symbol);
                let distance = reloc.addend.wrapping_add(A::BRANCH_FIELD_LEN);
                Place {
                    section: symbol.section,
                    offset: symbol.value.wrapping_add_signed(distance),
                }
            }
            _ => self.branch_place(id),
        }
    }

    /// The place that a 32-bit field of an image's table means by its distance from there.
    pub(crate) fn relative_place(&self, section: SectionId, offset: u64) -> Option<Place> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.file.section(section).data.get(start..)?;
        let distance = i32::from_le_bytes(*bytes.first_chunk()?);
        let address = self.file.address(section, offset);
        let (section, offset) = self
            .file
            .at_address(address.wrapping_add_signed(distance.into()))?;
        Some(Place { section, offset })
    }

    /// A symbol without a size at a place, in linked code: a label that assembly branches to.
    pub(crate) fn label(&self, place: Place) -> Option<SymbolId> {
        self.labels.get(&place).copied()
    }

    fn find_labels(&mut self) {
        for id in self.file.symbol_ids() {
            let symbol = self.file.symbol(id);
            let is_code = self.file.section(symbol.section).is_executable();
            if is_code && symbol.size == 0 && !symbol.is_section() {
                let place = Place {
                    section: symbol.section,
                    offset: symbol.value,
                };
                let is_thunk = self.has_role(id, Roles::RETPOLINE_THUNK)
                    || self.has_role(id, Roles::RETURN_THUNK);
                if is_thunk || !self.labels.contains_key(&place) {
                    self.labels.insert(place, id);
                }
            }
        }
    }

    /// Why the target of a branch is not known, in an image.
    pub fn unresolved(&self, id: InsnId) -> Option<&Message> {
        if self.unresolved.is_empty() {
            return None;
        }
        self.unresolved.get(&id)
    }

    /// The first relocation inside an instruction.
    pub fn insn_reloc(&self, id: InsnId) -> Option<(RelocId, Reloc)> {
        let record = self.insn(id);
        self.file.reloc_in(
            self.insns.section(id),
            record.offset.into(),
            record.len.into(),
        )
    }

    /// Other places where execution may go on instead of at an instruction, in the order in which
    /// they were found.
    pub fn alternatives(&self, id: InsnId) -> &[Alternative] {
        if !self.insn(id).marks.has(Marks::HAS_ALTERNATIVES) {
            return &[];
        }
        self.alternatives.get(&id).map_or(&[], Vec::as_slice)
    }

    fn add_alternative(&mut self, id: InsnId, alternative: Alternative) {
        self.insns
            .get_mut(id)
            .marks
            .set(Marks::HAS_ALTERNATIVES, true);
        self.alternatives.entry(id).or_default().push(alternative);
    }

    /// The original or replacement of an alternative that an instruction belongs to.
    pub fn group_of(&self, id: InsnId) -> Option<GroupId> {
        if !self.insn(id).marks.has(Marks::IN_GROUP) {
            return None;
        }
        self.group_of.get(&id).copied()
    }

    /// A group.
    pub fn group(&self, id: GroupId) -> &Group {
        &self.groups[id.0 as usize]
    }

    /// All groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// How many more times instrumentation is allowed from an instruction on.
    pub fn instrumentation(&self, id: InsnId) -> i8 {
        if !self.insn(id).marks.has(Marks::INSTRUMENTATION) {
            return 0;
        }
        self.instrumentation.get(&id).copied().unwrap_or(0)
    }

    /// An instruction and all its neighbours of the same symbol.
    pub fn owner_run(&self, id: InsnId) -> Range<u32> {
        self.owners.run_of(id)
    }

    /// All instructions at which a hint gives the stack state, in order.
    pub fn hinted(&self) -> &[InsnId] {
        &self.hinted
    }

    /// All unwind hints.
    pub fn hints(&self) -> impl Iterator<Item = (InsnId, HintState)> + '_ {
        self.hints.iter().map(|(&insn, &hint)| (insn, hint))
    }

    /// The unwind hint at an instruction.
    pub fn hint(&self, id: InsnId) -> Option<HintState> {
        self.hints.get(&id).copied()
    }

    /// Whether an instruction belongs to an original that next to no machine runs.
    pub fn is_rare(&self, insn: InsnId) -> bool {
        self.group_of(insn)
            .map(|id| self.group(id))
            .filter(|group| group.original.is_none())
            .and_then(|group| group.first)
            .is_some_and(|first| self.alternatives(first).iter().any(|a| a.skip_original))
    }

    /// The instruction that runs after another one, given that replacements are copied over their
    /// originals.
    pub fn next_executed(&self, insn: InsnId) -> Option<InsnId> {
        if let Some(group) = self.group_of(insn).map(|id| *self.group(id)) {
            if let Some(original) = group.original {
                if group.padding.is_some() && Some(insn) == group.last {
                    return group.padding;
                }
                if Some(insn) == group.padding || Some(insn) == group.last {
                    let last = self.group(original).last;
                    return last.and_then(|last| self.insns.next(last));
                }
            }
        }
        self.insns.next(insn)
    }

    /// Whether an indirect jump goes through a jump table that was found.
    pub fn jumps_through_table(&self, id: InsnId) -> bool {
        if self.jump_tables.contains_key(&id) {
            return true;
        }
        // The thunk call in a replacement stands for the jump that it replaces.
        let original = self
            .group_of(id)
            .and_then(|group| self.group(group).original);
        original
            .and_then(|original| self.group(original).first)
            .is_some_and(|first| self.jump_tables.contains_key(&first))
    }

    /// Whether an instruction leaves for another function without a call.
    pub fn is_sibling_call(&self, id: InsnId) -> bool {
        match self.insn(id).kind {
            InsnKind::JumpDynamic => {
                self.function_of(id).is_some() && !self.jumps_through_table(id)
            }
            InsnKind::JumpConditional | InsnKind::JumpUnconditional => self.callee(id).is_some(),
            _ => false,
        }
    }

    /// Where a function may be left, among some instructions.
    fn exits_among(&self, insns: Range<u32>) -> &[Exit] {
        let first = self.exits.partition_point(|exit| exit.insn.0 < insns.start);
        let exits = &self.exits[first..];
        let is_among = |exit: &&Exit| exit.insn.0 < insns.end;
        let len = exits.iter().take_while(is_among).count();
        &exits[..len]
    }

    /// The instructions of a function, its other part included, as runs in order.
    pub fn function_runs(&self, function: SymbolId) -> [Range<u32>; 2] {
        let run = |symbol: SymbolId| {
            let symbol = self.file.symbol(symbol);
            let first = self.insns.at(symbol.section, symbol.value)?;
            match self.function_of(first) {
                Some(owner) => {
                    // Padding, which has numbers behind the last section's, may be the same owner's.
                    let end = self.insns.last_of(symbol.section)?.0 + 1;
                    let run = self.owners.run_of(first);
                    Some((owner, first.0..run.end.min(end)))
                }
                None => Some((function, first.0..first.0 + 1)),
            }
        };
        let mut runs = [0..0, 0..0];
        // A function has two parts at the most; following a third could go round.
        if let Some((owner, own)) = run(function) {
            let is_function = self.function_of(InsnId(own.start)).is_some();
            let other = self.symbols.child(owner);
            if let Some((_, other)) = Some(other)
                .filter(|&other| is_function && other != owner)
                .and_then(run)
            {
                runs[1] = other;
            }
            runs[0] = own;
        }
        runs
    }

    /// The instructions of a function, its other part included, if going over them is not out of
    /// proportion.
    pub fn function_insns(
        &self,
        function: SymbolId,
    ) -> Option<impl Iterator<Item = InsnId> + use<A>> {
        let runs = self.function_runs_within(&self.effort, function)?;
        Some(runs.into_iter().flatten().map(InsnId))
    }

    fn function_runs_within(&self, effort: &Effort, function: SymbolId) -> Option<[Range<u32>; 2]> {
        let runs = self.function_runs(function);
        let len = runs.iter().map(|run| run.len() as u64).sum();
        effort
            .spend(Task::Functions, Some(function), len)
            .then_some(runs)
    }
}

fn section_roles<A: Architecture>(
    arch: &A,
    file: &ElfFile<'_>,
    options: &Options,
) -> Vec<SectionRole> {
    let role = |id: SectionId| {
        let name = file.section(id).name;
        SectionRole {
            noinstr: matches!(name, b".noinstr.text" | b".entry.text" | b".cpuidle.text")
                || arch.is_noinstr_section(name),
            // A module's init text runs in the presence of user space.
            init: name == b".init.text" && !options.module,
            replacement: name == b".altinstr_replacement",
            rodata: (name.starts_with(b".rodata") && find_bytes(name, b".str1.").is_none())
                || name.starts_with(b".data.rel.ro"),
            text: !matches!(name, b".altinstr_replacement" | b".altinstr_aux")
                && !name.starts_with(b".discard."),
        }
    };
    file.section_ids().map(role).collect()
}

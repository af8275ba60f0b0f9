//! Makes exhibits of a model's findings.
//!
//! Chooses what is shown: of the path the places where it turns and where the stack changes, and
//! the instructions around its end. How exhibits look is `render`'s.

use std::collections::BTreeSet;

use arch::insn::{Disassemble, InsnKind};
use arch::object::Architecture;
use rustc_hash::FxHashMap;

use super::source::Lines;
use super::{words, Code, CodeLine, Exhibit, Mark};
use crate::decode::InsnId;
use crate::model::{Model, Target};
use crate::read::{SectionId, SymbolId};
use crate::report::detail::{Arrival, Detail, Step};
use crate::report::findings::Explanation;
use crate::report::{Findings, Line, Message, Names, Place};

/// Instructions shown before the end of a path, and behind it.
const BEFORE: usize = 3;
const BEHIND: usize = 2;
/// The most instructions of a path that are shown; the last ones are.
const MOST_SHOWN: usize = 32;
/// More bytes than the longest instruction of any architecture has.
const MOST_BYTES: u64 = 16;
/// The narrowest column of mnemonics.
const MNEMONIC: usize = 6;

/// What exhibits are made from.
pub struct Gather<'m, 'f, A> {
    model: &'m Model<'f, A>,
    names: &'m Names<'m>,
    lines: Option<&'m Lines<'f>>,
}

/// What an exhibit is to show.
#[derive(Debug)]
pub struct Shown<'s> {
    /// What kind of finding it is.
    pub explanation: &'static Explanation,
    /// The line that plain output has for it, without the file's name.
    pub line: String,
    /// Where it is.
    pub place: Option<Place>,
    /// How it came about, if it lies on a path.
    pub path: Option<(&'s Message, &'s Detail)>,
}

/// Code that is listed together: a function, or what a section holds outside of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Region {
    section: SectionId,
    symbol: Option<SymbolId>,
}

/// What is to be shown of a region.
#[derive(Debug, Default)]
struct Selection {
    shown: BTreeSet<InsnId>,
    marks: FxHashMap<InsnId, Mark>,
}

/// Makes an exhibit of every finding. `aborted` says that the last one ended the analysis.
pub fn gather<A: Architecture + Disassemble>(
    model: &Model<'_, A>,
    names: &Names<'_>,
    findings: &Findings,
    aborted: bool,
) -> Vec<Exhibit> {
    let findings = || {
        findings.lines().iter().filter_map(|line| match line {
            Line::Finding(finding) => Some((line, finding)),
            Line::Trace(..) => None,
        })
    };
    let count = findings().count();
    if count == 0 {
        return Vec::new();
    }
    // Reading debug information takes a while.
    let lines = Lines::of_file(model.file);
    let gather = Gather::new(model, names, lines.as_ref());
    findings()
        .enumerate()
        .map(|(index, (line, finding))| {
            let path = finding.detail.as_deref();
            let mut exhibit = gather.exhibit(&Shown {
                explanation: finding.message.explanation(),
                line: names.line(line),
                place: finding.place,
                path: path.map(|detail| (&finding.message, detail)),
            });
            if aborted && index + 1 == count {
                exhibit.notes.push(
                    "the analysis ended here: nothing else in the file was checked, and \
                           nothing is written"
                        .to_owned(),
                );
            }
            exhibit
        })
        .collect()
}

impl<'m, 'f, A: Architecture + Disassemble> Gather<'m, 'f, A> {
    /// From a model, with the lines of source that there are.
    pub fn new(
        model: &'m Model<'f, A>,
        names: &'m Names<'m>,
        lines: Option<&'m Lines<'f>>,
    ) -> Self {
        Self {
            model,
            names,
            lines,
        }
    }

    /// Makes an exhibit.
    pub fn exhibit(&self, shown: &Shown<'_>) -> Exhibit {
        // A function that runs on does so from its last instruction.
        let runs_on = |(message, _): &(&Message, &Detail)| {
            usize::from(matches!(message, Message::FallsThrough { .. }))
        };
        let back = shown.path.as_ref().map_or(0, runs_on);
        let end = shown
            .path
            .and_then(|(_, detail)| detail.path.iter().rev().nth(back));
        let place = shown.place.or(end.map(|step| step.place));
        let source = match (place, self.lines) {
            (Some(place), Some(lines)) => lines.find(place),
            _ => Vec::new(),
        };
        let mut exhibit = Exhibit {
            explanation: shown.explanation,
            line: shown.line.clone(),
            source,
            code: Vec::new(),
            notes: Vec::new(),
        };
        if let Some(place) = place {
            exhibit.code = self.code(shown, place, &mut exhibit.notes);
        }
        exhibit
    }

    fn code(&self, shown: &Shown<'_>, place: Place, notes: &mut Vec<String>) -> Vec<Code> {
        let mut regions: Vec<(Region, Selection)> = Vec::new();
        let mut states: FxHashMap<InsnId, String> = FxHashMap::default();
        let mut label = String::new();
        // An alternative's conflict is reported at the original and seen at another place.
        let mut end = place;
        if let Some((message, detail)) = shown.path {
            self.path(detail, &mut regions, &mut states, notes);
            label = self.verdict(message, detail, notes);
            end = detail.path.last().map_or(place, |step| step.place);
        }
        for at in [Some(place), Some(end).filter(|end| *end != place)] {
            let Some((at, insn)) = at.and_then(|at| Some((at, self.insn(at)?))) else {
                continue;
            };
            let selection = self.selection(&mut regions, at);
            self.around(insn, selection);
            let mark = selection.marks.entry(insn).or_default();
            mark.primary = at == place;
            if at == end && !label.is_empty() {
                mark.label = std::mem::take(&mut label);
            }
        }
        regions
            .into_iter()
            .map(|(region, selection)| self.listing(region, selection, &states))
            .collect()
    }

    /// The instruction at a place, or the one that a place lies within.
    fn insn(&self, place: Place) -> Option<InsnId> {
        let Place { section, offset } = place;
        let starts = (0..MOST_BYTES).map_while(|back| offset.checked_sub(back));
        let insn = { starts }.find_map(|start| self.model.insns.at(section, start))?;
        (self.model.insn(insn).end() > offset).then_some(insn)
    }

    fn region(&self, place: Place) -> Region {
        let symbols = &self.model.symbols;
        let symbol = symbols
            .function_containing(place.section, place.offset)
            .or_else(|| symbols.containing(place.section, place.offset))
            .filter(|&symbol| !self.model.file.symbol(symbol).is_section());
        Region {
            section: place.section,
            symbol,
        }
    }

    fn selection<'r>(
        &self,
        regions: &'r mut Vec<(Region, Selection)>,
        place: Place,
    ) -> &'r mut Selection {
        let region = self.region(place);
        let index = regions.iter().position(|(known, _)| *known == region);
        let index = index.unwrap_or_else(|| {
            regions.push((region, Selection::default()));
            regions.len() - 1
        });
        &mut regions[index].1
    }

    /// Selects the path's turns and the instructions that change the stack.
    fn path(
        &self,
        detail: &Detail,
        regions: &mut Vec<(Region, Selection)>,
        states: &mut FxHashMap<InsnId, String>,
        notes: &mut Vec<String>,
    ) {
        let words: Vec<String> = detail
            .states
            .iter()
            .map(|state| words::state(&self.model.arch, state))
            .collect();
        let mut chosen = Vec::new();
        for (index, step) in detail.path.iter().enumerate() {
            if let Some(insn) = self.insn(step.place) {
                // A loop comes back to where it was; that it was there first is what led on.
                let words = || with_flags(&words[step.state as usize], step);
                states.entry(insn).or_insert_with(words);
            }
            let next = detail.path.get(index + 1);
            let turns = next.is_some_and(|next| next.arrival != Arrival::Straight);
            let changes = next.is_some_and(|next| {
                (step.state, step.user_access, step.direction)
                    != (next.state, next.user_access, next.direction)
            });
            if index == 0 || turns || changes {
                chosen.push((step, next.filter(|_| turns)));
            }
        }
        let left_out = chosen.len().saturating_sub(MOST_SHOWN);
        if left_out > 0 {
            notes.push(format!(
                "the path begins at {}; its first {left_out} turns and changes of the stack are \
                 left out",
                self.names.place(detail.path[0].place)
            ));
        }
        for (step, turn) in chosen.into_iter().skip(left_out) {
            let Some(insn) = self.insn(step.place) else {
                continue;
            };
            let selection = self.selection(regions, step.place);
            selection.shown.insert(insn);
            if let Some(to) = turn {
                let label = self.turn(step.place, to);
                if !label.is_empty() {
                    selection.marks.entry(insn).or_default().label = label;
                }
            }
        }
        for &other in &detail.others {
            let Some(insn) = self.insn(other) else {
                continue;
            };
            let selection = self.selection(regions, other);
            selection.shown.insert(insn);
            let mark = selection.marks.entry(insn).or_default();
            if mark.label.is_empty() {
                mark.label = "another path comes from here".to_owned();
            }
        }
    }

    /// What happens where a path leaves the straight line.
    fn turn(&self, from: Place, to: &Step) -> String {
        let what = match to.arrival {
            Arrival::Start | Arrival::Straight => return String::new(),
            // Where it has no choice, the instruction says it all.
            Arrival::Jump if self.is_unconditional(from) => return String::new(),
            Arrival::Jump => "the path jumps",
            Arrival::Replacement => "an alternative replaces this",
            Arrival::Case => "a case of the switch",
            Arrival::Label => "the jump label is switched",
            Arrival::Fault => "a fault here leads",
        };
        let target = self.place_from(from, to.place);
        match to.arrival {
            Arrival::Jump | Arrival::Fault => format!("{what} to {target}"),
            _ => format!("{what}: on to {target}"),
        }
    }

    fn is_unconditional(&self, place: Place) -> bool {
        let kind = self.insn(place).map(|insn| self.model.insn(insn).kind);
        kind == Some(InsnKind::JumpUnconditional)
    }

    /// What is to be said at the end of a path.
    fn verdict(&self, message: &Message, detail: &Detail, notes: &mut Vec<String>) -> String {
        let arch = &self.model.arch;
        let Some(state) = detail.states.get(detail.end_state as usize) else {
            return String::new();
        };
        match (message, &detail.clash) {
            (_, Some(clash)) => {
                let (this, other) = words::difference(arch, state, clash);
                format!("{this} by this path, {other} by another")
            }
            (Message::FallsThrough { .. }, None) => "execution goes on here".to_owned(),
            (Message::CallWithoutFrame, None) => words::no_frame(arch, state),
            (Message::ReturnWithFrame | Message::SiblingCallWithFrame, None) => {
                let mut unlike = words::unlike_entry(arch, state).into_iter();
                let first = unlike.next().unwrap_or_default();
                notes.extend(unlike);
                first
            }
            _ => String::new(),
        }
    }

    /// Shows an instruction with those around it in the same region.
    fn around(&self, insn: InsnId, selection: &mut Selection) {
        let insns = &self.model.insns;
        let region = self.region(self.model.place(insn));
        let inside = |other: &InsnId| self.region(self.model.place(*other)) == region;
        let before = std::iter::successors(Some(insn), |&at| insns.prev(at));
        let behind = std::iter::successors(Some(insn), |&at| insns.next(at));
        selection
            .shown
            .extend(before.take_while(inside).take(BEFORE + 1));
        selection
            .shown
            .extend(behind.take_while(inside).take(BEHIND + 1));
    }

    fn listing(
        &self,
        region: Region,
        mut selection: Selection,
        states: &FxHashMap<InsnId, String>,
    ) -> Code {
        let section = self.names.section(region.section);
        let title = match region.symbol {
            Some(symbol) => format!("{} in {section}:", self.names.symbol(symbol)),
            None => format!("{section}:"),
        };
        // A single instruction left out would take as much room as it does shown.
        let shown: Vec<InsnId> = selection.shown.iter().copied().collect();
        for pair in shown.windows(2) {
            if pair[1].0 - pair[0].0 == 2 {
                selection.shown.insert(InsnId(pair[0].0 + 1));
            }
        }
        let (Some(&first), Some(&last)) = (selection.shown.first(), selection.shown.last()) else {
            return Code::default();
        };
        let lines = (first.0..=last.0).map(InsnId).map(|insn| {
            let shown = selection.shown.contains(&insn);
            // What is not shown stands for a line only.
            if !shown {
                return CodeLine::default();
            }
            CodeLine {
                offset: self.offset(self.model.place(insn)),
                text: self.text(insn),
                state: states.get(&insn).cloned().unwrap_or_default(),
                shown,
                mark: selection.marks.remove(&insn),
            }
        });
        Code {
            title,
            lines: lines.collect(),
        }
    }

    /// A place, as it is named at another one.
    fn place_from(&self, from: Place, to: Place) -> String {
        if self.region(from) == self.region(to) {
            self.offset(to)
        } else {
            self.names.place(to)
        }
    }

    /// A place by its distance from the start of its region.
    fn offset(&self, place: Place) -> String {
        match self.region(place).symbol {
            Some(symbol) => {
                let start = self.model.file.symbol(symbol).value;
                format!("+{:#x}", place.offset.wrapping_sub(start))
            }
            None => format!("{:#x}", place.offset),
        }
    }

    /// An instruction's text, with the names that its relocation or its target stand for.
    fn text(&self, insn: InsnId) -> String {
        let model = self.model;
        let place = model.place(insn);
        let record = model.insn(insn);
        let data = model.file.section(place.section).data;
        let start = record.offset as usize;
        let end = (start + usize::from(record.len)).min(data.len());
        let code = data.get(start..end).unwrap_or_default();
        let mut text = String::new();
        model
            .arch
            .disassemble(code, place.offset, &mut |_, _, insn| text = insn.to_owned());
        let (mnemonic, operands) = text.split_once(' ').unwrap_or((&text, ""));
        let reloc = model.insn_reloc(insn);
        let is_direct = record.kind.is_static_jump() || record.kind == InsnKind::Call;
        let target = match model.target(insn) {
            Target::Insn(dest) => Some(self.place_from(place, model.place(dest))),
            Target::Symbol(symbol) => Some(self.names.symbol(symbol)),
            // What could not be made out is a place all the same.
            Target::None if is_direct && reloc.is_none() => {
                let offset = record.branch_target();
                Some(self.place_from(place, Place { offset, ..place }))
            }
            Target::None => None,
        };
        let padded = |operands: &str| {
            format!("{mnemonic:MNEMONIC$} {operands}")
                .trim_end()
                .to_owned()
        };
        if let Some(target) = target {
            return padded(&target);
        }
        match reloc {
            Some((_, reloc)) => {
                let symbol = self.names.symbol(reloc.symbol);
                // The target of a jump to a thunk, which counts as what it stands in for.
                if operands.starts_with("0x") {
                    return padded(&symbol);
                }
                padded(&format!("{operands}   # {symbol}"))
            }
            None => padded(operands),
        }
    }
}

/// A state with what else a path carries.
fn with_flags(words: &str, step: &Step) -> String {
    let mut words = words.to_owned();
    if step.user_access {
        words += ", user access open";
    }
    if step.direction {
        words += ", string instructions run down";
    }
    words
}

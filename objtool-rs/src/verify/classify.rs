//! One class for each function.
//!
//! A function is trusted only when every path through it was walked and found right. Aliases share
//! the class of the code that they name, and so do the parts of a function.

use arch::insn::InsnKind;
use arch::object::Architecture;
use rustc_hash::{FxHashMap, FxHashSet};

use super::entries::{self, judged};
use crate::check::stack::walked::{Failure, Walked};
use crate::decode::{InsnId, Marks};
use crate::model::{Model, Roles};
use crate::read::{FileKind, SectionId, SymbolId};
use crate::report::{Message, Names, Place};

/// What a function does about its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Every call in it is made with a valid frame.
    KeepsFrame,
    /// It makes no call, so nobody below it needs its frame; the caller's is left alone.
    MakesNoCall,
    /// It breaks the rules, or could not be followed.
    KeepsNoFrame(Reason),
}

/// Why a function is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What `objtool-rs explain` is asked for.
    pub code: &'static str,
    /// The words of the finding.
    pub text: String,
    /// Where it is, as distance from the function's start in bytes; outside of the function for
    /// code that it leads to. Absent when it is about no place, or in another section of a module.
    pub offset: Option<i64>,
}

impl Reason {
    /// The reason as a line about a function of this name.
    pub fn line(&self, function: &str) -> String {
        let at = match self.offset {
            None => String::new(),
            Some(offset) if offset < 0 => format!("-{:#x}", offset.unsigned_abs()),
            Some(offset) => format!("+{offset:#x}"),
        };
        format!("{function}{at}: {}", self.text)
    }
}

/// A function of the image.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its symbol.
    pub symbol: SymbolId,
    /// Address of its first byte; in a module, the offset in its section.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
    /// Name of its section.
    pub section: SectionId,
    /// Its class.
    pub class: Class,
    /// The source file it comes from, as far as the symbol table tells.
    pub source: Option<String>,
}

/// Classifies all functions, by address.
pub fn classify<A: Architecture>(model: &Model<'_, A>, walked: &Walked) -> Vec<Function> {
    let names = Names {
        file: model.file,
        symbols: &model.symbols,
        sec_address: false,
    };
    let mut broken: FxHashMap<SymbolId, &Failure> = FxHashMap::default();
    for failure in &walked.failures {
        if let Some(function) = failure.function {
            broken.entry(judged(model, function)).or_insert(failure);
        }
    }
    let entered = entries::entered(model, walked);
    let covering = covering(model);
    let sources = super::subsystem::sources(model.file, &model.symbols);
    let mut functions = Vec::new();
    for section in model.file.section_ids() {
        if !model.file.section(section).is_executable() {
            continue;
        }
        for &id in model.symbols.of_section(section) {
            let symbol = model.file.symbol(id);
            if !symbol.is_function() || symbol.name.starts_with(PADDING_PREFIX) {
                continue;
            }
            let sized = sized(model, id);
            let judged = judged(model, sized);
            let class = if let Some(failure) = broken.get(&judged) {
                Class::KeepsNoFrame(reason(model, &names, id, failure.place, &failure.message))
            } else if covering.contains(&judged) {
                Class::KeepsNoFrame(reason(model, &names, id, None, &Message::CoveredBySymbol))
            } else if let Some(entry) = entered.get(&judged) {
                Class::KeepsNoFrame(Reason {
                    code: Message::CoveredBySymbol.explanation().code,
                    text: entry.text(&names),
                    offset: offset(model, id, Some(entry.to)),
                })
            } else {
                unbroken(model, walked, &names, sized, judged)
            };
            functions.push(Function {
                name: symbol.display_name().into_owned(),
                symbol: id,
                address: model.file.address(section, symbol.value),
                size: symbol.size,
                section,
                class,
                source: sources.get(&id).cloned(),
            });
        }
    }
    functions
}

/// The symbol that says how long a function is. Linker scripts give functions other names without a
/// size; such a name stands for the function that begins in the same place.
fn sized<A>(model: &Model<'_, A>, id: SymbolId) -> SymbolId {
    let symbol = model.file.symbol(id);
    let other = || model.symbols.function_at(symbol.section, symbol.value);
    match symbol.size {
        0 => other().unwrap_or(id),
        _ => id,
    }
}

/// Prefix of the symbols over the padding before functions; there is no code of its own there.
const PADDING_PREFIX: &[u8] = b"__pfx_";

/// Functions whose code lies in the range of another function's symbol. Neither of the two can be
/// told by its symbol, so neither is trusted.
fn covering<A>(model: &Model<'_, A>) -> FxHashSet<SymbolId> {
    let mut covering = FxHashSet::default();
    for section in model.file.section_ids() {
        for &id in model.symbols.of_section(section) {
            if model.file.symbol(id).is_function() {
                let own = judged(model, id);
                let owners = span(model, id).filter_map(|insn| model.function_of(insn));
                covering.extend(
                    owners
                        .map(|owner| judged(model, owner))
                        .filter(|&owner| owner != own),
                );
            }
        }
    }
    covering
}

/// More bytes than the longest instruction of any architecture has.
const LONGEST: usize = 16;

/// The instructions that begin in a symbol's range.
fn span<'m, A>(model: &'m Model<'_, A>, id: SymbolId) -> impl Iterator<Item = InsnId> + 'm {
    let symbol = model.file.symbol(id);
    // Its start may lie in the midst of an instruction.
    let first = (symbol.value..symbol.end())
        .take(LONGEST)
        .find_map(|at| model.insns.at(symbol.section, at));
    std::iter::successors(first, |&insn| model.insns.next(insn))
        .take_while(move |&insn| u64::from(model.insn(insn).offset) < symbol.end())
}

fn offset<A>(model: &Model<'_, A>, function: SymbolId, place: Option<Place>) -> Option<i64> {
    let symbol = model.file.symbol(function);
    // Sections of a module are at no distance from each other.
    let place = place
        .filter(|place| model.file.kind == FileKind::Image || place.section == symbol.section)?;
    let start = model.file.address(symbol.section, symbol.value);
    let place = model.file.address(place.section, place.offset);
    Some(place.wrapping_sub(start) as i64)
}

fn reason<A>(
    model: &Model<'_, A>,
    names: &Names<'_>,
    function: SymbolId,
    place: Option<Place>,
    message: &Message,
) -> Reason {
    Reason {
        code: message.explanation().code,
        text: message.text(names),
        offset: offset(model, function, place),
    }
}

/// A function in which the walk has found nothing wrong is right only if the walk was everywhere.
fn unbroken<A: Architecture>(
    model: &Model<'_, A>,
    walked: &Walked,
    names: &Names<'_>,
    id: SymbolId,
    judged: SymbolId,
) -> Class {
    let symbol = model.file.symbol(id);
    let at = |insn| Some(model.place(insn));
    let not =
        |place, message: &Message| Class::KeepsNoFrame(reason(model, names, id, place, message));
    if symbol.size == 0 {
        return not(None, &Message::MissingSize(id));
    }
    if model.insns.at(symbol.section, symbol.value).is_none() {
        return not(None, &Message::NoStartingInstruction(id));
    }
    // All that the symbol names, and the function's other part.
    for insn in span(model, id).chain(model.function_insns(judged).into_iter().flatten()) {
        if model
            .function_of(insn)
            .map(|owner| entries::judged(model, owner))
            != Some(judged)
        {
            // Another symbol lies over it, so its code was walked under that one's rules.
            return match model.function_of(insn) {
                Some(_) => not(at(insn), &Message::CoveredBySymbol),
                None => not(at(insn), &Message::NotAFunction),
            };
        }
        if !walked.is_visited(insn) && !is_filling(model, insn) {
            return not(at(insn), &Message::Unreachable);
        }
    }
    if walked.linked.callers.contains(&judged) {
        Class::KeepsFrame
    } else {
        Class::MakesNoCall
    }
}

/// Bytes behind a dead end that are not meant to run.
fn is_filling<A>(model: &Model<'_, A>, insn: InsnId) -> bool {
    let record = model.insn(insn);
    match record.kind {
        InsnKind::Nop | InsnKind::Trap => true,
        InsnKind::Bug => {
            // A static call's trampoline is a jump, or a return, with a mark behind it.
            let is_trampoline = model
                .symbol_of(insn)
                .is_some_and(|symbol| model.has_role(symbol, Roles::STATIC_CALL_TRAMPOLINE));
            is_trampoline
                || model
                    .insns
                    .prev(insn)
                    .is_some_and(|prev| model.insn(prev).marks.has(Marks::DEAD_END))
        }
        _ => false,
    }
}

//! One class for each function.
//!
//! A function is trusted only when every path through it was walked and found right. Aliases share
//! the class of the code that they name, and so do the parts of a function.

use arch::insn::InsnKind;
use arch::object::Architecture;
use rustc_hash::FxHashMap;

use crate::check::stack::walk::{Failure, Walked};
use crate::decode::{InsnId, Marks};
use crate::model::{Model, Roles};
use crate::read::{SectionId, SymbolId};
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
    /// code that it leads to.
    pub offset: Option<i64>,
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
            broken.entry(function).or_insert(failure);
        }
    }
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
            let judged = judged_symbol(model, id);
            let class = match broken.get(&judged) {
                Some(failure) => {
                    Class::KeepsNoFrame(reason(model, &names, id, failure.place, &failure.message))
                }
                None => unbroken(model, walked, &names, id, judged),
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

/// Prefix of the symbols over the padding before functions; there is no code of its own there.
const PADDING_PREFIX: &[u8] = b"__pfx_";

/// The symbol under which a function's code is walked.
fn judged_symbol<A>(model: &Model<'_, A>, id: SymbolId) -> SymbolId {
    let id = model.symbols.alias(id);
    let id = model.symbols.parent(id);
    model.symbols.alias(id)
}

fn reason<A>(
    model: &Model<'_, A>,
    names: &Names<'_>,
    function: SymbolId,
    place: Option<Place>,
    message: &Message,
) -> Reason {
    let symbol = model.file.symbol(function);
    let offset = place
        .filter(|place| place.section == symbol.section)
        .map(|place| place.offset.wrapping_sub(symbol.value) as i64);
    Reason {
        code: message.explanation().code,
        text: message.text(names),
        offset,
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
    let Some(first) = model.insns.at(symbol.section, symbol.value) else {
        return not(None, &Message::NoStartingInstruction(id));
    };
    if model.function_of(first).map(|f| model.symbols.parent(f)) != Some(judged) {
        // Another symbol lies over it, so its code was walked under that one's rules.
        return match model.function_of(first) {
            Some(_) => not(at(first), &Message::CoveredBySymbol),
            None => not(at(first), &Message::NotAFunction),
        };
    }
    let mut calls = false;
    for insn in model.function_insns(judged) {
        if !walked.is_visited(insn) {
            if is_filling(model, insn) {
                continue;
            }
            return not(at(insn), &Message::Unreachable);
        }
        calls |= match model.insn(insn).kind {
            InsnKind::Call => !model
                .callee(insn)
                .is_some_and(|callee| model.has_role(callee, Roles::TRACE_ENTRY)),
            InsnKind::CallDynamic => true,
            _ => false,
        };
    }
    if calls {
        Class::KeepsFrame
    } else {
        Class::MakesNoCall
    }
}

/// Bytes behind a dead end that are not meant to run.
fn is_filling<A>(model: &Model<'_, A>, insn: InsnId) -> bool {
    let record = model.insn(insn);
    // A static call's trampoline is a jump and a mark behind it.
    let is_trampoline = model
        .symbol_of(insn)
        .is_some_and(|symbol| model.has_role(symbol, Roles::STATIC_CALL_TRAMPOLINE));
    is_trampoline
        || matches!(record.kind, InsnKind::Nop | InsnKind::Trap)
        || (record.kind == InsnKind::Bug
            && model
                .insns
                .prev(insn)
                .is_some_and(|prev| model.insn(prev).marks.has(Marks::DEAD_END)))
}

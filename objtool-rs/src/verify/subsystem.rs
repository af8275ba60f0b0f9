//! Which source file a function comes from, as far as the symbol table tells.
//!
//! A file's name stands before its local symbols. Global symbols stand after all of them, but the
//! linker keeps an object's code together, so a global function belongs to the file of the local
//! ones around it; where it stands between two files nothing is claimed.

use rustc_hash::FxHashMap;

use crate::model::Symbols;
use crate::read::{Binding, ElfFile, SymbolId, SymbolKind};

/// Source files by function.
pub fn sources(file: &ElfFile<'_>, symbols: &Symbols) -> FxHashMap<SymbolId, String> {
    let mut sources: FxHashMap<SymbolId, String> = FxHashMap::default();
    let mut current = None;
    for id in file.symbol_ids() {
        let symbol = file.symbol(id);
        match (symbol.kind, symbol.binding) {
            (SymbolKind::File, _) => current = Some(symbol.display_name().into_owned()),
            (SymbolKind::Function, Binding::Local) => {
                if let Some(source) = &current {
                    sources.insert(id, source.clone());
                }
            }
            _ => {}
        }
    }
    for section in file.section_ids() {
        let ids = symbols.of_section(section);
        let functions = || ids.iter().filter(|&&id| file.symbol(id).is_function());
        let mut below: Option<String> = None;
        let mut open: Vec<SymbolId> = Vec::new();
        for &id in functions() {
            match sources.get(&id).cloned() {
                Some(source) => {
                    if below.as_ref() == Some(&source) {
                        for id in open.drain(..) {
                            sources.insert(id, source.clone());
                        }
                    }
                    open.clear();
                    below = Some(source);
                }
                None => open.push(id),
            }
        }
    }
    sources
}

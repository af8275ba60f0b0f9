//! Which part of the kernel a function comes from, for people.
//!
//! The folder of its source is its subsystem. Three things may tell: the object that the function
//! was linked from, when the build is still there; debug information; and the symbol table, which
//! has a source's bare name, and for most assembly not even that. Nothing is guessed: what none of
//! them tells is left open, and then the files to both sides are named.
//!
//! Finding and reading the objects of a build is the caller's.

use std::cell::OnceCell;

use super::classify::{Class, Function};
use crate::read::{Binding, ElfFile, SectionId, SymbolId, SymbolKind};
use crate::report::rich::source::Lines;
use crate::report::Place;

/// A function of a kernel's entry, and its source below the root of the tree.
const ROOT: (&[u8], &str) = (b"start_kernel", "init/main.c");

/// An object's definition of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The function.
    pub function: Vec<u8>,
    /// Its size in bytes.
    pub size: u64,
    /// The object's path below the root of the build.
    pub object: String,
}

/// Where a function comes from, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The object that it was linked from, by its path below the root of the build.
    pub object: Option<String>,
    /// Its source file: the path below the root of the tree by debug information, otherwise the bare
    /// name by the symbol table.
    pub source: Option<String>,
    /// The source files of the code before it and behind it; only looked for where nothing else is
    /// known.
    pub between: [Option<String>; 2],
}

impl Origin {
    /// The subsystem: the folder of the object or the source.
    pub fn folder(&self) -> Option<&str> {
        let folder = |path: &'_ Option<String>| -> Option<usize> { path.as_ref()?.rfind('/') };
        match (folder(&self.object), folder(&self.source)) {
            (Some(end), _) => Some(&self.object.as_ref()?[..end]),
            (None, Some(end)) => Some(&self.source.as_ref()?[..end]),
            (None, None) => None,
        }
    }

    /// What functions of the same origin are listed under.
    pub fn heading(&self) -> String {
        if let Some(folder) = self.folder() {
            return folder.to_owned();
        }
        match (&self.object, &self.source, &self.between) {
            (Some(file), ..) | (_, Some(file), _) => format!("{file} (folder unknown)"),
            (.., [Some(before), Some(behind)]) => {
                format!("between {before} and {behind} (file unknown)")
            }
            (.., [Some(before), None]) => format!("behind {before} (file unknown)"),
            (.., [None, Some(behind)]) => format!("before {behind} (file unknown)"),
            (.., [None, None]) => "file unknown".to_owned(),
        }
    }
}

/// What tells where code comes from.
pub struct Evidence<'t, 'f> {
    /// The file.
    pub file: &'f ElfFile<'f>,
    /// Which objects of the build define functions of these names.
    pub definitions: &'t dyn Fn(&[&[u8]]) -> Vec<Definition>,
    /// The file's debug information, which takes a while to read.
    pub lines: &'t dyn Fn() -> Option<&'t Lines<'f>>,
}

impl Evidence<'_, '_> {
    /// Fills in where the functions that keep no frame come from.
    pub fn locate(&self, functions: &mut [Function]) {
        let mut lost: Vec<&mut Function> = functions
            .iter_mut()
            .filter(|function| matches!(function.class, Class::KeepsNoFrame(_)))
            .collect();
        if lost.is_empty() {
            return;
        }
        let names: Vec<&[u8]> = lost
            .iter()
            .map(|function| self.file.symbol(function.symbol).name)
            .collect();
        let definitions = (self.definitions)(&names);
        let sources = Sources::new(self.file);
        let root = OnceCell::new();
        for function in &mut lost {
            let mut origin = sources.origin(function.symbol);
            let name = self.file.symbol(function.symbol).name;
            let of_it = |definition: &&Definition| {
                definition.function == name && definition.size == function.size
            };
            origin.object = object(definitions.iter().filter(of_it), origin.source.as_deref());
            if origin.object.is_none() {
                let root = root.get_or_init(|| self.root());
                if let Some(path) = self.path(function.symbol) {
                    let below = root
                        .as_ref()
                        .and_then(|root| path.strip_prefix(root.as_str()));
                    origin.source = Some(below.unwrap_or(&path).to_owned());
                }
            }
            function.origin = origin;
        }
    }

    /// The path of the source that a symbol's code was written in.
    fn path(&self, symbol: SymbolId) -> Option<String> {
        let symbol = self.file.symbol(symbol);
        let place = Place {
            section: symbol.section,
            offset: symbol.value,
        };
        // The last line is that of the function itself, the others were inlined into it.
        let line = (self.lines)()?.find(place).pop()?;
        Some(clean(&line.path))
    }

    /// The folder of the source tree, as debug information names it, with the slash at its end.
    fn root(&self) -> Option<String> {
        let (function, below) = ROOT;
        let path = self.path(self.file.symbol_by_name(function)?)?;
        Some(path.strip_suffix(below)?.to_owned())
    }
}

/// The one object that can be meant. Where several define a function of this name, the name of the
/// source must tell.
fn object<'d>(
    definitions: impl Iterator<Item = &'d Definition>,
    source: Option<&str>,
) -> Option<String> {
    let stem = |path: &str| -> String {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.split('.').next().unwrap_or(name).to_owned()
    };
    let mut found: Vec<&Definition> = definitions.collect();
    if found.len() > 1 {
        let source = stem(source?);
        found.retain(|definition| stem(&definition.object) == source);
    }
    match found[..] {
        [definition] => Some(definition.object.clone()),
        _ => None,
    }
}

/// A path without steps that lead nowhere (`a/../b`, `./b`).
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match (part, parts.last()) {
            (".", _) => {}
            ("..", Some(&last)) if !last.is_empty() && last != ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The source files that the symbol table names.
///
/// A file's name stands before its local symbols. Global symbols stand after all of them, but the
/// linker keeps an object's code together, so a global symbol belongs to the file of the local ones
/// around it; where it stands between two files nothing is claimed.
struct Sources<'f> {
    file: &'f ElfFile<'f>,
    /// The names of files, by index.
    files: Vec<SymbolId>,
    /// Local symbols that have a source, by section and offset.
    local: Vec<(SectionId, u64, SymbolId)>,
}

impl<'f> Sources<'f> {
    fn new(file: &'f ElfFile<'f>) -> Self {
        let mut sources = Self {
            file,
            files: Vec::new(),
            local: Vec::new(),
        };
        for id in file.symbol_ids() {
            let symbol = file.symbol(id);
            match (symbol.kind, symbol.binding) {
                (SymbolKind::File, _) => sources.files.push(id),
                (
                    SymbolKind::Function | SymbolKind::NoType | SymbolKind::Object,
                    Binding::Local,
                ) if !sources.files.is_empty() && symbol.section.0 != 0 => {
                    sources.local.push((symbol.section, symbol.value, id));
                }
                _ => {}
            }
        }
        sources.local.sort_unstable();
        sources
    }

    /// The file that a local symbol stands behind.
    fn named(&self, id: SymbolId) -> Option<String> {
        let behind = self.files.partition_point(|&file| file < id);
        let file = *self.files.get(behind.checked_sub(1)?)?;
        Some(self.file.symbol(file).display_name().into_owned())
    }

    fn origin(&self, id: SymbolId) -> Origin {
        let symbol = self.file.symbol(id);
        if symbol.binding == Binding::Local {
            return Origin {
                source: self.named(id),
                ..Origin::default()
            };
        }
        let here = symbol.section;
        let before = self
            .local
            .partition_point(|&(section, offset, _)| (section, offset) <= (here, symbol.value));
        let (before, behind) = self.local.split_at(before);
        let file = |neighbour: Option<&(SectionId, u64, SymbolId)>| {
            let &(section, _, id) = neighbour?;
            (section == here).then(|| self.named(id)).flatten()
        };
        match (file(before.last()), file(behind.first())) {
            (Some(before), Some(behind)) if before == behind => Origin {
                source: Some(before),
                ..Origin::default()
            },
            (before, behind) => Origin {
                between: [before, behind],
                ..Origin::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(object: &str) -> Definition {
        Definition {
            function: b"f".to_vec(),
            size: 1,
            object: object.to_owned(),
        }
    }

    #[test]
    fn an_object_is_only_named_when_no_other_can_be_meant() {
        let several = [definition("mm/core.o"), definition("net/dev.o")];
        let of = |count, source| object(several[..count].iter(), source);
        assert_eq!(of(0, Some("core.c")), None);
        assert_eq!(of(1, None).as_deref(), Some("mm/core.o"));
        assert_eq!(of(2, None), None);
        assert_eq!(of(2, Some("core.c")).as_deref(), Some("mm/core.o"));
        assert_eq!(of(2, Some("other.c")), None);
        let twins = [definition("mm/core.o"), definition("net/core.o")];
        assert_eq!(object(twins.iter(), Some("core.c")), None);
    }

    #[test]
    fn a_path_loses_its_detours() {
        for (path, clear) in [
            ("/build/../source/./mm/slab.c", "/source/mm/slab.c"),
            ("../mm/slab.c", "../mm/slab.c"),
            ("../../mm/slab.c", "../../mm/slab.c"),
            ("/../mm/slab.c", "/../mm/slab.c"),
            ("slab.c", "slab.c"),
        ] {
            assert_eq!(clean(path), clear);
        }
    }

    #[test]
    fn the_best_that_is_known_is_the_heading() {
        let some = |text: &str| Some(text.to_owned());
        let origin = |object: &str, source: &str| Origin {
            object: some(object).filter(|s| !s.is_empty()),
            source: some(source).filter(|s| !s.is_empty()),
            between: [some("a.c"), some("b.c")],
        };
        for (object, source, heading) in [
            ("mm/slab.o", "slab.c", "mm"),
            ("", "mm/kasan/slab.c", "mm/kasan"),
            ("slab.o", "mm/slab.c", "mm"),
            ("", "slab.c", "slab.c (folder unknown)"),
            ("", "", "between a.c and b.c (file unknown)"),
        ] {
            assert_eq!(origin(object, source).heading(), heading);
        }
        assert_eq!(Origin::default().heading(), "file unknown");
    }
}

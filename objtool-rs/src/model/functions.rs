//! Symbols by address: order, nesting, aliases, and the parts of one function.
//!
//! A compiler splits a function into a hot part and a `.cold` one; both are one function to the
//! checks. Not here: which instruction belongs to which symbol (see `model`), or what a symbol is
//! called for (`model::roles`).

use std::ops::Range;

use crate::read::{ElfFile, SectionId, SymbolId, SymbolKind};

/// Symbols by section and address.
///
/// # Invariants
///
/// All per-symbol tables are as long as the symbol table, all per-section tables as the section
/// table. `max_end[i]` is the largest end of the symbols up to `i` of its section's range.
#[derive(Clone, Debug)]
pub struct Symbols {
    /// Sizes in bytes: a hot part that contains its cold one is shortened by it.
    len: Vec<u64>,
    parent: Vec<SymbolId>,
    child: Vec<SymbolId>,
    alias: Vec<SymbolId>,
    /// Whether the name says that it is a cold part.
    cold: Vec<bool>,
    /// Functions and untyped symbols in the order in which they are looked at.
    order: Grouped,
    /// Symbols with a size that stand for no section, by address.
    all: Spans,
    /// The functions among them.
    functions: Spans,
}

/// What passes over all symbols ask of one. Together, so that they find it in order and not all over
/// the symbol table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    value: u64,
    size: u64,
    id: SymbolId,
    kind: SymbolKind,
}

/// All symbols by section, address, and then position in the symbol table.
struct Sorted {
    entries: Vec<Entry>,
    ranges: Vec<Range<u32>>,
}

impl Sorted {
    /// Divided by section first: within one, linkers and assemblers leave long stretches in order,
    /// and a sort that merges such stretches has little left to do.
    fn new(file: &ElfFile<'_>) -> Self {
        let mut ranges = vec![0_u32..0; file.sections.len()];
        for symbol in &file.symbols {
            ranges[symbol.section.index()].end += 1;
        }
        let mut at = 0;
        for range in &mut ranges {
            let len = range.end;
            *range = at..at;
            at += len;
        }
        let blank = Entry {
            value: 0,
            size: 0,
            id: SymbolId(0),
            kind: SymbolKind::NoType,
        };
        let mut entries = vec![blank; file.symbols.len()];
        for (id, symbol) in file.symbol_ids().zip(&file.symbols) {
            let range = &mut ranges[symbol.section.index()];
            entries[range.end as usize] = Entry {
                value: symbol.value,
                size: symbol.size,
                id,
                kind: symbol.kind,
            };
            range.end += 1;
        }
        for range in &ranges {
            let entries = &mut entries[range.start as usize..range.end as usize];
            entries.sort_by_key(|entry| entry.value);
        }
        Self { entries, ranges }
    }

    /// The symbols of each section.
    fn by_section(&self) -> impl Iterator<Item = &[Entry]> {
        let ranges = self.ranges.iter();
        ranges.map(|range| &self.entries[range.start as usize..range.end as usize])
    }

    /// Only the wanted symbols.
    fn only(&self, wanted: impl Fn(&Entry) -> bool) -> Grouped {
        let mut ids = Vec::new();
        let mut ranges = Vec::with_capacity(self.ranges.len());
        for entries in self.by_section() {
            let start = ids.len() as u32;
            let wanted = entries.iter().filter(|entry| wanted(entry));
            ids.extend(wanted.map(|entry| entry.id));
            ranges.push(start..ids.len() as u32);
        }
        Grouped { ids, ranges }
    }
}

/// Symbols grouped by section.
#[derive(Clone, Debug)]
struct Grouped {
    ids: Vec<SymbolId>,
    ranges: Vec<Range<u32>>,
}

#[derive(Clone, Debug)]
struct Spans {
    by_address: Grouped,
    start: Vec<u64>,
    /// See [`Symbols`].
    max_end: Vec<u64>,
}

/// A `.cold` function whose hot part is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan(pub SymbolId);

impl Symbols {
    /// Orders the symbols and joins the parts of functions.
    ///
    /// # Errors
    ///
    /// The first function with `.cold` in its name for which there is no other part.
    pub fn new(file: &ElfFile<'_>) -> (Self, Result<(), Orphan>) {
        let ids = || file.symbol_ids();
        let all = Sorted::new(file);
        let mut symbols = Self {
            len: file.symbols.iter().map(|s| s.size).collect(),
            parent: ids().collect(),
            child: ids().collect(),
            alias: aliases(file.symbols.len(), &all),
            cold: file
                .symbols
                .iter()
                .map(|s| s.is_function() && cold_at(s.name).is_some())
                .collect(),
            order: order(file, &all),
            all: Spans {
                by_address: Grouped::empty(),
                start: vec![],
                max_end: vec![],
            },
            functions: Spans {
                by_address: Grouped::empty(),
                start: vec![],
                max_end: vec![],
            },
        };
        let joined = symbols.join_cold_parts(file);
        symbols.all = symbols.spans(&all, |kind| kind != SymbolKind::Section);
        symbols.functions = symbols.spans(&all, |kind| kind == SymbolKind::Function);
        (symbols, joined)
    }

    fn join_cold_parts(&mut self, file: &ElfFile<'_>) -> Result<(), Orphan> {
        let mut joined = Ok(());
        for section in file.section_ids() {
            for i in self.order.ranges[section.index()].clone() {
                let id = self.order.ids[i as usize];
                let symbol = file.symbol(id);
                if !self.cold[id.index()] {
                    continue;
                }
                let Some(cold) = cold_at(symbol.name) else {
                    continue;
                };
                let Some(parent) = file.symbol_by_name(&symbol.name[..cold]) else {
                    joined = joined.and(Err(Orphan(id)));
                    continue;
                };
                self.parent[id.index()] = parent;
                self.child[parent.index()] = id;

                // The compiler may leave the cold part inside the hot one.
                let hot = file.symbol(parent);
                let len = self.len[id.index()];
                let hot_len = &mut self.len[parent.index()];
                if symbol.section == hot.section
                    && parent != id
                    && symbol.value >= hot.value
                    && symbol.value.checked_add(len) == hot.value.checked_add(*hot_len)
                {
                    *hot_len -= len;
                }
            }
        }
        joined
    }

    fn spans(&self, all: &Sorted, wanted: impl Fn(SymbolKind) -> bool) -> Spans {
        let wanted = |entry: &Entry| entry.size != 0 && wanted(entry.kind);
        let mut by_address = all.only(wanted);
        let mut start = Vec::with_capacity(by_address.ids.len());
        for (entries, range) in all.by_section().zip(&by_address.ranges) {
            let ids = &mut by_address.ids[range.start as usize..range.end as usize];
            let is_empty = |id: SymbolId| self.len[id.index()] == 0;
            let entries = entries.iter().filter(|entry| wanted(entry));
            start.extend(entries.map(|entry| entry.value));
            // Those that lost all of their size go last where several start: they are never looked
            // for, and any number of them may stand at one place.
            if ids.iter().any(|&id| is_empty(id)) {
                let values = &start[range.start as usize..];
                let mut order: Vec<_> = values.iter().copied().zip(ids.iter().copied()).collect();
                order.sort_by_key(|&(value, id)| (value, is_empty(id)));
                for (id, (_, sorted)) in ids.iter_mut().zip(order) {
                    *id = sorted;
                }
            }
        }
        let mut max_end = vec![0; start.len()];
        for range in &by_address.ranges {
            let mut max = 0;
            for i in range.start as usize..range.end as usize {
                let id = by_address.ids[i];
                max = max.max(start[i].saturating_add(self.len[id.index()]));
                max_end[i] = max;
            }
        }
        Spans {
            by_address,
            start,
            max_end,
        }
    }

    /// Effective size in bytes.
    pub fn len(&self, id: SymbolId) -> u64 {
        self.len[id.index()]
    }

    /// Whether the file has no symbol.
    pub fn is_empty(&self) -> bool {
        self.len.is_empty()
    }

    /// The function that this one is a part of; itself for most.
    pub fn parent(&self, id: SymbolId) -> SymbolId {
        self.parent[id.index()]
    }

    /// The other part of this function; itself if there is none.
    pub fn child(&self, id: SymbolId) -> SymbolId {
        self.child[id.index()]
    }

    /// Whether this is a function whose name says that it is a cold part.
    pub fn is_cold(&self, id: SymbolId) -> bool {
        self.cold[id.index()]
    }

    /// Joins two parts of a function.
    pub fn join(&mut self, hot: SymbolId, cold: SymbolId) {
        self.child[hot.index()] = cold;
        self.parent[cold.index()] = hot;
    }

    /// The last symbol of the same place, size and kind, which stands for all of them.
    pub fn alias(&self, id: SymbolId) -> SymbolId {
        self.alias[id.index()]
    }

    /// Functions and untyped symbols of a section, in the order in which they are looked at.
    pub fn of_section(&self, section: SectionId) -> &[SymbolId] {
        self.order.of(section)
    }

    /// The first symbol that contains an offset.
    pub fn containing(&self, section: SectionId, offset: u64) -> Option<SymbolId> {
        self.all.containing(section, offset, &self.len)
    }

    /// The first function that contains an offset.
    pub fn function_containing(&self, section: SectionId, offset: u64) -> Option<SymbolId> {
        self.functions.containing(section, offset, &self.len)
    }

    /// The first symbol that starts at an offset.
    pub fn at(&self, section: SectionId, offset: u64) -> Option<SymbolId> {
        self.all.at(section, offset, &self.len)
    }

    /// The first function that starts at an offset.
    pub fn function_at(&self, section: SectionId, offset: u64) -> Option<SymbolId> {
        self.functions.at(section, offset, &self.len)
    }

    /// How far the hole between symbols reaches in which an offset lies.
    pub fn hole(&self, section: SectionId, offset: u64) -> Hole {
        let range = self.all.range(section);
        let start = &self.all.start;
        let next = range.start + start[range.clone()].partition_point(|&s| s <= offset);
        if next == range.start || self.all.max_end[next - 1] > offset {
            return Hole::None;
        }
        match start[next..range.end].first() {
            Some(next) => Hole::Until(*next),
            None => Hole::UntilEnd,
        }
    }
}

/// A stretch of a section that no symbol covers, though one precedes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hole {
    /// The place is covered, or no symbol precedes it.
    None,
    /// Up to the offset of the next symbol.
    Until(u64),
    /// Up to the end of the section.
    UntilEnd,
}

impl Grouped {
    const fn empty() -> Self {
        Self {
            ids: Vec::new(),
            ranges: Vec::new(),
        }
    }

    fn of(&self, section: SectionId) -> &[SymbolId] {
        let range = &self.ranges[section.index()];
        &self.ids[range.start as usize..range.end as usize]
    }
}

impl Spans {
    fn range(&self, section: SectionId) -> Range<usize> {
        let range = &self.by_address.ranges[section.index()];
        range.start as usize..range.end as usize
    }

    fn containing(&self, section: SectionId, offset: u64, len: &[u64]) -> Option<SymbolId> {
        let range = self.range(section);
        let skip = self.max_end[range.clone()].partition_point(|&end| end <= offset);
        // The first whose end lies beyond the offset contains it, if it does not start after it.
        let i = range.start + skip;
        let id = *self.by_address.ids[..range.end].get(i)?;
        (self.start[i] <= offset && offset - self.start[i] < len[id.index()]).then_some(id)
    }

    fn at(&self, section: SectionId, offset: u64, len: &[u64]) -> Option<SymbolId> {
        let range = self.range(section);
        let skip = self.start[range.clone()].partition_point(|&start| start < offset);
        let i = range.start + skip;
        let id = *self.by_address.ids[..range.end].get(i)?;
        (self.start[i] == offset && len[id.index()] != 0).then_some(id)
    }
}

/// For each symbol the last one with the same place, size and kind.
fn aliases(symbols: usize, all: &Sorted) -> Vec<SymbolId> {
    let mut alias: Vec<SymbolId> = (0..symbols as u32).map(SymbolId).collect();
    let key = |entry: &Entry| (entry.size, entry.kind.number());
    for entries in all.by_section() {
        for neighbours in entries.chunk_by(|a, b| a.value == b.value) {
            if neighbours.len() == 1 {
                continue;
            }
            let sized = neighbours.iter().filter(|entry| entry.size != 0);
            let mut sized: Vec<Entry> = sized.copied().collect();
            sized.sort_by_key(key);
            for same in sized.chunk_by(|a, b| key(a) == key(b)) {
                let last = same[same.len() - 1].id;
                for entry in same {
                    alias[entry.id.index()] = last;
                }
            }
        }
    }
    alias
}

/// The order in which C objtool visits symbols, which is the order of its findings: by address,
/// but a symbol without a size stands right after the last sized symbol that precedes it in the
/// symbol table and starts at or before it, the later ones first.
fn order(file: &ElfFile<'_>, all: &Sorted) -> Grouped {
    let interesting = |kind| matches!(kind, SymbolKind::NoType | SymbolKind::Function);
    let mut grouped = all.only(|entry| interesting(entry.kind) || entry.size != 0);
    for (entries, range) in all.by_section().zip(&grouped.ranges) {
        let is_unsized = |entry: &Entry| entry.size == 0 && entry.kind == SymbolKind::Function;
        if entries.iter().any(is_unsized) {
            let ids = &mut grouped.ids[range.start as usize..range.end as usize];
            reorder_unsized(file, ids);
        }
    }
    grouped
}

fn reorder_unsized(file: &ElfFile<'_>, ids: &mut [SymbolId]) {
    use std::collections::{BTreeMap, HashMap};

    let mut by_index = ids.to_vec();
    by_index.sort_unstable();
    let mut sized: BTreeMap<(u64, SymbolId), SymbolId> = BTreeMap::new();
    let mut followers: HashMap<Option<SymbolId>, Vec<SymbolId>> = HashMap::new();
    for &id in &by_index {
        let symbol = file.symbol(id);
        let anchor = sized
            .range(..=(symbol.value, id))
            .next_back()
            .map(|(_, &id)| id);
        followers.entry(anchor).or_default().push(id);
        if symbol.size != 0 {
            sized.insert((symbol.value, id), id);
        }
    }
    let mut out = Vec::with_capacity(ids.len());
    // Depth first; a later follower was put in front of the earlier ones.
    let mut pending = followers.remove(&None).unwrap_or_default();
    while let Some(id) = pending.pop() {
        out.push(id);
        pending.extend(followers.remove(&Some(id)).unwrap_or_default());
    }
    ids.copy_from_slice(&out);
}

/// Where the name of a cold part goes on behind that of its function.
fn cold_at(name: &[u8]) -> Option<usize> {
    // Few names have a dot.
    let dot = name.iter().position(|&byte| byte == b'.')?;
    Some(dot + find(&name[dot..], b".cold")?)
}

/// Position of a needle in a haystack.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

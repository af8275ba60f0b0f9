//! Which functions never return, worked out through the call graph.
//!
//! A function returns if it has a return, or if it leaves by a sibling call for a function that
//! may return; one that is defined elsewhere may, unless it is listed. Functions that only leave
//! for each other in a circle count as returning: nothing says that they don't. Calls need not be
//! followed: a call that does not return ends its path, and the return behind it is not reached,
//! but it is there, and then the walk over the paths finds it unreachable.

use arch::insn::InsnKind;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use rustc_hash::FxHashMap;

use super::branches::{Exit, How};
use super::noreturn_list::is_listed;
use super::{Effort, Model, Task};
use crate::decode::InsnId;
use crate::parallel;
use crate::read::{Binding, SectionId, SymbolId};

/// Whether a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// It may.
    Maybe,
    /// It does not, but only because what it leaves for does not; its callers' compiler may not
    /// have known.
    NotByOthers,
    /// It does not: it is listed, or nothing in it leads out.
    Never,
}

/// Which functions return, by symbol index.
#[derive(Clone, Debug)]
pub struct Noreturn(pub(super) Vec<Returns>);

impl Noreturn {
    /// Whether a function returns.
    pub fn get(&self, symbol: SymbolId) -> Returns {
        self.0[symbol.index()]
    }
}

/// What an edge of the call graph takes, in steps over an instruction.
const EDGE_STEPS: u64 = 32;

/// What the body of a function says.
enum Body {
    /// It has a return, leaves for an unknown place, or has no code to look at.
    MayReturn,
    /// It leaves only by sibling calls to these functions; never if there are none.
    LeavesFor(Vec<SymbolId>),
}

/// Works it out for all symbols.
pub(super) fn infer<A: Sync>(model: &Model<'_, A>) -> Noreturn {
    let bodies = bodies(model);
    let mut returns = vec![Returns::Maybe; model.file.symbols.len()];
    let mut graph: DiGraph<SymbolId, ()> = DiGraph::new();
    let mut nodes: FxHashMap<SymbolId, NodeIndex> = FxHashMap::default();
    let mut edges = Vec::new();
    for id in model.file.symbol_ids() {
        let symbol = model.file.symbol(id);
        let elsewhere = symbol.section == SectionId::UNDEFINED || symbol.binding == Binding::Weak;
        if elsewhere && is_listed(symbol.name) {
            returns[id.index()] = Returns::Never;
            continue;
        }
        if let Some(others) = bodies.get(&id) {
            nodes.insert(id, graph.add_node(id));
            edges.push((id, others));
        }
    }

    let mut open = vec![false; graph.node_count()];
    let mut by_sibling = vec![false; graph.node_count()];
    for (id, others) in edges {
        let from = nodes[&id];
        by_sibling[from.index()] = !others.is_empty();
        for &other in others {
            match nodes.get(&other) {
                Some(&to) => {
                    graph.add_edge(from, to, ());
                }
                None if returns[other.index()] != Returns::Maybe => {}
                None => open[from.index()] = true,
            }
        }
    }
    // Callees come before their callers. (Of petgraph's two algorithms this is the one that does
    // not recurse; how long a chain of calls is, the file decides.)
    for component in kosaraju_scc(&graph) {
        let in_circle = component.len() > 1
            || component
                .iter()
                .any(|&node| graph.contains_edge(node, node));
        let leaves = component
            .iter()
            .any(|&node| open[node.index()] || graph.neighbors(node).any(|n| open[n.index()]));
        for node in component {
            if in_circle || leaves {
                open[node.index()] = true;
            } else {
                let leaves_for_others = by_sibling[node.index()];
                returns[graph[node].index()] = if leaves_for_others {
                    Returns::NotByOthers
                } else {
                    Returns::Never
                };
            }
        }
    }
    Noreturn(returns)
}

/// What the functions leave for that leave only by sibling calls.
fn bodies<A: Sync>(model: &Model<'_, A>) -> FxHashMap<SymbolId, Vec<SymbolId>> {
    // Another definition may take a weak one's place.
    let is_settled =
        |id: SymbolId| model.file.symbol(id).binding != Binding::Weak && model.symbols.len(id) != 0;
    let bodies_of = |effort: &Effort, symbols: std::ops::Range<usize>| {
        let symbols = symbols.map(|id| SymbolId(id as u32));
        let bodies =
            symbols
                .filter(|&id| is_settled(id))
                .filter_map(|id| match body(model, effort, id) {
                    Body::LeavesFor(others) => Some((id, others)),
                    Body::MayReturn => None,
                });
        bodies.collect::<Vec<_>>()
    };
    let parts = parallel::map_ranges(model.file.symbols.len(), 1 << 12, |symbols| {
        let effort = model.effort.fork();
        (bodies_of(&effort, symbols), effort)
    });
    if model.effort.join(parts.iter().map(|(_, effort)| effort)) {
        parts.into_iter().flat_map(|(bodies, _)| bodies).collect()
    } else {
        let all = bodies_of(&model.effort, 0..model.file.symbols.len());
        all.into_iter().collect()
    }
}

fn body<A>(model: &Model<'_, A>, effort: &Effort, function: SymbolId) -> Body {
    let mut others = Vec::new();
    let Some(runs) = model.function_runs_within(effort, function) else {
        return Body::MayReturn;
    };
    // No code, or none of a function.
    if runs[0].is_empty() || model.function_of(InsnId(runs[0].start)).is_none() {
        return Body::MayReturn;
    }
    for &Exit { insn, how } in runs.into_iter().flat_map(|run| model.exits_among(run)) {
        let callee = match how {
            How::Return => return Body::MayReturn,
            How::Sibling(callee) => Some(callee),
            How::Unknown => match model.insn(insn).kind {
                InsnKind::Return => return Body::MayReturn,
                InsnKind::JumpConditional | InsnKind::JumpUnconditional | InsnKind::JumpDynamic
                    if model.is_sibling_call(insn) =>
                {
                    model.callee(insn)
                }
                _ => continue,
            },
        };
        // Through a register it may be anywhere.
        let Some(callee) = callee else {
            return Body::MayReturn;
        };
        if !effort.spend(Task::Functions, Some(function), EDGE_STEPS) {
            return Body::MayReturn;
        }
        others.push(callee);
    }
    Body::LeavesFor(others)
}

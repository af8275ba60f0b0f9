//! Which mutants a run makes: for each operator functions in an order of the seed's choice, in each
//! of them one place, until there are enough; then batches of mutants that share an image.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use iced_x86::{FlowControl, Instruction};
use rayon::prelude::*;

use super::operators::{Edit, Operator};
use super::oracle::{is_part, Answer, Oracle, Witness};
use super::program::{Place, Program};
use crate::mutants::rng::Rng;

/// How many mutants share an image. They are in functions that have nothing to do with each other.
pub const BATCH: usize = 64;

/// How often an operator may come by the same function.
const PASSES: u64 = 3;

/// A function that is broken in one place.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// By which operator, as an index into the plan's.
    pub operator: usize,
    /// Which function, as an index into the program's.
    pub function: usize,
    /// How.
    pub edit: Edit,
    /// The bytes that were there.
    pub before: Vec<u8>,
    /// Why it is wrong.
    pub witness: Witness,
}

/// What came of an operator's proposals.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Changes that were looked at.
    pub proposed: usize,
    /// Those that no path could be found for on which they break a rule.
    pub without_path: usize,
}

/// What a run does.
pub struct Plan {
    /// The operators.
    pub operators: Vec<&'static Operator>,
    /// The mutants of all batches.
    pub mutants: Vec<Mutant>,
    /// The batches, as indices into the mutants.
    pub batches: Vec<Vec<usize>>,
    /// By operator.
    pub tallies: Vec<Tally>,
}

impl Plan {
    /// Chooses `count` mutants of the functions `candidates`; `made` is told of each.
    ///
    /// # Errors
    /// A function of the program lies outside of its section.
    pub fn new(
        program: &Program,
        oracle: &Oracle<'_>,
        operators: Vec<&'static Operator>,
        candidates: &[usize],
        seed: u64,
        count: usize,
        made: impl Fn() + Sync,
    ) -> Result<Self> {
        let share = count.div_ceil(operators.len().max(1));
        // More than its share is only wanted where another operator does not find its own.
        let found: Vec<(Vec<Mutant>, Tally)> = operators
            .par_iter()
            .enumerate()
            .map(|(number, operator)| {
                let search = Search {
                    program,
                    oracle,
                    operator,
                    number,
                    seed,
                };
                search.run(candidates, share + share / 4, &made)
            })
            .collect::<Result<_>>()?;
        let (mut found, tallies): (Vec<_>, Vec<_>) = found.into_iter().unzip();

        let mut mutants = Vec::with_capacity(count);
        let mut spare = Vec::new();
        for found in &mut found {
            spare.extend(found.split_off(found.len().min(share)));
            mutants.append(found);
        }
        let mut rng = Rng::of(&["batches"], seed);
        rng.shuffle(&mut spare);
        rng.shuffle(&mut mutants);
        mutants.truncate(count);
        spare.truncate(count - mutants.len());
        mutants.append(&mut spare);
        let batches = batches(program, &mutants)?;
        Ok(Self {
            operators,
            mutants,
            batches,
            tallies,
        })
    }
}

/// The search for an operator's mutants.
struct Search<'a> {
    program: &'a Program,
    oracle: &'a Oracle<'a>,
    operator: &'static Operator,
    number: usize,
    seed: u64,
}

impl Search<'_> {
    fn run(
        &self,
        candidates: &[usize],
        wanted: usize,
        made: &impl Fn(),
    ) -> Result<(Vec<Mutant>, Tally)> {
        let mut found = Vec::new();
        let mut tally = Tally::default();
        let mut unbroken: HashMap<usize, bool> = HashMap::new();
        let mut order = candidates.to_vec();
        let mut edits = BTreeSet::new();
        for pass in 0..PASSES {
            let mut rng = Rng::of(&[self.operator.name, &pass.to_string()], self.seed);
            rng.shuffle(&mut order);
            for &number in &order {
                if found.len() == wanted {
                    return Ok((found, tally));
                }
                let function = &self.program.functions[number];
                let insns = self.program.insns(function)?;
                let edit = self
                    .operator
                    .propose(self.program, function, &insns, &mut rng);
                // In a function of few places the same one may be met again.
                let Some(edit) = edit.filter(|e| edits.insert((e.address, e.bytes.clone()))) else {
                    continue;
                };
                // Only what is right before can be seen to be wrong behind.
                let was_right = *unbroken
                    .entry(number)
                    .or_insert_with(|| self.oracle.judge(number, None) == Answer::Unbroken);
                if !was_right {
                    continue;
                }
                tally.proposed += 1;
                let Answer::Broken(witness) = self.oracle.judge(number, Some(&edit)) else {
                    tally.without_path += 1;
                    continue;
                };
                made();
                found.push(Mutant {
                    operator: self.number,
                    function: number,
                    before: self.program.read(edit.address, edit.bytes.len())?.to_vec(),
                    edit,
                    witness,
                });
            }
        }
        Ok((found, tally))
    }
}

/// Puts mutants into batches. In a batch no function is broken twice, and none branches to another
/// broken one, so that each one's verdict is its own.
fn batches(program: &Program, mutants: &[Mutant]) -> Result<Vec<Vec<usize>>> {
    struct Batch {
        mutants: Vec<usize>,
        functions: BTreeSet<usize>,
        /// Functions that the broken ones branch to.
        targets: BTreeSet<usize>,
    }
    let mut batches: Vec<Batch> = Vec::new();
    for (number, mutant) in mutants.iter().enumerate() {
        let function = &program.functions[mutant.function];
        let mut targets = branches(program, &program.insns(function)?);
        targets.extend(branches(program, &program.decode_all(&mutant.edit)));
        targets.remove(&mutant.function);
        let fits = |batch: &Batch| {
            batch.mutants.len() < BATCH
                && !batch.functions.contains(&mutant.function)
                && !batch.targets.contains(&mutant.function)
                && batch.functions.is_disjoint(&targets)
                && !batch
                    .functions
                    .iter()
                    .any(|&other| is_part(function, &program.functions[other]))
        };
        let place = match batches.iter().position(fits) {
            Some(place) => place,
            None => {
                batches.push(Batch {
                    mutants: Vec::new(),
                    functions: BTreeSet::new(),
                    targets: BTreeSet::new(),
                });
                batches.len() - 1
            }
        };
        let batch = &mut batches[place];
        batch.mutants.push(number);
        batch.functions.insert(mutant.function);
        batch.targets.extend(targets);
    }
    Ok(batches.into_iter().map(|batch| batch.mutants).collect())
}

/// The functions into whose midst a mutant jumps.
pub fn entered(program: &Program, mutant: &Mutant) -> Vec<usize> {
    let insns = program.decode_all(&mutant.edit).into_iter();
    insns
        .filter(|insn| {
            matches!(
                insn.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            )
        })
        .filter_map(|insn| match program.place(insn.near_branch_target()) {
            Place::Inside(function) if function != mutant.function => Some(function),
            _ => None,
        })
        .collect()
}

/// The functions that instructions branch to directly.
fn branches(program: &Program, insns: &[Instruction]) -> BTreeSet<usize> {
    insns
        .iter()
        .filter(|insn| {
            matches!(
                insn.flow_control(),
                FlowControl::Call
                    | FlowControl::ConditionalBranch
                    | FlowControl::UnconditionalBranch
            )
        })
        .filter_map(|insn| match program.place(insn.near_branch_target()) {
            Place::Function(function) | Place::Inside(function) => Some(function),
            _ => None,
        })
        .collect()
}

//! Which mutants a run makes: evenly over the operators, and for each operator evenly over the
//! objects in which it applies. Also what names a mutant.
//!
//! The seed decides which places are taken and in which order; what is done to a place depends on
//! the mutant's name alone, so that a name means the same bytes in every run.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{bail, Context, Result};
use rayon::prelude::*;

use super::code::Subject;
use super::operators::{self, Change, Operator};
use super::rng::Rng;

/// How many mutants a place may yield to an operator that has more than one way to break it.
const WAYS: usize = 4;

/// An object of the corpus.
#[derive(Clone, Debug)]
pub struct Object {
    /// The path in the build folder, which objtool is given.
    pub name: String,
    /// The file as it was before objtool.
    pub input: PathBuf,
    /// The options objtool was given.
    pub args: Vec<String>,
}

/// What names a mutant: `operator:object:place:salt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    /// The operator's name.
    pub operator: String,
    /// The object's name.
    pub object: String,
    /// Which of the operator's places in the object.
    pub place: usize,
    /// Which of the ways to break that place.
    pub salt: u16,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operator,
            object,
            place,
            salt,
        } = self;
        write!(f, "{operator}:{object}:{place}:{salt:04x}")
    }
}

impl FromStr for Id {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [operator, object, place, salt] = parts[..] else {
            bail!("a mutant is named operator:object:place:salt, not {text}");
        };
        Ok(Self {
            operator: operator.to_owned(),
            object: object.to_owned(),
            place: place.parse().context("the place is not a number")?,
            salt: u16::from_str_radix(salt, 16).context("the salt is not a hexadecimal number")?,
        })
    }
}

/// A mutant of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// Index in [`Plan::operators`].
    pub operator: usize,
    /// Index in the corpus.
    pub object: usize,
    /// Which of the operator's places in the object.
    pub place: u32,
    /// Which of the ways to break that place.
    pub salt: u16,
}

/// The mutants of a run, and what there was to choose from.
pub struct Plan {
    /// The operators of the run.
    pub operators: Vec<&'static Operator>,
    /// By operator: how many places the corpus has for it.
    pub places: Vec<usize>,
    /// The mutants.
    pub mutants: Vec<Planned>,
}

impl Plan {
    /// Chooses `count` mutants of a corpus, or as many as there are.
    ///
    /// # Errors
    /// An object cannot be read.
    pub fn new(
        corpus: &[Object],
        operators: Vec<&'static Operator>,
        seed: u64,
        count: usize,
        scanned: impl Fn() + Sync,
    ) -> Result<Self> {
        let places: Vec<Vec<usize>> = corpus
            .par_iter()
            .map(|object| {
                let subject = Subject::read(&object.input)?;
                let count = |operator: &&Operator| operators::applicable(operator, &subject).len();
                let counts = operators.iter().map(count).collect();
                scanned();
                Ok(counts)
            })
            .collect::<Result<_>>()?;

        let mut queues: Vec<Queue> = operators
            .iter()
            .enumerate()
            .map(|(index, operator)| {
                let places = places.iter().map(|counts| counts[index]).collect();
                Queue::new(operator, places, seed)
            })
            .collect();
        let totals = queues
            .iter()
            .map(|queue| queue.places.iter().sum())
            .collect();

        let mut mutants = Vec::with_capacity(count);
        'all: loop {
            let before = mutants.len();
            for (operator, queue) in queues.iter_mut().enumerate() {
                if mutants.len() == count {
                    break 'all;
                }
                if let Some((object, place, salt)) = queue.next() {
                    mutants.push(Planned {
                        operator,
                        object,
                        place: place as u32,
                        salt,
                    });
                }
            }
            if mutants.len() == before {
                break;
            }
        }
        Ok(Self {
            operators,
            places: totals,
            mutants,
        })
    }

    /// What names a mutant of the plan.
    pub fn id(&self, corpus: &[Object], planned: &Planned) -> Id {
        Id {
            operator: self.operators[planned.operator].name.to_owned(),
            object: corpus[planned.object].name.clone(),
            place: planned.place as usize,
            salt: planned.salt,
        }
    }
}

/// Those operators whose name contains a word.
///
/// # Errors
/// There is none.
pub fn named(
    mut operators: Vec<&'static Operator>,
    filter: Option<&str>,
) -> Result<Vec<&'static Operator>> {
    if let Some(word) = filter {
        operators.retain(|operator| operator.name.contains(word));
        if operators.is_empty() {
            bail!("no operator's name contains {word:?}; --list shows them");
        }
    }
    Ok(operators)
}

/// Makes the mutant with this name.
pub fn make(operator: &Operator, subject: &Subject, id: &Id) -> Option<Change> {
    let site = *operators::applicable(operator, subject).get(id.place)?;
    let mut rng = Rng::of(
        &[&id.operator, &id.object, &id.place.to_string()],
        id.salt.into(),
    );
    // Some of the ways to break a place may not apply to it, or leave it as it is.
    let mut tries = (0..64).map(|_| (operator.apply)(subject, site, &mut rng));
    tries.find_map(|change| change.filter(|change| breaks(subject, change)))
}

/// Whether a change makes a difference.
fn breaks(subject: &Subject, change: &Change) -> bool {
    let mut edits = change.edits.iter();
    edits.any(|edit| subject.image.data[edit.at..edit.at + edit.bytes.len()] != edit.bytes)
}

/// The places of one operator, in the order in which a run takes them: one from each object in
/// turn, until none is left.
struct Queue {
    places: Vec<usize>,
    order: Vec<usize>,
    seed: Rng,
    ways: usize,
    turn: usize,
    round: usize,
    shuffles: Vec<Vec<u32>>,
}

impl Queue {
    fn new(operator: &Operator, places: Vec<usize>, seed: u64) -> Self {
        let mut rng = Rng::of(&[operator.name], seed);
        let mut order: Vec<usize> = (0..places.len())
            .filter(|&object| places[object] > 0)
            .collect();
        rng.shuffle(&mut order);
        let shuffles = places
            .iter()
            .map(|&count| {
                let mut list: Vec<u32> = (0..count as u32).collect();
                rng.shuffle(&mut list);
                list
            })
            .collect();
        Self {
            ways: if operator.varied { WAYS } else { 1 },
            turn: 0,
            round: 0,
            places,
            order,
            seed: rng,
            shuffles,
        }
    }

    fn next(&mut self) -> Option<(usize, usize, u16)> {
        let most = self.places.iter().max().copied().unwrap_or(0) * self.ways;
        while self.round < most {
            let Some(&object) = self.order.get(self.turn) else {
                self.turn = 0;
                self.round += 1;
                continue;
            };
            self.turn += 1;
            let count = self.places[object];
            if self.round < count * self.ways {
                let place = self.shuffles[object][self.round % count];
                let salt = if self.ways == 1 {
                    0
                } else {
                    self.seed.next() as u16
                };
                return Some((object, place as usize, salt));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back() {
        let id = Id {
            operator: "drop-pop".into(),
            object: "kernel/fork.o".into(),
            place: 12,
            salt: 0x9f3a,
        };
        assert_eq!(id.to_string(), "drop-pop:kernel/fork.o:12:9f3a");
        assert_eq!(id.to_string().parse::<Id>().unwrap(), id);
        assert!("drop-pop:kernel/fork.o".parse::<Id>().is_err());
    }

    #[test]
    fn places_are_taken_from_each_object_in_turn_and_once() {
        let operators = operators::all();
        let fixed = operators.iter().find(|operator| !operator.varied).unwrap();
        let mut queue = Queue::new(fixed, vec![2, 0, 5, 1], 7);
        let mut taken: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        let first: std::collections::HashSet<_> = taken[..3].iter().map(|t| t.0).collect();
        assert_eq!(first.len(), 3, "the first turn visits every object");
        assert_eq!(taken.len(), 8);
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 8, "no place comes twice");
    }
}

//! Entry code makes returns safe before it comes to the first one.
//!
//! After entry from user space a return may be predicted to where user space wants, until the
//! predictor's entries are replaced (`Documentation/admin-guide/hw-vuln/`, retbleed and srso). From
//! every annotated place, every path must come to the mark that says that this is done before any
//! return, indirect branch included.

use arch::insn::InsnKind;

use crate::decode::{InsnId, Marks};
use crate::model::{Model, Target};
use crate::report::{Abort, Findings, Message, Trace};

/// What is to be done once a side path has ended well.
enum Pending {
    /// Follow the alternatives below this one, then the instruction itself.
    Alternatives {
        insn: InsnId,
        left: usize,
        skip_original: bool,
    },
    /// Go on behind a jump.
    Branch { insn: InsnId, next: Option<InsnId> },
    /// Nothing: whatever a call leads to has made returns safe.
    Call { insn: InsnId },
}

/// Why a path is wrong.
enum Broken {
    /// The rule is broken.
    Rule,
    /// The path can't be followed.
    Unknown,
}

/// Checks all annotated places; the result is the number of violations.
///
/// # Errors
///
/// [`Abort`] where a path can't be followed.
pub fn check<A>(model: &Model<'_, A>, findings: &mut Findings) -> Result<usize, Abort> {
    let mut walker = Walker {
        model,
        findings,
        visited: vec![false; model.insns.records()],
        pending: Vec::new(),
    };
    let mut violations = 0;
    for &insn in &model.unret {
        match walker.walk(insn) {
            Ok(()) => {}
            Err(Broken::Rule) => violations += 1,
            Err(Broken::Unknown) => {
                model.warn(walker.findings, insn, Message::UnretFailed);
                return Err(Abort);
            }
        }
    }
    Ok(violations)
}

struct Walker<'m, 'f, A> {
    model: &'m Model<'f, A>,
    findings: &'m mut Findings,
    visited: Vec<bool>,
    pending: Vec<Pending>,
}

impl<A> Walker<'_, '_, A> {
    fn walk(&mut self, start: InsnId) -> Result<(), Broken> {
        let mut next = Some(start);
        let result = loop {
            let step = match next {
                Some(insn) => self.step(insn),
                None => match self.pending.pop() {
                    None => break Ok(()),
                    Some(pending) => self.resume(pending),
                },
            };
            match step {
                Ok(step) => next = step,
                Err(broken) => break Err(broken),
            }
        };
        if result.is_err() {
            self.trace();
        }
        result
    }

    /// The way to what is wrong, from there back.
    fn trace(&mut self) {
        let options = self.model.options;
        while let Some(pending) = self.pending.pop() {
            if !options.backtrace && !options.verbose {
                continue;
            }
            let (insn, trace) = match pending {
                Pending::Alternatives { insn, .. } => (insn, Trace::Alternative),
                Pending::Branch { insn, .. } => {
                    let conditional = self.model.insn(insn).kind == InsnKind::JumpConditional;
                    (
                        insn,
                        if conditional {
                            Trace::ConditionalBranch
                        } else {
                            Trace::Branch
                        },
                    )
                }
                Pending::Call { insn } => (insn, Trace::Call),
            };
            self.findings.add_trace(self.model.place(insn), trace);
        }
    }

    fn broken<T>(&mut self, insn: InsnId, message: Message, broken: Broken) -> Result<T, Broken> {
        self.model.warn(self.findings, insn, message);
        Err(broken)
    }

    fn resume(&mut self, pending: Pending) -> Result<Option<InsnId>, Broken> {
        match pending {
            Pending::Alternatives {
                insn,
                left,
                skip_original,
            } => self.alternatives(insn, left, skip_original),
            Pending::Branch { insn, next } => match next {
                Some(next) => Ok(Some(next)),
                None if self.model.insn(insn).kind == InsnKind::JumpUnconditional => Ok(None),
                None => self.broken(insn, Message::UnretEnd, Broken::Unknown),
            },
            Pending::Call { .. } => Ok(None),
        }
    }

    fn step(&mut self, insn: InsnId) -> Result<Option<InsnId>, Broken> {
        if std::mem::replace(&mut self.visited[insn.index()], true) {
            return Ok(None);
        }
        let left = self.model.alternatives(insn).len();
        if left != 0 && !self.model.insn(insn).marks.has(Marks::IGNORE_ALTERNATIVES) {
            return self.alternatives(insn, left, false);
        }
        self.execute(insn)
    }

    fn alternatives(
        &mut self,
        insn: InsnId,
        left: usize,
        skip_original: bool,
    ) -> Result<Option<InsnId>, Broken> {
        let Some(left) = left.checked_sub(1) else {
            return if skip_original {
                Ok(None)
            } else {
                self.execute(insn)
            };
        };
        let alternative = self.model.alternatives(insn)[left];
        let skip_original = skip_original || alternative.skip_original;
        self.pending.push(Pending::Alternatives {
            insn,
            left,
            skip_original,
        });
        Ok(Some(alternative.insn))
    }

    fn execute(&mut self, insn: InsnId) -> Result<Option<InsnId>, Broken> {
        let model = self.model;
        let record = model.insn(insn);
        match record.kind {
            InsnKind::CallDynamic | InsnKind::JumpDynamic | InsnKind::JumpDynamicConditional => {
                return self.broken(insn, Message::EarlyIndirect, Broken::Rule);
            }
            InsnKind::JumpConditional | InsnKind::JumpUnconditional
                if !model.is_sibling_call(insn) =>
            {
                let Target::Insn(dest) = model.target(insn) else {
                    return self.broken(insn, Message::UnretJump, Broken::Unknown);
                };
                let ends = record.kind == InsnKind::JumpUnconditional;
                let next = if ends {
                    None
                } else {
                    model.next_executed(insn)
                };
                self.pending.push(Pending::Branch { insn, next });
                return Ok(Some(dest));
            }
            InsnKind::Call | InsnKind::JumpConditional | InsnKind::JumpUnconditional => {
                let callee = model.callee(insn).map(|callee| model.file.symbol(callee));
                let dest = callee.and_then(|c| model.insns.at(c.section, c.value));
                let Some(dest) = dest else {
                    if let Some(callee) = model.callee(insn) {
                        self.findings.add(Message::UnretFunction(callee));
                    }
                    return Err(Broken::Unknown);
                };
                self.pending.push(Pending::Call { insn });
                return Ok(Some(dest));
            }
            InsnKind::Return => return self.broken(insn, Message::EarlyReturn, Broken::Rule),
            InsnKind::ContextSwitch if model.function_of(insn).is_none() => return Ok(None),
            // The mark that returns are safe from here on.
            InsnKind::Nop if record.marks.has(Marks::RETPOLINE_SAFE) => return Ok(None),
            _ => {}
        }
        if record.marks.has(Marks::DEAD_END) {
            return Ok(None);
        }
        match model.next_executed(insn) {
            Some(next) => Ok(Some(next)),
            None => self.broken(insn, Message::UnretEnd, Broken::Unknown),
        }
    }
}

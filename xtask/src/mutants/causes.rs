//! tmp
use anyhow::Result;
use super::code::Subject; use super::operators::{Change,Operator}; use super::trial::{Run,Verdict};
#[derive(Clone,Copy,PartialEq,Eq,PartialOrd,Ord,Debug)]
pub enum Cause { Unknown, Unwalked, Walked, NoFunction, NonStandard }
impl Cause { pub fn name(self)->&'static str { match self { Cause::Unknown=>"unknown", Cause::Unwalked=>"unwalked", Cause::Walked=>"walked", Cause::NoFunction=>"nofunc", Cause::NonStandard=>"nonstd" } } pub fn violation(self)->&'static str {"?"} }
pub fn of(_:&Operator, s:&Subject, c:&Change, _:&Verdict, probe: impl Fn(&[u8])->Result<Run>)->Result<Cause> {
 let Some(i)=c.insn else { return Ok(Cause::Unknown)};
 let insn=&s.insns[i];
 let Some(f)=insn.function else { if s.image.sections[insn.section].name!=super::code::REPLACEMENTS {return Ok(Cause::NoFunction)} else {return Ok(Cause::Unknown)} };
 if s.non_standard.contains(&f) { return Ok(Cause::NonStandard) }
 let mut d=s.image.data.clone(); let at=s.at(insn); let n=super::code::nops(insn.len()-1); d[at]=0xcb; d[at+1..at+insn.len()].copy_from_slice(&n);
 let r=probe(&d)?;
 let place=s.place(insn.section, insn.offset());
 Ok(if r.lines.iter().any(|l| l.place==place && l.message.contains("unsupported instruction in callable")) {Cause::Walked} else {Cause::Unwalked})
}

//! The recorded call stack: what calls and returns did, and nothing else.
//!
//! It knows neither frame pointers nor ORC, and asks of an instruction only whether it calls or
//! returns. A call pushes where it returns to; that call is over when its return is carried out, or
//! when the stack pointer has passed it.
//!
//! A call within a function, to its midst where no symbol is, is a way to push an address (Linux: retpolines, return
//! stack stuffing): no frame begins there. If the function then writes another address into that
//! word, as a retpoline does, the word is where its return goes, and so one's caller.
//!
//! Functions that run on made-up data may write where they should not. Return addresses and saved
//! frame pointers that are no longer what was pushed end a run: what lies there is nobody's stack.

/// What an instruction does to control flow, as far as calls and returns go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Goes on, or jumps.
    Other,
    /// Calls.
    Call,
    /// Returns.
    Return,
    /// Saves the frame pointer by a push.
    SavesFp,
}

/// An instruction that has run.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Where it lies.
    pub pc: u64,
    /// The one behind it.
    pub next: u64,
    /// What it did.
    pub flow: Flow,
    /// The stack pointer before it.
    pub sp: u64,
    /// The frame pointer before it.
    pub fp: u64,
}

/// A call that has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Where its return address lies.
    pub slot: u64,
    /// Its return address.
    pub returns_to: u64,
    /// The frame pointer of the function that called, as it is to be again.
    pub fp: u64,
    /// It is a call within a function.
    pub inner: bool,
}

/// A frame, as the record has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it goes on.
    pub address: u64,
    /// Where that address lies.
    pub slot: u64,
    /// Its frame pointer.
    pub fp: u64,
    /// No call has left the address, but a retpoline.
    pub made_up: bool,
}

/// How a run came to an end for the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A return went elsewhere than the call that it belongs to says.
    ReturnedElsewhere,
    /// A call did not push where it returns to.
    NotPushed,
    /// A return address or a saved frame pointer is no longer what was pushed.
    Overwritten,
}

/// The record.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    calls: Vec<Call>,
    /// Places and values of saved frame pointers.
    saved: Vec<(u64, u64)>,
}

impl Shadow {
    /// Begins anew, with the call that leads into the first function.
    pub fn restart(&mut self, first: Call) {
        self.calls.clear();
        self.saved.clear();
        self.calls.push(first);
    }

    /// Takes what an instruction has done, after which `pc` is to run with the stack pointer `sp`.
    /// `inner` says of two addresses whether a call from one to the other stays in its function.
    ///
    /// # Errors
    /// The instruction did what no call and no return does: the stack was damaged.
    pub fn step(
        &mut self,
        ran: &Ran,
        pc: u64,
        sp: u64,
        inner: impl Fn(u64, u64) -> bool,
    ) -> Result<(), Broken> {
        match ran.flow {
            Flow::Other | Flow::SavesFp => {}
            Flow::Call => {
                if sp != ran.sp.wrapping_sub(8) {
                    return Err(Broken::NotPushed);
                }
                self.calls.push(Call {
                    slot: sp,
                    returns_to: ran.next,
                    fp: ran.fp,
                    inner: inner(ran.pc, pc),
                });
            }
            Flow::Return => {
                if let Some(call) = self.calls.pop_if(|call| call.slot == ran.sp) {
                    if call.returns_to != pc && !call.inner {
                        return Err(Broken::ReturnedElsewhere);
                    }
                }
            }
        }
        while self.calls.pop_if(|call| call.slot < sp).is_some() {}
        while self.saved.pop_if(|(slot, _)| *slot < sp).is_some() {}
        if ran.flow == Flow::SavesFp {
            self.saved.push((sp, ran.fp));
        }
        Ok(())
    }

    /// How many calls have not returned.
    pub fn depth(&self) -> usize {
        self.calls.len()
    }

    /// Where frame pointers were saved, and which.
    pub fn saved(&self) -> &[(u64, u64)] {
        &self.saved
    }

    /// The call that would return next.
    pub fn last(&self) -> Option<&Call> {
        self.calls.last()
    }

    /// The frames from the innermost on, with the words that `word` says lie on the stack.
    ///
    /// # Errors
    /// A word is not what the record says: only a call within a function may have its own changed.
    pub fn frames(
        &self,
        word: impl Fn(u64) -> Option<u64>,
        into: &mut Vec<Frame>,
    ) -> Result<(), Broken> {
        into.clear();
        if !self
            .saved
            .iter()
            .all(|(slot, value)| word(*slot) == Some(*value))
        {
            return Err(Broken::Overwritten);
        }
        for call in self.calls.iter().rev() {
            let address = word(call.slot).ok_or(Broken::Overwritten)?;
            match (call.inner, address == call.returns_to) {
                (true, true) => continue,
                (false, false) => return Err(Broken::Overwritten),
                (false, true) | (true, false) => into.push(Frame {
                    address,
                    slot: call.slot,
                    fp: call.fp,
                    made_up: call.inner,
                }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Call = Call {
        slot: 0x1000,
        returns_to: 0x9000,
        fp: 0x77,
        inner: false,
    };

    fn ran(pc: u64, flow: Flow, sp: u64) -> Ran {
        Ran {
            pc,
            next: pc + 5,
            flow,
            sp,
            fp: pc,
        }
    }

    /// Functions are 0x100 bytes long; a call to their first byte is one like any other.
    fn inner(from: u64, to: u64) -> bool {
        from / 0x100 == to / 0x100 && !to.is_multiple_of(0x100)
    }

    /// The frames when each word is what was pushed, but for `changed`, a place and a value.
    fn addresses(shadow: &Shadow, changed: (u64, u64)) -> Result<Vec<u64>, Broken> {
        let word = |slot| {
            let call = shadow.calls.iter().find(|call| call.slot == slot);
            let pushed = call.map(|call| call.returns_to);
            pushed.map(|word| if slot == changed.0 { changed.1 } else { word })
        };
        let mut frames = Vec::new();
        shadow.frames(word, &mut frames)?;
        Ok(frames.iter().map(|frame| frame.address).collect())
    }

    const NONE: (u64, u64) = (0, 0);

    fn started() -> Shadow {
        let mut shadow = Shadow::default();
        shadow.restart(FIRST);
        shadow
    }

    #[test]
    fn calls_are_there_until_they_return() {
        let mut shadow = started();
        let call = ran(0x110, Flow::Call, 0xff0);
        shadow.step(&call, 0x200, 0xfe8, inner).unwrap();
        let push = ran(0x200, Flow::Other, 0xfe8);
        shadow.step(&push, 0x201, 0xfe0, inner).unwrap();
        assert_eq!(addresses(&shadow, NONE).unwrap(), [0x115, 0x9000]);
        assert_eq!(shadow.last().map(|call| call.fp), Some(0x110));
        let back = ran(0x210, Flow::Return, 0xfe8);
        shadow.step(&back, 0x115, 0xff0, inner).unwrap();
        assert_eq!(addresses(&shadow, NONE).unwrap(), [0x9000]);
        let end = ran(0x120, Flow::Return, 0x1000);
        shadow.step(&end, 0x9000, 0x1008, inner).unwrap();
        assert_eq!(shadow.depth(), 0);
    }

    #[test]
    fn a_return_that_goes_elsewhere_is_seen() {
        let mut shadow = started();
        let call = ran(0x110, Flow::Call, 0xff0);
        shadow.step(&call, 0x200, 0xfe8, inner).unwrap();
        let back = ran(0x210, Flow::Return, 0xfe8);
        let broken = shadow.step(&back, 0x116, 0xff0, inner);
        assert_eq!(broken, Err(Broken::ReturnedElsewhere));
    }

    #[test]
    fn a_return_address_that_was_overwritten_is_seen() {
        let mut shadow = started();
        let call = ran(0x110, Flow::Call, 0xff0);
        shadow.step(&call, 0x200, 0xfe8, inner).unwrap();
        for slot in [0xfe8, 0x1000] {
            assert_eq!(addresses(&shadow, (slot, 1)), Err(Broken::Overwritten));
        }
    }

    #[test]
    fn a_saved_frame_pointer_that_was_overwritten_is_seen() {
        let mut shadow = started();
        let push = ran(0x110, Flow::SavesFp, 0xff8);
        shadow.step(&push, 0x111, 0xff0, inner).unwrap();
        let word = |saved| move |slot| Some(if slot == 0xff0 { saved } else { 0x9000 });
        assert_eq!(shadow.frames(word(0x110), &mut Vec::new()), Ok(()));
        let overwritten = shadow.frames(word(0x111), &mut Vec::new());
        assert_eq!(overwritten, Err(Broken::Overwritten));
        // Behind the stack pointer it is of no matter.
        let pop = ran(0x111, Flow::Other, 0xff0);
        shadow.step(&pop, 0x112, 0xff8, inner).unwrap();
        assert_eq!(shadow.frames(word(0x111), &mut Vec::new()), Ok(()));
    }

    #[test]
    fn what_was_pushed_and_returned_to_is_no_call() {
        let mut shadow = started();
        // push target; ret
        let back = ran(0x210, Flow::Return, 0xff0);
        shadow.step(&back, 0x300, 0xff8, inner).unwrap();
        assert_eq!(addresses(&shadow, NONE).unwrap(), [0x9000]);
    }

    #[test]
    fn a_retpoline_returns_to_its_target() {
        let mut shadow = started();
        let call = ran(0x110, Flow::Call, 0xff0);
        shadow.step(&call, 0x400, 0xfe8, inner).unwrap();
        let within = ran(0x400, Flow::Call, 0xfe8);
        shadow.step(&within, 0x406, 0xfe0, inner).unwrap();
        // No frame begins there.
        assert_eq!(addresses(&shadow, NONE).unwrap(), [0x115, 0x9000]);
        // mov target,(%rsp): that is where it returns to.
        let target = addresses(&shadow, (0xfe0, 0x500));
        assert_eq!(target.unwrap(), [0x500, 0x115, 0x9000]);
        let back = ran(0x40a, Flow::Return, 0xfe0);
        shadow.step(&back, 0x500, 0xfe8, inner).unwrap();
        assert_eq!(addresses(&shadow, NONE).unwrap(), [0x115, 0x9000]);
    }

    #[test]
    fn what_the_stack_pointer_has_passed_is_gone() {
        let mut shadow = started();
        let within = ran(0x110, Flow::Call, 0xff0);
        shadow.step(&within, 0x116, 0xfe8, inner).unwrap();
        let add = ran(0x116, Flow::Other, 0xfe8);
        shadow.step(&add, 0x11a, 0xff0, inner).unwrap();
        assert_eq!(shadow.depth(), 1);
    }

    #[test]
    fn a_call_that_pushes_elsewhere_is_seen() {
        let mut shadow = started();
        let call = ran(0x110, Flow::Call, 0xff0);
        assert_eq!(
            shadow.step(&call, 0x200, 0xff0, inner),
            Err(Broken::NotPushed)
        );
    }
}

//! The emulator: Unicorn (QEMU's translator as a library), one address space, one function after
//! the other.
//!
//! Everything that is decided is decided in [`crate::run`] and [`crate::memory`]; this hands over
//! registers, pages and where to go on.

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
use std::ops::Range;
use std::ptr::NonNull;

use anyhow::{anyhow, Result};
use rayon::prelude::*;
use unicorn_engine::{Arch, MemType, Mode, Prot, RegisterX86, TlbEntry, TlbType, Unicorn};

use crate::image::{Function, Image};
use crate::memory::{Access, Denied, Frames, Space, PAGE, PER_CPU, STACK, STACK_SIZE};
use crate::run::{Action, Plan, Run};
use crate::snapshot::Registers;
use crate::tally::Tally;

/// The general registers, by number.
const REGISTERS: [RegisterX86; 16] = [
    RegisterX86::RAX,
    RegisterX86::RCX,
    RegisterX86::RDX,
    RegisterX86::RBX,
    RegisterX86::RSP,
    RegisterX86::RBP,
    RegisterX86::RSI,
    RegisterX86::RDI,
    RegisterX86::R8,
    RegisterX86::R9,
    RegisterX86::R10,
    RegisterX86::R11,
    RegisterX86::R12,
    RegisterX86::R13,
    RegisterX86::R14,
    RegisterX86::R15,
];

/// No code lies here: the emulator never stops by itself.
const NOWHERE: u64 = 0x00ff_0000_0000_0000;

/// Interrupts are on, as they mostly are (EFLAGS.IF; the bit below is always set).
const FLAGS: u64 = 0x202;

/// How often a run may call functions outside of the kernel.
const MOST_OUTSIDE: u32 = 200;

/// The emulated machine's memory.
struct Ram {
    at: NonNull<u8>,
    layout: Layout,
}

impl Ram {
    fn new(pages: u64) -> Result<Self> {
        let layout = Layout::from_size_align((pages * PAGE) as usize, PAGE as usize)?;
        assert!(layout.size() > 0, "there is a stack, if nothing else");
        // SAFETY: the size is not 0.
        let at = unsafe { alloc_zeroed(layout) };
        let Some(at) = NonNull::new(at) else {
            handle_alloc_error(layout);
        };
        Ok(Self { at, layout })
    }

    /// The bytes of a page frame, and a pointer to the first.
    fn page(&self, frame: u64) -> NonNull<u8> {
        let offset = (frame * PAGE) as usize;
        assert!(
            offset < self.layout.size(),
            "page frame {frame} of {:?}",
            self.layout
        );
        // SAFETY: the page lies within the allocation: just checked, and both are whole pages.
        unsafe { self.at.add(offset) }
    }

    /// Reads words from the page frame `frame` on.
    fn read(&self, frame: u64, offset: u64, words: &mut [u64]) {
        let len = offset as usize + 8 * words.len();
        let last = frame + (len as u64).div_ceil(PAGE) - 1;
        self.page(last);
        let from = self.page(frame);
        // SAFETY: first and last page lie within the allocation, and `len` ends in the last one.
        // The emulator does not run meanwhile: it is what calls this, or has returned.
        unsafe {
            from.add(offset as usize)
                .copy_to_nonoverlapping(NonNull::from(words).cast(), len - offset as usize);
        }
    }

    /// Writes words from the page frame `frame` on.
    fn write(&mut self, frame: u64, words: &[u64]) {
        let len = 8 * words.len();
        let last = frame + (len as u64).div_ceil(PAGE) - 1;
        self.page(last);
        let to = self.page(frame);
        // SAFETY: as in `read`.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(words).cast(), len) }
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout; the emulator, which knew the address, is gone:
        // it is closed before its data is dropped.
        unsafe { dealloc(self.at.as_ptr(), self.layout) }
    }
}

impl Frames for Ram {
    fn fill(&mut self, frame: u64, bytes: &[u8]) {
        let len = bytes.len().min(PAGE as usize);
        let to = self.page(frame);
        // SAFETY: no more than a page is written, and the page lies within the allocation. The
        // emulator does not run meanwhile: it is what calls this, or has not begun.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), len) }
    }

    fn copy(&mut self, from: u64, to: u64) {
        assert_ne!(from, to);
        let (from, to) = (self.page(from), self.page(to));
        // SAFETY: two different pages of the allocation; the emulator does not run meanwhile.
        unsafe { from.copy_to_nonoverlapping(to, PAGE as usize) }
    }
}

struct State<'i> {
    run: Run<'i>,
    space: Space<'i>,
    ram: Ram,
    denied: Option<Denied>,
}

/// The machine.
pub struct Machine<'i> {
    uc: Unicorn<'i, State<'i>>,
}

impl<'i> Machine<'i> {
    /// A machine with a kernel in its memory.
    ///
    /// # Errors
    /// The emulator does not do what it is told.
    pub fn new(image: &'i Image, plan: Plan) -> Result<Self> {
        let pages = Space::frames(image);
        let mut ram = Ram::new(pages)?;
        let space = Space::new(image, &mut ram);
        let at = ram.at;
        let state = State {
            run: Run::new(image, plan),
            space,
            ram,
            denied: None,
        };
        let uc = Unicorn::new_with_data(Arch::X86, Mode::MODE_64, state).map_err(said)?;
        let mut machine = Self { uc };
        machine.set_up(pages, at).map_err(said)?;
        Ok(machine)
    }

    fn set_up(&mut self, pages: u64, at: NonNull<u8>) -> Result<(), unicorn_engine::uc_error> {
        let uc = &mut self.uc;
        uc.ctl_set_tlb_type(TlbType::VIRTUAL)?;
        // SAFETY: the memory belongs to the emulator's data, so it is there for as long as the
        // emulator; its size is that of its allocation.
        unsafe { uc.mem_map_ptr(0, pages * PAGE, Prot::ALL, at.as_ptr().cast())? };
        uc.add_tlb_hook(1, 0, |uc, address, kind| {
            let state = uc.get_data_mut();
            let access = match kind {
                MemType::FETCH | MemType::FETCH_UNMAPPED | MemType::FETCH_PROT => Access::Run,
                MemType::WRITE | MemType::WRITE_UNMAPPED | MemType::WRITE_PROT => Access::Write,
                _ => Access::Read,
            };
            match state.space.page(address, access, &mut state.ram) {
                Ok(page) => {
                    let mut perms = Prot::READ;
                    if page.writable {
                        perms |= Prot::WRITE;
                    }
                    if page.runnable {
                        perms |= Prot::EXEC;
                    }
                    Some(TlbEntry {
                        paddr: page.frame * PAGE,
                        perms,
                    })
                }
                Err(denied) => {
                    state.denied = Some(denied);
                    None
                }
            }
        })?;
        uc.add_code_hook(1, 0, |uc, pc, _| {
            let Ok(registers) = registers(uc) else {
                uc.get_data_mut().run.fault("registers cannot be read");
                let _ = uc.emu_stop();
                return;
            };
            let state = uc.get_data_mut();
            state.denied = None;
            let (ram, frame) = (&state.ram, state.space.stack_frame());
            let read = |index: usize, words: &mut [u64]| ram.read(frame, 8 * index as u64, words);
            let action = state.run.step(pc, &registers, read);
            if apply(uc, action).is_err() {
                uc.get_data_mut().run.fault("registers cannot be written");
            }
            if uc.get_data().run.has_ended() {
                // It only asks for a stop, and cannot fail but for a machine that is gone.
                let _ = uc.emu_stop();
            }
        })?;
        Ok(())
    }

    /// Does the run of a function of this number.
    ///
    /// # Errors
    /// The emulator does not do what it is told.
    pub fn run(&mut self, function: &Function, number: u64) -> Result<()> {
        let mut stack = vec![0; (STACK_SIZE / 8) as usize];
        let state = self.uc.get_data_mut();
        state.space.restart(Run::content(number), number);
        let registers = state.run.start(function, number, &mut stack);
        let frame = state.space.stack_frame();
        state.ram.write(frame, &stack);
        state.denied = None;
        self.begin(&registers).map_err(said)?;
        let mut pc = function.begin;
        for _ in 0..MOST_OUTSIDE {
            let result = self.uc.emu_start(pc, NOWHERE, 0, 0);
            if self.uc.get_data().run.has_ended() {
                return Ok(());
            }
            match self.go_on(result.is_err()).map_err(said)? {
                Some(next) => pc = next,
                None => return Ok(()),
            }
        }
        self.uc.get_data_mut().run.fault("left the text often");
        Ok(())
    }

    fn begin(&mut self, registers: &Registers) -> Result<(), unicorn_engine::uc_error> {
        let uc = &mut self.uc;
        uc.ctl_flush_tlb()?;
        for (register, value) in REGISTERS.into_iter().zip(registers) {
            uc.reg_write(register, *value)?;
        }
        uc.reg_write(RegisterX86::GS_BASE, PER_CPU)?;
        uc.reg_write(RegisterX86::FS_BASE, 0)?;
        uc.reg_write(RegisterX86::EFLAGS, FLAGS)
    }

    /// Where to go on after the emulator has stopped by itself.
    fn go_on(&mut self, failed: bool) -> Result<Option<u64>, unicorn_engine::uc_error> {
        let registers = registers(&self.uc)?;
        let pc = self.uc.reg_read(RegisterX86::RIP)?;
        let state = self.uc.get_data_mut();
        let why = match state.denied.take() {
            Some(Denied::NoCode(_)) => {
                let (ram, frame) = (&state.ram, state.space.stack_frame());
                let word = |address: u64| {
                    let offset = address.checked_sub(STACK)?;
                    let mut word = [0];
                    (offset <= STACK_SIZE - 8).then(|| ram.read(frame, offset, &mut word))?;
                    Some(word[0])
                };
                let action = state.run.outside(pc, &registers, word);
                if let Action::With(next, _) = action {
                    apply(&mut self.uc, action)?;
                    self.uc
                        .reg_write(RegisterX86::RSP, registers[4].wrapping_add(8))?;
                    return Ok(Some(next));
                }
                return Ok(None);
            }
            Some(Denied::NotCanonical) => "address that is none",
            Some(Denied::Code) => "wrote its own code",
            Some(Denied::TooMuch) => "touched too much memory",
            None if failed => "exception",
            None => "stopped by itself",
        };
        self.uc.get_data_mut().run.fault(why);
        Ok(None)
    }

    /// What came of all runs.
    pub fn tally(&mut self) -> Tally {
        std::mem::take(&mut self.uc.get_data_mut().run.tally)
    }
}

/// How many functions a machine runs before it is made anew. What came of a run may depend on what
/// lies in registers that runs do not begin with, so it is fixed.
const FUNCTIONS: usize = 128;

/// About `count` of the functions, spread evenly.
pub fn spread(functions: &[Function], count: usize) -> Vec<&Function> {
    let count = count.clamp(1, functions.len().max(1));
    let chosen = (0..count).map(|n| functions.get(n * functions.len() / count));
    chosen.flatten().collect()
}

/// Does the runs of these numbers of each function, on all CPUs. The counts are the same for any
/// number of CPUs; `done` is told of each function.
///
/// # Errors
/// The emulator does not do what it is told.
pub fn run_all(
    image: &Image,
    plan: Plan,
    functions: &[&Function],
    numbers: Range<u64>,
    done: &(dyn Fn() + Sync),
) -> Result<Tally> {
    let parts = functions.par_chunks(FUNCTIONS).map(|part| {
        let mut machine = Machine::new(image, plan)?;
        for function in part {
            for number in numbers.clone() {
                machine.run(function, number)?;
            }
            done();
        }
        Ok(machine.tally())
    });
    let parts: Vec<Result<Tally>> = parts.collect();
    let mut all = Tally::default();
    for part in parts {
        all.add(part?);
    }
    Ok(all)
}

fn registers(uc: &Unicorn<'_, State<'_>>) -> Result<Registers, unicorn_engine::uc_error> {
    let mut registers = [0; 16];
    for (value, register) in registers.iter_mut().zip(REGISTERS) {
        *value = uc.reg_read(register)?;
    }
    Ok(registers)
}

/// Does what the run says is to be done.
fn apply(uc: &mut Unicorn<'_, State<'_>>, action: Action) -> Result<(), unicorn_engine::uc_error> {
    match action {
        Action::Go | Action::End => Ok(()),
        Action::To(pc) => uc.reg_write(RegisterX86::RIP, pc),
        Action::With(pc, [rax, rdx]) => {
            uc.reg_write(RegisterX86::RAX, rax)?;
            uc.reg_write(RegisterX86::RDX, rdx)?;
            uc.reg_write(RegisterX86::RIP, pc)
        }
    }
}

fn said(error: unicorn_engine::uc_error) -> anyhow::Error {
    anyhow!("the emulator says {error:?}")
}

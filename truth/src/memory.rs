//! The memory that functions run in: the image, the stack, per-CPU data, and pages that come into
//! being when they are touched.
//!
//! Every address that the processor accepts can be read and written, but for code: writing that
//! ends a run, and so does running anything else. What a run has written is gone with it. Not here:
//! the memory itself, which whoever runs the emulator holds ([`Frames`]).

use rustc_hash::FxHashMap;

use crate::image::Image;
use crate::random::Random;

/// Size in bytes of a page.
pub const PAGE: u64 = 4096;

/// Where the stack lies.
pub const STACK: u64 = 0xffff_c900_0040_0000;

/// Size in bytes of the stack (`THREAD_SIZE` without sanitizers).
pub const STACK_SIZE: u64 = 4 * PAGE;

/// Where the per-CPU data lies.
pub const PER_CPU: u64 = 0xffff_8880_3fc0_0000;

/// Where arguments and made-up pointers lead.
pub const HEAP: u64 = 0xffff_8880_0100_0000;

/// How many pages made-up pointers lead to.
pub const HEAP_PAGES: u64 = 64;

/// How many pages a run may touch that are its own.
pub const OWN_PAGES: u64 = 2048;

/// Page frames: memory by number, which the emulator can use.
pub trait Frames {
    /// Fills a page frame.
    fn fill(&mut self, frame: u64, bytes: &[u8]);

    /// Copies a page frame.
    fn copy(&mut self, from: u64, to: u64);
}

/// What memory is accessed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read it.
    Read,
    /// To write it.
    Write,
    /// To run it.
    Run,
}

/// Where a page lies, and what it may be accessed for without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The page frame.
    pub frame: u64,
    /// It may be written.
    pub writable: bool,
    /// It may be run.
    pub runnable: bool,
}

/// Why memory cannot be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The address is none that the processor accepts.
    NotCanonical,
    /// It is code that is to be written.
    Code,
    /// It is no code, and to be run.
    NoCode(u64),
    /// A run touches too much.
    TooMuch,
}

/// What lies in pages that come into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zeros.
    Zero,
    /// A mixture of what memory holds: zeros, small numbers, pointers, noise.
    Mixed,
}

/// The address space of one run after the other.
#[derive(Debug)]
pub struct Space<'i> {
    image: &'i Image,
    fixed: FxHashMap<u64, Page>,
    own: FxHashMap<u64, u64>,
    /// The first page frame of a run's own pages.
    first_own: u64,
    content: Content,
    seed: u64,
}

impl<'i> Space<'i> {
    /// Lays out an image.
    pub fn new(image: &'i Image, frames: &mut impl Frames) -> Self {
        let mut space = Self {
            image,
            fixed: FxHashMap::default(),
            own: FxHashMap::default(),
            first_own: 0,
            content: Content::Zero,
            seed: 0,
        };
        for segment in &image.segments {
            space.lay(segment.address, segment.size, &segment.bytes, frames);
        }
        let mut per_cpu = image.per_cpu.clone();
        let at = image.per_cpu_offset as usize;
        if let Some(word) = per_cpu.get_mut(at..at + 8) {
            word.copy_from_slice(&PER_CPU.to_le_bytes());
        }
        space.lay(PER_CPU, per_cpu.len() as u64, &per_cpu, frames);
        space.set_offset_of_first_cpu(frames);
        space.lay(STACK, STACK_SIZE, &[], frames);
        for number in 0..STACK_SIZE / PAGE {
            if let Some(page) = space.fixed.get_mut(&(STACK / PAGE + number)) {
                page.writable = true;
            }
        }
        space
    }

    /// How many page frames there must be for an image.
    pub fn frames(image: &Image) -> u64 {
        let pages = |size: u64| size / PAGE + 2;
        let segments: u64 = image.segments.iter().map(|s| pages(s.size)).sum();
        segments + pages(image.per_cpu.len() as u64) + STACK_SIZE / PAGE + OWN_PAGES + 1
    }

    fn lay(&mut self, address: u64, size: u64, bytes: &[u8], frames: &mut impl Frames) {
        let mut at = address;
        let mut buffer = [0; PAGE as usize];
        while at < address + size {
            let begin = (at - address) as usize;
            let end = ((at / PAGE + 1) * PAGE - address).min(size) as usize;
            let skip = (at % PAGE) as usize;
            buffer.fill(0);
            let part = bytes.get(begin..end.min(bytes.len())).unwrap_or(&[]);
            buffer[skip..skip + part.len()].copy_from_slice(part);
            let number = at / PAGE;
            // Two segments never share a page: the linker aligns them.
            let frame = self.first_own;
            self.first_own += 1;
            frames.fill(frame, &buffer);
            let first = number * PAGE;
            let text = self.image.text().iter();
            let mut text = text.filter(|(begin, end)| *begin < first + PAGE && first < *end);
            self.fixed.insert(
                number,
                Page {
                    frame,
                    writable: false,
                    runnable: text.next().is_some(),
                },
            );
            at = (number + 1) * PAGE;
        }
    }

    fn set_offset_of_first_cpu(&mut self, frames: &mut impl Frames) {
        let at = self.image.per_cpu_offsets;
        let (Some(page), Some(bytes)) = (
            self.fixed.get(&(at / PAGE)),
            self.image.bytes(at & !(PAGE - 1), PAGE as usize),
        ) else {
            return;
        };
        let mut bytes = bytes.to_vec();
        let within = (at % PAGE) as usize;
        if let Some(word) = bytes.get_mut(within..within + 8) {
            word.copy_from_slice(&PER_CPU.to_le_bytes());
            frames.fill(page.frame, &bytes);
        }
    }

    /// Begins a run: nothing is left of the last one.
    pub fn restart(&mut self, content: Content, seed: u64) {
        self.own.clear();
        self.content = content;
        self.seed = seed;
    }

    /// The page frame of the stack's first page.
    pub fn stack_frame(&self) -> u64 {
        self.fixed.get(&(STACK / PAGE)).map_or(0, |page| page.frame)
    }

    /// Where the page of `address` lies.
    ///
    /// # Errors
    /// It cannot be accessed for this.
    pub fn page(
        &mut self,
        address: u64,
        access: Access,
        frames: &mut impl Frames,
    ) -> Result<Page, Denied> {
        let sign = address as i64 >> 47;
        if sign != 0 && sign != -1 {
            return Err(Denied::NotCanonical);
        }
        let number = address / PAGE;
        if let Some(&frame) = self.own.get(&number) {
            return match access {
                Access::Run => Err(Denied::NoCode(address)),
                Access::Read | Access::Write => Ok(Page {
                    frame,
                    writable: true,
                    runnable: false,
                }),
            };
        }
        let fixed = self.fixed.get(&number).copied();
        match (fixed, access) {
            (Some(page), Access::Run) if page.runnable => Ok(page),
            (_, Access::Run) => Err(Denied::NoCode(address)),
            (Some(page), Access::Read) => Ok(page),
            (Some(page), Access::Write) if page.writable => Ok(page),
            (Some(page), Access::Write) if page.runnable => Err(Denied::Code),
            (Some(page), Access::Write) => {
                let own = self.add(number)?;
                frames.copy(page.frame, own.frame);
                Ok(own)
            }
            (None, Access::Read | Access::Write) => {
                let own = self.add(number)?;
                frames.fill(own.frame, &self.contents(number));
                Ok(own)
            }
        }
    }

    fn add(&mut self, number: u64) -> Result<Page, Denied> {
        let count = self.own.len() as u64;
        if count >= OWN_PAGES {
            return Err(Denied::TooMuch);
        }
        let frame = self.first_own + count;
        self.own.insert(number, frame);
        Ok(Page {
            frame,
            writable: true,
            runnable: false,
        })
    }

    /// What lies in a page that comes into being; the same for the same run and page.
    fn contents(&self, number: u64) -> [u8; PAGE as usize] {
        let mut bytes = [0; PAGE as usize];
        if self.content == Content::Mixed {
            let mut random = Random::of(&[self.seed, number]);
            for word in bytes.chunks_exact_mut(8) {
                let value = mixed(&mut random, self.image, number * PAGE);
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes
    }
}

/// A word such as memory near `near` may hold.
pub fn mixed(random: &mut Random, image: &Image, near: u64) -> u64 {
    match random.below(16) {
        0..=5 => 0,
        6..=8 => random.below(256),
        9 | 10 => HEAP + PAGE * random.below(HEAP_PAGES) + 8 * random.below(PAGE / 8),
        11 => near + 8 * random.below(PAGE / 8),
        12 => random.below(32).wrapping_neg(),
        13 => random.one_of(&image.functions).begin,
        _ => random.word(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::small;

    /// Page frames, each a page of bytes.
    #[derive(Default)]
    struct Bytes(FxHashMap<u64, Vec<u8>>);

    impl Frames for Bytes {
        fn fill(&mut self, frame: u64, bytes: &[u8]) {
            assert!(bytes.len() <= PAGE as usize);
            self.0.insert(frame, bytes.to_vec());
        }

        fn copy(&mut self, from: u64, to: u64) {
            let bytes = self.0[&from].clone();
            self.0.insert(to, bytes);
        }
    }

    #[test]
    fn code_runs_and_cannot_be_written_and_all_else_is_the_other_way_round() {
        let image = small();
        let mut frames = Bytes::default();
        let mut space = Space::new(&image, &mut frames);
        let text = image.text()[0].0;
        let data = image.segments[1].address;
        let page = space.page(text, Access::Run, &mut frames).unwrap();
        assert!(page.runnable && !page.writable);
        assert_eq!(frames.0[&page.frame][..2], image.segments[0].bytes[..2]);
        assert_eq!(
            space.page(text, Access::Write, &mut frames),
            Err(Denied::Code)
        );
        for address in [data, HEAP, STACK, PER_CPU, 0] {
            let run = space.page(address, Access::Run, &mut frames);
            assert_eq!(run, Err(Denied::NoCode(address)), "{address:#x}");
            let write = space.page(address, Access::Write, &mut frames).unwrap();
            assert!(write.writable && !write.runnable, "{address:#x}");
        }
        let outside = 1 << 47;
        let none = space.page(outside, Access::Read, &mut frames);
        assert_eq!(none, Err(Denied::NotCanonical));
    }

    #[test]
    fn what_a_run_writes_is_gone_with_it() {
        let image = small();
        let mut frames = Bytes::default();
        let mut space = Space::new(&image, &mut frames);
        let data = image.segments[1].address;
        let before = space.page(data, Access::Read, &mut frames).unwrap();
        let own = space.page(data, Access::Write, &mut frames).unwrap();
        assert_ne!(before.frame, own.frame);
        assert_eq!(frames.0[&before.frame], frames.0[&own.frame]);
        // From then on it is read there.
        assert_eq!(space.page(data, Access::Read, &mut frames), Ok(own));
        space.restart(Content::Mixed, 1);
        assert_eq!(space.page(data, Access::Read, &mut frames), Ok(before));
        let first = space.page(HEAP, Access::Read, &mut frames).unwrap();
        let mixed = frames.0[&first.frame].clone();
        assert!(mixed.iter().any(|byte| *byte != 0));
        space.restart(Content::Mixed, 1);
        space.page(HEAP + PAGE, Access::Read, &mut frames).unwrap();
        let again = space.page(HEAP, Access::Read, &mut frames).unwrap();
        assert_eq!(frames.0[&again.frame], mixed);
    }

    #[test]
    fn a_run_cannot_touch_everything() {
        let image = small();
        let mut frames = Bytes::default();
        let mut space = Space::new(&image, &mut frames);
        for number in 0..OWN_PAGES {
            space
                .page(HEAP + PAGE * number, Access::Read, &mut frames)
                .unwrap();
        }
        let more = space.page(0, Access::Read, &mut frames);
        assert_eq!(more, Err(Denied::TooMuch));
    }

    #[test]
    fn a_cpu_knows_where_its_data_lies() {
        let image = small();
        let mut frames = Bytes::default();
        let mut space = Space::new(&image, &mut frames);
        let mut word = |address: u64| {
            let page = space.page(address, Access::Read, &mut frames).unwrap();
            let at = (address % PAGE) as usize;
            let bytes = &frames.0[&page.frame][at..at + 8];
            u64::from_le_bytes(bytes.try_into().unwrap())
        };
        assert_eq!(word(PER_CPU + image.per_cpu_offset), PER_CPU);
        assert_eq!(word(image.per_cpu_offsets), PER_CPU);
    }
}

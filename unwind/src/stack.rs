//! Stacks, and reading them: nothing is read that does not lie on a known stack.
//!
//! A [`Slot`] is a place for a word, and only a [`Stack`] makes one, so a [`Stacks`] can read a
//! slot without looking. Not here: what the words mean.

use arch::frame::WORD;

/// What a stack is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackKind(u8);

impl StackKind {
    /// A task's own.
    pub const TASK: Self = Self(0);
    /// A CPU's for interrupts.
    pub const INTERRUPT: Self = Self(1);
    /// A CPU's for soft interrupts, where that is another one.
    pub const SOFT_INTERRUPT: Self = Self(2);
    /// A CPU's for the first instructions in the kernel.
    pub const ENTRY: Self = Self(3);

    /// A CPU's for certain exceptions, by the architecture's number (below 27).
    pub const fn exception(number: u8) -> Self {
        Self(number.saturating_add(4))
    }

    /// The one with a number: the above in their order, then exceptions.
    #[inline]
    pub const fn numbered(number: u8) -> Self {
        Self(number)
    }

    /// Its number, as [`Self::numbered`] takes it.
    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// A bit of its own. Numbers that are too large share one, so that each still comes up once.
    #[inline]
    pub(crate) const fn bit(self) -> u32 {
        1 << if self.0 < 31 { self.0 } else { 31 }
    }
}

/// A stack: where it lies, and which one was used before the switch to it.
///
/// # Invariants
///
/// The memory from the begin on, of this size, can be read, and there is no address behind the largest
/// one in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    begin: u64,
    size: u64,
    next: u64,
    kind: StackKind,
}

impl Stack {
    /// No stack: nothing lies on it. All of it is zeros.
    pub(crate) const NONE: Self = Self {
        begin: 0,
        size: 0,
        next: 0,
        kind: StackKind::TASK,
    };

    /// The same, before the switch to which the stack pointer was another one.
    #[inline]
    pub(crate) const fn leading_to(self, next: u64) -> Self {
        Self { next, ..self }
    }

    /// The stack of all words from `begin` up to `end`, which must be readable. `next` is the
    /// stack pointer from before the switch to this stack, or 0 when none is known.
    #[inline]
    pub const fn new(kind: StackKind, begin: u64, end: u64, next: u64) -> Self {
        // INVARIANT: the end is an address, and where it lies in front of the begin there is nothing.
        let size = end.saturating_sub(begin);
        Self {
            begin,
            size,
            next,
            kind,
        }
    }

    /// What it is for.
    #[inline]
    pub const fn kind(&self) -> StackKind {
        self.kind
    }

    /// The lowest address.
    #[inline]
    pub const fn begin(&self) -> u64 {
        self.begin
    }

    /// The address behind the highest byte.
    #[inline]
    pub const fn end(&self) -> u64 {
        self.begin.wrapping_add(self.size)
    }

    /// The stack pointer from before the switch to this stack; 0 when none is known.
    #[inline]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Whether `len` bytes from `address` lie on it.
    #[inline]
    pub const fn contains(&self, address: u64, len: u64) -> bool {
        match self.size.checked_sub(len) {
            Some(room) => address.wrapping_sub(self.begin) <= room,
            None => false,
        }
    }

    /// The word at `address`, if a whole, aligned word lies there.
    #[inline]
    pub const fn slot(&self, address: u64) -> Option<Slot> {
        if address % WORD == 0 && self.contains(address, WORD) {
            // INVARIANT: just checked.
            Some(Slot(address))
        } else {
            None
        }
    }

    /// The `len` bytes from `address`, if all of them lie here and `address` is aligned.
    #[inline]
    pub(crate) const fn span(&self, address: u64, len: u64) -> Option<Span> {
        if address % WORD == 0 && self.contains(address, len) {
            // INVARIANT: just checked.
            Some(Span { address, len })
        } else {
            None
        }
    }
}

/// Bytes on a stack.
///
/// # Invariants
///
/// All of them lie on a [`Stack`], and the address is a multiple of a word's size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    address: u64,
    len: u64,
}

impl Span {
    /// Where they begin.
    #[inline]
    pub(crate) const fn address(&self) -> u64 {
        self.address
    }

    /// The first `len` bytes of them. Where that is a constant, slots are less to compute.
    #[inline]
    pub(crate) const fn first(&self, len: u64) -> Option<Self> {
        let address = self.address;
        if len <= self.len {
            // INVARIANT: they are some of bytes that lie on a stack.
            Some(Self { address, len })
        } else {
            None
        }
    }

    /// The word at an offset, if a whole, aligned word of these bytes lies there. Where the length
    /// and the offset are constants, nothing of this is left to be computed.
    #[inline]
    pub(crate) const fn slot(&self, offset: u64) -> Option<Slot> {
        if offset % WORD == 0 && self.len >= WORD && offset <= self.len.wrapping_sub(WORD) {
            // INVARIANT: the word is one of bytes that lie on a stack.
            Some(Slot(self.address.wrapping_add(offset)))
        } else {
            None
        }
    }
}

/// A place for a word on a stack.
///
/// # Invariants
///
/// The address is a multiple of a word's size, and the word lies on a [`Stack`]. Slots are made here
/// and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u64);

impl Slot {
    /// Where the word lies.
    #[inline]
    pub const fn address(self) -> u64 {
        self.0
    }
}

/// The stacks that a task may be using.
pub trait Stacks {
    /// The stack that `address` lies on.
    ///
    /// For a task that does not run on this CPU there is only its own. Whoever implements this
    /// answers for the invariants of [`Stack`].
    fn stack_at(&self, address: u64) -> Option<Stack>;

    /// Reads a word. The task may be running, so that two reads may differ.
    fn read(&self, slot: Slot) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_aligned_words_of_the_stack_have_slots() {
        let stack = Stack::new(StackKind::TASK, 0x1000, 0x1020, 0);
        for address in (0xff0..0x1040).chain([0, u64::MAX, u64::MAX - 7]) {
            let inside = (0x1000..=0x1018).contains(&address) && address % 8 == 0;
            assert_eq!(stack.slot(address).is_some(), inside, "{address:#x}");
        }
        assert!(stack.contains(0x1000, 0x20) && stack.contains(0x1020, 0));
        assert!(!stack.contains(0x1008, 0x20) && !stack.contains(0x1000, u64::MAX));
        assert!(Stack::NONE.slot(0).is_none());
    }

    #[test]
    fn words_of_something_lie_within_it() {
        let stack = Stack::new(StackKind::TASK, 0x1000, 0x1020, 0);
        let word = |address, len, offset| stack.span(address, len)?.slot(offset);
        assert_eq!(word(0x1008, 16, 0), Some(Slot(0x1008)));
        assert_eq!(word(0x1010, 16, 8), Some(Slot(0x1018)));
        for (address, len, offset) in [
            (0x1008, 16, 16),
            (0x1008, 16, 4),
            (0x1004, 16, 0),
            (0x1018, 16, 0),
            (0xff8, 16, 8),
            (0x1000, 4, 0),
            (u64::MAX - 7, 16, 8),
        ] {
            assert_eq!(word(address, len, offset), None, "{address:#x}");
        }
    }

    #[test]
    fn no_word_lies_across_odd_ends() {
        let stack = Stack::new(StackKind::TASK, 0x1001, 0x101f, 0);
        let words = (0xff0..0x1030).filter(|&address| stack.slot(address).is_some());
        assert!(words.eq([0x1008, 0x1010]));
        let at_the_edge = Stack::new(StackKind::TASK, u64::MAX - 2, u64::MAX, 0);
        let turned = Stack::new(StackKind::TASK, 0x2000, 0x1000, 0);
        for address in [0, 0x1000, 0x1800, 0x2000, u64::MAX - 7] {
            assert!(at_the_edge.slot(address).is_none());
            assert!(turned.slot(address).is_none());
        }
    }

    #[test]
    fn each_kind_of_stack_has_a_bit() {
        let kinds = [
            StackKind::TASK,
            StackKind::INTERRUPT,
            StackKind::SOFT_INTERRUPT,
            StackKind::ENTRY,
        ];
        let bits = kinds.into_iter().map(StackKind::bit);
        let exceptions = (0..27).map(|n| StackKind::exception(n).bit());
        let all = bits.chain(exceptions).fold(0u32, |seen, bit| {
            assert_eq!((bit.count_ones(), seen & bit), (1, 0));
            seen | bit
        });
        assert_eq!(all.count_ones(), 31);
        assert_eq!(StackKind::exception(200).bit(), 1 << 31);
    }
}

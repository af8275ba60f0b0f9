//! Bringing ORC tables into order, in place.
//!
//! The addresses are distances from where each lies, so that one that moves changes; its entry
//! moves along. Entries that only mark where text without entries begins come before real ones for
//! the same address, so that the last of equal ones is real. A heap sort: no memory beside the
//! tables, and no worst case.

use core::cell::Cell;

use super::table::BadTable;

/// Size in bytes of a distance.
const STEP: i64 = 4;

/// Sorts a table by address. `is_weak` says of an entry that it is a mere mark.
///
/// # Errors
///
/// Tables of different lengths, and addresses that could not be expressed from another place of the
/// table. Nothing has been moved then.
pub fn sort<T: Copy>(
    distances: &mut [i32],
    entries: &mut [T],
    is_weak: impl Fn(T) -> bool,
) -> Result<(), BadTable> {
    if distances.len() != entries.len() {
        return Err(BadTable::Sizes);
    }
    let length = distances.len();
    let last = (length as i64).wrapping_sub(1).wrapping_mul(STEP);
    for (index, &distance) in (0..length).zip(distances.iter()) {
        let key = i64::from(distance).wrapping_add(place(index));
        let fits = i32::try_from(key).is_ok() && i32::try_from(key.wrapping_sub(last)).is_ok();
        if !fits {
            return Err(BadTable::TooFar);
        }
    }
    let table = Cells {
        keys: Cell::from_mut(distances).as_slice_of_cells(),
        entries: Cell::from_mut(entries).as_slice_of_cells(),
        is_weak,
    };
    // Distances from the table's start can be compared, and moved without a change.
    table.each_key(|key, place| key.wrapping_add(place));
    let mut root = length / 2;
    while root > 0 {
        root = root.wrapping_sub(1);
        table.sift_down(root, length);
    }
    let mut end = length;
    while end > 1 {
        end = end.wrapping_sub(1);
        table.swap(0, end);
        table.sift_down(0, end);
    }
    table.each_key(|key, place| key.wrapping_sub(place));
    Ok(())
}

/// Where a distance lies, in bytes from the table's start.
const fn place(index: usize) -> i64 {
    (index as i64).wrapping_mul(STEP)
}

struct Cells<'a, T, F> {
    keys: &'a [Cell<i32>],
    entries: &'a [Cell<T>],
    is_weak: F,
}

impl<T: Copy, F: Fn(T) -> bool> Cells<'_, T, F> {
    fn each_key(&self, change: impl Fn(i64, i64) -> i64) {
        for (index, key) in (0..self.keys.len()).zip(self.keys) {
            // It fits: that was looked at.
            key.set(change(i64::from(key.get()), place(index)) as i32);
        }
    }

    /// Whether `a` is to stand before `b`.
    fn is_before(&self, a: usize, b: usize) -> bool {
        let order = |index: usize| {
            let key = self.keys.get(index)?.get();
            let entry = self.entries.get(index)?.get();
            Some((key, !(self.is_weak)(entry)))
        };
        match (order(a), order(b)) {
            (Some(a), Some(b)) => a < b,
            _ => false,
        }
    }

    fn swap(&self, a: usize, b: usize) {
        if let (Some(a), Some(b)) = (self.keys.get(a), self.keys.get(b)) {
            let key = a.get();
            a.set(b.get());
            b.set(key);
        }
        if let (Some(a), Some(b)) = (self.entries.get(a), self.entries.get(b)) {
            let entry = a.get();
            a.set(b.get());
            b.set(entry);
        }
    }

    /// Makes a heap of what lies below `root`, given that both of its halves are one.
    fn sift_down(&self, mut root: usize, end: usize) {
        loop {
            let left = root.wrapping_mul(2).wrapping_add(1);
            let right = left.wrapping_add(1);
            let mut largest = root;
            if left < end && self.is_before(largest, left) {
                largest = left;
            }
            if right < end && self.is_before(largest, right) {
                largest = right;
            }
            if largest == root {
                return;
            }
            self.swap(root, largest);
            root = largest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Addresses;
    use super::*;

    const WEAK: u32 = u32::MAX;

    #[test]
    fn entries_move_with_their_addresses() {
        let at = 0x4000_0000u64;
        // A simple generator is enough for an order that means nothing.
        let mut state = 12345u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for length in [0usize, 1, 2, 3, 10, 257] {
            let mut distances = [0i32; 257];
            let mut entries = [0u32; 257];
            for index in 0..length {
                // An entry says its address, so that it can be told whether it followed.
                let address = 0x4100_0000 + u64::from(random() % 300);
                distances[index] = (address - (at + 4 * index as u64)) as i32;
                entries[index] = if random() % 4 == 0 {
                    WEAK
                } else {
                    address as u32
                };
            }
            let weak = entries[..length].iter().filter(|&&e| e == WEAK).count();
            let (distances, entries) = (&mut distances[..length], &mut entries[..length]);
            sort(distances, entries, |entry| entry == WEAK).unwrap();
            let table = Addresses::new(at, distances);
            assert_eq!(table.out_of_order(), None);
            assert_eq!(entries.iter().filter(|&&e| e == WEAK).count(), weak);
            for (index, &entry) in entries.iter().enumerate() {
                let address = table.get(index).unwrap();
                assert!(entry == WEAK || u64::from(entry) == address);
                // No mark behind a real entry of the same address.
                let next = entries.get(index + 1);
                if next == Some(&WEAK) && entry != WEAK {
                    assert_ne!(table.get(index + 1), Some(address));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_sorted_stays_as_it_is() {
        let mut distances = [0, i32::MAX, 0];
        let mut entries = [1u32, 2, 3];
        assert_eq!(
            sort(&mut distances, &mut entries, |_| false),
            Err(BadTable::TooFar)
        );
        assert_eq!((distances, entries), ([0, i32::MAX, 0], [1, 2, 3]));
        assert_eq!(
            sort(&mut distances, &mut entries[..2], |_| false),
            Err(BadTable::Sizes)
        );
    }
}

//! Work that is divided among threads, and joined in its order.
//!
//! However many threads there are, work is divided the same way and results come in the order of
//! what they are made from, so that nothing that is written depends on the number of threads. What
//! is too little to be divided is done where it stands: most objects of a build are that small, and
//! starting threads takes longer than all of their analysis.

use std::ops::Range;

use rayon::prelude::*;

/// Values that take longer to make than another thread takes to start.
const WORTH_FILLING: usize = 1 << 16;

/// Applies a function to each item; divided among threads only if that is worth it.
pub(crate) fn map<T: Send, R: Send>(
    worth: bool,
    items: Vec<T>,
    f: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    if !worth || items.len() < 2 {
        return items.into_iter().map(f).collect();
    }
    items.into_par_iter().with_max_len(1).map(f).collect()
}

/// Does two things at once, if they are worth it.
pub(crate) fn join<R: Send, S: Send>(
    worth: bool,
    a: impl FnOnce() -> R + Send,
    b: impl FnOnce() -> S + Send,
) -> (R, S) {
    if worth {
        rayon::join(a, b)
    } else {
        (a(), b())
    }
}

/// The values of all positions up to a length.
pub(crate) fn filled<T: Send>(len: usize, value: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    if len < WORTH_FILLING {
        return (0..len).map(value).collect();
    }
    let values = (0..len).into_par_iter().with_min_len(WORTH_FILLING);
    values.map(value).collect()
}

/// Divides `0..len` into ranges of a length, the last one shorter, and applies a function to each.
pub(crate) fn map_ranges<R: Send>(
    len: usize,
    each: usize,
    f: impl Fn(Range<usize>) -> R + Sync + Send,
) -> Vec<R> {
    let starts = (0..len).step_by(each);
    map(true, starts.map(|at| at..len.min(at + each)).collect(), f)
}

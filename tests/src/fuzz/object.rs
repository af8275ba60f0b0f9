//! Any bytes as an object, with any options, through a whole run.

use super::{options, whole, OPTION_BYTES};

/// Runs one input: the options, then the object.
pub fn run(input: &[u8]) {
    if let Some((bytes, object)) = input.split_first_chunk::<OPTION_BYTES>() {
        whole::check(object, &options(*bytes));
    }
}

//! Any bytes as an object, with any options, through a whole run, and through the reader of ORC data.

use super::{options, orc_dump, whole, OPTION_BYTES};

/// Runs one input: the options, then the object.
pub fn run(input: &[u8]) {
    if let Some((bytes, object)) = input.split_first_chunk::<OPTION_BYTES>() {
        whole::check(object, &options(*bytes));
        orc_dump::check(object);
    }
}

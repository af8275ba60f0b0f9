//! The list of differences that are explained one by one, `DIFFERENCES.md`, and what it leaves open.
//!
//! A difference without an explanation fails, and so does an explanation without its difference: the
//! list says what is the case, not what may be.

use std::collections::BTreeMap;

use anyhow::{bail, Context, Result};

use super::compare::{Difference, How};

/// What the two have in common, and what they have not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Differences that nobody has explained.
    pub unexplained: Vec<Difference>,
    /// Explanations that no difference is left for.
    pub outdated: Vec<Difference>,
}

impl Open {
    /// Whether all is explained, and nothing else.
    pub fn is_empty(&self) -> bool {
        self.unexplained.is_empty() && self.outdated.is_empty()
    }
}

/// Reads the table of explanations: a row is file, object, function, difference and
/// reason.
///
/// # Errors
/// A row is none of these, lacks its reason, or stands there twice.
pub fn read(text: &str) -> Result<BTreeMap<Difference, String>> {
    let mut list = BTreeMap::new();
    let rows = text.lines().enumerate();
    // Above the rows stand the heads of the columns and a line.
    for (number, line) in rows.filter(|(_, line)| line.starts_with('|')).skip(2) {
        let at = || format!("line {} of the explained differences", number + 1);
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').collect();
        let [file, object, function, how, reason] = cells[..] else {
            bail!("{}: a row has five cells, this {}", at(), cells.len());
        };
        let how = How::ALL
            .into_iter()
            .find(|known| known.name() == how.trim())
            .with_context(|| {
                let names = How::ALL.map(How::name).join(", ");
                format!("{}: `{}` is none of {names}", at(), how.trim())
            })?;
        let plain = |cell: &str| cell.trim().trim_matches('`').to_owned();
        let difference = Difference {
            file: plain(file),
            object: plain(object),
            function: plain(function),
            how,
        };
        let reason = reason.trim().to_owned();
        if reason.is_empty() {
            bail!("{}: {difference}: the reason is missing", at());
        }
        if list.insert(difference.clone(), reason).is_some() {
            bail!("{}: {difference}: this stands there twice", at());
        }
    }
    Ok(list)
}

/// Sets the differences against the explanations.
pub fn open<A, B>(found: &BTreeMap<Difference, A>, list: &BTreeMap<Difference, B>) -> Open {
    let missing = |difference: &&Difference| !list.contains_key(difference);
    let gone = |difference: &&Difference| !found.contains_key(difference);
    Open {
        unexplained: found.keys().filter(missing).cloned().collect(),
        outdated: list.keys().filter(gone).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Words\n\n| file | object | function | difference | reason |\n\
        |---|---|---|---|---|\n";

    fn list(rows: &str) -> Result<BTreeMap<Difference, String>> {
        read(&format!("{HEAD}{rows}"))
    }

    fn difference(function: &str, how: How) -> Difference {
        Difference {
            file: "vmlinux".to_owned(),
            object: "a.o".to_owned(),
            function: function.to_owned(),
            how,
        }
    }

    #[test]
    fn a_row_is_an_explanation() {
        let list = list("| vmlinux | a.o | `f` | not trusted | It jumps. |\n").unwrap();
        assert_eq!(
            list[&difference("f", How::Distrusted)],
            "It jumps.".to_owned()
        );
    }

    #[test]
    fn a_row_that_explains_nothing_is_an_error() {
        for rows in [
            "| vmlinux | a.o | f | not trusted | |\n",
            "| vmlinux | a.o | f | different | It jumps. |\n",
            "| vmlinux | f | not trusted | It jumps. |\n",
            "| vmlinux | a.o | f | trusted | A. |\n| vmlinux | a.o | f | trusted | B. |\n",
        ] {
            assert!(list(rows).is_err(), "{rows}");
        }
    }

    #[test]
    fn what_is_not_explained_and_what_is_explained_in_vain_are_both_open() {
        let list = list("| vmlinux | a.o | f | not trusted | It jumps. |\n").unwrap();
        let f = difference("f", How::Distrusted);
        let g = difference("f", How::Trusted);
        let found = |differences: &[&Difference]| -> BTreeMap<Difference, ()> {
            differences.iter().map(|&d| (d.clone(), ())).collect()
        };
        assert!(open(&found(&[&f]), &list).is_empty());
        assert_eq!(
            open(&found(&[&f, &g]), &list).unexplained,
            std::slice::from_ref(&g)
        );
        let open = open(&found(&[&g]), &list);
        assert_eq!((open.unexplained, open.outdated), (vec![g], vec![f]));
    }

    #[test]
    fn the_committed_list_can_be_read() {
        assert!(!read(super::super::DIFFERENCES).unwrap().is_empty());
    }
}

//! Names and identities that must fit a dialect's grammar.

use std::collections::HashSet;

/// A short stable digest for identities: 24 hexadecimal digits (FNV-1a, 128 bits). Not for secrets.
pub(crate) fn digest(text: &str) -> String {
    let hash = text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    format!("{:024x}", hash >> 32)
}

/// An identity for a call that came without one: the same for the same answer and place.
pub(crate) fn call_id(seed: &str, index: usize) -> String {
    format!("call_{}", digest(&format!("{seed}#{index}")))
}

/// The identity of a call as a dialect with the grammar `[A-Za-z0-9_-]{1,longest}` accepts it. Calls and their
/// results are mapped alike, whichever provider the identity came from.
pub(crate) fn fitting_id(id: &str, longest: usize) -> String {
    if fits(id, longest) { id.to_owned() } else { format!("call_{}", digest(id)) }
}

fn fits(name: &str, longest: usize) -> bool {
    !name.is_empty()
        && name.len() <= longest
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Tool names on their way to a dialect with a narrow grammar, remembered for the way back.
#[derive(Debug)]
pub(crate) struct Names {
    longest: usize,
    taken: HashSet<String>,
    renamed: Vec<(String, String)>,
}

impl Names {
    /// Names for `[A-Za-z0-9_-]{1,longest}`; `known` are all names that may occur, so that none is shadowed.
    pub(crate) fn new<'a>(longest: usize, known: impl Iterator<Item = &'a str>) -> Self {
        let taken = known.filter(|name| fits(name, longest)).map(str::to_owned).collect();
        Self { longest, taken, renamed: Vec::new() }
    }

    /// The name that the upstream is told.
    pub(crate) fn fitting(&mut self, name: &str) -> String {
        if fits(name, self.longest) {
            return name.to_owned();
        }
        if let Some((upstream, _)) = self.renamed.iter().find(|(_, client)| client == name) {
            return upstream.clone();
        }
        let mut fitted: String = name
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' })
            .take(self.longest)
            .collect();
        if fitted.is_empty() || self.taken.contains(&fitted) {
            let digest = digest(name);
            fitted.truncate(self.longest - 9);
            fitted = format!("{fitted}_{}", &digest[..8]);
        }
        self.taken.insert(fitted.clone());
        self.renamed.push((fitted.clone(), name.to_owned()));
        fitted
    }

    /// What was renamed: the upstream's name, then the client's.
    pub(crate) fn into_renamed(self) -> Vec<(String, String)> {
        self.renamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_fits_stays() {
        let mut names = Names::new(64, ["get_weather"].into_iter());

        assert_eq!(names.fitting("get_weather"), "get_weather");
        assert!(names.into_renamed().is_empty());
    }

    #[test]
    fn a_renamed_tool_never_takes_the_name_of_another() {
        let mut names = Names::new(64, ["a.b", "a_b", "a/b"].into_iter());

        let (dot, slash) = (names.fitting("a.b"), names.fitting("a/b"));

        assert_ne!(dot, "a_b");
        assert_ne!(dot, slash);
        assert_eq!(names.fitting("a.b"), dot);
        assert_eq!(names.into_renamed(), [(dot, "a.b".to_owned()), (slash, "a/b".to_owned())]);
    }

    #[test]
    fn identities_are_mapped_alike_wherever_they_stand() {
        assert_eq!(fitting_id("toolu_1-A", 64), "toolu_1-A");
        assert_eq!(fitting_id("call_abc.def/ghi", 64), fitting_id("call_abc.def/ghi", 64));
        assert_ne!(fitting_id("a.b", 64), fitting_id("a.c", 64));
        assert_eq!(fitting_id("a.b", 64).len(), 29);
    }
}

//! Names and identities that must fit a dialect's grammar.

use std::collections::{HashMap, HashSet, VecDeque};

/// A short stable digest for identities: 24 hexadecimal digits (FNV-1a, 128 bits). Not for secrets.
pub(crate) fn digest(text: &str) -> String {
    let hash = text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    format!("{:024x}", hash >> 32)
}

/// An identity for a call that came without one of its own: the same for the same answer and place.
pub(crate) fn call_id(seed: &str, index: usize) -> String {
    format!("call_{}", digest(&format!("{seed}#{index}")))
}

/// The identity of a call as a dialect with the grammar `[A-Za-z0-9_-]{1,longest}` accepts it. Calls and their
/// results are mapped alike, whichever provider the identity came from.
pub(crate) fn fitting_id(id: &str, longest: usize) -> String {
    if TOOL.with(longest).fits(id) { id.to_owned() } else { format!("call_{}", digest(id)) }
}

/// A grammar of names: ASCII letters, digits and some signs, up to a length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grammar {
    longest: usize,
    signs: &'static [u8],
    /// Whether the first of them must be a letter or `_`.
    letter_first: bool,
}

/// Names of tools, and identities of calls.
const TOOL: Grammar = Grammar { longest: 64, signs: b"_-", letter_first: false };

impl Grammar {
    /// Names of tools, up to this length.
    pub(crate) fn of_tools(longest: usize) -> Self {
        TOOL.with(longest)
    }

    /// Names of a tool's parameters, up to this length.
    pub(crate) fn of_parameters(longest: usize) -> Self {
        Self { signs: b"_.-", ..TOOL.with(longest) }
    }

    /// Names of functions as Google takes them.
    pub(crate) fn of_google_functions() -> Self {
        Self { signs: b"_.-", letter_first: true, ..TOOL }
    }

    /// Names of a function's parameters as Google takes them.
    pub(crate) fn of_google_parameters() -> Self {
        Self { signs: b"_", letter_first: true, ..TOOL }
    }

    /// Names as programs have them, `[A-Za-z_][A-Za-z0-9_]*`, up to this length.
    pub(crate) fn of_identifiers(longest: usize) -> Self {
        Self { signs: b"_", letter_first: true, ..TOOL.with(longest) }
    }

    const fn with(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    fn takes(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || self.signs.contains(&byte)
    }

    /// Whether a name can stay as it is.
    pub(crate) fn fits(self, name: &str) -> bool {
        !name.is_empty()
            && name.len() <= self.longest
            && name.bytes().all(|byte| self.takes(byte))
            && (!self.letter_first
                || !name.starts_with(|first: char| first != '_' && !first.is_ascii_alphabetic()))
    }
}

/// Names on their way to a dialect with a narrow grammar, remembered for the way back.
#[derive(Debug)]
pub(crate) struct Names {
    grammar: Grammar,
    taken: HashSet<String>,
    /// Places in `renamed`, by the client's name.
    known: HashMap<String, usize>,
    renamed: Vec<(String, String)>,
}

impl Names {
    /// Names of this grammar; `known` are all names that may occur, so that none is shadowed.
    pub(crate) fn new<'a>(grammar: Grammar, known: impl Iterator<Item = &'a str>) -> Self {
        let taken = known.filter(|name| grammar.fits(name)).map(str::to_owned).collect();
        Self { grammar, taken, known: HashMap::new(), renamed: Vec::new() }
    }

    /// The name that the upstream is told.
    pub(crate) fn fitting(&mut self, name: &str) -> String {
        if self.grammar.fits(name) {
            return name.to_owned();
        }
        if let Some(place) = self.known.get(name) {
            return self.renamed[*place].0.clone();
        }
        let stays = |letter: char| letter.is_ascii() && letter != '.' && self.grammar.takes(letter as u8);
        let leads = self.grammar.letter_first && name.starts_with(|first: char| first.is_ascii_digit());
        let mut fitted: String = std::iter::repeat_n('_', usize::from(leads))
            .chain(name.chars().map(|letter| if stays(letter) { letter } else { '_' }))
            .take(self.grammar.longest)
            .collect();
        if self.grammar.letter_first && fitted.starts_with('-') {
            fitted.replace_range(..1, "_");
        }
        if fitted.is_empty() || self.taken.contains(&fitted) {
            let digest = digest(name);
            fitted.truncate(self.grammar.longest - 9);
            fitted = format!("{fitted}_{}", &digest[..8]);
        }
        // Digests of this length may meet.
        let mut count = 0;
        while self.taken.contains(&fitted) {
            fitted = call_id(name, count);
            count += 1;
        }
        self.taken.insert(fitted.clone());
        self.known.insert(name.to_owned(), self.renamed.len());
        self.renamed.push((fitted.clone(), name.to_owned()));
        fitted
    }

    /// What was renamed: the upstream's name, then the client's.
    pub(crate) fn into_renamed(self) -> Vec<(String, String)> {
        self.renamed
    }
}

/// Identities of calls on their way to a dialect in which each may be used once, and the calls that results answer.
///
/// Some providers count calls anew in each turn, so that a conversation holds the same identity many times. Its first
/// use keeps it. Each later one gets one of its own, which depends on the identity and on what came before, so that a
/// longer conversation begins as the shorter one did.
#[derive(Debug)]
pub(crate) struct CallIds<'a> {
    longest: usize,
    taken: HashSet<String>,
    uses: HashMap<&'a str, usize>,
    waiting: HashMap<&'a str, Vec<Waiting>>,
    calls: Vec<Call>,
}

/// The calls of one message under one identity that no result has answered.
#[derive(Debug)]
struct Waiting {
    turn: usize,
    message: usize,
    calls: VecDeque<usize>,
}

#[derive(Debug)]
struct Call {
    turn: usize,
    id: String,
    answered: bool,
}

impl<'a> CallIds<'a> {
    /// No calls, for identities of `[A-Za-z0-9_-]{1,longest}`.
    pub(crate) fn new(longest: usize) -> Self {
        Self {
            longest,
            taken: HashSet::new(),
            uses: HashMap::new(),
            waiting: HashMap::new(),
            calls: Vec::new(),
        }
    }

    /// The identity of the next call, which stands in this turn, and in this message of it.
    pub(crate) fn call(&mut self, id: &'a str, turn: usize, message: usize) -> String {
        let uses = self.uses.entry(id).or_default();
        let mut fitted = match *uses {
            0 => fitting_id(id, self.longest),
            later => call_id(id, later),
        };
        *uses += 1;
        while self.taken.contains(&fitted) {
            fitted = call_id(id, *uses);
            *uses += 1;
        }
        self.taken.insert(fitted.clone());
        let groups = self.waiting.entry(id).or_default();
        let call = self.calls.len();
        match groups.last_mut().filter(|group| (group.turn, group.message) == (turn, message)) {
            Some(group) => group.calls.push_back(call),
            None => groups.push(Waiting { turn, message, calls: [call].into() }),
        }
        self.calls.push(Call { turn, id: fitted.clone(), answered: false });
        fitted
    }

    /// The identity of the call of this turn that the next result under `id` answers: of the last message that has
    /// one, the first. None where nothing was asked.
    pub(crate) fn result(&mut self, id: &str, turn: usize) -> Option<String> {
        let groups = self.waiting.get_mut(id)?;
        let group = groups.last_mut().filter(|group| group.turn == turn)?;
        let call = group.calls.pop_front()?;
        if group.calls.is_empty() {
            groups.pop();
        }
        self.calls[call].answered = true;
        Some(self.calls[call].id.clone())
    }

    /// The calls that were never answered, in order, each with its turn.
    pub(crate) fn unanswered(self) -> impl Iterator<Item = (usize, String)> {
        self.calls.into_iter().filter(|call| !call.answered).map(|call| (call.turn, call.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(known: impl IntoIterator<Item = &'a str>) -> Names {
        Names::new(Grammar::of_tools(64), known.into_iter())
    }

    #[test]
    fn a_name_that_fits_stays() {
        let mut names = names(["get_weather"]);

        assert_eq!(names.fitting("get_weather"), "get_weather");
        assert!(names.into_renamed().is_empty());
    }

    #[test]
    fn a_renamed_tool_never_takes_the_name_of_another() {
        let mut names = names(["a.b", "a_b", "a/b"]);

        let (dot, slash) = (names.fitting("a.b"), names.fitting("a/b"));

        assert_ne!(dot, "a_b");
        assert_ne!(dot, slash);
        assert_eq!(names.fitting("a.b"), dot);
        assert_eq!(names.into_renamed(), [(dot, "a.b".to_owned()), (slash, "a/b".to_owned())]);
    }

    #[test]
    fn names_whose_short_digests_meet_are_told_apart() {
        let long = |last: &str| format!("{}{last}", "é".repeat(80));
        let digest = digest(&long("a"))[..8].to_owned();
        let known = ["_".repeat(64), format!("{}_{digest}", "_".repeat(55))];
        let mut names = names(known.iter().map(String::as_str));

        let fitted = names.fitting(&long("a"));

        assert!(!known.contains(&fitted) && Grammar::of_tools(64).fits(&fitted), "{fitted}");
    }

    #[test]
    fn an_identifier_has_no_other_signs_and_begins_with_no_digit() {
        let mut names = Names::new(Grammar::of_identifiers(64), ["get_time", "get-time"].into_iter());

        assert_eq!(names.fitting("get_time"), "get_time");
        assert_eq!(names.fitting("2nd.try"), "_2nd_try");
        let fitted = names.fitting("get-time");
        assert!(fitted.starts_with("get_time_") && Grammar::of_identifiers(64).fits(&fitted), "{fitted}");
        assert!(!Grammar::of_identifiers(64).fits("2nd"));
    }

    #[test]
    fn identities_are_mapped_alike_wherever_they_stand() {
        assert_eq!(fitting_id("toolu_1-A", 64), "toolu_1-A");
        assert_eq!(fitting_id("call_abc.def/ghi", 64), fitting_id("call_abc.def/ghi", 64));
        assert_ne!(fitting_id("a.b", 64), fitting_id("a.c", 64));
        assert_eq!(fitting_id("a.b", 64).len(), 29);
    }

    #[test]
    fn an_identity_is_used_once_and_what_answers_it_follows() {
        let mut ids = CallIds::new(64);

        let first = ids.call("call_0", 1, 1);
        assert_eq!(ids.result("call_0", 1), Some("call_0".to_owned()));
        let second = ids.call("call_0", 3, 3);
        assert_eq!(ids.result("call_0", 3), Some(second.clone()));
        let third = ids.call("call_0", 5, 5);

        assert_eq!(first, "call_0");
        assert!(second != first && third != second && third != first);
        assert_eq!(ids.result("call_0", 3), None, "it was answered");
        assert_eq!(ids.unanswered().collect::<Vec<_>>(), [(5, third)]);
    }

    #[test]
    fn results_of_calls_that_share_an_identity_go_to_them_in_order_and_to_the_last_message_first() {
        let mut ids = CallIds::new(64);
        let [lost, left, right] =
            [(1, 1), (1, 2), (1, 2)].map(|(turn, message)| ids.call("x", turn, message));

        assert_eq!([ids.result("x", 1), ids.result("x", 1)], [Some(left), Some(right)]);
        assert_eq!(ids.result("x", 1), Some(lost));
        assert_eq!(ids.result("x", 1), None);
    }

    #[test]
    fn an_identity_that_only_becomes_equal_by_being_fitted_gets_another() {
        let mut ids = CallIds::new(64);
        let fitted = fitting_id("a.b", 64);

        assert_eq!(ids.call("a.b", 0, 0), fitted);
        assert_ne!(ids.call(&fitted, 2, 2), fitted);
    }
}

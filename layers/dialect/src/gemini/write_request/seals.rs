//! Seals of calls and pictures on their way back to Gemini.
//!
//! Source: <https://ai.google.dev/gemini-api/docs/thought-signatures>. From its third version on the first call of a turn
//! is refused without one. History of other models has none, and lost seals are gone: for both there is a word that the
//! provider takes in place of a seal.

use crate::ir::{Block, Maker};
use crate::media;

/// What is taken in place of a seal.
pub(super) const NO_SEAL: &str = "skip_thought_signature_validator";
/// Longest seal within the identity of a call, in bytes.
const LONGEST: usize = 64 << 10;

/// The seal of a call: its own, or the one that its identity carries.
pub(super) fn of_call(block: &Block, id: &str) -> Option<String> {
    block.seal_for(Maker::Google).map(str::to_owned).or_else(|| within_id(id))
}

/// The seal within an identity of the form `call_<base64url>.<anything>`, as earlier versions of this gateway gave them
/// out.
fn within_id(id: &str) -> Option<String> {
    let (letters, _) = id.strip_prefix("call_")?.split_once('.')?;
    if letters.is_empty() || letters.len() > LONGEST / 3 * 4 {
        return None;
    }
    let standard: Vec<u8> = letters
        .bytes()
        .map(|letter| match letter {
            b'-' => b'+',
            b'_' => b'/',
            letter => letter,
        })
        .collect();
    let is_plain = standard.iter().all(|letter| letter.is_ascii_alphanumeric() || b"+/".contains(letter));
    is_plain.then(|| String::from_utf8(media::decode(&standard)).ok())?.filter(|seal| !seal.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_read_out_of_the_identity_that_carries_it() {
        assert_eq!(within_id("call_c2ln.3f2a"), Some("sig".to_owned()));
        assert_eq!(within_id("call_fn5-fg.0"), Some("~~~~".to_owned()));
        for other in ["call_abc", "call_.x", "toolu_c2ln.x", "call_a$b.x", "call__w.x"] {
            assert_eq!(within_id(other), None, "{other}");
        }
    }
}

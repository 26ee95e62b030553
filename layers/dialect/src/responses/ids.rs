//! The identities that we give to responses and their items, where the upstream has none of this dialect.
//!
//! Clients send items back with their identities, to whichever upstream comes next. One that has not made an identity
//! refuses it, so ours can be told from all others.

use crate::names::digest;

/// Stands behind the prefix of each.
const MARK: &str = "_uniapi_";
/// What is in every body that holds one of ours, or a seal of our form.
pub(super) const TRACE: &[u8] = b"uniapi";

/// The identity of a response: `seed` differs between any two.
pub(super) fn response(seed: &str) -> String {
    format!("resp{MARK}{}", digest(seed))
}

/// The identity of an item of such a response.
pub(super) fn item(prefix: &str, response: &str, index: usize) -> String {
    format!("{prefix}{MARK}{}_{index}", seed(response))
}

/// What an identity of ours has in common with those of its items.
pub(super) fn seed(response: &str) -> &str {
    response.split_once(MARK).map_or(response, |(_, seed)| seed)
}

/// Whether an identity is one of ours.
pub(super) fn is_own(id: &str) -> bool {
    id.split_once('_').is_some_and(|(prefix, _)| id[prefix.len()..].starts_with(MARK))
}

/// The response that an item of ours is of.
pub(crate) fn response_of(item: &str) -> Option<String> {
    let (_, rest) = item.split_once(MARK)?;
    let (seed, _) = rest.rsplit_once('_')?;
    Some(format!("resp{MARK}{seed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_told_from_all_others_and_items_lead_to_their_response() {
        let response = response("a");
        let item = item("msg", &response, 3);

        assert!(is_own(&response) && is_own(&item) && item.len() <= 64);
        assert_eq!(response_of(&item), Some(response));
        for other in ["", "msg", "resp_1", "msg_68af40337e58819392e935fb404414d0", "a_b_uniapi_c_0"] {
            assert!(!is_own(other), "{other}");
        }
    }
}

//! Who asks, in words that the provider takes: an opaque name, never an address or a number of a person.
//!
//! Source: <https://docs.anthropic.com/en/api/messages> (`metadata.user_id`).

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::ir::Request;

/// Longest name, in characters.
const LONGEST: usize = 256;
/// Fewest and most digits of a telephone number.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// `metadata.user_id`; none where the client names nobody. A name that may tell who it is goes as its digest, so that
/// the provider still knows one user from another.
pub(super) fn id(request: &Request) -> Option<Cow<'_, str>> {
    let named = [&request.safety_identifier, &request.user];
    let name = named.into_iter().flatten().find(|name| !name.trim().is_empty())?;
    Some(if is_opaque(name) { name.as_str().into() } else { digest(name).into() })
}

fn is_opaque(name: &str) -> bool {
    !name.contains('@')
        && !name.contains(char::is_whitespace)
        && !is_telephone(name)
        && name.chars().count() <= LONGEST
}

fn is_telephone(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let others = name.bytes().all(|byte| byte.is_ascii_digit() || b"+-.()/ ".contains(&byte));
    others && DIGITS.contains(&digits)
}

fn digest(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(16).fold("user_".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dialect;

    fn told(user: Option<&str>, safety_identifier: Option<&str>) -> Option<String> {
        let mut request = Request::new(Dialect::OpenAiChat);
        request.user = user.map(str::to_owned);
        request.safety_identifier = safety_identifier.map(str::to_owned);
        id(&request).map(Cow::into_owned)
    }

    #[test]
    fn an_opaque_name_goes_as_it_is_and_an_address_or_number_of_a_person_as_its_digest() {
        for opaque in
            ["u", "user_123", "7f1c-uuid", "123456", "12345678901234567", "acct:9/x", &"a".repeat(256)]
        {
            assert_eq!(told(Some(opaque), None).as_deref(), Some(opaque));
        }
        for person in
            ["a@b.example", "+49 170 1234567", "0170/1234567", "(555) 010-9999", "Jane Doe", &"a".repeat(257)]
        {
            let told = told(Some(person), None).unwrap();
            assert!(told.starts_with("user_") && told.len() == 37 && is_opaque(&told), "{person}: {told}");
        }
        assert_eq!(told(Some("a@b.example"), None), told(Some("a@b.example"), None));
        assert_ne!(told(Some("a@b.example"), None), told(Some("b@b.example"), None));
    }

    #[test]
    fn a_safety_identifier_comes_first_and_blank_names_are_none() {
        assert_eq!(told(Some("u"), Some("s")).as_deref(), Some("s"));
        assert_eq!(told(Some("u"), Some(" ")).as_deref(), Some("u"));
        assert_eq!(told(Some(""), None), None);
    }
}

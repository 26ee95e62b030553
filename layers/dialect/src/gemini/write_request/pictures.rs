//! Pictures within the text of earlier answers, where chat clients have them (`![image](data:…)`).

use crate::ir::Source;
use crate::media;

/// What stands before the address of a picture.
const OPENS: &str = "![image](";

/// A piece of text, or a picture.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Picture(Source),
}

/// The pieces of a text. Only pictures whose bytes stand in it are taken out of it.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let (mut rest, mut from) = (text, 0);
    while let Some(at) = rest[from..].find(OPENS).map(|at| from + at) {
        let address = &rest[at + OPENS.len()..];
        if !address.starts_with("data:image/") {
            from = at + OPENS.len();
            continue;
        }
        // Without an end nothing behind it has one.
        let Some(end) = address.find(')') else { break };
        match media::source(address[..end].to_owned(), "image/png") {
            Ok(picture) => {
                found.push(Piece::Text(&rest[..at]));
                found.push(Piece::Picture(picture));
                rest = &address[end + 1..];
                from = 0;
            }
            Err(_) => from = at + OPENS.len() + end,
        }
    }
    found.push(Piece::Text(rest));
    found
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn pictures_are_taken_out_of_a_text_and_nothing_else() {
        let png = "iVBORw0KGgoAAAANSUhEUg==";
        let text = format!(
            "See:\n![image](data:image/png;base64,{png}) and ![image](https://a/b.png) ![image](data:x"
        );

        let picture = Source::Base64 { mime: "image/png".into(), data: Bytes::from(png) };
        assert_eq!(
            pieces(&text),
            [
                Piece::Text("See:\n"),
                Piece::Picture(picture),
                Piece::Text(" and ![image](https://a/b.png) ![image](data:x"),
            ]
        );
        assert_eq!(pieces("plain"), [Piece::Text("plain")]);
    }
}

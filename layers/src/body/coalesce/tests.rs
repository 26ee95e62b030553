use super::*;

fn piece(text: &'static str) -> Piece {
    Piece { bytes: Bytes::from_static(text.as_bytes()), ..Piece::default() }
}

#[test]
fn pieces_that_come_after_stepping_back_go_out_together() {
    let mut gather = Coalesce::default();
    gather.add(piece("a"));
    assert!(gather.yields_for_more());
    gather.add(piece("b"));
    let steps = (0..10).filter(|_| gather.yields_for_more()).count();
    assert_eq!(steps, usize::from(STEPS), "each piece earns as many steps as the next one needs");

    assert_eq!(gather.take().unwrap().bytes, "ab");
    assert!(gather.is_empty());
}

#[test]
fn a_paced_stream_stops_stepping_back() {
    let mut gather = Coalesce::default();
    gather.add(piece("a"));
    assert!(gather.yields_for_more());
    gather.take();
    let steps = (0..PIECES_AT_ONCE)
        .filter(|_| {
            gather.add(piece("a"));
            let steps = gather.yields_for_more();
            gather.take();
            steps
        })
        .count();

    assert_eq!(steps, 0);
    gather.add(piece("a"));
    assert!(gather.yields_for_more(), "now and then it is tried again");
}

#[test]
fn a_piece_that_is_alone_is_not_copied() {
    let mut gather = Coalesce::default();
    let bytes = Bytes::from(b"alone".to_vec());
    gather.add(Piece { bytes: bytes.clone(), ..Piece::default() });

    assert_eq!(gather.take().unwrap().bytes.as_ptr(), bytes.as_ptr());
}

#[test]
fn enough_for_one_write_goes_out_and_so_does_a_torn_piece() {
    let mut gather = Coalesce::default();
    gather.add(Piece { bytes: vec![0; ENOUGH - 1].into(), ..Piece::default() });
    assert!(!gather.is_enough());
    gather.add(piece("a"));
    assert!(gather.is_enough());

    let mut gather = Coalesce::default();
    gather.add(Piece { torn: true, ..piece("a") });

    assert!(gather.is_enough());
}

#[test]
fn what_was_seen_of_joined_pieces_is_seen_of_the_one() {
    let mut gather = Coalesce::default();
    gather.add(crate::testing::reply::piece("a", crate::testing::reply::said("a")));
    gather.add(crate::testing::reply::piece("b", crate::testing::reply::counted(3, 5)));

    let sighting = gather.take().unwrap().sighting;

    assert!(sighting.content && sighting.usage().is_some());
}

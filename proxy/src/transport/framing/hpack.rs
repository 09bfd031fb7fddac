//! How many fields a block of HPACK brings, counted as its bytes arrive: one byte can stand for a field of kilobytes, and
//! the parser unpacks all of them before anybody looks at how many there are (RFC 7541 section 6).

use crate::pipeline::{MAX_COOKIES, MAX_FIELDS};

/// Fields of one block that are in order: those of the longest head that is served, and its pseudo-fields.
const IN_ORDER: usize = MAX_FIELDS + MAX_COOKIES + 8;

/// Fields beyond that in all blocks of a connection. Few are answered with 431; with more it ends.
pub(crate) const EXCESS: usize = 1_024;

/// Progress within the blocks of one connection.
#[derive(Debug, Default)]
pub(super) struct FieldCount {
    state: State,
    fields: usize,
    excess: usize,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// A representation begins.
    #[default]
    Field,
    /// An index goes on; so many strings come after it.
    Index(u8),
    /// The length of a string begins; so many strings come after it.
    String(u8),
    /// A length goes on: what it is so far, and by how many bits the next byte counts.
    Length(usize, u32, u8),
    /// Within a string.
    Skip(usize, u8),
}

impl FieldCount {
    pub(super) fn begin(&mut self) {
        (self.state, self.fields) = (State::Field, 0);
    }

    /// Looks at the next bytes of a block; false when there are too many fields.
    pub(super) fn look(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((first, rest)) = bytes.split_first() {
            bytes = rest;
            self.state = match self.state {
                State::Field => {
                    self.fields = self.fields.saturating_add(1);
                    if self.fields > IN_ORDER {
                        self.excess = self.excess.saturating_add(1);
                        if self.excess > EXCESS {
                            return false;
                        }
                    }
                    begun(*first)
                }
                State::Index(strings) if first & 0x80 != 0 => State::Index(strings),
                State::Index(strings) => after(strings),
                State::String(strings) => match usize::from(first & 0x7f) {
                    0x7f => State::Length(0x7f, 0, strings),
                    0 => after(strings),
                    length => State::Skip(length, strings),
                },
                State::Length(length, bits, strings) => {
                    // Longer than any block: the parser refuses it.
                    let more = usize::from(first & 0x7f).checked_shl(bits).unwrap_or(usize::MAX);
                    let length = length.saturating_add(more);
                    if first & 0x80 == 0 {
                        State::Skip(length, strings)
                    } else {
                        State::Length(length, bits.saturating_add(7), strings)
                    }
                }
                State::Skip(length, strings) => {
                    let here = length.saturating_sub(1).min(bytes.len());
                    bytes = bytes.get(here..).unwrap_or_default();
                    match length.saturating_sub(here).saturating_sub(1) {
                        0 => after(strings),
                        left => State::Skip(left, strings),
                    }
                }
            };
        }
        true
    }
}

fn after(strings: u8) -> State {
    strings.checked_sub(1).map_or(State::Field, State::String)
}

/// What follows the first byte of a representation.
fn begun(first: u8) -> State {
    let (mask, literal) = match first {
        0x80.. => (0x7f, false),
        0x40.. => (0x3f, true),
        0x20.. => (0x1f, false),
        _ => (0x0f, true),
    };
    let strings = match (literal, first & mask) {
        (false, _) => 0,
        // The name is spelled out.
        (true, 0) => 2,
        (true, _) => 1,
    };
    if first & mask == mask { State::Index(strings) } else { after(strings) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields of these bytes, however they are cut.
    fn count(block: &[u8]) -> usize {
        let counts = [1, 2, 3, 5, 4096].map(|piece| {
            let mut count = FieldCount::default();
            count.begin();
            assert!(block.chunks(piece).all(|bytes| count.look(bytes)));
            assert!(matches!(count.state, State::Field), "{:?}", count.state);
            count.fields
        });
        assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        counts[0]
    }

    #[test]
    fn every_representation_is_one_field() {
        // The examples of RFC 7541 appendix C.
        let cases: &[(&[u8], usize)] = &[
            (b"\x40\x0acustom-key\x0dcustom-header", 1),
            (b"\x04\x0c/sample/path", 1),
            (b"\x10\x08password\x06secret", 1),
            (b"\x82", 1),
            (b"\x82\x86\x84\x41\x0fwww.example.com", 4),
            (b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", 4),
            (b"\x3f\xe1\x1f", 1),
            (b"\xff\x80\x01\x7f\x81\x01\x00", 2),
            (b"\x00\x00\x00", 1),
            (&[b"\x40\x01a\x7f\x81\x01".as_slice(), &[b'x'; 256], b"\x82"].concat(), 2),
        ];
        for (block, fields) in cases {
            assert_eq!(count(block), *fields, "{block:x?}");
        }
    }

    #[test]
    fn p7_a_bomb_ends_the_connection_wherever_it_is_cut_and_a_few_fields_too_many_do_not() {
        for piece in [1, 7, 16_384] {
            let mut count = FieldCount::default();
            for _ in 0..10_000 {
                count.begin();
                assert!([0x82; IN_ORDER].chunks(piece).all(|bytes| count.look(bytes)));
            }
            count.begin();
            assert!([0x82; IN_ORDER + EXCESS].chunks(piece).all(|bytes| count.look(bytes)));
            count.begin();
            assert!([0x82; IN_ORDER].chunks(piece).all(|bytes| count.look(bytes)));
            assert!(!count.look(&[0x82]));
        }
    }
}

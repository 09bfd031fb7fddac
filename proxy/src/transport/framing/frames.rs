//! Frames of HTTP/2, as far as their nine bytes of head tell. Frames that ask for nothing have a budget: a request brings
//! some, bytes that the peer takes bring some, and time does (RFC 9113 section 10.5; P7).

use tokio::time::Instant;

use super::hpack::FieldCount;

/// What comes before the first frame (RFC 9113 section 3.4).
const PREFACE: usize = 24;

/// Bytes of the head of a frame.
const HEAD: usize = 9;

/// Frames without a request that a peer may send at once.
pub(crate) const BURST: u32 = 2_000;

/// Those that a second brings.
pub(crate) const PER_SECOND: u32 = 200;

/// Those that a request brings: for its body, its answer, its end.
const PER_REQUEST: u32 = 8;

/// Bytes to the peer that bring one more, as it may say for each that it took it.
const BYTES_PER_FRAME: usize = 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Flags of HEADERS (RFC 9113 section 6.2).
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// Progress within the frames of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to pass until the next head begins.
    skip: usize,
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    filled: usize,
    budget: u32,
    /// Bytes of fields that were handed on and not asked about yet.
    fields: usize,
    /// The frame under way holds fields.
    holds_fields: bool,
    /// The length of its padding is still to come.
    padded: bool,
    /// Bytes of its priority that are still to come.
    priority: usize,
    /// Bytes of padding at its end.
    padding: usize,
    count: FieldCount,
    /// Bytes written that brought nothing yet.
    spare: usize,
    refilled: Option<Instant>,
}

/// Where the frame begins for which nothing is left to pay with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flood {
    BetweenFrames,
    /// A part of its head was handed on before, and cannot be taken back.
    WithinHead,
    /// More fields than any request has.
    Fields,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skip: PREFACE,
            head: [0; HEAD],
            filled: 0,
            budget: BURST,
            fields: 0,
            holds_fields: false,
            padded: false,
            priority: 0,
            padding: 0,
            count: FieldCount::default(),
            spare: 0,
            refilled: None,
        }
    }
}

impl Frames {
    /// A PING on a stream, at which the parser ends the connection with GOAWAY (RFC 9113 section 6.7).
    pub(super) const ILLEGAL: &[u8] = b"\0\0\x08\x06\0\0\0\0\x01portreev";

    /// How many bytes may be handed on, and where there are too many frames, if there are.
    pub(super) fn look(&mut self, bytes: &[u8]) -> (usize, Option<Flood>) {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            if self.skip > 0 {
                let here = self.skip.min(rest.len());
                if self.holds_fields && !self.block(rest.get(..here).unwrap_or_default()) {
                    return (taken, Some(Flood::Fields));
                }
                self.skip -= here;
                taken += here;
                continue;
            }
            let begun = self.filled;
            let missing = rest.iter().take(HEAD.saturating_sub(begun));
            let mut here = 0_usize;
            for (to, from) in self.head.iter_mut().skip(begun).zip(missing) {
                *to = *from;
                here += 1;
            }
            self.filled += here;
            if self.filled == HEAD {
                self.filled = 0;
                if !self.frame() {
                    return (taken, Some(if begun == 0 { Flood::BetweenFrames } else { Flood::WithinHead }));
                }
            }
            taken += here;
        }
        (taken, None)
    }

    /// Looks at bytes of a frame that holds fields; false when there are too many of them.
    fn block(&mut self, mut bytes: &[u8]) -> bool {
        self.fields = self.fields.saturating_add(bytes.len());
        let mut left = self.skip;
        if self.padded
            && let Some((length, rest)) = bytes.split_first()
        {
            (self.padded, self.padding) = (false, usize::from(*length));
            bytes = rest;
            left = left.saturating_sub(1);
        }
        let before = self.priority.min(bytes.len());
        self.priority -= before;
        left = left.saturating_sub(before);
        let fields = bytes.get(before..).unwrap_or_default();
        let fields = fields.get(..left.saturating_sub(self.padding)).unwrap_or(fields);
        self.count.look(fields)
    }

    pub(super) fn is_between(&self) -> bool {
        self.skip == 0 && self.filled == 0
    }

    /// Bytes of fields since this was asked last.
    pub(super) fn take_fields(&mut self) -> usize {
        std::mem::take(&mut self.fields)
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        let all = self.spare.saturating_add(bytes);
        self.spare = all % BYTES_PER_FRAME;
        self.earn(u32::try_from(all / BYTES_PER_FRAME).unwrap_or(u32::MAX));
    }

    fn earn(&mut self, frames: u32) {
        self.budget = self.budget.saturating_add(frames).min(BURST);
    }

    /// Pays for the frame whose head is whole; false if there is nothing left to pay with.
    fn frame(&mut self) -> bool {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = usize::try_from(length).unwrap_or(usize::MAX);
        self.holds_fields = matches!(kind, HEADERS | CONTINUATION);
        (self.padded, self.priority, self.padding) = (false, 0, 0);
        match kind {
            HEADERS => {
                self.count.begin();
                self.padded = flags & PADDED != 0;
                self.priority = if flags & PRIORITY == 0 { 0 } else { 5 };
                self.earn(PER_REQUEST);
                true
            }
            // Its bytes are bounded by windows.
            DATA if length > 0 => true,
            _ => self.pay(),
        }
    }

    fn pay(&mut self) -> bool {
        if self.budget == 0 {
            // The clock is asked only here.
            let now = Instant::now();
            let since = self.refilled.replace(now).map_or(1.0, |since| now.duration_since(since).as_secs_f64());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts to integers saturate")]
            self.earn((since * f64::from(PER_SECOND)) as u32);
        }
        let paid = self.budget > 0;
        self.budget = self.budget.saturating_sub(1);
        paid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut frame = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 1]);
        frame.extend(vec![0; length]);
        frame
    }

    fn opened() -> Frames {
        let mut frames = Frames::default();
        assert_eq!(frames.look(&[0; PREFACE]), (PREFACE, None));
        frames
    }

    /// How many of these frames are let through, in pieces of this size.
    fn let_through(frames: &mut Frames, one: &[u8], count: usize, piece: usize) -> usize {
        let all = one.repeat(count);
        let mut passed = 0;
        for bytes in all.chunks(piece) {
            let (taken, flooded) = frames.look(bytes);
            passed += taken;
            if flooded.is_some() {
                return passed / one.len();
            }
        }
        count
    }

    #[test]
    fn p7_frames_that_ask_for_nothing_have_a_budget_however_they_arrive() {
        for (kind, length) in [(2, 5), (3, 4), (4, 0), (6, 8), (8, 4), (9, 1), (0, 0), (99, 3)] {
            for piece in [1, 7, 4096] {
                let through = let_through(&mut opened(), &frame(kind, length), 100_000, piece);
                let bound = usize::try_from(BURST + PER_SECOND).unwrap();
                assert!((bound - 201..=bound + 200).contains(&through), "{kind} in pieces of {piece}: {through}");
            }
        }
    }

    #[test]
    fn p7_what_requests_and_answers_need_is_never_refused() {
        let mut frames = opened();
        // A request with a body in one frame, a window update for the connection and one for the stream, a reset.
        let exchange = [frame(1, 40), frame(0, 900), frame(8, 4), frame(8, 4), frame(3, 4), frame(2, 5)].concat();
        assert_eq!(let_through(&mut frames, &exchange, 100_000, 8192), 100_000);
        for _ in 0..100_000 {
            frames.wrote(16 * 1024);
            assert_eq!(let_through(&mut frames, &frame(8, 4), 8, 8192), 8);
        }
    }

    #[test]
    fn p7_time_brings_frames_back() {
        let mut frames = opened();
        let_through(&mut frames, &frame(6, 8), 100_000, 4096);
        frames.refilled = Instant::now().checked_sub(std::time::Duration::from_secs(2));
        frames.skip = 0;
        let again = let_through(&mut frames, &frame(6, 8), 300, 4096);
        assert_eq!(again, 300);
    }

    /// A frame with these flags that holds this.
    fn holding(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn p7_fields_are_counted_over_frames_without_padding_and_priority() {
        let fields = |count: usize| vec![0x82; count];
        let padded = |bytes: &[u8]| [&[200], bytes, &[0x82; 200]].concat();
        let few = [
            holding(1, PADDED | 0x4, &padded(&fields(90))),
            holding(1, PADDED | PRIORITY | 0x4, &padded(&[&[0x82; 5], fields(90).as_slice()].concat())),
            holding(1, PRIORITY, &[&[0x82; 5], fields(50).as_slice()].concat()),
            holding(9, 0x4, &fields(40)),
            // It pads more than there is: the parser ends the connection.
            holding(1, PADDED | 0x4, &[255]),
        ]
        .concat();
        for piece in [1, 2, 7, 300, 100_000] {
            assert_eq!(let_through(&mut opened(), &few, 2_000, piece), 2_000, "in pieces of {piece}");
            let mut frames = opened();
            let bomb = [holding(1, 0, &fields(700)), holding(9, 0, &fields(700)).repeat(2)].concat();
            let end = bomb.chunks(piece).find_map(|bytes| frames.look(bytes).1);
            assert_eq!(end, Some(Flood::Fields), "in pieces of {piece}");
        }
    }
}

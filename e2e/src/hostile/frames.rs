//! Frames of HTTP/2 (RFC 9113), for what no client library would say.

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = length.get(1..).unwrap_or_default().to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Preface and settings.
pub(super) fn opening(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()
}

/// The fields of a GET (RFC 7541): indexed method and scheme, authority and path as literals, then literals without index.
pub(super) fn get(path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap_or(0)], text.as_bytes()].concat();
    let mut block = vec![0x82, 0x86, 0x01];
    block.extend(text("a"));
    block.push(0x04);
    block.extend(text(path));
    for (name, value) in fields {
        block.push(0);
        block.extend(text(name));
        // A value above 126 bytes takes more bytes for its length.
        match value.len() {
            length @ ..127 => block.push(u8::try_from(length).unwrap_or(0)),
            length => {
                block.push(127);
                let mut rest = length.saturating_sub(127);
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap_or(0));
            }
        }
        block.extend(value.as_bytes());
    }
    block
}

/// Identifier of the stream of this turn.
pub(super) fn stream(turn: u32) -> u32 {
    turn.wrapping_mul(2).wrapping_add(1) & 0x7fff_ffff
}

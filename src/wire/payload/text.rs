//! JSON strings: from and to their escaped form.
//!
//! Promises: what is written is a legal JSON string; what is read tells a lone surrogate from a character.

use std::borrow::Cow;

/// One escape sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Escape {
    /// The index behind it.
    pub(crate) end: usize,
    /// `None`: half of a surrogate pair without the other.
    pub(crate) scalar: Option<char>,
}

/// Reads the escape whose backslash stands at `at`; `None` when it is none.
pub(crate) fn escape(bytes: &[u8], at: usize) -> Option<Escape> {
    let scalar = match bytes.get(at + 1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(bytes, at),
        _ => return None,
    };
    Some(Escape { end: at + 2, scalar: Some(scalar) })
}

/// The first index from `at` on that holds a quote, a backslash or a control character; or the end.
pub(crate) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        if may_hold_special(u64::from_le_bytes(*chunk)) {
            break;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| !is_special(*byte)) {
        at += 1;
    }
    at
}

/// The index behind the closing quote of a string whose first inner byte is at `at`.
pub(crate) fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The text of a string's inside; borrowed when nothing is escaped. `None`: a lone surrogate, or no string of JSON.
pub(crate) fn unescape(inside: &str) -> Option<Cow<'_, str>> {
    let bytes = inside.as_bytes();
    let mut at = plain_end(bytes, 0);
    if at == bytes.len() {
        return Some(Cow::Borrowed(inside));
    }
    let mut text = String::with_capacity(inside.len());
    let mut copied = 0;
    while at < bytes.len() {
        let escape = escape(bytes, at)?;
        text.push_str(inside.get(copied..at)?);
        text.push(escape.scalar?);
        copied = escape.end;
        at = plain_end(bytes, copied);
    }
    text.push_str(inside.get(copied..)?);
    Some(Cow::Owned(text))
}

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let end = plain_end(bytes, at);
        out.extend_from_slice(&bytes[at..end]);
        let Some(&byte) = bytes.get(end) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        at = end + 1;
    }
    out.push(b'"');
}

/// Appends `value` in decimal digits.
pub(crate) fn put_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn unicode_escape(bytes: &[u8], at: usize) -> Option<Escape> {
    let first = hex4(bytes, at + 2)?;
    let end = at + 6;
    if let Some(scalar) = char::from_u32(first) {
        return Some(Escape { end, scalar: Some(scalar) });
    }
    let paired = bytes.get(end..end + 2) == Some(b"\\u");
    let second = if paired && first < 0xdc00 { hex4(bytes, end + 2) } else { None };
    match second {
        Some(second @ 0xdc00..=0xdfff) => {
            let scalar = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            Some(Escape { end: end + 6, scalar: char::from_u32(scalar) })
        }
        // What follows is read again by itself: a bad escape there is its own error.
        Some(_) | None => Some(Escape { end, scalar: None }),
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, byte| Some(value << 4 | char::from(*byte).to_digit(16)?))
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether any of eight bytes is special; may say yes too often, never no too often.
fn may_hold_special(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    let quote = below(word ^ (ONES * b'"' as u64), 1);
    let backslash = below(word ^ (ONES * b'\\' as u64), 1);
    (below(word, 0x20) | quote | backslash) & (ONES << 7) != 0
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_character_comes_back_through_its_escaped_form() {
        let samples = (0..0x300).chain(0xfff0..0x1_0010).filter_map(char::from_u32);
        for scalar in samples {
            for text in [format!("{scalar}"), format!("padding!{scalar}and more padding")] {
                let mut out = Vec::new();
                put_string(&mut out, &text);
                let string = String::from_utf8(out).unwrap();
                assert_eq!(serde_json::from_str::<String>(&string).unwrap(), text);
                assert_eq!(unescape(&string[1..string.len() - 1]).unwrap(), text);
            }
        }
    }

    #[test]
    fn a_surrogate_pair_is_one_character_and_half_of_one_is_none() {
        assert_eq!(unescape(r"\ud83d\ude00").unwrap(), "😀");
        for lone in [r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\n", r"\ud83d\ud83d", r"\ude00\ud83d"] {
            assert_eq!(unescape(lone), None, "{lone}");
        }
    }

    #[test]
    fn a_special_byte_is_found_at_every_place() {
        for place in 0..24 {
            for special in [0, 0x1f, b'"', b'\\'] {
                let mut bytes = [b'\x7f'; 24];
                bytes[place] = special;
                assert_eq!(plain_end(&bytes, 0), place);
            }
            let mut bytes = [0xff; 24];
            bytes[place] = b' ';
            assert_eq!(plain_end(&bytes, 0), 24);
        }
    }

    #[test]
    fn decimals_are_what_the_standard_library_writes() {
        for value in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            put_decimal(&mut out, value);
            assert_eq!(out, value.to_string().into_bytes());
        }
    }
}

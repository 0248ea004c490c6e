//! JSON → MessagePack, by the table in `docs/protocol.md`, "Payloads".
//!
//! Promises: for a proved value it cannot fail; no recursion. A head of MessagePack says how many values follow, so
//! the containers are counted in a first pass; that list is the only memory taken. It never grows by more than 9/4
//! (`1e1,` is four bytes, a float 64 nine).

use super::json::{float, skip_space};
use super::msgpack;
use super::text;
use super::walk::{Broken, DEPTH_CEILING};

/// Appends the one value `bytes` hold.
pub(crate) fn transcode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    let counts = count(bytes)?;
    let mut counts = counts.into_iter();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at = match byte {
            b'"' => put_string(bytes, at, out)?,
            b'[' => {
                msgpack::put_array_head(out, counts.next().unwrap_or_default());
                at + 1
            }
            b'{' => {
                msgpack::put_map_head(out, counts.next().unwrap_or_default());
                at + 1
            }
            b't' => put_word(bytes, at, b"true", 0xc3, out)?,
            b'f' => put_word(bytes, at, b"false", 0xc2, out)?,
            b'n' => put_word(bytes, at, b"null", 0xc0, out)?,
            b'-' | b'0'..=b'9' => put_number(bytes, at, out)?,
            // What separates and closes has no counterpart, nor has white space.
            _ => at + 1,
        };
    }
    Ok(())
}

/// How many values (pairs, for an object) each container holds, in the order in which they open.
fn count(bytes: &[u8]) -> Result<Vec<usize>, Broken> {
    let mut counts = Vec::new();
    let mut open = [0; DEPTH_CEILING];
    let (mut depth, mut at) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = text::string_end(bytes, at).ok_or(Broken { at, why: "a string has no end" })?,
            b'[' | b'{' => {
                let place = open.get_mut(depth).ok_or(Broken { at, why: "nests deeper than any proved value" })?;
                *place = counts.len();
                depth += 1;
                at = skip_space(bytes, at);
                let empty = matches!(bytes.get(at), Some(b']' | b'}'));
                counts.push(usize::from(!empty));
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth > 0 => counts[open[depth - 1]] += 1,
            _ => {}
        }
    }
    Ok(counts)
}

fn put_string(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Broken> {
    let broken = Broken { at, why: "this is no string of proved JSON" };
    let end = text::string_end(bytes, at + 1).ok_or(broken)?;
    let inside = std::str::from_utf8(&bytes[at + 1..end - 1]).map_err(|_| broken)?;
    msgpack::put_str(out, &text::unescape(inside).ok_or(broken)?);
    Ok(end)
}

fn put_word(bytes: &[u8], at: usize, word: &[u8], marker: u8, out: &mut Vec<u8>) -> Result<usize, Broken> {
    if !bytes[at..].starts_with(word) {
        return Err(Broken { at, why: "this is no word of JSON" });
    }
    out.push(marker);
    Ok(at + word.len())
}

fn put_number(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Broken> {
    let length = bytes[at..].iter().take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'e' | b'E'));
    let end = at + length.count();
    let number = &bytes[at..end];
    let text = std::str::from_utf8(number).map_err(|_| Broken { at, why: "this is no number of JSON" })?;
    // Neither parse takes a point or an exponent, so what they take is an integer that fits.
    if let Ok(value) = text.parse::<u64>() {
        msgpack::put_unsigned(out, value);
    } else if let Ok(value) = text.parse::<i64>() {
        msgpack::put_signed(out, value);
    } else {
        let value = float(number).ok_or(Broken { at, why: "a number overflows float 64" })?;
        msgpack::put_float(out, value);
    }
    Ok(end)
}

//! Text that arrives in pieces, checked as it arrives.
//!
//! Promises: each byte is looked at once (a character cut by the end of a piece: at most four times); the first byte
//! that no UTF-8 text can hold at its place is refused with the piece that brings it.

/// The bytes cannot be, or become, UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotUtf8;

/// A growing text and the beginning of its next character.
#[derive(Default)]
pub(super) struct Utf8Text {
    text: String,
    /// `begun[..begun_len]` is a proper prefix of a character, so `begun_len <= 3`.
    begun: [u8; 4],
    begun_len: usize,
}

impl Utf8Text {
    /// Grows inside `buffer`, which must be empty; its capacity is what is lent.
    pub(super) fn within(buffer: Vec<u8>) -> Self {
        debug_assert!(buffer.is_empty(), "a lent buffer is empty");
        Self { text: String::from_utf8(buffer).unwrap_or_default(), ..Self::default() }
    }

    /// Appends what came next.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        let bytes = self.finish_begun(bytes)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text.push_str(text),
            Err(error) if error.error_len().is_some() => return Err(NotUtf8),
            Err(error) => {
                let (whole, begun) = bytes.split_at(error.valid_up_to());
                self.text.push_str(std::str::from_utf8(whole).map_err(|_| NotUtf8)?);
                self.begun[..begun.len()].copy_from_slice(begun);
                self.begun_len = begun.len();
            }
        }
        Ok(())
    }

    /// Takes bytes until the begun character is whole, gives back the others.
    fn finish_begun<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], NotUtf8> {
        while self.begun_len > 0
            && let Some((&byte, rest)) = bytes.split_first()
        {
            self.begun[self.begun_len] = byte;
            self.begun_len += 1;
            bytes = rest;
            match std::str::from_utf8(&self.begun[..self.begun_len]) {
                Ok(character) => {
                    self.text.push_str(character);
                    self.begun_len = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                Err(_) => (),
            }
        }
        Ok(bytes)
    }

    /// Whether the text ends between two characters.
    pub(super) fn is_whole(&self) -> bool {
        self.begun_len == 0
    }

    /// The whole characters so far.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Bytes that came, those of a begun character included.
    pub(super) fn len(&self) -> usize {
        self.text.len() + self.begun_len
    }

    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }

    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are taken before one is refused, when they come one by one.
    fn taken(bytes: &[u8]) -> (usize, bool) {
        let mut text = Utf8Text::default();
        let count = bytes.iter().take_while(|byte| text.push(&[**byte]).is_ok()).count();
        (count, text.is_whole())
    }

    #[test]
    fn the_first_impossible_byte_is_refused_and_none_before_it() {
        let table: &[(&[u8], usize)] = &[
            (b"\x80", 0),
            (b"\xc0\xaf", 0),
            (b"\xc1\xbf", 0),
            (b"\xf5\x80\x80\x80", 0),
            (b"\xff", 0),
            (b"a\xc3(", 2),
            (b"\xe0\x9f\xbf", 1),
            (b"\xed\xa0\x80", 1),
            (b"\xed\xbf\xbf", 1),
            (b"\xf0\x8f\xbf\xbf", 1),
            (b"\xf4\x90\x80\x80", 1),
            (b"\xe2\x82(", 2),
            (b"\xf0\x9f\x98\xc3", 3),
        ];
        for (bytes, good) in table {
            assert_eq!(taken(bytes).0, *good, "{bytes:x?}");
        }
    }

    #[test]
    fn an_unfinished_character_is_neither_refused_nor_whole() {
        for begun in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x98", b"abc\xed\x9f"] {
            assert_eq!(taken(begun), (begun.len(), false), "{begun:x?}");
        }
    }

    #[test]
    fn every_character_survives_every_cut() {
        let whole = "aä€😀\u{d7ff}\u{e000}\u{fffd}\u{10ffff}\0z";
        for cut in 0..=whole.len() {
            for second in cut..=whole.len() {
                let mut text = Utf8Text::default();
                for piece in [&whole.as_bytes()[..cut], &whole.as_bytes()[cut..second], &whole.as_bytes()[second..]] {
                    text.push(piece).unwrap();
                }
                assert_eq!((text.as_str(), text.is_whole(), text.len()), (whole, true, whole.len()));
            }
        }
    }
}

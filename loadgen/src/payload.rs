//! The marked payload: who sent it, where, which one, when it should have gone out, and a checksum.
//!
//! Fixed-width lower-case hex in one ASCII string, so that it is the same value in MessagePack and JSON:
//! `TLOAD:1:` room(8) publisher(8) seq(8) intended_ns(16) late_us(8) checksum(8) padding.
//! Times count from the run's origin. Reading never trusts a byte before the checksum has been verified.

use throng::base::Encoding;

use crate::lengths::Lengths;
use crate::mix::{Random, checksum};

/// What a marked payload says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Marker {
    pub(crate) room: u32,
    /// The publisher's connection, counted over the whole run.
    pub(crate) publisher: u32,
    /// Counts from 0 for each publisher, through all phases.
    pub(crate) seq: u32,
    /// When the schedule wanted it sent, in ns since the run's origin.
    pub(crate) intended_ns: u64,
    /// How much later it really went, in us.
    pub(crate) late_us: u32,
}

/// Bytes of the text without padding.
pub(crate) const PAYLOAD_BYTES_MIN: usize = 64;
/// More than this is not what the generator is for, and keeps the string header at three bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 65_535;

pub(crate) const TITLE: &[u8; 8] = b"TLOAD:1:";
const SUM_AT: usize = 56;

/// One encoded value, written over and over.
pub(crate) struct Writer {
    encoding: Encoding,
    lengths: Lengths,
    /// Three bytes of room for a header, the longest text, and room for what ends it.
    value: Vec<u8>,
    /// In JSON the quotation mark that ended the last text, and what it stands on.
    ended: Option<(usize, u8)>,
    seed: u64,
}

/// Where the text begins in a [`Writer`].
const TEXT_AT: usize = 3;

impl Writer {
    /// Texts of these lengths, without the encoding's own header.
    pub(crate) fn new(encoding: Encoding, lengths: &Lengths, seed: u64) -> Self {
        let mut value = vec![b'"'; TEXT_AT];
        value.extend_from_slice(TITLE);
        let mut random = Random::new(seed);
        value.extend((TITLE.len()..lengths.max()).map(|_| b"0123456789abcdefghijklmnopqrstuv"[random.below(32)]));
        value.push(0);
        Self { encoding, lengths: lengths.clone(), value, ended: None, seed }
    }

    /// The encoded value that carries `marker`.
    pub(crate) fn write(&mut self, marker: &Marker) -> &[u8] {
        let end = TEXT_AT + self.fill(marker);
        match self.encoding {
            Encoding::Json => {
                self.value[TEXT_AT - 1] = b'"';
                self.ended = Some((end, std::mem::replace(&mut self.value[end], b'"')));
                &self.value[TEXT_AT - 1..=end]
            }
            Encoding::MessagePack => {
                let bytes = end - TEXT_AT;
                if let Ok(short) = u8::try_from(bytes) {
                    self.value[1..TEXT_AT].copy_from_slice(&[0xd9, short]);
                    return &self.value[1..end];
                }
                self.value[..TEXT_AT].copy_from_slice(&[0xda, (bytes >> 8) as u8, bytes as u8]);
                &self.value[..end]
            }
        }
    }

    /// The text alone, without anything of the encoding.
    pub(crate) fn write_text(&mut self, marker: &Marker) -> &[u8] {
        let bytes = self.fill(marker);
        &self.value[TEXT_AT..TEXT_AT + bytes]
    }

    /// Writes the text; how long it is.
    fn fill(&mut self, marker: &Marker) -> usize {
        if let Some((at, covered)) = self.ended.take() {
            self.value[at] = covered;
        }
        let bytes = self.lengths.of(self.seed, marker.publisher, marker.seq);
        let text = &mut self.value[TEXT_AT..TEXT_AT + bytes];
        put_hex(&mut text[8..16], u64::from(marker.room));
        put_hex(&mut text[16..24], u64::from(marker.publisher));
        put_hex(&mut text[24..32], u64::from(marker.seq));
        put_hex(&mut text[32..48], marker.intended_ns);
        put_hex(&mut text[48..56], u64::from(marker.late_us));
        let sum = checksum(self.seed, &text[..SUM_AT], &text[PAYLOAD_BYTES_MIN..]);
        put_hex(&mut text[SUM_AT..PAYLOAD_BYTES_MIN], u64::from(sum));
        bytes
    }
}

/// Reads an encoded value; `None` when it is not exactly what some [`Writer`] of this seed and these lengths made.
pub(crate) fn read(encoding: Encoding, value: &[u8], lengths: &Lengths, seed: u64) -> Option<Marker> {
    let text = match encoding {
        Encoding::Json => value.strip_prefix(b"\"")?.strip_suffix(b"\"")?,
        Encoding::MessagePack => match value {
            [0xd9, _, text @ ..] | [0xda, _, _, text @ ..] => text,
            _ => return None,
        },
    };
    if text_bytes(text, lengths, seed)? == text.len() { read_whole(text, seed) } else { None }
}

/// How long the text at the beginning of `text` has to be, by what its marker says: to be trusted when it has been read.
fn text_bytes(text: &[u8], lengths: &Lengths, seed: u64) -> Option<usize> {
    (text.len() >= PAYLOAD_BYTES_MIN).then(|| lengths.of(seed, hex8(text, 16), hex8(text, 24)))
}

/// Reads the text at the beginning of `text`, likewise; what follows it is not looked at.
pub(crate) fn read_text(text: &[u8], lengths: &Lengths, seed: u64) -> Option<Marker> {
    read_whole(text.get(..text_bytes(text, lengths, seed)?)?, seed)
}

/// Reads a text of the length it has to have: at least [`PAYLOAD_BYTES_MIN`].
fn read_whole(text: &[u8], seed: u64) -> Option<Marker> {
    let sum = checksum(seed, &text[..SUM_AT], &text[PAYLOAD_BYTES_MIN..]);
    if &text[..8] != TITLE || hex8(text, SUM_AT) != sum {
        return None;
    }
    Some(Marker {
        room: hex8(text, 8),
        publisher: hex8(text, 16),
        seq: hex8(text, 24),
        intended_ns: u64::from(hex8(text, 32)) << 32 | u64::from(hex8(text, 40)),
        late_us: hex8(text, 48),
    })
}

/// Writes `value` as lower-case hex over the whole slice.
pub(crate) fn put_hex(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

/// Eight hex digits at `at`, at once; digits that are none give some number, which the checksum has excluded.
pub(crate) fn hex8(text: &[u8], at: usize) -> u32 {
    let digits = text[at..at + 8].iter().rev().fold(0_u64, |value, digit| value << 8 | u64::from(*digit));
    let nibbles = (digits & 0x0f0f_0f0f_0f0f_0f0f) + 9 * ((digits >> 6) & 0x0101_0101_0101_0101);
    let bytes = (nibbles << 4 | nibbles >> 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    ((halves | halves >> 16) as u32).swap_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: Marker =
        Marker { room: 0xfeed_0123, publisher: 77, seq: u32::MAX, intended_ns: 0x0123_4567_89ab_cdef, late_us: 9 };

    #[test]
    fn a_marker_comes_back_in_both_encodings_and_all_lengths() {
        for encoding in Encoding::ALL {
            for bytes in [64, 65, 128, 255, 256, 65_535] {
                let lengths = Lengths::from(bytes);
                let mut writer = Writer::new(encoding, &lengths, 5);
                let value = writer.write(&MARKER).to_vec();
                assert_eq!(read(encoding, &value, &lengths, 5), Some(MARKER), "{encoding:?} {bytes}");
                assert_eq!(read(encoding, &value, &lengths, 6), None, "another run's payload");
            }
        }
    }

    #[test]
    fn one_flipped_bit_or_one_missing_byte_is_corruption() {
        for encoding in Encoding::ALL {
            let lengths = Lengths::from(100);
            let value = Writer::new(encoding, &lengths, 5).write(&MARKER).to_vec();
            for at in 2..value.len() - 1 {
                let mut other = value.clone();
                other[at] ^= 0x01;
                assert_eq!(read(encoding, &other, &lengths, 5), None, "{encoding:?} {at}");
            }
            assert_eq!(read(encoding, &value[..value.len() - 1], &lengths, 5), None);
            assert_eq!(read(encoding, b"", &lengths, 5), None);
        }
    }

    #[test]
    fn json_payloads_need_no_escape() {
        let value = Writer::new(Encoding::Json, &Lengths::from(100), 5).write(&MARKER).to_vec();
        assert!(serde_json::from_slice::<String>(&value).is_ok_and(|text| text.len() == 100));
    }

    #[test]
    fn messages_of_all_lengths_come_one_after_the_other_and_each_must_have_its_own() {
        let lengths: Lengths = "uniform:64-400".parse().expect("lengths");
        for encoding in Encoding::ALL {
            let mut writer = Writer::new(encoding, &lengths, 5);
            let mut seen = std::collections::BTreeSet::new();
            for seq in 0..500 {
                let marker = Marker { seq, ..MARKER };
                let value = writer.write(&marker).to_vec();
                seen.insert(value.len());
                assert_eq!(read(encoding, &value, &lengths, 5), Some(marker), "{encoding:?} {seq}");
                let text = writer.write_text(&marker).to_vec();
                assert!(!text.contains(&b'"'), "the last one's end is gone");
                let followed = [&text[..], b"\"}"].concat();
                assert_eq!(read_text(&followed, &lengths, 5), Some(marker));
                // As long as another message, and right in itself.
                let fixed = Lengths::from(text.len() + 1);
                let other = Writer::new(encoding, &fixed, 5).write(&marker).to_vec();
                assert_eq!(read(encoding, &other, &lengths, 5), None, "{encoding:?} {seq}");
            }
            assert!(seen.len() > 200, "{}", seen.len());
        }
    }
}

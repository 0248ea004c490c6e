//! The mask of RFC 6455, 5.3: every byte XOR one of four.

/// Masks or unmasks `bytes` in place, eight at a time; `mask[0]` belongs to the first byte.
pub(super) fn apply(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
}

/// The mask for the bytes that follow the first `taken` ones.
pub(super) fn advanced(mut mask: [u8; 4], taken: usize) -> [u8; 4] {
    mask.rotate_left(taken % 4);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_by_words_equals_masking_by_bytes_at_every_length_start_and_cut() {
        let mask = [0x6d, 0xb6, 0x32, 0x80];
        let plain: Vec<u8> = (0..67).collect();
        let masked: Vec<u8> = plain.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
        for cut in 0..=plain.len() {
            let mut bytes = plain.clone();
            let (head, tail) = bytes.split_at_mut(cut);
            apply(head, mask);
            apply(tail, advanced(mask, cut));
            assert_eq!(bytes, masked, "cut at {cut}");
        }
    }
}

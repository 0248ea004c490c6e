//! The client's side of `permessage-deflate`, by a DEFLATE that is used as RFC 7692 says it, one message at a time.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// What a client offers that takes what it gets.
pub(crate) const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

/// What a sender takes off the end of a deflated message (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The payload of a deflated message.
pub(crate) fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut out = flushed(plain, FlushCompress::Sync);
    assert!(out.ends_with(&TAIL), "a flush ends with an empty block");
    out.truncate(out.len() - TAIL.len());
    out
}

/// By a sender that can only end its stream (RFC 7692, 7.2.3.4).
pub(crate) fn ended(plain: &[u8]) -> Vec<u8> {
    [flushed(plain, FlushCompress::Finish), vec![0]].concat()
}

/// What a deflated message says.
pub(crate) fn inflated(payload: &[u8]) -> Result<Vec<u8>, String> {
    let (mut state, mut out) = (Decompress::new(false), Vec::with_capacity(1 << 22));
    for piece in [payload, &TAIL] {
        let before = state.total_in();
        state.decompress_vec(piece, &mut out, FlushDecompress::Sync).map_err(|error| error.to_string())?;
        if state.total_in() - before != piece.len() as u64 {
            return Err(format!("{} of {} bytes were no DEFLATE", state.total_in() - before, piece.len()));
        }
    }
    Ok(out)
}

fn flushed(plain: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + 1_000);
    let mut state = Compress::new(Compression::default(), false);
    state.compress_vec(plain, &mut out, flush).expect("there is room for it");
    assert_eq!(state.total_in(), plain.len() as u64);
    out
}

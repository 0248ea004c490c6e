//! A socket that first says again what was already read from it.
//!
//! Promises: the bytes a shard read before it handed the socket over come first, then the socket's own; nothing is lost
//! and nothing comes twice. Writing is the socket's business alone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream with bytes to be replayed before it.
#[derive(Debug)]
pub(super) struct Rewind<S> {
    read: Bytes,
    socket: S,
}

impl<S> Rewind<S> {
    pub(super) fn new(read: Bytes, socket: S) -> Self {
        Self { read, socket }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let taken = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..taken]);
        self.read.advance(taken);
        if self.read.is_empty() {
            // Gives the request's head back to whoever lent it.
            self.read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn what_was_read_comes_again_first_and_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for replayed in ["", "G", "GET / HT"] {
                let socket: &[u8] = b"TP/1.1\r\n";
                let mut stream = Rewind::new(Bytes::copy_from_slice(replayed.as_bytes()), socket);
                let mut first = [0; 3];
                stream.read_exact(&mut first).await.unwrap();
                let mut all = String::from_utf8(first.to_vec()).unwrap();
                stream.read_to_string(&mut all).await.unwrap();
                assert_eq!(all, format!("{replayed}TP/1.1\r\n"));
            }
        });
    }
}

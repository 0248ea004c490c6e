//! How a peer can break RFC 6455, or our bounds. Each ends the connection.

use thiserror::Error;

/// Why reading ended for good. The text is fit for a close frame's reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Violation {
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    #[error("a reserved bit is set that no agreed extension gives a meaning here")]
    ReservedBits,
    #[error("a client must mask its frames")]
    Unmasked,
    #[error("a server must not mask its frames")]
    Masked,
    #[error("a payload length is not in its shortest form")]
    LengthNotShortest,
    #[error("a payload length has its highest bit set")]
    LengthHighestBit,
    #[error("a control frame may not be fragmented")]
    ControlFragmented,
    #[error("a control frame has more than 125 bytes")]
    ControlTooLong,
    #[error("a continuation frame has nothing to continue")]
    NothingToContinue,
    #[error("a new message began before the last one was finished")]
    MessageUnfinished,
    #[error("a close frame of one byte holds no code")]
    CloseTooShort,
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
    #[error("a close reason is not UTF-8")]
    CloseNotUtf8,
    #[error("a text message is not UTF-8")]
    TextNotUtf8,
    #[error("a message is longer than the limit")]
    MessageTooBig,
    #[error("a message is cut into more frames than the limit")]
    TooManyFragments,
    #[error("a deflated message cannot be inflated")]
    NotDeflate,
    #[error("a deflated message is longer than the limit")]
    InflatesTooBig,
}

impl Violation {
    /// The code to close with: 1002, 1007 or 1009 (RFC 6455, 7.4.1).
    pub fn close_code(&self) -> u16 {
        match self {
            Self::ReservedOpcode(_)
            | Self::ReservedBits
            | Self::Unmasked
            | Self::Masked
            | Self::LengthNotShortest
            | Self::LengthHighestBit
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::NothingToContinue
            | Self::MessageUnfinished
            | Self::CloseTooShort
            | Self::CloseCode(_)
            | Self::NotDeflate => 1002,
            Self::CloseNotUtf8 | Self::TextNotUtf8 => 1007,
            Self::MessageTooBig | Self::TooManyFragments | Self::InflatesTooBig => 1009,
        }
    }
}

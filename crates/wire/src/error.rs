//! What can go wrong in a conversation.

use crate::frame::FrameError;

/// What can go wrong in a conversation. None of these is ever a success: only a [`crate::Reply`] is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The conversation ended: the other side is gone, or said what cannot be understood.
    #[error("the connection to the other side broke: {reason}")]
    Broken {
        /// What was seen.
        reason: String,
    },
    /// The other side let go of this channel (or this side did before).
    #[error("the channel is closed")]
    Closed,
    /// The two sides do not speak the same version.
    #[error("the other side speaks version {theirs} of the protocol, this one version {ours}")]
    Version {
        /// The version of this side.
        ours: u32,
        /// The version of the other side.
        theirs: u32,
    },
    /// A message that fits in no frame.
    #[error("a message cannot be sent: {0}")]
    Message(#[from] FrameError),
    /// A thread could not be started.
    #[error("starting a thread for the connection: {0}")]
    Thread(std::io::Error),
}

impl Error {
    pub(crate) fn broken(reason: &str) -> Self {
        Self::Broken {
            reason: reason.into(),
        }
    }
}

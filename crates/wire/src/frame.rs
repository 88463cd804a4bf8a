//! Frames: how bytes and messages of many channels share one stream. Pure: bytes in, frames out, and back.
//!
//! A conversation starts with a [`Greeting`] from each side; everything after it is frames. A frame is a header of
//! [`HEADER`] bytes (length of the body, channel, kind; numbers are little endian) and its body. What comes from the
//! other side is never trusted: every length, kind and message is checked, and what does not fit is a [`FrameError`].

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::{Control, Reply, Request, Stream};

/// Bytes before a frame's body: its length (4), channel (4), kind (1).
pub const HEADER: usize = 9;
/// The largest frame that carries bytes of a stream, header included. Two writes of a virtio-serial port.
pub const MAX_DATA_FRAME: usize = 64 << 10;
/// The most bytes of a stream in one frame.
pub const MAX_DATA: usize = MAX_DATA_FRAME - HEADER - 1;
/// The largest body of a frame that carries a message. Linux takes at most 2 MiB of arguments and environment.
pub const MAX_MESSAGE: usize = 4 << 20;
/// What a greeting starts with. Random, so that nothing left over in a port looks like it.
pub const MAGIC: [u8; 16] = [
    0xd9, 0x76, 0x63, 0x91, 0xe1, 0x5b, 0x4c, 0x07, 0xaf, 0x2d, 0x18, 0xf4, 0x83, 0x6e, 0xc0, 0x3a,
];
/// Bytes of a greeting: [`MAGIC`], version (4), side (1).
pub const GREETING: usize = MAGIC.len() + 5;

/// Which end of the conversation this is. The host opens odd channel numbers, the guest even ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The host, or a client of a machine's supervisor. It greets first.
    Host,
    /// The agent in the guest, or the supervisor towards its clients. It answers.
    Guest,
}

impl Side {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Host => Self::Guest,
            Self::Guest => Self::Host,
        }
    }

    /// The number of the first channel that this side opens; each further one is higher by two.
    #[must_use]
    pub fn first_channel(self) -> u32 {
        match self {
            Self::Host => 1,
            Self::Guest => 2,
        }
    }

    /// Whether this side opens channels of that number. Nobody opens 0.
    #[must_use]
    pub fn opens(self, channel: u32) -> bool {
        channel != 0 && channel % 2 == self.first_channel() % 2
    }

    fn letter(self) -> u8 {
        match self {
            Self::Host => b'H',
            Self::Guest => b'G',
        }
    }
}

/// The first bytes of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The version of the protocol that the side speaks.
    pub version: u32,
    /// Who greets.
    pub side: Side,
}

impl Greeting {
    /// The greeting's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; GREETING] {
        let mut bytes = [0; GREETING];
        let (magic, rest) = bytes.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        let (version, side) = rest.split_at_mut(4);
        version.copy_from_slice(&self.version.to_le_bytes());
        side.copy_from_slice(&[self.side.letter()]);
        bytes
    }

    /// Looks for a greeting in bytes that may start with anything. Gives what to drop from their front (with the
    /// greeting itself when it was found); `None` as greeting means: read more.
    ///
    /// # Errors
    /// The magic is followed by something that no side says.
    pub fn find(bytes: &[u8]) -> Result<(usize, Option<Self>), FrameError> {
        let Some(at) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) else {
            // The start of a magic may be at the end.
            return Ok((bytes.len().saturating_sub(MAGIC.len() - 1), None));
        };
        let rest = bytes.get(at + MAGIC.len()..).unwrap_or_default();
        let Some((version, [side, ..])) = rest.split_first_chunk::<4>() else {
            return Ok((at, None));
        };
        let side = match side {
            b'H' => Side::Host,
            b'G' => Side::Guest,
            _ => return Err(FrameError::Greeting),
        };
        let greeting = Self {
            version: u32::from_le_bytes(*version),
            side,
        };
        Ok((at + GREETING, Some(greeting)))
    }
}

/// One frame. Bytes of a stream are borrowed from where they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A new channel, and what it is for.
    Open(u32, Box<Request>),
    /// Bytes of a stream of a channel; at most [`MAX_DATA`], never none.
    Data(u32, Stream, &'a [u8]),
    /// Nothing more comes on this stream.
    Eof(u32, Stream),
    /// The other side may send so many bytes more on this channel.
    Credit(u32, u32),
    /// Something told to the program behind the channel.
    Control(u32, Control),
    /// The outcome; nothing but [`Frame::Close`] follows in this direction.
    Reply(u32, Box<Reply>),
    /// This side says nothing more on the channel and hears nothing more. A channel is over when both sides said so.
    Close(u32),
    /// The last frame of a conversation.
    Bye,
}

const OPEN: u8 = 1;
const DATA: u8 = 2;
const EOF: u8 = 3;
const CREDIT: u8 = 4;
const CONTROL: u8 = 5;
const REPLY: u8 = 6;
const CLOSE: u8 = 7;
const BYE: u8 = 8;

impl<'a> Frame<'a> {
    /// Appends the frame's bytes.
    ///
    /// # Errors
    /// The message, or the bytes of the stream, are more than a frame takes; nothing was appended.
    pub fn encode(&self, to: &mut Vec<u8>) -> Result<(), FrameError> {
        let start = to.len();
        let (channel, kind) = match self {
            Frame::Open(channel, _) => (*channel, OPEN),
            Frame::Data(channel, ..) => (*channel, DATA),
            Frame::Eof(channel, _) => (*channel, EOF),
            Frame::Credit(channel, _) => (*channel, CREDIT),
            Frame::Control(channel, _) => (*channel, CONTROL),
            Frame::Reply(channel, _) => (*channel, REPLY),
            Frame::Close(channel) => (*channel, CLOSE),
            Frame::Bye => (0, BYE),
        };
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&channel.to_le_bytes());
        to.push(kind);
        let result = match self {
            Frame::Open(_, request) => message(request.as_ref(), to),
            Frame::Control(_, control) => message(control, to),
            Frame::Reply(_, reply) => message(reply.as_ref(), to),
            Frame::Data(_, stream, bytes) => {
                to.push(stream_number(*stream));
                to.extend_from_slice(bytes);
                if bytes.len() > MAX_DATA {
                    Err(FrameError::TooLarge(bytes.len()))
                } else {
                    Ok(())
                }
            }
            Frame::Eof(_, stream) => {
                to.push(stream_number(*stream));
                Ok(())
            }
            Frame::Credit(_, bytes) => {
                to.extend_from_slice(&bytes.to_le_bytes());
                Ok(())
            }
            Frame::Close(_) | Frame::Bye => Ok(()),
        };
        if result.is_err() {
            to.truncate(start);
            return result;
        }
        set_length(to, start);
        Ok(())
    }

    /// Reads the first frame of these bytes: the frame and how many bytes it took, or `None` when it is not all there.
    ///
    /// # Errors
    /// The bytes are no frame. Nothing after them can be understood.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((&[a, b, c, d, e, f, g, h, kind], rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let channel = u32::from_le_bytes([e, f, g, h]);
        let most = match kind {
            OPEN | CONTROL | REPLY => MAX_MESSAGE,
            DATA => MAX_DATA + 1,
            EOF => 1,
            CREDIT => 4,
            CLOSE | BYE => 0,
            _ => return Err(FrameError::Kind(kind)),
        };
        if length > most {
            return Err(FrameError::TooLarge(length));
        }
        if (channel == 0) != (kind == BYE) {
            return Err(FrameError::Channel(channel));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = match kind {
            OPEN => Frame::Open(channel, Box::new(read(body)?)),
            CONTROL => Frame::Control(channel, read(body)?),
            REPLY => Frame::Reply(channel, Box::new(read(body)?)),
            DATA | EOF => {
                let (&number, bytes) = body.split_first().ok_or(FrameError::Body)?;
                let stream = stream_of(number)?;
                match (kind, bytes.is_empty()) {
                    (EOF, true) => Frame::Eof(channel, stream),
                    (DATA, false) => Frame::Data(channel, stream, bytes),
                    _ => return Err(FrameError::Body),
                }
            }
            CREDIT => {
                let bytes = body.try_into().map_err(|_| FrameError::Body)?;
                Frame::Credit(channel, u32::from_le_bytes(bytes))
            }
            CLOSE => Frame::Close(channel),
            _ => Frame::Bye,
        };
        Ok(Some((frame, HEADER + length)))
    }
}

/// Appends bytes to the encoded data frame at the end of `frame`, when it is one of this stream and has room for all.
pub(crate) fn extend_data(frame: &mut Vec<u8>, stream: Stream, bytes: &[u8]) -> bool {
    let fits = frame.get(HEADER - 1) == Some(&DATA)
        && frame.get(HEADER) == Some(&stream_number(stream))
        && frame.len() + bytes.len() <= MAX_DATA_FRAME;
    if fits {
        frame.extend_from_slice(bytes);
        set_length(frame, 0);
    }
    fits
}

/// Writes the length of the frame that starts at `start` and reaches to the end.
fn set_length(bytes: &mut [u8], start: usize) {
    // Every body was checked against a limit far below 4 GiB.
    let length = u32::try_from(bytes.len() - start - HEADER).unwrap_or(u32::MAX);
    if let Some(place) = bytes.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn message<T: Serialize>(value: &T, to: &mut Vec<u8>) -> Result<(), FrameError> {
    let body = postcard::to_allocvec(value).map_err(|_| FrameError::Body)?;
    if body.len() > MAX_MESSAGE {
        return Err(FrameError::TooLarge(body.len()));
    }
    to.extend_from_slice(&body);
    Ok(())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(FrameError::Body),
    }
}

fn stream_number(stream: Stream) -> u8 {
    match stream {
        Stream::In => 0,
        Stream::Out => 1,
        Stream::Err => 2,
    }
}

fn stream_of(number: u8) -> Result<Stream, FrameError> {
    match number {
        0 => Ok(Stream::In),
        1 => Ok(Stream::Out),
        2 => Ok(Stream::Err),
        _ => Err(FrameError::Body),
    }
}

/// Bytes that are no frame, or a message that fits in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No such kind of frame.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// Longer than frames of its kind may be.
    #[error("a frame of {0} bytes, which is more than frames of its kind may have")]
    TooLarge(usize),
    /// A channel number that this frame cannot have.
    #[error("a frame with the impossible channel number {0}")]
    Channel(u32),
    /// The body is no message of this version.
    #[error("a frame whose content is no message of this version")]
    Body,
    /// The magic of a greeting, but no greeting.
    #[error("a damaged greeting")]
    Greeting,
}

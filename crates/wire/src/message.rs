//! The messages, as postcard encodes them.

use serde::{Deserialize, Serialize};

/// What a channel is opened for. The side that opens it waits for one [`Reply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Run a program in the guest.
    Exec(Exec),
    /// Connect to an address on the other side; bytes then flow as [`Stream::In`] and [`Stream::Out`].
    Connect(Address),
    /// Listen in the guest. Replied to by [`Reply::Listening`]; each connection makes the guest open a channel with
    /// [`Request::Accepted`]. Listening ends when this channel is closed.
    Listen(Address),
    /// Guest to host: somebody connected to the listener of this number.
    Accepted {
        /// The number that [`Reply::Listening`] gave.
        listener: u32,
    },
    /// Mount a file system in the guest.
    Mount {
        /// Device, tag or empty.
        source: String,
        /// Where, an absolute path; made when it isn't there.
        target: String,
        /// Such as `9p` or `virtiofs`.
        file_system: String,
        /// Options of the file system, separated by commas.
        options: String,
        /// Whether nothing may be written.
        read_only: bool,
    },
    /// Unmount what is mounted there.
    Unmount {
        /// The path that was given to [`Request::Mount`].
        target: String,
    },
    /// First after every resume: the time, and randomness that no other resume of the same memory gets.
    Wake(Wake),
    /// Write everything out to the state disk.
    Sync,
    /// Write everything out and get ready to be frozen. After the reply the agent ends the conversation, and from then
    /// on it says nothing until it reads a new greeting. Before that it must not be frozen: it would take the greeting
    /// for a part of this conversation.
    Suspend,
    /// Stop the engine's services, so that its store is at rest (docker: all containers stop too).
    StopEngine,
    /// Start the engine's services and wait until they are ready.
    StartEngine,
    /// What the guest is doing.
    Status,
    /// Stop the engine, write everything out and power off. The channel breaks; that is the answer.
    Shutdown,
    /// For the supervisor of the machine, never for the agent: what is asked of the machine itself.
    Machine(MachineRequest),
}

/// What is asked of a machine's supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineRequest {
    /// Keep the machine up until it is told to stop.
    Stay,
    /// Suspend the machine now and end; replied to when it is safe on the disk.
    Stop,
    /// Which machine is this? Replied to by [`Reply::Machine`].
    Describe,
    /// Listen in the guest, and connect each connection to an address of the host, as long as the machine runs here.
    /// Asking again for the same is fine.
    ForwardToHost {
        /// Where the guest listens.
        guest: std::net::SocketAddr,
        /// Where the host is connected to.
        host: std::net::SocketAddr,
    },
}

/// A program to run in the guest. Every word is bytes: nothing is ever read by a shell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program (looked up on the guest's PATH unless it has a slash) and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment variables on top of the guest's own.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// The working directory; `/` when `None`.
    pub cwd: Option<Vec<u8>>,
    /// Run on a terminal of this size: standard output and error are then one stream.
    pub tty: Option<Size>,
    /// Whether standard input is streamed; it is empty otherwise.
    pub stdin: bool,
    /// Whether the engine must be ready first. A failed engine is then the reply.
    pub needs_engine: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// Where a byte stream leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// TCP: an IP address (never a name) and a port.
    Tcp(std::net::SocketAddr),
    /// A unix socket by its absolute path.
    Unix(String),
}

/// What a frozen guest cannot know when it goes on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Nanoseconds since 1970-01-01 UTC.
    pub unix_nanoseconds: u64,
    /// Fresh random bytes, at least 32. Never shown.
    pub entropy: Vec<u8>,
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Wake")
            .field("unix_nanoseconds", &self.unix_nanoseconds)
            .finish_non_exhaustive()
    }
}

/// Which of a channel's byte streams. Each flows one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// From the side that opened the channel: standard input.
    In,
    /// To the side that opened the channel: standard output.
    Out,
    /// To the side that opened the channel: standard error.
    Err,
}

/// Told to a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// The terminal's new size.
    Resize(Size),
    /// Send this signal (Linux numbers) to the program's process group.
    Signal(u8),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// The program ended; all of its output came before this.
    Exited(ExitStatus),
    /// The guest listens; connections come as [`Request::Accepted`] of this number. (The channel stays open.)
    Listening {
        /// Distinguishes listeners of one machine.
        listener: u32,
    },
    /// Answer to [`Request::Status`].
    Status(Status),
    /// Answer to [`MachineRequest::Describe`].
    Machine(Machine),
    /// It could not be done.
    Failed(Failure),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

impl ExitStatus {
    /// The code that a shell would show: 128 and the number of the signal.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
}

/// Why something could not be done, as a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What was being done, to which thing, and what is wrong.
    pub message: String,
    /// The system's error number when there is one (`ENOENT`: no such program; `ENOSPC`: the state disk is full).
    pub errno: Option<i32>,
}

/// What the guest is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the engine's services are ready.
    pub engine_ready: bool,
    /// Containers that run now.
    pub containers: u32,
    /// Programs that the host runs now through [`Request::Exec`].
    pub programs: u32,
    /// Bytes used on the state disk, and its size.
    pub disk: (u64, u64),
}

/// Which machine a supervisor runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `docker` or `podman`.
    pub engine: String,
    /// `aarch64` or `x86_64`.
    pub architecture: String,
    /// The supervisor's process.
    pub pid: u32,
    /// QEMU's process.
    pub qemu_pid: u32,
    /// Whether it was told to stay up.
    pub stays: bool,
    /// `kvm` or `tcg`.
    pub accelerator: String,
}

//! Many channels over one stream of bytes: a thread that reads and never waits for anybody, and one that writes.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::VERSION;
use crate::channel::{Channel, Event, Shared};
use crate::error::Error;
use crate::frame::{Frame, Greeting, MAX_DATA_FRAME, Side};
use crate::message::Request;
use crate::outbox::Outbox;

/// Channels of one side that may be open at a time.
const MAX_CHANNELS: usize = 4096;

/// One side of a conversation. Clones are the same side; dropping the last one ends the conversation, after what was
/// sent has been written.
#[derive(Clone)]
pub struct Mux {
    hold: Arc<Hold>,
}

impl Mux {
    /// Greets, checks that the other side speaks the same version, and starts the threads that read and write.
    /// Blocks until the other side has greeted; whatever comes before its greeting is thrown away. The host greets
    /// first, and the guest answers: so a guest that was frozen while it waited has said nothing that is lost.
    ///
    /// # Errors
    /// The stream breaks or ends before the greeting, or the other side speaks another version.
    pub fn start(
        side: Side,
        reader: impl Read + Send + 'static,
        mut writer: impl Write + Send + 'static,
    ) -> Result<(Self, Incoming), Error> {
        let mut input = Input::new(reader);
        let ours = Greeting {
            version: VERSION,
            side,
        };
        let mut greet = || {
            writer
                .write_all(&ours.encode())
                .and_then(|()| writer.flush())
                .map_err(|error| Error::broken(&format!("writing the greeting: {error}")))
        };
        let theirs = match side {
            Side::Host => {
                greet()?;
                input.greeting(side.other())?
            }
            Side::Guest => {
                let theirs = input.greeting(side.other())?;
                greet()?;
                theirs
            }
        };
        if theirs != VERSION {
            return Err(Error::Version {
                ours: VERSION,
                theirs,
            });
        }
        let conversation = Arc::new(Conversation {
            outbox: Outbox::default(),
            table: Mutex::new(Table {
                channels: HashMap::new(),
                next: Some(side.first_channel()),
                last_of_peer: 0,
                broken: None,
            }),
            over: Condvar::new(),
        });
        let (sender, incoming) = mpsc::channel();
        let hold = Arc::new(Hold {
            conversation: Arc::clone(&conversation),
        });
        let writing = Arc::clone(&conversation);
        spawn("wire-write", move || write(&writing, writer))?;
        spawn("wire-read", move || {
            let reason = read(&conversation, side, input, &sender);
            conversation.breaks(&reason);
        })?;
        Ok((Self { hold }, Incoming { queue: incoming }))
    }

    /// Opens a channel for a request.
    ///
    /// # Errors
    /// The conversation is broken, or the request is larger than a frame may be.
    pub fn open(&self, request: Request) -> Result<Channel, Error> {
        let conversation = &self.hold.conversation;
        let mut table = conversation.table();
        if let Some(reason) = &table.broken {
            return Err(Error::broken(reason));
        }
        let Some(number) = table.next else {
            return Err(Error::broken("all channel numbers are used up"));
        };
        // Under the lock: numbers go over the wire in rising order.
        conversation
            .outbox
            .urgent(&Frame::Open(number, Box::new(request)))?;
        table.next = number.checked_add(2);
        let shared = Arc::new(Shared::new(number));
        table.channels.insert(number, Arc::clone(&shared));
        drop(table);
        Ok(Channel::new(Arc::clone(conversation), shared))
    }

    /// Ends the conversation: what was sent is written, and nothing else. Returns when that is done (or cannot be).
    /// The other side gets [`Error::Broken`] on what is open, and so does this one.
    pub fn end(&self) {
        let conversation = &self.hold.conversation;
        conversation.outbox.end();
        conversation.outbox.wait_finished();
        conversation.breaks("it was ended here");
    }

    /// Waits until the other side has ended the conversation (or it has broken), at most so long; tells whether it has.
    #[must_use]
    pub fn wait_over(&self, patience: Duration) -> bool {
        let conversation = &self.hold.conversation;
        let (_table, waited) = conversation
            .over
            .wait_timeout_while(conversation.table(), patience, |table| table.broken.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// Why the conversation is over, if it is.
    #[must_use]
    pub fn broken(&self) -> Option<Error> {
        let table = self.hold.conversation.table();
        table.broken.as_deref().map(Error::broken)
    }
}

/// Ends the conversation with the last [`Mux`].
struct Hold {
    conversation: Arc<Conversation>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.conversation.outbox.end();
    }
}

/// The channels that the other side opens, in order. `next` blocks; `None` when the conversation is over. When this is
/// dropped, what the other side opens is closed at once.
pub struct Incoming {
    queue: mpsc::Receiver<(Request, Channel)>,
}

impl Iterator for Incoming {
    type Item = (Request, Channel);

    fn next(&mut self) -> Option<Self::Item> {
        self.queue.recv().ok()
    }
}

/// What both threads and all channels share.
pub(crate) struct Conversation {
    pub(crate) outbox: Outbox,
    table: Mutex<Table>,
    /// Notified when the conversation is over.
    over: Condvar,
}

struct Table {
    channels: HashMap<u32, Arc<Shared>>,
    /// The number of the next channel that this side opens.
    next: Option<u32>,
    /// The highest number that the other side has opened.
    last_of_peer: u32,
    broken: Option<Arc<str>>,
}

impl Conversation {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remove(&self, number: u32) {
        self.table().channels.remove(&number);
    }

    /// The conversation is over, for everybody who waits too.
    fn breaks(&self, reason: &str) {
        let mut table = self.table();
        let reason = Arc::clone(table.broken.get_or_insert_with(|| Arc::from(reason)));
        let channels: Vec<_> = table.channels.drain().collect();
        drop(table);
        self.over.notify_all();
        for (_, channel) in channels {
            channel.breaks(&reason);
        }
        self.outbox.end();
    }

    /// Nothing can be written any more. What the other side said before it went is still read, and then the
    /// conversation is over.
    fn mute(&self, reason: &str) {
        let mut table = self.table();
        let reason = Arc::clone(table.broken.get_or_insert_with(|| Arc::from(reason)));
        for channel in table.channels.values() {
            channel.mute(&reason);
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map(drop)
        .map_err(Error::Thread)
}

fn write(conversation: &Conversation, mut writer: impl Write) {
    let mut batch = Vec::new();
    while conversation.outbox.next_batch(&mut batch) {
        if let Err(error) = writer.write_all(&batch).and_then(|()| writer.flush()) {
            conversation.outbox.finish();
            conversation.mute(&format!("writing to it: {error}"));
            return;
        }
    }
    conversation.outbox.finish();
}

/// Reads until the conversation is over; says why it is.
fn read(
    conversation: &Arc<Conversation>,
    side: Side,
    mut input: Input<impl Read>,
    incoming: &mpsc::Sender<(Request, Channel)>,
) -> String {
    loop {
        let taken = match Frame::decode(input.bytes()) {
            Ok(None) => match input.more() {
                Ok(true) => continue,
                Ok(false) => return "it is gone".into(),
                Err(error) => return format!("reading from it: {error}"),
            },
            Ok(Some((Frame::Bye, _))) => return "it ended the conversation".into(),
            Ok(Some((frame, taken))) => match dispatch(conversation, side, frame, incoming) {
                Ok(()) => taken,
                Err(what) => return format!("it sent {what}"),
            },
            Err(error) => return format!("it sent {error}"),
        };
        input.taken(taken);
    }
}

/// Gives a frame to whom it belongs. Never blocks.
fn dispatch(
    conversation: &Arc<Conversation>,
    side: Side,
    frame: Frame<'_>,
    incoming: &mpsc::Sender<(Request, Channel)>,
) -> Result<(), String> {
    let number = match &frame {
        Frame::Open(number, _)
        | Frame::Data(number, ..)
        | Frame::Eof(number, _)
        | Frame::Credit(number, _)
        | Frame::Control(number, _)
        | Frame::Reply(number, _)
        | Frame::Close(number) => *number,
        Frame::Bye => return Ok(()),
    };
    if let Frame::Open(number, request) = frame {
        let mut table = conversation.table();
        if !side.other().opens(number) || number <= table.last_of_peer {
            return Err(format!("a new channel of the impossible number {number}"));
        }
        if table.channels.len() >= 2 * MAX_CHANNELS {
            return Err("more channels than a conversation may have".into());
        }
        if table.broken.is_some() {
            return Ok(());
        }
        table.last_of_peer = number;
        let shared = Arc::new(Shared::new(number));
        table.channels.insert(number, Arc::clone(&shared));
        drop(table);
        let channel = Channel::new(Arc::clone(conversation), shared);
        // When nobody takes it, it is dropped here and so closed.
        let _ = incoming.send((*request, channel));
        return Ok(());
    }
    let table = conversation.table();
    let Some(shared) = table.channels.get(&number).map(Arc::clone) else {
        let was_open = match side.opens(number) {
            true => table.next.is_none_or(|next| number < next),
            false => number <= table.last_of_peer,
        };
        // It may have been on its way when this side let go.
        return match was_open {
            true => Ok(()),
            false => Err(format!("something on channel {number}, which was never opened")),
        };
    };
    drop(table);
    match frame {
        Frame::Data(_, stream, bytes) => {
            if let Some(credit) = shared.arrived(stream, bytes)? {
                let _ = conversation.outbox.urgent(&Frame::Credit(number, credit));
            }
        }
        Frame::Eof(_, stream) => shared.event(Event::Eof(stream))?,
        Frame::Credit(_, bytes) => shared.credit(bytes)?,
        Frame::Control(_, control) => shared.event(Event::Control(control))?,
        Frame::Reply(_, reply) => shared.event(Event::Reply(*reply))?,
        Frame::Close(_) => {
            shared.event(Event::Closed)?;
            if shared.is_over() {
                conversation.remove(number);
            }
        }
        Frame::Open(..) | Frame::Bye => {}
    }
    Ok(())
}

/// Bytes that were read and not understood yet.
struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Input<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; 2 * MAX_DATA_FRAME],
            start: 0,
            end: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn taken(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start >= self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads more; false at the end.
    fn more(&mut self) -> std::io::Result<bool> {
        if self.buffer.len() - self.end < MAX_DATA_FRAME / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < MAX_DATA_FRAME / 2 {
                // A large message. Frames are limited, so this is too.
                self.buffer.resize(2 * self.buffer.len(), 0);
            }
        }
        loop {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.reader.read(room) {
                Ok(0) => return Ok(false),
                Ok(bytes) => {
                    self.end += bytes;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads on until the other side has greeted; the version that it speaks.
    fn greeting(&mut self, from: Side) -> Result<u32, Error> {
        loop {
            let found = Greeting::find(self.bytes());
            let (taken, greeting) = found.map_err(|error| Error::broken(&format!("it sent {error}")))?;
            self.taken(taken);
            match greeting {
                Some(greeting) if greeting.side == from => return Ok(greeting.version),
                Some(_) => return Err(Error::broken("it is the same side as this one")),
                None => match self.more() {
                    Ok(true) => {}
                    Ok(false) => return Err(Error::broken("it is gone and never greeted")),
                    Err(error) => {
                        return Err(Error::broken(&format!("reading its greeting: {error}")));
                    }
                },
            }
        }
    }
}

//! One channel: a sender that blocks while the window is used up, and a receiver that blocks until something comes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::flow::{ReceiveWindow, SendWindow};
use crate::frame::{Frame, MAX_DATA};
use crate::message::{Control, Reply, Stream};
use crate::mux::Conversation;

/// Controls that may wait to be taken: more than a person resizes a window while a program starts.
const MAX_CONTROLS: usize = 4096;

/// What comes on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of a stream; never none.
    Data(Stream, Vec<u8>),
    /// Nothing more comes on this stream.
    Eof(Stream),
    /// The other side tells something to the program behind the channel.
    Control(Control),
    /// The outcome; all data that was sent before it came before it.
    Reply(Reply),
    /// The other side has let go of the channel: it neither says nor hears anything more. From then on every call
    /// gives this.
    Closed,
}

/// A conversation about one request. Dropping all of its parts lets go of it: the other side then sees
/// [`Event::Closed`].
pub struct Channel {
    end: Arc<End>,
}

impl Channel {
    pub(crate) fn new(conversation: Arc<Conversation>, shared: Arc<Shared>) -> Self {
        Self {
            end: Arc::new(End { conversation, shared }),
        }
    }

    /// The two directions, for two threads.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        let receiver = Receiver {
            end: Arc::clone(&self.end),
            keeps_credit: false,
        };
        (Sender { end: self.end }, receiver)
    }
}

/// The sending direction of a channel.
#[derive(Clone)]
pub struct Sender {
    end: Arc<End>,
}

impl Sender {
    /// Sends bytes. Blocks while the window is used up, that is while the other side doesn't take what it got.
    ///
    /// # Errors
    /// The conversation is broken, or the channel is closed or replied to.
    pub fn data(&self, stream: Stream, bytes: &[u8]) -> Result<(), Error> {
        let shared = &self.end.shared;
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut state = shared.lock();
            let granted = loop {
                state.may_send()?;
                match state.window.take(rest.len().min(MAX_DATA)) {
                    0 => state = shared.wait(&shared.sendable, state),
                    granted => break granted,
                }
            };
            let (now, later) = rest.split_at(granted);
            // Under the lock: the streams of a channel keep their order.
            self.end.conversation.outbox.data(shared.number, stream, now)?;
            drop(state);
            rest = later;
        }
        Ok(())
    }

    /// Says that nothing more comes on this stream.
    ///
    /// # Errors
    /// As [`Sender::data`].
    pub fn eof(&self, stream: Stream) -> Result<(), Error> {
        let state = self.end.shared.lock();
        state.may_send()?;
        let number = self.end.shared.number;
        self.end
            .conversation
            .outbox
            .in_order(number, &Frame::Eof(number, stream))?;
        Ok(())
    }

    /// Tells something to the program behind the channel. Overtakes data.
    ///
    /// # Errors
    /// As [`Sender::data`].
    pub fn control(&self, control: Control) -> Result<(), Error> {
        let state = self.end.shared.lock();
        state.may_send()?;
        let number = self.end.shared.number;
        self.end
            .conversation
            .outbox
            .urgent(&Frame::Control(number, control))?;
        Ok(())
    }

    /// Gives the outcome and ends this direction: all data that was sent before arrives before.
    ///
    /// # Errors
    /// As [`Sender::data`].
    pub fn reply(&self, reply: Reply) -> Result<(), Error> {
        let mut state = self.end.shared.lock();
        state.may_send()?;
        let number = self.end.shared.number;
        self.end
            .conversation
            .outbox
            .in_order(number, &Frame::Reply(number, Box::new(reply)))?;
        state.replied = true;
        Ok(())
    }

    /// Gives credit for data that a receiver with [`Receiver::keep_credit`] has given and that is used now.
    pub fn taken(&self, bytes: usize) {
        let credit = self.end.shared.lock().receive.taken(bytes);
        self.end.credit(credit);
    }

    /// Gives up: what was queued is dropped unless it was replied, and the other side sees [`Event::Closed`].
    pub fn close(&self) {
        self.end.close();
    }
}

/// The receiving direction of a channel. When it is dropped, what still comes is thrown away.
pub struct Receiver {
    end: Arc<End>,
    keeps_credit: bool,
}

impl Receiver {
    /// From now on data that is received is not taken yet: the other side gets credit when [`Sender::taken`] says so.
    /// For who hands the data on without waiting, so that what comes behind it (a signal) is seen at once.
    pub fn keep_credit(&mut self) {
        self.keeps_credit = true;
    }

    /// Waits for what comes next. Credit goes back to the other side as data is taken.
    ///
    /// # Errors
    /// [`Error::Broken`] when the conversation ended, after everything that had arrived.
    #[allow(clippy::should_implement_trait)] // It never ends by itself, so it is no iterator.
    pub fn next(&mut self) -> Result<Event, Error> {
        let shared = &self.end.shared;
        let mut state = shared.lock();
        loop {
            if let Some(event) = state.inbox.pop_front() {
                match &event {
                    Event::Data(_, bytes) if !self.keeps_credit => {
                        let credit = state.receive.taken(bytes.len());
                        drop(state);
                        self.end.credit(credit);
                    }
                    Event::Control(_) => state.controls -= 1,
                    _ => {}
                }
                return Ok(event);
            }
            if state.peer_closed {
                return Ok(Event::Closed);
            }
            if let Some(reason) = &state.broken {
                return Err(Error::broken(reason));
            }
            state = shared.wait(&shared.receivable, state);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.end.shared.lock();
        state.receiver_gone = true;
        let waiting: usize = state
            .inbox
            .drain(..)
            .map(|event| match event {
                Event::Data(_, bytes) => bytes.len(),
                _ => 0,
            })
            .sum();
        state.controls = 0;
        let credit = state.receive.taken(waiting);
        drop(state);
        self.end.credit(credit);
    }
}

/// This side's hold on a channel, shared by its sender and its receiver.
struct End {
    conversation: Arc<Conversation>,
    shared: Arc<Shared>,
}

impl End {
    fn credit(&self, credit: Option<u32>) {
        if let Some(bytes) = credit {
            // A credit always fits in a frame.
            let _ = self
                .conversation
                .outbox
                .urgent(&Frame::Credit(self.shared.number, bytes));
        }
    }

    fn close(&self) {
        let mut state = self.shared.lock();
        if std::mem::replace(&mut state.we_closed, true) {
            return;
        }
        let outbox = &self.conversation.outbox;
        if !state.replied {
            outbox.forget(self.shared.number);
        }
        let number = self.shared.number;
        let _ = outbox.in_order(number, &Frame::Close(number));
        let over = state.peer_closed;
        drop(state);
        self.shared.sendable.notify_all();
        if over {
            self.conversation.remove(number);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the threads of the conversation and the two ends know of a channel.
pub(crate) struct Shared {
    pub(crate) number: u32,
    state: Mutex<State>,
    sendable: Condvar,
    receivable: Condvar,
}

#[derive(Default)]
struct State {
    window: SendWindow,
    receive: ReceiveWindow,
    inbox: VecDeque<Event>,
    /// Controls in the inbox.
    controls: usize,
    receiver_gone: bool,
    replied: bool,
    we_closed: bool,
    peer_replied: bool,
    peer_closed: bool,
    /// Nothing can be sent any more.
    mute: Option<Arc<str>>,
    /// Nothing comes any more either.
    broken: Option<Arc<str>>,
}

impl State {
    fn may_send(&self) -> Result<(), Error> {
        if let Some(reason) = &self.mute {
            return Err(Error::broken(reason));
        }
        if self.peer_closed || self.we_closed || self.replied {
            return Err(Error::Closed);
        }
        Ok(())
    }
}

impl Shared {
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            state: Mutex::default(),
            sendable: Condvar::new(),
            receivable: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        condition.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Data came. Gives the credit to send back at once, when nobody will ever take it.
    pub(crate) fn arrived(&self, stream: Stream, bytes: &[u8]) -> Result<Option<u32>, String> {
        let mut state = self.lock();
        state
            .receive
            .arrived(bytes.len())
            .map_err(|error| error.to_string())?;
        if state.peer_replied || state.peer_closed {
            return Err("bytes on a channel after its end".into());
        }
        if state.receiver_gone {
            return Ok(state.receive.taken(bytes.len()));
        }
        match state.inbox.back_mut() {
            Some(Event::Data(last, waiting))
                if *last == stream && waiting.len() + bytes.len() <= MAX_DATA =>
            {
                waiting.extend_from_slice(bytes);
            }
            _ => state.inbox.push_back(Event::Data(stream, bytes.to_vec())),
        }
        drop(state);
        self.receivable.notify_one();
        Ok(None)
    }

    /// Something other than data came.
    pub(crate) fn event(&self, event: Event) -> Result<(), String> {
        let mut state = self.lock();
        if state.peer_closed || (state.peer_replied && event != Event::Closed) {
            return Err("a message on a channel after its end".into());
        }
        match event {
            Event::Closed => {
                state.peer_closed = true;
                drop(state);
                self.sendable.notify_all();
                self.receivable.notify_all();
                return Ok(());
            }
            Event::Reply(_) => state.peer_replied = true,
            Event::Control(_) if state.controls >= MAX_CONTROLS => {
                return Err("a flood of control messages".into());
            }
            Event::Control(_) if !state.receiver_gone => state.controls += 1,
            _ => {}
        }
        if !state.receiver_gone {
            // An end of stream said over and over would fill the memory: once is enough.
            if state.inbox.back() != Some(&event) || !matches!(event, Event::Eof(_)) {
                state.inbox.push_back(event);
            }
        }
        drop(state);
        self.receivable.notify_one();
        Ok(())
    }

    /// The other side gave credit.
    pub(crate) fn credit(&self, bytes: u32) -> Result<(), String> {
        self.lock()
            .window
            .give(bytes)
            .map_err(|error| error.to_string())?;
        self.sendable.notify_all();
        Ok(())
    }

    /// Whether both sides have let go.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.we_closed && state.peer_closed
    }

    /// The conversation ended: wakes everybody.
    pub(crate) fn breaks(&self, reason: &Arc<str>) {
        self.lock().broken.get_or_insert_with(|| Arc::clone(reason));
        self.receivable.notify_all();
        self.mute(reason);
    }

    /// Nothing can be sent any more: wakes those who try.
    pub(crate) fn mute(&self, reason: &Arc<str>) {
        self.lock().mute.get_or_insert_with(|| Arc::clone(reason));
        self.sendable.notify_all();
    }
}

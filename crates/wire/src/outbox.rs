//! What waits to be written: a queue for each channel, one frame of each in turn, and before them what must not wait.
//!
//! Data queues are bounded by the windows of their channels; the urgent queue by the number of channels, since
//! every credit answers bytes that were received. So nothing here ever blocks, and the thread that reads never waits
//! for the one that writes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::frame::{Frame, FrameError, MAX_DATA_FRAME, extend_data};
use crate::message::Stream;

#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    work: Condvar,
    finished: Condvar,
}

#[derive(Default)]
struct State {
    urgent: VecDeque<Vec<u8>>,
    queues: HashMap<u32, VecDeque<Vec<u8>>>,
    /// Channels with something queued, each once.
    turns: VecDeque<u32>,
    /// Write what is queued, then end.
    ending: bool,
    /// Nothing is written any more.
    finished: bool,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame ahead of everything that channels have queued.
    pub(crate) fn urgent(&self, frame: &Frame<'_>) -> Result<(), FrameError> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes)?;
        let mut state = self.lock();
        if !state.ending {
            state.urgent.push_back(bytes);
            self.work.notify_one();
        }
        Ok(())
    }

    /// Queues a frame behind everything that its channel has queued.
    pub(crate) fn in_order(&self, channel: u32, frame: &Frame<'_>) -> Result<(), FrameError> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes)?;
        self.queue(&mut self.lock(), channel, bytes);
        Ok(())
    }

    /// Queues bytes of a stream behind everything that its channel has queued; small pieces become one frame.
    pub(crate) fn data(&self, channel: u32, stream: Stream, bytes: &[u8]) -> Result<(), FrameError> {
        let mut state = self.lock();
        if let Some(last) = state.queues.get_mut(&channel).and_then(VecDeque::back_mut)
            && extend_data(last, stream, bytes)
        {
            return Ok(());
        }
        drop(state);
        let mut frame = Vec::with_capacity(bytes.len() + crate::frame::HEADER + 1);
        Frame::Data(channel, stream, bytes).encode(&mut frame)?;
        self.queue(&mut self.lock(), channel, frame);
        Ok(())
    }

    fn queue(&self, state: &mut State, channel: u32, frame: Vec<u8>) {
        if state.ending {
            return;
        }
        let queue = state.queues.entry(channel).or_default();
        queue.push_back(frame);
        if queue.len() == 1 {
            state.turns.push_back(channel);
            self.work.notify_one();
        }
    }

    /// Drops what a channel has queued.
    pub(crate) fn forget(&self, channel: u32) {
        let mut state = self.lock();
        if state.queues.remove(&channel).is_some() {
            state.turns.retain(|other| *other != channel);
        }
    }

    /// Takes nothing more; what is queued is still written, and then the farewell.
    pub(crate) fn end(&self) {
        let mut bytes = Vec::new();
        let farewell = Frame::Bye.encode(&mut bytes);
        let mut state = self.lock();
        if !state.ending {
            state.ending = true;
            if farewell.is_ok() {
                // Number 0 is no channel: its turn comes when all others are through.
                state.queues.insert(0, VecDeque::from([bytes]));
            }
            self.work.notify_all();
        }
    }

    /// Nothing can be written any more.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        *state = State {
            ending: true,
            finished: true,
            ..State::default()
        };
        self.work.notify_all();
        self.finished.notify_all();
    }

    /// Waits until everything is written after [`Outbox::end`], or nothing can be.
    pub(crate) fn wait_finished(&self) {
        let mut state = self.lock();
        while !state.finished {
            state = self.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for something to write and moves it to `batch`, about [`MAX_DATA_FRAME`] bytes at most so that what
    /// is urgent never waits long. False: nothing more will come.
    pub(crate) fn next_batch(&self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        let mut state = self.lock();
        loop {
            while let Some(frame) = state.urgent.pop_front() {
                append(batch, frame);
            }
            while batch.len() < MAX_DATA_FRAME / 2 {
                let Some(frame) = state.take_turn() else { break };
                append(batch, frame);
            }
            if !batch.is_empty() {
                return true;
            }
            if state.ending {
                match state.queues.remove(&0).and_then(|mut queue| queue.pop_front()) {
                    Some(farewell) => append(batch, farewell),
                    None => return false,
                }
                return true;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// The next frame of the channel whose turn it is.
    fn take_turn(&mut self) -> Option<Vec<u8>> {
        let channel = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&channel)?;
        let frame = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&channel);
        } else {
            self.turns.push_back(channel);
        }
        frame
    }
}

fn append(batch: &mut Vec<u8>, frame: Vec<u8>) {
    if batch.is_empty() {
        *batch = frame;
    } else {
        batch.extend_from_slice(&frame);
    }
}

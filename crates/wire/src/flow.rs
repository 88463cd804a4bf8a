//! How much may be under way: each side may send [`WINDOW`] bytes on a channel before the other has taken any, and
//! gets credit for more as they are taken. Pure accounting.

/// Bytes of a channel and direction that may be under way.
pub const WINDOW: u32 = 1 << 20;
/// Credit is given back in steps of at least this many bytes, so that small messages cost no credit frames.
const STEP: u32 = WINDOW / 4;

/// What this side may still send on a channel.
#[derive(Debug, PartialEq, Eq)]
pub struct SendWindow {
    available: u32,
}

impl Default for SendWindow {
    fn default() -> Self {
        Self { available: WINDOW }
    }
}

impl SendWindow {
    /// Takes as much of `wanted` bytes as may be sent now; perhaps nothing.
    pub fn take(&mut self, wanted: usize) -> usize {
        let granted = u32::try_from(wanted).unwrap_or(u32::MAX).min(self.available);
        self.available -= granted;
        granted as usize
    }

    /// The other side gave credit.
    ///
    /// # Errors
    /// It gave more than was ever sent.
    pub fn give(&mut self, bytes: u32) -> Result<(), FlowError> {
        match self.available.checked_add(bytes) {
            Some(available) if available <= WINDOW => {
                self.available = available;
                Ok(())
            }
            _ => Err(FlowError::TooMuchCredit),
        }
    }
}

/// What the other side may still send on a channel.
#[derive(Debug, PartialEq, Eq)]
pub struct ReceiveWindow {
    available: u32,
    /// Taken by the reader, credit not given yet.
    owed: u32,
}

impl Default for ReceiveWindow {
    fn default() -> Self {
        Self {
            available: WINDOW,
            owed: 0,
        }
    }
}

impl ReceiveWindow {
    /// Bytes arrived.
    ///
    /// # Errors
    /// More than the other side had credit for.
    pub fn arrived(&mut self, bytes: usize) -> Result<(), FlowError> {
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.available.checked_sub(bytes));
        self.available = left.ok_or(FlowError::Overrun)?;
        Ok(())
    }

    /// Bytes that had arrived were taken: the credit to give now, if any.
    pub fn taken(&mut self, bytes: usize) -> Option<u32> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.owed = self.owed.saturating_add(bytes).min(WINDOW - self.available);
        if self.owed < STEP {
            return None;
        }
        self.available += self.owed;
        Some(std::mem::take(&mut self.owed))
    }
}

/// The other side does not keep to the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// More bytes than it had credit for.
    #[error("more bytes on a channel than its window allows")]
    Overrun,
    /// Credit for bytes that were never sent.
    #[error("credit for bytes that were never sent")]
    TooMuchCredit,
}

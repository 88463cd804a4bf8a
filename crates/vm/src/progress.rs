//! What a starting machine is doing.

use serde::{Deserialize, Serialize};

/// What a starting machine is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Another process starts or suspends this machine: waiting for it.
    WaitingForOther,
    /// Trying whether KVM runs a guest.
    Probing,
    /// The first boot of these guest files; it is kept as template.
    MakingTemplate,
    /// Booting from the state disk.
    Booting,
    /// Going on where the machine was suspended.
    Resuming,
    /// One line that the user should see.
    Notice(String),
}

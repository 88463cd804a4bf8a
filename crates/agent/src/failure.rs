//! What goes wrong is told to the host in its own words: [`Failure`].

use std::fmt::Display;
use std::io;

use vcontainer_wire::Failure;

/// A failure that no system call explains.
pub fn failure(message: impl Into<String>) -> Failure {
    Failure {
        message: message.into(),
        errno: None,
    }
}

/// Says what was being done when a call failed.
pub trait Doing<T> {
    /// `doing` is what was being done and to which thing, such as `mounting /proc`.
    ///
    /// # Errors
    /// The error itself, in words and with its number.
    fn doing(self, doing: impl Display) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl Display) -> Result<T, Failure> {
        self.map_err(|error| {
            let error = error.into();
            Failure {
                message: format!("{doing}: {error}"),
                errno: error.raw_os_error(),
            }
        })
    }
}

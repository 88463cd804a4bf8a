//! After a resume: the clock, and random numbers that no other resume of the same memory gives.

use std::fs::OpenOptions;
use std::io::Write;

use rustix::time::{ClockId, Timespec};
use vcontainer_wire::{Failure, Wake};

use crate::failure::Doing;

/// Sets the clock and stirs the kernel's random numbers.
///
/// # Errors
/// The kernel refuses.
pub fn wake(wake: &Wake) -> Result<(), Failure> {
    let mut random = OpenOptions::new()
        .write(true)
        .open("/dev/urandom")
        .doing("opening /dev/urandom")?;
    random.write_all(&wake.entropy).doing("writing to /dev/urandom")?;
    reseed(&random).doing("renewing the random numbers")?;
    let second = 1_000_000_000;
    let time = Timespec {
        tv_sec: i64::try_from(wake.unix_nanoseconds / second).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(wake.unix_nanoseconds % second).unwrap_or(0) as _,
    };
    rustix::time::clock_settime(ClockId::Realtime, time).doing("setting the clock")
}

/// Makes the kernel use what was written at once, not at its next turn.
#[allow(unsafe_code)]
fn reseed(random: &std::fs::File) -> rustix::io::Result<()> {
    /// `RNDRESEEDCRNG` of linux/random.h: `_IO('R', 7)`.
    const RESEED: rustix::ioctl::Opcode = rustix::ioctl::opcode::none(b'R', 7);
    // SAFETY: the opcode is one of Linux's random device, which `random` is (any other file answers ENOTTY); it takes
    // no argument and gives none back, so no memory is read or written.
    unsafe { rustix::ioctl::ioctl(random, rustix::ioctl::NoArg::<RESEED>::new()) }
}

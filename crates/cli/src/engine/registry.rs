//! Registries on this computer's loopback: `pull localhost:5000/x` means this computer's, although the engine runs in a
//! machine of its own.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;

use crate::engine::console::Console;
use crate::engine::machine::Machine;

/// How long somebody on the loopback may take to accept; they answer at once or not at all.
const ANSWER: Duration = Duration::from_secs(2);

/// Makes the registries reachable from the machine at the same address, as long as this process lives. Ports on which
/// nobody listens here are left alone: the machine may have a registry of its own there.
///
/// # Errors
/// The machine breaks.
pub fn forward(machine: &Machine, ports: &BTreeSet<u16>, console: &Console) -> Result<()> {
    for port in ports {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        if TcpStream::connect_timeout(&address, ANSWER).is_err() {
            console.detail(&format!("nobody listens on {address} of this computer"));
            continue;
        }
        match machine.forward(*port)? {
            None => console.detail(&format!("{address} in the machine is {address} of this computer")),
            Some(why) => console.detail(&format!("{address} in the machine stays what it is: {why}")),
        }
    }
    Ok(())
}

//! The network of a guest is always the same, so it is set at once: QEMU's user network, over rtnetlink (rtnetlink(7)).

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use vcontainer_wire::Failure;

use crate::failure::{Doing, failure};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const PREFIX: u8 = 24;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const RESOLV_CONF: &str = "nameserver 10.0.2.3\n";

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// Request, acknowledge.
const CHANGE: u16 = 0x1 | 0x4;
/// The same, and make it, in the place of what is there.
const MAKE: u16 = CHANGE | 0x100 | 0x400;

/// Brings up the loopback and, where there is one, the first ethernet device.
///
/// # Errors
/// The kernel refuses.
pub fn set_up() -> Result<(), Failure> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // Protocol 0 of netlink is rtnetlink.
        None,
    )
    .doing("opening rtnetlink")?;
    up(&socket, 1)?;
    let Some(device) = ethernet() else {
        return Ok(());
    };
    up(&socket, device)?;
    // struct ifaddrmsg; IFA_ADDRESS, IFA_LOCAL.
    let mut message = vec![2, PREFIX, 0, 0];
    message.extend(device.to_ne_bytes());
    attribute(&mut message, 1, &ADDRESS.octets());
    attribute(&mut message, 2, &ADDRESS.octets());
    ask(&socket, NEW_ADDRESS, MAKE, &message).doing("setting the guest's address")?;
    // struct rtmsg: main table, set at boot, everywhere, unicast; RTA_GATEWAY, RTA_OIF.
    let mut message = vec![2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    attribute(&mut message, 5, &GATEWAY.octets());
    attribute(&mut message, 4, &device.to_ne_bytes());
    ask(&socket, NEW_ROUTE, MAKE, &message).doing("setting the guest's route")?;
    fs::write("/etc/resolv.conf", RESOLV_CONF).doing("writing /etc/resolv.conf")
}

/// The number of the first ethernet device that is hardware.
fn ethernet() -> Option<u32> {
    let mut found: Vec<u32> = fs::read_dir("/sys/class/net")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let read = |name: &str| fs::read_to_string(path.join(name)).ok();
            (path.join("device").exists() && read("type")?.trim() == "1")
                .then(|| read("ifindex")?.trim().parse().ok())?
        })
        .collect();
    found.sort_unstable();
    found.first().copied()
}

fn up(socket: &OwnedFd, device: u32) -> Result<(), Failure> {
    // struct ifinfomsg: IFF_UP, and that only it changes.
    let mut message = vec![0; 4];
    for number in [device, 1, 1] {
        message.extend(number.to_ne_bytes());
    }
    ask(socket, NEW_LINK, CHANGE, &message).doing("bringing up a network device")
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Every value here has four bytes, which is the alignment too.
    message.extend((4 + value.len() as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
}

/// Sends one request and waits for its acknowledgement.
fn ask(socket: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> Result<(), std::io::Error> {
    let mut message = Vec::new();
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    rustix::net::send(socket, &message, SendFlags::empty())?;
    let mut answer = [0; 4096];
    let (count, _) = rustix::net::recv(socket, &mut answer[..], RecvFlags::empty())?;
    // struct nlmsghdr, then struct nlmsgerr with the error number, negative.
    let number = answer
        .get(..count)
        .and_then(|answer| answer.get(16..20)?.try_into().ok());
    match number.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(number) => Err(std::io::Error::from_raw_os_error(-number)),
        None => Err(std::io::Error::other(failure("no answer of rtnetlink"))),
    }
}

//! Frames and windows: what goes in comes out, and nothing that comes from outside does harm.

use proptest::prelude::*;
use vcontainer_wire::flow::{ReceiveWindow, SendWindow, WINDOW};
use vcontainer_wire::frame::{Frame, FrameError, Greeting, MAGIC, MAX_DATA, MAX_MESSAGE};
use vcontainer_wire::{Control, Exec, ExitStatus, Failure, Reply, Request, Side, Size, Stream};

fn stream() -> impl Strategy<Value = Stream> {
    prop_oneof![Just(Stream::In), Just(Stream::Out), Just(Stream::Err)]
}

fn words() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6)
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (
            words(),
            any::<bool>(),
            prop::option::of((any::<u16>(), any::<u16>()))
        )
            .prop_map(|(argv, stdin, size)| Request::Exec(Exec {
                argv,
                stdin,
                tty: size.map(|(rows, columns)| Size { rows, columns }),
                ..Exec::default()
            })),
        Just(Request::Sync),
        any::<u32>().prop_map(|listener| Request::Accepted { listener }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        Just(Reply::Done),
        any::<u8>().prop_map(|code| Reply::Exited(ExitStatus::Code(code))),
        (".{0,40}", any::<Option<i32>>())
            .prop_map(|(message, errno)| Reply::Failed(Failure { message, errno })),
    ]
}

#[derive(Debug, Clone)]
enum Owned {
    Open(u32, Request),
    Data(u32, Stream, Vec<u8>),
    Eof(u32, Stream),
    Credit(u32, u32),
    Control(u32, u8),
    Reply(u32, Reply),
    Close(u32),
    Bye,
}

impl Owned {
    fn frame(&self) -> Frame<'_> {
        match self {
            Owned::Open(channel, request) => Frame::Open(*channel, Box::new(request.clone())),
            Owned::Data(channel, stream, bytes) => Frame::Data(*channel, *stream, bytes),
            Owned::Eof(channel, stream) => Frame::Eof(*channel, *stream),
            Owned::Credit(channel, bytes) => Frame::Credit(*channel, *bytes),
            Owned::Control(channel, signal) => Frame::Control(*channel, Control::Signal(*signal)),
            Owned::Reply(channel, reply) => Frame::Reply(*channel, Box::new(reply.clone())),
            Owned::Close(channel) => Frame::Close(*channel),
            Owned::Bye => Frame::Bye,
        }
    }
}

fn frame() -> impl Strategy<Value = Owned> {
    let channel = 1..u32::MAX;
    prop_oneof![
        (channel.clone(), request()).prop_map(|(channel, request)| Owned::Open(channel, request)),
        (
            channel.clone(),
            stream(),
            prop::collection::vec(any::<u8>(), 1..300)
        )
            .prop_map(|(channel, stream, bytes)| Owned::Data(channel, stream, bytes)),
        (channel.clone(), stream()).prop_map(|(channel, stream)| Owned::Eof(channel, stream)),
        (channel.clone(), any::<u32>()).prop_map(|(channel, bytes)| Owned::Credit(channel, bytes)),
        (channel.clone(), any::<u8>()).prop_map(|(channel, signal)| Owned::Control(channel, signal)),
        (channel.clone(), reply()).prop_map(|(channel, reply)| Owned::Reply(channel, reply)),
        channel.prop_map(Owned::Close),
        Just(Owned::Bye),
    ]
}

proptest! {
    #[test]
    fn frames_come_back(frames in prop::collection::vec(frame(), 0..12)) {
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.frame().encode(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        for frame in &frames {
            let (found, taken) = Frame::decode(rest).unwrap().unwrap();
            prop_assert_eq!(found, frame.frame());
            // No part of it is taken for the whole.
            prop_assert_eq!(Frame::decode(&rest[..taken - 1]).unwrap(), None);
            rest = &rest[taken..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some((frame, taken))) = Frame::decode(&bytes) {
            let mut again = Vec::new();
            frame.encode(&mut again).unwrap();
            let (same, length) = Frame::decode(&again).unwrap().unwrap();
            prop_assert_eq!(same, frame);
            prop_assert_eq!(length, again.len());
            prop_assert!(taken <= bytes.len());
        }
    }

    #[test]
    fn a_greeting_is_found_behind_anything(before in prop::collection::vec(any::<u8>(), 0..100),
                                           cut in 0usize..16, version in any::<u32>(), step in 1usize..40) {
        // Remains of an earlier greeting may be among it.
        let mut stream = before;
        stream.extend_from_slice(&MAGIC[..cut]);
        let greeting = Greeting { version, side: Side::Guest };
        stream.extend_from_slice(&greeting.encode());
        stream.extend_from_slice(b"rest");
        let (mut buffer, mut fed) = (Vec::new(), 0);
        let found = loop {
            let (taken, found) = Greeting::find(&buffer).unwrap();
            buffer.drain(..taken);
            if let Some(found) = found {
                break found;
            }
            prop_assert!(fed < stream.len());
            let next = (fed + step).min(stream.len());
            buffer.extend_from_slice(&stream[fed..next]);
            fed = next;
        };
        prop_assert_eq!(found, greeting);
        buffer.extend_from_slice(&stream[fed..]);
        prop_assert_eq!(buffer, b"rest");
    }

    #[test]
    fn windows_agree(steps in prop::collection::vec((0usize..400_000, 0usize..400_000), 0..60)) {
        let (mut sender, mut receiver, mut waiting) = (SendWindow::default(), ReceiveWindow::default(), 0);
        for (send, take) in steps {
            let sent = sender.take(send);
            receiver.arrived(sent).unwrap();
            waiting += sent;
            prop_assert!(waiting <= WINDOW as usize);
            let taken = take.min(waiting);
            waiting -= taken;
            if let Some(credit) = receiver.taken(taken) {
                sender.give(credit).unwrap();
            }
        }
        // Whoever takes everything lets the sender go on.
        if let Some(credit) = receiver.taken(waiting) {
            sender.give(credit).unwrap();
        }
        prop_assert!(sender.take(1) == 1);
    }
}

#[test]
fn limits_hold() {
    let mut bytes = Vec::new();
    let large = Request::Exec(Exec {
        argv: vec![vec![0; MAX_MESSAGE + 1]],
        ..Exec::default()
    });
    assert!(matches!(
        Frame::Open(1, Box::new(large)).encode(&mut bytes),
        Err(FrameError::TooLarge(_))
    ));
    let data = vec![0; MAX_DATA + 1];
    assert!(Frame::Data(1, Stream::In, &data).encode(&mut bytes).is_err());
    assert!(bytes.is_empty());
    for hostile in [
        // 4 GiB of data; an unknown kind; no channel; a farewell on a channel; empty data; a stream that isn't there.
        &[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 2][..],
        &[0, 0, 0, 0, 1, 0, 0, 0, 99],
        &[0, 0, 0, 0, 0, 0, 0, 0, 7],
        &[0, 0, 0, 0, 1, 0, 0, 0, 8],
        &[1, 0, 0, 0, 1, 0, 0, 0, 2, 0],
        &[2, 0, 0, 0, 1, 0, 0, 0, 2, 3, 0],
        // A request of a later version; one with bytes behind it.
        &[1, 0, 0, 0, 1, 0, 0, 0, 1, 99],
        &[2, 0, 0, 0, 1, 0, 0, 0, 1, 6, 0],
    ] {
        assert!(Frame::decode(hostile).is_err(), "{hostile:?}");
    }
    let mut sender = SendWindow::default();
    assert!(sender.give(1).is_err());
    let mut receiver = ReceiveWindow::default();
    assert!(receiver.arrived(WINDOW as usize + 1).is_err());
}

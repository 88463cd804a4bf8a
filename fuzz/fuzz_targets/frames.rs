//! What comes from the other side of a conversation: greetings and frames. What was understood, written again, is
//! understood the same; nothing is taken for more than it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcontainer_wire::frame::{Frame, Greeting, MAX_DATA};

fuzz_target!(|data: &[u8]| {
    if let Ok((taken, greeting)) = Greeting::find(data) {
        assert!(taken <= data.len());
        if let Some(greeting) = greeting {
            let (again, found) = Greeting::find(&greeting.encode()).unwrap();
            assert_eq!((again, found), (greeting.encode().len(), Some(greeting)));
        }
    }
    let mut rest = data;
    while let Ok(Some((frame, taken))) = Frame::decode(rest) {
        assert!(taken > 0 && taken <= rest.len());
        if let Frame::Data(_, _, bytes) = &frame {
            assert!(!bytes.is_empty() && bytes.len() <= MAX_DATA);
        }
        let mut written = Vec::new();
        frame.encode(&mut written).unwrap();
        let (read, length) = Frame::decode(&written).unwrap().unwrap();
        assert_eq!((&read, length), (&frame, written.len()));
        // A piece of a frame is no frame.
        for end in [0, 4, 8, written.len() - 1] {
            assert!(matches!(Frame::decode(&written[..end]), Ok(None)));
        }
        rest = &rest[taken..];
    }
});

//! QEMU's control channel (QMP): commands with replies, and events. One JSON document a line.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{During, Error};

/// How long QEMU may take to answer. Its main loop answers within milliseconds unless the host is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// A conversation with one QEMU. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Qmp {
    shared: Arc<Shared>,
}

struct Shared {
    /// Commands go out whole and in the order of their numbers.
    writer: Mutex<(UnixStream, u64)>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

#[derive(Default)]
struct Inbox {
    replies: HashMap<u64, Result<Value, String>>,
    events: VecDeque<Event>,
    over: bool,
}

/// Something that QEMU tells unasked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Event {
    #[serde(rename = "event")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) data: Value,
}

impl Event {
    /// A text of the event's data.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.data.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A line from QEMU.
#[derive(Debug, PartialEq)]
enum Line {
    Reply(u64, Result<Value, String>),
    Event(Event),
    Other,
}

/// Understands a line. What is not understood is no reply.
fn parse(line: &str) -> Line {
    let Ok(value) = serde_json::from_str::<Value>(line) else {
        return Line::Other;
    };
    if let (Some(id), Some(result)) = (value.get("id").and_then(Value::as_u64), value.get("return")) {
        return Line::Reply(id, Ok(result.clone()));
    }
    if let (Some(id), Some(error)) = (value.get("id").and_then(Value::as_u64), value.get("error")) {
        let text = error
            .get("desc")
            .and_then(Value::as_str)
            .unwrap_or("no reason given");
        return Line::Reply(id, Err(text.into()));
    }
    match serde_json::from_value(value) {
        Ok(event) => Line::Event(event),
        Err(_) => Line::Other,
    }
}

impl Qmp {
    /// Starts the conversation. `watch` sees each event, and `None` at the end, on a thread of its own.
    pub(crate) fn start(
        stream: UnixStream,
        watch: impl Fn(Option<&Event>) + Send + 'static,
    ) -> Result<Self, Error> {
        let reader = stream
            .try_clone()
            .during(|| "duplicating QEMU's control channel".into())?;
        let shared = Arc::new(Shared {
            writer: Mutex::new((stream, 0)),
            inbox: Mutex::default(),
            arrived: Condvar::new(),
        });
        let reading = Arc::clone(&shared);
        thread::Builder::new()
            .name("qmp".into())
            .spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    let mut inbox = lock(&reading.inbox);
                    match parse(&line) {
                        Line::Reply(id, result) => drop(inbox.replies.insert(id, result)),
                        Line::Event(event) => {
                            watch(Some(&event));
                            inbox.events.push_back(event);
                        }
                        Line::Other => continue,
                    }
                    drop(inbox);
                    reading.arrived.notify_all();
                }
                lock(&reading.inbox).over = true;
                reading.arrived.notify_all();
                watch(None);
            })
            .during(|| "starting a thread for QEMU's control channel".into())?;
        let qmp = Self { shared };
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and waits for its reply.
    pub(crate) fn execute(&self, command: &str, arguments: Value) -> Result<Value, Error> {
        self.send(command, arguments, None)
    }

    /// Gives QEMU an open file under a name that later commands use.
    pub(crate) fn give_file(&self, name: &str, file: impl AsFd) -> Result<(), Error> {
        self.send("getfd", json!({ "fdname": name }), Some(file.as_fd()))
            .map(drop)
    }

    fn send(&self, command: &str, arguments: Value, file: Option<BorrowedFd<'_>>) -> Result<Value, Error> {
        let number = {
            let mut writer = lock(&self.shared.writer);
            writer.1 += 1;
            let number = writer.1;
            let mut line = json!({ "execute": command, "id": number });
            if arguments.as_object().is_some_and(|object| !object.is_empty()) {
                line["arguments"] = arguments;
            }
            send_line(&writer.0, &format!("{line}\n"), file)
                .map_err(|_| Error::Ended(format!("QEMU ended before it was told to {command}")))?;
            number
        };
        let limit = Instant::now() + PATIENCE;
        let mut inbox = lock(&self.shared.inbox);
        loop {
            if let Some(result) = inbox.replies.remove(&number) {
                return result.map_err(|message| Error::Qmp {
                    command: command.into(),
                    message,
                });
            }
            if inbox.over {
                return Err(Error::Ended(format!("QEMU ended during {command}")));
            }
            inbox = self.wait(inbox, limit, command)?;
        }
    }

    /// Waits for an event for which `wanted` gives something. Events of other names that came before are forgotten.
    pub(crate) fn wait_for<T>(
        &self,
        name: &str,
        patience: Duration,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, Error> {
        let limit = Instant::now() + patience;
        let mut inbox = lock(&self.shared.inbox);
        loop {
            while let Some(event) = inbox.events.pop_front() {
                if event.name == name
                    && let Some(found) = wanted(&event)
                {
                    return Ok(found);
                }
            }
            if inbox.over {
                return Err(Error::Ended(format!("QEMU ended before it reported {name}")));
            }
            inbox = self.wait(inbox, limit, name)?;
        }
    }

    fn wait<'a>(
        &self,
        inbox: MutexGuard<'a, Inbox>,
        limit: Instant,
        what: &str,
    ) -> Result<MutexGuard<'a, Inbox>, Error> {
        let left = limit.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Ended(format!(
                "QEMU is stuck: it did not answer to {what}"
            )));
        }
        let (inbox, _) = self
            .shared
            .arrived
            .wait_timeout(inbox, left)
            .unwrap_or_else(PoisonError::into_inner);
        Ok(inbox)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line; an open file goes with its first byte.
fn send_line(stream: &UnixStream, line: &str, file: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
    let mut rest = line.as_bytes();
    let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    let mut first = true;
    while !rest.is_empty() {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if std::mem::take(&mut first) && !files.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&files));
        }
        match rustix::net::sendmsg(stream, &[IoSlice::new(rest)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => first = !files.is_empty(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(parse(r#"{"return": {}, "id": 3}"#), Line::Reply(3, Ok(json!({}))));
        assert_eq!(
            parse(r#"{"id": 4, "error": {"class": "GenericError", "desc": "no such thing"}}"#),
            Line::Reply(4, Err("no such thing".into()))
        );
        let event = parse(r#"{"event": "MIGRATION", "data": {"status": "completed"}, "timestamp": {}}"#);
        let Line::Event(event) = event else {
            panic!("{event:?}")
        };
        assert_eq!(
            (event.name.as_str(), event.text("status")),
            ("MIGRATION", "completed")
        );
        assert_eq!(parse(r#"{"QMP": {"version": {}}}"#), Line::Other);
        assert_eq!(parse("{"), Line::Other);
    }

    /// The other side answers out of order, speaks of events in between, and then goes away.
    #[test]
    fn replies_find_their_commands() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let other = thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            let mut lines = BufReader::new(theirs).lines();
            writeln!(writer, r#"{{"QMP": {{}}}}"#).unwrap();
            let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
            assert_eq!(next(), json!({ "execute": "qmp_capabilities", "id": 1 }));
            writeln!(writer, r#"{{"return": {{}}, "id": 1}}"#).unwrap();
            assert_eq!(next(), json!({ "execute": "stop", "id": 2 }));
            writeln!(writer, r#"{{"event": "STOP"}}"#).unwrap();
            writeln!(writer, r#"{{"error": {{"desc": "no"}}, "id": 2}}"#).unwrap();
        });
        let qmp = Qmp::start(ours, |_| ()).unwrap();
        let error = qmp.execute("stop", json!({})).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused stop: no");
        other.join().unwrap();
        qmp.wait_for("STOP", PATIENCE, |_| Some(())).unwrap();
        assert!(matches!(qmp.execute("cont", json!({})), Err(Error::Ended(_))));
    }
}

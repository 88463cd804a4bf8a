"""What an image's configuration may say. The tool has the same rules; here they are for errors while parsing, by the variable's name.

Each function returns its text. Raises ValueError, which says what is wrong with it.
"""

import re
import signal

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_USER = re.compile(r"[^\s:]+(:[^\s:]+)?\Z")
_PORT = re.compile(r"([0-9]+)(/(tcp|udp|sctp))?\Z")
# Python knows SIGSTKFLT since 3.11.
_SIGNALS = {name[len("SIG"):] for name in signal.Signals.__members__} | {"STKFLT"}
_REAL_TIME = re.compile(r"(RTMIN|RTMAX)[+-][0-9]{1,2}\Z")


def tag(text: str) -> str:
    """A tag, and part of file names: there `:` is `_`."""
    if not _TAG.match(text.replace(":", "_")):
        raise ValueError("`%s` is no tag: write at most 128 letters, digits, `_`, `.` and `-`, none of the last two first" % text)
    return text


def user(text: str) -> str:
    """Who runs the container: user or user:group."""
    if text and not _USER.match(text):
        raise ValueError("`%s` is no user: write user or user:group, by name or number" % text)
    return text


def port(text: str) -> str:
    """A port, and perhaps its protocol."""
    match = _PORT.match(text)
    if not match or not 0 < int(match.group(1)) < 65536:
        raise ValueError("`%s` is no port: write 80, 80/tcp, 80/udp or 80/sctp" % text)
    return text


def stop_signal(text: str) -> str:
    """What stops the container: a signal's name, with or without SIG, or its number."""
    name = text[len("SIG"):] if text.startswith("SIG") else text
    if text and name not in _SIGNALS and not _REAL_TIME.match(name) and not (text.isdigit() and 0 < int(text) < 65):
        raise ValueError("`%s` is no signal: write SIGTERM or 15" % text)
    return text


def directory(text: str) -> str:
    """Where it starts."""
    if text and not text.startswith("/"):
        raise ValueError("`%s` is no absolute path" % text)
    return text


def author(name: str, email: str) -> str:
    """Who made it, as mails have it."""
    return "%s <%s>" % (name, email) if name and email else name or email

"""What an image's configuration may say: the same as the tool lets pass."""

import subprocess

import pytest

from harness import setup
from vcontainer import config


@pytest.mark.parametrize("check,option,words", [
    (config.stop_signal, "--stop-signal", ["SIGTERM", "TERM", "9", "64", "SIGRTMIN+3", "RTMAX-1", "STKFLT", "CLD", "sigterm", "SIGFOO", "0", "65", "TERM+1"]),
    (config.port, "--port", ["80", "80/tcp", "53/udp", "1/sctp", "65535", "0", "65536", "http", "80/icmp", "80/", "-1"]),
    (config.user, "--user", ["33", "www-data", "33:44", "a:b", "a:", ":b", "a:b:c", "a b"]),
    (config.directory, "--working-dir", ["/", "/srv", "srv", "./srv"]),
])
def test_same_as_the_tool(tmp_path, check, option, words):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for word in words:
        done = subprocess.run([setup.tool(), "oci", "build", "--quiet", "--rootfs", root, "--arch", "aarch64", "--output", tmp_path / "out",
                               "%s=%s" % (option, word), "img:latest"], capture_output=True, text=True, check=False)
        assert option not in done.stderr or word in done.stderr, done.stderr
        try:
            passes = check(word) == word
        except ValueError as error:
            passes = False
            assert "`%s`" % word in str(error)
        assert passes == (done.returncode == 0), (word, done.stderr)


@pytest.mark.parametrize("word,passes", [("latest", True), ("1.0:x", True), ("_", True), ("a" * 128, True), ("a" * 129, False), (".a", False), ("a/b", False)])
def test_tags(word, passes):
    if passes:
        assert config.tag(word) == word
    else:
        with pytest.raises(ValueError, match="is no tag"):
            config.tag(word)


def test_authors():
    assert config.author("Ann", "ann@mail.example") == "Ann <ann@mail.example>"
    assert config.author("Ann", "") == "Ann" and config.author("", "ann@mail.example") == "ann@mail.example"

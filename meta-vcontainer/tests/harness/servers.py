"""Servers on the loopback, on ports of their own: a registry (Debian's docker-registry), and files over HTTP."""

import contextlib
import functools
import http.server
import json
import pathlib
import re
import subprocess
import threading
from typing import Iterator, List, Sequence

from . import setup

ARCHITECTURES = ("aarch64", "x86_64")


class Registry:
    """A registry without TLS; `place` is its host and port. `users` is what htpasswd writes; without it nobody is asked."""

    def __init__(self, folder: pathlib.Path, users: str = "") -> None:
        self.folder = folder
        config = folder / "registry.yml"
        config.write_text("version: 0.1\nlog:\n  formatter: json\nstorage:\n  filesystem:\n    rootdirectory: %s/data\n"
                          "http:\n  addr: 127.0.0.1:0\n" % folder)
        if users:
            (folder / "users").write_text(users)
            config.write_text(config.read_text() + "auth:\n  htpasswd:\n    realm: test\n    path: %s/users\n" % folder)
        self.lines: List[str] = []
        self.process = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        port = None
        while port is None:
            line = self.process.stderr.readline()
            assert line, "docker-registry has ended: %s" % "".join(self.lines)
            self.lines.append(line)
            port = re.search(r"listening on 127\.0\.0\.1:([0-9]+)", line)
        self.place = "localhost:" + port.group(1)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)

    def asked(self, part: str) -> int:
        """How often it was asked for something whose path has this part, and gave it."""
        answers = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return sum(part in answer.get("http.request.uri", "") and answer.get("http.response.status") == 200 for answer in answers)

    def blobs(self) -> List[pathlib.Path]:
        """The files of its blobs, manifests among them."""
        return list(self.folder.glob("data/docker/registry/v2/blobs/sha256/*/*/data"))

    def push(self, layout: pathlib.Path, name: str, login: Sequence[str] = ()) -> str:
        """Puts the image of a layout into the registry, with all its platforms; its reference."""
        reference = "%s/%s" % (self.place, name)
        words = ["copy", "--all", "--quiet", "--dest-tls-verify=false", *login]
        subprocess.run(["skopeo", *words, "oci:%s" % layout, "docker://" + reference], check=True)
        return reference

    def forget(self) -> None:
        """From now on it knows no image."""
        (self.folder / "data").rename(self.folder / "forgotten")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()


def two_platforms(folder: pathlib.Path) -> pathlib.Path:
    """Makes an image for both architectures; the layout whose index.json names its index."""
    for arch in ARCHITECTURES:
        root = folder / arch / "root"
        (root / "bin").mkdir(parents=True)
        (root / "bin/app").write_text("the program for %s\n" % arch)
        subprocess.run([setup.tool(), "oci", "build", "--quiet", "--rootfs", root, "--arch", arch, "--output", folder / arch, "app"],
                       check=True)
    subprocess.run([setup.tool(), "oci", "index", "--quiet", "--output", folder, "app:1.0"]
                   + [folder / arch / "app-latest-oci" for arch in ARCHITECTURES], check=True)
    return folder / "app-1.0-oci"


def digest_of(layout: pathlib.Path) -> str:
    """The digest of what a layout's index.json names: an image, or an index."""
    return json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_words) -> None:
        pass


@contextlib.contextmanager
def files(folder: pathlib.Path) -> Iterator[str]:
    """Serves a folder over HTTP; its URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield "http://127.0.0.1:%d" % server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""A tar file of blobs, which stands for one image in DL_DIR: `blobs/sha256/HEX` for each of its documents and layers.

The same blobs give the same bytes: members are sorted, and have no times and no owners. Whoever gives us such a file is not
trusted: it may have been on a mirror.
"""

import contextlib
import hashlib
import os
import re
import shutil
import tarfile
from typing import IO, Iterator, Tuple

FOLDER = "blobs/sha256"

_BLOB = re.compile(FOLDER + r"/([0-9a-f]{64})\Z")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
# Two blocks of zeros.
_END = bytes(2 * tarfile.BLOCKSIZE)
_PIECE = 1 << 20


class Damaged(Exception):
    """A file that is no such archive, or not a whole one; the message says what is wrong with it, without its name."""


def write(cache: str, path: str) -> None:
    """Writes the archive of all blobs in a cache of the tool. It takes the place `path` when it is whole and on the disk.

    What else is in the cache (locks, parts) is left out. Raises Damaged when a blob is not what its name says, and OSError.
    """
    folder = os.path.join(cache, FOLDER)
    part = os.path.join(cache, "archive.tar")
    with open(part, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name in sorted(filter(_HEX.match, os.listdir(folder))):
                with open(os.path.join(folder, name), "rb") as blob:
                    member = tarfile.TarInfo("%s/%s" % (FOLDER, name))
                    member.size = os.fstat(blob.fileno()).st_size
                    hashed = _Hashed(blob)
                    tar.addfile(member, hashed)
                hashed.compare(name)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)


def check(path: str, digest: str) -> None:
    """Checks that a file is such an archive, that every blob in it is what its name says, and that one is `digest`.

    Raises Damaged, and OSError.
    """
    seen = set()
    with open(path, "rb") as file:
        for name, blob in _blobs(file):
            hashed = _Hashed(blob)
            while hashed.read(_PIECE):
                pass
            hashed.compare(name)
            seen.add("sha256:" + name)
        if digest not in seen:
            raise Damaged("%s is not in it" % digest)
        # tarfile takes the end of the file for the end of the archive.
        file.seek(-len(_END), os.SEEK_END)
        if file.read() != _END:
            raise Damaged("its end is missing")


def extract(path: str, cache: str) -> None:
    """Makes a cache for the tool, which looks at the blobs itself, out of an archive. Raises Damaged, and OSError."""
    folder = os.path.join(cache, FOLDER)
    os.makedirs(folder)
    with open(path, "rb") as file:
        for name, blob in _blobs(file):
            with open(os.path.join(folder, name), "xb") as target:
                shutil.copyfileobj(blob, target, _PIECE)


def _blobs(file: IO[bytes]) -> Iterator[Tuple[str, "_Content"]]:
    """Names and contents of the blobs in an archive. Raises Damaged when anything else is in it."""
    names = set()
    with _faults(), tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            match = _BLOB.match(member.name)
            is_plain = member.type == tarfile.REGTYPE and not member.issparse()
            if match is None or not is_plain or match.group(1) in names:
                raise Damaged("%.200a is in it, which is no blob or there twice" % member.name)
            names.add(match.group(1))
            yield match.group(1), _Content(tar.extractfile(member))


class _Content:
    """The content of a member."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        with _faults():
            return self.file.read(size)


class _Hashed:
    """Reads from a file and computes the SHA-256 sum of what was read."""

    def __init__(self, file) -> None:
        self.file = file
        self.sum = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.sum.update(data)
        return data

    def compare(self, expected: str) -> None:
        """Raises Damaged when it is another sum."""
        if self.sum.hexdigest() != expected:
            raise Damaged("blob sha256:%s is damaged: its digest is sha256:%s" % (expected, self.sum.hexdigest()))


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Makes Damaged of tarfile's own errors."""
    try:
        yield
    except tarfile.TarError as error:
        raise Damaged("it is no whole tar file (%s)" % error) from error

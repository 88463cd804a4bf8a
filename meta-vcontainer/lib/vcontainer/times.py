"""Times of what has been written into a root filesystem. openembedded-core gives all files one time when the image is made
(`reproducible_final_image_task`): inside layers that would be damage, which Podman reports and Python notices."""

import json
import os
from typing import Iterator, Set


def names(root: str) -> Set[str]:
    """Every path below a directory."""
    return set(_walk(root))


def save(root: str, before: Set[str], record: str) -> None:
    """Writes down the times of what lies below `root` now and did not before."""
    times = {path: os.lstat(path).st_mtime_ns for path in _walk(root) if path not in before}
    with open(record, "w", encoding="utf-8") as file:
        json.dump(times, file)


def restore(record: str) -> None:
    """Gives those files their times back; what has been removed since stays so."""
    with open(record, encoding="utf-8") as file:
        times = json.load(file)
    for path, time in times.items():
        try:
            os.utime(path, ns=(time, time), follow_symlinks=False)
        except FileNotFoundError:
            pass


def _walk(root: str) -> Iterator[str]:
    for folder, directories, files in os.walk(root):
        for name in directories + files:
            yield os.path.join(folder, name)

#!/usr/bin/env python3
"""Writes recipes-containers/vcontainer/vcontainer-crates.inc out of the repository's Cargo.lock."""

import pathlib
import re

LAYER = pathlib.Path(__file__).resolve().parents[1]
TARGET = LAYER / "recipes-containers/vcontainer/vcontainer-crates.inc"


def text() -> str:
    """What the file has to be."""
    crates = []
    for block in (LAYER.parent / "Cargo.lock").read_text().split("[[package]]")[1:]:
        fields = dict(re.findall(r'^(name|version|source|checksum) = "(.*)"$', block, re.MULTILINE))
        if fields.get("source", "").startswith("registry+"):
            crates.append((fields["name"], fields["version"], fields["checksum"]))
    lines = ["# Made by scripts/update-crates.py out of Cargo.lock.", "SRC_URI += \"\\"]
    lines += ["    crate://crates.io/%s/%s \\" % crate[:2] for crate in crates]
    lines += ['"'] + ['SRC_URI[%s-%s.sha256sum] = "%s"' % crate for crate in crates]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())

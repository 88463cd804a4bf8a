"""Fixtures of all tests of the layer."""

import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "lib")]

from harness.build import Build  # noqa: E402


@pytest.fixture
def new_build(tmp_path):
    """Makes build folders: `new_build(machine=..., conf=...)`."""
    made = []

    def make(**settings):
        top = tmp_path / ("build%d" % len(made))
        top.mkdir()
        made.append(top)
        return Build(top, **settings)

    return make


@pytest.fixture(params=["qemux86-64", "qemuarm64"])
def machine(request):
    """Both machines."""
    return request.param

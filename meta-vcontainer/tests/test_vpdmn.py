"""vpdmn: the real Podman in machines, called as a user calls it.

`pytest tests/test_vpdmn.py --vdkr-dir DIR` tests what is installed in DIR. Without it, what cargo has built.
"""

import pytest

from harness.engine_suite import *  # noqa: F401,F403  (the tests of both tools)

TOOL = "vpdmn"
pytestmark = [pytest.mark.machine, pytest.mark.xdist_group(TOOL)]


def test_engine(tool):
    assert tool.text("info", "--format", "{{.Store.GraphDriverName}}") == "overlay\n"


def test_names(tool, small):
    """Podman shows names without a registry as those of localhost, and takes both."""
    assert "localhost/" + small in tool.text("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert tool.text("run", "--rm", "localhost/" + small, "echo", "runs") == "runs\n"

"""vdkr: the real Docker in machines, called as a user calls it.

`pytest tests/test_vdkr.py --vdkr-dir DIR` tests what is installed in DIR. Without it, what cargo has built.
"""

import pytest

from harness.engine_suite import *  # noqa: F401,F403  (the tests of both tools)

TOOL = "vdkr"
pytestmark = [pytest.mark.machine, pytest.mark.xdist_group(TOOL)]


def test_engine(tool):
    assert tool.text("info", "--format", "{{.Driver}} {{.Architecture}}") == "overlay2 %s\n" % tool.arch

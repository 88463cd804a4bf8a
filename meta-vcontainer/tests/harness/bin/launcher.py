"""Where BitBake is: beside this directory, in `lib`, with the stand-ins for what its package on PyPI lacks."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "lib"), os.path.join(ROOT, "stubs")]

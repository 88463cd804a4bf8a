# Tests compile nothing.

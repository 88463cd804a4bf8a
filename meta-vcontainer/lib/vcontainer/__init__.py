"""What the classes of this layer have in common: words for the tool `vcontainer`, and what they are made from.

`entries`, `layers` and `config` know the grammars of variables and nothing of BitBake, nor does `archive`, which is what `fetcher` keeps in DL_DIR,
nor `times`. `packages` is the only module that touches oe-core's package managers. `tool` is the only one that writes command
lines of the tool. `image`, `bundle` and `multiarch` put them together;
`check` tells of what none of them reads.
"""

# BitBake loads these with the package and follows the functions that classes call, for signatures.
BBIMPORTS = ["entries", "layers", "config", "multiconfig", "packages", "times", "tool", "archive", "fetcher", "image", "bundle", "check", "multiarch"]

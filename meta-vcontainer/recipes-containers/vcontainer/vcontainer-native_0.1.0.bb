require vcontainer-tool.inc

# A program that is there already, in place of one that is compiled.
VCONTAINER_PREBUILT ?= ""

require ${@'vcontainer-prebuilt.inc' if d.getVar('VCONTAINER_PREBUILT') else 'vcontainer-cargo.inc'}

inherit_defer native

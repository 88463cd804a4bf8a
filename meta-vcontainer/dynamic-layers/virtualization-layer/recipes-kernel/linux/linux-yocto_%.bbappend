# In the multiconfigs of guests, what these need of the kernel: the fragments that `vcontainer guest pack` checks, too.
FILESEXTRAPATHS:prepend:vruntime := "${@os.path.dirname(d.getVar('VCONTAINER_LAYERDIR'))}/guest:"
SRC_URI:append:vruntime = " ${@'file://kernel.cfg file://kernel-${TARGET_ARCH}.cfg' if d.getVar('VCONTAINER_GUEST_FROM') == 'packages' else ''}"

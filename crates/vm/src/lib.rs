//! QEMU machines of the target architecture that boot once and are resumed from then on.

//! What is asked of the kernel when it shakes hands.

use fuser::{InitFlags, KernelConfig};

/// Requests of its read-ahead that the kernel may send ahead of answers. Each reader has one that it waits for, and what is
/// beyond this number waits in the kernel, where no deadline of ours ends it: more than there will be readers.
const MAX_BACKGROUND: u16 = 1024;
/// From so many on the kernel leaves out what nobody waits for yet.
const CONGESTION_THRESHOLD: u16 = 48;

/// Asks for what makes the mount fast. Each only makes things faster: an old kernel goes without.
pub(super) fn ask(config: &mut KernelConfig) {
    for wanted in [
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_READDIRPLUS_AUTO,
    ] {
        let _ = config.add_capabilities(wanted);
    }
    let _ = config.set_max_background(MAX_BACKGROUND);
    let _ = config.set_congestion_threshold(CONGESTION_THRESHOLD);
}

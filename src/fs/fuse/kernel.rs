//! What is asked of the kernel when it shakes hands, and what it is told without asking.

use crate::fs::recall::Kernel;
use fuser::{INodeNo, InitFlags, KernelConfig, Notifier};
use std::ffi::OsStr;
use std::io;

/// Stands for attributes alone: pages of an archived segment are right for ever, and others are not kept.
const NO_PAGES: i64 = -1;

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

/// The way to the kernel. It holds the device: whoever has it when the session ends must drop it.
pub(super) struct ToKernel(pub(super) Notifier);

impl Kernel for ToKernel {
    fn forget_name(&self, parent: u64, name: &str) -> io::Result<()> {
        self.0.inval_entry(INodeNo(parent), OsStr::new(name))
    }

    fn forget_attributes(&self, ino: u64) -> io::Result<()> {
        self.0.inval_inode(INodeNo(ino), NO_PAGES, 0)
    }
}

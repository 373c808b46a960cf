//! The priority of threads whose work nobody waits for.

use rustix::process::setpriority_process;

/// How far behind others, as `nice` counts (setpriority(2)): with a ninth of their share where there is not enough for all.
pub(crate) const NICE: i32 = 10;

/// From now on this thread lets others go first.
pub(crate) fn let_others_go_first() {
    // Of Linux, 0 is the calling thread alone. If it is refused, the work is done all the same.
    let _ = setpriority_process(None, NICE);
}

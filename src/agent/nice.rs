//! The process takes processor and disk after everybody else. Called before any thread begins: threads inherit both.

/// `IOPRIO_WHO_PROCESS` of ioprio_set(2).
const WHO_PROCESS: libc::c_int = 1;
/// `IOPRIO_CLASS_IDLE` and `IOPRIO_CLASS_BE` with the lowest of its eight levels, shifted by `IOPRIO_CLASS_SHIFT`.
const CLASS_IDLE: libc::c_int = 3 << 13;
const CLASS_BEST_EFFORT_LOWEST: libc::c_int = (2 << 13) | 7;

/// Lowers the priority to `nice` (0 to 19) and of disk accesses to the lowest best-effort level, or to idle. What is not
/// allowed is logged: an archiver that is not nice is better than none.
pub fn apply(nice: i32, io_idle: bool) {
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::warn!(%error, nice, "the niceness could not be set");
    }
    let class = match io_idle {
        true => CLASS_IDLE,
        false => CLASS_BEST_EFFORT_LOWEST,
    };
    if let Err(error) = set_io_priority(class) {
        tracing::warn!(%error, "the priority of disk accesses could not be set");
    }
}

#[expect(
    unsafe_code,
    reason = "ioprio_set(2) has no wrapper in libc or rustix; it takes three integers and no memory"
)]
fn set_io_priority(class: libc::c_int) -> std::io::Result<()> {
    // SAFETY: the arguments are integers; the call changes nothing but the scheduling of this thread.
    let done = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class) };
    match done {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

//! Lower CPU priority for threads that do slow work.

/// Niceness of threads for slow work. 19 would starve them on a busy machine.
const NICENESS: i32 = 10;

/// Lowers the priority of the calling thread.
pub fn lower() {
    // On Linux this sets the niceness of the calling thread only. Without the right to set it, the
    // thread works at normal priority.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "cannot lower the priority of a thread for slow work");
    }
}

//! Priority of threads that do slow work.

/// How much more others matter than slow work (19 would starve it on a busy
/// machine).
const NICENESS: i32 = 10;

/// Has the calling thread yield to all that is fast.
pub fn lower() {
    // On Linux this sets the calling thread's niceness alone. Not being allowed
    // to is no reason not to work.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "cannot lower the priority of a thread for slow work");
    }
}

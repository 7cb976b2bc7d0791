//! Processes that the bench starts: they end with it, and it survives to clean up after them.

use std::io::{self, Read};
use std::process::{self, Command, ExitStatus};
use std::thread;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// In a child whose standard input is a pipe from its parent: ends this process when the pipe ends,
/// which it does when the parent is gone, whatever ended it.
pub(crate) fn exit_with_parent() {
    let watch = || {
        let mut ignored = [0; 64];
        // Anything but the end of the pipe is of no interest.
        while matches!(io::stdin().read(&mut ignored), Ok(1..)) {}
        process::exit(1);
    };
    if let Err(error) = thread::Builder::new()
        .name("parent-watch".to_owned())
        .spawn(watch)
    {
        tracing::warn!(%error, "this process will not notice the end of its parent");
    }
}

/// Starts `command` and waits for its end, meanwhile not dying of an interrupt or a request to end.
///
/// An interrupt from the keyboard goes to the child as well, which ends by it; a request to end goes
/// to this process alone and makes it end the child.
pub(crate) fn wait_through_interrupts(mut command: Command) -> io::Result<ExitStatus> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupts, mut ends) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    let mut child = command.spawn()?;
    // The pipe stays open until the child has ended: its end is what would make the child end.
    let mut pipe = child.stdin.take();
    let id = child.id();
    let (tell, mut ended) = oneshot::channel();
    let waiter = thread::Builder::new()
        .name("child-wait".to_owned())
        .spawn(move || {
            // Nobody listens any more only when this process is being torn down.
            let _ = tell.send(child.wait());
        })?;
    let status = runtime.block_on(async {
        loop {
            tokio::select! {
                status = &mut ended => break status,
                _ = interrupts.recv() => tracing::debug!(id, "interrupted; waiting for the child"),
                _ = ends.recv() => pipe = None,
            }
        }
    });
    drop(pipe);
    let _ = waiter.join();
    status.unwrap_or_else(|_| Err(io::Error::other("the wait for the child was lost")))
}

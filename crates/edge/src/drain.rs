//! Telling every lane to stop: no new connections, requests in flight finish, then nothing.

use tokio::sync::watch;

/// One lane's ear. Cheap to clone and to send to another thread.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<bool>);

/// Held by who stops the gate. Dropping it also starts the drain.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// A stopper and the ear that listens to it.
pub fn drain() -> (Stopper, Drain) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Drain(receiver))
}

impl Stopper {
    pub fn start(&self) {
        self.0.send_replace(true);
    }

    /// One more ear.
    pub fn ear(&self) -> Drain {
        Drain(self.0.subscribe())
    }

    /// Whether anybody listens.
    pub fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }
}

impl Drain {
    /// Ready once the drain has started. Cancel safe.
    pub async fn started(&mut self) {
        // An error means that the stopper is gone: nobody could stop us any more, so stop now.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    pub fn is_started(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

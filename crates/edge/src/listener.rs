//! One lane's listener: accepts, caps, drains.
//!
//! Every lane binds the same address (`SO_REUSEPORT`) and the kernel spreads connections among
//! them. A process out of file descriptors waits instead of spinning; a client network has only so
//! many connections; a drain lets requests in flight finish and then cuts what is left.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::body::Body;
use crate::client_addr::{Peer, TrustedProxies, limit_key};
use crate::config::Config;
use crate::connection::{self, Arrival, Conn};
use crate::drain::Drain;
use crate::framing::{Limits, Patience};
use crate::load::Load;
use crate::tls::ServerTls;
use portcullis_core::finding::Finding;

/// How long accepting rests after an error of the whole process (no descriptors, no memory).
const REST: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 1024;

/// A bound socket. Made anywhere, served on one lane.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
}

impl Listener {
    /// Binds `address`, together with the other lanes. Port 0 is chosen by the system: bind the
    /// other lanes to [`Self::local_addr`].
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Listener {
            socket: socket.into(),
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// `[listen]`, compiled for one lane. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Settings {
    pub limits: Limits,
    pub trusted_proxies: Arc<TrustedProxies>,
    pub tls: Option<Arc<ServerTls>>,
    pub(crate) patience: Patience,
    pub(crate) first_byte: Duration,
    pub(crate) tunnel_idle: Duration,
    pub(crate) max_streams: u32,
    max_connections: usize,
    max_connections_per_address: usize,
    drain: Duration,
    pub(crate) load: Arc<Load>,
}

impl Settings {
    /// Checks and compiles `config` for one of `lanes` lanes; reads certificate and key.
    pub fn compile(config: &Config, lanes: usize) -> Result<Settings, Vec<Finding>> {
        let mut found = config.findings();
        let tls = match config.tls.as_ref().map(ServerTls::load).transpose() {
            Ok(tls) => tls.map(Arc::new),
            Err(more) => {
                found.extend(more);
                None
            }
        };
        if !found.is_empty() {
            return Err(found);
        }
        Ok(Settings {
            limits: Limits {
                head: config.max_head.as_usize(),
                headers: config.max_headers,
                uri: config.max_uri.as_usize(),
            },
            trusted_proxies: Arc::new(TrustedProxies::new(config.trusted_proxies.clone())),
            tls,
            patience: Patience {
                head: config.head_timeout.as_duration(),
                idle: config.idle_timeout.as_duration(),
                body_idle: config.body_idle_timeout.as_duration(),
                body_min_rate: config.body_min_rate.as_u64(),
                write: config.write_timeout.as_duration(),
            },
            first_byte: config.first_byte_timeout.as_duration(),
            tunnel_idle: config.tunnel_idle_timeout.as_duration(),
            max_streams: config.max_streams,
            max_connections: config.max_connections.div_ceil(lanes.max(1)),
            max_connections_per_address: config.max_connections_per_address,
            drain: config.drain_timeout.as_duration(),
            load: Arc::new(Load::new(config.max_in_flight)),
        })
    }

    /// The same without TLS, for the plaintext listener that redirects.
    #[must_use]
    pub fn without_tls(&self) -> Settings {
        Settings {
            tls: None,
            ..self.clone()
        }
    }
}

/// The connections of one listener.
#[derive(Default)]
struct Open {
    next: Cell<u64>,
    connections: RefCell<HashMap<u64, Rc<Conn>>>,
    by_network: RefCell<HashMap<[u8; 16], usize>>,
    one_left: Notify,
}

/// A place among them; given back when dropped.
struct Seat {
    open: Rc<Open>,
    number: u64,
    network: Option<[u8; 16]>,
}

impl Open {
    fn seat(self: &Rc<Self>, conn: &Rc<Conn>) -> Option<Seat> {
        let settings = &conn.settings;
        let address = conn.peer.addr.ip();
        let mut connections = self.connections.borrow_mut();
        if connections.len() >= settings.max_connections {
            return None;
        }
        let network = (!settings.trusted_proxies.trusts(address)).then(|| limit_key(address));
        if let Some(network) = network {
            let mut by_network = self.by_network.borrow_mut();
            let count = by_network.entry(network).or_default();
            if *count >= settings.max_connections_per_address {
                return None;
            }
            *count = count.saturating_add(1);
        }
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        connections.insert(number, Rc::clone(conn));
        Some(Seat {
            open: Rc::clone(self),
            number,
            network,
        })
    }

    fn all(&self) -> Vec<Rc<Conn>> {
        self.connections.borrow().values().cloned().collect()
    }

    async fn empty(&self) {
        while !self.connections.borrow().is_empty() {
            self.one_left.notified().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.connections.borrow_mut().remove(&self.number);
        if let Some(network) = self.network {
            let mut by_network = self.open.by_network.borrow_mut();
            if let Some(count) = by_network.get_mut(&network) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    by_network.remove(&network);
                }
            }
        }
        self.open.one_left.notify_one();
    }
}

/// Serves `listener` on this lane until `drain` starts and every connection has ended.
///
/// Must run on a [`crate::lane_runtime`] (or another place where `spawn_local` works). Connections that
/// have not ended when the drain's limit is over are cut.
pub async fn serve<H>(
    listener: Listener,
    settings: Rc<Settings>,
    mut drain: Drain,
    handler: Rc<H>,
) -> io::Result<()>
where
    H: AsyncFn(Arrival) -> Response<Body> + 'static,
{
    let socket = TcpListener::from_std(listener.socket)?;
    let open = Rc::new(Open::default());
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.started() => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((tcp, address)) => welcome(tcp, address, &open, &settings, &handler),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(REST).await;
            }
        }
    }
    drop(socket);
    for conn in open.all() {
        conn.finish_soon();
    }
    if tokio::time::timeout(settings.drain, open.empty())
        .await
        .is_err()
    {
        for conn in open.all() {
            conn.stop_now();
        }
        open.empty().await;
    }
    Ok(())
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn welcome<H>(
    tcp: TcpStream,
    address: SocketAddr,
    open: &Rc<Open>,
    settings: &Rc<Settings>,
    handler: &Rc<H>,
) where
    H: AsyncFn(Arrival) -> Response<Body> + 'static,
{
    // An error means that the client has left already.
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let peer = Peer::new(address, settings.tls.is_some());
    let conn = Rc::new(Conn::new(peer, Rc::clone(settings)));
    let Some(seat) = open.seat(&conn) else {
        tracing::debug!(client.address = %peer.addr.ip(), "too many connections");
        return;
    };
    let handler = Rc::clone(handler);
    tokio::task::spawn_local(async move {
        connection::run(conn, tcp, handler).await;
        drop(seat);
    });
}

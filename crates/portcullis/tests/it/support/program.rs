//! Another program on loopback, for the length of a test: a proxy, a product.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

/// A server that was started. Ends with the test.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts what `make` makes for a free address and waits until it accepts. These programs cannot
    /// listen on port 0 and say which they got, so somebody else may take the port: then another one.
    pub(crate) async fn start(make: impl Fn(SocketAddr) -> Command) -> Program {
        let mut output = String::new();
        for _ in 0..5 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            let log = tempfile::NamedTempFile::new().unwrap();
            let stream = || Stdio::from(log.reopen().unwrap());
            let child = make(address)
                .stdin(Stdio::null())
                .stdout(stream())
                .stderr(stream())
                .spawn()
                .expect("the program starts");
            let mut program = Program { child, address };
            if program.accepts().await {
                return program;
            }
            output = std::fs::read_to_string(log.path()).unwrap_or_default();
        }
        panic!("the program does not listen:\n{output}");
    }

    /// The same at one address, and no other.
    pub(crate) async fn start_at(
        address: SocketAddr,
        make: impl Fn(SocketAddr) -> Command,
    ) -> Program {
        let child = make(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut program = Program { child, address };
        assert!(program.accepts().await, "the program does not listen");
        program
    }

    /// Whether it accepts before it ends; asks for twenty seconds.
    async fn accepts(&mut self) -> bool {
        for _ in 0..2000 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(self.address).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A stand-in for clamd, for the demo alone: it speaks its `INSTREAM` and finds one thing, the test file that
//! every scanner finds (EICAR). It protects nobody.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

const LONGEST: usize = 32 * 1024 * 1024;
/// In two parts, so that no scanner finds it in this program.
const MARK: [&[u8]; 2] = [b"EICAR-STANDARD-", b"ANTIVIRUS-TEST-FILE!"];

/// Starts it, and says where it listens.
pub(super) async fn start() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut command = Vec::new();
    stream.read_until(0, &mut command).await?;
    let answer: &[u8] = match command.as_slice() {
        b"zVERSION\0" => b"ClamAV 0.0.0 (stand-in of the demo)\0",
        b"zINSTREAM\0" if is_found(&mut stream).await? => b"stream: Eicar-Test-Signature FOUND\0",
        b"zINSTREAM\0" => b"stream: OK\0",
        _ => b"UNKNOWN COMMAND\0",
    };
    stream.write_all(answer).await?;
    stream.shutdown().await
}

async fn is_found(stream: &mut BufReader<TcpStream>) -> std::io::Result<bool> {
    let mut content = Vec::new();
    loop {
        let length = stream.read_u32().await? as usize;
        if length == 0 {
            let mark = MARK.concat();
            return Ok(content.windows(mark.len()).any(|part| part == mark));
        }
        if content.len().saturating_add(length) > LONGEST {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let at = content.len();
        content.resize(at.saturating_add(length), 0);
        let room = content.get_mut(at..).unwrap_or_default();
        stream.read_exact(room).await?;
    }
}

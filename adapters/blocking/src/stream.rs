//! Bytes in and out of a connection, in slices: no call here waits longer than [`SLICE`].
//!
//! Responsible for plain TCP, TLS over it, and TLS through a proxy's tunnel. Must not know limits
//! or HTTP.
//!
//! [`SLICE`]: crate::dial::SLICE

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use ureq::unversioned::transport::{NextTimeout, TransportAdapter};

/// A connection.
pub(crate) enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<ClientConnection>, Under),
}

/// What TLS runs over.
pub(crate) enum Under {
    /// TCP.
    Direct(TcpStream),
    /// A tunnel through a proxy. Its own connection keeps the limits and looks at the stop flag.
    Tunnel(Box<TransportAdapter>),
}

impl Stream {
    /// A TLS session that is yet to shake hands.
    pub(crate) fn tls(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        under: Under,
    ) -> Result<Self, rustls::Error> {
        let connection = ClientConnection::new(config, name)?;
        Ok(Self::Tls(Box::new(connection), under))
    }

    /// Tells a tunnel the limits of what follows.
    pub(crate) fn set_timeout(&mut self, timeout: NextTimeout) {
        if let Self::Tls(_, Under::Tunnel(adapter)) = self {
            adapter.set_timeout(timeout);
        }
    }

    /// One step of the handshake. `false` when there is nothing left to do.
    pub(crate) fn shake_hands(&mut self) -> io::Result<bool> {
        let Self::Tls(connection, under) = self else {
            return Ok(false);
        };
        if connection.wants_write() {
            nonzero(connection.write_tls(under)?)?;
            return Ok(true);
        }
        if !connection.is_handshaking() {
            return Ok(false);
        }
        if connection.read_tls(under)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = connection.process_new_packets() {
            // The alert that says why; if it does not get through, the peer sees the close.
            drop(connection.write_tls(under));
            return Err(invalid(error));
        }
        Ok(true)
    }

    /// Reads what is there, or waits a slice (`WouldBlock`). 0 is the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(connection, under) => {
                match connection.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                }
                // 0 is noticed by the reader, which knows whether the peer said goodbye.
                connection.read_tls(under)?;
                connection.process_new_packets().map_err(invalid)?;
                // What came may be session tickets instead of data, without end: the caller has to
                // check its deadline now and then.
                connection.reader().read(buffer)
            }
        }
    }

    /// Takes some of `data`, or waits a slice (`WouldBlock`). May take nothing and still have got
    /// on with what it took before: see [`is_pending`](Self::is_pending).
    pub(crate) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let (connection, under) = match self {
            Self::Plain(stream) => return nonzero(stream.write(data)?),
            Self::Tls(connection, under) => (connection, under),
        };
        let taken = if connection.wants_write() {
            0
        } else {
            connection.writer().write(data)?
        };
        match connection.write_tls(under) {
            Ok(written) => nonzero(written).map(|_| taken),
            // Taken is taken, even though nothing of it is out yet.
            Err(error) if taken > 0 && is_wait(&error) => Ok(taken),
            Err(error) => Err(error),
        }
    }

    /// Whether bytes that were taken are still to be written.
    pub(crate) fn is_pending(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(connection, _) => connection.wants_write(),
        }
    }

    /// Whether the peer has begun its final answer, or ended the exchange. Does not wait.
    pub(crate) fn has_answer(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                let mut begin = [0; INTERIM];
                let read = at_once(stream, |stream| stream.peek(&mut begin));
                read.map_or_else(
                    |error| !is_wait(&error),
                    |read| read == 0 || is_final(&begin[..read]),
                )
            }
            Self::Tls(connection, Under::Direct(stream)) => {
                listen(connection, stream) || connection.reader().fill_buf().is_ok_and(is_final)
            }
            Self::Tls(_, Under::Tunnel(_)) => false,
        }
    }

    /// Whether the connection can serve another request.
    pub(crate) fn is_open(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                let read = at_once(stream, |stream| stream.peek(&mut [0]));
                read.is_err_and(|error| is_wait(&error))
            }
            Self::Tls(connection, Under::Direct(stream)) => {
                let spoke = |connection: &mut ClientConnection| {
                    connection
                        .reader()
                        .fill_buf()
                        .is_ok_and(|begin| !begin.is_empty())
                };
                !listen(connection, stream) && !spoke(connection)
            }
            Self::Tls(_, Under::Tunnel(adapter)) => adapter.get_mut().is_open(),
        }
    }

    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(..))
    }
}

/// Whether it is only that nothing happened within a slice, or a signal came.
pub(crate) fn is_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// As many bytes as tell an interim response (100 to 199) from a final one.
const INTERIM: usize = "HTTP/1.1 1".len();

fn is_final(begin: &[u8]) -> bool {
    let Some(begin) = begin.get(..INTERIM) else {
        return false;
    };
    !(begin.starts_with(b"HTTP/1.") && begin.ends_with(b" 1"))
}

/// Takes in what is there, session tickets and key updates among it. Whether that was the end.
fn listen(connection: &mut ClientConnection, stream: &mut TcpStream) -> bool {
    let read = at_once(stream, |stream| connection.read_tls(stream));
    match (connection.process_new_packets(), read) {
        (Ok(state), _) if state.peer_has_closed() => true,
        (Ok(_), Ok(read)) => read == 0,
        (Ok(_), Err(error)) => !is_wait(&error),
        (Err(_), _) => true,
    }
}

fn at_once<T>(
    stream: &mut TcpStream,
    read: impl FnOnce(&mut TcpStream) -> io::Result<T>,
) -> io::Result<T> {
    stream.set_nonblocking(true)?;
    let result = read(stream);
    stream.set_nonblocking(false)?;
    result
}

fn nonzero(written: usize) -> io::Result<usize> {
    if written == 0 {
        Err(io::ErrorKind::WriteZero.into())
    } else {
        Ok(written)
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Read for Under {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Direct(stream) => stream.read(buffer),
            Self::Tunnel(adapter) => adapter.read(buffer),
        }
    }
}

impl Write for Under {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(stream) => stream.write(data),
            Self::Tunnel(adapter) => adapter.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_tls() { "Tls" } else { "Plain" })
    }
}

impl fmt::Debug for Under {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Under")
    }
}

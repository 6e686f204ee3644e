//! One connection, request after request.
//!
//! Responsible for: the order of reading, asking and writing.
//! Must not know: HTTP syntax (see `read` and `write`).

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::Shared;
use super::delivery::Delivery;
use super::read::{Body, Connection, Framing, Head};
use super::write::{After, write};

const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Serves requests until either side closes. Errors end the connection and are ignored.
pub(super) fn serve(shared: &Shared, stream: Arc<TcpStream>) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection::new(stream);
    loop {
        let head = match connection.head() {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData && connection.release().is_ok() {
                    let _ = (&*connection.stream).write_all(BAD_REQUEST);
                }
                return;
            }
        };
        if !matches!(exchange(shared, &mut connection, head), Ok(After::GoOn)) {
            return;
        }
    }
}

fn exchange(shared: &Shared, connection: &mut Connection, head: Head) -> io::Result<After> {
    let Head {
        mut request,
        framing,
        expects_continue,
        last,
    } = head;
    let nth = shared.requests.fetch_add(1, Ordering::SeqCst);
    let head_only = request.method == Method::HEAD;
    // A client that was not invited sends no body: there is no telling what comes next.
    let farewell = |mut delivery: Delivery| {
        if expects_continue {
            delivery.answer = delivery.answer.header("connection", "close");
        }
        delivery
    };
    let send = |connection: &mut Connection, delivery: &Delivery| {
        let after = write(connection, delivery, head_only, &shared.stop)?;
        Ok::<_, io::Error>(if last { After::Close } else { after })
    };
    // What remains to be done when an answer went out before the body came in.
    let unread = |connection: &mut Connection, after: After| {
        if after == After::Close || expects_continue {
            return Ok(After::Close);
        }
        Ok(if connection.discard(framing)? {
            After::GoOn
        } else {
            After::Close
        })
    };

    if let Some(delivery) = shared.interceptor.before(&request, nth) {
        if let Some(most) = delivery.refuse_to_read_after {
            invite(connection, expects_continue)?;
            let (Body::Whole(body) | Body::Cut(body)) = connection.body(framing, Some(most))?;
            request.body = Bytes::from(body);
            let now = shared.now();
            shared.model().cut(&request, now);
            stand_still(shared, connection);
            return Ok(After::Close);
        }
        let now = shared.now();
        shared
            .model()
            .note(&request, Some(delivery.answer.status), now);
        let after = send(connection, &farewell(delivery))?;
        return unread(connection, after);
    }
    if shared.interceptor.early(&request, nth) {
        let now = shared.now();
        let refusal = shared.model().refusal(&request, now);
        if let Some(answer) = refusal {
            let delivery = shared.interceptor.deliver(&request, nth, answer);
            let after = send(connection, &farewell(delivery))?;
            return unread(connection, after);
        }
    }

    if framing != Framing::Length(0) {
        invite(connection, expects_continue)?;
        match connection.body(framing, None)? {
            Body::Whole(body) => request.body = Bytes::from(body),
            Body::Cut(body) => {
                request.body = Bytes::from(body);
                let now = shared.now();
                shared.model().cut(&request, now);
                return Ok(After::Close);
            }
        }
    }
    let now = shared.now();
    let answer = shared.model().answer(&request, now);
    let delivery = shared.interceptor.deliver(&request, nth, answer);
    send(connection, &delivery)
}

fn invite(connection: &Connection, expected: bool) -> io::Result<()> {
    if expected {
        (&*connection.stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    Ok(())
}

/// Neither reads nor writes. A client that closes orderly is not noticed, since its farewell waits
/// behind the bytes that are not read; one that resets is.
fn stand_still(shared: &Shared, connection: &Connection) {
    while shared.stop.sleep(Duration::from_millis(20)) {
        if !matches!(connection.stream.take_error(), Ok(None)) {
            return;
        }
    }
}

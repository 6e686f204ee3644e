//! Answers to the connection.
//!
//! Responsible for: heads and bodies, and every fault a [`Delivery`] can order.
//! Must not know: requests, beyond their method.

use core::time::Duration;
use std::io::{self, Write as _};
use std::net::Shutdown;

use http::StatusCode;
use http::header::CONTENT_LENGTH;

use super::Stop;
use super::delivery::Delivery;
use super::read::Connection;

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    GoOn,
    Close,
}

/// How often a throttled body moves.
const TICK: Duration = Duration::from_millis(20);
const TICKS_PER_SECOND: u64 = 50;
/// Small bodies go out with their head, large ones in pieces.
const PIECE: usize = 64 * 1024;

pub(super) fn write(
    connection: &mut Connection,
    delivery: &Delivery,
    head_only: bool,
    stop: &Stop,
) -> io::Result<After> {
    if delivery.delay.is_some_and(|delay| !stop.sleep(delay)) || delivery.reset_before_head {
        return Ok(After::Close);
    }
    // From here on a close has to be an orderly one.
    connection.release()?;
    if let Some(raw) = &delivery.raw {
        (&*connection.stream).write_all(raw)?;
        return end(connection);
    }
    let mut head = head(delivery);
    let body = if head_only {
        &[][..]
    } else {
        &delivery.answer.body[..]
    };
    if delivery.endless && !head_only {
        (&*connection.stream).write_all(&head)?;
        return endless(connection, delivery, body, stop);
    }
    let limit = [delivery.cut_body_after, delivery.stall_after]
        .into_iter()
        .flatten()
        .min();
    let length = limit.map_or(body.len(), |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX).min(body.len())
    });
    let part = &body[..length];
    if part.len() <= PIECE && delivery.throttle.is_none() {
        head.extend_from_slice(part);
        (&*connection.stream).write_all(&head)?;
    } else {
        (&*connection.stream).write_all(&head)?;
        pieces(connection, delivery.throttle, part, stop)?;
    }
    if delivery
        .stall_after
        .is_some_and(|after| Some(after) == limit)
        && !head_only
    {
        connection.hold();
        return Ok(After::Close);
    }
    if delivery.cut_body_after.is_some() && !head_only {
        return end(connection);
    }
    let announced = delivery.answer.field(http::header::CONNECTION);
    let closing = announced.is_some_and(|value| value.eq_ignore_ascii_case("close"));
    if delivery.close_after || closing {
        Ok(After::Close)
    } else {
        Ok(After::GoOn)
    }
}

fn head(delivery: &Delivery) -> Vec<u8> {
    let answer = &delivery.answer;
    let reason = answer.status.canonical_reason().unwrap_or("");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", answer.status.as_str()).into_bytes();
    for (name, value) in &answer.headers {
        if name == CONTENT_LENGTH && (delivery.endless || delivery.lie_content_length.is_some()) {
            continue;
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    let bodiless = answer.status == StatusCode::NO_CONTENT
        || answer.status == StatusCode::NOT_MODIFIED
        || answer.status.is_informational();
    let length = match delivery.lie_content_length {
        _ if delivery.endless => None,
        Some(lie) => Some(lie),
        // An answer that did not come from the model may lack it.
        None if !bodiless && !answer.headers.contains_key(CONTENT_LENGTH) => {
            Some(answer.body.len() as u64)
        }
        None => None,
    };
    match length {
        Some(length) => {
            head.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
        None if delivery.endless => head.extend_from_slice(b"connection: close\r\n"),
        None => {}
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn pieces(
    connection: &Connection,
    throttle: Option<u64>,
    body: &[u8],
    stop: &Stop,
) -> io::Result<()> {
    let piece = throttle.map_or(PIECE as u64, |rate| (rate / TICKS_PER_SECOND).max(1));
    let tick = match throttle {
        // Less than a byte per tick.
        Some(rate) if rate < TICKS_PER_SECOND => Duration::from_secs(1) / rate.max(1) as u32,
        _ => TICK,
    };
    for part in body.chunks(usize::try_from(piece).unwrap_or(usize::MAX)) {
        (&*connection.stream).write_all(part)?;
        if throttle.is_some() && !stop.sleep(tick) {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(())
}

fn endless(
    connection: &Connection,
    delivery: &Delivery,
    body: &[u8],
    stop: &Stop,
) -> io::Result<After> {
    let zeros = [0; 4096];
    let body = if body.is_empty() { &zeros[..] } else { body };
    while !stop.is_set() {
        pieces(connection, delivery.throttle, body, stop)?;
    }
    Ok(After::Close)
}

/// Ends the stream so that what was written arrives.
fn end(connection: &Connection) -> io::Result<After> {
    connection.stream.shutdown(Shutdown::Write)?;
    Ok(After::Close)
}

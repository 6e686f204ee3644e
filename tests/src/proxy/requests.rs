//! Cuts at places of a request.
//!
//! Responsible for finding the place in what a client sends. Must not know sockets.

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// After this many bytes of the request's body.
    Body(u64),
    /// After the request's last byte, so that its answer is lost.
    Sent,
    /// After the answer.
    Answered,
}

/// A cut that is to come.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// The method of the request. Of PUTs only those count that bring nothing.
    pub method: &'static str,
    /// How many more of them come before it.
    pub before: usize,
    pub place: Place,
}

impl Cut {
    /// Whether this is the request; counts those before it.
    fn is_in(&mut self, method: &str, len: u64) -> bool {
        if method != self.method || (method == "PUT" && len > 0) {
            return false;
        }
        let is_next = self.before == 0;
        self.before = self.before.saturating_sub(1);
        is_next
    }
}

/// What comes of some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Nothing,
    /// The connection is cut after this many of them.
    Cut(usize),
    /// It is cut after the next answer.
    CutAnswered,
}

/// The requests on one connection, each with `Content-Length` or without a body.
#[derive(Debug, Default)]
pub(super) struct Requests {
    head: Vec<u8>,
    /// Of the body, if the head is through.
    sent: u64,
    left: Option<u64>,
    place: Option<Place>,
}

impl Requests {
    /// Follows the next bytes up to a cut.
    pub(super) fn follow(&mut self, bytes: &[u8], cut: &mut Option<Cut>) -> Found {
        let mut at = 0;
        let mut found = Found::Nothing;
        while at < bytes.len() {
            at += match self.left {
                Some(left) => self.follow_body(left, &bytes[at..]),
                None => self.follow_head(&bytes[at..], cut),
            };
            let is_through = self.left == Some(0);
            match self.place {
                Some(Place::Body(place)) if self.left.is_some() && self.sent == place => {
                    return Found::Cut(at);
                }
                Some(Place::Sent) if is_through => return Found::Cut(at),
                Some(Place::Answered) if is_through => {
                    self.place = None;
                    found = Found::CutAnswered;
                }
                _ => {}
            }
            if is_through {
                *self = Self::default();
            }
        }
        found
    }

    fn follow_body(&mut self, left: u64, bytes: &[u8]) -> usize {
        let mut take = left.min(bytes.len() as u64);
        if let Some(Place::Body(place)) = self.place {
            take = take.min(place - self.sent);
        }
        self.sent += take;
        self.left = Some(left - take);
        take as usize
    }

    fn follow_head(&mut self, bytes: &[u8], cut: &mut Option<Cut>) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            self.head.push(*byte);
            if self.head.ends_with(b"\r\n\r\n") {
                self.begin_body(cut);
                return at + 1;
            }
        }
        bytes.len()
    }

    fn begin_body(&mut self, cut: &mut Option<Cut>) {
        let head = String::from_utf8_lossy(&self.head).to_ascii_lowercase();
        let field = |line: &str| line.strip_prefix("content-length:")?.trim().parse().ok();
        let len: u64 = head.lines().find_map(field).unwrap_or(0);
        let method = head.split(' ').next().unwrap_or_default();
        let method = method.to_ascii_uppercase();
        (self.sent, self.left) = (0, Some(len));
        if let Some(it) = cut.take_if(|it| it.is_in(&method, len)) {
            self.place = Some(it.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cut, Found, Place, Requests};

    const TEXT: &[u8] = b"PUT /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd\
        PATCH /b HTTP/1.1\r\ncontent-length: 5\r\n\r\nefghi\
        PUT /c HTTP/1.1\r\nContent-Length: 0\r\n\r\n";

    /// Whatever the pieces are, the text before the cut is the same.
    fn before(method: &'static str, place: Place, piece: usize) -> (String, Found) {
        let mut cut = Some(Cut {
            method,
            before: 0,
            place,
        });
        let (mut requests, mut passed) = (Requests::default(), Vec::new());
        for bytes in TEXT.chunks(piece) {
            match requests.follow(bytes, &mut cut) {
                Found::Nothing => passed.extend_from_slice(bytes),
                Found::Cut(at) => {
                    passed.extend_from_slice(&bytes[..at]);
                    return (String::from_utf8(passed).unwrap(), Found::Cut(at));
                }
                Found::CutAnswered => {
                    passed.extend_from_slice(bytes);
                    return (String::from_utf8(passed).unwrap(), Found::CutAnswered);
                }
            }
        }
        (String::from_utf8(passed).unwrap(), Found::Nothing)
    }

    #[test]
    fn places() {
        for piece in [1, 3, 7, 1000] {
            for (method, place, end) in [
                ("PATCH", Place::Body(0), "5\r\n\r\n"),
                ("PATCH", Place::Body(2), "ef"),
                ("PATCH", Place::Body(5), "efghi"),
                ("PATCH", Place::Sent, "efghi"),
                ("PUT", Place::Sent, "0\r\n\r\n"),
            ] {
                let (passed, found) = before(method, place, piece);
                assert!(passed.ends_with(end), "{method} {place:?}: {passed}");
                assert!(matches!(found, Found::Cut(_)), "{method} {place:?}");
            }
            let (_, found) = before("PATCH", Place::Answered, piece);
            assert_eq!(found, Found::CutAnswered);
            assert_eq!(before("POST", Place::Sent, piece).1, Found::Nothing);
        }
    }
}

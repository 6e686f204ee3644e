//! Heads of answers with more fields than ureq takes.
//!
//! ureq refuses an answer with more than 128 fields, and has no setting for it. Proxies and content
//! networks send more. Responsible for leaving fields out that nothing reads, before ureq sees them;
//! the bytes of a head stay limited by ureq. Must not know connections.

use windlass_core::header::is_read;
use windlass_core::http::{HeaderName, header};

/// The most fields that ureq takes.
const MOST: usize = 128;

/// The most bytes of a head that ureq takes.
const LIMIT: usize = 64 * 1024;

/// What HTTP itself needs of a head.
const HTTP: [HeaderName; 2] = [header::CONNECTION, header::TRANSFER_ENCODING];

/// The bytes of one connection on their way to ureq.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// What comes next is a head.
    expected: bool,
    /// The connection is a tunnel: what passes is no HTTP.
    tunnel: bool,
    /// What came and is not handed on yet.
    held: Vec<u8>,
    /// So much of it can be handed on.
    ready: usize,
    /// Where the last line of it begins, and how much of it was searched for its end.
    line: usize,
    searched: usize,
}

impl Heads {
    /// A request goes out.
    pub(crate) fn begin(&mut self, request: &[u8]) {
        self.tunnel |= request.starts_with(b"CONNECT ");
        self.expected = !self.tunnel;
    }

    /// Whether bytes that come may be handed on as they are.
    pub(crate) const fn is_idle(&self) -> bool {
        !self.expected && self.held.is_empty()
    }

    /// Takes bytes that came; none if it was the end.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.expected &= !bytes.is_empty();
    }

    /// Hands on what can be: nothing as long as a head is not complete.
    pub(crate) fn give(&mut self, room: &mut [u8]) -> usize {
        while self.expected && self.ready == 0 {
            let end = self.end_of_head();
            if end.unwrap_or(self.held.len()) > LIMIT {
                // ureq says what is wrong with it.
                self.expected = false;
                break;
            }
            let Some(end) = end else {
                return 0;
            };
            self.expected = is_interim(&self.held);
            let head = reduced(&self.held[..end]);
            self.ready = head.len();
            self.held.splice(..end, head);
            (self.line, self.searched) = (self.ready, self.ready);
        }
        if !self.expected {
            self.ready = self.held.len();
        }
        let given = self.ready.min(room.len());
        room[..given].copy_from_slice(&self.held[..given]);
        self.held.drain(..given);
        self.ready -= given;
        self.line = self.line.saturating_sub(given);
        self.searched = self.searched.saturating_sub(given);
        given
    }

    /// Where the empty line ends. Each byte is looked at once, however slowly a head comes.
    fn end_of_head(&mut self) -> Option<usize> {
        while let Some(at) = self.held[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let end = self.searched + at + 1;
            let line = &self.held[self.line..end];
            let is_empty = matches!(line, b"\r\n" | b"\n");
            (self.line, self.searched) = (end, end);
            if is_empty {
                return Some(end);
            }
        }
        self.searched = self.held.len();
        None
    }
}

/// Whether a final answer is still to come.
fn is_interim(head: &[u8]) -> bool {
    let status = head.split(|byte| *byte == b' ').nth(1);
    status.is_some_and(|status| status.starts_with(b"1") && status != b"101")
}

/// The head, without fields that nothing reads if there are too many.
fn reduced(head: &[u8]) -> Vec<u8> {
    let lines = || head.split_inclusive(|byte| *byte == b'\n');
    // The line of the status and the empty one are none.
    if lines().count() <= MOST + 2 {
        return head.to_vec();
    }
    let mut kept = true;
    let lines = lines().enumerate().filter(|(at, line)| {
        let is_continued = line.starts_with(b" ") || line.starts_with(b"\t");
        if *at > 0 && !is_continued {
            kept = is_needed(line);
        }
        kept
    });
    lines.flat_map(|(_, line)| line.iter().copied()).collect()
}

/// Whether a line is a field that is needed, or none at all.
fn is_needed(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return true;
    };
    HeaderName::from_bytes(&line[..colon])
        .map_or(true, |name| is_read(&name) || HTTP.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ureq gets of an answer that comes in pieces of this size, and in rooms of that size.
    fn passed(heads: &mut Heads, answer: &[u8], piece: usize, room: usize) -> String {
        let mut passed = Vec::new();
        let mut room = vec![0; room];
        let pieces = answer.chunks(piece).chain([&[][..]]);
        for piece in pieces {
            heads.take(piece);
            loop {
                let given = heads.give(&mut room);
                passed.extend_from_slice(&room[..given]);
                if given == 0 {
                    break;
                }
            }
        }
        assert!(heads.is_idle());
        String::from_utf8(passed).expect("text")
    }

    fn all_ways(answer: &str, expected: &str) {
        for piece in [1, 7, 1000, 1 << 20] {
            for room in [1, 64, 1 << 20] {
                let mut heads = Heads::default();
                heads.begin(b"GET / HTTP/1.1\r\n");
                let found = passed(&mut heads, answer.as_bytes(), piece, room);
                assert_eq!(found, expected, "{piece} {room}");
            }
        }
    }

    #[test]
    fn an_ordinary_answer_passes_as_it_is() {
        let answers = [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Field: a\r\n\r\nhello".to_owned(),
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nX: y\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\nX: y\n\nhello".to_owned(),
            "no HTTP at all".to_owned(),
            "HTTP/1.1 200 OK\r\nX: cut".to_owned(),
            format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(MOST)),
            String::new(),
        ];
        for answer in answers {
            all_ways(&answer, &answer);
        }
        // ureq refuses what is too long.
        for field in ["y".repeat(2 * LIMIT), "y\r\nX: ".repeat(LIMIT / 2)] {
            let long = format!("HTTP/1.1 200 OK\r\nX: {field}\r\n\r\n");
            for piece in [1000, LIMIT, 4 * LIMIT] {
                let mut heads = Heads::default();
                heads.begin(b"GET / HTTP/1.1\r\n");
                assert_eq!(passed(&mut heads, long.as_bytes(), piece, LIMIT), long);
            }
        }
    }

    #[test]
    fn fields_that_nothing_reads_are_left_out_if_there_are_too_many() {
        let noise = "X-Field: v\r\n more of it\r\n".repeat(MOST);
        let needed = "Content-Type: a/b\r\ncontent-length: 5\r\nTRANSFER-ENCODING: chunked\r\n\
                      Connection:close\r\nLocation: /x\r\n\ty\r\nno field\r\n";
        let body = "X-Field: not a field\r\n\r\n";
        for first in ["", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"] {
            all_ways(
                &format!("{first}HTTP/1.1 200 OK\r\n{noise}{needed}{noise}\r\n{body}"),
                &format!("{first}HTTP/1.1 200 OK\r\n{needed}\r\n{body}"),
            );
        }
    }

    #[test]
    fn what_passes_a_tunnel_is_no_head() {
        let mut heads = Heads::default();
        heads.begin(b"CONNECT a:443 HTTP/1.1\r\n");
        assert!(heads.is_idle());
        heads.begin(b"\x16\x03\x01");
        assert!(heads.is_idle());
    }

    /// The next request on a kept connection has a head of its own.
    #[test]
    fn each_request_gets_a_head() {
        let mut heads = Heads::default();
        let answer = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(2 * MOST));
        for _ in 0..3 {
            heads.begin(b"GET / HTTP/1.1\r\n");
            heads.take(answer.as_bytes());
            let mut room = [0; 100];
            let given = heads.give(&mut room);
            assert_eq!(&room[..given], b"HTTP/1.1 200 OK\r\n\r\n");
            assert!(heads.is_idle());
        }
    }
}

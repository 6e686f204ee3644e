//! What the table tests share.

use std::string::String;
use std::vec::Vec;

/// Calls `check` with every truncation and every single-byte change of `text` that is still UTF-8:
/// no parser may panic, whatever it is given.
pub(crate) fn mutations(text: &str, mut check: impl FnMut(&str)) {
    const NASTY: &[u8] = b"\0\t\n \"#%&'()*+,-./09:;<=>?@AZ[\\]^_az{|}~\x7f";
    check(text);
    for end in 0..text.len() {
        if let Some(cut) = text.get(..end) {
            check(cut);
        }
        if let Some(rest) = text.get(end..) {
            check(rest);
        }
        let mut bytes: Vec<u8> = text.into();
        for nasty in NASTY {
            bytes[end] = *nasty;
            if let Ok(changed) = core::str::from_utf8(&bytes) {
                check(changed);
            }
        }
        bytes.remove(end);
        if let Ok(changed) = String::from_utf8(bytes) {
            check(&changed);
        }
    }
}

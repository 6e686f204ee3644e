//! The programs in `examples` of both clients: what is asked for often takes little code.

use std::fs;
use std::path::Path;

/// Read a configuration, list tags, read a range, attach an SBOM, delete by age, copy with referrers.
const SHORT: [&str; 6] = [
    "config",
    "tags",
    "range",
    "attach",
    "delete_old",
    "copy_signed",
];

/// How many lines of code an example has at most.
const LINES: usize = 25;

#[test]
fn what_is_asked_for_often_takes_25_lines() {
    let adapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters");
    for client in ["blocking", "async"] {
        for name in SHORT {
            let path = adapters.join(format!("{client}/examples/{name}.rs"));
            let code = fs::read_to_string(&path).expect("an example");
            let code = code.lines().map(str::trim).filter(|line| is_code(line));
            let lines = code.count();
            assert!(lines <= LINES, "{}: {lines} lines", path.display());
        }
    }
}

fn is_code(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("//")
}

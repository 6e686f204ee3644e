//! The store's promises, and the tests that they name.

use std::fs;
use std::path::{Path, PathBuf};

/// Each promise names tests, and each of these is one.
#[test]
fn each_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &Path| fs::read_to_string(path).expect("a text");
    let page = read(&root.join("adapters/store/PROMISES.md"));
    let folders = [
        "adapters/driver",
        "adapters/store",
        "adapters/cli/tests",
        "tests/src",
        "tests/tests",
    ];
    let mut files = Vec::new();
    for folder in folders {
        sources(&root.join(folder), &mut files);
    }
    let code: Vec<String> = files.iter().map(|file| read(file)).collect();
    let promises: Vec<&str> = page.split("\n- ").skip(1).collect();
    assert!(promises.len() > 20, "{} promises", promises.len());
    for promise in promises {
        // The last one of a section is followed by the next.
        let promise = promise.split("\n## ").next().expect("the first part");
        let (_, tests) = promise.split_once("\n  Tests: ").expect(promise);
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{promise}");
        for name in names {
            let is_test = code.iter().any(|file| has_test(file, name));
            assert!(is_test, "there is no test {name}, which is promised");
        }
    }
}

/// Whether there is such a test, or one for both clients.
pub(super) fn has_test(code: &str, name: &str) -> bool {
    let plain = code.find(&format!("\nfn {name}()"));
    let nested = code.find(&format!("    fn {name}()"));
    let marked = [plain, nested].into_iter().flatten().any(|at| {
        let attributes = code[..at].rsplit("\n\n").next().expect("the last part");
        attributes.contains("#[test]")
    });
    let for_both = code.split("through_both!(").nth(1);
    let for_both = for_both.and_then(|list| list.split(");").next());
    // Those of one exchange are listed in a macro of their own.
    let exchanges = code.split("macro_rules! exchange_tests").nth(1);
    let mut lists = for_both.into_iter().chain(exchanges);
    marked || lists.any(|list| list.split([' ', ',', '\n']).any(|it| it == name))
}

pub(super) fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
}

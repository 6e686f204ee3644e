use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use windlass_core::reference::Repository;
use windlass_core::{Algorithm, Digest, Registry, SavedUpload};

use super::*;

const SIZE: u64 = 4 << 20;

fn registry() -> Registry {
    "reg.example".parse().expect("a registry")
}

fn repository(name: &str) -> Repository {
    name.parse().expect("a repository")
}

/// An upload of this blob to this repository.
fn upload(to: &str, blob: &[u8], session: &str, acknowledged: u64) -> SavedUpload {
    let digest = Digest::of(Algorithm::Sha256, blob);
    let url = format!("https://reg.example/v2/{to}/blobs/uploads/{session}?_state=secret");
    let text = format!(
        r#"{{"registry":"reg.example","origin":"https://reg.example","repository":"{to}",
        "digest":"{digest}","size":{SIZE},"url":"{url}","acknowledged":{acknowledged},"age":0}}"#
    );
    SavedUpload::from_json(&text).expect("an upload")
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|it| it.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn json(folder: &Path) -> std::path::PathBuf {
    let mut found = files(folder).into_iter();
    let found = found.find(|path| path.extension().is_some_and(|it| it == "json"));
    found.expect("an upload is kept")
}

fn set_age(path: &Path, age: Duration) {
    let file = fs::File::options().write(true).open(path).expect("a file");
    let at = SystemTime::now().checked_sub(age).expect("an instant");
    file.set_modified(at).expect("it is set");
}

/// A folder in one that is there, and what an earlier process has kept in it.
fn kept(uploads: &[SavedUpload]) -> (tempfile::TempDir, std::path::PathBuf) {
    let above = tempfile::tempdir().expect("a folder");
    let path = above.path().join("state/uploads");
    let folder = UploadFolder::new(&path);
    uploads.iter().for_each(|upload| folder.keep(upload));
    assert_eq!(folder.problem(), None);
    (above, path)
}

#[test]
fn the_next_process_gets_what_was_kept() {
    let ours = upload("a/b", b"1", "u1", 7);
    let (_above, path) = kept(&[ours.clone(), upload("a/c", b"1", "u2", 0)]);
    let next = UploadFolder::new(&path);
    let found = next.left_open(&registry(), &repository("a/b"));
    assert_eq!((found.len(), found[0].key()), (1, ours.key()));
    assert_eq!(found[0].acknowledged(), 7);
    assert!(next.take(&found[0]));
    // Not what goes on already.
    assert_eq!(next.left_open(&registry(), &repository("a/b")), []);
    let other: Registry = "other.example".parse().expect("a registry");
    assert_eq!(next.left_open(&other, &repository("a/b")), []);
    next.forget(ours.key());
    drop(next);
    let last = UploadFolder::new(&path);
    assert_eq!(last.left_open(&registry(), &repository("a/b")), []);
    let left = last.left_open(&registry(), &repository("a/c"));
    assert!(left.len() == 1 && last.take(&left[0]));
    last.forget(upload("a/c", b"1", "u2", 0).key());
    assert_eq!(files(&path), [""; 0].map(std::path::PathBuf::from));
}

/// The URL is a secret: it is in no name, and in files of the owner's only.
#[test]
fn nobody_else_can_read_them() {
    let (_above, path) = kept(&[upload("a/b", b"1", "u1", 0)]);
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&path), 0o700);
    for file in files(&path) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    let shown = format!("{path:?} {:?}", UploadFolder::new(&path));
    assert!(!shown.contains("secret") && !shown.contains("u1"));
}

#[test]
fn an_upload_is_written_again_when_its_session_is_another_one_or_after_a_while() {
    let (_above, path) = kept(&[]);
    let folder = UploadFolder::new(&path);
    let read = || {
        let text = fs::read_to_string(json(&path)).expect("text");
        SavedUpload::from_json(&text).expect("an upload")
    };
    folder.keep(&upload("a/b", b"1", "u1", 1));
    folder.keep(&upload("a/b", b"1", "u1", 2));
    assert_eq!(read().acknowledged(), 1, "it was just written");
    folder.keep(&upload("a/b", b"1", "u2", 3));
    assert_eq!(read().acknowledged(), 3);
    std::thread::sleep(Duration::from_millis(260));
    folder.keep(&upload("a/b", b"1", "u2", 4));
    assert_eq!(read().acknowledged(), 4);
}

/// PUSHB-38: the URL of a session changes with each answer, and an older one may end it.
#[test]
fn the_newest_of_an_upload_is_written_in_the_end() {
    let (_above, path) = kept(&[]);
    let position = |session: &str, blob: &[u8]| {
        let wanted = upload("a/b", blob, session, 0);
        let all = files(&path).into_iter();
        let mut all = all.filter_map(|file| {
            SavedUpload::from_json(&fs::read_to_string(file).expect("text")).ok()
        });
        all.find(|it| it.is_same_session(&wanted))
            .map(|it| it.acknowledged())
    };
    let folder = UploadFolder::new(&path);
    folder.keep(&upload("a/b", b"1", "u1", 1));
    folder.keep(&upload("a/b", b"1", "u1", 2));
    std::thread::sleep(Duration::from_millis(260));
    assert_eq!(position("u1", b"1"), Some(1));
    folder.keep(&upload("a/b", b"2", "u2", 1));
    assert_eq!(position("u1", b"1"), Some(2), "with the next one");
    folder.keep(&upload("a/b", b"1", "u1", 3));
    folder.keep(&upload("a/b", b"2", "u2", 4));
    drop(folder);
    let ends = (position("u1", b"1"), position("u2", b"2"));
    assert_eq!(ends, (Some(3), Some(4)), "when it is dropped");
}

/// Two processes do not go on with one upload, and neither spoils what the other one keeps.
#[test]
fn an_upload_belongs_to_one_process() {
    let ours = upload("a/b", b"1", "u1", 1);
    let (_above, path) = kept(std::slice::from_ref(&ours));
    let (first, second) = (UploadFolder::new(&path), UploadFolder::new(&path));
    // Both are offered it, one gets it.
    let offered = first.left_open(&registry(), &repository("a/b"));
    let to_both = second.left_open(&registry(), &repository("a/b"));
    assert_eq!((offered.len(), to_both.len()), (1, 1));
    assert!(first.take(&offered[0]));
    assert!(!second.take(&to_both[0]));
    second.keep(&upload("a/b", b"1", "u2", 2));
    second.forget(ours.key());
    let text = fs::read_to_string(json(&path)).expect("it is still there");
    assert_eq!(
        SavedUpload::from_json(&text)
            .expect("an upload")
            .acknowledged(),
        1
    );
    drop(first);
    assert!(second.take(&to_both[0]));
    assert_eq!(second.problem(), None);
}

/// Two processes push different images to one repository: each gets its own uploads.
#[test]
fn what_is_offered_is_not_locked() {
    let (_above, path) = kept(&[upload("a/b", b"1", "u1", 1), upload("a/b", b"2", "u2", 2)]);
    let (first, second) = (UploadFolder::new(&path), UploadFolder::new(&path));
    for (folder, session, blob) in [(&first, "u1", b"1"), (&second, "u2", b"2")] {
        let offered = folder.left_open(&registry(), &repository("a/b"));
        let ours = upload("a/b", blob, session, 0);
        let mut offered = offered.iter().filter(|it| it.is_same_session(&ours));
        assert!(folder.take(offered.next().expect("it is offered")));
    }
    assert_eq!((first.problem(), second.problem()), (None, None));
}

/// Between the offer and the taking another process can have gone on, to the end or in another session.
#[test]
fn what_is_over_by_now_is_not_taken() {
    let ours = upload("a/b", b"1", "u1", 1);
    let (_above, path) = kept(std::slice::from_ref(&ours));
    let late = UploadFolder::new(&path);
    let offered = late.left_open(&registry(), &repository("a/b"));
    let other = UploadFolder::new(&path);
    assert!(other.take(&ours));
    other.keep(&upload("a/b", b"1", "u2", 2));
    drop(other);
    assert!(!late.take(&offered[0]), "another session");
    let other = UploadFolder::new(&path);
    other.keep(&ours);
    other.forget(ours.key());
    assert!(!late.take(&offered[0]), "it is over");
    assert_eq!(files(&path), [""; 0].map(std::path::PathBuf::from));
}

/// What is broken, or was not put there by windlass, is ignored, with a warning.
#[test]
fn a_file_that_is_none_of_ours_is_ignored() {
    type Spoil = fn(&Path);
    let spoil: [(&str, Spoil); 7] = [
        ("not an upload", |path| {
            fs::write(path, "").expect("written")
        }),
        ("not an upload", |path| {
            let text = fs::read_to_string(path).expect("text");
            let text = text.replace("https://reg.example/v2", "https://evil.example/v2");
            fs::write(path, text).expect("written");
        }),
        ("another upload", |path| {
            let text = fs::read_to_string(path).expect("text");
            fs::write(path, text.replace("a/b", "a/c")).expect("written");
        }),
        ("access", |path| {
            let mode = fs::Permissions::from_mode(0o644);
            fs::set_permissions(path, mode).expect("they are set");
        }),
        ("not an upload", |path| {
            let zeros = vec![b' '; 1 << 20];
            fs::write(path, zeros).expect("written");
        }),
        ("", |path| {
            fs::rename(path, path.with_extension("x")).expect("renamed");
            symlink(path.with_extension("x"), path).expect("a link");
        }),
        ("regular file", |path| {
            fs::remove_file(path).expect("removed");
            fs::DirBuilder::new().create(path).expect("made");
            let mode = fs::Permissions::from_mode(0o700);
            fs::set_permissions(path, mode).expect("they are set");
        }),
    ];
    for (why, spoil) in spoil {
        let ours = upload("a/b", b"1", "u1", 1);
        let (_above, path) = kept(&[ours]);
        spoil(&json(&path));
        let next = UploadFolder::new(&path);
        assert_eq!(next.left_open(&registry(), &repository("a/b")), [], "{why}");
        let problem = next.problem().expect("a warning");
        assert!(
            problem.contains(why) && !problem.contains("secret"),
            "{problem}"
        );
    }
    // Nor is a folder that others can write to.
    let (_above, path) = kept(&[upload("a/b", b"1", "u1", 1)]);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&path, mode).expect("they are set");
    let next = UploadFolder::new(&path);
    assert_eq!(next.left_open(&registry(), &repository("a/b")), []);
    next.keep(&upload("a/b", b"2", "u2", 1));
    assert!(
        next.problem()
            .expect("a warning")
            .contains("other users have access")
    );
    assert_eq!(files(&path).len(), 1);
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let above = tempfile::tempdir().expect("a folder");
    let file = above.path().join("file");
    fs::write(&file, "").expect("written");
    let folder = UploadFolder::new(file.join("uploads"));
    assert_eq!(folder.left_open(&registry(), &repository("a/b")), []);
    folder.keep(&upload("a/b", b"1", "u1", 1));
    assert!(folder.problem().is_some());
}

/// A lock that cannot be tried is not taken for one that another process has.
#[test]
fn a_lock_that_fails_is_told() {
    let (_above, path) = kept(&[upload("a/b", b"1", "u1", 1)]);
    let lock = json(&path).with_extension("lock");
    fs::create_dir(&lock).expect("made");
    let warns = |folder: &UploadFolder| {
        let problem = folder.problem().expect("a warning");
        assert!(
            problem.starts_with(&lock.display().to_string()),
            "{problem}"
        );
    };
    let next = UploadFolder::new(&path);
    let offered = next.left_open(&registry(), &repository("a/b"));
    assert!(!next.take(&offered[0]));
    warns(&next);
    let other = UploadFolder::new(&path);
    other.keep(&upload("a/b", b"1", "u2", 2));
    warns(&other);
}

/// There are not too many, and none that registries have forgotten. What a killed process left goes, too.
#[test]
fn age_and_number_are_bounded() {
    let uploads: Vec<_> = (0..260_u32)
        .map(|n| upload("a/b", &n.to_le_bytes(), &format!("u{n}"), 1))
        .collect();
    let (_above, path) = kept(&uploads);
    let count = |end: &str| {
        let is = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(end);
        files(&path).iter().filter(|path| is(path)).count()
    };
    assert_eq!(count(".json"), 260);
    let half_written = path.join(".windlass-upload-abc");
    let lock = path.join(format!("{}-{}.lock", "0".repeat(16), "0".repeat(32)));
    for path in [&half_written, &lock] {
        fs::write(path, "").expect("written");
        set_age(path, Duration::from_secs(2 * 60 * 60));
    }
    set_age(&json(&path), SavedUpload::LIFE);
    let next = UploadFolder::new(&path);
    let found = next.left_open(&registry(), &repository("a/b"));
    assert_eq!((found.len(), count(".json")), (256, 256));
    assert!(!half_written.exists() && !lock.exists());
    assert_eq!(next.problem(), None);
}

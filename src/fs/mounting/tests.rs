//! Mounts of the real kernel, and targets that cannot be mounted on.

use super::*;

#[test]
fn targets_that_cannot_be_mounted_on_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "x").expect("writes");
    let error = check_target(&file).expect_err("a file").to_string();
    assert!(error.contains("not a directory"), "{error}");
    let missing = dir.path().join("no/such");
    let error = check_target(&missing).expect_err("missing").to_string();
    assert!(error.contains("create the directory"), "{error}");
}

#[test]
fn a_target_is_made_absolute_and_free_of_links() {
    let dir = tempfile::tempdir().expect("a directory");
    let real = dir.path().join("real");
    std::fs::create_dir(&real).expect("creates");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&real, &link).expect("links");
    let expected = real.canonicalize().expect("there");
    assert_eq!(check_target(&link).expect("fine"), expected);
    assert_eq!(check_target(&real.join(".")).expect("fine"), expected);
}

#[test]
fn a_mount_is_found_also_if_its_id_was_that_of_one_that_is_gone() {
    let mount = |id, mount_point: &str| Mount {
        id,
        parent: 1,
        minor: 50,
        mount_point: mount_point.into(),
        fs_type: FS_TYPE.to_owned(),
        source: "a test".into(),
    };
    let target = Path::new("/mnt/binlogs");
    // Unmounted by somebody else between the two looks.
    let before = ids_at(&[mount(7, "/elsewhere")], target);
    let found = new_at(&[mount(7, "/mnt/binlogs")], target, &before);
    assert_eq!(found.map(|mount| mount.id), Some(7));
    // Not that of somebody who was faster.
    let theirs = [mount(7, "/mnt/binlogs")];
    let before = ids_at(&theirs, target);
    assert_eq!(new_at(&theirs, target, &before), None);
    let both = [mount(7, "/mnt/binlogs"), mount(8, "/mnt/binlogs")];
    let found = new_at(&both, target, &before);
    assert_eq!(found.map(|mount| mount.id), Some(8));
}

fn mount(target: &Path) -> (MountPoint, OwnedFd) {
    let options = MountOptions {
        target: target.to_owned(),
        source: "a test".to_owned(),
        allow_other: false,
        noexec: false,
    };
    MountPoint::mount(&options).expect("mounts")
}

/// What the kernel says of how `target` is mounted. Asks no file system.
fn flags_at(target: &Path) -> Vec<String> {
    let table = std::fs::read_to_string(mountinfo::PATH).expect("reads");
    let is_there = |line: &&str| line.split(' ').nth(4) == target.to_str();
    let line = table.lines().find(is_there).expect("mounted");
    let flags = line.split(' ').nth(5).expect("its options");
    flags.split(',').map(str::to_owned).collect()
}

#[test]
fn the_kernel_is_told_what_always_holds_and_whether_nothing_is_executed() {
    let dir = tempfile::tempdir().expect("a directory");
    for noexec in [false, true] {
        let options = MountOptions {
            target: dir.path().to_owned(),
            source: "a test".to_owned(),
            allow_other: false,
            noexec,
        };
        let (point, _device) = MountPoint::mount(&options).expect("mounts");
        let flags = flags_at(dir.path());
        assert_eq!(point.detach().expect("unmounts"), Detached::Now);
        let has = |name: &str| flags.iter().any(|flag| flag == name);
        assert!(has("ro") && has("nosuid") && has("nodev"), "{flags:?}");
        assert_eq!(has("noexec"), noexec, "{flags:?}");
    }
}

/// The first request of a connection waits to be read as long as it is not cut.
fn is_cut(device: &OwnedFd) -> bool {
    let mut request = vec![0; 1 << 16];
    match rustix::io::read(device, &mut request[..]) {
        Ok(_) => false,
        Err(error) => {
            // What a cut connection says depends on what it had agreed on.
            assert!(
                matches!(error, Errno::CONNABORTED | Errno::NODEV),
                "{error}"
            );
            true
        }
    }
}

#[test]
fn a_mount_cuts_its_own_connection() {
    let dir = tempfile::tempdir().expect("a directory");
    let (point, device) = mount(dir.path());
    point.abort().expect("cut");
    assert!(is_cut(&device));
    assert_eq!(point.detach().expect("unmounts"), Detached::Now);
}

#[test]
fn a_mount_that_is_gone_does_not_cut_the_one_that_has_its_number_now() {
    let dir = tempfile::tempdir().expect("a directory");
    // Other tests mount too, and may be faster.
    for _ in 0..200 {
        let (gone, device) = mount(dir.path());
        gone.detach().expect("unmounts");
        drop(device);
        let (next, device) = mount(dir.path());
        let same = next.minor() == gone.minor();
        gone.abort().expect("nothing to do");
        let cut = is_cut(&device);
        next.detach().expect("unmounts");
        assert!(!cut);
        if same {
            return;
        }
    }
    panic!("the kernel gave no number a second time");
}

#[test]
fn a_mount_that_is_gone_is_not_taken_for_the_one_that_has_its_numbers_now() {
    let dir = tempfile::tempdir().expect("a directory");
    // Other tests mount too, and may be faster.
    for _ in 0..200 {
        let (gone, device) = mount(dir.path());
        if !gone.known_as.is_some_and(|id| id.is_unique) {
            // A kernel before Linux 6.8.
            return;
        }
        assert_eq!(gone.detach().expect("unmounts"), Detached::Now);
        drop(device);
        let (next, device) = mount(dir.path());
        let same = (next.id, next.minor) == (gone.id, gone.minor);
        let again = gone.detach();
        let is_dead = gone.is_dead();
        let left = next.detach();
        drop(device);
        assert_eq!(again.expect("nothing to do"), Detached::Before);
        assert!(!is_dead.expect("looks"));
        assert_eq!(left.expect("it was left alone"), Detached::Now);
        if same {
            return;
        }
    }
    panic!("the kernel gave no numbers a second time");
}

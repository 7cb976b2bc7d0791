//! A storage that is no directory: whole objects by name, as an object store has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use neptune_state::{Backend, LockGuard, Settings, StateError, Storage};

use crate::model::{Job, often, open, small_job};

#[derive(Debug, Default)]
struct Objects(Mutex<BTreeMap<String, Vec<u8>>>);

impl Storage for Objects {
    fn put(&self, path: &str, pieces: &[&[u8]]) -> Result<(), StateError> {
        self.0
            .lock()
            .unwrap()
            .insert(path.to_owned(), pieces.concat());
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.lock().unwrap().get(path).cloned())
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StateError> {
        let objects = self.0.lock().unwrap();
        let names = objects
            .keys()
            .filter_map(|path| match path.rsplit_once('/') {
                Some((above, name)) => (above == dir).then(|| name.to_owned()),
                None => dir.is_empty().then(|| path.clone()),
            });
        Ok(names.collect())
    }

    fn delete(&self, path: &str) -> Result<(), StateError> {
        self.0.lock().unwrap().remove(path);
        Ok(())
    }

    fn clean(&self, _dir: &str) -> Result<(), StateError> {
        Ok(())
    }

    fn lock(&self) -> Result<LockGuard, StateError> {
        Ok(LockGuard::default())
    }

    fn locate(&self, path: &str) -> String {
        format!("objects://{path}")
    }
}

#[test]
fn a_job_goes_on_from_objects() {
    let objects = Arc::new(Objects::default());
    let job = small_job();
    for number in 0..10u64 {
        let (checkpoint, restored) = open(objects.clone(), &often()).unwrap();
        assert_eq!(job.check(&checkpoint, &restored), number.checked_sub(1));
        checkpoint
            .write_offsets(number, &Job::offsets(number))
            .unwrap();
        checkpoint
            .commit(number, &Job::body(number), &job.changes(number))
            .unwrap();
        assert_eq!(checkpoint.settle().error, None);
    }
    assert!(!objects.list("commits").unwrap().contains(&"0".to_owned()));
    assert!(objects.list("snapshots").unwrap().contains(&"8".to_owned()));
}

#[test]
fn the_disk_backend_wants_a_directory() {
    let settings = Settings {
        backend: Backend::Disk {
            cache_bytes: 1 << 20,
        },
        ..often()
    };
    let error = open(Arc::new(Objects::default()), &settings).unwrap_err();
    assert!(matches!(error, StateError::NotLocal { .. }), "{error}");
}

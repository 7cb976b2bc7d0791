//! A disk in memory that can fail or lose power at any of its operations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use neptune_state::{FileOps, LocalStorage, LockGuard, NewFile, SyncPolicy};

/// What is left after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The process is killed: all it did is there.
    Kill,
    /// The power fails, and only what was synced is there.
    PowerLoss,
    /// The power fails; all names are there, and what was not synced of the files is zeros.
    PowerLossWithNames,
}

/// What goes wrong, by the index of the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// From this one on nothing works; the first one, if it is a write, is half done.
    DieAt(u64),
    /// The disk is full from the first to before the second.
    FullDuring(u64, u64),
}

#[derive(Debug, Clone, Default)]
struct Content {
    data: Vec<u8>,
    synced: usize,
}

#[derive(Debug, Clone, Default)]
struct Disk {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
    synced_dirs: BTreeSet<PathBuf>,
}

type Hook = Box<dyn Fn(&Path) + Send + Sync>;

struct State {
    disk: Disk,
    operations: u64,
    fault: Fault,
}

/// The disk. A clone is the same one.
#[derive(Clone)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
    /// Called before a file is created.
    hook: Arc<Mutex<Option<Arc<Hook>>>>,
}

pub(crate) const ROOT: &str = "/sim/jobs/checkpoint";

impl SimDisk {
    pub(crate) fn new() -> Self {
        let mut disk = Disk::default();
        for dir in ["/", "/sim"] {
            disk.dirs.insert(dir.into());
            disk.synced_dirs.insert(dir.into());
        }
        Self::of(disk)
    }

    fn of(disk: Disk) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                disk,
                operations: 0,
                fault: Fault::None,
            })),
            hook: Arc::default(),
        }
    }

    /// A disk with these files of a checkpoint.
    pub(crate) fn with_files(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let sim = Self::new();
        let mut state = sim.lock();
        for (name, data) in files {
            let path = Path::new(ROOT).join(name);
            let inode = state.disk.files.len();
            state.disk.files.push(Content {
                data: data.clone(),
                synced: data.len(),
            });
            state.disk.names.insert(path.clone(), inode);
            state.disk.synced_names.insert(path.clone(), inode);
            for dir in path.ancestors().skip(1) {
                state.disk.dirs.insert(dir.to_owned());
                state.disk.synced_dirs.insert(dir.to_owned());
            }
        }
        drop(state);
        sim
    }

    /// The files of the checkpoint, but its lock.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        state
            .disk
            .names
            .iter()
            .map(|(path, inode)| {
                let name = path
                    .strip_prefix(ROOT)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                (name, state.disk.files[*inode].data.clone())
            })
            .collect()
    }

    pub(crate) fn storage(&self, sync: SyncPolicy) -> Arc<LocalStorage> {
        Arc::new(LocalStorage::with_files(ROOT, sync, Arc::new(self.clone())))
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    pub(crate) fn set_hook(&self, hook: impl Fn(&Path) + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(Box::new(hook)));
    }

    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The disk as it is found after an end now.
    pub(crate) fn after(&self, end: End) -> Self {
        let mut disk = self.lock().disk.clone();
        match end {
            End::Kill => {}
            End::PowerLoss => {
                disk.names = disk.synced_names.clone();
                disk.dirs = disk.synced_dirs.clone();
                // What is in a lost directory is lost.
                let dirs = disk.dirs.clone();
                let is_there = |path: &Path| path.ancestors().skip(1).all(|dir| dirs.contains(dir));
                disk.dirs.retain(|dir| is_there(dir));
                let dirs = disk.dirs.clone();
                disk.names
                    .retain(|name, _| dirs.contains(name.parent().unwrap()));
                for file in &mut disk.files {
                    file.data.truncate(file.synced);
                }
            }
            End::PowerLossWithNames => {
                for file in &mut disk.files {
                    let synced = file.synced;
                    file.data[synced..].fill(0);
                }
            }
        }
        for file in &mut disk.files {
            file.synced = file.data.len();
        }
        disk.synced_names = disk.names.clone();
        disk.synced_dirs = disk.dirs.clone();
        Self::of(disk)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Does one counted operation, unless it is to fail; the second closure is what a failing one still does.
    fn operation(
        &self,
        act: impl FnOnce(&mut Disk) -> io::Result<()>,
        half: impl FnOnce(&mut Disk),
    ) -> io::Result<()> {
        let mut state = self.lock();
        let index = state.operations;
        state.operations += 1;
        match state.fault {
            Fault::DieAt(at) if index >= at => {
                if index == at {
                    half(&mut state.disk);
                }
                Err(io::Error::other("the power is off"))
            }
            Fault::FullDuring(from, to) if (from..to).contains(&index) => {
                half(&mut state.disk);
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => act(&mut state.disk),
        }
    }
}

impl Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl FileOps for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let hook = self.hook.lock().unwrap().clone();
        if let Some(hook) = hook {
            hook(path);
        }
        let mut inode = 0;
        self.operation(
            |disk| {
                if !disk.dirs.contains(path.parent().unwrap()) {
                    return Err(not_found());
                }
                inode = disk.files.len();
                disk.files.push(Content::default());
                disk.names.insert(path.to_owned(), inode);
                Ok(())
            },
            |_| {},
        )?;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(
            |disk| {
                let inode = disk.names.remove(from).ok_or_else(not_found)?;
                disk.names.insert(to.to_owned(), inode);
                Ok(())
            },
            |_| {},
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operation(
            |disk| disk.names.remove(path).map(|_| ()).ok_or_else(not_found),
            |_| {},
        )
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.operation(
            |disk| {
                if !disk.dirs.contains(path.parent().unwrap()) {
                    return Err(not_found());
                }
                if !disk.dirs.insert(path.to_owned()) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Ok(())
            },
            |_| {},
        )
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operation(
            |disk| {
                let inside = |name: &Path| name.parent() == Some(path);
                disk.synced_names.retain(|name, _| !inside(name));
                for (name, inode) in &disk.names {
                    if inside(name) {
                        disk.synced_names.insert(name.clone(), *inode);
                    }
                }
                for dir in &disk.dirs {
                    if inside(dir) {
                        disk.synced_dirs.insert(dir.clone());
                    }
                }
                Ok(())
            },
            |_| {},
        )
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.lock();
        let inode = state.disk.names.get(path).ok_or_else(not_found)?;
        Ok(state.disk.files[*inode].data.clone())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        if !state.disk.dirs.contains(path) {
            return Err(not_found());
        }
        let names = state.disk.names.keys();
        Ok(names
            .filter(|name| name.parent() == Some(path))
            .map(|name| name.file_name().unwrap().to_str().unwrap().to_owned())
            .collect())
    }

    fn lock(&self, _path: &Path, _owner: &str) -> io::Result<Result<LockGuard, String>> {
        Ok(Ok(LockGuard::default()))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl NewFile for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let inode = self.inode;
        self.disk.operation(
            |disk| {
                disk.files[inode].data.extend_from_slice(bytes);
                Ok(())
            },
            |disk| {
                let half = &bytes[..bytes.len() / 2];
                disk.files[inode].data.extend_from_slice(half);
            },
        )
    }

    fn sync(&mut self) -> io::Result<()> {
        let inode = self.inode;
        self.disk.operation(
            |disk| {
                disk.files[inode].synced = disk.files[inode].data.len();
                Ok(())
            },
            |_| {},
        )
    }
}

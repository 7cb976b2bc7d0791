//! A directory with files in it, and the command run in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at a process, of which nothing tells when it has changed.
const LOOK: Duration = Duration::from_millis(5);

/// A directory to run in.
pub(crate) struct Scene {
    dir: TempDir,
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A run under way.
pub(crate) struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, with the directories on its way.
    pub(crate) fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The data files in a directory, whose names do not begin with a dot; none if there is no directory.
    pub(crate) fn data_files(&self, name: &str) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.path(name)) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| !name_of(path).starts_with('.'))
            .collect();
        files.sort();
        files
    }

    /// The lines of all data files in a directory.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let files = self.data_files(name);
        let texts = files
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap());
        texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    /// Runs `sql` as `app.sql` to its end.
    pub(crate) fn run(&self, sql: &str, args: &[&str]) -> Ran {
        self.start(sql, args).wait()
    }

    /// Starts `sql` as `app.sql`.
    pub(crate) fn start(&self, sql: &str, args: &[&str]) -> Running {
        self.file("app.sql", sql);
        let mut all = vec!["run", "app.sql"];
        all.extend(args);
        self.command(&all)
    }

    /// Starts the command with these arguments.
    pub(crate) fn command(&self, args: &[&str]) -> Running {
        self.spawn(Command::new(env!("CARGO_BIN_EXE_neptune")).args(args))
    }

    /// Starts `sql` as `app.sql` in a process whose files may not grow beyond so many blocks of 512 bytes.
    pub(crate) fn start_limited(&self, sql: &str, blocks: u32, args: &[&str]) -> Running {
        self.file("app.sql", sql);
        // A write beyond the limit is an error, and not the end of the process.
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" run app.sql \"$@\"");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_neptune")]);
        self.spawn(shell.args(args))
    }

    fn spawn(&self, command: &mut Command) -> Running {
        let (stdout, stderr) = (self.path(".stdout"), self.path(".stderr"));
        let child = command
            .current_dir(self.dir.path())
            .env_remove("RUST_LOG")
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Running {
            child,
            stdout,
            stderr,
        }
    }
}

impl Running {
    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), id]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until `holds`, which the process brings about.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "ended before {what}: {:?}",
                self.output(None)
            );
            assert!(
                begun.elapsed() < LIMIT,
                "never: {what}: {:?}",
                self.output(None)
            );
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until `holds`, which the process brings about; true if it ends before.
    pub(crate) fn has_ended_before(&mut self, holds: impl Fn() -> bool) -> bool {
        let begun = Instant::now();
        while !holds() {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            assert!(begun.elapsed() < LIMIT, "never: {:?}", self.output(None));
            std::thread::sleep(LOOK / 5);
        }
        false
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ran {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return self.output(status.code());
            }
            if begun.elapsed() > LIMIT {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                panic!("hangs: {:?}", self.output(None));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, wherever it is; gives what it left if it had ended by itself.
    pub(crate) fn kill(mut self) -> Option<Ran> {
        // Fails where it has ended.
        let _ = self.child.kill();
        let code = self.child.wait().unwrap().code();
        code.map(|code| self.output(Some(code)))
    }

    fn output(&self, code: Option<i32>) -> Ran {
        Ran {
            code,
            stdout: std::fs::read_to_string(&self.stdout).unwrap(),
            stderr: std::fs::read_to_string(&self.stderr).unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// The summary on the last line of standard output, of a run with `--json` that ended well.
    pub(crate) fn summary(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.any_summary()
    }

    /// The summary of a run with `--json`, however it ended.
    pub(crate) fn any_summary(&self) -> Value {
        let last = self
            .stdout
            .lines()
            .last()
            .unwrap_or_else(|| panic!("{self:?}"));
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The entry of a job in a summary.
pub(crate) fn job<'a>(summary: &'a Value, name: &str) -> &'a Value {
    let jobs = summary["jobs"].as_array().unwrap();
    let job = jobs.iter().find(|job| job["name"] == name);
    job.unwrap_or_else(|| panic!("no job {name} in {summary}"))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

//! A folder of the machine, as those have it who mount a file and a folder into the container.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::container::{Container, Running};
use crate::harness::stats;
use crate::image;

/// A folder of the machine with an `api.yaml`, as users have one.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    /// One with this file, which everybody may read.
    pub(crate) fn new(config: impl ToString) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        // Containers of other users are to pass through it.
        std::fs::set_permissions(home.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        home.write(config);
        home
    }

    /// Writes the file anew, in place.
    pub(crate) fn write(&self, config: impl ToString) {
        std::fs::write(self.file(), config.to_string()).unwrap();
        std::fs::set_permissions(self.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// The file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("api.yaml")
    }

    /// The folder that is mounted as the gateway's data.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("uniapi_db")
    }

    /// The image with the volumes that the documents name.
    pub(crate) fn container(&self, target: &str) -> Container {
        let container = Container::new(&image::of(target));
        container.volume(&self.file(), "/home/api.yaml", "rw").volume(&self.data(), "/home/data", "rw")
    }
}

/// How many requests are recorded in a folder of data.
pub(crate) async fn recorded(data: &Path) -> usize {
    let sql = "SELECT id FROM request_stats WHERE model IS NOT NULL";
    stats::query(&data.join("stats.db"), sql, |_| ()).await.map_or(0, |rows| rows.len())
}

/// Stops a container as engines do; gives how long that took.
pub(crate) async fn stop(mut running: Running) -> Duration {
    let began = Instant::now();
    running.signal("TERM");
    assert_eq!(running.ended().await, 0, "{}", running.printed());
    began.elapsed()
}

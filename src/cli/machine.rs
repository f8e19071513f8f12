//! Which machine it was: without it no number means anything.

use std::path::Path;

/// Processor, cores, memory, kernel and file system, as one line.
pub fn line(dir: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (cpu, memory) = (field(&read("/proc/cpuinfo"), "model name"), field(&read("/proc/meminfo"), "MemTotal"));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("machine: {cpu}, {cores} cores, {memory}, Linux {}, {}", kernel.trim(), file_system(dir))
}

/// The type of the file system that a directory is on: the longest mount point above it.
fn file_system(dir: &Path) -> String {
    let _ = std::fs::create_dir_all(dir);
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let on = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then(|| (point.len(), kind.to_owned()))
    });
    on.max().map_or_else(|| "unknown file system".to_owned(), |(_, kind)| kind)
}

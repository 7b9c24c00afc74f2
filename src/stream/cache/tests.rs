use std::{fs, os::unix::fs::FileExt, process::Command, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, ListArray, UInt32Array},
    datatypes::{Float32Type, UInt32Type},
};

use super::{spill::Complete, *};

/// `rows` rows from number `first` on: a number and a list as long as its last digit.
fn batch(first: u32, rows: u32) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(first..first + rows));
    let lists = (first..first + rows).map(|row| Some((0..row % 10).map(move |i| Some((row + i) as f32))));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists));
    RecordBatch::try_from_iter([("number", numbers), ("list", lists)]).unwrap()
}

fn batches() -> Vec<RecordBatch> {
    let mut batches: Vec<RecordBatch> = (0..20).map(|i| batch(100 * i, 100)).collect();
    batches.insert(3, batch(0, 0));
    batches
}

fn filled(memory: u64, file_bytes: u64, folder: &std::path::Path) -> Cache {
    let mut cache = Cache::new(CacheOptions { memory, folder: folder.into(), file_bytes });
    batches().into_iter().for_each(|batch| cache.push(batch).unwrap());
    cache
}

#[tokio::test]
async fn rows_come_back_the_same_from_memory_and_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let all: u64 = batches().iter().map(|batch| batch.get_array_memory_size() as u64).sum();
    for (memory, file_bytes) in [(all, 1), (all / 3, all), (all / 3, 1), (0, all / 4), (0, 1)] {
        let cache = filled(memory, file_bytes, folder.path());
        assert!(cache.in_memory() <= memory);
        assert_eq!(cache.on_disk() == 0, memory == all);
        assert_eq!(cache.in_memory() + cache.on_disk(), all);
        let cached = cache.finish().unwrap();
        assert_eq!(cached.rows(), 2000);
        assert_eq!(cached.batches(), batches());
        assert_eq!(cached.open(1).await.unwrap().collect().await.unwrap(), batches());
        assert_eq!(cached.origin(), "2000 cached rows");
    }
}

#[test]
fn values_on_disk_are_used_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let cached = filled(0, u64::MAX, folder.path()).finish().unwrap();
    let address = |i: usize| cached.batches()[i].column(0).as_primitive::<UInt32Type>().values().as_ptr() as usize;
    // All batches lie in one mapped file, one behind the other, each 64 bytes aligned.
    assert!((1..20).all(|i| address(i) > address(i - 1) && address(i) < address(i - 1) + 10_000));
    assert!((0..20).all(|i| address(i) % 64 == 0));
}

#[test]
fn files_have_no_name_that_could_be_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let empty = || fs::read_dir(folder.path()).unwrap().next().is_none();
    let cache = filled(0, 1, folder.path());
    assert!(empty());
    let cached = cache.finish().unwrap();
    assert!(empty());
    drop(folder);
    assert_eq!(cached.batches(), batches());
}

#[test]
fn another_schema_and_a_folder_that_is_not_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let mut cache = Cache::new(CacheOptions { memory: 0, folder: missing.clone(), ..Default::default() });
    let error = cache.push(batch(0, 10)).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if *path == missing), "{error}");
    let mut cache = Cache::new(CacheOptions::default());
    cache.push(batch(0, 1)).unwrap();
    assert!(cache.push(batch(0, 1).project(&[0]).unwrap()).unwrap_err().to_string().contains("number"));
}

#[test]
fn a_file_that_changed_on_disk_is_refused() {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(b"rows", 0).unwrap();
    let complete = Complete { file, checksum: crc32fast::hash(b"rows"), rows: 1 };
    complete.map().unwrap();
    complete.file.write_all_at(b"s", 0).unwrap();
    let message = complete.map().unwrap_err().to_string();
    assert!(message.contains("has changed") && message.contains("4 bytes"), "{message}");
}

/// The variable that tells the test below which folder to fill; it is set only in the process that may not write much.
const FOLDER: &str = "TINDERBOX_TEST_FULL_FOLDER";

#[test]
fn a_full_disk_is_a_clear_error_that_leaves_nothing_behind() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        let folder = tempfile::tempdir().unwrap();
        // No file may grow beyond 8 blocks of 512 or 1024 bytes; without the trap the system would end the process.
        let output = Command::new("sh")
            .args(["-c", r#"trap '' XFSZ; ulimit -f 8; exec "$0" --exact "$1" --nocapture"#])
            .arg(std::env::current_exe().unwrap())
            .arg("stream::cache::tests::a_full_disk_is_a_clear_error_that_leaves_nothing_behind")
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}{output:?}");
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
        return;
    };
    let mut cache = Cache::new(CacheOptions { memory: 0, folder: folder.clone().into(), file_bytes: u64::MAX });
    let error = batches().into_iter().find_map(|batch| cache.push(batch).err()).expect("the file may not grow so far");
    let message = error.to_string();
    for words in [folder.to_str().unwrap(), "bytes of cached rows were written", "more were to follow", "free space"] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!((cache.in_memory(), cache.on_disk()), (0, 0));
}

//! Where the cluster keeps rows.

use spark_connect_proto as proto;

/// Where the cluster keeps the rows of a frame. Spark's `StorageLevel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StorageLevel {
    /// On the executors' disks.
    pub use_disk: bool,
    /// In the executors' memory.
    pub use_memory: bool,
    /// In memory outside Java's heap.
    pub use_off_heap: bool,
    /// As Java objects, not as bytes.
    pub deserialized: bool,
    /// Executors that keep a row, 1 or more.
    pub replication: i32,
}

impl StorageLevel {
    /// Nowhere.
    pub const NONE: Self = Self::new(false, false, false, false, 1);
    /// On disk.
    pub const DISK_ONLY: Self = Self::new(true, false, false, false, 1);
    /// On the disks of two executors.
    pub const DISK_ONLY_2: Self = Self::new(true, false, false, false, 2);
    /// On the disks of three executors.
    pub const DISK_ONLY_3: Self = Self::new(true, false, false, false, 3);
    /// In memory; what does not fit is computed again.
    pub const MEMORY_ONLY: Self = Self::new(false, true, false, false, 1);
    /// In the memory of two executors.
    pub const MEMORY_ONLY_2: Self = Self::new(false, true, false, false, 2);
    /// In memory, and on disk what does not fit.
    pub const MEMORY_AND_DISK: Self = Self::new(true, true, false, false, 1);
    /// As [`MEMORY_AND_DISK`](Self::MEMORY_AND_DISK), on two executors.
    pub const MEMORY_AND_DISK_2: Self = Self::new(true, true, false, false, 2);
    /// As [`MEMORY_AND_DISK`](Self::MEMORY_AND_DISK), as Java objects: the default.
    pub const MEMORY_AND_DISK_DESER: Self = Self::new(true, true, false, true, 1);
    /// In memory outside Java's heap, and on disk what does not fit.
    pub const OFF_HEAP: Self = Self::new(true, true, true, false, 1);

    const fn new(use_disk: bool, use_memory: bool, use_off_heap: bool, deserialized: bool, replication: i32) -> Self {
        Self { use_disk, use_memory, use_off_heap, deserialized, replication }
    }

    pub(crate) fn to_proto(self) -> proto::StorageLevel {
        let Self { use_disk, use_memory, use_off_heap, deserialized, replication } = self;
        proto::StorageLevel { use_disk, use_memory, use_off_heap, deserialized, replication }
    }

    pub(super) fn from_proto(level: &proto::StorageLevel) -> Self {
        Self::new(level.use_disk, level.use_memory, level.use_off_heap, level.deserialized, level.replication)
    }
}

impl Default for StorageLevel {
    fn default() -> Self {
        Self::MEMORY_AND_DISK_DESER
    }
}

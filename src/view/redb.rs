//! State in redb.

use std::io;
use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::ViewOptions;
use super::kept::view_in;
use super::store::{Piece, Store, StoreError, piece_of};
use crate::disk::{Disk, RealDisk};

view_in! {
    /// State in redb, in a directory on the disk.
    RedbView, Redb
}

const FILE: &str = "view.redb";
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// A redb database with a single table.
#[derive(Debug)]
struct Redb(Database);

impl Redb {
    fn transact(&self, durability: Durability, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(durability)?;
        // So that opening after a crash need not walk all rows.
        transaction.set_quick_repair(matches!(durability, Durability::Immediate));
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in changes {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                    None => table.remove(key.as_slice())?,
                };
            }
        }
        Ok(transaction.commit()?)
    }

    fn look<T>(
        &self,
        at: impl FnOnce(redb::ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        at(self.0.begin_read()?.open_table(TABLE)?)
    }
}

impl Store for Redb {
    const NAME: &'static str = "redb";

    fn open(dir: &Path, options: &ViewOptions) -> Result<(Self, bool), StoreError> {
        let path = dir.join(FILE);
        RealDisk.create_dir(dir)?;
        let there = path.exists();
        let database = match Database::builder().set_cache_size(options.cache_bytes).create(&path) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::Held),
            opened => Redb(opened.map_err(StoreError::failed)?),
        };
        database.transact(Durability::Immediate, Vec::new())?;
        RealDisk.sync_dir(dir)?;
        Ok((database, there))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.look(|table| Ok(table.get(key)?.map(|value| Bytes::copy_from_slice(value.value()))))?)
    }

    fn piece(&self, prefix: &[u8], from: Bound<&[u8]>) -> Result<Piece, StoreError> {
        self.look(|table| {
            let rows = table.range::<&[u8]>((from, Bound::Unbounded))?.map(|row| {
                let (key, value) = row.map_err(StoreError::failed)?;
                Ok((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value())))
            });
            Ok(piece_of(prefix, rows))
        })?
    }

    fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        // In memory, and in the file where memory is short; a crash goes back to the last barrier.
        Ok(self.transact(Durability::None, changes)?)
    }

    fn sync(&self, _dir: &Path) -> Result<(), StoreError> {
        Ok(self.transact(Durability::Immediate, Vec::new())?)
    }

    fn give_up(self) -> bool {
        drop(self);
        true
    }

    fn sync_dropped(_dir: &Path) -> io::Result<()> {
        Ok(()) // it does that itself
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        StoreError::failed(error)
    }
}

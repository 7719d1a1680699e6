// Package sqlite keeps the authority's state in one SQLite file: the embedded
// default, for one authority node.
//
// One goroutine writes, another copies the write-ahead log into the file beside it. It gathers the changes that are waiting into one
// transaction, each in a savepoint of its own, so that concurrent logouts and
// refreshes share an fsync and a failed condition undoes one change only. The
// file is in WAL mode with synchronous=FULL; the package refuses to run on
// less. Readers have connections of their own and never wait for the writer.
//
// [Create] makes a store, [Restore] makes one from a backup, and [Open] opens
// one; none does the work of another. A file that is not a Curfew store, is cut
// short, or was written by a newer version is refused and left untouched.
package sqlite

// Package engine holds everything that must outlive a process: the registry
// of buildings, the record of who holds which, their group address tables, and
// the journal. It is NATS JetStream, embedded in this process over one data
// directory.
//
// Nothing outside this package knows that it is NATS, or that it is embedded:
// callers get a [Bucket], a small key-value store in which a write that was
// acknowledged is on disk, every write has a revision that only ever rises,
// and a change can be made conditional on the revision it is based on; and a
// [Journal], a log of records by building within limits.
//
// A data directory belongs to one process at a time. A lock (flock) on it is
// taken before anything else and is held until [Engine.Close] has returned or
// the process is dead, whichever way it died.
//
// The data directory holds:
//
//	lock             the lock file; empty
//	engine.json      which buckets exist, so that a lost one is noticed
//	store.key        the key that the store is encrypted with, sealed
//	marks            how far each bucket has come, so that a lost end is noticed
//	appending        there while a process appends to the journal; empty
//	damaged.json     what is missing from a damaged store; only until it is accepted
//	restore.pending  a backup whose restore was interrupted; only until it is finished
//	journal.damaged  files of a journal that could not be recovered
//	jetstream/       the server's own files
//	view/            links to them, which the server works on: made at each start
//
// The keyset that seals secrets lies beside them (package keyset); the engine
// is given [Keys] that seal and open, and knows nothing else of it.
//
// A store is never opened with something missing unless that is asked for: a
// start reads every bucket and compares. What the journal has lost is told
// ([Journal.Loss]) and does not keep it from opening.
//
// While a store is open its keeper looks after it: nearly no space left on the
// disk makes the journal refuse records, so that the registry can go on; after
// a write error the server is started again as soon as the directory can be
// written.
package engine

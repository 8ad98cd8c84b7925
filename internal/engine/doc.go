// Package engine holds everything that must outlive a process: the registry
// of buildings, the record of who holds which, and their group address tables.
// It is NATS JetStream, embedded in this process over one data directory.
//
// Nothing outside this package knows that it is NATS, or that it is embedded:
// callers get a [Bucket], a small key-value store in which a write that was
// acknowledged is on disk, every write has a revision that only ever rises,
// and a change can be made conditional on the revision it is based on.
//
// A data directory belongs to one process at a time. A lock (flock) on it is
// taken before anything else and is held until [Engine.Close] has returned or
// the process is dead, whichever way it died.
//
// The data directory holds:
//
//	lock         the lock file; empty
//	engine.json  which buckets exist, so that a lost one is noticed
//	jetstream/   the server's own files
//
// The keyset that seals secrets lies beside them (package keyset); the engine
// stores what it is given and knows nothing of keys.
package engine

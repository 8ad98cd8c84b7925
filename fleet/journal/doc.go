// Package journal keeps the durable log of telegrams and gives it back: history,
// streams that resume where they were, and last values.
//
// A telegram's identity is (building, epoch, number). Numbers count from 1 within
// an epoch, without holes, so a reader who knows one position sees from the next
// record whether something lies between. The log is therefore never trusted to be
// whole: what the store lost, refused or dropped becomes an explicit [Gap].
//
// # Writing
//
// A [Journal] has a [Writer] for each building that runs. The site calls
// [Writer.Write], then hands the telegram to the fan-out, then calls
// [Writer.Published]. None of them waits. One goroutine ([Journal.Run]) brings the
// queue to the store. What finds the queue full becomes a gap record, in its place.
//
// In the store an epoch begins with a record that names the epoch before, and ends
// with one that names its last number. An epoch whose end is missing ended with a
// crash: what came last may be lost, and readers are told.
//
// # Stamps
//
// Write gives each telegram a stamp: the wall clock in nanoseconds, but strictly
// rising over all buildings of the process. Stamps carry the watermarks that keep
// resume tokens small; see position.go for why nothing is lost or repeated.
//
// # Reading
//
// A [Stream] joins history to what is live: merge.go is the pure core, replay.go
// the shell around it. The package does not know the type of a live telegram; the
// caller gives functions that identify one, and that make one from a [Telegram].
package journal

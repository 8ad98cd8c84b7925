package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// resyncInterval is how often a watch is rebuilt from the last revision it
	// has seen. A watch was seen to stall for ten seconds while writes went
	// through; rebuilding costs one small request when nothing was missed.
	resyncInterval = 30 * time.Second
	// retryInterval is the pause after a watch could not be built.
	retryInterval = time.Second
)

// EventType says what an Event tells.
type EventType uint8

const (
	// Stored: the entry is the key's value now.
	Stored EventType = iota + 1
	// Deleted: the key has no value any more. The entry has none either.
	Deleted
	// SnapshotComplete: all that was stored when the watch began has been
	// told. It comes once, and the entry is empty.
	SnapshotComplete
)

// Event is one step of a watch.
type Event struct {
	Type  EventType
	Entry Entry
}

// List returns the entries of all keys that begin with prefix, which must end
// with a dot, in no particular order.
func (b *Bucket) List(ctx context.Context, prefix string) ([]Entry, error) {
	var entries []Entry
	err := b.list(ctx, prefix, nil, func(entry jetstream.KeyValueEntry) {
		entries = append(entries, Entry{Key: entry.Key(), Value: entry.Value(), Revision: entry.Revision()})
	})
	return entries, err
}

// Keys is List without reading the values.
func (b *Bucket) Keys(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	err := b.list(ctx, prefix, []jetstream.WatchOpt{jetstream.MetaOnly()}, func(entry jetstream.KeyValueEntry) {
		keys = append(keys, entry.Key())
	})
	return keys, err
}

func (b *Bucket) list(ctx context.Context, prefix string, opts []jetstream.WatchOpt, take func(jetstream.KeyValueEntry)) error {
	opCtx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	err := b.follow(opCtx, prefix, append(opts, jetstream.IgnoreDeletes()), operationTimeout, func(entry jetstream.KeyValueEntry) error {
		if entry == nil {
			return errEndOfList
		}
		take(entry)
		return nil
	})
	if errors.Is(err, errEndOfList) {
		return nil
	}
	if err == nil {
		err = context.DeadlineExceeded
	}
	return b.failure(ctx, "list", prefix+"*", err)
}

// errEndOfList ends the watch that a list is made with.
var errEndOfList = errors.New("end of list")

// Watch calls fn with the present value of each key that begins with prefix,
// which must end with a dot, then with SnapshotComplete, then with every
// change, in the order of revisions. When a key changes several times in
// quick succession the steps between may be left out; the last one never is.
// A Deleted is told only of keys of which a Stored was told.
//
// fn runs in the calling goroutine. While it is busy the store buffers for it
// within bounds, and reads anew what went beyond them.
//
// Watch returns nil when ctx is done, fn's error when it returns one, and
// ErrUnavailable when the engine is closed. A watch that stalls is rebuilt
// where it was.
func (b *Bucket) Watch(ctx context.Context, prefix string, fn func(Event) error) error {
	var (
		seen     uint64                      // revision of the last event
		told     = make(map[string]struct{}) // keys with a value, as fn knows it
		complete bool                        // the snapshot is
		fnErr    error                       // what fn returned
	)
	emit := func(event Event) error {
		fnErr = fn(event)
		return fnErr
	}
	step := func(entry jetstream.KeyValueEntry) error {
		if entry == nil {
			if complete {
				return nil
			}
			complete = true
			return emit(Event{Type: SnapshotComplete})
		}
		if entry.Revision() <= seen {
			return nil
		}
		seen = entry.Revision()
		event := Event{Type: Stored, Entry: Entry{Key: entry.Key(), Value: entry.Value(), Revision: seen}}
		if entry.Operation() == jetstream.KeyValuePut {
			told[entry.Key()] = struct{}{}
			return emit(event)
		}
		if _, ok := told[entry.Key()]; !ok {
			return nil
		}
		delete(told, entry.Key())
		event.Type, event.Entry.Value = Deleted, nil
		return emit(event)
	}
	for {
		var opts []jetstream.WatchOpt
		if seen > 0 {
			opts = append(opts, jetstream.ResumeFromRevision(seen+1))
		}
		err := b.follow(ctx, prefix, opts, b.resync, step)
		switch {
		case fnErr != nil:
			return fnErr
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the caller wanted the end; err only repeats it
		case err == nil: // time to resync
			continue
		}
		select {
		case <-b.closed:
			return fmt.Errorf("watch %s* in bucket %s: %w: it is closed", prefix, b.name, ErrUnavailable)
		case <-ctx.Done():
			return nil
		case <-time.After(retryInterval):
			b.log.Warn().Err(err).Str("bucket", b.name).Msg("watch failed, trying again")
		}
	}
}

// follow runs one watcher of the client library and hands its entries to
// step: first what is stored, then a nil, then changes. It returns nil when the
// watcher has run for the given time, and otherwise the error that ended it.
// Everything it started has ended when it returns.
func (b *Bucket) follow(ctx context.Context, prefix string, opts []jetstream.WatchOpt, lifetime time.Duration, step func(jetstream.KeyValueEntry) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The context is the watcher's for life, so its creation is bounded apart.
	giveUp := time.AfterFunc(operationTimeout, cancel)
	watcher, err := b.kv.Watch(ctx, prefix+">", opts...)
	if err != nil {
		return err
	}
	defer func() {
		// An error means that it has ended already.
		_ = watcher.Stop()
		// The library's callback may be blocked on this channel, and closes it
		// only once it is not.
		for range watcher.Updates() {
		}
	}()
	if !giveUp.Stop() {
		return context.DeadlineExceeded
	}
	// Counted from here, so that however slow the store is, each watcher has its
	// time to deliver something.
	expired := time.NewTimer(lifetime)
	defer expired.Stop()
	for {
		select {
		case entry, ok := <-watcher.Updates():
			if !ok {
				return errors.New("the watcher ended")
			}
			if err := step(entry); err != nil {
				return err
			}
		case <-expired.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Finding is one thing that Check looked at.
type Finding struct {
	Name   string // such as "lock" or "bucket reg"
	OK     bool
	Detail string // what was found, or what is wrong
}

// Check looks at a data directory that no process has open: whether it can be
// locked, whether the keys open it, whether everything in it can be read, how much
// space is left, and whether it can be written. It makes nothing that is not there.
// Opening repairs what a crash left, as every start does. What stands behind
// something that is wrong cannot be looked at and is left out.
func Check(ctx context.Context, cfg Config) []Finding {
	c := &checker{}
	c.run(ctx, cfg)
	return c.findings
}

type checker struct{ findings []Finding }

// add notes a finding and reports whether it is good.
func (c *checker) add(name string, err error, detail string, args ...any) bool {
	f := Finding{Name: name, OK: err == nil, Detail: fmt.Sprintf(detail, args...)}
	if err != nil {
		f.Detail = err.Error()
	}
	c.findings = append(c.findings, f)
	return f.OK
}

func (c *checker) run(ctx context.Context, cfg Config) {
	if cfg.space == nil {
		cfg.space = freeSpace
	}
	info, err := os.Stat(cfg.Dir)
	switch {
	case err != nil:
	case !info.IsDir():
		err = fmt.Errorf("%s: this is a file; name a directory", cfg.Dir)
	case !Exists(cfg.Dir):
		err = fmt.Errorf("%s: no store was made here yet", cfg.Dir)
	}
	if !c.add("directory", err, "%s", cfg.Dir) {
		return
	}
	dir, err := prepareDirectory(cfg.Dir, cfg.Log)
	if err != nil {
		c.add("directory", err, "")
		return
	}
	lock, err := lockDirectory(dir)
	if !c.add("lock", err, "no other process holds it") {
		return
	}
	space, err := cfg.space(dir)
	if err == nil && space.Free < space.reserve() {
		err = fmt.Errorf("%w: %d MiB of %d MiB are free; the journal needs %d MiB", ErrNoSpace, space.Free>>20, space.Total>>20, space.reserve()>>20)
	}
	c.add("space", err, "%d MiB of %d MiB are free", space.Free>>20, space.Total>>20)
	c.add("write", writeProbe(dir), "the directory takes files")

	keys := &noted{Keys: cfg.Keys}
	if cfg.Keys != nil {
		cfg.Keys = keys
	}
	began := time.Now()
	e, err := openLocked(ctx, cfg, dir, lock)
	if keys.used {
		c.add("keys", keys.err, "they open the store")
	}
	if !c.add("store", err, "opened in %v", time.Since(began).Round(time.Millisecond)) {
		return
	}
	c.look(ctx, e)
	c.add("probe", ignore(e.Probe(ctx), ErrNoSpace), "the store takes writes")
	if err := e.Close(); err != nil {
		c.add("close", err, "")
	}
}

// look reads everything in an open store.
func (c *checker) look(ctx context.Context, e *Engine) {
	for _, b := range e.buckets() {
		keys, err := b.Keys(ctx, "")
		var state streamState
		if err == nil {
			state, err = e.streamState(ctx, b.stream())
		}
		c.add("bucket "+b.name, err, "%d keys, %d records, revision %d", len(keys), state.Messages, state.LastSeq)
	}
	if e.journal == nil {
		return
	}
	stats, err := e.journal.Stats(ctx)
	if !c.add("journal", err, "%d records, %d MiB, since %s", stats.Records, stats.Bytes>>20, since(stats.Oldest)) {
		return
	}
	c.add("limits", nil, "%v, %d MiB, %d records of a building", stats.Limits.MaxAge, stats.Limits.MaxBytes>>20, stats.Limits.MaxRecordsPerBuilding)
	var count uint64
	err = scan{stream: journalStream, metaOnly: true}.run(ctx, e, func(scanned) error {
		count++
		return nil
	})
	if err == nil {
		// Some may have come of age meanwhile.
		stats, err = e.journal.Stats(ctx)
	}
	if err == nil && count < stats.Records {
		err = fmt.Errorf("%d of %d records can be read", count, stats.Records)
	}
	c.add("records", err, "all can be read")
}

func since(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}

func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// noted notes whether keys opened what they had to.
type noted struct {
	Keys
	used bool
	err  error
}

func (n *noted) Open(sealed []byte) ([]byte, error) {
	secret, err := n.Keys.Open(sealed)
	n.used, n.err = true, err
	return secret, err
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// numbers are n records, "1" to n.
func numbers(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(i + 1)
	}
	return all
}

func of(building string, records ...string) []string {
	all := make([]string, len(records))
	for i, r := range records {
		all[i] = building + " " + r
	}
	return all
}

func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d records %.200q; want %d %.200q", what, len(got), got, len(want), want)
	}
}

func TestJournalKeepsRecordsInOrder(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
	e := openWith(t, cfg)
	j := e.Journal()
	same(t, "an empty journal", read(t, j, Query{}), nil)
	all := numbers(1500) // three batches
	appendAll(t, j, "hq", all[:700]...)
	appendAll(t, j, "lab", "a", "b")
	appendAll(t, j, "hq", all[700:]...)

	look := func(when string) {
		same(t, when+": one building", read(t, j, Query{Buildings: []string{"hq"}}), of("hq", all...))
		same(t, when+": all", read(t, j, Query{}), slices.Concat(of("hq", all[:700]...), of("lab", "a", "b"), of("hq", all[700:]...)))
		same(t, when+": two", read(t, j, Query{Buildings: []string{"lab", "nowhere", "lab"}}), of("lab", "a", "b"))
		same(t, when+": none", read(t, j, Query{Buildings: []string{}}), nil)
	}
	look("at once")
	noError(t, e.Close())
	e = openWith(t, cfg)
	j = e.Journal()
	look("after reopening")
	if loss := j.Loss(); loss != "" {
		t.Errorf("loss after a close in order: %s", loss)
	}
	// More buildings than the store filters for.
	many := make([]string, maxFilters+1)
	for i := range many {
		many[i] = fmt.Sprint("b", i)
		appendAll(t, j, many[i], "x")
	}
	got := read(t, j, Query{Buildings: append([]string{"lab"}, many...)})
	if len(got) != 2+len(many) || got[1] != "lab b" || got[2] != "b0 x" || got[len(got)-1] != "b32 x" {
		t.Errorf("many buildings: %q", got)
	}
}

func TestJournalTimes(t *testing.T) {
	j := openWith(t, Config{Dir: t.TempDir()}).Journal()
	began := time.Now()
	appendAll(t, j, "hq", numbers(20)...)
	var times []time.Time
	noError(t, j.Read(t.Context(), Query{}, func(r Record) error {
		times = append(times, r.Time)
		return nil
	}))
	if times[0].Before(began.Add(-time.Second)) || times[19].After(time.Now().Add(time.Second)) || !slices.IsSortedFunc(times, time.Time.Compare) {
		t.Errorf("times: %v", times)
	}
	all := numbers(20)
	same(t, "since", read(t, j, Query{Since: times[7]}), of("hq", all[7:]...))
	same(t, "until", read(t, j, Query{Until: times[7]}), of("hq", all[:7]...))
	same(t, "between", read(t, j, Query{Buildings: []string{"hq"}, Since: times[5], Until: times[9]}), of("hq", all[5:9]...))
	same(t, "in the future", read(t, j, Query{Since: time.Now().Add(time.Hour)}), nil)
	same(t, "long ago", read(t, j, Query{Until: began.Add(-time.Hour)}), nil)
	hq := []string{"hq"}
	same(t, "newest until", read(t, j, Query{Buildings: hq, Newest: 3, Until: times[9]}), of("hq", all[6:9]...))
	same(t, "newest since", read(t, j, Query{Buildings: hq, Newest: 300, Since: times[9]}), of("hq", all[9:]...))
	same(t, "newest of all since", read(t, j, Query{Newest: 4, Since: times[9], Until: times[15]}), of("hq", all[11:15]...))
}

func TestNewestOfEachBuilding(t *testing.T) {
	j := openWith(t, Config{Dir: t.TempDir()}).Journal()
	same(t, "of nothing", read(t, j, Query{Buildings: []string{"hq"}, Newest: 3}), nil)
	same(t, "of no building at all", read(t, j, Query{Newest: 3}), nil)
	all := numbers(1000)
	appendAll(t, j, "quiet", "q")
	appendAll(t, j, "hq", all...)
	appendAll(t, j, "lab", all[:5]...)
	for _, buildings := range [][]string{nil, {"hq", "quiet", "lab"}} {
		want := slices.Concat(of("quiet", "q"), of("hq", all[997:]...), of("lab", all[2:5]...))
		same(t, fmt.Sprint("of ", buildings), read(t, j, Query{Buildings: buildings, Newest: 3}), want)
	}
	same(t, "more than there are", read(t, j, Query{Buildings: []string{"lab"}, Newest: 7}), of("lab", all[:5]...))
	same(t, "exactly all", read(t, j, Query{Buildings: []string{"hq"}, Newest: 1000}), of("hq", all...))
}

// What a reader meets while others append, purge, and lower the limits.
func TestJournalReadTellsWhatWasThere(t *testing.T) {
	j := openWith(t, Config{Dir: t.TempDir()}).Journal()
	all := numbers(1200)
	appendAll(t, j, "hq", all...)
	appended := false
	var got []string
	noError(t, j.Read(t.Context(), Query{}, func(r Record) error {
		if !appended {
			appended = true
			appendAll(t, j, "hq", "later")
		}
		got = append(got, "hq "+string(r.Data))
		return nil
	}))
	same(t, "with records to come", got, of("hq", all...))

	got = nil
	noError(t, j.Read(t.Context(), Query{}, func(r Record) error {
		if len(got) == 0 {
			noError(t, j.Purge(t.Context(), "hq"))
		}
		got = append(got, "hq "+string(r.Data))
		return nil
	}))
	if len(got) == 0 || len(got) > len(all) || !slices.Equal(got, of("hq", all[:len(got)]...)) {
		t.Errorf("with a purge under way: %d records", len(got))
	}

	appendAll(t, j, "hq", numbers(10)...)
	enough := errors.New("enough")
	n := 0
	err := j.Read(t.Context(), Query{}, func(Record) error {
		if n++; n == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 3 {
		t.Errorf("an error of fn: %v after %d", err, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = j.Read(ctx, Query{}, func(Record) error { cancel(); return nil })
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled under way: %v", err)
	}
	if err := j.Read(ctx, Query{}, func(Record) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

func TestAppendIsBoundedAndAnsweredOnce(t *testing.T) {
	e := openWith(t, Config{Dir: t.TempDir()})
	j := e.Journal()
	release := make(chan struct{})
	answers := make(map[int]int)
	var failed int
	taken := 0
	for {
		n := taken
		err := j.Append("hq", fmt.Sprint(n), []byte("x"), func(err error) {
			<-release // which keeps all answers back
			answers[n]++
			if err != nil {
				failed++
			}
		})
		if errors.Is(err, ErrJournalFull) {
			break
		}
		noError(t, err)
		if taken++; taken > 2*maxUnacknowledged {
			break
		}
	}
	close(release)
	// One is being answered, and does not count.
	if taken < maxUnacknowledged || taken > maxUnacknowledged+1 {
		t.Errorf("full after %d records; want %d", taken, maxUnacknowledged)
	}
	noError(t, e.Close()) // waits for the answers
	if len(answers) != taken || failed != 0 {
		t.Errorf("%d of %d records were answered, %d refused", len(answers), taken, failed)
	}
	for n, count := range answers {
		if count != 1 {
			t.Errorf("record %d was answered %d times", n, count)
		}
	}
	if err := j.Append("hq", "z", nil, func(error) { t.Error("answered") }); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after close: %v", err)
	}
	if err := j.Read(t.Context(), Query{}, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("read after close: %v", err)
	}
}

// A record that is given up is not answered again when its answer comes late.
func TestAppendGivenUp(t *testing.T) {
	j := openWith(t, Config{Dir: t.TempDir()}).Journal()
	var mu sync.Mutex
	answers := map[int]int{}
	all := make(chan struct{}, 3000)
	for n := range 3000 {
		noError(t, j.Append("hq", fmt.Sprint(n), nil, func(err error) {
			if err != nil && !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
			mu.Lock()
			answers[n]++
			mu.Unlock()
			all <- struct{}{}
		}))
		if n%100 == 99 {
			j.expire(time.Now().Add(time.Hour))
		}
	}
	for range 3000 {
		<-all
	}
	appendAll(t, j, "hq", "last")
	if len(all) > 0 || len(answers) != 3000 {
		t.Errorf("%d of 3000 answered, %d more than once", len(answers), len(all))
	}
}

func TestAppendRefusesWhatItCannotKeep(t *testing.T) {
	j := openWith(t, Config{Dir: t.TempDir()}).Journal()
	never := func(error) { t.Error("answered") }
	for _, building := range []string{"", "a.b", "*", ">", "a b"} {
		if err := j.Append(building, "1", nil, never); err == nil {
			t.Errorf("building %q was taken", building)
		}
		if err := j.Purge(t.Context(), building); err == nil {
			t.Errorf("building %q was purged", building)
		}
		if err := j.Read(t.Context(), Query{Buildings: []string{building}}, nil); err == nil {
			t.Errorf("building %q was read", building)
		}
	}
	if err := j.Append("hq", "1", make([]byte, MaxRecord+1), never); err == nil {
		t.Error("a record above the limit was taken")
	}
	appendAll(t, j, "hq", strings.Repeat("x", MaxRecord))
	// The id makes a record unique.
	for range 2 {
		answered := make(chan error)
		noError(t, j.Append("lab", "7-1", []byte("once"), func(err error) { answered <- err }))
		noError(t, <-answered)
	}
	same(t, "a record that came twice", read(t, j, Query{Buildings: []string{"lab"}}), of("lab", "once"))
}

func TestPurgeAndUsage(t *testing.T) {
	ctx := t.Context()
	cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
	e := openWith(t, cfg)
	j := e.Journal()
	if usage, err := j.Usage(ctx); err != nil || len(usage) != 0 {
		t.Errorf("usage of nothing: %v, %v", usage, err)
	}
	appendAll(t, j, "hq", numbers(300)...)
	appendAll(t, j, "lab", numbers(100)...)
	usage, err := j.Usage(ctx)
	noError(t, err)
	stats, err := j.Stats(ctx)
	noError(t, err)
	hq, lab := usage["hq"], usage["lab"]
	if len(usage) != 2 || hq.Records != 300 || lab.Records != 100 || hq.Bytes < 2*lab.Bytes || lab.Bytes < 4000 ||
		stats.Records != 400 || stats.Bytes < hq.Bytes+lab.Bytes-2 || stats.Limits != defaultLimits || time.Since(stats.Oldest) > time.Minute {
		t.Errorf("usage %+v, stats %+v", usage, stats)
	}
	noError(t, j.Purge(ctx, "hq"))
	noError(t, j.Purge(ctx, "nowhere"))
	for range 2 {
		usage, err = j.Usage(ctx)
		noError(t, err)
		if len(usage) != 1 || usage["lab"].Records != 100 {
			t.Errorf("after a purge: %+v", usage)
		}
		same(t, "after a purge", read(t, j, Query{}), of("lab", numbers(100)...))
		noError(t, e.Close())
		e = openWith(t, cfg)
		j = e.Journal()
	}
}

func TestLimits(t *testing.T) {
	ctx := t.Context()
	cfg := Config{Dir: t.TempDir(), Journal: Limits{MaxRecordsPerBuilding: 50}}
	e := openWith(t, cfg)
	j := e.Journal()
	all := numbers(100)
	appendAll(t, j, "lab", all[:30]...)
	appendAll(t, j, "hq", all...)
	same(t, "the limit of a building", read(t, j, Query{}), slices.Concat(of("lab", all[:30]...), of("hq", all[50:]...)))
	noError(t, j.SetLimits(ctx, Limits{MaxRecordsPerBuilding: 10}))
	same(t, "a lower limit", read(t, j, Query{}), slices.Concat(of("lab", all[20:30]...), of("hq", all[90:]...)))
	want := Limits{time.Hour, 64 << 20, 10}
	noError(t, j.SetLimits(ctx, Limits{MaxAge: want.MaxAge, MaxBytes: want.MaxBytes}))
	for limits, wrong := range map[Limits]string{
		{MaxAge: time.Second}:           "age",
		{MaxBytes: 1}:                   "size",
		{MaxBytes: MaxJournalBytes + 1}: "size",
		{MaxRecordsPerBuilding: -1}:     "-1 records",
	} {
		if err := j.SetLimits(ctx, limits); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%+v: %v", limits, err)
		}
		if _, err := Open(ctx, Config{Dir: t.TempDir(), Journal: limits}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("open with %+v: %v", limits, err)
		}
	}
	noError(t, e.Close())
	for _, c := range []struct {
		given, want Limits
	}{
		{Limits{}, want},
		{Limits{MaxAge: 2 * time.Hour}, Limits{2 * time.Hour, want.MaxBytes, want.MaxRecordsPerBuilding}},
	} {
		e = openWith(t, Config{Dir: cfg.Dir, Journal: c.given})
		if stats, err := e.Journal().Stats(ctx); err != nil || stats.Limits != c.want {
			t.Errorf("opened with %+v: %+v, %v; want %+v", c.given, stats.Limits, err, c.want)
		}
		noError(t, e.Close())
	}
}

func TestNoJournal(t *testing.T) {
	ctx := t.Context()
	cfg := Config{Dir: t.TempDir()}
	e := openWith(t, cfg)
	appendAll(t, e.Journal(), "hq", "kept")
	noError(t, e.Close())

	cfg.NoJournal = true
	e = openWith(t, cfg)
	j := e.Journal()
	_, usageErr := j.Usage(ctx)
	_, statsErr := j.Stats(ctx)
	for name, err := range map[string]error{
		"append": j.Append("hq", "1", nil, func(error) { t.Error("answered") }),
		"read":   j.Read(ctx, Query{}, func(Record) error { t.Error("a record"); return nil }),
		"purge":  j.Purge(ctx, "hq"), "limits": j.SetLimits(ctx, Limits{}), "usage": usageErr, "stats": statsErr,
	} {
		if !errors.Is(err, ErrNoJournal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	noError(t, e.Probe(ctx))
	noError(t, e.Close())
	cfg.NoJournal = false
	same(t, "with the journal again", read(t, openWith(t, cfg).Journal(), Query{}), of("hq", "kept"))
}

// What a crash leaves: every building's records without a hole, from the first to
// somewhere near the last.
func TestJournalAfterACrash(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
	j := openWith(t, cfg).Journal()
	all := numbers(400)
	for _, building := range []string{"hq", "lab"} {
		appendAll(t, j, building, all...)
	}
	cfg.Dir = copied(t, cfg.Dir)
	e := openWith(t, cfg)
	for building, records := range map[string][]string{"hq": all, "lab": all} {
		got := read(t, e.Journal(), Query{Buildings: []string{building}})
		if !slices.Equal(got, of(building, records[:min(len(got), len(records))]...)) {
			t.Errorf("%s: %.200q", building, got)
		}
	}
	appendAll(t, e.Journal(), "new", "x")
	usage, err := e.Journal().Usage(t.Context())
	if err != nil || usage["new"].Records != 1 {
		t.Errorf("usage of %v, %v", slices.Collect(maps.Keys(usage)), err)
	}
}

// A journal whose end is missing says so.
func TestJournalTellsItsLoss(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
	e := openWith(t, cfg)
	appendAll(t, e.Journal(), "hq", numbers(100)...)
	noError(t, e.Close())
	for name, c := range map[string]struct{ file, damage, want string }{
		"cut":       {"jetstream/$G/streams/TG/msgs/1.blk", "cut in half", "records are gone"},
		"no blocks": {"jetstream/$G/streams/TG/msgs/1.blk", "removed", "records are gone"},
		"no stream": {"jetstream/$G/streams/TG/meta.sum", "removed", "begins anew"},
	} {
		damaged := cfg
		damaged.Dir = copied(t, cfg.Dir)
		harm(t, damaged.Dir, c.file, c.damage)
		looked := openWith(t, damaged)
		if loss := looked.Journal().Loss(); !strings.Contains(loss, c.want) {
			t.Errorf("%s: loss %q at the first look, want %q", name, loss, c.want)
		}
		noError(t, looked.Close())
		e := openWith(t, damaged)
		if loss := e.Journal().Loss(); loss == "" {
			t.Errorf("%s: forgotten after a look", name)
		}
		appendAll(t, e.Journal(), "hq", "new")
		noError(t, e.Close())
		if loss := openWith(t, damaged).Journal().Loss(); loss != "" {
			t.Errorf("%s: told again: %q", name, loss)
		}
	}
}

func TestLossAfterAKill(t *testing.T) {
	dir := t.TempDir()
	e := openWith(t, Config{Dir: dir})
	idle := copied(t, dir)
	appendAll(t, e.Journal(), "hq", "first")
	killed := copied(t, dir)
	noError(t, e.Close())

	for _, c := range []struct {
		what, dir string
		loss      bool
	}{{"killed before anything was appended", idle, false}, {"killed", killed, true}, {"looked at once", killed, true}, {"closed", dir, false}} {
		looked := openWith(t, Config{Dir: c.dir})
		if loss := looked.Journal().Loss(); (loss != "") != c.loss {
			t.Errorf("%s: loss %q", c.what, loss)
		}
		noError(t, looked.Close())
	}
	e = openWith(t, Config{Dir: killed})
	appendAll(t, e.Journal(), "hq", "second")
	noError(t, e.Close())
	if loss := openWith(t, Config{Dir: killed}).Journal().Loss(); loss != "" {
		t.Errorf("after a close in order: loss %q", loss)
	}
}

// A read that ends early, here with the store closed under it, leaves nothing running.
func TestReadEndsWithWhatItStarted(t *testing.T) {
	e := openWith(t, Config{Dir: t.TempDir()})
	before := goleak.IgnoreCurrent()
	appendAll(t, e.Journal(), "hq", numbers(1200)...)
	enough := errors.New("enough")
	err := e.Journal().Read(t.Context(), Query{}, func(Record) error {
		noError(t, e.Close())
		return enough
	})
	if !errors.Is(err, enough) {
		t.Errorf("read: %v", err)
	}
	noError(t, goleak.Find(before))
}

package journal

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// plain shows telegrams as text.
func plain(buildings ...string) View[string] {
	return View[string]{
		Buildings: buildings,
		Restore: func(b string, t *Telegram) (string, bool) {
			return fmt.Sprintf("%s:%d", b, t.Number), true
		},
	}
}

func listAll(t *testing.T, j *Journal, v View[string], r Range) (all []string, gaps []Gap) {
	t.Helper()
	for range 1000 {
		page, err := List(t.Context(), j, v, r)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Telegrams) > r.Limit {
			t.Fatalf("a page of %d", len(page.Telegrams))
		}
		all, gaps = append(all, page.Telegrams...), append(gaps, page.Gaps...)
		if r.Page = page.Next; r.Page == "" {
			return all, gaps
		}
	}
	t.Fatal("the list does not end")
	return nil, nil
}

func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{now: time.Now, auto: true}
		j, stop := running(t, Config{Store: store})
		defer stop()
		a, b := j.Open("a", 1, 0, false), j.Open("b", 2, 0, false)
		var want []string
		begin := time.Now()
		for n := uint64(1); n <= 50; n++ {
			write(a, n, n)
			write(b, n, n)
			want = append(want, fmt.Sprintf("a:%d", n), fmt.Sprintf("b:%d", n))
			time.Sleep(7 * time.Minute)
		}
		// The last ones wait in memory.
		store.mu.Lock()
		store.refusing = true
		store.mu.Unlock()
		write(a, 51, 53)
		want = append(want, "a:51", "a:52", "a:53")
		synctest.Wait()
		back := slices.Clone(want)
		slices.Reverse(back)
		for _, limit := range []int{1, 3, 7, 100, 1000} {
			got, gaps := listAll(t, j, plain(), Range{Limit: limit})
			if !slices.Equal(got, want) || len(gaps) > 0 {
				t.Errorf("by %d: %v, gaps %v", limit, got, gaps)
			}
			got, gaps = listAll(t, j, plain(), Range{Limit: limit, Newest: true})
			if !slices.Equal(got, back) || len(gaps) > 0 {
				t.Errorf("newest first by %d: %v, gaps %v", limit, got, gaps)
			}
		}
		bounds := Range{Limit: 5, Since: begin.Add(14 * time.Minute), Until: begin.Add(28 * time.Minute)}
		part := []string{"a:3", "b:3", "a:4", "b:4"}
		if got, gaps := listAll(t, j, plain(), bounds); !slices.Equal(got, part) || len(gaps) > 0 {
			t.Errorf("in bounds: %v, gaps %v; want %v", got, gaps, part)
		}
		bounds.Newest = true
		slices.Reverse(part)
		if got, gaps := listAll(t, j, plain(), bounds); !slices.Equal(got, part) || len(gaps) > 0 {
			t.Errorf("in bounds, newest first: %v, gaps %v; want %v", got, gaps, part)
		}
		if got, _ := listAll(t, j, plain("b"), Range{Limit: 10, Since: begin.Add(340 * time.Minute)}); !slices.Equal(got, []string{"b:50"}) {
			t.Errorf("of b: %v", got)
		}
		for _, newest := range []bool{false, true} {
			if _, err := List(t.Context(), j, plain(), Range{Page: "nonsense", Newest: newest}); !errors.Is(err, ErrBadToken) {
				t.Errorf("nonsense: %v", err)
			}
		}
		store.mu.Lock()
		store.refusing, store.failing = false, true
		store.mu.Unlock()
		for _, newest := range []bool{false, true} {
			if _, err := List(t.Context(), j, plain(), Range{Newest: newest}); !errors.Is(err, ErrNoHistory) {
				t.Errorf("while the store fails: %v", err)
			}
		}
	})
}

// A list tells what is missing in it.
func TestListGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{now: time.Now, auto: true}
		j, stop := running(t, Config{Store: store})
		defer stop()
		w := j.Open("a", 1, 0, false)
		write(w, 1, 9)
		write(j.Open("a", 2, 1, true), 1, 1)
		synctest.Wait()
		store.records = slices.Delete(store.records, 4, 6) // 4 and 5
		want := []Gap{{"a", 1, 4, 5, 2, CauseFailed}, {"a", 1, 10, 0, 0, CauseUncleanEnd}}
		got, gaps := listAll(t, j, plain(), Range{Limit: 4})
		if len(got) != 8 || !slices.Equal(gaps, want) {
			t.Errorf("%v, gaps %v, want %v", got, gaps, want)
		}
	})
}

func TestListWithoutJournal(t *testing.T) {
	j := New(t.Context(), Config{})
	if _, err := List(t.Context(), j, plain(), Range{}); !errors.Is(err, ErrOff) {
		t.Error(err)
	}
}

func values1(t *testing.T, v *LastValues, building string) (text string, restoring bool) {
	t.Helper()
	last, restoring, err := v.Get(building)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range last {
		text += fmt.Sprintf("%d=%d ", l.Destination, l.Number)
	}
	return text, restoring
}

func TestLastValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{now: time.Now, auto: true}
		j, stop := running(t, Config{Store: store})
		defer stop()
		v := NewLastValues(j)
		defer v.Close()
		v.perBuilding = 3
		w := j.Open("a", 1, 0, false)
		n := uint64(0)
		say := func(to frame.GroupAddress, c frame.APCI) {
			n++
			telegram := Telegram{Position: Position{Number: n}, Destination: to, Command: c}
			telegram.Stamp = w.Write(telegram)
			telegram.Epoch = 1
			v.Observe("a", telegram)
			w.Published()
		}
		for _, to := range []frame.GroupAddress{1, 2, 3, 4, 2} {
			say(to, frame.GroupValueWrite)
		}
		say(3, frame.GroupValueRead)
		synctest.Wait()
		if got, restoring := values1(t, v, "a"); got != "" || !restoring {
			t.Errorf("at first %q, restoring %v", got, restoring)
		}
		synctest.Wait()
		if got, restoring := values1(t, v, "a"); got != "2=5 3=3 4=4 " || restoring {
			t.Errorf("restored: %q, restoring %v", got, restoring)
		}
		say(3, frame.GroupValueResponse)
		say(9, frame.GroupValueWrite)
		if got, _ := values1(t, v, "a"); got != "2=5 3=7 9=8 " {
			t.Errorf("observed: %q", got)
		}
		v.inAll = 2
		values1(t, v, "b") // makes room
		if v.held != 0 || len(v.buildings) != 1 {
			t.Errorf("%d values of %d buildings are held", v.held, len(v.buildings))
		}
		synctest.Wait()
	})
}

// What is still on its way to the store counts, and a store that fails says so.
func TestLastValuesWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{now: time.Now}
		j := New(t.Context(), Config{Store: store})
		v := NewLastValues(j)
		defer v.Close()
		w := j.Open("a", 1, 0, false)
		w.Write(Telegram{Position: Position{Number: 1}, Destination: 7, Command: frame.GroupValueWrite})
		store.failing = true
		values1(t, v, "a")
		synctest.Wait()
		last, _, err := v.Get("a")
		if len(last) != 1 || !errors.Is(err, errStore) {
			t.Errorf("%v, %v", last, err)
		}
		store.mu.Lock()
		store.failing = false
		store.mu.Unlock()
		synctest.Wait()
		v.Forget("a")
		values1(t, v, "a")
		synctest.Wait()
		if got, restoring := values1(t, v, "a"); got != "7=1 " || restoring {
			t.Errorf("%q, restoring %v", got, restoring)
		}
	})
}

func FuzzPage(f *testing.F) {
	f.Add(encodeStamp(7))
	f.Add("")
	f.Fuzz(func(t *testing.T, page string) {
		stamp, err := decodeStamp(page)
		switch {
		case err != nil && !errors.Is(err, ErrBadToken):
			t.Fatal(err)
		case err == nil && (stamp < 0 || encodeStamp(stamp) != page):
			t.Fatalf("%q was read as %d", page, stamp)
		}
	})
}

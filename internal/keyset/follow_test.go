package keyset

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// shelf is a Holder in memory.
type shelf struct {
	mu      sync.Mutex
	sealed  []byte
	passes  int
	settled uint32
	failing error
}

func (s *shelf) Opens(_ context.Context, keys *Keyset) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := keys.Open(s.sealed, Place{})
	return err
}

func (s *shelf) Reseal(_ context.Context, keys *Keyset) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passes++
	if s.failing != nil || keys.Current(s.sealed, Place{}) {
		return 0, s.failing
	}
	secret, err := keys.Open(s.sealed, Place{})
	if err == nil {
		s.sealed, err = keys.Seal(secret, Place{})
	}
	return 1, err
}

func (s *shelf) Settled(primary uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = primary
	return nil
}

func (s *shelf) look(f func(*shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, path := newKeyset(t)
		var log bytes.Buffer // read only while nothing runs: see the waits
		sealed, err := k.Seal([]byte("secret"), Place{})
		if err != nil {
			t.Fatal(err)
		}
		s := &shelf{sealed: sealed}
		ctx, stop := context.WithCancel(t.Context())
		var following sync.WaitGroup
		following.Go(func() {
			if err := Follow(ctx, k, zerolog.New(&log), s); err != nil {
				t.Error(err)
			}
		})
		pass := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		count := func(text string, want int) {
			t.Helper()
			if got := strings.Count(log.String(), text); got != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, got, want, log.String())
			}
		}
		// A start looks once, and has nothing to say.
		pass(time.Minute)
		s.look(func(s *shelf) {
			if s.passes != 1 || log.Len() > 0 {
				t.Errorf("%d passes, logged %s", s.passes, log.String())
			}
		})
		keys, err := Rotate(path)
		if err != nil {
			t.Fatal(err)
		}
		pass(6 * time.Second)
		count("the keyset changed;", 1)
		count("all secrets are sealed", 0)
		s.look(func(s *shelf) {
			if !k.Current(s.sealed, Place{}) {
				t.Error("not sealed anew")
			}
			if s.settled != keys[0].ID {
				t.Errorf("settled with %d of %v while something is on its way", s.settled, keys)
			}
			s.sealed = sealed // as by a write that was on its way
		})
		pass(time.Minute)
		count("all secrets are sealed", 1)
		s.look(func(s *shelf) {
			if !k.Current(s.sealed, Place{}) || s.passes != 3 {
				t.Errorf("what was on its way is not sealed anew, in %d passes", s.passes)
			}
			if s.settled != keys[1].ID {
				t.Errorf("settled with %d of %v", s.settled, keys)
			}
		})

		// A file that is wrong for a while is told once, and does no harm.
		right, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, right[:99], 0o600); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		count("the keyset is not followed", 1)
		if _, err := k.Open(s.sealed, Place{}); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(path, right, 0o600); err != nil {
			t.Fatal(err)
		}

		// A pass that fails is repeated until it succeeds.
		s.look(func(s *shelf) { s.failing = errors.New("the store is away") })
		if _, err := Rotate(path); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		count("the store is away", 1)
		count("all secrets are sealed", 1)
		s.look(func(s *shelf) { s.failing = nil })
		pass(time.Minute)
		count("all secrets are sealed", 2)
		s.look(func(s *shelf) {
			if got, err := k.Open(s.sealed, Place{}); err != nil || string(got) != "secret" || !k.Current(s.sealed, Place{}) {
				t.Errorf("opened %q, %v", got, err)
			}
		})
		stop()
		following.Wait()
	})
}

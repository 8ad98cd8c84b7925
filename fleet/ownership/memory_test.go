package ownership_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/fleet/ownership"
	"github.com/knxfleet/knxfleet/internal/engine"
)

func claim(t *testing.T, c *ownership.Claims, building string) ownership.Claimed {
	t.Helper()
	claimed, err := c.Claim(t.Context(), building)
	if err != nil {
		t.Fatal(err)
	}
	return claimed
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	here  = netip.MustParseAddrPort("203.0.113.7:4242")
	there = netip.MustParseAddrPort("[2001:db8::7]:51820")
)

// What lies in the store is not read for a claim: it is told right even where somebody
// has spoilt that meanwhile.
func TestClaimReadsNothing(t *testing.T) {
	dir := t.TempDir()
	claims, e := open(t, dir)
	before := claim(t, claims, "hq")
	noError(t, claims.Release(t.Context(), "hq"))
	noError(t, claims.Found(t.Context(), "hq", there))
	spoil := func() {
		t.Helper()
		for _, key := range []string{"c.hq", "r.hq", "c.new", "r.new"} {
			_, err := e.Fleet().Put(t.Context(), key, []byte("rubbish"))
			noError(t, err)
		}
	}
	check := func(when string, c *ownership.Claims, want ownership.Claimed) {
		t.Helper()
		spoil()
		got := claim(t, c, "hq")
		want.Epoch = got.Epoch
		if got != want || got.Epoch <= before.Epoch {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
		before = got
		if first := claim(t, c, "new"); first != (ownership.Claimed{Epoch: first.Epoch}) {
			t.Errorf("%s, a building that was never claimed: %+v", when, first)
		}
		forget(t, c, "new")
	}
	check("as it was written", claims, ownership.Claimed{Previous: before.Epoch, Router: there})
	noError(t, claims.Release(t.Context(), "hq"))
	noError(t, claims.Found(t.Context(), "hq", here))
	check("as it was read", read(t, e, false), ownership.Claimed{Previous: before.Epoch, Router: here})
}

// A write that failed may have been stored all the same.
func TestWriteThatFailedIsInDoubt(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		write func(context.Context, *ownership.Claims) error
		want  func(told, before ownership.Claimed) bool
	}{
		"claim": {
			func(ctx context.Context, c *ownership.Claims) error { _, err := c.Claim(ctx, "hq"); return err },
			func(told, before ownership.Claimed) bool { return told.Unclean && told.Previous > before.Epoch },
		},
		"release": {
			func(ctx context.Context, c *ownership.Claims) error { return c.Release(ctx, "hq") },
			func(told, _ ownership.Claimed) bool { return !told.Unclean },
		},
		"found": {
			func(ctx context.Context, c *ownership.Claims) error { return c.Found(ctx, "hq", there) },
			func(told, _ ownership.Claimed) bool { return told.Router == there },
		},
		"forget": {
			func(ctx context.Context, c *ownership.Claims) error {
				all, err := c.Claimed(context.WithoutCancel(ctx))
				if err != nil || len(all) != 1 {
					return fmt.Errorf("claimed %v, %w", all, err)
				}
				return c.Forget(ctx, all[0])
			},
			func(told, _ ownership.Claimed) bool { return told.Previous == 0 && !told.Unclean },
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, stored := range []bool{true, false} {
				claims, e := open(t, t.TempDir())
				before := claim(t, claims, "hq")
				noError(t, claims.Found(t.Context(), "hq", here))
				if err := c.write(cancelled, claims); err == nil {
					t.Fatal("it succeeded with a cancelled context")
				}
				if stored {
					noError(t, c.write(t.Context(), read(t, e, false)))
				}
				told := claim(t, claims, "hq")
				if c.want(told, before) != stored {
					t.Errorf("stored %v: %+v after %+v", stored, told, before)
				}
				if !stored && (told.Previous != before.Epoch || told.Router != here || !told.Unclean) {
					t.Errorf("not stored: %+v after %+v", told, before)
				}
				if again := claim(t, claims, "hq"); again.Previous != told.Epoch || !again.Unclean {
					t.Errorf("stored %v, once more: %+v after %+v", stored, again, told)
				}
			}
		})
	}
}

// A record that is not understood stops its own building, and a router's nobody.
func TestRecordsThatAreNotUnderstood(t *testing.T) {
	claims, e := open(t, t.TempDir())
	for _, building := range []string{"damaged", "newer", "router", "fine"} {
		claim(t, claims, building)
		noError(t, claims.Release(t.Context(), building))
		noError(t, claims.Found(t.Context(), building, here))
	}
	for key, value := range map[string]string{
		"c.damaged": "rubbish", "c.newer": `{"v":2}`, "r.router": "rubbish", "r.fine": `{"v":2,"address":"203.0.113.9:1"}`,
	} {
		_, err := e.Fleet().Put(t.Context(), key, []byte(value))
		noError(t, err)
	}
	claims = read(t, e, false)
	for _, building := range []string{"damaged", "newer"} {
		for range 2 {
			if claimed, err := claims.Claim(t.Context(), building); err == nil || !strings.Contains(err.Error(), `"`+building+`"`) || !strings.Contains(err.Error(), "is damaged, or a newer program wrote it") {
				t.Errorf("%s: %+v, %v", building, claimed, err)
			}
		}
	}
	for _, building := range []string{"router", "fine"} {
		if got := claim(t, claims, building); got.Router.IsValid() || got.Unclean || got.Previous == 0 {
			t.Errorf("%s: %+v", building, got)
		}
	}
	all, err := claims.Claimed(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("%v, %v; want those that are understood", all, err)
	}
	noError(t, claims.Release(t.Context(), "router"))
	forget(t, claims, "router")
	noError(t, claims.Found(t.Context(), "fine", there))
	if got := claim(t, claims, "fine"); got.Router != there {
		t.Errorf("found anew: %+v", got)
	}
	if entries, err := e.Fleet().List(t.Context(), "r."); err != nil || len(entries) != 3 {
		t.Errorf("routers %v, %v; want three", entries, err)
	}
}

func TestOpenWithoutTheStore(t *testing.T) {
	_, e := open(t, t.TempDir())
	noError(t, e.Close())
	if _, err := ownership.Open(t.Context(), e.Fleet(), false); err == nil {
		t.Error("claims were opened in a store that is closed")
	}
}

// model is what a building's next claim has to tell.
type model struct {
	there, unclean, running, retired bool
	previous                         uint64
	router                           netip.AddrPort
}

// A random history, with restarts in and out of order and calls that fail, leaves
// each claim to tell what the same history gives without a memory.
func TestClaimsFollowAModel(t *testing.T) {
	e, err := engine.Open(t.Context(), engine.Config{Dir: t.TempDir()})
	noError(t, err)
	t.Cleanup(func() { noError(t, e.Close()) })
	ctx := context.Background()
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	var last uint64
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		claims, err := ownership.Open(ctx, e.Fleet(), false)
		ok(err)
		round++
		want := map[string]*model{}
		for _, name := range []string{"a", "b"} {
			want[fmt.Sprintf("%s%d", name, round)] = &model{}
		}
		ids := rapid.SampledFrom([]string{fmt.Sprintf("a%d", round), fmt.Sprintf("b%d", round)})
		look := func(t *rapid.T, id string) (ownership.Past, bool) {
			all, err := claims.Claimed(ctx)
			ok(err)
			for _, p := range all {
				if p.Building == id {
					return p, true
				}
			}
			return ownership.Past{}, false
		}
		t.Repeat(map[string]func(*rapid.T){
			"claim": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				m := want[id]
				got, err := claims.Claim(ctx, id)
				ok(err)
				if got.Epoch <= last || got.Unclean != m.unclean || got.Previous != m.previous || got.Router != m.router {
					t.Fatalf("%s: %+v after epoch %d, want %+v", id, got, last, m)
				}
				last = got.Epoch
				*m = model{there: true, unclean: true, running: true, previous: got.Epoch, router: m.router}
			},
			"release": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				if m := want[id]; m.running {
					ok(claims.Release(ctx, id))
					m.running, m.unclean = false, false
				}
			},
			"found": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				if m := want[id]; m.running {
					m.router = rapid.SampledFrom([]netip.AddrPort{here, there}).Draw(t, "router")
					ok(claims.Found(ctx, id, m.router))
				}
			},
			"clean": func(t *rapid.T) { // as the cleaner does for a building that is no more
				id := ids.Draw(t, "id")
				p, found := look(t, id)
				m := want[id]
				if found != m.there || p.Running != m.running || p.RetiredAt.IsZero() == m.retired {
					t.Fatalf("%s: %+v, want %+v", id, p, m)
				}
				switch {
				case !found || p.Running:
				case !m.retired:
					ok(claims.Retire(ctx, p, time.Now()))
					m.retired = true
				default:
					ok(claims.Forget(ctx, p))
					*m = model{}
				}
			},
			"fail": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				_, err := claims.Claim(cancelled, id)
				if err == nil || claims.Release(cancelled, id) == nil || claims.Found(cancelled, id, here) == nil {
					t.Fatal("a call succeeded with a cancelled context")
				}
			},
			"restart": func(t *rapid.T) {
				var err error
				claims, err = ownership.Open(ctx, e.Fleet(), false)
				ok(err)
				for _, m := range want {
					m.running = false
				}
			},
		})
	})
}

package ownership_test

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/knxfleet/knxfleet/fleet/ownership"
	"github.com/knxfleet/knxfleet/internal/engine"
)

func TestMain(m *testing.M) {
	// Each step of the model test waits for the disk. -rapid.checks overrides
	// this, since flags are parsed later.
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, dir string) (*ownership.Claims, *engine.Engine) {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return read(t, e, false), e
}

func read(t *testing.T, e *engine.Engine, suspect bool) *ownership.Claims {
	t.Helper()
	c, err := ownership.Open(t.Context(), e.Fleet(), suspect)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// epochs claims buildings and insists that every epoch is higher than the last.
type epochs struct{ last uint64 }

func (e *epochs) claim(t *testing.T, c *ownership.Claims, building string) {
	t.Helper()
	claimed, err := c.Claim(t.Context(), building)
	if err != nil {
		t.Fatal(err)
	}
	epoch := claimed.Epoch
	if epoch <= e.last {
		t.Errorf("epoch %d of building %s after %d", epoch, building, e.last)
	}
	e.last = epoch
}

func TestEpochsRise(t *testing.T) {
	dir, seen := t.TempDir(), epochs{}
	claims, e := open(t, dir)
	seen.claim(t, claims, "hq")
	seen.claim(t, claims, "lab")
	seen.claim(t, claims, "hq") // without a release: the site was restarted
	for _, building := range []string{"hq", "lab", "never-claimed"} {
		if err := claims.Release(t.Context(), building); err != nil {
			t.Fatal(err)
		}
	}
	seen.claim(t, claims, "hq")
	if err := claims.Release(t.Context(), "hq"); err != nil {
		t.Fatal(err)
	}

	// A crash: the directory as it is, without a Close.
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	after, _ := open(t, crashed)
	afterCrash := seen
	afterCrash.claim(t, after, "hq")

	// A restart in order, with nothing claimed.
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		claims, e = open(t, dir)
		seen.claim(t, claims, "hq")
		if err := claims.Release(t.Context(), "hq"); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClaimTellsHowTheLastOneEnded(t *testing.T) {
	dir := t.TempDir()
	claims, _ := open(t, dir)
	claim := func(c *ownership.Claims, building string) ownership.Claimed {
		t.Helper()
		claimed, err := c.Claim(t.Context(), building)
		if err != nil {
			t.Fatal(err)
		}
		return claimed
	}
	first := claim(claims, "hq")
	if first.Unclean || first.Previous != 0 || first.Epoch == 0 {
		t.Errorf("the first claim: %+v", first)
	}
	lab := claim(claims, "lab")
	if err := claims.Release(t.Context(), "lab"); err != nil {
		t.Fatal(err)
	}

	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	after, _ := open(t, crashed)
	second := claim(after, "hq")
	if !second.Unclean || second.Previous != first.Epoch || second.Epoch <= first.Epoch {
		t.Errorf("after a crash: %+v after %+v", second, first)
	}
	if again := claim(after, "lab"); again.Unclean || again.Previous != lab.Epoch || again.Epoch <= second.Epoch {
		t.Errorf("after a release and a crash: %+v after %+v", again, lab)
	}
	third := claim(after, "hq")
	if !third.Unclean || third.Previous != second.Epoch {
		t.Errorf("without a release: %+v after %+v", third, second)
	}
	if err := after.Release(t.Context(), "hq"); err != nil {
		t.Fatal(err)
	}
	if last := claim(after, "hq"); last.Unclean || last.Previous != third.Epoch {
		t.Errorf("after a release: %+v after %+v", last, third)
	}
}

func TestAfterALossTheFirstClaimIsUnclean(t *testing.T) {
	claims, e := open(t, t.TempDir())
	before, err := claims.Claim(t.Context(), "hq")
	if err == nil {
		err = claims.Release(t.Context(), "hq")
	}
	if err != nil {
		t.Fatal(err)
	}
	suspect := read(t, e, true)
	first, err := suspect.Claim(t.Context(), "hq")
	if err != nil || !first.Unclean || first.Previous != before.Epoch {
		t.Errorf("the first claim: %+v, %v", first, err)
	}
	if err := suspect.Release(t.Context(), "hq"); err != nil {
		t.Fatal(err)
	}
	if second, err := suspect.Claim(t.Context(), "hq"); err != nil || second.Unclean || second.Previous != first.Epoch {
		t.Errorf("the second claim: %+v, %v", second, err)
	}
	forget(t, suspect, "hq")
	if last, err := suspect.Claim(t.Context(), "hq"); err != nil || last.Previous != 0 || last.Epoch <= first.Epoch {
		t.Errorf("after it was forgotten: %+v, %v", last, err)
	}
}

func TestClaimFailsWithoutTheStore(t *testing.T) {
	claims, e := open(t, t.TempDir())
	if _, err := claims.Claim(t.Context(), "no.such..id"); err == nil {
		t.Error("a malformed id was claimed")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if claimed, err := claims.Claim(cancelled, "hq"); err == nil || claimed != (ownership.Claimed{}) {
		t.Errorf("with a cancelled context: %+v, %v", claimed, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if claimed, err := claims.Claim(t.Context(), "hq"); err == nil || claimed != (ownership.Claimed{}) {
		t.Errorf("after close: %+v, %v", claimed, err)
	}
	if err := claims.Release(t.Context(), "hq"); err == nil {
		t.Error("a release after close succeeded")
	}
}

func past(t *testing.T, c *ownership.Claims, building string) ownership.Past {
	t.Helper()
	all, err := c.Claimed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.Building == building {
			return p
		}
	}
	t.Fatalf("building %s is not among %v", building, all)
	return ownership.Past{}
}

func forget(t *testing.T, c *ownership.Claims, building string) {
	t.Helper()
	if err := c.Forget(t.Context(), past(t, c, building)); err != nil {
		t.Fatal(err)
	}
}

// What is retired or forgotten is what was seen, not what was claimed meanwhile.
func TestRetireAndForget(t *testing.T) {
	claims, _ := open(t, t.TempDir())
	since := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	claim := func() {
		t.Helper()
		if _, err := claims.Claim(t.Context(), "hq"); err != nil {
			t.Fatal(err)
		}
	}
	claim()
	running := past(t, claims, "hq")
	if !running.Running || !running.RetiredAt.IsZero() {
		t.Errorf("claimed: %+v", running)
	}
	if err := claims.Release(t.Context(), "hq"); err != nil {
		t.Fatal(err)
	}
	for name, stale := range map[string]func() error{
		"retire": func() error { return claims.Retire(t.Context(), running, since) },
		"forget": func() error { return claims.Forget(t.Context(), running) },
	} {
		if err := stale(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if p := past(t, claims, "hq"); p.Running || !p.RetiredAt.IsZero() {
			t.Errorf("%s of an older claim: %+v", name, p)
		}
	}
	if err := claims.Retire(t.Context(), past(t, claims, "hq"), since); err != nil {
		t.Fatal(err)
	}
	if p := past(t, claims, "hq"); !p.RetiredAt.Equal(since) {
		t.Errorf("retired: %+v", p)
	}
	claim()
	if p := past(t, claims, "hq"); !p.Running || !p.RetiredAt.IsZero() {
		t.Errorf("claimed again: %+v", p)
	}
}

func TestRouterIsRemembered(t *testing.T) {
	dir := t.TempDir()
	claims, e := open(t, dir)
	claim := func(c *ownership.Claims) ownership.Claimed {
		t.Helper()
		claimed, err := c.Claim(t.Context(), "hq")
		if err != nil {
			t.Fatal(err)
		}
		return claimed
	}
	first := claim(claims)
	if first.Router.IsValid() {
		t.Errorf("before it was found: %+v", first)
	}
	at := netip.MustParseAddrPort("[2001:db8::7]:51820")
	for _, router := range []netip.AddrPort{netip.MustParseAddrPort("203.0.113.7:4242"), at} {
		if err := claims.Found(t.Context(), "hq", router); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	claims, _ = open(t, dir)
	if second := claim(claims); second.Router != at || second.Previous != first.Epoch {
		t.Errorf("after a restart: %+v after %+v", second, first)
	}
	if err := claims.Release(t.Context(), "hq"); err != nil {
		t.Fatal(err)
	}
	forget(t, claims, "hq")
	if last := claim(claims); last.Router.IsValid() {
		t.Errorf("after it was forgotten: %+v", last)
	}
}

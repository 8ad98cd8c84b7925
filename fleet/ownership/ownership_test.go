package ownership_test

import (
	"context"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/knxfleet/knxfleet/fleet/ownership"
	"github.com/knxfleet/knxfleet/internal/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	return ownership.New(e.Fleet()), e
}

// epochs claims buildings and insists that every epoch is higher than the last.
type epochs struct{ last uint64 }

func (e *epochs) claim(t *testing.T, c *ownership.Claims, building string) {
	t.Helper()
	epoch, err := c.Claim(t.Context(), building)
	if err != nil {
		t.Fatal(err)
	}
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

func TestClaimFailsWithoutTheStore(t *testing.T) {
	claims, e := open(t, t.TempDir())
	if _, err := claims.Claim(t.Context(), "no.such..id"); err == nil {
		t.Error("a malformed id was claimed")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if epoch, err := claims.Claim(cancelled, "hq"); err == nil || epoch != 0 {
		t.Errorf("with a cancelled context: epoch %d, %v", epoch, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if epoch, err := claims.Claim(t.Context(), "hq"); err == nil || epoch != 0 {
		t.Errorf("after close: epoch %d, %v", epoch, err)
	}
	if err := claims.Release(t.Context(), "hq"); err == nil {
		t.Error("a release after close succeeded")
	}
}

package journal

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := cursor{
			run:  rapid.Uint32().Draw(t, "run"),
			mark: Mark{rapid.Uint64Range(0, maxNumber).Draw(t, "epoch"), rapid.Int64Range(0, math.MaxInt64).Draw(t, "stamp")},
			at: rapid.MapOf(rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`), rapid.Custom(func(t *rapid.T) reached {
				return reached{Position: Position{rapid.Uint64Range(1, maxNumber).Draw(t, "epoch"), rapid.Uint64Range(0, maxNumber).Draw(t, "number")}}
			})).Draw(t, "at"),
		}
		token, left := c.encode("here", MaxToken)
		got, err := decodeCursor("here", token)
		if err != nil || left > 0 {
			t.Fatal(err, left)
		}
		if !reflect.DeepEqual(got, c) {
			t.Fatalf("\n%+v became\n%+v", c, got)
		}
		if _, err := decodeCursor("elsewhere", token); !errors.Is(err, ErrBadToken) {
			t.Fatalf("another gateway took it: %v", err)
		}
	})
}

// However many buildings there are, a token is not too long, and what fits is exact.
func TestTokenLength(t *testing.T) {
	for _, long := range []int{4, maxBuildingID} {
		c := cursor{mark: Mark{20_000, 1_700_000_000_000_000_000}, at: make(map[string]reached)}
		for i := range 10_000 {
			c.at[fmt.Sprintf("%0*d", long, i*7919%10_000)] = reached{Position: Position{uint64(10_000 + i), uint64(i * 1000)}}
		}
		token, left := c.encode("", MaxToken)
		if len(token) > MaxToken {
			t.Errorf("%d bytes", len(token))
		}
		got, err := decodeCursor("", token)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("ids of %d bytes: %d of 10000 fit", long, len(got.at))
		if len(got.at)+left != 10_000 || len(got.at) < 2500 {
			t.Errorf("%d buildings and %d left out", len(got.at), left)
		}
		for id, p := range got.at {
			if c.at[id] != p {
				t.Fatalf("%s is at %v, was at %v", id, p, c.at[id])
			}
		}
	}
}

func TestBadTokens(t *testing.T) {
	good, _ := (&cursor{mark: Mark{5, 7}, at: map[string]reached{"hq": {Position: Position{5, 3}}}}).encode("", MaxToken)
	for name, c := range map[string]struct{ token, want string }{
		"no base64":  {"%%%", "base64url"},
		"cut":        {good[:4], "cut short"},
		"cut later":  {good[:len(good)-4], "altered"},
		"altered":    {good[:10] + map[bool]string{true: "B", false: "A"}[good[10] == 'A'] + good[11:], "altered"},
		"version":    {"_" + good[1:], "version"},
		"too long":   {strings.Repeat("A", MaxToken+1), "long"},
		"other text": {"hello", ""},
	} {
		_, err := decodeCursor("", c.token)
		if !errors.Is(err, ErrBadToken) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzToken(f *testing.F) {
	c := cursor{run: 3, mark: Mark{5, 7}, at: map[string]reached{"hq": {Position: Position{5, 3}}, "hq-2": {Position: Position{4, 0}}}}
	token, _ := c.encode("", MaxToken)
	f.Add(token)
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := decodeCursor("", token)
		if err != nil {
			if !errors.Is(err, ErrBadToken) {
				t.Fatalf("%v", err)
			}
			return
		}
		again, left := c.encode("", MaxToken)
		got, err := decodeCursor("", again)
		if err != nil || left == 0 && !reflect.DeepEqual(got, c) {
			t.Fatalf("%+v became %+v: %v", c, got, err)
		}
	})
}

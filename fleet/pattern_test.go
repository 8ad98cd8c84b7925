package fleet

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func TestAddressPattern(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"1/2/3", []string{"1/2/3"}, []string{"1/2/4", "2/2/3", "1/3/3"}},
		{"1/2/*", []string{"1/2/0", "1/2/255"}, []string{"1/3/0", "2/2/0"}},
		{"1/*/*", []string{"1/0/1", "1/7/255"}, []string{"2/0/1", "0/7/255"}},
		{"1/*", []string{"1/0/1", "1/7/255"}, []string{"2/0/1"}},
		{"*", []string{"0/0/1", "31/7/255"}, nil},
		{"*/2/*", []string{"0/2/1", "31/2/255"}, []string{"0/3/1"}},
		{"1/2/10-20", []string{"1/2/10", "1/2/20"}, []string{"1/2/9", "1/2/21", "1/3/15"}},
		{"1/515", []string{"1/2/3"}, []string{"1/2/4"}},
		{"2563", []string{"1/2/3"}, []string{"1/2/4"}},
		{"0-255", []string{"0/0/255"}, []string{"0/1/0"}},
	} {
		p, err := ParseAddressPattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		for _, address := range append(c.yes, c.no...) {
			a, err := frame.ParseGroupAddress(address)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Contains(strings.Join(c.yes, " "), address)
			if got := p.Match(a); got != want {
				t.Errorf("%s matches %s: %v, want %v", c.pattern, address, got, want)
			}
		}
	}
	for _, wrong := range []string{"", "/", "1/", "32/0/0", "1/8/0", "1/2/256", "1/2/3/4", "a/b/c", "1/2/9-3", "1/-2/3", "65536", "1/2/*/", "**"} {
		if _, err := ParseAddressPattern(wrong); err == nil || !strings.Contains(err.Error(), "1/2/3") {
			t.Errorf("%q: %v, want an error that shows what would be right", wrong, err)
		}
	}
	if (AddressPattern{}).Match(1) {
		t.Error("the zero pattern selects an address")
	}
}

// Every address matches itself as a pattern in each style, and no other.
func TestAddressPatternOfAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := frame.GroupAddress(rapid.Uint16Range(1, 0xFFFF).Draw(t, "address"))
		other := frame.GroupAddress(rapid.Uint16Range(1, 0xFFFF).Draw(t, "other"))
		p, err := ParseAddressPattern(address.String())
		if err != nil {
			t.Fatal(err)
		}
		if !p.Match(address) || p.Match(other) != (other == address) {
			t.Fatalf("pattern %s: itself %v, %s %v", address, p.Match(address), other, p.Match(other))
		}
	})
}

func FuzzParseAddressPattern(f *testing.F) {
	for _, seed := range []string{"1/2/3", "1/*/*", "1/2/0-99", "*", "1/515", "-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseAddressPattern(text)
		if err != nil && p.Match(1) {
			t.Errorf("%q is refused and selects an address", text)
		}
	})
}

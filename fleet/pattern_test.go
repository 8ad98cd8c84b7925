package fleet

import (
	"regexp"
	"slices"
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

func TestSourcePattern(t *testing.T) {
	for pattern, c := range map[string]struct{ yes, no []string }{
		"1.1.5":    {[]string{"1.1.5"}, []string{"1.1.6", "1.2.5", "2.1.5"}},
		"1.1.*":    {[]string{"1.1.0", "1.1.255"}, []string{"1.2.0", "0.1.1"}},
		"*.*.0":    {[]string{"0.0.0", "15.15.0"}, []string{"1.1.1"}},
		"1.0-3.*":  {[]string{"1.0.7", "1.3.7"}, []string{"1.4.7"}},
		"15.15.99": {[]string{"15.15.99"}, nil},
	} {
		p, err := ParseSourcePattern(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		for _, address := range append(c.yes, c.no...) {
			a, err := frame.ParseIndividualAddress(address)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := p.Match(a), slices.Contains(c.yes, address); got != want {
				t.Errorf("%s matches %s: %v, want %v", pattern, address, got, want)
			}
		}
	}
	for _, wrong := range []string{"", "*", "1.1", "16.1.1", "1.16.1", "1.1.256", "1/1/5", "1.1.5.1", "1.1.5-3"} {
		if _, err := ParseSourcePattern(wrong); err == nil || !strings.Contains(err.Error(), "1.1.5") {
			t.Errorf("%q: %v, want an error that shows what would be right", wrong, err)
		}
	}
	if (SourcePattern{}).Match(1) {
		t.Error("the zero pattern selects an address")
	}
}

func TestNamePattern(t *testing.T) {
	for pattern, c := range map[string]struct{ yes, no []string }{
		"Licht":     {[]string{"Licht", "LICHT"}, []string{"Lichts", "Dachlicht", ""}},
		"*licht*":   {[]string{"Licht", "Küche Decke Licht", "Lichtschalter", "Dachlicht links"}, []string{"Lich", "L*icht"}},
		"küche*":    {[]string{"Küche Decke", "KÜCHE"}, []string{"Die Küche", "Kuche"}},
		"*an/aus":   {[]string{"Licht an/aus", "AN/AUS"}, []string{"an/aus 2"}},
		"a*b*c":     {[]string{"abc", "aXbXc", "abbcc", "a b-b c"}, []string{"acb", "ab", "xabc"}},
		"a*ab":      {[]string{"aab", "a ab"}, []string{"ab"}},
		"*":         {[]string{"x", "*"}, []string{""}},
		"***x***":   {[]string{"x", "axb"}, []string{"y"}},
		"*\xff*":    {[]string{"a\xffb", "\uFFFD"}, []string{"y"}},
		"EG \u2713": {[]string{"eg \u2713"}, []string{"eg"}},
	} {
		p, err := ParseNamePattern(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		for _, name := range append(c.yes, c.no...) {
			if got, want := p.Match(name), slices.Contains(c.yes, name); got != want {
				t.Errorf("%q matches %q: %v, want %v", pattern, name, got, want)
			}
		}
	}
	for _, wrong := range []string{"", strings.Repeat("x", maxNamePattern+1)} {
		if _, err := ParseNamePattern(wrong); err == nil {
			t.Errorf("%.20q was taken", wrong)
		}
	}
	if (NamePattern{}).Match("x") {
		t.Error("the zero pattern selects a name")
	}
}

// A pattern selects what the same regular expression does.
func TestNamePatternIsLikeARegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[abB*é]{1,8}`).Draw(t, "pattern")
		name := rapid.StringMatching(`[abBéÉ]{1,10}`).Draw(t, "name")
		p, err := ParseNamePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		want := regexp.MustCompile(`(?i)^` + strings.ReplaceAll(pattern, "*", ".*") + `$`).MatchString(name)
		if got := p.Match(name); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
	})
}

func TestMatchingTakesNoMemory(t *testing.T) {
	p, err := ParseNamePattern("*küche*licht*")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { p.Match("EG KÜCHE Decke LICHT links") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzNamePattern(f *testing.F) {
	f.Add("*licht*", "Küche Licht")
	f.Add("a*b", "A\xffB")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p, err := ParseNamePattern(pattern)
		if err != nil {
			return
		}
		p.Match(name)
		if all, err := ParseNamePattern("*"); err != nil || all.Match(name) != (name != "") {
			t.Errorf("* and %q: %v", name, err)
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

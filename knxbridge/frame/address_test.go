package frame_test

import (
	"strings"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func TestGroupAddressStyles(t *testing.T) {
	tests := []struct {
		address           frame.GroupAddress
		three, two, plain string
	}{
		{0x0A03, "1/2/3", "1/515", "2563"},
		{0x0001, "0/0/1", "0/1", "1"},
		{0xFFFF, "31/7/255", "31/2047", "65535"},
	}
	for _, test := range tests {
		for style, text := range map[frame.Style]string{
			frame.StyleThreeLevel: test.three, frame.StyleTwoLevel: test.two, frame.StyleFree: test.plain,
		} {
			if got := test.address.In(style); got != text {
				t.Errorf("%d in style %v is %q, want %q", test.address, style, got, text)
			}
			if got, err := frame.ParseGroupAddress(text); err != nil || got != test.address {
				t.Errorf("%q is %d, %v, want %d", text, got, err, test.address)
			}
		}
		if got := test.address.String(); got != test.three {
			t.Errorf("%d is %q, want %q", test.address, got, test.three)
		}
	}
}

func TestEveryAddressReadsBack(t *testing.T) {
	for n := 1; n <= 0xFFFF; n++ {
		for _, style := range []frame.Style{frame.StyleThreeLevel, frame.StyleTwoLevel, frame.StyleFree} {
			text := frame.GroupAddress(n).In(style)
			if got, err := frame.ParseGroupAddress(text); err != nil || int(got) != n {
				t.Fatalf("group address %d reads back from %q as %d, %v", n, text, got, err)
			}
		}
		text := frame.IndividualAddress(n).String()
		if got, err := frame.ParseIndividualAddress(text); err != nil || int(got) != n {
			t.Fatalf("individual address %d reads back from %q as %d, %v", n, text, got, err)
		}
	}
}

func TestBadAddressesAreNamed(t *testing.T) {
	tests := []struct {
		text, want string
	}{
		{"32/0/1", `main group "32" is not a number from 0 to 31`},
		{"1/8/1", `middle group "8" is not a number from 0 to 7`},
		{"1/2/256", `sub group "256" is not a number from 0 to 255`},
		{"1/2048", `sub group "2048" is not a number from 0 to 2047`},
		{"65536", `address "65536" is not a number from 0 to 65535`},
		{"1/2/3/4", "too many levels"},
		{"0/0/0", "broadcast address"},
		{"", `address "" is not a number`},
		{"1//3", `middle group ""`},
		{"1/-2/3", `middle group "-2"`},
		{"1/2/ 3", `sub group " 3"`},
		{"licht", `address "licht"`},
		{"4294967297/0/1", "main group"},
		{strings.Repeat("1", 1000), "is not a number from 0 to 65535"},
	}
	for _, test := range tests {
		_, err := frame.ParseGroupAddress(test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want it to say %q", test.text, err, test.want)
		} else if len(err.Error()) > 200 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
	for text, want := range map[string]string{
		"16.0.1":  `area "16" is not a number from 0 to 15`,
		"1.16.1":  `line "16" is not a number from 0 to 15`,
		"1.1.256": `device "256" is not a number from 0 to 255`,
		"1.1":     "want such as 1.1.5",
		"1/1/1":   "want such as 1.1.5",
	} {
		if _, err := frame.ParseIndividualAddress(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want it to say %q", text, err, want)
		}
	}
	if a, err := frame.ParseIndividualAddress("0.0.0"); err != nil || a != 0 {
		t.Errorf("0.0.0 is %v, %v; as a source it is valid", a, err)
	}
}

package main

import (
	"strings"
	"testing"

	"rsc.io/qr"
)

// The drawing is the code: every module where it belongs, with its margin.
func TestQRCode(t *testing.T) {
	const config = "# a comment\n[Interface]\n\n[Peer]\nPublicKey = x\n"
	var drawn strings.Builder
	if err := printQR(&drawn, config); err != nil {
		t.Fatal(err)
	}
	want, err := qr.Encode("[Interface]\n[Peer]\nPublicKey = x\n", qr.L)
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSuffix(drawn.String(), "\n"), "\n")
	black := func(x, y int) bool {
		c := []rune(rows[(y+quiet)/2])[x+quiet]
		return c == '█' || (y+quiet)%2 == 0 && c == '▀' || (y+quiet)%2 == 1 && c == '▄'
	}
	for y := -quiet; y < want.Size+quiet; y++ {
		for x := -quiet; x < want.Size+quiet; x++ {
			if black(x, y) != want.Black(x, y) {
				t.Fatalf("module %d, %d is wrong in\n%s", x, y, drawn.String())
			}
		}
	}
	if err := printQR(&drawn, strings.Repeat("x", 5000)); err == nil {
		t.Error("a text that is too long was drawn")
	}
}

package tunnel

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestPublicKey(t *testing.T) {
	// RFC 7748 §6.1, Alice.
	raw, err := hex.DecodeString("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
	if err != nil {
		t.Fatal(err)
	}
	const want = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
	public := PrivateKey(raw).Public()
	if got := hex.EncodeToString(public[:]); got != want {
		t.Errorf("public key %s, want %s", got, want)
	}
	for range 2 * recentKeys {
		GeneratePrivateKey().Public()
	}
	if again := PrivateKey(raw).Public(); again != public {
		t.Errorf("after many others: %v", again)
	}
	clamped := PrivateKey(raw)
	clamped[0] &= 248
	clamped[31] = clamped[31]&127 | 64
	if clamped.Public() != public {
		t.Error("a clamped key has another public key")
	}
}

func TestGeneratePrivateKey(t *testing.T) {
	a, b := GeneratePrivateKey(), GeneratePrivateKey()
	if a == b {
		t.Error("two generated keys are equal")
	}
	if a[0]&7 != 0 || a[31]&0xc0 != 0x40 {
		t.Errorf("first byte %#x, last %#x: not clamped", a[0], a[31])
	}
}

func TestKeysRoundTrip(t *testing.T) {
	k := GeneratePrivateKey()
	if got, err := ParsePrivateKey(k.Base64()); err != nil || got != k {
		t.Errorf("private key did not survive base64: %v", err)
	}
	if got, err := ParsePresharedKey(PresharedKey(k).Base64()); err != nil || got != PresharedKey(k) {
		t.Errorf("preshared key did not survive base64: %v", err)
	}
	if got, err := ParsePublicKey(k.Public().String()); err != nil || got != k.Public() {
		t.Errorf("public key did not survive base64: %v", err)
	}
}

func TestSecretsNeverPrint(t *testing.T) {
	k := GeneratePrivateKey()
	psk := PresharedKey(GeneratePrivateKey())
	cfg := configFor(k, GeneratePrivateKey().Public(), "")
	cfg.PresharedKey = psk
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	printed := string(asJSON) + k.String() + psk.String() + k.GoString() + psk.GoString()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%c", "%U", "%t"} {
		printed += fmt.Sprintf(verb+verb, k, &k) + fmt.Sprintf(verb+verb, psk, []PresharedKey{psk}) + fmt.Sprintf(verb, cfg)
	}
	for _, secret := range [][32]byte{k, psk} {
		for _, form := range []string{
			base64.StdEncoding.EncodeToString(secret[:]),
			hex.EncodeToString(secret[:]),
			strings.ToUpper(hex.EncodeToString(secret[:])),
			strings.Trim(fmt.Sprint(secret[:8]), "[]"),
		} {
			if strings.Contains(printed, form) {
				t.Errorf("a secret key was printed as %s", form)
			}
		}
	}
	if !strings.Contains(printed, "(hidden)") || !strings.Contains(string(asJSON), `"PrivateKey":"(hidden)"`) {
		t.Errorf("secret keys must print as (hidden): %s", asJSON)
	}
	if !strings.Contains(string(asJSON), cfg.Peer.String()) {
		t.Errorf("a public key must print: %s", asJSON)
	}
}

func TestWrongKeys(t *testing.T) {
	good := GeneratePrivateKey().Base64()
	for name, text := range map[string]string{
		"empty":         "",
		"short":         good[1:],
		"long":          good + "A",
		"hex":           strings.Repeat("ab", 32),
		"not base64":    "!" + good[1:],
		"url base64":    "_-" + good[2:],
		"line break":    good[:20] + "\n" + good[21:],
		"33 bytes":      base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"trailing bits": good[:42] + "B=",
		"zero":          base64.StdEncoding.EncodeToString(make([]byte, 32)),
	} {
		parsers := map[string]func(string) error{
			"PrivateKey":   func(s string) error { _, err := ParsePrivateKey(s); return err },
			"PresharedKey": func(s string) error { _, err := ParsePresharedKey(s); return err },
			"PublicKey":    func(s string) error { _, err := ParsePublicKey(s); return err },
		}
		for field, parse := range parsers {
			err := parse(text)
			var bad *ConfigError
			if !errors.As(err, &bad) || bad.Field != field || bad.Want == "" {
				t.Errorf("%s %s: got %v, want a ConfigError for the field", name, field, err)
				continue
			}
			if len(text) > 8 && strings.Contains(err.Error(), text[:8]) {
				t.Errorf("%s %s: the error repeats the key: %v", name, field, err)
			}
		}
	}
}

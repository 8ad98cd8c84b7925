package registry

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/knxfleet/knxfleet/internal/keyset"
)

func newKeyset(t testing.TB) *keyset.Keyset {
	t.Helper()
	k, _, err := keyset.LoadOrCreate(keysetPath(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func encode(t testing.TB, b Building, keys *keyset.Keyset) []byte {
	t.Helper()
	value, err := encodeRecord(b, keys)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// Every field of a building comes back. A new field must be added to full, and
// then to the record.
func TestRecordHoldsEveryField(t *testing.T) {
	b := full("hq")
	b.CreatedAt, b.UpdatedAt, b.Generation = now(), now().AddDate(1, 0, 0), 7
	for _, part := range []any{b, b.Tunnel, b.KNX} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			if v.Field(i).IsZero() && v.Type().Field(i).Name != "Revision" {
				t.Errorf("%s.%s is not set by full", v.Type().Name(), v.Type().Field(i).Name)
			}
		}
	}
	keys := newKeyset(t)
	if got, err := decodeRecord("hq", encode(t, b, keys), keys); err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, b)
	}
}

func TestRecordToleratesUnknownFieldsAndRefusesOthers(t *testing.T) {
	keys := newKeyset(t)
	value := string(encode(t, full("hq"), keys))
	for name, c := range map[string]struct {
		old, new string
		want     string // in the error; empty: none
	}{
		"unknown fields":       {`"v":1`, `"v":1,"later":{"x":[1]}`, ""},
		"newer version":        {`"v":1`, `"v":2`, "use the newer program"},
		"no version":           {`"v":1,`, ``, "version 0"},
		"another building":     {`"id":"hq"`, `"id":"lab"`, `of building "lab"`},
		"broken JSON":          {`}`, ``, "damaged"},
		"wrong type":           {`"enabled":true`, `"enabled":"yes"`, "damaged"},
		"bad prefix":           {`192.168.1.0/24`, `192.168.1.0/99`, "damaged"},
		"bad endpoint":         {`office.example.org:51820`, `office.example.org`, "damaged"},
		"bad NAT mode":         {`"explicit"`, `"what"`, "natMode"},
		"bad address":          {`"1.1.250"`, `"1.1"`, "damaged"},
		"no private key":       {`"privateKeySealed"`, `"was"`, "open tunnel.private_key"},
		"keys exchanged":       {`"presharedKeySealed"`, `"privateKeySealed"`, "open tunnel.private_key"},
		"negative keepalive":   {`"keepaliveSeconds":25`, `"keepaliveSeconds":-1`, "damaged"},
		"empty preshared key":  {`"presharedKeySealed":"`, `"presharedKeySealed":"","was":"`, "open tunnel.preshared_key"},
		"removed public key":   {`"peerPublicKey"`, `"was"`, "PublicKey"},
		"generation of a text": {`"generation":0`, `"generation":"0"`, "damaged"},
	} {
		changed := strings.Replace(value, c.old, c.new, 1)
		if changed == value {
			t.Errorf("%s: %s is not in %s", name, c.old, value)
		}
		_, err := decodeRecord("hq", []byte(changed), keys)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// Whatever is stored, decoding ends with a building or an error; and a building
// that decodes is stored and read back the same.
func FuzzDecodeRecord(f *testing.F) {
	keys := newKeyset(f)
	plain := full("hq")
	plain.Labels, plain.Tunnel.PresharedKey, plain.Tunnel.Endpoint.Host, plain.Tunnel.Endpoint.Port = nil, [32]byte{}, "", 0
	for _, b := range []Building{full("hq"), plain} {
		f.Add(encode(f, b, keys))
	}
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"v":1,"id":"hq","tunnel":{"addresses":["::ffff:1.2.3.4/96"]}}`))
	f.Add([]byte(`[`))
	// Mutations cannot forge a sealed key, so each input is also tried with one.
	key := full("").Tunnel.PrivateKey
	sealed, err := keys.Seal(key[:], keyset.Place{Building: "hq", Field: privateKeyField})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		check(t, value, keys)
		var r record
		if json.Unmarshal(value, &r) == nil {
			r.Version, r.ID, r.Tunnel.PrivateKey, r.Tunnel.PresharedKey = 1, "hq", sealed, nil
			if value, err := json.Marshal(r); err == nil {
				check(t, value, keys)
			}
		}
	})
}

func check(t *testing.T, value []byte, keys *keyset.Keyset) {
	b, err := decodeRecord("hq", value, keys)
	if err != nil {
		return
	}
	again, err := encodeRecord(b, keys)
	if err != nil {
		return // too large, or a year that JSON cannot hold
	}
	if got, err := decodeRecord("hq", again, keys); err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("stored again: %+v, %v\nwas %+v", got, err, b)
	}
}

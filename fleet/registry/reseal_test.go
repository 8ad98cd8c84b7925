package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/internal/keyset"
)

// syncedLog can be read while it is written.
type syncedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *syncedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *syncedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// keyMaterial is what a keyset file must not let out, in base64.
func keyMaterial(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Key) == 0 {
		t.Fatalf("%v: %s", err, path)
	}
	var all []string
	for _, k := range file.Key {
		all = append(all, k.KeyData.Value)
	}
	return all
}

// Rotation: what the old key sealed is sealed anew, so that the old key can go,
// and neither a building's etag nor its generation moves.
func TestRotation(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	path := keysetPath(dir)
	r, e := open(t, dir)
	want := []Building{create(t, r, full("a")), create(t, r, full("b"))}
	noPSK := full("c")
	noPSK.Tunnel.PresharedKey = [32]byte{}
	want = append(want, create(t, r, noPSK))
	storeKey := keyset.StoreKeyFile(filepath.Join(dir, "sealed.key"))
	keys := keyset.ForStore(path, zerolog.Nop())
	if err := keys.Load(true); err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.Seal([]byte("the key of the store"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(string(storeKey), sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	same := func(when string) {
		t.Helper()
		list, err := r.List(ctx, nil)
		if err != nil || !reflect.DeepEqual(list, want) {
			t.Fatalf("%s: %+v, %v\nwant %+v", when, list, err, want)
		}
	}
	if _, err := keyset.Rotate(path); err != nil {
		t.Fatal(err)
	}
	h := holder{r}
	if changed, err := r.keys.Reload(func(k *keyset.Keyset) error { return errors.Join(h.Opens(ctx, k), storeKey.Opens(ctx, k)) }); err != nil || !changed {
		t.Fatalf("reload: changed %v, %v", changed, err)
	}
	same("before anything was sealed anew")
	for pass, wantResealed := range []int{3, 0} {
		resealed, err := h.Reseal(ctx, r.keys)
		if err != nil || resealed != wantResealed {
			t.Errorf("pass %d: %d sealed anew, %v; want %d", pass, resealed, err, wantResealed)
		}
		if n, err := storeKey.Reseal(ctx, r.keys); err != nil || n != 1-pass {
			t.Errorf("pass %d: %d store keys sealed anew, %v", pass, n, err)
		}
		same("sealed anew")
	}
	// An etag from before still holds, and one that is older still does not.
	changed, err := r.Update(ctx, "a", want[0].Revision, func(b *Building) error { b.DisplayName = "x"; return nil })
	if err != nil || changed.Generation != 2 || changed.Revision <= want[0].Revision {
		t.Fatalf("update with the etag from before: %+v, %v", changed, err)
	}
	if err := r.Delete(ctx, "a", want[0].Revision); !errors.Is(err, ErrConflict) {
		t.Errorf("delete with an old etag: %v", err)
	}
	if err := r.Delete(ctx, "b", want[1].Revision); err != nil {
		t.Errorf("delete with the etag from before: %v", err)
	}
	want = []Building{changed, want[2]}

	if all, _, err := keyset.Retire(path, nil); err != nil || len(all) != 1 {
		t.Fatalf("retire: %v, %v", all, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	r, _ = open(t, dir)
	same("with the new key alone")
	alone, err := keyset.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := storeKey.Opens(ctx, alone); err != nil {
		t.Errorf("the store's key: %v", err)
	}
}

// A keyset that does not open everything is not taken over, and what uses the
// registry does not notice.
func TestWrongKeysetIsNotTakenOver(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	path := keysetPath(dir)
	r, _ := open(t, dir)
	hq := create(t, r, full("hq"))
	h := holder{r}
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.json")
	if err := keyset.Create(other); err != nil {
		t.Fatal(err)
	}
	wrong, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	// A key is added, everything but one building is sealed with it, and the old key
	// goes too early.
	if _, err := keyset.Rotate(path); err != nil {
		t.Fatal(err)
	}
	both, err := keyset.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	check, err := r.bucket.Get(ctx, checkKey)
	if err != nil {
		t.Fatal(err)
	}
	again, err := both.Seal([]byte(checkText), checkPlace)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := keyset.Retire(path, nil); err != nil {
		t.Fatal(err)
	}
	early, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte
		check   []byte
		says    string
	}{
		"another": {wrong, check.Value, "checked with"},
		"early":   {early, again, `building "hq"`},
		"cut off": {right[:len(right)-9], check.Value, "not a Tink keyset"},
		"empty":   {nil, check.Value, "not a Tink keyset"},
	} {
		if _, err := r.bucket.Put(ctx, checkKey, c.check); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		changed, err := r.keys.Reload(func(k *keyset.Keyset) error { return h.Opens(ctx, k) })
		if changed || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: changed %v, %v; want %q", name, changed, err, c.says)
		}
		if got, err := r.Get(ctx, "hq"); err != nil || !reflect.DeepEqual(got, hq) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// Sealing anew leaves alone what it does not know, and what it cannot read.
func TestResealKeepsWhatItDoesNotKnow(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	r, e := open(t, dir)
	create(t, r, full("hq"))
	entry, err := e.Registry().Get(ctx, "b.hq")
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(entry.Value, []byte(`"tunnel":{`), []byte(`"future":{"x":[1]},"tunnel":{"future":true,`), 1)
	if _, err := e.Registry().Put(ctx, "b.hq", newer); err != nil {
		t.Fatal(err)
	}
	for id, damaged := range map[string]string{"empty": "", "text": "damaged", "other": `{"tunnel":{"privateKeySealed":"AAAA"}}`, "none": `{"v":9}`} {
		if _, err := e.Registry().Put(ctx, "b."+id, []byte(damaged)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := keyset.Rotate(keysetPath(dir)); err != nil {
		t.Fatal(err)
	}
	h := holder{r}
	if changed, err := r.keys.Reload(func(k *keyset.Keyset) error { return h.Opens(ctx, k) }); err != nil || !changed {
		t.Fatalf("reload beside damaged records: %v, %v", changed, err)
	}
	if n, err := h.Reseal(ctx, r.keys); err != nil || n != 1 {
		t.Fatalf("%d sealed anew, %v", n, err)
	}
	entry, err = e.Registry().Get(ctx, "b.hq")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(entry.Value, []byte(`"future":{"x":[1]}`)) || !bytes.Contains(entry.Value, []byte(`"future":true`)) {
		t.Errorf("lost: %s", entry.Value)
	}
	if entry, err := e.Registry().Get(ctx, "b.text"); err != nil || string(entry.Value) != "damaged" {
		t.Errorf("a damaged record was touched: %q, %v", entry.Value, err)
	}
}

// A rotation under changes: nothing is lost, nothing stops, and no key gets into
// the log.
func TestFollowKeysetUnderChanges(t *testing.T) {
	dir := t.TempDir()
	path := keysetPath(dir)
	e := openEngine(t, dir)
	log := &syncedLog{}
	r, err := Open(t.Context(), Config{Bucket: e.Registry(), Keyset: path, Log: zerolog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	secrets := keyMaterial(t, path)
	model := make(map[string]Building)
	for i := range 20 {
		b := create(t, r, full(fmt.Sprintf("b%d", i)))
		model[b.ID] = b
		secrets = append(secrets, b.Tunnel.PrivateKey.Base64(), b.Tunnel.PresharedKey.Base64())
	}
	ctx, stop := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		if err := r.FollowKeyset(ctx); err != nil {
			t.Error(err)
		}
	})
	if _, err := keyset.Rotate(path); err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, keyMaterial(t, path)...)
	deadline := time.Now().Add(15 * time.Second)
	for i := 0; ; i++ {
		id := fmt.Sprintf("b%d", i%len(model))
		b, err := r.Update(ctx, id, model[id].Revision, func(b *Building) error { b.DisplayName = fmt.Sprint(i); return nil })
		if err != nil {
			t.Fatalf("update %d, with the right etag: %v", i, err)
		}
		model[id] = b
		if strings.Contains(log.String(), "the keyset changed") && sealedWithPrimary(t, r, e) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not sealed anew: %s", log.String())
		}
	}
	stop()
	following.Wait()
	list, err := r.List(t.Context(), nil)
	if err != nil || len(list) != len(model) {
		t.Fatalf("%d buildings, %v", len(list), err)
	}
	for _, b := range list {
		if !reflect.DeepEqual(b, model[b.ID]) {
			t.Errorf("%+v\nwant %+v", b, model[b.ID])
		}
	}
	if i := slices.IndexFunc(secrets, func(s string) bool { return strings.Contains(log.String(), s[:20]) }); i >= 0 {
		t.Errorf("secret %d of %v is in the log", i, slices.Sorted(maps.Keys(model)))
	}
}

func sealedWithPrimary(t *testing.T, r *Registry, e *engine.Engine) bool {
	t.Helper()
	check, err := e.Registry().Get(t.Context(), checkKey)
	if err != nil {
		t.Fatal(err)
	}
	return r.keys.Current(check.Value, checkPlace)
}

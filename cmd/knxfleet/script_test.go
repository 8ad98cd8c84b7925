package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/knxfleet/knxfleet/tunnel"
)

// TestScripts runs the scripts of testdata/script, which use the binary as people
// do. Each has a free address for a gateway in its environment, an empty data
// directory to be, hq.conf, a router's file with new keys, and router.key, the router's own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUp,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      exits,
			"wait-ready": waitReady,
			"wait-http":  waitHTTP,
			"wait-file":  waitFile,
			"term":       terminate,
			"hangup":     hangUp,
			"took-less":  tookLess,
			"key-pair":   keyPair,
			"no-secret":  noSecret,
			"no-key-of":  noKeyOf,
			"wait-other": waitOther,
			"same-key":   sameKey,
			"edited":     edited,
			"told-truth": toldTruth,
		},
	})
}

func setUp(env *testscript.Env) error {
	for _, name := range []string{"GRPC", "HTTP"} {
		address, err := freeAddress()
		if err != nil {
			return err
		}
		env.Setenv(name, address)
	}
	env.Setenv("GORACE", "atexit_sleep_ms=0") // which is 1 s for each command
	env.Setenv("KNXFLEET_SERVER", env.Getenv("GRPC"))
	env.Setenv("KNXFLEET_GRPC_LISTEN", env.Getenv("GRPC"))
	env.Setenv("KNXFLEET_HTTP_LISTEN", env.Getenv("HTTP"))
	env.Setenv("KNXFLEET_TUNNEL_LISTEN", "127.0.0.1:0")
	env.Setenv("KNXFLEET_DATA_DIR", filepath.Join(env.WorkDir, "data"))

	router, err := net.ListenPacket("udp", "127.0.0.1:0") // which never answers
	if err != nil {
		return err
	}
	env.Defer(func() { _ = router.Close() })
	private, psk := tunnel.GeneratePrivateKey(), tunnel.GeneratePrivateKey().Base64()
	env.Setenv("PRIVATE", private.Base64())
	env.Setenv("PUBLIC", private.Public().String())
	env.Setenv("PSK", psk)
	env.Setenv("ROUTER", router.LocalAddr().String())
	routerKey := tunnel.GeneratePrivateKey()
	if err := os.WriteFile(filepath.Join(env.WorkDir, "router.key"), []byte(routerKey.Base64()), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "hq.conf"), fmt.Appendf(nil, `[Interface]
PrivateKey = %s
Address = 192.168.178.201/24
DNS = 192.168.178.1

[Peer]
PublicKey = %s
PresharedKey = %s
AllowedIPs = 192.168.178.0/24
Endpoint = %s
`, private.Base64(), routerKey.Public(), psk, router.LocalAddr()), 0o600)
}

// freeAddress finds a port that nobody listens on and no other test of this process got,
// below those that the system hands out by itself: one of those could be another's
// before the gateway listens there, or while it restarts.
func freeAddress() (string, error) {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(10_000))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return "", err
		}
		if _, taken := addresses.LoadOrStore(address, true); !taken {
			return address, nil
		}
	}
	return "", errors.New("no free port")
}

// addresses are those that freeAddress gave.
var addresses sync.Map

// exits CODE PROGRAM [ARGUMENT...] runs a program that must end with the code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT...]")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

// eventually repeats check until it succeeds.
func eventually(ts *testscript.TestScript, what string, check func() error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// wait-ready waits until the gateway answers calls.
func waitReady(ts *testscript.TestScript, _ bool, _ []string) {
	eventually(ts, "gateway not ready", func() error { return ts.Exec("knxfleet", "buildings", "list") })
}

// wait-http PATH REGEXP waits until what the gateway answers matches.
func waitHTTP(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: wait-http PATH REGEXP")
	}
	want := regexp.MustCompile("(?m)" + args[1])
	eventually(ts, args[0], func() error {
		response, err := http.Get("http://" + ts.Getenv("HTTP") + args[0])
		if err != nil {
			return err
		}
		defer http.DefaultClient.CloseIdleConnections()
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err == nil && !want.Match(text) {
			err = fmt.Errorf("%s does not match %s", text, want)
		}
		return err
	})
}

// wait-file FILE REGEXP [COUNT] waits until a command has written what matches, once or
// as often as said.
func waitFile(ts *testscript.TestScript, _ bool, args []string) {
	count := 1
	if len(args) == 3 {
		var err error
		count, err = strconv.Atoi(args[2])
		ts.Check(err)
	} else if len(args) != 2 {
		ts.Fatalf("usage: wait-file FILE REGEXP [COUNT]")
	}
	want := regexp.MustCompile("(?m)" + args[1])
	eventually(ts, args[0], func() error {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if n := len(want.FindAll(text, -1)); err == nil && n < count {
			err = fmt.Errorf("%q matches %s %d times of %d", text, want, n, count)
		}
		return err
	})
}

// term sends SIGTERM to the gateway and notes the time; wait serve then checks
// that it ends well.
func terminate(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("TERMINATED_AT", time.Now().Format(time.RFC3339Nano))
	signalGateway(ts, syscall.SIGTERM)
}

// hangup sends SIGHUP to the gateway.
func hangUp(ts *testscript.TestScript, _ bool, _ []string) { signalGateway(ts, syscall.SIGHUP) }

func signalGateway(ts *testscript.TestScript, signal syscall.Signal) {
	i := slices.IndexFunc(ts.BackgroundCmds(), func(cmd *exec.Cmd) bool { // by itself, or in place of its shell
		return strings.Contains(strings.Join(cmd.Args, " "), "knxfleet serve")
	})
	if i < 0 {
		ts.Fatalf("no gateway runs")
	}
	ts.Check(ts.BackgroundCmds()[i].Process.Signal(signal))
}

// took-less DURATION checks the time since term.
func tookLess(ts *testscript.TestScript, _ bool, args []string) {
	began, err := time.Parse(time.RFC3339Nano, ts.Getenv("TERMINATED_AT"))
	ts.Check(err)
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	if took := time.Since(began); took > limit {
		ts.Fatalf("took %v, want less than %v", took, limit)
	}
}

// key-pair checks that the output is a private key and its public half.
func keyPair(ts *testscript.TestScript, _ bool, _ []string) {
	out := ts.ReadFile("stdout")
	var keys struct{ PrivateKey, PublicKey string }
	if json.Unmarshal([]byte(out), &keys) != nil {
		for line := range strings.Lines(out) {
			switch name, key, _ := strings.Cut(strings.TrimSpace(line), "\t"); name {
			case "private":
				keys.PrivateKey = key
			case "public":
				keys.PublicKey = key
			}
		}
	}
	private, err := tunnel.ParsePrivateKey(keys.PrivateKey)
	ts.Check(err)
	if got := private.Public().String(); got != keys.PublicKey {
		ts.Fatalf("the public key is %s, want %s", keys.PublicKey, got)
	}
}

// no-secret FILE... checks that no file, nor a file in a folder, holds the secrets
// of hq.conf in any form, and that one of them names the building: so the search
// sees what is written.
func noSecret(ts *testscript.TestScript, _ bool, args []string) {
	var all []byte
	for _, arg := range args {
		ts.Check(filepath.WalkDir(ts.MkAbs(arg), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Type() == fs.ModeSymlink { // the links of a store lead to its files
				return err
			}
			text, err := os.ReadFile(path)
			all = append(all, text...)
			return err
		}))
	}
	if !bytes.Contains(all, []byte("headquarters")) {
		ts.Fatalf("the building is not in %v, so its secrets may be elsewhere", args)
	}
	for _, name := range []string{"PRIVATE", "PSK"} {
		key := ts.Getenv(name)
		raw, err := base64.StdEncoding.DecodeString(key)
		ts.Check(err)
		for _, form := range [][]byte{raw, []byte(key[:40]), []byte(hex.EncodeToString(raw)), fmt.Append(nil, raw)} {
			if bytes.Contains(all, form) {
				ts.Fatalf("%s is in %v", name, args)
			}
		}
	}
}

// no-key-of KEYSET FILE... checks that the files hold no key of a keyset.
func noKeyOf(ts *testscript.TestScript, _ bool, args []string) {
	var file struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &file))
	if len(file.Key) == 0 {
		ts.Fatalf("%s has no keys", args[0])
	}
	for _, name := range args[1:] {
		for i, key := range file.Key {
			// The last characters are padding, the first say what kind of key it is.
			if strings.Contains(ts.ReadFile(name), key.KeyData.Value[8:28]) {
				ts.Fatalf("key %d of %s is in %s", i, args[0], name)
			}
		}
	}
}

// wait-other FILE COPY waits until the file differs from a copy of it.
func waitOther(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, args[0], func() error {
		if ts.ReadFile(args[0]) == ts.ReadFile(args[1]) {
			return errors.New("is as it was")
		}
		return nil
	})
}

// publicKey is how a building's public key stands in JSON.
var publicKey = regexp.MustCompile(`"publicKey": ?"([^"]{44})"`)

// same-key FILE... checks that the files of JSON tell one and the same public key.
func sameKey(ts *testscript.TestScript, _ bool, args []string) {
	first := ""
	for _, name := range args {
		found := publicKey.FindStringSubmatch(ts.ReadFile(name))
		if found == nil || first != "" && found[1] != first {
			ts.Fatalf("%s tells the key %q, want one, and %q", name, found, first)
		}
		first = found[1]
	}
}

// edited FROM TO writes a building without what only the gateway sets, and with another
// name: as a person edits what get printed, and leaves the etag in it.
func edited(ts *testscript.TestScript, _ bool, args []string) {
	var building map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &building))
	for _, name := range []string{"generation", "createdAt", "updatedAt", "status"} {
		delete(building, name)
	}
	delete(building["tunnel"].(map[string]any), "publicKey")
	building["displayName"] = "Other"
	text, err := json.Marshal(building)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
}

// told-truth OUT ERR ALL checks what an apply told that was to create ALL buildings, and was
// interrupted: the gateway has each that it named, and no other, and the rest was not
// attempted.
func toldTruth(ts *testscript.TestScript, _ bool, args []string) {
	out, told, all := ts.ReadFile(args[0]), ts.ReadFile(args[1]), args[2]
	created := regexp.MustCompile(`(?m)^create\t(\S+)\t`).FindAllStringSubmatch(out, -1)
	summary := regexp.MustCompile(`(\d+) created, .* (\d+) not attempted`).FindStringSubmatch(told)
	if len(summary) != 3 || summary[1] != strconv.Itoa(len(created)) {
		ts.Fatalf("%d created, the summary is %q", len(created), summary)
	}
	if rest, err := strconv.Atoi(summary[2]); err != nil || strconv.Itoa(rest+len(created)) != all {
		ts.Fatalf("%s not attempted and %d created are not %s", summary[2], len(created), all)
	}
	ts.Check(ts.Exec("knxfleet", "buildings", "list"))
	there := make(map[string]bool)
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		id, _, _ := strings.Cut(line, "\t")
		there[id] = true
	}
	if len(there) != len(created) {
		ts.Fatalf("%d are there, %d were told", len(there), len(created))
	}
	for _, c := range created {
		if !there[c[1]] {
			ts.Fatalf("%s is not there", c[1])
		}
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"usage", usagef("--raw: %w", io.EOF), exitUsage},
		{"usage, wrapped", fmt.Errorf("serve: %w", usagef("no")), exitUsage},
		{"usage among others", errors.Join(usagef("no"), io.EOF), exitUsage},
		{"anything", io.EOF, exitFailure},
		{"a wrong field", status.Error(codes.InvalidArgument, "x"), exitUsage},
		{"an id in use", status.Error(codes.AlreadyExists, "x"), exitUsage},
		{"no such building", fmt.Errorf("get: %w", status.Error(codes.NotFound, "x")), exitUsage},
		{"out of range", status.Error(codes.OutOfRange, "x"), exitUsage},
		{"not built", status.Error(codes.Unimplemented, "x"), exitUsage},
		{"not online", status.Error(codes.FailedPrecondition, "x"), exitFailure},
		{"not reached", status.Error(codes.Unavailable, "x"), exitFailure},
		{"too late", status.Error(codes.DeadlineExceeded, "x"), exitFailure},
		{"internal", status.Error(codes.Internal, "x"), exitFailure},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{io.ErrUnexpectedEOF, "unexpected EOF"},
		{status.Error(codes.NotFound, `building "hq" does not exist`), `building "hq" does not exist`},
		{fmt.Errorf("get: %w", status.Error(codes.NotFound, "gone")), "gone"},
	} {
		if got := describe(c.err); got != c.want {
			t.Errorf("%v is described as %q, want %q", c.err, got, c.want)
		}
	}
	down := describe(status.Error(codes.Unavailable, "connection error: refused"))
	if !strings.Contains(down, "--server") || !strings.Contains(down, "refused") {
		t.Errorf("an unreachable gateway is described as %q", down)
	}
}

func TestNegativeNumbersAreNoFlags(t *testing.T) {
	for _, arg := range []string{"-20.3", "-1", "-.5", "-,5", "-20.3 °C"} {
		safe := protectNegatives([]string{"write", arg})
		if safe[0] != "write" || strings.HasPrefix(safe[1], "-") {
			t.Errorf("%q would be taken for a flag: %q", arg, safe[1])
		}
		var got text
		if err := got.UnmarshalText([]byte(safe[1])); err != nil || string(got) != arg {
			t.Errorf("%q arrives as %q, %v", arg, got, err)
		}
	}
	for _, arg := range []string{"-o", "--for", "-", "--", "", "on", "5-3", "-l", "1/2/3", "2026-11-21"} {
		if safe := protectNegatives([]string{arg}); safe[0] != arg {
			t.Errorf("%q became %q", arg, safe[0])
		}
		var got text
		if err := got.UnmarshalText([]byte(arg)); err != nil || string(got) != arg {
			t.Errorf("%q arrives as %q, %v", arg, got, err)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "127.9.8.7", "::1", "localhost"} {
		if !isLoopback(host) {
			t.Errorf("%s is taken for reachable", host)
		}
	}
	for _, host := range []string{"", "0.0.0.0", "::", "192.168.1.1", "example.org", "localhost.example.org", "127.0.0.1.example.org", "::ffff:1.2.3.4"} {
		if isLoopback(host) {
			t.Errorf("%s is taken for this machine alone", host)
		}
	}
}

// Programs read lines with tabs; there is no header to skip.
func TestTableForPrograms(t *testing.T) {
	var out bytes.Buffer
	if err := printTable(&out, []string{"ID", "NAME"}, [][]string{{"hq", "Head office"}, {"branch", ""}}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "hq\tHead office\nbranch\t\n" {
		t.Errorf("got %q", got)
	}
}

func TestWGQuickFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "huge.conf")
	if err := os.WriteFile(path, make([]byte, maxWGQuick+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file string
		in   io.Reader
		want string
	}{
		"a huge file":        {path, nil, "huge.conf is larger than 64 KiB"},
		"an endless input":   {"-", endless{}, "larger than 64 KiB"},
		"a folder":           {dir, nil, "is a directory"},
		"a file not there":   {filepath.Join(dir, "none"), nil, "no such file"},
		"an input that ends": {"-", strings.NewReader(strings.Repeat("x", maxWGQuick)), ""},
	} {
		text, err := readSmall("--wg-quick", c.file, c.in, maxWGQuick)
		switch {
		case c.want == "" && (err != nil || len(text) != maxWGQuick):
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != exitUsage):
			t.Errorf("%s: %v, want a usage error with %q", name, err, c.want)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestTelegramValue(t *testing.T) {
	const write, read = knxfleetv1.Telegram_KIND_WRITE, knxfleetv1.Telegram_KIND_READ
	for _, c := range []struct {
		telegram *knxfleetv1.Telegram
		want     string
	}{
		{&knxfleetv1.Telegram{Kind: write, Raw: []byte{0x0c, 0x1a}}, "0x0c1a"},
		{&knxfleetv1.Telegram{Kind: write, Raw: []byte{0x0c, 0x1a}, Value: "21", Unit: "°C", Name: "Lobby"}, "21 °C (Lobby)"},
		{&knxfleetv1.Telegram{Kind: write, Raw: []byte{1}, Value: "on", SentByGateway: true}, "on [ours]"},
		{&knxfleetv1.Telegram{Kind: read}, ""},
	} {
		if got := telegramValue(c.telegram); got != c.want {
			t.Errorf("%v is shown as %q, want %q", c.telegram, got, c.want)
		}
	}
}

// A watch that ends by --for has no deadline that the gateway could see first.
func TestLasting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := lasting(t.Context(), time.Hour)
		defer cancel()
		if _, has := ctx.Deadline(); has {
			t.Error("it has a deadline")
		}
		time.Sleep(time.Hour - time.Second)
		if ctx.Err() != nil {
			t.Error("it ended early")
		}
		time.Sleep(2 * time.Second)
		if ctx.Err() == nil || ended(ctx, status.Error(codes.Canceled, "x")) != nil {
			t.Error("it did not end, or not well")
		}
		forever, leave := lasting(t.Context(), 0)
		time.Sleep(1000 * time.Hour)
		if forever.Err() != nil {
			t.Error("0 ended")
		}
		leave()
	})
	for _, code := range []codes.Code{codes.Unavailable, codes.Canceled, codes.DeadlineExceeded} {
		if err := ended(context.Background(), status.Error(code, "x")); err == nil {
			t.Errorf("a stream that broke with %v counts as wanted", code)
		}
	}
}

func TestConfigFile(t *testing.T) {
	resolver, err := loadConfig(strings.NewReader("data_dir: a\ngrpc-listen: b\ninsecure: true\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := configFile{"data-dir": "a", "grpc-listen": "b", "insecure": true}
	if got := resolver.(configFile); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read as %v, want %v", got, want)
	}
	for _, text := range []string{"[]", "data-dir: a\ndata-dir: b", "\t", "{"} {
		if _, err := loadConfig(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "configuration file") {
			t.Errorf("%q: %v, want an error that names the file", text, err)
		}
	}
	if empty, err := loadConfig(strings.NewReader("")); err != nil || len(empty.(configFile)) != 0 {
		t.Errorf("an empty file: %v %v", empty, err)
	}
}

// Every command explains itself.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"buildings", "--help"}, {"write", "--help"}} {
		var out, errOut bytes.Buffer
		code := run(context.Background(), args, strings.NewReader(""), &out, &errOut)
		if code != exitOK || !strings.Contains(out.String(), "Usage: knxfleet") || errOut.Len() > 0 {
			t.Errorf("%v: exit code %d, %q, %q", args, code, out.String(), errOut.String())
		}
		if slices.Contains(args, "serve") && !strings.Contains(out.String(), "KNXFLEET_DATA_DIR") {
			t.Errorf("the environment is not mentioned: %s", out.String())
		}
	}
}

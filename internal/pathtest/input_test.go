package pathtest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The lines of a wg-quick file that mistakes are made in.
var (
	peerLine     = regexp.MustCompile(`(?m)^\[Peer\]$`)
	keyLine      = regexp.MustCompile(`(?m)^PublicKey = `)
	endpointLine = regexp.MustCompile(`(?m)^Endpoint = .*$`)
	routerLine   = regexp.MustCompile(`(?m)^PublicKey = .*$`)
	privateLine  = regexp.MustCompile(`(?m)^PrivateKey = .*$`)
)

// testBadInput: each mistake gets one line that names the field and what would
// be right, and changes nothing.
func (s *suite) testBadInput(t *testing.T) {
	file := s.file(t, 1)
	good := writeFile(t, file)
	bad := func(line *regexp.Regexp, replacement string) string {
		text := line.ReplaceAllString(file, replacement)
		if text == file {
			t.Fatalf("%v: nothing replaced", line)
		}
		return writeFile(t, text)
	}
	create := func(id, knx, file string) []string {
		return []string{"buildings", "create", id, "--knx", knx, "--wg-quick", file}
	}
	const knx = "192.168.1.3"
	before := s.gateway.run(t, "buildings", "list", "-o", "json")
	for name, c := range map[string]struct {
		args []string
		want []string // parts of the one line
	}{
		"broken file":       {create("x", knx, bad(peerLine, "[Peer")), []string{"wg_quick", "line 5"}},
		"wrong key":         {create("x", knx, bad(keyLine, "PublicKey = AAA")), []string{"PublicKey", "32 bytes"}},
		"id in use":         {create(idOf(1), knx, good), []string{idOf(1), "exists"}},
		"bad id":            {create("Haus 1", knx, good), []string{"id", "a-z"}},
		"bad endpoint":      {create("x", knx, bad(endpointLine, "Endpoint = 300.0.0.1:51820")), []string{"Endpoint", "300.0.0.1"}},
		"interface outside": {create("x", "192.168.7.3", good), []string{"knx.endpoint", "192.168.7.3", "192.168.1.0/24"}},
		"no such file":      {create("x", knx, "/nonexistent"), []string{"--wg-quick"}},
		"group address":     {[]string{"write", idOf(1), "32/0/0", "on", "--dpt", "1.001"}, []string{"group_address", "31"}},
		"value":             {[]string{"write", idOf(1), "1/2/3", "maybe", "--dpt", "1.001"}, []string{"value", "on"}},
		"value range":       {[]string{"write", idOf(1), "1/2/3", "101", "--dpt", "5.001"}, []string{"value", "100"}},
		"type":              {[]string{"write", idOf(1), "1/2/3", "on", "--dpt", "999.1"}, []string{"dpt"}},
		"no building":       {[]string{"write", "nowhere", "1/2/3", "on", "--dpt", "1.001"}, []string{"nowhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := s.gateway.try(30*time.Second, c.args...)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 {
				t.Errorf("%v, want exit status 2", err)
			}
			if strings.Count(strings.TrimSpace(out), "\n") != 0 {
				t.Errorf("more than one line:\n%s", out)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q does not name %q", out, want)
				}
			}
			t.Log(strings.TrimSpace(out))
		})
	}
	t.Run("nothing is half created", func(t *testing.T) {
		eventually(t, 10*time.Second, "the list is as before", func() error {
			if after := s.gateway.run(t, "buildings", "list", "-o", "json"); strings.Count(after, "\n") != strings.Count(before, "\n") {
				return errors.New(after)
			}
			return nil
		})
	})
}

// testNobody: a router that does not answer is no mistake that can be refused,
// but the one who waits for it is told what to look at.
func (s *suite) testNobody(t *testing.T) {
	silent := endpointLine.ReplaceAllString(s.file(t, witnesses[0]), "Endpoint = 127.0.0.1:9")
	// Each building has a key pair and a router of its own.
	silent = routerLine.ReplaceAllLiteralString(silent, routerLine.FindString(s.file(t, caller)))
	silent = privateLine.ReplaceAllLiteralString(silent, privateLine.FindString(s.file(t, witnesses[1])))
	out, err := s.gateway.try(time.Minute, "buildings", "create", "x", "--knx", "192.168.1.3", "--wg-quick", writeFile(t, silent), "--wait", "15s")
	if err == nil || !strings.Contains(out, "HANDSHAKE_UNANSWERED") || !strings.Contains(out, "127.0.0.1:9") || !strings.Contains(out, "tunnel.endpoint") {
		t.Errorf("%v: %s", err, out)
	}
	t.Log(strings.TrimSpace(out))
	s.gateway.run(t, "buildings", "delete", "x")
}

func (s *suite) testGrpcurl(t *testing.T, binary string) {
	server := s.gateway.server
	call := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, binary, append([]string{"-plaintext"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("grpcurl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	services := call(server, "list")
	for _, want := range []string{
		"grpc.health.v1.Health", "knxfleet.v1.BuildingService", "knxfleet.v1.TelegramService",
		"knxfleet.v1.DiagnosticsService", "knxfleet.v1.EnrollmentService",
	} {
		if !strings.Contains(services, want) {
			t.Errorf("grpcurl list lacks %s:\n%s", want, services)
		}
	}
	if out := call(server, "grpc.health.v1.Health/Check"); !strings.Contains(out, "SERVING") {
		t.Errorf("health: %s", out)
	}
	// The same building once more, under another name.
	call("-d", fmt.Sprintf(`{"building":{"id":"by-hand","tunnel":{"wgQuick":%q},"knx":{"endpoint":"192.168.1.3"},"disabled":true}}`, s.file(t, 1)),
		server, "knxfleet.v1.BuildingService/CreateBuilding")
	if out := call("-d", `{"id":"by-hand"}`, server, "knxfleet.v1.BuildingService/GetBuilding"); !strings.Contains(out, "STATE_DISABLED") ||
		strings.Contains(out, "privateKey") || strings.Contains(out, "presharedKey\"") {
		t.Errorf("GetBuilding: %s", out)
	}
	if out := call("-d", `{}`, server, "knxfleet.v1.BuildingService/ListBuildings"); strings.Count(out, "STATE_ONLINE") != buildings {
		t.Errorf("ListBuildings: want %d ONLINE:\n%s", buildings, out)
	}
	call("-d", `{"id":"by-hand"}`, server, "knxfleet.v1.BuildingService/DeleteBuilding")

	const building = 3
	var stream strings.Builder
	cmd := exec.Command(binary, "-plaintext", "-max-time", "3", "-d", fmt.Sprintf(`{"buildings":[%q]}`, idOf(building)),
		server, "knxfleet.v1.TelegramService/StreamTelegrams")
	cmd.Stdout = &stream
	opened := s.gateway.log.count("stream opened")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the stream is open", func() error {
		if s.gateway.log.count("stream opened") == opened {
			return errors.New("not yet")
		}
		return nil
	})
	request := fmt.Sprintf(`{"building":%q,"groupAddress":%q,"dpt":"1.001","value":"on"}`, idOf(building), gatewayAddress(building))
	if out := call("-d", request, server, "knxfleet.v1.TelegramService/GroupWrite"); !strings.Contains(out, "OUTCOME_CONFIRMED") {
		t.Errorf("GroupWrite: %s", out)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(stream.String(), fmt.Sprintf(`"destination": %q`, gatewayAddress(building))) {
		t.Errorf("StreamTelegrams: %v, want the write and then the end by -max-time:\n%s", err, stream.String())
	}
}

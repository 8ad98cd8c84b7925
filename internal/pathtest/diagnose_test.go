package pathtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// verdicts are what a diagnosis says of a fault while it lasts, as codes of which one
// has to come. Where a world has nothing in the LAN but the interface, nobody can tell
// one that is unplugged from a LAN that is dead.
var verdicts = map[mishap][]string{
	interfaceStopped:     {"INTERFACE_SILENT"},
	interfaceUnreachable: {"INTERFACE_SILENT", "LAN_DEAD"},
	lanDown:              {"LAN_DEAD"},
	tunnelDown:           {"UDP_BLOCKED"},
	slotsFull:            {"SLOTS_FULL"},
	busDown:              {"BUS_DEAD"},
}

// diagnosis is what `buildings diagnose` prints.
type diagnosis struct {
	Verdict, Summary, NextStep string
	Checks                     []struct{ Name, Result, Evidence string }
}

// diagnose has a building diagnosed and wants one of some verdicts, with a next step.
func (s *suite) diagnose(t *testing.T, id string, want ...string) {
	t.Helper()
	began := time.Now()
	var d diagnosis
	out := s.gateway.output(t, "buildings", "diagnose", id, "-o", "json")
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s after %v: %s → %s", d.Verdict, time.Since(began).Round(100*time.Millisecond), d.Summary, d.NextStep)
	if !slices.Contains(want, strings.TrimPrefix(d.Verdict, "VERDICT_")) || d.Summary == "" || d.NextStep == "" {
		t.Errorf("%s is diagnosed %+v; want %v", id, d, want)
	}
}

// output is what a client command that must succeed prints, without what it tells its
// user beside.
func (g *gateway) output(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := g.command(t.Context(), args...).Output()
	if err != nil {
		t.Fatalf("knxfleet %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// wrongRow is a mistake in a building's configuration.
type wrongRow struct {
	what string
	// line is replaced in the building's wg-quick file: the one that begins so.
	line, by string
	port     string // of the interface, where it is another than usual
	want     []string
}

// someKey is a key that nobody has.
var someKey = base64.StdEncoding.EncodeToString([]byte("nobody has this key, nobody has."))

var wrongRows = []wrongRow{
	{what: "another key of the router", line: "PublicKey", by: someKey, want: []string{"UDP_BLOCKED", "WRONG_KEY"}},
	{what: "another preshared key", line: "PresharedKey", by: someKey, want: []string{"WRONG_PRESHARED_KEY"}},
	{what: "an address that the router does not allow", line: "Address", by: "10.200.0.77/32", want: []string{"ALLOWED_IPS"}},
	{what: "a name that is not there", line: "Endpoint", by: "nowhere.invalid:51820", want: []string{"NAME_UNRESOLVED"}},
	{what: "a port that nobody listens at", line: "Endpoint", by: "127.0.0.1:9", want: []string{"UDP_BLOCKED"}},
	{what: "a port where no interface is", port: ":3672", want: []string{"INTERFACE_SILENT"}},
}

// testDiagnoses has buildings configured wrongly, and wants to be told how.
func (s *suite) testDiagnoses(t *testing.T) {
	var playing sync.WaitGroup
	for i := range wrongRows {
		r, building := &wrongRows[i], i+1
		playing.Go(func() {
			t.Run(r.what, func(t *testing.T) {
				// The router knows one gateway: the building that works makes room.
				s.gateway.run(t, "buildings", "disable", idOf(building))
				defer func() {
					s.gateway.run(t, "buildings", "enable", idOf(building))
					s.gateway.statuses.online(t, patience, idOf(building))
				}()
				eventually(t, 15*time.Second, "the building has stopped", func() error {
					if now := s.gateway.statuses.last(idOf(building)); now.State != "DISABLED" {
						return fmt.Errorf("it is %s", now)
					}
					return nil
				})
				id := "wrong-" + idOf(building)
				s.gateway.run(t, "buildings", "create", id, "--wg-quick", writeFile(t, r.spoil(s.file(t, building))), "--knx", "192.168.1.3"+r.port)
				defer func() {
					s.gateway.run(t, "buildings", "delete", id)
					eventually(t, 15*time.Second, "the wrong one is gone", func() error {
						if out, err := s.gateway.try(5*time.Second, "buildings", "get", id); err == nil {
							return fmt.Errorf("it is there: %s", out)
						}
						return nil
					})
				}()
				eventually(t, 10*time.Second, "the wrong one runs", func() error {
					if now := s.gateway.statuses.last(id); now.State == "" || now.State == "WAITING" {
						return fmt.Errorf("it is %s", now)
					}
					return nil
				})
				s.diagnose(t, id, r.want...)
			})
		})
	}
	playing.Wait()
}

func (r *wrongRow) spoil(file string) string {
	if r.line == "" {
		return file
	}
	return regexp.MustCompile(`(?m)^\s*`+r.line+`\s*=.*$`).ReplaceAllString(file, r.line+" = "+r.by)
}

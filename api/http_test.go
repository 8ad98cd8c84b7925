package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
)

// fetch makes one HTTP call on a connection of its own.
func fetch(ctx context.Context, method, url, body string) (code int, text string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	return response.StatusCode, string(all), err
}

// rest makes a REST call and reads the answer's JSON.
func (g *gateway) rest(t *testing.T, method, path, body string, want int) map[string]any {
	t.Helper()
	code, text, err := fetch(t.Context(), method, g.url+path, body)
	noError(t, err)
	if code != want {
		t.Fatalf("%s %s: %d %s, want %d", method, path, code, text, want)
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	return answer
}

// field follows a path such as building.status.state.
func field(t *testing.T, answer any, path string) any {
	t.Helper()
	for name := range strings.SplitSeq(path, ".") {
		switch at := answer.(type) {
		case map[string]any:
			answer = at[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(at) {
				t.Fatalf("no %s in %v", path, at)
			}
			answer = at[i]
		default:
			t.Fatalf("no %s", path)
		}
	}
	return answer
}

func (g *gateway) json(t *testing.T, id, label string) string {
	t.Helper()
	b := g.building(id, label)
	b.Disabled = true
	building, err := protojson.Marshal(b)
	noError(t, err)
	return fmt.Sprintf(`{"building":%s}`, building)
}

func TestREST(t *testing.T) {
	g := start(t)
	created := g.rest(t, "POST", "/v1/buildings", g.json(t, "hq", "region=south"), 200)
	etag := field(t, created, "building.etag").(string)
	if key := field(t, created, "building.tunnel.publicKey"); key == "" || field(t, created, "building.tunnel.privateKey") != "" {
		t.Errorf("keys of %v", created)
	}
	g.rest(t, "POST", "/v1/buildings", g.json(t, "branch", "region=north"), 200)
	if got := g.rest(t, "GET", "/v1/buildings/hq", "", 200); field(t, got, "building.etag") != etag {
		t.Errorf("got %v", got)
	}
	if list := g.rest(t, "GET", "/v1/buildings?labelSelector=region%3Dsouth&pageSize=5", "", 200); field(t, list, "buildings.0.id") != "hq" || field(t, list, "totalSize") != 1.0 {
		t.Errorf("listed %v", list)
	}
	if enabled := g.rest(t, "POST", "/v1/buildings/hq:enable", "{}", 200); field(t, enabled, "building.disabled") != false {
		t.Errorf("enabled %v", enabled)
	}
	if disabled := g.rest(t, "POST", "/v1/buildings/hq:disable", "{}", 200); field(t, disabled, "building.generation") != "3" {
		t.Errorf("disabled %v", disabled)
	}
	refusal := g.rest(t, "DELETE", "/v1/buildings/hq?etag="+etag, "", 409)
	if field(t, refusal, "details.0.reason") != "ETAG_MISMATCH" || field(t, refusal, "details.0.metadata.building") != "hq" {
		t.Errorf("refused with %v", refusal)
	}
	g.rest(t, "DELETE", "/v1/buildings/hq", "", 200)
	g.rest(t, "GET", "/v1/buildings/hq", "", 404)
}

func TestRESTErrors(t *testing.T) {
	g := start(t)
	g.rest(t, "POST", "/v1/buildings", g.json(t, "hq", "a=b"), 200)
	write := func(body string, code int) map[string]any {
		t.Helper()
		return g.rest(t, "POST", "/v1/buildings/hq:write", body, code)
	}
	answer := write(`{"groupAddress":"1/2/300","dpt":"1.001","value":"on"}`, 400)
	if field(t, answer, "details.0.reason") != "INVALID_FIELD" || field(t, answer, "details.1.fieldViolations.0.field") != "group_address" {
		t.Errorf("a wrong address: %v", answer)
	}
	answer = write(`{"groupAddress":"1/2/3","dpt":"1.001","value":"on"}`, 400)
	if field(t, answer, "details.0.reason") != "BUILDING_NOT_ONLINE" {
		t.Errorf("an offline building: %v", answer)
	}
	// A slip of the pen is no other request.
	answer = write(`{"groupAddress":"1/2/3","raw":"AQ==","sixbit":true}`, 400)
	if !strings.Contains(field(t, answer, "message").(string), "sixbit") {
		t.Errorf("an unknown field: %v", answer)
	}
	write(`{"groupAddress":`, 400)
	g.rest(t, "POST", "/v1/buildings", g.json(t, "hq", "a=b"), 409)
	g.rest(t, "POST", "/v1/buildings", `{"building":{"id":"x","displayName":"`+strings.Repeat("x", maxRequest)+`"}}`, 400)
	g.rest(t, "GET", "/v1/buildings?pageToken=%21", "", 400)
	g.rest(t, "POST", "/v1/buildings/hq:reconnect", "{}", 400) // it is disabled
	g.rest(t, "POST", "/v1/buildings/hq:diagnose", "{}", 400)  // as above
	g.rest(t, "GET", "/v1/buildings/hq:capture", "", 501)
	g.rest(t, "GET", "/v1/nothing", "", 404)
}

// A parameter that the call does not have is refused: written wrong, it may be the one
// that makes the call safe.
func TestRESTQuery(t *testing.T) {
	g := start(t)
	g.rest(t, "POST", "/v1/buildings", g.json(t, "hq", "region=south"), 200)
	for _, c := range []struct{ method, path, body, field, words string }{
		{"DELETE", "/v1/buildings/hq?etagg=77", "", "etagg", "etag"},
		{"DELETE", "/v1/buildings/hq?etag=77&x", "", "x", "etag"},
		{"DELETE", "/v1/buildings/hq?id=other", "", "id", "path"},
		{"GET", "/v1/buildings?bogus=1", "", "bogus", "labelSelector, states, pageSize, pageToken, orderBy"},
		{"GET", "/v1/buildings/hq?bogus=1", "", "bogus", "takes none"},
		{"GET", "/v1/buildings:watch?building=hq", "", "building", "buildings"},
		{"GET", "/v1/telegrams:stream?bogus=1", "", "bogus", ""},
		{"PATCH", "/v1/buildings/hq?updateMaks=displayName", `{}`, "updateMaks", "updateMask"},
		{"PATCH", "/v1/buildings/hq?building.displayName=x", `{}`, "building.displayName", "body"},
		{"PATCH", "/v1/buildings/hq?displayName=x", `{}`, "displayName", "updateMask"},
		{"POST", "/v1/buildings/hq:disable?etag=77", `{}`, "etag", "body"},
		{"POST", "/v1/buildings?validateOnly=true", g.json(t, "branch", "a=b"), "validateOnly", "body"},
		{"POST", "/v1/groupAddresses:import?building=hq", ``, "building", "body"},
	} {
		refusal := g.rest(t, c.method, c.path, c.body, 400)
		if field(t, refusal, "details.0.reason") != "INVALID_FIELD" || field(t, refusal, "details.1.fieldViolations.0.field") != c.field {
			t.Errorf("%s %s: %v, want %s", c.method, c.path, refusal, c.field)
		}
		if text := field(t, refusal, "message").(string); !strings.Contains(text, c.words) {
			t.Errorf("%s %s: %s; want %s in it", c.method, c.path, text, c.words)
		}
	}
	g.rest(t, "DELETE", "/v1/buildings/hq?etag%zz=77", "", 400)
	g.rest(t, "GET", "/v1/buildings/hq?etag%zz=77", "", 400)
	g.rest(t, "DELETE", "/v1/buildings/hq?etag[a]=77", "", 400)
	g.rest(t, "GET", "/v1/buildings?pageSize.x=1", "", 400)
	// Nothing was changed, and what is right passes: in names of JSON and of the contract.
	if list := g.rest(t, "GET", "/v1/buildings?label_selector=region%3Dsouth&page_size=5&states=STATE_DISABLED&states=STATE_ONLINE", "", 200); field(t, list, "totalSize") != 1.0 {
		t.Errorf("listed %v", list)
	}
	for _, c := range []struct{ mask, body, path, want string }{
		{"displayName", `{"displayName":"a"}`, "building.displayName", "a"},
		{"display_name", `{"displayName":"b"}`, "building.displayName", "b"},
		{"tunnel.endpoint,displayName", `{"displayName":"c","tunnel":{"endpoint":"c.example.org:1"}}`, "building.tunnel.endpoint", "c.example.org:1"},
		{"knx.individualAddress", `{"knx":{"individualAddress":"1.1.250"}}`, "building.knx.individualAddress", "1.1.250"},
		{"tunnel.presharedKey&validateOnly=true", `{}`, "building.tunnel.endpoint", "c.example.org:1"},
	} {
		if updated := g.rest(t, "PATCH", "/v1/buildings/hq?updateMask="+c.mask, c.body, 200); field(t, updated, c.path) != c.want {
			t.Errorf("%s: %v", c.mask, updated)
		}
	}
	g.rest(t, "PATCH", "/v1/buildings/hq?updateMask=displayNames", `{}`, 400)
	g.rest(t, "PATCH", "/v1/buildings/hq?updateMask=tunnel.publicKey", `{}`, 400)
	g.rest(t, "PATCH", "/v1/buildings/hq?updateMask=createdAt", `{}`, 400)
	g.rest(t, "GET", "/v1/telegrams?buildings=hq&pageSize=1", "", 400) // no journal is kept here
}

// Streams are lines of JSON.
func TestRESTWatch(t *testing.T) {
	g := start(t)
	b := g.building("hq")
	b.Disabled = true
	g.create(t, b)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/v1/buildings:watch?buildings=hq", nil)
	noError(t, err)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	noError(t, err)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	next := func(path string) any {
		if !lines.Scan() {
			t.Fatalf("the stream ended: %v", lines.Err())
		}
		var line map[string]any
		noError(t, json.Unmarshal(lines.Bytes(), &line))
		return field(t, line, path)
	}
	if id := next("result.changes.0.building.id"); id != "hq" {
		t.Errorf("first told %v", id)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		g.stop()
	}()
	last := ""
	for lines.Scan() {
		last = lines.Text()
	}
	if !strings.Contains(last, "GATEWAY_STOPPING") {
		t.Errorf("ended with %q (%v), want GATEWAY_STOPPING", last, lines.Err())
	}
	<-stopped
}

func TestProbesAndMetrics(t *testing.T) {
	g := start(t)
	for path, want := range map[string]string{"/livez": "alive\n", "/readyz": "ready\n"} {
		if code, body, err := fetch(t.Context(), "GET", g.url+path, ""); err != nil || code != 200 || body != want {
			t.Errorf("%s: %d %q %v", path, code, body, err)
		}
	}
	if code, body, err := fetch(t.Context(), "GET", g.url+"/metrics", ""); err != nil || code != 200 || !strings.Contains(body, "\ngo_goroutines ") {
		t.Errorf("/metrics: %d %.200q %v", code, body, err)
	}
	if code, _, err := fetch(t.Context(), "POST", g.url+"/readyz", ""); err != nil || code != http.StatusMethodNotAllowed {
		t.Errorf("POST /readyz: %d %v", code, err)
	}
}

func TestReadyAsksTheStore(t *testing.T) {
	g := startWith(t, setup{probe: func(context.Context) error { return errors.New("disk full") }})
	if code, body, err := fetch(t.Context(), "GET", g.url+"/readyz", ""); err != nil || code != 503 || !strings.Contains(body, "disk full") {
		t.Errorf("/readyz: %d %q %v, want 503 and why", code, body, err)
	}
	if code, _, err := fetch(t.Context(), "GET", g.url+"/livez", ""); err != nil || code != 200 {
		t.Errorf("/livez: %d %v, want 200: a restart would not help", code, err)
	}
}

// A page in somebody's browser cannot write to a bus because the gateway listens
// on the same machine.
func TestBrowsersAreKeptOut(t *testing.T) {
	g := start(t)
	for name, c := range map[string]struct {
		header, value string
		host          string
		want          int
	}{
		"a program":                {want: http.StatusNotFound},
		"another site":             {header: "Sec-Fetch-Site", value: "cross-site", want: http.StatusForbidden},
		"another origin":           {header: "Origin", value: "https://example.org", want: http.StatusForbidden},
		"a name made to lead here": {host: "rebound.example.org", want: http.StatusForbidden},
		"this machine by its name": {host: "localhost:7680", want: http.StatusNotFound},
		"this machine over IPv6":   {host: "[::1]:7680", want: http.StatusNotFound},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/v1/buildings/nowhere:write",
			strings.NewReader(`{"groupAddress":"1/2/3","dpt":"1.001","value":"on"}`))
		noError(t, err)
		request.Header.Set("Content-Type", "text/plain")
		if c.header != "" {
			request.Header.Set(c.header, c.value)
		}
		if c.host != "" {
			request.Host = c.host
		}
		response, err := http.DefaultClient.Do(request)
		noError(t, err)
		noError(t, response.Body.Close())
		if response.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", name, response.StatusCode, c.want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// A client that connects and says nothing does not hold up the stop.
func TestSilentClientsDoNotHoldUpTheStop(t *testing.T) {
	g := start(t)
	silent, err := net.Dial("tcp", g.conn.Target())
	noError(t, err)
	defer silent.Close()
	began := time.Now()
	g.stop()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the stop took %v", took)
	}
}

//go:build confined && linux

package confinetest

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// dockerfile is what the image is made of and how it starts.
type dockerfile struct {
	buildCommand string
	user         string
	env          []string
	args         []string // ENTRYPOINT and CMD
}

// built is where the build command leaves the binary.
const built = "/out/knxfleet"

// readDockerfile reads the instructions that count here. Each has to be on one
// line.
func readDockerfile(t *testing.T) dockerfile {
	t.Helper()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var d dockerfile
	for line := range strings.Lines(string(text)) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch instruction {
		case "RUN":
			if strings.Contains(rest, " "+built+" ") {
				d.buildCommand = rest
			}
		case "USER":
			d.user = rest
		case "ENV":
			d.env = append(d.env, strings.Fields(rest)...)
		case "ENTRYPOINT", "CMD":
			var args []string
			if err := json.Unmarshal([]byte(rest), &args); err != nil {
				t.Fatalf("Dockerfile: %s: %v, want a list in JSON", instruction, err)
			}
			d.args = append(d.args, args...)
		}
	}
	if d.buildCommand == "" || len(d.args) == 0 {
		t.Fatalf("Dockerfile: no RUN that makes %s, or no ENTRYPOINT and CMD: %+v", built, d)
	}
	return d
}

// build runs the image's build command.
func (d dockerfile) build(t *testing.T, out string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(d.buildCommand, built, out))
	cmd.Dir = "../.."
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", d.buildCommand, err, text)
	}
}

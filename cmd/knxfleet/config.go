package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"sigs.k8s.io/yaml"
)

// configFile holds the values of a configuration file by the names of serve's
// flags. Unlike kong's own it takes the names as the help spells them, and refuses
// those that do not exist: a slip of the pen would go unnoticed.
type configFile map[string]any

// loadConfig reads a configuration file in YAML; JSON is YAML too. Names may be
// written with "_" for "-".
func loadConfig(r io.Reader) (kong.Resolver, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	file := make(configFile, len(values))
	for name, value := range values {
		file[strings.ReplaceAll(name, "_", "-")] = value
	}
	return file, nil
}

// Validate implements kong.Resolver.
func (f configFile) Validate(app *kong.Application) error {
	known := make(map[string]bool)
	for _, command := range app.Children {
		if command.Name != "serve" {
			continue
		}
		for _, flag := range command.Flags {
			known[flag.Name] = flag.Name != "config"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !known[name] {
			delete(known, "config")
			return fmt.Errorf("configuration file: %s is no setting; want one of %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	return nil
}

// Resolve implements kong.Resolver. Kong asks for flags that the command line did
// not set, and would let the file beat the environment.
func (f configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil //nolint:nilnil // no value, as kong has it
		}
	}
	return f[flag.Name], nil
}

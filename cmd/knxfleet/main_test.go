package main

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"knxfleet": main})
}

// leakChecked looks for leaked goroutines after the tests.
type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	// Scripts wait rather than work: a site that is called off while its session
	// opens takes two seconds. -parallel overrides this, since flags are parsed later.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	code := m.M.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

package api

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Tests wait rather than work: a site that is called off while its session
	// opens takes two seconds. -parallel overrides this, since flags are parsed later.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

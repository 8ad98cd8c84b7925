package main

import (
	"fmt"
	"os"
	"testing"
)

func TestTakeAffinity(t *testing.T) {
	ours := os.Getpid()
	for _, c := range []struct {
		value    string
		narrowed bool
		cpus     []int
		bad      bool
	}{
		{value: fmt.Sprintf("%d: 0,3,64", ours), narrowed: true, cpus: []int{0, 3, 64}},
		{value: fmt.Sprintf("%d: 0,3", ours+1)}, // inherited from another process
		{value: ""},
		{value: "1"},
		{value: fmt.Sprintf("%d: ", ours), bad: true},
		{value: fmt.Sprintf("%d: 0,all", ours), bad: true},
	} {
		t.Setenv(affinityVariable, c.value)
		allowed, narrowed, err := takeAffinity()
		if narrowed != c.narrowed || (err != nil) != c.bad {
			t.Errorf("%q: narrowed %v, %v", c.value, narrowed, err)
		}
		if !c.bad && allowed.Count() != len(c.cpus) {
			t.Errorf("%q: %d CPUs, want %v", c.value, allowed.Count(), c.cpus)
		}
		for _, cpu := range c.cpus {
			if !allowed.IsSet(cpu) {
				t.Errorf("%q: CPU %d is missing", c.value, cpu)
			}
		}
		if value, left := os.LookupEnv(affinityVariable); left {
			t.Errorf("%q: %q is left for child processes", c.value, value)
		}
	}
}

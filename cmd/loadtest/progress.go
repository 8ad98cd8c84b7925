package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// step is one part of a measurement.
type step struct {
	what  string
	takes time.Duration // about
	do    func(context.Context) error
}

// runSteps does them in order and shows what is done and what is left.
func runSteps(ctx context.Context, w io.Writer, steps []step) error {
	var left time.Duration
	for _, s := range steps {
		left += s.takes
	}
	f, ok := w.(*os.File)
	live := ok && term.IsTerminal(int(f.Fd()))
	fmt.Fprintf(w, "%d steps, about %s\n", len(steps), rough(left))
	for i, s := range steps {
		line := fmt.Sprintf("[%d/%d, %s left] %s", i+1, len(steps), rough(left), s.what)
		fmt.Fprintln(w, line)
		err := watched(ctx, w, live, s)
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted during: %s", s.what)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		left -= s.takes
	}
	return nil
}

// rough is a duration to the second.
func rough(d time.Duration) string { return d.Round(time.Second).String() }

// watched does a step and shows on a terminal how it goes on, elsewhere each minute.
func watched(ctx context.Context, w io.Writer, live bool, s step) error {
	done := make(chan error, 1)
	go func() { done <- s.do(ctx) }()
	interval := time.Minute
	if live {
		interval = time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case err := <-done:
			if live {
				fmt.Fprint(w, "\r\x1b[K") // takes the line of the clock away
			}
			return err
		case <-tick.C:
			spent := fmt.Sprintf("  %s of about %s", rough(time.Since(began)), rough(s.takes))
			if live {
				fmt.Fprint(w, "\r\x1b[K"+spent)
				continue
			}
			fmt.Fprintln(w, spent)
		}
	}
}

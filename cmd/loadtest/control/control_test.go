package control_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"go.uber.org/goleak"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Adder is a child's methods.
type Adder struct{ held chan struct{} }

func (Adder) Add(numbers []int, sum *int) error {
	for _, n := range numbers {
		*sum += n
	}
	if *sum == 0 {
		return errors.New("nothing to add")
	}
	return nil
}

func (a Adder) Hold(_ control.Nothing, _ *control.Nothing) error {
	<-a.held
	return nil
}

func connect(ctx context.Context, methods any) (*control.Child, chan error) {
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := control.Serve(ctx, inRead, outWrite, methods)
		_ = outWrite.Close() // as the end of the process does
		ended <- err
	}()
	return control.Connect(outRead, inWrite), ended
}

func TestCall(t *testing.T) {
	adder := Adder{make(chan struct{})}
	child, ended := connect(t.Context(), adder)
	var sum int
	if err := child.Call(t.Context(), "Add", []int{1, 2, 3}, &sum); err != nil || sum != 6 {
		t.Errorf("got %d, %v", sum, err)
	}
	if err := child.Call(t.Context(), "Add", []int{}, new(int)); err == nil || err.Error() != "nothing to add" {
		t.Errorf("the child's error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := child.Call(ctx, "Hold", control.Nothing{}, &control.Nothing{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call without time gives %v", err)
	}
	close(adder.held)
	for range 2 {
		if err := child.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("the child ends with %v", err)
	}
	if err := child.Call(t.Context(), "Add", []int{1}, &sum); err == nil {
		t.Error("a child that has ended answers")
	}
}

func TestServeEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	child, ended := connect(ctx, Adder{})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := child.Close(); err != nil {
		t.Error(err)
	}
}

func TestServeRefusesWhatHasNoMethods(t *testing.T) {
	if err := control.Serve(t.Context(), io.NopCloser(nil), nil, struct{}{}); err == nil {
		t.Error("a child without methods is served")
	}
}

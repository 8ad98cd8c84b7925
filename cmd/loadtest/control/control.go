// Package control is the wire between the load test and the processes that it
// starts from its own binary: net/rpc over the child's standard input and output.
// A child whose parent is gone reads the end of its input and ends too, so that
// nothing is left behind whatever happens to the parent.
package control

import (
	"context"
	"errors"
	"io"
	"net/rpc"
)

// service is the one name under which a child is called.
const service = "Child"

// Nothing is the argument or the reply of a call that has none.
type Nothing struct{}

// Serve answers the parent's calls to the exported methods of methods (see package
// net/rpc for their form) until the parent closes in, or ctx ends.
func Serve(ctx context.Context, in io.ReadCloser, out io.WriteCloser, methods any) error {
	server := rpc.NewServer()
	if err := server.RegisterName(service, methods); err != nil {
		return err
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.ServeConn(pipe{in, out})
	}()
	select {
	case <-served:
		return nil
	case <-ctx.Done():
		// A read that is under way may outlive this where in is a terminal; then
		// the process ends with it.
		return errors.Join(in.Close(), out.Close())
	}
}

// Child is the parent's end. Its methods may be called at the same time.
type Child struct{ client *rpc.Client }

// Connect speaks to a child over its output and input.
func Connect(out io.ReadCloser, in io.WriteCloser) *Child {
	return &Child{rpc.NewClient(pipe{out, in})}
}

// Call runs a method of the child and waits for its reply, or for the end of ctx;
// the child goes on then. A child that has ended gives an error.
func (c *Child) Call(ctx context.Context, method string, argument, reply any) error {
	call := c.client.Go(service+"."+method, argument, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return call.Error
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes the child's input, which ends it. It is idempotent.
func (c *Child) Close() error {
	if err := c.client.Close(); !errors.Is(err, rpc.ErrShutdown) {
		return err
	}
	return nil
}

// pipe is both directions as one.
type pipe struct {
	io.ReadCloser
	out io.WriteCloser
}

func (p pipe) Write(b []byte) (int, error) { return p.out.Write(b) }

func (p pipe) Close() error { return errors.Join(p.ReadCloser.Close(), p.out.Close()) }

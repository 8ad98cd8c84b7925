package main

import (
	"errors"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A change counts as done or not done only where that is known.
func TestFateOf(t *testing.T) {
	stopping, err := status.New(codes.Unavailable, "the gateway is stopping").WithDetails(&errdetails.ErrorInfo{Reason: "GATEWAY_STOPPING"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		err  error
		want fate
	}{
		"done":                     {nil, done},
		"refused":                  {status.Error(codes.Aborted, "the building was changed meanwhile"), failed},
		"not ours":                 {errors.New("no such thing"), failed},
		"we had to leave":          {status.Error(codes.Canceled, "context canceled"), unknown},
		"it is gone, under way":    {status.Error(codes.Unavailable, "error reading from server: EOF"), unknown},
		"it is gone, never called": {status.Error(codes.Unavailable, "connection error: desc = \"transport: Error while dialing\""), notBegun},
		"it is stopping":           {stopping.Err(), notBegun},
	} {
		if got := fateOf(c.err); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

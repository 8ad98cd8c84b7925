//go:build !linux

package main

import (
	"context"

	"github.com/rs/zerolog"
)

// startOnOneCPU does nothing: only Linux lets a process choose its CPUs this way.
func startOnOneCPU(ctx context.Context, _ zerolog.Logger) context.Context { return ctx }

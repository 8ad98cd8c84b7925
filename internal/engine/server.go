package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// drainTimeout bounds how long Close waits for callbacks to finish.
const drainTimeout = 5 * time.Second

// startServer starts the embedded server over dir and returns when everything
// stored has been recovered.
func startServer(ctx context.Context, dir string, log zerolog.Logger) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName:             "knxfleet",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               dir,
		JetStreamMaxStore:      maxStore,
		MaxPayload:             MaxTableValue + valueOverhead,
		// Without it a power cut loses what was written in the last minutes,
		// up to whole buckets. With it, acknowledged means durable.
		SyncAlways: true,
	})
	if err != nil {
		return nil, fmt.Errorf("configure the store: %w", err)
	}
	bridge := &serverLog{log: log}
	s.SetLoggerV2(bridge, false, false, false)

	started := make(chan struct{})
	go func() {
		defer close(started)
		s.Start() // returns when all is recovered, since it does not listen
	}()
	select {
	case <-started:
		err = bridge.fatalError()
		if err == nil && !s.JetStreamEnabled() {
			err = errors.New("the store did not start")
		}
	case <-ctx.Done():
		err = fmt.Errorf("start the store: %w", ctx.Err())
	}
	if err != nil {
		<-started // a server must not be shut down while it starts
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	return s, nil
}

// connect opens the in-process connection. The channel is closed once the
// connection is closed for good.
func connect(s *server.Server, log zerolog.Logger) (*nats.Conn, chan struct{}, error) {
	closed := make(chan struct{})
	conn, err := nats.Connect("",
		nats.InProcessServer(s),
		nats.Name("knxfleet"),
		nats.MaxReconnects(-1),
		// A write is on its way to the store or it has failed; it never waits
		// in a buffer for a reconnect.
		nats.ReconnectBufSize(-1),
		nats.DrainTimeout(drainTimeout),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn().Err(err).Msg("store connection")
		}),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the store: %w", err)
	}
	return conn, closed, nil
}

// serverLog passes the server's log on: notices as debug, since they tell
// nothing that a user of knxfleet could act on. A fatal error does not end the
// process; it is kept for startServer to return.
type serverLog struct {
	log zerolog.Logger

	mu    sync.Mutex
	fatal error
}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug().Msgf("store: "+format, v...) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn().Msgf("store: "+format, v...) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log.Error().Msgf("store: "+format, v...) }

func (l *serverLog) Fatalf(format string, v ...any) {
	l.log.Error().Msgf("store: "+format, v...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == nil {
		l.fatal = fmt.Errorf(format, v...)
	}
}

// Debugf and Tracef are never called: both levels are switched off, as they
// would format every message that passes.
func (l *serverLog) Debugf(string, ...any) {}
func (l *serverLog) Tracef(string, ...any) {}

func (l *serverLog) fatalError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

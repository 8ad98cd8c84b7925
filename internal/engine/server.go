package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

const (
	// drainTimeout bounds how long Close waits for callbacks to finish.
	drainTimeout = 5 * time.Second
	// reconnectPause is the wait between attempts to reach a server that is
	// being replaced.
	reconnectPause = 100 * time.Millisecond
)

// host runs the embedded server, and puts a new one in its place when it has to.
// The in-process connection follows by itself.
type host struct {
	dir string
	// key encrypts all that the server stores; empty: nothing is encrypted.
	key string
	// inClear: what is stored is not encrypted yet, and the server does that.
	inClear bool
	symlink func(to, link string) error
	log     zerolog.Logger
	// linked: the running server works on a view.
	linked bool
	// shown are the streams that the running server was started with, by links.
	shown []string

	mu      sync.Mutex
	current *server.Server // nil while none runs
}

var errNotRunning = errors.New("the store does not run")

// InProcessConn implements nats.InProcessConnProvider.
func (h *host) InProcessConn() (net.Conn, error) {
	s := h.server()
	if s == nil {
		return nil, errNotRunning
	}
	return s.InProcessConn()
}

func (h *host) server() *server.Server {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current
}

// start starts the server and returns when everything stored has been
// recovered.
func (h *host) start(ctx context.Context) error {
	if h.key != "" {
		if err := dropUnborn(h.dir, h.inClear); err != nil {
			return err
		}
	}
	storeDir, err := h.show()
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		ServerName:             "knxfleet",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               storeDir,
		JetStreamMaxStore:      maxStore,
		JetStreamKey:           h.key,
		JetStreamCipher:        server.AES,
		MaxPayload:             MaxTableValue + valueOverhead,
		// Without it a power cut loses what was written in the last minutes,
		// up to whole buckets. With it, acknowledged means durable. The journal
		// has a persist mode of its own.
		SyncAlways: true,
	})
	if err != nil {
		return fmt.Errorf("configure the store: %w", err)
	}
	bridge := &serverLog{log: h.log}
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
		if err == nil {
			err = h.whole()
		}
	case <-ctx.Done():
		err = fmt.Errorf("start the store: %w", ctx.Err())
	}
	if err != nil {
		<-started // a server must not be shut down while it starts
		s.Shutdown()
		s.WaitForShutdown()
		return err
	}
	h.mu.Lock()
	h.current = s
	h.mu.Unlock()
	return nil
}

// stop ends the server, if one runs, and waits for it.
func (h *host) stop() {
	h.mu.Lock()
	s := h.current
	h.current = nil
	h.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// broken tells what keeps the server from storing, as far as it says so itself, and which
// streams that is in: after a write error a stream takes nothing any more, and does not answer.
func (h *host) broken() (streams []string, cause error) {
	s := h.server()
	if s == nil {
		return nil, errNotRunning
	}
	return storeErrors(s.Healthz(&server.HealthzOptions{Details: true}).Errors)
}

// storeErrors are those that are about storing. The server also calls itself unhealthy
// when it could not accept a connection within a moment, which on a busy machine says
// nothing but that: it is reached in this process, without a listener.
func storeErrors(health []server.HealthzError) (streams []string, cause error) {
	var all []error
	for _, e := range health {
		if e.Type == server.HealthzErrorConn {
			continue
		}
		all = append(all, errors.New(e.Error))
		if e.Stream != "" {
			streams = append(streams, e.Stream)
		}
	}
	return streams, errors.Join(all...)
}

// connect opens the in-process connection. The channel is closed once the
// connection is closed for good.
func connect(h *host, log zerolog.Logger) (*nats.Conn, chan struct{}, error) {
	closed := make(chan struct{})
	conn, err := nats.Connect("",
		nats.InProcessServer(h),
		nats.Name("knxfleet"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectPause),
		nats.ReconnectJitter(0, 0),
		// Of two seconds, the library's own, a busy machine may give this process
		// nothing.
		nats.Timeout(operationTimeout),
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

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
	"github.com/knxfleet/knxfleet/cmd/loadtest/stamp"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// maxResponse is more than 1,000 telegrams.
const maxResponse = 4 << 20

// subscribeCmd is subscribers of everything as a process of their own, each with a
// connection of its own.
type subscribeCmd struct {
	Server string `required:"" help:"Address of the gateway's gRPC API, or of the MQTT broker."`
	MQTT   bool   `name:"mqtt" help:"Subscribe at an MQTT broker."`
	Count  int    `default:"1" help:"How many subscribers."`
	Ledger bool   `help:"Keep account of each building."`
}

// Run subscribes until the parent is gone.
func (c *subscribeCmd) Run(ctx context.Context, s *streams) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := &Subscribers{ctx: ctx, count: c.Count, open: func(ctx context.Context) (source, error) { return openStream(ctx, c.Server) }}
	if c.MQTT {
		all.open = func(ctx context.Context) (source, error) { return openMQTT(ctx, c.Server) }
	}
	if c.Ledger {
		all.ledger = ledger{}
	}
	err := control.Serve(ctx, s.in, s.out, all)
	cancel()
	all.running.Wait()
	return err
}

// source is what one subscriber receives from.
type source interface {
	// next waits for telegrams, gives each of them encoded, and tells how many are
	// missing besides.
	next(telegram func(encoded []byte)) (missing uint64, err error)
	close() error
}

// Subscribers is their end of package control.
type Subscribers struct {
	ctx     context.Context //nolint:containedctx // of the process: calls by net/rpc have none
	count   int
	open    func(context.Context) (source, error)
	running sync.WaitGroup

	telegrams, missing atomic.Uint64
	ages               stamp.Ages

	mu      sync.Mutex
	failed  error
	example []byte
	ledger  ledger // nil: none is kept
}

// Open subscribes, and returns when all subscribers miss nothing from now on.
func (s *Subscribers) Open(_ control.Nothing, _ *control.Nothing) error {
	var opening errgroup.Group
	for i := range s.count {
		opening.Go(func() error {
			from, err := s.open(s.ctx)
			if err != nil {
				return fmt.Errorf("subscriber %d: %w", i+1, err)
			}
			s.running.Go(func() { s.receive(i, from) })
			return nil
		})
	}
	return opening.Wait()
}

// measured is how many subscribers look into what they receive; the others only
// count.
const measured = 4

// receive is one subscriber. The first one also keeps the ledger.
func (s *Subscribers) receive(i int, from source) {
	stop := context.AfterFunc(s.ctx, func() { _ = from.close() })
	defer stop()
	defer from.close()
	counted := 0
	count := func([]byte) { counted++ }
	if spread := (s.count + measured - 1) / measured; i%spread == 0 {
		count = func(encoded []byte) {
			counted++
			s.look(encoded, i == 0)
		}
	}
	for {
		counted = 0
		missing, err := from.next(count)
		s.telegrams.Add(uint64(counted))
		s.missing.Add(missing)
		if err != nil {
			s.fail(fmt.Errorf("subscriber %d: %w", i+1, err))
			return
		}
	}
}

func (s *Subscribers) look(encoded []byte, first bool) {
	now := stamp.Now()
	telegram, err := look(encoded)
	if err != nil {
		s.fail(err)
		return
	}
	if telegram.sent != 0 {
		s.ages.Add(now - telegram.sent)
	}
	if !first {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.example = append(s.example[:0], encoded...)
	if s.ledger != nil {
		s.ledger.note(telegram)
	}
}

func (s *Subscribers) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil && s.ctx.Err() == nil {
		s.failed = err
	}
}

// SubscriberCounts is what all subscribers together received since the start.
type SubscriberCounts struct {
	Telegrams uint64
	Missing   uint64 // telegrams that were told as gaps
}

// Counts counts; it fails if a subscriber has.
func (s *Subscribers) Counts(_ control.Nothing, counts *SubscriberCounts) error {
	*counts = SubscriberCounts{s.telegrams.Load(), s.missing.Load()}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// MeasureAges begins or ends noting how old telegrams are.
func (s *Subscribers) MeasureAges(on bool, _ *control.Nothing) error { //nolint:unparam // the form of net/rpc
	s.ages.Measure(on)
	return nil
}

// TakeAges gives how old telegrams were when they arrived, in nanoseconds, and
// forgets them. Only while they are measured.
func (s *Subscribers) TakeAges(_ control.Nothing, ages *[]int64) error { //nolint:unparam // the form of net/rpc
	*ages = s.ages.Take()
	return nil
}

// Example gives the last telegram of the first subscriber, encoded.
func (s *Subscribers) Example(_ control.Nothing, example *[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.example) == 0 {
		return errors.New("no telegram has come yet")
	}
	*example = append([]byte(nil), s.example...)
	return nil
}

// Ledger gives the account of the first subscriber.
func (s *Subscribers) Ledger(_ control.Nothing, l *map[string]Account) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*l = make(map[string]Account, len(s.ledger))
	for building, account := range s.ledger {
		(*l)[building] = *account
	}
	return nil
}

// ledger is the account of each building.
type ledger map[string]*Account

// Account is what came from one building.
type Account struct {
	Telegrams uint64
	// Disorder counts telegrams whose number did not follow the one before, or
	// that were not sent after it. Without any, each came once.
	Disorder uint64

	epoch, number uint64
	sent          int64
}

func (l ledger) note(t seen) {
	a := l[string(t.building)]
	if a == nil {
		a = &Account{}
		l[string(t.building)] = a
	} else if t.sent <= a.sent || t.epoch == a.epoch && t.number != a.number+1 || t.epoch < a.epoch {
		a.Disorder++
	}
	a.Telegrams++
	a.epoch, a.number, a.sent = t.epoch, t.number, t.sent
}

// stream is a gRPC subscriber.
type stream struct {
	conn     *grpc.ClientConn
	stream   grpc.ClientStream
	response response
}

// openStream subscribes to everything, and returns when the gateway has seen it.
func openStream(ctx context.Context, server string) (*stream, error) {
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(maxResponse)))
	if err != nil {
		return nil, err
	}
	s := &stream{conn: conn}
	s.stream, err = conn.NewStream(ctx, &knxfleetv1.TelegramService_ServiceDesc.Streams[0], knxfleetv1.TelegramService_StreamTelegrams_FullMethodName)
	if err == nil {
		err = s.stream.SendMsg(&knxfleetv1.StreamTelegramsRequest{})
	}
	if err == nil {
		err = s.stream.CloseSend()
	}
	if err == nil {
		_, err = s.stream.Header()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

func (s *stream) next(telegram func(encoded []byte)) (missing uint64, err error) {
	if err := s.stream.RecvMsg(&s.response); err != nil {
		return 0, err
	}
	return s.response.each(telegram)
}

func (s *stream) close() error { return s.conn.Close() }

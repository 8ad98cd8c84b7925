package main

import (
	"context"
	"fmt"
	"time"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
)

// warmUpMost is how long something goes on before it is measured, but not longer
// than the measurement.
const warmUpMost = 5 * time.Second

// profileFor is how long a profile is taken.
func (s *settings) profileFor() time.Duration { return min(10*time.Second, s.loadFor) }

func (s *settings) warmUp() time.Duration { return min(warmUpMost, s.loadFor) }

// reception is what receiving telegrams took for a while.
type reception struct {
	Received   float64 // telegrams that the process received
	Delivered  float64 // telegrams that subscribers received, all together
	Missing    float64 // telegrams that subscribers were told to have missed
	CPU        time.Duration
	Simulator  time.Duration // CPU of the simulator, or of the publisher
	Took       time.Duration
	Offered    float64 // telegrams
	Ages       []int64 // nanoseconds
	repetition float64 // telegrams that were sent a second time
}

// micros is a cost in µs by one of count.
func micros(cpu time.Duration, count float64) float64 {
	if count == 0 {
		return 0
	}
	return float64(cpu) / float64(time.Microsecond) / count
}

// millis is an age in ms.
func millis(ages []int64, q float64) float64 {
	return float64(quantile(ages, q)) / float64(time.Millisecond)
}

// reading is everything that is counted, at one moment.
type reading struct {
	at                time.Time
	cpu, simulator    time.Duration
	received, offered float64
	delivered         SubscriberCounts
	repeats           float64
}

// between is what happened from one reading to the next.
func between(a, b reading) reception {
	return reception{
		Received: b.received - a.received, Offered: b.offered - a.offered,
		Delivered: float64(b.delivered.Telegrams - a.delivered.Telegrams),
		Missing:   float64(b.delivered.Missing - a.delivered.Missing),
		CPU:       b.cpu - a.cpu, Simulator: b.simulator - a.simulator, Took: b.at.Sub(a.at),
		repetition: b.repeats - a.repeats,
	}
}

// receive measures a side that receives telegrams, at a rate of all buildings
// together. Of naive its own sockets are the one subscriber.
func (sc *scene) receive(ctx context.Context, s *side, perSecond float64, subscribers int, profile string) (r reception, err error) {
	sink := s.process
	if !s.plain {
		if sink, err = sc.startSelf("subscribers", "subscribe", "--server="+sc.gateway.GRPC, fmt.Sprintf("--count=%d", subscribers)); err != nil {
			return r, err
		}
		defer func() {
			if stopErr := sink.stop(); err == nil {
				err = stopErr
			}
		}()
		if err := sink.call(ctx, "Open", control.Nothing{}, &control.Nothing{}); err != nil {
			return r, err
		}
	}
	if err := sc.load(ctx, s, perSecond); err != nil {
		return r, err
	}
	look := func() (reading, error) { return sc.read(ctx, s, sink) }
	r, err = sc.window(ctx, sink, look)
	if err != nil {
		return r, err
	}
	if !s.plain {
		if err := sink.call(ctx, "Example", control.Nothing{}, &sc.example); err != nil {
			return r, err
		}
	}
	if profile != "" {
		if err := sc.profile(ctx, s, profile, fmt.Sprintf("/profile?seconds=%d", max(1, int(sc.profileFor().Seconds())))); err != nil {
			return r, err
		}
	}
	return r, sc.load(ctx, s, 0)
}

// window measures for as long as --load says, after some time to warm up.
func (sc *scene) window(ctx context.Context, sink *process, look func() (reading, error)) (reception, error) {
	if err := pause(ctx, sc.warmUp()); err != nil {
		return reception{}, err
	}
	if err := sink.call(ctx, "MeasureAges", true, &control.Nothing{}); err != nil {
		return reception{}, err
	}
	before, err := look()
	if err != nil {
		return reception{}, err
	}
	if err := pause(ctx, sc.loadFor); err != nil {
		return reception{}, err
	}
	after, err := look()
	if err != nil {
		return reception{}, err
	}
	r := between(before, after)
	if err := sink.call(ctx, "MeasureAges", false, &control.Nothing{}); err != nil {
		return reception{}, err
	}
	if err := sink.call(ctx, "TakeAges", control.Nothing{}, &r.Ages); err != nil {
		return reception{}, err
	}
	if r.Delivered == 0 {
		return r, fmt.Errorf("%s delivered nothing within %v", sink.name, sc.loadFor)
	}
	return r, nil
}

// read reads what is counted of a side.
func (sc *scene) read(ctx context.Context, s *side, sink *process) (r reading, err error) {
	counts, err := sc.counts(ctx, s)
	if err != nil {
		return r, err
	}
	r.received, r.offered, r.repeats = float64(counts.Acked), float64(counts.Bus), float64(counts.Repeats)
	if s.plain {
		if err := sink.call(ctx, "Received", control.Nothing{}, &r.delivered.Telegrams); err != nil {
			return r, err
		}
		r.received = float64(r.delivered.Telegrams)
		r.offered = r.received
	} else if err := sink.call(ctx, "Counts", control.Nothing{}, &r.delivered); err != nil {
		return r, err
	}
	if r.simulator, err = sc.play.cpu(); err != nil {
		return r, err
	}
	r.at = time.Now()
	r.cpu, err = s.cpu()
	return r, err
}

// receiveMosquitto measures mosquitto that delivers the same telegrams.
func (sc *scene) receiveMosquitto(ctx context.Context) (r reception, err error) {
	w, err := newWorkshop()
	if err != nil {
		return r, err
	}
	defer func() {
		if closeErr := w.Close(); err == nil {
			err = closeErr
		}
	}()
	broker, address, err := w.broker(ctx, sc.mosquitto)
	if err != nil {
		return r, err
	}
	subscribers, err := w.startSelf("subscribers", "subscribe", "--mqtt", "--server="+address, fmt.Sprintf("--count=%d", sc.subscribers))
	if err != nil {
		return r, err
	}
	if err := subscribers.call(ctx, "Open", control.Nothing{}, &control.Nothing{}); err != nil {
		return r, err
	}
	publisher, err := w.startSelf("publisher", "publish", "--broker="+address)
	if err != nil {
		return r, err
	}
	what := Publication{Example: sc.example, Buildings: sc.buildings, PerSecond: sc.rate}
	if err := publisher.call(ctx, "Begin", what, &control.Nothing{}); err != nil {
		return r, err
	}
	return sc.window(ctx, subscribers, func() (r reading, err error) {
		var published uint64
		if err := publisher.call(ctx, "Published", control.Nothing{}, &published); err != nil {
			return r, err
		}
		r.received, r.offered = float64(published), float64(published)
		if err := subscribers.call(ctx, "Counts", control.Nothing{}, &r.delivered); err != nil {
			return r, err
		}
		if r.simulator, err = publisher.cpu(); err != nil {
			return r, err
		}
		r.at = time.Now()
		r.cpu, err = broker.cpu()
		return r, err
	})
}

package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"golang.org/x/crypto/blake2s"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

const (
	// floodRate is how many datagrams strangers send in a second.
	floodRate = 10_000
	floodMost = 20 * time.Second
	floodTick = 5 * time.Millisecond
)

// floodFor is how long they do, and how long it is looked before.
func (h *holding) floodFor() time.Duration { return min(floodMost, h.For) }

// flood lets strangers send to the gateway's tunnel port while telegrams pass, and tells
// what that costs and whether telegrams suffer. A quarter each: random bytes, data for
// forged sessions, initiations for keys that nobody has, and initiations that a
// building's public key makes look good at first.
func (h *holding) flood(ctx context.Context) error {
	sc := h.scene
	subscriber, err := h.subscribe(ctx)
	if err != nil {
		return err
	}
	page, err := sc.gateway.buildings.ListBuildings(ctx, &knxfleetv1.ListBuildingsRequest{PageSize: 1})
	if err != nil || len(page.GetBuildings()) == 0 {
		return sc.gateway.explain(errors.Join(errors.New("no building to pretend to call"), err))
	}
	key, err := base64.StdEncoding.DecodeString(page.GetBuildings()[0].GetTunnel().GetPublicKey())
	if err != nil {
		return err
	}
	begin, err := sc.read(ctx, sc.knxfleet, subscriber)
	if err != nil {
		return err
	}
	if err := sc.load(ctx, sc.knxfleet, float64(h.Buildings)/h.Every.Seconds()); err != nil {
		return err
	}
	watch := func(during func(context.Context) error) (r reception, err error) {
		before, err := sc.read(ctx, sc.knxfleet, subscriber)
		if err != nil {
			return r, err
		}
		if err := subscriber.call(ctx, "MeasureAges", true, &control.Nothing{}); err != nil {
			return r, err
		}
		if err := during(ctx); err != nil {
			return r, err
		}
		after, err := sc.read(ctx, sc.knxfleet, subscriber)
		if err != nil {
			return r, err
		}
		r = between(before, after)
		return r, errors.Join(
			subscriber.call(ctx, "MeasureAges", false, &control.Nothing{}),
			subscriber.call(ctx, "TakeAges", control.Nothing{}, &r.Ages),
		)
	}
	calm, err := watch(func(ctx context.Context) error { return pause(ctx, h.floodFor()) })
	if err != nil {
		return err
	}
	resident, err := residentMemory(sc.gateway.pid())
	if err != nil {
		return err
	}
	sent := 0
	flooded, err := watch(func(ctx context.Context) (err error) {
		sent, err = strangers(ctx, sc.gateway.Tunnels[0], key, floodRate, h.floodFor())
		return err
	})
	if err != nil {
		return err
	}
	after, err := residentMemory(sc.gateway.pid())
	if err != nil {
		return err
	}
	all, err := h.settle(ctx, sc.knxfleet, subscriber, begin)
	if err != nil {
		return err
	}
	cores := func(r reception) float64 { return r.CPU.Seconds() / r.Took.Seconds() }
	h.see("datagrams of strangers in a second", "1", float64(sent)/flooded.Took.Seconds())
	h.see("CPU of knxfleet without them", "cores", cores(calm))
	h.see("CPU of knxfleet with them", "cores", cores(flooded))
	h.see("CPU for each of theirs", "µs", (cores(flooded)-cores(calm))*1e6/(float64(sent)/flooded.Took.Seconds()))
	h.see("latency p99 without them", "ms", millis(calm.Ages, 0.99))
	h.see("latency p99 with them", "ms", millis(flooded.Ages, 0.99))
	h.see("resident memory grew meanwhile by", "MB", (after-resident)/1e6)
	h.mark("telegrams lost meanwhile", "1", all.Offered-all.Delivered, 0)
	return errors.Join(subscriber.stop(), sc.allUp(ctx, sc.knxfleet))
}

// subscribe starts a process with one subscriber of everything.
func (h *holding) subscribe(ctx context.Context) (*process, error) {
	subscriber, err := h.scene.startSelf("subscriber", "subscribe", "--server="+h.scene.gateway.GRPC)
	if err != nil {
		return nil, err
	}
	return subscriber, subscriber.call(ctx, "Open", control.Nothing{}, &control.Nothing{})
}

// settle ends the load of a side, waits until the subscriber has all of it, for drainFor
// at most, and tells what passed since the beginning.
func (h *holding) settle(ctx context.Context, s *side, subscriber *process, begin reading) (all reception, err error) {
	if err := h.scene.load(ctx, s, 0); err != nil {
		return all, err
	}
	_, err = every(ctx, time.Second, drainFor, func() (bool, error) {
		end, err := h.scene.read(ctx, s, subscriber)
		all = between(begin, end)
		return all.Offered == all.Delivered, err
	})
	return all, err
}

// strangers sends datagrams that are for no session, at a pace and for a time, and
// returns how many.
func strangers(ctx context.Context, address string, key []byte, perSecond int, during time.Duration) (sent int, err error) {
	c, err := net.Dial("udp", address) //nolint:noctx // no name is looked up
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	random := rand.NewChaCha8([32]byte{'s'})
	tick := time.NewTicker(floodTick)
	defer tick.Stop()
	buffer := make([]byte, 1500)
	for began := time.Now(); time.Since(began) < during; {
		for owed := int(time.Since(began).Seconds()*float64(perSecond)) - sent; owed > 0; owed-- {
			_, _ = random.Read(buffer) // it never fails
			datagram := buffer
			switch sent % 4 {
			case 0:
				datagram = buffer[:random.Uint64()%uint64(len(buffer))]
			case 1:
				copy(buffer, []byte{4, 0, 0, 0}) // transport data, WireGuard paper §5.4.6
			case 2:
				datagram = initiation(buffer)
			case 3:
				datagram = initiation(buffer)
				sign(datagram, key)
			}
			if _, err := c.Write(datagram); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				return sent, fmt.Errorf("strangers: %w", err)
			}
			sent++
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sent, ctx.Err()
		}
	}
	return sent, nil
}

// initiation makes random bytes look like a handshake initiation (§5.4.2).
func initiation(random []byte) []byte {
	binary.LittleEndian.PutUint32(random, 1)
	return random[:148]
}

// sign gives an initiation the first MAC for a receiver (§5.4.4).
func sign(initiation, key []byte) {
	of := blake2s.Sum256(append([]byte("mac1----"), key...))
	mac, err := blake2s.New128(of[:])
	if err != nil {
		return // not reached: the key has its size
	}
	mac.Write(initiation[:116])
	mac.Sum(initiation[:116])
}

// outage stops the simulator for a while, so that all buildings are lost at once, and
// tells how the gateway bears it and how soon all are back.
func (h *holding) outage(ctx context.Context) (err error) {
	sc := h.scene
	before, err := sc.gateway.cpu()
	if err != nil {
		return err
	}
	if err := sc.play.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	var calls, began, still float64
	asked, err := h.askWhile(ctx, func(ctx context.Context) error {
		count := func(sent *float64) error {
			families, err := scrape(ctx, sc.gateway.metrics())
			if err != nil {
				return sc.gateway.explain(err)
			}
			still = gaugeOf(families, "knxfleet_buildings", "online")
			*sent = counterOf(families, "knxfleet_tunnel_datagrams_total", "sent")
			return nil
		}
		if err := pause(ctx, h.Outage/2); err != nil {
			return err
		}
		if err := count(&began); err != nil {
			return err
		}
		if err := pause(ctx, h.Outage/2); err != nil {
			return err
		}
		return count(&calls)
	})
	err = errors.Join(err, sc.play.cmd.Process.Signal(syscall.SIGCONT))
	if err != nil {
		return err
	}
	after, err := sc.gateway.cpu()
	if err != nil {
		return err
	}
	back := time.Now()
	sc.knxfleet.open = func(context.Context) error { return nil }
	again, err := h.askWhile(ctx, func(ctx context.Context) error {
		_, _, _, err := sc.bringUp(ctx, sc.knxfleet)
		return err
	})
	if err != nil {
		return err
	}
	returned := time.Since(back)
	done, err := sc.gateway.cpu()
	if err != nil {
		return err
	}
	h.see(fmt.Sprintf("all lost for %v: CPU of knxfleet", h.Outage), "cores", (after-before).Seconds()/h.Outage.Seconds())
	h.see("still ONLINE at its end", "1", still)
	h.see("datagrams sent in a second of its second half", "1", (calls-began)/(h.Outage/2).Seconds())
	h.see("ListBuildings p99 meanwhile", "ms", millis(asked, 0.99))
	h.see("all ONLINE again after", "s", returned.Seconds())
	h.see("CPU of knxfleet until then", "cores", (done-after).Seconds()/returned.Seconds())
	h.see("ListBuildings p99 until then", "ms", millis(again, 0.99))
	return nil
}

package main

import (
	"context"
	"fmt"
	"time"
)

// idling is a side without telegrams, looked at each second.
type idling struct {
	cores float64 // used, by a second
	took  time.Duration
	// Of each second: CPU in seconds, and what happened.
	cpu    []float64
	events [][]float64
}

// The kinds of events that an idle building causes; the last is the passing of a
// second, which stands for the runtime and whatever else does not depend on them.
const (
	eventKeepalive = iota
	eventRekey
	eventHeartbeat
	eventSecond
	eventKinds
)

var eventNames = [eventKinds]string{"keepalives", "re-keys", "heartbeats", "everything else"}

// idle looks at a side for a while.
func (sc *scene) idle(ctx context.Context, s *side, length time.Duration) (i idling, err error) {
	type look struct {
		at     time.Time
		cpu    time.Duration
		counts PlayCounts
	}
	take := func() (l look, err error) {
		if l.counts, err = sc.counts(ctx, s); err != nil {
			return l, err
		}
		l.at = time.Now()
		l.cpu, err = s.cpu()
		return l, err
	}
	first, err := take()
	if err != nil {
		return i, err
	}
	last := first
	for last.at.Sub(first.at) < length {
		if err := pause(ctx, min(time.Second, length)); err != nil {
			return i, err
		}
		next, err := take()
		if err != nil {
			return i, err
		}
		row := make([]float64, eventKinds)
		row[eventRekey] = float64(next.counts.Handshakes - last.counts.Handshakes)
		// The first message of a session is empty too, and belongs to the re-key.
		row[eventKeepalive] = max(0, float64(next.counts.Keepalives-last.counts.Keepalives)-row[eventRekey])
		row[eventHeartbeat] = float64(next.counts.Heartbeats - last.counts.Heartbeats)
		row[eventSecond] = next.at.Sub(last.at).Seconds()
		i.events = append(i.events, row)
		i.cpu = append(i.cpu, (next.cpu - last.cpu).Seconds())
		last = next
	}
	i.took = last.at.Sub(first.at)
	i.cores = (last.cpu - first.cpu).Seconds() / i.took.Seconds()
	return i, nil
}

// parts tells which share of the CPU the kinds of events had, in cores, and how
// many of each there were. It is an estimate: what the seconds differ in, by least
// squares.
func (i idling) parts() (cores, count [eventKinds]float64) {
	unit := unitCosts(i.events, i.cpu)
	for _, row := range i.events {
		for kind, n := range row {
			count[kind] += n
		}
	}
	for kind := range cores {
		cores[kind] = unit[kind] * count[kind] / i.took.Seconds()
	}
	return cores, count
}

const percent = 100

// measureIdle compares the sides at rest.
func (m *measurement) measureIdle(ctx context.Context) error {
	var idles [2]idling
	if err := m.scene.each(ctx, func(ctx context.Context, s *side) error {
		if err := m.scene.load(ctx, s, 0); err != nil {
			return err
		}
		if err := pause(ctx, min(warmUpMost, m.idleFor)); err != nil {
			return err
		}
		i, err := m.scene.idle(ctx, s, m.idleFor)
		if s == m.scene.knxfleet {
			idles[0] = i
		} else {
			idles[1] = i
		}
		if err != nil {
			return err
		}
		return m.scene.allUp(ctx, s)
	}); err != nil {
		return err
	}
	k, n := idles[0], idles[1]
	emptyK, emptyN := m.scene.knxfleet.emptyIdle, m.scene.naive.emptyIdle
	m.found.add("idle_cpu", pair{percent * (k.cores - emptyK), percent * (n.cores - emptyN)})
	m.found.explain("idle_cpu", "without buildings (subtracted), %", pair{percent * emptyK, percent * emptyN})
	coresK, countK := k.parts()
	coresN, countN := n.parts()
	for kind, name := range eventNames {
		m.found.explain("idle_cpu", name+", about %", pair{percent * coresK[kind], percent * coresN[kind]})
		if kind != eventSecond {
			m.found.explain("idle_cpu", fmt.Sprintf("%s in %v", name, m.idleFor), pair{countK[kind], countN[kind]})
		}
	}
	return nil
}

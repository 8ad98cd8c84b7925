package knxbridge

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// tcpInterface is a tunnelling server over TCP, one connection after the other.
type tcpInterface struct {
	mu    sync.Mutex
	conns []net.Conn // of the server, the last is the living one
	deaf  bool       // takes nothing from the connections to come
	heard []frame.Service
	wg    sync.WaitGroup
}

func (k *tcpInterface) dial(_ context.Context, to netip.AddrPort) (net.Conn, error) {
	if to != interfaceAddr {
		return nil, errors.New("nobody there")
	}
	client, server := net.Pipe()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns = append(k.conns, server)
	if !k.deaf {
		k.wg.Go(func() { k.serve(server) })
	}
	return client, nil
}

// serve answers as the rules say.
func (k *tcpInterface) serve(conn net.Conn) {
	defer conn.Close()
	for {
		header := make([]byte, frame.HeaderLength)
		if _, err := io.ReadFull(conn, header); err != nil {
			return
		}
		n, err := frame.Length(header)
		if err != nil {
			return
		}
		datagram := make([]byte, n)
		copy(datagram, header)
		if _, err := io.ReadFull(conn, datagram[len(header):]); err != nil {
			return
		}
		f, err := frame.Parse(datagram)
		if err != nil {
			return
		}
		k.mu.Lock()
		k.heard = append(k.heard, f.Service())
		k.mu.Unlock()
		var answer frame.Frame
		switch f := f.(type) {
		case frame.ConnectRequest:
			answer = frame.ConnectResponse{Channel: 7, Data: frame.HPAI{TCP: true}, Assigned: 0x11FA}
		case frame.ConnectionStateRequest:
			answer = frame.ConnectionStateResponse{Channel: 7}
		case frame.DisconnectRequest:
			answer = frame.DisconnectResponse{Channel: 7}
		case frame.TunnellingRequest:
			l, err := frame.ParseLData(f.CEMI)
			if err != nil {
				return
			}
			l.Message = frame.LDataCon
			answer = frame.TunnellingRequest{Channel: 7, CEMI: l.Append(nil)}
		default:
			continue
		}
		if _, err := conn.Write(frame.Append(nil, answer)); err != nil {
			return
		}
	}
}

// last is the living connection.
func (k *tcpInterface) last() net.Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.conns[len(k.conns)-1]
}

func (k *tcpInterface) count(s frame.Service) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, heard := range k.heard {
		if heard == s {
			n++
		}
	}
	return n
}

// stop ends the server's side, what was never served too.
func (k *tcpInterface) stop() {
	k.mu.Lock()
	for _, conn := range k.conns {
		_ = conn.Close() // or again
	}
	k.mu.Unlock()
	k.wg.Wait()
}

func playTCP(t *testing.T, test func(r *rig, k *tcpInterface)) {
	t.Helper()
	k := &tcpInterface{}
	cfg := Config{Session: session.Config{Transport: session.TransportTCP}, Dial: k.dial}
	play(t, cfg, func(r *rig) {
		defer k.stop()
		test(r, k)
		r.stop()
	})
}

func TestOverTCP(t *testing.T) {
	playTCP(t, func(r *rig, k *tcpInterface) {
		r.await(session.StateOnline, time.Second)
		if s := r.bridge.State(); !s.TCP || s.Interface != interfaceAddr {
			t.Errorf("it is %+v, want it over TCP", s)
		}
		for range 3 {
			outcome, err := r.write(lightOn())
			if err != nil || outcome != session.Confirmed {
				t.Errorf("a write is %v, %v", outcome, err)
			}
		}
		// Two frames and a half in one piece, and the rest after them.
		ind := frame.LData{Message: frame.LDataInd, Group: true, Destination: 0x0A04, APCI: frame.GroupValueWrite, Data: []byte{0x0C, 0x33}}
		one := frame.Append(nil, frame.TunnellingRequest{Channel: 7, CEMI: ind.Append(nil)})
		all := append(append(append([]byte{}, one...), one...), one...)
		for _, piece := range [][]byte{all[:2*len(one)+9], all[2*len(one)+9:]} {
			if _, err := k.last().Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Minute)
		if s := r.bridge.Stats(); s.Telegrams != 3 || s.OwnTelegrams != 3 || s.Sessions != 1 || s.Heartbeats < 25 {
			t.Errorf("%+v, want three telegrams, three writes and one session", s)
		}
		if acks := k.count(frame.TunnellingAckService); acks != 0 {
			t.Errorf("%d ACKs over TCP", acks)
		}
		r.stop()
		synctest.Wait()
		if k.count(frame.DisconnectRequestService) != 1 {
			t.Error("it left without a word")
		}
	})
}

func TestTCPEnds(t *testing.T) {
	playTCP(t, func(r *rig, k *tcpInterface) {
		r.await(session.StateOnline, time.Second)
		time.Sleep(time.Minute)
		for _, last := range []string{
			"",                             // closed
			"no KNXnet/IP at all…",         // no frame
			"\x06\x10\x04\x20\xff\xff",     // longer than any frame may be
			"\x06\x10\x04\x20\x00\x05",     // shorter than its own header
			"\x06\x10\x04\x20\x00\x15\x04", // and closed within a frame
		} {
			sessions := r.bridge.Stats().Sessions
			conn := k.last()
			_, _ = conn.Write([]byte(last)) // of which it may take the start alone
			_ = conn.Close()                // what it closed itself is closed
			time.Sleep(time.Minute)
			if s := r.bridge.Stats(); s.Sessions != sessions+1 || r.bridge.State().State != session.StateOnline {
				t.Errorf("after %q: %d sessions, %v, want one more", last, s.Sessions-sessions, r.bridge.State())
			}
		}
	})
}

// An interface that takes nothing holds neither the session nor its end.
func TestTCPStuck(t *testing.T) {
	playTCP(t, func(r *rig, k *tcpInterface) {
		r.await(session.StateOnline, time.Second)
		k.mu.Lock()
		k.deaf = true
		k.mu.Unlock()
		_ = k.last().Close() // the end is what is wanted
		time.Sleep(10 * time.Minute)
		if s := r.bridge.State(); s.State == session.StateOnline {
			t.Errorf("it is %+v with an interface that takes nothing", s)
		}
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}

// Without a way to dial, TCP fails like an interface that does not listen.
func TestNoTCP(t *testing.T) {
	play(t, Config{Session: session.Config{Transport: session.TransportTCP}}, func(r *rig) {
		r.await(session.StateBackingOff, time.Second)
		if s := r.bridge.State(); s.Reason != session.ReasonTransportFailed {
			t.Errorf("it is %+v", s)
		}
	})
}

package netstack

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// echoPayload is the size in bytes of what Ping's echo requests carry.
const echoPayload = 32

// MaxEchoPayload is the largest payload of an echo request in bytes.
const MaxEchoPayload = 1400

// Ping sends one ICMP or ICMPv6 echo request (RFC 792, RFC 4443 §4.1) to remote
// and returns the time until its reply. It waits until ctx ends: give it a
// deadline, since a host that is not there does not answer, and an ICMP error is
// not waited for either. Errors: what ctx says, net.ErrClosed.
func (s *Stack) Ping(ctx context.Context, remote netip.Addr) (time.Duration, error) {
	return s.PingSize(ctx, remote, echoPayload)
}

// PingSize is Ping with a payload of that many bytes, 0 to MaxEchoPayload. It is
// random, so that a late answer to another request is not taken for ours.
func (s *Stack) PingSize(ctx context.Context, remote netip.Addr, payload int) (time.Duration, error) {
	rtt, err := s.ping(ctx, remote, min(max(payload, 0), MaxEchoPayload))
	if err != nil {
		return 0, fmt.Errorf("ping %s: %w", remote, err)
	}
	return rtt, nil
}

func (s *Stack) ping(ctx context.Context, remote netip.Addr, payload int) (time.Duration, error) {
	remote, err := s.reach(remote)
	if err != nil {
		return 0, err
	}
	events := new(waiter.Queue)
	arrived, arrivedCh := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp)
	events.EventRegister(&arrived)
	endpoint, err := s.openEcho(remote, events)
	if err != nil {
		return 0, err
	}
	defer endpoint.Close()

	request := newEcho(remote, payload)
	sent := time.Now()
	if _, terr := endpoint.Write(bytes.NewReader(request), tcpip.WriteOptions{}); terr != nil {
		return 0, asError(terr)
	}
	for {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("no reply: %w", context.Cause(ctx))
		case <-arrivedCh:
		}
		replied, err := findReply(endpoint, request)
		if err != nil {
			return 0, err
		}
		if replied {
			return time.Since(sent), nil
		}
	}
}

// openEcho opens an ICMP endpoint that gVisor gives an identifier of its own,
// and that receives only echo replies with it from remote.
func (s *Stack) openEcho(remote netip.Addr, events *waiter.Queue) (tcpip.Endpoint, error) {
	protocol := icmp.ProtocolNumber4
	if remote.Is6() {
		protocol = icmp.ProtocolNumber6
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.needUDP(); err != nil {
		return nil, err
	}
	endpoint, terr := s.udp.stack.NewEndpoint(protocol, networkOf(remote), events)
	if terr != nil {
		return nil, asError(terr)
	}
	if terr := endpoint.Connect(fullAddress(netip.AddrPortFrom(remote, 0))); terr != nil {
		endpoint.Close()
		return nil, asError(terr)
	}
	return endpoint, nil
}

// newEcho makes an echo request: type, code, checksum and identifier, which
// gVisor fills in, then a random sequence number and payload. The layout is the
// same in both families.
func newEcho(remote netip.Addr, payload int) []byte {
	request := make([]byte, header.ICMPv4MinimumSize+payload)
	_, _ = rand.Read(request[6:]) // never fails: the process ends instead
	request[0] = byte(header.ICMPv4Echo)
	if remote.Is6() {
		request[0] = byte(header.ICMPv6EchoRequest)
	}
	return request
}

// findReply reads what has arrived and reports whether the reply is among it:
// same sequence number, same payload. Address, type and identifier were already
// compared.
func findReply(endpoint tcpip.Endpoint, request []byte) (bool, error) {
	for {
		reply := make([]byte, len(request))
		w := tcpip.SliceWriter(reply)
		result, terr := endpoint.Read(&w, tcpip.ReadOptions{})
		switch terr.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			return false, nil
		default:
			return false, asError(terr)
		}
		if result.Count == len(request) && bytes.Equal(reply[6:], request[6:]) {
			return true, nil
		}
	}
}

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"

	"github.com/rs/zerolog"
)

const (
	socketBuffer  = 4 << 20 // bytes; the kernel's own limit may give less
	listenRetries = 8       // for a port that is free for both families
)

// ListenConfig says where an exchange receives.
type ListenConfig struct {
	// Address is an IP address and UDP port. Port 0 takes a free one. With an
	// unspecified address (0.0.0.0 or [::]) the other address family is opened
	// at the same port as well, if the machine has it.
	Address string
	// Log gets socket errors.
	Log zerolog.Logger
}

// Listen opens the UDP sockets of an exchange. Close it, or cancel its Run.
func Listen(cfg ListenConfig) (*Exchange, error) {
	addr, err := netip.ParseAddrPort(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("tunnel address %q: want an IP address and a port, such as 0.0.0.0:51820", cfg.Address)
	}
	addr = unmap(addr)
	for attempt := 1; ; attempt++ {
		sockets, err := listenBoth(addr, cfg.Log)
		if err == nil {
			return newExchange(cfg.Log, sockets), nil
		}
		if addr.Port() != 0 || attempt == listenRetries || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("tunnel address %v: %w", addr, err)
		}
	}
}

// listenBoth opens addr and, when it is unspecified, the other family.
func listenBoth(addr netip.AddrPort, log zerolog.Logger) ([]*socket, error) {
	first, err := listenOne(addr)
	if err != nil {
		return nil, err
	}
	if !addr.Addr().IsUnspecified() {
		return []*socket{first}, nil
	}
	other := netip.IPv6Unspecified()
	if addr.Addr().Is6() {
		other = netip.IPv4Unspecified()
	}
	second, err := listenOne(netip.AddrPortFrom(other, first.addr.Port()))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errors.Join(err, first.close())
	}
	if err != nil {
		log.Info().Err(err).Msg("this machine has tunnel sockets of one address family only")
		return []*socket{first}, nil
	}
	return []*socket{first, second}, nil
}

// listenOne opens a socket, which is opened anew at the same port when it fails.
func listenOne(addr netip.AddrPort) (*socket, error) {
	c, err := listenAt(addr)
	if err != nil {
		return nil, err
	}
	taken := netip.AddrPortFrom(addr.Addr(), localAddr(c).Port())
	return newSocket(c, func() (PacketConn, error) { return listenAt(taken) }), nil
}

func listenAt(addr netip.AddrPort) (PacketConn, error) {
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6" // IPv6 only
	}
	var config net.ListenConfig
	packets, err := config.ListenPacket(context.Background(), network, addr.String())
	if err != nil {
		return nil, err
	}
	c, ok := packets.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listening gave a %T", packets), packets.Close())
	}
	// Larger buffers carry bursts. The kernel may refuse, and the socket works
	// all the same.
	_ = c.SetReadBuffer(socketBuffer)
	_ = c.SetWriteBuffer(socketBuffer)
	if runtime.GOOS == "windows" { // where golang.org/x/net has no batches
		return c, nil
	}
	return newBatched(c), nil
}

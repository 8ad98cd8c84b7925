// Package naive is what one would build without knxfleet: for each building a
// wireguard-go device with its default bind over the network stack that comes with
// the module, as wireproxy does. It speaks no KNX; a UDP socket in each stack takes
// what the building sends.
//
// Nothing is made better here, and nothing worse: the measurements compare with it.
package naive

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
	"github.com/knxfleet/knxfleet/cmd/loadtest/stamp"
	"github.com/knxfleet/knxfleet/tunnel"
)

// Port is where the socket in each building's stack listens.
const Port = 3671

const (
	keepalive     = 25 // seconds, as wg-quick users set it
	headerTimeout = 10 * time.Second
	// largest is more than what a building sends.
	largest = 256
)

// Naive holds the tunnels. It is the child's end of package control: its methods
// are called by the parent.
type Naive struct {
	address  string
	received atomic.Uint64
	ages     stamp.Ages
}

// Run is the process: it answers the parent until that closes in, or ctx ends. The
// tunnels end with the process, not before: upstream's stack panics when it is
// closed under traffic.
func Run(ctx context.Context, in io.ReadCloser, out io.WriteCloser) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler(), ReadHeaderTimeout: headerTimeout}
	var parts errgroup.Group
	parts.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	parts.Go(func() error {
		err := control.Serve(ctx, in, out, &Naive{address: l.Addr().String()})
		return errors.Join(err, server.Close())
	})
	return parts.Wait()
}

// handler serves what `knxfleet serve` serves of the Go runtime, and its profiles,
// in the same way.
func handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	return mux
}

// Address tells where metrics and profiles are served.
func (n *Naive) Address(_ control.Nothing, address *string) error {
	*address = n.address
	return nil
}

// Start opens a tunnel for each wg-quick file, as many at once as there are
// processors. It does not wait for handshakes, which the keepalives cause.
func (n *Naive) Start(files []string, _ *control.Nothing) error {
	var opening errgroup.Group
	opening.SetLimit(runtime.NumCPU())
	for i, file := range files {
		opening.Go(func() error {
			if err := n.open(file); err != nil {
				return fmt.Errorf("tunnel %d: %w", i+1, err)
			}
			return nil
		})
	}
	return opening.Wait()
}

func (n *Naive) open(file string) error {
	cfg, _, err := tunnel.ParseWGQuick(file)
	if err != nil {
		return err
	}
	addresses := make([]netip.Addr, len(cfg.Addresses))
	for i, p := range cfg.Addresses {
		addresses[i] = p.Addr()
	}
	tun, stack, err := netstack.CreateNetTUN(addresses, nil, tunnel.DefaultMTU)
	if err != nil {
		return err
	}
	socket, err := stack.ListenUDPAddrPort(netip.AddrPortFrom(addresses[0], Port))
	if err != nil {
		return err
	}
	d := device.NewDevice(tun, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	if err := d.IpcSet(settings(cfg)); err != nil {
		return err
	}
	if err := d.Up(); err != nil {
		return err
	}
	go n.receive(socket)
	return nil
}

// settings is a configuration in the words of wireguard-go.
func settings(cfg tunnel.Config) string {
	var s strings.Builder
	fmt.Fprintf(&s, "private_key=%s\npublic_key=%s\npreshared_key=%s\nendpoint=%s\npersistent_keepalive_interval=%d\n",
		hex.EncodeToString(cfg.PrivateKey[:]), hex.EncodeToString(cfg.Peer[:]), hex.EncodeToString(cfg.PresharedKey[:]),
		net.JoinHostPort(cfg.Endpoint.Host, strconv.Itoa(int(cfg.Endpoint.Port))), keepalive)
	for _, p := range cfg.AllowedIPs {
		fmt.Fprintf(&s, "allowed_ip=%s\n", p)
	}
	return s.String()
}

// receive takes what a building sends until the process ends.
func (n *Naive) receive(socket net.PacketConn) {
	b := make([]byte, largest)
	for {
		size, _, err := socket.ReadFrom(b)
		if err != nil {
			return
		}
		n.received.Add(1)
		if sent, ok := stamp.Read(b[:size]); ok {
			n.ages.Add(stamp.Now() - sent)
		}
	}
}

// Received counts the datagrams that reached the sockets, since the start.
func (n *Naive) Received(_ control.Nothing, received *uint64) error {
	*received = n.received.Load()
	return nil
}

// MeasureAges begins or ends noting how old datagrams are.
func (n *Naive) MeasureAges(on bool, _ *control.Nothing) error {
	n.ages.Measure(on)
	return nil
}

// TakeAges gives how old the datagrams were when they reached the sockets, in
// nanoseconds, and forgets them. Only while they are measured.
func (n *Naive) TakeAges(_ control.Nothing, ages *[]int64) error {
	*ages = n.ages.Take()
	return nil
}

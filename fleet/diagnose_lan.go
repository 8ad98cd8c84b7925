package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

const (
	// lanPings and lanPatience: what a weak network may take.
	lanPings    = 3
	lanPatience = 2 * time.Second
	// describeTries is how often the interface is asked who it is, lanPatience apart.
	describeTries = 2
	// sweepRate is how many addresses of the LAN are pinged in a second.
	sweepRate = 100
	// lossPings, and how many of them may be lost or be slower than the standard's
	// wait for an ACK (1 s, KNX 03_08_04 Tunnelling §2.6).
	lossPings    = 20
	lossInterval = 200 * time.Millisecond
	lossBearable = 2
	slowTrip     = time.Second
)

// allowedIPs checks our own.
func (d *diagnosing) allowedIPs(context.Context) *finding {
	b := d.building
	iface := b.KNX.Interface.Addr()
	if d.check(checkAllowed, func() (CheckResult, string) {
		if !covered(b, iface) {
			return CheckFailed, fmt.Sprintf("the interface is %s, the networks of the building are %s", iface, joined(b.Tunnel.AllowedIPs))
		}
		return CheckPassed, fmt.Sprintf("the interface %s is within %s", iface, joined(b.Tunnel.AllowedIPs))
	}) == CheckPassed {
		return nil
	}
	return &finding{
		VerdictAllowedIPs,
		fmt.Sprintf("the KNX interface %s is outside of the tunnel's networks here, so nothing is sent to it", iface),
		fmt.Sprintf("add its network, such as %s, to tunnel.allowed_ips, or correct knx.endpoint", netip.PrefixFrom(iface, searchedBits).Masked()),
	}
}

// lan checks all between the router and the interface.
func (d *diagnosing) lan(ctx context.Context) *finding {
	everInside := d.site.stack.Stats().In > 0
	iface := d.building.KNX.Interface
	var pings, describes bool
	var both sync.WaitGroup
	var ping, describe func() (CheckResult, string)
	both.Go(func() { ping = d.pingInterface(ctx, &pings) })
	both.Go(func() { describe = d.describe(ctx, &describes) })
	both.Wait()
	d.check(checkPing, ping)
	d.check(checkDescribe, describe)
	switch {
	case describes:
		return nil
	case ctx.Err() != nil:
		return &finding{verdict: VerdictUnclear}
	case pings:
		return &finding{
			VerdictInterfaceSilent,
			fmt.Sprintf("%s answers pings, but does not speak KNXnet/IP at port %d", iface.Addr(), iface.Port()),
			"check that knx.endpoint is the KNX interface and its port right (discover finds interfaces); if it is, restart the interface",
		}
	}
	routers, hosts := d.sweep(ctx)
	d.check(checkLAN, func() (CheckResult, string) {
		switch {
		case len(hosts) > 0:
			return CheckPassed, fmt.Sprintf("answering: %s; of what may be the router: %s", joined(hosts), orNone(routers))
		case len(routers) > 0:
			return CheckFailed, fmt.Sprintf("what may be the router answers (%s), and nobody else in the interface's network", joined(routers))
		}
		return CheckFailed, "nobody answers: neither in the interface's network nor what may be the router"
	})
	switch {
	case ctx.Err() != nil:
		return &finding{verdict: VerdictUnclear}
	case len(hosts) > 0:
		return &finding{
			VerdictInterfaceSilent,
			fmt.Sprintf("the LAN answers, but nothing at %s does: the KNX interface is off, unplugged, or has another address", iface.Addr()),
			"check its power and cable; if it is on, let discover find where it is, and set knx.endpoint",
		}
	case len(routers) > 0:
		return &finding{
			VerdictLANDead,
			"the tunnel and the router answer, but nobody in the LAN behind it does",
			"check the cable and the switch between the router and the LAN, and that the router's firewall lets the tunnel into the LAN",
		}
	case everInside:
		return &finding{
			VerdictLANDead,
			"the tunnel works, and something behind it has answered before, but nobody does now",
			"check the cable and the switch between the router and the LAN",
		}
	}
	return &finding{
		VerdictAllowedIPs,
		"the tunnel works, but nothing behind it has ever answered, not even the router itself: it drops what comes from us, by its AllowedIPs or its firewall, or does not know the way back",
		fmt.Sprintf("in the router, the AllowedIPs of its peer (this gateway) must hold %s; then let its firewall pass the tunnel into the LAN", joined(d.building.Tunnel.Addresses)),
	}
}

func orNone(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "none"
	}
	return joined(addrs)
}

// pingInterface pings the interface. Not all answer pings, so that it proves
// nothing by itself.
func (d *diagnosing) pingInterface(ctx context.Context, ok *bool) func() (CheckResult, string) {
	address := d.building.KNX.Interface.Addr()
	trips, err := d.site.ping(ctx, Ping{Address: address, Count: lanPings, Interval: 200 * time.Millisecond, Timeout: lanPatience, Size: DefaultPingSize})
	n, longest := answered(trips)
	*ok = n > 0
	return func() (CheckResult, string) {
		switch {
		case n == lanPings:
			return CheckPassed, fmt.Sprintf("%s answered %d of %d, in %v at most", address, n, lanPings, longest.Round(time.Millisecond))
		case n > 0:
			return CheckWarning, fmt.Sprintf("%s answered %d of %d, in %v at most", address, n, lanPings, longest.Round(time.Millisecond))
		case err != nil:
			return CheckFailed, err.Error()
		}
		return CheckFailed, fmt.Sprintf("%s answered none of %d; some devices never do", address, lanPings)
	}
}

// describe asks the interface who it is.
func (d *diagnosing) describe(ctx context.Context, ok *bool) func() (CheckResult, string) {
	to := d.building.KNX.Interface
	failed := func(err error) func() (CheckResult, string) {
		return func() (CheckResult, string) { return CheckFailed, err.Error() }
	}
	q, err := d.site.newQuestioner()
	if err != nil {
		return failed(err)
	}
	defer q.conn.Close()
	for range describeTries {
		if err := q.ask(to); err != nil {
			return failed(err)
		}
		if err := q.until(ctx, lanPatience); err != nil {
			return failed(err)
		}
		if len(q.found) > 0 {
			*ok = true
			i := q.found[0]
			return func() (CheckResult, string) {
				text := fmt.Sprintf("%s is %.60q (%s), individual address %s, and answered in %v", to, i.Description.Device.Name,
					i.Description.Device.Medium, i.Description.Device.Address, i.RoundTrip.Round(time.Millisecond))
				if free, told := i.FreeSlots(); told {
					text += fmt.Sprintf("; %d tunnelling slots are free", free)
				}
				return CheckPassed, text
			}
		}
	}
	return func() (CheckResult, string) {
		return CheckFailed, fmt.Sprintf("%s answered none of %d DESCRIPTION_REQUESTs", to, describeTries)
	}
}

// until listens for the first answer.
func (q *questioner) until(ctx context.Context, patience time.Duration) error {
	end := time.NewTimer(patience)
	defer end.Stop()
	for len(q.found) == 0 {
		select {
		case <-q.conn.Readable():
			if err := q.read(); err != nil {
				return err
			}
		case <-end.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// sweep pings what may be the router, which is at one end of a network mostly, and
// all others in the interface's network.
func (d *diagnosing) sweep(ctx context.Context) (routers, hosts []netip.Addr) {
	iface := d.building.KNX.Interface.Addr()
	var candidates []netip.Addr
	networks := slices.Concat(d.building.Tunnel.AllowedIPs, d.building.Tunnel.Addresses, []netip.Prefix{netip.PrefixFrom(iface, searchedBits)})
	for _, network := range networks {
		if !network.Addr().Is4() {
			continue
		}
		if network.Bits() > searchedBits {
			network = netip.PrefixFrom(network.Addr(), searchedBits)
		}
		base := network.Masked().Addr().As4()
		first, last := base, base
		first[3]++
		last[3] += 254
		for _, addr := range [][4]byte{first, last} {
			if a := netip.AddrFrom4(addr); covered(d.building, a) && !slices.Contains(candidates, a) {
				candidates = append(candidates, a)
			}
		}
	}
	targets := slices.Clone(candidates)
	lan := netip.PrefixFrom(iface, searchedBits).Masked().Addr()
	for range 254 {
		lan = lan.Next()
		if lan != iface && covered(d.building, lan) && !slices.Contains(candidates, lan) {
			targets = append(targets, lan)
		}
	}
	heard := make([]bool, len(targets))
	var waiting sync.WaitGroup
	pace := time.NewTicker(time.Second / sweepRate)
	defer pace.Stop()
	for i, target := range targets {
		waiting.Go(func() {
			each, cancel := context.WithTimeout(ctx, lanPatience)
			defer cancel()
			_, err := d.site.stack.Ping(each, target)
			heard[i] = err == nil
		})
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	}
	waiting.Wait()
	for i, target := range targets {
		switch {
		case !heard[i] || slices.Contains(d.building.Tunnel.Addresses, netip.PrefixFrom(target, 32)):
		case i < len(candidates):
			routers = append(routers, target)
		default:
			hosts = append(hosts, target)
		}
	}
	return routers, hosts
}

// refusals are what a session's reason means for a diagnosis.
var refusals = map[session.Reason]Verdict{
	session.ReasonSlotsFull:             VerdictSlotsFull,
	session.ReasonTunnellingUnsupported: VerdictInterfaceRefused,
	session.ReasonConfigurationRefused:  VerdictInterfaceRefused,
	session.ReasonConnectRefused:        VerdictInterfaceRefused,
	session.ReasonBusUnacknowledged:     VerdictBusDead,
	session.ReasonBusDown:               VerdictBusDead,
	session.ReasonConnectUnanswered:     VerdictInterfaceSilent,
	session.ReasonHeartbeatUnanswered:   VerdictInterfaceSilent,
	session.ReasonAckMissing:            VerdictLossy,
	session.ReasonSequenceLost:          VerdictLossy,
	session.ReasonDataConnection:        VerdictUnclear,
	session.ReasonConnectionUnknown:     VerdictUnclear,
	session.ReasonServerDisconnected:    VerdictUnclear,
	session.ReasonTransportFailed:       VerdictUnclear,
	session.ReasonAddressNotFixed:       VerdictHealthy,
	session.ReasonNone:                  VerdictHealthy,
}

// settled reports whether a session's state says how it is, and is not on its way to
// that: connected, or refused by an interface that answers.
func settled(knx *knxbridge.State) bool {
	if knx == nil {
		return false
	}
	switch knx.Reason {
	case session.ReasonSlotsFull, session.ReasonTunnellingUnsupported, session.ReasonConfigurationRefused,
		session.ReasonConnectRefused, session.ReasonBusDown, session.ReasonBusUnacknowledged:
		return true
	}
	return knx.State == session.StateOnline
}

// session sees what the building's own session says. It opens no other: that would
// take a slot.
func (d *diagnosing) session(ctx context.Context) *finding {
	var knx *knxbridge.State
	result := d.check(checkConnect, func() (CheckResult, string) {
		d.site.sessions.bridge().Kick()
		patience := d.timeout / 2
		if deadline, ok := ctx.Deadline(); ok {
			patience = min(patience, time.Until(deadline)-time.Second)
		}
		waitFor(ctx, patience, func() bool { return settled(d.site.session.Load()) })
		knx = d.site.session.Load()
		switch {
		case knx == nil:
			return CheckFailed, "the session begins anew"
		case knx.State == session.StateOnline && knx.Reason == session.ReasonNone:
			return CheckPassed, fmt.Sprintf("connected to %s as %s since %s", knx.Interface, knx.Assigned, knx.Since.UTC().Format(time.RFC3339))
		case knx.State == session.StateOnline:
			return CheckWarning, knx.Message
		}
		return CheckFailed, knx.Message
	})
	if result != CheckFailed {
		return nil
	}
	if knx == nil {
		return &finding{verdict: VerdictUnclear, summary: "the KNX session begins anew in this moment", next: "diagnose again"}
	}
	verdict, known := refusals[knx.Reason]
	if !known || verdict == VerdictHealthy {
		verdict = VerdictUnclear
	}
	if verdict == VerdictLossy || verdict == VerdictInterfaceSilent {
		if lossy := d.loss(ctx); lossy != nil {
			return lossy
		}
	}
	next := knx.Reason.Advice()
	if next == "" {
		next = "wait for the next attempt, then diagnose again"
	}
	return &finding{verdict, knx.Reason.Sentence(d.building.KNX.Interface), next}
}

// loss measures the way to the interface.
func (d *diagnosing) loss(ctx context.Context) *finding {
	address := d.building.KNX.Interface.Addr()
	var lost, slow int
	var longest time.Duration
	if d.check(checkLoss, func() (CheckResult, string) {
		trips, err := d.site.ping(ctx, Ping{Address: address, Count: lossPings, Interval: lossInterval, Timeout: lanPatience, Size: DefaultPingSize})
		if err != nil {
			return CheckSkipped, err.Error()
		}
		for _, trip := range trips {
			switch {
			case trip < 0:
				lost++
			case trip > slowTrip:
				slow++
			}
			longest = max(longest, trip)
		}
		if lost == lossPings {
			return CheckSkipped, "the interface does not answer pings"
		}
		evidence := fmt.Sprintf("of %d pings %d were lost, and %d took longer than %v; the slowest took %v", lossPings, lost, slow, slowTrip, longest.Round(time.Millisecond))
		if lost+slow > lossBearable {
			return CheckFailed, evidence
		}
		if lost+slow > 0 {
			return CheckWarning, evidence
		}
		return CheckPassed, evidence
	}) != CheckFailed {
		return nil
	}
	return &finding{
		VerdictLossy,
		fmt.Sprintf("%d of %d packets to the interface and back were lost or took longer than %v, more than KNXnet/IP over UDP bears", lost+slow, lossPings, slowTrip),
		"look at the building's Internet connection (mobile, or busy with other traffic), then at its LAN",
	}
}

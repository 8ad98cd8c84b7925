package api

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// fromProto reads a building as a client gives it.
func fromProto(b *knxfleetv1.Building) (registry.Building, []*knxfleetv1.Warning, error) {
	if b == nil {
		return registry.Building{}, nil, invalid("building", "is missing")
	}
	building := registry.Building{
		ID:          b.GetId(),
		DisplayName: b.GetDisplayName(),
		Labels:      b.GetLabels(),
		Enabled:     !b.GetDisabled(),
	}
	// The id first: it is what a person looks at when several files are at hand.
	if err := registry.ValidateID(building.ID); err != nil {
		return building, nil, err
	}
	if b.GetJournal() != nil || b.GetLimits().GetAccessConnections() != 0 {
		return building, nil, notBuilt("journal and limits.access_connections of a building")
	}
	building.Limits = registry.Limits{
		PacketsPerSecond: limited(b.GetLimits().GetPacketsPerSecond()),
		BytesPerSecond:   int64(min(b.GetLimits().GetBytesPerSecond(), math.MaxInt64)),
		WriteQueue:       limited(b.GetLimits().GetWriteQueue()),
	}
	var (
		found []registry.Warning
		err   error
	)
	if building.Tunnel, found, err = tunnelFromProto(b.GetTunnel()).Config(); err != nil {
		return building, nil, err
	}
	warnings := make([]*knxfleetv1.Warning, len(found))
	for i, w := range found {
		warnings[i] = &knxfleetv1.Warning{Line: uint32(w.Line), Subject: w.Key, Message: w.Text}
	}
	if building.KNX, err = knxFromProto(b.GetKnx()); err != nil {
		return building, warnings, err
	}
	building.ReadOnStart, err = readOnStart(b.GetKnx())
	return building, warnings, err
}

func tunnelFromProto(t *knxfleetv1.TunnelConfig) registry.Tunnel {
	text := registry.Tunnel{
		WGQuick:       t.GetWgQuick(),
		PrivateKey:    t.GetPrivateKey(),
		PresharedKey:  t.GetPresharedKey(),
		PeerPublicKey: t.GetPeerPublicKey(),
		Addresses:     t.GetAddresses(),
		AllowedIPs:    t.GetAllowedIps(),
		Endpoint:      t.GetEndpoint(),
		MTU:           int(t.GetMtu()),
	}
	if k := t.GetKeepalive(); k != nil {
		d := k.AsDuration()
		text.Keepalive = &d
	}
	return text
}

func knxFromProto(k *knxfleetv1.KnxConfig) (knx registry.KNX, err error) {
	if k.GetEndpoint() == "" {
		return knx, invalid("knx.endpoint", "is missing; want the KNX interface's address in the building, such as 192.168.1.3:3671")
	}
	if knx.Interface, err = interfaceAt("knx.endpoint", k.GetEndpoint()); err != nil {
		return knx, err
	}
	if k.GetFallbackEndpoint() != "" {
		if knx.Fallback, err = interfaceAt("knx.fallback_endpoint", k.GetFallbackEndpoint()); err != nil {
			return knx, err
		}
	}
	switch mode := k.GetNatMode(); mode {
	case knxfleetv1.NatMode_NAT_MODE_UNSPECIFIED, knxfleetv1.NatMode_NAT_MODE_ROUTE_BACK:
	case knxfleetv1.NatMode_NAT_MODE_EXPLICIT:
		knx.NAT = registry.NATExplicit
	default:
		return knx, invalid("knx.nat_mode", "%d is no mode; want ROUTE_BACK or EXPLICIT", mode)
	}
	switch t := k.GetTransport(); t {
	case knxfleetv1.Transport_TRANSPORT_UNSPECIFIED, knxfleetv1.Transport_TRANSPORT_AUTO:
	case knxfleetv1.Transport_TRANSPORT_UDP:
		knx.Transport = registry.TransportUDP
	case knxfleetv1.Transport_TRANSPORT_TCP:
		knx.Transport = registry.TransportTCP
	default:
		return knx, invalid("knx.transport", "%d is no transport; want AUTO, UDP or TCP", t)
	}
	knx.WritesPerSecond = limited(k.GetWritesPerSecond())
	if text := k.GetIndividualAddress(); text != "" {
		if knx.IndividualAddress, err = frame.ParseIndividualAddress(text); err != nil {
			return knx, invalid("knx.individual_address", "%w", err)
		}
	}
	if text := k.GetProbe(); text != "" {
		if knx.Probe, err = frame.ParseGroupAddress(text); err != nil {
			return knx, invalid("knx.probe", "%w", err)
		}
	}
	if d := k.GetProbeInterval(); d != nil {
		if err := d.CheckValid(); err != nil {
			return knx, invalid("knx.probe_interval", "is no duration: %w", err)
		}
		knx.ProbeInterval = d.AsDuration()
	}
	return knx, nil
}

// interfaceAt reads the address of a KNX interface.
func interfaceAt(field, text string) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.AddrPort{}, invalid(field, "%s is no address; want the KNX interface's address in the building, such as 192.168.1.3:3671", registry.Quote(text))
	}
	return netip.AddrPortFrom(addr, registry.DefaultPort), nil
}

// readOnStart checks the patterns; how many there are and the pace are the
// registry's.
func readOnStart(k *knxfleetv1.KnxConfig) (registry.ReadOnStart, error) {
	for _, text := range k.GetReadOnStart() {
		if _, err := fleet.ParseAddressPattern(text); err != nil {
			return registry.ReadOnStart{}, invalid("knx.read_on_start", "%w", err)
		}
	}
	return registry.ReadOnStart{Addresses: k.GetReadOnStart(), PerSecond: limited(k.GetReadsPerSecond())}, nil
}

// limited keeps a number that is out of range out of range.
func limited(n uint32) int { return int(min(n, math.MaxInt32)) }

// toProto is a building as clients see it. Secrets stay behind.
func toProto(b registry.Building, public string, status fleet.Status) *knxfleetv1.Building {
	return &knxfleetv1.Building{
		Id:          b.ID,
		DisplayName: b.DisplayName,
		Labels:      b.Labels,
		Disabled:    !b.Enabled,
		Tunnel: &knxfleetv1.TunnelConfig{
			Addresses:       texts(b.Tunnel.Addresses),
			PeerPublicKey:   b.Tunnel.Peer.String(),
			Endpoint:        b.Tunnel.Endpoint.String(),
			AllowedIps:      texts(b.Tunnel.AllowedIPs),
			Keepalive:       durationpb.New(b.Tunnel.Keepalive),
			Mtu:             uint32(b.Tunnel.MTU),
			PublicKey:       public,
			HasPresharedKey: !b.Tunnel.PresharedKey.IsZero(),
		},
		Knx: &knxfleetv1.KnxConfig{
			Endpoint:          b.KNX.Interface.String(),
			NatMode:           natMode(b.KNX.NAT),
			FallbackEndpoint:  fallbackText(b.KNX.Fallback),
			Transport:         transportToProto(b.KNX.Transport),
			IndividualAddress: addressText(b.KNX.IndividualAddress),
			WritesPerSecond:   uint32(b.KNX.WritesPerSecond),
			Probe:             probeText(b.KNX.Probe),
			ProbeInterval:     probeInterval(b.KNX.ProbeInterval),
			ReadOnStart:       b.ReadOnStart.Addresses,
			ReadsPerSecond:    uint32(b.ReadOnStart.PerSecond),
		},
		Limits:     limitsToProto(b.Limits),
		Etag:       b.Etag(),
		Generation: b.Generation,
		CreatedAt:  timestamp(b.CreatedAt),
		UpdatedAt:  timestamp(b.UpdatedAt),
		Status:     statusToProto(status),
	}
}

func statusToProto(s fleet.Status) *knxfleetv1.BuildingStatus {
	status := &knxfleetv1.BuildingStatus{
		State:              stateToProto(s.State),
		Reason:             s.Reason,
		Message:            s.Message,
		Since:              timestamp(s.Since),
		RetryAt:            timestamp(s.RetryAt),
		ObservedGeneration: s.ObservedGeneration,
		Epoch:              s.Epoch,
		Endpoint:           s.Endpoint,
		KnxEndpoint:        s.Interface,
		IndividualAddress:  s.Assigned,
		LastHandshakeAt:    timestamp(s.LastHandshakeAt),
		LastTelegramAt:     timestamp(s.LastTelegramAt),
		Counters:           countersToProto(s.Counters),
		Pacing:             pacingToProto(s.Counters.Pacing()),
	}
	switch {
	case s.Interface == "":
	case s.TCP:
		status.KnxTransport = "tcp"
	default:
		status.KnxTransport = "udp"
	}
	return status
}

// pacingToProto leaves out the queue of a building that has none.
func pacingToProto(p fleet.Pacing) *knxfleetv1.Pacing {
	if p.Limit == 0 {
		return nil
	}
	return &knxfleetv1.Pacing{
		QueueDepth:      uint32(p.Waiting),
		QueueLimit:      uint32(p.Limit),
		Dropped:         p.Dropped,
		WritesPerSecond: uint32(p.PerSecond),
		LastWait:        durationpb.New(p.LastWait),
	}
}

func stateToProto(s fleet.State) knxfleetv1.State {
	return knxfleetv1.State(knxfleetv1.State_value["STATE_"+s.String()])
}

func texts[T fmt.Stringer](values []T) []string {
	t := make([]string, len(values))
	for i, v := range values {
		t[i] = v.String()
	}
	return t
}

// timestamp leaves out a time that never was.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func natMode(n registry.NAT) knxfleetv1.NatMode {
	if n == registry.NATExplicit {
		return knxfleetv1.NatMode_NAT_MODE_EXPLICIT
	}
	return knxfleetv1.NatMode_NAT_MODE_ROUTE_BACK
}

func fallbackText(at netip.AddrPort) string {
	if !at.IsValid() {
		return ""
	}
	return at.String()
}

func transportToProto(t registry.Transport) knxfleetv1.Transport {
	switch t {
	case registry.TransportUDP:
		return knxfleetv1.Transport_TRANSPORT_UDP
	case registry.TransportTCP:
		return knxfleetv1.Transport_TRANSPORT_TCP
	default:
		return knxfleetv1.Transport_TRANSPORT_AUTO
	}
}

func addressText(a frame.IndividualAddress) string {
	if a == 0 {
		return ""
	}
	return a.String()
}

// limitsToProto leaves out what is all by default.
func limitsToProto(l registry.Limits) *knxfleetv1.BuildingLimits {
	if l == (registry.Limits{}) {
		return nil
	}
	return &knxfleetv1.BuildingLimits{
		PacketsPerSecond: uint32(l.PacketsPerSecond), BytesPerSecond: uint64(l.BytesPerSecond), WriteQueue: uint32(l.WriteQueue),
	}
}

func probeText(a frame.GroupAddress) string {
	if a == 0 {
		return ""
	}
	return a.String()
}

func probeInterval(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func countersToProto(c fleet.Counters) *knxfleetv1.Counters {
	return &knxfleetv1.Counters{
		Handshakes:        c.Handshakes,
		ReceivedDatagrams: c.ReceivedDatagrams,
		SentDatagrams:     c.SentDatagrams,
		ReceivedBytes:     c.ReceivedBytes,
		SentBytes:         c.SentBytes,
		TelegramsReceived: c.Session.Telegrams,
		TelegramsSent:     c.Session.Requests,
		Confirmed:         c.Session.OwnTelegrams,
		Rejected:          c.Session.Negative,
		Unconfirmed:       c.Session.Unconfirmed,
		Reconnects:        c.Session.Reconnects(),
		SlotsRefused:      c.Session.SlotsRefused,
		MalformedFrames:   c.Session.Malformed + c.Session.Unparsable,
		DroppedPackets:    c.DroppedPackets,
		JournalLost:       c.JournalLost,
		Panics:            c.Panics,
	}
}

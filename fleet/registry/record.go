package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/internal/keyset"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/tunnel"
)

// recordVersion is raised when an older program would misread a record. A new
// field that an older program may ignore does not raise it; an older program
// that changes the building drops the field.
const recordVersion = 1

// record is a building as stored, in JSON.
type record struct {
	Version     int               `json:"v"`
	ID          string            `json:"id"` // as in the key, so that a record cannot be moved
	DisplayName string            `json:"displayName,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Enabled     bool              `json:"enabled"`
	Tunnel      tunnelRecord      `json:"tunnel"`
	KNX         knxRecord         `json:"knx"`
	Limits      limitsRecord      `json:"limits,omitzero"`
	CreatedAt   time.Time         `json:"createdAt"`
	UpdatedAt   time.Time         `json:"updatedAt"`
	Generation  uint64            `json:"generation"`
	// ContentRevision is the revision that the record had before it was sealed anew;
	// absent: it was not, and its own counts.
	ContentRevision uint64 `json:"contentRevision,omitempty"`
}

type tunnelRecord struct {
	PrivateKey   []byte         `json:"privateKeySealed"`             // 32 bytes, sealed
	PresharedKey []byte         `json:"presharedKeySealed,omitempty"` // 32 bytes, sealed; absent: none
	Addresses    []netip.Prefix `json:"addresses"`
	MTU          int            `json:"mtu"`
	Peer         string         `json:"peerPublicKey"` // base64
	AllowedIPs   []netip.Prefix `json:"allowedIPs"`
	Endpoint     string         `json:"endpoint,omitempty"` // host:port; absent: the router calls us
	Keepalive    uint16         `json:"keepaliveSeconds"`   // 0: none
}

type knxRecord struct {
	Interface         netip.AddrPort `json:"endpoint"`
	Fallback          netip.AddrPort `json:"fallbackEndpoint,omitzero"`
	Transport         string         `json:"transport,omitempty"`                // "udp" or "tcp"; absent: as the interface describes itself
	NAT               string         `json:"natMode,omitempty"`                  // "explicit"; absent: route-back
	IndividualAddress string         `json:"individualAddress,omitempty"`        // such as 1.1.250; absent: the interface chooses
	WritesPerSecond   int            `json:"writesPerSecond,omitempty"`          // absent: the default
	Probe             string         `json:"probe,omitempty"`                    // group address, such as 1/2/3; absent: none
	ProbeInterval     time.Duration  `json:"probeIntervalNanoseconds,omitempty"` // absent: the default
	ReadOnStart       []string       `json:"readOnStart,omitempty"`
	ReadsPerSecond    int            `json:"readsPerSecond,omitempty"` // absent: the default
}

type limitsRecord struct {
	PacketsPerSecond int   `json:"packetsPerSecond,omitempty"` // absent: the default, here and below
	BytesPerSecond   int64 `json:"bytesPerSecond,omitempty"`
	WriteQueue       int   `json:"writeQueue,omitempty"`
}

const natExplicit = "explicit"

// transportNames are those of the record, by Transport.
var transportNames = [...]string{TransportAuto: "", TransportUDP: "udp", TransportTCP: "tcp"}

// The fields that are sealed, as the associated data names them.
const (
	privateKeyField   = "tunnel.private_key"
	presharedKeyField = "tunnel.preshared_key"
)

// encodeRecord returns a valid building as it is stored.
func encodeRecord(b Building, keys *keyset.Keyset) ([]byte, error) {
	privateKey, err := keys.Seal(b.Tunnel.PrivateKey[:], keyset.Place{Building: b.ID, Field: privateKeyField})
	if err != nil {
		return nil, err
	}
	var presharedKey []byte
	if !b.Tunnel.PresharedKey.IsZero() {
		presharedKey, err = keys.Seal(b.Tunnel.PresharedKey[:], keyset.Place{Building: b.ID, Field: presharedKeyField})
		if err != nil {
			return nil, err
		}
	}
	r := record{
		Version:     recordVersion,
		ID:          b.ID,
		DisplayName: b.DisplayName,
		Labels:      b.Labels,
		Enabled:     b.Enabled,
		Tunnel: tunnelRecord{
			PrivateKey:   privateKey,
			PresharedKey: presharedKey,
			Addresses:    b.Tunnel.Addresses,
			MTU:          b.Tunnel.MTU,
			Peer:         b.Tunnel.Peer.String(),
			AllowedIPs:   b.Tunnel.AllowedIPs,
			Endpoint:     b.Tunnel.Endpoint.String(),
			Keepalive:    uint16(b.Tunnel.Keepalive / time.Second),
		},
		KNX: knxRecord{
			Interface: b.KNX.Interface, Fallback: b.KNX.Fallback, Transport: transportNames[b.KNX.Transport], WritesPerSecond: b.KNX.WritesPerSecond,
			ProbeInterval: b.KNX.ProbeInterval,
			ReadOnStart:   b.ReadOnStart.Addresses, ReadsPerSecond: b.ReadOnStart.PerSecond,
		},
		Limits:     limitsRecord(b.Limits),
		CreatedAt:  b.CreatedAt,
		UpdatedAt:  b.UpdatedAt,
		Generation: b.Generation,
	}
	if b.KNX.NAT == NATExplicit {
		r.KNX.NAT = natExplicit
	}
	if b.KNX.IndividualAddress != 0 {
		r.KNX.IndividualAddress = b.KNX.IndividualAddress.String()
	}
	if b.KNX.Probe != 0 {
		r.KNX.Probe = b.KNX.Probe.String()
	}
	value, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode building %q: %w", b.ID, err)
	}
	if len(value) > engine.MaxRegistryValue {
		return nil, fmt.Errorf("building %q takes %d bytes; want at most %d", b.ID, len(value), engine.MaxRegistryValue)
	}
	return value, nil
}

// decodeRecord returns the building that was stored under an id, but its Revision
// (see revisionOf). Rules that Validate may have gained since are not
// applied: what was stored is what is desired.
func decodeRecord(id string, value []byte, keys *keyset.Keyset) (Building, error) {
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return Building{}, fmt.Errorf("its record is damaged: %w", err)
	}
	if r.Version != recordVersion {
		return Building{}, fmt.Errorf("its record has version %d, this program knows version %d: use the newer program that wrote it", r.Version, recordVersion)
	}
	if r.ID != id {
		return Building{}, fmt.Errorf("its record is of building %.80q", r.ID)
	}
	b := Building{
		ID:          r.ID,
		DisplayName: r.DisplayName,
		Labels:      r.Labels,
		Enabled:     r.Enabled,
		Tunnel: tunnel.Config{
			Addresses:  r.Tunnel.Addresses,
			MTU:        r.Tunnel.MTU,
			AllowedIPs: r.Tunnel.AllowedIPs,
			Keepalive:  time.Duration(r.Tunnel.Keepalive) * time.Second,
		},
		KNX:         KNX{Interface: r.KNX.Interface, Fallback: r.KNX.Fallback, WritesPerSecond: r.KNX.WritesPerSecond, ProbeInterval: r.KNX.ProbeInterval},
		ReadOnStart: ReadOnStart{Addresses: r.KNX.ReadOnStart, PerSecond: r.KNX.ReadsPerSecond},
		Limits:      Limits(r.Limits),
		CreatedAt:   r.CreatedAt.UTC(),
		UpdatedAt:   r.UpdatedAt.UTC(),
		Generation:  r.Generation,
	}
	var err error
	if b.Tunnel.Peer, err = tunnel.ParsePublicKey(r.Tunnel.Peer); err != nil {
		return Building{}, fmt.Errorf("its record is damaged: %w", err)
	}
	if r.Tunnel.Endpoint != "" {
		if b.Tunnel.Endpoint, err = tunnel.ParseEndpoint(r.Tunnel.Endpoint); err != nil {
			return Building{}, fmt.Errorf("its record is damaged: %w", err)
		}
	}
	transport := slices.Index(transportNames[:], r.KNX.Transport)
	if transport < 0 {
		return Building{}, fmt.Errorf("its record is damaged: unknown transport %.80q", r.KNX.Transport)
	}
	b.KNX.Transport = Transport(transport)
	switch r.KNX.NAT {
	case "":
	case natExplicit:
		b.KNX.NAT = NATExplicit
	default:
		return Building{}, fmt.Errorf("its record is damaged: unknown natMode %.80q", r.KNX.NAT)
	}
	if r.KNX.IndividualAddress != "" {
		if b.KNX.IndividualAddress, err = frame.ParseIndividualAddress(r.KNX.IndividualAddress); err != nil {
			return Building{}, fmt.Errorf("its record is damaged: %w", err)
		}
	}
	if r.KNX.Probe != "" {
		if b.KNX.Probe, err = frame.ParseGroupAddress(r.KNX.Probe); err != nil {
			return Building{}, fmt.Errorf("its record is damaged: %w", err)
		}
	}
	if err := openKey(b.Tunnel.PrivateKey[:], r.Tunnel.PrivateKey, keys, keyset.Place{Building: id, Field: privateKeyField}); err != nil {
		return Building{}, err
	}
	if r.Tunnel.PresharedKey != nil {
		if err := openKey(b.Tunnel.PresharedKey[:], r.Tunnel.PresharedKey, keys, keyset.Place{Building: id, Field: presharedKeyField}); err != nil {
			return Building{}, err
		}
	}
	b.SetDefaults()
	return b, nil
}

// openKey opens a sealed key into dst.
func openKey(dst, sealed []byte, keys *keyset.Keyset, place keyset.Place) error {
	key, err := keys.Open(sealed, place)
	if err != nil {
		return err
	}
	if len(key) != len(dst) {
		return errors.New("its record is damaged: a key has the wrong length")
	}
	copy(dst, key)
	return nil
}

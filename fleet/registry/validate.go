package registry

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/knxfleet/knxfleet/tunnel"
)

const (
	maxIDLength    = 63
	maxDisplayName = 200 // characters
	maxLabels      = 64
	maxLabelLength = 63
	maxAddresses   = 16
	maxAllowedIPs  = 64
	maxStartReads  = 100
	maxReadRate    = 10
	maxWriteRate   = 50
	minPacketRate  = 10
	maxPacketRate  = 1_000_000
	minByteRate    = 10_000
	maxWriteQueue  = 10_000

	minProbeInterval = 10 * time.Second
	maxProbeInterval = time.Hour
)

// FieldError says what is wrong with one field of a building.
type FieldError struct {
	Field   string // as the API names it: "id", "knx.endpoint", "tunnel.wg_quick line 7"
	Problem string // what is wrong and what would be right; never a key
}

// Error reads like "knx.endpoint: is missing; want ...".
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// ValidateID checks the syntax of a building's id. The error is a *FieldError.
func ValidateID(id string) error {
	if id == "" {
		return &FieldError{"id", "is missing; want " + idWant}
	}
	var problem string
	switch {
	case len(id) > maxIDLength:
		problem = fmt.Sprintf("has %d characters", len(id))
	case strings.ContainsFunc(id, func(r rune) bool { return !isIDCharacter(r) }):
		problem = fmt.Sprintf("%q has other characters", id)
	case id[0] == '-' || id[len(id)-1] == '-':
		problem = fmt.Sprintf("%q begins or ends with '-'", id)
	default:
		return nil
	}
	return &FieldError{"id", problem + "; want " + idWant}
}

const idWant = "1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends"

func isIDCharacter(r rune) bool {
	return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-'
}

// Validate checks what a user gave, defaults filled in. The error is a
// *FieldError for the first field that is wrong.
func (b Building) Validate() error {
	if err := ValidateID(b.ID); err != nil {
		return err
	}
	if !utf8.ValidString(b.DisplayName) || strings.ContainsFunc(b.DisplayName, unicode.IsControl) {
		return &FieldError{"display_name", "has a control character or is not UTF-8; want printable text"}
	}
	if n := utf8.RuneCountInString(b.DisplayName); n > maxDisplayName {
		return &FieldError{"display_name", fmt.Sprintf("has %d characters; want at most %d", n, maxDisplayName)}
	}
	if err := validateLabels(b.Labels); err != nil {
		return err
	}
	if err := validateTunnel(b.Tunnel); err != nil {
		return err
	}
	if err := validateKNX(b.KNX, b.Tunnel); err != nil {
		return err
	}
	if err := validateReadOnStart(b.ReadOnStart); err != nil {
		return err
	}
	return validateLimits(b.Limits)
}

func validateLimits(l Limits) error {
	switch {
	case l.PacketsPerSecond != 0 && (l.PacketsPerSecond < minPacketRate || l.PacketsPerSecond > maxPacketRate):
		return &FieldError{"limits.packets_per_second", fmt.Sprintf("is %d; want %d to %d, or 0 for the default", l.PacketsPerSecond, minPacketRate, maxPacketRate)}
	case l.BytesPerSecond != 0 && l.BytesPerSecond < minByteRate:
		return &FieldError{"limits.bytes_per_second", fmt.Sprintf("is %d; want at least %d, or 0 for the default", l.BytesPerSecond, minByteRate)}
	case l.WriteQueue < 0 || l.WriteQueue > maxWriteQueue:
		return &FieldError{"limits.write_queue", fmt.Sprintf("is %d; want 1 to %d, or 0 for the default", l.WriteQueue, maxWriteQueue)}
	}
	return nil
}

func validateReadOnStart(r ReadOnStart) error {
	switch n := len(r.Addresses); {
	case n > maxStartReads:
		return &FieldError{"knx.read_on_start", fmt.Sprintf("has %d entries; want at most %d", n, maxStartReads)}
	case r.PerSecond < 0 || r.PerSecond > maxReadRate:
		return &FieldError{"knx.reads_per_second", fmt.Sprintf("is %d; want 1 to %d, or 0 for the default", r.PerSecond, maxReadRate)}
	}
	return nil
}

func validateLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return &FieldError{"labels", fmt.Sprintf("there are %d; want at most %d", len(labels), maxLabels)}
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if key == "" || !isLabel(key) {
			return &FieldError{"labels", fmt.Sprintf("key %.80q is none; want 1 to %d %s", key, maxLabelLength, labelWant)}
		}
		if value := labels[key]; !isLabel(value) {
			return &FieldError{"labels." + key, fmt.Sprintf("%.80q is no value; want at most %d %s", value, maxLabelLength, labelWant)}
		}
	}
	return nil
}

const labelWant = "of a-z, A-Z, 0-9, '.', '_', '-' and '/', with a letter or digit at both ends"

func isLabel(s string) bool {
	if s == "" {
		return true
	}
	other := strings.ContainsFunc(s, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("._-/", r) })
	return !other && len(s) <= maxLabelLength && isAlphanumeric(rune(s[0])) && isAlphanumeric(rune(s[len(s)-1]))
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

func validateTunnel(cfg tunnel.Config) error {
	if n := len(cfg.Addresses); n > maxAddresses {
		return &FieldError{"tunnel.addresses", fmt.Sprintf("there are %d; want at most %d", n, maxAddresses)}
	}
	if n := len(cfg.AllowedIPs); n > maxAllowedIPs {
		return &FieldError{"tunnel.allowed_ips", fmt.Sprintf("there are %d; want at most %d", n, maxAllowedIPs)}
	}
	if err := cfg.Validate(); err != nil {
		return tunnelError(err)
	}
	return nil
}

func validateKNX(knx KNX, cfg tunnel.Config) error {
	if err := validateInterface("knx.endpoint", knx.Interface, cfg); err != nil {
		return err
	}
	if knx.Fallback != (netip.AddrPort{}) {
		if err := validateInterface("knx.fallback_endpoint", knx.Fallback, cfg); err != nil {
			return err
		}
	}
	switch {
	case knx.Fallback == knx.Interface:
		return &FieldError{"knx.fallback_endpoint", "is the interface of knx.endpoint; want another one on the same bus, or none"}
	case knx.WritesPerSecond < 0 || knx.WritesPerSecond > maxWriteRate:
		return &FieldError{"knx.writes_per_second", fmt.Sprintf("is %d; want 1 to %d, or 0 for the default: a TP1 line carries 20 to 50 telegrams a second in all", knx.WritesPerSecond, maxWriteRate)}
	case knx.ProbeInterval != 0 && (knx.ProbeInterval < minProbeInterval || knx.ProbeInterval > maxProbeInterval):
		return &FieldError{"knx.probe_interval", fmt.Sprintf("is %v; want %v to %v, or none for the default", knx.ProbeInterval, minProbeInterval, maxProbeInterval)}
	case knx.NAT > NATExplicit:
		return &FieldError{"knx.nat_mode", "is unknown; want route-back or explicit"}
	case knx.Transport > TransportTCP:
		return &FieldError{"knx.transport", "is unknown; want auto, udp or tcp"}
	}
	return nil
}

func validateInterface(field string, at netip.AddrPort, cfg tunnel.Config) error {
	wrong := func(format string, v ...any) error {
		return &FieldError{field, fmt.Sprintf(format, v...)}
	}
	const want = "want the KNX interface's IPv4 address in the building, such as 192.168.1.3:3671"
	addr := at.Addr()
	switch {
	case !addr.IsValid():
		return wrong("is missing; %s", want)
	case !addr.Is4():
		return wrong("%s is an IPv6 address, and KNXnet/IP knows none; %s", addr, want)
	case addr.IsUnspecified(), addr.IsMulticast(), addr.IsLoopback(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return wrong("%s is not the address of one device; %s", addr, want)
	case at.Port() == 0:
		return wrong("port 0 is none; want 1 to 65535, usually %d", DefaultPort)
	case !slices.ContainsFunc(cfg.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(addr) }):
		return wrong("%s is not inside tunnel.allowed_ips (%s): correct the address, or add its network there", addr, some(cfg.AllowedIPs))
	case slices.ContainsFunc(cfg.Addresses, func(p netip.Prefix) bool { return p.Addr() == addr }):
		return wrong("%s is our own address in the tunnel; %s", addr, want)
	case !slices.ContainsFunc(cfg.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() }):
		return &FieldError{"tunnel.addresses", fmt.Sprintf("no IPv4 address is among them, from which %s could be reached; add one", addr)}
	}
	return nil
}

// some lists the first of many prefixes.
func some(prefixes []netip.Prefix) string {
	const most = 5
	var texts []string
	for _, p := range prefixes[:min(len(prefixes), most)] {
		texts = append(texts, p.String())
	}
	if len(prefixes) > most {
		texts = append(texts, fmt.Sprintf("and %d more", len(prefixes)-most))
	}
	return strings.Join(texts, ", ")
}

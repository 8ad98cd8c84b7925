package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxFileSize = 64 << 10 // bytes of a wg-quick file
	maxLines    = 2000     // lines of a wg-quick file
)

// Warning tells of a line in a wg-quick file that was accepted and has no
// effect. It contains no value, so no secret either.
type Warning struct {
	Line int    // from 1
	Key  string // the setting or section; "(hidden)" when it may be part of a key
	Text string // what was ignored, and why
}

// String reads like "line 4: DNS is not used: ...".
func (w Warning) String() string { return fmt.Sprintf("line %d: %s %s", w.Line, w.Key, w.Text) }

// ParseWGQuick reads the configuration of one tunnel from a file as wg-quick
// reads it and FRITZ!Box, MikroTik, OPNsense and others export it: at most 64 KiB
// in 2000 lines, keys and sections in any case, comments after # or ;, a byte
// order mark, CRLF.
//
// It wants exactly one [Peer], the building's router. AllowedIPs are masked.
// Without MTU it is [DefaultMTU]; without PersistentKeepalive it is
// [DefaultKeepalive]. Settings for the operating system (DNS, PostUp, Table,
// ListenPort, ...) and unknown ones have no effect and give a warning.
//
// The error is a *ConfigError that names line and field; it and the warnings
// never contain a key.
func ParseWGQuick(text string) (Config, []Warning, error) {
	if len(text) > maxFileSize {
		return Config{}, nil, &ConfigError{Problem: fmt.Sprintf("the file has %d bytes", len(text)), Want: "at most 65536"}
	}
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		return Config{}, nil, &ConfigError{Problem: "the file is UTF-16", Want: "UTF-8: save it again as plain text"}
	}
	p := wgQuick{seen: map[string]int{}}
	p.cfg.MTU = DefaultMTU
	p.cfg.Keepalive = DefaultKeepalive
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		number++
		if number > maxLines {
			return Config{}, nil, &ConfigError{Line: number, Problem: "is one line too many", Want: fmt.Sprintf("at most %d lines", maxLines)}
		}
		if err := p.line(number, line); err != nil {
			return Config{}, nil, err
		}
	}
	if err := p.missing(); err != nil {
		return Config{}, nil, err
	}
	if err := p.cfg.Validate(); err != nil {
		return Config{}, nil, p.locate(err)
	}
	return p.cfg, p.warnings, nil
}

type section string

const (
	noSection        section = ""
	interfaceSection section = "[Interface]"
	peerSection      section = "[Peer]"
	unknownSection   section = "[?]"
)

// wgQuick is the state of reading one file.
type wgQuick struct {
	cfg           Config
	warnings      []Warning
	section       section
	seen          map[string]int // setting's name to the line where it first stood
	interfaceLine int            // of the first [Interface]; 0 before
	peerLine      int            // of the [Peer]; 0 before
}

// setting is a key that means something to a tunnel.
type setting struct {
	name    string
	section section
	many    bool // may stand on several lines
	set     func(p *wgQuick, value string) error
}

var settings = map[string]setting{
	"privatekey":          {"PrivateKey", interfaceSection, false, (*wgQuick).setPrivateKey},
	"address":             {"Address", interfaceSection, true, (*wgQuick).setAddress},
	"mtu":                 {"MTU", interfaceSection, false, (*wgQuick).setMTU},
	"publickey":           {"PublicKey", peerSection, false, (*wgQuick).setPublicKey},
	"presharedkey":        {"PresharedKey", peerSection, false, (*wgQuick).setPresharedKey},
	"allowedips":          {"AllowedIPs", peerSection, true, (*wgQuick).setAllowedIPs},
	"endpoint":            {"Endpoint", peerSection, false, (*wgQuick).setEndpoint},
	"persistentkeepalive": {"PersistentKeepalive", peerSection, false, (*wgQuick).setKeepalive},
}

// unused are known settings that have no effect here, and why.
var unused = map[string]struct{ name, why string }{
	"dns":        {"DNS", "is not used: names are looked up outside the tunnel"},
	"listenport": {"ListenPort", "is not used: all tunnels share one socket"},
	"fwmark":     {"FwMark", "is not used: no packet of the tunnel is routed by this machine"},
	"table":      {"Table", "is not used: no route is set on this machine"},
	"saveconfig": {"SaveConfig", "is not used: the file is read once"},
	"preup":      {"PreUp", "is not run"},
	"postup":     {"PostUp", "is not run"},
	"predown":    {"PreDown", "is not run"},
	"postdown":   {"PostDown", "is not run"},
}

func (p *wgQuick) line(number int, line string) error {
	if i := strings.IndexAny(line, "#;"); i >= 0 {
		line = line[:i]
	}
	line = strings.TrimSpace(line)
	if line == "" {
		return nil
	}
	if line[0] == '[' {
		return p.header(number, line)
	}
	if p.section == unknownSection {
		return nil // the warning at the section's header covers it
	}
	key, value, ok := strings.Cut(line, "=")
	if !ok {
		return &ConfigError{Line: number, Problem: "is neither a section nor a setting", Want: "[Interface], [Peer] or Name = value"}
	}
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	lower := strings.ToLower(key)
	s, known := settings[lower]
	switch {
	case p.section == noSection:
		return &ConfigError{Line: number, Problem: "stands before the first section", Want: "[Interface] above it"}
	case !known:
		p.ignore(number, key, value)
		return nil
	case s.section != p.section:
		return &ConfigError{Line: number, Field: s.name, Problem: "stands under " + string(p.section), Want: "it under " + string(s.section)}
	case value == "" && (s.name == "PresharedKey" || s.name == "Endpoint"):
		p.warn(number, s.name, "has no value and is taken as absent")
		return nil
	case value == "":
		return &ConfigError{Line: number, Field: s.name, Problem: "has no value", Want: "one after the equals sign, or no such line"}
	}
	if first, again := p.seen[s.name]; again && !s.many {
		return &ConfigError{Line: number, Field: s.name, Problem: fmt.Sprintf("stands here again, first on line %d", first), Want: "it once"}
	} else if !again {
		p.seen[s.name] = number
	}
	err := s.set(p, value)
	if e, ok := errors.AsType[*ConfigError](err); ok {
		e.Line = number
	}
	return err
}

func (p *wgQuick) header(number int, line string) error {
	switch strings.ToLower(strings.ReplaceAll(line, " ", "")) {
	case "[interface]":
		p.section = interfaceSection
		if p.interfaceLine == 0 {
			p.interfaceLine = number
		}
	case "[peer]":
		if p.peerLine != 0 {
			return &ConfigError{
				Line:    number,
				Field:   string(peerSection),
				Problem: fmt.Sprintf("stands here again, first on line %d", p.peerLine),
				Want:    "exactly one, the building's router; give every building its own file",
			}
		}
		p.section, p.peerLine = peerSection, number
	default:
		if line[len(line)-1] != ']' {
			return &ConfigError{Line: number, Problem: "begins a section without a closing bracket", Want: "[Interface] or [Peer]"}
		}
		p.section = unknownSection
		p.warn(number, shownKey(line[1:len(line)-1]), "is an unknown section and is ignored as a whole")
	}
	return nil
}

func (p *wgQuick) warn(line int, key, text string) {
	p.warnings = append(p.warnings, Warning{Line: line, Key: key, Text: text})
}

func (p *wgQuick) ignore(line int, key, value string) {
	if u, ok := unused[strings.ToLower(key)]; ok {
		p.warn(line, u.name, u.why)
		return
	}
	if value == "" {
		key = "" // a piece of a key that was broken in two ends with =, too
	}
	p.warn(line, shownKey(key), "is an unknown setting and is ignored")
}

// shownKey returns a setting's name as a warning may show it. A line of base64
// looks like a setting; what is not plainly a name is hidden.
func shownKey(key string) string {
	if key == "" || len(key) > 24 {
		return hidden
	}
	for _, c := range []byte(key) {
		if !isLetter(c) && c != '-' && c != '_' && (!isDigit(c) || len(key) > 16) {
			return hidden
		}
	}
	return key
}

// missing checks for the sections; Validate checks for their settings.
func (p *wgQuick) missing() error {
	switch {
	case p.interfaceLine == 0:
		return &ConfigError{Field: string(interfaceSection), Problem: "is missing", Want: "a wg-quick file with [Interface] and [Peer]"}
	case p.peerLine == 0:
		return &ConfigError{Field: string(peerSection), Problem: "is missing", Want: "one, with the router's PublicKey and AllowedIPs"}
	}
	return nil
}

// locate adds the line to an error that came from the configuration as a whole.
func (p *wgQuick) locate(err error) error {
	var e *ConfigError
	if errors.As(err, &e) && e.Line == 0 {
		e.Line = p.seen[e.Field] // 0 where the field is missing
	}
	return err
}

func (p *wgQuick) setPrivateKey(value string) (err error) {
	p.cfg.PrivateKey, err = ParsePrivateKey(value)
	return err
}

func (p *wgQuick) setPublicKey(value string) (err error) {
	p.cfg.Peer, err = ParsePublicKey(value)
	return err
}

func (p *wgQuick) setPresharedKey(value string) (err error) {
	p.cfg.PresharedKey, err = ParsePresharedKey(value)
	return err
}

func (p *wgQuick) setEndpoint(value string) (err error) {
	p.cfg.Endpoint, err = ParseEndpoint(value)
	return err
}

func (p *wgQuick) setAddress(value string) error {
	for item := range listItems(value) {
		prefix, err := parsePrefix(item)
		if err != nil {
			return &ConfigError{Field: "Address", Problem: Quote(item) + " is not an IP address", Want: addressWant}
		}
		if problem := addressProblem(prefix); problem != "" {
			return &ConfigError{Field: "Address", Problem: problem, Want: addressWant}
		}
		if len(p.cfg.Addresses) > maxAddresses {
			return nil // Validate refuses it; looking for repetitions has a limit
		}
		if !slices.Contains(p.cfg.Addresses, prefix) {
			p.cfg.Addresses = append(p.cfg.Addresses, prefix)
		}
	}
	return nil
}

func (p *wgQuick) setAllowedIPs(value string) error {
	for item := range listItems(value) {
		prefix, err := parsePrefix(item)
		if err != nil {
			return &ConfigError{Field: "AllowedIPs", Problem: Quote(item) + " is not a network", Want: networkWant}
		}
		if problem := networkProblem(prefix); problem != "" {
			return &ConfigError{Field: "AllowedIPs", Problem: problem, Want: networkWant}
		}
		prefix = prefix.Masked()
		if len(p.cfg.AllowedIPs) > maxAllowed {
			return nil // Validate refuses it; looking for repetitions has a limit
		}
		if !slices.Contains(p.cfg.AllowedIPs, prefix) {
			p.cfg.AllowedIPs = append(p.cfg.AllowedIPs, prefix)
		}
	}
	return nil
}

func (p *wgQuick) setMTU(value string) error {
	mtu, err := strconv.ParseUint(value, 10, 31)
	if err != nil || mtu == 0 {
		return &ConfigError{Field: "MTU", Problem: Quote(value) + " is not a size", Want: fmt.Sprintf("%d to %d bytes", minMTU, maxMTU)}
	}
	p.cfg.MTU = int(mtu)
	return nil
}

func (p *wgQuick) setKeepalive(value string) error {
	if strings.EqualFold(value, "off") {
		p.cfg.Keepalive = 0
		return nil
	}
	seconds, err := strconv.ParseUint(strings.TrimSuffix(value, "s"), 10, 16)
	if err != nil {
		return &ConfigError{Field: "PersistentKeepalive", Problem: Quote(value) + " is not an interval", Want: keepaliveWant}
	}
	p.cfg.Keepalive = time.Duration(seconds) * time.Second
	return nil
}

// listItems yields the items of a list that is divided by commas, spaces or both.
func listItems(value string) func(yield func(string) bool) {
	return strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// parsePrefix reads a prefix, or a bare address as a prefix of its full length.
func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%s has a zone", s)
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

package peerconfig

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// What stands where a key belongs that the gateway does not have or give out.
const (
	noPrivateKey = "the router's own private key, which the gateway does not have"
	noPreshared  = "the preshared key that the gateway was given"
)

// interfaceName is what the interface is called on routers that name it.
const interfaceName = "knxfleet"

// lines is a text that grows by lines.
type lines struct{ strings.Builder }

func (l *lines) addf(format string, args ...any) { fmt.Fprintf(l, format+"\n", args...) }

// wgQuick is the form of wg(8), and with an address that of wg-quick(8).
func (p *peer) wgQuick(address string) string {
	var l lines
	l.addf("# The router of building %s, towards its gateway.", p.id)
	l.addf("[Interface]")
	if p.privateKey != "" {
		l.addf("PrivateKey = %s", p.privateKey)
	} else {
		l.addf("# PrivateKey = %s", noPrivateKey)
	}
	if p.listenPort != 0 {
		l.addf("ListenPort = %d", p.listenPort)
	}
	if address != "" {
		l.addf("Address = %s", address)
	}
	l.addf("\n[Peer]")
	l.addf("PublicKey = %s", p.ours.Tunnel.PrivateKey.Public())
	if p.preshared != "" {
		l.addf("PresharedKey = %s", p.preshared)
	} else if p.needsPSK {
		l.addf("# PresharedKey = %s", noPreshared)
	}
	l.addf("AllowedIPs = %s", strings.Join(p.allowed, ", "))
	if !p.endpoint.IsZero() {
		l.addf("Endpoint = %s", p.endpoint)
	}
	if p.keepalive > 0 {
		l.addf("PersistentKeepalive = %d", p.keepalive)
	}
	return l.String()
}

// fritzAddress guesses the box's own address: the first of the KNX interface's
// network.
func (p *peer) fritzAddress() string {
	addr := p.ours.KNX.Interface.Addr()
	const usual = 24
	best := netip.PrefixFrom(addr, usual).Masked()
	found := 0
	for _, n := range p.ours.Tunnel.AllowedIPs {
		if n.Contains(addr) && n.Bits() > found && n.Bits() < addr.BitLen()-1 {
			best, found = n.Masked(), n.Bits()
		}
	}
	return netip.PrefixFrom(best.Addr().Next(), best.Bits()).String()
}

func (p *peer) mikroTik() string {
	var l lines
	l.addf("# The router of building %s, towards its gateway.", p.id)
	add := fmt.Sprintf("/interface/wireguard/add name=%s mtu=%d comment=%q", interfaceName, p.ours.Tunnel.MTU, "building "+p.id)
	if p.listenPort != 0 {
		add += fmt.Sprintf(" listen-port=%d", p.listenPort)
	}
	if p.privateKey != "" {
		add += fmt.Sprintf(" private-key=%q", p.privateKey)
	} else {
		l.addf("# add private-key=%q here: %s", "...", noPrivateKey)
	}
	l.addf("%s", add)
	add = fmt.Sprintf("/interface/wireguard/peers/add interface=%s public-key=%q allowed-address=%s", interfaceName, p.ours.Tunnel.PrivateKey.Public(), strings.Join(p.allowed, ","))
	if p.preshared != "" {
		add += fmt.Sprintf(" preshared-key=%q", p.preshared)
	} else if p.needsPSK {
		l.addf("# add preshared-key=%q here: %s", "...", noPreshared)
	}
	if !p.endpoint.IsZero() {
		add += fmt.Sprintf(" endpoint-address=%s endpoint-port=%d", p.endpoint.Host, p.endpoint.Port)
	}
	if p.keepalive > 0 {
		add += fmt.Sprintf(" persistent-keepalive=%ds", p.keepalive)
	}
	l.addf("%s", add)
	for _, a := range p.allowed {
		family := "ip"
		if strings.Contains(a, ":") {
			family = "ipv6"
		}
		l.addf("/%s/route/add dst-address=%s gateway=%s", family, a, interfaceName)
	}
	return l.String()
}

func (p *peer) openWrt() string {
	var l lines
	set := func(option, value string) { l.addf("uci set network.%s='%s'", option, value) }
	own, gateway := interfaceName, interfaceName+"_gw"
	l.addf("# The router of building %s, towards its gateway.", p.id)
	set(own, "interface")
	set(own+".proto", "wireguard")
	if p.privateKey != "" {
		set(own+".private_key", p.privateKey)
	} else {
		l.addf("# uci set network.%s.private_key='...': %s", own, noPrivateKey)
	}
	if p.listenPort != 0 {
		set(own+".listen_port", strconv.Itoa(int(p.listenPort)))
	}
	set(own+".mtu", strconv.Itoa(p.ours.Tunnel.MTU))
	set(gateway, "wireguard_"+own)
	set(gateway+".description", "gateway of building "+p.id)
	set(gateway+".public_key", p.ours.Tunnel.PrivateKey.Public().String())
	if p.preshared != "" {
		set(gateway+".preshared_key", p.preshared)
	} else if p.needsPSK {
		l.addf("# uci set network.%s.preshared_key='...': %s", gateway, noPreshared)
	}
	l.addf("uci -q delete network.%s.allowed_ips", gateway)
	for _, a := range p.allowed {
		l.addf("uci add_list network.%s.allowed_ips='%s'", gateway, a)
	}
	set(gateway+".route_allowed_ips", "1")
	if !p.endpoint.IsZero() {
		set(gateway+".endpoint_host", p.endpoint.Host)
		set(gateway+".endpoint_port", strconv.Itoa(int(p.endpoint.Port)))
	}
	if p.keepalive > 0 {
		set(gateway+".persistent_keepalive", strconv.Itoa(p.keepalive))
	}
	l.addf("uci commit network")
	l.addf("service network reload")
	return l.String()
}

func (p *peer) opnSense() string {
	var l lines
	value := func(field, value string) { l.addf("  %-20s %s", field+":", value) }
	keys := func(given, missing string) string {
		if given != "" {
			return given
		}
		return "(" + missing + ")"
	}
	l.addf("VPN > WireGuard > Peers, a new peer")
	value("Name", "knxfleet-"+p.id)
	value("Public key", p.ours.Tunnel.PrivateKey.Public().String())
	if p.preshared != "" || p.needsPSK {
		value("Pre-shared key", keys(p.preshared, noPreshared))
	}
	value("Allowed IPs", strings.Join(p.allowed, ", "))
	if !p.endpoint.IsZero() {
		value("Endpoint address", p.endpoint.Host)
		value("Endpoint port", strconv.Itoa(int(p.endpoint.Port)))
	}
	if p.keepalive > 0 {
		value("Keepalive interval", strconv.Itoa(p.keepalive))
	}
	l.addf("")
	l.addf("VPN > WireGuard > Instances, a new instance")
	value("Name", interfaceName)
	value("Public key", p.ours.Tunnel.Peer.String())
	value("Private key", keys(p.privateKey, noPrivateKey))
	if p.listenPort != 0 {
		value("Listen port", strconv.Itoa(int(p.listenPort)))
	}
	value("MTU", strconv.Itoa(p.ours.Tunnel.MTU))
	value("Peers", "knxfleet-"+p.id)
	l.addf("")
	l.addf("Firewall > Rules")
	if p.listenPort != 0 {
		l.addf("  WAN: pass UDP to port %d", p.listenPort)
	}
	l.addf("  WireGuard (Group): pass from %s to %s", strings.Join(p.allowed, ", "), net.JoinHostPort(p.ours.KNX.Interface.Addr().String(), strconv.Itoa(int(p.ours.KNX.Interface.Port()))))
	return l.String()
}

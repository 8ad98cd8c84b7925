package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/tunnel"
)

func TestValidate(t *testing.T) {
	prefix := netip.MustParsePrefix
	many := func(n int, p netip.Prefix) []netip.Prefix { return slices.Repeat([]netip.Prefix{p}, n) }
	for name, c := range map[string]struct {
		change func(*Building)
		field  string // empty: valid
		says   string
	}{
		"as it is":    {func(*Building) {}, "", ""},
		"one letter":  {func(b *Building) { b.ID = "7" }, "", ""},
		"long id":     {func(b *Building) { b.ID = strings.Repeat("a", 63) }, "", ""},
		"too long id": {func(b *Building) { b.ID = strings.Repeat("a", 64) }, "id", "has 64 characters"},
		"no id":       {func(b *Building) { b.ID = "" }, "id", "is missing"},
		"upper case":  {func(b *Building) { b.ID = "HQ" }, "id", "want 1 to 63 of a-z"},
		"dot":         {func(b *Building) { b.ID = "a.b" }, "id", "other characters"},
		"umlaut":      {func(b *Building) { b.ID = "büro" }, "id", "other characters"},
		"dash first":  {func(b *Building) { b.ID = "-a" }, "id", "begins or ends"},
		"dash last":   {func(b *Building) { b.ID = "a-" }, "id", "begins or ends"},

		"longest name":  {func(b *Building) { b.DisplayName = strings.Repeat("ü", 200) }, "", ""},
		"name too long": {func(b *Building) { b.DisplayName = strings.Repeat("ü", 201) }, "display_name", "has 201"},
		"name control":  {func(b *Building) { b.DisplayName = "a\nb" }, "display_name", "control"},
		"name binary":   {func(b *Building) { b.DisplayName = "\xff" }, "display_name", "UTF-8"},

		"no labels":       {func(b *Building) { b.Labels = nil }, "", ""},
		"empty value":     {func(b *Building) { b.Labels = map[string]string{"spare": ""} }, "", ""},
		"64 labels":       {func(b *Building) { b.Labels = labels(64) }, "", ""},
		"65 labels":       {func(b *Building) { b.Labels = labels(65) }, "labels", "there are 65"},
		"empty label":     {func(b *Building) { b.Labels = map[string]string{"": "x"} }, "labels", "key"},
		"label character": {func(b *Building) { b.Labels = map[string]string{"a b": "x"} }, "labels", `"a b"`},
		"label long":      {func(b *Building) { b.Labels = map[string]string{strings.Repeat("x", 64): ""} }, "labels", "want 1 to 63"},
		"value character": {func(b *Building) { b.Labels = map[string]string{"a": "x,y"} }, "labels.a", `"x,y"`},
		"value end":       {func(b *Building) { b.Labels = map[string]string{"a": "x."} }, "labels.a", "both ends"},

		"no private key": {func(b *Building) { b.Tunnel.PrivateKey = tunnel.PrivateKey{} }, "tunnel.private_key", "is missing"},
		"no peer":        {func(b *Building) { b.Tunnel.Peer = tunnel.PublicKey{} }, "tunnel.peer_public_key", "is missing"},
		"own peer":       {func(b *Building) { b.Tunnel.Peer = b.Tunnel.PrivateKey.Public() }, "tunnel.peer_public_key", "our own"},
		"no address":     {func(b *Building) { b.Tunnel.Addresses = nil }, "tunnel.addresses", "is missing"},
		"17 addresses":   {func(b *Building) { b.Tunnel.Addresses = many(17, prefix("10.0.0.1/32")) }, "tunnel.addresses", "there are 17"},
		"only IPv6":      {func(b *Building) { b.Tunnel.Addresses = many(1, prefix("fd00::5/64")) }, "tunnel.addresses", "no IPv4 address"},
		"no networks":    {func(b *Building) { b.Tunnel.AllowedIPs = nil }, "tunnel.allowed_ips", "is missing"},
		"65 networks":    {func(b *Building) { b.Tunnel.AllowedIPs = many(65, prefix("10.0.0.0/8")) }, "tunnel.allowed_ips", "there are 65"},
		"small MTU":      {func(b *Building) { b.Tunnel.MTU = 1279 }, "tunnel.mtu", "1280"},
		"half a second":  {func(b *Building) { b.Tunnel.Keepalive = time.Second / 2 }, "tunnel.keepalive", "whole seconds"},
		"no port":        {func(b *Building) { b.Tunnel.Endpoint.Port = 0 }, "tunnel.endpoint", "port"},
		"no endpoint":    {func(b *Building) { b.Tunnel.Endpoint = tunnel.Endpoint{} }, "", ""},

		"everything allowed": {func(b *Building) { b.Tunnel.AllowedIPs = many(1, prefix("0.0.0.0/0")) }, "", ""},
		"no interface":       {func(b *Building) { b.KNX.Interface = netip.AddrPort{} }, "knx.endpoint", "is missing"},
		"outside":            {func(b *Building) { b.Tunnel.AllowedIPs = many(7, prefix("10.0.0.0/8")) }, "knx.endpoint", "192.168.1.3 is not inside tunnel.allowed_ips (10.0.0.0/8, "},
		"IPv6 interface":     {func(b *Building) { b.KNX.Interface = netip.MustParseAddrPort("[fd00::3]:3671") }, "knx.endpoint", "IPv6"},
		"multicast":          {func(b *Building) { b.KNX.Interface = netip.MustParseAddrPort("224.0.23.12:3671") }, "knx.endpoint", "one device"},
		"ourselves":          {func(b *Building) { b.KNX.Interface = netip.MustParseAddrPort("192.168.1.201:3671") }, "knx.endpoint", "our own address"},
		"no fallback":        {func(b *Building) { b.KNX.Fallback = netip.AddrPort{} }, "", ""},
		"fallback outside":   {func(b *Building) { b.KNX.Fallback = netip.MustParseAddrPort("10.0.0.3:3671") }, "knx.fallback_endpoint", "not inside tunnel.allowed_ips"},
		"the same twice":     {func(b *Building) { b.KNX.Fallback = b.KNX.Interface }, "knx.fallback_endpoint", "another one"},
		"unknown transport":  {func(b *Building) { b.KNX.Transport = 9 }, "knx.transport", "unknown"},
		"unknown NAT":        {func(b *Building) { b.KNX.NAT = 9 }, "knx.nat_mode", "unknown"},
	} {
		b := full("hq")
		c.change(&b)
		err := b.Validate()
		if c.field == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var wrong *FieldError
		if !errors.As(err, &wrong) || wrong.Field != c.field || !strings.Contains(wrong.Problem, c.says) {
			t.Errorf("%s: %v; want %s with %q", name, err, c.field, c.says)
		}
	}
}

func labels(n int) map[string]string {
	all := map[string]string{}
	for i := range n {
		all[fmt.Sprintf("key-%d", i)] = "value"
	}
	return all
}

func TestInvalidBuildingIsNotStored(t *testing.T) {
	r, _ := open(t, t.TempDir())
	b := full("hq")
	b.KNX.Interface = netip.MustParseAddrPort("10.0.0.3:3671")
	var wrong *FieldError
	if _, err := r.Create(t.Context(), b); !errors.As(err, &wrong) {
		t.Errorf("created: %v", err)
	}
	if list, err := r.List(t.Context(), nil); err != nil || len(list) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	b := full("hq")
	c := b.Clone()
	if !reflect.DeepEqual(b, c) {
		t.Fatal("a clone is not equal")
	}
	c.Labels["city"] = "Basel"
	c.Tunnel.Addresses[0], c.Tunnel.AllowedIPs[0] = netip.Prefix{}, netip.Prefix{}
	if reflect.DeepEqual(b.Labels, c.Labels) || b.Tunnel.Addresses[0] == c.Tunnel.Addresses[0] || b.Tunnel.AllowedIPs[0] == c.Tunnel.AllowedIPs[0] {
		t.Error("the clone shares with its origin")
	}
}

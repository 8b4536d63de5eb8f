package upstream

import (
	"net/netip"
	"strings"
)

// notPublic lists address blocks that no registry on the public network has
// (IANA special-purpose registries for IPv4 and IPv6). IPv6 is handled the
// other way round first: only 2000::/3 and NAT64 can be public at all. The
// documentation blocks are not here: nothing inside a site has their addresses,
// and test networks give them to stand-ins for registries.
func notPublic() []netip.Prefix {
	return prefixes(
		"0.0.0.0/8",      // this network
		"10.0.0.0/8",     // private
		"100.64.0.0/10",  // carrier-grade NAT
		"127.0.0.0/8",    // loopback
		"169.254.0.0/16", // link-local; cloud metadata services
		"172.16.0.0/12",  // private
		"192.0.0.0/24",   // protocol assignments
		"192.88.99.0/24", // 6to4 relay, withdrawn
		"192.168.0.0/16", // private
		"198.18.0.0/15",  // benchmarks
		"224.0.0.0/4",    // multicast
		"240.0.0.0/4",    // reserved, broadcast
		"2001::/23",      // protocol assignments, Teredo
		"2002::/16",      // 6to4: carries any IPv4 address
	)
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// fence decides which addresses are public. The zero value is not usable; see
// newFence.
type fence struct {
	blocked []netip.Prefix
	global6 netip.Prefix // all public IPv6 unicast (RFC 4291)
	nat64   netip.Prefix // well-known NAT64 prefix (RFC 6052)
}

// newFence adds a site's own blocks to the well-known ones.
func newFence(internal []netip.Prefix) *fence {
	return &fence{
		blocked: append(notPublic(), internal...),
		global6: netip.MustParsePrefix("2000::/3"),
		nat64:   netip.MustParsePrefix("64:ff9b::/96"),
	}
}

// public reports whether a is an address on the public network. An IPv4
// address inside an IPv6 one (mapped or NAT64) is judged as what it carries.
func (f *fence) public(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	if f.nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !a.IsValid() || (a.Is6() && !f.global6.Contains(a)) {
		return false
	}
	for _, p := range f.blocked {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// needsLiteral reports addresses that a name must never lead to, not even the
// name of a connection: link-local (cloud metadata), multicast, unspecified.
// Only a connection written with that very address reaches them.
func needsLiteral(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	return a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()
}

// looksNumeric reports hosts that some resolvers read as an IPv4 address though
// they are not in dotted-decimal form: 2130706433, 0x7f.1, 127.1, 0177.0.0.1.
// The test is that of the WHATWG URL standard: the last label is a number.
func looksNumeric(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return false
	}
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// insideName reports host names that are not names on the public network:
// single labels and the special-use and private top-level domains (RFC 6761,
// RFC 6762 appendix G, RFC 8375). It matters where an egress proxy resolves the
// name, since larder cannot see the address then.
func insideName(host string) bool {
	dot := strings.LastIndexByte(host, '.')
	if dot < 0 {
		return true
	}
	switch host[dot+1:] {
	case "localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan":
		return true
	case "arpa":
		return strings.HasSuffix(host, ".home.arpa")
	}
	return false
}

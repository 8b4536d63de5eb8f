package listener

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Names are what a certificate stands for: host names, of which the first label
// may be "*", and addresses.
type Names struct {
	Hosts     []string
	Addresses []netip.Addr
}

// ParseNames reads host names and addresses, each kept once, in order.
func ParseNames(list []string) (Names, error) {
	var out Names
	for _, s := range list {
		if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && addr.Zone() == "" {
			if addr = addr.Unmap(); !slices.Contains(out.Addresses, addr) {
				out.Addresses = append(out.Addresses, addr)
			}
			continue
		}
		host := strings.ToLower(s)
		if err := checkHost(strings.TrimPrefix(host, "*.")); err != nil {
			return Names{}, fmt.Errorf("%q: %w", s, err)
		}
		if !slices.Contains(out.Hosts, host) {
			out.Hosts = append(out.Hosts, host)
		}
	}
	return out, nil
}

// Strings lists the names as ParseNames takes them.
func (n Names) Strings() []string {
	out := slices.Clone(n.Hosts)
	for _, addr := range n.Addresses {
		out = append(out, addr.String())
	}
	return out
}

// with appends what is not there yet.
func (n Names) with(more Names) Names {
	out := Names{Hosts: slices.Clone(n.Hosts), Addresses: slices.Clone(n.Addresses)}
	for _, h := range more.Hosts {
		if !slices.Contains(out.Hosts, h) {
			out.Hosts = append(out.Hosts, h)
		}
	}
	for _, a := range more.Addresses {
		if !slices.Contains(out.Addresses, a) {
			out.Addresses = append(out.Addresses, a)
		}
	}
	return out
}

// errHost is what every refused host name gets.
var errHost = errors.New("not a host name or address; write it as a URL has it, without scheme and port")

// checkHost accepts labels of letters, digits, hyphens and underscores; a name
// that ends in a number would be taken for an address.
func checkHost(s string) error {
	if s == "" || len(s) > 253 {
		return errHost
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errHost
		}
		for _, c := range label {
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return errHost
			}
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return errHost
	}
	return nil
}

// Scope is what an authority may ever sign for: domains with all names below
// them, and networks.
type Scope struct {
	Domains  []string
	Networks []netip.Prefix
}

// ParseScope reads domains, addresses and networks.
func ParseScope(list []string) (Scope, error) {
	var out Scope
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out.Networks = append(out.Networks, p.Masked())
			continue
		}
		n, err := ParseNames([]string{strings.TrimPrefix(s, ".")})
		if err != nil {
			return Scope{}, err
		}
		out = out.covering(n)
	}
	return out, nil
}

// covering widens the scope to names.
func (s Scope) covering(n Names) Scope {
	out := Scope{Domains: slices.Clone(s.Domains), Networks: slices.Clone(s.Networks)}
	for _, h := range n.Hosts {
		if h = strings.TrimPrefix(h, "*."); !slices.Contains(out.Domains, h) {
			out.Domains = append(out.Domains, h)
		}
	}
	for _, a := range n.Addresses {
		if p := netip.PrefixFrom(a, a.BitLen()); !slices.Contains(out.Networks, p) {
			out.Networks = append(out.Networks, p)
		}
	}
	return out
}

package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// origin is what a credential is bound to.
type origin struct {
	scheme string // "http" or "https"
	host   string // lower case, no trailing dot; an IP address in canonical form without brackets
	port   uint16
}

// address is "host:port", with brackets where IPv6 needs them.
func (o origin) address() string {
	if strings.Contains(o.host, ":") {
		return "[" + o.host + "]:" + strconv.Itoa(int(o.port))
	}
	return o.host + ":" + strconv.Itoa(int(o.port))
}

func (o origin) String() string { return o.scheme + "://" + o.address() }

// literal is the host as an IP address, if it is one.
func (o origin) literal() (netip.Addr, bool) {
	a, err := netip.ParseAddr(o.host)
	return a, err == nil
}

// originOf checks that u is a plain http or https URL and returns its origin.
// The errors are reasons for a person, without the URL.
func originOf(u *url.URL) (origin, error) {
	o := origin{scheme: strings.ToLower(u.Scheme)}
	switch {
	case o.scheme != "http" && o.scheme != "https":
		return origin{}, fmt.Errorf("scheme %q is neither http nor https", clip(u.Scheme, 20))
	case u.Opaque != "":
		return origin{}, errors.New("it has no // after the scheme")
	case u.User != nil:
		return origin{}, errors.New("it carries user information")
	}
	host, err := cleanHost(u.Hostname())
	if err != nil {
		return origin{}, err
	}
	o.host = host
	if strings.HasSuffix(u.Host, ":") {
		return origin{}, errors.New("its port is empty")
	}
	o.port = defaultPort(o.scheme)
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return origin{}, fmt.Errorf("port %q is not between 1 and 65535", clip(p, 10))
		}
		o.port = uint16(n)
	}
	return o, nil
}

func defaultPort(scheme string) uint16 {
	if scheme == "https" {
		return 443
	}
	return 80
}

// cleanHost gives a host name or IP address one spelling, and refuses what
// different parsers could read in different ways.
func cleanHost(host string) (string, error) {
	if host == "" {
		return "", errors.New("it names no host")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Is4In6() {
			a = a.Unmap()
		}
		return a.String(), nil
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "" || len(host) > 253 {
		return "", errors.New("its host name is empty or longer than 253 bytes")
	}
	for _, label := range strings.Split(host, ".") {
		if label == "" || len(label) > 63 {
			return "", errors.New("its host name has an empty or overlong label")
		}
		for i := range len(label) {
			if !hostByte(label[i]) {
				return "", errors.New("its host name holds other than letters, digits, '-' and '_' (write xn--... names)")
			}
		}
	}
	if looksNumeric(host) {
		return "", errors.New("its host is a number in a spelling that is not an IP address")
	}
	return host, nil
}

func hostByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '_'
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

// hostRule is one entry of Connection.Hosts.
type hostRule struct {
	any     bool   // "*": every public host
	suffix  string // "*.cdn.example" is ".cdn.example"
	host    string // exact host otherwise
	port    uint16 // 0: the default port of the scheme
	anyPort bool
}

// parseHostRule reads "files.registry.example", "*.cdn.example",
// "10.0.0.5:8080", "[fd00::5]:8080", "files.registry.example:*" or "*".
func parseHostRule(s string) (hostRule, error) {
	var r hostRule
	if s == "*" {
		return hostRule{any: true, anyPort: true}, nil
	}
	if strings.ContainsAny(s, "/@?# \t") {
		return r, errors.New("write a host with an optional port, not a URL")
	}
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.Contains(s[i:], "]") {
		if strings.Count(s, ":") == 1 || strings.HasPrefix(s, "[") {
			host, port = s[:i], s[i+1:]
			if port == "" {
				return r, errors.New("its port is empty")
			}
		}
	}
	switch port {
	case "":
	case "*":
		r.anyPort = true
	default:
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return r, fmt.Errorf("port %q is not between 1 and 65535", clip(port, 10))
		}
		r.port = uint16(n)
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if rest, ok := strings.CutPrefix(host, "*."); ok {
		clean, err := cleanHost(rest)
		if err != nil {
			return r, err
		}
		if _, err := netip.ParseAddr(clean); err == nil || !strings.Contains(clean, ".") {
			return r, errors.New("a wildcard needs a domain of at least two labels after it")
		}
		r.suffix = "." + clean
		return r, nil
	}
	clean, err := cleanHost(host)
	if err != nil {
		return r, err
	}
	r.host = clean
	return r, nil
}

// match reports whether the rule admits o, and whether it names that very host,
// which admits an address that is not public.
func (r hostRule) match(o origin) (ok, named bool) {
	if !r.anyPort {
		want := r.port
		if want == 0 {
			want = defaultPort(o.scheme)
		}
		if o.port != want {
			return false, false
		}
	}
	switch {
	case r.any:
		return true, false
	case r.suffix != "":
		return strings.HasSuffix(o.host, r.suffix), false
	}
	return o.host == r.host, o.host == r.host
}

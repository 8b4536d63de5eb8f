package proxy

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"larder/formats"
	"larder/policy"
	"larder/proxy/access"
)

// request builds the format's view of an HTTP request.
func (x *exchange) request(ep endpoint) (*formats.Request, *formats.Refusal) {
	x.repo = ep.repo
	rq := &formats.Request{
		Method: x.r.Method, Repo: ep.repo, Raw: ep.raw, Segments: ep.segments,
		Path: strings.Join(ep.segments, "/"), Query: x.r.URL.Query(), Header: x.r.Header,
	}
	origin, ok := x.origin()
	if !ok {
		return rq, formats.Refuse(formats.BadRequest, "the Host header is not a host name")
	}
	rq.Base = origin + ep.prefix
	return rq, nil
}

// origin is the scheme, host and port (and proxy prefix) under which the
// client reached this node: a configured external URL first, then forwarded
// headers from trusted proxies only, then the connection itself.
func (x *exchange) origin() (string, bool) {
	host := x.r.Host
	if ext := x.site.ExternalURLs; len(ext) > 0 {
		for _, u := range ext {
			if _, rest, ok := strings.Cut(u, "://"); ok && (rest == host || strings.HasPrefix(rest, host+"/")) {
				return u, true
			}
		}
		return ext[0], true
	}
	scheme := "http"
	if x.r.TLS != nil {
		scheme = "https"
	}
	prefix := ""
	if fwd, ok := x.forwarded(); ok {
		if fwd.proto != "" {
			scheme = fwd.proto
		}
		if fwd.host != "" {
			host = fwd.host
		}
		prefix = fwd.prefix
	}
	if !hostOK(host) {
		return "", false
	}
	return scheme + "://" + host + prefix, true
}

// Base is the scheme, host and prefix under which the client of r reached this
// node; "" when its Host header is no host name.
func (s *Server) Base(r *http.Request) string {
	x := &exchange{s: s, r: r, site: s.site.Load()}
	base, _ := x.origin()
	return base
}

type forwardedBy struct{ proto, host, prefix string }

// forwarded reads RFC 7239 Forwarded, else the X-Forwarded family, when the
// peer is a trusted proxy.
func (x *exchange) forwarded() (forwardedBy, bool) {
	var f forwardedBy
	if len(x.site.TrustedProxies) == 0 || !trusted(x.site.TrustedProxies, x.r.RemoteAddr) {
		return f, false
	}
	if v := x.r.Header.Get("Forwarded"); v != "" {
		first, _, _ := strings.Cut(v, ",")
		for _, p := range strings.Split(first, ";") {
			k, val, _ := strings.Cut(strings.TrimSpace(p), "=")
			val = strings.Trim(val, `"`)
			switch strings.ToLower(k) {
			case "proto":
				f.proto = strings.ToLower(val)
			case "host":
				f.host = val
			}
		}
	} else {
		f.proto = strings.ToLower(firstOf(x.r.Header.Get("X-Forwarded-Proto")))
		f.host = firstOf(x.r.Header.Get("X-Forwarded-Host"))
	}
	if f.proto != "http" && f.proto != "https" {
		f.proto = ""
	}
	if f.host != "" && !hostOK(f.host) {
		f.host = ""
	}
	if p := firstOf(x.r.Header.Get("X-Forwarded-Prefix")); p != "" {
		if ep, err := cleanPrefix(p); err == nil {
			f.prefix = ep
		}
	}
	return f, true
}

func firstOf(v string) string {
	v, _, _ = strings.Cut(v, ",")
	return strings.TrimSpace(v)
}

func cleanPrefix(p string) (string, error) {
	p = strings.Trim(p, "/")
	if p == "" {
		return "", nil
	}
	for _, s := range strings.Split(p, "/") {
		if _, err := cleanSegment(s, false); err != nil {
			return "", err
		}
	}
	return "/" + p, nil
}

func trusted(nets []netip.Prefix, remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap()
	for _, n := range nets {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// hostOK accepts a host name or address with an optional port, nothing that
// could break out of a URL or a quoted string.
func hostOK(h string) bool {
	if h == "" || len(h) > 262 {
		return false
	}
	if host, port, err := net.SplitHostPort(h); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '+' {
			return false
		}
		// SplitHostPort has taken the brackets of an IPv6 address away.
		if h[0] == '[' {
			h = "[" + host + "]"
		} else {
			h = host
		}
	}
	if in, ok := strings.CutPrefix(h, "["); ok {
		in, ok = strings.CutSuffix(in, "]")
		a, err := netip.ParseAddr(in)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	for _, c := range h {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// clientSecret finds the one token in all the places where clients put it
// (formats.md 1.6): Bearer, the password of Basic with any user, the bare
// Authorization value, X-NuGet-ApiKey.
func clientSecret(h http.Header) (secret string, sent bool) {
	v := h["Authorization"]
	if len(v) == 0 {
		if k := h["X-Nuget-Apikey"]; len(k) > 0 {
			return strings.TrimSpace(k[0]), true
		}
		return "", false
	}
	scheme, rest, ok := strings.Cut(v[0], " ")
	if !ok {
		return strings.TrimSpace(v[0]), true
	}
	switch {
	case strings.EqualFold(scheme, "bearer"):
		return strings.TrimSpace(rest), true
	case strings.EqualFold(scheme, "basic"):
		rq := http.Request{Header: h}
		if _, pass, ok := rq.BasicAuth(); ok {
			return pass, true
		}
	}
	return "", true
}

// authenticate finds the caller. It answers the request itself, with false, when
// a credential was sent that nobody has.
func (x *exchange) authenticate() bool {
	secret, sent := clientSecret(x.r.Header)
	if !sent {
		x.caller = x.s.cfg.Gate.Anonymous()
		return true
	}
	if secret == "" {
		x.challenge()
		return false
	}
	c, err := x.s.cfg.Gate.ByToken(secret)
	switch {
	case errors.Is(err, access.ErrUnknown):
		x.cause = err
		x.challenge()
		return false
	case err != nil:
		x.refuse(formats.AsRefusal(err))
		return false
	}
	x.caller = c
	return true
}

// challenge answers 401 with both schemes, as CodeArtifact does. The realm is the
// domain and repository of the path, whether they exist or not.
func (x *exchange) challenge() {
	domain, repo := x.domain, x.repo
	if ep, err := splitEndpoint(x.r.URL.EscapedPath()); err == nil {
		if f := x.s.formats[ep.format]; f != nil {
			if repo = ep.repo; ep.domain != "" {
				domain = ep.domain[:len(ep.domain)-13]
			}
			if x.format == nil {
				// Word it in the client's dialect.
				x.format = f
				x.rq, _ = x.request(ep)
			}
		}
	}
	if domain == "" {
		domain = x.s.cfg.Domain
	}
	realm := domain
	if repo != "" {
		realm += "/" + url.PathEscape(repo) // may hold a quote
	}
	x.w.Header()["Www-Authenticate"] = []string{`Bearer realm="` + realm + `"`, `Basic realm="` + realm + `"`}
	msg := "this node asks for a credential"
	if _, sent := clientSecret(x.r.Header); sent {
		msg = "the credential that was sent is not known here"
	}
	x.refuse(formats.Refuse(formats.Unauthorized, "%s", msg))
}

// needsAuth reports whether the repository asked is not open to everybody.
func (x *exchange) needsAuth() bool {
	r, ok := x.graph.Repository(x.repo)
	return !ok || !r.Anonymous
}

// circumstances is what policy conditions may ask of the request.
func (x *exchange) circumstances() access.Circumstances {
	return access.Circumstances{RemoteAddr: x.r.RemoteAddr, Secure: x.r.TLS != nil, Now: x.start}
}

// mayRead asks policy about the repository as a whole, and answers the refusal.
func (x *exchange) mayRead() error {
	return x.denied(x.s.cfg.Gate.MayRead(x.caller, x.domain, x.repo, x.circumstances()), "read from")
}

// denied turns a decision into what the client is told: 401 asks for a
// credential, 403 says that the one that was sent is not enough.
func (x *exchange) denied(d policy.Decision, doing string) error {
	if d.Verdict == policy.Allow {
		return nil
	}
	if x.caller.Anonymous || !x.caller.Opens(x.domain, x.domainOwner()) {
		return errChallenge
	}
	x.s.metrics.denied.Inc()
	return formats.Refuse(formats.Forbidden, "%s may not %s repository %q: %s (%s)", x.caller.Name, doing, x.repo, d.Reason, d.Rule)
}

// errChallenge is answered with 401 and both challenges.
var errChallenge = errors.New("a credential is needed")

func (x *exchange) domainOwner() string {
	if d, ok := x.site.state.Domain(x.domain); ok {
		return d.Owner
	}
	return ""
}

// mayWrite asks policy about a deed on a package.
func (x *exchange) mayWrite(n formats.Name, deed formats.Deed) error {
	res := policy.ARN{Kind: policy.PackageARN, Owner: x.domainOwner(), Domain: x.domain, Repository: x.repo, Format: x.format.ID()}
	res.Namespace, res.Name = coordinate(x.format, n)
	a, doing := policy.PublishPackageVersion, "publish "+n.Show()+" to"
	switch deed {
	case formats.DeedMetadata:
		a, doing = policy.PutPackageMetadata, "change metadata of "+n.Show()+" in"
	case formats.DeedDelete:
		a, doing = policy.DeletePackageVersions, "delete versions of "+n.Show()+" from"
	}
	return x.denied(x.s.cfg.Gate.Decide(x.caller, a, res, x.circumstances()), doing)
}

// coordinate splits a name as CodeArtifact does.
func coordinate(f formats.Format, n formats.Name) (namespace, pkg string) {
	if c, ok := f.(formats.Coordinator); ok {
		return c.Coordinate(n)
	}
	return n.NS, n.Canon
}

// admit asks whether the caller may do what the path asks for, and parses it.
// Reading is decided for the repository as a whole, before anything of it is
// looked at; writing once the package is known.
func (x *exchange) admit() (formats.Target, error) {
	x.rq.Auth = x.needsAuth()
	if !x.caller.Anonymous {
		x.rq.Principal = x.caller.Name
	}
	t, err := x.format.Route(x.rq)
	if err == nil && t.Kind == formats.KindPublish {
		if x.caller.Anonymous {
			return t, errChallenge
		}
		x.target = t
		return t, nil
	}
	if err == nil && t.Auth && x.caller.Anonymous {
		return t, errChallenge
	}
	if denied := x.mayRead(); denied != nil {
		return t, denied
	}
	x.target = t
	return t, err
}

// who names the caller for the log.
func (x *exchange) who() string {
	if x.caller == nil {
		return "unknown"
	}
	return x.caller.Name
}

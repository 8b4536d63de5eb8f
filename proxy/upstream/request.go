package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Request is one question to a connection.
type Request struct {
	Connection string
	Method     string // "" is GET
	// URL is absolute, or relative to the connection's URL. Beyond the
	// connection's own scheme, host and port it must be allowed by Hosts, and
	// then no credential is sent.
	URL string
	// Header is what the format asks for (Accept and the like). Fields that are
	// this package's business (credentials, cookies, conditions, ranges,
	// codings, hop by hop) are dropped. Elsewhere than at the connection's own
	// origin only Accept, Accept-Language and User-Agent are sent.
	Header http.Header
	// Body of a POST or PUT, or GetBody where it can be had again.
	Body    io.Reader
	GetBody func() (io.ReadCloser, error)
	// Length of the body in bytes; 0 is unknown unless Body is a *bytes.Reader,
	// *bytes.Buffer or *strings.Reader.
	Length int64

	// Identity asks for the bytes as they are (artifacts). Otherwise gzip is
	// asked for and decoded here (documents).
	Identity bool
	// MaxBytes bounds the body, after decoding; reading beyond fails with
	// ErrTooLarge. 0: no bound for Identity, 512 MiB for documents.
	MaxBytes int64

	// ETag and LastModified make the request conditional; both are sent.
	ETag, LastModified string
	// From > 0 asks for the bytes from there on, if they are still those of
	// Validator (a strong ETag or a Last-Modified). A weak ETag asks for the
	// whole. It implies Identity.
	From      int64
	Validator string

	// NoRetry: one attempt, and no waiting for a Retry-After.
	NoRetry bool
}

// Response is the upstream's answer. Its body must be closed; reading it to the
// end or closing it frees the place the request took.
type Response struct {
	Status int
	// Header is without hop-by-hop fields and cookies. If the body was decoded,
	// it has no Content-Encoding and no Content-Length.
	Header http.Header
	Body   io.ReadCloser
	// ContentLength in bytes of what Body yields; -1 unknown.
	ContentLength int64
	// URL is where the answer came from, as a base for relative references. The
	// query is left out after a redirect, since it may be a signature.
	URL string
}

// resolve checks a request and returns its URL and origin.
func (l *link) resolve(rq *Request) (*url.URL, origin, error) {
	refuse := func(u *url.URL, err error) (*url.URL, origin, error) {
		return nil, origin{}, &Refused{Connection: l.cfg.Name, URL: redact(u), Reason: err.Error()}
	}
	if !validMethod(rq.Method) {
		return refuse(l.base, errors.New("the method is not a token"))
	}
	for name, values := range rq.Header {
		for _, v := range values {
			if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(v) {
				return refuse(l.base, fmt.Errorf("header field %q holds characters that it must not hold", clip(name, 40)))
			}
		}
	}
	for _, v := range []string{rq.ETag, rq.LastModified, rq.Validator} {
		if !httpguts.ValidHeaderFieldValue(v) {
			return refuse(l.base, errors.New("a validator holds characters that it must not hold"))
		}
	}
	ref, err := parseURL(rq.URL)
	if err != nil {
		return refuse(nil, fmt.Errorf("its URL %w", err))
	}
	u := l.base.ResolveReference(ref)
	o, err := settle(u)
	if err != nil {
		return refuse(u, err)
	}
	if err := l.permit(o); err != nil {
		return refuse(u, err)
	}
	return u, o, nil
}

// settle gives u the one spelling that is sent: canonical host, no default
// port, no fragment, a query of printable ASCII.
func settle(u *url.URL) (origin, error) {
	o, err := originOf(u)
	if err != nil {
		return origin{}, err
	}
	u.Scheme, u.Fragment, u.RawFragment = o.scheme, "", ""
	u.RawQuery = plainQuery(u.RawQuery)
	u.Host = o.address()
	if o.port == defaultPort(o.scheme) {
		u.Host = u.Host[:strings.LastIndexByte(u.Host, ':')]
	}
	return o, nil
}

// plainQuery escapes what url.Parse lets through in a query: a space would end
// the request line early.
func plainQuery(s string) string {
	plain := func(b byte) bool { return b > ' ' && b < 0x7f }
	for i := range len(s) {
		if !plain(s[i]) {
			var b strings.Builder
			for j := range len(s) {
				if plain(s[j]) {
					b.WriteByte(s[j])
				} else {
					fmt.Fprintf(&b, "%%%02X", s[j])
				}
			}
			return b.String()
		}
	}
	return s
}

func validMethod(m string) bool {
	return m == "" || httpguts.ValidHeaderFieldName(m) // a method is a token, as a field name is
}

// hopHeader reports fields that belong to one hop (RFC 9110 section 7.6.1).
func hopHeader(lower string) bool {
	switch lower {
	case "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
		"proxy-authenticate", "proxy-authorization", "proxy-authentication-info":
		return true
	}
	return false
}

// reservedHeader reports fields that this package sets itself or that must not
// be set at all.
func reservedHeader(lower string) bool {
	switch lower {
	case "host", "content-length", "accept-encoding", "range", "if-range", "if-match", "if-none-match",
		"if-modified-since", "if-unmodified-since", "cookie", "expect":
		return true
	}
	return hopHeader(lower)
}

// header builds the header of one hop. home says that the hop goes to the
// connection's own origin and has not been elsewhere before.
func (l *link) header(rq *Request, home bool) http.Header {
	h := make(http.Header, 8)
	for name, values := range rq.Header {
		lower := strings.ToLower(name)
		if reservedHeader(lower) || lower == "authorization" {
			continue
		}
		if !home && lower != "accept" && lower != "accept-language" && lower != "user-agent" {
			continue
		}
		h[http.CanonicalHeaderKey(name)] = values
	}
	if len(h["User-Agent"]) == 0 {
		h["User-Agent"] = []string{l.agent}
	}
	if rq.whole() && !rq.Identity {
		h["Accept-Encoding"] = []string{"gzip"}
	} else {
		h["Accept-Encoding"] = []string{"identity"}
	}
	if !rq.whole() {
		h["Range"] = []string{"bytes=" + strconv.FormatInt(rq.From, 10) + "-"}
		if rq.Validator != "" {
			h["If-Range"] = []string{rq.Validator}
		}
	}
	if rq.ETag != "" {
		h["If-None-Match"] = []string{rq.ETag}
	}
	if rq.LastModified != "" {
		h["If-Modified-Since"] = []string{rq.LastModified}
	}
	if home {
		l.cred.apply(h)
	}
	return h
}

// whole reports that no range is asked for.
func (rq *Request) whole() bool {
	return rq.From <= 0 || strings.HasPrefix(rq.Validator, "W/")
}

// bulk reports that the body is taken as it is.
func (rq *Request) bulk() bool { return rq.Identity || !rq.whole() }

func (rq *Request) method() string {
	if rq.Method == "" {
		return http.MethodGet
	}
	return rq.Method
}

// repeatable reports that the request may be sent again and redirected.
func (rq *Request) repeatable() bool {
	m := rq.method()
	return m == http.MethodGet || m == http.MethodHead
}

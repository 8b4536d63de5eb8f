// Package codeartifact owns AWS CodeArtifact's REST API: the 48 operations of
// service model 2018-09-22 at their own paths, the constraints of their members,
// their answers, pages and errors.
//
// It refuses to decide who asks and what they may do (Gate), to move bytes or to
// look upstream (Backend), and to change a row other than by a command to the
// catalog. Anything that is not one of the operations gets an error in JSON,
// never a page.
package codeartifact

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"larder/cache/catalog"
	"larder/formats"
)

// maxBody bounds the JSON body of a request, in bytes. The largest legal ones are
// policy documents (7,168 characters, six bytes each where they are escaped) and
// lists of 200 tags.
const maxBody = 256 << 10

// Config wires a Handler. What has no default is required.
type Config struct {
	Catalog *catalog.Catalog
	Gate    Gate
	Backend Backend
	Formats []formats.Format
	// Region stands in ARNs; "" is "us-east-1". ARNs of other regions are
	// understood.
	Region string
	// Endpoint is the base of this node's package endpoints as the client of r
	// should spell it, with or without a trailing slash.
	Endpoint func(r *http.Request) string
	// Connections are the external connections that this node has an address of,
	// name -> format. CodeArtifact's ten public ones are known without. nil: none.
	Connections func() map[string]string
	// Associable says whether a repository may be associated with a connection: one
	// may carry a credential that is not everybody's. nil: with any.
	Associable func(connection string) bool
	Logger     *slog.Logger // nil: discard
}

// Handler answers requests below /v1/. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	log     *slog.Logger
	catalog *catalog.Catalog
	gate    Gate
	backend Backend
	formats map[string]formats.Format
	routes  map[string]map[string]*operation // path -> method

	groups sync.Mutex // held while a package group's lists change
	trees  trees
	hashes hashes
}

// New checks the configuration.
func New(cfg Config) (*Handler, error) {
	if cfg.Catalog == nil || cfg.Gate == nil || cfg.Backend == nil || cfg.Endpoint == nil {
		return nil, errors.New("the CodeArtifact API needs a catalog, a gate, a backend and an endpoint")
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Associable == nil {
		cfg.Associable = func(string) bool { return true }
	}
	if cfg.Connections == nil {
		cfg.Connections = func() map[string]string { return nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Handler{cfg: cfg, log: cfg.Logger, catalog: cfg.Catalog, gate: cfg.Gate, backend: cfg.Backend,
		formats: map[string]formats.Format{}, routes: map[string]map[string]*operation{}}
	for _, f := range cfg.Formats {
		h.formats[f.ID()] = f
	}
	ops := operations()
	for i := range ops {
		op := &ops[i]
		if h.routes[op.path] == nil {
			h.routes[op.path] = map[string]*operation{}
		}
		if h.routes[op.path][op.method] != nil {
			return nil, fmt.Errorf("%s %s is routed twice", op.method, op.path)
		}
		h.routes[op.path][op.method] = op
	}
	return h, nil
}

// call is one request while it is answered.
type call struct {
	h      *Handler
	w      http.ResponseWriter
	r      *http.Request
	op     *operation
	caller Caller
	args   arguments
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-Requestid", requestID())
	c := &call{h: h, w: w, r: r}
	answer, err := c.serve()
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if answer == nil {
		return // sent already
	}
	body, err := encode(answer)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	if _, err := w.Write(body); err != nil {
		h.log.Debug("answer was not taken", "operation", c.op.name, "err", err)
	}
}

// serve is the line that every request takes: route, identify, decode, act. The
// operations ask the gate about their resource before anything else.
func (c *call) serve() (any, error) {
	var err error
	if c.op, err = c.h.route(c.w, c.r); err != nil {
		return nil, err
	}
	if !c.op.raw {
		if c.r.ContentLength > maxBody {
			return nil, tooLarge()
		}
		if c.r.Body != nil {
			c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxBody)
		}
	}
	if c.caller, err = c.h.gate.Identify(c.r, c.op.raw); err != nil {
		return nil, err
	}
	if c.args, err = c.op.decode(c.r); err != nil {
		return nil, err
	}
	return c.op.run(c)
}

// route finds the operation of a path and method. Both must be exact.
func (h *Handler) route(w http.ResponseWriter, r *http.Request) (*operation, error) {
	methods := h.routes[r.URL.EscapedPath()]
	if op := methods[r.Method]; op != nil {
		return op, nil
	}
	if len(methods) == 0 {
		return nil, &APIError{Code: "UnknownOperationException", Status: http.StatusNotFound,
			Message: fmt.Sprintf("No operation of CodeArtifact has the path '%s'", shorten(r.URL.EscapedPath()))}
	}
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if methods[m] != nil {
			allow = append(allow, m)
		}
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	return nil, &APIError{Code: "UnknownOperationException", Status: http.StatusMethodNotAllowed,
		Message: fmt.Sprintf("No operation of CodeArtifact has the method %s at '%s'", shorten(r.Method), r.URL.EscapedPath())}
}

// encode renders an answer without escaping HTML: policy documents and package
// names hold & and <.
func encode(answer any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(answer); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// requestID is a random UUID, the shape that AWS gives request ids.
func requestID() string {
	var b [16]byte
	rand.Read(b[:])
	return uuid(b)
}

// uuid writes 16 bytes as a UUID of version 4.
func uuid(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

package pypi_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/pypi"
)

// host is a repository in memory behind HTTP that uploads need a password for:
// what the proxy does around the format, and no more.
type host struct {
	t      *testing.T
	format *pypi.Format

	mu   sync.Mutex
	repo *formattest.Repository
	deny *formats.Refusal // of every upload, if set
	seen []http.Header    // of uploads
}

const hostUser, hostPassword = "aws", "secret"

func newHost(t *testing.T) (*host, *httptest.Server) {
	h := &host{t: t, format: pypi.New(), repo: formattest.NewRepository(t, time.Date(2026, 7, 8, 9, 10, 11, 123456789, time.UTC))}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return h, srv
}

func (h *host) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := strings.TrimPrefix(strings.TrimPrefix(q.URL.EscapedPath(), "/pypi/main"), "/")
	rq := formattest.NewRequest(q.Method, "http://"+q.Host+"/pypi/main", rest, q.Header)
	reply, err := h.answer(rq, q)
	if err != nil {
		reply = h.format.Refuse(rq, formats.AsRefusal(err))
	}
	for key, values := range reply.Header {
		w.Header()[key] = values
	}
	if reply.Status == http.StatusOK && q.Method == http.MethodGet {
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(reply.Body))
		return
	}
	w.WriteHeader(reply.Status)
	w.Write(reply.Body)
}

func (h *host) answer(rq *formats.Request, q *http.Request) (*formats.Reply, error) {
	t, err := h.format.Route(rq)
	if err != nil {
		return nil, err
	}
	switch t.Kind {
	case formats.KindLocal:
		return t.Reply, nil
	case formats.KindPublish:
		h.seen = append(h.seen, q.Header)
		if user, password, _ := q.BasicAuth(); user != hostUser || password != hostPassword {
			return nil, formats.Refuse(formats.Unauthorized, "publishing needs a token")
		}
		if h.deny != nil {
			return nil, h.deny
		}
		c, err := h.repo.Publish(h.format, rq, q.Body)
		if err != nil {
			return nil, err
		}
		return c.Reply, nil
	case formats.KindListing:
		v := h.repo.View(t.Name, rq.Base)
		if len(v.Versions) == 0 {
			return nil, formats.Refuse(formats.NotFound, "no project %s", t.Name.Canon)
		}
		var b bytes.Buffer
		header, err := h.format.Render(&b, v, t)
		return &formats.Reply{Status: http.StatusOK, Header: header, Body: b.Bytes()}, err
	case formats.KindAsset:
		f, err := h.repo.Open(t.Name.Canon, t.Version, t.File)
		if err != nil {
			return nil, formats.Refuse(formats.NotFound, "no file %s", t.File)
		}
		body, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		return &formats.Reply{Status: http.StatusOK, Header: http.Header{"Content-Type": {t.ContentType}}, Body: body}, err
	}
	h.t.Errorf("%s routes to a %s", rq.Raw, t.Kind)
	return nil, formats.Refuse(formats.Internal, "no")
}

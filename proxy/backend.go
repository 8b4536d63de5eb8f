package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"larder/cache/catalog"
	"larder/formats"
	"larder/proxy/access"
)

// Place names a repository for requests that come by another way than its
// package endpoint: the API's.
type Place struct{ Domain, Repository, Format string }

// internal is an exchange without a client behind it. The rights of whoever
// caused it were asked for already.
func (s *Server) internal(ctx context.Context, p Place) (*exchange, error) {
	f := s.formats[p.Format]
	if f == nil {
		return nil, formats.Refuse(formats.BadRequest, "this node serves no packages of format %q", printable(p.Format))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://internal/", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make internal request: %w", err)
	}
	x := &exchange{s: s, w: discard{}, r: r, start: s.now(), site: s.site.Load(), tier: "none",
		caller: s.cfg.Gate.Anonymous(), format: f, domain: p.Domain, repo: p.Repository}
	x.graph = x.site.graphs[p.Domain]
	if x.graph == nil {
		return nil, formats.Refuse(formats.NotFound, "no domain %q here", printable(p.Domain))
	}
	if _, ok := x.graph.Repository(p.Repository); !ok {
		return nil, formats.Refuse(formats.NotFound, "no repository %q in this domain", printable(p.Repository))
	}
	x.rq = &formats.Request{Method: http.MethodGet, Repo: p.Repository, Base: "http://internal/" + p.Format + "/" + p.Repository, Header: r.Header}
	return x, nil
}

// discard is a ResponseWriter for answers that nobody waits for.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// OpenAsset opens a file that a repository itself holds, or returns
// formats.ErrNoDocument. The caller closes it.
func (s *Server) OpenAsset(p Place, n formats.Name, version, file string) (formats.OpenFile, error) {
	return s.openHosted(catalog.RepositoryPlace(p.Domain, p.Repository), p.Format, n, version, file)
}

// Ingest makes a repository itself hold a version that its upstreams have, with
// the files that its listing names. A *formats.Refusal of kind NotFound says that
// no upstream has it.
func (s *Server) Ingest(ctx context.Context, p Place, n formats.Name, version string) error {
	x, err := s.internal(ctx, p)
	if err != nil {
		return err
	}
	files, err := x.filesOf(n, version)
	if err != nil {
		return err
	}
	x.ingest = true
	any := false
	for _, file := range files {
		t := formats.Target{Kind: formats.KindAsset, Name: n, Version: version, File: file, Fresh: formats.Immutable}
		_, t.Prime = x.format.(formats.Lister)
		if _, ok := x.format.(formats.Ingester); ok {
			t.Prime = false // its listings name no files
		}
		x.target = t
		if ref := x.decide(n, version, file); ref != nil {
			return ref
		}
		err := x.withAsset(t, func(*found) error { return nil }, func(f *found) error {
			r, err := s.fillAsset(ctx, x.format, t, f)
			if err != nil {
				return x.fillError(t, f, err)
			}
			defer r.Close()
			if _, err := r.WaitVerified(ctx); err != nil {
				return x.fillError(t, f, err)
			}
			return nil
		})
		if err == nil && x.retainErr != nil {
			return fmt.Errorf("retain %s %s: %w", n.Show(), version, x.retainErr)
		}
		var ref *formats.Refusal
		switch {
		case err == nil:
			any = true
		case errors.As(err, &ref) && (ref.Kind == formats.NotFound || ref.Kind == formats.NotHeld):
		default:
			return err
		}
	}
	if !any {
		return formats.Refuse(formats.NotFound, "%s %s is in no upstream of repository %q", n.Show(), version, p.Repository)
	}
	return nil
}

// filesOf names the files of a version as the first place that has it lists
// them.
func (x *exchange) filesOf(n formats.Name, version string) ([]string, error) {
	srcs, err := x.sources(n)
	if err != nil {
		return nil, err
	}
	list := formats.Target{Kind: formats.KindListing, Name: n, Fresh: formats.Revalidate}
	for _, src := range srcs {
		if src.conn != nil {
			if _, err := x.ensure(x.r.Context(), src.conn, list, false); errors.Is(err, errAbsent) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		v, err := x.s.cfg.Catalog.Held(src.place, x.format.ID(), n.Canon, version)
		if errors.Is(err, catalog.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var files []string
		for _, a := range v.Assets {
			files = append(files, a.File)
		}
		for file, h := range v.Held {
			if v.Asset(file) == nil && !h.Derived {
				files = append(files, file)
			}
		}
		if in, ok := x.format.(formats.Ingester); ok {
			files = append(files, in.Files(n, version)...)
		}
		return files, nil
	}
	return nil, formats.Refuse(formats.NotFound, "%s %s is in no upstream of repository %q", n.Show(), version, x.repo)
}

// Upload is a publish that comes by another way than a package endpoint.
type Upload struct {
	Place
	By   *access.Caller
	Body io.Reader
	// Build makes the change of what it reads from in, which is Body within the
	// node's limit; it may compare digests.
	Build func(ctx context.Context, in formats.Intake) (*formats.Change, error)
}

// Publish takes an upload in. When it returns without error the change is
// durable.
func (s *Server) Publish(ctx context.Context, u Upload) error {
	x, err := s.internal(ctx, u.Place)
	if err != nil {
		return err
	}
	x.caller = u.By
	body := u.Body
	if limit := s.cfg.Limits.ArtifactMax; limit > 0 {
		body = http.MaxBytesReader(x.w, io.NopCloser(body), limit)
	}
	in := &intake{x: x, body: body, worded: true, at: s.now().UTC()}
	defer in.close()
	change, err := u.Build(ctx, in)
	if err != nil {
		return in.explain(err)
	}
	return x.applyChange(change, in)
}

package proxy

import (
	"errors"
	"net/http"
	"slices"
	"sync"

	"larder/cache/catalog"
	"larder/cache/store"
	"larder/formats"
)

// retention is one version that repositories are to keep, because a client
// fetched it through them.
type retention struct {
	domain string
	repos  []string // the one asked and, for a connection, the one that has it
	from   supplier
	key    catalog.AssetKey // at the source
	format formats.Format
	name   formats.Name
}

// Retention runs behind the clients' backs: what a repository keeps shows in the
// API a moment later, as in CodeArtifact. A full queue loses a retention; the
// next request for the file brings it back.
const (
	retainWorkers = 4
	retainQueue   = 8192
)

// retain queues the retention of what was just served from src.
func (x *exchange) retain(src supplier, f *found) {
	if f == nil || src.conn == nil && src.repo == x.repo {
		return
	}
	if x.r.Method != http.MethodGet || x.target.Kind != formats.KindAsset || x.target.Fresh != formats.Immutable {
		return
	}
	if b, ok := x.format.(formats.Builder); ok {
		if _, build := b.Base(f.key.Version); build {
			return // snapshots are never ingested (user guide, "Maven snapshots")
		}
	}
	r := retention{domain: x.domain, repos: []string{x.repo}, from: src, key: f.key, format: x.format, name: x.target.Name}
	if src.conn != nil && src.repo != x.repo {
		r.repos = append(r.repos, src.repo)
	}
	// Most requests find it kept already; one look here spares the queue.
	if kept, err := x.s.keeps(r, x.repo); err != nil || kept {
		return
	}
	if x.ingest {
		// Whoever asked for it waits for it, whatever else is queued.
		_, x.retainErr = x.s.retainNow(r)
		return
	}
	x.s.retaining.add(1)
	select {
	case x.s.retentions <- r:
	default:
		x.s.retaining.add(-1)
		x.s.metrics.unretained.Inc()
		x.s.retainLater(r)
	}
}

// tally counts what is under way. Unlike a sync.WaitGroup it may rise while
// somebody waits.
type tally struct {
	mu   sync.Mutex
	n    int
	zero chan struct{} // closed when n is 0 again; nil: nobody waits
}

func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n += n; t.n == 0 && t.zero != nil {
		close(t.zero)
		t.zero = nil
	}
}

// wait returns once nothing was under way.
func (t *tally) wait() {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return
	}
	if t.zero == nil {
		t.zero = make(chan struct{})
	}
	zero := t.zero
	t.mu.Unlock()
	<-zero
}

// keeps reports whether a repository holds the file already.
func (s *Server) keeps(r retention, repo string) (bool, error) {
	k := r.key
	k.Place = catalog.RepositoryPlace(r.domain, repo)
	row, err := s.cfg.Catalog.Asset(k)
	if errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	return err == nil && !row.Evicted, err
}

// retainLoop works the queue off until the Server closes, and then what is in it.
// The queue is never closed: a request that was cut off may still want to add.
func (s *Server) retainLoop() {
	defer s.work.Done()
	for {
		select {
		case r := <-s.retentions:
			s.retainQueued(r)
			continue
		case <-s.life.Done():
		}
		for {
			select {
			case r := <-s.retentions:
				s.retainQueued(r)
				continue
			default:
			}
			return
		}
	}
}

func (s *Server) retainQueued(r retention) {
	defer s.retaining.add(-1)
	if _, err := s.retainNow(r); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrClosed) {
		s.log.Warn("a version could not be retained", "event", "retain_failed", "format", r.format.ID(), "name", r.key.Name, "version", r.key.Version, "error", err)
		s.retainLater(r)
	}
}

// retainLater voids the kept answers for a name: they would be given without a
// look at what is retained.
func (s *Server) retainLater(r retention) { s.cfg.Catalog.Bump(r.format.ID(), r.key.Name) }

// Settle waits until everything that was served up to now is retained.
func (s *Server) Settle() { s.retaining.wait() }

// retainNow keeps a version with the file that was served and what was derived
// from it; a version published in an upstream repository comes whole.
func (s *Server) retainNow(r retention) (*catalog.Result, error) {
	cat := s.cfg.Catalog
	v, err := cat.Version(r.from.place, r.format.ID(), r.key.Name, r.key.Version)
	if errors.Is(err, catalog.ErrNotFound) {
		// Formats without listings know their versions by their files alone.
		v, err = &formats.Version{V: r.key.Version}, nil
	}
	if err != nil {
		return nil, err
	}
	op := &catalog.Retain{Repositories: r.repos, Format: r.format.ID(), Name: r.name, Row: *v}
	if v.Hosting != nil {
		op.Hosting = *v.Hosting
		op.Hosting.Publisher = ""
	} else {
		op.Hosting = formats.Hosting{Origin: formats.OriginExternal, EntryConnection: r.from.conn.Name}
	}
	op.Row.Hosting = nil
	whole := op.Hosting.Origin == formats.OriginInternal
	held, err := cat.Held(r.from.place, r.format.ID(), r.key.Name, r.key.Version)
	if errors.Is(err, catalog.ErrNotFound) {
		held, err = &formats.Version{}, nil
		row, rowErr := cat.Asset(r.key)
		if rowErr != nil {
			return nil, rowErr
		}
		held.Held = map[string]formats.HeldAsset{r.key.File: row.HeldAsset}
	}
	if err != nil {
		return nil, err
	}
	for file, h := range held.Held {
		if whole || file == r.key.File || h.Derived {
			op.Files = append(op.Files, h)
		}
	}
	slices.SortFunc(op.Files, func(a, b formats.HeldAsset) int {
		if a.File < b.File {
			return -1
		}
		return 1
	})
	return cat.Propose(r.domain, "", op)
}

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"larder/cache/catalog"
	"larder/formats"
	"larder/proxy/upstream"
)

// errAbsent says that a place has no such name.
var errAbsent = errors.New("absent")

// maxVersions bounds the rows of one listing: a version may take fewer than ten
// bytes of a document but some hundred of memory. Busy packages have some ten
// thousand.
const maxVersions = 1 << 17

// refresh is one listing to be asked of one connection.
type refresh struct {
	conn   *catalog.Connection
	format formats.Format
	target formats.Target
	key    catalog.ListingKey
	force  bool // ask even within the TTL: a file was named that the rows do not know
}

// state is what ensure found.
type state struct {
	stale  bool // the rows are past their time and unconfirmed
	filled bool // this call waited for the upstream
}

// refresher keeps listings fresh: one upstream request per listing at a time,
// stale rows after a short budget, and no waiting at all behind a connection
// that is known to be ailing.
type refresher struct {
	s     *Server
	group *group[struct{}]

	mu sync.Mutex
	// ailing is when a connection's refreshes last began to fail or to take
	// longer than the budget; requests with rows in hand do not wait for it.
	ailing map[string]time.Time
	// after is when a listing that failed may be asked again.
	after map[string]time.Time
	fails map[string]int
}

func newRefresher(s *Server) *refresher {
	return &refresher{s: s, group: newGroup[struct{}](), ailing: map[string]time.Time{}, after: map[string]time.Time{}, fails: map[string]int{}}
}

func (k refresh) id() string {
	return string(k.key.Place) + "\x00" + k.key.Format + "\x00" + k.key.Name + "\x00" + k.key.Doc
}

// ensure returns nil when the rows may be used (state.stale says how), errAbsent
// when the connection has no such name, and another error when nothing is known
// and the connection could not be asked.
func (f *refresher) ensure(ctx context.Context, k refresh) (state, error) {
	id := k.id()
	now := f.s.now()
	row, err := f.s.cfg.Catalog.Head(k.key)
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return state{}, err
	}
	if row != nil && !k.force && now.Before(row.Checked.Add(k.conn.MetadataTTL)) {
		return state{}, nil
	}
	if row == nil && f.s.absent.has(id, now) {
		return state{}, errAbsent
	}
	wait := f.s.cfg.Limits.RevalidateBudget
	if row != nil {
		ill, notYet := f.standing(k.conn.Name, id, now)
		if notYet {
			return state{stale: true}, nil
		}
		if ill {
			wait = 0
		}
	}
	f.s.work.Add(1)
	call, leader := f.group.start(id, func() (struct{}, error) {
		defer f.s.work.Done()
		return struct{}{}, f.run(k, row, id)
	})
	if !leader {
		f.s.work.Done()
		f.s.metrics.coalesced.Inc()
	}
	if row == nil {
		if _, err := call.wait(ctx); err != nil {
			return state{}, err
		}
		return state{filled: true}, nil
	}
	return f.waitBriefly(ctx, k, call, wait)
}

// waitBriefly gives a revalidation a short time before the rows in hand are
// used as they are.
func (f *refresher) waitBriefly(ctx context.Context, k refresh, call *call[struct{}], budget time.Duration) (state, error) {
	if budget > 0 {
		timer := time.NewTimer(budget)
		defer timer.Stop()
		select {
		case <-call.done:
		case <-timer.C:
			f.markAiling(k.conn.Name)
			f.s.log.Warn("upstream is slow; stale rows are served", "event", "revalidate_slow", "connection", k.conn.Name, "name", k.key.Name)
		case <-ctx.Done():
			return state{}, ctx.Err()
		}
	}
	select {
	case <-call.done:
		if call.err != nil && !errors.Is(call.err, errAbsent) {
			return state{stale: true}, nil
		}
		return state{filled: true}, nil
	default:
		return state{stale: true}, nil
	}
}

func (f *refresher) standing(conn, id string, now time.Time) (ailing, notYet bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ailing = f.ailing[conn]
	notYet = now.Before(f.after[id])
	return ailing, notYet
}

func (f *refresher) markAiling(conn string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.ailing[conn]; !ok {
		f.ailing[conn] = f.s.now()
	}
}

// recovered notes that a connection answered.
func (f *refresher) recovered(conn, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ailing, conn)
	delete(f.after, id)
	delete(f.fails, id)
}

// failed notes that it did not, and when to ask again: what the upstream said,
// else 5 s doubling to 5 min.
func (f *refresher) failed(conn, id string, retryAfter time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.s.now()
	if _, ok := f.ailing[conn]; !ok {
		f.ailing[conn] = now
	}
	n := min(f.fails[id], 6)
	f.fails[id]++
	if retryAfter <= 0 {
		retryAfter = 5 * time.Second << n
	}
	f.after[id] = now.Add(min(retryAfter, 5*time.Minute))
	if len(f.after) > maxNegatives {
		for k, t := range f.after {
			if now.After(t) {
				delete(f.after, k)
				delete(f.fails, k)
			}
		}
	}
}

// run asks the upstream once and stores what it says.
func (f *refresher) run(k refresh, row *catalog.HeadRow, id string) error {
	ctx, cancel := context.WithTimeout(f.s.life, f.s.cfg.Limits.RefreshTimeout)
	defer cancel()
	if now, err := f.s.cfg.Catalog.Head(k.key); err == nil && !k.force && f.s.now().Before(now.Checked.Add(k.conn.MetadataTTL)) {
		return nil // another call ended between the caller's look and this one
	}
	err := f.ask(ctx, k, row, id)
	switch {
	case err == nil:
		f.recovered(k.conn.Name, id)
	case errors.Is(err, errAbsent):
		f.recovered(k.conn.Name, id)
		f.s.absent.add(id, f.s.now())
	default:
		var un *upstream.Unavailable
		var after time.Duration
		if errors.As(err, &un) {
			after = un.RetryAfter
		}
		f.failed(k.conn.Name, id, after)
		f.s.log.Warn("listing could not be refreshed", "event", "refresh_failed", "connection", k.conn.Name,
			"format", k.key.Format, "name", k.key.Name, "stale", row != nil, "error", err)
	}
	return err
}

func (f *refresher) ask(ctx context.Context, k refresh, row *catalog.HeadRow, id string) error {
	up, ok := k.format.(formats.Upstreamer)
	lister, ok2 := k.format.(formats.Lister)
	if !ok || !ok2 {
		return fmt.Errorf("format %s has no upstream listings", k.key.Format)
	}
	fetch, err := up.Locate(ctx, k.conn.Connection, k.target, nil, f.s.docs(k.conn, k.format))
	if err != nil {
		return f.s.upstreamRefusal(k.conn, k.target, err)
	}
	rq := upstream.Request{Connection: k.conn.Name, Method: fetch.Method, URL: fetch.URL, Header: fetch.Header, MaxBytes: f.s.cfg.Limits.MetadataMax + 1}
	if row != nil && !k.force {
		rq.ETag, rq.LastModified = row.ETag, row.LastModified
	}
	resp, err := f.s.cfg.Upstream.Do(ctx, rq)
	if err != nil {
		return f.s.upstreamRefusal(k.conn, k.target, err)
	}
	defer resp.Body.Close()
	now := f.s.now()
	switch {
	case resp.Status == http.StatusNotModified && row != nil:
		return f.s.cfg.Catalog.ConfirmListing(k.key, now)
	case isGone(resp.Status):
		if row == nil {
			return errAbsent
		}
		f.s.log.Warn("withdrawn upstream", "event", "withdrawn", "connection", k.conn.Name, "format", k.key.Format, "name", k.key.Name)
		f.s.metrics.withdrawn.Inc()
		return f.s.cfg.Catalog.RemoveListing(k.key, now)
	case resp.Status != http.StatusOK:
		return statusRefusal(k.conn, k.target, resp.Status)
	}
	return f.store(k, lister, resp, now, id)
}

func (f *refresher) store(k refresh, lister formats.Lister, resp *upstream.Response, now time.Time, id string) error {
	body := &limitedBody{r: resp.Body, left: f.s.cfg.Limits.MetadataMax}
	meta := catalog.HeadRow{ETag: resp.Header.Get("Etag"), LastModified: resp.Header.Get("Last-Modified"), Checked: now}
	ch, err := f.s.cfg.Catalog.PutListing(k.key, meta, func(emit func(*formats.Version) error) (*formats.Head, error) {
		n := 0
		return lister.Parse(k.target, formats.Source{Connection: k.conn.Connection, URL: resp.URL, Header: resp.Header}, body, func(v *formats.Version) error {
			if n++; n > maxVersions {
				return fmt.Errorf("list more than %d versions", maxVersions)
			}
			return emit(v)
		})
	})
	if err != nil {
		return &formats.Refusal{Kind: formats.Upstream, Status: http.StatusBadGateway, Err: err,
			Message: fmt.Sprintf("what upstream %s answered for %s is not a valid listing", k.conn.Name, k.target.Name.Show())}
	}
	f.s.absent.drop(id)
	for _, m := range ch.Mutations {
		f.s.alarm(catalog.AssetKey{Place: k.key.Place, Format: k.key.Format, Name: k.key.Name, Version: m.Version, File: m.File}, m.Was, m.Is)
	}
	f.s.log.Debug("listing stored", "event", "listing_stored", "connection", k.conn.Name, "format", k.key.Format, "name", k.key.Name,
		"added", ch.Added, "updated", ch.Updated, "withdrawn", ch.Withdrawn, "unchanged", ch.Unchanged)
	return nil
}

// alarm records that other bytes were offered under a known coordinate.
func (s *Server) alarm(k catalog.AssetKey, was, is formats.Digest) {
	s.metrics.mutations.Inc()
	s.log.Error("upstream changed an immutable coordinate; the known bytes stay", "event", "mutation", "place", string(k.Place),
		"format", k.Format, "name", k.Name, "version", k.Version, "file", k.File, "known", was.String(), "offered", is.String())
	if err := s.cfg.Catalog.RecordMutation(k, was, is, s.now()); err != nil {
		s.log.Error("mutation could not be recorded", "event", "ledger_failed", "error", err)
	}
}

// isGone reports the statuses that say "there is no such thing".
func isGone(status int) bool {
	return status == http.StatusNotFound || status == http.StatusGone || status == http.StatusUnavailableForLegalReasons
}

// statusRefusal words an upstream answer that is neither a document nor a 404.
func statusRefusal(c *catalog.Connection, t formats.Target, status int) error {
	what := t.Name.Show()
	if what == "" {
		what = t.Doc
	}
	switch status {
	case http.StatusUnauthorized:
		return &formats.Refusal{Kind: formats.Upstream, Status: http.StatusBadGateway,
			Message: fmt.Sprintf("upstream %s asks for a credential for %s; check the connection's", c.Name, printable(what))}
	case http.StatusForbidden:
		// Told as it is: clients retry a 5xx, and go must not look elsewhere.
		return &formats.Refusal{Kind: formats.Upstream, Status: http.StatusForbidden,
			Message: fmt.Sprintf("upstream %s forbids %s", c.Name, printable(what))}
	}
	return &formats.Refusal{Kind: formats.Upstream, Status: http.StatusBadGateway,
		Message: fmt.Sprintf("upstream %s answered %s with status %d", c.Name, printable(what), status)}
}

// upstreamRefusal words a failure to reach an upstream.
func (s *Server) upstreamRefusal(c *catalog.Connection, t formats.Target, err error) error {
	var ref *formats.Refusal
	if errors.As(err, &ref) || errors.Is(err, errAbsent) {
		return err
	}
	if errors.Is(err, formats.ErrNoDocument) {
		return errAbsent
	}
	what := t.Name.Show()
	if what == "" {
		what = t.Doc
	}
	r := &formats.Refusal{Kind: formats.Upstream, Err: err, Message: fmt.Sprintf("upstream %s could not be asked for %s", c.Name, printable(what))}
	var un *upstream.Unavailable
	var no *upstream.Refused
	switch {
	case errors.Is(err, upstream.ErrTooLarge):
		r.Status = http.StatusBadGateway
		r.Message = fmt.Sprintf("what upstream %s sent for %s is over this node's size limit", c.Name, printable(what))
	case errors.Is(err, upstream.ErrOffline):
		r.Kind, r.Message = formats.NotHeld, fmt.Sprintf("%s is not held here and this node is offline", printable(what))
	case errors.As(err, &no):
		r.Status = http.StatusBadGateway
		r.Message = fmt.Sprintf("upstream %s pointed %s at a place larder does not go to", c.Name, printable(what))
	case errors.As(err, &un):
		r.RetryAfter = un.RetryAfter
		r.Message = fmt.Sprintf("upstream %s is not reachable and %s is not held here", c.Name, printable(what))
	}
	return r
}

// limitedBody fails, rather than ends, at its limit: a cut listing must not
// look like a short one.
type limitedBody struct {
	r    io.Reader
	left int64
}

func (l *limitedBody) Read(p []byte) (int, error) {
	if l.left <= 0 {
		var one [1]byte
		if n, err := l.r.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, errors.New("the document is larger than limits.metadata_max")
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err
}

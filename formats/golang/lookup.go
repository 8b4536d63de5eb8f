package golang

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"larder/formats"
)

// provedLines looks a module up and checks the inclusion proof and the growth
// of the log. Each lookup has its own client, because a client keeps every
// record, tile and error for its lifetime; what is worth keeping lies in the
// document cache: the lookups that were proved, the tiles that took part in a
// proof, and the newest tree head. record is the database's answer to this
// lookup where it is in hand, else nil.
func (f *Format) provedLines(ctx context.Context, c formats.Connection, db database, key module.Version, docs formats.Docs, record []byte) ([]string, error) {
	ops := &clientOps{ctx: ctx, f: f, db: db, docs: docs, head: c.Name + "\x00" + db.key, record: record}
	ops.keeper, _ = docs.(formats.Keeper)
	lines, err := sumdb.NewClient(ops).Lookup(key.Path, key.Version)
	if err != nil {
		return nil, ops.explain(err)
	}
	return lines, nil
}

// toldLines takes the lookup's lines at their word, for a database whose
// verifier key is not known.
func toldLines(ctx context.Context, db database, mod module.Version, docs formats.Docs) ([]string, error) {
	path, err := lookupPath(mod)
	if err != nil {
		return nil, err
	}
	data, err := docs.Document(ctx, lookupDoc(db, mod, path))
	if err != nil {
		return nil, err
	}
	_, text, _, err := tlog.ParseRecord(data)
	if err != nil {
		return nil, fmt.Errorf("parse record: %w", err)
	}
	return strings.Split(string(text), "\n"), nil
}

func lookupDoc(db database, mod module.Version, path string) formats.Target {
	t := db.doc(path)
	t.Name, t.Version = formats.Name{Canon: mod.Path}, mod.Version
	return t
}

// clientOps is the outside of one lookup. Tiles are read by several goroutines.
type clientOps struct {
	ctx    context.Context // of the one lookup this value lives for
	f      *Format
	db     database
	docs   formats.Docs
	keeper formats.Keeper // nil: nothing is kept
	head   string         // key in f.heads
	record []byte

	mu       sync.Mutex
	failed   error  // first failure that was no 404; guarded by mu
	unknown  bool   // the lookup itself was a 404; guarded by mu
	security string // proof of misbehaviour; guarded by mu
}

// explain puts back the cause that the client flattens into text.
func (o *clientOps) explain(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.security != "":
		return fmt.Errorf("%w: %s", sumdb.ErrSecurity, o.security)
	case o.unknown:
		return fmt.Errorf("%w: %w", formats.ErrNoDocument, err)
	case o.failed != nil:
		return fmt.Errorf("%v: %w", err, o.failed)
	}
	return err
}

func (o *clientOps) ReadRemote(path string) ([]byte, error) {
	path = strings.TrimPrefix(path, "/")
	t := o.db.doc(path)
	lookup, isLookup := strings.CutPrefix(path, "lookup/")
	if isLookup && o.record != nil {
		return o.record, nil
	}
	if isLookup {
		mod, err := parseLookup(lookup)
		if err != nil {
			return nil, err
		}
		t = lookupDoc(o.db, mod, path)
	}
	data, err := o.docs.Document(o.ctx, t)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if errors.Is(err, formats.ErrNoDocument) {
			o.unknown = o.unknown || isLookup
		} else if o.failed == nil {
			o.failed = err
		}
	}
	return data, err
}

func (o *clientOps) ReadConfig(file string) ([]byte, error) {
	if file == "key" {
		return []byte(o.db.key), nil
	}
	o.f.mu.Lock()
	head := o.f.heads[o.head]
	o.f.mu.Unlock()
	if head != nil || o.keeper == nil {
		return head, nil
	}
	kept, err := o.keeper.Held(o.ctx, o.db.headDoc())
	if errors.Is(err, formats.ErrNoDocument) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read tree head: %w", err)
	}
	verifier, err := note.NewVerifier(o.db.key)
	if err != nil || checkHead(kept, verifier) != nil {
		return nil, nil // kept for a key that the configuration no longer has
	}
	o.f.mu.Lock()
	defer o.f.mu.Unlock()
	if o.f.heads[o.head] == nil {
		o.f.heads[o.head] = kept
	}
	return o.f.heads[o.head], nil
}

func (o *clientOps) WriteConfig(file string, old, new []byte) error {
	o.f.mu.Lock()
	if string(o.f.heads[o.head]) != string(old) {
		o.f.mu.Unlock()
		return sumdb.ErrWriteConflict
	}
	o.f.heads[o.head] = new
	o.f.mu.Unlock()
	return o.keepHead()
}

// keepHead has the newest tree head outlive the process: the next head is then
// proved to continue this one, whose tiles thereby are kept as well. Clients
// that meet answers of both, offline, need those. Writers go one after the
// other, so that the newest is the last.
func (o *clientOps) keepHead() error {
	if o.keeper == nil {
		return nil
	}
	o.f.keeping.Lock()
	defer o.f.keeping.Unlock()
	o.f.mu.Lock()
	head := o.f.heads[o.head]
	o.f.mu.Unlock()
	if err := o.keeper.Keep(o.ctx, o.db.headDoc(), head); err != nil {
		return fmt.Errorf("keep tree head: %w", err)
	}
	return nil
}

// cachedTile is the document of a file in the client's cache, which is named
// "DATABASE/tile/...". Lookups are no business of it: those in the document
// cache lie behind ReadRemote.
func (o *clientOps) cachedTile(file string) (formats.Target, bool) {
	path, ok := strings.CutPrefix(file, o.db.name+"/")
	return o.db.doc(path), ok && o.keeper != nil && strings.HasPrefix(path, "tile/")
}

func (o *clientOps) ReadCache(file string) ([]byte, error) {
	t, ok := o.cachedTile(file)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return o.keeper.Held(o.ctx, t)
}

// WriteCache is called with tiles that took part in a proof. One that cannot be
// kept is fetched again.
func (o *clientOps) WriteCache(file string, data []byte) {
	if t, ok := o.cachedTile(file); ok {
		_ = o.keeper.Keep(o.ctx, t, data)
	}
}

func (o *clientOps) Log(string) {}

func (o *clientOps) SecurityError(msg string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.security = msg
}

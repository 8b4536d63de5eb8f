package golang

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"larder/formats"
)

// Options of a connection, in the words of the go command's environment.
const (
	// OptSumDB is GOSUMDB's first field: "name", "name+hash+key" or "off".
	OptSumDB = "sumdb"
	// OptSumDBURL is GOSUMDB's second field: where the database is reached
	// directly. Without it, the proxy is asked whether it relays the database,
	// and the name is the host where it does not.
	OptSumDBURL = "sumdb_url"
	// OptNoSumDB is GONOSUMDB: comma-separated glob patterns of module path
	// prefixes that no checksum database may hear of.
	OptNoSumDB = "nosumdb"
)

// sumdbPrefix begins the document keys of database paths.
const sumdbPrefix = "sumdb/"

// relayed is a document that only Locate asks for: whether the proxy outside
// relays the database. No client can name it, since Route knows no such path.
const relayed = "@relayed"

// toolchain is the module that go always checks against the database, whatever
// GONOSUMDB says (cmd/go/internal/modfetch/sumdb.go).
const toolchain = "golang.org/toolchain"

// database is a connection's checksum database.
type database struct {
	name string // host or host/path
	key  string // verifier key, "" when only the name is known
	url  string // direct address with trailing slash, "" when the proxy is to be asked first
	no   string // patterns of private modules
}

// databaseOf reads a connection's options; ok is false without a database.
func databaseOf(c formats.Connection) (db database, ok bool, err error) {
	value := strings.TrimSpace(c.Options[OptSumDB])
	if value == "" || value == "off" {
		return database{}, false, nil
	}
	db = database{name: value, url: c.Options[OptSumDBURL], no: c.Options[OptNoSumDB]}
	if strings.Contains(value, "+") {
		verifier, err := note.NewVerifier(value)
		if err != nil {
			return database{}, false, fmt.Errorf("read the checksum database key of connection %s: %w", c.Name, err)
		}
		db.name, db.key = verifier.Name(), value
	}
	if db.url != "" && !strings.HasSuffix(db.url, "/") {
		db.url += "/"
	}
	return db, true, nil
}

// private reports whether a module's name must stay inside.
func (db database) private(path string) bool {
	return path != toolchain && module.MatchPrefixPatterns(db.no, path)
}

// doc returns the target of one path of the database, such as "latest".
func (db database) doc(path string) formats.Target {
	t := formats.Target{Kind: formats.KindDocument, Doc: sumdbPrefix + db.name + "/" + path, Fresh: formats.Immutable}
	t.ContentType = typeText
	switch {
	case path == "latest", path == "supported", path == relayed:
		t.Fresh = formats.Revalidate
	case strings.HasPrefix(path, "tile/") && !strings.Contains(path, "/data/"):
		t.ContentType = "application/octet-stream"
	}
	return t
}

// headDoc is where the newest tree head that was proved is kept between runs. No
// client can name it, since Route knows no such path.
func (db database) headDoc() formats.Target {
	t := db.doc("@head")
	t.Fresh = formats.Revalidate
	return t
}

// Proves reports that tiles of a database with a known key are kept once they
// took part in a proof, not as they arrive: one tile alone proves nothing.
func (*Format) Proves(c formats.Connection, t formats.Target) bool {
	db, ok, err := databaseOf(c)
	return err == nil && ok && db.key != "" && strings.HasPrefix(t.Doc, sumdbPrefix+db.name+"/tile/")
}

// routeSumDB parses {database}/supported, latest, lookup/M@V and tile/H/L/N[.p/W]
// (Go design document 25530, "Checksum database"). Which database is allowed is
// a matter of the connection, hence of Locate.
func routeSumDB(segments []string) (formats.Target, error) {
	unknown := formats.Refuse(formats.NotFound, "no such path of a checksum database")
	for i := 1; i < len(segments); i++ {
		db := database{name: strings.Join(segments[:i], "/")}
		rest := segments[i:]
		path := strings.Join(rest, "/")
		switch {
		case !validDatabase(segments[:i]):
			return formats.Target{}, unknown
		case len(rest) == 1 && (path == "supported" || path == "latest"):
			return db.doc(path), nil
		case len(rest) > 1 && rest[0] == "lookup":
			mod, err := parseLookup(strings.Join(rest[1:], "/"))
			if err != nil {
				return formats.Target{}, formats.Refuse(formats.BadRequest, "not a module@version lookup").Because(err)
			}
			t := db.doc(path)
			t.Name, t.Version = formats.Name{Canon: mod.Path}, mod.Version
			return t, nil
		case len(rest) > 1 && rest[0] == "tile":
			if _, err := tlog.ParseTilePath(path); err != nil {
				return formats.Target{}, formats.Refuse(formats.BadRequest, "not a tile of a checksum database").Because(err)
			}
			return db.doc(path), nil
		}
	}
	return formats.Target{}, unknown
}

// validDatabase reports whether segments can be a database name: host[:port],
// then path elements of plain characters.
func validDatabase(segments []string) bool {
	for _, s := range segments {
		if s == "" || s == "." || s == ".." || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_~:") != "" {
			return false
		}
	}
	return len(strings.Join(segments, "/")) <= maxVersion
}

// parseLookup decodes the M@V of a lookup path.
func parseLookup(s string) (module.Version, error) {
	escapedPath, escapedVersion, ok := strings.Cut(s, "@")
	if !ok {
		return module.Version{}, errors.New("no @")
	}
	path, err := module.UnescapePath(escapedPath)
	if err != nil {
		return module.Version{}, err
	}
	version, err := module.UnescapeVersion(escapedVersion)
	if err != nil {
		return module.Version{}, err
	}
	if module.CanonicalVersion(version) != version || len(path) > maxPath || len(version) > maxVersion {
		return module.Version{}, fmt.Errorf("%q is not a canonical version", version)
	}
	return module.Version{Path: path, Version: version}, nil
}

// lookupPath is the inverse of parseLookup, with its directory.
func lookupPath(mod module.Version) (string, error) {
	path, err := module.EscapePath(mod.Path)
	if err != nil {
		return "", err
	}
	version, err := module.EscapeVersion(mod.Version)
	if err != nil {
		return "", err
	}
	return "lookup/" + path + "@" + version, nil
}

// locateSumDB finds the database of a connection. Only the configured one is
// reachable: a database name in a URL is a host name chosen by a client.
func locateSumDB(ctx context.Context, c formats.Connection, path string, docs formats.Docs) (formats.Fetch, error) {
	db, ok, err := databaseOf(c)
	if err != nil {
		return formats.Fetch{}, formats.Refuse(formats.Unavailable, "the checksum database of connection %s is misconfigured", c.Name).Because(err)
	}
	rest, mine := strings.CutPrefix(path, db.name+"/")
	if !ok || !mine {
		return formats.Fetch{}, formats.Refuse(formats.NotFound, "this checksum database is not configured here")
	}
	if lookup, ok := strings.CutPrefix(rest, "lookup/"); ok {
		mod, err := parseLookup(lookup)
		if err != nil {
			return formats.Fetch{}, formats.Refuse(formats.BadRequest, "not a module@version lookup").Because(err)
		}
		if db.private(mod.Path) {
			return formats.Fetch{}, formats.Refuse(formats.Forbidden,
				"%s is a private module here, so no checksum database is asked for it; set GONOSUMDB=%s", mod.Path, db.no)
		}
	}
	if rest == relayed {
		return formats.Fetch{URL: join(c.URL, sumdbPrefix+db.name+"/supported")}, nil
	}
	direct := db.url
	if direct == "" {
		switch _, err := docs.Document(ctx, db.doc(relayed)); {
		case err == nil:
			return formats.Fetch{URL: join(c.URL, sumdbPrefix+path)}, nil
		case !errors.Is(err, formats.ErrNoDocument):
			return formats.Fetch{}, fmt.Errorf("ask whether connection %s relays checksum database %s: %w", c.Name, db.name, err)
		}
		direct = "https://" + db.name + "/"
	}
	if rest == "supported" {
		// A database does not answer this question itself; that it answers at
		// all means yes, and clients read the status alone.
		rest = "latest"
	}
	return formats.Fetch{URL: join(direct, rest)}, nil
}

// keepSupported has the answer to "supported" kept once the database has
// answered a lookup. A client with a complete go.sum never asks for it, and
// without it the next client of this node, once offline, would look for the
// database outside.
func (f *Format) keepSupported(ctx context.Context, c formats.Connection, db database, docs formats.Docs) {
	key := c.Name + "\x00" + db.name
	f.mu.Lock()
	known := f.answered[key]
	f.mu.Unlock()
	if known {
		return
	}
	if _, err := docs.Document(ctx, db.doc("supported")); err != nil {
		return // the lookup itself went well; the next one tries again
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answered[key] = true
}

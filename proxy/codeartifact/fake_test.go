package codeartifact

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"larder/cache/catalog"
	"larder/formats"
)

// fakeGate knows callers by a header and denies what it is told to.
type fakeGate struct {
	mu   sync.Mutex
	deny map[string]bool
	asks []Ask
}

func (g *fakeGate) Identify(r *http.Request, _ bool) (Caller, error) {
	who := r.Header.Get("X-Test-Account")
	if who == "" {
		return Caller{}, &APIError{Code: "MissingAuthenticationTokenException", Status: http.StatusForbidden, Message: "Missing Authentication Token"}
	}
	return Caller{ARN: "arn:aws:iam::" + who + ":user/dev", Account: who, Name: "dev"}, nil
}

func (g *fakeGate) Allow(_ context.Context, c Caller, ask Ask) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asks = append(g.asks, ask)
	if g.deny[ask.Action] {
		return Denied("User: %s is not authorized to perform: %s on resource: %s", c.ARN, ask.Action, ask.Resource.ARN("eu-central-1"))
	}
	return nil
}

// asked returns the questions since the last call as "action resource".
func (g *fakeGate) asked() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, a := range g.asks {
		out = append(out, a.Action+" "+a.Resource.ARN("eu-central-1"))
	}
	g.asks = nil
	return out
}

func (g *fakeGate) Token(_ context.Context, c Caller, domain, owner string, seconds int, given bool) (string, time.Time, error) {
	if !given {
		seconds = 43200
	}
	return fmt.Sprintf("token.%s.%s.%s", c.Name, domain, owner), time.Unix(1800000000+int64(seconds), 123456789), nil
}

func (g *fakeGate) CheckPolicy(document string, _ Kind) error {
	if !json.Valid([]byte(document)) {
		return Invalid(ReasonCannotParse, "The policy document is not JSON")
	}
	return nil
}

// fakeBackend publishes into the real store. Its upstream holds versions, "npm
// name version" -> content.
type fakeBackend struct {
	w        *world
	upstream map[string]string
}

func (b *fakeBackend) PublishAsset(_ context.Context, c Caller, p Publication, body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != p.SHA256 {
		return Invalid(ReasonField, "the SHA-256 of the body is not %s", p.SHA256)
	}
	st := formats.Published
	if p.Unfinished {
		st = formats.Unfinished
	}
	return b.w.publish(p.Domain, p.Repository, "generic", p.Name, p.Version, st, nil, map[string]string{p.Asset: string(data)})
}

func (b *fakeBackend) OpenAsset(_ context.Context, domain, repo, format string, n formats.Name, version, file string) (formats.OpenFile, error) {
	row, err := b.w.cat.Asset(catalog.AssetKey{Place: catalog.RepositoryPlace(domain, repo), Format: format, Name: n.Canon, Version: version, File: file})
	if err != nil {
		return nil, err
	}
	sum, _ := catalog.SumOf(row.Digests)
	return b.w.db.OpenBlob(sum)
}

func (b *fakeBackend) Ingest(_ context.Context, domain, repo, format string, n formats.Name, version string) error {
	data, ok := b.upstream[format+" "+n.Canon+" "+version]
	if !ok {
		return formats.Refuse(formats.NotFound, "no upstream has %s %s", n.Canon, version)
	}
	h, done := b.w.stage(data, "x.tgz", false)
	_, err := b.w.cat.Propose(domain, "", &catalog.Retain{Repositories: []string{repo}, Format: format, Name: n,
		Row:     formats.Version{V: version, Assets: []formats.Asset{{File: "x.tgz"}}},
		Hosting: formats.Hosting{Origin: formats.OriginExternal, EntryConnection: "public:npmjs"}, Files: []formats.HeldAsset{h}}, done)
	return err
}

// stage puts bytes into the store and describes them, with four digests or one.
func (w *world) stage(data, file string, all bool) (formats.HeldAsset, *catalog.Staged) {
	w.t.Helper()
	wr, err := w.db.Create(context.Background(), int64(len(data)))
	if err != nil {
		w.t.Fatal(err)
	}
	defer wr.Release()
	if _, err := io.WriteString(wr, data); err != nil {
		w.t.Fatal(err)
	}
	s, err := w.cat.Stage(wr)
	if err != nil {
		w.t.Fatal(err)
	}
	h := formats.HeldAsset{File: file, Size: int64(len(data)), Digests: []formats.Digest{catalog.DigestOf(s.Sum)}}
	if all {
		a, b, c := md5.Sum([]byte(data)), sha1.Sum([]byte(data)), sha512.Sum512([]byte(data))
		h.Digests = append(h.Digests, formats.Digest{Alg: formats.MD5, Hex: hex.EncodeToString(a[:])},
			formats.Digest{Alg: formats.SHA1, Hex: hex.EncodeToString(b[:])}, formats.Digest{Alg: formats.SHA512, Hex: hex.EncodeToString(c[:])})
	}
	return h, s
}

// publish puts a version into a repository as the data plane does.
func (w *world) publish(domain, repo, format string, n formats.Name, version string, st formats.Status, tags, files map[string]string) error {
	w.t.Helper()
	edit := catalog.VersionEdit{V: version, Row: &formats.Version{V: version}, Status: st}
	var staged []*catalog.Staged
	for file, data := range files {
		h, s := w.stage(data, file, true)
		edit.Row.Assets = append(edit.Row.Assets, formats.Asset{File: file})
		edit.Files = append(edit.Files, h)
		staged = append(staged, s)
	}
	_, err := w.cat.Propose(domain, "arn:aws:iam::"+account+":user/dev", &catalog.Publish{Repository: repo, Format: format, Name: n, Versions: []catalog.VersionEdit{edit}, Tags: tags}, staged...)
	return err
}

// npm publishes npm versions of one file each.
func (w *world) npm(domain, repo, canon string, versions ...string) {
	w.t.Helper()
	n, _ := fakeNPM{}.name(canon)
	for _, v := range versions {
		if err := w.publish(domain, repo, "npm", n, v, formats.StatusNone, nil, map[string]string{"x.tgz": canon + v}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// fakeNPM names packages as npm does and tells the same facts of all.
type fakeNPM struct{}

func (fakeNPM) ID() string { return "npm" }
func (fakeNPM) Route(*formats.Request) (formats.Target, error) {
	return formats.Target{}, formats.Refuse(formats.NotFound, "no route")
}
func (fakeNPM) Refuse(*formats.Request, *formats.Refusal) *formats.Reply { return nil }
func (fakeNPM) PURL(formats.Name, string) string                         { return "" }
func (fakeNPM) ParsePURL(string) (formats.Name, string, bool)            { return formats.Name{}, "", false }

func (fakeNPM) name(canon string) (formats.Name, error) {
	if scope, _, ok := strings.Cut(strings.TrimPrefix(canon, "@"), "/"); ok {
		return formats.Name{Canon: canon, NS: scope}, nil
	}
	return formats.Name{Canon: canon}, nil
}

func (fakeNPM) Coordinate(n formats.Name) (string, string) {
	if n.NS != "" {
		return n.NS, strings.TrimPrefix(n.Canon, "@"+n.NS+"/")
	}
	return "", n.Canon
}

func (f fakeNPM) FromCoordinate(ns, pkg string) (formats.Name, error) {
	if strings.ContainsAny(pkg, "!") {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "%q is no name", pkg)
	}
	if ns = strings.TrimPrefix(ns, "@"); ns != "" {
		return f.name("@" + ns + "/" + pkg)
	}
	return f.name(pkg)
}

func (fakeNPM) AssetName(_ formats.Name, _, file string) string {
	if file == "x.tgz" {
		return "package.tgz"
	}
	return file
}

func (fakeNPM) FileName(_ formats.Name, _, asset string) string { return asset }

func (fakeNPM) Describe(n formats.Name, v *formats.Version, open func(string) (formats.OpenFile, error)) (*formats.Facts, error) {
	if strings.HasPrefix(n.Canon, "broken") {
		return nil, fmt.Errorf("not a package")
	}
	f := &formats.Facts{DisplayName: n.Canon, Summary: "does things", HomePage: "https://home.example/", SourceCode: "https://code.example/x",
		Licenses: []formats.License{{Name: "MIT", URL: "https://mit.example/"}}}
	for i := range 60 {
		f.Dependencies = append(f.Dependencies, formats.Dependency{Namespace: "types", Package: fmt.Sprintf("d%d", i), Type: "dev", Requirement: "^1"})
	}
	file, err := open("x.tgz")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()))
	f.Readme = "# " + string(text)
	return f, err
}

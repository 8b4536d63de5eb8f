package golang

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"larder/formats"
)

// demand is what Expect found out for Check.
type demand struct {
	sum      string        // "h1:..." of the zip's files or of go.mod, "" when nothing is known
	verifier note.Verifier // of signed documents, nil without a key
	// prove checks that the database's log has a record, nil without a key.
	prove func(ctx context.Context, mod module.Version, record []byte) error
}

// Expect finds the checksum that the connection's database has for a .zip or
// .mod. With a verifier key the answer is proved to lie in the signed log;
// without one it is taken as the database's word over TLS, which still catches
// a proxy that alters modules. A module that the database does not know is
// refused unless OptNoSumDB names it: go itself would not accept it either.
// Private modules and connections without a database are trusted on first use.
func (f *Format) Expect(ctx context.Context, c formats.Connection, t formats.Target, a *formats.Asset, h http.Header, docs formats.Docs) (formats.Want, error) {
	want := formats.Want{Whole: true, Private: demand{}}
	if a != nil {
		want.Digests, want.Size = a.Digests, a.Size
	}
	db, ok, err := databaseOf(c)
	if err != nil {
		return formats.Want{}, err
	}
	if !ok {
		return want, nil
	}
	if t.Kind == formats.KindDocument {
		if db.key == "" || !strings.HasPrefix(t.Doc, sumdbPrefix) {
			return want, nil
		}
		verifier, err := note.NewVerifier(db.key)
		if err != nil {
			return formats.Want{}, fmt.Errorf("read verifier key of %s: %w", db.name, err)
		}
		prove := func(ctx context.Context, mod module.Version, record []byte) error {
			_, err := f.provedLines(ctx, c, db, mod, docs, record)
			return err
		}
		want.Private = demand{verifier: verifier, prove: prove}
		return want, nil
	}
	mod := module.Version{Path: t.Name.Canon, Version: t.Version}
	if t.File == t.Version+".info" || db.private(mod.Path) {
		return want, nil
	}
	sum, err := f.checksum(ctx, c, db, mod, strings.HasSuffix(t.File, ".mod"), docs)
	if err != nil {
		return formats.Want{}, err
	}
	digest, err := formats.ParseDigest(formats.GoH1, strings.TrimPrefix(sum, "h1:"))
	if err != nil {
		return formats.Want{}, fmt.Errorf("read checksum of %s: %w", mod, err)
	}
	want.Digests = append(append([]formats.Digest(nil), want.Digests...), digest)
	want.Private = demand{sum: sum}
	return want, nil
}

// checksum asks the database for the h1 of a module's zip, or of its go.mod.
func (f *Format) checksum(ctx context.Context, c formats.Connection, db database, mod module.Version, gomod bool, docs formats.Docs) (string, error) {
	var lines []string
	var err error
	key := mod
	if gomod {
		key.Version += "/go.mod"
	}
	if db.key != "" {
		lines, err = f.provedLines(ctx, c, db, key, docs, nil)
	} else {
		lines, err = toldLines(ctx, db, mod, docs)
	}
	if errors.Is(err, formats.ErrNoDocument) {
		return "", formats.Refuse(formats.NotFound,
			"checksum database %s does not know %s; name it in this connection's nosumdb if it is private", db.name, mod).Because(err)
	}
	if err != nil {
		return "", fmt.Errorf("ask checksum database %s for %s: %w", db.name, mod, err)
	}
	f.keepSupported(ctx, c, db, docs)
	prefix := key.Path + " " + key.Version + " "
	for _, line := range lines {
		if sum, ok := strings.CutPrefix(line, prefix); ok && strings.HasPrefix(sum, "h1:") {
			return strings.TrimSpace(sum), nil
		}
	}
	return "", fmt.Errorf("ask checksum database %s for %s: no h1 line in its answer", db.name, mod)
}

// Check inspects a complete file: version information must be of the version
// asked for, a zip must obey the rules for module zips, and both zip and go.mod
// must have the checksum found by Expect. Documents are checked for their form,
// so that an error page with status 200 is never kept under an immutable key.
func (f *Format) Check(ctx context.Context, t formats.Target, file formats.File, w formats.Want) error {
	d, _ := w.Private.(demand)
	if t.Kind == formats.KindDocument {
		return checkDocument(ctx, t, file, d)
	}
	mod := module.Version{Path: t.Name.Canon, Version: t.Version}
	switch strings.TrimPrefix(t.File, t.Version) {
	case ".info":
		_, in, err := readInfo(io.NewSectionReader(file, 0, file.Size()))
		if err != nil {
			return err
		}
		if in.Version != t.Version {
			return fmt.Errorf("version information of %s names %.100q instead", mod, in.Version)
		}
		return nil
	case ".mod":
		return checkGoMod(mod, file, d.sum)
	case ".zip":
		sum, err := hashZip(ctx, mod, file)
		if err != nil {
			return fmt.Errorf("check module zip of %s: %w", mod, err)
		}
		return compare(mod.String(), sum, d.sum)
	}
	return fmt.Errorf("check %s: not a file of a module", t.File)
}

func compare(what, got, want string) error {
	if want != "" && got != want {
		return fmt.Errorf("checksum mismatch: %s has %s, the checksum database says %s", what, got, want)
	}
	return nil
}

// checkGoMod compares the checksum. Where there is none, the file must at least
// be a go.mod with a module directive, not an error page.
func checkGoMod(mod module.Version, file formats.File, want string) error {
	if file.Size() > maxGoMod {
		return fmt.Errorf("go.mod of %s has %d bytes, more than %d", mod, file.Size(), maxGoMod)
	}
	data := make([]byte, file.Size())
	if _, err := io.ReadFull(io.NewSectionReader(file, 0, file.Size()), data); err != nil {
		return fmt.Errorf("read go.mod of %s: %w", mod, err)
	}
	if want == "" {
		parsed, err := modfile.ParseLax("go.mod", data, nil)
		if err != nil {
			return fmt.Errorf("parse go.mod of %s: %w", mod, err)
		}
		if parsed.Module == nil {
			return fmt.Errorf("parse go.mod of %s: no module directive", mod)
		}
		return nil
	}
	got, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	})
	if err != nil {
		return fmt.Errorf("hash go.mod of %s: %w", mod, err)
	}
	return compare("go.mod of "+mod.String(), got, want)
}

// checkDocument checks the form of a checksum database's answer and, where the
// key is known, the signature of a head and the proof of a record.
func checkDocument(ctx context.Context, t formats.Target, file formats.File, d demand) error {
	data := make([]byte, min(file.Size(), maxDocument+1))
	if _, err := io.ReadFull(io.NewSectionReader(file, 0, int64(len(data))), data); err != nil {
		return fmt.Errorf("read %s: %w", t.Doc, err)
	}
	if len(data) > maxDocument {
		return fmt.Errorf("%s has more than %d bytes", t.Doc, maxDocument)
	}
	switch path := databasePath(t.Doc); {
	case strings.HasPrefix(t.Doc, "query/"):
		_, err := parseInfo(data)
		return err
	case strings.HasPrefix(path, "lookup/"):
		mod, err := parseLookup(strings.TrimPrefix(path, "lookup/"))
		if err != nil {
			return err
		}
		_, text, head, err := tlog.ParseRecord(data)
		if err != nil {
			return fmt.Errorf("parse record of %s: %w", mod, err)
		}
		if !bytes.Contains(append([]byte("\n"), text...), []byte("\n"+mod.Path+" "+mod.Version+" h1:")) {
			return fmt.Errorf("record of %s does not name it", mod)
		}
		if err := checkHead(head, d.verifier); err != nil || d.prove == nil {
			return err
		}
		if err := d.prove(ctx, mod, data); err != nil {
			return fmt.Errorf("prove record of %s: %w", mod, err)
		}
		return nil
	case path == "latest":
		return checkHead(data, d.verifier)
	case strings.HasPrefix(path, "tile/"):
		tile, err := tlog.ParseTilePath(path)
		if err != nil {
			return err
		}
		if tile.L >= 0 && len(data) != tile.W*tlog.HashSize {
			return fmt.Errorf("%s has %d bytes, want %d", path, len(data), tile.W*tlog.HashSize)
		}
	}
	return nil
}

// maxDocument bounds a database's answer in bytes; the largest is a full data
// tile of 256 records.
const maxDocument = 4 << 20

// databasePath returns what follows the database name in a document key.
func databasePath(doc string) string {
	segments := strings.Split(strings.TrimPrefix(doc, sumdbPrefix), "/")
	for i, s := range segments {
		last := i == len(segments)-1
		if i > 0 && (last && (s == "supported" || s == "latest") || !last && (s == "lookup" || s == "tile")) {
			return strings.Join(segments[i:], "/")
		}
	}
	return ""
}

// checkHead checks a signed tree head.
func checkHead(signed []byte, verifier note.Verifier) error {
	text := signed
	if verifier != nil {
		opened, err := note.Open(signed, note.VerifierList(verifier))
		if err != nil {
			return fmt.Errorf("check signed tree head: %w", err)
		}
		text = []byte(opened.Text)
	} else if body, _, ok := bytes.Cut(signed, []byte("\n\n")); ok {
		text = append(bytes.Clone(body), '\n')
	}
	if _, err := tlog.ParseTree(text); err != nil {
		return fmt.Errorf("parse tree head: %w", err)
	}
	return nil
}

// VerifiesDocuments reports that lookups and tiles are proved like assets.
func (*Format) VerifiesDocuments() bool { return true }

var (
	_ formats.DocumentVerifier = (*Format)(nil)
	_ formats.Companion        = (*Format)(nil)
	_ formats.Prover           = (*Format)(nil)
)

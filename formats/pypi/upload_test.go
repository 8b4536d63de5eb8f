package pypi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/pypi"
	"larder/formats/pypi/pypitest"
)

// field is one part of an upload form; file is its file name, "" for plain text.
type field struct{ name, value, file string }

// fields are those of an upload of a file, in the order in which twine sends
// them.
func fields(file, name, version string, body []byte) []field {
	kind, python := "sdist", "source"
	if strings.HasSuffix(file, ".whl") {
		kind, python = "bdist_wheel", "py3"
	}
	sum := sha256.Sum256(body)
	return []field{
		{"metadata_version", "2.1", ""}, {"name", name, ""}, {"version", version, ""},
		{"filetype", kind, ""}, {"pyversion", python, ""}, {"sha256_digest", hex.EncodeToString(sum[:]), ""},
		{"classifiers", "A :: B", ""}, {"classifiers", "A :: C", ""}, {"description", strings.Repeat("long ", 500), ""},
		{":action", "file_upload", ""}, {"protocol_version", "1", ""},
		{"content", string(body), file},
	}
}

const boundary = "6f1c2b0d9a"

func form(parts []field) []byte {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.SetBoundary(boundary); err != nil {
		panic(err)
	}
	for _, p := range parts {
		disposition := fmt.Sprintf(`form-data; name="%s"`, p.name)
		if p.file != "" {
			disposition += fmt.Sprintf(`; filename="%s"`, p.file)
		}
		part, err := w.CreatePart(map[string][]string{"Content-Disposition": {disposition}})
		if err == nil {
			_, err = io.WriteString(part, p.value)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func newRepository(t *testing.T) *formattest.Repository {
	return formattest.NewRepository(t, time.Date(2026, 7, 8, 9, 10, 11, 123456789, time.UTC))
}

func publish(repo *formattest.Repository, body []byte) (*formats.Change, error) {
	rq := formattest.NewRequest("POST", endpoint, "", http.Header{"Content-Type": {"multipart/form-data; boundary=" + boundary}})
	return repo.Publish(pypi.New(), rq, bytes.NewReader(body))
}

func upload(t *testing.T, repo *formattest.Repository, file, name, version string, body []byte) *formats.Change {
	t.Helper()
	c, err := publish(repo, form(fields(file, name, version, body)))
	if err != nil {
		t.Fatalf("upload %s: %v", file, err)
	}
	return c
}

// built returns the files of a package by name.
func built(p pypitest.Package) map[string][]byte {
	reg := pypitest.New()
	reg.Add(p)
	out := map[string][]byte{}
	for _, file := range reg.Files(p.Name) {
		out[file] = reg.File(file)
	}
	return out
}

var demo = pypitest.Package{Name: "De.Mo", Version: "1.0", RequiresPython: ">=3.8,<4", Source: true, Requires: []string{"Other_One[x] >= 2; python_version > '3'"}, Summary: "a demo"}

const demoWheel, demoSource = "De_Mo-1.0-py3-none-any.whl", "De_Mo-1.0.tar.gz"

// TestUploadedPage: what was uploaded is listed in every variant, and each link
// leads back to a held file.
func TestUploadedPage(t *testing.T) {
	repo, files, name := newRepository(t), built(demo), formats.Name{Canon: "de-mo"}
	c := upload(t, repo, demoWheel, "De.Mo", "1.0", files[demoWheel])
	if c.Name.Canon != "de-mo" || c.Name.Display != "De.Mo" || c.Head == nil || c.Head.Display != "De.Mo" {
		t.Errorf("change of %+v with head %+v", c.Name, c.Head)
	}
	upload(t, repo, demoSource, "De.Mo", "1.0", files[demoSource])
	row := repo.Version("de-mo", "1.0")
	if row == nil || len(row.Assets) != 3 || row.From != formats.TimeUpstream || row.Published.IsZero() || row.Flags != 0 {
		t.Fatalf("row %+v", row)
	}
	view := repo.View(name, endpoint)
	for variant, want := range map[string][]string{
		"json": {`{"meta":{"api-version":"1.1"},"name":"de-mo","versions":["1.0"],"files":[{"filename":"De_Mo-1.0-py3-none-any.whl","url":"1.0/De_Mo-1.0-py3-none-any.whl","hashes":{"sha256":"`,
			`"requires-python":">=3.8,<4","size":`, `"upload-time":"2026-07-08T09:10:11.123456Z","yanked":false,"core-metadata":{"sha256":"`, `"md5":"`},
		"html":         {`<a href="1.0/De_Mo-1.0.tar.gz#sha256=`, `data-requires-python="&gt;=3.8,&lt;4"`, `data-upload-time="2026-07-08T09:10:11.123456Z"`, `data-core-metadata="sha256=`},
		"project-json": {`"name":"De.Mo"`, `"upload_time":"2026-07-08T09:10:11"`, `"packagetype":"sdist"`},
	} {
		page := render(t, pypi.New(), view, formats.Target{Kind: formats.KindListing, Name: name, Variant: variant})
		for _, text := range want {
			if !bytes.Contains(page, []byte(text)) {
				t.Errorf("%s page lacks %s:\n%s", variant, text, page)
			}
		}
	}
	for _, link := range jsonLinks(render(t, pypi.New(), view, formats.Target{Name: name, Variant: "json"})) {
		to, err := pypi.New().Route(formattest.NewRequest("GET", endpoint, "simple/de-mo/"+link, nil))
		if err != nil {
			t.Fatalf("Route(%s): %v", link, err)
		}
		if _, err := repo.Open(to.Name.Canon, to.Version, to.File); err != nil {
			t.Errorf("%s is not held: %v", link, err)
		}
	}
	if row, ok := pypi.New().Available(repo.Version("de-mo", "1.0")); !ok || len(row.Assets) != 3 {
		t.Errorf("offline: %+v, %v", row, ok)
	}
}

// TestUploadTwice: the same bytes change nothing, others are refused.
func TestUploadTwice(t *testing.T) {
	repo, files := newRepository(t), built(demo)
	upload(t, repo, demoWheel, "De.Mo", "1.0", files[demoWheel])
	upload(t, repo, demoSource, "De.Mo", "1.0", files[demoSource])
	if c := upload(t, repo, demoWheel, "de-mo", "1.0", files[demoWheel]); c.Head != nil {
		t.Errorf("the same bytes change the head: %+v", c.Head)
	}
	changed := demo
	changed.Summary = "another"
	other := built(changed)
	lower := changed
	lower.Name = "de-mo"
	padded := changed
	padded.Version = "1.0.0"
	twins := built(lower)
	for _, c := range []struct {
		file, version string
		body          []byte
	}{
		{demoWheel, "1.0", other[demoWheel]},
		{demoSource, "1.0", other[demoSource]},
		{"de_mo-1.0-py3-none-any.whl", "1.0", twins["de_mo-1.0-py3-none-any.whl"]},
		{"de_mo-1.0.tar.gz", "1.0", twins["de_mo-1.0.tar.gz"]},
		{"De_Mo-1.0.0.tar.gz", "1.0.0", built(padded)["De_Mo-1.0.0.tar.gz"]},
	} {
		_, err := publish(repo, form(fields(c.file, "de.mo", c.version, c.body)))
		r := formats.AsRefusal(err)
		if err == nil || r.Kind != formats.Conflict {
			t.Errorf("upload of %s: %v, want a conflict", c.file, err)
			continue
		}
		reply := pypi.New().Refuse(formattest.NewRequest("POST", endpoint, "", http.Header{"Accept": {"application/json;q=0.9, text/plain;q=0.8"}}), r)
		if reply.Status != 409 || !strings.HasPrefix(reply.Header.Get("Content-Type"), "text/plain") || !strings.Contains(string(reply.Body), r.Message) {
			t.Errorf("%s is refused as %d %v %s", c.file, reply.Status, reply.Header, reply.Body)
		}
	}
}

// TestUploadForms: fields in any order are understood, and what does not fit is
// refused with the field in question.
func TestUploadForms(t *testing.T) {
	body := built(demo)[demoWheel]
	good := func() []field { return fields(demoWheel, "De.Mo", "1.0", body) }
	set := func(name, value string) func([]field) []field {
		return func(in []field) []field {
			for i := range in {
				if in[i].name == name {
					in[i].value = value
				}
			}
			return in
		}
	}
	add := func(f field) func([]field) []field { return func(in []field) []field { return append(in, f) } }
	named := func(file string) func([]field) []field {
		return func(in []field) []field { in[len(in)-1].file = file; return in }
	}
	without := func(name string) func([]field) []field {
		return func(in []field) (out []field) {
			for _, f := range in {
				if f.name != name {
					out = append(out, f)
				}
			}
			return out
		}
	}
	for _, c := range []struct {
		what string
		edit func([]field) []field
		says string // "" is accepted
	}{
		{"as twine sends it", func(in []field) []field { return in }, ""},
		{"content first", func(in []field) []field { return append([]field{in[len(in)-1]}, in[:len(in)-1]...) }, ""},
		{"no protocol", without("protocol_version"), ""},
		{"gpg", add(field{"gpg_signature", "-----BEGIN PGP", "x.asc"}), ""},
		{"upper-case digest", func(in []field) []field { return set("sha256_digest", strings.ToUpper(in[5].value))(in) }, ""},
		{"blake2 only", func(in []field) []field {
			return append(without("sha256_digest")(in), field{"blake2_256_digest", strings.Repeat("0", 64), ""})
		}, "blake2_256_digest"},
		{"wrong md5 beside", add(field{"md5_digest", strings.Repeat("0", 32), ""}), "md5_digest"},
		{"wrong sha256", set("sha256_digest", strings.Repeat("0", 64)), "sha256_digest"},
		{"no digest", without("sha256_digest"), "none of sha256_digest"},
		{"no content", without("content"), "content"},
		{"two contents", add(field{"content", "x", demoWheel}), "twice"},
		{"two names", add(field{"name", "other", ""}), "twice"},
		{"other action", set(":action", "doc_upload"), "doc_upload"},
		{"register", set(":action", "submit"), "registered"},
		{"other protocol", set("protocol_version", "2"), "protocol"},
		{"bad name", set("name", "-x-"), "project name"},
		{"other name", set("name", "other"), "other"},
		{"bad version", set("version", "1.0-x-y"), "PEP 440"},
		{"other version", set("version", "1.1"), "1.1"},
		{"padded version", set("version", "1.0.0"), "1.0.0"},
		{"no version", without("version"), "PEP 440"},
		{"other type", set("filetype", "sdist"), "type"},
		{"egg", set("filetype", "bdist_egg"), "type"},
		{"long field", set("name", strings.Repeat("a", 2000)), "longer"},
		{"attestation", add(field{"attestations", "[{}]", ""}), "attestations"},
		{"traversal", named("../" + demoWheel), "file name"},
		{"absolute", named("/" + demoWheel), "file name"},
		{"no file name", named(""), "file name"},
		{"companion", named(demoWheel + ".metadata"), "does not fit"},
		{"egg file", named("De_Mo-1.0-py3.egg"), "does not fit"},
		{"tarball", named("De_Mo-1.0.tar.bz2"), "does not fit"},
		{"no tag", named("De_Mo-1.0-none-any.whl"), "does not fit"},
		{"bad build", named("De_Mo-1.0-x1-py3-none-any.whl"), "build tag"},
		{"upper suffix", named("De_Mo-1.0-py3-none-any.WHL"), "does not fit"},
	} {
		_, err := publish(newRepository(t), form(c.edit(good())))
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", c.what, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || formats.AsRefusal(err).Code() >= 500):
			t.Errorf("%s: %v, want a refusal that says %q", c.what, err, c.says)
		}
	}
	for what, raw := range map[string][]byte{"empty": nil, "cut short": form(good())[:900], "no form": []byte("<?xml?>")} {
		if _, err := publish(newRepository(t), raw); err == nil || formats.AsRefusal(err).Kind != formats.BadRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestUploadFaults: a limit of the node keeps its status, a fault of the store
// is not the client's.
func TestUploadFaults(t *testing.T) {
	f := pypi.New()
	body := form(fields(demoWheel, "De.Mo", "1.0", built(demo)[demoWheel]))
	rq := formattest.NewRequest("POST", endpoint, "", http.Header{"Content-Type": {"multipart/form-data; boundary=" + boundary}})
	limit := formats.Refuse(formats.TooLarge, "too large")
	for at := 0; at < len(body); at += len(body)/7 + 1 {
		in := newRepository(t).Intake(io.MultiReader(bytes.NewReader(body[:at]), failing{limit}))
		if _, err := f.Publish(t.Context(), rq, formats.Target{}, in); formats.AsRefusal(err).Kind != formats.TooLarge {
			t.Errorf("limit after %d bytes: %v", at, err)
		}
	}
	full := errors.New("disk full")
	if _, err := f.Publish(t.Context(), rq, formats.Target{}, brokenStore{newRepository(t).Intake(bytes.NewReader(body)), full}); !errors.Is(err, full) || formats.AsRefusal(err).Kind != formats.Internal {
		t.Errorf("full disk: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type brokenStore struct {
	formats.Intake
	err error
}

func (b brokenStore) Spool(context.Context, io.Reader) (formats.Spool, error) { return nil, b.err }

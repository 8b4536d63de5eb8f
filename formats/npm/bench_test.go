package npm

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/npm/npmtest"
)

// fatPackument is a document of 1,500 versions and about 3.3 MB.
func fatPackument(tb testing.TB, n int) []byte {
	r := npmtest.New()
	r.AddFat("fat", n)
	return upstreamDoc(tb, r, "fat")
}

func fatView(tb testing.TB, doc []byte) *formats.View {
	var b bench
	if err := b.parse("fat", string(doc)); err != nil {
		tb.Fatal(err)
	}
	return &formats.View{Name: b.name, Base: testBase, Layers: []formats.Layer{{Place: "up", Head: b.head}}, Versions: b.versions}
}

func BenchmarkParse1500(b *testing.B) {
	doc := fatPackument(b, 1500)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := New().Parse(formats.Target{Name: formats.Name{Canon: "fat"}}, formats.Source{}, bytes.NewReader(doc), func(*formats.Version) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRender1500(b *testing.B) {
	doc := fatPackument(b, 1500)
	view := fatView(b, doc)
	for _, variant := range []string{variantAbbreviated, variantFull, variantTags} {
		b.Run(variant, func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := New().Render(io.Discard, view, formats.Target{Variant: variant}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestParseMemory: cutting a large packument up holds it about once.
func TestParseMemory(t *testing.T) {
	doc := fatPackument(t, 400)
	live := func() int64 {
		// What earlier tests left in pools goes with the second collection only.
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, peak := live(), int64(0)
	_, err := New().Parse(formats.Target{Name: formats.Name{Canon: "fat"}}, formats.Source{}, bytes.NewReader(doc), func(v *formats.Version) error {
		if v.V == "1.0.0" { // everything is cut, nothing is given away yet
			peak = live()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(doc)
	// Other tests' garbage may go meanwhile, so the difference has a sign.
	if held := float64(int64(peak)-int64(before)) / float64(len(doc)); held > 1.6 {
		t.Errorf("a document of %d bytes is held %.2f times", len(doc), held)
	} else {
		t.Logf("a document of %d bytes is held %.2f times", len(doc), held)
	}
}

// TestLimits: documents over a limit are errors, not memory.
func TestLimits(t *testing.T) {
	f := &Format{maxDoc: 1 << 20}
	parse := func(r io.Reader) error {
		_, err := f.Parse(formats.Target{Name: formats.Name{Canon: "x"}}, formats.Source{}, r, func(*formats.Version) error { return nil })
		return err
	}
	endless := io.MultiReader(bytes.NewReader([]byte(`{"name":"x","readme":"`)), forever{'a'})
	if err := parse(endless); err == nil {
		t.Error("an endless string is no error")
	}
	if err := parse(io.MultiReader(bytes.NewReader([]byte(`{"name":"x",`)), forever{' '})); err == nil {
		t.Error("endless white space is no error")
	}
	deep := append([]byte(`{"name":"x","a":`), bytes.Repeat([]byte("["), 100_000)...)
	if err := parse(bytes.NewReader(append(deep, bytes.Repeat([]byte("]"), 100_000)...))); err == nil {
		t.Error("deep nesting is no error")
	}
}

type forever struct{ c byte }

func (f forever) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = f.c
	}
	return len(p), nil
}

// discard is an Intake that keeps nothing of what it takes in.
type discard struct {
	formats.Intake
	io.Reader
}

func (d discard) Read(p []byte) (int, error)                             { return d.Reader.Read(p) }
func (d discard) Version(formats.Name, string) (*formats.Version, error) { return nil, nil }

func (d discard) Spool(_ context.Context, r io.Reader) (formats.Spool, error) {
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 64<<10))
	return emptySpool(n), err
}

// emptySpool is a file of which only the size is known.
type emptySpool int64

func (e emptySpool) Size() int64                       { return int64(e) }
func (e emptySpool) Digests() []formats.Digest         { return nil }
func (e emptySpool) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// uploadOf reads a publish request whose tarball has size bytes.
func uploadOf(tb testing.TB, size int64) {
	quads := strings.Repeat("QUJD", 4096)
	body := io.MultiReader(strings.NewReader(`{"_id":"x","_attachments":{"x-1.0.0.tgz":{"data":"`), io.LimitReader(&endless{quads}, size/3*4),
		strings.NewReader(`"}},"versions":{"1.0.0":{"name":"x"}}}`))
	up := &upload{ctx: tb.Context(), in: discard{Reader: body}, name: formats.Name{Canon: "x"}}
	if err := up.read(newStream(body, maxUpload)); err != nil {
		tb.Fatal(err)
	}
	if up.tarball.Size() != size/3*3 {
		tb.Fatalf("%d bytes arrived, want %d", up.tarball.Size(), size/3*3)
	}
}

// endless repeats a text for ever.
type endless struct{ text string }

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		n += copy(p[n:], e.text[:min(len(e.text), (len(p)-n+3)/4*4)])
	}
	return n, nil
}

// TestUploadMemory: a publish request is never held.
func TestUploadMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	uploadOf(t, 192<<20)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("reading 192 MiB allocated %d bytes", got)
	}
}

func BenchmarkUpload(b *testing.B) {
	b.SetBytes(64 << 20)
	b.ReportAllocs()
	for b.Loop() {
		uploadOf(b, 64<<20)
	}
}

package golang

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"larder/formats"
)

// TestListing runs testdata/listing: the input is an upstream document; the
// arguments say how the view is changed before it is rendered.
//
//	list|latest name=PATH [hide=V,...] [hold=V,...] [offline] [missing]
//
// hold gives a version all three files; where the document does not name it, it
// joins the view as the catalog has it, known by its files alone.
func TestListing(t *testing.T) {
	f := New()
	datadriven.Walk(t, "testdata/listing", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			target := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: "registry.example/plain"}}
			if d.Cmd == "latest" {
				target.Doc = docLatest
			}
			view, err := viewOf(f, target, []byte(d.Input))
			if err != nil {
				return "parse: " + err.Error() + "\n"
			}
			changeView(t, f, d, view)
			var out bytes.Buffer
			header, err := f.Render(&out, view, target)
			if err != nil {
				return "render: " + describeRefusal(err) + "\n"
			}
			return header.Get("Content-Type") + "\n" + strings.TrimSuffix(out.String(), "\n") + "\n"
		})
	})
}

func changeView(t *testing.T, f *Format, d *datadriven.TestData, view *formats.View) {
	t.Helper()
	held := make(map[string]*formats.Version)
	for _, arg := range d.CmdArgs {
		vals := strings.Split(strings.Join(arg.Vals, ","), ",")
		switch arg.Key {
		case "offline":
			view.Offline = true
		case "hide":
			for _, hidden := range vals {
				for i, v := range view.Versions {
					if v.V == hidden {
						view.Hidden = append(view.Hidden, formats.Hidden{Version: v, Reason: "too young"})
						view.Versions = append(view.Versions[:i:i], view.Versions[i+1:]...)
						break
					}
				}
			}
		case "hold", "bare":
			for _, name := range vals {
				v := &formats.Version{V: name, State: formats.Held}
				for _, known := range view.Versions {
					if known.V == name {
						v = known
					}
				}
				v.Held = make(map[string]formats.HeldAsset)
				for _, ext := range []string{".info", ".mod", ".zip"} {
					asset := formats.HeldAsset{File: name + ext}
					if ext == ".info" && arg.Key == "hold" {
						asset.Aux = fmt.Appendf(nil, `{"Version":%q,"Origin":"as held"}`, name)
					}
					v.Held[name+ext] = asset
				}
				held[name] = v
				if v.State == formats.Held {
					view.Versions = append(view.Versions, v)
				}
			}
		}
	}
	if !view.Offline {
		return
	}
	kept := view.Versions[:0:0]
	for _, v := range view.Versions {
		if _, ok := f.Available(v); ok {
			kept = append(kept, v)
		} else {
			view.Missing++
		}
	}
	view.Versions = kept
}

func TestPublishTimes(t *testing.T) {
	f := New()
	list := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: "a.example/b"}}
	view, err := viewOf(f, list, []byte("v1.0.0 2025-01-02T03:04:05Z\nv1.1.0\nv1.2.0 yesterday\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	if v := view.Versions[0]; !v.Published.Equal(want) || v.From != formats.TimeAuthor {
		t.Errorf("list: %v from %v, want %v from the author", v.Published, v.From, want)
	}
	for _, v := range view.Versions[1:] {
		if !v.Published.IsZero() || v.From != formats.TimeUnknown {
			t.Errorf("list: %s was published %v, want unknown", v.V, v.Published)
		}
	}
	latest := list
	latest.Doc = docLatest
	view, err = viewOf(f, latest, []byte(`{"Version":"v1.0.0","Time":"2025-01-02T03:04:05Z"}`))
	if err != nil {
		t.Fatal(err)
	}
	if v := view.Versions[0]; !v.Published.Equal(want) || v.From != formats.TimeAuthor || v.Flags != formats.Unlisted {
		t.Errorf("latest: %+v", v)
	}
}

func TestAvailable(t *testing.T) {
	f := New()
	v := &formats.Version{V: "v1.0.0", Held: map[string]formats.HeldAsset{}}
	for i, ext := range []string{".mod", ".zip", ".info"} {
		if _, ok := f.Available(v); ok {
			t.Errorf("available with %d of 3 files", i)
		}
		v.Held["v1.0.0"+ext] = formats.HeldAsset{}
	}
	if _, ok := f.Available(v); !ok {
		t.Error("not available with all files held")
	}
}

func TestCompanions(t *testing.T) {
	f := New()
	zip, err := f.Route(request("GET", "a.example/b/@v/v1.0.0.zip"))
	if err != nil {
		t.Fatal(err)
	}
	v := &formats.Version{V: zip.Version, Held: map[string]formats.HeldAsset{zip.File: {}}}
	for _, c := range f.Companions(zip) {
		same, err := f.Route(request("GET", "a.example/b/@v/"+c.File))
		if err != nil || !reflect.DeepEqual(same, c) {
			t.Errorf("companion %+v is routed to %+v, %v", c, same, err)
		}
		v.Held[c.File] = formats.HeldAsset{}
		if more := f.Companions(c); len(more) != 0 {
			t.Errorf("%s has companions %v", c.File, more)
		}
	}
	if _, ok := f.Available(v); !ok {
		t.Error("a zip and its companions are not enough to be available")
	}
}

func TestInspect(t *testing.T) {
	f := New()
	body := `{"Version":"v1.0.0","Time":"2025-01-02T03:04:05Z"}`
	derived, aux, err := f.Inspect(asset("a.example/b", "v1.0.0", "info"), strings.NewReader(body))
	if err != nil || len(derived) != 0 || string(aux) != body {
		t.Errorf("Inspect(.info) = %v %q %v, want the text", derived, aux, err)
	}
	if _, aux, err := f.Inspect(asset("a.example/b", "v1.0.0", "zip"), strings.NewReader("x")); err != nil || aux != nil {
		t.Errorf("Inspect(.zip) = %q %v, want nothing", aux, err)
	}
}

func TestNewerChoosesAsGoDoes(t *testing.T) {
	order := []string{
		"v2.0.0+incompatible", "v1.0.0-beta", "v1.0.0", "v0.0.0-20260101000000-0123456789ab", "v1.1.0-0.20270101000000-0123456789ab",
	}
	// From worst to best.
	want := []string{order[3], order[4], order[1], order[0], order[2]}
	for i, worse := range want {
		for _, better := range want[i+1:] {
			if !newer(&formats.Version{V: better}, &formats.Version{V: worse}) || newer(&formats.Version{V: worse}, &formats.Version{V: better}) {
				t.Errorf("%s is not newer than %s", better, worse)
			}
		}
	}
}

// FuzzList: whatever Parse accepts, Render gives back so that it parses to the
// same rows.
func FuzzList(f *testing.F) {
	for _, seed := range []string{"", "\n\n", "v1.0.0\nv1.1.0 2025-01-01T00:00:00Z\n", "v1.0.0\r\nv1.0.0\n", "v1.2.3-0.20250101000000-0123456789ab\n",
		"<html>\n", "v1.0.0 " + strings.Repeat("x", maxLine), "v1", "v1.0.0+incompatible\tx\x00"} {
		f.Add([]byte(seed))
	}
	format := New()
	target := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: "a.example/b"}}
	f.Fuzz(func(t *testing.T, doc []byte) { reparse(t, format, target, doc) })
}

// FuzzLatest is FuzzList for @latest.
func FuzzLatest(f *testing.F) {
	for _, seed := range []string{`{"Version":"v1.0.0","Time":"2025-01-01T00:00:00Z","Origin":{}}`, ` {"version":"v1.0.0"}`, `{"Version":"v2.0.0"}`,
		`null`, `[]`, `{"Version":"v1.0.0","Time":"x"}`, strings.Repeat(`{"a":`, 10001)} {
		f.Add([]byte(seed))
	}
	format := New()
	target := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: "a.example/b"}, Doc: docLatest}
	f.Fuzz(func(t *testing.T, doc []byte) { reparse(t, format, target, doc) })
}

func reparse(t *testing.T, f *Format, target formats.Target, doc []byte) {
	t.Helper()
	view, err := viewOf(f, target, doc)
	if err != nil {
		return
	}
	var out bytes.Buffer
	if _, err := f.Render(&out, view, target); err != nil {
		t.Fatalf("render what was parsed from %q: %v", doc, err)
	}
	again, err := viewOf(f, target, out.Bytes())
	if err != nil {
		t.Fatalf("parse %q, rendered from %q: %v", out.Bytes(), doc, err)
	}
	if was, is := asText(t, view.Versions), asText(t, again.Versions); was != is {
		t.Fatalf("rows of %q\n%s\nbecome\n%s", doc, was, is)
	}
}

func asText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHugeList(t *testing.T) {
	f := New()
	target := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: "a.example/b"}}
	n := 0
	_, err := f.Parse(target, formats.Source{}, io.LimitReader(endless{}, 64<<20), func(*formats.Version) error { n++; return nil })
	if err == nil || n > 1 {
		t.Errorf("an endless line: %d versions, %v", n, err)
	}
	count := 0
	stop := fmt.Errorf("enough")
	_, err = f.Parse(target, formats.Source{}, strings.NewReader("v1.0.0\nv1.1.0\nv1.2.0\n"), func(*formats.Version) error {
		count++
		return stop
	})
	if err != stop || count != 1 {
		t.Errorf("emit's error: %v after %d rows, want %v after 1", err, count, stop)
	}
}

// endless is an upstream that never ends a line.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'v'
	}
	return len(p), nil
}

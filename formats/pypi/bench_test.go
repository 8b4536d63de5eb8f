package pypi_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"larder/formats"
	"larder/formats/pypi"
)

// bigPage is a page of 500 versions with 10 files each, as large projects with
// many platforms have.
func bigPage() []byte {
	var b bytes.Buffer
	b.WriteString(`{"meta":{"_last-serial":1,"api-version":"1.4"},"name":"demo-pkg","project-status":{"status":"active"},"versions":[`)
	for v := range 500 {
		fmt.Fprintf(&b, `%s"1.%d"`, []string{",", ""}[btoi(v == 0)], v)
	}
	b.WriteString(`],"files":[`)
	for i := range 5000 {
		name := fmt.Sprintf("demo_pkg-1.%d-cp3%d-cp3%d-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", i/10, i%10, i%10)
		fmt.Fprintf(&b, `%s{"core-metadata":{"sha256":"%064x"},"data-dist-info-metadata":{"sha256":"%064x"},"filename":"%s","hashes":{"sha256":"%064x"},"provenance":null,"requires-python":">=3.8","size":%d,"upload-time":"2026-02-03T04:05:06.789012Z","url":"https://files.registry.example/packages/aa/bb/%060x/%s","yanked":false}`,
			[]string{",", ""}[btoi(i == 0)], i, i, name, i, i+1, i, name)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func BenchmarkParse(b *testing.B) {
	page := bigPage()
	src := formats.Source{URL: "https://registry.example/simple/demo-pkg/", Header: http.Header{}}
	t := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: "demo-pkg"}}
	f := pypi.New()
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Parse(t, src, bytes.NewReader(page), func(*formats.Version) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	page := bigPage()
	src := formats.Source{URL: "https://registry.example/simple/demo-pkg/", Header: http.Header{}}
	t := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: "demo-pkg"}, Variant: "json"}
	f := pypi.New()
	view, err := parsePage(f, t, src, page)
	if err != nil {
		b.Fatal(err)
	}
	for _, variant := range []string{"json", "html"} {
		b.Run(variant, func(b *testing.B) {
			t.Variant = variant
			b.SetBytes(int64(len(page)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Render(io.Discard, view, t); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

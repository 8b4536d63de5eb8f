package npm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
)

func TestTarballRefuses(t *testing.T) {
	ok := packageJSON("x", "1.0.0")
	plainTar := func() []byte {
		z, _ := gzip.NewReader(bytes.NewReader(pack(t, ok)))
		b, _ := io.ReadAll(z)
		return b
	}
	regzip := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(b)
		z.Close()
		return out.Bytes()
	}
	many := []entry{ok}
	for what, c := range map[string]struct {
		tarball []byte
		say     string
	}{
		"climbs":           {pack(t, ok, entry{name: "package/../../etc/x"}), "leads out"},
		"absolute":         {pack(t, ok, entry{name: "/etc/passwd"}), "leads out"},
		"drive":            {pack(t, ok, entry{name: "package/C:/x"}), "leads out"},
		"backslash":        {pack(t, ok, entry{name: `package/..\x`}), "cannot be the name"},
		"control":          {pack(t, ok, entry{name: "package/a\nb"}), "cannot be the name"},
		"symlink":          {pack(t, ok, entry{name: "package/l", kind: tar.TypeSymlink, link: "/etc"}), "is a link"},
		"hard link":        {pack(t, ok, entry{name: "package/l", kind: tar.TypeLink, link: "package/package.json"}), "is a link"},
		"device":           {pack(t, ok, entry{name: "package/d", kind: tar.TypeChar}), "neither"},
		"twice":            {pack(t, ok, entry{name: "package/a"}, entry{name: "package/a", body: "x"}), "twice"},
		"twice stripped":   {pack(t, ok, entry{name: "package/a"}, entry{name: "other/a", body: "x"}), "twice"},
		"second manifest":  {pack(t, ok, entry{name: "other/package.json", body: ok.body}), "twice"},
		"spelled manifest": {pack(t, ok, entry{name: "package/Package.json", body: ok.body}), "two spellings"},
		"beside":           {pack(t, ok, entry{name: "package.json", body: ok.body}), "beside"},
		"no manifest":      {pack(t, entry{name: "package/a"}), "no package.json"},
		"other name":       {pack(t, packageJSON("y", "1.0.0")), `of "y"`},
		"other version":    {pack(t, packageJSON("x", "1.0.1")), "has version"},
		"two names":        {pack(t, entry{name: "package/package.json", body: `{"name":"x","version":"1.0.0","name":"x"}`}), "twice"},
		"manifest broken":  {pack(t, entry{name: "package/package.json", body: `{"name":`}), "cannot be read"},
		"behind the end":   {regzip(append(plainTar(), "more"...)), "follow the end"},
		"second archive":   {regzip(append(plainTar(), plainTar()...)), "follow the end"},
		"second stream":    {append(pack(t, ok), pack(t, entry{name: "package/b"})...), "follow the end"},
		"cut":              {pack(t, ok)[:60], "damaged"},
		"behind gzip":      {append(pack(t, ok), "more"...), "damaged"},
		"no tar":           {regzip([]byte(strings.Repeat("x", 2000))), "not a well-formed"},
		"empty":            {pack(t, many[:0]...), "no package.json"},
		"bomb":             {pack(t, ok, entry{name: "package/zeros", body: string(make([]byte, 100<<20))}), "times its size"},
		"big manifest":     {pack(t, entry{name: "package/package.json", body: strings.Repeat(" ", maxPackageJSON+1)}), "over"},
	} {
		found, err := inspectTarball(t.Context(), formattest.SpoolOf(c.tarball))
		if err == nil {
			err = found.check("x", "1.0.0")
		}
		wantRefusal(t, what, err, formats.BadRequest, c.say)
	}
	for what, tgz := range map[string][]byte{
		"other folder": pack(t, entry{name: "x-1.0.0/", kind: tar.TypeDir}, entry{name: "x-1.0.0/package.json", body: "\xef\xbb\xbf" + ok.body}),
		"v":            pack(t, packageJSON("x", "v1.0.0")),
		"build":        pack(t, packageJSON("x", "1.0.0+b.1")),
		"padding":      regzip(append(plainTar(), make([]byte, 10240)...)),
		"git archive":  pack(t, ok, entry{name: "package/deep/package.json", body: `{}`}),
	} {
		found, err := inspectTarball(t.Context(), formattest.SpoolOf(tgz))
		if err == nil {
			err = found.check("x", "1.0.0")
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

package npm

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"

	"larder/formats"
)

func private(n formats.Name) (bool, error) { return strings.Contains(n.Canon, "secret"), nil }

func TestRedact(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(`{"@secret/x":["1"],"left-pad":["1.0.0"]}`))
	z.Close()
	for _, c := range []struct{ doc, coding, body, want string }{
		{bulkPath, "", `{"@secret/x":["1"],"left-pad":["1.0.0"],"Not a name":["1"]}`, `{"left-pad":["1.0.0"]}`},
		{bulkPath, "gzip", packed.String(), `{"left-pad":["1.0.0"]}`},
		{quickPath, "", `{"name":"secret-app","version":"1","requires":{"secret-a":"1","b":"^1"},"dependencies":{"b":{"version":"1","requires":{"secret-c":"1"},"dependencies":{"secret-c":{"version":"1"}}},"secret-a":{"version":"1"}}}`,
			`{"dependencies":{"b":{"dependencies":{},"requires":{},"version":"1"}},"requires":{"b":"^1"},"version":"1"}`},
		{auditPath, "", `{"requires":true,"dependencies":["secret-a"]}`, `{"requires":true}`},
	} {
		h := http.Header{}
		if c.coding != "" {
			h.Set("Content-Encoding", c.coding)
		}
		got, err := New().Redact(formats.Target{Kind: formats.KindPass, Doc: c.doc}, h, []byte(c.body), private)
		if err != nil || string(got) != c.want {
			t.Errorf("%s %.60s: got %s %v, want %s", c.doc, c.body, got, err, c.want)
		}
		if h.Get("Content-Encoding") != "" {
			t.Errorf("%s: the coding stays", c.doc)
		}
	}
	for _, bad := range []string{`[]`, `{`, `nonsense secret-a`} {
		if got, err := New().Redact(formats.Target{Kind: formats.KindPass, Doc: bulkPath}, http.Header{}, []byte(bad), private); err == nil {
			t.Errorf("%s: got %s, want an error", bad, got)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add(true, []byte(`{"secret-a":["1"],"b":["1"]}`))
	f.Add(false, []byte(`{"name":"secret","requires":{"secret-a":"1"},"dependencies":{"b":{"requires":{"secret-c":"1"}}}}`))
	f.Fuzz(func(t *testing.T, bulk bool, body []byte) {
		doc := quickPath
		if bulk {
			doc = bulkPath
		}
		got, err := New().Redact(formats.Target{Kind: formats.KindPass, Doc: doc}, http.Header{}, body, private)
		if err != nil {
			return
		}
		again, err := New().Redact(formats.Target{Kind: formats.KindPass, Doc: doc}, http.Header{}, got, private)
		if len(body) > 0 && (err != nil || !bytes.Equal(got, again)) {
			t.Errorf("twice: %s became %s, %v", got, again, err)
		}
	})
}

package generic

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"larder/formats"
	"larder/formats/formattest"
)

// host is the smallest server around a repository in memory.
type host struct {
	mu sync.Mutex
	r  *formattest.Repository
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw := strings.TrimPrefix(r.URL.EscapedPath(), "/generic/main/")
	if r.URL.RawQuery != "" {
		raw += "?" + r.URL.RawQuery
	}
	rq := formattest.NewRequest(r.Method, "http://"+r.Host+"/generic/main", raw, r.Header)
	if err := h.answer(w, r, rq); err != nil {
		reply := New().Refuse(rq, formats.AsRefusal(err))
		w.Header().Set("Content-Type", reply.Header.Get("Content-Type"))
		w.WriteHeader(reply.Status)
		w.Write(reply.Body)
	}
}

func (h *host) answer(w http.ResponseWriter, r *http.Request, rq *formats.Request) error {
	f := New()
	target, err := f.Route(rq)
	if err != nil {
		return err
	}
	switch target.Kind {
	case formats.KindPublish:
		change, err := h.r.Publish(f, rq, r.Body)
		if err != nil {
			return err
		}
		w.WriteHeader(change.Reply.Status)
		w.Write(change.Reply.Body)
		return nil
	case formats.KindListing:
		var out bytes.Buffer
		if _, err := f.Render(&out, h.r.View(target.Name, rq.Base), target); err != nil {
			return err
		}
		w.Write(out.Bytes())
		return nil
	}
	row := h.r.Version(target.Name.Canon, target.Version)
	file, err := h.r.Open(target.Name.Canon, target.Version, target.File)
	if err != nil || row == nil || !row.Hosting.Status.Downloadable() {
		return formats.Refuse(formats.NotFound, "no %s", target.File)
	}
	defer file.Close()
	for k, v := range f.AssetHeader(target, row.Held[target.File]) {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", row.Held[target.File].ContentType)
	http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(file, 0, file.Size()))
	return nil
}

// TestRealCurl drives what DESIGN.md promises with curl.
func TestRealCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("SKIPPED: no curl on this machine; the real client was not tested")
	}
	server := httptest.NewServer(&host{r: formattest.NewRepository(t, publishedAt)})
	defer server.Close()
	for _, step := range []struct {
		stdin, path, status, says string
		args                      []string
	}{
		{"one", "team/tool/1.0/one.txt?unfinished=true", "201", `"Unfinished"`, []string{"-T", "-"}},
		{"", "team/tool/1.0/one.txt", "404", "", nil},
		{"", "team/tool/1.0/", "404", "", nil},
		{"two", "team/tool/1.0/two%20files%60.txt", "201", "\"two files`.txt\"", []string{"-T", "-"}},
		{"two", "team/tool/1.0/two%20files%60.txt", "200", `"Published"`, []string{"-T", "-"}},
		{"three", "team/tool/1.0/three", "409", "is complete", []string{"-X", "PUT", "--data-binary", "@-"}},
		{"", "team/tool/1.0/", "200", `"SHA-256":"7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"`, nil},
		{"", "team/tool/1.0/one.txt", "206", "n", []string{"-r", "1-1"}},
		{"", "team/tool/", "200", `"version":"1.0"`, nil},
		{"", "team/tool/1.0/one.txt", "200", "", []string{"-I"}},
		{"", "team/tool/1.0", "204", "", []string{"-X", "DELETE"}},
		{"", "team/tool/1.0/one.txt", "404", "", nil},
	} {
		cmd := exec.Command("curl", append([]string{"-q", "-sS", "-w", " %{http_code}", server.URL + "/generic/main/" + step.path}, step.args...)...)
		cmd.Stdin = strings.NewReader(step.stdin)
		out, err := cmd.CombinedOutput()
		if text := string(out); err != nil || !strings.HasSuffix(text, " "+step.status) || !strings.Contains(text, step.says) {
			t.Errorf("curl %v %s: %v\n%s\nwant %s and %s", step.args, step.path, err, out, step.status, step.says)
		}
	}
}

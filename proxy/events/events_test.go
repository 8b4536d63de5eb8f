package events

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"larder/cache/catalog"
	"larder/formats"
)

// memory is a ledger in memory.
type memory struct {
	mu      sync.Mutex
	entries []catalog.Entry
	marks   map[string]uint64
	change  chan struct{}
}

func newMemory(entries ...catalog.Entry) *memory {
	return &memory{entries: entries, marks: map[string]uint64{}, change: make(chan struct{}, 1)}
}

func (m *memory) Ledger(after uint64, fn func(uint64, catalog.Entry) error) error {
	m.mu.Lock()
	entries := m.entries
	m.mu.Unlock()
	for i := after; i < uint64(len(entries)); i++ {
		if err := fn(i+1, entries[i]); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Mark(r string) (uint64, error) { return m.marks[r], nil }
func (m *memory) SetMark(r string, seq uint64) error {
	m.marks[r] = seq
	return nil
}
func (m *memory) Changes() <-chan struct{} { return m.change }

func entry(version string, seq uint64) catalog.Entry {
	return catalog.Entry{Domain: "team", Repository: "main", Format: "npm", Name: "@s/x", Version: version, Time: time.Unix(1000, 0), Cause: catalog.CausePublished,
		By: "alice", Event: &catalog.VersionEvent{Owner: "111122223333", Administrator: "111122223333", Name: formats.Name{Canon: "@s/x", NS: "s"},
			Status: "Published", Revision: "r", Operation: "Created", Added: 1, Sequence: seq}}
}

func split(_ string, n formats.Name) (string, string) { return "s", "x" }

func newFeed(t *testing.T, m *memory, s Sink) *Feed {
	t.Helper()
	f, err := New(Config{Ledger: m, Sink: s, Region: "local", Split: split})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestShape(t *testing.T) {
	var out bytes.Buffer
	m := newMemory(catalog.Entry{Cause: catalog.CauseCommand}, entry("1.0.0", 7), catalog.Entry{Cause: catalog.CauseIngested})
	if err := newFeed(t, m, Writer(&out)).Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Source     string
		DetailType string `json:"detail-type"`
		Resources  []string
		Detail     map[string]any
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	if got.Source != "aws.codeartifact" || got.DetailType != "CodeArtifact Package Version State Change" ||
		got.Resources[0] != "arn:aws:codeartifact:local:111122223333:package/team/main/npm/s/x" {
		t.Errorf("envelope: %+v", got)
	}
	if got.Detail["sequenceNumber"] != 7.0 || got.Detail["packageNamespace"] != "s" || got.Detail["operationType"] != "Created" {
		t.Errorf("detail: %v", got.Detail)
	}
	if m.marks["events:stdout"] != 3 {
		t.Errorf("mark: %v", m.marks)
	}
	out.Reset()
	if err := newFeed(t, m, Writer(&out)).Drain(context.Background()); err != nil || out.Len() > 0 {
		t.Errorf("a second reading wrote %q, %v", out.String(), err)
	}
}

// TestWebhookIsTriedAgain lets a webhook fail: no event is lost or overtaken.
func TestWebhookIsTriedAgain(t *testing.T) {
	var got []string
	fail := 2
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s with %q", r.Method, r.Header.Get("Content-Type"))
		}
		var e envelope
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		if e.Detail.PackageVersion == "2.0.0" && fail > 0 {
			fail--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		got = append(got, e.Detail.PackageVersion)
	}))
	defer srv.Close()
	m := newMemory(entry("1.0.0", 1), entry("2.0.0", 2), entry("3.0.0", 3))
	f := newFeed(t, m, Webhook(srv.URL, srv.Client()))
	for range 2 {
		if err := f.Drain(context.Background()); err == nil {
			t.Error("a failing webhook must be an error")
		}
		if m.marks["events:webhook"] != 1 {
			t.Errorf("mark after a failure: %v", m.marks)
		}
	}
	if err := f.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0] != "1.0.0" || got[1] != "2.0.0" || got[2] != "3.0.0" {
		t.Errorf("got %v", got)
	}
}

func TestRunFollowsTheLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	m := newMemory(entry("1.0.0", 1))
	written := make(chan struct{}, 8)
	f := newFeed(t, m, notify{File(path), written})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	<-written
	m.mu.Lock()
	m.entries = append(m.entries, entry("2.0.0", 2))
	m.mu.Unlock()
	m.change <- struct{}{}
	<-written
	cancel()
	<-done
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	lines := 0
	for s := bufio.NewScanner(in); s.Scan(); lines++ {
	}
	if lines != 2 {
		t.Errorf("%d lines", lines)
	}
}

type notify struct {
	Sink
	ch chan struct{}
}

func (n notify) Write(ctx context.Context, line []byte) error {
	defer func() { n.ch <- struct{}{} }()
	return n.Sink.Write(ctx, line)
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("want an error")
	}
	if err := newFeed(t, newMemory(entry("1", 1)), File(filepath.Join(t.TempDir(), "no", "dir"))).Drain(context.Background()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that cannot be opened: %v", err)
	}
}

package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// hook is a service that takes events and keeps them, with what authorized each.
type hook struct {
	mu  sync.Mutex
	got bytes.Buffer
}

// ServeHTTP notes "METHOD PATH | Authorization | Content-Type | BODY".
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "the body broke off", http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range []string{r.Method + " " + r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Content-Type")} {
		h.got.WriteString(s + " | ")
	}
	h.got.Write(bytes.TrimSpace(body))
	h.got.WriteByte('\n')
	w.WriteHeader(http.StatusNoContent)
}

// hooked UPSTREAM FILE: write what a webhook has taken, a line for each event.
func scriptHooked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hooked UPSTREAM FILE")
	}
	h, ok := worldOf(ts).upstream(ts, args[0]).handler.(*hook)
	if !ok {
		ts.Fatalf("upstream %q is no webhook", args[0])
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), h.got.Bytes(), 0o644))
}

// lines FILE N [PATTERN]: wait until a file that the node writes has N lines, and
// want no more; or until N lines or more match PATTERN.
func scriptLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: lines FILE N [PATTERN]")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	pattern := regexp.MustCompile("\n")
	if len(args) == 3 {
		pattern, err = regexp.Compile("(?m)^.*" + args[2])
		ts.Check(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		got := len(pattern.FindAll(text, -1))
		if err == nil && (got == want || got > want && len(args) == 3) {
			return
		}
		if got > want || time.Now().After(deadline) {
			ts.Fatalf("%s has %d lines (%v), want %d:\n%s", args[0], got, err, want, text)
		}
	}
}

// metric PATTERN: wait until a line of the node's metrics matches PATTERN.
func scriptMetric(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: metric PATTERN")
	}
	re, err := regexp.Compile("(?m)^" + args[0] + "$")
	ts.Check(err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, text, err := exchange(http.MethodGet, ts.Getenv("LARDER")+"/-/metrics", http.Header{}, nil, "")
		ts.Check(err)
		if re.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no metric matches %q in a minute:\n%s", args[0], text)
		}
	}
}

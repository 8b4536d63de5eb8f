package main

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Thirty clients and one cold file of 32 MiB, then eight files for thirty
// clients: the process stays near its configured tiers however much passes
// through it.
func TestMemoryUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("the memory test does not run with -short")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the peak of a process is read from /proc")
	}
	const size, clients = 32 << 20, 30
	body := binaryOf(rand.New(rand.NewPCG(1, 2)), size)
	sum := sha512.Sum512(body)
	integrity := "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	// Every package has the same bytes, so the store keeps them once; each is a
	// download of its own all the same.
	reg := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, file, isFile := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/-/")
		if isFile {
			http.ServeContent(w, r, file, time.Time{}, bytes.NewReader(body))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"name":%q,"dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":%q,"version":"1.0.0","dist":{"integrity":%q,"tarball":"http://%s/%s/-/%s-1.0.0.tgz"}}}}`, name, name, integrity, r.Host, name, name)
	})
	const memory, blocks = 32, 16 // MiB
	l := live(t, reg, fmt.Sprintf("[cache]\nmemory = \"%dMiB\"\nblock_cache = \"%dMiB\"\n[log]\naccess = \"off\"\n", memory, blocks))
	idle := peakOf(t, l.node.cmd.Process.Pid)
	for _, files := range []int{1, 8} {
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				name := fmt.Sprintf("f%d-%d", files, c%files)
				url := l.base + "/npm/main/" + name + "/-/" + name + "-1.0.0.tgz"
				rq, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := http.DefaultClient.Do(rq)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				h := sha512.New()
				n, err := io.Copy(h, resp.Body)
				if err != nil || resp.StatusCode != 200 || n != size || !bytes.Equal(h.Sum(nil), sum[:]) {
					t.Errorf("%s: %d, %d bytes, %v", url, resp.StatusCode, n, err)
				}
			})
		}
		wg.Wait()
		peak := peakOf(t, l.node.cmd.Process.Pid)
		t.Logf("%d clients, %d files of 32 MiB: peak %d MiB (idle %d MiB), %d MiB of tiers", clients, files, peak, idle, memory+blocks)
		if peak > memory+blocks+128 && !raceDetector() {
			t.Errorf("the process took %d MiB at its peak", peak)
		}
	}
}

// raceDetector reports a test built with -race, which multiplies memory.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakOf is the largest resident size that a process ever had, in MiB.
func peakOf(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := highWater.FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kib, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

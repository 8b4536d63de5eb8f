package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"larder/cache/store"
	"larder/formats"
)

const (
	envFaultAt  = "LARDER_TEST_FAULT_AT"  // set for the child: the operation that fails
	envFaultDir = "LARDER_TEST_FAULT_DIR" // its directory
	envFaultDo  = "LARDER_TEST_FAULT_DO"  // publish or archive
)

// TestFailingDisk makes the i-th operation of the file system fail while a
// version of a small and a large file is published, and while one is archived,
// for growing i until the command meets no failure. Some failures end the
// process, so each run is one of its own. Afterwards the version is whole or
// absent, and whatever was acknowledged, be it at the second try, is there.
func TestFailingDisk(t *testing.T) {
	if dir := os.Getenv(envFaultDir); dir != "" {
		at, err := strconv.ParseInt(os.Getenv(envFaultAt), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if err := faultChild(dir, os.Getenv(envFaultDo), at); err != nil {
			fmt.Println("wrong:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for _, do := range []string{"publish", "archive"} {
		t.Run(do, func(t *testing.T) {
			ends := map[string]int{}
			for i := 1; ; i++ {
				dir := t.TempDir()
				end := runFaultChild(t, dir, do, i)
				ends[end]++
				whole, err := faultOutcome(dir, do)
				switch {
				case err != nil:
					t.Fatalf("operation %d failed and the run ended with %q: %v", i, end, err)
				case !whole && (end == "retried" || end == "overcome" || end == "untouched"):
					t.Fatalf("operation %d failed, the run ended with %q, and what was acknowledged is not there", i, end)
				}
				if end == "untouched" {
					break
				}
			}
			t.Log(ends)
			if ends["refused"] == 0 {
				t.Errorf("no run was refused: %v", ends)
			}
		})
	}
}

// runFaultChild returns how the child ended: untouched and overcome mean that
// the command succeeded without and in spite of the failure, retried that it
// succeeded at the second try, refused that it never did, death that the database
// below ended the process.
func runFaultChild(t *testing.T, dir, do string, at int) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestFailingDisk$")
	cmd.Env = append(os.Environ(), envFaultDir+"="+dir, envFaultAt+"="+strconv.Itoa(at), envFaultDo+"="+do)
	out, err := cmd.Output()
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if end, ok := strings.CutPrefix(line, "end: "); ok {
			return end
		}
		if strings.HasPrefix(line, "wrong:") {
			t.Fatalf("operation %d failed: %s", at, line)
		}
	}
	var exit *exec.ExitError
	if ctx.Err() != nil || !errors.As(err, &exit) {
		t.Fatalf("operation %d failed: the run ended without a word: %v\n%s", at, err, out)
	}
	return "death"
}

// Files of the fault test.
func faultFiles() map[string][]byte {
	return map[string][]byte{"old.tgz": bytes.Repeat([]byte("old "), 500), "small.tgz": bytes.Repeat([]byte("small "), 100), "large.tgz": bytes.Repeat([]byte("large "), 100_000)}
}

// faultChild runs one command over a file system that fails once.
func faultChild(dir, do string, at int64) error {
	var left atomic.Int64
	var armed atomic.Bool
	left.Store(at)
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && left.Add(-1) == 0 {
			return errorfs.ErrInjected
		}
		return nil
	})
	c, db, err := openCrash(errorfs.Wrap(inDir{vfs.Default, dir}, inject))
	if err != nil {
		return err
	}
	s := &site{c: c, db: db}
	for _, op := range []Op{&CreateDomain{Owner: "111122223333"}, &CreateRepository{Name: "r1", Administrator: "111122223333"}} {
		if _, err := c.Propose("team", "root", op); err != nil {
			return err
		}
	}
	if err := s.faultPublish("1.0.0", "old.tgz"); err != nil {
		return err
	}
	try := func() error { return s.faultPublish("2.0.0", "small.tgz", "large.tgz") }
	if do == "archive" {
		try = func() error {
			_, err := c.Propose("team", "alice", &UpdateStatus{Repository: "r1", Format: "npm", Name: formats.Name{Canon: "x"}, Versions: []string{"1.0.0"}, Target: formats.Archived})
			return err
		}
	}
	armed.Store(true)
	err = try()
	if err == nil {
		if left.Load() > 0 {
			fmt.Println("end: untouched")
		} else {
			fmt.Println("end: overcome")
		}
		return nil // no Close: what was acknowledged is durable
	}
	if !strings.Contains(err.Error(), "injected error") {
		return fmt.Errorf("the refusal does not tell its cause: %w", err)
	}
	// Reading goes on, and shows nothing by halves.
	if _, err := checkFault(c, do); err != nil {
		return err
	}
	if err := try(); err == nil {
		fmt.Println("end: retried")
	} else {
		fmt.Println("end: refused")
	}
	return nil
}

// faultPublish publishes a version of x with some of the files.
func (s *site) faultPublish(version string, files ...string) error {
	op := &Publish{Repository: "r1", Format: "npm", Name: formats.Name{Canon: "x"}, Versions: []VersionEdit{{V: version, Row: &formats.Version{V: version}}}}
	var staged []*Staged
	for _, f := range files {
		st, h, err := s.tryStage(faultFiles()[f])
		if err != nil {
			return err
		}
		defer func() { _ = s.c.Unstage(st) }() // the next start sweeps it
		h.File = f
		op.Versions[0].Files = append(op.Versions[0].Files, h)
		staged = append(staged, st)
	}
	_, err := s.c.Propose("team", "alice", op, staged...)
	return err
}

// checkFault reads both versions: the old one must be there, the change whole or
// absent.
func checkFault(c *Catalog, do string) (whole bool, err error) {
	place := RepositoryPlace("team", "r1")
	old, err := c.Held(place, "npm", "x", "1.0.0")
	if err != nil {
		return false, fmt.Errorf("the version published before: %w", err)
	}
	if err := compareHeld(c, old, "old.tgz"); err != nil {
		return false, err
	}
	if do == "archive" {
		return old.Hosting.Status == formats.Archived, nil
	}
	v, err := c.Held(place, "npm", "x", "2.0.0")
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, compareHeld(c, v, "small.tgz", "large.tgz")
}

func compareHeld(c *Catalog, v *formats.Version, files ...string) error {
	if len(v.Held) != len(files) {
		return fmt.Errorf("%s has %d files, want %d", v.V, len(v.Held), len(files))
	}
	for _, f := range files {
		sum, _ := SumOf(v.Held[f].Digests)
		b, err := c.db.OpenBlob(sum)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", f, v.V, err)
		}
		got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		if err := errors.Join(err, b.Close()); err != nil || !bytes.Equal(got, faultFiles()[f]) {
			return fmt.Errorf("%s of %s has other bytes: %w", f, v.V, err)
		}
	}
	return nil
}

// faultOutcome looks at what the child left.
func faultOutcome(dir, do string) (whole bool, err error) {
	fs := inDir{vfs.Default, dir}
	known := map[store.Sum][]byte{}
	for _, b := range faultFiles() {
		known[sumOf(b)] = b
	}
	if _, err := verifyCrash(fs, known); err != nil {
		return false, err
	}
	c, db, err := openCrash(fs)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return checkFault(c, do)
}

// inDir is the file system below a directory.
type inDir struct {
	vfs.FS
	dir string
}

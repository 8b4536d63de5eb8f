package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

const (
	envFailAt  = "LARDER_TEST_FAIL_AT"  // set for the child: the operation that fails
	envFailDir = "LARDER_TEST_FAIL_DIR" // its directory
	exitFailed = 3
)

// TestFailingDisk makes the i-th operation of the file system fail, for growing
// i until a run meets no failure. Some failures end the process, so each run is
// one of its own. Whatever it acknowledged must be there when the store is
// opened again, and nothing may be visible but broken.
func TestFailingDisk(t *testing.T) {
	if dir := os.Getenv(envFailDir); dir != "" {
		at, err := strconv.ParseInt(os.Getenv(envFailAt), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		os.Exit(failingChild(dir, int32(at)))
	}
	step := 41
	if raceEnabled {
		step = 131
	}
	if s := os.Getenv("LARDER_FAIL_EVERY"); s != "" { // 1: all of them
		step, _ = strconv.Atoi(s)
	}
	ends := map[string]int{}
	for i := 0; ; i += step {
		dir := t.TempDir()
		m, end, harmless := runFailing(t, dir, i)
		ends[end]++
		if err := m.verify(inDir{vfs.Default, dir}, new(int)); err != nil {
			t.Fatalf("operation %d failed and the run ended with %s: %v", i, end, err)
		}
		if end == "success" && !harmless {
			t.Logf("%d operations; ends of runs: %v", i, ends)
			break
		}
	}
	if ends["failure"] == 0 {
		t.Errorf("no run failed: %v", ends)
	}
}

// inDir is the file system below a directory.
type inDir struct {
	vfs.FS
	dir string
}

// runFailing starts the child and returns what it acknowledged and how it
// ended. harmless says that the failure happened but was overcome.
func runFailing(t *testing.T, dir string, at int) (m *model, end string, harmless bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a hang is a death that verify cannot see
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestFailingDisk$")
	cmd.Env = append(os.Environ(), envFailDir+"="+dir, envFailAt+"="+strconv.Itoa(at))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	m = &model{objects: make(map[uint64]object)}
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		var n uint64
		var state, size int
		var sum []byte
		if _, err := fmt.Sscanf(sc.Text(), "object %d %d %d %x", &n, &state, &size, &sum); err == nil {
			m.objects[n] = object{objState(state), Sum(sum), size}
		}
		harmless = harmless || sc.Text() == "injected"
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return m, "success", harmless
	case ctx.Err() != nil:
		t.Fatalf("operation %d failed: the run hangs", at)
	case !errors.As(err, &exit):
		t.Fatal(err)
	case exit.ExitCode() != exitFailed: // the database below gave up
		return m, "death", false
	case !strings.Contains(errs.String(), "injected error"):
		t.Fatalf("operation %d failed: %v\n%s", at, err, errs.String())
	}
	return m, "failure", false
}

// failingChild uses a store in dir whose file system fails once, and tells on
// its standard output what was acknowledged.
func failingChild(dir string, at int32) int {
	inject := errorfs.OnIndex(at)
	m := &model{objects: make(map[uint64]object), tell: func(n uint64, o object) {
		fmt.Printf("object %d %d %d %x\n", n, o.state, o.size, o.sum[:])
	}}
	db, err := openCrash(errorfs.Wrap(inDir{vfs.Default, dir}, inject), nil)
	if err == nil {
		err = errors.Join(failingLoad(db, m), db.Close())
	}
	if inject.Load() < 0 {
		fmt.Println("injected")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	return 0
}

func failingLoad(db *DB, m *model) error {
	for n, size := range []int{100, 5 << 10, 300 << 10, 3000, 6 << 10} {
		if err := storeObject(db, m, uint64(n), payload(uint64(n), size)); err != nil {
			return err
		}
		if n == 2 {
			if err := db.pebble.Flush(); err != nil {
				return err
			}
		}
	}
	for _, n := range []uint64{1, 3} {
		if err := deleteObject(db, m, n); err != nil {
			return err
		}
	}
	_, err := db.GC(context.Background(), nil)
	return err
}

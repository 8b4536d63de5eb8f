package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestFlagsStandAnywhere(t *testing.T) {
	for _, args := range [][]string{{"--data", "d", "token", "x"}, {"token", "x", "--data", "d"}, {"token", "--data=d", "x"}} {
		fs := flags("test", stdio{err: &bytes.Buffer{}})
		var n nodeFlags
		n.declare(fs)
		given, code, ok := parseMixed(fs, args, 2)
		if !ok || code != exitOK || fmt.Sprint(given) != "[token x]" || n.data != "d" {
			t.Errorf("%v: %v %d %v, data %q", args, given, code, ok, n.data)
		}
	}
	fs := flags("test", stdio{err: &bytes.Buffer{}})
	if _, code, ok := parseMixed(fs, []string{"a", "b"}, 1); ok || code != exitUsage {
		t.Errorf("one too many: %d %v", code, ok)
	}
}

// A mistyped data directory is told, not made.
func TestAbsentDataIsNotMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "typo")
	for _, args := range [][]string{{"list"}, {"disable", "x"}, {"revoke", "token", "x"}} {
		if code := cmdCredential(t.Context(), append(args, "--data", dir), stdio{out: &bytes.Buffer{}, err: &bytes.Buffer{}}); code != exitWrong {
			t.Errorf("%v: exit %d", args, code)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made")
	}
}

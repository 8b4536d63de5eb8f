package main

import (
	"bytes"
	"fmt"
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

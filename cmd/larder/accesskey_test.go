package main

import (
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

// accesskey USER [FLAG ...]: make an access key for the data in $WORK/data,
// whether a node runs or not, and let the AWS clients of this script use it.
func scriptAccessKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: accesskey USER [FLAG ...]")
	}
	path, err := exec.LookPath("larder")
	ts.Check(err)
	command := append([]string{"credential", "create", "--data", filepath.Join(worldOf(ts).work, "data"), "--user", args[0]}, args[1:]...)
	cmd := exec.Command(path, command...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), worldOf(ts).environ(ts, nil)
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("larder %q: %v\n%s", command, err, out)
	}
	for _, key := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		said := regexp.MustCompile(key + `=(\S+)`).FindSubmatch(out)
		if said == nil {
			ts.Fatalf("larder %q said\n%s", command, out)
		}
		ts.Setenv(key, string(said[1]))
	}
}

package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// token [--expires D] USER VAR POLICY...: make a robot token for the data in
// $WORK/data, whether a node runs or not, and put it into $VAR and its id into
// $VAR_ID. A POLICY is a built-in one, one of the configuration or a file.
func scriptToken(ts *testscript.TestScript, neg bool, args []string) {
	command := []string{"credential", "create", "--token", "--data", filepath.Join(worldOf(ts).work, "data")}
	for len(args) > 1 && strings.HasPrefix(args[0], "--") {
		command, args = append(command, args[0], args[1]), args[2:]
	}
	if neg || len(args) < 3 {
		ts.Fatalf("usage: token [--expires D] USER VAR POLICY...")
	}
	command = append(command, "--user", args[0])
	for _, policy := range args[2:] {
		command = append(command, "--policy", policy)
	}
	path, err := exec.LookPath("larder")
	ts.Check(err)
	cmd := exec.Command(path, command...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), worldOf(ts).environ(ts, nil)
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("larder %s: %v\n%s", strings.Join(command, " "), err, out)
	}
	said := regexp.MustCompile(`(?m)^id: +(\S+)\ntoken: (\S+)$`).FindSubmatch(out)
	if said == nil {
		ts.Fatalf("larder %s said\n%s", strings.Join(command, " "), out)
	}
	ts.Setenv(args[1]+"_ID", string(said[1]))
	ts.Setenv(args[1], string(said[2]))
}

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// capture VAR PATTERN [FILE]: put what the first group of PATTERN matches in
// the last standard output, or in FILE, into $VAR.
func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: capture VAR PATTERN [FILE]")
	}
	from := "stdout"
	if len(args) == 3 {
		from = args[2]
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	found := re.FindStringSubmatch(ts.ReadFile(from))
	if len(found) < 2 {
		ts.Fatalf("%s has no match with a group for %q:\n%s", from, args[1], ts.ReadFile(from))
	}
	ts.Setenv(args[0], found[1])
}

// port VAR: put a free port into $VAR that stays free while a node restarts. It
// lies below the ports that the system hands out by itself (32768 and up).
func scriptPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port VAR")
	}
	for range 100 {
		port := fmt.Sprint(10_000 + rand.IntN(20_000))
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			continue
		}
		ts.Check(ln.Close())
		ts.Setenv(args[0], port)
		return
	}
	ts.Fatalf("no free port")
}

// hasOption answers [option:PROGRAM:WORD:...:--FLAG]: does the help of PROGRAM
// WORD ... name FLAG? An old client then goes without the check of what it
// cannot do, except where every client must be there and new.
func hasOption(spec string) (bool, error) {
	words := strings.Split(spec, ":")
	if len(words) < 2 {
		return false, fmt.Errorf("option:%s names no program and flag", spec)
	}
	flag := words[len(words)-1]
	tool := filepath.Join("..", "..", ".tools", "bin", words[0])
	if _, err := os.Stat(tool); err != nil {
		tool = words[0]
	}
	out, err := exec.Command(tool, append(words[1:len(words)-1:len(words)-1], "--help")...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, fmt.Errorf("ask %s for its options: %w", words[0], err)
	}
	if regexp.MustCompile(`(^|[\s,])` + regexp.QuoteMeta(flag) + `([\s,=\[]|$)`).Match(out) {
		return true, nil
	}
	if os.Getenv("LARDER_E2E_REQUIRE") == "1" {
		return false, fmt.Errorf("this %s has no %s, and LARDER_E2E_REQUIRE=1 forbids to go without it", words[0], flag)
	}
	fmt.Fprintf(os.Stderr, "\n*** this %s has no %s: that check does not run. ***\n\n", words[0], flag)
	return false, nil
}

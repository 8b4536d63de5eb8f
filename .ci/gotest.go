// Command gotest runs "go test -json" with its arguments and prints what a
// person wants to know: one line per package, the whole output of what failed,
// and every test that was skipped, with the reason. With LARDER_E2E_REQUIRE=1 a
// skipped test is a failure: CI installs every client, so nothing may hide.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of build output
	Elapsed                       float64
}

func main() {
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(2)
	}
	output := map[string]*strings.Builder{}
	var skipped []string
	passed, failed := 0, 0
	lines := bufio.NewReaderSize(out, 1<<20)
	for {
		line, readErr := lines.ReadBytes('\n')
		if readErr != nil {
			break
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			os.Stdout.Write(line)
			continue
		}
		key := e.Package + e.ImportPath + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			output[key].WriteString(e.Output)
			continue
		case "skip":
			if e.Test != "" {
				skipped = append(skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(output[key])))
			}
		case "fail", "build-fail":
			failed++
			if text := output[key]; text != nil {
				fmt.Print(text.String())
			}
			if e.Test == "" {
				fmt.Printf("FAIL  %s\n", e.Package+e.ImportPath)
			}
		case "pass":
			if e.Test == "" {
				fmt.Printf("ok    %-40s %6.1fs\n", e.Package, e.Elapsed)
			} else {
				passed++
			}
		default:
			continue
		}
		delete(output, key)
	}
	err = cmd.Wait()
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, len(skipped))
	for _, s := range skipped {
		fmt.Printf("*** SKIPPED %s\n", s)
	}
	if err != nil || failed > 0 {
		os.Exit(1)
	}
	if len(skipped) > 0 && os.Getenv("LARDER_E2E_REQUIRE") == "1" {
		fmt.Println("LARDER_E2E_REQUIRE=1 forbids skipped tests")
		os.Exit(1)
	}
}

// reason is what a skipped test said, in one line.
func reason(out *strings.Builder) string {
	if out == nil {
		return "no reason given"
	}
	// A script names the client that it goes without.
	if m := regexp.MustCompile(`> \[!client:([^\]]+)\] skip`).FindAllStringSubmatch(out.String(), -1); len(m) > 0 {
		return m[len(m)-1][1] + " is not installed; .ci/run installs every client"
	}
	var said []string
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "--- SKIP") {
			said = append(said, line)
		}
	}
	text := strings.Join(said, " ")
	return text[:min(len(text), 300)]
}

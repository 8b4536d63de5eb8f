package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"larder/formats/golang/golangtest"
)

// goregistry UPSTREAM VERB ...: change what a fake Go module proxy has.
//
//	sumdb VAR                     put the checksum database's verifier key into $VAR
//	add MODULE@VERSION [published=-2h] [MODULE@VERSION ...]  with requirements
//	grow N                        N records more in the checksum database
//	tamper MODULE@VERSION         another zip; the checksum database keeps the old sum
//	withdraw MODULE@VERSION
//	relay on|off                  whether /sumdb/ is offered
//	bare on|off                   no @latest, and pseudo-versions in lists, as plain mirrors have it
func scriptGoRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: goregistry UPSTREAM VERB ARGUMENT...")
	}
	reg, ok := worldOf(ts).upstream(ts, args[0]).handler.(*golangtest.Registry)
	if !ok {
		ts.Fatalf("upstream %q is no Go module proxy", args[0])
	}
	verb, what, args := args[1], args[2], args[3:]
	path, version := cutSpec(what)
	switch verb {
	case "sumdb":
		ts.Setenv(what, reg.SumDBKey())
	case "add":
		published := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
		gomod := "module " + path + "\n\ngo 1.21\n"
		for _, arg := range args {
			if ago, ok := strings.CutPrefix(arg, "published="); ok {
				d, err := time.ParseDuration(ago)
				ts.Check(err)
				published = time.Now().Add(d)
				continue
			}
			dep, wanted := cutSpec(arg)
			gomod += "\nrequire " + dep + " " + wanted + "\n"
		}
		source := fmt.Sprintf("// Package added is a test module.\npackage added\n\n// Version is its version.\nconst Version = %q\n", version)
		reg.Add(path, version, published, map[string]string{"go.mod": gomod, "added.go": source})
	case "grow":
		n, err := strconv.Atoi(what)
		ts.Check(err)
		ts.Check(reg.Grow(n))
	case "tamper":
		reg.Tamper(path, version)
	case "withdraw":
		reg.Withdraw(path, version)
	case "relay":
		reg.Relay(what == "on")
	case "bare":
		reg.Bare(what == "on")
	default:
		ts.Fatalf("goregistry does not know %q", verb)
	}
}

package main

import (
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"larder/formats/pypi/pypitest"
)

// pypiregistry UPSTREAM VERB ...: change what a fake Python package index has.
//
//	add NAME==VERSION [source] [bare] [python=RANGE] [REQUIREMENT ...]  a wheel, a source besides, no metadata beside it
//	mutate FILE                   other bytes, and pages that promise them
//	corrupt FILE                  other bytes under the same page
//	remove NAME[==VERSION]
//	yank NAME==VERSION REASON
//	html on|off                   pages in old HTML only
func scriptPyPIRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: pypiregistry UPSTREAM VERB ARGUMENT...")
	}
	reg, ok := worldOf(ts).upstream(ts, args[0]).handler.(*pypitest.Registry)
	if !ok {
		ts.Fatalf("upstream %q is no Python package index", args[0])
	}
	verb, what, args := args[1], args[2], args[3:]
	name, version, _ := strings.Cut(what, "==")
	switch verb {
	case "add":
		p := pypitest.Package{Name: name, Version: version}
		for _, arg := range args {
			switch python, isPython := strings.CutPrefix(arg, "python="); {
			case arg == "source":
				p.Source = true
			case arg == "bare":
				p.Bare = true
			case isPython:
				p.RequiresPython = python
			default:
				p.Requires = append(p.Requires, arg)
			}
		}
		reg.Add(p)
	case "mutate":
		reg.Mutate(what, append([]byte("PK\x03\x04"), what...))
	case "corrupt":
		reg.Corrupt(what)
	case "remove":
		reg.Remove(name, version)
	case "yank":
		reg.Yank(name, version, strings.Join(args, " "))
	case "html":
		reg.HTMLOnly(what == "on")
	default:
		ts.Fatalf("pypiregistry does not know %q", verb)
	}
}

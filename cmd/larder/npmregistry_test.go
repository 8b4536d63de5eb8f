package main

import (
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"larder/formats/npm/npmtest"
)

// npmregistry UPSTREAM VERB ...: change what a fake npm registry has.
//
//	add NAME@VERSION [published=-2h] [tag=TAG] [NAME@RANGE ...]  with dependencies
//	mutate NAME@VERSION           other bytes and other metadata
//	corrupt NAME@VERSION          other bytes under the same metadata
//	unpublish NAME@VERSION
//	remove NAME
//	tag NAME@VERSION TAG
//	advise NAME RANGE TITLE       what an audit says
//	token SECRET                  wanted from now on
func scriptNpmRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: npmregistry UPSTREAM VERB ARGUMENT...")
	}
	reg, ok := worldOf(ts).upstream(ts, args[0]).handler.(*npmtest.Registry)
	if !ok {
		ts.Fatalf("upstream %q is no npm registry", args[0])
	}
	verb, args := args[1], args[2:]
	name, version := cutSpec(args[0])
	more := func(i int) string {
		if len(args) <= i {
			ts.Fatalf("npmregistry %s wants more than %q", verb, args)
		}
		return args[i]
	}
	switch verb {
	case "add":
		p := npmtest.Package{Name: name, Version: version, Dependencies: map[string]string{}}
		for _, arg := range args[1:] {
			if ago, ok := strings.CutPrefix(arg, "published="); ok {
				d, err := time.ParseDuration(ago)
				ts.Check(err)
				p.Published = time.Now().Add(d)
			} else if tag, ok := strings.CutPrefix(arg, "tag="); ok {
				p.Tag = tag
			} else {
				dep, wanted := cutSpec(arg)
				p.Dependencies[dep] = wanted
			}
		}
		reg.Add(p)
	case "mutate":
		reg.Mutate(npmtest.Package{Name: name, Version: version, Files: map[string]string{"index.js": "module.exports = 'changed';\n"}})
	case "corrupt":
		reg.Corrupt(name, version)
	case "unpublish":
		reg.Unpublish(name, version)
	case "remove":
		reg.Remove(name)
	case "tag":
		reg.SetTag(name, more(1), version)
	case "advise":
		reg.Advise(name, npmtest.Advisory{ID: 7, URL: "https://advice.example/7", Severity: "high", Vulnerable: more(1), Title: more(2)})
	case "token":
		reg.RequireToken(args[0])
	default:
		ts.Fatalf("npmregistry does not know %q", verb)
	}
}

// cutSpec splits NAME@VERSION, where NAME may be scoped.
func cutSpec(spec string) (name, version string) {
	i := strings.LastIndexByte(spec, '@')
	if i <= 0 {
		return spec, ""
	}
	return spec[:i], spec[i+1:]
}

package main

import (
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"larder/formats/cargo/cargotest"
)

// cargoregistry UPSTREAM VERB ...: change what a fake crate registry has.
//
//	add NAME@VERSION [published=-2h] [NAME@REQ ...]  with dependencies
//	yank NAME@VERSION
//	unyank NAME@VERSION
//	corrupt NAME@VERSION          other bytes under the same checksum
//	mutate NAME@VERSION           other bytes, and an index that promises them
//	withdraw NAME@VERSION
//	dl TEMPLATE                   where downloads lie
func scriptCargoRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: cargoregistry UPSTREAM VERB ARGUMENT...")
	}
	reg, ok := worldOf(ts).upstream(ts, args[0]).handler.(*cargotest.Registry)
	if !ok {
		ts.Fatalf("upstream %q is no crate registry", args[0])
	}
	verb, what, args := args[1], args[2], args[3:]
	name, version := cutSpec(what)
	switch verb {
	case "add":
		c := cargotest.Crate{Name: name, Version: version, Published: time.Date(2025, 4, 1, 12, 0, 0, 0, time.UTC),
			Lib: "//! A test crate.\n/// Its version.\npub fn version() -> &'static str { \"" + version + "\" }\n"}
		for _, arg := range args {
			if ago, ok := strings.CutPrefix(arg, "published="); ok {
				d, err := time.ParseDuration(ago)
				ts.Check(err)
				c.Published = time.Now().Add(d)
				continue
			}
			dep, wanted := cutSpec(arg)
			c.Deps = append(c.Deps, cargotest.Dep{Name: dep, Req: wanted})
		}
		reg.Add(c)
	case "yank", "unyank":
		reg.Yank(name, version, verb == "yank")
	case "corrupt":
		reg.Mutate(name, version, reg.Archive(cargotest.One, "1.0.0"))
	case "mutate":
		reg.MutateIndex(name, version, reg.Archive(cargotest.One, "1.0.0"))
	case "withdraw":
		reg.Withdraw(name, version)
	case "dl":
		reg.Template(what)
	default:
		ts.Fatalf("cargoregistry does not know %q", verb)
	}
}

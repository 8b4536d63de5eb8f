package main

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"larder/formats/maven/maventest"
)

// mavenregistry UPSTREAM VERB ...: change what a fake Maven repository has.
//
//	add GROUP:ARTIFACT:VERSION [OPTION ...] [GROUP:ARTIFACT:VERSION ...]    with dependencies
//	build GROUP:ARTIFACT:VERSION N [OPTION ...] [GROUP:ARTIFACT:VERSION ...] build N of a snapshot
//	plugin GROUP:ARTIFACT:VERSION PREFIX                     with the goal PREFIX:deps
//	remove GROUP:ARTIFACT:VERSION
//	drop PATH                                                one file
//	mutate PATH TEXT                                         other bytes, checksums fit
//
// Options are note=TEXT (in the jar, so that bytes differ), day=N (published N
// days after the first), packaging=pom and classifier=NAME.
func scriptMavenRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: mavenregistry UPSTREAM VERB ARGUMENT...")
	}
	reg, ok := worldOf(ts).upstream(ts, args[0]).handler.(*maventest.Registry)
	if !ok {
		ts.Fatalf("upstream %q is no Maven repository", args[0])
	}
	verb, args := args[1], args[2:]
	if (verb == "build" || verb == "plugin" || verb == "mutate") && len(args) < 2 {
		ts.Fatalf("mavenregistry %s wants more than %q", verb, args)
	}
	switch verb {
	case "add":
		reg.Add(mavenPackage(ts, args[0], args[1:]))
	case "build":
		number, err := strconv.Atoi(args[1])
		ts.Check(err)
		p := mavenPackage(ts, args[0], args[2:])
		reg.AddSnapshot(p, p.At, number)
	case "plugin":
		p := mavenPackage(ts, args[0], nil)
		reg.AddPlugin(p.Group, p.Artifact, args[1], p.Version)
	case "remove":
		p := mavenPackage(ts, args[0], nil)
		reg.RemoveVersion(p.Group, p.Artifact, p.Version)
	case "drop":
		reg.Remove(args[0])
	case "mutate":
		reg.Mutate(args[0], []byte(args[1]))
	default:
		ts.Fatalf("mavenregistry does not know %q", verb)
	}
}

func mavenPackage(ts *testscript.TestScript, spec string, args []string) maventest.Package {
	cut := func(spec string) (group, artifact, version string) {
		group, rest, _ := strings.Cut(spec, ":")
		artifact, version, ok := strings.Cut(rest, ":")
		if !ok {
			ts.Fatalf("%q is not GROUP:ARTIFACT:VERSION", spec)
		}
		return group, artifact, version
	}
	p := maventest.Package{At: maventest.Epoch}
	p.Group, p.Artifact, p.Version = cut(spec)
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			d := maventest.Dep{}
			d.Group, d.Artifact, d.Version = cut(arg)
			p.Deps = append(p.Deps, d)
			continue
		}
		switch key {
		case "note":
			p.Note = value
		case "packaging":
			p.Packaging = value
		case "classifier":
			p.Classifiers = append(p.Classifiers, value)
		case "day":
			days, err := strconv.Atoi(value)
			ts.Check(err)
			p.At = maventest.Epoch.AddDate(0, 0, days)
		default:
			ts.Fatalf("mavenregistry does not know the option %q", key)
		}
	}
	return p
}

// mavenlib VAR: put the class path of the Maven that is installed into $VAR.
func scriptMavenLib(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mavenlib VAR")
	}
	mvn, err := exec.LookPath("mvn")
	ts.Check(err)
	mvn, err = filepath.EvalSymlinks(mvn)
	ts.Check(err)
	ts.Setenv(args[0], filepath.Join(filepath.Dir(filepath.Dir(mvn)), "lib", "*"))
}

package golangtest

import (
	"fmt"
	"time"
)

// The modules of the default content.
const (
	// Plain has v1.0.0 to v1.2.0, a prerelease v1.3.0-rc.1, and a retracted v1.1.0.
	Plain = "registry.example/plain"
	// Capital has capitals in its path and depends on Plain.
	Capital = "registry.example/BurntSugar/TOML"
	// Major2 is the second major version of Major and depends on it.
	Major  = "registry.example/major"
	Major2 = "registry.example/major/v2"
	// Pseudo has one pseudo-version and no tag.
	Pseudo = "registry.example/pseudo"
	// Incompatible has v2 without a go.mod.
	Incompatible = "registry.example/old"
	// App depends on all others.
	App = "registry.example/app"
)

// PseudoVersion is the only version of Pseudo.
const PseudoVersion = "v0.0.0-20250203040506-0123456789ab"

func addDefaults(r *Registry) {
	day := func(n int) time.Time { return time.Date(2025, 1, n, 12, 0, 0, 0, time.UTC) }
	text := func(pkg, name, value string) string {
		return fmt.Sprintf("// Package %s is a test module.\npackage %s\n\n// %s is its version.\nconst %s = %q\n", pkg, pkg, name, name, value)
	}
	for i, v := range []string{"v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0-rc.1"} {
		gomod := "module " + Plain + "\n\ngo 1.21\n"
		if i >= 2 {
			gomod += "\nretract v1.1.0 // wrong constant\n"
		}
		r.Add(Plain, v, day(i+1), map[string]string{"go.mod": gomod, "plain.go": text("plain", "Version", v), "LICENSE": "public domain\n"})
	}
	r.Times(Plain)
	for i, v := range []string{"v0.3.0", "v0.3.1"} {
		r.Add(Capital, v, day(i+5), map[string]string{
			"go.mod":  "module " + Capital + "\n\ngo 1.21\n\nrequire " + Plain + " v1.0.0\n",
			"toml.go": "package toml\n\nimport \"" + Plain + "\"\n\n// Version names both.\nconst Version = \"" + v + " on \" + plain.Version\n",
		})
	}
	r.Add(Major, "v1.5.0", day(8), map[string]string{"go.mod": "module " + Major + "\n\ngo 1.21\n", "major.go": text("major", "Version", "v1.5.0")})
	r.Add(Major2, "v2.0.0", day(9), map[string]string{
		"go.mod":       "module " + Major2 + "\n\ngo 1.21\n\nrequire " + Major + " v1.5.0\n",
		"major.go":     "package major\n\nimport one \"" + Major + "\"\n\n// Version names both.\nconst Version = \"v2.0.0 after \" + one.Version\n",
		"sub/sub.go":   text("sub", "Version", "v2.0.0"),
		"sub/Ümlaut.x": "names outside ASCII are legal\n",
	})
	pseudoTime := time.Date(2025, 2, 3, 4, 5, 6, 0, time.UTC)
	r.Add(Pseudo, PseudoVersion, pseudoTime, map[string]string{"go.mod": "module " + Pseudo + "\n\ngo 1.21\n", "pseudo.go": text("pseudo", "Version", PseudoVersion)})
	r.Branch(Pseudo, "main", PseudoVersion)
	r.Branch(Pseudo, "0123456789ab", PseudoVersion)
	r.Add(Incompatible, "v2.1.0+incompatible", day(10), map[string]string{"old.go": text("old", "Version", "v2.1.0")})
	r.Add(App, "v1.0.0", day(11), map[string]string{
		"go.mod": "module " + App + "\n\ngo 1.21\n\nrequire (\n\t" + Capital + " v0.3.1\n\t" + Major2 + " v2.0.0\n\t" +
			Pseudo + " " + PseudoVersion + "\n\t" + Incompatible + " v2.1.0+incompatible\n\t" + Plain + " v1.2.0\n)\n\nrequire " + Major + " v1.5.0 // indirect\n",
		"app.go": "// Command app prints the versions of its modules.\npackage main\n\nimport (\n\t\"fmt\"\n\n\ttoml \"" + Capital +
			"\"\n\t\"" + Major2 + "\"\n\told \"" + Incompatible + "\"\n\t\"" + Plain + "\"\n\t\"" + Pseudo +
			"\"\n)\n\nfunc main() {\n\tfmt.Println(toml.Version, major.Version, old.Version, plain.Version, pseudo.Version)\n}\n",
	})
}

package cargotest

import (
	"fmt"
	"time"
)

// The crates of the default content.
const (
	// Core has 1.0.0 to 1.2.0, of which 1.1.0 is yanked, and 1.3.0-alpha.1.
	Core = "tiny-core"
	// Capital has capitals in its name and depends on Core.
	Capital = "Capital-Crate"
	// Underscore has an underscore in its name.
	Underscore = "under_score"
	// Renamer uses Core under another name.
	Renamer = "renamer"
	// Meta has the version MetaVersion, with build metadata.
	Meta = "build-meta"
	// Wide has an index line beyond 64 KiB.
	Wide = "wide"
	// One, Two and Three have names of as many letters.
	One, Two, Three = "q", "ab", "xyz"
	// Untimed has no pubtime.
	Untimed = "untimed"
	// App depends on all others and prints their versions.
	App = "app-lib"
)

// MetaVersion is the only version of Meta.
const MetaVersion = "0.1.0+meta.1"

// AppOutput is what App's function report returns.
const AppOutput = "tiny-core 1.2.0; Capital-Crate 0.2.0 on tiny-core 1.2.0; under_score 1.0.0; renamer 1.0.0 on tiny-core 1.2.0; build-meta 0.1.0; wide 1.0.0; q 1.0.0; ab 1.0.0; xyz 1.0.0; untimed 1.0.0"

func addDefaults(r *Registry) {
	day := func(n int) time.Time { return time.Date(2025, 3, n, 9, 8, 7, 0, time.UTC) }
	name := func(text string) string {
		return fmt.Sprintf("//! A test crate.\n/// Its name and version.\npub fn name() -> String { String::from(%q) }\n", text)
	}
	on := func(text, crate string) string {
		return fmt.Sprintf("//! A test crate.\n/// Its name and version, and its dependency's.\npub fn name() -> String { format!(\"%s on {}\", %s::name()) }\n", text, crate)
	}
	for i, v := range []string{"1.0.0", "1.1.0", "1.2.0", "1.3.0-alpha.1"} {
		r.Add(Crate{Name: Core, Version: v, Published: day(i + 1), Lib: name(Core + " " + v), Yanked: v == "1.1.0",
			Features: map[string][]string{"default": {"std"}, "std": {}, "extra": {}}})
	}
	for i, v := range []string{"0.1.0", "0.2.0"} {
		r.Add(Crate{Name: Capital, Version: v, Published: day(i + 5), Lib: on(Capital+" "+v, "tiny_core"),
			Deps: []Dep{{Name: Core, Req: "^1.0", Features: []string{"extra"}}}})
	}
	r.Add(Crate{Name: Underscore, Version: "1.0.0", Published: day(7), Lib: name("under_score 1.0.0")})
	r.Add(Crate{Name: Renamer, Version: "1.0.0", Published: day(8), Lib: on("renamer 1.0.0", "kernel"),
		Deps: []Dep{{Name: "kernel", Package: Core, Req: "1.2", NoDefault: true}, {Name: "absent", Req: "1", Optional: true},
			{Name: Underscore, Req: "1", Kind: "dev"}, {Name: Underscore, Req: "1", Target: "cfg(windows)"}},
		Features: map[string][]string{"more": {"dep:absent"}}})
	r.Add(Crate{Name: Meta, Version: MetaVersion, Published: day(9), Lib: name("build-meta 0.1.0")})
	features := make(map[string][]string)
	for i := range 3000 {
		features[fmt.Sprintf("feature-number-%04d", i)] = []string{}
	}
	r.Add(Crate{Name: Wide, Version: "1.0.0", Published: day(10), Lib: name("wide 1.0.0"), Features: features})
	for i, n := range []string{One, Two, Three} {
		r.Add(Crate{Name: n, Version: "1.0.0", Published: day(11 + i), Lib: name(n + " 1.0.0")})
	}
	r.Add(Crate{Name: Untimed, Version: "1.0.0", NoTime: true, Lib: name("untimed 1.0.0")})
	r.Add(Crate{Name: App, Version: "1.0.0", Published: day(14),
		Deps: []Dep{{Name: Core, Req: "1"}, {Name: Capital, Req: "0.2"}, {Name: Underscore, Req: "1"}, {Name: Renamer, Req: "1"}, {Name: Meta, Req: "0.1"},
			{Name: Wide, Req: "1"}, {Name: One, Req: "1"}, {Name: Two, Req: "1"}, {Name: Three, Req: "1"}, {Name: Untimed, Req: "1"}},
		Lib:  "//! Prints what it is made of.\n/// All names and versions.\npub fn report() -> String {\n    [tiny_core::name(), Capital_Crate::name(), under_score::name(), renamer::name(), build_meta::name(),\n     wide::name(), q::name(), ab::name(), xyz::name(), untimed::name()].join(\"; \")\n}\n",
		Main: "fn main() { println!(\"{}\", app_lib::report()); }\n"})
}

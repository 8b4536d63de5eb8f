package npmtest

import (
	"fmt"
	"strings"
)

// Default returns a registry with the default content: small packages that
// depend on each other and hold one odd case each. Installing tiny-app brings
// in most of them.
func Default() *Registry {
	r := New()
	r.AddDefault()
	return r
}

// AddDefault adds the default content.
func (r *Registry) AddDefault() {
	for _, v := range []string{"1.0.0", "1.1.0", "2.0.0"} {
		r.Add(Package{Name: "tiny-left", Version: v})
	}
	r.Add(Package{Name: "tiny-right", Version: "1.0.0", Dependencies: map[string]string{"tiny-left": "^1.0.0"}})
	r.Add(Package{Name: "tiny-right", Version: "1.0.1", Dependencies: map[string]string{"tiny-left": "^1.0.0"}})

	// Scoped, with a prerelease under its own tag.
	r.Add(Package{Name: "@tiny/core", Version: "1.0.0"})
	r.Add(Package{Name: "@tiny/core", Version: "1.2.0"})
	r.Add(Package{Name: "@tiny/core", Version: "2.0.0-beta.1", Tag: "beta"})
	r.Add(Package{
		Name: "@tiny/cli", Version: "0.3.0", Bin: map[string]string{"tiny-cli": "./bin/cli.js"},
		Dependencies: map[string]string{"@tiny/core": "^1.0.0", "tiny-right": "~1.0.0"},
	})

	// A name with capitals, as old packages have.
	r.Add(Package{Name: "TinyCaps", Version: "0.9.0"})
	r.Add(Package{Name: "TinyCaps", Version: "1.0.0", Dependencies: map[string]string{"tiny-left": "2.x"}})

	// One optional dependency installs nowhere.
	r.Add(Package{Name: "tiny-platform", Version: "1.0.0", Extra: map[string]any{"os": []string{"aix"}, "cpu": []string{"ppc64"}}})
	r.Add(Package{
		Name: "tiny-optional", Version: "1.0.0",
		OptionalDependencies: map[string]string{"tiny-platform": "1.0.0", "tiny-left": "^2.0.0"},
	})

	r.Add(Package{Name: "tiny-deprecated", Version: "1.0.0", Deprecated: "use tiny-left: it is \"newer\""})
	r.Add(Package{Name: "tiny-script", Version: "1.0.0", Scripts: map[string]string{
		"postinstall": `node -e "require('fs').writeFileSync('ran.txt','yes')"`,
	}})
	r.Add(Package{Name: "@tiny/attested", Version: "1.0.0", Attested: true})
	r.Add(Package{Name: "tiny-attested", Version: "3.1.4", Attested: true, Extra: map[string]any{
		"engines": map[string]string{"node": ">=10"}, "funding": "https://fund.example/",
	}})
	r.Add(Package{Name: "tiny-sha1", Version: "0.1.0", Old: true})

	// 1.0.1 was taken back: only its time is left.
	for _, v := range []string{"1.0.0", "1.0.1", "1.0.2"} {
		r.Add(Package{Name: "tiny-retracted", Version: v})
	}
	r.Unpublish("tiny-retracted", "1.0.1")

	// Tarballs that are not where the canonical layout has them.
	r.Add(Package{Name: "tiny-scattered", Version: "1.0.0"})
	r.Add(Package{Name: "tiny-scattered", Version: "1.0.1"})
	r.Scatter("tiny-scattered")

	r.Add(Package{Name: "tiny-app", Version: "1.0.0", Dependencies: map[string]string{
		"@tiny/cli": "^0.3.0", "@tiny/attested": "1.0.0", "TinyCaps": "^1.0.0", "tiny-attested": "*",
		"tiny-optional": "^1.0.0", "tiny-retracted": "^1.0.0", "tiny-scattered": "^1.0.0", "tiny-sha1": "0.x",
	}})
}

// AddFat adds a package with n versions whose packument takes about 2.2 KB for
// each, as those of busy packages do.
func (r *Registry) AddFat(name string, n int) {
	deps := map[string]string{}
	for i := range 24 {
		deps[fmt.Sprintf("some-dependency-number-%02d", i)] = fmt.Sprintf("^%d.%d.0", i%5, i)
	}
	scripts := map[string]string{}
	for i := range 8 {
		scripts[fmt.Sprintf("task-%d", i)] = strings.Repeat("run ", 12)
	}
	for i := range n {
		r.Add(Package{
			Name: name, Version: fmt.Sprintf("%d.%d.%d", 1+i/100, i/10%10, i%10),
			DevDependencies: deps, Scripts: scripts,
			Extra: map[string]any{"engines": map[string]string{"node": ">=18"}},
		})
	}
}

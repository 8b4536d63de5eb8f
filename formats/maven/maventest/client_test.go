package maventest

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestRealMavenResolvesTheDefaultContent(t *testing.T) {
	reg := New()
	srv := httptest.NewServer(reg)
	defer srv.Close()
	p := NewProject(t, srv.URL+"/")
	if out, err := p.Maven(t); err != nil {
		t.Fatalf("mvn: %v\n%s", err, out)
	}
	p.Installed(t, reg)
}

func TestRealGradleResolvesTheDefaultContent(t *testing.T) {
	reg := New()
	srv := httptest.NewServer(reg)
	defer srv.Close()
	p := NewProject(t, srv.URL+"/")
	if out, err := p.Gradle(t); err != nil {
		t.Fatalf("gradle: %v\n%s", err, out)
	}
	for _, want := range []string{"gamma_2.12_1.0-0.3.jar", "beta-1.0.jar", "natives-1.0-linux-x86_64.jar", "Delta.Core-1.0+build.5.jar", "alpha-1.1.jar", "modular-1.0.jar", "snap-1.0-SNAPSHOT.jar"} {
		if _, err := os.Stat(filepath.Join(p.Dir, "lib", want)); err != nil {
			t.Errorf("%s was not copied: %v", want, err)
		}
	}
}

func TestImmutabilityIsPoliced(t *testing.T) {
	reg := New()
	again := func() { reg.Add(Package{Group: Group, Artifact: "parent", Version: "1", Packaging: "pom"}) }
	again() // the same bytes are no change
	defer func() {
		if recover() == nil {
			t.Error("other bytes under a published path did not panic")
		}
	}()
	reg.Add(Package{Group: Group, Artifact: "parent", Version: "1", Packaging: "pom", Deps: []Dep{{Group: "x", Artifact: "y", Version: "1"}}})
}

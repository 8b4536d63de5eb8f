package maventest

import "time"

// Group is the group of the default content.
const Group = "com.example.larder"

// The coordinates of the plugin by which mvn resolves a project.
const (
	PluginArtifact = "deps-maven-plugin"
	PluginPrefix   = "deps"
	PluginVersion  = "1.0"
)

// New returns a repository with the default content:
//
//	alpha 1.0 1.1 2.0-beta-1 2.0   no dependencies; tests, sources, javadoc; signed
//	parent 1, bom 1                POMs only; bom manages alpha 1.1 and natives 1.0
//	beta 1.0 1.1                   child of parent, imports bom, needs alpha (managed)
//	gamma_2.12_1.0 0.3             an sbt plugin's name; needs beta 1.0
//	Delta.Core 1.0+build.5         capitals, a dot in the artifact, "+" in the version
//	natives 1.0                    with classifier linux-x86_64; bigger (400 kB)
//	modular 1.0                    with Gradle module metadata; needs alpha 1.0
//	ranged 1.0                     needs alpha [1.0,2.0), which for Maven is 2.0-beta-1
//	epsilon 1.0                    relocated to alpha 1.1 (Maven's word for deprecated)
//	snap 1.0-SNAPSHOT              two timestamped builds; needs alpha 1.0
//	legacy 0.1-SNAPSHOT            a snapshot without timestamps
//	deps-maven-plugin 1.0          the goal deps:deps; see AddPlugin
func New() *Registry {
	r := Empty()
	day := func(n int) time.Time { return Epoch.AddDate(0, 0, n) }
	alpha := func(v string) Dep { return Dep{Group: Group, Artifact: "alpha", Version: v} }
	for i, v := range []string{"1.0", "1.1", "2.0-beta-1", "2.0"} {
		r.Add(Package{Group: Group, Artifact: "alpha", Version: v, At: day(i), Signed: true, Classifiers: []string{"sources", "javadoc", "tests"}})
	}
	r.Add(Package{Group: Group, Artifact: "parent", Version: "1", Packaging: "pom"})
	r.Add(Package{Group: Group, Artifact: "natives", Version: "1.0", Classifiers: []string{"linux-x86_64"}, Padding: 400 << 10})
	r.Add(Package{Group: Group, Artifact: "bom", Version: "1", Packaging: "pom", Managed: []Dep{
		alpha("1.1"), {Group: Group, Artifact: "natives", Version: "1.0"},
		{Group: Group, Artifact: "natives", Version: "1.0", Classifier: "linux-x86_64"},
	}})
	for i, v := range []string{"1.0", "1.1"} {
		r.Add(Package{
			Group: Group, Artifact: "beta", Version: v, At: day(10 + i),
			Parent:  &Dep{Group: Group, Artifact: "parent", Version: "1"},
			Managed: []Dep{{Group: Group, Artifact: "bom", Version: "1", Type: "pom", Scope: "import"}},
			Deps:    []Dep{alpha("")},
		})
	}
	r.Add(Package{Group: Group, Artifact: "gamma_2.12_1.0", Version: "0.3", Deps: []Dep{{Group: Group, Artifact: "beta", Version: "1.0"}}})
	r.Add(Package{Group: "Com.Example.Larder", Artifact: "Delta.Core", Version: "1.0+build.5"})
	r.Add(Package{Group: Group, Artifact: "modular", Version: "1.0", Module: true, Deps: []Dep{alpha("1.0")}})
	r.Add(Package{Group: Group, Artifact: "ranged", Version: "1.0", Deps: []Dep{alpha("[1.0,2.0)")}})
	moved := alpha("1.1")
	r.Add(Package{Group: Group, Artifact: "epsilon", Version: "1.0", Relocated: &moved})
	r.AddSnapshot(Package{Group: Group, Artifact: "snap", Version: "1.0-SNAPSHOT", Deps: []Dep{alpha("1.0")}}, day(20), 1)
	r.AddSnapshot(Package{Group: Group, Artifact: "snap", Version: "1.0-SNAPSHOT", Deps: []Dep{alpha("1.1")}}, day(21), 2)
	r.Add(Package{Group: Group, Artifact: "legacy", Version: "0.1-SNAPSHOT"})
	r.AddPlugin(Group, PluginArtifact, PluginPrefix, PluginVersion)
	// Maven adds this one to every plugin that does not name it.
	r.Add(Package{Group: "org.codehaus.plexus", Artifact: "plexus-utils", Version: "1.1"})
	return r
}

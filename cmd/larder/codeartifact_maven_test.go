package main

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/formats/maven/maventest"
)

const mavenGroup = "com.example.checks"

// mavenStatus is the status of a version, "" where there is none.
func (s *packageSite) mavenStatus(t *testing.T, repo, artifact, version string) string {
	t.Helper()
	out, err := s.api.DescribePackageVersion(t.Context(), &codeartifact.DescribePackageVersionInput{Domain: aws.String(siteDomain), Repository: &repo,
		Format: types.PackageFormatMaven, Namespace: aws.String(mavenGroup), Package: &artifact, PackageVersion: &version})
	if errorCode(t, err) == "ResourceNotFoundException" {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out.PackageVersion.Status)
}

// deploy puts the files of one snapshot build as Maven's deploy plugin does,
// which cannot be had without the registry that it comes from: archive and POM
// with their checksums, then metadata with its own. testdata/script has mvn itself
// deploy, with a plugin made there.
func (s *packageSite) deploy(t *testing.T, repo string, reg *maventest.Registry, artifact, version, build string) {
	t.Helper()
	dir := maventest.Dir(mavenGroup, artifact, version)
	stem := dir + artifact + "-" + strings.TrimSuffix(version, "SNAPSHOT") + build
	for _, p := range []string{stem + ".jar", stem + ".pom", dir + "maven-metadata.xml", path.Dir(path.Clean(dir)) + "/maven-metadata.xml"} {
		body, ok := reg.File(p)
		if !ok {
			t.Fatalf("no %s in %q", p, reg.Paths())
		}
		s.wants(t, 201, "PUT", s.path("maven", repo)+p, string(body))
		s.wants(t, 200, "PUT", s.path("maven", repo)+p+".md5", fmt.Sprintf("%x", md5.Sum(body)))
		s.wants(t, 200, "PUT", s.path("maven", repo)+p+".sha1", fmt.Sprintf("%x", sha1.Sum(body)))
	}
}

func checkMavenDeploy(t *testing.T, s *packageSite) {
	repo := s.repository(t, "maven-deploy", "public:maven-central")
	reg := maventest.Empty()
	reg.Add(maventest.Package{Group: mavenGroup, Artifact: "deployed", Version: "1.0"})
	dir := s.path("maven", repo) + maventest.Dir(mavenGroup, "deployed", "1.0")
	file := func(name string) string {
		t.Helper()
		body, ok := reg.File(maventest.Dir(mavenGroup, "deployed", "1.0") + name)
		if !ok {
			t.Fatalf("no %s in %q", name, reg.Paths())
		}
		return string(body)
	}
	jar := file("deployed-1.0.jar")
	sum := fmt.Sprintf("%x", sha1.Sum([]byte(jar)))
	s.wants(t, 404, "PUT", dir+"deployed-1.0.jar.sha1", sum)
	s.wants(t, 201, "PUT", dir+"deployed-1.0.jar", jar)
	if got := s.mavenStatus(t, repo, "deployed", "1.0"); got != "Unfinished" {
		t.Errorf("status after the first file: %s", got)
	}
	s.wants(t, 404, "GET", dir+"deployed-1.0.jar", "")
	s.wants(t, 400, "PUT", dir+"deployed-1.0.jar.sha1", strings.ToUpper(sum))
	s.wants(t, 400, "PUT", dir+"deployed-1.0.jar.sha1", strings.Repeat("0", 40))
	s.wants(t, 201, "PUT", dir+"deployed-1.0.pom", file("deployed-1.0.pom"))
	meta := s.path("maven", repo) + "com/example/checks/deployed/maven-metadata.xml"
	body, ok := reg.File("com/example/checks/deployed/maven-metadata.xml")
	if !ok {
		t.Fatalf("no metadata in %q", reg.Paths())
	}
	// Metadata of the artifact in the version's place, and after a wrong checksum.
	s.wants(t, 400, "PUT", dir+"maven-metadata.xml", string(body))
	s.wants(t, 400, "PUT", meta, string(body))
	if got := s.mavenStatus(t, repo, "deployed", "1.0"); got != "Unfinished" {
		t.Errorf("status after a wrong checksum: %s", got)
	}
	s.wants(t, 200, "PUT", dir+"deployed-1.0.jar.sha1", sum)
	s.wants(t, 201, "PUT", meta, string(body))
	if got := s.mavenStatus(t, repo, "deployed", "1.0"); got != "Published" {
		t.Errorf("status after the metadata: %s", got)
	}
	if got := s.wants(t, 200, "GET", dir+"deployed-1.0.jar.sha1", ""); got.body != sum {
		t.Errorf("checksum %q, want %s", got.body, sum)
	}
	s.wants(t, 409, "PUT", dir+"deployed-1.0.jar", file("deployed-1.0.pom"))
	s.mavenResolves(t, repo, "deployed", "1.0", jar)
}

// mavenResolves lets the real mvn resolve what was deployed, with a plugin that
// the repository ingests for it.
func (s *packageSite) mavenResolves(t *testing.T, repo, artifact, version, jar string) {
	t.Helper()
	sh := s.shell(t, "mvn")
	s.maven.AddPlugin("com.example.plugins", "deps-plugin", "deps", "1.0")
	s.maven.Add(maventest.Package{Group: "org.codehaus.plexus", Artifact: "plexus-utils", Version: "1.1"}) // Maven gives it to every plugin
	sh.write("settings.xml", `<settings><localRepository>`+sh.path("repo")+`</localRepository>
<servers><server><id>larder</id><username>aws</username><password>`+s.bearer+`</password></server></servers>
<mirrors><mirror><id>larder</id><mirrorOf>*</mirrorOf><url>`+s.base+s.path("maven", repo)+`</url></mirror></mirrors>
<profiles><profile><id>all</id><repositories><repository><id>all</id><url>http://registry.example/</url>
<releases><checksumPolicy>fail</checksumPolicy></releases><snapshots><enabled>true</enabled><checksumPolicy>fail</checksumPolicy></snapshots>
</repository></repositories></profile></profiles><activeProfiles><activeProfile>all</activeProfile></activeProfiles></settings>`)
	sh.write("pom.xml", `<project><modelVersion>4.0.0</modelVersion><groupId>app</groupId><artifactId>app</artifactId><version>1</version><packaging>pom</packaging>
<dependencies><dependency><groupId>`+mavenGroup+`</groupId><artifactId>`+artifact+`</artifactId><version>`+version+`</version></dependency></dependencies></project>`)
	sh.env = append(sh.env, "MAVEN_OPTS=-Duser.home="+sh.home)
	sh.must(".", "mvn", "-B", "-q", "-s", "settings.xml", "com.example.plugins:deps-plugin:1.0:deps")
	if got := sh.read(sh.path("repo/" + maventest.Dir(mavenGroup, artifact, version) + artifact + "-" + version + ".jar")); got != jar {
		t.Errorf("mvn has %d bytes of %s, not the %d that were deployed", len(got), artifact, len(jar))
	}
}

func checkMavenChecksums(t *testing.T, s *packageSite) {
	sh := s.shell(t, "curl")
	repo := s.repository(t, "maven-checksums", "public:maven-central")
	at := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	s.maven.Add(maventest.Package{Group: mavenGroup, Artifact: "summed", Version: "2.0", At: at})
	file := maventest.Dir(mavenGroup, "summed", "2.0") + "summed-2.0.jar"
	want, _ := s.maven.File(file)
	curl := func(name string) string {
		t.Helper()
		return sh.must(".", "curl", "-sSf", "-u", "aws:"+s.bearer, "-D", "head", s.base+s.path("maven", repo)+name)
	}
	check := func(when string) {
		t.Helper()
		if got := curl(file); got != string(want) {
			t.Errorf("%s: %d bytes, want %d", when, len(got), len(want))
		}
		if head := strings.ToLower(sh.read(sh.path("head"))); !strings.Contains(head, strings.ToLower("\nLast-Modified: "+at.Format(http.TimeFormat))) {
			t.Errorf("%s: no Last-Modified of %s in\n%s", when, at, head)
		}
		for ext, sum := range map[string]string{"md5": fmt.Sprintf("%x", md5.Sum(want)), "sha1": fmt.Sprintf("%x", sha1.Sum(want)),
			"sha256": fmt.Sprintf("%x", sha256.Sum256(want)), "sha512": fmt.Sprintf("%x", sha512.Sum512(want))} {
			if got := curl(file + "." + ext); got != sum {
				t.Errorf("%s: .%s is %q, want %s", when, ext, got, sum)
			}
		}
	}
	check("cold")
	waitFor(t, func() bool { return s.mavenStatus(t, repo, "summed", "2.0") == "Published" })
	check("retained")
}

func checkMavenSnapshots(t *testing.T, s *packageSite) {
	repo := s.repository(t, "maven-snapshots")
	reg := maventest.Empty()
	p := maventest.Package{Group: mavenGroup, Artifact: "moving", Version: "1.0-SNAPSHOT", Note: "first"}
	at := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	reg.AddSnapshot(p, at, 1)
	s.deploy(t, repo, reg, "moving", "1.0-SNAPSHOT", "20240203.040506-1")
	if got := s.mavenStatus(t, repo, "moving", "1.0-SNAPSHOT"); got != "Published" {
		t.Errorf("status after the first deploy: %q", got)
	}
	p.Note = "second"
	reg.AddSnapshot(p, at.Add(time.Hour), 2)
	s.deploy(t, repo, reg, "moving", "1.0-SNAPSHOT", "20240203.050506-2")
	out, err := s.api.ListPackageVersions(t.Context(), &codeartifact.ListPackageVersionsInput{Domain: aws.String(siteDomain), Repository: &repo,
		Format: types.PackageFormatMaven, Namespace: aws.String(mavenGroup), Package: aws.String("moving")})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range out.Versions {
		got[*v.Version] = string(v.Status)
	}
	if got["1.0-SNAPSHOT"] != "Published" || got["1.0-20240203.040506-1"] != "Unlisted" || len(got) > 3 {
		t.Errorf("versions: %v", got)
	}
	var jars []string
	for _, build := range []string{"20240203.040506-1", "20240203.050506-2"} {
		name := maventest.Dir(mavenGroup, "moving", "1.0-SNAPSHOT") + "moving-1.0-" + build + ".jar"
		want, _ := reg.File(name)
		if a := s.wants(t, 200, "GET", s.path("maven", repo)+name, ""); a.body != string(want) {
			t.Errorf("build %s has other bytes", build)
		}
		jars = append(jars, string(want))
	}
	if jars[0] == jars[1] {
		t.Fatal("the builds do not differ")
	}
	meta := s.wants(t, 200, "GET", s.path("maven", repo)+maventest.Dir(mavenGroup, "moving", "1.0-SNAPSHOT")+"maven-metadata.xml", "").body
	if !strings.Contains(meta, "<buildNumber>2</buildNumber>") {
		t.Errorf("the newest build is not named:\n%s", meta)
	}
}

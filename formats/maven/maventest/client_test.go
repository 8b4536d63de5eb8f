package maventest

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// client finds a real client. Its absence is reported loudly; .ci/run sets
// LARDER_REQUIRE_CLIENTS, which forbids such skips.
func client(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err == nil {
		return p
	}
	if os.Getenv("LARDER_REQUIRE_CLIENTS") != "" {
		t.Fatalf("%s is not installed, and LARDER_REQUIRE_CLIENTS is set", name)
	}
	t.Skipf("SKIPPED: the real client %s is not installed; nothing was checked", name)
	return ""
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func run(t *testing.T, dir string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const projectPOM = `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>app</groupId><artifactId>app</artifactId><version>1</version><packaging>pom</packaging>
  <parent><groupId>com.example.larder</groupId><artifactId>parent</artifactId><version>1</version><relativePath/></parent>
  <dependencyManagement><dependencies>
    <dependency><groupId>com.example.larder</groupId><artifactId>bom</artifactId><version>1</version><type>pom</type><scope>import</scope></dependency>
  </dependencies></dependencyManagement>
  <dependencies>
    <dependency><groupId>com.example.larder</groupId><artifactId>gamma_2.12_1.0</artifactId><version>0.3</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>natives</artifactId><classifier>linux-x86_64</classifier></dependency>
    <dependency><groupId>Com.Example.Larder</groupId><artifactId>Delta.Core</artifactId><version>1.0+build.5</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>ranged</artifactId><version>1.0</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>epsilon</artifactId><version>1.0</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>snap</artifactId><version>1.0-SNAPSHOT</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>legacy</artifactId><version>0.1-SNAPSHOT</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>modular</artifactId><version>1.0</version></dependency>
  </dependencies>
</project>
`

func settingsXML(url, repo string) string {
	return `<settings>
  <localRepository>` + repo + `</localRepository>
  <pluginGroups><pluginGroup>com.example.larder</pluginGroup></pluginGroups>
  <mirrors><mirror><id>larder</id><mirrorOf>*</mirrorOf><url>` + url + `</url></mirror></mirrors>
  <profiles><profile><id>snapshots</id><repositories><repository><id>snapshots</id><url>http://registry.example/</url>
    <snapshots><enabled>true</enabled><checksumPolicy>fail</checksumPolicy></snapshots><releases><checksumPolicy>fail</checksumPolicy></releases>
  </repository></repositories></profile></profiles>
  <activeProfiles><activeProfile>snapshots</activeProfile></activeProfiles>
</settings>
`
}

func TestRealMavenResolvesTheDefaultContent(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Java virtual machine")
	}
	mvn := client(t, "mvn")
	reg := New()
	srv := httptest.NewServer(reg)
	defer srv.Close()
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	write(t, dir, map[string]string{"pom.xml": projectPOM, "settings.xml": settingsXML(srv.URL+"/", repo)})
	out, err := run(t, dir, nil, mvn, "-B", "-C", "-s", "settings.xml", "-Dmaven.repo.local="+repo, PluginPrefix+":deps")
	t.Log(strings.Join(reg.Requests(), "\n"))
	if err != nil {
		t.Fatalf("mvn: %v\n%s", err, out)
	}
	for _, want := range []string{
		"com/example/larder/gamma_2.12_1.0/0.3/gamma_2.12_1.0-0.3.jar",
		"com/example/larder/natives/1.0/natives-1.0-linux-x86_64.jar",
		"Com/Example/Larder/Delta.Core/1.0+build.5/Delta.Core-1.0+build.5.jar",
		"com/example/larder/alpha/1.1/alpha-1.1.jar",
		"com/example/larder/snap/1.0-SNAPSHOT/snap-1.0-20240322.120000-2.jar",
		"com/example/larder/legacy/0.1-SNAPSHOT/legacy-0.1-SNAPSHOT.jar",
		"com/example/larder/modular/1.0/modular-1.0.jar",
	} {
		got, err := os.ReadFile(filepath.Join(repo, filepath.FromSlash(want)))
		if body, ok := reg.File(want); err != nil || !ok || string(got) != string(body) {
			t.Errorf("%s was not installed as published: %v", want, err)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

const buildGradle = `
repositories { maven { url "URL" } }
configurations { fetched }
dependencies {
  fetched "com.example.larder:gamma_2.12_1.0:0.3"
  fetched "com.example.larder:natives:1.0:linux-x86_64"
  fetched "Com.Example.Larder:Delta.Core:1.0+build.5"
  fetched "com.example.larder:alpha:1.+"
  fetched "com.example.larder:modular:1.0"
  fetched("com.example.larder:snap:1.0-SNAPSHOT") { changing = true }
}
task fetch(type: Copy) { from configurations.fetched; into "lib" }
`

func TestRealGradleResolvesTheDefaultContent(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Java virtual machine")
	}
	gradle := client(t, "gradle")
	reg := New()
	srv := httptest.NewServer(reg)
	defer srv.Close()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"build.gradle": strings.ReplaceAll(buildGradle, "URL", srv.URL+"/"), "settings.gradle": "",
	})
	out, err := run(t, dir, nil, gradle, "--no-daemon", "--console=plain", "-g", filepath.Join(dir, "home"), "fetch")
	t.Log(strings.Join(reg.Requests(), "\n"))
	if err != nil {
		t.Fatalf("gradle: %v\n%s", err, out)
	}
	for _, want := range []string{"gamma_2.12_1.0-0.3.jar", "beta-1.0.jar", "natives-1.0-linux-x86_64.jar", "Delta.Core-1.0+build.5.jar", "alpha-1.1.jar", "modular-1.0.jar", "snap-1.0-SNAPSHOT.jar"} {
		if _, err := os.Stat(filepath.Join(dir, "lib", want)); err != nil {
			t.Errorf("%s was not copied: %v", want, err)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

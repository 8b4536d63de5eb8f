package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"larder/formats/npm/npmtest"
	"larder/formats/pypi/pypitest"
)

func login(sh *shell, tool, repo string, more ...string) string {
	sh.t.Helper()
	return sh.must(".", append([]string{"aws", "codeartifact", "login", "--tool", tool, "--domain", siteDomain, "--domain-owner", siteOwner, "--repository", repo}, more...)...)
}

func checkNpmLogin(t *testing.T, s *packageSite) {
	sh := s.shell(t, "aws", "npm")
	repo := s.repository(t, "login-npm", "public:npmjs")
	s.npm.Add(npmtest.Package{Name: "login-left", Version: "1.0.0"})
	login(sh, "npm", repo)
	rc := sh.read(filepath.Join(sh.home, ".npmrc"))
	if want := "registry=" + s.base + s.path("npm", repo) + "\n"; !strings.Contains(rc, want) {
		t.Errorf("npm's settings have no %q:\n%s", want, rc)
	}
	if out := sh.must(".", "npm", "ping"); strings.Contains(out, "ERR") {
		t.Errorf("ping: %s", out)
	}
	sh.write("app/package.json", `{"name":"app","version":"1.0.0","private":true}`)
	sh.must("app", "npm", "install", "login-left")
	if v := npmtest.Installed(sh.path("app"), "login-left"); v != "1.0.0" {
		t.Errorf("installed %q", v)
	}
	sh.write("mine/package.json", `{"name":"login-mine","version":"1.0.0"}`)
	sh.must("mine", "npm", "publish")
	sh.must("app", "npm", "install", "login-mine@1.0.0")

	// npm's update notifier asks for npm itself without the token.
	a := s.wants(t, 401, "GET", s.path("npm", repo)+"npm", "", "Authorization", "")
	realms := strings.Join(a.header.Values("Www-Authenticate"), "\n")
	for _, want := range []string{`Bearer realm="main/login-npm"`, `Basic realm="main/login-npm"`} {
		if !strings.Contains(realms, want) {
			t.Errorf("challenges %q lack %s", realms, want)
		}
	}
	sh.env = append(sh.env, "npm_config_update_notifier=true", "CI=")
	sh.must("app", "npm", "view", "login-left", "version")
}

func checkNpmScope(t *testing.T, s *packageSite) {
	sh := s.shell(t, "aws", "npm")
	repo := s.repository(t, "login-scope", "public:npmjs")
	s.npm.Add(npmtest.Package{Name: "@scoped/left", Version: "1.0.0"})
	login(sh, "npm", repo, "--namespace", "scoped")
	rc := sh.read(filepath.Join(sh.home, ".npmrc"))
	if !strings.Contains(rc, "@scoped:registry="+s.base+s.path("npm", repo)) {
		t.Errorf("the scope has no registry:\n%s", rc)
	}
	if strings.HasPrefix(rc, "registry=") || strings.Contains(rc, "\nregistry=") {
		t.Errorf("the default registry was changed:\n%s", rc)
	}
	sh.write("app/package.json", `{"name":"app","version":"1.0.0","private":true}`)
	sh.must("app", "npm", "install", "@scoped/left")
	if v := npmtest.Installed(sh.path("app"), "@scoped/left"); v != "1.0.0" {
		t.Errorf("installed %q", v)
	}
	sh.write("mine/package.json", `{"name":"@scoped/mine","version":"1.0.0"}`)
	sh.must("mine", "npm", "publish")
	if got := strings.TrimSpace(sh.must("app", "npm", "view", "@scoped/mine", "version")); got != "1.0.0" {
		t.Errorf("view says %q", got)
	}
}

func checkPipLogin(t *testing.T, s *packageSite) {
	sh := s.shell(t, "aws", "pip")
	repo := s.repository(t, "login-pip", "public:pypi")
	s.pypi.Add(pypitest.Package{Name: "Login.Pip", Version: "1.2.0", Source: true})
	login(sh, "pip", repo)
	if got, want := sh.must(".", "pip", "config", "get", "global.index-url"), s.host()+s.path("pypi", repo)+"simple/"; !strings.Contains(got, want) {
		t.Errorf("index-url is %q, not at %s", got, want)
	}
	sh.must(".", "pip", "install", "--target", "lib", "login_pip")
	if _, err := os.Stat(sh.path("lib/login_pip")); err != nil {
		t.Error(err)
	}
	sh.must(".", "pip", "download", "--dest", "files", "--no-deps", "login-pip==1.2.0")
	got, err := os.ReadDir(sh.path("files"))
	if err != nil || len(got) != 1 || sh.read(sh.path("files/"+got[0].Name())) != string(s.pypi.File(got[0].Name())) {
		t.Errorf("downloaded %v, %v", got, err)
	}
}

func checkTwineLogin(t *testing.T, s *packageSite) {
	sh := s.shell(t, "aws", "pip", "twine")
	repo := s.repository(t, "login-twine")
	built := buildPython(sh, pypitest.Package{Name: "login-twine", Version: "1.0.0", Source: true})
	login(sh, "twine", repo)
	login(sh, "pip", repo)
	if info, err := os.Stat(filepath.Join(sh.home, ".pypirc")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf(".pypirc: %v, %v", info, err)
	}
	sh.must(".", append([]string{"twine", "upload", "--non-interactive", "--repository", "codeartifact"}, built...)...)
	sh.must(".", "pip", "install", "--target", "wheel", "--only-binary", ":all:", "login-twine")
	if _, err := os.Stat(sh.path("wheel/login_twine")); err != nil {
		t.Error(err)
	}
	// Building the source distribution would take a build backend from outside.
	sh.must(".", "pip", "install", "--target", "source", "--no-binary", ":all:", "--no-build-isolation", "--no-deps", "login-twine")
	if _, err := os.Stat(sh.path("source/login_twine")); err != nil {
		t.Error(err)
	}
}

// buildPython writes real distributions below the working directory and returns
// their paths.
func buildPython(sh *shell, p pypitest.Package) (files []string) {
	sh.t.Helper()
	reg := pypitest.Empty()
	reg.Add(p)
	for _, file := range reg.Files(p.Name) {
		sh.write("dist/"+file, string(reg.File(file)))
		files = append(files, sh.path("dist/"+file))
	}
	if len(files) == 0 {
		sh.t.Fatal("nothing was built")
	}
	return files
}

package main

import (
	"strings"
	"testing"

	"larder/formats/cargo/cargotest"
)

func checkCargo(t *testing.T, s *packageSite) {
	sh := s.shell(t, "cargo")
	repo := s.repository(t, "cargo-bare", "public:crates-io")
	s.cargo.Add(cargotest.Crate{Name: "outside", Version: "1.0.0", Lib: "pub fn say() -> &'static str { \"outside\" }\n"})
	a := s.wants(t, 401, "GET", s.path("cargo", repo)+"config.json", "", "Authorization", "")
	if len(a.header.Values("Www-Authenticate")) == 0 {
		t.Error("no challenge")
	}
	// The token alone, with no scheme, is what cargo's providers make it send.
	a = s.wants(t, 200, "GET", s.path("cargo", repo)+"config.json", "", "Authorization", s.bearer)
	if !strings.Contains(a.body, `"auth-required":true`) {
		t.Errorf("config.json: %s", a.body)
	}
	index := "sparse+" + s.base + s.path("cargo", repo)
	config := "[registries.larder]\nindex = \"" + index + "\"\n[registry]\nglobal-credential-providers = [\"cargo:token\"]\n" +
		"[source.crates-io]\nreplace-with = \"larder\"\n"
	sh.env = append(sh.env, "CARGO_REGISTRIES_LARDER_TOKEN="+s.bearer, "CARGO_TARGET_DIR="+sh.path("target"))
	sh.write(".cargo/config.toml", config)
	sh.write("mine/Cargo.toml", "[package]\nname = \"inside\"\nversion = \"0.1.0\"\nedition = \"2021\"\ndescription = \"ours\"\nlicense = \"MIT\"\n[dependencies]\noutside = { version = \"1\", registry = \"larder\" }\n")
	sh.write("mine/src/lib.rs", "pub fn say() -> String { format!(\"inside {}\", outside::say()) }\n")
	sh.must("mine", "cargo", "publish", "-q", "--registry", "larder", "--allow-dirty")
	sh.write("app/Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.0.0\"\nedition = \"2021\"\n")
	sh.write("app/src/main.rs", "fn main() { println!(\"{}\", inside::say()); }\n")
	sh.must("app", "cargo", "add", "-q", "--registry", "larder", "inside")
	if got := sh.must("app", "cargo", "run", "-q"); got != "inside outside\n" {
		t.Errorf("the program says %q", got)
	}
	sh.env = append(sh.env, "CARGO_REGISTRIES_LARDER_TOKEN=wrong")
	sh.fails("401", "mine", "cargo", "publish", "-q", "--registry", "larder", "--allow-dirty", "--no-verify")
}

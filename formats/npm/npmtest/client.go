package npmtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Client is a package manager of this machine, run with a home and caches of
// its own.
type Client struct {
	Name string // "npm", "pnpm", "yarn1", "yarn4", "bun"
	path string
}

// Clients returns the package managers found on the search path. Yarn goes by
// several command names; its version tells which one it is.
func Clients(ctx context.Context) (found []Client) {
	seen := map[string]bool{}
	for _, command := range []string{"npm", "pnpm", "bun", "yarn", "yarnpkg", "yarn1", "yarn4"} {
		path, err := exec.LookPath(command)
		if err != nil {
			continue
		}
		c := Client{command, path}
		if strings.HasPrefix(command, "yarn") {
			cmd := exec.CommandContext(ctx, path, "--version")
			cmd.Dir = os.TempDir()
			out, err := cmd.Output()
			if err != nil {
				continue
			}
			c.Name = "yarn4"
			if strings.HasPrefix(string(out), "1.") {
				c.Name = "yarn1"
			}
		}
		if !seen[c.Name] {
			seen[c.Name] = true
			found = append(found, c)
		}
	}
	return found
}

// Missing names the clients that found lacks.
func Missing(found []Client) (names []string) {
	for _, name := range []string{"npm", "pnpm", "yarn1", "yarn4", "bun"} {
		if !slices.ContainsFunc(found, func(c Client) bool { return c.Name == name }) {
			names = append(names, name)
		}
	}
	return names
}

// Project writes a package.json with the given dependencies, and the client's
// own settings for the registry, into dir.
func (c Client) Project(dir, registry string, deps map[string]string) error {
	body, err := json.Marshal(map[string]any{
		"name": "project", "version": "1.0.0", "private": true, "license": "MIT", "dependencies": deps,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), body, 0o644); err != nil {
		return err
	}
	u, err := url.Parse(registry)
	if err != nil {
		return err
	}
	name, text := ".npmrc", fmt.Sprintf("registry=%s/\n", strings.TrimSuffix(registry, "/"))
	switch c.Name {
	case "yarn4":
		name = ".yarnrc.yml"
		text = fmt.Sprintf("npmRegistryServer: %q\nunsafeHttpWhitelist: [%q]\nnodeLinker: node-modules\nenableTelemetry: false\nenableGlobalCache: false\nenableImmutableInstalls: false\n",
			registry, u.Hostname())
		if err := os.WriteFile(filepath.Join(dir, "yarn.lock"), nil, 0o644); err != nil {
			return err
		}
	case "yarn1":
		if err := os.WriteFile(filepath.Join(dir, ".yarnrc"), fmt.Appendf(nil, "registry %q\n", registry), 0o644); err != nil {
			return err
		}
	case "bun":
		name, text = "bunfig.toml", fmt.Sprintf("[install]\nregistry = %q\nlinker = \"hoisted\"\n", registry)
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
}

// Install installs what dir's package.json asks for, with an empty cache below
// home if home is new. With locked set the lockfile must hold.
func (c Client) Install(ctx context.Context, dir, home string, locked bool) (output string, err error) {
	args := map[string][]string{
		"npm":   {"install", "--no-audit", "--no-fund"},
		"pnpm":  {"install", "--no-frozen-lockfile"},
		"yarn1": {"install", "--non-interactive"},
		"yarn4": {"install"},
		"bun":   {"install"},
	}[c.Name]
	if locked {
		args = map[string][]string{
			"npm":   {"ci", "--no-audit", "--no-fund"},
			"pnpm":  {"install", "--frozen-lockfile"},
			"yarn1": {"install", "--non-interactive", "--frozen-lockfile"},
			"yarn4": {"install", "--immutable"},
			"bun":   {"install", "--frozen-lockfile"},
		}[c.Name]
	}
	return c.Run(ctx, dir, home, args...)
}

// Run starts the client in dir.
func (c Client) Run(ctx context.Context, dir, home string, args ...string) (output string, err error) {
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(),
		"XDG_CACHE_HOME=" + home + "/cache", "XDG_DATA_HOME=" + home + "/data", "XDG_STATE_HOME=" + home + "/state",
		"npm_config_cache=" + home + "/npm-cache", "npm_config_userconfig=" + home + "/.npmrc",
		"npm_config_globalconfig=" + home + "/global.npmrc", "npm_config_update_notifier=false",
		"npm_config_fetch_retries=0",
		"BUN_INSTALL_CACHE_DIR=" + home + "/bun", "BUN_INSTALL=" + home + "/bun-home",
		"YARN_CACHE_FOLDER=" + home + "/yarn-cache", "NO_UPDATE_NOTIFIER=1", "NO_COLOR=1", "CI=",
		"NO_PROXY=*", "no_proxy=*",
	}
	if c.Name == "pnpm" { // npm warns of settings that are not its own
		cmd.Env = append(cmd.Env, "npm_config_store_dir="+home+"/pnpm-store")
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Installed returns the version of a package in dir's node_modules, "" if it is
// not there.
func Installed(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, "node_modules", filepath.FromSlash(name), "package.json"))
	if err != nil {
		return ""
	}
	var m struct{ Version string }
	if json.Unmarshal(b, &m) != nil {
		return ""
	}
	return m.Version
}

// Package writes a package that the client can publish to a registry with a
// token into dir. manifest is its package.json.
func (c Client) Package(dir, registry, token string, manifest map[string]any) error {
	if err := c.Project(dir, registry, nil); err != nil {
		return err
	}
	u, err := url.Parse(registry)
	if err != nil {
		return err
	}
	body, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	npmrc := fmt.Sprintf("registry=%s/\n//%s%s/:_authToken=%s\n", registry, u.Host, u.Path, token)
	files := map[string]string{"package.json": string(body), "README.md": "# Published by " + c.Name + "\n", "index.js": "module.exports = 1\n", ".npmrc": npmrc}
	if c.Name == "yarn4" {
		settings, err := os.ReadFile(filepath.Join(dir, ".yarnrc.yml"))
		if err != nil {
			return err
		}
		files[".yarnrc.yml"] = string(settings) + fmt.Sprintf("npmPublishRegistry: %q\nnpmAuthToken: %q\n", registry, token)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Publish publishes the package in dir under a dist-tag.
func (c Client) Publish(ctx context.Context, dir, home, tag string) (output string, err error) {
	args := map[string][]string{
		"npm":   {"publish", "--tag", tag},
		"pnpm":  {"publish", "--no-git-checks", "--tag", tag},
		"yarn1": {"publish", "--non-interactive", "--tag", tag},
		"yarn4": {"npm", "publish", "--tag", tag},
		"bun":   {"publish", "--tag", tag},
	}[c.Name]
	if c.Name == "yarn4" { // it packs installed projects only
		if out, err := c.Run(ctx, dir, home, "install"); err != nil {
			return out, err
		}
	}
	return c.Run(ctx, dir, home, args...)
}

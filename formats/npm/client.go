package npm

import (
	"cmp"
	"context"
	"path/filepath"
	"regexp"
	"strings"

	"larder/formats"
)

// npmRoot finds the folder npm is installed in: two levels above the file that
// the command on the search path links to, or the usual place below node's
// prefix where the command is a wrapper.
func npmRoot(m formats.Machine) string {
	var candidates []string
	if bin, err := m.LookPath("npm"); err == nil {
		candidates = append(candidates, filepath.Dir(filepath.Dir(bin)))
	}
	if p := nodePrefix(m); p != "" {
		candidates = append(candidates,
			filepath.Join(p, "lib", "node_modules", "npm"),
			filepath.Join(p, "share", "nodejs", "npm"),
			filepath.Join(p, "bin", "node_modules", "npm"))
	}
	for _, dir := range candidates {
		b, err := m.ReadFile(filepath.Join(dir, "package.json"))
		if err == nil && text(find(b, "name")) == "npm" {
			return dir
		}
	}
	return ""
}

// nodePrefix is npm's default prefix: the folder above node's bin
// (@npmcli/config, loadGlobalPrefix).
func nodePrefix(m formats.Machine) string {
	if p := m.Getenv("PREFIX"); p != "" {
		return p
	}
	node, err := m.LookPath("node")
	if err != nil {
		return ""
	}
	return filepath.Join(m.Getenv("DESTDIR"), filepath.Dir(filepath.Dir(node)))
}

// builtinDefault reads the default of "registry" out of npm's installed
// definitions, where its releases since 6 keep it.
func builtinDefault(m formats.Machine, root string) (where, address string) {
	if root == "" {
		return "", ""
	}
	// 'registry', { default: 'URL' since 7; registry: 'URL' before.
	pattern := regexp.MustCompile(`(?m)(?:['"]registry['"]\s*,\s*\{\s*default|^\s*registry)\s*:\s*['"](https?://[^'"\s]+)['"]`)
	for _, file := range [...]string{
		"node_modules/@npmcli/config/lib/definitions/definitions.js",
		"../@npmcli/config/lib/definitions/definitions.js",
		"lib/utils/config/definitions.js",
		"lib/config/defaults.js",
	} {
		b, err := m.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			continue
		}
		if hit := pattern.FindSubmatch(b); hit != nil {
			if a := registryURL(string(hit[1])); a != "" {
				return "npm's built-in default", a
			}
		}
	}
	return "", ""
}

// askClient starts a client that knows its default, as the last resort: it
// costs a third of a second or more.
func askClient(ctx context.Context, m formats.Machine) (where, address string) {
	for _, q := range [...][]string{
		{"npm", "config", "get", "registry"},
		{"pnpm", "config", "get", "registry"},
		{"yarn", "config", "get", "npmRegistryServer"},
		{"yarn", "config", "get", "registry"},
	} {
		if _, err := m.LookPath(q[0]); err != nil {
			continue
		}
		env := []string{"npm_config_update_notifier=false", "NO_UPDATE_NOTIFIER=1", "NO_COLOR=1"}
		out, err := m.Run(ctx, env, q[0], q[1:]...)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(out, "\n") {
			if a := registryURL(cmp.Or(strings.TrimSpace(line), "-")); a != "" {
				return q[0] + " (" + strings.Join(q, " ") + ")", a
			}
		}
	}
	return "", ""
}

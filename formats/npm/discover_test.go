package npm

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"maps"
	"reflect"
	"strings"
	"testing"

	"larder/formats"
)

// machine is a machine that exists on paper.
type machine struct {
	env   map[string]string
	files map[string]string
	bins  map[string]string
	runs  map[string]string // "npm config get registry" -> output
	ran   []string
}

func (m *machine) Getenv(k string) string { return m.env[k] }
func (m *machine) Home() string           { return "/home/ada" }
func (m *machine) ReadFile(p string) ([]byte, error) {
	if b, ok := m.files[p]; ok {
		return []byte(b), nil
	}
	return nil, fs.ErrNotExist
}
func (m *machine) Glob(string) []string { return nil }
func (m *machine) LookPath(name string) (string, error) {
	if p := m.bins[name]; p != "" {
		return p, nil
	}
	return "", errors.New("not found")
}
func (m *machine) Run(_ context.Context, _ []string, name string, args ...string) (string, error) {
	cmd := name + " " + strings.Join(args, " ")
	m.ran = append(m.ran, cmd)
	if out, ok := m.runs[cmd]; ok {
		return out, nil
	}
	return "", errors.New("exit status 1")
}
func (m *machine) TempDir() string { return "/nowhere" }

// npmMachine has npm 11 installed the usual way.
func npmMachine() *machine {
	return &machine{
		env:  map[string]string{},
		bins: map[string]string{"npm": "/usr/lib/node_modules/npm/bin/npm-cli.js", "node": "/usr/bin/node"},
		files: map[string]string{
			"/usr/lib/node_modules/npm/package.json": `{"name":"npm","version":"11.0.0"}`,
			"/usr/lib/node_modules/npm/node_modules/@npmcli/config/lib/definitions/definitions.js": `
  'audit-level': new Definition('audit-level', { default: null }),
  registry: new Definition('registry', {
    default: 'https://builtin.example/',
    type: url,
  }),`,
		},
		runs: map[string]string{},
	}
}

func TestDiscover(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	type reg = formats.Registry
	main := func(url string, opts map[string]string) reg {
		if opts == nil {
			opts = map[string]string{}
		}
		return reg{Name: "public:npmjs", Store: "npm-store", URL: url, Options: opts}
	}
	for _, c := range []struct {
		name  string
		with  func(m *machine)
		where string
		want  []reg
	}{
		{"built-in default", func(m *machine) {}, "npm's built-in default", []reg{main("https://builtin.example/", nil)}},
		{"npm 8", func(m *machine) {
			delete(m.files, "/usr/lib/node_modules/npm/node_modules/@npmcli/config/lib/definitions/definitions.js")
			m.files["/usr/lib/node_modules/npm/lib/utils/config/definitions.js"] = "define('registry', {\n  default: 'https://eight.example/',\n"
		}, "npm's built-in default", []reg{main("https://eight.example/", nil)}},
		{"npm 6", func(m *machine) {
			delete(m.files, "/usr/lib/node_modules/npm/node_modules/@npmcli/config/lib/definitions/definitions.js")
			m.files["/usr/lib/node_modules/npm/lib/config/defaults.js"] = "    readonly: false,\n    registry: 'https://six.example/',\n"
		}, "npm's built-in default", []reg{main("https://six.example/", nil)}},
		{"builtin npmrc", func(m *machine) {
			m.files["/usr/lib/node_modules/npm/npmrc"] = "registry=https://a.example"
		}, "npm config (builtin npmrc)", []reg{main("https://a.example/", nil)}},
		{"global over builtin", func(m *machine) {
			m.files["/usr/lib/node_modules/npm/npmrc"] = "registry=https://a.example"
			m.files["/usr/etc/npmrc"] = "registry=https://b.example/npm"
		}, "npm config (global npmrc)", []reg{main("https://b.example/npm/", nil)}},
		{"global moved by the builtin npmrc", func(m *machine) {
			m.files["/usr/lib/node_modules/npm/npmrc"] = "globalconfig = /etc/npmrc\n"
			m.files["/etc/npmrc"] = "registry=https://b.example"
		}, "npm config (global npmrc)", []reg{main("https://b.example/", nil)}},
		{"prefix of the user", func(m *machine) {
			m.files["/home/ada/.npmrc"] = "prefix=${HOME}/.npm\n"
			m.env["HOME"] = "/home/ada"
			m.files["/home/ada/.npm/etc/npmrc"] = "registry=https://b.example"
		}, "npm config (global npmrc)", []reg{main("https://b.example/", nil)}},
		{"user over global", func(m *machine) {
			m.files["/usr/etc/npmrc"] = "registry=https://b.example/"
			m.files["/home/ada/.npmrc"] = "; mine\n\"registry\" = \"https://c.example/\" \n"
		}, "npm config (user npmrc)", []reg{main("https://c.example/", nil)}},
		{"user file elsewhere", func(m *machine) {
			m.env["NPM_CONFIG_USERCONFIG"] = "/etc/ada.npmrc"
			m.files["/home/ada/.npmrc"] = "registry=https://c.example/"
			m.files["/etc/ada.npmrc"] = "registry=https://d.example/"
		}, "npm config (user npmrc)", []reg{main("https://d.example/", nil)}},
		{"environment over user", func(m *machine) {
			m.files["/home/ada/.npmrc"] = "registry=https://c.example/"
			m.env["npm_config_registry"] = "https://e.example:8443/x?y#z"
		}, "npm config (environment npm_config_registry)", []reg{main("https://e.example:8443/x/", nil)}},
		{"environment in capitals", func(m *machine) { m.env["NPM_CONFIG_REGISTRY"] = "http://e.example" },
			"npm config (environment npm_config_registry)", []reg{main("http://e.example/", nil)}},
		{"our own endpoint is passed over", func(m *machine) {
			m.files["/home/ada/.npmrc"] = "registry=http://127.0.0.1:5273/npm/main/"
		}, "npm's built-in default", []reg{main("https://builtin.example/", nil)}},
		{"nonsense is passed over", func(m *machine) {
			m.files["/home/ada/.npmrc"] = "registry=${NOT_SET}\n"
			m.env["npm_config_registry"] = "file:///etc/passwd"
		}, "npm's built-in default", []reg{main("https://builtin.example/", nil)}},
		{"token by longest prefix", func(m *machine) {
			m.env["TOKEN"] = "s3cret"
			m.files["/home/ada/.npmrc"] = "registry=https://c.example/npm/all/\n//c.example/:_authToken=wrong\n//c.example/npm/:_authToken=${TOKEN}\n"
		}, "npm config (user npmrc)", []reg{main("https://c.example/npm/all/", map[string]string{"token": "s3cret"})}},
		{"token of another host stays there", func(m *machine) {
			m.files["/home/ada/.npmrc"] = "registry=https://c.example/\n//d.example/:_authToken=x\n//c.example:8443/:_authToken=y\n"
		}, "npm config (user npmrc)", []reg{main("https://c.example/", nil)}},
		{"token that is not set", func(m *machine) {
			m.files["/home/ada/.npmrc"] = "registry=https://c.example/\n//c.example/:_authToken=${TOKEN}\n"
		}, "npm config (user npmrc)", []reg{main("https://c.example/", nil)}},
		{"user and password", func(m *machine) {
			m.files["/home/ada/.npmrc"] = "registry=https://c.example/\n//c.example/:username=ada\n//c.example/:_password=" + b64("p@ss:word") + "\n"
		}, "npm config (user npmrc)", []reg{main("https://ada:p%40ss%3Aword@c.example/", nil)}},
		{"basic", func(m *machine) {
			m.files["/home/ada/.npmrc"] = "registry=https://c.example/\n//c.example/:_auth=\"" + b64("ada:x") + "\"\n"
		}, "npm config (user npmrc)", []reg{main("https://ada:x@c.example/", nil)}},
		{"the rest of the way", func(m *machine) {
			m.files["/home/ada/.npmrc"] = "registry=https://c.example/\ncafile=/etc/ca.pem\nhttps-proxy=http://proxy.example:3128\n//c.example/:certfile=/c.pem\n//c.example/:keyfile=/k.pem\n"
		}, "npm config (user npmrc)", []reg{main("https://c.example/", map[string]string{
			"ca_file": "/etc/ca.pem", "proxy": "http://proxy.example:3128", "client_cert": "/c.pem", "client_key": "/k.pem",
		})}},
		{"scopes", func(m *machine) {
			m.files["/usr/etc/npmrc"] = "@Two_b:registry=https://old.example\n"
			m.files["/home/ada/.npmrc"] = "@one:registry=https://one.example/r\n@Two_b:registry=https://two.example/\n@same:registry=https://builtin.example\n//one.example/r/:_authToken=t1\n"
		}, "npm's built-in default", []reg{
			main("https://builtin.example/", map[string]string{"other_scopes": "@Two_b,@one"}),
			{Name: "npm:two-b", Store: "npm-two-b-store", URL: "https://two.example/", Options: map[string]string{"scope": "@Two_b"}},
			{Name: "npm:one", Store: "npm-one-store", URL: "https://one.example/r/", Options: map[string]string{"scope": "@one", "token": "t1"}},
		}},
		{"Yarn 4's home file over a default", func(m *machine) {
			m.files["/home/ada/.yarnrc.yml"] = "nodeLinker: pnp\nnpmRegistryServer: \"https://y.example\"\n"
		}, "user .yarnrc.yml", []reg{main("https://y.example/", nil)}},
		{"Bun's environment", func(m *machine) { m.env["BUN_CONFIG_REGISTRY"] = "https://bun.example" },
			"environment BUN_CONFIG_REGISTRY", []reg{main("https://bun.example/", nil)}},
		{"npm that hides its files is asked", func(m *machine) {
			maps.DeleteFunc(m.files, func(k, _ string) bool { return true })
			m.runs["npm config get registry"] = "npm warn something\nhttps://asked.example/\n"
		}, "npm (npm config get registry)", []reg{main("https://asked.example/", nil)}},
		{"no npm, but Yarn", func(m *machine) {
			m.bins, m.files = map[string]string{"yarn": "/opt/yarn/bin/yarn.js"}, nil
			m.runs["yarn config get npmRegistryServer"] = "https://yarn.example\n"
		}, "yarn (yarn config get npmRegistryServer)", []reg{main("https://yarn.example/", nil)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := npmMachine()
			c.with(m)
			got := New().Discover(t.Context(), m)
			if got.Where != c.where || !reflect.DeepEqual(got.Registries, c.want) {
				t.Errorf("got %q %+v\nwant %q %+v", got.Where, got.Registries, c.where, c.want)
			}
			if len(m.ran) > 0 && !strings.Contains(c.where, "config get") {
				t.Errorf("clients were started although files tell: %v", m.ran)
			}
		})
	}
}

func TestDiscoverNothing(t *testing.T) {
	got := New().Discover(t.Context(), &machine{})
	if len(got.Registries) > 0 || got.Missing == "" || !strings.Contains(got.Example, "[[connection]]") {
		t.Errorf("a machine without clients gives %+v", got)
	}
	if s := New().Setup("http://127.0.0.1:5273/npm/main"); s != "npm config set registry http://127.0.0.1:5273/npm/main/" {
		t.Errorf("Setup = %q", s)
	}
}

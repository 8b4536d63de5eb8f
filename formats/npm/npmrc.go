package npm

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
)

// npmrc is one configuration file of npm, by key. Values are expanded.
type npmrc map[string]string

// parseNpmrc reads an npmrc the way the "ini" package does: "key = value",
// comments behind ; or #, optional quotes. Sections end what npm reads as
// top-level keys. ${VAR} is replaced from the environment; a key or value with
// a variable that is not set is dropped, since the literal is no address and no
// secret (${VAR?} stands for "").
func parseNpmrc(b []byte, getenv func(string) string) npmrc {
	rc := npmrc{}
	for _, line := range strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		if line[0] == '[' && strings.HasSuffix(line, "]") {
			break
		}
		key, val, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		key, ok1 := expand(iniText(key), getenv)
		val, ok2 := expand(iniText(val), getenv)
		if key = strings.TrimSuffix(key, "[]"); ok1 && ok2 && key != "" {
			rc[key] = val
		}
	}
	return rc
}

// iniText undoes quoting and cuts trailing comments.
func iniText(s string) string {
	s = strings.TrimSpace(s)
	if n := len(s); n > 1 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		if s[0] == '\'' {
			return s[1 : n-1]
		}
		var out string
		if json.Unmarshal([]byte(s), &out) == nil {
			return out
		}
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ';' || c == '#':
			return strings.TrimSpace(out.String())
		case c == '\\' && i+1 < len(s):
			i++
			if strings.IndexByte(`\;#`, s[i]) < 0 {
				out.WriteByte('\\')
			}
			out.WriteByte(s[i])
		default:
			out.WriteByte(c)
		}
	}
	return strings.TrimSpace(out.String())
}

// expand replaces ${VAR} and ${VAR?}; ok is false if a variable is not set.
func expand(s string, getenv func(string) string) (out string, ok bool) {
	if !strings.Contains(s, "${") {
		return s, true
	}
	ok = true
	out = regexp.MustCompile(`\$\{[^${}]+\}`).ReplaceAllStringFunc(s, func(m string) string {
		name, optional := strings.CutSuffix(m[2:len(m)-1], "?")
		val := getenv(name)
		if val == "" && !optional {
			ok = false
		}
		return val
	})
	return out, ok
}

// credential is what a client would send to one registry.
type credential struct {
	token          string
	user, password string
	certFile       string
	keyFile        string
}

// credentialFor finds the credential that npm uses for a registry: the setting
// under the longest prefix of "//host/path/" (npm-registry-fetch, auth). get
// returns a setting by its key.
func credentialFor(host, path string, get func(string) string) (c credential) {
	for key := "//" + host + path; len(key) > len("//"); key = parentKey(key) {
		if t := get(key + ":_authToken"); t != "" {
			c.token = t
		} else if a := get(key + ":_auth"); a != "" {
			plain, err := base64.StdEncoding.DecodeString(a)
			if err != nil {
				continue
			}
			c.user, c.password, _ = strings.Cut(string(plain), ":")
		} else if u, p := get(key+":username"), get(key+":_password"); u != "" && p != "" {
			plain, err := base64.StdEncoding.DecodeString(p)
			if err != nil {
				continue
			}
			c.user, c.password = u, string(plain)
		}
		if cert, k := get(key+":certfile"), get(key+":keyfile"); cert != "" && k != "" {
			c.certFile, c.keyFile = cert, k
		}
		if c != (credential{}) {
			return c
		}
	}
	return credential{}
}

// parentKey takes off what follows the last slash, or the slash itself.
func parentKey(key string) string {
	if s, ok := strings.CutSuffix(key, "/"); ok {
		return s
	}
	return key[:strings.LastIndexByte(key, '/')+1]
}

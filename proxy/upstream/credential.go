package upstream

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// secret is one value that comes from the configuration, the environment or a
// file. Files are read again at most every credentialCheck.
type secret struct {
	value string
	file  string
}

// credential holds what is sent to a connection's own origin. The header it
// makes never leaves this package but on the wire.
type credential struct {
	username string
	basic    bool
	password secret // with basic
	token    secret // Bearer
	hasToken bool
	header   map[string]secret // canonical names

	readFile func(string) ([]byte, error)
	now      func() time.Time

	mu struct {
		sync.Mutex
		checked time.Time
		built   http.Header
	}
}

// newCredential reads the files and variables that k names.
func newCredential(k *Connection, inURL *url.Userinfo, env *environment) (*credential, error) {
	c := &credential{readFile: env.readFile, now: env.now, header: map[string]secret{}}
	var err error
	switch {
	case inURL != nil:
		c.basic, c.username = true, inURL.Username()
		c.password.value, _ = inURL.Password()
	case k.Username != "":
		c.basic, c.username = true, k.Username
		if c.password, err = newSecret("password", k.Password, k.PasswordFile, k.PasswordEnv, env); err != nil {
			return nil, err
		}
	case k.Token != "" || k.TokenFile != "" || k.TokenEnv != "":
		c.hasToken = true
		if c.token, err = newSecret("token", k.Token, k.TokenFile, k.TokenEnv, env); err != nil {
			return nil, err
		}
	}
	for name, v := range k.Header {
		c.header[http.CanonicalHeaderKey(name)] = secret{value: v}
	}
	for name, file := range k.HeaderFile {
		c.header[http.CanonicalHeaderKey(name)] = secret{file: file}
	}
	for name, key := range k.HeaderEnv {
		s, err := newSecret("header", "", "", key, env)
		if err != nil {
			return nil, fmt.Errorf("header_env: %w", err)
		}
		c.header[http.CanonicalHeaderKey(name)] = s
	}
	if c.mu.built, err = c.build(); err != nil {
		return nil, err
	}
	c.mu.checked = c.now()
	return c, nil
}

func newSecret(field, value, file, key string, env *environment) (secret, error) {
	if key == "" {
		return secret{value: value, file: file}, nil
	}
	v := strings.TrimSpace(env.getenv(key))
	if v == "" {
		return secret{}, fmt.Errorf("%s_env: the environment variable %s is empty", field, key)
	}
	return secret{value: v}, nil
}

// empty reports that nothing secret is sent.
func (c *credential) empty() bool { return !c.basic && !c.hasToken && len(c.header) == 0 }

// apply adds the credential to the header of a request to the own origin. It
// replaces fields of the same name.
func (c *credential) apply(h http.Header) {
	c.mu.Lock()
	if c.fromFiles() && c.now().Sub(c.mu.checked) >= credentialCheck {
		// A secret that cannot be read now was readable before: the old one is
		// kept, and the upstream says 401 if it is no longer good.
		if built, err := c.build(); err == nil {
			c.mu.built = built
		}
		c.mu.checked = c.now()
	}
	built := c.mu.built
	c.mu.Unlock()
	for name, values := range built {
		h[name] = values
	}
}

func (c *credential) fromFiles() bool {
	if c.password.file != "" || c.token.file != "" {
		return true
	}
	for _, s := range c.header {
		if s.file != "" {
			return true
		}
	}
	return false
}

func (c *credential) build() (http.Header, error) {
	h := http.Header{}
	if c.basic {
		p, err := c.read("password_file", c.password)
		if err != nil {
			return nil, err
		}
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.username+":"+p)))
	}
	if c.hasToken {
		t, err := c.read("token_file", c.token)
		if err != nil {
			return nil, err
		}
		h.Set("Authorization", "Bearer "+t)
	}
	for name, s := range c.header {
		v, err := c.read("header_file", s)
		if err != nil {
			return nil, err
		}
		h.Set(name, v)
	}
	for name, values := range h {
		if !httpguts.ValidHeaderFieldValue(values[0]) {
			return nil, fmt.Errorf("the value for %s holds characters that a header must not hold", name)
		}
	}
	return h, nil
}

func (c *credential) read(field string, s secret) (string, error) {
	if s.file == "" {
		return s.value, nil
	}
	raw, err := c.readFile(s.file)
	if err != nil {
		return "", fmt.Errorf("%s: read secret: %w", field, err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	line = strings.TrimSpace(line)
	if line == "" {
		return "", fmt.Errorf("%s: %w", field, errors.New("the first line of the file is empty"))
	}
	return line, nil
}

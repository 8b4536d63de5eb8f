package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Validate reports everything that is wrong with cfg, one line for each, with
// the field's name as it is written in TOML. It reads no file and no variable.
func (cfg *Config) Validate() error {
	var errs []error
	if err := checkProxy(cfg.Proxy); err != nil {
		errs = append(errs, fmt.Errorf("proxy: %w", err))
	}
	if !httpguts.ValidHeaderFieldValue(cfg.UserAgent) {
		errs = append(errs, errors.New("user_agent: holds characters that a header must not hold"))
	}
	for _, s := range cfg.Internal {
		if _, err := netip.ParsePrefix(s); err != nil {
			errs = append(errs, fmt.Errorf("internal: %q is not an address block such as 2001:db8::/32", s))
		}
	}
	seen := map[string]bool{}
	for i, k := range cfg.Connections {
		where := fmt.Sprintf("connection %q", k.Name)
		if k.Name == "" {
			where = fmt.Sprintf("connection number %d", i+1)
			errs = append(errs, fmt.Errorf("%s: name: is missing", where))
		}
		if seen[k.Name] && k.Name != "" {
			errs = append(errs, fmt.Errorf("%s: name: is used twice", where))
		}
		seen[k.Name] = true
		for _, err := range k.problems() {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	return errors.Join(errs...)
}

func (k *Connection) problems() []error {
	var errs []error
	add := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
	}
	base, user, err := parseBase(k.URL)
	add("url", err)
	for _, h := range k.Hosts {
		if _, err := parseHostRule(h); err != nil {
			add("hosts", fmt.Errorf("%q: %w", h, err))
		}
	}
	add("proxy", checkProxy(k.Proxy))
	if (k.ClientCert == "") != (k.ClientKey == "") {
		add("client_cert", errors.New("client_cert and client_key belong together"))
	}
	if err == nil && k.ClientCert != "" && base.Scheme == "http" {
		add("client_cert", errors.New("needs an https url"))
	}
	errs = append(errs, k.secretProblems(user)...)
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"connect_timeout", k.ConnectTimeout}, {"header_timeout", k.HeaderTimeout}, {"idle_timeout", k.IdleTimeout},
		{"max_wait", k.MaxWait}, {"breaker_pause", k.BreakerPause},
	} {
		if d.value < 0 || d.value > 24*time.Hour {
			add(d.field, fmt.Errorf("%v is not between 0 and 24h", d.value))
		}
	}
	for _, n := range []struct {
		field         string
		value, lo, hi int
	}{{"max_concurrent", k.MaxConcurrent, 0, 10_000}, {"retries", k.Retries, -1, 20}, {"breaker_failures", k.BreakerFailures, -1, 1000}} {
		if n.value < n.lo || n.value > n.hi {
			add(n.field, fmt.Errorf("%d is not between %d and %d", n.value, n.lo, n.hi))
		}
	}
	return errs
}

func (k *Connection) secretProblems(inURL *url.Userinfo) []error {
	var errs []error
	count := func(values ...string) (n int) {
		for _, v := range values {
			if v != "" {
				n++
			}
		}
		return n
	}
	passwords := count(k.Password, k.PasswordFile, k.PasswordEnv)
	tokens := count(k.Token, k.TokenFile, k.TokenEnv)
	if passwords > 1 {
		errs = append(errs, errors.New("password: set only one of password, password_file and password_env"))
	}
	if tokens > 1 {
		errs = append(errs, errors.New("token: set only one of token, token_file and token_env"))
	}
	if passwords > 0 && k.Username == "" {
		errs = append(errs, errors.New("username: is missing beside the password (for a token alone write token)"))
	}
	if inURL != nil && (k.Username != "" || passwords > 0) {
		errs = append(errs, errors.New("url: carries user information beside username and password"))
	}
	if tokens > 0 && (k.Username != "" || inURL != nil) {
		errs = append(errs, errors.New("token: set either a token or a user name"))
	}
	if strings.Contains(k.Username, ":") {
		errs = append(errs, errors.New("username: must not hold a colon"))
	}
	if !httpguts.ValidHeaderFieldValue(k.Token) {
		errs = append(errs, errors.New("token: holds characters that a header must not hold"))
	}
	return append(errs, k.headerProblems(tokens > 0 || k.Username != "" || inURL != nil)...)
}

func (k *Connection) headerProblems(otherAuth bool) []error {
	var errs []error
	seen := map[string]bool{}
	for _, group := range []struct {
		field  string
		values map[string]string
		secret bool
	}{{"header", k.Header, true}, {"header_file", k.HeaderFile, false}, {"header_env", k.HeaderEnv, false}} {
		for _, name := range sortedKeys(group.values) {
			lower := strings.ToLower(name)
			switch {
			case !httpguts.ValidHeaderFieldName(name):
				errs = append(errs, fmt.Errorf("%s: %q is not a header name", group.field, name))
			case reservedHeader(lower):
				errs = append(errs, fmt.Errorf("%s: %s is set by larder itself", group.field, name))
			case seen[lower]:
				errs = append(errs, fmt.Errorf("%s: %s is set twice", group.field, name))
			case lower == "authorization" && otherAuth:
				errs = append(errs, fmt.Errorf("%s: %s beside a token or user name", group.field, name))
			}
			seen[lower] = true
			if group.secret && !httpguts.ValidHeaderFieldValue(group.values[name]) {
				errs = append(errs, fmt.Errorf("%s: the value of %s holds characters that a header must not hold", group.field, name))
			}
		}
	}
	return errs
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// parseBase reads a connection's URL: the base without user information and
// with a trailing slash, and the user information. Errors do not repeat it.
func parseBase(s string) (*url.URL, *url.Userinfo, error) {
	if s == "" {
		return nil, nil, errors.New("is missing")
	}
	u, err := parseURL(s)
	if err != nil {
		return nil, nil, err
	}
	user := u.User
	u.User = nil
	if _, err := originOf(u); err != nil {
		return nil, nil, err
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, nil, errors.New("must not have a query or fragment")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	return u, user, nil
}

// parseURL is url.Parse without the input in its errors, since it may hold a
// secret, and with a limit on length and alphabet.
func parseURL(s string) (*url.URL, error) {
	if len(s) > maxURL {
		return nil, fmt.Errorf("longer than %d bytes", maxURL)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f || s[i] == '\\' {
			return nil, errors.New("holds a control character or a backslash")
		}
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	return u, nil
}

func checkProxy(s string) error {
	if s == "" || s == "none" {
		return nil
	}
	_, err := parseProxy(s)
	return err
}

// parseProxy reads an egress proxy's URL.
func parseProxy(s string) (*url.URL, error) {
	u, err := parseURL(s)
	if err != nil {
		return nil, fmt.Errorf(`%w (write "http://proxy.example:3128", or "none")`, err)
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, errors.New(`must begin with http://, https://, socks5:// or socks5h://, or be "none"`)
	}
	if u.Hostname() == "" {
		return nil, errors.New("names no host")
	}
	if u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("must not have a path, query or fragment")
	}
	u.Path = ""
	return u, nil
}

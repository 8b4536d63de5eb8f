package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"larder/formats"
	"larder/formats/all"
	"larder/policy"
)

// Validate checks the whole configuration, and that a node which can be reached
// from other machines says who may read. All faults come back in one
// *ConfigError. Call it again after flags have changed something.
func (c *Config) Validate() error {
	faults := &ConfigError{}
	if c.doc != nil {
		faults.File = c.doc.file
	}
	c.check(faults)
	c.checkExposure(faults)
	return faults.orNil()
}

// checkExposure refuses a node that listens beyond loopback without a word
// about access. "none" is one: the credentials may all lie in the store.
func (c *Config) checkExposure(faults *ConfigError) {
	key, address := "listen", c.Listen
	if isLoopback(address) && c.TLS.ListenPlain != "" {
		key, address = "tls.listen_plain", c.TLS.ListenPlain
	}
	if isLoopback(address) || c.Access.Anonymous != "loopback" || len(c.Access.Token)+len(c.User)+len(c.Role) > 0 || os.Getenv(adminKeyEnv) != "" {
		return
	}
	faults.add(c.doc.lineOf(key), `%[1]s %[2]q can be reached from other machines, and nothing says who may read. Write one of
	[access]
	anonymous = "read"                # anyone who can reach it may read
or	anonymous = "none"                # only credentials: larder credential create,
	                                  # or %[3]s at the first start
or
	[[access.token]]
	name = "build"
	sha256 = "HEX"                    # printf %%s TOKEN | sha256sum
or
	[[user]]                          # and: larder credential create --user NAME
	name = "ci"
	policies = ["publish"]
or listen on 127.0.0.1`, key, address, adminKeyEnv)
}

// check gathers every fault that a single value or the graph of repositories
// has.
func (c *Config) check(faults *ConfigError) {
	c.checkNode(faults)
	c.checkTLS(faults)
	c.checkLimits(faults)
	c.checkAccess(faults)
	c.checkPrincipals(faults)
	c.checkProviders(faults)
	c.checkEvents(faults)
	c.checkLog(faults)
	c.checkBlocks(faults)
	c.checkUpstream(faults)
	for i := range c.Connection {
		c.checkConnection(faults, i)
	}
	c.checkRepositories(faults)
}

func (c *Config) checkNode(faults *ConfigError) {
	fault := c.reporter(faults)
	checkAddress(fault, "listen", c.Listen)
	if c.Data == "" {
		fault("data", "data is empty: name a directory")
	}
	oneOf(fault, "mode", c.Mode, "online", "offline")
	if !isLabel(c.Domain) {
		fault("domain", "domain %q: want 2 to 50 lower-case letters, digits and hyphens, starting with a letter", c.Domain)
	}
	if len(c.Owner) != 12 || strings.Trim(c.Owner, "0123456789") != "" {
		fault("owner", "owner %q: want 12 digits", c.Owner)
	}
	for _, u := range c.ExternalURL {
		if err := checkURL(u); err != nil {
			fault("external_url", "external_url %q: %s", u, err)
		}
	}
	for _, p := range c.TrustedProxies {
		if _, err := parseNetwork(p); err != nil {
			fault("trusted_proxies", `trusted_proxies: %q is not an address or network such as "10.0.0.0/8"`, p)
		}
	}
}

// checkAddress wants HOST:PORT to listen on.
func checkAddress(fault reportFunc, key, address string) {
	if host, port, err := net.SplitHostPort(address); err != nil {
		fault(key, `%s %q: want HOST:PORT, such as "127.0.0.1:5273"`, key, address)
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		fault(key, "%s %q: %q is not a port from 0 to 65535", key, address, port)
	} else if strings.ContainsAny(host, " /") {
		fault(key, "%s %q: %q is not a host", key, address, host)
	}
}

func (c *Config) checkLimits(faults *ConfigError) {
	fault := c.reporter(faults)
	for key, s := range map[string]Size{"cache.memory": c.Cache.Memory, "cache.disk": c.Cache.Disk, "cache.reserve": c.Cache.Reserve,
		"cache.block_cache": c.Cache.BlockCache, "limits.artifact_max": c.Limits.ArtifactMax} {
		if s < 0 {
			fault(key, "%s: %d is negative", key, int64(s))
		}
	}
	if c.Cache.InlineMax < 1<<10 || c.Cache.InlineMax > 1<<20 {
		fault("cache.inline_max", "cache.inline_max: %s is not between 1KiB and 1MiB", c.Cache.InlineMax)
	}
	if c.Limits.MetadataMax < 1<<20 {
		fault("limits.metadata_max", "limits.metadata_max: %s is below 1MiB, too little for ordinary packages", c.Limits.MetadataMax)
	}
	for key, d := range map[string]Duration{"limits.request_header_timeout": c.Limits.RequestHeaderTimeout, "limits.idle_timeout": c.Limits.IdleTimeout} {
		if d.Duration <= 0 {
			fault(key, "%s: must be more than 0", key)
		}
	}
}

func (c *Config) checkAccess(faults *ConfigError) {
	fault := c.reporter(faults)
	oneOf(fault, "access.anonymous", c.Access.Anonymous, "loopback", "read", "none")
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	names, sums := map[string]int{}, map[string]int{}
	for i, t := range c.Access.Token {
		c.unique(fault, names, "access.token", i, "name", t.Name)
		sum := strings.ToLower(t.SHA256)
		raw, err := hex.DecodeString(sum)
		switch {
		case err != nil || len(raw) != 32:
			fault(at("access.token", i, "sha256"), "sha256: want 64 hex digits (printf %%s TOKEN | sha256sum)")
		case sum == empty:
			fault(at("access.token", i, "sha256"), "sha256: this is the digest of an empty token")
		default:
			c.unique(fault, sums, "access.token", i, "sha256", sum)
		}
		c.checkPolicies(fault, at("access.token", i, "policies"), t.Policies)
	}
}

func (c *Config) checkLog(faults *ConfigError) {
	fault := c.reporter(faults)
	oneOf(fault, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf(fault, "log.format", c.Log.Format, "text", "json")
	if c.Log.Access == "" {
		fault("log.access", `log.access is empty: want "stderr", "off" or a file`)
	}
}

func (c *Config) checkBlocks(faults *ConfigError) {
	fault := c.reporter(faults)
	for i, b := range c.Block {
		checkFormat(fault, at("block", i, "format"), b.Format, false)
		if b.Name == "" {
			fault(at("block", i, "name"), `name is missing: write the package's name, * matches any part of it`)
		} else if _, err := policy.New(policy.Config{Blocks: []policy.Block{{Format: "any", Name: b.Name}}}); err != nil {
			fault(at("block", i, "name"), "name %q is not a pattern: %s", b.Name, errors.Unwrap(err))
		}
		if slices.Contains(b.Versions, "") {
			fault(at("block", i, "versions"), "versions holds an empty text; an empty list means all versions")
		}
	}
}

func (c *Config) checkConnection(faults *ConfigError, i int) {
	report := c.reporter(faults)
	conn := &c.Connection[i]
	fault := func(key, format string, args ...any) {
		if conn.Name != "" {
			format = fmt.Sprintf("connection %q: ", strings.ReplaceAll(conn.Name, "%", "%%")) + format
		}
		report(at("connection", i, key), format, args...)
	}
	if conn.Name == "" {
		fault("name", "name is missing")
	} else if !isName(conn.Name, ":._-") {
		fault("name", "a name has 2 to 100 letters, digits and :._- and starts with a letter or digit")
	}
	for j := range i {
		if strings.EqualFold(c.Connection[j].Name, conn.Name) && conn.Name != "" {
			fault("name", "the name is taken by line %d", c.doc.lineOf(at("connection", j, "name")))
			break
		}
	}
	checkFormat(report, at("connection", i, "format"), conn.Format, true)
	if conn.URL == "" {
		fault("url", "url is missing")
	} else if err := checkURL(conn.URL); err != nil {
		fault("url", "url %q: %s", redactURL(conn.URL), err)
	}
	c.checkCredentials(fault, conn)
	if (conn.ClientCert == "") != (conn.ClientKey == "") {
		fault("client_cert", "client_cert and client_key go together")
	}
	checkProxy(fault, "proxy", conn.Proxy)
	c.checkConnectionNumbers(fault, conn)
	for _, k := range conn.formatKeys() {
		if *k.value != "" && conn.Format != k.format {
			fault(k.key, "%s is a setting of format %q only", k.key, k.format)
		}
	}
	if conn.SumdbURL != "" {
		if err := checkURL(conn.SumdbURL); err != nil {
			fault("sumdb_url", "sumdb_url %q: %s", redactURL(conn.SumdbURL), err)
		}
	}
}

// checkConnectionNumbers checks times and counts of one connection.
func (c *Config) checkConnectionNumbers(fault reportFunc, conn *Connection) {
	for key, d := range map[string]Duration{"connect_timeout": conn.ConnectTimeout, "header_timeout": conn.HeaderTimeout,
		"idle_timeout": conn.IdleTimeout, "max_wait": conn.MaxWait, "breaker_pause": conn.BreakerPause} {
		if d.Duration <= 0 {
			fault(key, "%s must be more than 0", key)
		}
	}
	for _, n := range []struct {
		key             string
		value, min, max int
	}{{"max_concurrent", conn.MaxConcurrent, 1, 10_000}, {"retries", conn.Retries, 0, 20}, {"breaker_failures", conn.BreakerFailures, 0, 1000}} {
		if n.value < n.min || n.value > n.max {
			fault(n.key, "%s must be from %d to %d", n.key, n.min, n.max)
		}
	}
}

// checkProxy checks the address of an egress proxy.
func checkProxy(fault reportFunc, key, proxy string) {
	if proxy == "" || proxy == "none" {
		return
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		fault(key, `proxy %q: want "http://HOST:PORT", "none", or nothing for the environment's`, redactURL(proxy))
	}
}

// checkUpstream checks what all connections share.
func (c *Config) checkUpstream(faults *ConfigError) {
	fault := c.reporter(faults)
	checkProxy(fault, "upstream.proxy", c.Upstream.Proxy)
	for _, p := range c.Upstream.Internal {
		if _, err := parseNetwork(p); err != nil {
			fault("upstream.internal", `upstream.internal: %q is not a network such as "2001:db8::/32"`, p)
		}
	}
	if strings.ContainsAny(c.Upstream.UserAgent, "\r\n\x00") {
		fault("upstream.user_agent", "upstream.user_agent holds a line break")
	}
}

// checkCredentials allows one way to give one credential.
func (c *Config) checkCredentials(fault reportFunc, conn *Connection) {
	passwords := given(map[string]string{"password": conn.Password, "password_file": conn.PasswordFile, "password_env": conn.PasswordEnv})
	tokens := given(map[string]string{"token": conn.Token, "token_file": conn.TokenFile, "token_env": conn.TokenEnv})
	if len(passwords) > 1 {
		fault(passwords[1], "give only one of %s", strings.Join(passwords, ", "))
	}
	if len(tokens) > 1 {
		fault(tokens[1], "give only one of %s", strings.Join(tokens, ", "))
	}
	if len(passwords) > 0 && conn.Username == "" {
		fault(passwords[0], "%s needs a username", passwords[0])
	}
	if len(tokens) > 0 && (conn.Username != "" || len(passwords) > 0) {
		fault(tokens[0], "give a token, or a username and password, not both")
	}
	fields := map[string]bool{}
	for key, header := range map[string]map[string]string{"header": conn.Header, "header_file": conn.HeaderFile, "header_env": conn.HeaderEnv} {
		for name, value := range header {
			if strings.ContainsAny(name, " :\t\r\n") || name == "" || strings.ContainsAny(value, "\r\n\x00") {
				fault(key, "header %q is not a legal header field", name)
			}
			if fields[strings.ToLower(name)] {
				fault(key, "header %q is given twice", name)
			}
			fields[strings.ToLower(name)] = true
		}
	}
}

// given lists in stable order the keys that have a value.
func given(values map[string]string) []string {
	var out []string
	for key, v := range values {
		if v != "" {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// reportFunc adds a fault at a path of the document.
type reportFunc func(path, format string, args ...any)

func (c *Config) reporter(faults *ConfigError) reportFunc {
	return func(path, format string, args ...any) { faults.add(c.doc.lineOf(path), format, args...) }
}

// lineOf is line for a document that may be absent.
func (d *document) lineOf(path string) int {
	if d == nil {
		return 0
	}
	return d.line(path)
}

// unique reports an empty or repeated value of a key in an array of tables.
func (c *Config) unique(fault reportFunc, seen map[string]int, table string, i int, key, value string) {
	if value == "" {
		fault(at(table, i, key), "%s is missing", key)
		return
	}
	if first, dup := seen[strings.ToLower(value)]; dup {
		fault(at(table, i, key), "%s %q is taken by line %d", key, value, c.doc.lineOf(at(table, first, key)))
		return
	}
	seen[strings.ToLower(value)] = i
}

func oneOf(fault reportFunc, key, got string, allowed ...string) {
	if slices.Contains(allowed, got) {
		return
	}
	hint := ""
	if near, ok := nearest(got, allowed); ok {
		hint = fmt.Sprintf(" (did you mean %q?)", near)
	}
	fault(key, `%s %q: want "%s"%s`, key, got, strings.Join(allowed, `", "`), hint)
}

// checkFormat wants the name of a format; outside says that it has to be one
// with registries outside.
func checkFormat(fault reportFunc, where, id string, outside bool) {
	var ids []string
	for _, f := range all.Formats() {
		if _, fetches := f.(formats.Upstreamer); fetches || !outside {
			ids = append(ids, f.ID())
		}
	}
	if id == "" {
		fault(where, "format is missing: one of %s", strings.Join(ids, ", "))
		return
	}
	if !slices.Contains(ids, id) {
		hint := ""
		if near, ok := nearest(id, ids); ok {
			hint = fmt.Sprintf(" (did you mean %q?)", near)
		}
		fault(where, "format %q is not one of %s%s", id, strings.Join(ids, ", "), hint)
	}
}

// checkURL wants an absolute http or https address without credentials.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("want http:// or https://")
	case u.Hostname() == "":
		return fmt.Errorf("the host is missing")
	case u.User != nil:
		return fmt.Errorf("credentials do not belong into a URL; write username and password_env")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return fmt.Errorf("a query or fragment does not belong here")
	}
	return nil
}

// redactURL hides a password before a URL is shown.
func redactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}

// isName accepts 2 to 100 letters, digits and the given punctuation, starting
// with a letter or digit (CodeArtifact's rule for repositories, with ".-_").
func isName(s, punctuation string) bool {
	if len(s) < 2 || len(s) > 100 {
		return false
	}
	for i := range len(s) {
		b := s[i]
		alnum := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune(punctuation, rune(b))) {
			return false
		}
	}
	return true
}

// isLabel accepts a CodeArtifact domain name.
func isLabel(s string) bool {
	return isName(s, "-") && len(s) <= 50 && s == strings.ToLower(s) && s[0] >= 'a' && !strings.HasSuffix(s, "-")
}

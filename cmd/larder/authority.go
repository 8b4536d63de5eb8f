package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"larder/proxy/listener"
)

// authorityFlags are the part of init's command line that is about TLS.
type authorityFlags struct {
	ca, renew           bool
	host, permit, inDir string
}

// on reports whether init is asked for certificates at all.
func (f authorityFlags) on() bool { return f.ca || f.renew }

// check refuses what only makes sense together.
func (f authorityFlags) check() error {
	switch {
	case !f.on() && (f.host != "" || f.permit != "" || f.inDir != ""):
		return errors.New("--host, --permit and --tls-dir go with --ca")
	case f.renew && f.permit != "":
		return errors.New("--permit is fixed when an authority is made; a wider one is a new one, in another --tls-dir")
	}
	return nil
}

// directory is where the certificates lie: --tls-dir, or tls beside the config.
// The config names it absolutely, since a node may be started from anywhere.
func (f authorityFlags) directory(file string) (listener.Directory, error) {
	dir := f.inDir
	if dir == "" {
		dir = "tls"
		if file != "-" {
			dir = filepath.Join(filepath.Dir(file), "tls")
		}
	}
	dir, err := filepath.Abs(dir)
	return listener.DirectoryAt(dir), err
}

// base is the URL that clients are told: the first name asked for, or the
// address that a fresh config listens on.
func (f authorityFlags) base() string {
	listen := DefaultConfig().Listen
	if !f.on() {
		return "http://" + listen
	}
	if first := words(f.host); len(first) > 0 && !strings.HasPrefix(first[0], "*") {
		_, port, _ := net.SplitHostPort(listen)
		return "https://" + net.JoinHostPort(strings.Trim(first[0], "[]"), port)
	}
	return "https://" + listen
}

// words splits a list at commas and spaces.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// create makes an authority and a server's certificate for the names asked for,
// this machine's own name and the loopback.
func (f authorityFlags) create(d listener.Directory, now time.Time) (listener.Issued, error) {
	if name := d.Exists(); name != "" {
		return listener.Issued{}, fmt.Errorf("%s is there already; larder init --renew renews the server's certificate, --tls-dir names another directory", name)
	}
	list := words(f.host)
	site := "local"
	// A machine whose name no certificate can hold does without.
	if name, err := os.Hostname(); err == nil {
		if _, err := listener.ParseNames([]string{name}); err == nil {
			list, site = append(list, name), name
		}
	}
	names, err := listener.ParseNames(append(list, "localhost", "127.0.0.1", "::1"))
	if err != nil {
		return listener.Issued{}, fmt.Errorf("--host: %w", err)
	}
	permit, err := listener.ParseScope(words(f.permit))
	if err != nil {
		return listener.Issued{}, fmt.Errorf("--permit: %w", err)
	}
	return d.Create(site, names, permit, now)
}

// renewServer is "larder init --renew": a new certificate from the authority
// that is there. The config stays as it is.
func (f authorityFlags) renewServer(d listener.Directory, now time.Time, std stdio) int {
	names, err := listener.ParseNames(words(f.host))
	if err != nil {
		fmt.Fprintf(std.err, "larder init: --host: %s\n", err)
		return exitUsage
	}
	issued, err := d.Renew(names, now)
	if err != nil {
		fmt.Fprintf(std.err, "larder init: %s\n", err)
		if _, missing := os.Stat(d.CA); errors.Is(missing, fs.ErrNotExist) {
			fmt.Fprintln(std.err, "larder init: there is no authority to renew with; larder init --ca makes one, --tls-dir names where it is")
		}
		if errors.Is(err, listener.ErrScope) {
			fmt.Fprintln(std.err, "larder init: an authority signs only for the names and the --permit that it was made for; make another one with --ca and --tls-dir")
		}
		return exitWrong
	}
	printIssued(std.err, d, issued)
	fmt.Fprintln(std.err, "larder: a running node takes it within seconds, or at once by SIGHUP")
	return exitOK
}

func printIssued(w io.Writer, d listener.Directory, issued listener.Issued) {
	fmt.Fprintf(w, "\nlarder: wrote %s, until %s, for %s\n", d.Cert, issued.NotAfter.UTC().Format(time.DateOnly), strings.Join(issued.Names.Strings(), ", "))
}

// trustLine is how one kind of client is made to trust the authority.
type trustLine struct{ client, lines string }

// trustLines are what to run on a client's machine, with the authority's file
// at ca. base is the node's URL, for clients that trust by server.
func trustLines(ca, base string) []trustLine {
	quoted := shellQuote(ca)
	store := shellQuote(filepath.Join(filepath.Dir(ca), "truststore.p12"))
	return []trustLine{
		{"npm, pnpm, Yarn 1", "npm config set cafile " + quoted},
		{"Node.js programs, Bun, Yarn 4", "export NODE_EXTRA_CA_CERTS=" + quoted},
		{"pip", "pip config set global.cert " + quoted},
		{"uv, Go, and others that use OpenSSL's variable", "export SSL_CERT_FILE=" + quoted},
		{"Poetry and other Python programs", "export REQUESTS_CA_BUNDLE=" + quoted},
		{"AWS CLI and SDKs", "export AWS_CA_BUNDLE=" + quoted},
		{"Maven and Gradle", "keytool -importcert -noprompt -alias larder -file " + quoted + " -keystore " + store + " -storetype PKCS12 -storepass changeit\n" +
			"export JAVA_TOOL_OPTIONS=" + shellQuote("-Djavax.net.ssl.trustStore="+filepath.Join(filepath.Dir(ca), "truststore.p12")+" -Djavax.net.ssl.trustStorePassword=changeit")},
		{"cargo", "export CARGO_HTTP_CAINFO=" + quoted + "    # or http.cainfo in ~/.cargo/config.toml"},
		{"git", "git config --global " + shellQuote("http."+base+"/.sslCAInfo") + " " + quoted},
		{"curl", "export CURL_CA_BUNDLE=" + quoted},
		{"everything on Debian or Ubuntu", "sudo cp " + quoted + " /usr/local/share/ca-certificates/larder.crt && sudo update-ca-certificates"},
	}
}

// printTrust writes the lines with which clients trust the authority.
func printTrust(w io.Writer, ca, base string) {
	fmt.Fprintf(w, "\n# Clients trust this node by %s; copy it to their machines. Only\n# NODE_EXTRA_CA_CERTS and the last line add to what a client trusts, the others\n# take its place.\n", ca)
	for _, t := range trustLines(ca, base) {
		fmt.Fprintf(w, "\n# %s:\n%s\n", t.client, t.lines)
	}
}

// shellQuote makes one word of s for a POSIX shell.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:+=@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

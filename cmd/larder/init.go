package main

import (
	"context"
	_ "embed" // the manual of the configuration
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"larder/formats/all"
	"larder/proxy/listener"
)

// exampleConfig is the commented manual of every key. It decodes to
// DefaultConfig.
//
//go:embed config.example.toml
var exampleConfig string

// initFlags declares the command line of init.
func initFlags(std stdio, f *authorityFlags) *flag.FlagSet {
	fs := flags("init", std)
	fs.BoolVar(&f.ca, "ca", false, "make a local certificate authority and a server certificate, and turn TLS on in the config")
	fs.BoolVar(&f.renew, "renew", false, "only renew the server's certificate with the authority that --ca has made; --host adds names")
	fs.StringVar(&f.host, "host", "", "`NAMES` and addresses under which clients reach this node: a.example,10.0.0.1; besides this machine's name and the loopback")
	fs.StringVar(&f.permit, "permit", "", "domains and networks, `NAMES` the authority may sign for later besides those of --host: corp.example,10.0.0.0/8")
	fs.StringVar(&f.inDir, "tls-dir", "", "`DIR` for ca.pem, ca.key, server.pem and server.key; tls beside FILE by default")
	return fs
}

// cmdInit writes what a start without a config would use as a commented config:
// the manual, then the connections and repositories of this machine. It never
// writes over a file, and it never writes a secret.
func cmdInit(ctx context.Context, args []string, std stdio) int {
	var af authorityFlags
	fs := initFlags(std, &af)
	if code, ok := parseFlags(fs, args, 1); !ok {
		return code
	}
	if err := af.check(); err != nil {
		fmt.Fprintf(std.err, "larder init: %s\n", err)
		return exitUsage
	}
	file := "larder.toml"
	if fs.NArg() == 1 {
		file = fs.Arg(0)
	}
	dir, err := af.directory(file)
	if err != nil {
		fmt.Fprintf(std.err, "larder init: %s\n", err)
		return exitWrong
	}
	if af.renew {
		return af.renewServer(dir, time.Now(), std)
	}
	if _, err := os.Lstat(file); err == nil && file != "-" {
		fmt.Fprintf(std.err, "larder init: %s is there already; name another file, or - for standard output\n", file)
		return exitWrong
	}
	found := discoverAll(ctx, all.Formats())
	if ctx.Err() != nil {
		return exitWrong
	}
	text := renderConfig(found)
	var issued listener.Issued
	if af.ca {
		if issued, err = af.create(dir, time.Now()); err != nil {
			fmt.Fprintf(std.err, "larder init: %s\n", err)
			return exitWrong
		}
		text = withCertificate(text, dir)
	}
	if _, err := parseConfig(file, []byte(text)); err != nil {
		// A registry with a name or URL that no config may hold.
		fmt.Fprintf(std.err, "larder init: what was found needs a hand:\n%s\n", err)
	}
	if err := writeNew(file, text, std.out); err != nil {
		fmt.Fprintf(std.err, "larder init: %s\n", err)
		return exitWrong
	}
	printFindings(std.err, af.base(), found)
	for _, note := range secretNotes(found) {
		fmt.Fprintln(std.err, note)
	}
	if af.ca {
		printTrust(std.err, dir.CA, af.base())
		printIssued(std.err, dir, issued)
		if af.host != "" {
			fmt.Fprintf(std.err, "larder: the config listens on %s; for other machines set listen and [access] in it\n", DefaultConfig().Listen)
		}
	}
	if file != "-" {
		fmt.Fprintf(std.err, "\nlarder: wrote %s; run: larder serve --config %s\n", file, file)
	}
	return exitOK
}

// withCertificate turns TLS on in the manual's text.
func withCertificate(text string, d listener.Directory) string {
	text = strings.Replace(text, "\ncert_file = \"\"\n", "\ncert_file = "+quote(d.Cert)+"\n", 1)
	return strings.Replace(text, "\nkey_file = \"\"\n", "\nkey_file = "+quote(d.Key)+"\n", 1)
}

// writeNew writes text to a new file that only its owner reads, or to out for
// "-".
func writeNew(file, text string, out io.Writer) error {
	if file == "-" {
		_, err := io.WriteString(out, text)
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already", file)
	}
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// renderConfig is the manual followed by the tables of what was found.
func renderConfig(found []Found) string {
	cfg := DefaultConfig()
	cfg.Apply(found)
	stores := map[string]Repository{}
	for _, r := range cfg.Repository {
		stores[r.Connection] = r
	}
	var b strings.Builder
	b.WriteString(exampleConfig)
	b.WriteString("\n# ---- learned from this machine ----\n")
	next := 0
	for _, f := range found {
		if len(f.Registries) == 0 {
			fmt.Fprintf(&b, "\n# %s: not found (%s).\n", f.Format, oneLine(f.Missing))
			writeComment(&b, f.Example)
		}
		for range f.Registries {
			conn := cfg.Connection[next]
			next++
			fmt.Fprintf(&b, "\n# %s: %s.\n", f.Format, oneLine(f.Where))
			writeConnection(&b, conn)
			store := stores[conn.Name]
			fmt.Fprintf(&b, "\n[[repository]]\nname = %s\nconnection = %s\n", quote(store.Name), quote(conn.Name))
		}
	}
	for _, r := range cfg.Repository[1:] {
		if r.Connection == "" {
			writeGathering(&b, r)
		}
	}
	b.WriteString("\n# Clients talk to this one: /npm/main/, /pypi/main/simple/, ...")
	writeGathering(&b, cfg.Repository[0])
	return b.String()
}

// writeGathering writes a repository that gathers others.
func writeGathering(b *strings.Builder, r Repository) {
	fmt.Fprintf(b, "\n[[repository]]\nname = %s\ndescription = %s\nupstreams = [", quote(r.Name), quote(r.Description))
	for i, up := range r.Upstreams {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quote(up))
	}
	b.WriteString("]\n")
}

// writeConnection writes the keys of a discovered connection; a secret becomes
// the name of an environment variable.
func writeConnection(b *strings.Builder, conn Connection) {
	fmt.Fprintf(b, "[[connection]]\nname = %s\nformat = %s\nurl = %s\nmetadata_ttl = %s\n",
		quote(conn.Name), quote(conn.Format), quote(conn.URL), quote(conn.MetadataTTL.String()))
	if conn.Username != "" {
		fmt.Fprintf(b, "username = %s\n", quote(conn.Username))
	}
	if conn.Password != "" {
		fmt.Fprintf(b, "password_env = %s\n", quote(secretEnv(conn.Name, "PASSWORD")))
	}
	if conn.Token != "" {
		fmt.Fprintf(b, "token_env = %s\n", quote(secretEnv(conn.Name, "TOKEN")))
	}
	if len(conn.Header) > 0 {
		b.WriteString("header_env = {")
		for i, name := range slices.Sorted(maps.Keys(conn.Header)) {
			if i > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(b, " %s = %s", quote(name), quote(secretEnv(conn.Name, name)))
		}
		b.WriteString(" }\n")
	}
	if u, err := url.Parse(conn.Proxy); err == nil && u.User != nil {
		b.WriteString("# Its egress proxy needs a credential: set HTTPS_PROXY in the node's environment.\n")
		conn.Proxy = ""
	}
	plain := []struct{ key, value string }{
		{"proxy", conn.Proxy}, {"ca_file", conn.CAFile}, {"client_cert", conn.ClientCert}, {"client_key", conn.ClientKey},
	}
	for _, k := range conn.formatKeys() {
		plain = append(plain, struct{ key, value string }{k.key, *k.value})
	}
	for _, k := range plain {
		if k.value != "" {
			fmt.Fprintf(b, "%s = %s\n", k.key, quote(k.value))
		}
	}
}

// secretNotes says which environment variables a written config expects.
func secretNotes(found []Found) []string {
	cfg := DefaultConfig()
	cfg.Apply(found)
	var notes []string
	for _, conn := range cfg.Connection {
		const form = "\n# connection %q has a secret that the config does not hold; before serving:\nexport %s=..."
		if conn.Password != "" {
			notes = append(notes, fmt.Sprintf(form, conn.Name, secretEnv(conn.Name, "PASSWORD")))
		}
		if conn.Token != "" {
			notes = append(notes, fmt.Sprintf(form, conn.Name, secretEnv(conn.Name, "TOKEN")))
		}
		for _, name := range slices.Sorted(maps.Keys(conn.Header)) {
			notes = append(notes, fmt.Sprintf(form, conn.Name, secretEnv(conn.Name, name)))
		}
	}
	return notes
}

// secretEnv names the environment variable for a connection's secret:
// LARDER_PUBLIC_NPM_TOKEN.
func secretEnv(conn, kind string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, conn+"_"+kind)
	return "LARDER_" + strings.ToUpper(name)
}

// writeComment writes config lines that a person may uncomment.
func writeComment(b *strings.Builder, lines string) {
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		fmt.Fprintf(b, "#%s\n", strings.TrimRight(line, "\r\n"))
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// quote renders a TOML basic string. strconv.Quote differs only in escapes that
// TOML lacks, which no clean value holds.
func quote(s string) string {
	q := strconv.QuoteToASCII(s)
	if strings.Contains(q, `\x`) || strings.Contains(q, `\a`) || strings.Contains(q, `\v`) {
		return strconv.Quote(strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r == 0xfffd {
				return -1
			}
			return r
		}, s))
	}
	return q
}

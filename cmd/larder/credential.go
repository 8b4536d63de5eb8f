package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// listFlag collects a flag that may stand several times.
type listFlag []string

func (l *listFlag) String() string     { return strings.Join(*l, ",") }
func (l *listFlag) Set(s string) error { *l = append(*l, s); return nil }

// nodeFlags say which node a subcommand is about.
type nodeFlags struct{ config, data string }

func (n *nodeFlags) declare(fs *flag.FlagSet) {
	fs.StringVar(&n.config, "config", "", "config `FILE` of the node")
	fs.StringVar(&n.data, "data", "", "`DIR` of the node's data")
}

// load reads the configuration. Only a command that may come before the first
// start makes the data directory; elsewhere an absent one is a slip.
func (n *nodeFlags) load(first bool) (*Config, error) {
	cfg := DefaultConfig()
	if n.config != "" {
		var err error
		if cfg, err = LoadConfig(n.config); err != nil {
			return nil, err
		}
	}
	if n.data != "" {
		cfg.Data = n.data
	}
	if _, err := os.Stat(cfg.Data); err != nil {
		if !first {
			return nil, fmt.Errorf("data directory: %w", err)
		}
		if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
			return nil, fmt.Errorf("make data directory: %w", err)
		}
	}
	return cfg, nil
}

const credentialUsage = `larder credential create --user NAME [--admin] [--policy NAME|FILE]... [--token] [--account N] [--expires 90d] [--note TEXT]
larder credential list
larder credential disable|enable|delete ID
larder credential revoke token|subject|key VALUE
larder credential key

create prints an access key for the AWS CLI and SDKs, or with --token a robot
token for package managers; the secret is shown once. A policy is admin,
publish, read, the name of a [[policy]] of the config, or a file with an IAM
document.

revoke denies tokens that were issued: one by its id, all of a user's or role's
by its ARN, which also disables its robot tokens, or all of a signing key.

key prints the public half of this node's signing key: a node that has it as
DATA/keys/trusted/NAME.pub accepts the tokens of this one.

Every form takes --config FILE or --data DIR, and works while the node runs.
`

func cmdCredential(ctx context.Context, args []string, std stdio) int {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(std.err, credentialUsage)
		return exitUsage
	}
	verb := args[0]
	fs := flags("credential "+verb, std)
	var nf nodeFlags
	nf.declare(fs)
	o := adminOrder{Do: verb}
	maxArgs := 1
	var policies listFlag
	expires := ""
	switch verb {
	case "create":
		maxArgs = 0
		fs.StringVar(&o.User, "user", "", "`NAME` of the user")
		fs.StringVar(&o.Account, "account", "", "12-digit `ACCOUNT` of the user; the node's owner by default")
		fs.BoolVar(&o.Admin, "admin", false, "may do everything")
		fs.BoolVar(&o.Token, "token", false, "a robot token for package managers in place of an access key")
		fs.Var(&policies, "policy", "`POLICY`: admin, publish, read, the name of a [[policy]], or a file; may stand several times")
		fs.StringVar(&expires, "expires", "", "`DURATION` after which it ends, such as 90d or 12h")
		fs.StringVar(&o.Note, "note", "", "`TEXT` to remember it by")
	case "list", "key":
		maxArgs = 0
	case "disable", "enable", "delete":
	case "revoke":
		maxArgs = 2
	default:
		fmt.Fprintf(std.err, "larder credential: unknown verb %q%s\n%s", verb, didYouMean(verb, []string{"create", "list", "disable", "enable", "delete", "revoke", "key"}), credentialUsage)
		return exitUsage
	}
	given, code, ok := parseMixed(fs, args[1:], maxArgs)
	if !ok {
		return code
	}
	if len(given) < maxArgs {
		fmt.Fprint(std.err, credentialUsage)
		return exitUsage
	}
	if err := o.fill(given, policies, expires); err != nil {
		fmt.Fprintf(std.err, "larder credential: %s\n", err)
		return exitUsage
	}
	cfg, err := nf.load(verb == "create" || verb == "key")
	if err == nil {
		var answer *adminAnswer
		if answer, err = order(ctx, cfg, o); err == nil {
			return printCredential(std, o, answer)
		}
	}
	fmt.Fprintf(std.err, "larder credential: %s\n", err)
	return exitWrong
}

// fill takes what stands on the command line over.
func (o *adminOrder) fill(args []string, policies []string, expires string) error {
	switch {
	case o.Do == "revoke":
		o.Kind, o.ID = args[0], args[1]
		if o.Kind != "token" && o.Kind != "subject" && o.Kind != "key" {
			return fmt.Errorf("%q cannot be revoked: want token, subject or key", o.Kind)
		}
	case len(args) > 0:
		o.ID = args[0]
	}
	for _, p := range policies {
		if text, err := os.ReadFile(p); err == nil {
			p = strings.TrimSpace(string(text))
			if !strings.HasPrefix(p, "{") {
				return fmt.Errorf("the policy file holds no JSON object")
			}
		}
		o.Policies = append(o.Policies, p)
	}
	if expires != "" {
		var d Duration
		if err := d.UnmarshalText([]byte(expires)); err != nil {
			return fmt.Errorf("--expires: %w", err)
		}
		if d.Duration <= 0 {
			return fmt.Errorf("--expires: %s is not a time to come", expires)
		}
		o.Expires = d.Duration
	}
	return nil
}

func printCredential(std stdio, o adminOrder, a *adminAnswer) int {
	switch o.Do {
	case "create":
		if o.Token {
			fmt.Fprintf(std.out, "id:    %s\ntoken: %s\n", a.ID, a.Secret)
		} else {
			fmt.Fprintf(std.out, "AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n", a.ID, a.Secret)
		}
	case "list":
		w := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tKIND\tUSER\tACCOUNT\tRIGHTS\tCREATED\tEXPIRES\tSTATE\tNOTE")
		for _, c := range a.Credentials {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, c.Kind, c.User, c.Account, c.rights(), c.Created.Format(time.DateOnly), c.ends(), c.state(), c.Note)
		}
		// tabwriter fails only where standard output does.
		_ = w.Flush()
	case "key":
		fmt.Fprintf(std.err, "larder: the id of this key is %s\n", a.ID)
		fmt.Fprint(std.out, a.PublicKey)
	default:
		fmt.Fprintf(std.out, "%s: %s done\n", a.ID, o.Do)
	}
	return exitOK
}

func (c adminCredential) rights() string {
	var out []string
	if c.Admin {
		out = append(out, "admin")
	}
	for _, p := range c.Policies {
		if strings.HasPrefix(p, "{") {
			p = "document"
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return "user's"
	}
	return strings.Join(out, ",")
}

func (c adminCredential) ends() string {
	if c.Expires == nil {
		return "never"
	}
	return c.Expires.Format(time.RFC3339)
}

func (c adminCredential) state() string {
	if c.Disabled {
		return "disabled"
	}
	return "active"
}

const policyUsage = `larder policy explain --principal ARN --action ACTION --resource ARN [--json] [--config FILE] [--data DIR]

Says whether a user or role may do something, and which statement decides.
`

func cmdPolicy(ctx context.Context, args []string, std stdio) int {
	if len(args) == 0 || args[0] != "explain" {
		fmt.Fprint(std.err, policyUsage)
		return exitUsage
	}
	fs := flags("policy explain", std)
	var nf nodeFlags
	nf.declare(fs)
	o := adminOrder{Do: "explain"}
	asJSON := false
	fs.StringVar(&o.User, "principal", "", "`ARN` of a user or role")
	fs.StringVar(&o.Action, "action", "", "`ACTION` such as codeartifact:ReadFromRepository")
	fs.StringVar(&o.Resource, "resource", "", "`ARN` of a domain, repository, package or package group")
	fs.BoolVar(&asJSON, "json", false, "print the whole explanation as JSON")
	if code, ok := parseFlags(fs, args[1:], 0); !ok {
		return code
	}
	if o.User == "" || o.Action == "" || o.Resource == "" {
		fmt.Fprintf(std.err, "larder policy: --principal, --action and --resource are all needed\n%s", policyUsage)
		return exitUsage
	}
	cfg, err := nf.load(false)
	if err == nil {
		var answer *adminAnswer
		if answer, err = order(ctx, cfg, o); err == nil {
			return printExplanation(std, asJSON, answer)
		}
	}
	fmt.Fprintf(std.err, "larder policy: %s\n", err)
	return exitWrong
}

func printExplanation(std stdio, asJSON bool, a *adminAnswer) int {
	e := a.Explanation
	if asJSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(e); err != nil {
			return exitWrong
		}
		return exitOK
	}
	fmt.Fprintf(std.out, "%s: %s\n", e.Verdict, e.Reason)
	for _, s := range e.Statements {
		name := s.Sid
		if name == "" {
			name = fmt.Sprintf("statement %d", s.Statement)
		}
		state := "matches"
		if !s.Matched {
			state = "does not match: " + strings.Join(s.Failed, "; ")
		}
		fmt.Fprintf(std.out, "  %s %s (%s) %s\n", s.Document, name, s.Effect, state)
	}
	return exitOK
}

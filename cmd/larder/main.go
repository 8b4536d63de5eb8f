// Command larder is a cache and mirror that package managers talk to. This
// package owns the command line, the configuration, the discovery of this
// machine's registries and the wiring of the rooms; it holds no protocol, no
// storage and no policy of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes of every subcommand.
const (
	exitOK    = 0
	exitWrong = 1 // something is wrong: a fault in a config or a store, a failed start
	exitUsage = 2 // the command line itself
)

// stdio is what a subcommand may read and write.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

func main() { os.Exit(realMain()) }

// realMain lets a first SIGINT or SIGTERM end the work in order; a second one
// kills.
func realMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr})
}

// command is one subcommand.
type command struct {
	name, args, short string
	run               func(ctx context.Context, args []string, std stdio) int
}

func commands() []command {
	return []command{
		{"serve", "[--config FILE] [--data DIR] [--listen ADDR] [--offline]", "run a node", cmdServe},
		{"init", "[--ca] [--renew] [--host NAMES] [--permit NAMES] [--tls-dir DIR] [FILE]",
			"write a commented config from what this machine uses (larder.toml; - is stdout), with --ca also certificates; --renew: only the server's", cmdInit},
		{"check", "FILE", "check a config", cmdCheck},
		{"store", "check|stats|scrub|gc [--data DIR]", "look after the store of a node that is not running", cmdStore},
		{"credential", "create|list|disable|enable|delete|revoke|key ...", "make and end access keys and tokens, print the signing key", cmdCredential},
		{"policy", "explain --principal ARN --action ACTION --resource ARN", "say who may do what, and why", cmdPolicy},
		{"version", "", "print the version", cmdVersion},
		{"help", "", "print this", cmdHelp},
	}
}

// run finds the subcommand and returns the process's exit code.
func run(ctx context.Context, args []string, std stdio) int {
	if len(args) == 0 {
		printUsage(std.err)
		return exitUsage
	}
	name := args[0]
	if name == "-h" || name == "--help" || name == "-help" {
		name = "help"
	}
	if name == "--version" {
		name = "version"
	}
	var names []string
	for _, c := range commands() {
		if c.name == name {
			return c.run(ctx, args[1:], std)
		}
		names = append(names, c.name)
	}
	fmt.Fprintf(std.err, "larder: unknown command %q%s\n", name, didYouMean(name, names))
	printUsage(std.err)
	return exitUsage
}

func cmdHelp(_ context.Context, _ []string, std stdio) int {
	printUsage(std.out)
	return exitOK
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "larder keeps what package managers fetch.\n\n")
	for _, c := range commands() {
		line := strings.TrimRight("larder "+c.name+" "+c.args, " ")
		fmt.Fprintf(w, "  %s\n        %s\n", line, c.short)
	}
}

// flags returns a flag set that reports to std.err and names the subcommand.
func flags(name string, std stdio) *flag.FlagSet {
	fs := flag.NewFlagSet("larder "+name, flag.ContinueOnError)
	fs.SetOutput(std.err)
	return fs
}

// parseFlags parses args and refuses more than maxArgs positional ones. ok is
// false when the command is to return code at once.
func parseFlags(fs *flag.FlagSet, args []string, maxArgs int) (code int, ok bool) {
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK, false
		}
		return exitUsage, false
	}
	if fs.NArg() > maxArgs {
		fmt.Fprintf(fs.Output(), "%s: %q is one argument too many\n", fs.Name(), fs.Arg(maxArgs))
		return exitUsage, false
	}
	return exitOK, true
}

// parseMixed is parseFlags where flags may also stand behind and between the
// positional arguments, which it returns.
func parseMixed(fs *flag.FlagSet, args []string, maxArgs int) (given []string, code int, ok bool) {
	for {
		if code, ok = parseFlags(fs, args, len(args)); !ok || fs.NArg() == 0 {
			break
		}
		given, args = append(given, fs.Arg(0)), fs.Args()[1:]
	}
	if ok && len(given) > maxArgs {
		fmt.Fprintf(fs.Output(), "%s: %q is one argument too many\n", fs.Name(), given[maxArgs])
		return nil, exitUsage, false
	}
	return given, code, ok
}

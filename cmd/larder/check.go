package main

import (
	"context"
	"fmt"
	"time"
)

// cmdCheck validates a config file: "OK" and 0, or every fault with its line
// and 1.
func cmdCheck(_ context.Context, args []string, std stdio) int {
	fs := flags("check", std)
	if code, ok := parseFlags(fs, args, 1); !ok {
		return code
	}
	if fs.NArg() != 1 {
		fmt.Fprintln(std.err, "larder check: name the file to check")
		return exitUsage
	}
	cfg, err := LoadConfig(fs.Arg(0))
	if err == nil {
		err = cfg.Validate()
	}
	if err == nil {
		err = cfg.checkFiles(time.Now())
	}
	if err != nil {
		fmt.Fprintln(std.err, err)
		return exitWrong
	}
	fmt.Fprintf(std.out, "%s: OK (%d connections, %d repositories)\n", fs.Arg(0), len(cfg.Connection), len(cfg.Repository))
	return exitOK
}

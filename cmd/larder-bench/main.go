// Command larder-bench measures larder beside its peers on one machine and
// prints one table of ratios. It starts everything itself: a fake upstream with
// latency, a rate limit and counters, larder, nginx, Verdaccio and proxpi, all
// on loopback. It owns the measuring; it holds nothing that larder needs to run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// config is the command line.
type config struct {
	larder, nginx, verdaccio, proxpi string
	dir                              string
	seconds                          time.Duration
	rounds                           int
	only                             string
	giant                            int64
}

func main() {
	var c config
	flag.StringVar(&c.larder, "larder", "", "larder binary; built from this module when empty")
	flag.StringVar(&c.nginx, "nginx", "nginx", "nginx binary")
	flag.StringVar(&c.verdaccio, "verdaccio", "verdaccio", "verdaccio binary")
	flag.StringVar(&c.proxpi, "proxpi", "flask", "the flask command of the environment that proxpi is installed in")
	flag.StringVar(&c.dir, "dir", "", "working directory; a temporary one when empty")
	flag.DurationVar(&c.seconds, "time", 3*time.Second, "length of one rate measurement")
	flag.IntVar(&c.rounds, "rounds", 3, "interleaved rounds of each rate")
	flag.StringVar(&c.only, "only", "", "comma-separated parts: cold,warm,pypi,giant,ingest")
	flag.Int64Var(&c.giant, "giant", 4<<30, "bytes of the giant artifact")
	bare := flag.String("bare", "", "internal: serve bodies from memory on this address and nothing else")
	flag.Parse()
	if *bare != "" {
		fmt.Fprintln(os.Stderr, "larder-bench:", serveBare(*bare))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "larder-bench:", err)
		os.Exit(1)
	}
}

func (c config) wants(part string) bool {
	return c.only == "" || strings.Contains(","+c.only+",", ","+part+",")
}

func run(ctx context.Context, c config) error {
	if c.dir == "" {
		dir, err := os.MkdirTemp("", "larder-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.dir = dir
	}
	if c.larder == "" {
		c.larder = filepath.Join(c.dir, "larder")
		if err := build(ctx, c.larder); err != nil {
			return err
		}
	}
	up, err := newUpstream(c.giant)
	if err != nil {
		return err
	}
	defer up.close()
	t := &table{}
	parts := []struct {
		name string
		run  func(context.Context, config, *upstream, *table) error
	}{{"cold", cold}, {"warm", warm}, {"pypi", pypi}, {"giant", giant}, {"ingest", ingest}}
	for _, p := range parts {
		if !c.wants(p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "== %s\n", p.name)
		if err := p.run(ctx, c, up, t); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	t.print(os.Stdout)
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"larder/formats/all"
	"larder/proxy/listener"
)

// serveFlags are the command line of serve.
type serveFlags struct {
	config, data, listen string
	offline              bool
}

// apply lets the command line win over the file.
func (f serveFlags) apply(cfg *Config) {
	if f.data != "" {
		cfg.Data = f.data
	}
	if f.listen != "" {
		cfg.Listen = f.listen
	}
	if f.offline {
		cfg.Mode = "offline"
	}
}

func cmdServe(ctx context.Context, args []string, std stdio) int {
	var sf serveFlags
	fs := flags("serve", std)
	fs.StringVar(&sf.config, "config", "", "config `FILE`; without one the registries are learned from this machine")
	fs.StringVar(&sf.data, "data", "", "`DIR` of the store")
	fs.StringVar(&sf.listen, "listen", "", "`ADDR` to serve on, HOST:PORT; port 0 picks a free one")
	fs.BoolVar(&sf.offline, "offline", false, "never dial an upstream")
	if code, ok := parseFlags(fs, args, 0); !ok {
		return code
	}
	cfg, err := sf.load()
	if err != nil {
		fmt.Fprintf(std.err, "larder: %v\n", err)
		return exitWrong
	}
	if err := serve(ctx, cfg, sf, std); err != nil {
		fmt.Fprintf(std.err, "larder: %v\n", err)
		return exitWrong
	}
	return exitOK
}

func (f serveFlags) load() (*Config, error) {
	cfg := DefaultConfig()
	if f.config != "" {
		var err error
		if cfg, err = LoadConfig(f.config); err != nil {
			return nil, err
		}
	}
	f.apply(cfg)
	return cfg, cfg.Validate()
}

// serve runs a node until ctx ends. It reads downwards: what is opened first is
// used by what follows, and closed last.
func serve(ctx context.Context, cfg *Config, sf serveFlags, std stdio) error {
	log, level, err := newLogger(cfg, std)
	if err != nil {
		return err
	}
	// Listening comes first: a port that is taken should not cost a discovery.
	ln, cert, err := cfg.listen(log)
	if err != nil {
		return err
	}
	defer ln.Close()

	// Discovery starts clients, the store reads its disk: they run beside each
	// other.
	m := &machine{}
	defer m.Close()
	discovered := startDiscovery(ctx, cfg, m)

	if os.Getenv("GOMEMLIMIT") == "" {
		// Collect before the tiers' sizes are far overrun: 1.3 times the hot
		// tier (Go's collector needs room), the block cache, and a base.
		debug.SetMemoryLimit(int64(cfg.Cache.Memory)*13/10 + int64(cfg.Cache.BlockCache) + 256<<20)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	watchCertificate(reg, cert)
	access, err := accessWriter(cfg, std)
	if err != nil {
		return err
	}
	defer access.Close()

	early := discovered.wait()
	if cfg.Discovers() {
		cfg.Apply(early)
	}
	n, err := openNode(cfg, log, reg, access.Writer)
	if err != nil {
		return err
	}
	defer n.close()
	if err := n.start(cfg, reg, std); err != nil {
		return err
	}

	failed := make(chan error, 1)
	go func() { failed <- ln.Serve(n.proxy) }()
	base := ln.URL()
	if cfg.Discovers() {
		printFindings(std.err, base, early)
	}
	fmt.Fprintf(std.out, "larder: serving %s\n", base)
	log.Info("serving", "event", "serving", "address", ln.Addr().String(), "mode", cfg.Mode, "data", cfg.Data, "version", version(),
		"tls", cert != nil, "http3", ln.HTTP3(), "plain", ln.PlainURL())

	r := &reloader{cfg: cfg, flags: sf, node: n, cert: cert, log: log, level: level, found: early}
	var background sync.WaitGroup
	background.Add(1)
	go func() {
		defer background.Done()
		r.late(ctx, discovered.late, base, std)
	}()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("serve: %w", err)
		case <-hup:
			r.reload()
		case <-ctx.Done():
			err := drain(ln, n, cfg.Limits.Drain.Duration, log)
			background.Wait()
			return err
		}
	}
}

// drain refuses new connections, lets running requests end, and gives up on
// those that take longer than the limit.
func drain(ln *listener.Listener, n *node, limit time.Duration, log *slog.Logger) error {
	log.Info("draining", "event", "draining", "limit", limit.String())
	n.proxy.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := ln.Shutdown(ctx); err != nil {
		if !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("shut down: %w", err)
		}
		log.Warn("requests were cut off", "event", "drain_cut", "limit", limit.String())
		ln.Close()
	}
	log.Info("stopped", "event", "stopped")
	return nil
}

// discovery runs beside the opening of the store.
type discovery struct {
	early chan []Found
	late  <-chan Found
}

func startDiscovery(ctx context.Context, cfg *Config, m *machine) *discovery {
	d := &discovery{early: make(chan []Found, 1)}
	late := make(chan Found, 16)
	d.late = late
	if !cfg.Discovers() {
		d.early <- nil
		close(late)
		return d
	}
	go func() {
		defer close(late)
		found, rest := Discover(ctx, m, all.Formats())
		d.early <- found
		for f := range rest {
			late <- f
		}
	}()
	return d
}

func (d *discovery) wait() []Found { return <-d.early }

// reloader changes a running node: findings that came late, and SIGHUP.
type reloader struct {
	mu    sync.Mutex
	cfg   *Config
	flags serveFlags
	node  *node
	cert  *listener.Certificate // nil without TLS
	log   *slog.Logger
	level *slog.LevelVar
	found []Found
}

// late enters findings of clients that answered slowly.
func (r *reloader) late(ctx context.Context, late <-chan Found, base string, std stdio) {
	for {
		select {
		case f, ok := <-late:
			if !ok {
				return
			}
			r.mu.Lock()
			r.found = append(r.found, f)
			r.cfg.Apply(r.found)
			err := r.node.apply(r.cfg)
			r.mu.Unlock()
			if err != nil {
				r.log.Error("a late finding could not be used", "event", "discover_failed", "format", f.Format, "error", err)
				continue
			}
			printFindings(std.err, base, []Found{f})
		case <-ctx.Done():
			return
		}
	}
}

// reload reads the config again and applies what can change while running.
// A config with a fault changes nothing.
func (r *reloader) reload() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flags.config == "" {
		r.log.Warn("nothing to reload: the node runs without a config file", "event", "reload_failed")
		return
	}
	next, err := r.flags.load()
	if err != nil {
		r.log.Error("reload refused; the former configuration stays", "event", "reload_failed", "error", err)
		return
	}
	if next.Discovers() {
		next.Apply(r.found)
	}
	kept := fixedKeys(r.cfg, next)
	if err := r.node.apply(next); err != nil {
		r.log.Error("reload refused; the former configuration stays", "event", "reload_failed", "error", err)
		return
	}
	if err := r.level.UnmarshalText([]byte(next.Log.Level)); err != nil {
		r.log.Error("log level was not changed", "event", "reload_failed", "error", err)
	}
	if err := r.followCertificate(next); err != nil {
		r.log.Error("the former certificate stays in use", "event", "tls_reload_failed", "error", err)
	}
	r.cfg = next
	r.log.Info("reloaded", "event", "reloaded", "needs_restart", strings.Join(kept, ", "))
}

// followCertificate reads the certificate again, from where next says. On an
// error the former one and its paths stay, and next says so.
func (r *reloader) followCertificate(next *Config) error {
	if r.cert == nil {
		return nil
	}
	err := r.cert.Reload(next.TLS.CertFile, next.TLS.KeyFile)
	if err != nil {
		next.TLS.CertFile, next.TLS.KeyFile = r.cfg.TLS.CertFile, r.cfg.TLS.KeyFile
	}
	return err
}

// fixedKeys names the keys that differ but only a restart can change, and puts
// their running values into next.
func fixedKeys(was, next *Config) []string {
	var out []string
	keep := func(key string, differs bool, restore func()) {
		if differs {
			out = append(out, key)
			restore()
		}
	}
	keep("listen", was.Listen != next.Listen, func() { next.Listen = was.Listen })
	keep("tls", was.TLS.fixed() != next.TLS.fixed(), func() { next.TLS = next.TLS.keptFrom(was.TLS) })
	keep("data", was.Data != next.Data, func() { next.Data = was.Data })
	keep("domain", was.Domain != next.Domain, func() { next.Domain = was.Domain })
	keep("site", was.Site != next.Site, func() { next.Site = was.Site })
	keep("region", was.Region != next.Region, func() { next.Region = was.Region })
	keep("events", was.Events != next.Events, func() { next.Events = was.Events })
	keep("owner", was.Owner != next.Owner, func() { next.Owner = was.Owner })
	keep("cache", was.Cache != next.Cache, func() { next.Cache = was.Cache })
	keep("limits", was.Limits != next.Limits, func() { next.Limits = was.Limits })
	keep("log.format", was.Log.Format != next.Log.Format, func() { next.Log.Format = was.Log.Format })
	keep("log.access", was.Log.Access != next.Log.Access, func() { next.Log.Access = was.Log.Access })
	return out
}

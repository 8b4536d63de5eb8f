package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"larder/cache"
	"larder/cache/catalog"
	"larder/cache/store"
	"larder/formats"
	"larder/formats/all"
	"larder/policy"
	"larder/proxy"
	"larder/proxy/access"
	"larder/proxy/identity"
	"larder/proxy/upstream"
)

// node is everything that runs behind one listener. Nothing in it is global:
// two nodes run in one process.
type node struct {
	store    *store.DB
	catalog  *catalog.Catalog
	upstream *upstream.Client
	cache    *cache.Cache
	proxy    *proxy.Server
	gate     *access.Gate
	keyring  *identity.Keyring
	sts      *handlerBox
	log      *slog.Logger

	connections atomic.Pointer[connections]

	stops []func() // of what runs beside the listener, in order of its start
}

// handlerBox is a handler that a reload replaces.
type handlerBox struct{ atomic.Pointer[http.Handler] }

func (b *handlerBox) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*b.Load()).ServeHTTP(w, r) }

func (b *handlerBox) set(h http.Handler) { b.Store(&h) }

// openGate opens keys, gate and federation, and enters the first administrator.
func (n *node) openGate(cfg *Config) error {
	var err error
	if n.gate, n.keyring, err = openGate(cfg, n.catalog); err != nil {
		return err
	}
	if err := firstAdmin(n.catalog, n.keyring, cfg.Owner, n.log); err != nil {
		return err
	}
	f, err := cfg.federation(n.gate, n.log)
	if err != nil {
		return err
	}
	n.sts = &handlerBox{}
	n.sts.set(f)
	return nil
}

// start runs what a node does beside answering requests.
func (n *node) start(cfg *Config, reg *prometheus.Registry, std stdio) error {
	stop, err := listenAdmin(cfg.Data, &administrator{cat: n.catalog, ring: n.keyring, gate: n.gate, owner: cfg.Owner, now: time.Now}, n.log)
	if err != nil {
		return err
	}
	n.stops = append(n.stops, stop)
	feeds, err := cfg.feeds(n.catalog, reg, n.log, std)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, f := range feeds {
		running.Go(func() { f.Run(ctx) })
	}
	n.stops = append(n.stops, func() { cancel(); running.Wait() })
	return nil
}

// openNode wires the rooms downwards; close goes upwards.
func openNode(cfg *Config, log *slog.Logger, reg *prometheus.Registry, access io.Writer) (*node, error) {
	n := &node{log: log}
	ok := false
	defer func() {
		if !ok {
			n.close()
		}
	}()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	var err error
	if n.store, err = store.Open(cfg.storeConfig(log)); errors.Is(err, syscall.EAGAIN) { // its lock is held
		return nil, fmt.Errorf("data directory %s is in use by another process", cfg.Data)
	} else if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if n.catalog, err = catalog.New(catalog.Config{Store: n.store, Domain: cfg.Domain}); err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	watch := proxy.NewWatch(reg)
	up := cfg.dialer()
	up.Logger, up.Observer = log, watch.Upstreams()
	if n.upstream, err = upstream.New(up); err != nil {
		return nil, fmt.Errorf("set up connections: %w", err)
	}
	if n.cache, err = cache.New(cache.Config{Store: n.store, Observer: watch.Flights(), Logger: log}); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	if err := n.openGate(cfg); err != nil {
		return nil, err
	}
	site, err := cfg.site()
	if err != nil {
		return nil, err
	}
	keyID, key, err := n.keyring.NPMKey()
	if err != nil {
		return nil, fmt.Errorf("read registry key: %w", err)
	}
	der, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return nil, fmt.Errorf("read registry key: %w", err)
	}
	n.proxy, err = proxy.New(proxy.Config{
		Gate: n.gate, STS: n.sts, RegistryKeyID: keyID, RegistryKey: der,
		Sign: func(payload []byte) (formats.Signature, error) {
			sig, err := n.keyring.SignNPM(payload)
			return formats.Signature{KeyID: keyID, Sig: sig}, err
		},
		Formats: all.Formats(), Domain: cfg.Domain, Owner: cfg.Owner,
		Store: n.store, Catalog: n.catalog, Cache: n.cache, Upstream: n.upstream,
		HotBytes: int64(cfg.Cache.Memory), Limits: cfg.limits(), Logger: log, Access: access, Metrics: reg,
	}, site)
	if err != nil {
		return nil, fmt.Errorf("open proxy: %w", err)
	}
	h, err := n.api(cfg)
	if err != nil {
		return nil, err
	}
	n.proxy.SetAPI(h)
	watch.Attach(n.proxy)
	ok = true
	return n, nil
}

// close ends the rooms in the order in which they depend on each other: no new
// requests, no flights, no rows.
func (n *node) close() {
	for _, stop := range slices.Backward(n.stops) {
		stop()
	}
	if n.cache != nil {
		if err := n.cache.Close(); err != nil {
			n.log.Error("close cache", "event", "close_failed", "error", err)
		}
	}
	if n.proxy != nil {
		n.proxy.Close()
	}
	if n.upstream != nil {
		n.upstream.Close()
	}
	if n.store != nil {
		if err := n.store.Close(); err != nil {
			n.log.Error("close store", "event", "close_failed", "error", err)
		}
	}
}

// apply puts a new configuration into force.
func (n *node) apply(cfg *Config) error {
	site, err := cfg.site()
	if err != nil {
		return err
	}
	gc, err := cfg.gate()
	if err != nil {
		return err
	}
	f, err := cfg.federation(n.gate, n.log)
	if err != nil {
		return err
	}
	if _, err := n.upstream.Reload(cfg.dialer()); err != nil {
		return fmt.Errorf("set up connections: %w", err)
	}
	if err := n.gate.Reload(gc); err != nil {
		return fmt.Errorf("reload gate: %w", err)
	}
	n.sts.set(f)
	n.connections.Store(connectionsOf(cfg))
	return n.proxy.Reload(site)
}

// storeConfig is the store's part of the configuration, with its events logged
// under stable keys.
func (c *Config) storeConfig(log *slog.Logger) store.Config {
	return store.Config{
		Dir: c.StoreDir(), InlineMax: int64(c.Cache.InlineMax), Disk: int64(c.Cache.Disk), Reserve: int64(c.Cache.Reserve),
		BlockCache: int64(c.Cache.BlockCache), Logger: log,
		OnEvent: func(e store.Event) { logStoreEvent(log, e) },
	}
}

// site is what the proxy may be told anew while it runs.
func (c *Config) site() (proxy.Site, error) {
	var conns []catalog.Connection
	for _, k := range c.Connection {
		conns = append(conns, catalog.Connection{
			Connection:  formats.Connection{Name: k.Name, URL: publicURL(k.URL), Options: k.Options()},
			Format:      k.Format,
			MetadataTTL: k.MetadataTTL.Duration,
			Offline:     k.Offline,
		})
	}
	var repos []catalog.Repository
	for _, r := range c.Repository {
		repos = append(repos, catalog.Repository{Name: r.Name, Description: r.Description, Upstreams: r.Upstreams, Connection: r.Connection, Offline: r.Offline, Anonymous: c.OpenTo(r)})
	}
	graph, err := catalog.NewGraph(repos, conns)
	if err != nil {
		return proxy.Site{}, err
	}
	rules, err := policy.New(policy.Config{Blocks: c.Block})
	if err != nil {
		return proxy.Site{}, err
	}
	return proxy.Site{Graph: graph, Rules: rules, Offline: c.Offline(), ExternalURLs: trimmed(c.ExternalURL), TrustedProxies: c.Proxies(), LocalTags: c.LocalTags, Partial: c.Discovers()}, nil
}

func (c *Config) limits() proxy.Limits {
	return proxy.Limits{
		MetadataMax: int64(c.Limits.MetadataMax), ArtifactMax: int64(c.Limits.ArtifactMax),
		RevalidateBudget: c.Limits.RevalidateBudget.Duration, NegativeTTL: c.Limits.NegativeTTL.Duration,
		RefreshTimeout: refreshTimeout,
	}
}

// accessOut is where access lines go.
type accessOut struct {
	io.Writer
	file *os.File
}

// Close closes the file, if it is one.
func (a accessOut) Close() error {
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}

func accessWriter(cfg *Config, std stdio) (accessOut, error) {
	switch cfg.Log.Access {
	case "off":
		return accessOut{}, nil
	case "stderr":
		return accessOut{Writer: std.err}, nil
	}
	f, err := os.OpenFile(cfg.Log.Access, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return accessOut{}, fmt.Errorf("open access log: %w", err)
	}
	return accessOut{Writer: f, file: f}, nil
}

func newLogger(cfg *Config, std stdio) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return nil, nil, fmt.Errorf("log.level: %w", err)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch cfg.Log.Format {
	case "text":
		return slog.New(slog.NewTextHandler(std.err, opts)), level, nil
	case "json":
		return slog.New(slog.NewJSONHandler(std.err, opts)), level, nil
	}
	return nil, nil, errors.New("log.format: want text or json")
}

// refreshTimeout bounds one fetch of a listing behind the clients' backs.
const refreshTimeout = 2 * time.Minute

// publicURL is a registry's base as a format may see it: without credentials,
// with a trailing slash.
func publicURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	u.User = nil
	s := u.String()
	if !strings.HasSuffix(s, "/") {
		s += "/"
	}
	return s
}

func trimmed(urls []string) []string {
	var out []string
	for _, u := range urls {
		out = append(out, strings.TrimRight(u, "/"))
	}
	return out
}

// logStoreEvent words what the store did by itself.
func logStoreEvent(log *slog.Logger, e store.Event) {
	attrs := []any{"event", "store_" + strings.ReplaceAll(e.Kind.String(), "-", "_"), "bytes", e.Bytes}
	if e.Sum != (store.Sum{}) {
		attrs = append(attrs, "sha256", e.Sum.String())
	}
	if e.Detail != "" {
		attrs = append(attrs, "detail", e.Detail)
	}
	if e.Err != nil {
		attrs = append(attrs, "error", e.Err)
	}
	level := slog.LevelInfo
	switch e.Kind {
	case store.EventEvicted, store.EventOrphan:
		level = slog.LevelDebug
	case store.EventCorrupt, store.EventDropped, store.EventError:
		level = slog.LevelError
	case store.EventFull, store.EventNoSpace:
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, "store", attrs...)
}

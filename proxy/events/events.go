// Package events owns the feed of package version changes: one event per change,
// shaped as CodeArtifact's EventBridge events, read from the ledger and written
// as JSON lines to a file, to standard output or to a webhook. It decides
// nothing, keeps no state but its place in the ledger, and never loses an event:
// a sink that fails is tried again from the same place, so that an event may
// come twice but never not at all.
package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"larder/cache/catalog"
	"larder/formats"
)

// Sink takes events one by one. An error means that the event must come again.
type Sink interface {
	// Name tells sinks apart in the ledger's marks, the log and the metrics.
	Name() string
	Write(ctx context.Context, line []byte) error
}

// Ledger is what a Feed reads; *catalog.Catalog is one.
type Ledger interface {
	Ledger(after uint64, fn func(seq uint64, e catalog.Entry) error) error
	Mark(reader string) (uint64, error)
	SetMark(reader string, seq uint64) error
	Changes() <-chan struct{}
}

// Coordinates splits names as CodeArtifact does, by format.
type Coordinates func(format string, n formats.Name) (namespace, pkg string)

// Config wires a Feed.
type Config struct {
	Ledger  Ledger
	Sink    Sink
	Region  string // of ARNs
	Split   Coordinates
	Logger  *slog.Logger
	Metrics *prometheus.Registry // nil: none
	// Wait sleeps before a failed sink is tried again; nil: a timer. It returns
	// early when ctx ends.
	Wait func(ctx context.Context, d time.Duration)
}

// Feed copies events from the ledger to one sink until its context ends.
type Feed struct {
	cfg     Config
	written prometheus.Counter
	failed  prometheus.Counter
	lag     prometheus.Gauge
}

// New checks cfg and returns a Feed; Run starts it.
func New(cfg Config) (*Feed, error) {
	if cfg.Ledger == nil || cfg.Sink == nil || cfg.Split == nil {
		return nil, errors.New("an event feed needs a ledger, a sink and a way to split names")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Wait == nil {
		cfg.Wait = wait
	}
	f := &Feed{cfg: cfg}
	labels := prometheus.Labels{"sink": cfg.Sink.Name()}
	f.written = prometheus.NewCounter(prometheus.CounterOpts{Name: "larder_events_total", Help: "Package version events written.", ConstLabels: labels})
	f.failed = prometheus.NewCounter(prometheus.CounterOpts{Name: "larder_event_failures_total", Help: "Failed attempts to write an event.", ConstLabels: labels})
	f.lag = prometheus.NewGauge(prometheus.GaugeOpts{Name: "larder_event_sequence", Help: "Ledger sequence number up to which events are written.", ConstLabels: labels})
	if cfg.Metrics != nil {
		for _, c := range []prometheus.Collector{f.written, f.failed, f.lag} {
			if err := cfg.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("register event metrics: %w", err)
			}
		}
	}
	return f, nil
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Backoff of a sink that fails: doubling, bounded.
const (
	firstPause = time.Second
	maxPause   = 5 * time.Minute
)

// idle is the longest time between two looks at the ledger.
const idle = 5 * time.Second

// Run copies events until ctx ends. It is called once.
func (f *Feed) Run(ctx context.Context) {
	pause, changes := firstPause, f.cfg.Ledger.Changes()
	for ctx.Err() == nil {
		if err := f.Drain(ctx); err != nil && ctx.Err() == nil {
			f.failed.Inc()
			f.cfg.Logger.Warn("events could not be written; they are tried again", "event", "events_failed", "sink", f.cfg.Sink.Name(), "pause", pause.String(), "error", err)
			f.cfg.Wait(ctx, pause)
			pause = min(2*pause, maxPause)
			continue
		}
		pause = firstPause
		t := time.NewTimer(idle)
		select {
		case <-changes:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// Drain writes every event that the ledger has beyond the sink's mark.
func (f *Feed) Drain(ctx context.Context) error {
	reader := "events:" + f.cfg.Sink.Name()
	at, err := f.cfg.Ledger.Mark(reader)
	if err != nil {
		return fmt.Errorf("read place in the ledger: %w", err)
	}
	done := at
	readErr := f.cfg.Ledger.Ledger(at, func(seq uint64, e catalog.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Event != nil {
			line, err := json.Marshal(f.shape(seq, e))
			if err != nil {
				return fmt.Errorf("encode event %d: %w", seq, err)
			}
			if err := f.cfg.Sink.Write(ctx, append(line, '\n')); err != nil {
				return err
			}
			f.written.Inc()
		}
		done = seq
		return nil
	})
	f.lag.Set(float64(done))
	if done > at {
		if err := f.cfg.Ledger.SetMark(reader, done); err != nil {
			return errors.Join(readErr, fmt.Errorf("keep place in the ledger: %w", err))
		}
	}
	return readErr
}

// envelope is an EventBridge event (CodeArtifact user guide, "CodeArtifact event
// format and example").
type envelope struct {
	Version    string   `json:"version"`
	ID         string   `json:"id"`
	DetailType string   `json:"detail-type"`
	Source     string   `json:"source"`
	Account    string   `json:"account"`
	Time       string   `json:"time"`
	Region     string   `json:"region"`
	Resources  []string `json:"resources"`
	Detail     detail   `json:"detail"`
}

type detail struct {
	DomainName              string  `json:"domainName"`
	DomainOwner             string  `json:"domainOwner"`
	RepositoryName          string  `json:"repositoryName"`
	RepositoryAdministrator string  `json:"repositoryAdministrator"`
	PackageFormat           string  `json:"packageFormat"`
	PackageNamespace        *string `json:"packageNamespace"`
	PackageName             string  `json:"packageName"`
	PackageVersion          string  `json:"packageVersion"`
	PackageVersionState     string  `json:"packageVersionState"`
	PackageVersionRevision  string  `json:"packageVersionRevision"`
	Changes                 changes `json:"changes"`
	OperationType           string  `json:"operationType"`
	SequenceNumber          uint64  `json:"sequenceNumber"`
	EventDeduplicationID    string  `json:"eventDeduplicationId"`
	Cause                   string  `json:"cause"`               // larder's own: published, retained, changed, deleted
	Principal               string  `json:"principal,omitempty"` // larder's own
}

type changes struct {
	AssetsAdded     int  `json:"assetsAdded"`
	AssetsRemoved   int  `json:"assetsRemoved"`
	AssetsUpdated   int  `json:"assetsUpdated"`
	MetadataUpdated bool `json:"metadataUpdated"`
	StatusChanged   bool `json:"statusChanged"`
}

func (f *Feed) shape(seq uint64, e catalog.Entry) envelope {
	ev := e.Event
	ns, pkg := f.cfg.Split(e.Format, ev.Name)
	id := fmt.Sprintf("%s-%s-%d", e.Domain, ev.Owner, seq)
	d := detail{
		DomainName: e.Domain, DomainOwner: ev.Owner, RepositoryName: e.Repository, RepositoryAdministrator: ev.Administrator,
		PackageFormat: e.Format, PackageName: pkg, PackageVersion: e.Version, PackageVersionState: ev.Status,
		PackageVersionRevision: ev.Revision, OperationType: ev.Operation, SequenceNumber: ev.Sequence, EventDeduplicationID: id,
		Changes: changes{ev.Added, ev.Removed, ev.Updated, ev.Metadata, ev.StatusChanged}, Cause: string(e.Cause), Principal: e.By,
	}
	if ns != "" {
		d.PackageNamespace = &ns
	}
	arn := "arn:aws:codeartifact:" + f.cfg.Region + ":" + ev.Owner + ":package/" + e.Domain + "/" + e.Repository + "/" + e.Format + "/" + ns + "/" + pkg
	return envelope{Version: "0", ID: id, DetailType: "CodeArtifact Package Version State Change", Source: "aws.codeartifact",
		Account: ev.Owner, Time: e.Time.UTC().Format(time.RFC3339), Region: f.cfg.Region, Resources: []string{arn}, Detail: d}
}

// file appends lines to a file, each in one write.
type file struct {
	path string
	mode os.FileMode
}

// File appends events to a file, which may be moved away at any time: it is
// opened anew for each event.
func File(path string) Sink { return file{path, 0o600} }

func (f file) Name() string { return "file" }

func (f file) Write(_ context.Context, line []byte) error {
	out, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, f.mode)
	if err != nil {
		return fmt.Errorf("open event file: %w", err)
	}
	if _, err := out.Write(line); err != nil {
		return errors.Join(fmt.Errorf("write event: %w", err), out.Close())
	}
	return out.Close()
}

type writer struct{ w io.Writer }

// Writer writes events to w, such as standard output.
func Writer(w io.Writer) Sink { return writer{w} }

func (w writer) Name() string { return "stdout" }

func (w writer) Write(_ context.Context, line []byte) error {
	if _, err := w.w.Write(line); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}

type webhook struct {
	url    string
	client *http.Client
}

// Webhook posts each event as application/json to url. The client brings the
// credential, if there is one, and must not follow redirects to other hosts.
func Webhook(url string, client *http.Client) Sink { return webhook{url, client} }

func (w webhook) Name() string { return "webhook" }

func (w webhook) Write(ctx context.Context, line []byte) error {
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(line))
	if err != nil {
		return fmt.Errorf("make event request: %w", err)
	}
	rq.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(rq)
	if err != nil {
		return fmt.Errorf("post event: %w", err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // lets the connection be used again
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("post event: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("post event: the webhook answered %s", strings.TrimSpace(resp.Status))
	}
	return nil
}

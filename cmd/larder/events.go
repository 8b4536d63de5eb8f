package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"larder/cache/catalog"
	"larder/formats"
	"larder/formats/all"
	"larder/proxy/events"
	"larder/proxy/upstream"
)

// feeds makes a feed for each sink of the configuration.
func (c *Config) feeds(cat *catalog.Catalog, reg *prometheus.Registry, log *slog.Logger, std stdio) ([]*events.Feed, error) {
	var sinks []events.Sink
	if c.Events.File != "" {
		sinks = append(sinks, events.File(c.Events.File))
	}
	if c.Events.Stdout {
		sinks = append(sinks, events.Writer(std.out))
	}
	if c.Events.Webhook != "" {
		// The webhook is a service of this site: it is called offline too.
		// Its token is the connection's credential, since no other Authorization
		// is let through.
		client, err := c.siteClient(Connection{Name: "events.webhook", URL: c.Events.Webhook, CAFile: c.Upstream.CAFile, TokenEnv: c.Events.WebhookTokenEnv}, false)
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, events.Webhook(c.Events.Webhook, client))
	}
	split := coordinates(all.Formats())
	var out []*events.Feed
	for _, s := range sinks {
		f, err := events.New(events.Config{Ledger: cat, Sink: s, Region: c.Region, Split: split, Logger: log, Metrics: reg})
		if err != nil {
			return nil, fmt.Errorf("set up events: %w", err)
		}
		out = append(out, f)
	}
	return out, nil
}

// coordinates splits names as CodeArtifact does.
func coordinates(fs []formats.Format) events.Coordinates {
	of := map[string]formats.Coordinator{}
	for _, f := range fs {
		if c, ok := f.(formats.Coordinator); ok {
			of[f.ID()] = c
		}
	}
	return func(format string, n formats.Name) (string, string) {
		if c := of[format]; c != nil {
			return c.Coordinate(n)
		}
		return n.NS, n.Canon
	}
}

// providerClient asks an identity provider for its keys, with the guards of
// upstream requests. Offline it asks nobody.
func (c *Config) providerClient(p IdentityProvider) (*http.Client, error) {
	ca := p.CAFile
	if ca == "" {
		ca = c.Upstream.CAFile
	}
	return c.siteClient(Connection{Name: "identity_provider", URL: p.URL, CAFile: ca}, c.Offline())
}

// siteClient is an HTTP client for one service outside, which goes through the
// one room that dials. Of the service it takes name, URL, authority and token.
func (c *Config) siteClient(service Connection, offline bool) (*http.Client, error) {
	conn := defaultConnection()
	conn.Name, conn.URL, conn.CAFile, conn.TokenEnv = service.Name, publicURL(service.URL), service.CAFile, service.TokenEnv
	cfg := c.dialer()
	cfg.Offline = offline
	cfg.Connections = []upstream.Connection{conn.dialer()}
	up, err := upstream.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w", conn.Name, err)
	}
	return &http.Client{Transport: siteTransport{up, conn.Name}}, nil
}

// siteTransport sends requests through an upstream client.
type siteTransport struct {
	up   *upstream.Client
	name string
}

// maxSiteBody bounds what a service outside may answer, and what is sent to it.
const maxSiteBody = 4 << 20

// RoundTrip implements http.RoundTripper.
func (t siteTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	rq := upstream.Request{Connection: t.name, Method: r.Method, URL: r.URL.String(), Header: r.Header, MaxBytes: maxSiteBody, NoRetry: r.Method != http.MethodGet}
	if r.Body != nil {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxSiteBody+1))
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return nil, fmt.Errorf("read request: %w", err)
		}
		if len(body) > maxSiteBody {
			return nil, errors.New("the request is too large")
		}
		rq.Body = bytes.NewReader(body)
	}
	resp, err := t.up.Do(r.Context(), rq)
	if err != nil {
		return nil, err
	}
	return &http.Response{Status: http.StatusText(resp.Status), StatusCode: resp.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: resp.Header, Body: resp.Body, ContentLength: resp.ContentLength, Request: r}, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"larder/formats"
	"larder/formats/all"
	"larder/formats/generic"
	"larder/policy"
	"larder/proxy"
	"larder/proxy/access"
	"larder/proxy/codeartifact"
	"larder/proxy/identity"
)

// apiGate answers codeartifact.Gate from the node's gate.
type apiGate struct {
	gate *access.Gate
	now  func() time.Time
}

// apiSession is what a request's further questions need.
type apiSession struct {
	caller *access.Caller
	remote string
	secure bool
}

// maxAPIBody bounds the body of an API request that is no asset.
const maxAPIBody = 256 << 10

func (a apiGate) Identify(r *http.Request, stream bool) (codeartifact.Caller, error) {
	c, err := a.gate.BySignature(r, identity.Check{Service: "codeartifact", Stream: stream, MaxBody: maxAPIBody, AllowUnsigned: true})
	if err != nil {
		return codeartifact.Caller{}, apiError(err)
	}
	return codeartifact.Caller{ARN: c.ARN, Account: c.Account, Name: c.Name, Session: apiSession{c, r.RemoteAddr, r.TLS != nil}}, nil
}

// apiError gives a refusal of the signature AWS's words.
func apiError(err error) error {
	var refused *identity.Error
	if errors.As(err, &refused) {
		return &codeartifact.APIError{Code: refused.Code, Status: refused.Status, Message: refused.Message, Err: err}
	}
	return err
}

func (a apiGate) Allow(_ context.Context, c codeartifact.Caller, ask codeartifact.Ask) error {
	s, ok := c.Session.(apiSession)
	if !ok {
		return errors.New("the caller was not identified")
	}
	action, ok := policy.ParseAction(ask.Action)
	if !ok {
		return fmt.Errorf("action %q is not known", ask.Action)
	}
	cc := access.Circumstances{RemoteAddr: s.remote, Secure: s.secure, Now: a.now()}
	cc.Context = policy.Context{RequestTags: tagsOf(ask.RequestTags), TagKeys: ask.TagKeys, ResourceTags: tagsOf(ask.Resource.Tags),
		ServiceName: ask.Context["sts:AWSServiceName"]}
	if d, ok := ask.Context["sts:DurationSeconds"]; ok {
		n, err := strconv.ParseInt(d, 10, 64)
		if err != nil {
			return fmt.Errorf("duration %q: %w", d, err)
		}
		cc.Context.DurationSeconds, cc.Context.HasDuration = n, true
	}
	d := a.gate.Decide(s.caller, action, arnOf(ask.Resource), cc)
	if d.Verdict == policy.Allow {
		return nil
	}
	what := "*"
	if ask.Resource.Kind != codeartifact.ResourceAny {
		what = ask.Resource.ARN(a.gate.Region())
	}
	return codeartifact.Denied("User: %s is not authorized to perform: %s on resource: %s because %s", c.ARN, ask.Action, what, d.Reason)
}

func tagsOf(m map[string]string) []policy.Tag {
	var out []policy.Tag
	for k, v := range m {
		out = append(out, policy.Tag{Key: k, Value: v})
	}
	return out
}

func arnOf(r codeartifact.Resource) policy.ARN {
	out := policy.ARN{Owner: r.Owner, Domain: r.Domain, Repository: r.Repository, Format: r.Format, Namespace: r.Namespace, Name: r.Package}
	switch r.Kind {
	case codeartifact.ResourceDomain:
		out.Kind = policy.DomainARN
	case codeartifact.ResourceRepository:
		out.Kind = policy.RepositoryARN
	case codeartifact.ResourcePackage:
		out.Kind = policy.PackageARN
	case codeartifact.ResourceGroup:
		out.Kind, out.Name = policy.PackageGroupARN, r.Pattern
	case codeartifact.ResourceAny:
		return policy.ARN{}
	}
	return out
}

func (a apiGate) Token(_ context.Context, c codeartifact.Caller, domain, owner string, seconds int, given bool) (string, time.Time, error) {
	s, ok := c.Session.(apiSession)
	if !ok {
		return "", time.Time{}, errors.New("the caller was not identified")
	}
	if !given {
		seconds = identity.DefaultLifeSeconds
	}
	life, err := identity.TokenLife(seconds, s.caller.Principal, a.now())
	if err != nil {
		return "", time.Time{}, apiError(err)
	}
	return a.gate.Issue(s.caller, domain, owner, life)
}

func (a apiGate) CheckPolicy(document string, kind codeartifact.Kind) error {
	k := policy.DomainDocument
	if kind == codeartifact.ResourceRepository {
		k = policy.RepositoryDocument
	}
	_, err := policy.Parse([]byte(document), k)
	var bad *policy.DocumentError
	if errors.As(err, &bad) {
		reason := codeartifact.ReasonField
		if bad.Syntax {
			reason = codeartifact.ReasonCannotParse
		}
		return codeartifact.Invalid(reason, "policyDocument: %s", bad)
	}
	return err
}

// apiBackend moves the API's bytes through the proxy.
type apiBackend struct{ proxy *proxy.Server }

func (b apiBackend) Ingest(ctx context.Context, domain, repo, format string, n formats.Name, version string) error {
	return b.proxy.Ingest(ctx, proxy.Place{Domain: domain, Repository: repo, Format: format}, n, version)
}

func (b apiBackend) OpenAsset(_ context.Context, domain, repo, format string, n formats.Name, version, file string) (formats.OpenFile, error) {
	f, err := b.proxy.OpenAsset(proxy.Place{Domain: domain, Repository: repo, Format: format}, n, version, file)
	if errors.Is(err, formats.ErrNoDocument) {
		return nil, formats.Refuse(formats.NotFound, "the file is not held in this repository")
	}
	return f, err
}

func (b apiBackend) PublishAsset(ctx context.Context, c codeartifact.Caller, p codeartifact.Publication, body io.Reader) error {
	s, ok := c.Session.(apiSession)
	if !ok {
		return errors.New("the caller was not identified")
	}
	err := b.proxy.Publish(ctx, proxy.Upload{
		Place: proxy.Place{Domain: p.Domain, Repository: p.Repository, Format: "generic"}, By: s.caller, Body: body,
		Build: func(ctx context.Context, in formats.Intake) (*formats.Change, error) {
			sp, err := in.Spool(ctx, in)
			if err != nil {
				return nil, err
			}
			if got, _ := formats.Find(sp.Digests(), formats.SHA256); got.Hex != p.SHA256 {
				return nil, codeartifact.Invalid(codeartifact.ReasonField, "the asset's SHA-256 is %s, not %s as x-amz-content-sha256 says", got.Hex, p.SHA256)
			}
			existing, err := in.Version(p.Name, p.Version)
			if err != nil {
				return nil, err
			}
			var g generic.Format
			ns, pkg := g.Coordinate(p.Name)
			return generic.NewChange(ns, pkg, p.Version, p.Asset, "", sp, p.Unfinished, existing, in.Now())
		},
	})
	return apiError(err) // the body's end may say that its signature was of other bytes
}

// connections is what the API knows of the configuration's connections.
type connections struct {
	formats map[string]string // by name
	private map[string]bool
}

func connectionsOf(cfg *Config) *connections {
	out := &connections{map[string]string{}, map[string]bool{}}
	for i := range cfg.Connection {
		c := &cfg.Connection[i]
		out.formats[c.Name], out.private[c.Name] = c.Format, c.private()
	}
	return out
}

// api makes the handler of CodeArtifact's API.
func (n *node) api(cfg *Config) (http.Handler, error) {
	n.connections.Store(connectionsOf(cfg))
	h, err := codeartifact.New(codeartifact.Config{
		Catalog: n.catalog, Gate: apiGate{n.gate, time.Now}, Backend: apiBackend{n.proxy}, Formats: all.Formats(), Region: cfg.Region,
		Endpoint:    func(r *http.Request) string { return n.proxy.Base(r) },
		Connections: func() map[string]string { return n.connections.Load().formats },
		Associable:  func(name string) bool { return !n.connections.Load().private[name] },
		Logger:      n.log,
	})
	if err != nil {
		return nil, fmt.Errorf("open api: %w", err)
	}
	return h, nil
}

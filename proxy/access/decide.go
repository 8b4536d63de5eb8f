package access

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"larder/policy"
)

// Names of the built-in identity documents.
const (
	Administrator = "admin"   // everything
	Publisher     = "publish" // read, publish, and what package managers need around it
	Reader        = "read"    // read, and ask for tokens
)

// builtIn are the documents that need no configuration.
func builtIn() map[string]*policy.Document {
	out := map[string]*policy.Document{}
	for name, text := range map[string]string{
		Administrator: `{"Version":"2012-10-17","Statement":{"Sid":"Everything","Effect":"Allow","Action":["codeartifact:*","sts:*"],"Resource":"*"}}`,
		Publisher: `{"Version":"2012-10-17","Statement":{"Sid":"Publish","Effect":"Allow","Resource":"*","Action":["sts:GetServiceBearerToken",
"codeartifact:GetAuthorizationToken","codeartifact:GetRepositoryEndpoint","codeartifact:ReadFromRepository","codeartifact:PublishPackageVersion",
"codeartifact:PutPackageMetadata","codeartifact:Describe*","codeartifact:List*","codeartifact:GetPackageVersion*"]}}`,
		Reader: `{"Version":"2012-10-17","Statement":{"Sid":"Read","Effect":"Allow","Resource":"*","Action":["sts:GetServiceBearerToken",
"codeartifact:GetAuthorizationToken","codeartifact:GetRepositoryEndpoint","codeartifact:ReadFromRepository","codeartifact:Describe*","codeartifact:List*",
"codeartifact:GetPackageVersion*"]}}`,
	} {
		d, err := policy.Parse([]byte(text), policy.IdentityDocument)
		if err != nil {
			panic("built-in policy " + name + ": " + err.Error()) // the text above is wrong; a test reads it
		}
		out[name] = d
	}
	return out
}

// Circumstances is what a request says of itself.
type Circumstances struct {
	RemoteAddr string // HOST:PORT, as net/http gives it
	Secure     bool
	Now        time.Time
	Context    policy.Context // further condition keys
}

func (c Circumstances) context() policy.Context {
	ctx := c.Context
	ctx.SecureTransport, ctx.Now = c.Secure, c.Now
	if ap, err := netip.ParseAddrPort(c.RemoteAddr); err == nil {
		ctx.SourceIP = ap.Addr().Unmap()
	}
	return ctx
}

// request builds the question whether a caller may do an action to a resource.
func (g *Gate) request(c *Caller, a policy.Action, res policy.ARN, cc Circumstances) (*policy.Request, []*policy.Set) {
	q := &policy.Request{Caller: c.Caller, Action: a, Resource: res, Context: cc.context()}
	q.Context.Region = g.cfg.Region
	if res.Kind != policy.NoResource {
		q.Resource.Region = g.cfg.Region
	}
	return q, []*policy.Set{c.Documents, c.view.resources}
}

// Decide answers whether a caller may do an action to a resource.
func (g *Gate) Decide(c *Caller, a policy.Action, res policy.ARN, cc Circumstances) policy.Decision {
	if c.Anonymous {
		return policy.Decision{Verdict: policy.Deny, Rule: "anonymous", Reason: "this needs a credential"}
	}
	if !c.opens(res.Domain, res.Owner) {
		return policy.Decision{Verdict: policy.Deny, Rule: "token-domain", Reason: "the token was issued for another domain"}
	}
	q, sets := g.request(c, a, res, cc)
	return policy.Evaluate(q, sets...)
}

// Explain is Decide in full.
func (g *Gate) Explain(c *Caller, a policy.Action, res policy.ARN, cc Circumstances) policy.Explanation {
	if c.Anonymous || !c.opens(res.Domain, res.Owner) {
		return policy.Explanation{Decision: g.Decide(c, a, res, cc)}
	}
	q, sets := g.request(c, a, res, cc)
	return policy.Explain(q, sets...)
}

// opens reports whether the caller's token is for a domain.
func (c *Caller) opens(domain, owner string) bool {
	return c.Domain == "" || c.Domain == domain && c.Owner == owner
}

// Opens reports whether a bearer token may be used in a domain at all; a token
// of another one is as good as none.
func (c *Caller) Opens(domain, owner string) bool { return c.opens(domain, owner) }

// readLife is how long a reading decision is kept: conditions may look at the
// time.
const readLife = time.Second

// maxReads bounds the decisions that are kept for one caller.
const maxReads = 1024

type readKey struct {
	domain, repo, addr string
	secure             bool
}

type readCache struct {
	mu sync.RWMutex
	m  map[readKey]readEntry
}

type readEntry struct {
	d     policy.Decision
	until time.Time
}

// MayRead answers whether a caller may read from a repository. Reading is
// decided for a repository as a whole, all packages or none (user guide,
// "repository policies"), so the answer is kept for a moment.
func (g *Gate) MayRead(c *Caller, domain, repo string, cc Circumstances) policy.Decision {
	host := cc.RemoteAddr
	if i := strings.LastIndexByte(host, ':'); i > 0 {
		host = host[:i]
	}
	key := readKey{domain, repo, host, cc.Secure}
	c.reads.mu.RLock()
	hit, ok := c.reads.m[key]
	c.reads.mu.RUnlock()
	if ok && cc.Now.Before(hit.until) {
		return hit.d
	}
	d := g.mayRead(c, domain, repo, cc)
	c.reads.mu.Lock()
	defer c.reads.mu.Unlock()
	if c.reads.m == nil || len(c.reads.m) >= maxReads {
		c.reads.m = make(map[readKey]readEntry)
	}
	key.addr = strings.Clone(host)
	c.reads.m[key] = readEntry{d, cc.Now.Add(readLife)}
	return d
}

func (g *Gate) mayRead(c *Caller, domain, repo string, cc Circumstances) policy.Decision {
	d, ok := c.view.state.Domain(domain)
	if !ok {
		return policy.Decision{Verdict: policy.Deny, Rule: "absent", Reason: "there is no such domain"}
	}
	r, ok := d.Repository(repo)
	if !ok {
		return policy.Decision{Verdict: policy.Deny, Rule: "absent", Reason: "there is no such repository"}
	}
	if c.Anonymous {
		if r.Anonymous {
			return policy.Decision{Verdict: policy.Allow, Rule: "anonymous", Reason: "reading this repository needs no credential"}
		}
		return policy.Decision{Verdict: policy.Deny, Rule: "anonymous", Reason: "this repository asks for a credential"}
	}
	return g.Decide(c, policy.ReadFromRepository, policy.ARN{Kind: policy.RepositoryARN, Owner: d.Owner, Domain: domain, Repository: repo}, cc)
}

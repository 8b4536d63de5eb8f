package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"larder/cache/catalog"
	"larder/formats"
)

// earlyFindings is how long Discover waits for slow clients. A node must be
// ready within a second of its start, opening the store included.
const earlyFindings = 400 * time.Millisecond

// Found is what one format learned about this machine.
type Found struct {
	Format string // formats.Format.ID
	Order  int    // position in the list of formats
	formats.Finding
	Setup func(base string) string // the line that points the client at an endpoint
	Took  time.Duration
}

// Discover asks all formats at once which registries this machine's clients
// use. It returns after at most 400 ms what is known by then, in the order of
// fs; the rest arrives on late, which is closed after the last one. Cancelling
// ctx ends clients that still run; their findings then say so.
func Discover(ctx context.Context, m formats.Machine, fs []formats.Format) (early []Found, late <-chan Found) {
	return discoverWithin(ctx, m, fs, earlyFindings)
}

func discoverWithin(ctx context.Context, m formats.Machine, fs []formats.Format, wait time.Duration) ([]Found, <-chan Found) {
	results := make(chan Found, len(fs))
	asked := 0
	for i, f := range fs {
		d, ok := f.(formats.Discoverer)
		if !ok {
			continue
		}
		asked++
		go func() {
			start := time.Now()
			finding := d.Discover(ctx, m)
			results <- Found{Format: f.ID(), Order: i, Finding: finding, Setup: d.Setup, Took: time.Since(start)}
		}()
	}
	var early []Found
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for len(early) < asked {
		select {
		case found := <-results:
			early = append(early, found)
			continue
		case <-timer.C:
		}
		break
	}
	sortFound(early)
	late := make(chan Found, asked)
	rest := asked - len(early)
	if rest == 0 {
		close(late)
		return early, late
	}
	go func() {
		defer close(late)
		for range rest {
			late <- <-results
		}
	}()
	return early, late
}

// discoverAll waits for every format, as init does; nothing there needs to be
// ready in a second.
func discoverAll(ctx context.Context, fs []formats.Format) []Found {
	m := &machine{}
	defer m.Close()
	found, late := Discover(ctx, m, fs)
	for f := range late {
		found = append(found, f)
	}
	sortFound(found)
	return found
}

func sortFound(found []Found) {
	slices.SortFunc(found, func(a, b Found) int { return a.Order - b.Order })
}

// Apply enters what discovery found: one connection and one repository per
// registry, gathered by the repository "main" in the order of formats. It
// replaces what an earlier Apply entered, so call it again with everything when
// a late finding arrives. Names that are taken get a number.
func (c *Config) Apply(found []Found) {
	found = slices.Clone(found)
	sortFound(found)
	c.dropFound()
	var stores []string
	for _, f := range found {
		for _, reg := range f.Registries {
			conn := connectionOf(f.Format, reg)
			conn.Name = free(conn.Name, func(s string) bool {
				return slices.ContainsFunc(c.Connection, func(x Connection) bool { return strings.EqualFold(x.Name, s) })
			})
			store := free(reg.Store, func(s string) bool {
				return slices.ContainsFunc(c.Repository, func(x Repository) bool { return strings.EqualFold(x.Name, s) })
			})
			c.Connection = append(c.Connection, conn)
			c.Repository = append(c.Repository, Repository{
				Name: store, Connection: conn.Name, found: true,
				Description: fmt.Sprintf("%s, from %s", conn.Name, f.Where),
			})
			stores = append(stores, store)
		}
	}
	upstreams := c.gather("main", stores)
	for i := range c.Repository {
		if c.Repository[i].Name == "main" {
			c.Repository[i].Upstreams = upstreams
		}
	}
}

// gather returns what the repository called name has as upstreams: stores, or
// where these are more than a repository may have, the first of them and a
// repository that gathers the rest.
func (c *Config) gather(name string, stores []string) []string {
	if len(stores) <= catalog.MaxUpstreams {
		return stores
	}
	first, rest := stores[:catalog.MaxUpstreams-1], stores[catalog.MaxUpstreams-1:]
	more := free(name+"-more", func(s string) bool {
		return slices.ContainsFunc(c.Repository, func(x Repository) bool { return strings.EqualFold(x.Name, s) })
	})
	c.Repository = append(c.Repository, Repository{Name: more, found: true, Description: "what exceeds the upstreams of " + name})
	at := len(c.Repository) - 1
	upstreams := c.gather(more, rest) // may move c.Repository
	c.Repository[at].Upstreams = upstreams
	return append(slices.Clone(first), more)
}

// dropFound removes what an earlier Apply entered.
func (c *Config) dropFound() {
	gone := map[string]bool{}
	c.Repository = slices.DeleteFunc(c.Repository, func(r Repository) bool {
		if r.found && r.Connection != "" {
			gone[r.Connection] = true
		}
		return r.found
	})
	c.Connection = slices.DeleteFunc(c.Connection, func(x Connection) bool { return gone[x.Name] })
}

// free returns name, or name with the first number that nobody has.
func free(name string, taken func(string) bool) string {
	for n := 2; taken(name); n++ {
		base := strings.TrimSuffix(name, fmt.Sprintf("-%d", n-1))
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

// printFindings writes the table of formats: found or not, where, and the line
// that points each client at this node. base is the node's base URL without a
// trailing slash. Credentials are not shown.
func printFindings(w io.Writer, base string, found []Found) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "FORMAT\tFOUND\tREGISTRY\tWHERE")
	for _, f := range found {
		if len(f.Registries) == 0 {
			fmt.Fprintf(tw, "%s\tno\t-\t%s\n", f.Format, f.Missing)
		}
		for _, reg := range f.Registries {
			fmt.Fprintf(tw, "%s\tyes\t%s\t%s\n", f.Format, redactURL(reg.URL), f.Where)
		}
	}
	tw.Flush()
	for _, f := range found {
		if len(f.Registries) > 0 {
			fmt.Fprintf(w, "\n# point %s here:\n%s\n", f.Format, f.Setup(base+"/"+f.Format+"/main"))
		} else if f.Example != "" {
			fmt.Fprintf(w, "\n# %s was not found (%s); write in larder.toml:\n%s\n", f.Format, f.Missing, strings.TrimSpace(f.Example))
		}
	}
}

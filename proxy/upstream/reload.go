package upstream

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
)

// Reload replaces the configuration while requests run. It returns what
// changed, one line each, for the log. On an error nothing has changed.
// Connections that are the same (their files included) keep their open
// connections, breakers and pauses; requests of changed or removed ones run to
// their end. The wiring part of cfg (clock, hooks, logger) is ignored.
func (c *Client) Reload(cfg Config) (changed []string, err error) {
	c.reload.Lock()
	defer c.reload.Unlock()
	if c.base.Err() != nil {
		return nil, ErrClosed
	}
	old := c.state.Load()
	next, err := c.build(cfg, old)
	if err != nil {
		return nil, err
	}
	changed = differences(old, next)
	c.state.Store(next)
	for name, l := range old.links {
		if next.links[name] != l || next.offline || l.cfg.Offline {
			l.closeIdle()
		}
	}
	return changed, nil
}

// build makes a generation of settings; links of old that are unchanged are
// taken over.
func (c *Client) build(cfg Config, old *settings) (*settings, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	internal := make([]netip.Prefix, len(cfg.Internal))
	for i, s := range cfg.Internal {
		internal[i] = netip.MustParsePrefix(s) // Validate parsed it
	}
	f := newFence(internal)
	next := &settings{offline: cfg.Offline, links: map[string]*link{}}
	for i := range cfg.Connections {
		k := cfg.Connections[i].withDefaults(&cfg)
		t := c.reload.tallies[k.Name]
		if t == nil {
			t = &tally{}
			c.reload.tallies[k.Name] = t
		}
		l, err := newLink(c, k, agentOf(cfg.UserAgent), f, t)
		if err != nil {
			return nil, fmt.Errorf("connection %q: %w", k.Name, err)
		}
		if old != nil {
			if was := old.links[k.Name]; was != nil && was.same(l) {
				l = was
			}
		}
		next.links[k.Name] = l
		next.order = append(next.order, k.Name)
	}
	return next, nil
}

func agentOf(s string) string {
	if s == "" {
		return "larder"
	}
	return s
}

// same reports whether nothing that matters differs, file contents included.
func (l *link) same(o *link) bool {
	return reflect.DeepEqual(l.cfg, o.cfg) && l.agent == o.agent && bytes.Equal(l.material, o.material) &&
		reflect.DeepEqual(l.egress, o.egress) && slices.Equal(l.fence.blocked, o.fence.blocked)
}

func differences(old, next *settings) []string {
	var out []string
	if old.offline != next.offline {
		out = append(out, fmt.Sprintf("offline: %v", next.offline))
	}
	for _, name := range next.order {
		switch was := old.links[name]; {
		case was == nil:
			out = append(out, fmt.Sprintf("connection %q: added", name))
		case was != next.links[name]:
			out = append(out, fmt.Sprintf("connection %q: %s", name, changedFields(was, next.links[name])))
		}
	}
	for _, name := range old.order {
		if next.links[name] == nil {
			out = append(out, fmt.Sprintf("connection %q: removed", name))
		}
	}
	return out
}

// changedFields names the TOML keys that differ, never their values.
func changedFields(a, b *link) string {
	va, vb := reflect.ValueOf(a.cfg), reflect.ValueOf(b.cfg)
	list := ""
	for i := range va.NumField() {
		if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			if list != "" {
				list += ", "
			}
			list += va.Type().Field(i).Tag.Get("toml")
		}
	}
	if list == "" {
		return "what its files, the environment or the general settings say"
	}
	return list
}

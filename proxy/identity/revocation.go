package identity

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// RevocationKind says what a revocation names.
type RevocationKind string

// The kinds of revocations.
const (
	// RevokeToken names a token's id (jti) or a session's: a session takes the
	// bearer tokens with it that were made from it.
	RevokeToken RevocationKind = "token"
	// RevokeSubject names a principal's or a role's ARN: everything issued to it
	// until At.
	RevokeSubject RevocationKind = "subject"
	// RevokeKey names a signing key (KeyID). Such an entry is never forgotten,
	// because who has the key can go on signing.
	RevokeKey RevocationKind = "key"
)

// Revocation is one entry. Entries travel between nodes and are stored, so the
// names of its fields in JSON are fixed.
type Revocation struct {
	Kind RevocationKind `json:"kind"`
	ID   string         `json:"id"`
	At   int64          `json:"at"` // Unix seconds: when it was made, and until when it reaches for a subject
}

// Revocations is a set that only ever denies more: merging is a union, in any
// order and any number of times. Entries that no living token can match are
// dropped. It is safe for concurrent use; readers never wait.
type Revocations struct {
	write sync.Mutex
	now   atomic.Pointer[revoked]
}

// revoked is never changed once it is published.
type revoked struct {
	tokens, subjects, keys map[string]int64
}

// NewRevocations returns an empty set.
func NewRevocations() *Revocations {
	r := &Revocations{}
	r.now.Store(&revoked{tokens: map[string]int64{}, subjects: map[string]int64{}, keys: map[string]int64{}})
	return r
}

func (s *revoked) of(k RevocationKind) map[string]int64 {
	switch k {
	case RevokeToken:
		return s.tokens
	case RevokeSubject:
		return s.subjects
	case RevokeKey:
		return s.keys
	}
	return nil
}

// stale reports an entry that no living token can match.
func (e Revocation) stale(now time.Time) bool {
	return e.Kind != RevokeKey && time.Unix(e.At, 0).Add(maxLife+2*Skew).Before(now)
}

// Merge adds entries, drops what is stale at now, and returns the entries that
// were news: those are worth storing and passing on. Entries of an unknown kind
// are an error, after the others were taken.
func (r *Revocations) Merge(now time.Time, entries ...Revocation) (news []Revocation, err error) {
	r.write.Lock()
	defer r.write.Unlock()
	next := NewRevocations().now.Load()
	for _, e := range r.now.Load().entries() {
		if !e.stale(now) {
			next.of(e.Kind)[e.ID] = e.At
		}
	}
	var errs []error
	for _, e := range entries {
		m := next.of(e.Kind)
		if m == nil || e.ID == "" {
			errs = append(errs, fmt.Errorf("revocation of kind %q and id %q is not understood", e.Kind, e.ID))
			continue
		}
		if at, ok := m[e.ID]; e.stale(now) || ok && at >= e.At {
			continue
		}
		m[e.ID] = e.At
		news = append(news, e)
	}
	r.now.Store(next)
	return news, errors.Join(errs...)
}

// Entries returns the whole set in a stable order.
func (r *Revocations) Entries() []Revocation { return r.now.Load().entries() }

func (s *revoked) entries() []Revocation {
	var out []Revocation
	for _, k := range []RevocationKind{RevokeKey, RevokeSubject, RevokeToken} {
		for id, at := range s.of(k) {
			out = append(out, Revocation{k, id, at})
		}
	}
	slices.SortFunc(out, func(a, b Revocation) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// denies reports that c is revoked. A nil set denies nothing.
func (r *Revocations) denies(c *Claims) bool {
	if r == nil {
		return false
	}
	s := r.now.Load()
	if len(s.tokens) > 0 {
		if _, ok := s.tokens[c.ID]; ok {
			return true
		}
		if _, ok := s.tokens[c.Principal.Session]; ok && c.Principal.Session != "" {
			return true
		}
	}
	if len(s.subjects) > 0 {
		issued := c.IssuedAt.Unix()
		if at, ok := s.subjects[c.Principal.ARN]; ok && issued <= at {
			return true
		}
		if at, ok := s.subjects[c.Principal.Role]; ok && issued <= at {
			return true
		}
	}
	_, ok := s.keys[c.KeyID]
	return ok
}

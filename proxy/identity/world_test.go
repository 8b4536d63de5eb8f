package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"
)

// Credentials of AWS's published signature test suite.
const (
	suiteKey    = "AKIDEXAMPLE"
	suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

func suiteTime() time.Time { return time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC) }

func alice() Principal {
	return Principal{ARN: "arn:aws:iam::123456789012:user/alice", Account: "123456789012", Name: "alice", Kind: KindUser}
}

// keyTable is a store of access keys.
type keyTable map[string]AccessKey

func (t keyTable) AccessKey(_ context.Context, id string) (AccessKey, error) {
	if k, ok := t[id]; ok {
		return k, nil
	}
	return AccessKey{}, ErrNoKey
}

// brokenKeys is a store that fails.
type brokenKeys struct{}

var errStore = errors.New("store is gone")

func (brokenKeys) AccessKey(context.Context, string) (AccessKey, error) {
	return AccessKey{}, errStore
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock(t time.Time) *clock { return &clock{t: t} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// site is a node with everything of this room.
type site struct {
	t          testing.TB
	clock      *clock
	key        ed25519.PrivateKey
	issuer     *Issuer
	revoked    *Revocations
	verifier   *Verifier
	sessions   *Sessions
	signatures *Signatures
}

// testKey is the Ed25519 key that follows from a name.
func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicKeys(keys ...ed25519.PrivateKey) map[string]ed25519.PublicKey {
	m := map[string]ed25519.PublicKey{}
	for _, k := range keys {
		pub := k.Public().(ed25519.PublicKey)
		m[KeyID(pub)] = pub
	}
	return m
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, clock: newClock(suiteTime()), key: testKey("node a"), revoked: NewRevocations()}
	s.issuer = must[*Issuer](t)(NewIssuer(IssuerConfig{Site: "site", Key: s.key, Now: s.clock.now}))
	s.verifier = must[*Verifier](t)(NewVerifier(VerifierConfig{Site: "site", Keys: publicKeys(s.key), Revoked: s.revoked, Now: s.clock.now}))
	secret := sha256.Sum256([]byte("secret of the site"))
	s.sessions = must[*Sessions](t)(NewSessions(SessionConfig{Issuer: s.issuer, Verifier: s.verifier, Secrets: [][]byte{secret[:]}, Now: s.clock.now}))
	s.signatures = must[*Signatures](t)(NewSignatures(SignatureConfig{
		Keys: keyTable{suiteKey: {Secret: suiteSecret, Principal: alice()}}, Sessions: s.sessions, Now: s.clock.now,
	}))
	return s
}

// wantCode holds an error against AWS's code and status.
func wantCode(t testing.TB, err error, code string, status int) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code || e.Status != status {
		t.Fatalf("got %v, want %s %d", err, code, status)
	}
}

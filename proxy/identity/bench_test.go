package identity

import (
	"crypto/sha256"
	"net/http"
	"testing"
	"time"
)

func benchmarkToken(b *testing.B) (*site, string) {
	s := newSite(b)
	token, _, err := s.issuer.Issue(ciRun(), "main", owner, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.revoked.Merge(s.clock.now(), Revocation{RevokeToken, "x", s.clock.now().Unix()}, Revocation{RevokeSubject, "arn:x", s.clock.now().Unix()}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	return s, token
}

func BenchmarkTokenHit(b *testing.B) {
	s, token := benchmarkToken(b)
	for b.Loop() {
		if _, err := s.verifier.Verify(token, "main", owner); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenHitParallel(b *testing.B) {
	s, token := benchmarkToken(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.verifier.Verify(token, "main", owner); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkTokenCold(b *testing.B) {
	s, token := benchmarkToken(b)
	keys := s.verifier.keys.Load()
	for b.Loop() {
		if _, err := s.verifier.parse(keys, typBearer, token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenIssue(b *testing.B) {
	s, _ := benchmarkToken(b)
	for b.Loop() {
		if _, _, err := s.issuer.Issue(ciRun(), "main", owner, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignature(b *testing.B) {
	s := newSite(b)
	r := signedRequest(b, "POST", "/v1/repository/endpoint?domain=main&repository=npm-store&format=npm", "", s.clock.now())
	r.Body = http.NoBody
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.signatures.Verify(r, Check{Service: "codeartifact"}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestTokenHitAllocatesNothing: a hit is on the path of every request.
func TestTokenHitAllocatesNothing(t *testing.T) {
	s := newSite(t)
	token, _, err := s.issuer.Issue(alice(), "main", owner, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.verifier.Verify(token, "main", owner); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkDigestOfToken is the floor of a hit.
func BenchmarkDigestOfToken(b *testing.B) {
	_, token := benchmarkToken(b)
	text := []byte(token)
	for b.Loop() {
		sha256.Sum256(text)
	}
}

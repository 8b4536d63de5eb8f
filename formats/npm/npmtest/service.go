package npmtest

import (
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const provenanceType = "https://slsa.dev/provenance/v1"

// signer signs versions as the registry does: ECDSA P-256 over
// "name@version:integrity".
type signer struct {
	key  *ecdsa.PrivateKey
	id   string
	spki string // base64
}

func newSigner() signer {
	// A fixed key keeps documents the same from run to run.
	scalar := sha256.Sum256([]byte("npmtest signing key"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	if err != nil {
		panic(fmt.Sprintf("npmtest: signing key: %v", err))
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic(fmt.Sprintf("npmtest: signing key: %v", err))
	}
	sum := sha256.Sum256(der)
	return signer{key: key, id: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]), spki: base64.StdEncoding.EncodeToString(der)}
}

func (s signer) sign(message string) map[string]string {
	sum := sha256.Sum256([]byte(message))
	sig, err := s.key.Sign(nil, sum[:], crypto.SHA256) // no randomness: RFC 6979
	if err != nil {
		panic(fmt.Sprintf("npmtest: sign: %v", err))
	}
	return map[string]string{"keyid": s.id, "sig": base64.StdEncoding.EncodeToString(sig)}
}

// PublicKey returns the key that verifies dist.signatures, and its id.
func (r *Registry) PublicKey() (*ecdsa.PublicKey, string) {
	return &r.signer.key.PublicKey, r.signer.id
}

// Advisory is one answer of the bulk audit.
type Advisory struct {
	ID         int    `json:"id"`
	URL        string `json:"url"`
	Title      string `json:"title"`
	Severity   string `json:"severity"`
	Vulnerable string `json:"vulnerable_versions"`
}

// Advise makes audits report a package.
func (r *Registry) Advise(name string, a Advisory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.advice[name] = append(r.mu.advice[name], a)
}

// service answers paths below "/-/".
func (r *Registry) service(w http.ResponseWriter, q *http.Request, path string) {
	switch {
	case path == "ping":
		send(w, q, "application/json", time.Time{}, []byte("{}"))
	case path == "whoami":
		send(w, q, "application/json", time.Time{}, []byte(`{"username":"ada"}`))
	case path == "npm/v1/keys":
		send(w, q, "application/json", time.Time{}, encode(map[string]any{"keys": []ordered{{
			{"expires", nil}, {"keyid", r.signer.id}, {"keytype", "ecdsa-sha2-nistp256"},
			{"scheme", "ecdsa-sha2-nistp256"}, {"key", r.signer.spki},
		}}}))
	case strings.HasPrefix(path, "npm/v1/attestations/"):
		r.attestations(w, q, strings.TrimPrefix(path, "npm/v1/attestations/"))
	case strings.HasPrefix(path, "npm/v1/security/") && q.Method == http.MethodPost:
		r.audit(w, q, strings.TrimPrefix(path, "npm/v1/security/"))
	case path == "v1/search":
		r.search(w, q)
	case strings.HasPrefix(path, "package/") && strings.HasSuffix(path, "/dist-tags"):
		r.distTags(w, q, strings.TrimSuffix(strings.TrimPrefix(path, "package/"), "/dist-tags"))
	default:
		fail(w, http.StatusNotFound, "Not found")
	}
}

func (r *Registry) distTags(w http.ResponseWriter, q *http.Request, name string) {
	r.mu.Lock()
	p := r.mu.packages[name]
	var body []byte
	if p != nil {
		body = encode(p.tags)
	}
	r.mu.Unlock()
	if body == nil {
		fail(w, http.StatusNotFound, "Not found")
		return
	}
	send(w, q, "application/json", time.Time{}, body)
}

// attestations answers with a bundle of the right shape. Its signature is made
// up: nothing here is logged in a transparency log.
func (r *Registry) attestations(w http.ResponseWriter, q *http.Request, spec string) {
	i := strings.LastIndexByte(spec, '@')
	r.mu.Lock()
	var rel *release
	if i > 0 {
		if p := r.mu.packages[spec[:i]]; p != nil {
			rel = p.versions[spec[i+1:]]
		}
	}
	r.mu.Unlock()
	if rel == nil || !rel.Attested {
		fail(w, http.StatusNotFound, "Attestation not found")
		return
	}
	statement := encode(ordered{
		{"_type", "https://in-toto.io/Statement/v1"},
		{"subject", []any{map[string]any{"name": "pkg:npm/" + strings.Replace(rel.Name, "@", "%40", 1) + "@" + rel.Version}}},
		{"predicateType", provenanceType},
	})
	send(w, q, "application/json", rel.published, encode(map[string]any{"attestations": []any{map[string]any{
		"predicateType": provenanceType,
		"bundle": map[string]any{
			"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
			"dsseEnvelope": map[string]any{
				"payload": base64.StdEncoding.EncodeToString(statement), "payloadType": "application/vnd.in-toto+json",
				"signatures": []any{map[string]string{"keyid": "", "sig": r.signer.sign(string(statement))["sig"]}},
			},
		},
	}}}))
}

// audit answers the bulk endpoint with advisories and the older ones with an
// empty report.
func (r *Registry) audit(w http.ResponseWriter, q *http.Request, kind string) {
	body := io.Reader(q.Body)
	if q.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(q.Body)
		if err != nil {
			fail(w, http.StatusBadRequest, "bad gzip")
			return
		}
		body = z
	}
	if kind != "advisories/bulk" {
		io.Copy(io.Discard, body)
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"actions":[],"advisories":{},"muted":[],"metadata":{"vulnerabilities":{"info":0,"low":0,"moderate":0,"high":0,"critical":0},"dependencies":1,"devDependencies":0,"optionalDependencies":0,"totalDependencies":1}}`))
		return
	}
	var asked map[string][]string
	if err := json.NewDecoder(body).Decode(&asked); err != nil {
		fail(w, http.StatusBadRequest, "bad body")
		return
	}
	r.mu.Lock()
	found := map[string][]Advisory{}
	for name := range asked {
		if a := r.mu.advice[name]; len(a) > 0 {
			found[name] = slices.Clone(a)
		}
	}
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Write(encode(found))
}

func (r *Registry) search(w http.ResponseWriter, q *http.Request) {
	text := strings.ToLower(q.URL.Query().Get("text"))
	objects := []any{}
	for _, name := range r.Names() {
		if !strings.Contains(strings.ToLower(name), text) {
			continue
		}
		r.mu.Lock()
		version := ""
		var date time.Time
		if p := r.mu.packages[name]; p != nil {
			version, date = p.tags["latest"], p.modified
		}
		r.mu.Unlock()
		objects = append(objects, map[string]any{
			"package": ordered{
				{"name", name}, {"version", version}, {"description", "Test package " + name},
				{"keywords", []string{"tiny", "test"}}, {"date", stamp(date)}, {"links", map[string]string{}},
				{"publisher", map[string]string{"username": "ada", "email": "ada@example.org"}},
				{"maintainers", []map[string]string{{"username": "ada", "email": "ada@example.org"}}},
			},
			"score": map[string]any{"final": 1}, "searchScore": 1,
		})
	}
	send(w, q, "application/json", time.Time{}, encode(map[string]any{"objects": objects, "total": len(objects), "time": stamp(time.Unix(1.7e9, 0))}))
}

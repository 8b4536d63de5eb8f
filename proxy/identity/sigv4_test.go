package identity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// emptySHA256 is the digest of nothing.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// TestPublishedVectors holds the verifier against AWS's published signature
// test suite and the example of the General Reference.
func TestPublishedVectors(t *testing.T) {
	for _, tt := range []struct {
		name, method, target, host, service, signed, signature, body string
		header                                                       http.Header
	}{
		{name: "get-vanilla", method: "GET", target: "/", signed: "host;x-amz-date",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "post-vanilla", method: "POST", target: "/", signed: "host;x-amz-date",
			signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{name: "get-vanilla-query-order-key-case", method: "GET", target: "/?Param2=value2&Param1=value1", signed: "host;x-amz-date",
			signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{name: "get-vanilla-empty-query-key", method: "GET", target: "/?Param1=value1", signed: "host;x-amz-date",
			signature: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{name: "get-header-value-trim", method: "GET", target: "/", signed: "host;my-header1;my-header2;x-amz-date",
			header:    http.Header{"My-Header1": {" value1"}, "My-Header2": {` "a   b   c"`}},
			signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{name: "post-x-www-form-urlencoded", method: "POST", target: "/", signed: "content-type;host;x-amz-date",
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body: "Param1=value1",
			signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
		{name: "list-users", method: "GET", target: "/?Action=ListUsers&Version=2010-05-08", host: "iam.amazonaws.com", service: "iam",
			signed:    "content-type;host;x-amz-date",
			header:    http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}},
			signature: "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.host == "" {
				tt.host, tt.service = "example.amazonaws.com", "service"
			}
			request := func(body string) *http.Request {
				r := httptest.NewRequest(tt.method, tt.target, strings.NewReader(body))
				r.Host = tt.host
				for k, v := range tt.header {
					r.Header[k] = v
				}
				r.Header.Set("X-Amz-Date", "20150830T123600Z")
				r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/"+tt.service+
					"/aws4_request, SignedHeaders="+tt.signed+", Signature="+tt.signature)
				return r
			}
			s := newSite(t)
			r := request(tt.body)
			c, err := s.signatures.Verify(r, Check{Service: tt.service})
			if err != nil {
				t.Fatal(err)
			}
			if c.Principal != alice() || c.KeyID != suiteKey || c.Region != "us-east-1" {
				t.Errorf("caller is %+v", c)
			}
			if body, err := io.ReadAll(r.Body); err != nil || string(body) != tt.body {
				t.Errorf("body is %q, %v", body, err)
			}
			_, err = s.signatures.Verify(request(tt.body+"x"), Check{Service: tt.service})
			wantCode(t, err, CodeInvalidSignature, 403)
		})
	}
}

// sign signs a request with AWS's own signer.
func sign(t testing.TB, r *http.Request, c aws.Credentials, payload, service string, at time.Time) {
	t.Helper()
	if err := v4.NewSigner().SignHTTP(context.Background(), c, r, payload, service, "eu-north-1", at); err != nil {
		t.Fatal(err)
	}
}

func suiteCredentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: suiteKey, SecretAccessKey: suiteSecret}
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// signedRequest is a request as a server gets it, signed by AWS's signer.
func signedRequest(t testing.TB, method, target, body string, at time.Time) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, "http://larder.example"+target, strings.NewReader(body))
	sign(t, r, suiteCredentials(), sha256Hex(body), "codeartifact", at)
	return r
}

// TestPeerSigner sends what AWS's Go SDK signs over real HTTP.
func TestPeerSigner(t *testing.T) {
	s := newSite(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := s.signatures.Verify(r, Check{Service: "codeartifact"})
		body, readErr := io.ReadAll(r.Body)
		fmt.Fprint(w, errors.Join(err, readErr), " ", string(body))
	}))
	defer srv.Close()
	values := []string{"", "plain", "a b", "a+b", "( ) ' * ~ + %", "a/b?c=d&e", "é 日本 \U0001F4E6", "%2F", "=", "a;b,c:d@e", "[]{}|\\^`\"<>#$!", "\x00\x7f"}
	for _, v := range values {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			body := ""
			if method != "GET" {
				body = `{"v":` + fmt.Sprintf("%q", v) + `}`
			}
			query := url.Values{"package": {v}, "asset": {v + "2", v + "1"}, "max-results": {"7"}, "package-prefix": {""}}
			r, err := http.NewRequest(method, srv.URL+"/v1/package/version/publish?"+query.Encode(), strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Amz-Sdk-Request", "attempt=1;   max=3")
			r.Header.Add("X-Amz-Meta-Two", "one")
			r.Header.Add("X-Amz-Meta-Two", "  two   words ")
			sign(t, r, suiteCredentials(), sha256Hex(body), "codeartifact", s.clock.now())
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := "<nil> " + body; err != nil || string(got) != want {
				t.Errorf("%s %q: got %q, %v, want %q", method, v, got, err, want)
			}
		}
	}
}

// TestPathIsEncodedTwice: the path that was sent is encoded once more.
func TestPathIsEncodedTwice(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/a%20b", "/a%2Fb", "/%E1%88%B4", "/a+b", "/a:b@c", "/~x"} {
		r := signedRequest(t, "GET", path, "", s.clock.now())
		if _, err := s.signatures.Verify(r, Check{Service: "codeartifact"}); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestCanonicalQuery(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"", ""},
		{"a", "a="},
		{"b=2&a=1", "a=1&b=2"},
		{"a=2&a=1&a", "a=&a=1&a=2"},
		{"a=b+c", "a=b%2Bc"},
		{"a=b%2bc", "a=b%2Bc"},
		{"a=%7e~", "a=~~"},
		{"a=x=y", "a=x%3Dy"},
		{"a=(')*!", "a=%28%27%29%2A%21"},
		{"a=\xff", "a=%FF"},
		{"a=1&&b=2&", "a=1&b=2"},
		{"A=1&a=1&B=1", "A=1&B=1&a=1"},
	} {
		got, ok := appendCanonicalQuery(nil, tt.raw)
		if !ok || string(got) != tt.want {
			t.Errorf("%q: got %q, %v, want %q", tt.raw, got, ok, tt.want)
		}
	}
	for _, raw := range []string{"a=%", "a=%4", "a=%zz", "%=1"} {
		if got, ok := appendCanonicalQuery(nil, raw); ok {
			t.Errorf("%q: got %q, want a refusal", raw, got)
		}
	}
}

func TestSignatureRefusals(t *testing.T) {
	const json = `{"maxResults":1}`
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	replace := func(old, new string) func(*http.Request) {
		return func(r *http.Request) {
			a := r.Header.Get("Authorization")
			if !strings.Contains(a, old) {
				t.Fatalf("%q does not hold %q", a, old)
			}
			r.Header.Set("Authorization", strings.Replace(a, old, new, 1))
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		code   string
		status int
	}{
		{"no header", func(r *http.Request) { r.Header.Del("Authorization") }, CodeMissingToken, 403},
		{"presigned", func(r *http.Request) { r.Header.Del("Authorization"); r.URL.RawQuery = "X-Amz-Signature=00" }, CodeIncompleteSignature, 400},
		{"two headers", func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, CodeIncompleteSignature, 400},
		{"bearer", header("Authorization", "Bearer x"), CodeIncompleteSignature, 400},
		{"other algorithm", replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), CodeIncompleteSignature, 400},
		{"empty", header("Authorization", "AWS4-HMAC-SHA256"), CodeIncompleteSignature, 400},
		{"long", header("Authorization", "AWS4-HMAC-SHA256 "+strings.Repeat("a", 5000)), CodeIncompleteSignature, 400},
		{"unknown parameter", replace("SignedHeaders=", "Extra=1, SignedHeaders="), CodeIncompleteSignature, 400},
		{"twice a parameter", replace("SignedHeaders=", "SignedHeaders=host, SignedHeaders="), CodeIncompleteSignature, 400},
		{"no signed headers", replace("SignedHeaders=", "SignedHeaders=, X="), CodeIncompleteSignature, 400},
		{"upper-case header", replace("SignedHeaders=", "SignedHeaders=Accept;"), CodeIncompleteSignature, 400},
		{"unsorted headers", replace("SignedHeaders=", "SignedHeaders=z;"), CodeIncompleteSignature, 400},
		{"empty header name", replace("SignedHeaders=", "SignedHeaders=;"), CodeIncompleteSignature, 400},
		{"too many headers", replace("SignedHeaders=", "SignedHeaders="+strings.Repeat("a;", 100)), CodeIncompleteSignature, 400},
		{"short signature", replace("Signature=", "Signature=0"), CodeIncompleteSignature, 400},
		{"four elements", replace("/aws4_request", ""), CodeIncompleteSignature, 400},
		{"other terminal", replace("/aws4_request", "/aws5_request"), CodeIncompleteSignature, 400},
		{"no key id", replace(suiteKey, ""), CodeIncompleteSignature, 400},
		{"host not signed", func(r *http.Request) {
			a, rest, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
			_, rest, _ = strings.Cut(rest, ",")
			r.Header.Set("Authorization", a+"SignedHeaders=x-amz-date,"+rest)
		}, CodeInvalidSignature, 403},
		{"other service", replace("/codeartifact/", "/sts/"), CodeInvalidSignature, 403},
		{"other region", replace("/eu-north-1/", "/eu-north-2/"), CodeInvalidSignature, 403},
		{"other day", replace("/20150830/", "/20150831/"), CodeInvalidSignature, 403},
		{"unknown key", replace(suiteKey, "AKIDNOBODY"), CodeUnrecognizedClient, 403},
		{"temporary key without token", replace(suiteKey, "ASIAAAAAAAAAAAAAAAAA"), CodeUnrecognizedClient, 403},
		{"token with a long-lived key", header("X-Amz-Security-Token", "x"), CodeUnrecognizedClient, 403},
		{"no date", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, CodeIncompleteSignature, 400},
		{"bad date", header("X-Amz-Date", "2015-08-30T12:36:00Z"), CodeIncompleteSignature, 400},
		{"moved date", header("X-Amz-Date", "20150830T123601Z"), CodeInvalidSignature, 403},
		{"old", header("X-Amz-Date", "20150830T123059Z"), CodeInvalidSignature, 403},
		{"from the future", header("X-Amz-Date", "20150830T124101Z"), CodeInvalidSignature, 403},
		{"other host", func(r *http.Request) { r.Host = "other.example" }, CodeInvalidSignature, 403},
		{"other method", func(r *http.Request) { r.Method = "PUT" }, CodeInvalidSignature, 403},
		{"other path", func(r *http.Request) { r.URL.Path = "/v1/domain" }, CodeInvalidSignature, 403},
		{"other query", func(r *http.Request) { r.URL.RawQuery = "domain=main2" }, CodeInvalidSignature, 403},
		{"more query", func(r *http.Request) { r.URL.RawQuery += "&x" }, CodeInvalidSignature, 403},
		{"broken query", func(r *http.Request) { r.URL.RawQuery = "domain=%zz" }, CodeIncompleteSignature, 400},
		{"other body", func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(json[1:])) }, CodeInvalidSignature, 403},
		{"signed header gone", func(r *http.Request) { r.Header.Del("Content-Type") }, CodeInvalidSignature, 403},
		{"signed header other", header("Content-Type", "text/plain"), CodeInvalidSignature, 403},
		{"signed header twice", func(r *http.Request) { r.Header.Add("Content-Type", "application/json") }, CodeInvalidSignature, 403},
		{"declared digest of another body", header("X-Amz-Content-Sha256", emptySHA256), CodeInvalidSignature, 403},
		{"unsigned payload", header("X-Amz-Content-Sha256", unsignedPayload), CodeValidation, 400},
		{"streaming payload", header("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), CodeValidation, 400},
		{"upper-case digest", header("X-Amz-Content-Sha256", strings.ToUpper(sha256Hex(json))), CodeValidation, 400},
		{"large body", func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", 2000)))
			r.ContentLength = -1
		}, CodeValidation, 413},
		{"declared large body", func(r *http.Request) { r.ContentLength = 2000 }, CodeValidation, 413},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			request := func() *http.Request {
				r := httptest.NewRequest("POST", "http://larder.example/v1/domains?domain=main", strings.NewReader(json))
				r.Header.Set("Content-Type", "application/json")
				sign(t, r, suiteCredentials(), sha256Hex(json), "codeartifact", s.clock.now())
				return r
			}
			check := Check{Service: "codeartifact", MaxBody: 1000}
			if _, err := s.signatures.Verify(request(), check); err != nil {
				t.Fatalf("unchanged: %v", err)
			}
			r := request()
			tt.change(r)
			c, err := s.signatures.Verify(r, check)
			if c != nil {
				t.Fatalf("accepted as %+v", c)
			}
			wantCode(t, err, tt.code, tt.status)
		})
	}
}

// TestEveryFlippedByte: no byte of the header, of the query or of the body may
// be another.
func TestEveryFlippedByte(t *testing.T) {
	s := newSite(t)
	const body = `{"a":1}`
	verify := func(change func(r *http.Request)) error {
		r := signedRequest(t, "POST", "/v1/domains?domain=main&x=%20", body, s.clock.now())
		change(r)
		_, err := s.signatures.Verify(r, Check{Service: "codeartifact"})
		return err
	}
	flip := func(s string, i int) string { return s[:i] + string(s[i]^1) + s[i+1:] }
	if err := verify(func(*http.Request) {}); err != nil {
		t.Fatal(err)
	}
	auth := signedRequest(t, "POST", "/v1/domains?domain=main&x=%20", body, s.clock.now()).Header.Get("Authorization")
	for i := range auth {
		if err := verify(func(r *http.Request) { r.Header.Set("Authorization", flip(auth, i)) }); err == nil {
			t.Errorf("byte %d of the header may be another: %s", i, flip(auth, i))
		}
	}
	const query = "domain=main&x=%20"
	for i := range query {
		if err := verify(func(r *http.Request) { r.URL.RawQuery = flip(query, i) }); err == nil {
			t.Errorf("byte %d of the query may be another", i)
		}
	}
	for i := range body {
		err := verify(func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(flip(body, i))) })
		wantCode(t, err, CodeInvalidSignature, 403)
	}
}

// TestGenuineButNotForUs: a right signature over what we do not accept.
func TestGenuineButNotForUs(t *testing.T) {
	for _, tt := range []struct {
		name, day, service string
		signed             []string
		code               string
	}{
		{"for us", "20150830", "codeartifact", []string{"host", "x-amz-date"}, ""},
		{"without the date's header", "20150830", "codeartifact", []string{"host"}, ""},
		{"other service", "20150830", "sts", []string{"host", "x-amz-date"}, CodeInvalidSignature},
		{"other day", "20150829", "codeartifact", []string{"host", "x-amz-date"}, CodeInvalidSignature},
		{"host not signed", "20150830", "codeartifact", []string{"x-amz-date"}, CodeInvalidSignature},
		{"unsorted", "20150830", "codeartifact", []string{"x-amz-date", "host"}, CodeIncompleteSignature},
		{"twice a header", "20150830", "codeartifact", []string{"host", "host"}, CodeIncompleteSignature},
	} {
		s := newSite(t)
		r := httptest.NewRequest("GET", "http://larder.example/v1/domain?domain=main", nil)
		r.Header.Set("X-Amz-Date", s.clock.now().Format(amzDate))
		a := authorization{keyID: suiteKey, date: tt.day, region: "r", service: tt.service, signed: tt.signed}
		canonical := must[[]byte](t)(canonicalRequest(r, tt.signed, emptySHA256))
		r.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s/r/%s/%s, SignedHeaders=%s, Signature=%s", sigAlgorithm, suiteKey, tt.day, tt.service,
			sigTerminal, strings.Join(tt.signed, ";"), s.signatures.sign(suiteSecret, a, s.clock.now(), canonical)))
		_, err := s.signatures.Verify(r, Check{Service: "codeartifact"})
		var e *Error
		if tt.code == "" && err != nil || tt.code != "" && (!errors.As(err, &e) || e.Code != tt.code) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.code)
		}
	}
}

func TestRegionOfTheSite(t *testing.T) {
	s := newSite(t)
	s.signatures.cfg.Region = "eu-north-1"
	if _, err := s.signatures.Verify(signedRequest(t, "GET", "/", "", s.clock.now()), Check{Service: "codeartifact"}); err != nil {
		t.Error(err)
	}
	s.signatures.cfg.Region = "local"
	_, err := s.signatures.Verify(signedRequest(t, "GET", "/", "", s.clock.now()), Check{Service: "codeartifact"})
	wantCode(t, err, CodeInvalidSignature, 403)
}

func TestSkewIsFiveMinutes(t *testing.T) {
	for _, tt := range []struct {
		off time.Duration
		ok  bool
	}{{0, true}, {Skew, true}, {-Skew, true}, {Skew + time.Second, false}, {-Skew - time.Second, false}} {
		s := newSite(t)
		_, err := s.signatures.Verify(signedRequest(t, "GET", "/", "", s.clock.now().Add(tt.off)), Check{Service: "codeartifact"})
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.off, err)
		}
	}
}

func TestStoreFailureIsNoRefusal(t *testing.T) {
	s := newSite(t)
	s.signatures.cfg.Keys = brokenKeys{}
	_, err := s.signatures.Verify(signedRequest(t, "GET", "/", "", s.clock.now()), Check{Service: "codeartifact"})
	var e *Error
	if !errors.Is(err, errStore) || errors.As(err, &e) {
		t.Errorf("got %v, want the store's error", err)
	}
}

func TestEmptySecretOpensNothing(t *testing.T) {
	s := newSite(t)
	s.signatures.cfg.Keys = keyTable{suiteKey: {Principal: alice()}}
	r := httptest.NewRequest("GET", "http://larder.example/", nil)
	sign(t, r, aws.Credentials{AccessKeyID: suiteKey, SecretAccessKey: ""}, emptySHA256, "codeartifact", s.clock.now())
	_, err := s.signatures.Verify(r, Check{Service: "codeartifact"})
	wantCode(t, err, CodeUnrecognizedClient, 403)
}

// TestStreamedBody: the signature is checked before the body is read, the body
// while it is.
func TestStreamedBody(t *testing.T) {
	const size = 3<<20 + 17
	asset := bytes.Repeat([]byte("asset "), size/6+1)[:size]
	sum := sha256.Sum256(asset)
	declared := hex.EncodeToString(sum[:])
	other := bytes.Clone(asset)
	other[size-1] ^= 1
	check := Check{Service: "codeartifact", Stream: true}
	for _, tt := range []struct {
		name   string
		body   []byte
		length int64
		ok     bool
	}{
		{"same", asset, size, true},
		{"same, chunked", asset, -1, true},
		{"last byte", other, size, false},
		{"last byte, chunked", other, -1, false},
		{"shorter, chunked", asset[:size-1], -1, false},
		{"longer, chunked", append(bytes.Clone(asset), 'x'), -1, false},
		{"empty", nil, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			r := httptest.NewRequest("POST", "http://larder.example/v1/package/version/publish", bytes.NewReader(tt.body))
			r.ContentLength = tt.length
			r.Header.Set(contentSHA256, declared)
			sign(t, r, suiteCredentials(), declared, "codeartifact", s.clock.now())
			if _, err := s.signatures.Verify(r, check); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r.Body)
			if tt.ok != (err == nil) || !bytes.Equal(got, tt.body) {
				t.Fatalf("read %d bytes of %d, %v", len(got), len(tt.body), err)
			}
			if !tt.ok {
				wantCode(t, err, CodeValidation, 400)
				if n, again := r.Body.Read(make([]byte, 1)); n != 0 || again != err {
					t.Errorf("after the failure: %d, %v", n, again)
				}
			}
			if err := r.Body.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("stops at the declared length", func(t *testing.T) {
		s := newSite(t)
		r := httptest.NewRequest("POST", "http://larder.example/", bytes.NewReader(other))
		r.Header.Set(contentSHA256, declared)
		sign(t, r, suiteCredentials(), declared, "codeartifact", s.clock.now())
		if _, err := s.signatures.Verify(r, check); err != nil {
			t.Fatal(err)
		}
		_, err := io.CopyN(io.Discard, r.Body, size)
		if err == nil {
			_, err = r.Body.Read(make([]byte, 1))
		}
		wantCode(t, err, CodeValidation, 400)
	})
	t.Run("no digest", func(t *testing.T) {
		s := newSite(t)
		_, err := s.signatures.Verify(signedRequest(t, "POST", "/", "x", s.clock.now()), check)
		wantCode(t, err, CodeValidation, 400)
	})
	t.Run("other digest", func(t *testing.T) {
		s := newSite(t)
		r := signedRequest(t, "POST", "/", "x", s.clock.now())
		r.Header.Set(contentSHA256, declared)
		_, err := s.signatures.Verify(r, check)
		wantCode(t, err, CodeInvalidSignature, 403)
	})
}

func TestUnsignedPayload(t *testing.T) {
	s := newSite(t)
	request := func(secure bool) *http.Request {
		r := httptest.NewRequest("POST", "http://larder.example/", strings.NewReader("anything"))
		r.Header.Set(contentSHA256, unsignedPayload)
		sign(t, r, suiteCredentials(), unsignedPayload, "codeartifact", s.clock.now())
		if secure {
			r.TLS = &tls.ConnectionState{}
		}
		return r
	}
	for _, stream := range []bool{false, true} {
		allowed := Check{Service: "codeartifact", AllowUnsigned: true, Stream: stream}
		r := request(true)
		if _, err := s.signatures.Verify(r, allowed); err != nil {
			t.Error(err)
		}
		if b, err := io.ReadAll(r.Body); err != nil || string(b) != "anything" {
			t.Errorf("body %q, %v", b, err)
		}
		_, err := s.signatures.Verify(request(false), allowed)
		wantCode(t, err, CodeValidation, 400)
		_, err = s.signatures.Verify(request(true), Check{Service: "codeartifact", Stream: stream})
		wantCode(t, err, CodeValidation, 400)
	}
}

// TestDerivedKeysAreBounded: regions are the client's choice.
func TestDerivedKeysAreBounded(t *testing.T) {
	s := newSite(t)
	s.signatures = must[*Signatures](t)(NewSignatures(SignatureConfig{Keys: keyTable{}, CachedKeys: 64, Now: s.clock.now}))
	for i := range 1000 {
		r := signedRequest(t, "GET", "/", "", s.clock.now())
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "eu-north-1", fmt.Sprintf("r-%d", i), 1))
		_, err := s.signatures.Verify(r, Check{Service: "codeartifact"})
		wantCode(t, err, CodeUnrecognizedClient, 403)
	}
	if n := s.signatures.derived.len(); n > 64 || n < 32 {
		t.Errorf("%d keys are held", n)
	}
}

// TestUnknownKeyGoesTheWholeWay: its body is read and a key is derived, as for
// a wrong signature.
func TestUnknownKeyGoesTheWholeWay(t *testing.T) {
	for _, id := range []string{suiteKey, "AKIDNOBODY"} {
		s := newSite(t)
		r := signedRequest(t, "POST", "/", "body", s.clock.now())
		a := r.Header.Get("Authorization")
		r.Header.Set("Authorization", strings.Replace(a[:len(a)-64], suiteKey, id, 1)+emptySHA256)
		body := &countedBody{Reader: strings.NewReader("body")}
		r.Body = body
		_, err := s.signatures.Verify(r, Check{Service: "codeartifact"})
		var e *Error
		if !errors.As(err, &e) || e.Status != 403 || body.read != 4 || s.signatures.derived.len() != 1 {
			t.Errorf("%s: %v, %d bytes read, %d keys derived", id, err, body.read, s.signatures.derived.len())
		}
	}
}

type countedBody struct {
	io.Reader
	read int
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}

func (c *countedBody) Close() error { return nil }

func FuzzAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/sts/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + emptySHA256)
	f.Add("AWS4-HMAC-SHA256 Credential=A/20150830/r/s/aws4_request,SignedHeaders=host,Signature=" + emptySHA256)
	f.Add("AWS4-HMAC-SHA256 =,,=")
	f.Add("Bearer eyJ")
	f.Fuzz(func(t *testing.T, h string) {
		a, err := parseAuthorization(h)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Status != 400 && e.Status != 403 {
				t.Fatalf("%q: %v", h, err)
			}
			return
		}
		// What was understood means the same when it is written plainly.
		again := fmt.Sprintf("%s Credential=%s/%s/%s/%s/%s, SignedHeaders=%s, Signature=%s", sigAlgorithm, a.keyID, a.date, a.region, a.service,
			sigTerminal, strings.Join(a.signed, ";"), a.signature)
		b, err := parseAuthorization(again)
		if err != nil || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("%q became %q: %v", h, again, err)
		}
	})
}

func FuzzCanonicalRequest(f *testing.F) {
	f.Add("a=1&b=%20+", "/v1/domains", "value   x")
	f.Add("%", "/%2F", " ")
	f.Add("é=\xff&&=", "//", "\t")
	f.Fuzz(func(t *testing.T, query, path, value string) {
		got, ok := appendCanonicalQuery(nil, query)
		if ok {
			again, ok := appendCanonicalQuery(nil, string(got))
			if !ok || !bytes.Equal(got, again) {
				t.Errorf("query %q: %q became %q", query, got, again)
			}
			if strings.Trim(string(got), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~%&=") != "" {
				t.Errorf("query %q: reserved bytes in %q", query, got)
			}
		}
		if p := appendCanonicalPath(nil, path); len(p) == 0 || bytes.ContainsAny(p, "\n ?") {
			t.Errorf("path %q: %q", path, p)
		}
		folded := string(appendFolded(nil, value))
		if folded != strings.TrimSpace(folded) || strings.Contains(folded, "  ") || string(appendFolded(nil, folded)) != folded {
			t.Errorf("header %q: %q", value, folded)
		}
	})
}

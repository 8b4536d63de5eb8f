package proxy_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"larder/cache/catalog"
	"larder/formats"
	"larder/formats/golang/golangtest"
	"larder/formats/maven/maventest"
	"larder/formats/npm/npmtest"
	"larder/proxy"
	"larder/proxy/access"
	"larder/proxy/identity"
)

// robot enters a robot token that may do everything, and returns its header.
func (w *world) robot() string {
	w.t.Helper()
	const secret = "lrd_robot_secret"
	sum := sha256.Sum256([]byte(secret))
	w.proposeIn("", &catalog.PutCredential{Credential: catalog.Credential{ID: "lrd_robot", Kind: catalog.RobotToken, User: "robot", Account: "000000000000", Admin: true, SHA256: sum[:]}})
	return "Bearer " + secret
}

func (w *world) proposeIn(domain string, op catalog.Op) {
	w.t.Helper()
	if _, err := w.catalog.Propose(domain, "test", op); err != nil {
		w.t.Fatal(err)
	}
}

// TestBlockedNamesStayHere holds that no upstream learns a name that origin
// controls keep from coming from outside, on whatever path it is asked for.
func TestBlockedNamesStayHere(t *testing.T) {
	for what, block := range map[string]catalog.Op{
		"package": &catalog.PutOrigin{Repository: "main", Format: "go", Name: formats.Name{Canon: "registry.example/inner"}, Publish: catalog.Allow, Upstream: catalog.Block},
		"group": &catalog.PutGroup{Pattern: "/go//registry.example/inner$", Create: true,
			Restrictions: map[string]string{"EXTERNAL_UPSTREAM": "BLOCK", "INTERNAL_UPSTREAM": "BLOCK"}},
	} {
		t.Run(what, func(t *testing.T) {
			w, up := newGoWorld(t, golangtest.New())
			w.proposeIn("main", block)
			var mu sync.Mutex
			up.breakWith(func(r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if strings.Contains(r.URL.Path, "inner") {
					t.Errorf("upstream was asked %s", r.URL.Path)
				}
				return false
			}, http.NotFound)
			for _, path := range []string{
				"/registry.example/inner/@v/list", "/registry.example/inner/@latest", "/registry.example/inner/@v/v1.0.0.info",
				"/registry.example/inner/@v/v1.0.0.zip", "/registry.example/inner/@v/main.info",
				"/sumdb/" + golangtest.SumDBName + "/lookup/registry.example/inner@v1.0.0",
			} {
				if a := w.get("/go/main" + path); a.status < 400 || a.status >= 500 {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
		})
	}
}

// TestSlowPublisherHoldsNobodyUp holds that a client which sends its upload
// slowly keeps no other publish waiting.
func TestSlowPublisherHoldsNobodyUp(t *testing.T) {
	w, _ := newWorldOf(t, "generic")
	auth := w.robot()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.srv.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// 100-continue tells that the upload is being read.
	fmt.Fprintf(conn, "PUT /generic/main/team/tool/1.0/slow.bin HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n", auth)
	in := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusContinue {
		t.Fatalf("%v %v", resp, err)
	}
	if a := w.send(http.MethodPut, "/generic/main/team/tool/1.1/fast.bin", strings.NewReader("fast"), "Authorization", auth); a.status/100 != 2 {
		t.Fatalf("the other publish: %d %s %v", a.status, a.body, a.err)
	}
	if _, err := conn.Write([]byte("slow bytes")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("the slow publish had ended before the other one: %v %v", resp, err)
	}
	resp.Body.Close()
}

// TestUploadsByAPIAreBounded holds that an upload that does not come by a package
// endpoint has the same limit.
func TestUploadsByAPIAreBounded(t *testing.T) {
	w, _ := newWorldOf(t, "generic")
	w.close()
	w.limits = func(l *proxy.Limits) { l.ArtifactMax = 8 }
	w.open()
	for size, want := range map[int]bool{8: true, 9: false} {
		version := fmt.Sprint(size)
		err := w.proxy.Publish(context.Background(), proxy.Upload{Place: proxy.Place{Domain: "main", Repository: "main", Format: "generic"},
			By: &access.Caller{Name: "x"}, Body: strings.NewReader(strings.Repeat("x", size)),
			Build: func(ctx context.Context, in formats.Intake) (*formats.Change, error) {
				sp, err := in.Spool(ctx, in)
				if err != nil {
					return nil, err
				}
				return &formats.Change{Name: formats.Name{Canon: "team/tool"}, Versions: []formats.VersionChange{{V: version, Row: &formats.Version{V: version}, Files: []formats.NewFile{{File: "f", Spool: sp}}}}}, nil
			}})
		if (err == nil) != want {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestLongChecksumFiles holds that the checksum files of a file with a long name
// are not taken for each other.
func TestLongChecksumFiles(t *testing.T) {
	w, _ := newWorldOf(t, "maven", maventest.New())
	auth := w.robot()
	artifact := strings.Repeat("long", 50)
	path := "/maven/main/com/example/" + artifact + "/1.0/" + artifact + "-1.0.jar"
	if a := w.send(http.MethodPut, path, strings.NewReader("bytes"), "Authorization", auth); a.status/100 != 2 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.proposeIn("main", &catalog.UpdateStatus{Repository: "main", Format: "maven", Name: formats.Name{Canon: "com.example:" + artifact, NS: "com.example"}, Versions: []string{"1.0"}, Target: formats.Published})
	for range 2 {
		w.want(w.get(path+".sha1"), 200, sha1Hex("bytes"))
		w.want(w.get(path+".md5"), 200, md5Hex("bytes"))
	}
}

// TestSecurityTokenPath holds that both paths of the security token service
// reach it.
func TestSecurityTokenPath(t *testing.T) {
	w, _ := newWorldOf(t, "npm")
	w.close()
	w.config = func(c *proxy.Config) {
		c.STS = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusTeapot) })
	}
	w.open()
	for _, path := range []string{"/", "/-/sts"} {
		w.want(w.send(http.MethodPost, path, strings.NewReader("Action=x"), "Authorization", "AWS4-HMAC-SHA256 Credential=x"), http.StatusTeapot)
	}
}

// TestTokensStayInTheirDomain holds that a bearer token opens one domain only,
// on every path, and makes the node take nothing in for another one.
func TestTokensStayInTheirDomain(t *testing.T) {
	w, _ := newWorldOf(t, "npm", registry())
	w.close()
	for i := range w.repos {
		w.repos[i].Anonymous = false
	}
	var gate *access.Gate
	w.config = func(c *proxy.Config) {
		ring, err := identity.OpenKeyring(identity.KeyringConfig{Dir: t.TempDir() + "/keys"})
		if err != nil {
			t.Fatal(err)
		}
		gate, err = access.New(access.Config{Catalog: c.Catalog, Keyring: ring, Owner: c.Owner, Domain: c.Domain, Now: c.Now,
			Users: []access.User{{Name: "alice", Policies: []string{access.Administrator}}}})
		if err != nil {
			t.Fatal(err)
		}
		c.Gate = gate
	}
	w.open()
	w.proposeIn("other", &catalog.CreateDomain{Owner: "000000000000"})
	w.proposeIn("other", &catalog.CreateRepository{Name: "theirs", Administrator: "000000000000"})
	alice, err := gate.ByARN(access.UserARN("000000000000", "alice"))
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := gate.Issue(alice, "main", "000000000000", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	auth := "Bearer " + token
	w.want(w.get("/npm/main/left-pad", "Authorization", auth), 404)
	for _, path := range []string{"/npm/%s/left-pad", "/npm/%s/left-pad/-/left-pad-1.0.0.tgz", "/npm/%s/-/v1/search?text=x", "/npm/%s/-/whoami", "/npm/%s/-/npm/v1/keys",
		"/pypi/%s/simple/x/", "/pypi/%s/simple/", "/go/%s/registry.example/x/@v/list", "/go/%s/sumdb/x/supported", "/cargo/%s/config.json", "/maven/%s/com/example/x/maven-metadata.xml",
		"/maven/%s/com/example/x/1.0/x-1.0.jar.sha1", "/generic/%s/team/tool/1.0/x"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if a := w.do(method, fmt.Sprintf(path, "d/other-000000000000/theirs"), "Authorization", auth); a.status != 401 {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
			if a := w.do(method, fmt.Sprintf(path, "main")); a.status != 401 {
				t.Errorf("anonymous %s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}
	w.want(w.get("/-/why?purl=pkg:npm/x@1.0.0&domain=other&repo=theirs", "Authorization", auth), 401)
	if a := w.want(w.get("/"), 200); strings.Contains(a.body, "/npm/main/") {
		t.Errorf("the root tells anybody: %s", a.body)
	}
	w.want(w.get("/", "Authorization", auth), 200, "/npm/main/")
	before := w.store.Stats()
	for _, path := range []string{"/pypi/%s/", "/pypi/%s/legacy/", "/cargo/%s/api/v1/crates/new", "/npm/%s/left-pad", "/maven/%s/com/example/x/1.0/x-1.0.jar", "/generic/%s/team/tool/1.0/x"} {
		for _, method := range []string{http.MethodPut, http.MethodPost} {
			a := w.send(method, fmt.Sprintf(path, "d/other-000000000000/theirs"), strings.NewReader(strings.Repeat("x", 1<<20)), "Authorization", auth)
			if a.err == nil && a.status != 401 {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}
	if after := w.store.Stats(); after.Blobs != before.Blobs {
		t.Errorf("%d blobs were taken in", after.Blobs-before.Blobs)
	}
	// Whoever may know nothing cannot tell what is here from what is not.
	for _, q := range []string{"repo=main", "repo=absent", "domain=absent&repo=x", "domain=other&repo=theirs"} {
		w.want(w.get("/-/why?purl=pkg:npm/x@1.0.0&"+q), 401)
	}
}

// TestIngestWaitsForItsOwn holds that a version is held by the repository when
// Ingest returns, while others retain without end.
func TestIngestWaitsForItsOwn(t *testing.T) {
	var pkgs []npmtest.Package
	for i := range 60 {
		pkgs = append(pkgs, npmtest.Package{Name: fmt.Sprintf("busy-%d", i), Version: "1.0.0"})
	}
	w, _ := newWorld(t, registry(pkgs...))
	var others sync.WaitGroup
	for k := range 3 {
		others.Go(func() {
			for i := k; i < 60; i += 3 {
				w.get(fmt.Sprintf("/npm/main/busy-%d/-/busy-%d-1.0.0.tgz", i, i))
				w.proxy.Settle()
			}
		})
	}
	for i := 59; i >= 40; i-- {
		n := formats.Name{Canon: fmt.Sprintf("busy-%d", i)}
		if err := w.proxy.Ingest(t.Context(), proxy.Place{Domain: "main", Repository: "main", Format: "npm"}, n, "1.0.0"); err != nil {
			t.Error(err)
		}
		if _, err := w.catalog.Held(catalog.RepositoryPlace("main", "main"), "npm", n.Canon, "1.0.0"); err != nil {
			t.Errorf("%s: %v", n.Canon, err)
		}
	}
	others.Wait()
}

// TestKeptAnswersAreOfOnePath holds that an answer kept for one path is not given
// for another one that decodes to what the first one looks like.
func TestKeptAnswersAreOfOnePath(t *testing.T) {
	w, _ := newWorld(t, registry(npmtest.Package{Name: "left-pad", Version: "1.0.0"}))
	for range 20 {
		w.want(w.get("/npm/main/left-pad/-/left%2Dpad-1.0.0.tgz"), 200)
	}
	if a := w.get("/npm/main/left-pad/-/left%252Dpad-1.0.0.tgz"); a.status == 200 {
		t.Error("a file of another name is answered")
	}
}

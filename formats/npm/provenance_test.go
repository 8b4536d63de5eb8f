package npm

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
)

// bundle makes what npm attaches with --provenance, unsigned.
func bundle(t *testing.T, subject, sha512 string) string {
	t.Helper()
	payload := fmt.Sprintf(`{"_type":"https://in-toto.example/Statement/v1","subject":[{"name":%q,"digest":{"sha512":%q}}],"predicateType":"https://slsa.example/provenance/v1"}`, subject, sha512)
	out, err := json.Marshal(map[string]any{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
		"dsseEnvelope": map[string]any{"payload": base64.StdEncoding.EncodeToString([]byte(payload)), "note": "ü"}})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestProvenance(t *testing.T) {
	tgz := pack(t, packageJSON("@tiny/core", "1.0.0"))
	sum, _ := formats.Find(formattest.SpoolOf(tgz).Digests(), formats.SHA512)
	doc := func(b string) []byte {
		return publishDoc("@tiny/core", "1.0.0", tgz, func(d map[string]any) {
			d["_attachments"].(map[string]any)["@tiny/core-1.0.0.sigstore"] = map[string]any{"content_type": "x", "data": b, "length": len([]rune(b))}
		})
	}
	repo := formattest.NewRepository(t, testNow())
	for b, say := range map[string]string{
		bundle(t, "pkg:npm/%40tiny/core@1.0.0", strings.Repeat("0", 128)): "another tarball",
		bundle(t, "pkg:npm/%40tiny/core@1.0.1", sum.Hex):                  "is about",
		bundle(t, "pkg:npm/core@1.0.0", sum.Hex):                          "is about",
		"{}":                                                              "cannot be read",
	} {
		_, err := put(repo, "@tiny%2fcore", doc(b))
		wantRefusal(t, b, err, formats.BadRequest, say)
	}
	good := bundle(t, "pkg:npm/%40tiny/core@1.0.0", sum.Hex)
	if _, err := put(repo, "@tiny%2fcore", doc(good)); err != nil {
		t.Fatal(err)
	}
	row := repo.Version("@tiny/core", "1.0.0")
	if len(row.Held) != 2 || len(row.Assets) != 2 || row.Assets[0].File != "core-1.0.0.tgz" {
		t.Fatalf("row has %+v, held %+v", row.Assets, row.Held)
	}
	full := render(t, repo, formats.Name{Canon: "@tiny/core", NS: "tiny"}, variantFull)
	at := text(find(find(find(find(find(full, "versions"), "1.0.0"), "dist"), "attestations"), "url"))
	path, ok := strings.CutPrefix(at, testBase+"/")
	if !ok {
		t.Fatalf("attestations at %q", at)
	}
	target, err := New().Route(formattest.NewRequest(http.MethodGet, testBase, path, nil))
	if err != nil || target.Hosted == nil {
		t.Fatalf("route %s: %+v, %v", path, target, err)
	}
	of := target.Hosted.Derive
	file, err := repo.Open(of.Name.Canon, of.Version, of.File)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := New().Derive(*target.Hosted, row.Held[of.File], file)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"attestations":[{"predicateType":"https://slsa.example/provenance/v1","bundle":` + good + `}]}`; string(reply.Body) != want {
		t.Errorf("attestations %s, want %s", reply.Body, want)
	}
	if _, err := New().Derive(*target.Hosted, formats.HeldAsset{}, formattest.SpoolOf([]byte("{}}"))); err == nil {
		t.Error("a broken bundle is wrapped")
	}
}

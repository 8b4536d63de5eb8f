package maven

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"larder/formats"
	"larder/formats/formattest"
)

var publishedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// desk is a repository to deploy to, path by path.
type desk struct {
	*testing.T
	f    *Format
	repo *formattest.Repository
}

func newDesk(t *testing.T) *desk {
	return &desk{t, New(), formattest.NewRepository(t, publishedAt)}
}

// put deploys one file and returns the status and the refusal's text.
func (d *desk) put(path, body string) (int, string) {
	d.Helper()
	rq := request("PUT", "com/example/"+path)
	c, err := d.repo.Publish(d.f, rq, strings.NewReader(body))
	if err == nil {
		return c.Reply.Status, string(c.Reply.Body)
	}
	var r *formats.Refusal
	if !errors.As(err, &r) {
		d.Fatalf("PUT %s: %v is no refusal", path, err)
	}
	return r.Code(), r.Message
}

func (d *desk) want(status int, path, body string, says ...string) {
	d.Helper()
	code, text := d.put(path, body)
	if code != status {
		d.Errorf("PUT %s: %d %s, want %d", path, code, text, status)
	}
	for _, s := range says {
		if !strings.Contains(text, s) {
			d.Errorf("PUT %s: %q does not say %q", path, text, s)
		}
	}
}

// status is the status of a version of com.example:lib.
func (d *desk) status(v string) formats.Status {
	row := d.repo.Version("com.example:lib", v)
	if row == nil {
		return formats.StatusNone
	}
	return row.Hosting.Status
}

func (d *desk) wantStatus(want map[string]formats.Status) {
	d.Helper()
	for v, st := range want {
		if got := d.status(v); got != st {
			d.Errorf("%s is %q, want %q", v, got, st)
		}
	}
}

// doc is a rendered document.
func (d *desk) doc(path string) string {
	d.Helper()
	t, err := d.f.Route(request("GET", "com/example/"+path))
	if err != nil {
		d.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := d.f.Render(&b, d.repo.View(t.Name, base), t); err != nil {
		return fmt.Sprintf("%d %s", formats.AsRefusal(err).Code(), formats.AsRefusal(err).Message)
	}
	return b.String()
}

func pomOf(version string) string {
	return "<project><groupId>com.example</groupId><artifactId>lib</artifactId><version>" + version + "</version></project>"
}

// listOf is what a client sends at the artifact's level.
func listOf(versions ...string) string {
	return "<metadata><groupId>com.example</groupId><artifactId>lib</artifactId><versioning><release>" + versions[len(versions)-1] + "</release><versions><version>" +
		strings.Join(versions, "</version><version>") + "</version></versions><lastUpdated>20260102030405</lastUpdated></versioning></metadata>"
}

// buildsOf is what a client sends at a snapshot's level.
func buildsOf(version, stamp string, number int, kinds ...string) string {
	value := strings.TrimSuffix(version, snapshot) + stamp + fmt.Sprintf("-%d", number)
	var b strings.Builder
	fmt.Fprintf(&b, "<metadata modelVersion='1.1.0'><groupId>com.example</groupId><artifactId>lib</artifactId><version>%s</version><versioning><snapshot><timestamp>%s</timestamp><buildNumber>%d</buildNumber></snapshot><snapshotVersions>", version, stamp, number)
	for _, k := range kinds {
		ext, classifier, _ := strings.Cut(k, " ")
		fmt.Fprintf(&b, "<snapshotVersion><classifier>%s</classifier><extension>%s</extension><value>%s</value><updated>%s</updated></snapshotVersion>", classifier, ext, value, strings.ReplaceAll(stamp, ".", ""))
	}
	return b.String() + "</snapshotVersions></versioning></metadata>"
}

func sum(alg formats.Alg, body string) string {
	h := alg.New()
	_, _ = io.WriteString(h, body)
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestDeployRelease(t *testing.T) {
	d := newDesk(t)
	d.want(404, "lib/1.0/lib-1.0.jar.sha1", sum(formats.SHA1, "jar"), "has not been uploaded")
	d.want(201, "lib/1.0/lib-1.0.jar", "jar")
	d.wantStatus(map[string]formats.Status{"1.0": formats.Unfinished})
	d.want(404, "lib/1.0/lib-1.0.pom.sha1", sum(formats.SHA1, pomOf("1.0")), "has not been uploaded")
	d.want(201, "lib/1.0/lib-1.0.pom", pomOf("1.0"))
	d.want(201, "lib/1.0/lib-1.0.jar.asc", "signature")
	for _, alg := range []formats.Alg{formats.MD5, formats.SHA1, formats.SHA256, formats.SHA512} {
		file := "lib/1.0/lib-1.0.jar." + string(alg)
		hex := sum(alg, "jar")
		d.want(200, file, hex)
		d.want(200, file, hex+"  lib-1.0.jar\n")
		d.want(200, file, strings.ToUpper(string(alg))+" (lib-1.0.jar) = "+hex+"\n")
		d.want(200, "lib/1.0/lib-1.0.jar.asc."+string(alg), sum(alg, "signature"))
		d.want(400, "lib/1.0/lib-1.0.jar.asc."+string(alg), strings.ToUpper(sum(alg, "signature")))
		d.want(200, "lib/1.0/lib-1.0.jar.asc."+string(alg), sum(alg, "signature"))
		d.want(400, file, "", "is empty")
		d.want(413, file, strings.Repeat("0", maxChecksum+1))
	}
	if got := d.doc("lib/maven-metadata.xml"); !strings.HasPrefix(got, "404") {
		t.Errorf("an unfinished version is listed: %s", got)
	}

	meta := listOf("1.0")
	d.want(404, "lib/maven-metadata.xml.sha1", sum(formats.SHA1, meta), "has not been uploaded")
	d.want(201, "lib/maven-metadata.xml", meta)
	d.want(200, "lib/maven-metadata.xml.sha1", sum(formats.SHA1, meta))
	d.want(400, "lib/maven-metadata.xml.sha1", strings.ToUpper(sum(formats.SHA1, meta)))
	d.want(400, "lib/maven-metadata.xml.md5", sum(formats.MD5, d.doc("lib/maven-metadata.xml")), "not the checksum")
	d.wantStatus(map[string]formats.Status{"1.0": formats.Published})

	// What comes later does not open the version again, other bytes least of all.
	d.want(201, "lib/1.0/lib-1.0-sources.jar", "sources")
	d.want(201, "lib/1.0/lib-1.0.jar", "jar")
	d.want(409, "lib/1.0/lib-1.0.jar", "other")
	d.want(201, "lib/maven-metadata.xml", meta)
	d.wantStatus(map[string]formats.Status{"1.0": formats.Published})
	row := d.repo.Version("com.example:lib", "1.0")
	if len(row.Held) != 5 || len(row.Held[metadataFile].Digests) == 0 || !row.Published.Equal(publishedAt) {
		t.Errorf("%d files, published %s; want pom, jar, sources, signature, metadata", len(row.Held), row.Published)
	}
	if at := d.f.AssetHeader(formats.Target{}, row.Held["lib-1.0.jar"]).Get("Last-Modified"); at != publishedAt.Format(http.TimeFormat) {
		t.Errorf("Last-Modified %q", at)
	}
	if _, ok := d.f.Available(row); !ok {
		t.Error("a version deployed whole is not available")
	}
}

// The document alone says which versions are complete.
func TestMetadataPublishesWhatItNames(t *testing.T) {
	d := newDesk(t)
	for _, v := range []string{"1.0", "1.1", "1.2", "1.3"} {
		d.want(201, "lib/"+v+"/lib-"+v+".pom", pomOf(v))
	}
	d.want(201, "lib/maven-metadata.xml", listOf("0.9", "1.1"))
	d.want(201, "lib/maven-metadata.xml", "<metadata><groupId>com.example</groupId><artifactId>lib</artifactId><versioning><latest>1.2</latest></versioning></metadata>")
	d.wantStatus(map[string]formats.Status{"0.9": formats.StatusNone, "1.0": formats.Unfinished, "1.1": formats.Published, "1.2": formats.Published, "1.3": formats.Unfinished})
	got := d.doc("lib/maven-metadata.xml")
	for _, want := range []string{"<latest>1.2</latest>", "<release>1.2</release>", "<lastUpdated>20260102030405</lastUpdated>"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, ">0.9<") || strings.Contains(got, ">1.0<") || strings.Contains(got, ">1.3<") {
		t.Errorf("lists more than is published:\n%s", got)
	}
}

// A mismatch of a checksum that a client passes over keeps its version
// unfinished until the right one comes.
func TestMismatchKeepsUnfinished(t *testing.T) {
	d := newDesk(t)
	d.want(201, "lib/1.0/lib-1.0.jar", "jar")
	d.want(201, "lib/1.0/lib-1.0.pom", pomOf("1.0"))
	d.want(400, "lib/1.0/lib-1.0.jar.sha1", sum(formats.SHA1, "jra"), "lib-1.0.jar.sha1 says", `"detail"`)
	d.want(400, "lib/1.0/lib-1.0.jar.sha1", sum(formats.SHA1, "jra"))
	d.want(400, "lib/1.0/lib-1.0.jar.md5", strings.ToUpper(sum(formats.MD5, "jar")))
	d.want(400, "lib/maven-metadata.xml", listOf("1.0"), "stays unfinished", "lib-1.0.jar.sha1, lib-1.0.jar.md5")
	d.want(200, "lib/1.0/lib-1.0.jar.md5", sum(formats.MD5, "jar"))
	d.want(400, "lib/maven-metadata.xml", listOf("1.0"), "lib-1.0.jar.sha1 did not")
	d.wantStatus(map[string]formats.Status{"1.0": formats.Unfinished})
	d.want(200, "lib/1.0/lib-1.0.jar.sha1", sum(formats.SHA1, "jar"))
	d.want(201, "lib/maven-metadata.xml", listOf("1.0"))
	d.wantStatus(map[string]formats.Status{"1.0": formats.Published})
	// Of a published version nothing is remembered.
	d.want(400, "lib/1.0/lib-1.0.jar.sha1", sum(formats.SHA1, "jra"))
	if aux := auxOf(d.repo.Version("com.example:lib", "1.0")); len(aux.Mismatch) > 0 {
		t.Errorf("remembered of a published version: %v", aux)
	}
}

func (d *desk) deployBuild(version, stamp string, number int, kinds ...string) {
	d.Helper()
	value := strings.TrimSuffix(version, snapshot) + fmt.Sprintf("%s-%d", stamp, number)
	for _, k := range kinds {
		ext, classifier, _ := strings.Cut(k, " ")
		if classifier != "" {
			classifier = "-" + classifier
		}
		body := k + value
		if ext == "pom" {
			body = pomOf(version)
		}
		d.want(201, "lib/"+version+"/lib-"+value+classifier+"."+ext, body)
		d.want(200, "lib/"+version+"/lib-"+value+classifier+"."+ext+".sha1", sum(formats.SHA1, body))
	}
	if st := d.status(value); st != formats.Unfinished {
		d.Errorf("%s is %s before its document", value, st)
	}
	meta := buildsOf(version, stamp, number, kinds...)
	d.want(201, "lib/"+version+"/maven-metadata.xml", meta)
	d.want(200, "lib/"+version+"/maven-metadata.xml.sha1", sum(formats.SHA1, meta))
	d.want(201, "lib/maven-metadata.xml", listOf(version))
}

func TestDeploySnapshots(t *testing.T) {
	d := newDesk(t)
	const v, first, second = "1.0-SNAPSHOT", "1.0-20260101.120000-1", "1.0-20260102.120000-2"
	d.want(404, "lib/"+v+"/maven-metadata.xml", buildsOf(v, "20260101.120000", 1, "jar"), "comes last")
	d.deployBuild(v, "20260101.120000", 1, "pom", "jar", "jar sources", "tar.gz dist")
	d.wantStatus(map[string]formats.Status{v: formats.Published, first: formats.UnlistedStatus})
	d.want(404, "lib/"+v+"/maven-metadata.xml", buildsOf(v, "20260109.120000", 9, "jar"), "comes last")
	d.deployBuild(v, "20260102.120000", 2, "pom", "jar")
	d.wantStatus(map[string]formats.Status{v: formats.Published, first: formats.UnlistedStatus, second: formats.UnlistedStatus})
	if b, ok := d.f.Build(d.repo.Version("com.example:lib", v)); !ok || b != second {
		t.Errorf("%s stands for %q, want %s", v, b, second)
	}
	if b, ok := d.f.Build(d.repo.Version("com.example:lib", first)); ok {
		t.Errorf("%s stands for %q", first, b)
	}

	want := `<?xml version="1.0" encoding="UTF-8"?>
<metadata modelVersion="1.1.0">
  <groupId>com.example</groupId>
  <artifactId>lib</artifactId>
  <version>1.0-SNAPSHOT</version>
  <versioning>
    <snapshot>
      <timestamp>20260102.120000</timestamp>
      <buildNumber>2</buildNumber>
    </snapshot>
    <lastUpdated>20260102120000</lastUpdated>
    <snapshotVersions>
      <snapshotVersion>
        <extension>jar</extension>
        <value>1.0-20260102.120000-2</value>
        <updated>20260102120000</updated>
      </snapshotVersion>
      <snapshotVersion>
        <extension>pom</extension>
        <value>1.0-20260102.120000-2</value>
        <updated>20260102120000</updated>
      </snapshotVersion>
      <snapshotVersion>
        <classifier>dist</classifier>
        <extension>tar.gz</extension>
        <value>1.0-20260101.120000-1</value>
        <updated>20260101120000</updated>
      </snapshotVersion>
      <snapshotVersion>
        <classifier>sources</classifier>
        <extension>jar</extension>
        <value>1.0-20260101.120000-1</value>
        <updated>20260101120000</updated>
      </snapshotVersion>
    </snapshotVersions>
  </versioning>
</metadata>
`
	if got := d.doc("lib/" + v + "/maven-metadata.xml"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	list := d.doc("lib/maven-metadata.xml")
	if strings.Count(list, "<version>") != 1 || !strings.Contains(list, "<version>1.0-SNAPSHOT</version>") || strings.Contains(list, "<release>") {
		t.Errorf("the artifact's document:\n%s", list)
	}

	// Two that deploy at a time do not lose each other's build; the older one
	// that comes late is not the newest.
	d.want(201, "lib/"+v+"/lib-1.0-20260104.120000-3.jar", "later")
	d.deployBuild(v, "20260103.120000", 3, "pom", "jar")
	d.wantStatus(map[string]formats.Status{"1.0-20260104.120000-3": formats.Unfinished, "1.0-20260103.120000-3": formats.UnlistedStatus})
	d.want(201, "lib/"+v+"/maven-metadata.xml", buildsOf(v, "20260104.120000", 3, "jar"))
	d.deployBuild(v, "20260102.130000", 3, "pom", "jar")
	got := d.doc("lib/" + v + "/maven-metadata.xml")
	if !strings.Contains(got, "<value>1.0-20260104.120000-3</value>") || !strings.Contains(got, "<timestamp>20260103.120000</timestamp>") {
		t.Errorf("newest jar and newest POM are not named:\n%s", got)
	}
	d.want(409, "lib/"+v+"/lib-"+first+".jar", "other bytes")
	d.repo.Version("com.example:lib", v).Hosting.Status = formats.Archived
	d.want(409, "lib/"+v+"/maven-metadata.xml", buildsOf(v, "20260104.120000", 3, "jar"), "archived")
}

func FuzzDeployedMetadata(f *testing.F) {
	f.Add("lib/maven-metadata.xml", listOf("1.0", "2.0"))
	f.Add("lib/1-SNAPSHOT/maven-metadata.xml", buildsOf("1-SNAPSHOT", "20260101.120000", 1, "pom", "jar x"))
	f.Add("maven-metadata.xml", "<metadata><plugins><plugin><prefix>a</prefix><artifactId>b</artifactId></plugin></plugins></metadata>")
	f.Add("lib/maven-metadata.xml", "<metadata><versioning><snapshot/></versioning></metadata>")
	f.Fuzz(func(t *testing.T, path, doc string) {
		if !strings.HasSuffix(path, metadataFile) {
			return
		}
		d := newDesk(t)
		d.want(201, "lib/1.0/lib-1.0.pom", pomOf("1.0"))
		d.want(201, "lib/1-SNAPSHOT/lib-1-20260101.120000-1.jar", "jar")
		rq := request("PUT", "com/example/"+path)
		if tg, err := d.f.Route(rq); err != nil || tg.Deed != formats.DeedMetadata {
			return
		}
		if code, text := d.put(path, doc); code >= 500 {
			t.Fatalf("status %d: %s", code, text)
		} else if code != 201 {
			return
		}
		for _, p := range []string{"lib/maven-metadata.xml", "lib/1-SNAPSHOT/maven-metadata.xml", path} {
			if got := d.doc(p); strings.HasPrefix(got, "5") {
				t.Fatalf("%s is not rendered: %s", p, got)
			}
		}
	})
}

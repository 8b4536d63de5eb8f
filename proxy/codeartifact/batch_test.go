package codeartifact

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"larder/formats"
)

func TestStatusMoves(t *testing.T) {
	all := []string{"Unfinished", "Published", "Unlisted", "Archived", "Disposed"}
	for _, from := range all {
		for _, to := range []string{"Published", "Unlisted", "Archived", "Disposed", "Deleted"} {
			w := newWorld(t)
			w.site("main", "team")
			st, _ := formats.ParseStatus(from)
			start := st
			if st == formats.DisposedStatus {
				start = formats.Published
			}
			n, _ := fakeNPM{}.name("x")
			if err := w.publish("main", "team", "npm", n, "1.0.0", start, nil, map[string]string{"x.tgz": "x"}); err != nil {
				t.Fatal(err)
			}
			one := []string{"1.0.0"}
			if st == formats.DisposedStatus {
				w.must("DisposePackageVersions", pkg("", "x", "versions", one))
			}
			op, in := "UpdatePackageVersionsStatus", pkg("", "x", "versions", one, "expectedStatus", from)
			switch to {
			case "Disposed":
				op = "DisposePackageVersions"
			case "Deleted":
				op = "DeletePackageVersions"
			default:
				in["targetStatus"] = to
			}
			a := w.must(op, in)
			if from == "Disposed" && to != "Deleted" {
				w.want(a, `"NOT_ALLOWED"`, "failedVersions", "1.0.0", "errorCode")
				w.want(a, `{}`, "successfulVersions")
				continue
			}
			w.want(a, `"`+to+`"`, "successfulVersions", "1.0.0", "status")
			w.want(a, `{}`, "failedVersions")
			v := w.call("DescribePackageVersion", pkg("", "x", "packageVersion", "1.0.0"))
			if to == "Deleted" {
				if v.status != 404 {
					t.Errorf("deleted: %d", v.status)
				}
				continue
			}
			w.want(v, `"`+to+`"`, "packageVersion", "status")
		}
	}
}

func TestBatches(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	w.npm("main", "team", "x", "1.0.0", "2.0.0", "3.0.0")
	a := w.must("UpdatePackageVersionsStatus", pkg("", "x", "versions", []string{"1.0.0", "9.0.0", "2.0.0", "1.0.0"}, "targetStatus", "Archived"))
	w.want(a, `{}`, "successfulVersions")
	w.want(a, `{"1.0.0":{"errorCode":"SKIPPED","errorMessage":"version 1.0.0 is skipped"},"2.0.0":{"errorCode":"SKIPPED","errorMessage":"version 2.0.0 is skipped"},"9.0.0":{"errorCode":"NOT_FOUND","errorMessage":"Could not find version 9.0.0"}}`, "failedVersions")
	a = w.must("UpdatePackageVersionsStatus", pkg("", "x", "versions", []string{"1.0.0"}, "targetStatus", "Archived", "expectedStatus", "Unlisted"))
	w.want(a, `{"1.0.0":{"errorCode":"MISMATCHED_STATUS","errorMessage":"current status: Published, expected status: Unlisted"}}`, "failedVersions")
	a = w.must("DisposePackageVersions", pkg("", "x", "versions", []string{"1.0.0"}, "versionRevisions", map[string]string{"1.0.0": "old"}))
	w.want(a, `"MISMATCHED_REVISION"`, "failedVersions", "1.0.0", "errorCode")
	w.want(w.must("ListPackageVersions", pkg("", "x", "status", "Published")), `"3.0.0"`, "versions", 2, "version")
	w.must("DeletePackageVersions", pkg("", "x", "versions", []string{"1.0.0", "2.0.0"}, "expectedStatus", "Published"))
	w.want(w.must("ListPackageVersions", pkg("", "x")), `"3.0.0"`, "versions", 0, "version")
	w.refused("ResourceNotFoundException", "none", "DeletePackageVersions", pkg("", "none", "versions", []string{"1"}))
	w.refused("ValidationException", "targetStatus", "UpdatePackageVersionsStatus", pkg("", "x", "versions", []string{"3.0.0"}, "targetStatus", "Disposed"))
}

func TestCopy(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team", "prod")
	w.npm("main", "team", "x", "1.0.0", "2.0.0")
	cp := func(more ...any) given {
		g := given{"domain": "main", "sourceRepository": "team", "destinationRepository": "prod", "format": "npm", "package": "x"}
		for i := 0; i < len(more); i += 2 {
			g[more[i].(string)] = more[i+1]
		}
		return g
	}
	w.gate.asked()
	a := w.must("CopyPackageVersions", cp("versions", []string{"1.0.0"}))
	if asked := strings.Join(w.gate.asked(), "\n"); asked != "codeartifact:CopyPackageVersions arn:aws:codeartifact:eu-central-1:111122223333:package/main/prod/npm//x\n"+
		"codeartifact:ReadFromRepository arn:aws:codeartifact:eu-central-1:111122223333:repository/main/team" {
		t.Errorf("asked %s", asked)
	}
	w.want(a, `"Published"`, "successfulVersions", "1.0.0", "status")
	rev := a.at("successfulVersions", "1.0.0", "revision")
	// Identical again: nothing is listed.
	if a := w.must("CopyPackageVersions", cp("versionRevisions", map[string]any{"1.0.0": rev})); a.raw != `{"successfulVersions":{},"failedVersions":{}}` {
		t.Errorf("%s", a.raw)
	}
	a = w.must("CopyPackageVersions", cp("versions", []string{"1.0.0", "5.0.0"}))
	w.want(a, `"SKIPPED"`, "failedVersions", "1.0.0", "errorCode")
	w.want(a, `"NOT_FOUND"`, "failedVersions", "5.0.0", "errorCode")
	// Other content needs allowOverwrite.
	n, _ := fakeNPM{}.name("x")
	if err := w.publish("main", "prod", "npm", n, "2.0.0", 0, nil, map[string]string{"x.tgz": "other"}); err != nil {
		t.Fatal(err)
	}
	w.want(w.must("CopyPackageVersions", cp("versions", []string{"2.0.0"})), `"ALREADY_EXISTS"`, "failedVersions", "2.0.0", "errorCode")
	w.want(w.must("CopyPackageVersions", cp("versions", []string{"2.0.0"}, "allowOverwrite", true)), `"Published"`, "successfulVersions", "2.0.0", "status")

	w.refused("ValidationException", "versionRevisions", "CopyPackageVersions", cp())
	w.refused("ValidationException", "versionRevisions", "CopyPackageVersions", cp("versions", []string{"1.0.0"}, "versionRevisions", map[string]string{"1.0.0": "x"}))
	w.refused("ValidationException", "destinationRepository", "CopyPackageVersions", cp("versions", []string{"1.0.0"}, "destinationRepository", "team"))
	w.refused("ResourceNotFoundException", "none", "CopyPackageVersions", cp("versions", []string{"1.0.0"}, "destinationRepository", "none"))
	w.gate.deny["codeartifact:ReadFromRepository"] = true
	w.refused("AccessDeniedException", "ReadFromRepository", "CopyPackageVersions", cp("versions", []string{"1.0.0"}))
	w.gate.deny = map[string]bool{}

	// Upstreams are only looked at when they are to be.
	w.back.upstream["npm far 1.0.0"] = "far away"
	far := func(more ...any) given {
		return cp(append([]any{"package", "far", "versions", []string{"1.0.0"}}, more...)...)
	}
	w.refused("ResourceNotFoundException", "far", "CopyPackageVersions", far())
	a = w.must("CopyPackageVersions", far("includeFromUpstream", true))
	w.want(a, `"Published"`, "successfulVersions", "1.0.0", "status")
	a = w.must("DescribePackageVersion", given{"domain": "main", "repository": "prod", "format": "npm", "package": "far", "packageVersion": "1.0.0"})
	w.want(a, `{"domainEntryPoint":{"externalConnectionName":"public:npmjs"},"originType":"EXTERNAL"}`, "packageVersion", "origin")
	w.want(w.must("CopyPackageVersions", far("includeFromUpstream", true, "versions", []string{"7.0.0"})), `"NOT_FOUND"`, "failedVersions", "7.0.0", "errorCode")
	// One blob in three places counts once.
	if a := w.must("DescribeDomain", given{"domain": "main"}); fmt.Sprint(a.at("domain", "assetSizeBytes")) != fmt.Sprint(len("x1.0.0")+len("x2.0.0")+len("far away")) {
		t.Errorf("%s", a.raw)
	}
}

// TestErrorShape holds the bodies that SDKs parse, to the byte.
func TestErrorShape(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	w.gate.deny["codeartifact:ListDomains"] = true
	for _, c := range []struct {
		op   string
		in   given
		body string
	}{
		{"DescribeDomain", given{"domain": "absent"}, `{"message":"Domain not found. Domain: 'absent', owner: '111122223333'","resourceId":"absent","resourceType":"domain"}`},
		{"DescribeDomain", given{"domain": "UPPER"}, `{"message":"1 validation error detected: Value 'UPPER' at 'domain' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z][a-z0-9\\-]{0,48}[a-z0-9]","reason":"FIELD_VALIDATION_FAILED"}`},
		{"DescribeDomain", given{}, `{"message":"1 validation error detected: Value null at 'domain' failed to satisfy constraint: Member must not be null","reason":"FIELD_VALIDATION_FAILED"}`},
		{"ListDomains", given{}, `{"message":"User: arn:aws:iam::111122223333:user/dev is not authorized to perform: codeartifact:ListDomains on resource: *"}`},
		{"DescribePackageVersion", pkg("", "x", "packageVersion", "1"), `{"message":"Package version not found in repository. Package: 'x', version: '1', repository: 'team'","resourceId":"1","resourceType":"package-version"}`},
		{"DeleteDomain", given{"domain": "main"}, `{"message":"Domain 'main' cannot be deleted: it still contains 1 repositories","resourceId":"main","resourceType":"domain"}`},
	} {
		a := w.call(c.op, c.in)
		if a.raw != c.body || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s\nwant %s", c.op, a.raw, c.body)
		}
	}
}

// failing is a backend that can do nothing.
type failing struct {
	Backend
	err error
}

func (f failing) Ingest(context.Context, string, string, string, formats.Name, string) error {
	return f.err
}

// TestFaultsTellNothing: a fault of the node is an InternalServerException.
func TestFaultsTellNothing(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	for err, want := range map[error]struct {
		status int
		code   string
	}{
		io.ErrUnexpectedEOF: {500, "InternalServerException"},
		formats.Refuse(formats.Upstream, "registry is down"):                                 {500, "InternalServerException"},
		formats.Refuse(formats.Unavailable, "no majority"):                                   {503, "InternalServerException"},
		formats.Refuse(formats.TooLarge, "over 5 GB"):                                        {402, "ServiceQuotaExceededException"},
		formats.Refuse(formats.Conflict, "other bytes"):                                      {409, "ConflictException"},
		formats.Refuse(formats.Blocked, "policy"):                                            {403, "AccessDeniedException"},
		&APIError{Code: "ThrottlingException", Message: "Rate exceeded", RetryAfter: 1500e6}: {429, "ThrottlingException"},
	} {
		w.h.backend = failing{err: err}
		a := w.call("CopyPackageVersions", given{"domain": "main", "sourceRepository": "team", "destinationRepository": "team2", "format": "npm", "package": "x", "versions": []string{"1"}, "includeFromUpstream": true})
		if a.status != 404 {
			t.Errorf("no destination: %d", a.status)
		}
		if w.call("CreateRepository", given{"domain": "main", "repository": "dest"}).status == http.StatusInternalServerError {
			t.Fatal("create")
		}
		a = w.call("CopyPackageVersions", given{"domain": "main", "sourceRepository": "team", "destinationRepository": "dest", "format": "npm", "package": "x", "versions": []string{"1"}, "includeFromUpstream": true})
		if a.status != want.status || a.header.Get("X-Amzn-Errortype") != want.code || strings.Contains(a.raw, "EOF") {
			t.Errorf("%v: %d %s", err, a.status, a.raw)
		}
		if want.status == 429 && a.header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
}

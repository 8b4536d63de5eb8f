package codeartifact

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestServiceModel holds the table of operations against the facts of AWS's own
// service model.
func TestServiceModel(t *testing.T) {
	raw, err := os.ReadFile("testdata/members")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	op := ""
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "\t"):
			if strings.Fields(line)[1] != "payload" {
				want[op+line] = true
			}
		default:
			op, _, _ = strings.Cut(line, " ")
			want[line] = true
		}
	}
	ops := operations()
	if len(ops) != 48 {
		t.Errorf("%d operations, want 48", len(ops))
	}
	for _, op := range ops {
		got := []string{fmt.Sprintf("%s %s %s", op.name, op.method, op.path)}
		for _, f := range op.fields {
			where, name := "body", f.member
			if f.query != "" {
				where, name = "query", f.query
			} else if f.header != "" {
				where, name = "header", strings.ToLower(f.header)
			}
			line := fmt.Sprintf("%s\t%s %s %s", op.name, f.member, where, name)
			if f.required {
				line += " *"
			}
			got = append(got, line)
		}
		for _, line := range got {
			if !want[line] {
				t.Errorf("not in the service model: %s", line)
			}
			delete(want, line)
		}
	}
	for line := range want {
		t.Errorf("missing: %s", line)
	}
}

// sample is a legal value of a shape.
func sample(s *shape) any {
	switch s.kind {
	case boolValue:
		return true
	case numberValue:
		return s.max
	case listValue:
		return []any{sample(s.of)}
	case mapValue:
		return map[string]any{sample(s.key).(string): sample(s.of)}
	case structValue:
		m := map[string]any{}
		for _, f := range s.fields {
			m[f.member] = sample(f.shape)
		}
		return m
	}
	switch {
	case len(s.enum) > 0:
		return s.enum[0]
	case s == arnText:
		return "arn:aws:codeartifact:eu-central-1:111122223333:domain/main"
	case s == groupName:
		return "/npm/*"
	}
	for _, v := range []string{"main", "a", account, strings.Repeat("0", 64)} {
		if s.violates(v) == "" {
			return v
		}
	}
	panic("no sample for " + s.grammar)
}

// violation is a value that breaks one constraint, and what the message says.
type violation struct {
	value any
	says  string
}

// violations breaks every constraint of a shape once. asText says that the value
// stands in a query or header, where everything is text.
func violations(s *shape, asText bool) []violation {
	var out []violation
	add := func(v any, says string) { out = append(out, violation{v, says}) }
	switch s.kind {
	case boolValue:
		add("maybe", "a boolean")
		if !asText {
			add(1, "a boolean")
		}
	case numberValue:
		add("x", "an integer")
		add(s.max+1, fmt.Sprintf("value less than or equal to %d", s.max))
		add(s.min-1, fmt.Sprintf("value greater than or equal to %d", s.min))
		if !asText {
			add("5", "an integer")
			add(1.5, "an integer")
		}
	case listValue:
		add("x", "a list")
		add(map[string]any{}, "a list")
		if s.min > 0 {
			add([]any{}, "length greater")
		}
		many := make([]any, s.max+1)
		for i := range many {
			many[i] = sample(s.of)
		}
		add(many, "length less")
		for _, v := range violations(s.of, false) {
			add([]any{sample(s.of), v.value}, v.says)
		}
	case mapValue:
		add([]any{}, "a map")
		for _, v := range violations(s.of, false) {
			add(map[string]any{sample(s.key).(string): v.value}, v.says)
		}
		add(map[string]any{"#": sample(s.of)}, "Map keys")
		if s.bounded {
			many := map[string]any{}
			for i := range s.max + 1 {
				many[fmt.Sprint("k", i)] = sample(s.of)
			}
			add(many, "length less")
		}
	case structValue:
		add("x", "a structure")
		for _, f := range s.fields {
			whole := sample(s).(map[string]any)
			if f.required {
				delete(whole, f.member)
				add(whole, f.member)
			}
			for _, v := range violations(f.shape, false) {
				whole := sample(s).(map[string]any)
				whole[f.member] = v.value
				add(whole, v.says)
			}
		}
	case textValue:
		if !asText {
			add(7, "a string")
			add([]any{"x"}, "a string")
		}
		if len(s.enum) > 0 {
			add("golang", "enum value set: ["+strings.Join(s.enum, ", ")+"]")
			break
		}
		if s.min > 0 {
			add(strings.Repeat("a", s.min-1), "length greater")
		}
		add(strings.Repeat("a", s.max+1), "length less")
		bad := "a\x00b"
		if s.min == s.max {
			bad = strings.Repeat("G", s.max)
		}
		add(bad, "regular expression pattern: "+s.grammar)
	}
	return out
}

// TestConstraints breaks each constraint of each member of each operation once.
func TestConstraints(t *testing.T) {
	w := newWorld(t)
	n := 0
	for _, op := range operations() {
		whole := given{}
		for _, f := range op.fields {
			whole[f.member] = sample(f.shape)
		}
		if op.name == "CopyPackageVersions" {
			delete(whole, "versionRevisions")
		}
		if a := w.callAs(other, op.name, whole); strings.Contains(a.raw, "validation error") && op.name != "PublishPackageVersion" && !strings.Contains(a.raw, "nextToken") {
			t.Errorf("%s refuses its sample: %s", op.name, a.raw)
		}
		for _, f := range op.fields {
			cases := violations(f.shape, f.query != "" || f.header != "")
			if f.required {
				cases = append(cases, violation{nil, "must not be null"})
			}
			for _, v := range cases {
				in := given{}
				for k, x := range whole {
					in[k] = x
				}
				if in[f.member] = v.value; v.value == nil {
					delete(in, f.member)
				} else if f.header != "" && v.value == "a\x00b" {
					continue // no header
				}
				n++
				a := w.callAs(other, op.name, in)
				if a.status != http.StatusBadRequest || a.header.Get("X-Amzn-Errortype") != "ValidationException" ||
					!strings.Contains(fmt.Sprint(a.body["message"]), f.member) || !strings.Contains(fmt.Sprint(a.body["message"]), v.says) || a.body["reason"] == nil {
					text, _ := json.Marshal(v.value)
					t.Errorf("%s %s=%.80s: %d %s, want a ValidationException that names it and says %q", op.name, f.member, text, a.status, a.raw, v.says)
				}
			}
		}
	}
	if n < 700 {
		t.Errorf("only %d violations were tried", n)
	}
}

// TestMisuse sends what is no operation, or is not written as one.
func TestMisuse(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	for _, c := range []struct {
		method, target, body string
		status               int
		code, says           string
	}{
		{"GET", "/v1/nothing", "", 404, "UnknownOperationException", "/v1/nothing"},
		{"GET", "/v1/domain/", "", 404, "UnknownOperationException", "path"},
		{"GET", "/v1/d%6fmain?domain=main", "", 404, "UnknownOperationException", "path"},
		{"GET", "/v1/<script>", "", 404, "UnknownOperationException", "path"},
		{"PATCH", "/v1/domain?domain=main", "", 405, "UnknownOperationException", "PATCH"},
		{"DELETE", "/v1/repository/permissions/policy?domain=main&repository=team", "", 405, "UnknownOperationException", "DELETE"},
		{"GET", "/v1/domain?domain=main&domain=main", "", 400, "ValidationException", "'domain' stands twice"},
		{"GET", "/v1/domain?domain=%zz", "", 400, "ValidationException", "percent"},
		{"GET", "/v1/domain?domain=%ff%fe", "", 400, "ValidationException", "UTF-8"},
		{"GET", "/v1/domain?domain=ma+in", "", 400, "ValidationException", "ma+in"},
		{"GET", "/v1/domain?domain=main&frobnicate=%zz&frobnicate=1", "", 200, "", "createdTime"},
		{"POST", "/v1/domains", "[]", 400, "ValidationException", "JSON object"},
		{"POST", "/v1/domains", "null", 400, "ValidationException", "JSON object"},
		{"POST", "/v1/domains", "{} {}", 400, "ValidationException", "JSON object"},
		{"POST", "/v1/domains", "{\"nextToken\":\"\xff\"}", 400, "ValidationException", "UTF-8"},
		{"POST", "/v1/domains", strings.Repeat(" ", maxBody+1), 400, "ValidationException", "more than"},
		{"POST", "/v1/domains", "", 200, "", "domains"},
		{"POST", "/v1/domains", `{"maxResults":null,"unknown":[1]}`, 200, "", "domains"},
	} {
		r := httptest.NewRequest(c.method, "http://larder.test"+strings.ReplaceAll(c.target, "<", "%3C"), strings.NewReader(c.body))
		r.Header.Set("X-Test-Account", account)
		a := w.send(r)
		if a.status != c.status || a.header.Get("X-Amzn-Errortype") != c.code || !strings.Contains(a.raw, c.says) || a.body == nil {
			t.Errorf("%s %s: %d %s %s", c.method, c.target, a.status, a.header.Get("X-Amzn-Errortype"), a.raw)
		}
		if len(a.header.Get("X-Amzn-Requestid")) != 36 {
			t.Errorf("%s %s: no request id", c.method, c.target)
		}
		if c.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.target)
		}
	}
	// A body without a length is cut off as well.
	r := httptest.NewRequest("POST", "http://larder.test/v1/domains", strings.NewReader(strings.Repeat(" ", maxBody+1)))
	r.ContentLength = -1
	r.Header.Set("X-Test-Account", account)
	if a := w.send(r); a.status != 400 {
		t.Errorf("chunked: %d %s", a.status, a.raw)
	}
	// Nobody is asked for anything before he has said who he is.
	if a := w.callAs("", "DescribeDomain", given{"domain": "UPPER"}); a.status != 403 || a.header.Get("X-Amzn-Errortype") != "MissingAuthenticationTokenException" {
		t.Errorf("no signature: %d %s", a.status, a.raw)
	}
}

// TestActions asks for everything in a world where nothing exists and nothing is
// allowed: every answer is the refusal, and the question names the action and
// the resource (service authorization reference).
func TestActions(t *testing.T) {
	w := newWorld(t)
	w.gate.deny = map[string]bool{}
	const arn = "arn:aws:codeartifact:eu-central-1:111122223333:"
	domain, repo, pkg, group := arn+"domain/main", arn+"repository/main/main", arn+"package/main/main/npm/main/main", arn+"package-group/main/npm/*"
	want := map[string]string{
		"CreateDomain": domain, "CreateRepository": domain, "CreatePackageGroup": domain, "ListDomains": "*", "ListRepositories": "*",
		"DeleteDomain": domain, "DescribeDomain": domain, "GetDomainPermissionsPolicy": domain, "PutDomainPermissionsPolicy": domain,
		"DeleteDomainPermissionsPolicy": domain, "GetAuthorizationToken": domain, "ListRepositoriesInDomain": domain, "ListPackageGroups": domain,
		"AssociateExternalConnection": repo, "DisassociateExternalConnection": repo, "DeleteRepository": repo, "DescribeRepository": repo, "UpdateRepository": repo,
		"GetRepositoryEndpoint": repo, "GetRepositoryPermissionsPolicy": repo, "PutRepositoryPermissionsPolicy": repo, "DeleteRepositoryPermissionsPolicy": repo, "ListPackages": repo,
		"DescribePackageGroup": group, "DeletePackageGroup": group, "UpdatePackageGroup": group, "UpdatePackageGroupOriginConfiguration": group,
		"ListAllowedRepositoriesForGroup": group, "ListAssociatedPackages": group, "ListSubPackageGroups": group,
		"GetAssociatedPackageGroup": arn + "package-group/main/*", "TagResource": domain, "UntagResource": domain, "ListTagsForResource": domain,
		"PublishPackageVersion": arn + "package/main/main/generic/main/main",
	}
	for _, op := range operations() {
		w.gate.deny["codeartifact:"+op.name] = true
		in := given{}
		for _, f := range op.fields {
			switch v := sample(f.shape); f.member {
			case "nextToken", "versionRevisions", "domainOwner":
			case "durationSeconds":
				in[f.member] = 900
			case "format":
				if in[f.member] = v; op.name == "PublishPackageVersion" {
					in[f.member] = "generic"
				}
			default:
				in[f.member] = v
			}
		}
		resource := want[op.name]
		if resource == "" {
			resource = pkg
		}
		w.gate.asked()
		a := w.call(op.name, in)
		if a.status != 403 || a.header.Get("X-Amzn-Errortype") != "AccessDeniedException" {
			t.Errorf("%s: %d %s", op.name, a.status, a.raw)
		}
		if asked := w.gate.asked(); len(asked) != 1 || asked[0] != "codeartifact:"+op.name+" "+resource {
			t.Errorf("%s asks %q, want only %s", op.name, asked, resource)
		}
	}
}

// FuzzRequest sends any request to the handler: no panic, and JSON or an asset
// whatever happens.
func FuzzRequest(f *testing.F) {
	for _, op := range operations() {
		f.Add(op.method, op.path+"?domain=main&repository=team&format=npm&package=a", `{"tags":[{"key":"a","value":"b"}]}`)
	}
	f.Add("POST", "/v1/package/versions/copy?domain=main&source-repository=aa&destination-repository=bb&format=go&package=a/b", `{"versionRevisions":{"1":"x"}}`)
	f.Add("POST", "/v1/tag?resourceArn=arn:aws:codeartifact:x:111122223333:package-group/main/npm/%2525", `{"tags":[]}`)
	w := newWorld(f)
	w.site("main", "team")
	f.Fuzz(func(t *testing.T, method, target, body string) {
		r, err := http.NewRequest(method, "http://larder.test", strings.NewReader(body))
		if err != nil {
			return
		}
		path, query, _ := strings.Cut(target, "?")
		r.URL.Path, r.URL.RawQuery = path, query
		r.Header.Set("X-Test-Account", account)
		a := w.send(r)
		if a.body == nil && a.header.Get("X-AssetName") == "" {
			t.Errorf("%s %q: %d %q is no JSON", method, target, a.status, a.raw)
		}
		if (a.status >= 400) != (a.header.Get("X-Amzn-Errortype") != "") || a.status >= 500 {
			t.Errorf("%s %q: %d %s", method, target, a.status, a.raw)
		}
	})
}

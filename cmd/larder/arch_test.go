package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"larder/formats/all"
)

// root is the top of the checkout as seen from this package.
const root = "../.."

// rooms says what each package may import of ours. "formats/*" stands for the
// packages directly below formats that are formats.
func rooms() map[string][]string {
	return map[string][]string{
		"cmd/larder":            {"*"},
		"proxy":                 {"formats", "policy", "policy/origin", "cache", "cache/hot", "cache/store", "cache/catalog", "proxy/upstream", "proxy/access"},
		"proxy/access":          {"policy", "cache/catalog", "proxy/identity"},
		"proxy/upstream":        {},
		"proxy/listener":        {},
		"proxy/events":          {"formats", "cache/catalog"},
		"proxy/codeartifact":    {"formats", "policy", "policy/origin", "cache/catalog"},
		"proxy/console":         {"cache/catalog", "policy"},
		"proxy/identity":        {"policy", "formats"},
		"cache":                 {"cache/hot", "cache/store", "formats"},
		"cache/hot":             {},
		"cache/store":           {},
		"cache/catalog":         {"formats", "cache/store", "policy/origin"},
		"cache/bundle":          {"cache/catalog", "cache/store", "formats"},
		"cluster":               {"cluster/ring", "cluster/peer"},
		"cluster/ring":          {},
		"cluster/peer":          {},
		"cluster/simnet":        {},
		"formats":               {},
		"formats/all":           {"formats", "formats/*"},
		"formats/formattest":    {"formats"},
		"formats/*":             {"formats"},
		"formats/*/*test":       {"formats"},
		"policy":                {"formats"},
		"policy/origin":         {"formats"},
		"cmd/larder-bench":      {"*"},
		"proxy/upstreamtest":    {"proxy/upstream"},
		"cache/store/storetest": {"cache/store"},
	}
}

// topLevel is everything that may stand at the top of the checkout.
func topLevel() []string {
	return []string{".ci", ".gitignore", "ARCHITECTURE.md", "COMPAT.md", "LICENSE", "Makefile", "README.md", "cache", "cluster",
		"cmd", "config.example.toml", "formats", "go.mod", "go.sum", "policy", "proxy", "testdata"}
}

// listed is what go list says of a package.
type listed struct {
	ImportPath, Dir, Name, Doc         string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

// packages returns our packages, the import path without the module's name.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, "larder/")
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 10 {
		t.Fatalf("go list names only %d packages", len(pkgs))
	}
	return pkgs
}

// roomOf maps a package to its row of the table: itself, or the pattern that it
// falls under.
func roomOf(path string) string {
	table := rooms()
	if _, ok := table[path]; ok {
		return path
	}
	for _, pattern := range []string{"formats/*", "formats/*/*test"} {
		if ok, _ := filepath.Match(pattern, path); ok {
			return pattern
		}
	}
	return ""
}

// TestArchitecture holds the house rules against the code. A failure says what
// to do instead.
func TestArchitecture(t *testing.T) {
	pkgs := packages(t)
	t.Run("rooms", func(t *testing.T) { checkRooms(t, pkgs) })
	t.Run("comments", func(t *testing.T) { checkComments(t, pkgs) })
	t.Run("state", func(t *testing.T) { checkState(t, pkgs) })
	t.Run("formats", func(t *testing.T) { checkFormats(t, pkgs) })
	t.Run("sizes", func(t *testing.T) { checkSizes(t, pkgs) })
}

// checkRooms holds the table of rooms against the code.
func checkRooms(t *testing.T, pkgs []listed) {
	for _, p := range pkgs {
		room := roomOf(p.ImportPath)
		if room == "" {
			t.Errorf("%s is no room of the house: find its room in ARCHITECTURE.md, or add a row there and here", p.ImportPath)
			continue
		}
		allowed := rooms()[room]
		for _, imp := range p.Imports {
			ours, ok := strings.CutPrefix(imp, "larder/")
			if !ok || slices.Contains(allowed, "*") && !isTestSupport(ours) || slices.Contains(allowed, ours) || slices.Contains(allowed, roomOf(ours)) {
				continue
			}
			t.Errorf("%s imports %s, which its room may not: declare an interface where it is needed, or move the code", p.ImportPath, ours)
		}
		if strings.HasPrefix(p.ImportPath, "cmd/") {
			continue
		}
		for _, imp := range append(p.TestImports, p.XTestImports...) {
			if strings.HasPrefix(imp, "larder/cmd") {
				t.Errorf("the tests of %s import %s: nothing imports cmd", p.ImportPath, imp)
			}
		}
	}
}

// isTestSupport reports a package that only tests may import.
func isTestSupport(path string) bool { return strings.HasSuffix(path, "test") }

// checkComments: every package has a comment.
func checkComments(t *testing.T, pkgs []listed) {
	for _, p := range pkgs {
		if len(p.GoFiles) > 0 && len(strings.Fields(p.Doc)) < 8 {
			t.Errorf("%s has no package comment that says what it owns and what it refuses to do", p.ImportPath)
		}
	}
}

// checkState: no init functions, and no variables that can change while
// the program runs. Two nodes live in one process.
func checkState(t *testing.T, pkgs []listed) {
	for _, p := range pkgs {
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range file.Decls {
				switch d := decl.(type) {
				case *ast.FuncDecl:
					if d.Recv == nil && d.Name.Name == "init" {
						t.Errorf("%s: an init function: do it in New", fset.Position(d.Pos()))
					}
				case *ast.GenDecl:
					if d.Tok == token.VAR && !isTestSupport(p.ImportPath) {
						checkVars(t, fset, d)
					}
				}
			}
		}
	}
}

// checkVars allows type assertions, sentinel errors, compiled expressions,
// embedded files, and tables whose comment says that they are read-only.
func checkVars(t *testing.T, fset *token.FileSet, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		comment := d.Doc.Text() + v.Doc.Text() + v.Comment.Text()
		raw := ""
		for _, group := range []*ast.CommentGroup{d.Doc, v.Doc} {
			if group != nil {
				for _, c := range group.List {
					raw += c.Text + "\n"
				}
			}
		}
		for i, name := range v.Names {
			if name.Name == "_" || strings.Contains(comment, "read-only") || strings.Contains(comment, "Read-only") || strings.Contains(raw, "//go:embed ") {
				continue
			}
			if i < len(v.Values) && isConstantCall(v.Values[i]) {
				continue
			}
			t.Errorf("%s: package variable %s: make it a constant, a field or a function; a table that is never written says \"read-only\" in its comment",
				fset.Position(name.Pos()), name.Name)
		}
	}
}

// isConstantCall reports calls whose result nobody can change.
func isConstantCall(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && slices.Contains([]string{"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "time.Date"}, pkg.Name+"."+sel.Sel.Name)
}

// tracked lists the files under version control, or all files of an exported
// tree.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = root
	if out, err := cmd.Output(); err == nil && len(out) > 0 {
		return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		switch rel {
		case ".git", ".tools", "larder-data":
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTopLevelNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range tracked(t) {
		name, _, _ := strings.Cut(f, "/")
		if !seen[name] && !slices.Contains(topLevel(), name) {
			t.Errorf("%s stands at the top of the checkout, where the names are fixed: %s", name, strings.Join(topLevel(), " "))
		}
		seen[name] = true
	}
}

// checkFormats: a format in the list has a folder, a script with its
// real client and a row in the README, and the other way round.
func checkFormats(t *testing.T, pkgs []listed) {
	var ids, scripts, rows []string
	for _, f := range all.Formats() {
		ids = append(ids, f.ID())
	}
	for _, id := range ids {
		if _, err := os.Stat(filepath.Join(root, "testdata", "script", id+".txtar")); err == nil {
			scripts = append(scripts, id)
		}
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9]+)` \\|").FindAllStringSubmatch(string(readme), -1) {
		rows = append(rows, m[1])
	}
	if !slices.Equal(scripts, ids) {
		t.Errorf("formats are %v, testdata/script has scripts for %v", ids, scripts)
	}
	if !slices.Equal(rows, ids) {
		t.Errorf("formats are %v, the table of formats in README.md has rows for %v", ids, rows)
	}
	folders := 0
	for _, p := range pkgs {
		if roomOf(p.ImportPath) == "formats/*" {
			folders++
		}
	}
	if folders != len(ids) {
		t.Errorf("there are %d formats in the list and %d folders below formats", len(ids), folders)
	}
}

// checkSizes prints alarms, not failures: what grows beyond these wants a second
// look.
func checkSizes(t *testing.T, pkgs []listed) {
	for _, p := range pkgs {
		total := 0
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			lines := fset.File(file.Pos()).LineCount()
			total += lines
			if lines > 400 {
				t.Logf("%s/%s has %d lines (alarm at 400)", p.ImportPath, name, lines)
			}
			for _, decl := range file.Decls {
				if f, ok := decl.(*ast.FuncDecl); ok {
					if n := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line; n > 70 {
						t.Logf("%s/%s: %s has %d lines (alarm at 70)", p.ImportPath, name, f.Name.Name, n)
					}
				}
			}
		}
		if total > 1500 {
			t.Logf("%s has %d lines (alarm at 1,500)", p.ImportPath, total)
		}
	}
}

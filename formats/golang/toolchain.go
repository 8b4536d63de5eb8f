package golang

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"larder/formats"
)

// wellKnown is what the installed toolchain knows about checksum databases.
type wellKnown struct {
	keys    map[string]string // name -> name+hash+key
	aliases map[string]string // GOSUMDB value -> the value it stands for
}

// knownDatabases learns the keys from the go command's own source, which ships
// with the toolchain, else from the strings in the go command itself. Nothing
// of it is written here, so a key that the Go project changes is followed.
func knownDatabases(m formats.Machine, goroot string) wellKnown {
	known := wellKnown{keys: make(map[string]string), aliases: make(map[string]string)}
	if goroot == "" {
		return known
	}
	dir := filepath.Join(goroot, "src", "cmd", "go", "internal", "modfetch")
	if source, err := m.ReadFile(filepath.Join(dir, "key.go")); err == nil {
		keysFromSource(source, known.keys)
	}
	if source, err := m.ReadFile(filepath.Join(dir, "sumdb.go")); err == nil {
		aliasesFromSource(source, known.aliases)
	}
	if len(known.keys) == 0 {
		if bin, err := m.LookPath("go"); err == nil {
			if image, err := m.ReadFile(bin); err == nil {
				keysFromBinary(image, known.keys)
			}
		}
	}
	return known
}

// keysFromSource collects "name": "name+hash+key" of all map literals.
func keysFromSource(source []byte, keys map[string]string) {
	file, err := parser.ParseFile(token.NewFileSet(), "key.go", source, parser.SkipObjectResolution)
	if err != nil {
		return
	}
	ast.Inspect(file, func(n ast.Node) bool {
		pair, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		name, key := stringLiteral(pair.Key), stringLiteral(pair.Value)
		if verifier, err := note.NewVerifier(key); err == nil && verifier.Name() == name {
			keys[name] = key
		}
		return true
	})
}

// aliasesFromSource collects: if gosumdb == "A" { gosumdb = "B URL" }.
func aliasesFromSource(source []byte, aliases map[string]string) {
	file, err := parser.ParseFile(token.NewFileSet(), "sumdb.go", source, parser.SkipObjectResolution)
	if err != nil {
		return
	}
	ast.Inspect(file, func(n ast.Node) bool {
		branch, ok := n.(*ast.IfStmt)
		if !ok || len(branch.Body.List) != 1 {
			return true
		}
		cond, ok := branch.Cond.(*ast.BinaryExpr)
		if !ok || cond.Op != token.EQL {
			return true
		}
		assign, ok := branch.Body.List[0].(*ast.AssignStmt)
		if !ok || len(assign.Lhs) != 1 || len(assign.Rhs) != 1 {
			return true
		}
		tested, isIdent := cond.X.(*ast.Ident)
		set, isIdent2 := assign.Lhs[0].(*ast.Ident)
		if !isIdent || !isIdent2 || tested.Name != set.Name {
			return true
		}
		from, to := stringLiteral(cond.Y), stringLiteral(assign.Rhs[0])
		if from != "" && strings.Contains(to, "://") {
			aliases[from] = to
		}
		return true
	})
}

func stringLiteral(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// keysFromBinary finds verifier keys among the strings of a program. Strings
// are packed there without separators, so the name is taken as long as the
// key's own hash, which covers the name, allows.
func keysFromBinary(image []byte, keys map[string]string) {
	// NAME + "+" + 8 hex digits + "+" + one byte of algorithm and 32 of an
	// Ed25519 key in 44 base64 digits.
	const hashLen, keyLen, maxName = 8, 44, 64
	for at := 0; at < len(image); at++ {
		next := bytes.IndexByte(image[at:], '+')
		if next < 0 {
			return
		}
		at += next
		end := at + 1 + hashLen + 1 + keyLen
		if end > len(image) || image[at+1+hashLen] != '+' || !isHex(image[at+1:at+1+hashLen]) {
			continue
		}
		start := at
		for start > 0 && at-start < maxName && isNameByte(image[start-1]) {
			start--
		}
		for ; start < at; start++ {
			key := string(image[start:end])
			if verifier, err := note.NewVerifier(key); err == nil {
				keys[verifier.Name()] = key
				break
			}
		}
	}
}

func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '/'
}

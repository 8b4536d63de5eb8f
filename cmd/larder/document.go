package main

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxConfig bounds a config file, so that a wrong path (a device, an image)
// fails at once.
const maxConfig = 4 << 20

// document knows where each key of a config file stands.
type document struct {
	file  string
	lines map[string]int           // path such as "connection[1].url" -> line from 1
	kinds map[string]unstable.Kind // what stands there
	spans []span                   // expressions in order of appearance
}

// span is one expression of the file: a table header or a key with its value.
type span struct {
	start, end int  // bytes
	table      bool // header
}

// at builds the path of a key in the i-th table of an array.
func at(table string, i int, key string) string {
	if key == "" {
		return fmt.Sprintf("%s[%d]", table, i)
	}
	return fmt.Sprintf("%s[%d].%s", table, i, key)
}

func (d *document) has(path string) bool {
	if d == nil {
		return false
	}
	_, ok := d.lines[path]
	return ok
}

// line finds the line of a path, or of the nearest enclosing table.
func (d *document) line(path string) int {
	for path != "" {
		if n, ok := d.lines[path]; ok {
			return n
		}
		path = path[:max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['), 0)]
	}
	return 1
}

// blank overwrites with spaces the expression that covers a line; a table
// header takes its keys with it. It reports whether something was overwritten.
func (d *document) blank(text []byte, line int) bool {
	offset := 0
	for range line - 1 {
		next := bytes.IndexByte(text[offset:], '\n')
		if next < 0 {
			break
		}
		offset += next + 1
	}
	lineEnd := len(text)
	if n := bytes.IndexByte(text[offset:], '\n'); n >= 0 {
		lineEnd = offset + n
	}
	changed := false
	for i, s := range d.spans {
		if s.start > lineEnd || s.end <= offset {
			continue
		}
		end := s.end
		for j := i + 1; s.table && j < len(d.spans) && !d.spans[j].table; j++ {
			end = d.spans[j].end
		}
		for k := s.start; k < end; k++ {
			if text[k] != '\n' && text[k] != ' ' {
				text[k], changed = ' ', true
			}
		}
		if changed {
			return true
		}
	}
	return changed
}

// indexDocument notes the line of every key and table. Its error is a syntax
// error.
func indexDocument(file string, text []byte) (*document, error) {
	// The decoder also finds what the parser alone does not: a key or table
	// written twice.
	var anything map[string]any
	if err := toml.Unmarshal(text, &anything); err != nil {
		return nil, err
	}
	d := &document{file: file, lines: map[string]int{}, kinds: map[string]unstable.Kind{}}
	counts := map[string]int{}
	prefix := ""
	p := unstable.Parser{}
	p.Reset(text)
	for p.NextExpression() {
		node := p.Expression()
		first := firstKey(node)
		start := int(first.Raw.Offset)
		line := p.Shape(first.Raw).Start.Line
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable:
			start = bytes.LastIndexByte(text[:start], '[')
			if node.Kind == unstable.ArrayTable {
				start--
			}
			prefix = d.enter(node, counts, line)
		case unstable.KeyValue:
			d.note(&p, prefix, node)
		}
		if n := len(d.spans); n > 0 {
			d.spans[n-1].end = max(start, d.spans[n-1].start)
		}
		d.spans = append(d.spans, span{start: max(start, 0), end: len(text), table: node.Kind != unstable.KeyValue})
	}
	return d, p.Error()
}

func firstKey(node *unstable.Node) *unstable.Node {
	it := node.Key()
	it.Next()
	return it.Node()
}

// enter resolves a table header to its path and notes its line.
func (d *document) enter(node *unstable.Node, counts map[string]int, line int) string {
	path := ""
	for it := node.Key(); it.Next(); {
		path = join(path, string(it.Node().Data))
		last := it.IsLast()
		switch n, seen := counts[path]; {
		case last && node.Kind == unstable.ArrayTable:
			counts[path] = n + 1
			d.lines[path], d.kinds[path] = line, unstable.ArrayTable
			path = at(path, n, "")
		case seen && !last:
			path = at(path, n-1, "")
		}
	}
	d.lines[path], d.kinds[path] = line, unstable.Table
	return path
}

// note records the line of a key and of the keys inside its inline tables.
func (d *document) note(p *unstable.Parser, prefix string, node *unstable.Node) {
	path, line := prefix, 0
	for it := node.Key(); it.Next(); {
		path = join(path, string(it.Node().Data))
		line = p.Shape(it.Node().Raw).Start.Line
		d.lines[path], d.kinds[path] = line, unstable.Table // of a dotted key
	}
	value := node.Value()
	d.kinds[path] = value.Kind
	switch value.Kind {
	case unstable.InlineTable:
		for it := value.Children(); it.Next(); {
			d.note(p, path, it.Node())
		}
	case unstable.Array:
		i := 0
		for it := value.Children(); it.Next(); i++ {
			if it.Node().Kind != unstable.InlineTable {
				continue
			}
			d.lines[at(path, i, "")], d.kinds[at(path, i, "")] = line, unstable.Table
			for kv := it.Node().Children(); kv.Next(); {
				d.note(p, at(path, i, ""), kv.Node())
			}
		}
	}
}

func join(prefix, key string) string {
	key = strings.ToLower(key) // the decoder matches keys without case
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// mismatch says what a path wants when something of another kind stands there,
// "" when it is fine or unknown.
func (d *document) mismatch(path string) string {
	t := reflect.TypeFor[Config]()
	for part := range strings.SplitSeq(path, ".") {
		key, _, indexed := strings.Cut(part, "[")
		if t.Kind() != reflect.Struct || t == reflect.TypeFor[Duration]() {
			if t.Kind() == reflect.Map {
				t = t.Elem()
				continue
			}
			return ""
		}
		f, ok := fieldOf(t, key)
		if !ok {
			return ""
		}
		if t = f; indexed && t.Kind() == reflect.Slice {
			t = t.Elem()
		}
	}
	if accepts(t, d.kinds[path]) {
		return ""
	}
	return describe(t, path)
}

// accepts reports whether a field can hold a TOML value of some kind.
func accepts(t reflect.Type, kind unstable.Kind) bool {
	switch {
	case t == reflect.TypeFor[Size]():
		return kind == unstable.String || kind == unstable.Integer
	case t == reflect.TypeFor[Duration](), t.Kind() == reflect.String:
		return kind == unstable.String
	case t.Kind() == reflect.Bool:
		return kind == unstable.Bool
	case t.Kind() == reflect.Int:
		return kind == unstable.Integer
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return kind == unstable.ArrayTable || kind == unstable.Array
	case t.Kind() == reflect.Slice:
		return kind == unstable.Array
	}
	return kind == unstable.Table || kind == unstable.InlineTable
}

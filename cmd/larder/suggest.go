package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// unknownKey words an unknown key with the nearest valid one of its table.
func unknownKey(key toml.Key) string {
	table := reflect.TypeFor[Config]()
	for _, part := range key[:len(key)-1] {
		if next, ok := tableOf(table, part); ok {
			table = next
		}
	}
	last := key[len(key)-1]
	msg := fmt.Sprintf("unknown key %q", last)
	if len(key) > 1 {
		msg += fmt.Sprintf(" in [%s]", strings.Join(key[:len(key)-1], "."))
	}
	keys := keysOf(table)
	if near, ok := nearest(last, keys); ok {
		return fmt.Sprintf("%s (did you mean %q?)", msg, near)
	}
	if home := homeOf(last); home != "" {
		return fmt.Sprintf("%s (did you mean %q in [%s]?)", msg, last, home)
	}
	return fmt.Sprintf("%s (valid keys here: %s)", msg, strings.Join(keys, ", "))
}

// homeOf names the table that has exactly this key, "" if there is none.
func homeOf(key string) string {
	root := reflect.TypeFor[Config]()
	for _, name := range keysOf(root) {
		if t, ok := tableOf(root, name); ok && slices.Contains(keysOf(t), key) {
			return name
		}
	}
	return ""
}

// keysOf lists the TOML keys of a table's struct.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("toml"); key != "" && key != "-" {
			keys = append(keys, key)
		}
	}
	return keys
}

// tableOf returns the struct behind a key that holds a table or an array of
// tables.
func tableOf(t reflect.Type, key string) (reflect.Type, bool) {
	f, ok := fieldOf(t, key)
	if !ok {
		return nil, false
	}
	if f.Kind() == reflect.Slice {
		f = f.Elem()
	}
	if f.Kind() != reflect.Struct || f == reflect.TypeFor[Duration]() {
		return nil, false
	}
	return f, true
}

func fieldOf(t reflect.Type, key string) (reflect.Type, bool) {
	for i := range t.NumField() {
		if strings.EqualFold(t.Field(i).Tag.Get("toml"), key) {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

// badValue words a decode error for people.
func badValue(e *toml.DecodeError) string { return withKey(e.Key(), plainMessage(e)) }

func withKey(key toml.Key, msg string) string {
	if len(key) == 0 {
		return msg
	}
	return strings.Join(key, ".") + ": " + msg
}

// describe says in words what a field takes.
func describe(t reflect.Type, key string) string {
	switch {
	case t == reflect.TypeFor[Size]():
		return `a size in quotes, such as "512MiB", or a number of bytes`
	case t == reflect.TypeFor[Duration]():
		return `a duration in quotes, such as "30s" or "5m"`
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.String:
		return "text in quotes"
	case t.Kind() == reflect.Map:
		return `a table of texts, such as { "X-Name" = "value" }`
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return fmt.Sprintf("tables, each under its own [[%s]]", key)
	case t.Kind() == reflect.Slice:
		return `a list of texts, such as ["a", "b"]`
	}
	return fmt.Sprintf("a table under [%s]", key)
}

// nearest returns the candidate with the smallest edit distance to s, and
// whether it is near enough to be what was meant.
func nearest(s string, candidates []string) (string, bool) {
	best, distance := "", len(s)+1
	for _, c := range candidates {
		d := editDistance(strings.ToLower(s), strings.ToLower(c))
		if d < distance || d == distance && sharedPrefix(s, c) > sharedPrefix(s, best) {
			best, distance = c, d
		}
	}
	return best, best != "" && distance <= max(2, len(s)/2)
}

func sharedPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func editDistance(a, b string) int {
	prev2, prev, cur := []int(nil), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, make([]int, len(b)+1)
	}
	return prev[len(b)]
}
